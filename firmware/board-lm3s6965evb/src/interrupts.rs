//! The interrupts the node uses.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

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
