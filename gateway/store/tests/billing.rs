//! One suite, both billing stores.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "support/pg.rs"]
mod pg;
#[path = "support/site.rs"]
mod site;

use std::time::{Duration, Instant};

use guanjia_store::{BillingStore, BillingTarget, OutboxRow, StoreError};
use site::Site;
use tempfile::TempDir;

/// A billing store to test, and what keeps it alive.
struct Bench {
    store: BillingStore,
    target: BillingTarget,
    _dir: TempDir,
}

async fn on_sqlite() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let target = BillingTarget::Sqlite(dir.path().join("billing.db"));
    Some(Bench { store: BillingStore::connect(&target).await.unwrap(), target, _dir: dir })
}

async fn on_postgres() -> Option<Bench> {
    let target = BillingTarget::Postgres(pg::shared()?.database().await);
    let dir = tempfile::tempdir().unwrap();
    Some(Bench { store: BillingStore::connect(&target).await.unwrap(), target, _dir: dir })
}

/// Every test of the list on both databases.
macro_rules! billing_suite {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::on_sqlite().await.unwrap()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bench) = super::on_postgres().await {
                    super::$name(bench).await;
                }
            })*
        }
    };
}

billing_suite!(
    rows_sent_again_are_taken_once,
    a_crash_between_append_and_confirm_costs_a_resend,
    a_missing_row_is_refused,
    rows_out_of_order_are_refused,
    a_second_history_is_a_fork,
    a_damaged_row_is_refused_and_nothing_is_taken,
    two_sites_and_two_lives_do_not_mix,
    what_came_is_what_was_sent,
    a_settled_credit_arrives_once_with_its_money,
    two_senders_at_once_take_turns,
    callers_that_go_away_harm_nobody,
    history_is_append_only,
    a_big_batch_goes_through,
);

async fn rows_sent_again_are_taken_once(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(5).await;
    let rows = site.rows().await;
    let next = rows.len() as u64 + 1;
    assert_eq!(bench.store.append(&rows).await, Ok(next));
    let counts = bench.store.counts("harbour-mall").await.unwrap();
    for part in [&rows[..], &rows[..3], &rows[4..], &rows[2..5]] {
        assert_eq!(bench.store.append(part).await, Ok(next));
    }
    assert_eq!(bench.store.counts("harbour-mall").await.unwrap(), counts);
    site.live(2).await;
    let more = site.rows().await;
    assert_eq!(bench.store.append(&more[3..]).await, Ok(more.len() as u64 + 1), "known and new rows in one list");
    site.assert_same(&bench.store).await;
}

async fn a_crash_between_append_and_confirm_costs_a_resend(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(3).await;
    // The forwarder dies after the append: the journal's cursor stays, the billing store's has moved.
    bench.store.append(&site.rows().await).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(site.store.outbox_cursor().await, Ok(0));
    site.live(3).await;
    let reconnected = BillingStore::connect(&bench.target).await.unwrap();
    let next = reconnected.append(&site.rows().await).await.unwrap();
    site.store.outbox_confirmed(next - 1).await.unwrap();
    assert_eq!(site.store.backlog().await.unwrap().count, 0);
    let cursor = reconnected.cursor("harbour-mall", site.store.epoch()).await.unwrap();
    assert_eq!((cursor.next, &cursor.last_hash), (next, &site.rows().await.last().unwrap().hash));
    site.assert_same(&reconnected).await;
}

async fn a_missing_row_is_refused(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(4).await;
    let rows = site.rows().await;
    assert_eq!(bench.store.append(&rows[1..]).await, Err(StoreError::Gap { expected: 1, got: 2 }));
    bench.store.append(&rows[..2]).await.unwrap();
    assert_eq!(bench.store.append(&rows[3..]).await, Err(StoreError::Gap { expected: 3, got: 4 }));
    let holed: Vec<OutboxRow> = rows.iter().filter(|row| row.seq != 5).cloned().collect();
    assert_eq!(bench.store.append(&holed).await, Err(StoreError::Gap { expected: 5, got: 6 }));
    assert_eq!(bench.store.cursor("harbour-mall", site.store.epoch()).await.unwrap().next, 3);
    assert_eq!(bench.store.counts("harbour-mall").await.unwrap().inbox, 2);
}

async fn rows_out_of_order_are_refused(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(2).await;
    let mut rows = site.rows().await;
    rows.swap(1, 2);
    assert!(matches!(bench.store.append(&rows).await, Err(StoreError::Gap { .. })));
    rows.swap(1, 2);
    rows.push(rows[0].clone());
    assert!(matches!(bench.store.append(&rows).await, Err(StoreError::Gap { .. })));
    assert!(matches!(bench.store.append(&[]).await, Err(StoreError::Invalid(_))));
    assert_eq!(bench.store.counts("harbour-mall").await.unwrap().inbox, 0);
}

