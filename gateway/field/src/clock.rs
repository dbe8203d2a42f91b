//! The wall clock, the one place where this crate asks what time it is.
//!
//! It stamps answers and decides whether a command is still valid. Everything that measures a distance in time
//! (deadlines, silence, slots) uses the runtime's monotonic clock instead, so that a clock that is set moves nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use guanjia_core::time::Timestamp;
use tokio::time::Instant;

/// One moment on both clocks. Whoever must know it several times looks once: on a fast line the clocks would be looked at
/// more often than anything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// What distances in time are measured from.
    pub(crate) instant: Instant,
    /// The time of day.
    pub(crate) at: Timestamp,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), at: now() }
    }
}

/// The present time in UTC. A machine whose clock lies before 1970 gets [`Timestamp::EPOCH`].
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
