//! The alarm of one point: an ISA-18.2 machine with orthogonal flags.
//!
//! Three flags last in the [`AlarmRecord`]: *active* (the condition holds), *acked* (a person accepted this
//! occurrence) and *latched* (it went, and waits for a reset). The state people know by name is derived from them:
//!
//! ```text
//!                    condition                        ACK
//!   NORM ─────────────────────────────► UNACK ──────────────────► ACKED
//!    ▲ ▲                                │ ▲ ▲                      │ │
//!    │ │                  condition goes│ │ │condition comes again │ │condition goes
//!    │ │ ACK            (not latching)  ▼ │ │                      │ │(not latching)
//!    │ └────────────────────────────  RTNUN │                      │ └──────► NORM
//!    │                                      │                      │
//!    │             condition goes (latching)│                      │condition goes (latching)
//!    │                     UNACK ───────► LATUN ──────ACK──────► LATAK
//!    └──────────────────────────────RESET─────────────────────────┘
//! ```
//!
//! * Only good readings raise or clear. What is bad, stale or suspect freezes the alarm; that the data is missing is
//!   the business of the device's own communication alarm.
//! * A restart begins with the record. What was accepted stays accepted, what was active stays active until a good
//!   reading says otherwise, and nobody is called a second time. Only running delays are lost.
//! * Shelving and out-of-service are not built yet. They will be two more flags of the record that change what is
//!   announced, not what is evaluated.
//!
//! [`machine`] holds the machine of one alarm, [`set`] all alarms of a site.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reading::{DeviceIx, PointIx};
use crate::text::Bilingual;
use crate::time::Timestamp;

pub mod machine;
pub mod set;
#[cfg(test)]
mod tests;

pub use machine::{AckError, Alarm, Health, ResetError, Transition, TransitionKind};
pub use set::{AlarmIx, AlarmSet};

/// How bad it is; P1 first. The words follow the property trade, the order follows ISA-18.2 (P1 is highest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Priority {
    /// Life or major damage: everybody, at once.
    P1,
    /// Urgent: arrive within 15 minutes.
    P2,
    /// Arrive within 30 minutes.
    P3,
    /// Next working day; rings nobody.
    P4,
}

impl Priority {
    /// All four, highest first.
    pub const ALL: [Priority; 4] = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];

    /// `P1` to `P4`.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::P1 => "P1",
            Priority::P2 => "P2",
            Priority::P3 => "P3",
            Priority::P4 => "P4",
        }
    }
}

/// What kind of alarm it is, which decides what may delay or hide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmClass {
    /// Fire, entrapment, gas, flood: never delayed by a parent, never grouped away, never inhibited.
    LifeSafety,
    /// Something about the process or the plant.
    Process,
    /// A device or a line does not answer.
    Communication,
}

/// Whether an alarm whose condition has gone stays until a person resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Latching {
    /// It stays.
    Latching,
    /// It goes with its condition.
    NonLatching,
}

/// What a point is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Above `limit`; once true, until it falls to `limit - deadband`.
    Above {
        /// In the point's unit.
        limit: f64,
        /// In the point's unit, not negative.
        deadband: f64,
    },
    /// Below `limit`; once true, until it rises to `limit + deadband`.
    Below {
        /// In the point's unit.
        limit: f64,
        /// In the point's unit, not negative.
        deadband: f64,
    },
    /// Exactly this code or number.
    Equals(i64),
    /// Anything but this code or number.
    Differs(i64),
    /// Any of these bits is set.
    AnyBit(u64),
}

/// When an alarm's condition is true.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Every term, on good readings only.
    All(Vec<Term>),
    /// The device does not answer (its poll health says so).
    Silent(DeviceIx),
    /// The gateway itself says whether it holds, by the alarm's key: what no single point shows, such as money whose
    /// whereabouts are not known.
    Declared,
}

/// The gateway's own word on an alarm of [`Condition::Declared`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// [`AlarmDef::key`].
    pub key: Arc<str>,
    /// Whether its condition holds.
    pub holds: bool,
    /// The numbers behind it, for the title of an incident it opens and for the timeline; may be empty.
    pub detail: Bilingual,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The point.
    pub point: PointIx,
    /// The comparison.
    pub test: Test,
}

/// One alarm of the site.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmDef {
    /// `device/alarm`, stable across restarts; the store's key.
    pub key: Arc<str>,
    /// The device it is about.
    pub device: DeviceIx,
    /// When it is true.
    pub condition: Condition,
    /// How bad it is.
    pub priority: Priority,
    /// What may delay or hide it.
    pub class: AlarmClass,
    /// How long the condition must hold before it counts.
    pub on_delay: Duration,
    /// How long it must be gone before it has gone.
    pub off_delay: Duration,
    /// Whether it stays until it is reset.
    pub latching: Latching,
    /// The plan its incident runs, such as `EP-06`; `None` for alarms that open no incident.
    pub plan: Option<Arc<str>>,
    /// What happened.
    pub text: Bilingual,
    /// What to do now.
    pub action: Bilingual,
}

/// The state people know by its ISA-18.2 name; derived from the flags of an [`AlarmRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AlarmState {
    /// Nothing is wrong and nothing waits.
    Norm,
    /// The condition holds and nobody has accepted it.
    Unack,
    /// The condition holds and was accepted.
    Acked,
    /// It came and went, and nobody has accepted it.
    Rtnun,
    /// It went, is latched, and nobody has accepted it.
    Latun,
    /// It went and was accepted; it waits for a reset.
    Latak,
}

impl AlarmState {
    /// The mnemonic, for lists, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmState::Norm => "NORM",
            AlarmState::Unack => "UNACK",
            AlarmState::Acked => "ACKED",
            AlarmState::Rtnun => "RTNUN",
            AlarmState::Latun => "LATUN",
            AlarmState::Latak => "LATAK",
        }
    }
}

/// The part of an alarm that lasts: what the store keeps and what a restart begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRecord {
    /// [`AlarmDef::key`].
    pub key: String,
    /// Counts the times it was raised; an acknowledgement names the occurrence it means.
    pub occurrence: u64,
    /// The condition holds.
    pub active: bool,
    /// A person has accepted this occurrence.
    pub acked: bool,
    /// The condition has gone, and the alarm waits for a reset.
    pub latched: bool,
    /// Hidden under a root cause (the key of the root alarm or the node's name).
    pub suppressed_by: Option<String>,
    /// When this occurrence was raised.
    pub raised_at: Timestamp,
    /// When the condition went, if it did.
    pub cleared_at: Option<Timestamp>,
    /// When it was accepted, and by whom.
    pub acked_at: Option<Timestamp>,
    /// The person who accepted it.
    pub acked_by: Option<String>,
    /// The incident it belongs to.
    pub incident: Option<uuid::Uuid>,
}

impl AlarmRecord {
    /// An alarm that was never raised: NORM.
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            occurrence: 0,
            active: false,
            acked: true,
            latched: false,
            suppressed_by: None,
            raised_at: Timestamp::EPOCH,
            cleared_at: None,
            acked_at: None,
            acked_by: None,
            incident: None,
        }
    }

    /// The state the flags mean.
    pub fn state(&self) -> AlarmState {
        match (self.active, self.acked, self.latched) {
            (true, false, _) => AlarmState::Unack,
            (true, true, _) => AlarmState::Acked,
            (false, false, false) => AlarmState::Rtnun,
            (false, false, true) => AlarmState::Latun,
            (false, true, true) => AlarmState::Latak,
            (false, true, false) => AlarmState::Norm,
        }
    }
}
