//! The utility room: a sump with its pump, the gateway's UPS contact, and the voltage relays of the three feeders.

use serde::{Deserialize, Serialize};

use super::meter::{Feeder, Step};
use crate::registers::{RegisterFile, Table};

/// The pump starts at this level.
const START_MM: f64 = 800.0;
/// And stops at this one.
const STOP_MM: f64 = 300.0;
/// The pit overflows here.
const FULL_MM: f64 = 2_000.0;
/// Ground water; the pit has one square metre, so a litre is a millimetre.
const INFLOW_L_H: f64 = 120.0;
const PUMP_L_H: f64 = 9_000.0;

/// Whether the sump pump can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pump {
    /// It starts when the pit is full.
    Works,
    /// Its motor protection has tripped; the pit fills.
    Tripped,
}

#[derive(Debug)]
pub(crate) struct UtilityRoom {
    pub(crate) level_mm: f64,
    pub(crate) pump: Pump,
    running: bool,
}

impl UtilityRoom {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        Self { level_mm: 350.0 + 200.0 * rng.f64(), pump: Pump::Works, running: false }
    }

    /// `leak_l_h` is what runs down into the pit from leaks in the building.
    pub(crate) fn tick(&mut self, step: &Step, leak_l_h: f64) {
        self.running =
            self.pump == Pump::Works && (self.level_mm >= START_MM || (self.running && self.level_mm > STOP_MM));
        let pumped = if self.running { PUMP_L_H } else { 0.0 };
        let change = (INFLOW_L_H + leak_l_h - pumped) * step.simulated_ms as f64 / 3_600_000.0;
        self.level_mm = (self.level_mm + change).clamp(0.0, FULL_MM);
    }

    pub(crate) fn registers(&self, feeders: &[Feeder; 3]) -> RegisterFile {
        let mut file = RegisterFile::default();
        file.u16(Table::Holding, 0, self.level_mm.round() as u16);
        file.u16(Table::Holding, 1, u16::from(self.running));
        // The gateway hangs on the first floor's feeder.
        file.u16(Table::Holding, 2, u16::from(feeders[0] == Feeder::Lost));
        for (address, feeder) in (3u16..).zip(feeders) {
            file.u16(Table::Holding, address, u16::from(*feeder == Feeder::Live));
        }
        file
    }
}
