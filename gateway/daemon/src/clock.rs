//! Whether the wall clock may be believed.
//!
//! Time of day decides whether a shop may be cut off, so a clock that has just jumped must not decide anything. The
//! watch compares the wall clock with the monotonic one once a second:
//!
//! ```text
//!             |wall step - monotonic step| > 60 s, or the clock lies before the newest row of the journal
//!  TRUSTED ────────────────────────────────────────────────────────────────────────────────► DOUBTED
//!     ▲                                                                                         │
//!     └──────────── the time service reports a synchronisation after the jump ◄─────────────────┘
//! ```
//!
//! In doubt nothing is cut; alarms, pages and top-ups go on, for they need order more than they need the date. The
//! time service's word is the modification time of `/run/systemd/timesync/synchronized`. Where no time service
//! keeps that file, a restart is the person's word that the clock has been looked at.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use guanjia_core::time::Timestamp;
use tracing::{error, info};

const JUMP_MAX: Duration = Duration::from_secs(60);
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";
const TRUSTED: i64 = i64::MIN;

/// The clock's standing, shared with whoever must not act on a doubtful one.
#[derive(Debug)]
pub struct ClockTrust {
    /// When (by the doubtful clock) the doubt began; [`TRUSTED`] if there is none.
    doubted_at: AtomicI64,
}

impl ClockTrust {
    /// Trusted, unless the journal already holds rows from the future.
    pub fn new(now: Timestamp, newest_row: Option<Timestamp>) -> Self {
        let trust = Self { doubted_at: AtomicI64::new(TRUSTED) };
        if let Some(newest) = newest_row.filter(|newest| newest.since(now) > JUMP_MAX) {
            error!(%now, %newest, "the clock lies before what was already written; nothing is cut off until it is set right");
            trust.doubted_at.store(now.as_millis(), Ordering::Relaxed);
        }
        trust
    }

    /// Whether cuts may be decided by this clock.
    pub fn is_trusted(&self) -> bool {
        self.doubted_at.load(Ordering::Relaxed) == TRUSTED
    }
}

/// Watches for jumps; called about once a second by the main loop.
#[derive(Debug)]
pub struct ClockWatch {
    last: (Timestamp, Instant),
}

impl ClockWatch {
    /// Starts from this moment of both clocks.
    pub fn new(wall: Timestamp, monotonic: Instant) -> Self {
        Self { last: (wall, monotonic) }
    }

    /// Compares how far both clocks have moved, and lifts a doubt once the time service has spoken.
    pub fn tick(&mut self, wall: Timestamp, monotonic: Instant, trust: &ClockTrust) {
        let (last_wall, last_monotonic) = std::mem::replace(&mut self.last, (wall, monotonic));
        let expected = last_wall + monotonic.duration_since(last_monotonic);
        let jump = wall.since(expected).max(expected.since(wall));
        if jump > JUMP_MAX {
            error!(from = %expected, to = %wall, "the clock has jumped; nothing is cut off until the time service confirms it");
            trust.doubted_at.store(wall.as_millis(), Ordering::Relaxed);
        } else if !trust.is_trusted() {
            let doubted_at = Timestamp::from_millis(trust.doubted_at.load(Ordering::Relaxed));
            if synchronized_at(Path::new(SYNCHRONIZED)).is_some_and(|at| at > doubted_at) {
                info!("the time service has confirmed the clock");
                trust.doubted_at.store(TRUSTED, Ordering::Relaxed);
            }
        }
    }
}

fn synchronized_at(path: &Path) -> Option<Timestamp> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    let since_epoch = modified.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_steady_clock_stays_trusted() {
        let trust = ClockTrust::new(START, Some(START));
        let begin = Instant::now();
        let mut watch = ClockWatch::new(START, begin);
        for second in 1..100 {
            let step = Duration::from_secs(second);
            watch.tick(START + step, begin + step, &trust);
        }
        assert!(trust.is_trusted());
    }

    #[test]
    fn a_jump_of_ten_days_is_doubted_either_way() {
        for jump in [START + Duration::from_secs(864_000), START - Duration::from_secs(864_000)] {
            let trust = ClockTrust::new(START, None);
            let begin = Instant::now();
            let mut watch = ClockWatch::new(START, begin);
            watch.tick(jump, begin + Duration::from_secs(1), &trust);
            assert!(!trust.is_trusted());
        }
    }

    #[test]
    fn a_clock_behind_the_journal_is_doubted_from_the_start() {
        assert!(!ClockTrust::new(START, Some(START + Duration::from_secs(3600))).is_trusted());
        assert!(ClockTrust::new(START, Some(START - Duration::from_secs(3600))).is_trusted());
    }
}
