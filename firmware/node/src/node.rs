//! The node: one turn does one small step of everything.

use crate::board::{Board, Clock, Parts, System};

/// Shortest time between two commits of counted pulses, whatever the settings: see the endurance in the crate's design.
pub const COMMIT_FLOOR_S: u16 = 10;

/// The node on its board.
pub struct Node<B: Board> {
    parts: Parts<B>,
}

impl<B: Board> Node<B> {
    /// Reads the journal and the switches. May wait for the memory for up to a second: the watchdog starts afterwards.
    pub fn new(parts: Parts<B>) -> Self {
        Self { parts }
    }

    /// One turn at a time, in wrapping microseconds; at least once a millisecond, at most 71 minutes apart.
    pub fn poll(&mut self, _now_us: u32) {
        self.parts.system.feed_watchdog();
    }

    /// One turn at the time of a clock.
    pub fn turn(&mut self, clock: &impl Clock) {
        self.poll(clock.micros());
    }
}
