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
    /// on while nobody read it. A person must look; nothing is billed until then.
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
    agreeing: u32,
}

impl HoldWatch {
    /// Takes in the next step of `register`.
    pub fn observe(&mut self, register: &Register, step: &Step) -> HoldState {
        let Step::Hold { reason, raw, at } = *step else {
            self.run = None;
            return HoldState::Clear;
        };
        let seen = raw.map(|raw| (raw, at));
        let mut run = self.run.unwrap_or(Run { since: at, reason, last: None, agreeing: 0 });
        run.agreeing = match (run.last, seen) {
            // Without a count nothing can agree: bad quality and damaged values are alarms of their own.
            (_, None) => 0,
            (Some(before), Some(now)) if run.reason == reason && agree(register, before, now) => run.agreeing + 1,
            (_, Some(_)) => 1,
        };
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
