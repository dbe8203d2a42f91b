//! Device profiles: from one TOML file to one checked [`Profile`].
//!
//! `config/profiles/_blueprint.toml` explains the format key by key. A profile is data from a maker's document, so
//! every mistake that can be seen without the device is refused here: addresses past the end of a table, units that
//! do not exist, alarms on points that do not, and a relay on equipment that is never written to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{
    Confidence, EquipmentClass, Order, PointDef, PollClass, Profile, ReadLimits, Registers, Relay,
    Source as PointSource, Table, WireType,
};
use guanjia_core::reading::Decimal;
use guanjia_core::text::Bilingual;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Schema;

use super::alarms::{self, RawAlarm, RawRepeat, numbered, numbered_both};
use super::diagnostic::{Report, Source, suggest};
use super::document::{Document, Entry};
use super::raw::RawParity;
use super::unit;
use super::value::{At, Number, Span};

/// Modbus Application Protocol V1.1b3, 6.3: registers in one answer.
const REGISTERS_MAX: u16 = 125;
/// Modbus Application Protocol V1.1b3, 6.12: registers in one write.
const WRITE_MAX: usize = 123;

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

/// The keys before the first table.
#[derive(Debug, Deserialize)]
struct Head {
    vendor: String,
    model: String,
    class: EquipmentClass,
    confidence: Confidence,
    sources: At<Vec<String>>,
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
struct RawRead {
    /// Registers in one request, 1 to 125. Default 125.
    registers_max: Option<At<u16>>,
    /// Registers without a point that one request may span. Default 8.
    gap_max: Option<u16>,
    /// Silence it wants between its answer and the next request. Default "0ms" beyond the standard's 3.5 characters.
    silence_min: Option<Span>,
    /// How long it may think before its answer begins. Default "500ms".
    response_max: Option<Span>,
}

/// `[[point]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawPoint {
    /// Its id, unique in the profile; with `repeat`, `{n}` in it is the number.
    id: At<String>,
    /// What people call it.
    name: Bilingual,
    /// The same point several times, numbered.
    repeat: Option<RawRepeat>,
    /// "holding", "input", "coil" or "discrete-input"; not for MQTT.
    table: Option<Table>,
    /// The address on the wire, zero based; not the document's 4xxxx number.
    address: Option<At<u16>>,
    /// "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd", "ascii" or "bit".
    r#type: Option<At<WireType>>,
    /// For "bcd" and "ascii": how many registers.
    registers: Option<u16>,
    /// Which byte of a register comes first. Default "big".
    #[serde(default)]
    bytes: Order,
    /// Which register of a value comes first. Default "big".
    #[serde(default)]
    words: Order,
    /// For "bit" in a register: 0 is the least significant.
    bit: Option<At<u8>>,
    /// Bits of the raw value to keep, moved down until the lowest of them is bit 0.
    mask: Option<At<i64>>,
    /// Raw values, unsigned and before scaling, with which the device says "no value".
    #[serde(default)]
    invalid: Vec<u64>,
    /// For MQTT: the RFC 6901 pointer into the JSON, such as "/volume_l"; "" for a plain payload.
    pointer: Option<At<String>>,
    /// What the raw number is multiplied with. Default 1.
    scale: Option<At<Number>>,
    /// The unit after scaling, a UCUM code such as "kW.h"; left out for counts, codes and bits.
    unit: Option<At<String>>,
    /// "alarm", "billing" or "bulk". Default "bulk".
    poll: Option<PollClass>,
    /// What each code means.
    #[serde(default)]
    codes: Vec<RawCode>,
    /// Decimal digits of the raw counter before it rolls over to zero; only for counters.
    counter_digits: Option<At<u8>>,
}

/// One code of a point.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawCode {
    /// The code.
    value: i64,
    /// Its meaning in Chinese.
    zh: String,
    /// Its meaning in English.
    en: String,
}

/// `[relay]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRelay {
    /// The first holding register of the control word.
    address: u16,
    /// The words that interrupt the supply.
    open: At<Vec<u16>>,
    /// The words that restore it.
    close: At<Vec<u16>>,
    /// The point that tells where the contact is.
    proof: At<String>,
    /// What that point reads while the contact is open.
    proof_open: i64,
}

/// A profile and what the site is checked against besides.
#[derive(Clone, Debug)]
pub struct LoadedProfile {
    /// The profile.
    pub profile: Arc<Profile>,
    /// The serial formats it can be set to.
    pub serial: Option<RawSerial>,
    /// The file, for messages about its alarms' plans.
    pub source: Arc<Source>,
    /// Which plans its alarms name, and where.
    pub plans: Vec<At<String>>,
}

impl LoadedProfile {
    /// Whether its points come in MQTT messages.
    pub fn is_mqtt(&self) -> bool {
        self.profile.points.iter().any(|p| matches!(p.source, PointSource::Message { .. }))
    }
}

