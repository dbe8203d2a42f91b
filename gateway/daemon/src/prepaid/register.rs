//! What the register of one service point said since it was last looked at.
//!
//! Usually that is one reading. A logger that was away tells many at once, and each that ends an interval puts what was used
//! into its own hours; so those are looked at one after the other, before the newest. What is good as of its time stays
//! good when something worse comes behind it: the newest sample of a night counts in its hour, and is no value of now.
//! At most [`OVERTAKEN_MAX`] wait: of more the oldest go, and what they would have told apart is billed with the next.

use std::collections::VecDeque;
use std::time::Duration;

use guanjia_core::reading::Reading;
use guanjia_core::time::Timestamp;

/// Readings that wait behind the newest: ten days of quarter-hours.
const OVERTAKEN_MAX: usize = 1_000;

/// The readings of one register.
#[derive(Debug, Default)]
pub struct Heard {
    newest: Option<Reading>,
    is_new: bool,
    /// Good readings, the last of their interval each, that others overtook; the oldest first.
    overtaken: VecDeque<Reading>,
}

impl Heard {
    /// Takes in the next reading; intervals are `interval` long.
    pub fn take(&mut self, reading: Reading, interval: Duration) {
        let is_last =
            |before: &Reading| !reading.quality.is_good() || slot(before.at, interval) < slot(reading.at, interval);
        let before = self.newest.take().filter(|before| self.is_new && before.quality.is_good() && is_last(before));
        if let Some(before) = before {
            if self.overtaken.len() == OVERTAKEN_MAX {
                self.overtaken.pop_front();
            }
            self.overtaken.push_back(before);
        }
        (self.newest, self.is_new) = (Some(reading), true);
    }

    /// The newest reading, looked at or not.
    pub fn newest(&self) -> Option<&Reading> {
        self.newest.as_ref()
    }

    /// The oldest one that was overtaken and not looked at.
    pub fn overtaken(&self) -> Option<&Reading> {
        self.overtaken.front()
    }

    /// That one was looked at.
    pub fn pass(&mut self) {
        self.overtaken.pop_front();
    }

    /// All were looked at.
    pub fn looked_at(&mut self) {
        self.is_new = false;
    }

    /// Whether something waits to be looked at.
    pub fn waits(&self) -> bool {
        self.is_new || !self.overtaken.is_empty()
    }
}

/// The number of the interval a time lies in.
pub fn slot(at: Timestamp, interval: Duration) -> i64 {
    at.as_millis().div_euclid(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use guanjia_core::reading::{BadReason, Decimal, PointIx, Quality, Value};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(900);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000)
    }

    fn said(minutes: i64) -> Reading {
        Reading::good(PointIx(0), Value::Decimal(Decimal::new(i128::from(minutes), 0)), at(minutes))
    }

    fn waiting(heard: &mut Heard) -> Vec<i64> {
        let mut minutes = Vec::new();
        while let Some(reading) = heard.overtaken() {
            minutes.push((reading.at.as_millis() - at(0).as_millis()) / 60_000);
            heard.pass();
        }
        minutes
    }

    #[test]
    fn a_backlog_leaves_the_last_reading_of_every_interval() {
        let mut heard = Heard::default();
        for minutes in [0, 5, 14, 16, 29, 31, 60] {
            heard.take(said(minutes), INTERVAL);
        }
        assert_eq!(waiting(&mut heard), [14, 29, 31]);
        assert_eq!(heard.newest().map(|reading| reading.at), Some(at(60)));
    }

    #[test]
    fn what_was_looked_at_does_not_come_again_and_what_is_bad_never_comes() {
        let mut heard = Heard::default();
        heard.take(said(0), INTERVAL);
        heard.looked_at();
        heard.take(said(20), INTERVAL);
        heard.take(Reading::bad(PointIx(0), BadReason::NoAnswer, at(40)), INTERVAL);
        heard.take(said(60), INTERVAL);
        assert_eq!(waiting(&mut heard), [20]);
    }

    #[test]
    fn a_value_that_is_true_of_its_time_is_not_lost_to_the_word_that_it_is_old() {
        let mut heard = Heard::default();
        heard.take(said(60), INTERVAL);
        heard.take(said(75), INTERVAL);
        heard.take(Reading { quality: Quality::Suspect, ..said(75) }, INTERVAL);
        assert_eq!(waiting(&mut heard), [60, 75]);
        assert!(heard.waits());
        heard.looked_at();
        assert!(!heard.waits());
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut heard = Heard::default();
        for n in 0..=(OVERTAKEN_MAX as i64 + 5) {
            heard.take(said(n * 15), INTERVAL);
        }
        let left = waiting(&mut heard);
        assert_eq!((left.len(), left[0]), (OVERTAKEN_MAX, 5 * 15));
    }
}
