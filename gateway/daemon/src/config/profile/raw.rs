//! A device profile as it is written; `config/profiles/_blueprint.toml` shows every key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use guanjia_core::profile::{
    Alignment, ByteCount, Confidence, EquipmentClass, Order, Table, TimeFormat, UnitEcho, WireType, WordEncoding,
    WordOrder, WriteFunction,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::alarms::{RawAlarm, RawRepeat};
use crate::config::lines::RawParity;
use crate::config::value::{At, Limit, Span};

mod golden;
mod point;

pub use self::golden::{GoldenKind, RawGolden, RawGoldenValue};
pub use self::point::RawPoint;

/// The whole file; only its schema is used as a whole.
#[derive(JsonSchema)]
#[schemars(title = "Guanjia device profile", deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read through the schema made from them")]
pub struct RawProfile {
    /// The maker.
    vendor: String,
    /// The model, as on its plate.
    model: String,
    /// What kind of equipment it is.
    class: EquipmentClass,
    /// How well the register map is known.
    confidence: Confidence,
    /// Where the facts are from: document with revision, or repository with commit and path.
    sources: Vec<String>,
    /// The serial formats it can be set to; without it any format is accepted.
    serial: Option<RawSerial>,
    /// What a read must respect.
    read: Option<RawRead>,
    /// For MQTT: what its messages look like beyond the pointers of its points.
    message: Option<RawMessage>,
    /// The document's numbers of the first address of each table, for points that give their `number`.
    numbers: Option<RawNumbers>,
    /// What every point has that does not say otherwise.
    defaults: Option<RawDefaults>,
    /// Raw values with which the device says "no value", by type, for every point that does not say otherwise.
    invalid: Option<RawInvalid>,
    /// What a device must answer to be one of this model.
    identity: Option<Vec<RawIdentity>>,
    /// The point that holds the firmware's version, for points with `min_firmware`.
    firmware: Option<RawFirmware>,
    /// How the models of a SunSpec device are found, for points with `model`.
    sunspec: Option<RawSunSpec>,
    /// The point that shows whether the device itself still gets values.
    heartbeat: Option<RawHeartbeat>,
    /// Its points, in the order in which people see them.
    point: Vec<RawPoint>,
    /// The alarms every device of the model has.
    alarm: Option<Vec<RawAlarm>>,
    /// The supply relays and valves, for meters that have some.
    relay: Option<Vec<RawRelay>>,
    /// Points that may be set; without any the device is only read.
    setting: Option<Vec<RawSetting>>,
    /// Accounts of credit that the device keeps itself, topped up by purchase count.
    wallet: Option<Vec<RawWallet>>,
    /// Frames with their values, which the project's tests decode.
    golden: Option<Vec<RawGolden>>,
}

/// `[serial]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSerial {
    /// Bits per second, factory setting first.
    pub baud: Vec<u32>,
    /// Data bits. Default [8].
    #[serde(default = "eight")]
    pub data_bits: Vec<u8>,
    /// Parities, factory setting first.
    pub parity: Vec<RawParity>,
    /// Stop bits. Default [1].
    #[serde(default = "one")]
    pub stop_bits: Vec<u8>,
}

fn eight() -> Vec<u8> {
    vec![8]
}

fn one() -> Vec<u8> {
    vec![1]
}

/// `[read]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRead {
    /// Registers in one request, 1 to 125. Default 125.
    pub registers_max: Option<At<u16>>,
    /// Coils or discrete inputs in one request, 1 to 2000. Default 2000.
    pub bits_max: Option<At<u16>>,
    /// Registers without a point that one request may span; 0 if it refuses them. Default: as many as cost less time
    /// on the line than another request.
    pub gap_max: Option<u16>,
    /// Places it refuses.
    #[serde(default)]
    pub holes: Vec<RawExtent>,
    /// Places that can only be read exactly so, never in part.
    #[serde(default)]
    pub blocks: Vec<RawExtent>,
    /// Places that must be read alone.
    #[serde(default)]
    pub barriers: Vec<RawPlace>,
    /// "any", "even" (address and count) or "even-count-of-pairs" (the count where a 32-bit value is read). Default "any".
    #[serde(default)]
    pub alignment: Alignment,
    /// "several", or "one" if every point needs a request of its own. Default "several".
    #[serde(default)]
    pub points_a_request: PointsARequest,
    /// Silence it wants between its answer and the next request. Default "0ms" beyond the standard's 3.5 characters.
    pub silence_min: Option<Span>,
    /// Time it wants between the starts of two requests. Default "0ms".
    pub interval_min: Option<Span>,
    /// How long it may think before its answer begins. Default "500ms".
    pub response_max: Option<Span>,
    /// Requests it can have under way at once on Modbus TCP, 1 to 16. Default 1.
    pub in_flight_max: Option<At<u8>>,
    /// Which unit id its answers bear on Modbus TCP: "asked", or "asked-or-none" if it may also be 0 or 255 whatever it
    /// was asked under. Default "asked".
    #[serde(default)]
    pub unit_echo: UnitEcho,
    /// How its answers over RTU say how long they are: "one-byte", or "two-bytes" where a device departs from the standard
    /// so. Default "one-byte".
    #[serde(default)]
    pub byte_count: ByteCount,
}

