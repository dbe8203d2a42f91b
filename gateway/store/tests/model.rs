//! The journal against a model: random lives with restarts in between, compared with a few hash maps.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use guanjia_core::ledger::{Baseline, Receipt, TopUpOutcome, TopUpRequest, UsageInterval, UsageOutcome, UsageQuality};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao, Price, Quantity, Utility};
use guanjia_store::Store;
use proptest::prelude::*;

const SHOPS: [&str; 3] = ["shop-1", "shop-2", "shop-3"];

/// One thing that happens. Few keys and few transactions, so that they collide.
#[derive(Clone, Debug)]
enum Event {
    TopUp {
        shop: usize,
        key: u8,
        fen: i64,
        txn: Option<u8>,
    },
    Use {
        shop: usize,
        wh: i64,
    },
    /// An interval that was posted before, or starts from nowhere.
    UseFromOldBaseline {
        shop: usize,
    },
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let top_up = (0..4usize, 0..12u8, 1..4i64, prop::option::of(0..8u8));
    prop_oneof![
        6 => top_up.prop_map(|(shop, key, fen, txn)| Event::TopUp { shop, key, fen, txn }),
        4 => (0..3usize, 0..5_000i64).prop_map(|(shop, wh)| Event::Use { shop, wh }),
        1 => (0..3usize).prop_map(|shop| Event::UseFromOldBaseline { shop }),
        1 => Just(Event::Reopen),
    ]
}

/// What should be.
#[derive(Default)]
struct Model {
    balances: HashMap<&'static str, i64>,
    baselines: HashMap<&'static str, Baseline>,
    keys: HashMap<u8, (String, Receipt)>,
    txns: HashMap<u8, Receipt>,
    receipts: i64,
    outbox: u64,
}

fn start() -> Baseline {
    Baseline { raw: 0, at: Timestamp::from_millis(0), exact: ExactCharge(0), posted: Hao(0) }
}

fn interval(shop: &str, from: &Baseline, wh: i64) -> UsageInterval {
    let exact = ExactCharge(from.exact.0 + ExactCharge::of(Quantity(wh), Price(5_683)).0);
    let to = Baseline {
        raw: from.raw + wh.unsigned_abs(),
        at: from.at + Duration::from_secs(900),
        exact,
        posted: exact.round(Utility::Electricity).unwrap(),
    };
    UsageInterval {
        service_point: shop.to_owned(),
        device: format!("meter-{shop}"),
        utility: Utility::Electricity,
        from: from.clone(),
        to,
        quantity: Quantity(wh),
        tariff: "shops@1".to_owned(),
        quality: UsageQuality::Measured,
    }
}

impl Model {
    async fn top_up(&mut self, store: &Store, shop: usize, key: u8, fen: i64, txn: Option<u8>) {
        let name = SHOPS.get(shop).copied().unwrap_or("nowhere");
        let request = TopUpRequest {
            client: "kiosk".to_owned(),
            key: format!("k{key}"),
            service_point: name.to_owned(),
            amount: Fen(fen),
            channel: "cashier".to_owned(),
            channel_txn: txn.map(|txn| format!("t{txn}")),
            at: Timestamp::from_millis(1),
        };
        let asked = format!("{name} {fen} {txn:?}");
        let outcome = store.top_up(request).await.unwrap();
        if let Some((first, receipt)) = self.keys.get(&key) {
            let same = *first == asked;
            let wanted = if same { TopUpOutcome::Replayed(receipt.clone()) } else { TopUpOutcome::KeyReused };
            assert_eq!(outcome, wanted);
        } else if name == "nowhere" {
            assert_eq!(outcome, TopUpOutcome::UnknownServicePoint);
        } else if let Some(receipt) = txn.and_then(|txn| self.txns.get(&txn)) {
            assert_eq!(outcome, TopUpOutcome::AlreadyCredited(receipt.clone()));
        } else {
            let TopUpOutcome::Applied(receipt) = outcome else { panic!("{outcome:?}") };
            self.receipts += 1;
            self.outbox += 1;
            *self.balances.get_mut(name).unwrap() += fen * 100;
            assert_eq!((receipt.number, receipt.balance.0), (self.receipts, self.balances[name]));
            assert_eq!((receipt.amount, receipt.service_point.as_str()), (Fen(fen), name));
            self.keys.insert(key, (asked, receipt.clone()));
            if let Some(txn) = txn {
                self.txns.insert(txn, receipt);
            }
        }
    }

