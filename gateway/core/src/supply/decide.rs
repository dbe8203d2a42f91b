//! The decision: should this service point be supplied, and if it should not, may it be cut now?

use std::time::Duration;

use serde::Serialize;

use super::policy::is_used_up;
use super::{BreakerState, Contact, CutBlock, CutReason, FINAL_VALIDITY, Ladder, NoticeMark, Order, Policy};
use super::{Reason, RelayIntent, ServiceKind, Supply, SupplyRecord, WarningLevel};
use crate::reading::Quality;
use crate::time::Timestamp;
use crate::units::Hao;

/// How long a decision stands before it is made again, even if nothing was heard.
pub const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// How far ahead of now a reading may be dated and still be fresh.
pub const READING_FUTURE_MAX: Duration = Duration::from_secs(10);

/// The last word of the billing register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingMark {
    /// Its quality.
    pub quality: Quality,
    /// When the meter said so.
    pub at: Timestamp,
}

/// Whether the register's readings are being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterTrust {
    /// They are.
    Counted,
    /// The last ones are held: glitch, or suspected meter swap.
    Held,
}

/// Whether the gateway's clock can be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockTrust {
    /// It is synchronised and has not jumped.
    Trusted,
    /// It is not, or has.
    Untrusted,
}

/// Whether what is decided can be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreHealth {
    /// It can.
    Healthy,
    /// The last write failed.
    Unhealthy,
}

/// Whether money is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payment {
    /// None is known.
    None,
    /// An order was made or a callback is being looked into.
    Pending,
}

/// Whether the tenant contests the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dispute {
    /// No.
    None,
    /// Yes: the supply stays on, or comes back, until it is settled.
    Open,
}

/// Everything a decision depends on besides the time.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// What is desired so far.
    pub record: &'a SupplyRecord,
    /// Prepaid or exempt.
    pub kind: ServiceKind,
    /// The site's rules.
    pub policy: &'a Policy,
    /// The wallet, with all usage up to `reading` posted.
    pub balance: Hao,
    /// How far below zero this tenant may go; negative counts as none.
    pub emergency_credit: Hao,
    /// How long the balance lasts, see [`super::cover`].
    pub cover: Option<Duration>,
    /// The last reading of the billing register, of whatever quality.
    pub reading: Option<ReadingMark>,
    /// Whether it is being counted.
    pub register: RegisterTrust,
    /// The clock.
    pub clock: ClockTrust,
    /// The store.
    pub store: StoreHealth,
    /// Money on its way.
    pub payment: Payment,
    /// A contested bill.
    pub dispute: Dispute,
    /// A person's order to keep the supply off.
    pub order: Option<Order>,
    /// How far the tenant has been told; `balance` observed.
    pub ladder: &'a Ladder,
    /// The notices of this service point.
    pub notices: &'a [NoticeMark],
    /// The mass-cut breaker.
    pub breaker: BreakerState,
    /// Where the relay's contact is.
    pub contact: Contact,
    /// The newest version of the record at which the contact was seen where it was desired, after any command of that
    /// version or an older one ([`super::proves`]). It must survive a restart (the last settled intent tells), or a contact that was moved by hand while
    /// the gateway was down would be commanded.
    pub proved: Option<u64>,
    /// Intents of this service point that are not settled.
    pub intents: &'a [RelayIntent],
}

/// What a cut rests on, written down with the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The lawful reason.
    pub reason: CutReason,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The balance then.
    pub balance: Hao,
    /// What the tenant could go below zero.
    pub emergency_credit: Hao,
    /// When the meter gave the reading the balance rests on.
    pub reading_at: Option<Timestamp>,
    /// The final notice; none for an order.
    pub final_notice: Option<NoticeMark>,
}

/// The leave to cut one service point under one version of its record. Only [`decide`] makes one, with no block left.
#[derive(Debug, PartialEq, Eq)]
pub struct CutPermit {
    pub(super) service_point: String,
    pub(super) version: u64,
    pub(super) evidence: Evidence,
}

impl CutPermit {
    /// What the cut rests on.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

/// What was decided, and all of why.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the supply should be.
    pub desired: Supply,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What stands in the way of a cut there is a reason for; empty if there is no reason, or it is made.
    pub blocked: Vec<CutBlock>,
    /// The warning to give now.
    pub warning: Option<WarningLevel>,
    /// The leave to open the contact now.
    pub permit: Option<CutPermit>,
    /// When to decide again at the latest.
    pub next_check: Timestamp,
}

