//! The forwarder between two real stores, one of which fails on demand.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use guanjia_core::incident::{IncidentRecord, IncidentState};
use guanjia_core::time::Timestamp;
use guanjia_store::AlarmBatch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::notify::tests::bare_site;

/// What happens to the next append.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server is gone before the rows reach it.
    Before,
    /// The rows are committed and the answer is lost.
    After,
}

/// A billing store whose connection breaks as planned.
#[derive(Clone)]
pub(super) struct Faulty {
    path: PathBuf,
    plan: Arc<Mutex<Vec<Fault>>>,
    connections: Arc<AtomicU32>,
}

impl Faulty {
    fn new(path: &Path, mut plan: Vec<Fault>) -> Self {
        plan.reverse();
        Self { path: path.to_owned(), plan: Arc::new(Mutex::new(plan)), connections: Arc::default() }
    }

    pub(super) async fn connect(&self) -> Result<FaultyConnection, StoreError> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let billing = BillingStore::connect(&guanjia_store::BillingTarget::Sqlite(self.path.clone())).await?;
        Ok(FaultyConnection { billing, plan: Arc::clone(&self.plan) })
    }
}

/// One of its connections.
pub(super) struct FaultyConnection {
    pub(super) billing: BillingStore,
    plan: Arc<Mutex<Vec<Fault>>>,
}

impl FaultyConnection {
    pub(super) async fn append(&self, rows: &[OutboxRow]) -> Result<u64, StoreError> {
        let fault = self.plan.lock().unwrap().pop();
        match fault {
            Some(Fault::Before) => Err(StoreError::Unavailable("connection refused".to_owned())),
            Some(Fault::After) => {
                self.billing.append(rows).await?;
                Err(StoreError::Unavailable("connection reset".to_owned()))
            }
            None => self.billing.append(rows).await,
        }
    }
}

