//! What a line counts about itself, readable at any moment without asking the line's task.
//!
//! One [`LineStats`] per line lives as long as its handle. Counters only grow; the few gauges say so. They are relaxed
//! atomics: each is right by itself, two of them may be a transaction apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guanjia_core::reading::DeviceIx;
use guanjia_core::time::Timestamp;

/// One number that the line's task writes and everybody may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, by: u64) {
        if by > 0 {
            self.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// The same where nobody else writes the number, and much cheaper.
    pub(crate) fn add_alone(&self, by: u64) {
        self.0.store(self.get().wrapping_add(by), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }
}

/// The upper bounds of the duration buckets, in milliseconds. Slower transactions are only in the count and the sum.
pub const DURATION_BUCKETS_MS: [u64; 9] = [5, 10, 25, 50, 100, 250, 500, 1000, 2000];

/// How long transactions took, from the first byte sent to the last byte of the answer or the end of the wait.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Transactions that fell into the bucket of the same position in [`DURATION_BUCKETS_MS`]; not cumulative.
    pub buckets: [Counter; DURATION_BUCKETS_MS.len()],
    /// The sum of all durations in nanoseconds.
    pub sum_nanos: Counter,
    /// How many there were.
    pub count: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        // A bucket holds what lasted at most its bound, as Prometheus' `le` has it.
        let fits = |bound: &u64| took <= Duration::from_millis(*bound);
        if let Some(bucket) = DURATION_BUCKETS_MS.iter().position(fits) {
            self.buckets[bucket].add_alone(1);
        }
        self.sum_nanos.add_alone(nanos(took));
        self.count.add_alone(1);
    }
}

/// Why received bytes were thrown away instead of being read as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// A well-formed answer to an earlier request.
    Late,
    /// A well-formed answer that nobody asked for: another unit, another function, another length.
    Foreign,
    /// Anything else: a wrong check sum, half a frame, noise, a header that lies.
    Damaged,
}

impl Discard {
    /// The word in metrics, traces and JSON: `late`, `foreign` or `damaged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Discard::Late => "late",
            Discard::Foreign => "foreign",
            Discard::Damaged => "damaged",
        }
    }
}

/// The counters of one device.
#[derive(Debug)]
pub struct DeviceStats {
    /// Which device.
    pub device: DeviceIx,
    /// Its id in the site file.
    pub id: Arc<str>,
    /// Requests that were answered with data.
    pub ok: Counter,
    /// Requests nobody answered.
    pub timeout: Counter,
    /// Requests whose answer was discarded, for whatever reason.
    pub crc_error: Counter,
    /// Requests the device refused with an exception.
    pub exception: Counter,
    /// Requests during which the connection broke.
    pub link_error: Counter,
    last_success_ms: Counter,
}

impl DeviceStats {
    fn new(device: DeviceIx, id: Arc<str>) -> Self {
        Self {
            device,
            id,
            ok: Counter::default(),
            timeout: Counter::default(),
            crc_error: Counter::default(),
            exception: Counter::default(),
            link_error: Counter::default(),
            last_success_ms: Counter::default(),
        }
    }

    /// When the device last answered with data; `None` if it never did.
    pub fn last_success(&self) -> Option<Timestamp> {
        match self.last_success_ms.get() {
            0 => None,
            millis => i64::try_from(millis).ok().map(Timestamp::from_millis),
        }
    }

    pub(crate) fn succeeded(&self, at: Timestamp) {
        self.ok.add_alone(1);
        self.last_success_ms.set(u64::try_from(at.as_millis()).unwrap_or(0));
    }
}

/// The counters of one line.
#[derive(Debug, Default)]
pub struct LineStats {
    /// Nanoseconds during which the line was occupied, silences included. Divided by time it is the bus load.
    pub busy_nanos: Counter,
    /// Gauge: commands that wait for their first byte.
    pub queue: Counter,
    /// Gauge: 1 while the port is open or the socket connected.
    pub connected: Counter,
    /// Gauge: 1 while the line is open and none of its devices is heard.
    pub mute: Counter,
    /// Times the port was opened or the socket connected.
    pub connects: Counter,
    /// Bytes that lay on the line before a request was sent and were thrown away.
    pub stale_bytes: Counter,
    /// Answers to earlier requests that were thrown away.
    pub discarded_late: Counter,
    /// Answers nobody asked for that were thrown away.
    pub discarded_foreign: Counter,
    /// Damaged answers that were thrown away.
    pub discarded_damaged: Counter,
    /// Extra reads that were made only to tell a late answer from the right one.
    pub probes: Counter,
    /// Polls that were left out because their turn had passed.
    pub overruns: Counter,
    /// Reports of readings that were dropped because the receiver was slow.
    pub dropped_reports: Counter,
    /// How long transactions took.
    pub durations: Histogram,
    /// One entry per device of the line, in the order they were given.
    pub devices: Vec<DeviceStats>,
}

impl LineStats {
    pub(crate) fn new<'a>(devices: impl Iterator<Item = (DeviceIx, &'a Arc<str>)>) -> Self {
        let devices = devices.map(|(device, id)| DeviceStats::new(device, Arc::clone(id))).collect();
        Self { devices, ..Self::default() }
    }

    pub(crate) fn discarded(&self, why: Discard) {
        match why {
            Discard::Late => self.discarded_late.add(1),
            Discard::Foreign => self.discarded_foreign.add(1),
            Discard::Damaged => self.discarded_damaged.add(1),
        }
    }
}

/// Nanoseconds as a counter holds them: 584 years fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_the_bound_falls_into_its_bucket_and_slow_ones_only_into_the_count() {
        let histogram = Histogram::default();
        for millis in [5, 6, 2000, 2001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let buckets: Vec<u64> = histogram.buckets.iter().map(Counter::get).collect();
        assert_eq!(buckets, [1, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.count.get(), 4);
        assert_eq!(histogram.sum_nanos.get(), 4_012_000_000);
    }
}
