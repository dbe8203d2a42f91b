//! What a kind of device looks like on its bus. Devices are data.
//!
//! A [`Profile`] is the checked form of one file of the library (`config/profiles/*.toml`); the daemon reads the
//! files, this crate says what they mean. A profile is shared by every device of its model, so nothing in it knows
//! a unit id, a line or a name of the site.
//!
//! Fire panels and lifts are looked at, never touched. Their classes have no writer: [`Relay::new`] is the only way
//! to make a writable thing, and it refuses them, so a command for one cannot be expressed anywhere in the program.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{AlarmClass, Latching, Priority, Test};
use crate::reading::Decimal;
use crate::text::Bilingual;

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
    /// Temperature, humidity, gas, leak.
    Sensor,
}

impl EquipmentClass {
    /// The closed set of the metrics' `system` label.
    pub fn system(self) -> &'static str {
        match self {
            EquipmentClass::ElectricityMeter => "electricity",
            EquipmentClass::WaterMeter => "water",
            EquipmentClass::FirePanel => "fire",
            EquipmentClass::Lift => "elevator",
            EquipmentClass::Sump => "drainage",
            EquipmentClass::PowerSupply => "power",
            EquipmentClass::Sensor => "environment",
        }
    }

    /// Whether certified equipment, not this program, is in charge: then there is no writer.
    pub fn is_read_only_for_ever(self) -> bool {
        matches!(self, EquipmentClass::FirePanel | EquipmentClass::Lift)
    }
}

/// The four tables of the Modbus data model (Modbus Application Protocol V1.1b3, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// Read with function 01.
    Coil,
    /// Read with function 02.
    DiscreteInput,
    /// Read with function 03.
    Holding,
    /// Read with function 04.
    Input,
}

impl Table {
    /// The function code that reads it.
    pub fn read_function(self) -> u8 {
        match self {
            Table::Coil => 1,
            Table::DiscreteInput => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether one address is one bit (otherwise one 16-bit register).
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::DiscreteInput)
    }
}

/// How the words of one value are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WireType {
    /// One bit: of a coil or discrete input, or bit `bit` of a register.
    Bit,
    /// Unsigned 16 bit.
    U16,
    /// Two's complement 16 bit.
    I16,
    /// Unsigned 32 bit, two registers.
    U32,
    /// Two's complement 32 bit, two registers.
    I32,
    /// Unsigned 64 bit, four registers.
    U64,
    /// Two's complement 64 bit, four registers.
    I64,
    /// IEEE 754 binary32, two registers.
    F32,
    /// IEEE 754 binary64, four registers.
    F64,
    /// Packed binary-coded decimal; a nibble above 9 is an error, never a zero.
    Bcd,
    /// ASCII, two characters a register, trailing NUL and space removed.
    Ascii,
}

/// Which half of a register, or which register of a value, comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Most significant first, as the Modbus specification has it.
    #[default]
    Big,
    /// Least significant first.
    Little,
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
    /// A value inside an MQTT message: the RFC 6901 pointer into its JSON, or the whole payload if it is empty.
    Message {
        /// `/volume_l`, or empty for a plain payload.
        pointer: String,
    },
}

/// The place and the form of a value in a Modbus device.
#[derive(Clone, Debug, PartialEq)]
pub struct Registers {
    /// Which table.
    pub table: Table,
    /// The address on the wire, zero based; not the document's 4xxxx number.
    pub address: u16,
    /// How many registers (or bits) it occupies.
    pub count: u16,
    /// How to read them.
    pub wire: WireType,
    /// Which byte of a register comes first.
    pub bytes: Order,
    /// Which register of a value comes first.
    pub words: Order,
    /// For [`WireType::Bit`] in a register: 0 is the least significant.
    pub bit: Option<u8>,
    /// Bits of an unsigned integer to keep, moved down until the lowest of them is bit 0; before scaling.
    pub mask: Option<u64>,
    /// Raw values, unsigned and before scaling, with which the device says "no value".
    pub invalid: Vec<u64>,
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
    /// The unit after scaling, as a UCUM code (`kW.h`, `m3`, `V`, `Cel`); empty for counts, codes and bits.
    pub unit: String,
    /// How urgently to read it.
    pub poll: PollClass,
    /// What each code means, for points that are one; empty for measurements.
    pub codes: Vec<(i64, Bilingual)>,
    /// Digits of the counter before it rolls over to zero (of the raw register, in decimal); only for counters.
    pub counter_digits: Option<u8>,
}

