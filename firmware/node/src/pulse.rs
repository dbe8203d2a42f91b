//! Pulse inputs: sampled once a millisecond, debounced, counted.
//!
//! * S0 outputs (IEC 62053-31) close for at least 30 ms and stay open for at least 30 ms; reed contacts bounce for some
//!   milliseconds. An edge counts when the new level has been steady for the debounce time: 20 ms suits both, 3 ms lets
//!   through 100 Hz (5 ms closed, 5 ms open).
//! * A pulse is counted at its closing edge. An input that is closed at start counts nothing until it has opened: the
//!   pulse of before the reset was counted by the run before, and is not counted twice.
//! * The sampler shares only atomics with the node, of which each has one writer: it may live in an interrupt, and needs
//!   no instruction that a Cortex-M0 lacks.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use embedded_hal::digital::InputPin;

use crate::map::CHANNELS;

/// What sampler and node share; a `static` of the board.
#[derive(Debug)]
pub struct PulseBank {
    counts: [AtomicU32; CHANNELS],
    levels: [AtomicBool; CHANNELS],
    debounce_ms: [AtomicU8; CHANNELS],
}

impl PulseBank {
    /// Nothing counted, 20 ms.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; CHANNELS],
            levels: [const { AtomicBool::new(false) }; CHANNELS],
            debounce_ms: [const { AtomicU8::new(20) }; CHANNELS],
        }
    }

    /// Pulses of a channel since the start; wraps. 0 for a channel that is not there.
    pub fn count(&self, channel: usize) -> u32 {
        self.counts.get(channel).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Debounced level of a channel; `true` = closed.
    pub fn level(&self, channel: usize) -> bool {
        self.levels.get(channel).is_some_and(|level| level.load(Ordering::Relaxed))
    }

    /// Sets how long a level must be steady, in ms.
    pub fn set_debounce(&self, channel: usize, ms: u8) {
        if let Some(debounce) = self.debounce_ms.get(channel) {
            debounce.store(ms, Ordering::Relaxed);
        }
    }
}

impl Default for PulseBank {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts the pulses of four inputs.
#[derive(Debug)]
pub struct Sampler<P> {
    pins: [P; CHANNELS],
    bank: &'static PulseBank,
    /// How long each input has differed from its debounced level, in ms.
    differs_ms: [u8; CHANNELS],
    first: bool,
}

impl<P: InputPin> Sampler<P> {
    /// Takes the four inputs; high = closed.
    pub fn new(pins: [P; CHANNELS], bank: &'static PulseBank) -> Self {
        Self { pins, bank, differs_ms: [0; CHANNELS], first: true }
    }

    /// Samples once; `elapsed_ms` is the time since the last call, 1 when a timer calls every millisecond.
    pub fn tick(&mut self, elapsed_ms: u8) {
        let bank = self.bank;
        let shared = bank.counts.iter().zip(&bank.levels).zip(&bank.debounce_ms);
        for ((pin, differs), ((count, level), debounce)) in self.pins.iter_mut().zip(&mut self.differs_ms).zip(shared) {
            // A pin that cannot be read keeps its level: no pulse is made up.
            let Ok(closed) = pin.is_high() else { continue };
            if self.first {
                level.store(closed, Ordering::Relaxed);
                continue;
            }
            if closed == level.load(Ordering::Relaxed) {
                *differs = 0;
                continue;
            }
            *differs = differs.saturating_add(elapsed_ms);
            if *differs >= debounce.load(Ordering::Relaxed) {
                *differs = 0;
                level.store(closed, Ordering::Relaxed);
                if closed {
                    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
                }
            }
        }
        self.first = false;
    }
}

#[cfg(test)]
mod tests;
