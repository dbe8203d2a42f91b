//! One service point: its register, its wallet, its supply.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guanjia_core::ledger::{Baseline, Keeper, Receipt, TransferKind, UsageOutcome};
use guanjia_core::reading::{PointIx, Quality, Reading};
use guanjia_core::supply::{self, Attempts, Contact, Decision, Ladder, Load, NoticeMark, RegisterTrust, WarningLevel};
use guanjia_core::supply::{Breaker, Inputs, Opened, RelayIntent, SupplyRecord};
use guanjia_core::tariff::{Metered, rate};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao};
use guanjia_core::usage::{Forward, HoldReason, HoldState, HoldWatch, Step};
use guanjia_store::{StoreError, Wallet};
use tracing::{debug, info, warn};

use super::meter::LEDGER_DEBT;
use super::register::{Heard, slot};
use super::relay::Settled;
use super::{Prepaid, text};
use crate::live::SupplyView;
use crate::site::{ServicePoint, Site};

/// Over how long the mean use behind "days of cover" is taken.
const COVER_OVER: Duration = Duration::from_secs(7 * 86_400);
/// Postings remembered for it; a week of quarter-hours.
const SPENT_MAX: usize = 700;
/// Relay commands read back at the start, to resume attempts and proof.
const INTENTS_READ: u32 = 20;

/// One service point at work.
pub struct Account {
    /// Index into `Site::service_points`.
    pub index: usize,
    pub(super) record: SupplyRecord,
    pub(super) intents: Vec<RelayIntent>,
    pub(super) attempts: Attempts,
    pub(super) proved: Option<u64>,
    /// When the last relay command ended.
    settled_at: Option<Timestamp>,
    opened: Opened,
    /// What a command compares its version with, right before its first byte.
    pub(super) version: Arc<AtomicU64>,
    pub(super) alerts: Vec<&'static str>,
    pub(super) balance: Hao,
    baseline: Option<Baseline>,
    hold: HoldWatch,
    trust: RegisterTrust,
    ladder: Ladder,
    spent: VecDeque<(Timestamp, Hao)>,
    register: Heard,
    proof: Option<Reading>,
    load: Option<Reading>,
    points: Points,
    blocked: Vec<&'static str>,
    /// When somebody last said that the supply may come back.
    pub(super) permitted_at: Option<Timestamp>,
    /// What people must know of top-ups on their way into the meter.
    pub(super) credit: Option<&'static str>,
    /// What is owed in the ledger beside a meter that keeps the credit.
    pub(super) debt: Option<Fen>,
    /// What a supply that is wanted and not there waits for.
    pub(super) waits_for: Option<&'static str>,
    cuts: Vec<Timestamp>,
}

/// The points of the meter an account looks at.
pub(super) struct Points {
    register: PointIx,
    proof: Option<PointIx>,
    load: Option<PointIx>,
}

