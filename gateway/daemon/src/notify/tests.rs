//! Channels on real sockets, one test per way a channel can lie.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use guanjia_core::alarm::Priority;
use guanjia_core::incident::{PageKind, PageRecord};
use guanjia_core::plan::PlanBook;
use guanjia_core::roster::{Roster, RosterForm};
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Attempt, client, send};
use crate::site::*;

/// A site with nothing in it but channels, brokers, devices and alarms that a test puts there.
pub(crate) fn bare_site(data_dir: PathBuf) -> Site {
    let roster = RosterForm {
        zone: "Asia/Shanghai".to_owned(),
        fallback: "duty-a".to_owned(),
        shifts: vec![],
        deputies: BTreeMap::new(),
        absent: BTreeSet::new(),
    };
    let common = toml::from_str(include_str!("../../../../config/plans/_common.toml")).unwrap();
    // The plans of inferred root causes, without which there is no book.
    let plans = [
        include_str!("../../../../config/plans/ep-02.toml"),
        include_str!("../../../../config/plans/ep-06.toml"),
        include_str!("../../../../config/plans/ep-11.toml"),
    ];
    let plans = plans.iter().map(|text| toml::from_str(text).unwrap()).collect();
    Site {
        id: "test".into(),
        name: Bilingual::new("示范大厦", "Example House"),
        zone: jiff::tz::TimeZone::get("Asia/Shanghai").unwrap(),
        lang: Lang::Zh,
        data_dir: data_dir.clone(),
        http: Http { listen: SocketAddr::from(([127, 0, 0, 1], 0)), public_url: None, console: ConsoleAccess::Open },
        api_clients: vec![],
        billing: Billing {
            target: BillingTarget::Sqlite(data_dir.join("billing.db")),
            interval: Duration::from_secs(900),
        },
        lines: vec![],
        passive: Default::default(),
        entrances: vec![],
        brokers: vec![],
        devices: vec![],
        points: vec![],
        alarms: vec![],
        topology: Default::default(),
        timings: Default::default(),
        plans: PlanBook::new(common, plans).unwrap(),
        roster: Roster::new(roster).unwrap(),
        people: vec![],
        channels: vec![],
        shops: vec![],
        service_points: vec![],
        mass_cut: Default::default(),
    }
}

/// A page that is due now and expires in an hour.
pub(crate) fn page(channel: &str, address: &str, priority: Priority) -> PageRecord {
    let now = guanjia_field::now();
    let id = Uuid::now_v7();
    PageRecord {
        id,
        dedupe_key: id.to_string(),
        incident: None,
        kind: PageKind::Alert,
        priority,
        person: "duty-a".to_owned(),
        channel: channel.to_owned(),
        address: address.to_owned(),
        title: "火警 一层烟感".to_owned(),
        body: "【火警】一层烟感报警，到现场确认。代码 4711".to_owned(),
        ack_token: Some("00112233445566778899aabbccddeeff".to_owned()),
        not_before: now,
        expires_at: now + Duration::from_secs(3600),
    }
}

/// One request as the fake channel got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What the fake channel does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(u16, &'static str),
    RetryAfter(u16, &'static str),
    Redirect(String),
    Hang,
}

/// An HTTP channel that does as it is told: the replies in order, then the last one for ever.
#[derive(Clone)]
pub(crate) struct FakeChannel {
    pub url: String,
    state: Arc<Mutex<(VecDeque<Reply>, Vec<Got>)>>,
}

impl FakeChannel {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        // Another test of this process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new((replies.into_iter().collect(), Vec::new())));
        let fake = Self { url, state };
        let router = Router::new().fallback(take).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.state.lock().unwrap().1.clone()
    }
}

async fn take(State(fake): State<FakeChannel>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reply = {
        let mut state = fake.state.lock().unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        state.1.push(Got { path: uri.path().to_owned(), headers, body });
        if state.0.len() > 1 { state.0.pop_front().unwrap() } else { state.0.front().unwrap().clone() }
    };
    let status = |code| StatusCode::from_u16(code).unwrap();
    match reply {
        Reply::Answer(code, text) => (status(code), text).into_response(),
        Reply::RetryAfter(code, seconds) => (status(code), [("Retry-After", seconds)], "later").into_response(),
        Reply::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [("Location", to)]).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}

pub(crate) fn webhook(name: &str, url: String) -> Channel {
    Channel { name: name.into(), kind: ChannelKind::Webhook { url, secret: Some(Secret::new("s3cret".to_owned())) } }
}