/// Reads one profile. `None` if anything in it is wrong, and `report` says what.
pub fn read(id: &str, source: &Arc<Source>, schema: &Schema, report: &mut Report) -> Option<LoadedProfile> {
    let before = report.diagnostics.len();
    let mut document = Document::parse(source, schema, report)?;
    let serial = document.one::<RawSerial>("serial", report);
    let read = document.one::<RawRead>("read", report);
    let raw_points = document.list::<RawPoint>("point", report);
    let raw_alarms = document.list::<RawAlarm>("alarm", report);
    let relay = document.one::<RawRelay>("relay", report);
    let head = document.rest::<Head>(report)?;
    if head.sources.is_empty() && head.confidence != Confidence::Synthetic {
        report
            .error(source, head.sources.span(), "a register map has a source")
            .help("name the document or repository");
    }
    let mut points = Vec::new();
    for raw in &raw_points {
        points.extend(self::points(raw, source, report));
    }
    check_unique(&raw_points, &points, source, report);
    let mut alarms = Vec::new();
    for raw in &raw_alarms {
        if let Some(device) = &raw.device {
            report
                .error(source, device.span(), "an alarm of a profile is about every device of the model")
                .help("remove `device`");
        }
        alarms.extend(alarms::templates(raw, &points, source, report));
    }
    let limits = read_limits(read.as_ref(), source, report);
    let relay = relay.and_then(|r| self::relay(&r, head.class, &points, source, report));
    if report.diagnostics.len() > before {
        return None;
    }
    let profile = Profile {
        id: id.to_owned(),
        vendor: head.vendor.clone(),
        model: head.model.clone(),
        class: head.class,
        confidence: head.confidence,
        limits,
        points,
        alarms,
        relay,
    };
    let plans = raw_alarms.iter().filter_map(|a| a.plan.clone()).collect();
    Some(LoadedProfile { profile: Arc::new(profile), serial: serial.map(|s| s.value), source: source.clone(), plans })
}

fn read_limits(raw: Option<&Entry<RawRead>>, source: &Arc<Source>, report: &mut Report) -> ReadLimits {
    let defaults = ReadLimits::default();
    let Some(raw) = raw else { return defaults };
    let registers_max = match &raw.registers_max {
        Some(n) if (1..=REGISTERS_MAX).contains(&**n) => **n,
        Some(n) => {
            report
                .error(source, n.span(), format!("a request reads 1 to {REGISTERS_MAX} registers"))
                .help(format!("write a number up to {REGISTERS_MAX}"));
            defaults.registers_max
        }
        None => defaults.registers_max,
    };
    let or = |span: &Option<Span>, default: Duration| span.map_or(default, |s| s.0);
    ReadLimits {
        registers_max,
        gap_max: raw.gap_max.unwrap_or(defaults.gap_max),
        silence_min: or(&raw.silence_min, defaults.silence_min),
        response_max: or(&raw.response_max, defaults.response_max),
    }
}

/// The points one `[[point]]` defines.
fn points(raw: &Entry<RawPoint>, source: &Arc<Source>, report: &mut Report) -> Vec<PointDef> {
    let unit = raw.unit.as_ref().and_then(|name| match unit::find(name) {
        Some(unit) => Some(unit.code),
        None => {
            report.error(source, name.span(), format!("`{}` is not a unit", **name)).help(unit::suggest(name));
            None
        }
    });
    let scale = raw.scale.as_ref().map_or(Decimal::new(1, 0), |s| s.0);
    if let Some(at) = raw.scale.as_ref().filter(|s| s.0.mantissa == 0) {
        report.error(source, at.span(), "a scale of 0 makes every value 0").help("leave `scale` out for 1");
    }
    let mut points = Vec::new();
    for (n, offset) in RawRepeat::numbers(raw.repeat) {
        let Some(place) = place(raw, offset, source, report) else { return Vec::new() };
        points.push(PointDef {
            id: numbered(&raw.id, n).into(),
            name: numbered_both(&raw.name, n),
            source: place,
            scale,
            unit: unit.unwrap_or_default().to_owned(),
            poll: raw.poll.unwrap_or(PollClass::Bulk),
            codes: raw.codes.iter().map(|c| (c.value, Bilingual::new(c.zh.clone(), c.en.clone()))).collect(),
            counter_digits: counter_digits(raw, source, report),
        });
    }
    points
}

