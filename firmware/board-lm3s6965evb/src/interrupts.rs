//! The interrupts the node uses.
//!
//! The watchdog's goes before all others: it must come through where one of them hangs. The others, SysTick's among them,
//! are equal, so that none comes in the middle of another: see [`super::clock`].

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::scb::SystemHandler;
use cortex_m::peripheral::{NVIC, SCB};

/// Of all but the watchdog's; 0 is the most urgent, and the part has the upper three bits.
const ORDINARY: u8 = 0x20;

/// Gives each its urgency; before any of them but the watchdog's is let through.
pub fn rank(nvic: &mut NVIC, scb: &mut SCB) {
    // SAFETY: no critical section of this program works by priorities.
    unsafe {
        nvic.set_priority(Interrupt::Uart0, ORDINARY);
        nvic.set_priority(Interrupt::Tick, ORDINARY);
        scb.set_priority(SystemHandler::SysTick, ORDINARY);
    }
}

/// An interrupt of the part, by its number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Interrupt {
    /// UART0 received.
    Uart0 = 5,
    /// First time-out of the watchdog.
    Watchdog = 18,
    /// Timer 0: the tick.
    Tick = 19,
}

// SAFETY: the numbers are those of the part's vector table (DS-LM3S6965, table 4-4), each variant has its own, and they
// never change.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

impl Interrupt {
    /// The interrupt behind a number, as the handler of all of them gets it.
    pub fn of(number: i16) -> Option<Self> {
        [Self::Uart0, Self::Watchdog, Self::Tick].into_iter().find(|known| *known as i16 == number)
    }

    /// Lets it through. Whatever its handler uses must be in its place.
    pub fn enable(self) {
        // SAFETY: no critical section of this program works by masking single interrupts.
        unsafe { NVIC::unmask(self) }
    }
}
