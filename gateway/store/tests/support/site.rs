//! A small site with a journal that lives: tenants pay and use.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guanjia_core::alarm::Priority;
use guanjia_core::credit::{CreditState, Finding};
use guanjia_core::incident::{IncidentRecord, IncidentState};
use guanjia_core::ledger::{Baseline, TopUpOutcome, TopUpRequest, UsageInterval, UsageQuality};
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao, Price, Quantity, Utility};
use guanjia_store::{AlarmBatch, BillingStore, BillingTarget, CreditDecision, OutboxRow, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

const SHOP: &str = "shop-3-012";

/// A site.
pub struct Site {
    pub store: Store,
    dir: TempDir,
    name: String,
    events: AtomicU64,
}

impl Site {
    /// With one wallet that has an opening balance.
    pub async fn new(name: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), name).await.unwrap();
        let start = Baseline { raw: 0, at: at(0), exact: ExactCharge(0), posted: Hao(0) };
        store.open_wallet(SHOP, Utility::Electricity, Hao(10_000), at(0)).await.unwrap();
        store.set_first_baseline(SHOP, start).await.unwrap();
        Site { store, dir, name: name.to_owned(), events: AtomicU64::new(0) }
    }

    /// So many top-ups, and as many intervals of usage.
    pub async fn live(&self, events: u64) {
        let mut pending = Vec::new();
        for _ in 0..events {
            let n = self.events.fetch_add(1, Ordering::Relaxed);
            let (store, request) = (self.store.clone(), request(&format!("k{n}"), 1_000));
            pending.push(tokio::spawn(async move { store.top_up(request).await.map(drop).unwrap() }));
        }
        for task in pending {
            task.await.unwrap();
        }
        for _ in 0..events {
            let from = self.store.baseline(SHOP).await.unwrap().unwrap();
            self.store.post_usage(interval(from)).await.unwrap();
        }
    }

    /// One top-up under a key of its own.
    pub async fn top_up(&self, key: &str, fen: i64) {
        let outcome = self.store.top_up(request(&key.replace(' ', "-"), fen)).await.unwrap();
        assert!(matches!(outcome, TopUpOutcome::Applied(_)));
    }

    /// Three top-ups for the meter's own wallet: one found in the meter, one found not to be there by a person, one still on
    /// its way; and use that the meter has charged.
    pub async fn meter_credits(&self) {
        for n in 1..=3 {
            let outcome = self.store.top_up_meter(request(&format!("meter-{n}"), 1_000 * n)).await.unwrap();
            let TopUpOutcome::Applied(receipt) = outcome else { panic!("{outcome:?}") };
            let count = u32::try_from(n).unwrap();
            self.store.send_credit(receipt.number, count, at(n)).await.unwrap();
            let state = [CreditState::Confirmed, CreditState::Manual, CreditState::Uncertain][count as usize - 1];
            self.store.settle_credit(receipt.number, state, state.as_str(), at(n)).await.unwrap();
            if state == CreditState::Manual {
                let (finding, reason) = (Finding::NotApplied, "read at the meter".to_owned());
                let (who, via) = ("li".to_owned(), "api".to_owned());
                let decision = CreditDecision { receipt: receipt.number, finding, who, via, reason, at: at(n) };
                self.store.decide_credit(decision).await.unwrap();
            }
        }
        let from = self.store.baseline(SHOP).await.unwrap().unwrap();
        self.store.post_meter_usage(interval(from)).await.unwrap();
    }

    /// An incident that is opened and closed.
    pub async fn incident(&self) {
        let mut incident = IncidentRecord {
            id: uuid::Uuid::from_u128(1),
            code: "4711".to_owned(),
            plan: "EP-06".to_owned(),
            priority: Priority::P2,
            state: IncidentState::Open,
            root: "pump/flood".to_owned(),
            title: Bilingual::new("水浸", "Flood"),
            owner: "duty-1".to_owned(),
            opened_at: at(0),
            level: 0,
            escalates_at: None,
            acked_at: None,
            acked_by: None,
            closed_at: None,
        };
        for state in [IncidentState::Open, IncidentState::Closed] {
            incident.state = state;
            let batch = AlarmBatch { incidents: vec![incident.clone()], ..AlarmBatch::default() };
            self.store.commit_alarms(batch).await.unwrap();
        }
    }

    /// The whole outbox.
    pub async fn rows(&self) -> Vec<OutboxRow> {
        self.store.outbox_after(0, u32::MAX).await.unwrap()
    }

    /// Closed and opened again.
    pub async fn reopen(self) -> Site {
        self.store.close().await;
        let (store, _) = Store::open(self.dir.path(), &self.name).await.unwrap();
        Site { store, ..self }
    }

    /// A second gateway that runs on a copy of this one's data.
    pub async fn backup(&self) -> Site {
        let dir = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let file = format!("guanjia.db{suffix}");
            std::fs::copy(self.dir.path().join(&file), dir.path().join(&file)).unwrap();
        }
        let (store, _) = Store::open(dir.path(), &self.name).await.unwrap();
        let events = AtomicU64::new(self.events.load(Ordering::Relaxed));
        Site { store, dir, name: self.name.clone(), events }
    }

    /// The billing store says what this journal says, and the journal can prove it.
    pub async fn assert_same(&self, billing: &BillingStore) {
        assert_eq!(self.store.verify().await.unwrap(), []);
        let sums = billing.wallet_sums(&self.name).await.unwrap();
        let here: Vec<_> = self.store.wallets().await.unwrap();
        let here: Vec<_> = here.iter().map(|w| (w.service_point.as_str(), w.balance, w.in_meter)).collect();
        let there: Vec<_> = sums.iter().filter(|sum| sum.epoch == self.store.epoch()).collect();
        let there: Vec<_> = there.iter().map(|sum| (sum.service_point.as_str(), sum.balance, sum.in_meter)).collect();
        assert_eq!(here, there);
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
        channel_txn: Some(format!("txn-{key}")),
        at: at(1),
    }
}

fn interval(from: Baseline) -> UsageInterval {
    let exact = ExactCharge(from.exact.0 + ExactCharge::of(Quantity(70), Price(5_683)).0);
    let to = Baseline {
        raw: from.raw + 7,
        at: from.at + Duration::from_secs(900),
        exact,
        posted: exact.round(Utility::Electricity).unwrap(),
    };
    UsageInterval {
        service_point: SHOP.to_owned(),
        device: "meter-3-012".to_owned(),
        utility: Utility::Electricity,
        from,
        to,
        quantity: Quantity(70),
        tariff: "shops@1".to_owned(),
        quality: UsageQuality::Measured,
    }
}

/// Runs `sql` on a billing store from outside; the database's refusal as text.
pub async fn raw(target: &BillingTarget, sql: String) -> Result<(), String> {
    let sql = AssertSqlSafe(sql);
    let result = match target {
        BillingTarget::Sqlite(path) => {
            let mut conn = SqliteConnection::connect(path_text(path)).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.map(drop)
        }
        BillingTarget::Postgres(url) => {
            let mut conn = PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.map(drop)
        }
    };
    result.map_err(|error| error.to_string())
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
