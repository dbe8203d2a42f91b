//! Programs: money is credited once whatever is repeated, and nobody does what they may not.

use guanjia_core::credit::CreditState;
use guanjia_core::ledger::TransferKind;
use guanjia_core::reconcile::{MeterMark, Span};
use guanjia_core::units::Fen;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::house::House;

fn order() -> Value {
    json!({ "service_point": "s-1-e", "amount": "50.00", "channel": "cashier" })
}

async fn pay(house: &House, client: &str, key: &str, body: &Value) -> reqwest::Response {
    house
        .http
        .post(format!("{}/api/v1/top-ups", house.url))
        .bearer_auth(format!("{client}-token"))
        .header("Idempotency-Key", key)
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

async fn code(response: reqwest::Response) -> (StatusCode, String) {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    for key in ["title", "title_zh", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {problem}");
    }
    assert_eq!(problem["status"], status.as_u16());
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn fifty_copies_in_parallel_are_one_credit_and_fifty_equal_answers() {
    let house = House::open().await;
    let poked = house.live.prepaid.notified();
    let body = order();
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (http, url, body) = (house.http.clone(), house.url.clone(), body.to_string());
        copies.spawn(async move {
            let request = http.post(format!("{url}/api/v1/top-ups")).bearer_auth("cashier-token");
            let response = request.header("Idempotency-Key", "k-1").body(body).send().await.unwrap();
            let replayed = response.headers().get("idempotent-replayed").is_some();
            (response.status(), replayed, response.text().await.unwrap())
        });
    }
    let answers = copies.join_all().await;
    let created = answers.iter().filter(|(status, ..)| *status == StatusCode::CREATED).count();
    assert_eq!(created, 1, "{answers:?}");
    for (status, replayed, body) in &answers {
        assert_eq!(*replayed, *status == StatusCode::OK);
        assert_eq!(*body, answers[0].2);
    }
    tokio::time::timeout(std::time::Duration::from_secs(1), poked).await.expect("the supply side is told");
    let lines = house.live.store.statement("s-1-e", 100).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.kind == TransferKind::TopUp).count(), 1);
    let text = crate::metrics::render(&house.metrics, &house.live).concat();
    assert!(
        text.contains("guanjia_prepaid_topup_yuan_total{channel=\"cashier\",utility=\"electricity\"} 50\n"),
        "{text}"
    );
}

