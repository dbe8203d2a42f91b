//! The watchdog: its first time-out is an interrupt that writes down who it was, its second resets the part.
//!
//! * It runs from the first lines of the boot stage on, over the start of the image, to the end: it cannot be stopped.
//! * It is fed where something has been done that cannot be done again and again: a piece of a package was read, a round
//!   through the journal, a turn of the node. Nothing that waits for something else to happen feeds it.
//! * One step takes longer than all others, the check of a signature. It gets a time of its own, and the time-out is back
//!   to [`STEP_MS`] after it.

use super::register::registers;
use super::system::{self, SYSTEM_HZ};

registers! { 0x4000_0000:
    /// Cycles to a time-out; writing it starts the countdown.
    LOAD = 0x000;
    /// Bit 0 = interrupt (and never off again), bit 1 = reset.
    CTL = 0x008;
    /// Any write ends the interrupt and starts the countdown anew.
    ICR = 0x00C;
    /// Anything but the key locks the others.
    LOCK = 0xC00;
}

/// Longer than any step but the check of a signature takes. The longest are a piece of an update written to its memory
/// (10 ms busy, 14 ms on the bus), a round through the journal at start (100 ms), and a bus that is stuck (8 ms an access).
pub const STEP_MS: u32 = 500;
const KEY: u32 = 0x1ACC_E551;
const INTERRUPT_AND_RESET: u32 = 0b11;

/// Starts it. While the part still runs on what it started with, 8 to 16 MHz, a time-out is between 390 and 780 ms.
pub fn start() {
    system::open_watchdog();
    allow(STEP_MS);
    LOCK.write(KEY);
    CTL.write(INTERRUPT_AND_RESET);
    LOCK.write(0);
}

/// Puts it off.
pub fn feed() {
    LOCK.write(KEY);
    ICR.write(0);
    LOCK.write(0);
}

/// Puts it off, by another time than before from now on; at most 343 s.
pub fn allow(ms: u32) {
    LOCK.write(KEY);
    LOAD.write((SYSTEM_HZ / 1_000).saturating_mul(ms));
    ICR.write(0);
    LOCK.write(0);
}