impl Decision {
    /// The record to store if this changes it: a new version if the supply is to change, the same one if only
    /// the reasons of a cut do. Stored before anything is commanded.
    pub fn record(&self, old: &SupplyRecord, now: Timestamp) -> Option<SupplyRecord> {
        let reasons: Vec<String> = self.reasons.iter().map(|reason| reason.as_str().to_owned()).collect();
        let service_point = old.service_point.clone();
        if self.desired != old.desired {
            let version = old.version + 1;
            return Some(SupplyRecord { service_point, desired: self.desired, version, changed_at: now, reasons });
        }
        (self.desired == Supply::Off && reasons != old.reasons).then(|| SupplyRecord { reasons, ..old.clone() })
    }
}

/// Decides. Nothing but the arguments is looked at.
pub fn decide(inputs: &Inputs<'_>, now: Timestamp) -> Decision {
    let (record, policy) = (inputs.record, inputs.policy);
    let used_up = is_used_up(inputs.balance, inputs.emergency_credit);
    let in_credit = inputs.balance > policy.reconnect_above && !used_up;
    let cut_for_balance =
        record.desired == Supply::Off && record.reasons.iter().any(|word| word == CutReason::Balance.as_str());

    let mut decision = if let ServiceKind::Exempt { why } = inputs.kind {
        let wanted = used_up || inputs.order.is_some();
        on(Reason::Exempt(why), if wanted { vec![CutBlock::Exempt(why)] } else { Vec::new() }, now)
    } else if let Some(order) = inputs.order {
        let mut decision =
            interrupt(inputs, order.reason(), record.desired == Supply::Off, order_blocks(inputs, now), now);
        if decision.desired == Supply::Off && cut_for_balance && !in_credit {
            // Kept, so that the supply does not come back unpaid when the order is lifted.
            decision.reasons.push(Reason::Cut(CutReason::Balance));
        }
        decision
    } else if in_credit {
        on(if record.desired == Supply::Off { Reason::ToppedUp } else { Reason::InCredit }, Vec::new(), now)
    } else if inputs.dispute == Dispute::Open {
        on(Reason::Dispute, if used_up { balance_blocks(inputs, now) } else { Vec::new() }, now)
    } else if used_up {
        interrupt(inputs, CutReason::Balance, cut_for_balance, balance_blocks(inputs, now), now)
    } else if cut_for_balance && cut_stands(inputs) {
        off(CutReason::Balance, None, now)
    } else {
        on(Reason::EmergencyCredit, Vec::new(), now)
    };
    let told = inputs.kind == ServiceKind::Prepaid && inputs.dispute == Dispute::None;
    if told && decision.desired == Supply::On {
        let level = policy.level(inputs.balance, inputs.emergency_credit, inputs.cover);
        decision.warning = inputs.ladder.due(level);
    }
    let ends = decision.blocked.iter().filter_map(|block| block.ends_at()).filter(|at| *at > now).min();
    decision.next_check = ends.map_or(decision.next_check, |at| at.min(decision.next_check));
    decision
}

/// There is a lawful reason to cut: go on with a cut that is made, make one if nothing blocks it, or keep supplying.
fn interrupt(
    inputs: &Inputs<'_>,
    reason: CutReason,
    cut_already: bool,
    blocked: Vec<CutBlock>,
    now: Timestamp,
) -> Decision {
    if cut_already && cut_stands(inputs) {
        return off(reason, None, now);
    }
    // Our own command is on its way; anything else that blocks withdraws it.
    if cut_already && blocked == [CutBlock::IntentOpen] {
        return Decision { blocked, ..off(reason, None, now) };
    }
    if !blocked.is_empty() {
        return on(Reason::Blocked, blocked, now);
    }
    let evidence = Evidence {
        reason,
        decided_at: now,
        balance: inputs.balance,
        emergency_credit: inputs.emergency_credit,
        reading_at: inputs.reading.map(|reading| reading.at),
        final_notice: (reason == CutReason::Balance).then(|| final_notice(inputs)).flatten(),
    };
    let version = match inputs.record.desired {
        Supply::On => inputs.record.version + 1,
        Supply::Off => inputs.record.version,
    };
    let permit = CutPermit { service_point: inputs.record.service_point.clone(), version, evidence };
    off(reason, Some(permit), now)
}

