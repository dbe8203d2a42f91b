use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Fixture {
    phone: Phone,
    http: String,
    smtp: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn phone() -> Fixture {
    let stop = CancellationToken::new();
    let http = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let smtp = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let url = format!("http://{}", http.local_addr().expect("it is bound"));
    let smtp_address = smtp.local_addr().expect("it is bound");
    let phone = Phone::start(http, smtp, crate::tests::client(), &stop, &TaskTracker::new());
    Fixture { phone, http: url, smtp: smtp_address, stop }
}

#[tokio::test]
async fn a_page_is_kept_with_its_headers_and_the_key_decides_about_its_signature() {
    let fixture = phone().await;
    fixture.phone.set_webhook_key("k");
    let client = crate::tests::client();
    let body = "{\"text\":\"火警\"}";
    for (signature, status) in [(super::http::sign("k", "1", body), 200), (super::http::sign("other", "1", body), 401)]
    {
        let answer = client
            .post(format!("{}/webhook/zhang", fixture.http))
            .header("X-Timestamp", "1")
            .header("X-Signature", signature)
            .header("Idempotency-Key", "p-1")
            .body(body)
            .send()
            .await
            .expect("it answers");
        assert_eq!(answer.status().as_u16(), status);
    }
    let pages = fixture.phone.pages();
    assert_eq!((pages[0].signature, pages[1].signature), (Signature::Valid, Signature::Invalid));
    assert_eq!((pages[0].body.as_str(), pages[0].idempotency_key()), (body, Some("p-1")));
}

#[test]
fn the_signature_is_what_another_implementation_computes() {
    let expected = "sha256=601360959fff916f6f9839ff092b9e7e89bc74224ea07ab7526415dfe879f660";
    assert_eq!(super::http::sign("Jefe", "1732000000", "what do ya want"), expected);
}

#[tokio::test]
async fn a_phone_that_is_busy_refuses_or_hangs_does_so_and_remembers_the_page() {
    let fixture = phone().await;
    let client = crate::tests::client();
    let page = json_page("li");
    for (mode, status) in [(PhoneMode::Refuse, 500), (PhoneMode::Busy { retry_after: 7 }, 429), (PhoneMode::Gone, 410)]
    {
        fixture.phone.set_person("li", Person { mode, acknowledge_after_ms: None });
        let answer = client.post(format!("{}/ntfy", fixture.http)).body(page.clone()).send().await.expect("it answers");
        assert_eq!(answer.status().as_u16(), status);
        let wait = answer.headers().get("retry-after").map(|value| value.to_str().expect("a number").to_owned());
        assert_eq!(wait.as_deref(), (status == 429).then_some("7"));
    }
    fixture.phone.set_person("li", Person { mode: PhoneMode::Hang, acknowledge_after_ms: None });
    let request = client.post(format!("{}/ntfy", fixture.http)).body(page).timeout(Duration::from_millis(200));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    assert_eq!(fixture.phone.pages().len(), 4);
}

fn json_page(topic: &str) -> String {
    format!("{{\"topic\":\"{topic}\",\"message\":\"m\",\"priority\":5}}")
}

/// A gateway that counts how often its link was opened and its button pressed.
async fn gateway() -> (String, Arc<(AtomicU32, AtomicU32)>) {
    let counts = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let router = Router::new()
        .route(
            "/a/77",
            get(async |State(counts): State<Arc<(AtomicU32, AtomicU32)>>| {
                counts.0.fetch_add(1, Ordering::SeqCst);
                axum::response::Html("<form method=\"post\"><input type=\"hidden\" name=\"t\" value=\"9\"></form>")
            })
            .post(async |State(counts): State<Arc<(AtomicU32, AtomicU32)>>, body: String| {
                counts.1.fetch_add(u32::from(body == "t=9"), Ordering::SeqCst);
                "accepted"
            }),
        )
        .with_state(Arc::clone(&counts));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, counts)
}

#[tokio::test]
async fn a_person_opens_the_link_and_presses_the_button_by_order_or_after_a_while() {
    let fixture = phone().await;
    let (gateway, counts) = gateway().await;
    assert!(matches!(fixture.phone.acknowledge("wang").await, Err(SimError::NothingToAcknowledge(_))));
    let body = format!("{{\"topic\":\"wang\",\"message\":\"m\",\"click\":\"{gateway}/a/77\"}}");
    let send = || crate::tests::client().post(format!("{}/ntfy", fixture.http)).body(body.clone()).send();
    send().await.expect("it answers");
    assert_eq!(fixture.phone.acknowledge("wang").await.expect("the gateway accepts"), "accepted");
    assert_eq!((counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst)), (1, 1));
    fixture.phone.set_person("wang", Person { mode: PhoneMode::Accept, acknowledge_after_ms: Some(10) });
    send().await.expect("it answers");
    crate::tests::until("the second acknowledgement", || counts.1.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn mail_becomes_a_page_of_each_recipient() {
    let fixture = phone().await;
    let mut socket = tokio::net::TcpStream::connect(fixture.smtp).await.expect("it listens");
    let dialogue = "EHLO x\r\nMAIL FROM:<gw@example.org>\r\nRCPT TO:<zhao@example.org>\r\nRCPT TO:<qian@example.org>\r\n\
                    DATA\r\nMessage-ID: <p-9@gw>\r\nSubject: fire\r\n\r\n..see http://192.0.2.1/a/5\r\n.\r\nQUIT\r\n";
    socket.write_all(dialogue.as_bytes()).await.expect("it reads");
    let mut answers = String::new();
    socket.read_to_string(&mut answers).await.expect("it answers and closes");
    assert!(answers.contains("354 ") && answers.contains("250 taken") && answers.contains("221 "), "{answers}");
    for person in ["zhao", "qian"] {
        let page = fixture.phone.wait_for_page(|page| page.person == person, Duration::from_secs(1)).await;
        let page = page.expect("the page arrived");
        assert_eq!(page.ack_link.as_deref(), Some("http://192.0.2.1/a/5"));
        assert!(page.body.starts_with(".see"), "dot-stuffing is undone");
        assert_eq!(page.idempotency_key(), Some("<p-9@gw>"));
    }
}
