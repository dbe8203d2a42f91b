//! What is inside a running building, shared by its tasks, its HTTP control and its typed one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerTruth};
use crate::fault::{BrokerAction, Fault, LineFault};
use crate::inventory::Device;
use crate::line::Line;
use crate::payment::{Payment, PaymentChannel};
use crate::phone::Phone;
use crate::registers::Table;
use crate::story::{Director, Running, Story};
use crate::world::meter::Feeder;
use crate::world::panel::Detector;
use crate::world::{DeviceTruth, World};
use crate::{SimError, lock};

/// How often the physics moves.
const TICK: Duration = Duration::from_millis(100);
/// The longest step after the machine was busy or asleep; the rest of that time did not happen.
const TICK_MAX: Duration = Duration::from_secs(1);

/// What a line really carries.
#[derive(Clone, Debug, Serialize)]
pub struct LineTruth {
    /// Its name.
    pub name: &'static str,
    /// Its fault state.
    pub fault: LineFault,
    /// Frames received.
    pub requests: u64,
    /// Replies sent.
    pub replies: u64,
    /// Frames lost by a fault.
    pub lost: u64,
    /// Replies damaged by noise.
    pub damaged: u64,
    /// Connections accepted since the start.
    pub connections: u64,
}

/// Everything that is really so at the moment.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// Simulated time of day in milliseconds.
    pub time_of_day_ms: u64,
    /// The three floors' feeders.
    pub feeders: [Feeder; 3],
    /// The devices in the order of the inventory.
    pub devices: Vec<DeviceTruth>,
    /// The lines.
    pub lines: Vec<LineTruth>,
    /// The stories that run.
    pub stories: Vec<Running>,
    /// The broker.
    pub broker: BrokerTruth,
    /// The payments.
    pub payments: Vec<Payment>,
    /// How many pages the duty phones hold.
    pub pages: usize,
}

pub(crate) struct Inner {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) lines: Arc<Vec<Line>>,
    pub(super) director: Mutex<Director>,
    pub(crate) broker: Broker,
    pub(crate) phone: Phone,
    pub(crate) payments: PaymentChannel,
    pub(super) inventory: Vec<Device>,
    pub(super) stop: CancellationToken,
}

impl Inner {
    pub(crate) fn start_story(&self, story: Story, target: Option<&str>) -> Result<Running, SimError> {
        lock(&self.director).start(story, target)
    }

    pub(crate) fn clear_story(&self, story: Story) -> Result<(), SimError> {
        lock(&self.director).clear(story)
    }

    pub(crate) fn running(&self) -> Vec<Running> {
        lock(&self.director).running()
    }

    pub(crate) fn reset(&self) {
        lock(&self.director).reset();
        self.broker.act(BrokerAction::Thaw);
    }

    pub(crate) fn fault(&self, fault: &Fault) -> Result<(), SimError> {
        match fault {
            Fault::Line { line, fault } => {
                if let Some(found) = self.lines.iter().find(|candidate| candidate.id == *line) {
                    found.fault.send_replace(*fault);
                }
            }
            Fault::Device { device, life } => lock(&self.world).device_mut(device)?.life = *life,
            Fault::Contactor { device, contactor } => lock(&self.world).meter_mut(device)?.contactor = *contactor,
            Fault::SumpPump { pump } => lock(&self.world).utility_mut()?.pump = *pump,
            Fault::Broker { action } => self.broker.act(*action),
        }
        Ok(())
    }

    pub(crate) fn set_load(&self, device: &str, watts: Option<f64>) -> Result<(), SimError> {
        if watts.is_some_and(|watts| !(0.0..=1e6).contains(&watts)) {
            return Err(SimError::Config("a load is between 0 and 1000000 W".to_owned()));
        }
        lock(&self.world).meter_mut(device)?.forced_watts = watts;
        Ok(())
    }

    pub(crate) fn set_counter(&self, device: &str, value: u64) -> Result<(), SimError> {
        let mut world = lock(&self.world);
        match world.meter_mut(device) {
            Ok(meter) => meter.set_energy_wh(value),
            Err(_) => world.water_mut(device)?.set_volume_l(value),
        }
        Ok(())
    }

    pub(crate) fn set_detector(&self, number: u8, state: Detector) -> Result<(), SimError> {
        let set = lock(&self.world).panel_mut()?.set_detector(number, state);
        if set { Ok(()) } else { Err(SimError::Config(format!("no detector {number}; there are 1 to 24"))) }
    }

    pub(crate) fn set_call_point(&self, zone: u8, state: Detector) -> Result<(), SimError> {
        let set = lock(&self.world).panel_mut()?.set_call_point(zone, state);
        if set { Ok(()) } else { Err(SimError::Config(format!("no zone {zone}; there are 1 to 3"))) }
    }

    pub(crate) fn set_register(
        &self,
        device: &str,
        table: Table,
        address: u16,
        value: Option<u16>,
    ) -> Result<(), SimError> {
        lock(&self.world).force(device, table, address, value)
    }

    pub(crate) fn registers(&self, device: &str) -> Result<BTreeMap<String, u16>, SimError> {
        lock(&self.world).registers(device)
    }

    pub(crate) fn set_time(&self, time_of_day: Duration) {
        lock(&self.world).clock_ms = time_of_day.as_millis() as u64;
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn truth(&self) -> Truth {
        let (time_of_day_ms, feeders, devices) = {
            let world = lock(&self.world);
            (world.clock_ms % crate::world::load::DAY_MS, world.feeders, world.truth())
        };
        Truth {
            time_of_day_ms,
            feeders,
            devices,
            lines: self.lines.iter().map(line_truth).collect(),
            stories: self.running(),
            broker: self.broker.truth(),
            payments: self.payments.payments(),
            pages: self.phone.pages().len(),
        }
    }
}

fn line_truth(line: &Line) -> LineTruth {
    let counters = &line.counters;
    LineTruth {
        name: line.id.name(),
        fault: *line.fault.borrow(),
        requests: counters.requests.load(Ordering::Relaxed),
        replies: counters.replies.load(Ordering::Relaxed),
        lost: counters.lost.load(Ordering::Relaxed),
        damaged: counters.damaged.load(Ordering::Relaxed),
        connections: counters.connections.load(Ordering::Relaxed),
    }
}

/// Moves the world and the stories until the building stops.
pub(super) async fn physics(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            now = ticks.tick() => {
                let passed = now.duration_since(last).min(TICK_MAX);
                last = now;
                lock(&inner.world).tick(passed);
                lock(&inner.director).step(passed);
            }
        }
    }
}
