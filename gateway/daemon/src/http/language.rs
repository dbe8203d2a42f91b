//! Which language a reader of the console gets.

use axum::http::{HeaderMap, header};
use guanjia_core::text::Lang;

use crate::http::access;

/// The cookie that remembers a reader's choice.
pub const COOKIE: &str = "guanjia_lang";

/// The reader's language: asked for in the address, chosen before, preferred by the browser, or the site's.
pub fn of_reader(asked: Option<&str>, headers: &HeaderMap, site: Lang) -> Lang {
    let named = |text: &str| match text {
        "zh" => Some(Lang::Zh),
        "en" => Some(Lang::En),
        _ => None,
    };
    asked
        .and_then(named)
        .or_else(|| access::cookie(headers, COOKIE).and_then(named))
        .or_else(|| preferred(headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?))
        .unwrap_or(site)
}

/// The first language of an `Accept-Language` header that the house speaks; browsers list them by preference.
fn preferred(accept: &str) -> Option<Lang> {
    accept.split(',').find_map(|entry| {
        let tag = entry.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match tag.split('-').next() {
            Some("zh") => Some(Lang::Zh),
            Some("en") => Some(Lang::En),
            _ => None,
        }
    })
}

/// The short name of a language, as its cookie and address have it.
pub fn code(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "zh",
        Lang::En => "en",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_beats_the_cookie_beats_the_browser_beats_the_site() {
        let headers = |cookie: &str, accept: &str| {
            let mut map = HeaderMap::new();
            map.insert(header::COOKIE, cookie.parse().unwrap());
            map.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            map
        };
        assert_eq!(of_reader(Some("en"), &headers("guanjia_lang=zh", "zh"), Lang::Zh), Lang::En);
        assert_eq!(of_reader(None, &headers("a=b; guanjia_lang=en", "zh"), Lang::Zh), Lang::En);
        assert_eq!(of_reader(None, &headers("", "fr, en-GB;q=0.8, zh;q=0.5"), Lang::Zh), Lang::En);
        assert_eq!(of_reader(None, &headers("", "fr"), Lang::Zh), Lang::Zh);
        assert_eq!(of_reader(Some("xx"), &headers("guanjia_lang=yy", ""), Lang::En), Lang::En);
    }
}
