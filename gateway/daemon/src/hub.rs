//! The hub: every reading of every bus passes through here once.
//!
//! ```text
//!  lines ──► reports  (bounded, drops) ──► hub ──► latest-value table ──► pages, metrics, MQTT out
//!  MQTT ───► messages (bounded, waits) ──►  │
//!                                         ├──► alarms  (bounded, waits: an alarm sees every reading of its points)
//!                                         └──► prepaid (bounded, drops: a billing register is cumulative; what came
//!                                                       by MQTT is waited for)
//! ```
//!
//! * The deciding tasks are told of the points they look at and of no others ([`Watched`]). Of a report without such a
//!   point the alarms still learn that the device has answered.
//! * When alarms are slow the hub waits for them, the report queue fills, and the lines drop and count reports; the
//!   next poll brings the truth again. Alarms therefore never see readings out of order.
//! * What a device says of its past goes to the accounts and to nobody else: it moves no latest value, and an alarm would be
//!   raised for what is over.
//! * What came by MQTT is waited for everywhere: the broker sends it once, and the receipt behind it goes the same way
//!   through the same queues, so whoever meets a receipt has taken in all that came before it.
//! * Once a second the hub looks for good values that have become older than their device may be. Those turn stale:
//!   a sender that has died without a word must not leave its last value standing as if it were new.
//! * Nothing here lasts. A power cut costs the readings in flight.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{Condition, Declaration};
use guanjia_core::reading::{BadReason, DeviceIx, PointIx, Reading};
use guanjia_field::{DeviceHealth, FieldReport};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::live::LatestTable;
use crate::metrics::Metrics;
use crate::prepaid;
use crate::receipt::Receipt;
use crate::site::Site;

/// Reports waiting for the hub; beyond it the lines drop and count them.
pub const REPORTS_MAX: usize = 4096;
/// Messages of brokers waiting for the hub; beyond it their senders wait.
pub const MESSAGES_MAX: usize = 256;
/// Observations waiting for one consumer.
pub const OBSERVATIONS_MAX: usize = 1024;

const STALE_SCAN_PERIOD: Duration = Duration::from_secs(1);

/// Reports taken from the queue at once.
const BATCH_MAX: usize = 64;

/// What the deciding tasks are told.
#[derive(Debug, PartialEq)]
pub enum Observation {
    /// The readings of one poll, as far as the task looks at their points, in the order of the report.
    Readings {
        /// The device that has answered with values, whoever looks at them; `None` if nothing but bad news came.
        answered: Option<DeviceIx>,
        /// What it says about the points the task looks at.
        readings: Vec<Reading>,
    },
    /// A device has fallen silent, or answers again.
    Health {
        /// Which.
        device: DeviceIx,
        /// Why it is silent; `None` while it answers.
        silent: Option<BadReason>,
    },
    /// The gateway's own word on one of its alarms; from the tasks that look after the credit in meters.
    Declared(Declaration),
    /// What was told before this has to be stored, then the receipt is given back.
    Receipt(Receipt),
}

/// What a broker's task hands in.
#[derive(Debug)]
pub enum Message {
    /// What a message was worth.
    Report(FieldReport),
    /// The end of what has to be posted before its message is acknowledged.
    Bill(Receipt),
    /// The end of a message that is acknowledged once everybody has it.
    Receipt(Receipt),
}

/// Where the hub's output goes.
pub struct Outputs {
    /// The latest-value table.
    pub latest: Arc<LatestTable>,
    /// The alarms task.
    pub alarms: mpsc::Sender<Observation>,
    /// The prepaid task.
    pub prepaid: mpsc::Sender<prepaid::Told>,
}

/// Which points the deciding tasks look at; found once, because a site does not change.
struct Watched {
    /// By [`PointIx`]: an alarm compares it.
    by_alarms: Vec<bool>,
    /// By [`PointIx`]: somebody pays by it, or it proves a supply.
    by_prepaid: Vec<bool>,
}

impl Watched {
    fn of(site: &Site) -> Self {
        let mut watched =
            Self { by_alarms: vec![false; site.points.len()], by_prepaid: vec![false; site.points.len()] };
        let terms = site.alarms.iter().filter_map(|def| match &def.condition {
            Condition::All(terms) => Some(terms),
            Condition::Silent(_) | Condition::Declared => None,
        });
        for term in terms.flatten() {
            mark(&mut watched.by_alarms, term.point);
        }
        for point in site.service_points.iter().flat_map(|sp| prepaid::watched(site, sp)) {
            mark(&mut watched.by_prepaid, point);
        }
        watched
    }
}

fn mark(points: &mut [bool], point: PointIx) {
    if let Some(watched) = points.get_mut(point.0 as usize) {
        *watched = true;
    }
}

