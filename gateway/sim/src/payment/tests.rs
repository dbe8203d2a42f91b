use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;

use super::*;

type Calls = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A gateway that fails the first `failures` calls and records all of them.
async fn gateway(failures: usize) -> (String, Calls) {
    let calls: Calls = Arc::default();
    let top_up = async move |State(calls): State<Calls>, headers: HeaderMap, body: String| {
        assert_eq!(headers["authorization"], "Bearer t0");
        let key = headers["idempotency-key"].to_str().expect("visible ASCII").to_owned();
        let mut calls = lock(&calls);
        calls.push((key, serde_json::from_str(&body).expect("JSON")));
        if calls.len() <= failures { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED }
    };
    let router = Router::new().route("/api/v1/top-ups", post(top_up)).with_state(Arc::clone(&calls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

async fn channel(failures: usize) -> (PaymentChannel, Calls) {
    let (url, calls) = gateway(failures).await;
    let channel = PaymentChannel::new(crate::tests::client(), &CancellationToken::new(), &TaskTracker::new());
    channel.set_gateway(&url, "t0");
    (channel, calls)
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_callback_is_repeated_with_the_same_number_until_it_succeeds() {
    let (channel, calls) = channel(2).await;
    let transaction = channel.pay("s-101-e", "50.00", PayMode::Once).expect("it pays");
    let payment = channel.wait_settled(&transaction, LIMIT).await.expect("it settles");
    assert_eq!(payment.standing, Standing::Settled);
    let statuses: Vec<_> = payment.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(201)]);
    let calls = lock(&calls);
    assert!(calls.iter().all(|(key, body)| *key == transaction
        && body["channel_transaction"] == transaction.as_str()
        && body["service_point"] == "s-101-e"
        && body["amount"] == "50.00"));
}

#[tokio::test]
async fn twice_and_parallel_copies_are_of_one_payment() {
    let (channel, calls) = channel(0).await;
    let twice = channel.pay("s-101-e", "1.00", PayMode::Twice).expect("it pays");
    channel.wait_settled(&twice, LIMIT).await.expect("it settles");
    let many = channel.pay("s-102-e", "2.00", PayMode::Parallel(10)).expect("it pays");
    channel.wait_settled(&many, LIMIT).await.expect("it settles");
    let count = |key: &str| lock(&calls).iter().filter(|(k, _)| k == key).count();
    assert_eq!((count(&twice), count(&many)), (2, 10));
    assert!(channel.pay("s-1", "1.00", PayMode::Parallel(0)).is_err());
}

#[tokio::test]
async fn a_withheld_payment_calls_only_when_told() {
    let (channel, calls) = channel(0).await;
    let transaction = channel.pay("s-101-e", "1.00", PayMode::Never).expect("it pays");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lock(&calls).is_empty());
    channel.settle(&transaction).expect("it is known");
    assert_eq!(channel.wait_settled(&transaction, LIMIT).await.expect("it settles").attempts.len(), 1);
    assert!(channel.settle("other").is_err());
}
