//! Whether a shop has power or water, whether it may be cut, and why.
//!
//! ```text
//!                    balance at or below the limit, and nothing blocks
//!            ┌────────────────────────────────────────────────────────┐
//!            │                                                        ▼
//!        desired On ◄───────────────────────────────────────── desired Off ── contact seen open: stays, whatever
//!            ▲     balance above the reconnect level; exempt;     │    ▲        the hour; nothing is commanded
//!            │     a dispute; the cut not made yet and blocked    │    └─ contact still closed, nothing blocks:
//!            └────────────────────────────────────────────────────┘       a permit for the next attempt
//!
//!  readings, ledger, notices ──► decide ──► SupplyRecord (version grows) ──► control ──► Open | Close | nothing
//!                                  │                                            ▲
//!                                  └── CutPermit ── BreakerPass ── RelayIntent  └── contact, load, proof
//! ```
//!
//! * [`decide`] is a pure function of everything that matters, and returns all reasons and all blocks. Whatever is not
//!   known, blocks a cut; nothing blocks a restoration but an order of a person ([`Order`]).
//! * The reasons for which a supply may be interrupted are the enum [`CutReason`]. Debts for property fees or anything
//!   else (Civil Code, Art. 944) have no variant, so no caller can ask for such a cut.
//! * A cut needs a [`CutPermit`], which only [`decide`] makes, and a [`BreakerPass`], which only [`Breaker::admit`]
//!   gives. Both together make the [`RelayIntent`]; there is no permit for an exempt point.
//! * Every change of what is desired makes a new version. A command carries the version it serves and is worthless
//!   under any other: a cut decided before a top-up is not made after it ([`RelayIntent::may_send`]).
//! * [`control`] is level triggered: it is asked at every pass until the contact proves what is desired, and goes on
//!   after restarts and dead lines. A contact that was moved by hand is an alarm and is left alone: somebody may be
//!   working on the line behind it.
//! * [`Ladder`] sees to it that a tenant is told once per level and cycle, and that an old final notice never
//!   permits a new cut.
//!
//! A power cut costs nothing that is not read again: the record, the intents and the notices are rows. The breaker is
//! rebuilt from the intents of the last hour ([`Breaker::resume`]), the ladder from the notices ([`Ladder::resume`]).

use serde::{Deserialize, Serialize};

use crate::profile::RelayAction;
use crate::time::Timestamp;

mod breaker;
mod control;
mod decide;
mod intent;
mod policy;
mod reason;
#[cfg(test)]
mod tests;
mod warning;
mod window;

pub use breaker::{Breaker, BreakerLimits, BreakerPass, BreakerState};
pub use control::{Action, Attempts, Contact, ContactAlarm, Control, ControlInputs, Load, Opened, WaitReason, control};
pub use control::{MOVING_MAX, RETRY_FIRST, RETRY_MAX, STUCK_AFTER, proves};
pub use decide::{ClockTrust, CutPermit, Decision, Dispute, Evidence, Inputs, Payment, ReadingMark, RegisterTrust};
pub use decide::{READING_FUTURE_MAX, RECHECK_AFTER, StoreHealth, decide};
pub use intent::{INTENT_VALIDITY, SendRefusal};
pub use policy::{Exemption, Level, Policy, PolicyError, RawLevel, RawPolicy, Reconnect, ServiceKind};
pub use reason::{CutBlock, CutReason, Order, Reason};
pub use warning::{FINAL_VALIDITY, Ladder, NoticeMark, WarningLevel, cover};
pub use window::{CutWindows, RawCutWindow, WINDOWS_MAX, Weekday};

/// Supply as wanted or as seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// The contact is closed, the valve is open.
    On,
    /// The contact is open, the valve is closed.
    Off,
}

impl Supply {
    /// The word in metrics, rows and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Supply::On => "on",
            Supply::Off => "off",
        }
    }
}

/// The durable supply state of one service point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupplyRecord {
    /// Whose.
    pub service_point: String,
    /// What the gateway wants.
    pub desired: Supply,
    /// Grows with every change of `desired`; a command of an older version is never sent.
    pub version: u64,
    /// When `desired` last changed.
    pub changed_at: Timestamp,
    /// Why, as stable words: `balance`, `topped_up`, ...
    pub reasons: Vec<String>,
}

impl SupplyRecord {
    /// What a service point starts with: supplied, and nothing decided yet. No command ever serves version 0, so a
    /// relay that is found open when the gateway is put in is left as it is and reported.
    pub fn initial(service_point: &str, at: Timestamp) -> Self {
        let service_point = service_point.to_owned();
        Self { service_point, desired: Supply::On, version: 0, changed_at: at, reasons: Vec::new() }
    }
}

/// A command to a relay, written down before its first byte leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayIntent {
    /// UUID v7.
    pub id: uuid::Uuid,
    /// Whose.
    pub service_point: String,
    /// Open or close.
    pub action: RelayAction,
    /// The [`SupplyRecord::version`] it serves.
    pub version: u64,
    /// When it was written down.
    pub at: Timestamp,
    /// Never sent after this.
    pub valid_until: Timestamp,
    /// The evidence for an interruption: reading age, balance, notices with their delivery. Free JSON for people.
    pub evidence: String,
}
