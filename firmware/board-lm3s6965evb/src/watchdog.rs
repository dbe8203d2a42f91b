//! The watchdog: its first time-out is an interrupt that writes down who it was, its second resets the part.

use super::register::registers;
use super::system::SYSTEM_HZ;

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

/// Longer than the longest that the node may be busy with one step, and twice the longest sleep.
const TIMEOUT_MS: u32 = 500;
const KEY: u32 = 0x1ACC_E551;
const INTERRUPT_AND_RESET: u32 = 0b11;

/// Starts it; it cannot be stopped.
pub fn start() {
    LOCK.write(KEY);
    LOAD.write(SYSTEM_HZ / 1_000 * TIMEOUT_MS);
    CTL.write(INTERRUPT_AND_RESET);
    LOCK.write(0);
}

/// Puts it off.
pub fn feed() {
    LOCK.write(KEY);
    ICR.write(0);
    LOCK.write(0);
}
