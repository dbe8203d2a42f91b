//! What the journal must never do, one test per way it could.

use std::time::Duration;

use guanjia_core::ledger::{Baseline, Receipt, TopUpOutcome, TopUpRequest, UsageInterval, UsageQuality};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao, Price, Quantity, Utility};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::Store;
use super::writer::Command;
use crate::error::StoreError;

mod credits;
mod duty;
mod messages;
mod money;
mod proof;

/// The shop most tests are about.
const SHOP: &str = "shop-3-012";

/// A journal in its own directory.
struct Journal {
    dir: TempDir,
    store: Store,
    writer: JoinHandle<()>,
}

impl Journal {
    async fn new() -> Journal {
        let dir = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(dir.path(), "harbour-mall").await.unwrap();
        Journal { dir, store, writer }
    }

    /// With one open wallet.
    async fn with_wallet(opening: Hao) -> Journal {
        let journal = Journal::new().await;
        journal.store.open_wallet(SHOP, Utility::Electricity, opening, at(0)).await.unwrap();
        journal
    }

    async fn reopen(self) -> Journal {
        self.store.close().await;
        self.writer.await.unwrap();
        let (store, writer) = Store::open(self.dir.path(), "harbour-mall").await.unwrap();
        Journal { dir: self.dir, store, writer }
    }

    async fn balance(&self) -> Hao {
        self.store.wallet(SHOP).await.unwrap().unwrap().balance
    }

    async fn assert_proven(&self) {
        assert_eq!(self.store.verify().await.unwrap(), []);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_795_478_400_000 + second * 1_000)
}

fn request(key: &str, fen: i64) -> TopUpRequest {
    TopUpRequest {
        client: "kiosk".to_owned(),
        key: key.to_owned(),
        service_point: SHOP.to_owned(),
        amount: Fen(fen),
        channel: "cashier".to_owned(),
        channel_txn: None,
        at: at(1),
    }
}

fn applied(outcome: TopUpOutcome) -> Receipt {
    match outcome {
        TopUpOutcome::Applied(receipt) => receipt,
        other => panic!("not applied: {other:?}"),
    }
}

fn start() -> Baseline {
    Baseline { raw: 1_000, at: at(0), exact: ExactCharge(0), posted: Hao(0) }
}

/// The interval of `wh` that follows `from`, at 0.5683 yuan per kWh.
fn interval(from: &Baseline, wh: i64) -> UsageInterval {
    let exact = ExactCharge(from.exact.0 + ExactCharge::of(Quantity(wh), Price(5_683)).0);
    let to = Baseline {
        raw: from.raw + u64::try_from(wh).unwrap(),
        at: from.at + Duration::from_secs(900),
        exact,
        posted: exact.round(Utility::Electricity).unwrap(),
    };
    UsageInterval {
        service_point: SHOP.to_owned(),
        device: "meter-3-012".to_owned(),
        utility: Utility::Electricity,
        from: from.clone(),
        to,
        quantity: Quantity(wh),
        tariff: "shops@1".to_owned(),
        quality: UsageQuality::Measured,
    }
}

#[tokio::test]
async fn two_gateways_never_open_one_directory() {
    let journal = Journal::new().await;
    let second = Store::open(journal.dir.path(), "harbour-mall").await;
    assert!(matches!(second, Err(StoreError::Locked(_))));
    journal.reopen().await;
}

#[tokio::test]
async fn a_directory_of_another_site_is_refused_and_stays_untouched() {
    let journal = Journal::new().await;
    let epoch = journal.store.epoch();
    journal.store.close().await;
    let other = Store::open(journal.dir.path(), "river-tower").await;
    assert!(matches!(other, Err(StoreError::WrongSite { found, .. }) if found == "harbour-mall"));
    let (store, _writer) = Store::open(journal.dir.path(), "harbour-mall").await.unwrap();
    assert_eq!(store.epoch(), epoch);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let journal = Journal::with_wallet(Hao(0)).await;
    let mut files = 0;
    for entry in std::fs::read_dir(journal.dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert!(files >= 3, "the file, its log and the lock");
    assert!(journal.store.storage_bytes() > 4_096);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let journal = Journal::with_wallet(Hao(0)).await;
    journal.store.close().await;
    assert_eq!(journal.store.top_up(request("k", 100)).await, Err(StoreError::Closed));
    assert_eq!(journal.store.wallets().await, Err(StoreError::Closed));
    assert!(!journal.store.healthy());
    journal.store.close().await;
}

#[tokio::test]
async fn a_full_disk_refuses_everybody_and_loses_nothing() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let store = &journal.store;
    applied(store.top_up(request("before", 100)).await.unwrap());
    store.send(Command::Sabotage("PRAGMA max_page_count = 1")).await.map(drop).unwrap();
    let mut first_refused = None;
    for n in 0..2_000 {
        let key = format!("k{n}");
        match store.top_up(request(&key, 100)).await {
            Ok(outcome) => drop(applied(outcome)),
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                assert!(!store.healthy());
                first_refused = Some(n);
                break;
            }
        }
    }
    let refused = first_refused.expect("the file cannot grow for ever");
    // The probe finds the disk usable again (the new connection has no limit) without anybody writing.
    tokio::time::timeout(Duration::from_secs(10), async {
        while !store.healthy() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    applied(store.top_up(request(&format!("k{refused}"), 100)).await.unwrap());
    assert_eq!(journal.balance().await, Hao((refused + 2) * 10_000));
    journal.assert_proven().await;
}

#[tokio::test]
async fn one_refusal_in_a_group_does_not_undo_its_neighbours() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let mut tasks = Vec::new();
    for n in 0..60 {
        let store = journal.store.clone();
        tasks.push(tokio::spawn(async move {
            match n % 3 {
                0 => store.top_up(request(&format!("k{n}"), 100)).await.map(drop),
                1 => store.settle_relay(uuid::Uuid::from_u128(7), "proven", "", at(1)).await,
                _ => store.set_first_baseline("nowhere", start()).await,
            }
        }));
    }
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => {}
            Err(StoreError::NotFound { .. } | StoreError::UnknownServicePoint(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 40);
    assert_eq!(journal.balance().await, Hao(20 * 10_000));
    journal.assert_proven().await;
}
