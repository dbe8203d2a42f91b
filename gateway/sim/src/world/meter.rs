//! An electricity meter: power becomes energy, a relay that is open takes the load off, a feeder that fails silences it.
//!
//! ```text
//!            feeder lost             hold-up is over          feeder back           booted
//!  Powered ─────────────► Fading ───────────────────► Dark ───────────────► Booting ────────► Powered
//!     ▲                     │ feeder back
//!     └─────────────────────┘
//! ```
//!
//! While it fades it still answers (its capacitors hold it up for some seconds) and shows no voltage. Energy is kept
//! in whole milliwatt-seconds, so that summing it up over years neither drifts nor goes backward.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load;
use crate::inventory::{Device, Model, Trade};
use crate::registers::{Exception, RegisterFile, Table};

/// Milliwatt-seconds of a kilowatt-hour.
const MWS_PER_KWH: u64 = 3_600_000_000;
/// How long the contactor takes to move after the command was accepted, in real time.
const RELAY_TRAVEL: Duration = Duration::from_millis(250);
/// How long the meter starts up after its supply came back, in real time.
const BOOT: Duration = Duration::from_secs(3);
/// The longest hold-up of a meter's capacitors; the last meter of a floor is silent after this.
const HOLD_UP_MAX_MS: u64 = 20_000;
/// Registers of the SDM630's first block, in which every float exists.
const SDM630_BLOCK: u16 = 88;
/// How the Acrel meter shares its energy among tip, peak, flat and valley rate, in percent; valley takes the rest.
const RATES: [u32; 3] = [10, 40, 35];
/// The control word of the Acrel relay and the word that follows it.
const CONTROL: u16 = 0x0057;
const FORCED: u16 = 1;

/// The contacts of a supply relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    /// The shop has power.
    Closed,
    /// The shop is cut.
    Open,
}

/// Whether the contactor obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contactor {
    /// It moves.
    Works,
    /// It accepts commands and stays where it is.
    Stuck,
}

/// Whether the meter's own electronics are fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    Powered,
    Fading { left: Duration },
    Dark,
    Booting { left: Duration },
}

#[derive(Debug)]
pub(crate) struct Meter {
    model: Model,
    trade: Trade,
    base_watts: f64,
    /// Set by a person or a story; replaces the day's curve.
    pub(crate) forced_watts: Option<f64>,
    pub(crate) energy_mws: u64,
    power_mw: u64,
    power_factor: f64,
    volts: f64,
    pub(crate) relay: Relay,
    pub(crate) contactor: Contactor,
    travel: Option<(Relay, Duration)>,
    pub(crate) supply: Supply,
    hold_up: Duration,
    pub(crate) relay_moves: u32,
}

impl Meter {
    pub(crate) fn new(device: &Device, rng: &mut fastrand::Rng) -> Self {
        Self {
            model: device.model,
            trade: device.trade,
            base_watts: if device.floor == 0 { 3_000.0 + 6_000.0 * rng.f64() } else { 600.0 + 3_400.0 * rng.f64() },
            forced_watts: None,
            energy_mws: rng.u64(1_000_000..20_000_000) * (MWS_PER_KWH / 1_000),
            power_mw: 0,
            power_factor: 0.90 + 0.08 * rng.f64(),
            volts: 220.0,
            relay: Relay::Closed,
            contactor: Contactor::Works,
            travel: None,
            supply: Supply::Powered,
            hold_up: Duration::from_millis(rng.u64(500..HOLD_UP_MAX_MS)),
            relay_moves: 0,
        }
    }

    /// Advances by `real` time, which is `simulated_ms` of the building's time. `others_mw` is what flows to other
    /// meters through this one; only the incomer has any.
    pub(crate) fn tick(&mut self, step: &Step, feeder: Feeder, others_mw: u64, rng: &mut fastrand::Rng) {
        self.follow_supply(feeder, step.real);
        if let Some((goal, left)) = self.travel {
            if left > step.real {
                self.travel = Some((goal, left - step.real));
            } else {
                self.travel = None;
                self.relay_moves += u32::from(self.relay != goal);
                self.relay = goal;
            }
        }
        self.volts = if feeder == Feeder::Live { 220.0 + 3.0 * (rng.f64() - 0.5) } else { 0.0 };
        let watts = self.forced_watts.unwrap_or_else(|| {
            self.base_watts * load::share(self.trade, step.time_of_day_ms) * (0.96 + 0.08 * rng.f64())
        });
        let fed = feeder == Feeder::Live && self.relay == Relay::Closed;
        self.power_mw = if fed { (watts * 1_000.0) as u64 + others_mw } else { 0 };
        self.energy_mws += self.power_mw * step.simulated_ms / 1_000;
    }

