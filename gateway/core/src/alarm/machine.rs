//! The machine of one alarm.
//!
//! # Rules
//!
//! * Truth is three-valued. A term is true or false only on a good reading; bad, stale and suspect readings make it
//!   unknown. One false term makes the whole condition false, all true terms make it true, anything else leaves it
//!   unknown. An unknown condition neither raises nor clears.
//! * Delays count good time only. While the condition is unknown the running delay is frozen: it keeps what it has
//!   gathered and gathers nothing. (Forgetting it would let a lift with one lost answer in three never reach its
//!   45 seconds.) A contrary good reading forgets it.
//! * Every rise of the condition is a new occurrence, also from RTNUN and the latched states. An acknowledgement
//!   names the occurrence it means, so that nobody accepts what he has not seen.
//! * A restart begins with the record: flags are kept, running delays are lost and start again on the first good
//!   reading. That costs at most one delay.

use std::sync::Arc;
use std::time::Duration;

use super::{AlarmDef, AlarmRecord, AlarmState, Condition, Latching, Test};
use crate::reading::{DeviceIx, Quality, Reading, Value};
use crate::time::Timestamp;

/// Whether a device answers its polls, as its line sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers.
    Answering,
    /// It does not, for longer than the poll's own retries.
    Silent,
}

/// What happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransitionKind {
    /// The condition came, from NORM: a new occurrence.
    Raised,
    /// The condition came again before the last occurrence was settled: a new occurrence of the same trouble.
    Reoccurred,
    /// The condition went.
    Cleared,
    /// A person accepted the live occurrence.
    Acknowledged,
    /// A person reset the latch.
    Reset,
}

/// One step of one alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What happened.
    pub kind: TransitionKind,
    /// The state before.
    pub from: AlarmState,
    /// The state now.
    pub to: AlarmState,
    /// The occurrence it is about.
    pub occurrence: u64,
    /// When.
    pub at: Timestamp,
}

/// Why an acknowledgement was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The person looked at an older occurrence.
    #[error("this acknowledges an older occurrence; the live one is {live}, look at it and acknowledge that one")]
    WrongOccurrence {
        /// The occurrence that waits, or the last one there was.
        live: u64,
    },
    /// It never was raised, or somebody was faster.
    #[error("nothing waits for an acknowledgement here")]
    NothingToAck,
}

/// Why a reset was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The condition still holds.
    #[error("the condition still holds; remove its cause at the equipment first")]
    StillActive,
    /// Nobody has accepted it.
    #[error("the alarm is not acknowledged; acknowledge it before the reset")]
    NotAcknowledged,
    /// There is no latch to reset.
    #[error("the alarm is not latched")]
    NotLatched,
}

/// Three-valued truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Unknown,
}

/// A running delay. `since` is `None` while frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    gathered: Duration,
    since: Option<Timestamp>,
}

/// One alarm: its definition, its durable record, and what only lives in memory.
#[derive(Clone, Debug)]
pub struct Alarm {
    def: Arc<AlarmDef>,
    record: AlarmRecord,
    /// One per term of the condition (a silence and a declaration have one).
    terms: Vec<Truth>,
    /// The last truth a good reading gave each term, for the deadband.
    held: Vec<bool>,
    pending: Option<Pending>,
}

impl Alarm {
    /// An alarm as the store left it, or a new one in NORM. The record outlives changes of the definition: a latch
    /// stays a latch when a limit is edited.
    pub fn new(def: Arc<AlarmDef>, record: Option<AlarmRecord>) -> Self {
        let terms = match &def.condition {
            Condition::All(terms) => terms.len(),
            Condition::Silent(_) | Condition::Declared => 1,
        };
        let record = record.unwrap_or_else(|| AlarmRecord::new(&def.key));
        Self {
            terms: vec![Truth::Unknown; terms],
            // What raised it was true on every term; the deadband continues from there.
            held: vec![record.active; terms],
            pending: None,
            def,
            record,
        }
    }

