//! A passenger lift that travels between three floors, and can stop between them with somebody inside.
//!
//! ```text
//!            call                 at floor             2 s             4 s
//!  Standing ──────► Travelling ───────────► Opening ────────► Open ──────────► Standing
//!                       │ jam
//!                       ▼
//!                    Stuck ── released ──► Opening
//! ```
//!
//! Traffic runs in real time whatever the speed of the physics: people look at it.

use std::time::Duration;

use super::meter::Step;
use crate::registers::{RegisterFile, Table};

const FLOORS: u16 = 3;
const PER_FLOOR: Duration = Duration::from_secs(5);
const DOOR: Duration = Duration::from_secs(2);
const OPEN: Duration = Duration::from_secs(4);

/// Where the car is in its cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Car {
    Standing { left: Duration },
    Travelling { to: u16, left: Duration },
    Opening { left: Duration },
    Open { left: Duration },
    Stuck,
}

/// What makes a registration button or fault visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Button {
    Released,
    Pressed,
}

#[derive(Debug)]
pub(crate) struct Lift {
    floor: u16,
    car: Car,
    occupied: bool,
    pub(crate) button: Button,
    fault: bool,
}

impl Lift {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        Self {
            floor: 1,
            car: Car::Standing { left: Duration::from_secs(rng.u64(3..15)) },
            occupied: false,
            button: Button::Released,
            fault: false,
        }
    }

    pub(crate) fn tick(&mut self, step: &Step, rng: &mut fastrand::Rng) {
        let real = step.real;
        self.car = match self.car {
            Car::Standing { left } if left > real => Car::Standing { left: left - real },
            Car::Standing { .. } => {
                let to = 1 + (self.floor + rng.u16(0..FLOORS - 1)) % FLOORS;
                Car::Travelling { to, left: PER_FLOOR }
            }
            Car::Travelling { to, left } if left > real => Car::Travelling { to, left: left - real },
            Car::Travelling { to, .. } => {
                self.floor = if to > self.floor { self.floor + 1 } else { self.floor.saturating_sub(1).max(1) };
                if self.floor == to { Car::Opening { left: DOOR } } else { Car::Travelling { to, left: PER_FLOOR } }
            }
            Car::Opening { left } if left > real => Car::Opening { left: left - real },
            Car::Opening { .. } => Car::Open { left: OPEN },
            Car::Open { left } if left > real => Car::Open { left: left - real },
            Car::Open { .. } => {
                self.occupied = rng.bool();
                Car::Standing { left: Duration::from_secs(rng.u64(1..25)) }
            }
            Car::Stuck => Car::Stuck,
        };
    }

    /// Stops the car between two floors with somebody in it.
    pub(crate) fn jam(&mut self) {
        self.floor = 2;
        self.car = Car::Stuck;
        self.occupied = true;
        self.fault = true;
    }

    /// Brings it level; the door opens and people leave.
    pub(crate) fn release(&mut self) {
        if self.car == Car::Stuck {
            self.car = Car::Opening { left: DOOR };
            self.occupied = false;
        }
        self.button = Button::Released;
        self.fault = false;
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:?} floor {} occupied {} button {:?}", self.car, self.floor, self.occupied, self.button)
    }

    /// Registers 6 to 21 of the lift board, one word per boolean, and three synthetic ones: 22 presence, 23 level,
    /// 24 alarm button.
    pub(crate) fn registers(&self) -> RegisterFile {
        let direction = match self.car {
            Car::Travelling { to, .. } if to > self.floor => (false, true),
            Car::Travelling { .. } => (true, false),
            _ => (false, false),
        };
        let travelling = matches!(self.car, Car::Travelling { .. });
        let closed = matches!(self.car, Car::Standing { .. } | Car::Travelling { .. } | Car::Stuck);
        let open = matches!(self.car, Car::Open { .. });
        let level = !matches!(self.car, Car::Travelling { .. } | Car::Stuck);
        let mut file = RegisterFile::default();
        let states = [
            self.fault,
            self.fault,
            false,
            false,
            false,
            false,
            false,
            false,
            false,
            false,
            travelling,
            closed,
            open,
            direction.0,
            direction.1,
        ];
        for (address, state) in (6u16..).zip(states) {
            file.u16(Table::Holding, address, u16::from(state));
        }
        file.u16(Table::Holding, 21, self.floor);
        file.u16(Table::Holding, 22, u16::from(self.occupied));
        file.u16(Table::Holding, 23, u16::from(level));
        file.u16(Table::Holding, 24, u16::from(self.button == Button::Pressed));
        file
    }
}
