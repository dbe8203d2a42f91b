//! The books of meters that keep the credit, against a model: whatever is paid, lost, cut or typed in by others, in whatever
//! order, the ledger says exactly what was proven to be in the meter.
//!
//! The meter is a fake with one truth: which of the gateway's frames it has applied. The rules are the real ones, the journal
//! is the real one; between any two of their steps the gateway may die.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use guanjia_core::credit::{CreditState, Finding, MeterCredit, Step};
use guanjia_core::ledger::{Baseline, Keeper, TopUpOutcome, TopUpRequest, UsageInterval, UsageQuality};
use guanjia_core::profile::{Verdict, WalletSeen};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao, Price, Quantity, Utility};
use guanjia_store::{CreditDecision, Store};
use proptest::prelude::*;

const SHOP: &str = "s-101-w1";
/// What the meter takes at most, in fen.
const HOARDING_LIMIT: i64 = 900;

/// Where the gateway dies while it carries a credit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    AfterLook,
    BeforeFrame,
    AfterFrame,
    None,
}

/// What the line loses of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Look,
    Frame,
    Answer,
    Nothing,
}

#[derive(Clone, Debug)]
enum Event {
    Pay {
        fen: i64,
    },
    /// The same payment told again by its channel.
    PayAgain,
    Carry {
        loss: Loss,
        death: Death,
    },
    /// Somebody tops the meter up without the gateway.
    Card {
        fen: i64,
    },
    /// The same, by chance for just as much as the credit that is on its way.
    SameCard,
    /// Power off and on.
    Outage,
    Use {
        wh: i64,
    },
    /// A person looks at the oldest credit that waits for one.
    Decide,
    /// For a while the gateway keeps the balance: a payment that is for no meter.
    PayGateway {
        fen: i64,
    },
    /// The same, and what is used then.
    UseGateway {
        wh: i64,
    },
    /// The gateway starts and finds that the meter keeps the credit; it may die right after.
    Start,
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let loss =
        prop_oneof![1 => Just(Loss::Look), 1 => Just(Loss::Frame), 2 => Just(Loss::Answer), 4 => Just(Loss::Nothing)];
    let death = prop_oneof![
        1 => Just(Death::AfterLook),
        1 => Just(Death::BeforeFrame),
        1 => Just(Death::AfterFrame),
        6 => Just(Death::None)
    ];
    prop_oneof![
        4 => (1..400i64).prop_map(|fen| Event::Pay { fen }),
        1 => Just(Event::PayAgain),
        8 => (loss, death).prop_map(|(loss, death)| Event::Carry { loss, death }),
        1 => (1..400i64).prop_map(|fen| Event::Card { fen }),
        1 => Just(Event::SameCard),
        1 => Just(Event::Outage),
        2 => (0..5_000i64).prop_map(|wh| Event::Use { wh }),
        2 => Just(Event::Decide),
        1 => (1..400i64).prop_map(|fen| Event::PayGateway { fen }),
        1 => (0..5_000i64).prop_map(|wh| Event::UseGateway { wh }),
        2 => Just(Event::Start),
        1 => Just(Event::Reopen),
    ]
}

/// A meter that keeps a wallet.
#[derive(Default)]
struct Meter {
    count: u32,
    amount: i32,
    balance: i64,
    verdict: Option<(Verdict, u32)>,
    /// By purchase count: the receipt whose frame it was.
    applied: BTreeMap<u32, i64>,
}

impl Meter {
    fn seen(&self) -> WalletSeen {
        let (verdict, verdict_count) = self.verdict.unwrap_or((Verdict::None, 0));
        let balance = i32::try_from(self.balance).unwrap();
        WalletSeen { count: self.count, amount: self.amount, balance, verdict, verdict_count }
    }