    /// What it watches.
    pub fn def(&self) -> &Arc<AlarmDef> {
        &self.def
    }

    /// What the store must keep of it.
    pub fn record(&self) -> &AlarmRecord {
        &self.record
    }

    /// For what is decided outside the machine: the incident and the root it hides under.
    pub(crate) fn record_mut(&mut self) -> &mut AlarmRecord {
        &mut self.record
    }

    /// Its state.
    pub fn state(&self) -> AlarmState {
        self.record.state()
    }

    /// Takes one reading of any point. Readings of foreign points change nothing.
    pub fn observe(&mut self, now: Timestamp, reading: &Reading) -> Option<Transition> {
        let Condition::All(terms) = &self.def.condition else { return None };
        let mut mine = false;
        for (i, term) in terms.iter().enumerate().filter(|(_, term)| term.point == reading.point) {
            mine = true;
            let truth = match (&reading.value, reading.quality) {
                (Some(value), Quality::Good) => term.test.holds(value, self.held[i]),
                _ => None,
            };
            self.terms[i] = match truth {
                Some(true) => Truth::True,
                Some(false) => Truth::False,
                None => Truth::Unknown,
            };
            if let Some(truth) = truth {
                self.held[i] = truth;
            }
        }
        if mine { self.evaluate(now) } else { None }
    }

    /// Takes the poll health of a device; only [`Condition::Silent`] of that device listens.
    pub fn device_health(&mut self, now: Timestamp, device: DeviceIx, health: Health) -> Option<Transition> {
        if self.def.condition != Condition::Silent(device) {
            return None;
        }
        self.terms[0] = match health {
            Health::Silent => Truth::True,
            Health::Answering => Truth::False,
        };
        self.evaluate(now)
    }

    /// Takes the gateway's own word; only [`Condition::Declared`] listens.
    pub fn declared(&mut self, now: Timestamp, holds: bool) -> Option<Transition> {
        if self.def.condition != Condition::Declared {
            return None;
        }
        self.terms[0] = if holds { Truth::True } else { Truth::False };
        self.evaluate(now)
    }

    /// Lets time pass: a delay that has run out takes effect.
    pub fn tick(&mut self, now: Timestamp) -> Option<Transition> {
        self.evaluate(now)
    }

