//! Top-ups: money that came once is credited once, whatever the network, the channel and the power do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use guanjia_core::ledger::TransferKind;
use guanjia_core::units::{Fen, Hao};
use guanjia_sim::{BuildingConfig, PayMode, Payment, Standing};
use guanjia_store::BillingTarget;
use guanjia_tests::books::{Books, billing_matches, end_forwarded, proved_journal};
use guanjia_tests::house::{House, TOKEN, quick};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(15);

fn body(service_point: &str, amount: &str, transaction: Option<&str>) -> Value {
    json!({
        "service_point": service_point, "amount": amount, "channel": "demo-pay", "channel_transaction": transaction,
    })
}

/// Receipts of a service point, and their sum in fen.
async fn credited(house: &House, service_point: &str) -> anyhow::Result<(i64, i64)> {
    let mut journal = Books::journal(house).await?;
    let count = journal.number("SELECT COUNT(*) FROM receipts WHERE service_point = $1", service_point).await?;
    let sum = journal.number("SELECT SUM(amount) FROM receipts WHERE service_point = $1", service_point).await?;
    Ok((count.unwrap_or(0), sum.unwrap_or(0)))
}

async fn paid(house: &House, service_point: &str, amount: &str, mode: PayMode) -> anyhow::Result<Payment> {
    let transaction = house.building.payments().pay(service_point, amount, mode)?;
    let payment = house.building.payments().wait_settled(&transaction, LIMIT).await.context("the channel settles")?;
    anyhow::ensure!(payment.standing == Standing::Settled, "{payment:#?}");
    Ok(payment)
}

#[tokio::test]
async fn however_often_a_payment_is_told_of_it_is_credited_once() -> anyhow::Result<()> {
    let house = House::start().await?;

    let copies = paid(&house, "s-104-e", "12.34", PayMode::Parallel(50)).await?;
    let mut statuses: Vec<_> = copies.attempts.iter().filter_map(|attempt| attempt.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses.len(), 50);
    assert_eq!((statuses[0], statuses[48], statuses[49]), (200, 200, 201), "{statuses:?}");
    let answers = copies.attempts.iter().map(|attempt| serde_json::from_str::<Value>(&attempt.answer));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "fifty different answers");
    assert_eq!(answers[0]["amount"], "12.34");
    assert_eq!(credited(&house, "s-104-e").await?, (1, 1_234));

    // The same key for another amount: refused, and without effect.
    let (status, problem) = house.gateway.top_up(TOKEN, &copies.transaction, &body("s-104-e", "99.00", None)).await?;
    assert_eq!((status, &problem["code"]), (422, &"idempotency_key_reused".into()));
    // Another key for the same transaction of the channel: the first receipt again.
    let repeated = body("s-104-e", "12.34", Some(&copies.transaction));
    let (status, receipt) = house.gateway.top_up(TOKEN, "another-key", &repeated).await?;
    assert_eq!((status, &receipt["receipt"]), (200, &answers[0]["receipt"]));
    assert_eq!(credited(&house, "s-104-e").await?, (1, 1_234));

    let twice = paid(&house, "s-106-e", "1.00", PayMode::Twice).await?;
    assert_eq!(twice.attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(201), Some(200)]);
    paid(&house, "s-106-e", "2.00", PayMode::Late(300)).await?;
    let withheld = house.building.payments().pay("s-106-e", "4.00", PayMode::Never)?;
    assert_eq!(credited(&house, "s-106-e").await?, (2, 300));
    house.building.payments().settle(&withheld)?;
    house.building.payments().wait_settled(&withheld, LIMIT).await.context("the channel settles")?;
    assert_eq!(credited(&house, "s-106-e").await?, (3, 700));
    let receipt = house.api(&format!("/top-ups/{withheld}")).await?;
    assert_eq!(receipt["amount"], "4.00");
    Ok(())
}