    fn frame(&mut self, receipt: i64, count: u32, amount: i32) {
        let verdict = if count == self.count {
            if amount == self.amount { Verdict::AlreadyApplied } else { Verdict::AmountDiffers }
        } else if count != self.count + 1 {
            Verdict::WrongCount
        } else if self.balance + i64::from(amount) > HOARDING_LIMIT {
            Verdict::OverHoardingLimit
        } else {
            (self.count, self.amount) = (count, amount);
            self.balance += i64::from(amount);
            assert_eq!(self.applied.insert(count, receipt), None, "a purchase is applied once");
            Verdict::Applied
        };
        self.verdict = Some((verdict, count));
    }

    /// What the last purchase by frame came to is kept; what a later frame was refused for is not.
    fn restart(&mut self) {
        self.verdict = self.applied.last_key_value().map(|(count, _)| (Verdict::Applied, *count));
    }

    fn card(&mut self, fen: i64) {
        (self.count, self.amount) = (self.count + 1, i32::try_from(fen).unwrap());
        self.balance += fen;
    }
}

struct World<'a> {
    dir: &'a Path,
    store: Store,
    meter: Meter,
    paid: i64,
    /// From the meter, and from the gateway's own wallet.
    used: i64,
    used_here: i64,
    clock: i64,
}

