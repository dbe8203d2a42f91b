//! The physical truth of the building: every device's state, advanced by ticks, read by the servers.
//!
//! One lock guards all of it and is never held across an await. The truth is what tests compare the gateway's
//! beliefs with, so nothing here knows that a gateway exists.
//!
//! Two clocks run: *real* time for what people watch (lifts, relays, hold-up of a meter) and *simulated* time, faster by
//! the configured speed, for what fills counters (energy, volume, the sump, the hour of the day).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::SimError;
use crate::inventory::{Attachment, Device, LineId, Model};
use crate::modbus::{self, Reply, Request};
use crate::registers::{Exception, RegisterFile, Table};

pub(crate) mod lift;
pub(crate) mod load;
pub(crate) mod meter;
pub(crate) mod panel;
pub(crate) mod utility;
pub(crate) mod water;

use lift::Lift;
use meter::{Feeder, Meter, Relay, Step};
use panel::FirePanel;
use utility::UtilityRoom;
use water::WaterMeter;

/// Registers one read of an SDM630 may ask for (protocol document V1.8).
const SDM630_READ_MAX: u16 = 80;

/// Whether a device lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It answers.
    Alive,
    /// It is broken or unplugged and answers nothing.
    Dead,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Electricity(Box<Meter>),
    Water(WaterMeter),
    FirePanel(Box<FirePanel>),
    Lift(Lift),
    Utility(UtilityRoom),
}

#[derive(Debug)]
pub(crate) struct SimDevice {
    pub(crate) entry: Device,
    pub(crate) kind: Kind,
    pub(crate) life: Life,
    forced: BTreeMap<(Table, u16), u16>,
    requests: u64,
    writes: u64,
}

/// What one device really is at the moment.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceTruth {
    /// Its id.
    pub id: Arc<str>,
    /// Its profile.
    pub profile: &'static str,
    /// Whether it would answer a request now.
    pub answers: bool,
    /// Requests it has received, answered or refused.
    pub requests: u64,
    /// Writes among them, accepted or refused.
    pub writes: u64,
    /// Energy register in watt-hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_wh: Option<u64>,
    /// Power in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Where the supply relay stands; only for meters that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
    /// How often the relay has moved since the building was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_moves: Option<u32>,
    /// Volume register in litres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_l: Option<u64>,
    /// Flow in litres per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_l_h: Option<f64>,
    /// Anything else worth reading, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    rng: fastrand::Rng,
    speed: f64,
    /// Milliseconds of simulated time since midnight of the first day.
    pub(crate) clock_ms: u64,
    pub(crate) feeders: [Feeder; 3],
    devices: Vec<SimDevice>,
    by_address: HashMap<(LineId, u8), usize>,
}

impl World {
    pub(crate) fn new(seed: u64, speed: f64, start_ms: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let devices: Vec<SimDevice> = crate::inventory::devices()
            .into_iter()
            .map(|entry| SimDevice {
                kind: kind_of(&entry, &mut rng),
                entry,
                life: Life::Alive,
                forced: BTreeMap::new(),
                requests: 0,
                writes: 0,
            })
            .collect();
        let by_address = devices
            .iter()
            .enumerate()
            .filter_map(|(n, device)| match device.entry.attachment {
                Attachment::Modbus { line, unit } => Some(((line, unit), n)),
                Attachment::Mqtt { .. } => None,
            })
            .collect();
        let mut world = Self { rng, speed, clock_ms: start_ms, feeders: [Feeder::Live; 3], devices, by_address };
        // Nobody may meet a building in which no current flows yet.
        world.tick(Duration::from_millis(1));
        world
    }

