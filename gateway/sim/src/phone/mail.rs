//! A minimal SMTP sink: takes mail without TLS or passwords and turns it into pages.
//!
//! It knows just enough MIME to read what a program sends: one text body as plain, quoted-printable or base64, alone
//! or as a part of a multipart message.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Page, Phone, Signature, Via, acknowledge};

/// The longest mail.
const MAIL_MAX: usize = 256 * 1024;
/// The longest line of a command or of text.
const LINE_MAX: u64 = 4_096;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Recipients of one mail.
const RECIPIENTS_MAX: usize = 50;
/// A client that says nothing for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn serve(listener: TcpListener, phone: Phone, stop: CancellationToken) {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((socket, _)), Ok(permit)) = (socket, std::sync::Arc::clone(&room).try_acquire_owned()) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (session, stop) = (phone.clone(), stop.clone());
        phone.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = converse(socket, &session) => {}
            }
            drop(permit);
        });
    }
}

struct Peer {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Peer {
    async fn say(&mut self, line: &str) -> Option<()> {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).await.ok()
    }

    /// One line without its end; `None` when the client is gone, silent, or sends a line that is too long.
    async fn hear(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_MAX);
        timeout(IDLE_MAX, limited.read_until(b'\n', &mut bytes)).await.ok()?.ok()?;
        if bytes.pop() != Some(b'\n') {
            return None;
        }
        Some(String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned())
    }
}

/// One SMTP session (RFC 5321, the minimum implementation of 4.5.1).
async fn converse(socket: TcpStream, phone: &Phone) -> Option<()> {
    let (reader, writer) = socket.into_split();
    let mut peer = Peer { reader: BufReader::new(reader), writer };
    let mut recipients: Vec<String> = Vec::new();
    peer.say("220 duty-phone ESMTP").await?;
    loop {
        let line = peer.hear().await?;
        let command = line.to_ascii_uppercase();
        if command.starts_with("EHLO") {
            peer.say("250-duty-phone").await?;
            peer.say("250 8BITMIME").await?;
        } else if command.starts_with("HELO") || command.starts_with("NOOP") {
            peer.say("250 ok").await?;
        } else if command.starts_with("MAIL FROM:") || command.starts_with("RSET") {
            recipients.clear();
            peer.say("250 ok").await?;
        } else if command.starts_with("RCPT TO:") {
            match local_part(&line).filter(|_| recipients.len() < RECIPIENTS_MAX) {
                Some(person) => {
                    recipients.push(person);
                    peer.say("250 ok").await?;
                }
                None => peer.say("553 recipient not understood").await?,
            }
        } else if command.starts_with("DATA") && !recipients.is_empty() {
            peer.say("354 end with a dot").await?;
            let mail = data(&mut peer).await?;
            let status = deliver(phone, &recipients, &mail).await;
            peer.say(&format!("{status} {}", if status == 250 { "taken" } else { "not taken" })).await?;
            recipients.clear();
        } else if command.starts_with("QUIT") {
            return peer.say("221 bye").await;
        } else {
            peer.say("503 not now").await?;
        }
    }
}

/// The lines up to the single dot, with dot-stuffing undone.
async fn data(peer: &mut Peer) -> Option<String> {
    let mut mail = String::new();
    loop {
        let line = peer.hear().await?;
        if line == "." {
            return Some(mail);
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
        mail.push('\n');
        if mail.len() > MAIL_MAX {
            return None;
        }
    }
}

async fn deliver(phone: &Phone, recipients: &[String], mail: &str) -> u16 {
    let (headers, body) = read_mail(mail);
    let mut status = 250;
    for person in recipients {
        let page = Page {
            number: 0,
            person: person.clone(),
            via: Via::Mail,
            received_at: 0,
            headers: headers.clone(),
            body: body.clone(),
            ack_link: acknowledge::find_link(&body),
            signature: Signature::NotChecked,
            answered: 0,
        };
        match phone.receive(page) {
            None => std::future::pending().await,
            Some((answer, _)) => status = status.max(answer),
        }
    }
    status
}

fn local_part(line: &str) -> Option<String> {
    let address = line.split_once('<')?.1.split_once('>')?.0;
    let local = address.split_once('@')?.0;
    (!local.is_empty()).then(|| local.to_owned())
}

/// Headers in lower case, unfolded, and the decoded text; of a multipart, the first part that is text.
fn read_mail(mail: &str) -> (BTreeMap<String, String>, String) {
    let (head, body) = mail.split_once("\n\n").unwrap_or((mail, ""));
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in head.lines() {
        if let (true, Some(name)) = (line.starts_with([' ', '\t']), &last) {
            let value = headers.entry(name.clone()).or_default();
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            let name = name.trim().to_ascii_lowercase();
            headers.insert(name.clone(), value.trim().to_owned());
            last = Some(name);
        }
    }
    let kind = headers.get("content-type").cloned().unwrap_or_default();
    if let Some(boundary) = kind.split_once("boundary=").map(|(_, tail)| tail.trim_matches('"').to_owned()) {
        let boundary = boundary.split(['"', ';']).next().unwrap_or_default().to_owned();
        let delimiter = format!("--{boundary}");
        let parts = body.split(&delimiter).filter(|part| part.contains("\n\n")).map(|part| {
            let part = part.trim_start_matches(['\r', '\n']);
            read_mail(part)
        });
        let text = parts.map(|(_, text)| text).find(|text| !text.trim().is_empty());
        return (headers, text.unwrap_or_default());
    }
    let text = match headers.get("content-transfer-encoding").map(|value| value.to_ascii_lowercase()).as_deref() {
        Some("base64") => String::from_utf8_lossy(&base64(body)).into_owned(),
        Some("quoted-printable") => quoted_printable(body),
        _ => body.to_owned(),
    };
    (headers, text)
}

fn base64(text: &str) -> Vec<u8> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for value in text.bytes().filter_map(sextet) {
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xFF) as u8);
        }
    }
    bytes
}

fn quoted_printable(text: &str) -> String {
    let joined = text.replace("=\r\n", "").replace("=\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'=').then(|| tail.get(..2)).flatten();
        match code.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_encodings_say_the_same() {
        let link = "确认 http://192.0.2.1/a/77";
        for (encoding, body) in [
            ("8bit", link),
            ("base64", "56Gu6K6kIGh0dHA6Ly8xOTIuMC4yLjEvYS83Nw=="),
            ("quoted-printable", "=E7=A1=AE=E8=AE=A4 http://192.=\n0.2.1/a/77"),
        ] {
            let mail = format!("Subject: x\nContent-Transfer-Encoding: {encoding}\n\n{body}\n");
            assert_eq!(read_mail(&mail).1.trim_end(), link, "{encoding}");
        }
    }

    #[test]
    fn a_part_of_a_multipart_is_read_and_folded_headers_are_joined() {
        let mail = "Message-ID: <1@x>\nContent-Type: multipart/alternative;\n boundary=\"b1\"\n\n--b1\n\
                    Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b1--\n";
        let (headers, text) = read_mail(mail);
        assert_eq!((headers["message-id"].as_str(), text.as_str()), ("<1@x>", "hello"));
    }
}
