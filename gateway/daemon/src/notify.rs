//! Channels: one page, one attempt, one honest verdict.
//!
//! * A channel is asked once per call and never repeats by itself: when to try again is the pager's business.
//! * The time stamp and the signature are made anew for every attempt; the page's id stays, and is what a receiver
//!   tells copies by (`Idempotency-Key`, `Message-ID`).
//! * An answer is read, not guessed: a 200 whose body says "no" is a "no".
//! * Redirects are never followed: a page must not end up, signed, on another machine.
//!
//! ```text
//!             2xx, body agrees                     ► Delivered
//!             408 425 429 5xx, body says no        ► Retry (with the server's own delay, if it names one)
//!  request ─► other 4xx, 3xx, an unusable address  ► Permanent
//!             not connected                        ► Retry
//!             sent, then silence or a broken line  ► Unknown: it may have arrived
//! ```
//!
//! Nothing here lasts; a power cut in the middle leaves the page's row in state `sending`.

use std::time::Duration;

use guanjia_core::incident::PageRecord;
use guanjia_core::time::Timestamp;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use crate::site::{Channel, ChannelKind};

mod ntfy;
mod smtp;
#[cfg(test)]
pub(crate) mod tests;
mod webhook;

/// How long one attempt may take, from the name lookup to the last byte of the answer.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Characters of a channel's answer that are kept as the reason.
const REASON_CHARS_MAX: usize = 300;

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The channel took the page.
    Delivered {
        /// What the channel calls it, if it said so.
        provider_id: Option<String>,
    },
    /// It did not take it now.
    Retry {
        /// The delay it asked for.
        after: Option<Duration>,
        /// What it said.
        why: String,
    },
    /// It will never take it like this: the address, the credentials or the message are wrong.
    Permanent(String),
    /// The request was sent and no answer came: it may have been taken.
    Unknown(String),
}

impl Attempt {
    fn retry(why: impl Into<String>) -> Self {
        Self::Retry { after: None, why: why.into() }
    }
}

/// The HTTP client of all channels: no redirects, no proxies from the environment, every request with a deadline.
///
/// # Errors
/// If no TLS provider is installed in the process.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_MAX)
        .timeout(ATTEMPT_MAX)
        .no_proxy()
        .user_agent(concat!("guanjia/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Makes one attempt, which ends within [`ATTEMPT_MAX`]. `ack_url` is the page's acknowledgement link; `now` is the
/// time of this attempt, which goes into signatures and dates.
pub async fn send(
    channel: &Channel,
    page: &PageRecord,
    ack_url: Option<&str>,
    http: &reqwest::Client,
    now: Timestamp,
) -> Attempt {
    let attempt = async {
        match &channel.kind {
            ChannelKind::Webhook { url, secret } => webhook::send(http, url, secret.as_ref(), page, ack_url, now).await,
            ChannelKind::Ntfy { url, token } => ntfy::send(http, url, token.as_ref(), page, ack_url).await,
            ChannelKind::Smtp { host, port, security, login, from } => {
                let relay = smtp::Relay { host, port: *port, security: *security, login: login.as_ref(), from };
                smtp::send(&relay, page, ack_url, now).await
            }
        }
    };
    match tokio::time::timeout(ATTEMPT_MAX, attempt).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::Unknown(format!("no answer within {} s", ATTEMPT_MAX.as_secs())),
    }
}

/// An answer whose status does not rule out success, and its text.
struct Answer {
    text: String,
}

/// Sends the request. `Err` holds the verdict if status or transport already decide it.
async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, Attempt> {
    let mut response = request.send().await.map_err(|error| transport_verdict(&error))?;
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(retry_after);
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            // A success that breaks off cannot be checked; any other status has said enough.
            Err(error) if status.is_success() => return Err(transport_verdict(&error)),
            Err(_) => break,
        }
    }
    bytes.truncate(ANSWER_BYTES_MAX);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_success() { Ok(Answer { text }) } else { Err(status_verdict(status, after, &text)) }
}

fn status_verdict(status: StatusCode, after: Option<Duration>, text: &str) -> Attempt {
    let why = reason(&format!("status {}", status.as_u16()), text);
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Attempt::Retry { after, why }
        }
        status if status.is_server_error() => Attempt::Retry { after, why },
        status if status.is_redirection() => {
            Attempt::Permanent(format!("{why}; redirects are not followed, put the final URL into the site file"))
        }
        _ => Attempt::Permanent(why),
    }
}

fn transport_verdict(error: &reqwest::Error) -> Attempt {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    let why = reason(&why, "");
    if error.is_builder() {
        Attempt::Permanent(why)
    } else if error.is_connect() {
        Attempt::retry(why)
    } else {
        Attempt::Unknown(why)
    }
}

/// `Retry-After` in seconds. The form with a date is not read: it would compare two clocks.
fn retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A reason short enough for a row and a log line.
fn reason(head: &str, text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let whole = if text.trim().is_empty() { head.to_owned() } else { format!("{head}: {}", text.trim()) };
    whole.chars().take(REASON_CHARS_MAX).collect()
}