    /// Moves the building forward by `real` time.
    pub(crate) fn tick(&mut self, real: Duration) {
        let simulated_ms = (real.as_secs_f64() * 1_000.0 * self.speed).round() as u64;
        self.clock_ms += simulated_ms;
        let step = Step { real, simulated_ms, time_of_day_ms: self.clock_ms % load::DAY_MS };
        let feeders = self.feeders;
        let rng = &mut self.rng;
        let (mut drawn_mw, mut leaks) = (0, 0.0);
        for device in self.devices.iter_mut().filter(|device| !is_incomer(device)) {
            match &mut device.kind {
                Kind::Electricity(meter) => {
                    meter.tick(&step, feeder_of(&device.entry, &feeders), 0, rng);
                    drawn_mw += meter.power_mw();
                }
                Kind::Water(meter) => {
                    meter.tick(&step, rng);
                    leaks += meter.leak_l_h;
                }
                Kind::Lift(lift) => lift.tick(&step, rng),
                Kind::Utility(room) => room.tick(&step, leaks),
                Kind::FirePanel(_) => {}
            }
        }
        for device in self.devices.iter_mut().filter(|device| is_incomer(device)) {
            if let Kind::Electricity(meter) = &mut device.kind {
                meter.tick(&step, Feeder::Live, drawn_mw, rng);
            }
        }
    }

    /// What the device at that address answers to a request; `None` is silence.
    pub(crate) fn request(&mut self, line: LineId, unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
        let Some(&index) = self.by_address.get(&(line, unit)) else {
            return silence_of(line, pdu);
        };
        let device = &mut self.devices[index];
        if !device.answers() {
            return silence_of(line, pdu);
        }
        device.requests += 1;
        let room = self.feeders;
        let outcome = modbus::parse(pdu).and_then(|request| match request {
            Request::Read { table, first, count } => {
                device.allows(first, count)?;
                device.registers(&room).read(table, first, count).map(Reply::Words)
            }
            Request::Write { first, values, single } => {
                device.writes += 1;
                device.write(first, &values, single, &room).map(|()| Reply::Written)
            }
        });
        Some(modbus::answer(pdu, outcome))
    }

    pub(crate) fn device(&self, id: &str) -> Result<&SimDevice, SimError> {
        self.devices.iter().find(|device| &*device.entry.id == id).ok_or_else(|| SimError::UnknownDevice(id.into()))
    }

    pub(crate) fn device_mut(&mut self, id: &str) -> Result<&mut SimDevice, SimError> {
        let found = self.devices.iter_mut().find(|device| &*device.entry.id == id);
        found.ok_or_else(|| SimError::UnknownDevice(id.into()))
    }

    pub(crate) fn meter_mut(&mut self, id: &str) -> Result<&mut Meter, SimError> {
        match &mut self.device_mut(id)?.kind {
            Kind::Electricity(meter) => Ok(meter),
            _ => Err(SimError::WrongKind { device: id.into(), wanted: "an electricity meter" }),
        }
    }

    pub(crate) fn water_mut(&mut self, id: &str) -> Result<&mut WaterMeter, SimError> {
        match &mut self.device_mut(id)?.kind {
            Kind::Water(meter) => Ok(meter),
            _ => Err(SimError::WrongKind { device: id.into(), wanted: "a water meter" }),
        }
    }

    pub(crate) fn lift_mut(&mut self, id: &str) -> Result<&mut Lift, SimError> {
        match &mut self.device_mut(id)?.kind {
            Kind::Lift(lift) => Ok(lift),
            _ => Err(SimError::WrongKind { device: id.into(), wanted: "a lift" }),
        }
    }

    pub(crate) fn panel_mut(&mut self) -> Result<&mut FirePanel, SimError> {
        match &mut self.device_mut("fire-panel")?.kind {
            Kind::FirePanel(panel) => Ok(panel),
            _ => Err(SimError::WrongKind { device: "fire-panel".into(), wanted: "a fire panel" }),
        }
    }

    pub(crate) fn utility_mut(&mut self) -> Result<&mut UtilityRoom, SimError> {
        match &mut self.device_mut("io")?.kind {
            Kind::Utility(room) => Ok(room),
            _ => Err(SimError::WrongKind { device: "io".into(), wanted: "the utility room" }),
        }
    }

