//! Mail: one message per page, its `Message-ID` made of the page's id.
//!
//! The connection is made for the one message and closed again: pages are rare, and a relay that was restarted in
//! between must not cost the first attempt. A reply of 4xx asks to come back, one of 5xx means never (RFC 5321, 4.2.1).

use std::error::Error as _;
use std::time::{Duration, UNIX_EPOCH};

use guanjia_core::incident::PageRecord;
use guanjia_core::time::Timestamp;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{ATTEMPT_MAX, Attempt, reason};
use crate::site::{Secret, SmtpSecurity};

/// Where mail is handed over.
pub(super) struct Relay<'a> {
    pub host: &'a str,
    pub port: u16,
    pub security: SmtpSecurity,
    pub login: Option<&'a (String, Secret)>,
    pub from: &'a str,
}

pub(super) async fn send(relay: &Relay<'_>, page: &PageRecord, ack_url: Option<&str>, now: Timestamp) -> Attempt {
    let message = match message(relay.from, page, ack_url, now) {
        Ok(message) => message,
        Err(why) => return Attempt::Permanent(why),
    };
    let transport = match transport(relay) {
        Ok(transport) => transport,
        Err(error) => return verdict(&error),
    };
    match transport.send(message).await {
        Ok(response) => Attempt::Delivered { provider_id: response.first_line().map(|line| reason(line, "")) },
        Err(error) => verdict(&error),
    }
}

fn transport(relay: &Relay<'_>) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let tls = match relay.security {
        SmtpSecurity::None => Tls::None,
        SmtpSecurity::Starttls => Tls::Required(TlsParameters::new(relay.host.to_owned())?),
        SmtpSecurity::Tls => Tls::Wrapper(TlsParameters::new(relay.host.to_owned())?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(relay.host)
        .port(relay.port)
        .tls(tls)
        .timeout(Some(ATTEMPT_MAX));
    if let Some((user, password)) = relay.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

fn message(from: &str, page: &PageRecord, ack_url: Option<&str>, now: Timestamp) -> Result<Message, String> {
    let mailbox = |what: &str, text: &str| {
        text.parse::<Mailbox>().map_err(|error| format!("{what} {text:?} is not a mailbox, correct it: {error}"))
    };
    let from = mailbox("the sender", from)?;
    let to = mailbox("the address", &page.address)?;
    let subject: String = page.title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut body = page.body.clone();
    if let Some(url) = ack_url {
        body.push_str("\n\n确认 Acknowledge: ");
        body.push_str(url);
    }
    body.push('\n');
    let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
    Message::builder()
        .message_id(Some(format!("<{}@{}>", page.id, from.email.domain())))
        .date(date)
        .from(from)
        .to(to)
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .map_err(|error| format!("the page cannot be written as mail: {error}"))
}

fn verdict(error: &lettre::transport::smtp::Error) -> Attempt {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    let why = reason(&why, "");
    if error.is_permanent() || error.is_client() {
        Attempt::Permanent(why)
    } else if error.is_transient() || error.is_tls() || never_connected(error) {
        Attempt::retry(why)
    } else {
        // The line broke at some point; whether after the final dot, nobody can tell.
        Attempt::Unknown(why)
    }
}

fn never_connected(error: &lettre::transport::smtp::Error) -> bool {
    use std::io::ErrorKind;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            );
        }
        source = inner.source();
    }
    false
}
