//! The wall clock, the one place where this crate asks what time it is.
//!
//! It stamps answers and decides whether a command is still valid. Everything that measures a distance in time
//! (deadlines, silence, slots) uses the runtime's monotonic clock instead, so that a clock that is set moves nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use guanjia_core::time::Timestamp;

/// The present time in UTC. A machine whose clock lies before 1970 gets [`Timestamp::EPOCH`].
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