impl Points {
    pub(super) fn of(site: &Site, sp: &ServicePoint) -> Self {
        let device = &site.devices[sp.device.0 as usize];
        let proof = site.relay(sp).and_then(|relay| site.find_point(&device.id, relay.proof()));
        Self { register: sp.register_point, proof, load: sp.load.map(|load| load.point) }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = PointIx> + use<> {
        [Some(self.register), self.proof, self.load].into_iter().flatten()
    }
}

impl Account {
    /// Opens the wallet if need be and goes on from the rows.
    pub async fn resume(prepaid: &Prepaid, index: usize, now: Timestamp) -> Result<Self, StoreError> {
        let (store, sp) = (&prepaid.store, &prepaid.site.service_points[index]);
        let wallet = store.open_wallet(&sp.id, sp.utility, sp.opening, now).await?;
        if sp.keeper() == Keeper::Meter {
            carry_over(prepaid, sp, &wallet, now).await?;
        }
        let record = store.supplies().await?.into_iter().find(|record| record.service_point == *sp.id);
        let record = record.unwrap_or_else(|| SupplyRecord::initial(&sp.id, now));
        let past = store.intents(&sp.id, INTENTS_READ).await?;
        let under_version: Vec<_> = past.iter().filter(|o| o.intent.version == record.version).collect();
        let attempts = Attempts {
            count: u32::try_from(under_version.len()).unwrap_or(u32::MAX),
            last: under_version.iter().map(|o| o.intent.at).max().unwrap_or(Timestamp::EPOCH),
        };
        let verified = past.iter().filter(|o| o.outcome.as_deref() == Some("verified"));
        let proved = verified.map(|o| o.intent.version).max();
        let cuts =
            past.iter().filter(|o| o.intent.action == guanjia_core::profile::RelayAction::Open).map(|o| o.intent.at);
        let cuts = cuts.filter(|at| now.since(*at) < Duration::from_secs(3600)).collect();
        let lines = store.statement(&sp.id, SPENT_MAX as u32).await?;
        let usage = lines.iter().rev().filter(|line| line.kind == TransferKind::Usage);
        let spent = usage.map(|line| (line.at, Hao(-line.amount.0))).collect();
        let notices = notice_marks(prepaid, &sp.id).await?;
        let mut account = Self {
            index,
            version: Arc::new(AtomicU64::new(record.version)),
            intents: past.into_iter().filter(|o| o.outcome.is_none()).map(|o| o.intent).collect(),
            attempts,
            proved,
            settled_at: None,
            opened: Opened::default(),
            record,
            alerts: Vec::new(),
            balance: wallet.balance,
            baseline: store.baseline(&sp.id).await?,
            hold: HoldWatch::default(),
            trust: RegisterTrust::Counted,
            ladder: Ladder::resume(&notices),
            spent,
            register: Heard::default(),
            proof: None,
            load: None,
            points: Points::of(&prepaid.site, sp),
            blocked: Vec::new(),
            permitted_at: None,
            credit: None,
            debt: None,
            waits_for: None,
            cuts,
        };
        account.balance_is(prepaid, wallet.balance, now);
        Ok(account)
    }

    /// When this service point was cut within the last hour, for the mass-cut breaker.
    pub fn recent_cuts(&self) -> Vec<(String, Timestamp)> {
        self.cuts.iter().map(|at| (self.record.service_point.clone(), *at)).collect()
    }

    /// Remembers what the meter says.
    pub fn take_in(&mut self, site: &Site, readings: &[Reading]) {
        for reading in readings {
            if reading.point == self.points.register {
                self.register.take(reading.clone(), site.billing.interval);
            }
            if Some(reading.point) == self.points.proof {
                self.proof = Some(reading.clone());
            }
            if Some(reading.point) == self.points.load {
                self.load = Some(reading.clone());
            }
        }
        let seen_at = self.proof.as_ref().map_or(Timestamp::EPOCH, |proof| proof.at);
        let contact = self.contact(site, guanjia_field::now());
        self.opened.see(contact, seen_at);
        if supply::proves(&self.record, contact, seen_at, &self.intents, self.settled_at) {
            self.proved = Some(self.record.version);
        }
    }

    /// Whether something the register said is neither posted nor refused.
    pub fn owes_posting(&self) -> bool {
        self.register.waits()
    }

    /// Takes in a balance, wherever it came from.
    pub fn balance_is(&mut self, prepaid: &Prepaid, balance: Hao, now: Timestamp) {
        self.balance = balance;
        let policy = &prepaid.site.service_points[self.index].policy;
        let level = policy.level(balance, policy.emergency_credit, self.cover(now));
        self.ladder.observe(balance, level, now);
    }

