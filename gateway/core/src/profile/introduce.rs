//! Finding out whether the device that answers is the one the profile describes, before its values are believed.
//!
//! ```text
//!   SunSpec walk ──► identity points ──► firmware ──► Fit: the profile as this very device has it
//!        │                 │
//!        └─────────────────┴──► Wrong: what was expected, what was found
//! ```
//!
//! The walk (SunSpec Information Model Specification, 6.2) looks for the marker "SunS" at the base addresses and steps
//! from model to model until it has found every one the profile reads; the id 0xFFFF ends the chain. The rest reads
//! points of the profile, each alone. A device that refuses such a read is another device.
//!
//! The machine is pure: it says what to read next and is told the answer. A miss on the line is no answer; the same is
//! asked again later.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Extent, PointDef, Profile, Registers, Source, Table};
use crate::decode::decode;
use crate::reading::{Decimal, Value};

/// "SunS".
const MARKER: [u16; 2] = [0x5375, 0x6E53];
/// The id that ends the chain of models.
const CHAIN_END: u16 = 0xFFFF;
/// No device has more models; a chain that is longer runs in a circle.
const MODELS_MAX: usize = 64;

/// A place that tells the model. It need not be a point of the profile: some devices answer there with their model only
/// if it is read alone, and with half a voltage otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// What is read; it stands for itself.
    pub point: PointDef,
    /// What it reads on a device of the model: any of these.
    pub one_of: Vec<Expected>,
}

/// One thing an identity point can read.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This text.
    Text(Arc<str>),
    /// This number.
    Number(Decimal),
}

impl Expected {
    fn is_met(&self, value: &Value) -> bool {
        match (self, value) {
            (Expected::Text(wanted), Value::Text(text)) => wanted == text,
            (Expected::Number(wanted), Value::Decimal(number)) => wanted == number,
            (Expected::Number(wanted), Value::Float(number)) => wanted.to_f64() == *number,
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Text(text) => write!(f, "\"{text}\""),
            Expected::Number(number) => write!(f, "{number}"),
        }
    }
}

/// How the models of a SunSpec device are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SunSpec {
    /// Where the marker may be, in the order in which it is looked for.
    pub bases: Vec<u16>,
}

/// Why a device is not the one of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was read: a point's id or the marker.
    pub what: String,
    /// What should have been there.
    pub expected: String,
    /// What was.
    pub found: String,
}

/// An answer to [`Next::Ask`].
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// Registers.
    Words(&'a [u16]),
    /// The device refused with this exception.
    Refused(u8),
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Read this and tell what came.
    Ask(Extent),
    /// It is the device: this is its profile, with every place resolved and what it does not have marked absent.
    Fit(Arc<Profile>),
    /// It is another one.
    Wrong(Mismatch),
}

/// One introduction under way.
#[derive(Clone, Debug)]
pub struct Introduction {
    profile: Arc<Profile>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Looking for the marker at this base.
    Marker {
        base: usize,
    },
    /// Reading the header of the model that begins at `address`.
    Walk {
        address: u16,
        found: BTreeMap<u16, (u16, u16)>,
        seen: usize,
    },
    /// Reading this identity point.
    Identity {
        at: usize,
    },
    Firmware,
    Fit,
    Wrong(Mismatch),
}

impl Introduction {
    /// The introduction of a device with this profile; `None` if there is nothing to find out.
    pub fn of(profile: &Arc<Profile>) -> Option<Self> {
        let state = match (&profile.sunspec, profile.identity.is_empty(), profile.firmware) {
            (Some(_), ..) => State::Marker { base: 0 },
            (None, false, _) => State::Identity { at: 0 },
            (None, true, Some(_)) => State::Firmware,
            (None, true, None) => return None,
        };
        Some(Self { profile: Arc::clone(profile), state })
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        let extent = |r: &Registers| Extent { table: r.table, address: r.address, count: r.count };
        let point = |i: usize| self.profile.points.get(i).and_then(|p| p.source.registers());
        match &self.state {
            State::Marker { base } => {
                let address = self.profile.sunspec.as_ref().and_then(|s| s.bases.get(*base));
                Next::Ask(Extent { table: Table::Holding, address: address.copied().unwrap_or(0), count: 2 })
            }
            State::Walk { address, .. } => Next::Ask(Extent { table: Table::Holding, address: *address, count: 2 }),
            State::Identity { at } => match self.profile.identity.get(*at).and_then(|i| i.point.source.registers()) {
                Some(registers) => Next::Ask(extent(registers)),
                None => Next::Fit(Arc::clone(&self.profile)),
            },
            State::Firmware => match self.profile.firmware.and_then(point) {
                Some(registers) => Next::Ask(extent(registers)),
                None => Next::Fit(Arc::clone(&self.profile)),
            },
            State::Fit => Next::Fit(Arc::clone(&self.profile)),
            State::Wrong(mismatch) => Next::Wrong(mismatch.clone()),
        }
    }

    /// Takes the answer to what [`Introduction::next`] asked.
    pub fn answered(&mut self, answer: Asked<'_>) {
        self.state = match std::mem::replace(&mut self.state, State::Fit) {
            State::Marker { base } => self.marker(base, answer),
            State::Walk { address, found, seen } => self.walk(address, found, seen, answer),
            State::Identity { at } => self.identity(at, answer),
            State::Firmware => self.firmware(answer),
            ended @ (State::Fit | State::Wrong(_)) => ended,
        };
    }

