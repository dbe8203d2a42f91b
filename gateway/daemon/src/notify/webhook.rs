//! The webhook: a signed POST of JSON.
//!
//! ```text
//! POST <url with {address} replaced, percent-encoded>
//! Content-Type: application/json
//! Idempotency-Key: <page id>              the same for every copy of a page
//! X-Timestamp: <seconds since 1970>       of this attempt
//! X-Signature: sha256=<hex of HMAC-SHA256(secret, X-Timestamp + "." + body)>
//! ```
//!
//! A receiver answers 2xx once it has the page. If its answer is a JSON object, `ok` or `success` being false or an
//! `errcode` other than 0 means that it has not.

use guanjia_core::alarm::Priority;
use guanjia_core::incident::{PageKind, PageRecord};
use guanjia_core::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::{Attempt, exchange, reason};
use crate::site::Secret;

/// The body of the request.
#[derive(serde::Serialize)]
struct Body<'a> {
    id: uuid::Uuid,
    incident: Option<uuid::Uuid>,
    kind: PageKind,
    priority: Priority,
    person: &'a str,
    address: &'a str,
    title: &'a str,
    body: &'a str,
    /// Where a POST acknowledges and a GET shows what happened.
    ack_url: Option<&'a str>,
    /// RFC 3339.
    sent_at: String,
    /// RFC 3339; worthless after.
    expires_at: String,
}

pub(super) async fn send(
    http: &reqwest::Client,
    url: &str,
    secret: Option<&Secret>,
    page: &PageRecord,
    ack_url: Option<&str>,
    now: Timestamp,
) -> Attempt {
    let body = Body {
        id: page.id,
        incident: page.incident,
        kind: page.kind,
        priority: page.priority,
        person: &page.person,
        address: &page.address,
        title: &page.title,
        body: &page.body,
        ack_url,
        sent_at: now.to_string(),
        expires_at: page.expires_at.to_string(),
    };
    let body = match serde_json::to_string(&body) {
        Ok(body) => body,
        Err(error) => return Attempt::Permanent(format!("the page cannot be written as JSON: {error}")),
    };
    let timestamp = (now.as_millis() / 1000).to_string();
    let mut request = http
        .post(url.replace("{address}", &percent_encoded(&page.address)))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", page.id.to_string())
        .header("X-Timestamp", &timestamp);
    if let Some(secret) = secret {
        request = request.header("X-Signature", format!("sha256={}", signature(secret, &timestamp, &body)));
    }
    match exchange(request.body(body)).await {
        Ok(answer) => verdict(&answer.text),
        Err(attempt) => attempt,
    }
}

/// What the body of a 2xx says. Anything but a JSON object that says "no" is a "yes": the status said so.
fn verdict(text: &str) -> Attempt {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return Attempt::Delivered { provider_id: None };
    };
    let denied = ["ok", "success"].iter().any(|key| object.get(*key) == Some(&Value::Bool(false)));
    let failed = object.get("errcode").is_some_and(|code| code.as_i64() != Some(0));
    if denied || failed {
        return Attempt::retry(reason("accepted by status, refused by its body", text));
    }
    let provider_id = ["id", "message_id"].iter().find_map(|key| match object.get(*key) {
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    });
    Attempt::Delivered { provider_id }
}

/// HMAC-SHA256 over `timestamp.body`, in hex.
fn signature(secret: &Secret, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything but the unreserved characters of RFC 3986 encoded, so that an address can never become a path.
fn percent_encoded(address: &str) -> String {
    let mut encoded = String::with_capacity(address.len());
    for byte in address.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && address.len() > 2) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha_256() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let secret = Secret::new("key".to_owned());
        let expected = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature(&secret, "1700000000", "{}"), expected);
    }

    #[test]
    fn an_address_cannot_leave_its_path_segment() {
        assert_eq!(percent_encoded("ops-1_a~b.c"), "ops-1_a~b.c");
        assert_eq!(percent_encoded("../a?b#c/王"), "..%2Fa%3Fb%23c%2F%E7%8E%8B");
        assert_eq!(percent_encoded(".."), "%2E%2E");
    }

    #[test]
    fn a_body_that_says_no_is_a_no() {
        for text in [r#"{"ok":false}"#, r#"{"success":false,"id":"7"}"#, r#"{"errcode":45009}"#] {
            assert!(matches!(verdict(text), Attempt::Retry { .. }), "{text}");
        }
        for text in ["", "accepted", r#"{"ok":true}"#, r#"{"errcode":0}"#, "[false]"] {
            assert_eq!(verdict(text), Attempt::Delivered { provider_id: None }, "{text}");
        }
        assert_eq!(verdict(r#"{"id":"m-1"}"#), Attempt::Delivered { provider_id: Some("m-1".to_owned()) });
    }
}
