//! The points of a profile: place, type and unit of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use guanjia_core::profile::{PointDef, PollClass, Registers, Source as PointSource, Table, WireType};
use guanjia_core::reading::Decimal;
use guanjia_core::text::Bilingual;

use super::REGISTERS_MAX;
use super::raw::RawPoint;
use crate::config::alarms::{RawRepeat, numbered, numbered_both};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::unit;
use crate::config::value::At;

/// The points one `[[point]]` defines.
pub fn points(raw: &Entry<RawPoint>, source: &Arc<Source>, report: &mut Report) -> Vec<PointDef> {
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
            name: numbered_both(&raw.name, n),
            scale,
            unit: unit.unwrap_or_default().to_owned(),
            poll: raw.poll.unwrap_or(PollClass::Bulk),
            codes: raw.codes.iter().map(|c| (c.value, Bilingual::new(c.zh.clone(), c.en.clone()))).collect(),
            counter_digits: counter_digits(raw, source, report),
            ..PointDef::new(&numbered(&raw.id, n), place)
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
        Some(mask) if **mask > 0 && matches!(**wire, WireType::U16 | WireType::U32 | WireType::U64) => {
            u64::try_from(**mask).ok()
        }
        Some(mask) => {
            report
                .error(source, mask.span(), "a mask is for unsigned integers and has at least one bit")
                .help("write 0x00FF");
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
        fields: Vec::new(),
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
    let count = match wire.count() {
        Some(count) => count,
        None => match raw.registers {
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

/// Reports ids that stand twice.
pub fn check_unique(raw: &[Entry<RawPoint>], points: &[PointDef], source: &Arc<Source>, report: &mut Report) {
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