/// What a read of this device must respect. The planner keeps every one of these; a profile that contradicts itself is
/// refused when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Registers in one request; at most 125 (Modbus Application Protocol V1.1b3, 6.3).
    pub registers_max: u16,
    /// Coils or discrete inputs in one request; at most 2,000 (the same, 6.1).
    pub bits_max: u16,
    /// Registers without a point that one request may span. `None`: as many as cost less time on the wire than another
    /// request.
    pub gap_max: Option<u16>,
    /// Places the device refuses: no request may touch them.
    pub holes: Vec<Extent>,
    /// Places that can only be read exactly so: with this first address and this count, never in part.
    pub blocks: Vec<Extent>,
    /// Places that must be read alone: a request that begins before such an address may not go beyond it, and one that
    /// begins at it brings its point only.
    pub barriers: Vec<Place>,
    /// Whether the device takes odd addresses and odd counts.
    pub alignment: Alignment,
    /// Every point is read by a request of its own.
    pub one_point_a_request: bool,
    /// Silence the device wants between its answer and the next request, beyond the standard's 3.5 characters.
    pub silence_min: Duration,
    /// Time it wants between the starts of two requests.
    pub interval_min: Duration,
    /// How long it may think before its answer begins.
    pub response_max: Duration,
    /// Requests it can have under way at once on Modbus TCP; 1 where nobody has tried more.
    pub in_flight_max: u8,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            registers_max: 125,
            bits_max: 2_000,
            gap_max: Some(8),
            holes: Vec::new(),
            blocks: Vec::new(),
            barriers: Vec::new(),
            alignment: Alignment::Any,
            one_point_a_request: false,
            silence_min: Duration::ZERO,
            interval_min: Duration::ZERO,
            response_max: Duration::from_millis(500),
            in_flight_max: 1,
        }
    }
}

/// One address of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which table.
    pub table: Table,
    /// The address on the wire, zero based.
    pub address: u16,
}

/// Some neighbouring addresses of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Which table.
    pub table: Table,
    /// The first address on the wire, zero based.
    pub address: u16,
    /// How many; at least 1.
    pub count: u16,
}

/// Where a request may begin and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Anywhere.
    #[default]
    Any,
    /// Address and count are even; the device refuses anything else.
    Even,
    /// The count is even where a 32-bit value is read; single registers may be read alone.
    EvenCountOfPairs,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteFunction {
    /// Function 05, one coil.
    Coil,
    /// Function 06, one register.
    Register,
    /// Function 15, several coils.
    Coils,
    /// Function 16, several registers.
    Registers,
    /// Function 22, some bits of one register.
    Mask,
}

impl WriteFunction {
    /// The function code on the wire.
    pub fn code(self) -> u8 {
        match self {
            WriteFunction::Coil => 5,
            WriteFunction::Register => 6,
            WriteFunction::Coils => 15,
            WriteFunction::Registers => 16,
            WriteFunction::Mask => 22,
        }
    }
}

/// A point that may be written: set points of pumps and drives, time tables of meters. Whatever has none is read only.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    point: Arc<str>,
    function: WriteFunction,
    min: Decimal,
    max: Decimal,
}

impl Setting {
    /// A point of a device of `class` that may be set to `min` up to `max`, in the point's unit.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        point: Arc<str>,
        function: WriteFunction,
        min: Decimal,
        max: Decimal,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { point, function, min, max })
    }

    /// The id of the point that is written and read back.
    pub fn point(&self) -> &Arc<str> {
        &self.point
    }

    /// How it is written.
    pub fn function(&self) -> WriteFunction {
        self.function
    }

    /// The least value that may be written.
    pub fn min(&self) -> Decimal {
        self.min
    }

    /// The greatest value that may be written.
    pub fn max(&self) -> Decimal {
        self.max
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

/// What a relay or valve can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayAction {
    /// Interrupt the supply.
    Open,
    /// Restore the supply.
    Close,
}

/// Where the supply relay or valve of a meter is written, and which point proves that it moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    address: u16,
    open: Vec<u16>,
    close: Vec<u16>,
    proof: Arc<str>,
    proof_open: i64,
}

/// A class of equipment that this program may look at and must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} equipment is never written to")]
pub struct ReadOnlyEquipment(pub EquipmentClass);

impl Relay {
    /// A relay in holding registers from `address` on, written with function 16. `open` interrupts the supply,
    /// `close` restores it; afterwards the point `proof` reads `proof_open` exactly when the contact is open.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        address: u16,
        open: Vec<u16>,
        close: Vec<u16>,
        proof: Arc<str>,
        proof_open: i64,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { address, open, close, proof, proof_open })
    }

    /// The first holding register of the control word.
    pub fn address(&self) -> u16 {
        self.address
    }

    /// The words that interrupt the supply.
    pub fn open(&self) -> &[u16] {
        &self.open
    }

    /// The words that restore it.
    pub fn close(&self) -> &[u16] {
        &self.close
    }

    /// The id of the point that tells where the contact is.
    pub fn proof(&self) -> &Arc<str> {
        &self.proof
    }

    /// What that point reads while the contact is open.
    pub fn proof_open(&self) -> i64 {
        self.proof_open
    }
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
    /// Its relay or valve, if it has one that may be commanded.
    pub relay: Option<Relay>,
    /// What else may be written; empty for most devices.
    pub settings: Vec<Setting>,
}

impl Profile {
    /// The position of a point in [`Profile::points`].
    pub fn point(&self, id: &str) -> Option<usize> {
        self.points.iter().position(|p| &*p.id == id)
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
        for class in [EquipmentClass::FirePanel, EquipmentClass::Lift] {
            let relay = Relay::new(class, 0, vec![1], vec![0], "state".into(), 1);
            assert_eq!(relay, Err(ReadOnlyEquipment(class)));
        }
        let zero = Decimal::new(0, 0);
        for class in [EquipmentClass::FirePanel, EquipmentClass::Lift] {
            let setting = Setting::new(class, "silence".into(), WriteFunction::Coil, zero, zero);
            assert_eq!(setting, Err(ReadOnlyEquipment(class)));
        }
        assert!(Relay::new(EquipmentClass::ElectricityMeter, 0, vec![1], vec![0], "state".into(), 1).is_ok());
    }
}