/// Whether a cut that was decided has been made, as far as can be seen. Hours and notices were asked before it and are
/// not asked again.
fn cut_stands(inputs: &Inputs<'_>) -> bool {
    match inputs.contact {
        // If the contact cannot be seen, the cut may have been made, and nothing is commanded either way.
        Contact::Seen(Supply::Off) | Contact::Moving(Supply::Off) | Contact::Unknown => true,
        // Somebody closed it by hand after it was proved open: an alarm, and no second cut.
        Contact::Seen(Supply::On) | Contact::Moving(Supply::On) | Contact::Jammed => {
            inputs.proved == Some(inputs.record.version)
        }
        Contact::Absent => false,
    }
}

fn on(reason: Reason, blocked: Vec<CutBlock>, now: Timestamp) -> Decision {
    let next_check = now + RECHECK_AFTER;
    Decision { desired: Supply::On, reasons: vec![reason], blocked, warning: None, permit: None, next_check }
}

fn off(reason: CutReason, permit: Option<CutPermit>, now: Timestamp) -> Decision {
    let (reasons, next_check) = (vec![Reason::Cut(reason)], now + RECHECK_AFTER);
    Decision { desired: Supply::Off, reasons, blocked: Vec::new(), warning: None, permit, next_check }
}

/// Everything that blocks a cut for a used-up balance.
fn balance_blocks(inputs: &Inputs<'_>, now: Timestamp) -> Vec<CutBlock> {
    let mut blocks = order_blocks(inputs, now);
    blocks.extend(match inputs.reading {
        None => Some(CutBlock::NoReading),
        Some(reading) if !reading.quality.is_good() => Some(CutBlock::BadReading),
        Some(reading)
            if now.since(reading.at) > inputs.policy.reading_max_age || reading.at > now + READING_FUTURE_MAX =>
        {
            Some(CutBlock::StaleReading)
        }
        Some(_) => None,
    });
    blocks.extend(notice_block(inputs, now));
    for (blocks_it, block) in [
        (inputs.register == RegisterTrust::Held, CutBlock::RegisterHeld),
        (inputs.clock == ClockTrust::Untrusted, CutBlock::ClockUntrusted),
        (inputs.payment == Payment::Pending, CutBlock::PaymentPending),
        (inputs.dispute == Dispute::Open, CutBlock::DisputeOpen),
        (inputs.breaker != BreakerState::Closed, CutBlock::BreakerOpen),
    ] {
        blocks.extend(blocks_it.then_some(block));
    }
    let windows = &inputs.policy.windows;
    if !windows.contains(now) {
        blocks.push(CutBlock::OutsideWindow { opens: windows.next_opening(now) });
    }
    blocks
}

/// What blocks even an order: nobody could carry it out, or write it down.
fn order_blocks(inputs: &Inputs<'_>, now: Timestamp) -> Vec<CutBlock> {
    let mut blocks = Vec::new();
    if inputs.contact == Contact::Absent {
        blocks.push(CutBlock::NoRelay);
    }
    if inputs.store == StoreHealth::Unhealthy {
        blocks.push(CutBlock::StoreUnhealthy);
    }
    if inputs.intents.iter().any(|intent| now <= intent.valid_until) {
        blocks.push(CutBlock::IntentOpen);
    }
    blocks
}

/// The final notice of this cycle; if there are several, the one that was delivered first.
fn final_notice(inputs: &Inputs<'_>) -> Option<NoticeMark> {
    let of_cycle = |n: &&NoticeMark| n.level == WarningLevel::Final && n.cycle == inputs.ladder.cycle();
    inputs.notices.iter().filter(of_cycle).min_by_key(|n| n.delivered_at.unwrap_or(Timestamp::MAX)).copied()
}

fn notice_block(inputs: &Inputs<'_>, now: Timestamp) -> Option<CutBlock> {
    let Some(notice) = final_notice(inputs) else { return Some(CutBlock::FinalNoticeNotSent) };
    let Some(delivered_at) = notice.delivered_at else { return Some(CutBlock::FinalNoticeNotDelivered) };
    let until = delivered_at + inputs.policy.notice_lead;
    if now < until {
        Some(CutBlock::NoticeLead { until })
    } else if now.since(notice.sent_at) > FINAL_VALIDITY {
        Some(CutBlock::FinalNoticeExpired)
    } else {
        None
    }
}
