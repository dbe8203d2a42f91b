//! What a control room is built from: the site file's side, the store's side, and what they must fulfil.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::alarm::{AlarmClass, AlarmDef, AlarmRecord, Priority};
use crate::incident::IncidentRecord;
use crate::inhibition::Topology;
use crate::plan::PlanBook;
use crate::roster::{PersonId, Roster};

/// What the site file says.
#[derive(Clone, Debug)]
pub struct Plant {
    /// All alarms.
    pub alarms: Vec<Arc<AlarmDef>>,
    /// Feeders, lines, and every device of those alarms.
    pub topology: Topology,
    /// The emergency plans.
    pub plans: PlanBook,
    /// Who is on duty.
    pub roster: Roster,
    /// The holds.
    pub timings: Timings,
}

/// The times this machine waits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// H: how long a silent child waits for a root cause. Poll period times retries of the slowest line, plus 15 s.
    pub child_hold: Duration,
    /// R: how long children may take to answer after their root has recovered. Two poll periods.
    pub recovery_hold: Duration,
    /// How long after a ladder's last step the fallback person is called.
    pub fallback_after: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            child_hold: Duration::from_secs(20),
            recovery_hold: Duration::from_secs(20),
            fallback_after: Duration::from_secs(300),
        }
    }
}

/// What the store remembers.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Every alarm record.
    pub alarms: Vec<AlarmRecord>,
    /// The incidents that are not closed.
    pub incidents: Vec<IncidentRecord>,
    /// Who has an alert page of which of them: incident and person.
    pub alerted: Vec<(Uuid, PersonId)>,
}

/// Why the site's alarms cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Two alarms of one key.
    #[error("two alarms have the key {0:?}; rename one of them")]
    DuplicateAlarm(String),
    /// An alarm runs a plan that does not exist.
    #[error("the alarm {alarm:?} runs the plan {plan:?}, which does not exist; add it or correct the name")]
    UnknownPlan {
        /// The alarm.
        alarm: String,
        /// The plan.
        plan: String,
    },
    /// An alarm of a device the topology does not know.
    #[error("the device of the alarm {0:?} is not part of the topology; add it, if only with its name")]
    UnknownDevice(String),
    /// Evidence that is no alarm.
    #[error("{0:?} is named as evidence but is no alarm of the site; correct the key")]
    UnknownEvidence(String),
    /// A life-safety alarm that would call nobody.
    #[error("the life-safety alarm {0:?} would call nobody; give it a plan and a priority of P1 to P3")]
    MuteLifeSafety(String),
    /// A life-safety alarm as evidence: its incident must stay its own.
    #[error("the life-safety alarm {0:?} cannot be evidence for a node; use the alarm of the supply itself")]
    LifeSafetyEvidence(String),
}

/// Refuses a site whose alarms would stay mute or unnamed.
pub(super) fn check(plant: &Plant) -> Result<(), RoomError> {
    for def in &plant.alarms {
        let key = def.key.to_string();
        if let Some(plan) = def.plan.as_deref().filter(|plan| plant.plans.get(plan).is_none()) {
            return Err(RoomError::UnknownPlan { alarm: key, plan: plan.to_owned() });
        }
        if plant.topology.device(def.device).is_none() {
            return Err(RoomError::UnknownDevice(key));
        }
        if def.class == AlarmClass::LifeSafety && (def.plan.is_none() || def.priority == Priority::P4) {
            return Err(RoomError::MuteLifeSafety(key));
        }
        if def.class == AlarmClass::LifeSafety && plant.topology.evidence_for(&key).is_some() {
            return Err(RoomError::LifeSafetyEvidence(key));
        }
    }
    let known: BTreeSet<&str> = plant.alarms.iter().map(|def| &*def.key).collect();
    match plant.topology.evidence().find(|key| !known.contains(key)) {
        Some(key) => Err(RoomError::UnknownEvidence(key.to_owned())),
        None => Ok(()),
    }
}