    fn marker(&self, base: usize, answer: Asked<'_>) -> State {
        let bases = self.profile.sunspec.as_ref().map_or(&[][..], |s| &s.bases);
        match (answer, bases.get(base)) {
            (Asked::Words(words), Some(base)) if words == MARKER => match base.checked_add(2) {
                Some(address) => State::Walk { address, found: BTreeMap::new(), seen: 0 },
                None => wrong("the end of the chain", "a SunSpec model", "the last address"),
            },
            _ if base + 1 < bases.len() => State::Marker { base: base + 1 },
            (answer, _) => {
                let at = bases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                wrong(format!("holding registers {at}"), "the SunSpec marker 5375 6E53", shown(answer))
            }
        }
    }

    fn walk(&mut self, address: u16, mut found: BTreeMap<u16, (u16, u16)>, seen: usize, answer: Asked<'_>) -> State {
        let Asked::Words(&[id, length]) = answer else {
            return wrong(format!("holding register {address}"), "the header of a SunSpec model", shown(answer));
        };
        let identity = self.profile.identity.iter().map(|i| &i.point);
        let wanted: Vec<u16> = self.profile.points.iter().chain(identity).filter_map(|p| model_of(&p.source)).collect();
        if id != CHAIN_END {
            found.entry(id).or_insert((address, length));
        }
        if wanted.iter().all(|model| found.contains_key(model)) {
            self.resolve(&found);
            return self.after_walk();
        }
        let next = u32::from(address) + 2 + u32::from(length);
        match u16::try_from(next) {
            Ok(next) if id != CHAIN_END && seen < MODELS_MAX => State::Walk { address: next, found, seen: seen + 1 },
            _ => {
                let missing = wanted.iter().find(|model| !found.contains_key(model)).copied().unwrap_or_default();
                let models = found.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                wrong("the SunSpec models", format!("model {missing}"), format!("models {models}"))
            }
        }
    }

    /// Puts the addresses in place of the offsets.
    fn resolve(&mut self, found: &BTreeMap<u16, (u16, u16)>) {
        let mut profile = (*self.profile).clone();
        let identity = profile.identity.iter_mut().map(|i| &mut i.point);
        for point in profile.points.iter_mut().chain(identity) {
            let Source::Model { model, registers } = &point.source else { continue };
            // The length counts neither the id nor itself.
            let place = found.get(model).filter(|(_, length)| {
                u32::from(registers.address) + u32::from(registers.count) <= u32::from(*length) + 2
            });
            let address = place.and_then(|(start, _)| start.checked_add(registers.address));
            point.source = match address {
                Some(address) => Source::Registers(Registers { address, ..registers.clone() }),
                None => Source::Absent,
            };
        }
        self.profile = Arc::new(profile);
    }

    fn after_walk(&self) -> State {
        if self.profile.identity.is_empty() { self.after_identity() } else { State::Identity { at: 0 } }
    }

    fn after_identity(&self) -> State {
        if self.profile.firmware.is_some() { State::Firmware } else { State::Fit }
    }

    fn identity(&self, at: usize, answer: Asked<'_>) -> State {
        let Some(identity) = self.profile.identity.get(at) else { return self.after_identity() };
        let point = &identity.point;
        let value = match answer {
            Asked::Words(words) => decode(point, words).ok(),
            Asked::Refused(_) => None,
        };
        let is_met = |value: &Value| identity.one_of.iter().any(|expected| expected.is_met(value));
        if !value.as_ref().is_some_and(is_met) {
            let expected = identity.one_of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            let found = value.map_or_else(|| shown(answer), |value| value.to_string());
            return wrong(&*point.id, expected, found);
        }
        if at + 1 < self.profile.identity.len() { State::Identity { at: at + 1 } } else { self.after_identity() }
    }

    fn firmware(&mut self, answer: Asked<'_>) -> State {
        let Some(point) = self.profile.firmware.and_then(|i| self.profile.points.get(i)) else { return State::Fit };
        let version = match answer {
            Asked::Words(words) => match decode(point, words) {
                Ok(Value::Decimal(version)) => Some(version),
                _ => None,
            },
            Asked::Refused(_) => None,
        };
        let Some(version) = version else {
            return wrong(&*point.id, "the number of the firmware", shown(answer));
        };
        let mut profile = (*self.profile).clone();
        for point in &mut profile.points {
            if point.min_firmware.is_some_and(|min| is_below(version, min)) {
                point.source = Source::Absent;
            }
        }
        self.profile = Arc::new(profile);
        State::Fit
    }
}

fn model_of(source: &Source) -> Option<u16> {
    match source {
        Source::Model { model, .. } => Some(*model),
        _ => None,
    }
}

fn is_below(version: Decimal, min: Decimal) -> bool {
    let negative = Decimal::new(-min.mantissa, min.exponent);
    version.checked_add(negative).is_none_or(|difference| difference.mantissa < 0)
}

fn wrong(what: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> State {
    State::Wrong(Mismatch { what: what.into(), expected: expected.into(), found: found.into() })
}

fn shown(answer: Asked<'_>) -> String {
    match answer {
        Asked::Refused(code) => format!("exception {code:02}"),
        Asked::Words(words) => words.iter().map(|w| format!("{w:04X}")).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests;
