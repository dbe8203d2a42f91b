//! The only ways to make a relay intent, and the last question before its first byte.

use std::time::Duration;

use uuid::Uuid;

use super::{BreakerPass, CutPermit, RelayIntent, Supply, SupplyRecord};
use crate::profile::RelayAction;
use crate::time::Timestamp;

/// How long a command may wait for its line. A command that is late is made anew, never sent late.
pub const INTENT_VALIDITY: Duration = Duration::from_secs(120);

/// Why a command is not sent, or not even made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// What is desired has changed since.
    #[error("the command was decided under version {decided}, and version {current} is in force; it is dropped")]
    Superseded {
        /// The version it serves.
        decided: u64,
        /// The version in force.
        current: u64,
    },
    /// Its time has passed.
    #[error("the command was valid until {0}; it is decided anew")]
    Expired(Timestamp),
    /// It belongs to another service point, or asks for what is not desired.
    #[error("the command does not belong to the supply record; it is dropped")]
    Foreign,
}

impl CutPermit {
    /// The command to open the contact, for the record this permit's decision led to. `evidence` is
    /// [`CutPermit::evidence`] as JSON. To be stored before it is sent.
    ///
    /// # Errors
    /// [`SendRefusal`] if the record is not the one decided, or the decision is older than [`INTENT_VALIDITY`].
    pub fn intent(
        self,
        _pass: BreakerPass,
        id: Uuid,
        record: &SupplyRecord,
        at: Timestamp,
        evidence: String,
    ) -> Result<RelayIntent, SendRefusal> {
        let made = RelayIntent {
            id,
            service_point: self.service_point,
            action: RelayAction::Open,
            version: self.version,
            at,
            valid_until: self.evidence.decided_at + INTENT_VALIDITY,
            evidence,
        };
        made.may_send(record, at)?;
        Ok(made)
    }
}

impl RelayIntent {
    /// The command to close the contact. `None` unless the record wants the supply on and a decision made it so.
    pub fn restore(id: Uuid, record: &SupplyRecord, at: Timestamp, evidence: String) -> Option<Self> {
        if record.desired != Supply::On || record.version == 0 {
            return None;
        }
        let (service_point, version) = (record.service_point.clone(), record.version);
        let valid_until = at + INTENT_VALIDITY;
        Some(Self { id, service_point, action: RelayAction::Close, version, at, valid_until, evidence })
    }

    /// Asked immediately before the first byte, with the record as it is then.
    ///
    /// # Errors
    /// [`SendRefusal`]; then the command is settled as not sent.
    pub fn may_send(&self, record: &SupplyRecord, now: Timestamp) -> Result<(), SendRefusal> {
        if self.service_point != record.service_point {
            return Err(SendRefusal::Foreign);
        }
        if self.version != record.version {
            return Err(SendRefusal::Superseded { decided: self.version, current: record.version });
        }
        let serves = match self.action {
            RelayAction::Open => Supply::Off,
            RelayAction::Close => Supply::On,
        };
        if serves != record.desired {
            return Err(SendRefusal::Foreign);
        }
        // Dated far ahead means that the clock was set back: how old it is cannot be told.
        if now > self.valid_until || self.at > now + INTENT_VALIDITY {
            return Err(SendRefusal::Expired(self.valid_until));
        }
        Ok(())
    }

    /// Whether it may still be on its way at `now`.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        self.at <= now && now <= self.valid_until
    }
}