async fn one(fake: &FakeChannel) -> Attempt {
    let channel = webhook("phone", format!("{}/page/{{address}}", fake.url));
    send(&channel, &page("phone", "a", Priority::P1), None, &client().unwrap(), guanjia_field::now()).await
}

#[tokio::test]
async fn every_status_has_its_verdict() {
    let fake = FakeChannel::start([
        Reply::Answer(204, ""),
        Reply::Answer(500, "no"),
        Reply::Answer(404, "no"),
        Reply::Answer(410, "gone"),
        Reply::RetryAfter(429, "7"),
        Reply::RetryAfter(503, "9"),
        Reply::Answer(200, r#"{"ok":false,"reason":"quota"}"#),
    ])
    .await;
    assert_eq!(one(&fake).await, Attempt::Delivered { provider_id: None });
    assert!(matches!(one(&fake).await, Attempt::Retry { after: None, .. }), "500");
    assert!(matches!(one(&fake).await, Attempt::Permanent(_)), "404");
    assert!(matches!(one(&fake).await, Attempt::Permanent(why) if why.contains("410")));
    assert!(matches!(one(&fake).await, Attempt::Retry { after, .. } if after == Some(Duration::from_secs(7))));
    assert!(matches!(one(&fake).await, Attempt::Retry { after, .. } if after == Some(Duration::from_secs(9))));
    assert!(matches!(one(&fake).await, Attempt::Retry { why, .. } if why.contains("quota")), "a 200 that says no");
}

#[tokio::test]
async fn a_redirect_takes_the_page_nowhere() {
    let other = FakeChannel::start([Reply::Answer(200, "")]).await;
    let fake = FakeChannel::start([Reply::Redirect(other.url.clone())]).await;
    assert!(matches!(one(&fake).await, Attempt::Permanent(_)));
    assert!(other.got().is_empty());
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_tried_again_and_one_that_hangs_up_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut fake = FakeChannel::start([Reply::Hang]).await;
    fake.url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        // The whole request arrives before the line breaks.
        while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
    });
    assert!(matches!(one(&fake).await, Attempt::Unknown(_)));
    server.await.unwrap();
    assert!(matches!(one(&fake).await, Attempt::Retry { .. }), "the port is closed now");
}

