//! Where a point stands: in registers, in a SunSpec model, in a message, or nowhere because it is calculated.

use std::collections::BTreeMap;
use std::sync::Arc;

use guanjia_core::profile::{Formula, Registers, Source as PointSource, Table, WireType, WordOrder};

use super::REGISTERS_MAX;
use super::raw::{RawBits, RawDefaults, RawNumbers, RawPoint};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::topics::{self, Holes};
use crate::config::value::At;

/// What the file says once for all points.
pub struct Places<'a> {
    pub source: &'a Arc<Source>,
    pub numbers: RawNumbers,
    pub defaults: RawDefaults,
    pub invalid: BTreeMap<WireType, Vec<RawBits>>,
    /// Whether the file says how SunSpec models are found.
    pub has_models: bool,
}

/// The place of a point, `offset` addresses and `shift` bits beyond what the file says.
pub fn place(
    raw: &Entry<RawPoint>,
    offset: u16,
    shift: u8,
    places: &Places<'_>,
    report: &mut Report,
) -> Option<PointSource> {
    let source = places.source;
    let in_registers = raw.table.is_some() || raw.address.is_some() || raw.number.is_some() || raw.r#type.is_some();
    if let Some(at) = raw.pointer.as_ref().or(raw.topic.as_ref()) {
        if in_registers || raw.formula.is_some() {
            report.error(source, at.span(), "a point is in a message or in registers, not in both");
            return None;
        }
        return message(raw, source, report);
    }
    if let Some(formula) = &raw.formula {
        let is_scaled = raw.scale.is_some() || raw.offset.is_some() || raw.scale_from.is_some();
        if in_registers || is_scaled || raw.repeat.is_some() {
            report.error(source, formula.span(), "a calculated point has no place and no scale of its own").help(
                "remove table, address, type, scale, offset, scale_from and repeat; write the numbers into the formula",
            );
            return None;
        }
        // The other points are not known yet; `inputs` puts the real formula here.
        return Formula::parse("0", &|_| None).ok().map(PointSource::Derived);
    }
    let Some((table, wire)) = raw.table.or(places.defaults.table).zip(raw.r#type.as_ref()) else {
        incomplete(raw, places, report);
        return None;
    };
    let address = wire_address(raw, table, places, report)?;
    let mut registers = Registers {
        count: register_count(raw, table, wire, source, report)?,
        bytes: raw.bytes.unwrap_or(places.defaults.bytes),
        bit: raw.bit.as_ref().map(|b| **b + shift),
        mask: mask(raw, wire, shift, source, report)?,
        invalid: invalid(raw, **wire, places),
        ..Registers::new(table, 0, **wire)
    };
    registers.words = word_order(raw, registers.count, places, report)?;
    registers.fields = fields(raw, wire, registers.count, source, report)?;
    let start = address.checked_add(offset);
    let Some(start) = start.filter(|s| u32::from(*s) + u32::from(registers.count) <= 0x1_0000) else {
        report
            .error(source, place_of(raw), "the point ends after address 65535")
            .help("addresses are those on the wire, without the 4xxxx of the document");
        return None;
    };
    registers.address = start;
    match raw.model.or(places.defaults.model) {
        Some(model) if places.has_models => Some(PointSource::Model { model, registers }),
        Some(_) => {
            report
                .error(source, raw.id.span(), "the point is in a SunSpec model, and nothing says how it is found")
                .help("write [sunspec] with bases = [40000, 50000, 0]");
            None
        }
        None => Some(PointSource::Registers(registers)),
    }
}

/// A place in a message. A topic of its own without a pointer carries the value and nothing else.
fn message(raw: &RawPoint, source: &Arc<Source>, report: &mut Report) -> Option<PointSource> {
    let pointer = raw.pointer.as_ref().map_or("", |pointer| pointer.as_str());
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let at = raw.pointer.as_ref().map_or(0..0, At::span);
        report.error(source, at, "a JSON pointer begins with a slash").help(format!("write \"/{pointer}\""));
        return None;
    }
    let topic = match &raw.topic {
        None => None,
        Some(topic) => match topics::template(topic, Holes::OfPoint) {
            Ok(template) => Some(template),
            Err(wrong) => {
                report.error(source, topic.span(), wrong.message).help(wrong.help);
                return None;
            }
        },
    };
    Some(PointSource::Message { topic, pointer: pointer.to_owned() })
}

fn incomplete(raw: &Entry<RawPoint>, places: &Places<'_>, report: &mut Report) {
    report
        .error(places.source, raw.id.span(), format!("point `{}` has no complete place", *raw.id))
        .help("write `table`, `address` and `type` for Modbus, `pointer` for MQTT, or `formula` to calculate it");
}

fn place_of(raw: &RawPoint) -> std::ops::Range<usize> {
    let address = raw.address.as_ref().map(At::span);
    address.or(raw.number.as_ref().map(At::span)).unwrap_or_else(|| raw.id.span())
}