    /// Forces a register until it is freed with `None`.
    pub(crate) fn force(&mut self, id: &str, table: Table, address: u16, value: Option<u16>) -> Result<(), SimError> {
        let feeders = self.feeders;
        let device = self.device_mut(id)?;
        if !device.registers(&feeders).contains(table, address) {
            return Err(SimError::NoSuchRegister { device: id.into(), address });
        }
        match value {
            Some(value) => device.forced.insert((table, address), value),
            None => device.forced.remove(&(table, address)),
        };
        Ok(())
    }

    pub(crate) fn registers(&self, id: &str) -> Result<BTreeMap<String, u16>, SimError> {
        Ok(self.device(id)?.registers(&self.feeders).listing())
    }

    pub(crate) fn truth(&self) -> Vec<DeviceTruth> {
        self.devices.iter().map(SimDevice::truth).collect()
    }

    /// What a restart must not forget: counters, relays, the clock and the sump.
    pub(crate) fn snapshot(&self) -> Value {
        let state = |device: &SimDevice| match &device.kind {
            Kind::Electricity(meter) => Some(json!({
                "energy_mws": meter.energy_mws, "relay": meter.relay, "relay_moves": meter.relay_moves
            })),
            Kind::Water(meter) => Some(json!({ "volume_ul": meter.volume_ul })),
            Kind::Utility(room) => Some(json!({ "level_mm": room.level_mm })),
            Kind::FirePanel(_) | Kind::Lift(_) => None,
        };
        let devices: serde_json::Map<String, Value> = self
            .devices
            .iter()
            .filter_map(|device| state(device).map(|value| (device.entry.id.to_string(), value)))
            .collect();
        json!({ "clock_ms": self.clock_ms, "devices": devices })
    }

    /// Continues from a snapshot. Devices it does not mention keep what they were built with.
    pub(crate) fn restore(&mut self, snapshot: &Value) -> Result<(), SimError> {
        let bad = |what: &str| SimError::Snapshot(what.to_owned());
        self.clock_ms = snapshot["clock_ms"].as_u64().ok_or_else(|| bad("clock_ms"))?;
        let devices = snapshot["devices"].as_object().ok_or_else(|| bad("devices"))?;
        for device in &mut self.devices {
            let Some(saved) = devices.get(&*device.entry.id) else { continue };
            match &mut device.kind {
                Kind::Electricity(meter) => {
                    meter.energy_mws = saved["energy_mws"].as_u64().ok_or_else(|| bad(&device.entry.id))?;
                    meter.relay = serde_json::from_value(saved["relay"].clone()).map_err(|_| bad(&device.entry.id))?;
                    meter.relay_moves = saved["relay_moves"].as_u64().unwrap_or(0) as u32;
                }
                Kind::Water(meter) => {
                    meter.volume_ul = saved["volume_ul"].as_u64().ok_or_else(|| bad(&device.entry.id))?;
                }
                Kind::Utility(room) => {
                    room.level_mm = saved["level_mm"].as_f64().ok_or_else(|| bad(&device.entry.id))?;
                }
                Kind::FirePanel(_) | Kind::Lift(_) => {}
            }
        }
        Ok(())
    }

    /// Everything a story or a fault has done to devices is undone; counters and relays stay.
    pub(crate) fn heal(&mut self) {
        self.feeders = [Feeder::Live; 3];
        for device in &mut self.devices {
            device.life = Life::Alive;
            device.forced.clear();
            match &mut device.kind {
                Kind::Electricity(meter) => {
                    meter.forced_watts = None;
                    meter.contactor = meter::Contactor::Works;
                }
                Kind::Water(meter) => meter.leak_l_h = 0.0,
                Kind::FirePanel(panel) => panel.reset(),
                Kind::Lift(lift) => lift.release(),
                Kind::Utility(room) => room.pump = utility::Pump::Works,
            }
        }
    }
}

impl SimDevice {
    pub(crate) fn answers(&self) -> bool {
        let fed = match &self.kind {
            Kind::Electricity(meter) => meter.answers(),
            _ => true,
        };
        self.life == Life::Alive && fed
    }

