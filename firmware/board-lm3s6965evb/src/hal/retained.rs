//! Why the processor starts: told by the run before in a word that a reset leaves alone, else by the part.
//!
//! The word lies in `.uninit`, which nothing writes at start. After power came it holds noise, and noise does not carry
//! the mark. QEMU keeps RAM over a reset and has no reset causes of its own; on the part both are there, and the word says
//! more (asked for, fault).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use guanjia_node::board::ResetCause;

use super::system;

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

struct Word(UnsafeCell<MaybeUninit<u32>>);

// SAFETY: the processor has one core, the word is read and written whole by single volatile accesses, and no reference to
// it is ever made.
unsafe impl Sync for Word {}

// SAFETY: the section of cortex-m-rt for statics that are not initialised; the type has no value that is not valid.
#[unsafe(link_section = ".uninit.guanjia")]
static WORD: Word = Word(UnsafeCell::new(MaybeUninit::uninit()));

/// Leaves a word for the next start.
pub fn leave(word: LastWord) {
    // SAFETY: the pointer is that of a static, aligned; see `Sync` above.
    unsafe { WORD.0.get().cast::<u32>().write_volatile(word as u32) }
}

/// Why this start; once, before anything else is left.
pub fn take_reset_cause() -> ResetCause {
    // SAFETY: the pointer is that of a static, aligned; every bit pattern of RAM is a u32, and a volatile read takes
    // what is there.
    let word = unsafe { WORD.0.get().cast::<u32>().read_volatile() };
    let flags = system::take_reset_flags();
    leave(LastWord::Running);
    // The part knows better whether RAM was kept at all.
    if flags.power_on() {
        return ResetCause::PowerOn;
    }
    if flags.brown_out() {
        return ResetCause::BrownOut;
    }
    match word {
        word if word == LastWord::Watchdog as u32 => ResetCause::Watchdog,
        word if word == LastWord::Requested as u32 => ResetCause::Requested,
        word if word == LastWord::Fault as u32 => ResetCause::Fault,
        _ if flags.watchdog() => ResetCause::Watchdog,
        word if word == LastWord::Running as u32 => ResetCause::External,
        _ => ResetCause::PowerOn,
    }
}
