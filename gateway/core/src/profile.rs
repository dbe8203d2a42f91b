//! What a kind of device looks like on its bus. Devices are data.
//!
//! A [`Profile`] is the checked form of one file of the library (`config/profiles/*.toml`); the daemon reads the
//! files, this crate says what they mean. A profile is shared by every device of its model, so nothing in it knows
//! a unit id, a line or a name of the site.
//!
//! Fire panels and lifts are looked at, never touched. Their classes have no writer: [`Relay::new`] is the only way
//! to make a writable thing, and it refuses them, so a command for one cannot be expressed anywhere in the program.
//!
//! ```text
//! PointDef ── source ──► Registers | Model (SunSpec, before the walk) | Message | Derived (a formula) | Absent
//!    │
//!    └── inputs ──► a power of ten, ratios, a table of units: other points of the same device
//! ```
//!
//! A power of ten and the measured parts of a formula count only in the answer that brought the value itself
//! ([`Profile::together`]); what the device was set to (ratios, units) may be remembered from an earlier answer.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{AlarmClass, Latching, Priority, Test};
use crate::reading::Decimal;
use crate::text::Bilingual;

mod formula;
mod introduce;
mod limits;
mod message;
mod wallet;
mod wire;
mod writing;

pub use formula::{Formula, FormulaError, Number};
pub use introduce::{Asked, Expected, Identity, Introduction, Mismatch, Next, SunSpec};
pub use limits::{Alignment, ByteCount, Extent, Place, ReadLimits, UnitEcho};
pub use message::{MessageForm, MessageTime, MessageWords, Presence, TimeFormat, WordEncoding};
pub use wallet::{Verdict, Wallet, WalletParts, WalletSeen};
pub use wire::{Order, Registers, Table, TimeField, WireType, WordOrder};
pub use writing::{
    ReadOnlyEquipment, Relay, RelayAction, RelayPosition, RelayProof, RelayWords, Setting, WriteFunction,
};

/// The kind of equipment, which decides the system it belongs to and whether it may be commanded at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EquipmentClass {
    /// Active-energy meter, with or without a relay.
    ElectricityMeter,
    /// Cold-water meter, with or without a valve.
    WaterMeter,
    /// Fire alarm control panel or its protocol adapter. Read only, always.
    FirePanel,
    /// Lift controller or lift monitor. Read only, always.
    Lift,
    /// Sump level and its pump.
    Sump,
    /// Contacts of the supply itself: feeder voltage, UPS on battery.
    PowerSupply,
    /// Pump or fan, or the drive that turns it.
    Pump,
    /// Engine-driven generating set and its controller.
    Generator,
    /// Uninterruptible power supply.
    Ups,
    /// Temperature, humidity, gas, leak.
    Sensor,
}

impl EquipmentClass {
    /// The closed set of the metrics' `system` label.
    pub fn system(self) -> &'static str {
        match self {
            EquipmentClass::ElectricityMeter => "electricity",
            EquipmentClass::WaterMeter | EquipmentClass::Pump => "water",
            EquipmentClass::FirePanel => "fire",
            EquipmentClass::Lift => "elevator",
            EquipmentClass::Sump => "drainage",
            EquipmentClass::PowerSupply | EquipmentClass::Generator | EquipmentClass::Ups => "power",
            EquipmentClass::Sensor => "environment",
        }
    }

    /// Whether certified equipment, not this program, is in charge: then there is no writer.
    pub fn is_read_only_for_ever(self) -> bool {
        matches!(self, EquipmentClass::FirePanel | EquipmentClass::Lift)
    }
}

/// How urgently a point is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PollClass {
    /// Something an alarm looks at.
    Alarm,
    /// A register somebody pays by.
    Billing,
    /// Everything else.
    Bulk,
}

/// Where a point's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Words of a Modbus table.
    Registers(Registers),
    /// Words of a SunSpec model that is not found yet: the address is the offset in the model, whose id register is 0.
    /// Nobody reads it before [`Introduction`] has made [`Source::Registers`] of it.
    Model {
        /// The model's id.
        model: u16,
        /// The place in it.
        registers: Registers,
    },
    /// Calculated from other points of the same device.
    Derived(Formula),
    /// This device does not have it: its firmware is older, or its model is shorter.
    Absent,
    /// A value inside an MQTT message: the RFC 6901 pointer into its JSON, or the whole payload if it is empty.
    Message {
        /// The template of the topic it comes on, if not on the device's own: `{topic}/relay/0/power`.
        topic: Option<String>,
        /// `/volume_l`, or empty for a plain payload.
        pointer: String,
    },
}

impl Source {
    /// Whether its value comes out of what a Modbus device is asked.
    pub fn is_asked(&self) -> bool {
        matches!(self, Source::Registers(_) | Source::Model { .. } | Source::Derived(_))
    }