impl World<'_> {
    fn now(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_millis(self.clock)
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        (self.store, _) = Store::open(self.dir, "site").await.unwrap();
    }

    async fn pay(&mut self, n: i64, fen: i64, keeper: Keeper) -> TopUpOutcome {
        let request = TopUpRequest {
            client: "till".to_owned(),
            key: format!("k{n}"),
            service_point: SHOP.to_owned(),
            amount: Fen(fen),
            channel: "cashier".to_owned(),
            channel_txn: Some(format!("t{n}")),
            at: self.now(),
        };
        match keeper {
            Keeper::Meter => self.store.top_up_meter(request).await.unwrap(),
            Keeper::Ledger => self.store.top_up(request).await.unwrap(),
        }
    }

    /// What the wallet holds and no credit stands for becomes one, whole and once.
    async fn start(&mut self) {
        let free = self.free().await;
        let at = self.now();
        let carried = self.store.carry_over(SHOP, at).await.unwrap();
        assert_eq!(carried.map(|receipt| receipt.amount.0), (free > 0).then_some(free));
        self.reopen().await;
        assert!(self.free().await <= 0);
        assert_eq!(self.store.carry_over(SHOP, at).await.unwrap(), None, "a second start doubles nothing");
    }

    /// Whole minor units in the ledger's own wallet that no credit stands for.
    async fn free(&self) -> i64 {
        let wallet = self.store.wallet(SHOP).await.unwrap().unwrap();
        let credits = self.store.credits(SHOP, u32::MAX).await.unwrap();
        let waiting = credits.iter().filter(|credit| credit.state != CreditState::Confirmed);
        wallet.kept_by(Keeper::Ledger).0 / Hao::PER_FEN - waiting.map(|credit| credit.amount.0).sum::<i64>()
    }

    /// The credit to be carried on: one that has begun before one that has not, the oldest first.
    async fn next(&self) -> Option<MeterCredit> {
        let open = self.store.open_credits().await.unwrap();
        let waiting: Vec<_> = open.into_iter().filter(|credit| !credit.state.is_final()).collect();
        waiting.iter().find(|credit| credit.count.is_some()).or(waiting.first()).cloned()
    }

    /// One try, as the gateway makes it; the gateway may die on the way.
    async fn carry(&mut self, loss: Loss, death: Death) {
        let Some(credit) = self.next().await else { return };
        if loss == Loss::Look {
            return self.silent(&credit).await;
        }
        let (count, amount) = match credit.next(&self.meter.seen()) {
            Step::Send { count, amount } => (count, amount),
            Step::Settle(..) if death == Death::AfterLook => return self.reopen().await,
            Step::Settle(state, why) => return self.settle(&credit, state, why).await,
        };
        if death == Death::AfterLook {
            return self.reopen().await;
        }
        let at = self.now();
        self.store.send_credit(credit.receipt, count, at).await.unwrap();
        if death == Death::BeforeFrame {
            return self.reopen().await;
        }
        if loss != Loss::Frame {
            self.meter.frame(credit.receipt, count, amount);
        }
        if death == Death::AfterFrame {
            return self.reopen().await;
        }
        let sent = MeterCredit { count: Some(count), state: CreditState::Sent, ..credit };
        match loss {
            Loss::Answer => self.silent(&sent).await,
            _ => {
                let (state, why) = sent.judge(count, &self.meter.seen());
                self.settle(&sent, state, why).await;
            }
        }
    }

    async fn silent(&mut self, credit: &MeterCredit) {
        if credit.count.is_some() && credit.state != CreditState::Held {
            self.settle(credit, CreditState::Uncertain, "the meter does not answer").await;
        }
    }

    async fn settle(&mut self, credit: &MeterCredit, state: CreditState, why: &str) {
        let at = self.now();
        self.store.settle_credit(credit.receipt, state, why, at).await.unwrap();
    }

    /// A person looks at the meter and says what is true; then another one says the opposite, too late.
    async fn decide(&mut self) {
        let open = self.store.open_credits().await.unwrap();
        let Some(credit) = open.into_iter().find(|credit| credit.state == CreditState::Manual) else { return };
        let is_there = self.meter.applied.values().any(|receipt| *receipt == credit.receipt);
        let found = if is_there { Finding::Applied } else { Finding::NotApplied };
        for (finding, who, is_first) in [(found, "li", true), (Finding::Applied, "wang", false)] {
            let decision = CreditDecision {
                receipt: credit.receipt,
                finding,
                who: who.to_owned(),
                via: "api".to_owned(),
                reason: "read at the meter".to_owned(),
                at: self.now(),
            };
            assert_eq!(self.store.decide_credit(decision).await.is_ok(), is_first);
        }
    }

    async fn consume(&mut self, wh: i64, keeper: Keeper) {
        let from = self.store.baseline(SHOP).await.unwrap().unwrap();
        let exact = ExactCharge(from.exact.0 + ExactCharge::of(Quantity(wh), Price(5_683)).0);
        let to = Baseline {
            raw: from.raw + wh.unsigned_abs(),
            at: from.at + Duration::from_secs(900),
            exact,
            posted: exact.round(Utility::Electricity).unwrap(),
        };
        let interval = UsageInterval {
            service_point: SHOP.to_owned(),
            device: "node-1".to_owned(),
            utility: Utility::Electricity,
            from,
            to,
            quantity: Quantity(wh),
            tariff: "shops@1".to_owned(),
            quality: UsageQuality::Measured,
        };
        match keeper {
            Keeper::Meter => {
                self.used += interval.charge().0;
                self.meter.balance -= interval.charge().0 / Hao::PER_FEN;
                self.store.post_meter_usage(interval).await.unwrap();
            }
            Keeper::Ledger => {
                self.used_here += interval.charge().0;
                self.store.post_usage(interval).await.unwrap();
            }
        }
    }

    /// What must be true at any moment.
    async fn check(&self) {
        let credits = self.store.credits(SHOP, u32::MAX).await.unwrap();
        let confirmed: Vec<_> = credits.iter().filter(|credit| credit.state == CreditState::Confirmed).collect();
        let proven: i64 = confirmed.iter().map(|credit| credit.amount.0 * Hao::PER_FEN).sum();
        let wallet = self.store.wallet(SHOP).await.unwrap().unwrap();
        assert_eq!(wallet.in_meter.0, proven - self.used, "in the meter is what was proven there, less what was used");
        let left = self.paid * Hao::PER_FEN - self.used - self.used_here;
        assert_eq!(wallet.balance.0, left, "the tenant has what was paid and not used");
        for credit in &confirmed {
            let there = self.meter.applied.get(&credit.count.unwrap());
            assert_eq!(there, Some(&credit.receipt), "what is booked is in the meter");
        }
        let lines = self.store.statement(SHOP, 10_000).await.unwrap();
        assert_eq!(lines.first().map_or(0, |line| line.balance.0), wallet.balance.0);
        assert_eq!(lines.iter().map(|line| line.amount.0).sum::<i64>(), wallet.balance.0, "a statement adds up");
        let settled = credits.iter().filter(|credit| credit.state.is_settled()).count();
        let rows = self.store.outbox_after(0, 10_000).await.unwrap();
        assert_eq!(rows.iter().filter(|row| row.kind == "meter_credit").count(), settled, "each is forwarded once");
        // Every sum of the ledger among them: all accounts together are zero.
        assert_eq!(self.store.verify().await.unwrap(), []);
    }
}