    async fn post(&mut self, store: &Store, shop: usize, wh: i64) {
        let name = SHOPS[shop];
        let interval = interval(name, &self.baselines[name], wh);
        *self.balances.get_mut(name).unwrap() -= interval.charge().0;
        self.outbox += 1;
        self.baselines.insert(name, interval.to.clone());
        let wanted = UsageOutcome::Posted { balance: Hao(self.balances[name]) };
        assert_eq!(store.post_usage(interval).await, Ok(wanted));
    }

    async fn post_from_old(&self, store: &Store, shop: usize) {
        let name = SHOPS[shop];
        let mut old = start();
        old.raw = 999_999_999;
        let moved = UsageOutcome::BaselineMoved(self.baselines[name].clone());
        assert_eq!(store.post_usage(interval(name, &old, 5)).await, Ok(moved));
    }

    async fn compare(&self, store: &Store) {
        for wallet in store.wallets().await.unwrap() {
            assert_eq!(wallet.balance.0, self.balances[wallet.service_point.as_str()]);
        }
        for name in SHOPS {
            assert_eq!(store.baseline(name).await.unwrap().as_ref(), Some(&self.baselines[name]));
        }
        for key in 0..12u8 {
            let stored = store.top_up_by_key("kiosk", &format!("k{key}")).await.unwrap();
            assert_eq!(stored.as_ref(), self.keys.get(&key).map(|(_, receipt)| receipt));
        }
        assert_eq!(store.backlog().await.unwrap().count, self.outbox);
        assert_eq!(store.verify().await.unwrap(), []);
    }
}

async fn live(events: Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path(), "site").await.unwrap();
    let mut model = Model::default();
    for name in SHOPS {
        store.open_wallet(name, Utility::Electricity, Hao(0), Timestamp::EPOCH).await.unwrap();
        store.set_first_baseline(name, start()).await.unwrap();
        model.balances.insert(name, 0);
        model.baselines.insert(name, start());
        model.outbox += 1;
    }
    for event in events {
        match event {
            Event::TopUp { shop, key, fen, txn } => model.top_up(&store, shop, key, fen, txn).await,
            Event::Use { shop, wh } => model.post(&store, shop, wh).await,
            Event::UseFromOldBaseline { shop } => model.post_from_old(&store, shop).await,
            Event::Reopen => {
                store.close().await;
                (store, _) = Store::open(dir.path(), "site").await.unwrap();
            }
        }
    }
    model.compare(&store).await;
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_agrees_with_the_model(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(events));
    }
}

/// Not a benchmark: says how fast durable top-ups are here, and that many at once are all different.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_pay_at_once() {
    const CLIENTS: u64 = 64;
    const EACH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), "site").await.unwrap();
    store.open_wallet(SHOPS[0], Utility::Electricity, Hao(0), Timestamp::EPOCH).await.unwrap();
    let started = Instant::now();
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let store = store.clone();
        clients.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for n in 0..EACH {
                let request = TopUpRequest {
                    client: format!("client-{client}"),
                    key: n.to_string(),
                    service_point: SHOPS[0].to_owned(),
                    amount: Fen(1),
                    channel: "cashier".to_owned(),
                    channel_txn: None,
                    at: Timestamp::from_millis(1),
                };
                match store.top_up(request).await.unwrap() {
                    TopUpOutcome::Applied(receipt) => numbers.push(receipt.number),
                    other => panic!("{other:?}"),
                }
            }
            numbers
        }));
    }
    let mut numbers = HashSet::new();
    for client in clients {
        numbers.extend(client.await.unwrap());
    }
    let spent = started.elapsed();
    let total = CLIENTS * EACH;
    println!("{total} durable top-ups in {spent:?}: {:.0}/s", total as f64 / spent.as_secs_f64());
    assert_eq!(numbers.len() as u64, total);
    assert_eq!(store.wallet(SHOPS[0]).await.unwrap().unwrap().balance, Hao(i64::try_from(total).unwrap() * 100));
    assert_eq!(store.verify().await.unwrap(), []);
}