    fn follow_supply(&mut self, feeder: Feeder, real: Duration) {
        self.supply = match (self.supply, feeder) {
            (Supply::Powered, Feeder::Lost) => Supply::Fading { left: self.hold_up },
            (Supply::Fading { left }, Feeder::Lost) if left > real => Supply::Fading { left: left - real },
            (Supply::Fading { .. } | Supply::Booting { .. }, Feeder::Lost) => Supply::Dark,
            (Supply::Fading { .. }, Feeder::Live) => Supply::Powered,
            (Supply::Dark, Feeder::Live) => Supply::Booting { left: BOOT },
            (Supply::Booting { left }, Feeder::Live) if left > real => Supply::Booting { left: left - real },
            (Supply::Booting { .. }, Feeder::Live) => Supply::Powered,
            (same, _) => same,
        };
    }

    pub(crate) fn answers(&self) -> bool {
        matches!(self.supply, Supply::Powered | Supply::Fading { .. })
    }

    pub(crate) fn power_mw(&self) -> u64 {
        self.power_mw
    }

    pub(crate) fn energy_wh(&self) -> u64 {
        self.energy_mws / (MWS_PER_KWH / 1_000)
    }

    pub(crate) fn set_energy_wh(&mut self, wh: u64) {
        self.energy_mws = wh.saturating_mul(MWS_PER_KWH / 1_000);
    }

    /// The one write any device here allows: the relay command of the Acrel meter.
    pub(crate) fn write(&mut self, first: u16, values: &[u16]) -> Result<(), Exception> {
        if self.model != Model::AcrelDtsy1352 || first != CONTROL {
            return Err(Exception::IllegalDataAddress);
        }
        let goal = match values {
            [FORCED, 1] => Relay::Open,
            [FORCED, 0] => Relay::Closed,
            _ => return Err(Exception::IllegalDataValue),
        };
        if self.contactor == Contactor::Works {
            self.travel = Some((goal, RELAY_TRAVEL));
        }
        Ok(())
    }

    pub(crate) fn registers(&self) -> RegisterFile {
        match self.model {
            Model::EastronSdm630 => self.sdm630(),
            Model::ChintDtsu666 => self.dtsu666(),
            _ => self.dtsy1352(),
        }
    }

    fn kwh(&self) -> f64 {
        self.energy_mws as f64 / MWS_PER_KWH as f64
    }

    /// Watts of each phase; a shop's phases are never quite even.
    fn phase_watts(&self) -> [f64; 3] {
        let watts = self.power_mw as f64 / 1_000.0;
        [watts * 0.36, watts * 0.33, watts * 0.31]
    }

    fn amps(&self, watts: f64) -> f64 {
        if self.volts > 1.0 { watts / (self.volts * self.power_factor) } else { 0.0 }
    }

    fn factor(&self) -> f64 {
        if self.power_mw == 0 { 1.0 } else { self.power_factor }
    }

    /// Volt-amperes and reactive volt-amperes that belong to active power.
    fn apparent(&self, watts: f64) -> (f64, f64) {
        let apparent = watts / self.power_factor;
        (apparent, (apparent * apparent - watts * watts).max(0.0).sqrt())
    }

    fn hertz(&self) -> f64 {
        if self.volts > 1.0 { 50.0 } else { 0.0 }
    }

    /// Acrel: integers with fixed decimals; energies as unsigned 32 bit of 0.01 kWh that roll over.
    fn dtsy1352(&self) -> RegisterFile {
        let mut file = RegisterFile::default();
        let table = Table::Holding;
        let hundredths = (self.energy_mws / (MWS_PER_KWH / 100)) as u32;
        let reactive = (f64::from(hundredths) * 0.3) as u32;
        for (address, value) in [(0, hundredths), (10, hundredths), (20, 0), (30, reactive), (40, reactive), (50, 0)] {
            file.u32(table, address, value);
        }
        let rates = RATES.map(|percent| (u64::from(hundredths) * u64::from(percent) / 100) as u32);
        let valley = hundredths - rates.iter().sum::<u32>();
        for (n, value) in (1u16..).zip(rates.into_iter().chain([valley])) {
            file.u32(table, 2 * n, value);
        }
        file.u16(table, CONTROL, FORCED);
        file.u16(table, CONTROL + 1, u16::from(self.relay == Relay::Open));
        let watts = self.phase_watts();
        let total: f64 = watts.iter().sum();
        for (n, phase) in (0u16..).zip(watts) {
            file.u16(table, 97 + n, (self.volts * 10.0).round() as u16);
            file.u16(table, 100 + n, (self.amps(phase) * 100.0).round() as u16);
            file.i32(table, 356 + 2 * n, phase.round() as i32);
            file.u16(table, 380 + n, (self.factor() * 1_000.0).round() as u16);
        }
        file.u16(table, 119, (self.hertz() * 100.0).round() as u16);
        file.u16(table, 123, total.round() as u16);
        file.u16(table, 141, 1);
        file.u16(table, 142, 1);
        let (apparent, reactive) = self.apparent(total);
        file.i32(table, 362, total.round() as i32);
        file.i32(table, 370, reactive.round() as i32);
        file.u32(table, 378, apparent.round() as u32);
        file.u16(table, 383, (self.factor() * 1_000.0).round() as u16);
        file.u16(table, 8192, 285);
        file
    }

