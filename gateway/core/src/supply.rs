//! Whether a shop has power or water, whether it may be cut, and why.

use serde::{Deserialize, Serialize};

use crate::profile::RelayAction;
use crate::time::Timestamp;

/// Supply as wanted or as seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// The contact is closed, the valve is open.
    On,
    /// The contact is open, the valve is closed.
    Off,
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