async fn a_second_history_is_a_fork(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(1).await;
    let backup = site.backup().await;
    site.live(2).await;
    let rows = site.rows().await;
    let shared = backup.rows().await.len();
    bench.store.append(&rows).await.unwrap();

    // The gateway is restored from the backup and lives on differently under the same epoch.
    backup.top_up("after the restore", 777).await;
    let other = backup.rows().await;
    let fork = |seq| StoreError::Fork { site: "harbour-mall".to_owned(), epoch: site.store.epoch().to_string(), seq };
    let at = shared as u64 + 1;
    assert_eq!(bench.store.append(&other).await, Err(fork(at)));
    assert_eq!(bench.store.append(&other[shared..]).await, Err(fork(at)));
    // It overtakes what the billing store has: the link to the row before still tells.
    backup.live(5).await;
    let other = backup.rows().await;
    let beyond = rows.len();
    assert_eq!(bench.store.append(&other[beyond..]).await, Err(fork(beyond as u64 + 1)));
    site.assert_same(&bench.store).await;
}

async fn a_damaged_row_is_refused_and_nothing_is_taken(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(3).await;
    let mut rows = site.rows().await;
    rows[3].payload = rows[3].payload.replacen('1', "2", 1);
    assert!(matches!(bench.store.append(&rows).await, Err(StoreError::Corrupt(_))));
    rows[3].hash = rows[3].expected_hash();
    assert!(matches!(bench.store.append(&rows).await, Err(StoreError::Fork { .. })), "its successor does not link");
    let mut unknown = site.rows().await;
    unknown.truncate(2);
    unknown[1].kind = "weather".to_owned();
    unknown[1].hash = unknown[1].expected_hash();
    assert!(matches!(bench.store.append(&unknown).await, Err(StoreError::Invalid(_))));
    assert_eq!(bench.store.counts("harbour-mall").await.unwrap().inbox, 0);
    assert_eq!(bench.store.append(&site.rows().await).await, Ok(site.rows().await.len() as u64 + 1));
}

async fn two_sites_and_two_lives_do_not_mix(bench: Bench) {
    let mall = Site::new("harbour-mall").await;
    let tower = Site::new("river-tower").await;
    let rebuilt = Site::new("harbour-mall").await;
    for (site, events) in [(&mall, 3), (&tower, 2), (&rebuilt, 1)] {
        site.live(events).await;
        bench.store.append(&site.rows().await).await.unwrap();
    }
    tower.assert_same(&bench.store).await;
    let sums = bench.store.wallet_sums("harbour-mall").await.unwrap();
    assert_eq!(sums.len(), 2);
    assert!(sums.iter().any(|sum| sum.epoch == mall.store.epoch()));
    assert!(sums.iter().any(|sum| sum.epoch == rebuilt.store.epoch()));
    let mixed = [mall.rows().await, tower.rows().await].concat();
    assert!(matches!(bench.store.append(&mixed).await, Err(StoreError::Invalid(_))));
    assert_eq!(bench.store.wallet_sums("nowhere").await, Ok(Vec::new()));
}

async fn a_settled_credit_arrives_once_with_its_money(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.meter_credits().await;
    let rows = site.rows().await;
    let next = rows.len() as u64 + 1;
    for _ in 0..2 {
        assert_eq!(bench.store.append(&rows).await, Ok(next));
    }
    for row in &rows {
        assert_eq!(bench.store.append(std::slice::from_ref(row)).await, Ok(next));
    }
    let counts = bench.store.counts("harbour-mall").await.unwrap();
    // Opening, three top-ups, the one credit that is in the meter, and the use; the one under way is not told of.
    assert_eq!((counts.meter_credits, counts.receipts, counts.transfers, counts.postings), (2, 3, 6, 12));
    let sums = bench.store.wallet_sums("harbour-mall").await.unwrap();
    let used = 398;
    assert_eq!((sums[0].balance.0, sums[0].in_meter.0), (10_000 + 600_000 - used, 100_000 - used));
    site.assert_same(&bench.store).await;
    for sql in ["UPDATE meter_credits SET amount = 1", "DELETE FROM meter_credits"] {
        assert!(site::raw(&bench.target, sql.to_owned()).await.unwrap_err().contains("append only"), "{sql}");
    }
}

async fn what_came_is_what_was_sent(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(7).await;
    site.incident().await;
    let rows = site.rows().await;
    for row in &rows {
        bench.store.append(std::slice::from_ref(row)).await.unwrap();
    }
    let counts = bench.store.counts("harbour-mall").await.unwrap();
    // One opening balance, seven top-ups, seven intervals.
    assert_eq!((counts.wallets, counts.transfers, counts.postings), (1, 15, 30));
    assert_eq!((counts.receipts, counts.usage_intervals, counts.incidents), (7, 7, 1));
    assert_eq!(counts.inbox, rows.len() as u64);
    site.assert_same(&bench.store).await;
}

