//! The hub: every reading of every bus passes through here once.
//!
//! ```text
//!  lines ──► reports  (bounded, drops) ──► hub ──► latest-value table ──► pages, metrics, MQTT out
//!  MQTT ───► messages (bounded, waits) ──►  │
//!                                         ├──► alarms  (bounded, waits: an alarm sees every report)
//!                                         └──► prepaid (bounded, drops: a billing register is cumulative)
//! ```
//!
//! * When alarms are slow the hub waits for them, the report queue fills, and the lines drop and count reports; the
//!   next poll brings the truth again. Alarms therefore never see readings out of order.
//! * What came by MQTT is waited for everywhere: the broker sends it once, and the receipt behind it goes the same way
//!   through the same queues, so whoever meets a receipt has taken in all that came before it.
//! * Once a second the hub looks for good values that have become older than their device may be. Those turn stale:
//!   a sender that has died without a word must not leave its last value standing as if it were new.
//! * Nothing here lasts. A power cut costs the readings in flight.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::reading::{BadReason, DeviceIx, Quality, Reading};
use guanjia_core::time::Timestamp;
use guanjia_field::{DeviceHealth, FieldReport};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::live::LatestTable;
use crate::metrics::Metrics;
use crate::receipt::Receipt;
use crate::site::Site;

/// Reports waiting for the hub; beyond it the lines drop and count them.
pub const REPORTS_MAX: usize = 4096;
/// Messages of brokers waiting for the hub; beyond it their senders wait.
pub const MESSAGES_MAX: usize = 256;
/// Observations waiting for one consumer.
pub const OBSERVATIONS_MAX: usize = 1024;

const STALE_SCAN_PERIOD: Duration = Duration::from_secs(1);

/// What the deciding tasks are told.
#[derive(Clone, Debug)]
pub enum Observation {
    /// One device's readings of one poll.
    Readings(Arc<[Reading]>),
    /// A device has fallen silent, or answers again.
    Health {
        /// Which.
        device: DeviceIx,
        /// Why it is silent; `None` while it answers.
        silent: Option<BadReason>,
    },
    /// What was told before this has to be stored, then the receipt is given back.
    Receipt(Receipt),
}

/// What a broker's task hands in.
#[derive(Debug)]
pub enum Message {
    /// What a message was worth.
    Report(FieldReport),
    /// The end of a message that is acknowledged once everybody has it.
    Receipt(Receipt),
}

/// Whether a full queue of the accounts is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Drops,
    Waits,
}

/// Where the hub's output goes.
pub struct Outputs {
    /// The latest-value table.
    pub latest: Arc<LatestTable>,
    /// The alarms task.
    pub alarms: mpsc::Sender<Observation>,
    /// The prepaid task.
    pub prepaid: mpsc::Sender<Observation>,
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
    let mut scan = tokio::time::interval(STALE_SCAN_PERIOD);
    scan.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let (observation, patience) = tokio::select! {
            () = stop.cancelled() => return,
            Some(report) = reports.recv() => (take_in(&site, &out.latest, &metrics, report), Patience::Drops),
            Some(message) = messages.recv() => {
                let observation = match message {
                    Message::Report(report) => take_in(&site, &out.latest, &metrics, report),
                    Message::Receipt(receipt) => Observation::Receipt(receipt),
                };
                (observation, Patience::Waits)
            }
            _ = scan.tick() => {
                let stale = stale_readings(&site, &out.latest, guanjia_field::now());
                if stale.is_empty() {
                    continue;
                }
                out.latest.update(&stale);
                (Observation::Readings(stale.into()), Patience::Drops)
            }
        };
        match patience {
            Patience::Drops => {
                if out.prepaid.try_send(observation.clone()).is_err() {
                    metrics.ingest_dropped("prepaid_queue_full", 1);
                }
            }
            Patience::Waits => tokio::select! {
                () = stop.cancelled() => return,
                sent = out.prepaid.send(observation.clone()) => if sent.is_err() { return },
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            sent = out.alarms.send(observation) => if sent.is_err() { return },
        }
    }
}

fn take_in(site: &Site, latest: &LatestTable, metrics: &Metrics, report: FieldReport) -> Observation {
    match report {
        FieldReport::Readings { device, readings } => {
            let class = site.devices[device.0 as usize].profile.class;
            metrics.ingest(class.system(), readings.len() as u64);
            latest.update(&readings);
            if let Some(answered) = readings.iter().filter(|r| r.quality.is_good()).map(|r| r.at).max() {
                latest.set_device(device, None, answered);
            }
            Observation::Readings(readings.into())
        }
        FieldReport::Health { device, health, at } => {
            let silent = match health {
                DeviceHealth::Answering => None,
                DeviceHealth::Silent(why) => Some(why),
            };
            debug!(device = %site.devices[device.0 as usize].id, ?silent, "device health changed");
            latest.set_device(device, silent, at);
            Observation::Health { device, silent }
        }
    }
}

/// A stale reading for every good or suspect value that is older than its device allows.
fn stale_readings(site: &Site, latest: &LatestTable, now: Timestamp) -> Vec<Reading> {
    let rows = latest.all();
    let mut stale = Vec::new();
    for device in &site.devices {
        let first = device.first_point.0 as usize;
        for (index, row) in rows.iter().enumerate().skip(first).take(device.profile.points.len()) {
            let expired = match (&row.value, row.quality) {
                (Some((_, at)), Quality::Good | Quality::Suspect) => now.since(*at) > device.max_age,
                _ => false,
            };
            if expired {
                let point = guanjia_core::reading::PointIx(index as u32);
                stale.push(Reading { point, value: None, quality: Quality::Stale, at: now });
            }
        }
    }
    stale
}
