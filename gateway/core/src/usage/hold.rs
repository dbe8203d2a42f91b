//! A hold that does not go away: from glitch to suspected meter swap.

use super::{HoldReason, Register, Step, difference};
use crate::time::Timestamp;

/// Held readings in a row that agree with each other before a person is asked.
pub const REVIEW_AFTER: u32 = 5;

/// Where a register stands after a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// The last reading counted.
    Clear,
    /// Readings are held; a glitch, as far as can be told.
    Held {
        /// Why the last one was.
        reason: HoldReason,
        /// Since when.
        since: Timestamp,
    },
    /// [`REVIEW_AFTER`] readings in a row were held and agree with each other: the meter was swapped, reset or moved
    /// on while nobody read it, or its profile is wrong. A person must look; nothing is billed until then.
    NeedsReview {
        /// Why the last one was held.
        reason: HoldReason,
        /// Since when.
        since: Timestamp,
    },
}

/// Watches the steps of one register for holds that last. In memory only: after a restart it counts again.
#[derive(Clone, Debug, Default)]
pub struct HoldWatch {
    run: Option<Run>,
}

/// Held readings in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Timestamp,
    reason: HoldReason,
    last: Option<(u64, Timestamp)>,
    /// When the last counted reading was taken: the same one, looked at again, agrees with nothing.
    last_at: Option<Timestamp>,
    agreeing: u32,
}

impl HoldWatch {
    /// Takes in the next step of `register`.
    pub fn observe(&mut self, register: &Register, step: &Step) -> HoldState {
        let Step::Hold { reason, raw, at } = *step else {
            self.run = None;
            return HoldState::Clear;
        };
        let mut run = self.run.unwrap_or(Run { since: at, reason, last: None, last_at: None, agreeing: 0 });
        if reason == HoldReason::Quality {
            // Silence says nothing about the register, neither for nor against, and is an alarm of its own.
            self.run = Some(run);
            return HoldState::Held { reason, since: run.since };
        }
        let seen = raw.map(|raw| (raw, at));
        let agrees = run.reason == reason
            && match (run.last, seen) {
                (Some(before), Some(now)) => agree(register, before, now),
                // Two values in a row that cannot be read as counts agree that the profile, or the meter, is wrong.
                (None, None) => true,
                _ => false,
            };
        if run.last_at != Some(at) || run.reason != reason {
            run.agreeing = if agrees { run.agreeing + 1 } else { 1 };
        }
        run.last_at = Some(at);
        (run.reason, run.last) = (reason, seen);
        self.run = Some(run);
        if run.agreeing >= REVIEW_AFTER {
            HoldState::NeedsReview { reason, since: run.since }
        } else {
            HoldState::Held { reason, since: run.since }
        }
    }
}

/// Whether one register can have shown both, one after the other.
fn agree(register: &Register, (from, from_at): (u64, Timestamp), (to, to_at): (u64, Timestamp)) -> bool {
    to_at >= from_at && difference(from, to, register.modulus(), register.most_counts(to_at.since(from_at))).is_ok()
}