    /// Its place in the registers, once that is known.
    pub fn registers(&self) -> Option<&Registers> {
        match self {
            Source::Registers(registers) => Some(registers),
            _ => None,
        }
    }
}

/// Whether a value is measured, or is what somebody set the device to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// It changes by itself.
    #[default]
    Measured,
    /// It changes only when somebody sets the device anew: a transformer's ratio, a unit, a serial number.
    Configured,
}

/// Why a point is known less well than the rest of its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A third-party catalogue of register maps (CC-BY-4.0; the profile's sources name it).
    Catalogue,
    /// The document of a sibling model.
    Family,
    /// The scale is an assumption.
    ScaleAssumed,
    /// The unit is an assumption.
    UnitAssumed,
    /// One driver alone.
    Driver,
}

/// The other points that a value needs before it is one. Positions are those of [`Profile::points`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The point that holds the power of ten (SunSpec). It must come in the same answer.
    pub exponent: Option<usize>,
    /// Points the value is multiplied with: transformers' ratios. They are [`PointKind::Configured`].
    pub times: Vec<usize>,
    /// The point that holds the unit. It is [`PointKind::Configured`].
    pub unit: Option<UnitInput>,
}

impl Inputs {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exponent.is_none() && self.times.is_empty() && self.unit.is_none()
    }

    /// All of them.
    pub fn points(&self) -> impl Iterator<Item = usize> {
        let unit = self.unit.as_ref().map(|u| u.point);
        self.exponent.into_iter().chain(self.times.iter().copied()).chain(unit)
    }
}

/// A register that says in which unit others are; their values are converted into the one unit of the profile.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitInput {
    /// The point that holds the code.
    pub point: usize,
    /// What each code means. A code that is not here makes the value bad.
    pub units: Vec<UnitCode>,
}

/// One unit a device can be set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitCode {
    /// The code.
    pub code: i64,
    /// What the value is multiplied with to be in the profile's unit.
    pub factor: Decimal,
    /// What is added afterwards.
    pub offset: Decimal,
}

/// One point of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct PointDef {
    /// The standard id, such as `energy_active_import` or `volume_total`; unique in the profile.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Bilingual,
    /// Where it comes from.
    pub source: Source,
    /// What the raw number is multiplied with: `0.01` is mantissa 1, exponent -2.
    pub scale: Decimal,
    /// What is added after that, in the point's unit: -273.15 for kelvins in degrees Celsius.
    pub offset: Decimal,
    /// Other points the value needs; empty for most.
    pub inputs: Inputs,
    /// Whether it is measured or set.
    pub kind: PointKind,
    /// The unit after scaling, as a UCUM code (`kW.h`, `m3`, `V`, `Cel`); empty for counts, codes and bits.
    pub unit: String,
    /// How urgently to read it.
    pub poll: PollClass,
    /// What each code means, for points that are one; empty for measurements.
    pub codes: Vec<(i64, Bilingual)>,
    /// What each bit of a number means; 0 is the least significant.
    pub bits: Vec<(u8, Bilingual)>,
    /// The firmware, as [`Profile::firmware`] reads it, below which devices do not have this point.
    pub min_firmware: Option<Decimal>,
    /// Why it is known less well than the rest; `None` if it is not.
    pub evidence: Option<Evidence>,
    /// Digits of the counter before it rolls over to zero (of the raw register, in decimal); only for counters.
    pub counter_digits: Option<u8>,
}

impl PointDef {
    /// A plain measured number without unit, scale and names, polled with the bulk; for what has no file.
    pub fn new(id: &str, source: Source) -> Self {
        Self {
            id: id.into(),
            name: Bilingual::new(id, id),
            source,
            scale: Decimal::new(1, 0),
            offset: Decimal::new(0, 0),
            inputs: Inputs::default(),
            kind: PointKind::Measured,
            unit: String::new(),
            poll: PollClass::Bulk,
            codes: Vec::new(),
            bits: Vec::new(),
            min_firmware: None,
            evidence: None,
            counter_digits: None,
        }
    }
}

/// An alarm every device of the model has unless the site says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmTemplate {
    /// Unique in the profile; `device/id` is the alarm's key.
    pub id: Arc<str>,
    /// True when every term is.
    pub when: Vec<TermTemplate>,
    /// How bad it is.
    pub priority: Priority,
    /// Whether it is about life.
    pub class: AlarmClass,
    /// How long the condition must hold before it counts.
    pub on_delay: Duration,
    /// How long it must be gone before it has gone.
    pub off_delay: Duration,
    /// Whether it stays until a person resets it.
    pub latching: Latching,
    /// The emergency plan it starts, such as `EP-06`.
    pub plan: Option<String>,
    /// What happened, in a few words.
    pub text: Bilingual,
    /// What a person has to do now. An alarm without one would only be noise.
    pub action: Bilingual,
}

/// One condition on one point of the device.
#[derive(Clone, Debug, PartialEq)]
pub struct TermTemplate {
    /// The point's id in this profile.
    pub point: Arc<str>,
    /// What it is compared with.
    pub test: Test,
}

