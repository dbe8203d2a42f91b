//! When a whole line falls silent at once.
//!
//! A serial server that hangs, a cable that is torn or a blown fuse silences all devices behind it. To find that out
//! device by device would take two time-outs for each of them, half a minute for twenty-eight, and would tell people
//! twenty-eight times that a meter is broken. So the line counts for itself:
//!
//! ```text
//!            an answer, or any bytes at all
//!        ┌──────────────────────────────────────┐
//!        ▼        2 devices in a row said nothing         4 in a row (8 if nobody was ever heard)
//!     hearing ──────────────────────────────► doubting ───────────────────────────────► mute
//!        ▲                                      │ asks the devices heard last,            │
//!        │                                      └ as they will tell soonest               │
//!        └───────────────── an answer: every device is looked for at once ◄───────────────┘
//! ```
//!
//! On a line with fewer devices all of them must have said nothing; a device that is alone on its line is silent, not
//! its line. While the line is mute its devices are probed in turn, and nothing is waiting for the probes.

use tokio::time::Instant;

use super::device::Device;

/// From so many silent devices on others are asked out of turn.
const DOUBT_AT: usize = 2;

/// So many silent devices make a silent line.
const MUTE_AT: usize = 4;

/// The same while nobody was heard since the start, and there is no device known to be alive that could be asked.
const MUTE_AT_FIRST: usize = 8;

/// What was heard on the line lately.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    was_heard: bool,
    /// The devices that said nothing since anybody was heard, each once.
    silent: Vec<usize>,
}

impl Hearing {
    /// Somebody said something.
    pub(super) fn heard(&mut self) {
        self.was_heard = true;
        self.silent.clear();
    }

    /// This device said nothing.
    pub(super) fn missed(&mut self, device: usize) {
        if !self.silent.contains(&device) {
            self.silent.push(device);
        }
    }

    fn mute_at(&self, devices: usize) -> usize {
        if self.was_heard { MUTE_AT.min(devices) } else { MUTE_AT_FIRST.min(devices) }
    }

    /// Whether the line, rather than its devices, must be taken for silent.
    pub(super) fn is_mute(&self, devices: usize) -> bool {
        devices > 1 && self.silent.len() >= self.mute_at(devices)
    }

    /// The device to ask out of turn, if there is doubt: of those not asked since, the one that was heard last.
    pub(super) fn witness(&self, devices: &[Device]) -> Option<usize> {
        if self.silent.len() < DOUBT_AT || self.is_mute(devices.len()) {
            return None;
        }
        let heard: Vec<Option<Instant>> = devices.iter().map(|d| d.heard_at.filter(|_| !d.is_silent())).collect();
        self.last_heard(&heard)
    }

    fn last_heard(&self, heard: &[Option<Instant>]) -> Option<usize> {
        let others = heard.iter().enumerate().filter(|(i, _)| !self.silent.contains(i));
        others.filter_map(|(i, at)| at.map(|at| (at, i))).max().map(|(_, i)| i)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn four_silent_devices_in_a_row_are_a_silent_line_and_one_answer_is_none() {
        let mut hearing = Hearing::default();
        hearing.heard();
        for device in [1, 1, 1, 2, 3] {
            hearing.missed(device);
        }
        assert!(!hearing.is_mute(28));
        assert!(hearing.is_mute(3), "all there are");
        hearing.missed(9);
        assert!(hearing.is_mute(28));
        hearing.heard();
        assert!(!hearing.is_mute(28));
    }

    #[test]
    fn nobody_concludes_much_from_a_line_that_was_never_heard_nor_from_a_device_that_is_alone() {
        let mut hearing = Hearing::default();
        (0..7).for_each(|device| hearing.missed(device));
        assert!(!hearing.is_mute(28));
        hearing.missed(7);
        assert!(hearing.is_mute(28));
        let mut alone = Hearing::default();
        alone.missed(0);
        assert!(!alone.is_mute(1));
    }

    #[tokio::test]
    async fn the_witness_is_the_one_heard_last_of_those_not_asked_since() {
        let mut hearing = Hearing::default();
        hearing.heard();
        hearing.missed(0);
        hearing.missed(3);
        let at = |s| Some(Instant::now() + Duration::from_secs(s));
        assert_eq!(hearing.last_heard(&[at(9), at(2), at(4), at(8), None]), Some(2));
    }
}
