//! Words that outlive a reset: why the processor starts, from where it runs, and how often an update has failed.
//!
//! They lie in the first 16 bytes of RAM, which no program's memory map gives to anything else. After power came they
//! hold noise, and noise does not carry the marks. QEMU keeps RAM over a reset and has no reset causes of its own; on the
//! part both are there, and the words say more (asked for, fault).

use guanjia_node::board::ResetCause;

use super::register::registers;
use super::system;

registers! { 0x2000_0000:
    /// A [`LastWord`].
    LAST_WORD = 0x0;
    /// [`Source`] of the running image, with its mark.
    SOURCE = 0x4;
    /// Starts of an update that ended in a watchdog or a fault, one after the other, with their mark.
    FAILURES = 0x8;
    /// Why this start.
    CAUSE = 0xC;
}

const SOURCE_MARK: u32 = 0x736F_7500;
const FAILURES_MARK: u32 = 0x6661_6900;
const MARK: u32 = 0xFFFF_FF00;

/// What the run before left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LastWord {
    /// It ran: whoever reset it came from outside.
    Running = 0x6E6F_0001,
    /// The watchdog's first time-out.
    Watchdog = 0x6E6F_0002,
    /// It was asked to.
    Requested = 0x6E6F_0003,
    /// A fault of the processor.
    Fault = 0x6E6F_0004,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// The flash, as the factory left it.
    Factory = 0,
    /// The first memory for updates.
    First = 1,
    /// The second memory for updates.
    Second = 2,
}

/// Leaves a word for the next start.
pub fn leave(word: LastWord) {
    LAST_WORD.write(word as u32);
}

/// Whether the run before hung or failed; for the boot stage.
pub fn ended_badly() -> bool {
    let word = LAST_WORD.read();
    word == LastWord::Watchdog as u32 || word == LastWord::Fault as u32
}

/// How often in a row an image has failed.
pub fn failures() -> u8 {
    let word = FAILURES.read();
    if word & MARK == FAILURES_MARK { word as u8 } else { 0 }
}

/// Keeps that count.
pub fn set_failures(count: u8) {
    FAILURES.write(FAILURES_MARK | u32::from(count));
}

/// From where this image runs.
pub fn source() -> Source {
    match SOURCE.read() {
        word if word == SOURCE_MARK | Source::First as u32 => Source::First,
        word if word == SOURCE_MARK | Source::Second as u32 => Source::Second,
        _ => Source::Factory,
    }
}

/// Says from where the next image runs; for the boot stage.
pub fn set_source(source: Source) {
    SOURCE.write(SOURCE_MARK | source as u32);
}

/// Finds out why this start; once, before anything else is left.
pub fn take_reset_cause() {
    let word = LAST_WORD.read();
    let flags = system::take_reset_flags();
    leave(LastWord::Running);
    let cause = match word {
        // The part knows better whether RAM was kept at all.
        _ if flags.power_on() => ResetCause::PowerOn,
        _ if flags.brown_out() => ResetCause::BrownOut,
        word if word == LastWord::Watchdog as u32 => ResetCause::Watchdog,
        word if word == LastWord::Requested as u32 => ResetCause::Requested,
        word if word == LastWord::Fault as u32 => ResetCause::Fault,
        _ if flags.watchdog() => ResetCause::Watchdog,
        word if word == LastWord::Running as u32 => ResetCause::External,
        _ => ResetCause::PowerOn,
    };
    CAUSE.write(cause as u32);
}

/// Why this start.
pub fn reset_cause() -> ResetCause {
    let causes = [
        ResetCause::PowerOn,
        ResetCause::External,
        ResetCause::Watchdog,
        ResetCause::BrownOut,
        ResetCause::Requested,
        ResetCause::Fault,
    ];
    let code = CAUSE.read();
    causes.into_iter().find(|cause| *cause as u32 == code).unwrap_or(ResetCause::Unknown)
}
