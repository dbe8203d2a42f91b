//! The fire panel: loop 1 with three zones of eight detectors, and a manual call point per zone.
//!
//! Register layout of the NOTIFIER MODBUS-GW: one word per point, flags above and an event code below that is valid
//! only while bit 11 is set. A point that is not installed reads `00FF`. The panel accepts no writes at all.

use serde::{Deserialize, Serialize};

use crate::registers::{RegisterFile, Table};

/// Zones of the building, one per floor.
pub const ZONES: u8 = 3;
/// Detectors of a zone; detector n of the loop is register n - 1.
pub const DETECTORS_PER_ZONE: u8 = 8;
/// Addresses of one kind on the loop.
const LOOP_SIZE: u16 = 159;
/// Where the modules of loop 1 begin.
const MODULES: u16 = 200;
/// Where the panel's own state is.
const PANEL_STATUS: u16 = 9_499;

const ENABLED: u16 = 1 << 10;
const ACKNOWLEDGED: u16 = 1 << 8;
const DISABLED: u16 = 1 << 9;
const ACTIVE: u16 = 1 << 11;
const INACTIVE: u16 = 1 << 12;
const TROUBLE: u16 = 1 << 13;
const PREALARM: u16 = 1 << 14;
const EVENT_FIRE: u16 = 16;
const NOT_PRESENT: u16 = 0x00FF;
const SILENCED: u16 = 1 << 1;

/// What a detector or call point shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Nothing.
    Normal,
    /// Smoke, not yet a fire.
    Prealarm,
    /// Fire.
    Fire,
    /// Fire that somebody acknowledged at the panel.
    FireAcknowledged,
    /// It is dirty, open or unplugged.
    Trouble,
    /// Switched off at the panel.
    Disabled,
}

impl Detector {
    fn word(self) -> u16 {
        match self {
            Self::Normal => ENABLED | INACTIVE,
            Self::Prealarm => ENABLED | INACTIVE | PREALARM,
            Self::Fire => ENABLED | ACTIVE | EVENT_FIRE,
            Self::FireAcknowledged => ENABLED | ACTIVE | ACKNOWLEDGED | EVENT_FIRE,
            Self::Trouble => ENABLED | INACTIVE | TROUBLE,
            Self::Disabled => DISABLED | INACTIVE,
        }
    }
}

#[derive(Debug)]
pub(crate) struct FirePanel {
    detectors: [Detector; (ZONES * DETECTORS_PER_ZONE) as usize],
    call_points: [Detector; ZONES as usize],
    pub(crate) silenced: bool,
}

impl FirePanel {
    pub(crate) fn new() -> Self {
        Self {
            detectors: [Detector::Normal; (ZONES * DETECTORS_PER_ZONE) as usize],
            call_points: [Detector::Normal; ZONES as usize],
            silenced: false,
        }
    }

    /// Sets detector `number` (1 to 24). False: there is none of that number.
    pub(crate) fn set_detector(&mut self, number: u8, state: Detector) -> bool {
        let slot = usize::from(number).checked_sub(1).and_then(|n| self.detectors.get_mut(n));
        slot.map(|detector| *detector = state).is_some()
    }

    /// Presses or resets the manual call point of a zone (1 to 3).
    pub(crate) fn set_call_point(&mut self, zone: u8, state: Detector) -> bool {
        let slot = usize::from(zone).checked_sub(1).and_then(|n| self.call_points.get_mut(n));
        slot.map(|point| *point = state).is_some()
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn in_fire(&self) -> usize {
        self.detectors
            .iter()
            .chain(&self.call_points)
            .filter(|state| matches!(state, Detector::Fire | Detector::FireAcknowledged))
            .count()
    }

    pub(crate) fn registers(&self) -> RegisterFile {
        let mut file = RegisterFile::default();
        for n in 0..LOOP_SIZE {
            let word = |points: &[Detector]| points.get(usize::from(n)).map_or(NOT_PRESENT, |state| state.word());
            file.u16(Table::Holding, n, word(&self.detectors));
            file.u16(Table::Holding, MODULES + n, word(&self.call_points));
        }
        file.u16(Table::Holding, PANEL_STATUS, if self.silenced { SILENCED } else { 0 });
        file
    }
}