/// The readings whose points are marked.
fn of_interest(points: &[bool], readings: &[Reading]) -> Vec<Reading> {
    readings.iter().filter(|r| points.get(r.point.0 as usize) == Some(&true)).cloned().collect()
}

/// Runs until `stop`, or until a consumer is gone. A site may have lines, brokers, both or neither.
pub async fn run(
    site: Arc<Site>,
    mut reports: mpsc::Receiver<FieldReport>,
    mut messages: mpsc::Receiver<Message>,
    out: Outputs,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let hub = Hub { watched: Watched::of(&site), site, out, metrics };
    let mut scan = tokio::time::interval(STALE_SCAN_PERIOD);
    scan.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(report) = reports.recv() => {
                batch.push(report);
                while batch.len() < BATCH_MAX && let Ok(more) = reports.try_recv() {
                    batch.push(more);
                }
            }
            Some(message) = messages.recv() => {
                // A place for the accounts is waited for; nobody but the hub takes it.
                tokio::select! {
                    () = stop.cancelled() => return,
                    place = hub.out.prepaid.reserve() => if place.is_err() { return },
                }
                let observation = match message {
                    Message::Report(report) => hub.take_in(report),
                    Message::Receipt(receipt) => Observation::Receipt(receipt),
                    Message::Bill(receipt) => {
                        // Without its receipt the message stays unacknowledged, and comes again.
                        let _ = hub.out.prepaid.try_send(prepaid::Told::Receipt(receipt));
                        continue;
                    }
                };
                if hub.tell_alarms(observation, &stop).await == Told::Gone {
                    return;
                }
            }
            _ = scan.tick() => {
                let stale = hub.out.latest.expire(guanjia_field::now());
                if !stale.is_empty() {
                    hub.tell_prepaid(&stale);
                    let readings = of_interest(&hub.watched.by_alarms, &stale);
                    if hub.tell_alarms(Observation::Readings { answered: None, readings }, &stop).await == Told::Gone {
                        return;
                    }
                }
            }
        }
        for report in batch.drain(..) {
            let observation = hub.take_in(report);
            if hub.tell_alarms(observation, &stop).await == Told::Gone {
                return;
            }
        }
    }
}

/// Whether a deciding task still listens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    Gone,
}

struct Hub {
    site: Arc<Site>,
    watched: Watched,
    out: Outputs,
    metrics: Arc<Metrics>,
}

impl Hub {
    fn take_in(&self, report: FieldReport) -> Observation {
        match report {
            FieldReport::Readings { device, readings } => {
                let class = self.site.devices[device.0 as usize].profile.class;
                self.metrics.ingest(class.system(), readings.len() as u64);
                self.out.latest.report(device, &readings);
                self.tell_prepaid(&readings);
                let answered = readings.iter().any(|r| r.value.is_some()).then_some(device);
                Observation::Readings { answered, readings: of_interest(&self.watched.by_alarms, &readings) }
            }
            FieldReport::Past { device, readings } => {
                let class = self.site.devices[device.0 as usize].profile.class;
                self.metrics.ingest(class.system(), readings.len() as u64);
                self.tell_prepaid(&readings);
                Observation::Readings { answered: None, readings: Vec::new() }
            }
            FieldReport::Health { device, health, at } => {
                let silent = match health {
                    DeviceHealth::Answering => None,
                    DeviceHealth::Silent(why) => Some(why),
                };
                debug!(device = %self.site.devices[device.0 as usize].id, ?silent, "device health changed");
                self.out.latest.set_device(device, silent, at);
                Observation::Health { device, silent }
            }
        }
    }

    /// Prepaid asks nobody to wait: what it misses is in the next reading.
    fn tell_prepaid(&self, readings: &[Reading]) {
        let readings = of_interest(&self.watched.by_prepaid, readings);
        if !readings.is_empty() && self.out.prepaid.try_send(prepaid::Told::Readings(readings)).is_err() {
            self.metrics.ingest_dropped("prepaid_queue_full", 1);
        }
    }

    /// Alarms are waited for, unless there is nothing in it for them.
    async fn tell_alarms(&self, observation: Observation, stop: &CancellationToken) -> Told {
        if matches!(&observation, Observation::Readings { answered: None, readings } if readings.is_empty()) {
            return Told::Yes;
        }
        let observation = match self.out.alarms.try_send(observation) {
            Ok(()) => return Told::Yes,
            Err(TrySendError::Full(observation)) => observation,
            Err(TrySendError::Closed(_)) => return Told::Gone,
        };
        tokio::select! {
            () = stop.cancelled() => Told::Gone,
            sent = self.out.alarms.send(observation) => if sent.is_ok() { Told::Yes } else { Told::Gone },
        }
    }
}

#[cfg(test)]
mod tests;