async fn two_senders_at_once_take_turns(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(20).await;
    let rows = site.rows().await;
    let mut senders = Vec::new();
    for _ in 0..8 {
        let (store, rows) = (bench.store.clone(), rows.clone());
        senders.push(tokio::spawn(async move { store.append(&rows).await }));
    }
    for sender in senders {
        assert_eq!(sender.await.unwrap(), Ok(rows.len() as u64 + 1));
    }
    site.assert_same(&bench.store).await;
}

async fn callers_that_go_away_harm_nobody(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(60).await;
    let rows = site.rows().await;
    // Each list is sent by a caller that goes away somewhere on the way; the next one is patient.
    let mut done = 0;
    for (n, end) in (10..=rows.len()).step_by(10).enumerate() {
        let (store, part) = (bench.store.clone(), rows[..end].to_vec());
        let impatient = tokio::spawn(async move { store.append(&part).await });
        tokio::time::sleep(Duration::from_micros(150 * n as u64)).await;
        impatient.abort();
        done = bench.store.append(&rows[..end]).await.unwrap();
        // Another session sees what was acknowledged.
        let other = BillingStore::connect(&bench.target).await.unwrap();
        assert_eq!(other.cursor("harbour-mall", site.store.epoch()).await.unwrap().next, done);
        assert_eq!(other.counts("harbour-mall").await.unwrap().inbox, done - 1);
        other.close().await;
    }
    assert!(done > 100);
}

async fn history_is_append_only(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(2).await;
    bench.store.append(&site.rows().await).await.unwrap();
    for table in ["inbox", "wallets", "transfers", "postings", "receipts", "usage_intervals"] {
        for sql in [format!("UPDATE {table} SET site = 'x'"), format!("DELETE FROM {table}")] {
            let refused = site::raw(&bench.target, sql).await.unwrap_err();
            assert!(refused.contains("append only"), "{refused}");
        }
    }
    site.assert_same(&bench.store).await;
}

async fn a_big_batch_goes_through(bench: Bench) {
    let site = Site::new("harbour-mall").await;
    site.live(400).await;
    let rows = site.rows().await;
    let started = Instant::now();
    for part in rows.chunks(500) {
        bench.store.append(part).await.unwrap();
    }
    let spent = started.elapsed();
    println!("{} rows in {spent:?}: {:.0} rows/s", rows.len(), rows.len() as f64 / spent.as_secs_f64());
    site.assert_same(&bench.store).await;
    let many = vec![rows[0].clone(); guanjia_store::MAX_APPEND_ROWS + 1];
    assert!(matches!(bench.store.append(&many).await, Err(StoreError::Invalid(_))));
}

/// The gateway believes its rows arrived, the server lost power before its commit: they are sent again, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_in_mid_append_loses_and_doubles_nothing() {
    let Some(server) = pg::Pg::start() else { return };
    let target = BillingTarget::Postgres(server.database().await);
    let site = Site::new("harbour-mall").await;
    site.live(150).await;
    let rows = site.rows().await;
    let store = BillingStore::connect(&target).await.unwrap();
    let mut acknowledged = store.append(&rows[..10]).await.unwrap();
    let sender = {
        let (store, rows) = (store.clone(), rows.clone());
        tokio::spawn(async move {
            let mut acknowledged = 0;
            for end in 11..=rows.len() {
                match store.append(&rows[..end]).await {
                    Ok(next) => acknowledged = next,
                    Err(_) => break,
                }
            }
            acknowledged
        })
    };
    tokio::time::sleep(Duration::from_millis(120)).await;
    server.crash();
    acknowledged = acknowledged.max(sender.await.unwrap());
    server.launch();

    let next = store.cursor("harbour-mall", site.store.epoch()).await;
    // The pool may first have to notice that its connections are dead.
    let next = match next {
        Ok(cursor) => cursor.next,
        Err(_) => store.cursor("harbour-mall", site.store.epoch()).await.unwrap().next,
    };
    assert!(next >= acknowledged, "acknowledged {acknowledged}, found {next}");
    store.append(&rows).await.unwrap();
    site.assert_same(&store).await;
}

#[tokio::test]
async fn a_password_never_gets_into_a_log() {
    let target = BillingTarget::Postgres("postgres://guanjia:secret@192.0.2.1/billing".to_owned());
    assert!(!format!("{target:?}").contains("secret"));
    let wrong = BillingStore::connect(&BillingTarget::Postgres("mysql://guanjia:secret@192.0.2.1/x".to_owned())).await;
    let error = wrong.err().unwrap().to_string();
    assert!(!error.contains("secret"), "{error}");
}