#[tokio::test]
async fn the_same_key_for_another_amount_is_refused_without_effect() {
    let house = House::open().await;
    assert_eq!(pay(&house, "cashier", "k-1", &order()).await.status(), StatusCode::CREATED);
    let mut other = order();
    other["amount"] = json!("50.01");
    let refused = code(pay(&house, "cashier", "k-1", &other).await).await;
    assert_eq!(refused, (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused".to_owned()));
    assert_eq!(house.live.store.wallet("s-1-e").await.unwrap().unwrap().balance.to_string(), "50.0000");
    // Keys are each client's own: another client's same key is another payment.
    assert_eq!(pay(&house, "kiosk", "k-1", &order()).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_channels_own_transaction_is_credited_once_under_any_key() {
    let house = House::open().await;
    let mut body = order();
    body["channel_transaction"] = json!("wx-1");
    assert_eq!(pay(&house, "cashier", "k-1", &body).await.status(), StatusCode::CREATED);
    let second = pay(&house, "cashier", "k-2", &body).await;
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(second.headers()["already-credited"], "true");
    assert_eq!(house.live.store.wallet("s-1-e").await.unwrap().unwrap().balance.to_string(), "50.0000");
}

#[tokio::test]
async fn what_is_not_a_payment_is_refused_by_name() {
    let house = House::open().await;
    let bad = |field: &str, value: Value| {
        let mut body = order();
        body[field] = value;
        body
    };
    for body in [
        bad("amount", json!(50)),
        bad("amount", json!("0.00")),
        bad("amount", json!("1.234")),
        bad("amount", json!("-5")),
        bad("channel", json!("")),
        bad("channel", json!("with space")),
        bad("channel_transaction", json!("")),
        bad("surprise", json!(1)),
        json!({ "service_point": "s-1-e" }),
        json!([1]),
    ] {
        let refused = code(pay(&house, "cashier", "k", &body).await).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, "bad_request".to_owned()), "{body}");
    }
    let unknown = bad("service_point", json!("s-9-e"));
    assert_eq!(code(pay(&house, "cashier", "k", &unknown).await).await.0, StatusCode::NOT_FOUND);
    for key in ["", "two words", &"x".repeat(129)] {
        assert_eq!(code(pay(&house, "cashier", key, &order()).await).await.0, StatusCode::BAD_REQUEST, "{key:?}");
    }
    let url = format!("{}/api/v1/top-ups", house.url);
    let keyless = house.http.post(&url).bearer_auth("cashier-token").body(order().to_string()).send().await.unwrap();
    assert_eq!(code(keyless).await.0, StatusCode::BAD_REQUEST);
    let huge = bad("channel", json!("x".repeat(70_000)));
    assert_eq!(code(pay(&house, "cashier", "k", &huge).await).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    // None of them burnt the key.
    assert_eq!(pay(&house, "cashier", "k", &order()).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn nobody_does_what_their_token_does_not_allow() {
    let house = House::open().await;
    assert_eq!(code(pay(&house, "nobody", "k", &order()).await).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(code(pay(&house, "office", "k", &order()).await).await.0, StatusCode::FORBIDDEN);
    for path in ["top-ups/k", "service-points", "service-points/s-1-e/statement", "devices/m-1", "alarms", "incidents"]
    {
        let url = format!("{}/api/v1/{path}", house.url);
        let bare = house.http.get(&url).send().await.unwrap();
        assert_eq!(code(bare).await, (StatusCode::UNAUTHORIZED, "unauthorized".to_owned()), "{path}");
    }
    let url = format!("{}/api/v1/incidents/{}/acknowledge", house.url, house.incident);
    let bare = house.http.post(&url).send().await.unwrap();
    assert_eq!(code(bare).await.0, StatusCode::UNAUTHORIZED);
    let cashier = house.http.post(&url).bearer_auth("cashier-token").send().await.unwrap();
    assert_eq!(code(cashier).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_payment_can_be_looked_up_by_its_key_and_only_by_its_client() {
    let house = House::open().await;
    let url = format!("{}/api/v1/top-ups/k-1", house.url);
    let ask = async |client: &str| house.http.get(&url).bearer_auth(format!("{client}-token")).send().await.unwrap();
    assert_eq!(ask("cashier").await.status(), StatusCode::NOT_FOUND);
    let paid: Value = pay(&house, "cashier", "k-1", &order()).await.json().await.unwrap();
    assert_eq!(ask("cashier").await.json::<Value>().await.unwrap(), paid);
    assert_eq!(paid["amount"], "50.00");
    assert_eq!(paid["balance"], "50.0000");
    assert_eq!(ask("kiosk").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_closed_store_says_so_and_the_caller_may_repeat() {
    let house = House::open().await;
    house.live.store.close().await;
    let refused = pay(&house, "cashier", "k-1", &order()).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(code(refused).await, (StatusCode::SERVICE_UNAVAILABLE, "unavailable".to_owned()));
    let (status, text) = house.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("\"store\""), "{text}");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    use tokio::io::AsyncWriteExt;
    let house = House::open().await;
    let body = order().to_string();
    let request = format!(
        "POST /api/v1/top-ups HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer cashier-token\r\n\
         Idempotency-Key: gone\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(house.url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    drop(socket);
    // Either the server never read the request, or it was carried out to the end; the repetition settles it.
    let again = pay(&house, "cashier", "gone", &order()).await;
    assert!(again.status().is_success());
    assert_eq!(house.live.store.wallet("s-1-e").await.unwrap().unwrap().balance.to_string(), "50.0000");
}

#[tokio::test]
async fn looking_answers_why_it_is_dark_and_what_happened() {
    let house = House::open().await;
    house.read(
        "m-1",
        "active_power_total",
        guanjia_core::reading::Value::Decimal(guanjia_core::reading::Decimal::new(2500, -3)),
    );
    let ask = async |path: &str| {
        let request = house.http.get(format!("{}/api/v1/{path}", house.url)).bearer_auth("office-token");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json::<Value>().await.unwrap()
    };
    let dark = ask("service-points/s-1-e").await;
    assert_eq!(dark["desired"], "off");
    assert_eq!(dark["reasons"], json!(["balance"]));
    assert_eq!(dark["balance"], "0.0000", "what the journal says now, not what the board showed last");
    assert_eq!(dark["state"], "cut");
    assert_eq!(ask("service-points/s-2-e").await["exempt"], json!({ "why": "cold-store" })["why"]);
    let device = ask("devices/m-1").await;
    assert_eq!(device["points"][1]["value"], 2.5);
    assert_eq!(device["points"][1]["quality"], "good");
    assert_eq!(device["points"][0]["quality"], "bad");
    assert_eq!(device["points"][0]["why"], "never_read");
    assert_eq!(ask("alarms").await["alarms"][0]["priority"], "P1");
    let incident = ask(&format!("incidents/{}", house.incident)).await;
    assert_eq!(incident["timeline"].as_array().unwrap().len(), 2);
    assert_eq!(incident["pages"][0]["state"], "pending");
    assert!(!incident.to_string().contains(super::house::TOKEN), "a reader must not learn the link's token");
    assert_eq!(ask("service-points").await["service_points"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_incident_is_accepted_in_a_known_name_once() {
    let house = House::open().await;
    let url = format!("{}/api/v1/incidents/{}/acknowledge", house.url, house.incident);
    let send = async |body: &str| {
        house.http.post(&url).bearer_auth("office-token").body(body.to_owned()).send().await.unwrap()
    };
    assert_eq!(code(send(r#"{"person":"stranger"}"#).await).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(send(r#"{"person":"duty-b"}"#).await.status(), StatusCode::OK);
    let after = house.live.store.incident(house.incident).await.unwrap().unwrap();
    assert_eq!(after.acked_by.as_deref(), Some("duty-b"));
    assert_eq!(code(send("").await).await.0, StatusCode::CONFLICT);
}

/// The house with two top-ups that wait for a person: one that was sent, one that never was.
async fn with_credits_that_wait() -> House {
    let house = House::open().await;
    let store = &house.live.store;
    for (receipt, count) in [(1, Some(8)), (2, None)] {
        let body = json!({ "service_point": "s-2-w", "amount": "50.00", "channel": "cashier" });
        assert_eq!(pay(&house, "cashier", &format!("k-{receipt}"), &body).await.status(), StatusCode::CREATED);
        if let Some(count) = count {
            store.send_credit(receipt, count, guanjia_field::now()).await.unwrap();
        }
        let why = "the meter has this purchase count with another amount";
        store.settle_credit(receipt, CreditState::Manual, why, guanjia_field::now()).await.unwrap();
    }
    house
}

#[tokio::test]
async fn a_credit_that_waits_for_a_person_is_settled_once_by_name_with_a_reason() {
    let house = with_credits_that_wait().await;
    let settle = async |path: &str, token: &str, body: Value| {
        let url = format!("{}/api/v1/service-points/{path}/settle", house.url);
        house.http.post(url).bearer_auth(token).body(body.to_string()).send().await.unwrap()
    };
    let list = house.http.get(format!("{}/api/v1/meter-credits", house.url)).bearer_auth("office-token");
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    let waiting: Vec<_> =
        list["meter_credits"].as_array().unwrap().iter().map(|c| (&c["receipt"], &c["state"])).collect();
    assert_eq!(waiting, [(&json!(1), &json!("manual")), (&json!(2), &json!("manual"))]);

    let found = |finding: &str, reason: &str| json!({ "finding": finding, "reason": reason, "person": "duty-b" });
    let (good, first) = (found("applied", "read at the meter: 8, 50.00"), "s-2-w/credits/1");
    for (path, token, body, wanted) in [
        (first, "cashier-token", good.clone(), StatusCode::FORBIDDEN),
        (first, "office-token", json!({ "finding": "applied" }), StatusCode::BAD_REQUEST),
        (first, "office-token", found("maybe", "x"), StatusCode::BAD_REQUEST),
        (first, "office-token", found("applied", " "), StatusCode::BAD_REQUEST),
        (
            first,
            "office-token",
            json!({ "finding": "applied", "reason": "x", "person": "stranger" }),
            StatusCode::BAD_REQUEST,
        ),
        ("s-1-e/credits/1", "office-token", good.clone(), StatusCode::NOT_FOUND),
        ("s-2-w/credits/9", "office-token", good.clone(), StatusCode::NOT_FOUND),
        ("s-2-w/credits/2", "office-token", good.clone(), StatusCode::CONFLICT),
    ] {
        let (status, _) = code(settle(path, token, body.clone()).await).await;
        assert_eq!(status, wanted, "{path} {token} {body}");
    }
    let held = async || {
        let wallet = house.live.store.wallet("s-2-w").await.unwrap().unwrap();
        (wallet.balance.to_string(), wallet.in_meter.to_string())
    };
    assert_eq!(held().await, ("100.0000".to_owned(), "0.0000".to_owned()), "a refusal moves nothing");
    assert_eq!(settle(first, "office-token", good.clone()).await.status(), StatusCode::OK);
    assert_eq!(held().await, ("100.0000".to_owned(), "50.0000".to_owned()));
    for again in [good, found("not-applied", "no, it is not")] {
        assert_eq!(code(settle(first, "office-token", again).await).await.0, StatusCode::CONFLICT);
    }
    assert_eq!(
        settle("s-2-w/credits/2", "office-token", found("not-applied", "never sent")).await.status(),
        StatusCode::OK
    );
    assert_eq!(held().await, ("100.0000".to_owned(), "50.0000".to_owned()));
    let ask = house.http.get(format!("{}/api/v1/service-points/s-2-w", house.url)).bearer_auth("office-token");
    let point: Value = ask.send().await.unwrap().json().await.unwrap();
    assert_eq!((&point["in_meter"], &point["meter_credits"][1]["decided_by"]), (&json!("50.0000"), &json!("duty-b")));
    let told = house.live.store.timeline_after(0, 100).await.unwrap();
    assert!(
        told.iter().any(|(_, line)| line.what == "meter_credit_decided" && line.detail.contains("by duty-b (api)"))
    );
}

#[tokio::test]
async fn the_console_asks_for_a_person_and_a_reason_and_settles_once() {
    let house = with_credits_that_wait().await;
    let (_, page) = house.get("/shops/s-2-w?lang=en").await;
    assert!(page.contains("The top-up of receipt 1 waits for a person") && page.contains("another amount"), "{page}");
    let send = async |form: &str| {
        let request = house.http.post(format!("{}/shops/s-2-w/credits/1/settle", house.url));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").header("Origin", &house.url);
        request.body(form.to_owned()).send().await.unwrap().status()
    };
    assert_eq!(send("finding=applied&reason=read").await, StatusCode::BAD_REQUEST, "who?");
    assert_eq!(send("finding=applied&reason=&person=duty-a").await, StatusCode::BAD_REQUEST, "how?");
    assert_eq!(send("finding=applied&reason=read&person=duty-a").await, StatusCode::SEE_OTHER);
    assert_eq!(send("finding=not-applied&reason=read&person=duty-a").await, StatusCode::CONFLICT);
    let (_, page) = house.get("/shops/s-2-w?lang=en").await;
    assert!(page.contains("in the meter") && !page.contains("The top-up of receipt 1 waits"), "{page}");
    assert_eq!(house.live.store.wallet("s-2-w").await.unwrap().unwrap().in_meter.to_string(), "50.0000");
}

#[tokio::test]
async fn a_difference_is_explained_by_name_with_a_reason_and_once() {
    let house = House::open().await;
    let at = guanjia_field::now();
    let counter = Span { least: 40, most: 40 };
    let mark = MeterMark {
        service_point: "s-2-w".to_owned(),
        at,
        count: 8,
        balance: 1_250,
        counter,
        price: 28_500,
        credited: Fen(5_000),
        credits: 1,
    };
    house.live.store.set_meter_mark(mark.clone()).await.unwrap();
    let explain = async |point: &str, token: &str, body: Value| {
        let url = format!("{}/api/v1/service-points/{point}/explain-difference", house.url);
        house.http.post(url).bearer_auth(token).body(body.to_string()).send().await.unwrap()
    };
    let good = json!({ "reason": "a card was read in at the meter", "person": "duty-b" });
    for (point, token, body, wanted) in [
        ("s-2-w", "cashier-token", good.clone(), StatusCode::FORBIDDEN),
        ("s-2-w", "office-token", json!({ "person": "duty-b" }), StatusCode::BAD_REQUEST),
        ("s-2-w", "office-token", json!({ "reason": " ", "person": "duty-b" }), StatusCode::BAD_REQUEST),
        ("s-2-w", "office-token", json!({ "reason": "x", "person": "stranger" }), StatusCode::BAD_REQUEST),
        ("s-1-e", "office-token", good.clone(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(explain(point, token, body.clone()).await.status(), wanted, "{point} {token} {body}");
    }
    assert_eq!(house.live.store.meter_mark("s-2-w").await.unwrap(), Some(mark), "a refusal forgets nothing");
    assert_eq!(explain("s-2-w", "office-token", good.clone()).await.status(), StatusCode::OK);
    assert_eq!(house.live.store.meter_mark("s-2-w").await.unwrap(), None, "comparing begins anew");
    assert_eq!(explain("s-2-w", "office-token", good).await.status(), StatusCode::NOT_FOUND);
    let told = house.live.store.timeline_after(0, 100).await.unwrap();
    let lines = told.iter().filter(|(_, line)| line.what == "meter_difference_explained");
    let lines: Vec<_> = lines.map(|(_, line)| &*line.detail).collect();
    assert!(matches!(lines[..], [line] if line.contains("by duty-b (api): a card was read in")), "{lines:?}");
}

#[tokio::test]
async fn credits_that_are_not_settled_are_counted_by_state_and_age() {
    let house = with_credits_that_wait().await;
    let (_, page) = house.get("/metrics").await;
    assert!(page.contains("guanjia_meter_credits{state=\"manual\"} 0"), "the board is empty yet");
    assert!(!page.contains("\nguanjia_meter_credit_oldest"), "{page}");
    let open = house.live.store.open_credits().await.unwrap();
    let paid = open[0].paid_at.as_seconds_f64();
    house.live.open_credits.publish(open);
    let (_, page) = house.get("/metrics").await;
    for state in ["pending", "sent", "uncertain", "held"] {
        assert!(page.contains(&format!("guanjia_meter_credits{{state=\"{state}\"}} 0")), "{state}");
    }
    assert!(page.contains("guanjia_meter_credits{state=\"manual\"} 2"), "{page}");
    assert!(page.contains(&format!("guanjia_meter_credit_oldest_unsettled_timestamp_seconds {paid}")), "{page}");
}
