//! Waiting to a tenth of a millisecond.
//!
//! The runtime's timers count whole milliseconds and round up. The silence between two frames at 9600 baud lasts 4.01
//! ms, so a line would waste up to a millisecond of every transaction, and with short answers that is several percent
//! of what its wire can carry. The kernel's own timers are exact; each line holds one as a file that becomes readable
//! (`timerfd_create(2)`), so no thread spins or sleeps for it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tracing::warn;

/// A timer of one line.
pub(crate) struct Precise(Option<AsyncFd<OwnedFd>>);

impl Precise {
    /// The kernel's timer; where there is none, the runtime's. Needs the runtime it is made in.
    pub(crate) fn kernel() -> Self {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        #[allow(deprecated, reason = "its successor is unsafe, for files that may change; an owned one never does")]
        let watched = |timer| AsyncFd::with_interest(timer, Interest::READABLE);
        match timer.map_err(std::io::Error::from).and_then(watched) {
            Ok(timer) => Self(Some(timer)),
            Err(error) => {
                warn!(%error, "no precise timer; silences between frames last up to a millisecond longer");
                Self(None)
            }
        }
    }

    /// The runtime's timer, where milliseconds are good enough.
    pub(crate) fn runtime() -> Self {
        Self(None)
    }

    /// Waits until `at`, never less. May be cancelled.
    pub(crate) async fn until(&self, at: Instant) {
        let Some(timer) = &self.0 else { return tokio::time::sleep_until(at).await };
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if !fires_after(timer, left).await {
                return tokio::time::sleep_until(at).await;
            }
        }
    }
}

/// Whether the timer could be waited for.
async fn fires_after(timer: &AsyncFd<OwnedFd>, left: Duration) -> bool {
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let Ok(it_value) = Timespec::try_from(left) else { return false };
    let once = Itimerspec { it_interval: never, it_value };
    if timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once).is_err() {
        return false;
    }
    loop {
        let Ok(mut ready) = timer.readable().await else { return false };
        let mut expirations = [0; 8];
        // Would block: an earlier wait was cancelled, and only its end was to be noticed.
        if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
            return read.is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_no_less_and_hardly_more_also_after_it_was_cancelled() {
        let timer = Precise::kernel();
        let wait = Duration::from_micros(4_010);
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let started = Instant::now();
            tokio::select! {
                biased;
                () = timer.until(started + Duration::from_micros(500)) => {}
                () = std::future::ready(()) => {}
            }
            timer.until(started + wait).await;
            let took = started.elapsed();
            assert!(took >= wait, "{took:?}");
            best = best.min(took);
        }
        // Other programs may delay every single one of them, but hardly all twenty.
        assert!(best < wait + Duration::from_micros(500), "{best:?}");
    }
}
