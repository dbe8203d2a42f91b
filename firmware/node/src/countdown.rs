//! Microseconds from a counter that runs down and starts anew, whose ends an exception counts.
//!
//! Every Cortex-M has such a counter (SysTick), and many other parts have no better one.
//!
//! ```text
//!   left   1 ─► 0, pending   P-1  P-2 ...                    1 ─► 0, pending
//!          ─────┼───────────────────────────────────────────────┼──────────
//!  counted   k  │  k, then k+1 as soon as the exception ran     │  k+1, k+2
//! ```
//!
//! * The three values are read one after the other, and the counter may end in between. So it is read first, then whether
//!   an end is pending, and if one is, the counter again: the first reading may be from either side of that end, the second
//!   is from behind it. Without a pending end the first reading is from before any end that is not counted.
//! * An emulator may be late with an end: until it says that the end is pending, its counter stands at the end (at 0, or
//!   at 1). That is the last microsecond of the period, and not the first.
//! * One end may be pending and no more: **a second end before the exception runs is lost**, the time is then a period
//!   behind, and whoever read in between sees it step back. So the period must be longer than anything keeps the exception
//!   from running. On a board with a watchdog that is a period longer than all of its time-outs together: a program that
//!   was held for so long does not live to see the time.
//! * The exception must not be interrupted by anything that reads the time, and the three readings by nothing at all.

use core::num::NonZeroU32;

/// A counter that runs down.
#[derive(Clone, Copy, Debug)]
pub struct Countdown {
    /// From one end to the next, in µs.
    pub period_us: u32,
    /// Half cycles of the counter in one µs: half a megahertz is a step that every crystal allows.
    pub half_cycles_per_us: NonZeroU32,
}

impl Countdown {
    /// Cycles of a period; the counter is loaded with one less.
    pub const fn period_cycles(&self) -> u32 {
        self.period_us / 2 * self.half_cycles_per_us.get()
    }

    /// Reads the time, in wrapping µs since the counter started: `counted` ends before, `left` cycles (read once or
    /// twice), and whether an end is `pending`.
    pub fn micros(&self, counted: u32, mut left: impl FnMut() -> u32, pending: impl FnOnce() -> bool) -> u32 {
        let first = left();
        let (ends, gone) = if pending() {
            // At 0 it stands at the end that is pending.
            (counted.wrapping_add(1), self.gone(left(), 0))
        } else {
            // At 0 it stands at an end that is not pending yet.
            (counted, self.gone(first, self.period_cycles().saturating_sub(1)))
        };
        ends.wrapping_mul(self.period_us).wrapping_add(gone * 2 / self.half_cycles_per_us)
    }

    /// Cycles since the last end.
    fn gone(&self, left: u32, at_zero: u32) -> u32 {
        if left == 0 { at_zero } else { self.period_cycles().saturating_sub(left) }
    }
}

#[cfg(test)]
mod tests;
