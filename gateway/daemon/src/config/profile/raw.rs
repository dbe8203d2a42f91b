//! A device profile as it is written; `config/profiles/_blueprint.toml` shows every key.

use guanjia_core::profile::{Confidence, EquipmentClass, Order, PollClass, Table, WireType, WordOrder};
use guanjia_core::text::Bilingual;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::alarms::{RawAlarm, RawRepeat};
use crate::config::lines::RawParity;
use crate::config::value::{At, Number, Span};

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
    /// Its points, in the order in which people see them.
    point: Vec<RawPoint>,
    /// The alarms every device of the model has.
    alarm: Option<Vec<RawAlarm>>,
    /// The supply relay or valve, for meters that have one.
    relay: Option<RawRelay>,
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
    /// Registers without a point that one request may span. Default 8.
    pub gap_max: Option<u16>,
    /// Silence it wants between its answer and the next request. Default "0ms" beyond the standard's 3.5 characters.
    pub silence_min: Option<Span>,
    /// How long it may think before its answer begins. Default "500ms".
    pub response_max: Option<Span>,
}

/// `[[point]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPoint {
    /// Its id, unique in the profile; with `repeat`, `{n}` in it is the number.
    pub id: At<String>,
    /// What people call it.
    pub name: Bilingual,
    /// The same point several times, numbered.
    pub repeat: Option<RawRepeat>,
    /// "holding", "input", "coil" or "discrete-input"; not for MQTT.
    pub table: Option<Table>,
    /// The address on the wire, zero based; not the document's 4xxxx number.
    pub address: Option<At<u16>>,
    /// "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd", "ascii" or "bit".
    pub r#type: Option<At<WireType>>,
    /// For "bcd" and "ascii": how many registers.
    pub registers: Option<u16>,
    /// Which byte of a register comes first. Default "big".
    #[serde(default)]
    pub bytes: Order,
    /// Which register of a value comes first. Default "big".
    #[serde(default)]
    pub words: WordOrder,
    /// For "bit" in a register: 0 is the least significant.
    pub bit: Option<At<u8>>,
    /// Bits of the raw value to keep, moved down until the lowest of them is bit 0.
    pub mask: Option<At<i64>>,
    /// Raw values, unsigned and before scaling, with which the device says "no value".
    #[serde(default)]
    pub invalid: Vec<u64>,
    /// For MQTT: the RFC 6901 pointer into the JSON, such as "/volume_l"; "" for a plain payload.
    pub pointer: Option<At<String>>,
    /// What the raw number is multiplied with. Default 1.
    pub scale: Option<At<Number>>,
    /// The unit after scaling, a UCUM code such as "kW.h"; left out for counts, codes and bits.
    pub unit: Option<At<String>>,
    /// "alarm", "billing" or "bulk". Default "bulk".
    pub poll: Option<PollClass>,
    /// What each code means.
    #[serde(default)]
    pub codes: Vec<RawCode>,
    /// Decimal digits of the raw counter before it rolls over to zero; only for counters.
    pub counter_digits: Option<At<u8>>,
}

/// One code of a point.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCode {
    /// The code.
    pub value: i64,
    /// Its meaning in Chinese.
    pub zh: String,
    /// Its meaning in English.
    pub en: String,
}

/// `[relay]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRelay {
    /// The first holding register of the control word.
    pub address: u16,
    /// The words that interrupt the supply.
    pub open: At<Vec<u16>>,
    /// The words that restore it.
    pub close: At<Vec<u16>>,
    /// The point that tells where the contact is.
    pub proof: At<String>,
    /// What that point reads while the contact is open.
    pub proof_open: i64,
}
