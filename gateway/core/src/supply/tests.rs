use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::reading::{BadReason, Quality};
use crate::units::Hao;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// Tuesday 2026-03-03, 10:00 in Shanghai: an hour for cuts.
fn tuesday() -> Timestamp {
    time("2026-03-03T02:00:00Z")
}

fn yuan(yuan: i64) -> Hao {
    Hao(yuan * Hao::PER_YUAN)
}

fn raw_policy() -> RawPolicy {
    use Weekday::*;
    let level = |days, balance: Option<&str>| RawLevel { cover_days: days, balance: balance.map(Into::into) };
    RawPolicy {
        emergency_credit: "20.00".into(),
        reconnect_above: "0".into(),
        notice1: level(Some(7), Some("50.00")),
        notice2: level(Some(3), Some("20.00")),
        final_notice: level(Some(1), Some("0")),
        notice_lead_s: 1_800,
        cut_windows: vec![RawCutWindow { days: vec![Mon, Tue, Wed, Thu], from: "09:00".into(), to: "16:00".into() }],
        holidays: vec!["2026-03-04".into()],
        reading_max_age_s: 3_600,
        reconnect: Reconnect::Direct,
        bypass_above: 20.0,
    }
}

fn policy() -> Policy {
    Policy::new(&raw_policy(), &zone()).unwrap()
}

/// A service point about which everything is known, with a balance that is used up: it may be cut.
struct World {
    record: SupplyRecord,
    kind: ServiceKind,
    policy: Policy,
    balance: Hao,
    emergency_credit: Hao,
    cover: Option<Duration>,
    reading: Option<ReadingMark>,
    register: RegisterTrust,
    clock: ClockTrust,
    store: StoreHealth,
    payment: Payment,
    dispute: Dispute,
    order: Option<Order>,
    ladder: Ladder,
    notices: Vec<NoticeMark>,
    breaker: BreakerState,
    contact: Contact,
    proved: Option<u64>,
    intents: Vec<RelayIntent>,
    attempts: Attempts,
    load: Load,
    permitted_at: Option<Timestamp>,
    now: Timestamp,
}

impl World {
    fn ripe() -> Self {
        let now = tuesday();
        let sent_at = now - MINUTE * 40;
        let told = NoticeMark { level: WarningLevel::Final, cycle: 3, sent_at, delivered_at: Some(now - MINUTE * 31) };
        Self {
            record: SupplyRecord::initial("s-101", now - DAY),
            kind: ServiceKind::Prepaid,
            policy: policy(),
            balance: yuan(-20),
            emergency_credit: yuan(20),
            cover: None,
            reading: Some(ReadingMark { quality: Quality::Good, at: now - MINUTE }),
            register: RegisterTrust::Counted,
            clock: ClockTrust::Trusted,
            store: StoreHealth::Healthy,
            payment: Payment::None,
            dispute: Dispute::None,
            order: None,
            ladder: Ladder::resume(&[told]),
            notices: vec![told],
            breaker: BreakerState::Closed,
            contact: Contact::Seen(Supply::On),
            proved: Some(0),
            intents: Vec::new(),
            attempts: Attempts::default(),
            load: Load::None,
            permitted_at: None,
            now,
        }
    }

    /// The same after the cut was decided, made and proved.
    fn cut() -> Self {
        let mut world = Self::ripe();
        world.decide_and_store();
        world.contact = Contact::Seen(Supply::Off);
        world.proved = Some(world.record.version);
        world
    }

    fn decide(&self) -> Decision {
        let inputs = Inputs {
            record: &self.record,
            kind: self.kind,
            policy: &self.policy,
            balance: self.balance,
            emergency_credit: self.emergency_credit,
            cover: self.cover,
            reading: self.reading,
            register: self.register,
            clock: self.clock,
            store: self.store,
            payment: self.payment,
            dispute: self.dispute,
            order: self.order,
            ladder: &self.ladder,
            notices: &self.notices,
            breaker: self.breaker,
            contact: self.contact,
            proved: self.proved,
            intents: &self.intents,
        };
        decide(&inputs, self.now)
    }

    fn decide_and_store(&mut self) -> Decision {
        let decision = self.decide();
        if let Some(record) = decision.record(&self.record, self.now) {
            self.record = record;
        }
        decision
    }

    fn control(&self, decision: &Decision) -> Control {
        let inputs = ControlInputs {
            record: &self.record,
            contact: self.contact,
            load: self.load,
            proved: self.proved,
            attempts: self.attempts,
            intents: &self.intents,
            reconnect: self.policy.reconnect,
            permitted_at: self.permitted_at,
        };
        control(&inputs, decision, self.now)
    }

    /// The action of one whole pass.
    fn pass(&mut self) -> Action {
        let decision = self.decide_and_store();
        self.control(&decision).action
    }

    /// Decides a cut and makes its command.
    fn trip(&mut self) -> RelayIntent {
        let permit = self.decide_and_store().permit.expect("nothing blocks");
        let pass = Breaker::new(BreakerLimits::default(), 100).admit("s-101", self.now).unwrap();
        permit.intent(pass, Uuid::from_u128(1), &self.record, self.now, "{}".into()).unwrap()
    }
}

fn intent(world: &World, action: RelayAction, version: u64) -> RelayIntent {
    RelayIntent {
        id: Uuid::from_u128(7),
        service_point: world.record.service_point.clone(),
        action,
        version,
        at: world.now,
        valid_until: world.now + INTENT_VALIDITY,
        evidence: String::new(),
    }
}

mod controlling;
mod cutting;
mod telling;
