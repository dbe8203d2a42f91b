//! From register to consumption.
//!
//! A meter's register is the only thing that bills. This module turns two good readings of it into a quantity, or
//! says by name why it does not; a reading that is held bills nothing and never becomes the next baseline.
//!
//! ```text
//!                      no baseline ──────────────────► First      the caller stores it, nothing is billed
//!                      value not good, not a count ──► Hold       baseline stays
//!  Reading ──► count ─ dated ahead, or before ───────► Hold       baseline stays
//!              (raw)   raw unchanged ────────────────► Same       baseline stays
//!                      forward, physically possible ─► Forward    measured
//!                      backward, possible round zero ► Forward    rolled over
//!                      any other ────────────────────► Hold       backward, or implausible jump
//! ```
//!
//! * What is physically possible is the service's maximum rate times the time between the two readings. Nothing
//!   above it is billed, forward or round zero.
//! * A register may roll over only if it is known at which count; and only if the possible consumption is less than
//!   half a turn, because otherwise a step back and a step round zero look alike.
//! * Holding is right for a glitch and wrong for ever: [`HoldWatch`] reports a register whose held readings agree
//!   with each other, so that a person can confirm a swapped meter. Nothing is accepted by itself.
//! * The unit of [`Baseline::raw`] is one *count*. For an integer register that is one step of it, or one Wh (mL) if
//!   it steps finer; the digits below stay in the register until they fill one. For a value that comes as a float or
//!   in a message it is one Wh (mL), rounded to the nearest.
//! * A binary32 register is billed at its own resolution. From the size on where one unit in the last place exceeds a
//!   hundredth of a kWh or m³ (131,072 kWh) steps are flagged [`Resolution::Coarse`], and a step of a single unit in
//!   the last place is not billed until it has grown, as it may be the rounding alone. Where the resolution is
//!   a whole kWh or m³ (8,388,608 kWh) readings are held: such a register may have stopped without saying so.
//!
//! A power cut costs nothing here: the baseline lies in the journal, and the next reading is measured from it.

use std::time::Duration;

use crate::ledger::{Baseline, UsageQuality};
use crate::reading::Reading;
use crate::time::Timestamp;
use crate::units::{Quantity, Utility};

mod hold;
mod register;
#[cfg(test)]
mod tests;

pub use hold::{HoldState, HoldWatch, REVIEW_AFTER};
pub use register::{NumberForm, Ratio, Register, RegisterError, RegisterSpec};

/// How far ahead of the gateway's clock a device may date its answer.
pub const FUTURE_MAX: Duration = Duration::from_secs(10);

/// Added to the time between two readings when judging a jump: registers are refreshed once in a while, and what
/// was used before the first reading may appear only in the second.
pub const REFRESH_SLACK: Duration = Duration::from_secs(60);

/// Why a reading bills nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// It is not of good quality.
    Quality,
    /// Its value is not a number of counts this register can show.
    Unscaled,
    /// Its resolution is a whole billing unit or worse.
    Resolution,
    /// It is dated later than now.
    FutureDated,
    /// It is dated before the baseline, or at the same time with another count.
    OutOfOrder,
    /// It is less than the baseline, and not because the register rolled over.
    Backward,
    /// It is more above the baseline than can have been used.
    ImplausibleJump,
}

impl HoldReason {
    /// The word in logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldReason::Quality => "quality",
            HoldReason::Unscaled => "unscaled",
            HoldReason::Resolution => "resolution",
            HoldReason::FutureDated => "future_dated",
            HoldReason::OutOfOrder => "out_of_order",
            HoldReason::Backward => "backward",
            HoldReason::ImplausibleJump => "implausible_jump",
        }
    }
}

/// How finely the register could tell the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// To a hundredth of a kWh or m³, or better.
    Fine,
    /// Coarser: a binary32 register that has grown large. The total stays right, single intervals are uneven.
    Coarse,
}

/// Consumption between the baseline and a good reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The register at the reading, in counts: the next [`Baseline::raw`].
    pub raw: u64,
    /// When the meter said so: the next [`Baseline::at`].
    pub at: Timestamp,
    /// How far the register moved, in counts; never zero.
    pub counts: u64,
    /// The same in Wh or mL, transformer ratio included.
    pub quantity: Quantity,
    /// Measured, or rolled over in between.
    pub quality: UsageQuality,
    /// How finely it is known.
    pub resolution: Resolution,
}

/// What one reading means for billing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no baseline yet: this reading can become it. Nothing is billed.
    First {
        /// In counts.
        raw: u64,
        /// When the meter said so.
        at: Timestamp,
    },
    /// Nothing was used that the register can tell. The baseline stays.
    Same,
    /// Something was used.
    Forward(Forward),
    /// The reading is held: it bills nothing, and the baseline stays.
    Hold {
        /// Why.
        reason: HoldReason,
        /// What it said, if that could be read as a count.
        raw: Option<u64>,
        /// When.
        at: Timestamp,
    },
}

impl Register {
    /// What `reading` of this register means after `baseline`, at the time `now`.
    pub fn step(&self, baseline: Option<&Baseline>, reading: &Reading, now: Timestamp) -> Step {
        let at = reading.at;
        let hold = |reason, raw| Step::Hold { reason, raw, at };
        let value = match &reading.value {
            Some(value) if reading.quality.is_good() => value,
            _ => return hold(HoldReason::Quality, None),
        };
        let count = match self.count(value) {
            Ok(count) => count,
            Err(reason) => return hold(reason, None),
        };
        if at > now + FUTURE_MAX {
            return hold(HoldReason::FutureDated, Some(count.raw));
        }
        let Some(baseline) = baseline else { return Step::First { raw: count.raw, at } };
        if at < baseline.at || (at == baseline.at && count.raw != baseline.raw) {
            return hold(HoldReason::OutOfOrder, Some(count.raw));
        }
        let blur = if count.resolution == Resolution::Coarse { count.ulp } else { 0 };
        if count.raw.abs_diff(baseline.raw) <= blur {
            return Step::Same;
        }
        let most = self.most_counts(at.since(baseline.at)).saturating_add(count.ulp);
        let (counts, quality) = match difference(baseline.raw, count.raw, self.modulus(), most) {
            Ok(moved) => moved,
            Err(reason) => return hold(reason, Some(count.raw)),
        };
        match self.quantity(counts) {
            Some(quantity) => {
                Step::Forward(Forward { raw: count.raw, at, counts, quantity, quality, resolution: count.resolution })
            }
            None => hold(HoldReason::ImplausibleJump, Some(count.raw)),
        }
    }
}

/// How far a register moved from `from` to `to`, both below `modulus`, when it can have moved `most` counts.
fn difference(from: u64, to: u64, modulus: Option<u64>, most: u64) -> Result<(u64, UsageQuality), HoldReason> {
    if to >= from {
        let counts = to - from;
        return if counts <= most { Ok((counts, UsageQuality::Measured)) } else { Err(HoldReason::ImplausibleJump) };
    }
    let Some(modulus) = modulus else { return Err(HoldReason::Backward) };
    // `from` lies below the modulus unless the register's definition was changed under a stored baseline.
    let round_zero = modulus.checked_sub(from).and_then(|rest| rest.checked_add(to));
    match round_zero {
        Some(counts) if counts <= most && most < modulus / 2 => Ok((counts, UsageQuality::RolledOver)),
        _ => Err(HoldReason::Backward),
    }
}

impl Utility {
    /// The worst resolution, in Wh or mL, that is still billed without a flag.
    fn fine(self) -> i64 {
        self.base_per_billing_unit() / 100
    }
}
