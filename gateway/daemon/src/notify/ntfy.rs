//! ntfy: JSON to the root of a server, which pushes it to whoever follows the topic.
//!
//! It works without the internet where server and phones share the building's network. Priority 5 passes through
//! "do not disturb" on Android, so it is kept for P1 alerts. A message has two buttons: one shows the incident, the
//! other acknowledges it with a POST.

use guanjia_core::alarm::Priority;
use guanjia_core::incident::{PageKind, PageRecord};
use serde_json::{Value, json};

use super::{Attempt, exchange, reason};
use crate::site::Secret;

/// Bytes of a message beyond which ntfy would turn it into an attachment (its default limit is 4096).
const MESSAGE_BYTES_MAX: usize = 3_900;

pub(super) async fn send(
    http: &reqwest::Client,
    url: &str,
    token: Option<&Secret>,
    page: &PageRecord,
    ack_url: Option<&str>,
) -> Attempt {
    let mut request = http.post(url).json(&message(page, ack_url));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    match exchange(request).await {
        Ok(answer) => verdict(&answer.text),
        Err(attempt) => attempt,
    }
}

fn message(page: &PageRecord, ack_url: Option<&str>) -> Value {
    let mut message = json!({
        "topic": page.address,
        "title": page.title,
        "message": shortened(&page.body),
        "priority": priority(page.kind, page.priority),
        "tags": [tag(page.kind, page.priority)],
    });
    if let Some(url) = ack_url {
        message["click"] = json!(url);
        message["actions"] = json!([
            { "action": "view", "label": "查看 View", "url": url },
            { "action": "http", "label": "确认 Acknowledge", "url": url, "method": "POST", "clear": true },
        ]);
    }
    message
}

/// 5 wakes people up, 1 only lies there.
fn priority(kind: PageKind, priority: Priority) -> u8 {
    match (kind, priority) {
        (PageKind::Recovery | PageKind::Notice, _) => 3,
        (PageKind::Alert, Priority::P1) => 5,
        (PageKind::Alert, Priority::P2) => 4,
        (PageKind::Alert, Priority::P3) => 3,
        (PageKind::Alert, Priority::P4) => 2,
    }
}

/// The emoji ntfy puts before the title.
fn tag(kind: PageKind, priority: Priority) -> &'static str {
    match (kind, priority) {
        (PageKind::Recovery, _) => "white_check_mark",
        (PageKind::Notice, _) => "memo",
        (PageKind::Alert, Priority::P1) => "rotating_light",
        (PageKind::Alert, _) => "warning",
    }
}

fn shortened(body: &str) -> &str {
    &body[..body.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// ntfy answers with the message it has published; without an id it was another server that answered.
fn verdict(text: &str) -> Attempt {
    let answer: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    match answer.get("id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => Attempt::Delivered { provider_id: Some(id.to_owned()) },
        _ => Attempt::retry(reason("the answer is not that of an ntfy server, check its URL", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_p1_alert_breaks_the_silence_of_a_phone() {
        assert_eq!(priority(PageKind::Alert, Priority::P1), 5);
        assert_eq!(priority(PageKind::Recovery, Priority::P1), 3);
        for lower in [Priority::P2, Priority::P3, Priority::P4] {
            assert!(priority(PageKind::Alert, lower) < 5);
        }
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let body = "警".repeat(2_000);
        let cut = shortened(&body);
        assert!(cut.len() <= MESSAGE_BYTES_MAX && cut.len() > MESSAGE_BYTES_MAX - 3);
    }

    #[test]
    fn a_200_without_a_message_id_is_no_delivery() {
        for text in ["", "{}", "<html>welcome</html>", r#"{"id":""}"#, r#"{"code":40014,"error":"x"}"#] {
            assert!(matches!(verdict(text), Attempt::Retry { .. }), "{text}");
        }
    }
}