/// How many points one request may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointsARequest {
    /// As many as lie close together.
    #[default]
    Several,
    /// One alone.
    One,
}

/// Some neighbouring addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawExtent {
    /// Which table. Default: that of `[defaults]`.
    pub table: Option<Table>,
    /// The first address on the wire.
    pub address: At<u16>,
    /// How many.
    pub count: u16,
}

/// One address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPlace {
    /// Which table. Default: that of `[defaults]`.
    pub table: Option<Table>,
    /// The address on the wire.
    pub address: At<u16>,
}

/// `[numbers]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNumbers {
    /// The document's number of the coil at address 0, usually 1.
    pub coil: Option<u32>,
    /// The document's number of the discrete input at address 0, usually 10001.
    pub discrete_input: Option<u32>,
    /// The document's number of the holding register at address 0, usually 40001, or 1.
    pub holding: Option<u32>,
    /// The document's number of the input register at address 0, usually 30001, or 1.
    pub input: Option<u32>,
}

impl RawNumbers {
    /// The number of address 0.
    pub fn first(&self, table: Table) -> Option<u32> {
        match table {
            Table::Coil => self.coil,
            Table::DiscreteInput => self.discrete_input,
            Table::Holding => self.holding,
            Table::Input => self.input,
        }
    }
}

/// `[defaults]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDefaults {
    /// Which table.
    pub table: Option<Table>,
    /// Which byte of a register comes first. Default "big".
    #[serde(default)]
    pub bytes: Order,
    /// Which register of a value comes first. Default "big".
    #[serde(default)]
    pub words: WordOrder,
    /// The SunSpec model of the points.
    pub model: Option<u16>,
}

/// `[invalid]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RawInvalid {
    /// For each type, the raw values.
    pub by_type: BTreeMap<WireType, Vec<RawBits>>,
}

/// A raw value, unsigned: a whole number, or text in hexadecimal, because TOML's numbers end at 0x7FFF_FFFF_FFFF_FFFF.
#[derive(Clone, Copy, Debug)]
pub struct RawBits(pub u64);

impl<'de> Deserialize<'de> for RawBits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl Visitor<'_> for NumberOrText {
            type Value = RawBits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a raw value such as 0xFFFF, or \"0xFFFFFFFFFFFFFFFF\"")
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<RawBits, E> {
                let help = "a raw value is unsigned\nwrite the bits as they are sent: 0x8000 for -32768 in 16 bits";
                u64::try_from(n).map(RawBits).map_err(|_| E::custom(help))
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<RawBits, E> {
                Ok(RawBits(n))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawBits, E> {
                let digits = text.strip_prefix("0x").map(|t| t.replace('_', ""));
                let bits = digits.and_then(|d| u64::from_str_radix(&d, 16).ok());
                let help = || E::custom(format!("{text:?} is not a raw value\nwrite \"0xFFFFFFFFFFFFFFFF\""));
                bits.map(RawBits).ok_or_else(help)
            }
        }
        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for RawBits {
    fn schema_name() -> Cow<'static, str> {
        "RawBits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A raw value, unsigned: 0xFFFF, or \"0xFFFFFFFFFFFFFFFF\" as text.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^0x[0-9A-Fa-f_]+$" }]
        })
    }
}

/// `[message]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMessage {
    /// The topic of a device's messages in the maker's layout: "{device}" is its id, "{node}" its `node` in the site file.
    pub topic: Option<At<String>>,
    /// Where and how a device says that it is there, in the maker's layout.
    pub availability: Option<At<RawAvailability>>,
    /// Pointer to a JSON array: points without a place of their own are its elements, in the order of the file.
    pub array: Option<At<String>>,
    /// Registers that come as text: the points are given by `table`, `address` and `type` as on Modbus.
    pub words: Option<At<RawWords>>,
    /// Where the device says when it measured. Default: the time of arrival.
    pub time: Option<At<RawTime>>,
    /// Pointer to the samples of a logger, an array of objects or a single one; "" if they are the whole payload. The other
    /// pointers lead into a sample, which has its own `time`.
    pub samples: Option<At<String>>,
}

/// `availability` of `[message]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAvailability {
    /// The topic, with the same placeholders. Left out, only the site file says it.
    pub topic: Option<At<String>>,
    /// Pointer to the word, such as "/state". Default "": the whole payload is the word.
    #[serde(default)]
    pub pointer: String,
    /// The word for being there. Default "online".
    pub online: Option<String>,
    /// The word for being gone. Default "offline".
    pub offline: Option<String>,
}