    /// Eastron: IEEE floats in input registers, in the unit itself.
    fn sdm630(&self) -> RegisterFile {
        let mut file = RegisterFile::default();
        let table = Table::Input;
        // What the map leaves out between its values reads zero in a block, as masters that read blocks rely on.
        (0..SDM630_BLOCK).step_by(2).for_each(|address| file.f32(table, address, 0.0));
        let watts = self.phase_watts();
        let total: f64 = watts.iter().sum();
        let amps = watts.map(|phase| self.amps(phase));
        for (n, (phase, amps)) in (0u16..).zip(watts.into_iter().zip(amps)) {
            let (apparent, reactive) = self.apparent(phase);
            let columns = [self.volts, amps, phase, apparent, reactive, self.factor(), 0.0];
            for (row, value) in (0u16..).zip(columns) {
                file.f32(table, row * 6 + n * 2, value);
            }
            file.f32(table, 200 + 2 * n, self.volts * 3f64.sqrt());
            for (base, share) in [(346, phase), (352, 0.0), (358, phase)] {
                let part = if total > 0.0 { share / total } else { 0.0 };
                file.f32(table, base + 2 * n, self.kwh() * part);
            }
            file.f32(table, 234 + 2 * n, 1.8);
        }
        let (apparent, reactive) = self.apparent(total);
        let sum: f64 = amps.iter().sum();
        let reactive_energy = self.kwh() * 0.3;
        for (address, value) in [
            (42, self.volts),
            (46, sum / 3.0),
            (48, sum),
            (52, total),
            (56, apparent),
            (60, reactive),
            (62, self.factor()),
            (66, 0.0),
            (70, self.hertz()),
            (72, self.kwh()),
            (74, 0.0),
            (76, reactive_energy),
            (78, 0.0),
            (80, self.kwh() * 1.04),
            (82, self.kwh() * 1_000.0 / 220.0),
            (84, total),
            (86, self.base_watts),
            (224, amps[0] - amps[2]),
            (240, 6.5),
            (248, 1.8),
            (342, self.kwh()),
            (344, reactive_energy),
        ] {
            file.f32(table, address, value);
        }
        for (address, value) in [(10, 3.0), (18, 1.0), (20, 1.0), (28, 2.0)] {
            file.f32(Table::Holding, address, value);
        }
        file
    }

    /// CHINT: IEEE floats in holding registers that still carry decimal factors, except the energies.
    fn dtsu666(&self) -> RegisterFile {
        let mut file = RegisterFile::default();
        let table = Table::Holding;
        for (address, value) in [(0, 103), (6, 1), (7, 10)] {
            file.u16(table, address, value);
        }
        let watts = self.phase_watts();
        let total: f64 = watts.iter().sum();
        let shares = [0.36, 0.33, 0.31];
        file.f32(table, 4126, self.kwh());
        file.f32(table, 4136, 0.0);
        file.f32(table, 8210, total * 10.0);
        file.f32(table, 8218, self.apparent(total).1 * 10.0);
        file.f32(table, 8234, self.factor() * 1_000.0);
        file.f32(table, 8260, self.hertz() * 100.0);
        for (n, phase) in (0u16..).zip(watts) {
            let at = 2 * n;
            file.f32(table, 4128 + at, self.kwh() * shares[usize::from(n)]);
            file.f32(table, 4138 + at, 0.0);
            file.f32(table, 8192 + at, self.volts * 3f64.sqrt() * 10.0);
            file.f32(table, 8198 + at, self.volts * 10.0);
            file.f32(table, 8204 + at, self.amps(phase) * 1_000.0);
            file.f32(table, 8212 + at, phase * 10.0);
            file.f32(table, 8220 + at, self.apparent(phase).1 * 10.0);
            file.f32(table, 8236 + at, self.factor() * 1_000.0);
        }
        file
    }
}

/// How far the world moves in one tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) real: Duration,
    pub(crate) simulated_ms: u64,
    pub(crate) time_of_day_ms: u64,
}

/// Whether a feeder has voltage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feeder {
    /// Voltage is there.
    Live,
    /// The floor is dark.
    Lost,
}
