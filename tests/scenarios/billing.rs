//! The billing store on PostgreSQL: it may come late, crash and come back; rows arrive in order, each once.

use std::time::Duration;

use anyhow::Context;
use guanjia_sim::BuildingConfig;
use guanjia_store::{BillingStore, BillingTarget};
use guanjia_tests::books::{Books, SITE_ID, billing_matches, end_forwarded, proved_journal};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, TOKEN, quick};
use guanjia_tests::postgres::Pg;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

/// How many rows PostgreSQL has.
async fn rows(target: &BillingTarget) -> anyhow::Result<u64> {
    let billing = BillingStore::connect(target).await?;
    let counts = billing.counts(SITE_ID).await?;
    billing.close().await;
    Ok(counts.inbox)
}

#[tokio::test]
async fn a_billing_server_that_crashes_and_a_gateway_that_is_killed_leave_no_gap_and_no_double() -> anyhow::Result<()> {
    let Some(server) = Pg::start() else { return Ok(()) };
    let url = server.database().await;
    let secrets = tempfile::tempdir()?;
    let file = secrets.path().join("billing.url");
    std::fs::write(&file, &url)?;
    let target = BillingTarget::Postgres(url);
    let fast = BuildingConfig { speed: 300.0, ..quick() };
    let billing = format!("postgres = {{ file = \"{}\" }}", file.display());
    let mut house = House::start_with(fast, |options| options.billing = billing, |text| text).await?;
    let before =
        eventually("rows arrive", LIMIT, || async { Ok(Some(rows(&target).await?).filter(|n| *n > 50)) }).await?;

    server.crash();
    let paid = json!({ "service_point": "s-105-e", "amount": "12.34", "channel": "cashier" });
    let (status, _) = house.gateway.top_up(TOKEN, "while-billing-is-away", &paid).await?;
    assert_eq!(status, 201, "nobody at the till waits for the bookkeeper");
    eventually("rows wait in the journal", LIMIT, || async {
        let backlog = house.gateway.metric("guanjia_forward_backlog_records").await?;
        Ok(backlog.filter(|rows| *rows > 20.0))
    })
    .await?;
    assert!(house.gateway.get("/readyz").await.is_err_and(|error| error.to_string().contains("billing")));
    server.launch();
    eventually("forwarding goes on", LIMIT, || async { Ok(Some(rows(&target).await?).filter(|n| *n > before)) })
        .await?;

    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(100..600))).await;
        house.gateway.kill();
        house.gateway.restart().await?;
    }
    end_forwarded(&mut house).await?;
    let store = proved_journal(&house).await?;
    billing_matches(&store, &target).await?;
    let mut journal = Books::journal(&house).await?;
    let receipts = journal.number("SELECT COUNT(*) FROM receipts WHERE service_point = $1", "s-105-e").await?;
    assert_eq!(receipts.context("a count")?, 1);
    Ok(())
}
