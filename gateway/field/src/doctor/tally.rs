//! What is counted of each unit and of the line, over the last one or two halves of the window.

use std::time::Duration;

/// The counts of one unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) asked: u32,
    pub(super) answered: u32,
    pub(super) refused: u32,
    pub(super) timeouts: u32,
    pub(super) damaged: u32,
    /// Signs that more than one device answered.
    pub(super) doubled: u32,
    /// Right answers of which nobody knows which question they belong to.
    pub(super) doubtful: u32,
    pub(super) late: u32,
    late_sum_ms: u64,
    /// Answer times without the time of the characters.
    excess_min_us: Option<u32>,
    excess_max_us: u32,
    excess_sum_us: u64,
}

impl Tally {
    pub(super) fn answer_took(&mut self, excess: Duration) {
        let us = micros(excess);
        self.excess_min_us = Some(self.excess_min_us.map_or(us, |min| min.min(us)));
        self.excess_max_us = self.excess_max_us.max(us);
        self.excess_sum_us += u64::from(us);
    }

    pub(super) fn late_by(&mut self, after: Duration) {
        self.late += 1;
        self.late_sum_ms += after.as_millis() as u64;
    }

    /// The mean time from a request to its answer that came too late.
    pub(super) fn late_mean_ms(&self) -> Option<u32> {
        (self.late > 0).then(|| (self.late_sum_ms / u64::from(self.late)) as u32)
    }

    pub(super) fn excess_min(&self) -> Option<Duration> {
        self.excess_min_us.map(|us| Duration::from_micros(u64::from(us)))
    }

    pub(super) fn excess_max(&self) -> Duration {
        Duration::from_micros(u64::from(self.excess_max_us))
    }

    pub(super) fn excess_mean(&self) -> Option<Duration> {
        (self.answered > 0).then(|| Duration::from_micros(self.excess_sum_us / u64::from(self.answered)))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            asked: self.asked + other.asked,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            timeouts: self.timeouts + other.timeouts,
            damaged: self.damaged + other.damaged,
            doubled: self.doubled + other.doubled,
            doubtful: self.doubtful + other.doubtful,
            late: self.late + other.late,
            late_sum_ms: self.late_sum_ms + other.late_sum_ms,
            excess_min_us: [self.excess_min_us, other.excess_min_us].into_iter().flatten().min(),
            excess_max_us: self.excess_max_us.max(other.excess_max_us),
            excess_sum_us: self.excess_sum_us + other.excess_sum_us,
        }
    }
}

/// The counts of the line itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineTally {
    /// Requests of somebody else, and answers of units that are not ours or to questions that were not heard.
    pub(super) foreign: u32,
    /// Requests of our own that came back.
    pub(super) echoed: u32,
    /// Pieces in which no frame could be found.
    pub(super) noise: u32,
}

impl LineTally {
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            foreign: self.foreign + other.foreign,
            echoed: self.echoed + other.echoed,
            noise: self.noise + other.noise,
        }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Two halves of a window: sums never forget more than half of what they hold at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Halves<T> {
    pub(super) current: T,
    pub(super) previous: T,
}

impl<T: Copy + Default> Halves<T> {
    pub(super) fn turn(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }
}
