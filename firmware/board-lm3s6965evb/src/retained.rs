//! Words that outlive a reset: why the processor starts, from where it runs, and how often an update has failed.
//!
//! They lie in the first 16 bytes of RAM, which no program's memory map gives to anything else. After power came they
//! hold noise, and noise does not carry the marks. QEMU keeps RAM over a reset and has no reset causes of its own; on the
//! part both are there, and the words say more (asked for, fault).
//!
//! # The life of an image
//!
//! ```text
//!  boot stage    image begins     a minute of life
//!  STARTING ───► TRIAL ─────────► RUNNING
//!     │            │                 ├── reset input, power ──► nothing against it, and what was is forgotten
//!     │            ├── asked to ─────┴── asked to ───────────► nothing against it
//!     └────────────┴── anything else, and watchdog or fault at any time ──► a bad end
//! ```
//!
//! Three bad ends in a row, and the boot stage passes the update over. A word is left *before* what may go wrong, so an
//! image that masks all interrupts and hangs, and so leaves no word at its end, has a bad end as well.

use guanjia_node::board::ResetCause;

use super::register::registers;
use super::system;

registers! { 0x2000_0000:
    /// A [`LastWord`].
    LAST_WORD = 0x0;
    /// [`Source`] of the running image, with its mark.
    SOURCE = 0x4;
    /// Bad ends in a row of each update, four bits each, with their mark.
    FAILURES = 0x8;
    /// Why this start.
    CAUSE = 0xC;
}

const SOURCE_MARK: u32 = 0x736F_7500;
const FAILURES_MARK: u32 = 0x6661_6900;
const MARK: u32 = 0xFFFF_FF00;
/// Bad ends of an update after which it is passed over.
const FAILURES_MAX: u32 = 3;

/// What a run leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LastWord {
    /// It ran, for a minute at least.
    Running = 0x6E6F_0001,
    /// The watchdog's first time-out.
    Watchdog = 0x6E6F_0002,
    /// It was asked to restart.
    Requested = 0x6E6F_0003,
    /// A fault of the processor.
    Fault = 0x6E6F_0004,
    /// The boot stage was at work, or the image had not begun.
    Starting = 0x6E6F_0005,
    /// The image was in its first minute.
    Trial = 0x6E6F_0006,
}

impl LastWord {
    fn of(word: u32) -> Option<Self> {
        use LastWord::{Fault, Requested, Running, Starting, Trial, Watchdog};
        [Running, Watchdog, Requested, Fault, Starting, Trial].into_iter().find(|known| *known as u32 == word)
    }
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

impl Source {
    /// Where its bad ends are counted; the factory's are not, as nothing comes after it.
    const fn shift(self) -> Option<u32> {
        match self {
            Self::Factory => None,
            Self::First => Some(0),
            Self::Second => Some(4),
        }
    }
}

/// Leaves a word for the next start.
pub fn leave(word: LastWord) {
    LAST_WORD.write(word as u32);
}

fn failures() -> u32 {
    let word = FAILURES.read();
    if word & MARK == FAILURES_MARK { word & !MARK } else { 0 }
}

fn set_failures(source: Source, count: u32) {
    if let Some(shift) = source.shift() {
        FAILURES.write(FAILURES_MARK | (failures() & !(0xF << shift)) | count.min(0xF) << shift);
    }
}

fn failures_of(source: Source) -> u32 {
    source.shift().map_or(0, |shift| failures() >> shift & 0xF)
}

/// Whether an update has had too many bad ends in a row.
pub fn is_passed_over(source: Source) -> bool {
    failures_of(source) >= FAILURES_MAX
}

/// The running image has lived for long enough to be good.
pub fn well() {
    set_failures(source(), 0);
    leave(LastWord::Running);
}

/// Another package is in the memory of an update: what the one before did is not held against it.
pub fn forgive(source: Source) {
    set_failures(source, 0);
}

/// From where this image runs.
pub fn source() -> Source {
    match SOURCE.read() {
        word if word == SOURCE_MARK | Source::First as u32 => Source::First,
        word if word == SOURCE_MARK | Source::Second as u32 => Source::Second,
        _ => Source::Factory,
    }
}

/// Says from where the next image runs, before it is looked at: also the check of a bad one may end badly.
pub fn set_source(source: Source) {
    SOURCE.write(SOURCE_MARK | source as u32);
}

/// Finds out why this start, and what the run before deserves for it; once, first thing of the boot stage.
pub fn begin() {
    let word = LastWord::of(LAST_WORD.read());
    let flags = system::take_reset_flags();
    leave(LastWord::Starting);
    let cause = match word {
        // The part knows better whether RAM was kept at all.
        _ if flags.power_on() => ResetCause::PowerOn,
        _ if flags.brown_out() => ResetCause::BrownOut,
        None => ResetCause::PowerOn,
        Some(LastWord::Watchdog) => ResetCause::Watchdog,
        Some(LastWord::Requested) => ResetCause::Requested,
        Some(LastWord::Fault) => ResetCause::Fault,
        _ if flags.watchdog() => ResetCause::Watchdog,
        // Too short a time to find the button in: where the part cannot tell, it hung.
        Some(LastWord::Starting) if !flags.external() => ResetCause::Watchdog,
        Some(LastWord::Starting | LastWord::Trial | LastWord::Running) => ResetCause::External,
    };
    CAUSE.write(cause as u32);
    match cause {
        ResetCause::Requested => {}
        ResetCause::Watchdog | ResetCause::Fault => blame(),
        // No button was pressed, as far as the part can tell.
        ResetCause::External if word == Some(LastWord::Trial) && !flags.external() => blame(),
        _ => FAILURES.write(FAILURES_MARK),
    }
}

fn blame() {
    set_failures(source(), failures_of(source()) + 1);
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