/// `words` of `[message]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWords {
    /// Pointer to the text, such as "/data"; "" if the whole payload is the text.
    pub pointer: String,
    /// "base64" or "hex".
    pub encoding: WordEncoding,
    /// The table the registers are of. Default "holding".
    pub table: Option<Table>,
    /// The address of the first register. Default 0.
    #[serde(default)]
    pub address: u16,
}

/// `time` of `[message]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTime {
    /// Pointer to the time, such as "/ts".
    pub pointer: String,
    /// "rfc3339", "unix-seconds" or "unix-millis".
    pub format: TimeFormat,
}

/// `[[identity]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawIdentity {
    /// A point that tells the model. Instead of it: `table`, `address` and `type` of a place that is only read for this.
    pub point: Option<At<String>>,
    /// Which table. Default: that of `[defaults]`.
    pub table: Option<Table>,
    /// The address on the wire.
    pub address: Option<At<u16>>,
    /// As of points.
    pub r#type: Option<WireType>,
    /// For types whose length is not in their name: how many registers.
    pub registers: Option<u16>,
    /// What it reads on a device of the model: any of these numbers or texts.
    pub one_of: Vec<RawExpected>,
}

/// A number or a text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawExpected {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// `[firmware]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFirmware {
    /// The point that holds the version, a number.
    pub point: At<String>,
}

/// `[sunspec]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSunSpec {
    /// Holding registers where the marker "SunS" may be, in the order in which it is looked for.
    pub bases: At<Vec<u16>>,
}

/// `[heartbeat]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHeartbeat {
    /// The point that must change.
    pub point: At<String>,
    /// At least once in this time; afterwards every other point of the device is bad until it moves again.
    pub within: At<Span>,
}

/// `[[setting]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSetting {
    /// The point that is written and read back; with `repeat`, `{n}` in it is the number.
    pub point: At<String>,
    /// The same for points numbered one after the other.
    pub repeat: Option<RawRepeat>,
    /// "coil" (05), "register" (06), "coils" (15), "registers" (16) or "mask" (22).
    pub function: At<WriteFunction>,
    /// The least value that may be written.
    pub min: At<Limit>,
    /// The greatest.
    pub max: At<Limit>,
}

/// `[[wallet]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWallet {
    /// The same for accounts numbered one after the other; `{n}` in the points is the number, `stride` moves `address`.
    pub repeat: Option<RawRepeat>,
    /// The counter that is charged to it, by all its points.
    pub registers: At<Vec<String>>,
    /// The point with the number of purchases applied, a u32.
    pub count: At<String>,
    /// The point with the amount of the last one, an i32 in minor units.
    pub amount: At<String>,
    /// The point with what is left, an i32 in minor units.
    pub balance: At<String>,
    /// The point that says what the last frame came to, a u16: 0 none, 1 applied, 2 already applied, 3 wrong count, 4 over
    /// the hoarding limit, 5 count used with another amount, 6 amount not allowed, 7 not stored.
    pub result: At<String>,
    /// The point with the purchase count of that frame, a u32.
    pub result_count: At<String>,
    /// The first of the four holding registers of the frame: purchase count (u32), amount (i32), high words first.
    pub address: At<u16>,
    /// The point with what one count of the register costs in the meter, in minor units. The meter's price is then held
    /// against the tariff, and its balance against the ledger; without it neither is.
    pub price: Option<At<String>>,
    /// The point that says whether the meter charges the account and cuts by it: 1 it does, 0 it does not. Where that is not
    /// what a service point of the register says, people are told; without it nobody looks.
    pub prepaid: Option<At<String>>,
}

/// `[[relay]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRelay {
    /// The same for relays numbered one after the other; `{n}` in the points is the number, `stride` moves `address`.
    pub repeat: Option<RawRepeat>,
    /// The counters of what it supplies, by all their points. Left out, it is the only relay and supplies all of them.
    pub registers: Option<At<Vec<String>>>,
    /// "coil" (05), "register" (06), "coils" (15), "registers" (16) or "mask" (22). Default "registers".
    pub function: Option<WriteFunction>,
    /// The first holding register, or coil, of the control word.
    pub address: At<u16>,
    /// The words that interrupt the supply; coils as 0 and 1, for "mask" the AND mask and the OR mask.
    pub cut: At<Vec<u16>>,
    /// The words that restore it.
    pub restore: At<Vec<u16>>,
    /// How it is known where the relay or valve is.
    pub proof: RawRelayProof,
}

/// `proof` of a `[[relay]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRelayProof {
    /// The point that tells. What it reads besides the following values proves nothing.
    pub point: At<String>,
    /// What it reads while the supply is interrupted: a relay that is open, a valve that is shut.
    pub cut: At<Vec<i64>>,
    /// What it reads while the supply is there.
    pub supplied: At<Vec<i64>>,
    /// What it reads of a valve on its way to interrupted.
    pub cutting: Option<At<Vec<i64>>>,
    /// What it reads of a valve on its way to supplied.
    pub restoring: Option<At<Vec<i64>>>,
    /// What it reads of a valve that cannot get where it was sent.
    pub jammed: Option<At<Vec<i64>>>,
}