    fn registers(&self, feeders: &[Feeder; 3]) -> RegisterFile {
        let mut file = match &self.kind {
            Kind::Electricity(meter) => meter.registers(),
            Kind::Water(meter) => meter.registers(),
            Kind::FirePanel(panel) => panel.registers(),
            Kind::Lift(lift) => lift.registers(),
            Kind::Utility(room) => room.registers(feeders),
        };
        file.force(&self.forced);
        file
    }

    /// The SDM630 hands out whole floats only.
    fn allows(&self, first: u16, count: u16) -> Result<(), Exception> {
        if self.entry.model != Model::EastronSdm630 {
            return Ok(());
        }
        if count > SDM630_READ_MAX {
            return Err(Exception::IllegalDataValue);
        }
        if first % 2 == 1 || count % 2 == 1 { Err(Exception::IllegalDataAddress) } else { Ok(()) }
    }

    /// Only a relay can be written; the rest refuses, the existing registers as read-only and the others as absent.
    fn write(&mut self, first: u16, values: &[u16], single: bool, feeders: &[Feeder; 3]) -> Result<(), Exception> {
        let exists = self.registers(feeders).contains(Table::Holding, first);
        match &mut self.kind {
            Kind::Electricity(meter) if !single => meter.write(first, values),
            _ if exists => Err(Exception::IllegalFunction),
            _ => Err(Exception::IllegalDataAddress),
        }
    }

    fn truth(&self) -> DeviceTruth {
        let mut truth = DeviceTruth {
            id: Arc::clone(&self.entry.id),
            profile: self.entry.profile,
            answers: self.answers(),
            requests: self.requests,
            writes: self.writes,
            energy_wh: None,
            power_w: None,
            relay: None,
            relay_moves: None,
            volume_l: None,
            flow_l_h: None,
            note: None,
        };
        match &self.kind {
            Kind::Electricity(meter) => {
                truth.energy_wh = Some(meter.energy_wh());
                truth.power_w = Some(meter.power_mw() as f64 / 1_000.0);
                if self.entry.model == Model::AcrelDtsy1352 {
                    truth.relay = Some(meter.relay);
                    truth.relay_moves = Some(meter.relay_moves);
                }
            }
            Kind::Water(meter) => {
                truth.volume_l = Some(meter.volume_l());
                truth.flow_l_h = Some(meter.flow_l_h());
            }
            Kind::FirePanel(panel) => truth.note = Some(format!("{} points in fire", panel.in_fire())),
            Kind::Lift(lift) => truth.note = Some(lift.describe()),
            Kind::Utility(room) => truth.note = Some(format!("sump {:.0} mm", room.level_mm)),
        }
        truth
    }
}

/// A dead unit on a wire is silence; behind the plant's gateway it is the gateway's own exception.
fn silence_of(line: LineId, pdu: &[u8]) -> Option<Vec<u8>> {
    (line == LineId::Plant).then(|| modbus::answer(pdu, Err(Exception::TargetFailedToRespond)))
}

fn is_incomer(device: &SimDevice) -> bool {
    &*device.entry.id == "incomer"
}

fn feeder_of(device: &Device, feeders: &[Feeder; 3]) -> Feeder {
    device.feeder.map_or(Feeder::Live, |n| feeders[usize::from(n) - 1])
}

fn kind_of(device: &Device, rng: &mut fastrand::Rng) -> Kind {
    match device.model {
        model if model.is_electricity() => Kind::Electricity(Box::new(Meter::new(device, rng))),
        model if model.is_water() => Kind::Water(WaterMeter::new(device, rng)),
        Model::NotifierModbusGw => Kind::FirePanel(Box::new(FirePanel::new())),
        Model::GuanjiaSimLift => Kind::Lift(Lift::new(rng)),
        _ => Kind::Utility(UtilityRoom::new(rng)),
    }
}

#[cfg(test)]
mod tests;