#[tokio::test]
async fn who_may_not_pay_or_says_nonsense_changes_nothing() -> anyhow::Result<()> {
    let secrets = tempfile::tempdir()?;
    let token = secrets.path().join("viewer.token");
    std::fs::write(&token, "test-viewer-token-0123456789abcdef\n")?;
    let viewer = format!("[api_client.viewer]\ntoken = {{ file = \"{}\" }}\nmay = [\"read\"]\n", token.display());
    let house = House::start_with(quick(), |_| {}, |text| format!("{text}\n{viewer}")).await?;
    let good = body("s-104-e", "1.00", None);
    for (token, key, body, wanted) in [
        ("", "k1", good.clone(), 401),
        ("wrong-token-0123456789abcdef0123", "k1", good.clone(), 401),
        ("test-viewer-token-0123456789abcdef", "k1", good.clone(), 403),
        (TOKEN, "", good.clone(), 400),
        (TOKEN, &"k".repeat(129), good.clone(), 400),
        (TOKEN, "k1", json!("not a top-up"), 400),
        (TOKEN, "k1", body("s-104-e", "0.00", None), 400),
        (TOKEN, "k1", body("s-104-e", "-1.00", None), 400),
        (TOKEN, "k1", body("s-104-e", "1.005", None), 400),
        (TOKEN, "k1", body("s-104-e", "1e3", None), 400),
        (TOKEN, "k1", json!({ "service_point": "s-104-e", "amount": 1.0, "channel": "cashier" }), 400),
        (TOKEN, "k1", json!({ "service_point": "s-104-e", "amount": "1.00", "channel": "cashier", "tip": 1 }), 400),
        (TOKEN, "k1", body("s-999-e", "1.00", None), 404),
    ] {
        let (status, answer) = house.gateway.top_up(token, key, &body).await?;
        assert_eq!(status, wanted, "{body}: {answer}");
        assert!(answer["code"].is_string() && answer["title_zh"].is_string(), "{answer}");
    }
    assert_eq!(credited(&house, "s-104-e").await?, (0, 0));
    // After all that, the key is still unused.
    let (status, _) = house.gateway.top_up(TOKEN, "k1", &good).await?;
    assert_eq!(status, 201);
    assert_eq!(credited(&house, "s-104-e").await?, (1, 100));
    Ok(())
}

/// A till that pays one fen more each time, each with its own key, and repeats until it is answered; the number of
/// top-ups that were acknowledged.
async fn till(base: String, stop: Arc<AtomicBool>) -> anyhow::Result<u32> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let fen = acknowledged + 1;
        let body = body("s-105-e", &format!("{}.{:02}", fen / 100, fen % 100), None).to_string();
        loop {
            let request = client.post(format!("{base}/api/v1/top-ups")).bearer_auth(TOKEN);
            let request = request.header("Idempotency-Key", key(fen)).header("Content-Type", "application/json");
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => break,
                Ok(answer) if answer.status().is_client_error() => anyhow::bail!("refused: {}", answer.text().await?),
                // Not answered, or not now: unchanged, and with the same key.
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        acknowledged = fen;
    }
    Ok(acknowledged)
}

fn key(fen: u32) -> String {
    format!("till-{fen:05}")
}

#[tokio::test]
async fn no_kill_loses_or_doubles_a_top_up_an_interval_or_a_billing_row() -> anyhow::Result<()> {
    const KILLS: usize = 10;
    let mut house = House::start_with(BuildingConfig { speed: 300.0, ..quick() }, |_| {}, |text| text).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let till = tokio::spawn(till(house.gateway.base().to_owned(), Arc::clone(&stop)));
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..900))).await;
        house.gateway.kill();
        house.gateway.restart().await?;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = till.await??;
    assert!(acknowledged as usize > KILLS, "the till got {acknowledged} answers");
    let (status, problem) = house.gateway.top_up(TOKEN, &key(1), &body("s-105-e", "7.77", None)).await?;
    assert_eq!((status, &problem["code"]), (422, &"idempotency_key_reused".into()), "keys outlive every kill");
    end_forwarded(&mut house).await?;

    let store = proved_journal(&house).await?;
    for fen in 1..=acknowledged {
        let receipt =
            store.top_up_by_key("cashier", &key(fen)).await?.with_context(|| format!("{} is lost", key(fen)))?;
        assert_eq!(receipt.amount, Fen(i64::from(fen)));
    }
    let lines = store.statement("s-105-e", 10_000).await?;
    let sum = |kind| lines.iter().filter(|line| line.kind == kind).map(|line| line.amount.0).sum::<i64>();
    let fen_acknowledged: i64 = (1..=i64::from(acknowledged)).sum();
    assert_eq!(sum(TransferKind::TopUp), fen_acknowledged * Hao::PER_FEN, "each once, and nothing else");
    assert!(sum(TransferKind::Usage) < 0, "the shop was open all the time");
    let wallet = store.wallet("s-105-e").await?.context("the wallet")?;
    assert_eq!(wallet.balance.0, 2_000 * Hao::PER_YUAN + sum(TransferKind::TopUp) + sum(TransferKind::Usage));
    billing_matches(&store, &BillingTarget::Sqlite(house.journal().join("billing.db"))).await
}
