//! The mass-cut breaker: many cuts at once are a mistake of ours until a person says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How many cuts are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerLimits {
    /// Service points that may be cut in one hour.
    pub cuts_per_hour: u32,
    /// The same in percent of all prepaid service points; the smaller of the two counts, but never less than one cut.
    pub percent_per_hour: u32,
}

impl Default for BreakerLimits {
    /// 5 cuts and 10 % in an hour: what one person can look into.
    fn default() -> Self {
        Self { cuts_per_hour: 5, percent_per_hour: 10 }
    }
}

/// Whether the breaker lets cuts pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum BreakerState {
    /// It does.
    Closed,
    /// It does not, until a person resets it.
    Open {
        /// Since when.
        since: Timestamp,
    },
}

/// The leave to make one cut. Only [`Breaker::admit`] gives it; it is used up by the intent.
#[derive(Debug, PartialEq, Eq)]
pub struct BreakerPass(());

/// Counts the service points cut within the last hour, over the whole site.
///
/// It opens at the first cut that would exceed the limit, which is then refused like all after it. Cuts that are
/// desired but not yet made when it opens are withdrawn by [`super::decide`], because an open breaker blocks them.
#[derive(Clone, Debug)]
pub struct Breaker {
    most: usize,
    /// At most `most` entries, one per service point.
    cuts: Vec<(String, Timestamp)>,
    state: BreakerState,
}

/// The length of the sliding window.
const WINDOW: Duration = Duration::from_secs(3600);

impl Breaker {
    /// A closed breaker for a site with so many prepaid service points.
    pub fn new(limits: BreakerLimits, service_points: usize) -> Self {
        let share = service_points.saturating_mul(limits.percent_per_hour as usize) / 100;
        let most = share.min(limits.cuts_per_hour as usize).max(1);
        Self { most, cuts: Vec::new(), state: BreakerState::Closed }
    }

    /// Goes on after a restart: with the cuts of the last hour (service point and time of their intents, oldest first),
    /// and open if it was open.
    pub fn resume(
        limits: BreakerLimits,
        service_points: usize,
        cuts: impl IntoIterator<Item = (String, Timestamp)>,
        state: BreakerState,
    ) -> Self {
        let mut breaker = Self::new(limits, service_points);
        for (service_point, at) in cuts {
            // Refused here means open, which is what it must have been.
            let _ = breaker.admit(&service_point, at);
        }
        if let BreakerState::Open { .. } = state {
            breaker.state = state;
        }
        breaker
    }

    /// Whether cuts pass.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// How many service points may be cut in an hour.
    pub fn limit(&self) -> usize {
        self.most
    }

    /// Asks for one cut. A further attempt at the same service point within the hour is not counted again. `None` if
    /// the breaker is open, or opens now because this would be one too many.
    pub fn admit(&mut self, service_point: &str, now: Timestamp) -> Option<BreakerPass> {
        if self.state != BreakerState::Closed {
            return None;
        }
        // A cut dated ahead (the clock was set back) stays counted until its hour has really passed.
        self.cuts.retain(|(_, at)| now.since(*at) < WINDOW);
        if self.cuts.iter().any(|(cut, _)| cut == service_point) {
            return Some(BreakerPass(()));
        }
        if self.cuts.len() >= self.most {
            self.state = BreakerState::Open { since: now };
            return None;
        }
        self.cuts.push((service_point.to_owned(), now));
        Some(BreakerPass(()))
    }

    /// A person has looked into it and lets cuts pass again. The count starts anew.
    pub fn reset(&mut self) {
        self.cuts.clear();
        self.state = BreakerState::Closed;
    }
}