    /// When [`Alarm::tick`] has something to do, if no reading comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let pending = self.pending?;
        Some(pending.since? + self.delay().saturating_sub(pending.gathered))
    }

    /// A person accepts `occurrence`.
    ///
    /// # Errors
    /// [`AckError`]; nothing changes then. A late acknowledgement never re-opens anything.
    pub fn ack(&mut self, occurrence: u64, who: &str, now: Timestamp) -> Result<Transition, AckError> {
        if occurrence != self.record.occurrence {
            return Err(AckError::WrongOccurrence { live: self.record.occurrence });
        }
        if self.record.acked {
            return Err(AckError::NothingToAck);
        }
        let from = self.state();
        self.record.acked = true;
        self.record.acked_at = Some(now);
        self.record.acked_by = Some(who.to_owned());
        Ok(self.transition(TransitionKind::Acknowledged, from, now))
    }

    /// A person resets the latch, after the cause is gone and the alarm was accepted.
    ///
    /// # Errors
    /// [`ResetError`]; nothing changes then.
    pub fn reset(&mut self, now: Timestamp) -> Result<Transition, ResetError> {
        let from = self.state();
        match from {
            AlarmState::Latak => {}
            AlarmState::Unack | AlarmState::Acked => return Err(ResetError::StillActive),
            AlarmState::Latun => return Err(ResetError::NotAcknowledged),
            AlarmState::Norm | AlarmState::Rtnun => return Err(ResetError::NotLatched),
        }
        self.record.latched = false;
        Ok(self.transition(TransitionKind::Reset, from, now))
    }

    /// The truth of the whole condition.
    fn truth(&self) -> Truth {
        if self.terms.contains(&Truth::False) {
            Truth::False
        } else if self.terms.contains(&Truth::Unknown) || self.terms.is_empty() {
            Truth::Unknown
        } else {
            Truth::True
        }
    }

    /// The delay that stands between the present flag and its opposite.
    fn delay(&self) -> Duration {
        if self.record.active { self.def.off_delay } else { self.def.on_delay }
    }

    /// Moves the delay along, and the flags when it has run out.
    fn evaluate(&mut self, now: Timestamp) -> Option<Transition> {
        let truth = self.truth();
        if truth == Truth::Unknown {
            if let Some(Pending { gathered, since: Some(since) }) = self.pending {
                self.pending = Some(Pending { gathered: gathered + now.since(since), since: None });
            }
            return None;
        }
        let wanted = truth == Truth::True;
        if wanted == self.record.active {
            self.pending = None;
            return None;
        }
        let Pending { gathered, since } = self.pending.unwrap_or(Pending { gathered: Duration::ZERO, since: None });
        // A clock set back must not hold an alarm back by as much: the delay goes on from the new time.
        let since = since.unwrap_or(now).min(now);
        if gathered + now.since(since) < self.delay() {
            self.pending = Some(Pending { gathered, since: Some(since) });
            return None;
        }
        self.pending = None;
        Some(if wanted { self.raise(now) } else { self.clear(now) })
    }

    fn raise(&mut self, now: Timestamp) -> Transition {
        let from = self.state();
        let record = &mut self.record;
        record.occurrence += 1;
        record.active = true;
        record.acked = false;
        record.latched = false;
        record.raised_at = now;
        record.cleared_at = None;
        record.acked_at = None;
        record.acked_by = None;
        let kind = if from == AlarmState::Norm { TransitionKind::Raised } else { TransitionKind::Reoccurred };
        self.transition(kind, from, now)
    }

    fn clear(&mut self, now: Timestamp) -> Transition {
        let from = self.state();
        let record = &mut self.record;
        record.active = false;
        record.cleared_at = Some(now);
        record.latched = self.def.latching == Latching::Latching;
        if record.suppressed_by.take().is_some() {
            // Hidden by design, it asked nobody for anything: it goes back to NORM without an acknowledgement.
            record.acked = true;
        }
        self.transition(TransitionKind::Cleared, from, now)
    }

    fn transition(&self, kind: TransitionKind, from: AlarmState, at: Timestamp) -> Transition {
        Transition { kind, from, to: self.state(), occurrence: self.record.occurrence, at }
    }
}

impl Test {
    /// Whether `value` passes, given what it was before (for the deadband). `None` where the two cannot be compared.
    pub fn holds(&self, value: &Value, held: bool) -> Option<bool> {
        match *self {
            Test::Above { limit, deadband } => {
                let edge = if held { limit - deadband } else { limit };
                value.as_f64().map(|x| x > edge)
            }
            Test::Below { limit, deadband } => {
                let edge = if held { limit + deadband } else { limit };
                value.as_f64().map(|x| x < edge)
            }
            Test::Equals(code) => equals(value, code),
            Test::Differs(code) => equals(value, code).map(|same| !same),
            Test::AnyBit(mask) => bits(value).map(|bits| bits & mask != 0),
        }
    }
}

fn equals(value: &Value, code: i64) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(i64::from(*b) == code),
        Value::Decimal(d) => Some(*d == crate::reading::Decimal::new(i128::from(code), 0)),
        Value::Float(x) => Some(*x == code as f64),
        Value::Text(_) => None,
    }
}

/// The bits of a whole number, two's complement where it is negative.
fn bits(value: &Value) -> Option<u64> {
    let whole = match value {
        Value::Bool(b) => i128::from(*b),
        Value::Decimal(d) => d.rescale(0)?,
        Value::Float(_) | Value::Text(_) => return None,
    };
    u64::try_from(whole).ok().or_else(|| i64::try_from(whole).ok().map(i64::cast_unsigned))
}
