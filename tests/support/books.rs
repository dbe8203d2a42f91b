//! The books from outside: what lies in the journal and in the billing store's file, read beside the running gateway,
//! and the proof of the journal after it has stopped.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use guanjia_store::{BillingStore, BillingTarget, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::gateway::eventually;
use crate::house::House;

/// The `site.id` of every simulated building.
pub const SITE_ID: &str = "harbour-plaza";

/// A read-only look at one SQLite file.
pub struct Books(SqliteConnection);

impl Books {
    /// The gateway's journal.
    pub async fn journal(house: &House) -> anyhow::Result<Self> {
        Self::open(&house.journal().join("guanjia.db")).await
    }

    /// The billing store of a house that keeps it in a file.
    pub async fn billing(house: &House) -> anyhow::Result<Self> {
        Self::open(&house.journal().join("billing.db")).await
    }

    async fn open(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let conn = SqliteConnection::connect_with(&options).await;
        conn.map(Self).with_context(|| format!("{} cannot be read", file.display()))
    }

    /// The one number that `sql` asks for; `$1` is `about`. `None` when there is no row or it is NULL.
    pub async fn number(&mut self, sql: &'static str, about: &str) -> anyhow::Result<Option<i64>> {
        let found: Option<Option<i64>> = sqlx::query_scalar(sql).bind(about).fetch_optional(&mut self.0).await?;
        Ok(found.flatten())
    }

    /// Every row's text that `sql` asks for; `$1` is `about`.
    pub async fn texts(&mut self, sql: &'static str, about: &str) -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar(sql).bind(about).fetch_all(&mut self.0).await?)
    }
}

/// Opens the journal of a house whose gateway has stopped, and proves it: chains, tiles, sums, keys.
///
/// # Errors
/// Every violation that was found.
pub async fn proved_journal(house: &House) -> anyhow::Result<Store> {
    let (store, _writer) = Store::open(&house.journal(), SITE_ID).await?;
    let violations = store.verify().await?;
    anyhow::ensure!(violations.is_empty(), "the journal is not sound: {violations:#?}");
    Ok(store)
}

/// Waits until the billing store has confirmed every row of the journal.
///
/// # Errors
/// When rows still wait after `within`.
pub async fn all_forwarded(house: &House, within: Duration) -> anyhow::Result<()> {
    eventually("every row is forwarded", within, || async { Ok((waiting(house).await? == 0).then_some(())) }).await
}

async fn waiting(house: &House) -> anyhow::Result<i64> {
    let sql = "SELECT (SELECT COUNT(*) FROM outbox) - confirmed FROM progress WHERE $1 = ''";
    Books::journal(house).await?.number(sql, "").await?.context("the journal knows its progress")
}

/// Ends the gateway in a moment in which everything it wrote has been forwarded.
///
/// # Errors
/// When there is no such moment.
pub async fn end_forwarded(house: &mut House) -> anyhow::Result<()> {
    for _ in 0..10 {
        all_forwarded(house, Duration::from_secs(15)).await?;
        house.gateway.kill();
        if waiting(house).await? == 0 {
            return Ok(());
        }
        // Another interval ended between the look and the kill.
        house.gateway.restart().await?;
    }
    anyhow::bail!("rows are written faster than they are forwarded")
}

/// Compares the billing store with the proved journal of a house whose gateway has stopped: as many rows, the same last
/// hash (each row holds the hash of the one before), and the same money in every wallet.
///
/// # Errors
/// The first difference.
pub async fn billing_matches(store: &Store, target: &BillingTarget) -> anyhow::Result<()> {
    let billing = BillingStore::connect(target).await?;
    let (cursor, counts) = (billing.cursor(SITE_ID, store.epoch()).await?, billing.counts(SITE_ID).await?);
    let mut last = store.outbox_after(cursor.next.saturating_sub(2), 10).await?;
    let newest = last.pop().context("the journal has rows")?;
    anyhow::ensure!(
        newest.seq + 1 == cursor.next,
        "the journal goes to {}, billing waits for {}",
        newest.seq,
        cursor.next
    );
    anyhow::ensure!(newest.hash == cursor.last_hash, "row {} differs", newest.seq);
    anyhow::ensure!(counts.inbox == newest.seq, "{} rows where {} were sent", counts.inbox, newest.seq);
    let mut ours: Vec<_> =
        store.wallets().await?.into_iter().map(|w| (w.service_point, w.balance, w.in_meter)).collect();
    let mut theirs: Vec<_> =
        billing.wallet_sums(SITE_ID).await?.into_iter().map(|w| (w.service_point, w.balance, w.in_meter)).collect();
    ours.sort();
    theirs.sort();
    anyhow::ensure!(ours == theirs, "the wallets differ: {ours:?}, {theirs:?}");
    billing.close().await;
    Ok(())
}