fn place(raw: &Entry<RawPoint>, offset: u16, source: &Arc<Source>, report: &mut Report) -> Option<PointSource> {
    if let Some(pointer) = &raw.pointer {
        if raw.table.is_some() || raw.address.is_some() || raw.r#type.is_some() {
            report.error(source, pointer.span(), "a point is in a message or in registers, not in both");
            return None;
        }
        if !pointer.is_empty() && !pointer.starts_with('/') {
            report
                .error(source, pointer.span(), "a JSON pointer begins with a slash")
                .help(format!("write \"/{}\"", **pointer));
            return None;
        }
        return Some(PointSource::Message { pointer: (**pointer).clone() });
    }
    let (Some(table), Some(address), Some(wire)) = (raw.table, &raw.address, &raw.r#type) else {
        report
            .error(source, raw.id.span(), format!("point `{}` has no complete place", *raw.id))
            .help("write `table`, `address` and `type` for Modbus, or `pointer` for MQTT");
        return None;
    };
    let count = register_count(raw, table, wire, source, report)?;
    let start = address.checked_add(offset);
    let Some(start) = start.filter(|s| u32::from(*s) + u32::from(count) <= 0x1_0000) else {
        report
            .error(source, address.span(), "the point ends after address 65535")
            .help("addresses are those on the wire, without the 4xxxx of the document");
        return None;
    };
    let mask = match &raw.mask {
        None => None,
        Some(mask)
            if **mask > 0
                && !matches!(
                    **wire,
                    WireType::Bit | WireType::F32 | WireType::F64 | WireType::Bcd | WireType::Ascii
                ) =>
        {
            u64::try_from(**mask).ok()
        }
        Some(mask) => {
            report.error(source, mask.span(), "a mask is for integers and has at least one bit").help("write 0x00FF");
            return None;
        }
    };
    Some(PointSource::Registers(Registers {
        table,
        address: start,
        count,
        wire: **wire,
        bytes: raw.bytes,
        words: raw.words,
        bit: raw.bit.as_ref().map(|b| **b),
        mask,
        invalid: raw.invalid.clone(),
    }))
}

fn register_count(
    raw: &Entry<RawPoint>,
    table: Table,
    wire: &At<WireType>,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<u16> {
    if table.is_bits() != (**wire == WireType::Bit) && raw.bit.is_none() {
        let help = if table.is_bits() { "write type = \"bit\"" } else { "add `bit`: 0 is the least significant" };
        report.error(source, wire.span(), "the type does not fit the table").help(help);
        return None;
    }
    if let Some(bit) = raw.bit.as_ref().filter(|b| ***b > 15 || table.is_bits() || **wire != WireType::Bit) {
        report.error(source, bit.span(), "`bit` is 0 to 15 of one register").help("write it with type = \"bit\" only");
        return None;
    }
    let count = match **wire {
        WireType::Bit | WireType::U16 | WireType::I16 => 1,
        WireType::U32 | WireType::I32 | WireType::F32 => 2,
        WireType::U64 | WireType::I64 | WireType::F64 => 4,
        WireType::Bcd | WireType::Ascii => match raw.registers {
            Some(n) if (1..=REGISTERS_MAX).contains(&n) => n,
            _ => {
                report.error(source, wire.span(), "how many registers?").help("add registers = 2");
                return None;
            }
        },
    };
    Some(count)
}

fn counter_digits(raw: &Entry<RawPoint>, source: &Arc<Source>, report: &mut Report) -> Option<u8> {
    let digits = raw.counter_digits.as_ref()?;
    let float = raw.r#type.as_ref().is_some_and(|t| matches!(**t, WireType::F32 | WireType::F64 | WireType::Bit));
    if float || !(1..=20).contains(&**digits) {
        report
            .error(source, digits.span(), "`counter_digits` is 1 to 20 digits of an integer counter")
            .help("leave it out for floats: they do not roll over, they lose digits");
        return None;
    }
    Some(**digits)
}

fn check_unique(raw: &[Entry<RawPoint>], points: &[PointDef], source: &Arc<Source>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for point in points.iter().filter(|p| !seen.insert(p.id.clone())) {
        let again = raw
            .iter()
            .rev()
            .find(|r| RawRepeat::numbers(r.repeat).iter().any(|(n, _)| *numbered(&r.id, *n) == *point.id));
        let at = again.map_or(0..0, |r| r.id.span());
        report
            .error(source, at, format!("there are two points `{}`", point.id))
            .help("every point of a profile has its own id");
    }
}

fn relay(
    raw: &Entry<RawRelay>,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Relay> {
    for words in [&raw.open, &raw.close] {
        if words.is_empty() || words.len() > WRITE_MAX {
            report.error(source, words.span(), format!("a control word is 1 to {WRITE_MAX} registers"));
            return None;
        }
    }
    if *raw.open == *raw.close {
        report.error(source, raw.close.span(), "opening and closing are the same words");
        return None;
    }
    let Some(proof) = points.iter().find(|p| *p.id == **raw.proof) else {
        report
            .error(source, raw.proof.span(), format!("there is no point `{}`", *raw.proof))
            .help(suggest(&raw.proof, points.iter().map(|p| &*p.id)));
        return None;
    };
    let made =
        Relay::new(class, raw.address, (*raw.open).clone(), (*raw.close).clone(), proof.id.clone(), raw.proof_open);
    match made {
        Ok(relay) => Some(relay),
        Err(_) => {
            report
                .error(source, raw.at.clone(), "this class of equipment is never written to")
                .help("remove [relay]: fire panels and lifts are looked at, never touched");
            None
        }
    }
}