async fn live(events: Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), "site").await.unwrap();
    store.open_wallet(SHOP, Utility::Electricity, Hao(0), Timestamp::EPOCH).await.unwrap();
    let start = Baseline { raw: 0, at: Timestamp::EPOCH, exact: ExactCharge(0), posted: Hao(0) };
    store.set_first_baseline(SHOP, start).await.unwrap();
    let mut world = World { dir: dir.path(), store, meter: Meter::default(), paid: 0, used: 0, used_here: 0, clock: 1 };
    let mut payments = Vec::new();
    for event in events {
        match event {
            Event::Pay { fen } => {
                payments.push(fen);
                let outcome = world.pay(i64::try_from(payments.len()).unwrap(), fen, Keeper::Meter).await;
                assert!(matches!(outcome, TopUpOutcome::Applied(_)));
                world.paid += fen;
            }
            Event::PayGateway { fen } => {
                payments.push(fen);
                let outcome = world.pay(i64::try_from(payments.len()).unwrap(), fen, Keeper::Ledger).await;
                assert!(matches!(outcome, TopUpOutcome::Applied(_)));
                world.paid += fen;
            }
            Event::PayAgain => {
                if let Some(fen) = payments.last() {
                    let outcome = world.pay(i64::try_from(payments.len()).unwrap(), *fen, Keeper::Meter).await;
                    assert!(matches!(outcome, TopUpOutcome::Replayed(_)));
                }
            }
            Event::Carry { loss, death } => world.carry(loss, death).await,
            Event::Card { fen } => world.meter.card(fen),
            Event::SameCard => {
                if let Some(credit) = world.next().await {
                    world.meter.card(credit.amount.0);
                }
            }
            Event::Outage => world.meter.restart(),
            Event::Use { wh } => world.consume(wh, Keeper::Meter).await,
            Event::UseGateway { wh } => world.consume(wh, Keeper::Ledger).await,
            Event::Start => world.start().await,
            Event::Decide => world.decide().await,
            Event::Reopen => {
                world.reopen().await;
                world.check().await;
            }
        }
    }
    world.start().await;
    world.check().await;
    // The line is good again and people have looked: nothing stays open but what the meter has no room for.
    let credits = world.store.credits(SHOP, u32::MAX).await.unwrap().len();
    for _ in 0..=2 * credits {
        world.carry(Loss::Nothing, Death::None).await;
        world.decide().await;
    }
    let open = world.store.open_credits().await.unwrap();
    let begun = open.iter().filter(|credit| credit.state != CreditState::Pending).collect::<Vec<_>>();
    assert!(begun.iter().all(|credit| credit.state == CreditState::Held), "{open:?}");
    let credits = world.store.credits(SHOP, u32::MAX).await.unwrap();
    let booked = credits.iter().filter(|credit| credit.state == CreditState::Confirmed).count();
    assert_eq!(booked, world.meter.applied.len(), "all that the meter applied is booked");
    world.check().await;
    world.store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_holds_what_was_proven_to_be_in_the_meter(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(events));
    }
}
