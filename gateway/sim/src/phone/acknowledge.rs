//! Following the link of a page: GET shows a form, POST presses its button.

use std::time::Duration;

use crate::SimError;

/// How long the gateway may take for each step.
const STEP_MAX: Duration = Duration::from_secs(10);
/// The most of a page that is read.
const PAGE_MAX: usize = 256 * 1024;

/// The acknowledging link in a text: the first URL whose path contains `/a/` and a token.
pub(super) fn find_link(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find("http") {
        let tail = &rest[at..];
        // A URL is ASCII; a Chinese full stop after it does not belong to it.
        let end = tail.find(|c: char| !c.is_ascii_graphic() || "\"'<>\\)".contains(c)).unwrap_or(tail.len());
        let url = tail[..end].trim_end_matches(['.', ',', ';']);
        let path = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if path.and_then(|path| path.split_once("/a/")).is_some_and(|(_, token)| !token.is_empty()) {
            return Some(url.to_owned());
        }
        rest = &tail[4..];
    }
    None
}

/// Opens the link, then submits the page's form with its hidden fields; the text of the answer.
pub(super) async fn follow(client: &reqwest::Client, link: &str) -> Result<String, SimError> {
    let failed = |step: &'static str, why: String| SimError::Acknowledge { link: link.to_owned(), step, why };
    let url = reqwest::Url::parse(link).map_err(|error| failed("open", error.to_string()))?;
    let shown = client.get(url.clone()).timeout(STEP_MAX).send().await.map_err(|e| failed("open", e.to_string()))?;
    if !shown.status().is_success() {
        return Err(failed("open", shown.status().to_string()));
    }
    let page = shown.text().await.map_err(|error| failed("open", error.to_string()))?;
    let page = page.get(..PAGE_MAX).unwrap_or(&page);
    let target = form_action(page).and_then(|action| url.join(&action).ok()).unwrap_or_else(|| url.clone());
    let body: String = hidden_fields(page)
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&");
    let pressed = client
        .post(target)
        .timeout(STEP_MAX)
        .header("Origin", url.origin().ascii_serialization())
        .header("Sec-Fetch-Site", "same-origin")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .map_err(|error| failed("press", error.to_string()))?;
    // A browser follows the redirect that many servers answer to a form.
    if !pressed.status().is_success() && !pressed.status().is_redirection() {
        return Err(failed("press", pressed.status().to_string()));
    }
    pressed.text().await.map_err(|error| failed("press", error.to_string()))
}

/// The action of the page's first POST form.
fn form_action(page: &str) -> Option<String> {
    let form = tags(page, "form")
        .into_iter()
        .find(|tag| attribute(tag, "method").is_some_and(|method| method.eq_ignore_ascii_case("post")))?;
    attribute(form, "action")
}

/// Names and values of the page's hidden fields and of its first named button.
fn hidden_fields(page: &str) -> Vec<(String, String)> {
    let inputs = tags(page, "input").into_iter().filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"));
    let button = tags(page, "button").into_iter().find(|tag| attribute(tag, "name").is_some());
    inputs
        .chain(button)
        .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default())))
        .collect()
}

fn tags<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}");
    page.match_indices(&open)
        .filter_map(|(at, _)| {
            let tail = &page[at + open.len()..];
            let tag = &tail[..tail.find('>')?];
            tag.starts_with(|c: char| c.is_whitespace()).then_some(tag)
        })
        .collect()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let key = format!(" {name}=\"");
    let start = tag.find(&key)? + key.len();
    let value = &tag[start..start + tag[start..].find('"')?];
    Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_found_in_json_in_text_and_in_nothing_else() {
        let json = r#"{"docs":"http://192.0.2.1/about","ack":"http://192.0.2.1:8080/a/0f3c"}"#;
        assert_eq!(find_link(json).as_deref(), Some("http://192.0.2.1:8080/a/0f3c"));
        assert_eq!(find_link("确认：http://192.0.2.1/a/77。").as_deref(), Some("http://192.0.2.1/a/77"));
        assert_eq!(find_link("see http://192.0.2.1/help and http://192.0.2.1/a/"), None);
    }

    #[test]
    fn the_form_is_read_as_a_browser_would() {
        let page = r#"<form method="get" action="/x"></form>
            <form action="/a/77?lang=zh&amp;x=1" method="post">
            <input type="hidden" name="token" value="a b&amp;c"><input type="text" name="who">
            <button name="as" value="张">确认</button></form>"#;
        assert_eq!(form_action(page).as_deref(), Some("/a/77?lang=zh&x=1"));
        assert_eq!(hidden_fields(page), [("token".into(), "a b&c".into()), ("as".into(), "张".into())]);
        assert_eq!(escape("a b&张"), "a%20b%26%E5%BC%A0");
    }
}