/// One model of device.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The file's stem, such as `eastron_sdm630`.
    pub id: String,
    /// The maker.
    pub vendor: String,
    /// The model, as on its plate.
    pub model: String,
    /// What kind of equipment it is.
    pub class: EquipmentClass,
    /// How well the register map is known.
    pub confidence: Confidence,
    /// What a read must respect.
    pub limits: ReadLimits,
    /// Its points, in the file's order.
    pub points: Vec<PointDef>,
    /// Its standard alarms.
    pub alarms: Vec<AlarmTemplate>,
    /// Its relays and valves that may be commanded.
    pub relays: Vec<Relay>,
    /// What else may be written; empty for most devices.
    pub settings: Vec<Setting>,
    /// Its accounts of credit, if it keeps any itself.
    pub wallets: Vec<Wallet>,
    /// What its messages look like beyond the pointers of its points; `None` for Modbus devices and plain messages.
    pub message: Option<MessageForm>,
    /// What a device must answer to be one of this model; empty if nothing is known that tells.
    pub identity: Vec<Identity>,
    /// The point that holds the firmware's version, if points depend on it.
    pub firmware: Option<usize>,
    /// How the models of a SunSpec device are found.
    pub sunspec: Option<SunSpec>,
    /// The point that shows whether the device itself still gets values.
    pub heartbeat: Option<Heartbeat>,
}

/// A register that must move. Adapters answer for ever with what they heard last when the device behind them is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The point that must change.
    pub point: usize,
    /// At least once in this time; afterwards every other point of the device is bad until it moves again.
    pub within: Duration,
}

impl Profile {
    /// A synthetic model with these points and nothing else.
    pub fn new(id: &str, class: EquipmentClass, points: Vec<PointDef>) -> Self {
        Self {
            id: id.to_owned(),
            vendor: id.to_owned(),
            model: id.to_owned(),
            class,
            confidence: Confidence::Synthetic,
            limits: ReadLimits::default(),
            points,
            alarms: Vec::new(),
            relays: Vec::new(),
            settings: Vec::new(),
            wallets: Vec::new(),
            identity: Vec::new(),
            firmware: None,
            sunspec: None,
            heartbeat: None,
            message: None,
        }
    }

    /// The position of a point in [`Profile::points`].
    pub fn point(&self, id: &str) -> Option<usize> {
        self.points.iter().position(|p| &*p.id == id)
    }

    /// Pairs of points that must come in one request, because the one says nothing without the other: a value and its
    /// power of ten, and the measured parts of a formula.
    pub fn together(&self) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (i, point) in self.points.iter().enumerate() {
            pairs.extend(point.inputs.exponent.map(|exponent| (i, exponent)));
            if let Source::Derived(_) = point.source {
                let parts = self.measured_parts(i);
                pairs.extend(parts.windows(2).map(|two| (two[0], two[1])));
            }
        }
        pairs
    }

    /// The measured points in registers that a derived point is calculated from, directly or through others, by
    /// ascending position; empty for any other point. Formulas look back only, so this ends.
    pub fn measured_parts(&self, derived: usize) -> Vec<usize> {
        let mut parts = Vec::new();
        let mut open = vec![derived];
        while let Some(i) = open.pop() {
            let Some(point) = self.points.get(i) else { continue };
            match &point.source {
                Source::Derived(formula) => open.extend(formula.points().filter(|input| *input < i)),
                _ if point.kind == PointKind::Measured && i != derived => parts.push(i),
                _ => {}
            }
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

/// How well a register map is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// At least two separately written sources agree on the core points.
    TwoSources,
    /// One source: the maker's document, or one maintained driver. Compare with the display when commissioning.
    OneSource,
    /// Only a part of the map, or scales are missing.
    Partial,
    /// Not a real device.
    Synthetic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_writes_to_a_fire_panel_or_a_lift() {
        let relay = |class| {
            let words = RelayWords { function: WriteFunction::Coil, address: 0, cut: vec![1], restore: vec![0] };
            let none = Vec::new;
            let (cut, supplied) = (vec![1], vec![0]);
            let proof =
                RelayProof { point: "state".into(), cut, supplied, cutting: none(), restoring: none(), jammed: none() };
            Relay::new(class, Vec::new(), words, proof)
        };
        for class in [EquipmentClass::FirePanel, EquipmentClass::Lift] {
            assert_eq!(relay(class), Err(ReadOnlyEquipment(class)));
        }
        let zero = Decimal::new(0, 0);
        for class in [EquipmentClass::FirePanel, EquipmentClass::Lift] {
            let setting = Setting::new(class, "silence".into(), WriteFunction::Coil, zero, zero);
            assert_eq!(setting, Err(ReadOnlyEquipment(class)));
        }
        assert!(relay(EquipmentClass::ElectricityMeter).is_ok());
    }
}