    /// Posts what was used, once per interval.
    pub async fn post_usage(&mut self, prepaid: &Prepaid, now: Timestamp) -> Result<(), StoreError> {
        let sp = &prepaid.site.service_points[self.index];
        // What was counted in the past is billed to its hours. It begins no metering and holds nothing: what it says of
        // the register the newest reading says better.
        while let Some(reading) = self.register.overtaken().cloned() {
            let step = sp.register.step(self.baseline.as_ref(), &reading, now);
            if let Step::Forward(forward) = &step
                && self.is_due(&step, &reading, prepaid.site.billing.interval)
            {
                self.bill(prepaid, forward, now).await?;
            }
            self.register.pass();
        }
        let Some(reading) = self.register.newest().cloned() else { return Ok(()) };
        let step = sp.register.step(self.baseline.as_ref(), &reading, now);
        if !self.is_due(&step, &reading, prepaid.site.billing.interval) {
            self.register.looked_at();
            return Ok(());
        }
        let held = self.hold.observe(&sp.register, &step);
        self.note_hold(&sp.id, held);
        match step {
            Step::First { raw, at } => {
                let baseline = Baseline { raw, at, exact: ExactCharge(0), posted: Hao(0) };
                prepaid.store.set_first_baseline(&sp.id, baseline.clone()).await?;
                debug!(service_point = %sp.id, raw, "metering begins");
                self.baseline = Some(baseline);
            }
            Step::Forward(forward) => self.bill(prepaid, &forward, now).await?,
            Step::Same | Step::Hold { .. } => {}
        }
        self.register.looked_at();
        Ok(())
    }

    /// Prices what was used and posts it.
    async fn bill(&mut self, prepaid: &Prepaid, forward: &Forward, now: Timestamp) -> Result<(), StoreError> {
        let sp = &prepaid.site.service_points[self.index];
        let Some(from) = &self.baseline else { return Ok(()) };
        let device = &prepaid.site.devices[sp.device.0 as usize];
        let metered = Metered { service_point: &sp.id, device: &device.id, register: &sp.register };
        match rate(metered, from, forward, &sp.tariff) {
            Ok(intervals) => self.post(prepaid, intervals, now).await?,
            Err(failure) => warn!(service_point = %sp.id, %failure, "usage cannot be priced; nothing is billed"),
        }
        Ok(())
    }

