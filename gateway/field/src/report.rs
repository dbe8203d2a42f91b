//! What a line tells the rest of the program, and what happens when nobody listens fast enough.
//!
//! Readings are dropped when the queue is full: the next poll brings newer ones, and the drop is counted. A change of
//! health is not dropped: the latest of each device is kept and offered again until it is taken, and no later reading of
//! that device overtakes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use guanjia_core::reading::{BadReason, DeviceIx, Reading};
use guanjia_core::time::Timestamp;
use tokio::sync::mpsc;

use crate::stats::LineStats;

/// Whether a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceHealth {
    /// It does.
    Answering,
    /// It does not, or cannot be reached: [`BadReason::NoAnswer`] or [`BadReason::LineDown`].
    Silent(BadReason),
}

/// One message of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldReport {
    /// What one answer (or its absence) says about points of one device.
    Readings {
        /// Whose points.
        device: DeviceIx,
        /// In ascending order of address.
        readings: Vec<Reading>,
    },
    /// What a device says of its past: it kept it while it was away. None of it holds now.
    Past {
        /// Whose points.
        device: DeviceIx,
        /// In the order of time, good as of it.
        readings: Vec<Reading>,
    },
    /// A device began or ceased to answer.
    Health {
        /// Which device.
        device: DeviceIx,
        /// What it does now.
        health: DeviceHealth,
        /// Since when.
        at: Timestamp,
    },
}

pub(crate) struct Reporter {
    reports: mpsc::Sender<FieldReport>,
    stats: Arc<LineStats>,
    /// The health changes nobody has taken yet; at most one per device.
    kept: BTreeMap<DeviceIx, (DeviceHealth, Timestamp)>,
}

impl Reporter {
    pub(crate) fn new(reports: mpsc::Sender<FieldReport>, stats: Arc<LineStats>) -> Self {
        Self { reports, stats, kept: BTreeMap::new() }
    }

    pub(crate) fn health(&mut self, device: DeviceIx, health: DeviceHealth, at: Timestamp) {
        self.kept.insert(device, (health, at));
        self.flush();
    }

    pub(crate) fn readings(&mut self, device: DeviceIx, readings: Vec<Reading>) {
        self.flush();
        let overtakes = self.kept.contains_key(&device);
        if overtakes || self.reports.try_send(FieldReport::Readings { device, readings }).is_err() {
            self.stats.dropped_reports.add(1);
        }
    }

    /// Offers the kept changes again.
    pub(crate) fn flush(&mut self) {
        while let Some((&device, &(health, at))) = self.kept.first_key_value() {
            match self.reports.try_send(FieldReport::Health { device, health, at }) {
                Ok(()) => self.kept.remove(&device),
                Err(_) => return,
            };
        }
    }

    /// Whether a change still waits to be taken.
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty() && !self.reports.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use guanjia_core::reading::PointIx;

    use super::*;

    #[test]
    fn a_full_queue_drops_readings_and_keeps_health() {
        let (sender, mut receiver) = mpsc::channel(1);
        let stats = Arc::new(LineStats::default());
        let mut reporter = Reporter::new(sender, Arc::clone(&stats));
        let at = Timestamp::from_millis(7);
        let silent = DeviceHealth::Silent(BadReason::NoAnswer);
        let readings = || vec![Reading::bad(PointIx(3), BadReason::NoAnswer, at)];
        reporter.readings(DeviceIx(1), readings());
        reporter.readings(DeviceIx(1), readings());
        reporter.health(DeviceIx(1), silent, at);
        assert_eq!(stats.dropped_reports.get(), 1);
        assert!(reporter.has_kept());

        assert!(matches!(receiver.try_recv(), Ok(FieldReport::Readings { .. })));
        reporter.readings(DeviceIx(1), readings());
        assert_eq!(receiver.try_recv(), Ok(FieldReport::Health { device: DeviceIx(1), health: silent, at }));
        assert!(!reporter.has_kept(), "the change was offered before the reading that followed it");
        assert_eq!(stats.dropped_reports.get(), 2);
    }
}