/// Two stores in one directory and the forwarder between them.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    ready: Arc<Readiness>,
    wake: Arc<Notify>,
    running: Option<JoinHandle<()>>,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), "test").await.unwrap();
        let ready = Arc::new(Readiness::new(guanjia_field::now()));
        Self { dir, store, ready, wake: Arc::new(Notify::new()), running: None }
    }

    fn billing_path(&self) -> PathBuf {
        self.dir.path().join("billing.db")
    }

    /// Writes `n` outbox rows.
    async fn rows(&self, n: usize) {
        for _ in 0..n {
            let incident = IncidentRecord {
                id: Uuid::now_v7(),
                code: "4711".to_owned(),
                plan: "EP-06".to_owned(),
                priority: guanjia_core::alarm::Priority::P3,
                state: IncidentState::Closed,
                root: "m-1/comm".to_owned(),
                title: Bilingual::new("断线", "Silent"),
                owner: "duty-a".to_owned(),
                opened_at: Timestamp::from_millis(1),
                level: 1,
                escalates_at: None,
                acked_at: None,
                acked_by: None,
                closed_at: Some(Timestamp::from_millis(2)),
            };
            let batch = AlarmBatch { incidents: vec![incident], ..AlarmBatch::default() };
            self.store.commit_alarms(batch).await.unwrap();
        }
        self.wake.notify_one();
    }

    fn start(&mut self, target: Target) {
        let metrics = Arc::new(Metrics::new(&bare_site(self.dir.path().to_owned())));
        let (store, ready, wake) = (self.store.clone(), Arc::clone(&self.ready), Arc::clone(&self.wake));
        self.running = Some(tokio::spawn(Forwarder { store, target, metrics, ready, wake }.run()));
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    async fn until_confirmed(&self, seq: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.store.outbox_cursor().await.unwrap() < seq {
            assert!(Instant::now() < deadline, "only {} confirmed", self.store.outbox_cursor().await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_troubled(&self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.ready.problems().iter().any(|(part, text)| *part == PART && text.en.contains(word)) {
            assert!(Instant::now() < deadline, "no word of {word}: {:?}", self.ready.problems());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The billing store's row count and cursor.
    async fn billed(&self) -> (u64, u64) {
        let target = guanjia_store::BillingTarget::Sqlite(self.billing_path());
        let billing = BillingStore::connect(&target).await.unwrap();
        let counts = billing.counts("test").await.unwrap();
        let next = billing.cursor("test", self.store.epoch()).await.unwrap().next;
        billing.close().await;
        (counts.incidents, next - 1)
    }
}

#[tokio::test]
async fn a_billing_store_that_dies_mid_way_gets_every_row_once() {
    let mut bench = Bench::new().await;
    bench.rows(1_200).await;
    let faulty = Faulty::new(&bench.billing_path(), vec![Fault::Before, Fault::After, Fault::After]);
    bench.start(Target::Faulty(faulty.clone()));
    bench.until_confirmed(1_200).await;
    bench.rows(7).await;
    bench.until_confirmed(1_207).await;
    assert_eq!(bench.billed().await, (1_207, 1_207));
    assert!(faulty.connections.load(Ordering::Relaxed) >= 4, "each fault ended a connection");
    assert!(bench.ready.problems().is_empty(), "the trouble is over");
    bench.stop();
}

#[tokio::test]
async fn a_store_that_is_not_there_is_waited_for() {
    let mut bench = Bench::new().await;
    bench.rows(3).await;
    let directory = bench.dir.path().join("mounted-later");
    let path = directory.join("billing.db");
    bench.start(Target::Billing(BillingTarget::Sqlite(path)));
    bench.until_troubled("not available").await;
    assert_eq!(bench.store.backlog().await.unwrap().count, 3);
    std::fs::create_dir(&directory).unwrap();
    bench.until_confirmed(3).await;
    assert!(bench.ready.problems().is_empty());
    bench.stop();
}

#[tokio::test]
async fn an_answer_that_was_lost_with_the_gateway_is_found_at_the_next_start() {
    let mut bench = Bench::new().await;
    bench.rows(5).await;
    let target = guanjia_store::BillingTarget::Sqlite(bench.billing_path());
    let billing = BillingStore::connect(&target).await.unwrap();
    billing.append(&bench.store.outbox_after(0, 4).await.unwrap()).await.unwrap();
    billing.close().await;
    bench.start(Target::Billing(BillingTarget::Sqlite(bench.billing_path())));
    bench.until_confirmed(5).await;
    assert_eq!(bench.billed().await, (5, 5));
    bench.stop();
}

#[tokio::test]
async fn a_billing_store_from_a_backup_is_filled_up_again() {
    let mut bench = Bench::new().await;
    bench.rows(10).await;
    // The journal believes ten rows are safe; the billing store knows of six.
    let target = guanjia_store::BillingTarget::Sqlite(bench.billing_path());
    let billing = BillingStore::connect(&target).await.unwrap();
    billing.append(&bench.store.outbox_after(0, 6).await.unwrap()).await.unwrap();
    billing.close().await;
    bench.store.outbox_confirmed(10).await.unwrap();
    bench.start(Target::Billing(BillingTarget::Sqlite(bench.billing_path())));
    bench.rows(1).await;
    bench.until_confirmed(11).await;
    assert_eq!(bench.billed().await, (11, 11));
    bench.stop();
}

#[tokio::test]
async fn a_fork_stops_everything_and_skips_nothing() {
    let mut bench = Bench::new().await;
    bench.rows(4).await;
    let rows = bench.store.outbox_after(0, 4).await.unwrap();
    // Another history of the same journal: the last row speaks of something else.
    let mut forked = rows.clone();
    forked[3].at = Timestamp::from_millis(77);
    forked[3].hash = forked[3].expected_hash();
    let target = guanjia_store::BillingTarget::Sqlite(bench.billing_path());
    let billing = BillingStore::connect(&target).await.unwrap();
    billing.append(&forked).await.unwrap();
    billing.close().await;
    bench.start(Target::Billing(BillingTarget::Sqlite(bench.billing_path())));
    bench.until_troubled("stopped").await;
    bench.rows(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.store.outbox_cursor().await.unwrap(), 0);
    assert_eq!(bench.store.backlog().await.unwrap().count, 6);
    assert_eq!(bench.billed().await.1, 4);
    bench.stop();
}

#[tokio::test]
async fn a_journal_from_a_backup_is_noticed() {
    let mut bench = Bench::new().await;
    bench.rows(2).await;
    let rows = bench.store.outbox_after(0, 2).await.unwrap();
    let target = guanjia_store::BillingTarget::Sqlite(bench.billing_path());
    let billing = BillingStore::connect(&target).await.unwrap();
    let mut third = rows[1].clone();
    (third.seq, third.prev_hash) = (3, rows[1].hash.clone());
    third.hash = third.expected_hash();
    billing.append(&[rows, vec![third]].concat()).await.unwrap();
    billing.close().await;
    bench.start(Target::Billing(BillingTarget::Sqlite(bench.billing_path())));
    bench.until_troubled("stopped").await;
    assert_eq!(bench.store.outbox_cursor().await.unwrap(), 0);
    bench.stop();
}
