//! Frees an I2C bus whose data line a device holds.
//!
//! A master that is reset in the middle of a byte stops its clock; the device goes on waiting for it, and where that bit is a
//! zero it holds the data line low, so that no START is possible any more. NXP UM10204, 3.1.16: nine clock pulses, within
//! which it comes to the end of its byte, sees no acknowledgement, and lets go.
//!
//! ```text
//!  SCL ─┐ ┌─┐ ┌─ ... ─┐ ┌────────────────       SDA is let go all the time; after the ninth pulse
//!       └─┘ └─┘       └─┘                       it falls and rises while SCL is high:
//!  SDA ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒────┐    ┌────       a START and a STOP
//!        1   2         9     START  STOP
//! ```
//!
//! * Always nine: a device that holds a one at this moment has not ended its byte either.
//! * The START makes a memory forget a page that was not written to its end; the STOP alone would let it program a part.
//! * Pins are open drain: high means let go. A clock line that stays low is waited for, as a device may stretch it, for
//!   [`STRETCH_MAX_US`] in all; so the whole takes at most 1.2 ms, far below what a watchdog gives.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};

/// Half a period at 100 kHz, in µs.
const HALF_US: u32 = 5;
/// Pulses within which a byte ends: eight bits and the acknowledgement.
const PULSES: u32 = 9;
/// How long devices may hold the clock low in all, in µs.
pub const STRETCH_MAX_US: u32 = 1_000;

/// Why a bus is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The clock line stays low: a short circuit, or a device that has failed.
    Clock,
    /// The data line does, after nine pulses.
    Data,
}

/// Nine clock pulses, a START and a STOP. The pins must have been taken from the controller; afterwards it gets them back.
///
/// # Errors
/// [`Held`]: a line stays low, and no master can use the bus.
pub fn free<C, D, W>(clock: &mut C, data: &mut D, wait: &mut W) -> Result<(), Held>
where
    C: InputPin + OutputPin,
    D: InputPin + OutputPin,
    W: DelayNs,
{
    let mut patience_us = STRETCH_MAX_US;
    // A pin that cannot be set or read is as one that stays low.
    let _ = data.set_high();
    release_clock(clock, wait, &mut patience_us)?;
    for _ in 0..PULSES {
        let _ = clock.set_low();
        wait.delay_us(HALF_US);
        release_clock(clock, wait, &mut patience_us)?;
    }
    if !data.is_high().unwrap_or(false) {
        return Err(Held::Data);
    }
    let _ = data.set_low();
    wait.delay_us(HALF_US);
    let _ = data.set_high();
    wait.delay_us(HALF_US);
    if data.is_high().unwrap_or(false) { Ok(()) } else { Err(Held::Data) }
}

/// Lets the clock line go and waits until it is high, and then half a period.
fn release_clock<C: InputPin + OutputPin>(
    clock: &mut C,
    wait: &mut impl DelayNs,
    patience_us: &mut u32,
) -> Result<(), Held> {
    let _ = clock.set_high();
    while !clock.is_high().unwrap_or(false) {
        *patience_us = patience_us.checked_sub(HALF_US).ok_or(Held::Clock)?;
        wait.delay_us(HALF_US);
    }
    wait.delay_us(HALF_US);
    Ok(())
}

#[cfg(test)]
mod tests;
