//! The points of a profile as they stand in its file.

use guanjia_core::profile::{Evidence, Order, PointKind, PollClass, Table, TimeField, WireType, WordOrder};
use guanjia_core::text::Bilingual;
use schemars::JsonSchema;
use serde::Deserialize;

use super::RawBits;
use crate::config::alarms::RawRepeat;
use crate::config::value::{At, Number};

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
    /// "holding", "input", "coil" or "discrete-input"; not for MQTT. Default: that of `[defaults]`.
    pub table: Option<Table>,
    /// The address on the wire, zero based; with `model` the offset in the SunSpec model, whose id stands at 0.
    pub address: Option<At<u16>>,
    /// Instead of `address`: the number in the document; `[numbers]` says what it begins with.
    pub number: Option<At<u32>>,
    /// The SunSpec model it is in. Default: that of `[defaults]`.
    pub model: Option<u16>,
    /// "u16", "i32", "f32", "bcd", "ascii", "bit" and so on.
    pub r#type: Option<At<WireType>>,
    /// For types whose length is not in their name ("bcd", "mod10k", texts, times, "raw"): how many registers.
    pub registers: Option<u16>,
    /// Which byte of a register comes first. Default: that of `[defaults]`, else "big".
    pub bytes: Option<Order>,
    /// Which register of a value comes first. Default: that of `[defaults]`, else "big".
    pub words: Option<At<WordOrder>>,
    /// For "time-bcd" and "time-binary": what each byte is.
    pub fields: Option<At<Vec<TimeField>>>,
    /// For "bit" in a register: 0 is the least significant.
    pub bit: Option<At<u8>>,
    /// Bits of the raw value to keep, moved down until the lowest of them is bit 0.
    pub mask: Option<At<i64>>,
    /// Raw values, unsigned and before scaling, with which the device says "no value". Default: those of `[invalid]`.
    pub invalid: Option<Vec<RawBits>>,
    /// Instead of a place: a formula over points that stand further up, such as "(whole + fraction) * pow10(n - 3)".
    pub formula: Option<At<String>>,
    /// For MQTT: the RFC 6901 pointer into the JSON, such as "/volume_l"; "" for a plain payload.
    pub pointer: Option<At<String>>,
    /// For MQTT: the topic it comes on, if not on the device's: "{topic}" is that one, "{device}" and "{node}" as there.
    pub topic: Option<At<String>>,
    /// What the raw number is multiplied with. Default 1.
    pub scale: Option<At<Number>>,
    /// What is added after that, in the point's unit. Default 0.
    pub offset: Option<Number>,
    /// The point that holds the power of ten the value is multiplied with, as in SunSpec.
    pub scale_from: Option<At<String>>,
    /// Points the value is multiplied with, such as transformers' ratios; of `kind` "configured".
    #[serde(default)]
    pub times: Vec<At<String>>,
    /// The point that says in which unit the device sends the value, and what each code means.
    pub unit_from: Option<RawUnitFrom>,
    /// "measured", or "configured" for what changes only when somebody sets the device anew. Default "measured".
    #[serde(default)]
    pub kind: PointKind,
    /// The unit after scaling, a UCUM code such as "kW.h"; left out for counts, codes and bits.
    pub unit: Option<At<String>>,
    /// "alarm", "billing" or "bulk". Default "bulk".
    pub poll: Option<PollClass>,
    /// What each code means.
    #[serde(default)]
    pub codes: Vec<RawCode>,
    /// What each bit of a number means.
    #[serde(default)]
    pub bits: Vec<RawBit>,
    /// The firmware below which devices do not have it.
    pub min_firmware: Option<At<Number>>,
    /// Why it is known less well than the rest: "catalogue", "family", "scale-assumed", "unit-assumed" or "driver".
    pub evidence: Option<Evidence>,
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

/// One bit of a point.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBit {
    /// 0 is the least significant.
    pub bit: u8,
    /// Its meaning in Chinese.
    pub zh: String,
    /// Its meaning in English.
    pub en: String,
}

/// `unit_from`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUnitFrom {
    /// The point that holds the code.
    pub point: At<String>,
    /// What the value is multiplied with to be in the point's `unit`, for each code; other codes make it bad.
    pub units: Vec<RawUnitCode>,
}

/// One unit of `unit_from`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUnitCode {
    /// The code.
    pub code: i64,
    /// What the value is multiplied with.
    pub factor: Number,
    /// What is added after that. Default 0.
    pub offset: Option<Number>,
}