#[tokio::test]
async fn a_channel_that_hangs_is_left_after_ten_seconds() {
    let fake = FakeChannel::start([Reply::Hang]).await;
    let begin = tokio::time::Instant::now();
    assert!(matches!(one(&fake).await, Attempt::Unknown(_)));
    let took = begin.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(13)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn signature_and_key_belong_to_the_attempt_and_the_page() {
    let fake = FakeChannel::start([Reply::Answer(500, ""), Reply::Answer(200, r#"{"id":"m-9"}"#)]).await;
    let channel = webhook("phone", format!("{}/page/{{address}}", fake.url));
    let page = page("phone", "../ops 1", Priority::P1);
    let link = Some("https://192.0.2.1/a/00ff");
    let at = Timestamp::from_millis(1_800_000_000_000);
    let http = client().unwrap();
    assert!(matches!(send(&channel, &page, link, &http, at).await, Attempt::Retry { .. }));
    let second = send(&channel, &page, link, &http, at + Duration::from_secs(3)).await;
    assert_eq!(second, Attempt::Delivered { provider_id: Some("m-9".to_owned()) });

    let got = fake.got();
    let header = |got: &Got, name: &str| got.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header(&got[0], "x-timestamp"), "1800000000");
    assert_eq!(header(&got[1], "x-timestamp"), "1800000003");
    for got in &got {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(format!("{}.{}", header(got, "x-timestamp"), got.body).as_bytes());
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(header(got, "x-signature"), format!("sha256={hex}"));
        assert_eq!(header(got, "idempotency-key"), page.id.to_string());
        assert_eq!(got.path, "/page/..%2Fops%201");
        let body: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(body["ack_url"], "https://192.0.2.1/a/00ff");
        assert_eq!(body["priority"], "P1");
    }
    assert_ne!(header(&got[0], "x-signature"), header(&got[1], "x-signature"));
}

#[tokio::test]
async fn ntfy_gets_priority_and_buttons_and_must_answer_with_an_id() {
    let fake = FakeChannel::start([Reply::Answer(200, r#"{"id":"hwQ2YpKdmg"}"#), Reply::Answer(200, "<html>")]).await;
    let kind = ChannelKind::Ntfy { url: fake.url.clone(), token: Some(Secret::new("tk_1".to_owned())) };
    let channel = Channel { name: "lan".into(), kind };
    let page = page("lan", "duty", Priority::P1);
    let http = client().unwrap();
    let first = send(&channel, &page, Some("https://192.0.2.1/a/00ff"), &http, guanjia_field::now()).await;
    assert_eq!(first, Attempt::Delivered { provider_id: Some("hwQ2YpKdmg".to_owned()) });
    let second = send(&channel, &page, None, &http, guanjia_field::now()).await;
    assert!(matches!(second, Attempt::Retry { .. }), "a captive portal is no ntfy server");

    let got = fake.got();
    assert_eq!(got[0].headers["authorization"], "Bearer tk_1");
    let message: serde_json::Value = serde_json::from_str(&got[0].body).unwrap();
    assert_eq!((&message["topic"], &message["priority"]), (&"duty".into(), &5.into()));
    assert_eq!(message["click"], "https://192.0.2.1/a/00ff");
    assert_eq!((&message["actions"][1]["action"], &message["actions"][1]["method"]), (&"http".into(), &"POST".into()));
    assert!(!got[1].body.contains("actions"));
}

/// A relay for one message: answers RCPT with `rcpt` and the message with `data`, and returns what it was sent.
async fn relay(rcpt: &'static str, data: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 sink\r\n").await.unwrap();
        let (mut all, mut in_data) = (String::new(), false);
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            all.push_str(&line);
            let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
            let reply = match verb.as_str() {
                _ if in_data && line == ".\r\n" => {
                    in_data = false;
                    data
                }
                _ if in_data => "",
                "RCPT" => rcpt,
                "DATA" => {
                    in_data = true;
                    "354 go on\r\n"
                }
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            if stream.write_all(reply.as_bytes()).await.is_err() {
                break;
            }
            line.clear();
        }
        all
    });
    (address, task)
}

async fn mail(rcpt: &'static str, data: &'static str) -> (Attempt, String, PageRecord) {
    let (address, task) = relay(rcpt, data).await;
    let kind = ChannelKind::Smtp {
        host: address.ip().to_string(),
        port: address.port(),
        security: SmtpSecurity::None,
        login: None,
        from: "管家 <gateway@example.test>".to_owned(),
    };
    let channel = Channel { name: "mail".into(), kind };
    let mut page = page("mail", "duty@example.test", Priority::P2);
    page.title = "水浸\r\nBcc: all@example.test".to_owned();
    let link = Some("https://192.0.2.1/a/00ff");
    let attempt = send(&channel, &page, link, &client().unwrap(), guanjia_field::now()).await;
    (attempt, task.await.unwrap(), page)
}

#[tokio::test]
async fn mail_is_taken_deferred_or_refused_by_reply_code() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (attempt, sent, page) = mail("250 ok\r\n", "250 2.0.0 queued as 7\r\n").await;
    assert!(matches!(attempt, Attempt::Delivered { .. }), "{attempt:?}");
    assert!(sent.contains(&format!("Message-ID: <{}@example.test>", page.id)), "{sent}");
    assert!(sent.contains("RCPT TO:<duty@example.test>"));
    assert!(!sent.contains("\nBcc:"), "a title cannot add a header");

    let (attempt, ..) = mail("450 4.2.0 greylisted\r\n", "250 ok\r\n").await;
    assert!(matches!(attempt, Attempt::Retry { .. }), "{attempt:?}");
    let (attempt, ..) = mail("250 ok\r\n", "451 4.3.0 full\r\n").await;
    assert!(matches!(attempt, Attempt::Retry { .. }), "{attempt:?}");
    let (attempt, ..) = mail("550 5.1.1 nobody here\r\n", "250 ok\r\n").await;
    assert!(matches!(attempt, Attempt::Permanent(_)), "{attempt:?}");
}

#[tokio::test]
async fn an_address_that_is_no_mailbox_is_refused_before_the_relay_is_asked() {
    let kind = ChannelKind::Smtp {
        host: "192.0.2.1".to_owned(),
        port: 25,
        security: SmtpSecurity::None,
        login: None,
        from: "gateway@example.test".to_owned(),
    };
    let channel = Channel { name: "mail".into(), kind };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let page = page("mail", "duty", Priority::P2);
    let attempt = send(&channel, &page, None, &client().unwrap(), guanjia_field::now()).await;
    assert!(matches!(attempt, Attempt::Permanent(why) if why.contains("mailbox")));
}
