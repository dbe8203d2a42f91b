//! The HTTP side of the phones: webhooks, and ntfy's JSON at the root.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Page, Phone, Signature, Via, acknowledge};

pub(super) async fn serve(listener: TcpListener, phone: Phone, stop: CancellationToken) {
    let router = Router::new()
        .route("/webhook/{person}", post(webhook))
        .route("/ntfy", post(ntfy))
        .route("/", post(ntfy))
        .route("/pages", get(pages))
        .with_state(phone);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::warn!(%error, "duty phone has ended");
    }
}

async fn pages(State(phone): State<Phone>) -> axum::Json<Vec<Page>> {
    axum::Json(phone.pages())
}

async fn webhook(State(phone): State<Phone>, Path(person): Path<String>, headers: HeaderMap, body: String) -> Response {
    let signature = match phone.webhook_key() {
        Some(key) => check(&key, &headers, &body),
        None => Signature::NotChecked,
    };
    take(&phone, person, Via::Webhook, &headers, body, signature, json!({ "ok": true })).await
}

async fn ntfy(State(phone): State<Phone>, headers: HeaderMap, body: String) -> Response {
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "{\"code\":40001,\"http\":400,\"error\":\"invalid request\"}")
            .into_response();
    };
    let Some(topic) = message["topic"].as_str().filter(|topic| !topic.is_empty()) else {
        return (StatusCode::BAD_REQUEST, "{\"code\":40009,\"http\":400,\"error\":\"topic invalid\"}").into_response();
    };
    let receipt = json!({ "id": format!("sim{}", phone.pages().len() + 1), "event": "message", "topic": topic });
    take(&phone, topic.to_owned(), Via::Ntfy, &headers, body, Signature::NotChecked, receipt).await
}

async fn take(
    phone: &Phone,
    person: String,
    via: Via,
    headers: &HeaderMap,
    body: String,
    signature: Signature,
    receipt: Value,
) -> Response {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: BTreeMap<String, String> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let ack_link = acknowledge::find_link(&body);
    let page = Page { number: 0, person, via, received_at: 0, headers, body, ack_link, signature, answered: 0 };
    match phone.receive(page) {
        // A phone that hangs holds the connection until the sender gives up.
        None => {
            phone.stop.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some((status, retry_after)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, axum::Json(receipt)).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// `X-Signature: sha256=HMAC(key, X-Timestamp + "." + body)` in hexadecimal.
fn check(key: &str, headers: &HeaderMap, body: &str) -> Signature {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(given), Some(at)) = (header("x-signature"), header("x-timestamp")) else { return Signature::Missing };
    if given == sign(key, at, body) { Signature::Valid } else { Signature::Invalid }
}

pub(super) fn sign(key: &str, at: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}
