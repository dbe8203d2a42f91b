//! People: both languages, no tenant's name becomes markup, no foreign page gives orders, streams end.

use std::time::Duration;

use guanjia_core::incident::IncidentState;
use reqwest::StatusCode;

use super::house::{House, SHOP_NAME};
use crate::site::{ConsoleAccess, Secret};

/// A form of one field, as a browser sends it.
fn form(request: reqwest::RequestBuilder, field: &str, value: &str) -> reqwest::RequestBuilder {
    let body = format!("{field}={}", value.replace(' ', "+"));
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

fn pages(house: &House) -> Vec<String> {
    let incident = format!("/incidents/{}", house.incident);
    [
        "/",
        "/devices",
        "/devices/m-1",
        "/devices/m-1/points/energy_active_import",
        "/lines",
        "/incidents",
        &incident,
        "/shops",
        "/shops/s-1-e",
        "/shops/s-2-w",
    ]
    .iter()
    .map(|path| (*path).to_owned())
    .collect()
}

#[tokio::test]
async fn every_page_speaks_both_languages_and_escapes_names() {
    let house = House::open().await;
    for path in pages(&house) {
        for (lang, tag, words) in [("zh", "zh-CN", ["总览", "商铺"]), ("en", "en", ["Overview", "Shops"])] {
            let (status, html) = house.get(&format!("{path}?lang={lang}")).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(html.contains(&format!("<html lang=\"{tag}\">")), "{path}");
            for word in words {
                assert!(html.contains(word), "{word} in {path}");
            }
            assert!(!html.contains(SHOP_NAME) && !html.contains("<i>Manager"), "{path} lets a name be markup");
            assert!(!html.contains("style=\"") && !html.contains("onclick"), "{path} would break the policy");
        }
    }
    let (_, shops) = house.get("/shops").await;
    assert!(shops.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; Tea"));
    let (_, english) = house.get("/shops/s-1-e?lang=en").await;
    assert!(english.contains("Why is it off?") && english.contains("balance used up"), "{english}");
}

#[tokio::test]
async fn the_choice_of_language_is_remembered() {
    let house = House::open().await;
    let chosen = house.http.get(format!("{}/?lang=en", house.url)).send().await.unwrap();
    let cookie = chosen.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let again = house.http.get(&house.url).header("cookie", cookie).send().await.unwrap();
    assert!(again.text().await.unwrap().contains("Overview"));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let house = House::open().await;
    for path in [
        "/devices/none",
        "/shops/none",
        "/incidents/none",
        "/nothing",
        "/devices/a/b",
        "/devices/m-1/points/none",
        "/devices/m-1/points/a/b",
    ] {
        let (status, html) = house.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(html.contains("找不到此页"), "{path}");
    }
    let (status, _) = house.get("/api/v1/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_browsers_careful() {
    let house = House::open().await;
    let page = house.http.get(&house.url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let html = page.text().await.unwrap();
    let style = html.split("href=\"").find(|part| part.starts_with("/static/console.")).unwrap();
    let style = style.split('"').next().unwrap();
    let file = house.http.get(format!("{}{style}", house.url)).send().await.unwrap();
    assert_eq!(file.status(), StatusCode::OK);
    assert!(file.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let stale = house.get("/static/console.0000000000000000.css").await;
    assert_eq!(stale.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_order_from_a_foreign_page_is_refused_and_our_own_is_done() {
    let house = House::open().await;
    let url = format!("{}/incidents/{}/acknowledge", house.url, house.incident);
    let send = |origin: Option<&str>, person: &str| {
        let request = form(house.http.post(&url), "person", person);
        match origin {
            Some(origin) => request.header("Origin", origin).send(),
            None => request.send(),
        }
    };
    for origin in [Some("http://evil.example"), Some("null"), None] {
        assert_eq!(send(origin, "duty-b").await.unwrap().status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    assert_eq!(send(Some(&house.url), "stranger").await.unwrap().status(), StatusCode::BAD_REQUEST);
    let open = house.live.store.incident(house.incident).await.unwrap().unwrap();
    assert_eq!(open.state, IncidentState::Open);
    assert_eq!(send(Some(&house.url), "duty-b").await.unwrap().status(), StatusCode::SEE_OTHER);
    let accepted = house.live.store.incident(house.incident).await.unwrap().unwrap();
    assert_eq!(accepted.acked_by.as_deref(), Some("duty-b"));
    assert_eq!(send(Some(&house.url), "duty-a").await.unwrap().status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_open_console_does_not_answer_under_a_foreign_name() {
    let house = House::open().await;
    let rebound = house.http.get(&house.url).header("Host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_the_password_nothing_is_shown() {
    let house = House::start(ConsoleAccess::Password(Secret::new("open sesame".to_owned()))).await;
    for path in pages(&house) {
        let (status, html) = house.get(&path).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}");
        assert!(html.is_empty());
    }
    assert_eq!(house.get("/events?page=/").await.0, StatusCode::FORBIDDEN);
    let sign_in = |password: &str| {
        let request = house.http.post(format!("{}/sign-in", house.url)).header("Origin", &house.url);
        form(request, "password", password).send()
    };
    assert_eq!(sign_in("guess").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let entered = sign_in("open sesame").await.unwrap();
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let ask = || house.http.get(&house.url).header("cookie", &pair).send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    let out = house.http.post(format!("{}/sign-out", house.url)).header("Origin", &house.url).header("cookie", &pair);
    assert_eq!(out.send().await.unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(ask().await.unwrap().status(), StatusCode::SEE_OTHER);
    for _ in 0..4 {
        assert_eq!(sign_in("guess").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(sign_in("open sesame").await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

/// Reads a stream until it contains `wanted`.
async fn read_until(stream: &mut reqwest::Response, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = stream.chunk().await.unwrap() {
            text.push_str(&String::from_utf8_lossy(&chunk));
            if text.contains(wanted) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(8), read).await.unwrap_or_else(|_| panic!("{wanted} never came"));
    text
}

#[tokio::test]
async fn a_stream_sends_the_page_then_what_changes_and_ends_with_the_program() {
    let house = House::open().await;
    let mut stream = house.http.get(format!("{}/events?lang=en&page=/", house.url)).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = read_until(&mut stream, "event: body").await;
    assert!(first.contains("event: head") && first.contains("Smoke on the first floor"), "{first}");
    // Somebody accepts: the stream says so without being asked.
    let url = format!("{}/api/v1/incidents/{}/acknowledge", house.url, house.incident);
    let accepted =
        house.http.post(url).bearer_auth("office-token").body(r#"{"person":"duty-b"}"#).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::OK);
    read_until(&mut stream, "Operator B").await;
    house.stop.cancel();
    let ended = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(2), ended).await.expect("the stream ends at once");
    let served = tokio::time::timeout(Duration::from_secs(3), house.server).await.expect("the server ends");
    assert!(served.unwrap().is_ok());
}

#[tokio::test]
async fn a_stream_of_no_page_is_refused() {
    let house = House::open().await;
    assert_eq!(house.get("/events?page=/nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.get("/events").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn alive_and_ready_are_two_things() {
    let house = House::open().await;
    assert_eq!(house.get("/healthz").await.0, StatusCode::OK);
    let (status, text) = house.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("first_round") && text.contains("首轮采集尚未完成"), "{text}");
    for device in &house.live.site.devices {
        house.live.latest.set_device(device.ix, None, guanjia_field::now());
    }
    assert_eq!(house.get("/readyz").await.0, StatusCode::OK);
    house.metrics.heartbeat(guanjia_field::now() - Duration::from_secs(11));
    assert_eq!(house.get("/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