/// The address on the wire, from `address` or from the document's `number`.
fn wire_address(raw: &Entry<RawPoint>, table: Table, places: &Places<'_>, report: &mut Report) -> Option<u16> {
    let source = places.source;
    match (&raw.address, &raw.number) {
        (Some(address), None) => Some(**address),
        (None, Some(number)) => {
            let Some(first) = places.numbers.first(table) else {
                report
                    .error(source, number.span(), "nothing says what the document's numbers begin with")
                    .help("write [numbers] with holding = 40001 (or input, coil, discrete_input)");
                return None;
            };
            let address = number.checked_sub(first).and_then(|a| u16::try_from(a).ok());
            if address.is_none() {
                report
                    .error(
                        source,
                        number.span(),
                        format!("the numbers of this table go from {first} to {}", first + 0xFFFF),
                    )
                    .help("check `number`, `table` and [numbers]");
            }
            address
        }
        (Some(address), Some(_)) => {
            report
                .error(source, address.span(), "a place is an address or a number, not both")
                .help("keep `number` if the document is at hand, `address` if the frame is");
            None
        }
        (None, None) => {
            incomplete(raw, places, report);
            None
        }
    }
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
    let bits = raw.repeat.and_then(|r| r.bits);
    if let Some(bit) = raw.bit.as_ref().filter(|b| {
        let last =
            ***b + raw.repeat.map_or(0, |r| (0..r.count.min(16)).map(|i| r.shift(r.first + i)).max().unwrap_or(0));
        last > 15 || table.is_bits() || **wire != WireType::Bit
    }) {
        report.error(source, bit.span(), "`bit` is 0 to 15 of one register").help("write it with type = \"bit\" only");
        return None;
    }
    if bits.is_some_and(|bits| !(1..=16).contains(&bits) || raw.bit.is_none() && raw.mask.is_none()) {
        report
            .error(source, raw.id.span(), "`bits` of `repeat` steps through bits of a register, 1 to 16 at a time")
            .help("write it with `bit` or `mask`");
        return None;
    }
    match (wire.count(), raw.registers) {
        (Some(count), None) => Some(count),
        (Some(_), Some(_)) => {
            report.error(source, wire.span(), "this type has a length of its own").help("remove `registers`");
            None
        }
        (None, Some(n)) if (1..=registers_max(**wire)).contains(&n) => Some(n),
        (None, _) => {
            report
                .error(source, wire.span(), "how many registers?")
                .help(format!("add registers = 2, at most {}", registers_max(**wire)));
            None
        }
    }
}

fn registers_max(wire: WireType) -> u16 {
    match wire {
        WireType::Bcd | WireType::Mod10k => 4,
        _ => REGISTERS_MAX,
    }
}

/// The bits to keep; `Some(None)` for all.
fn mask(
    raw: &Entry<RawPoint>,
    wire: &At<WireType>,
    shift: u8,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Option<u64>> {
    let Some(mask) = &raw.mask else { return Some(None) };
    let shifted = u64::try_from(**mask).ok().filter(|m| *m > 0).map(|m| m << shift);
    match shifted {
        Some(mask) if wire.takes_mask() && (shift == 0 || mask <= 0xFFFF) => Some(Some(mask)),
        _ => {
            report
                .error(source, mask.span(), "a mask is for unsigned integers and has at least one bit")
                .help("write 0x00FF");
            None
        }
    }
}

/// What the point says, or the file says for its type.
fn invalid(raw: &RawPoint, wire: WireType, places: &Places<'_>) -> Vec<u64> {
    let of_type = || places.invalid.get(&wire).cloned().unwrap_or_default();
    raw.invalid.clone().unwrap_or_else(of_type).into_iter().map(|bits| bits.0).collect()
}

fn word_order(raw: &RawPoint, count: u16, places: &Places<'_>, report: &mut Report) -> Option<WordOrder> {
    let Some(words) = &raw.words else { return Some(places.defaults.words) };
    if matches!(**words, WordOrder::SwappedPairs | WordOrder::SwappedInPairs) && count != 4 {
        report
            .error(places.source, words.span(), "this order differs from the others for four registers only")
            .help("write \"big\" or \"little\"");
        return None;
    }
    Some(**words)
}

fn fields(
    raw: &RawPoint,
    wire: &At<WireType>,
    count: u16,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Vec<guanjia_core::profile::TimeField>> {
    let is_time = matches!(**wire, WireType::TimeBcd | WireType::TimeBinary);
    match &raw.fields {
        Some(fields) if is_time && fields.len() == usize::from(count) * 2 => Some((**fields).clone()),
        None if !is_time => Some(Vec::new()),
        fields => {
            report
                .error(source, fields.as_ref().map_or(wire.span(), At::span), "a time has one field for each byte")
                .help(format!(
                    "write {} of \"year\", \"month\", \"day\", \"hour\", \"minute\", \"second\", \"other\"",
                    count * 2
                ));
            None
        }
    }
}