    async fn post(
        &mut self,
        prepaid: &Prepaid,
        intervals: Vec<guanjia_core::ledger::UsageInterval>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let keeper = prepaid.site.service_points[self.index].keeper();
        for interval in intervals {
            let (to, charge) = (interval.to.clone(), interval.charge());
            let posted = match keeper {
                Keeper::Ledger => prepaid.store.post_usage(interval).await?,
                Keeper::Meter => prepaid.store.post_meter_usage(interval).await?,
            };
            match posted {
                UsageOutcome::Posted { balance } => {
                    self.baseline = Some(to);
                    self.spent.push_back((now, charge));
                    if self.spent.len() > SPENT_MAX {
                        self.spent.pop_front();
                    }
                    self.balance_is(prepaid, balance, now);
                    prepaid.forwarder.notify_one();
                }
                UsageOutcome::BaselineMoved(baseline) => {
                    self.baseline = Some(baseline);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether this reading ends an interval. Held ones are looked at as they come, so that a hold shows at once.
    fn is_due(&self, step: &Step, reading: &Reading, interval: Duration) -> bool {
        match (step, &self.baseline) {
            (Step::Forward(_), Some(baseline)) => slot(reading.at, interval) > slot(baseline.at, interval),
            _ => true,
        }
    }

    fn note_hold(&mut self, id: &str, held: HoldState) {
        let trust = match held {
            HoldState::Clear => RegisterTrust::Counted,
            HoldState::Held { .. } | HoldState::NeedsReview { .. } => RegisterTrust::Held,
        };
        if trust != self.trust {
            match held {
                // A meter that does not answer is told of by its line.
                HoldState::Held { reason: HoldReason::Quality, .. } => {}
                HoldState::Clear => info!(service_point = id, "the register counts again"),
                HoldState::Held { reason, .. } | HoldState::NeedsReview { reason, .. } => {
                    warn!(
                        service_point = id,
                        reason = reason.as_str(),
                        "the register is held; nothing is billed or cut by it"
                    );
                }
            }
        }
        self.trust = trust;
    }

    /// Decides, and writes down what follows from it.
    pub async fn decide(
        &mut self,
        prepaid: &Prepaid,
        breaker: &Breaker,
        now: Timestamp,
    ) -> Result<Decision, StoreError> {
        let sp = &prepaid.site.service_points[self.index];
        let notices = match self.ladder.given() {
            Some(_) => notice_marks(prepaid, &sp.id).await?,
            None => Vec::new(),
        };
        self.intents.retain(|intent| now <= intent.valid_until);
        let decision = supply::decide(
            &Inputs {
                record: &self.record,
                kind: sp.kind,
                policy: &sp.policy,
                balance: self.balance,
                emergency_credit: sp.policy.emergency_credit,
                cover: self.cover(now),
                reading: self.register.newest().map(|r| supply::ReadingMark { quality: r.quality, at: r.at }),
                register: self.trust,
                clock: match prepaid.clock.is_trusted() {
                    true => supply::ClockTrust::Trusted,
                    false => supply::ClockTrust::Untrusted,
                },
                store: match prepaid.store.healthy() {
                    true => supply::StoreHealth::Healthy,
                    false => supply::StoreHealth::Unhealthy,
                },
                payment: supply::Payment::None,
                dispute: supply::Dispute::None,
                order: None,
                ladder: &self.ladder,
                notices: &notices,
                breaker: breaker.state(),
                contact: self.contact(&prepaid.site, now),
                proved: self.proved,
                intents: &self.intents,
            },
            now,
        );
        self.note_blocks(&sp.id, &decision);
        if let Some(record) = decision.record(&self.record, now) {
            prepaid.store.save_supply(record.clone()).await?;
            if record.version != self.record.version {
                info!(service_point = %sp.id, desired = record.desired.as_str(), reasons = %record.reasons.join(", "), "supply decided");
                self.attempts = Attempts::default();
            }
            self.version.store(record.version, Ordering::SeqCst);
            self.record = record;
        }
        Ok(decision)
    }

    /// Says once what keeps a due cut from being made.
    fn note_blocks(&mut self, id: &str, decision: &Decision) {
        let blocked: Vec<&'static str> = decision.blocked.iter().map(|block| block.as_str()).collect();
        // That an exempt point is not cut is no news.
        let remarkable = blocked.iter().any(|word| *word != "exempt");
        if blocked != self.blocked && remarkable {
            info!(service_point = id, blocked = %blocked.join(", "), "the balance is used up, and the supply stays on");
        }
        self.blocked = blocked;
    }

    /// Writes the notice that is due, with its pages.
    pub async fn warn(&mut self, prepaid: &Prepaid, decision: &Decision, now: Timestamp) -> Result<(), StoreError> {
        let Some(level) = decision.warning else { return Ok(()) };
        let sp = &prepaid.site.service_points[self.index];
        let pages = text::notice_pages(&prepaid.site, sp, level, self.ladder.cycle(), self.balance, now);
        prepaid.store.commit_notice(&sp.id, level.as_str(), self.ladder.cycle(), pages, now).await?;
        info!(service_point = %sp.id, level = level.as_str(), balance = %self.balance, "tenant warned");
        self.ladder.give(level, now);
        prepaid.pager.notify_one();
        Ok(())
    }

    /// A relay command has ended.
    pub fn settled(&mut self, outcome: &Settled) {
        self.intents.retain(|intent| intent.id != outcome.intent.id);
        self.settled_at = Some(outcome.at);
        if outcome.word == "verified" {
            self.proved = self.proved.max(Some(outcome.intent.version));
        }
    }

    /// Where the relay's contact is.
    pub fn contact(&self, site: &Site, now: Timestamp) -> Contact {
        let sp = &site.service_points[self.index];
        let Some(relay) = site.relay(sp) else { return Contact::Absent };
        match &self.proof {
            Some(Reading { value: Some(value), quality: Quality::Good, at, .. })
                if now.since(*at) <= sp.policy.reading_max_age && self.is_after_last_command(*at) =>
            {
                Contact::at(relay.position(value))
            }
            _ => Contact::Unknown,
        }
    }

    /// Whether something flows through the meter.
    pub fn load(&self, site: &Site, now: Timestamp) -> Load {
        let policy = &site.service_points[self.index].policy;
        let fresh = self.load.as_ref().filter(|r| {
            let is_fresh = r.quality.is_good() && now.since(r.at) <= policy.reading_max_age;
            is_fresh && self.is_after_last_command(r.at) && self.opened.is_told_by(r.at)
        });
        let value = fresh.and_then(|r| r.value.as_ref()).and_then(|v| v.as_f64());
        let factor = site.service_points[self.index].load.map_or(1.0, |load| load.factor);
        Load::judge(value.map(|value| value * factor), policy.bypass_above)
    }

    /// Whether a reading can know what the last relay command did. An older one would show a contact that has moved
    /// since, and a load that is gone, as a tampered relay.
    fn is_after_last_command(&self, at: Timestamp) -> bool {
        self.settled_at.is_none_or(|settled| at > settled)
    }

    fn cover(&self, now: Timestamp) -> Option<Duration> {
        let recent: Vec<_> = self.spent.iter().filter(|(at, _)| now.since(*at) <= COVER_OVER).collect();
        let first = recent.first()?.0;
        let spent = recent.iter().map(|(_, spent)| spent.0).sum();
        supply::cover(self.balance, Hao(spent), now.since(first))
    }

    /// What people see of it.
    pub fn view(&self, site: &Site) -> SupplyView {
        let (sp, now) = (&site.service_points[self.index], guanjia_field::now());
        let register = self.register.newest().filter(|r| r.value.is_some());
        let mut blocked: Vec<String> = self.blocked.iter().map(|word| (*word).to_owned()).collect();
        let debt = self.debt.map(|_| LEDGER_DEBT);
        blocked.extend(self.alerts.iter().copied().chain(self.credit).chain(debt).map(str::to_owned));
        SupplyView {
            service_point: Arc::clone(&sp.id),
            balance: self.balance,
            debt: self.debt,
            desired: self.record.desired,
            reported: match self.contact(site, now) {
                Contact::Seen(seen) => Some(seen),
                Contact::Absent | Contact::Unknown | Contact::Moving(_) | Contact::Jammed => None,
            },
            reasons: self.record.reasons.clone(),
            blocked,
            waits_for: self.waits_for,
            cover: self.cover(now),
            warning: self.ladder.given().map(|level: WarningLevel| level.as_str().to_owned()),
            register: register.and_then(|r| Some((sp.register.base_units(r.value.as_ref()?)?, r.at))),
        }
    }
}

/// Money that the wallet held before its meter kept the credit goes into the meter like a top-up.
async fn carry_over(prepaid: &Prepaid, sp: &ServicePoint, wallet: &Wallet, now: Timestamp) -> Result<(), StoreError> {
    if let Some(Receipt { number, amount, .. }) = prepaid.store.carry_over(&sp.id, now).await? {
        info!(service_point = %sp.id, receipt = number, %amount, "what was left in the ledger's wallet goes into the meter");
        prepaid.forwarder.notify_one();
    } else if wallet.kept_by(Keeper::Ledger) < Hao(0) {
        let debt = Hao(-wallet.kept_by(Keeper::Ledger).0);
        warn!(service_point = %sp.id, %debt, "a debt of before its meter kept the credit stays in the ledger; settle it at the till");
    }
    Ok(())
}

/// The notices of a service point with what became of them.
async fn notice_marks(prepaid: &Prepaid, id: &str) -> Result<Vec<NoticeMark>, StoreError> {
    let notices = prepaid.store.notices(id).await?;
    let marks = notices.iter().filter_map(|notice| {
        Some(NoticeMark {
            level: WarningLevel::from_word(&notice.level)?,
            cycle: notice.cycle,
            sent_at: notice.at,
            delivered_at: notice.delivered_at(),
        })
    });
    Ok(marks.collect())
}
