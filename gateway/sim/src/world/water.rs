//! A water meter: flow becomes volume, drop by drop.

use super::load;
use super::meter::Step;
use crate::inventory::{Device, Trade};
use crate::registers::{RegisterFile, Table};

/// Microlitres of a litre.
const UL_PER_L: u64 = 1_000_000;
/// A flow above this for longer than [`LEAK_AFTER_MS`] sets the EDC module's alarm word.
const LEAK_FLOW_L_H: f64 = 500.0;
/// Real milliseconds until the module calls a steady flow a leak.
const LEAK_AFTER_MS: u64 = 10_000;

#[derive(Debug)]
pub(crate) struct WaterMeter {
    trade: Trade,
    base_l_h: f64,
    pub(crate) leak_l_h: f64,
    pub(crate) volume_ul: u64,
    flow_l_h: f64,
    steady_ms: u64,
    battery_pct: u8,
}

impl WaterMeter {
    pub(crate) fn new(device: &Device, rng: &mut fastrand::Rng) -> Self {
        Self {
            trade: device.trade,
            base_l_h: 40.0 + 160.0 * rng.f64(),
            leak_l_h: 0.0,
            volume_ul: rng.u64(50_000..900_000) * UL_PER_L,
            flow_l_h: 0.0,
            steady_ms: 0,
            battery_pct: rng.u8(70..100),
        }
    }

    pub(crate) fn tick(&mut self, step: &Step, rng: &mut fastrand::Rng) {
        // At night nobody draws water: below a tenth of the day's demand the taps are shut.
        let share = load::share(self.trade, step.time_of_day_ms);
        let drawn = if share < 0.16 { 0.0 } else { self.base_l_h * share * (0.8 + 0.4 * rng.f64()) };
        self.flow_l_h = drawn + self.leak_l_h;
        self.volume_ul += (self.flow_l_h / 3_600.0 * UL_PER_L as f64 * step.simulated_ms as f64 / 1_000.0) as u64;
        self.steady_ms = if self.flow_l_h > LEAK_FLOW_L_H { self.steady_ms + step.real.as_millis() as u64 } else { 0 };
    }

    pub(crate) fn flow_l_h(&self) -> f64 {
        self.flow_l_h
    }

    pub(crate) fn volume_l(&self) -> u64 {
        self.volume_ul / UL_PER_L
    }

    pub(crate) fn set_volume_l(&mut self, litres: u64) {
        self.volume_ul = litres.saturating_mul(UL_PER_L);
    }

    /// ZENNER EDC: the volume as an IEEE float in m³, which resolves litres only up to some 16 000 m³.
    pub(crate) fn registers(&self) -> RegisterFile {
        let mut file = RegisterFile::default();
        file.f32(Table::Holding, 4, self.volume_ul as f64 / (UL_PER_L * 1_000) as f64);
        file.u16(Table::Holding, 7, 0);
        file.u16(Table::Holding, 8, u16::from(self.steady_ms > LEAK_AFTER_MS));
        file
    }

    /// What the MQTT meter publishes.
    pub(crate) fn message(&self) -> String {
        format!(
            "{{\"volume_l\":{}.{:03},\"flow_l_h\":{:.1},\"battery_pct\":{}}}",
            self.volume_ul / UL_PER_L,
            self.volume_ul % UL_PER_L / 1_000,
            self.flow_l_h,
            self.battery_pct
        )
    }
}
