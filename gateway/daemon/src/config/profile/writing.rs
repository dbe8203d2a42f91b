//! The writable things of a profile: the relay or valve of a meter, and settings.

use std::sync::Arc;

use guanjia_core::profile::{EquipmentClass, Order, PointDef, Relay, Setting, Table, WireType, WriteFunction};

use super::raw::{RawRelay, RawSetting};
use crate::config::alarms::in_unit_of;
use crate::config::diagnostic::{Report, Source, suggest};
use crate::config::document::Entry;

pub fn relay(
    raw: &Entry<RawRelay>,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Relay> {
    let function = raw.function.unwrap_or(WriteFunction::Registers);
    for words in [&raw.open, &raw.close] {
        let most = function.count_max();
        let is_masks = function != WriteFunction::Mask || words.len() == 2;
        if words.is_empty() || words.len() > most || !is_masks {
            let many = if function == WriteFunction::Mask { "2" } else { "1" };
            let range = if most > 2 { format!("1 to {most}") } else { many.to_owned() };
            report
                .error(source, words.span(), format!("a control word is {range} registers"))
                .help(format!("function {:02} takes no other number", function.code()));
            return None;
        }
        if function.is_coils() && words.iter().any(|w| *w > 1) {
            report.error(source, words.span(), "a coil is 0 or 1").help("write [1] and [0]");
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
    if proof.source.registers().is_none() || !proof.inputs.is_empty() {
        report
            .error(source, raw.proof.span(), "a proof is a point in registers that stands for itself")
            .help("it is read alone, right after the write");
        return None;
    }
    let made =
        Relay::new(class, raw.address, (*raw.open).clone(), (*raw.close).clone(), proof.id.clone(), raw.proof_open);
    match made {
        Ok(relay) => Some(relay.with_function(function)),
        Err(_) => {
            report
                .error(source, raw.at.clone(), "this class of equipment is never written to")
                .help("remove [relay]: fire panels and lifts are looked at, never touched");
            None
        }
    }
}

pub fn setting(
    raw: &Entry<RawSetting>,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Setting> {
    let Some(point) = points.iter().find(|p| *p.id == **raw.point) else {
        report
            .error(source, raw.point.span(), format!("there is no point `{}`", *raw.point))
            .help(suggest(&raw.point, points.iter().map(|p| &*p.id)));
        return None;
    };
    let wanted = if raw.function.is_coils() { Table::Coil } else { Table::Holding };
    let Some(place) = point.source.registers().filter(|_| point.inputs.is_empty()) else {
        report
            .error(source, raw.point.span(), "only a point in registers that stands for itself can be set")
            .help("a value that hangs on other registers cannot be written exactly");
        return None;
    };
    if place.table != wanted {
        report
            .error(
                source,
                raw.function.span(),
                format!("function {:02} does not write this table", raw.function.code()),
            )
            .help("coils are written with \"coil\" or \"coils\", holding registers with the others; inputs never");
        return None;
    }
    use WireType::{I8High, I8Low, U8High, U8Low};
    let is_half = matches!(place.wire, U8High | U8Low | I8High | I8Low);
    if is_half || *raw.function == WriteFunction::Mask && place.bytes == Order::Little {
        report
            .error(source, raw.point.span(), "half a register, or bits of a swapped one, cannot be set")
            .help("give the point type = \"u16\" and a `mask`, with the bytes in order");
        return None;
    }
    let part = place.bit.is_some() || place.mask.is_some();
    if part != (*raw.function == WriteFunction::Mask) && place.table == Table::Holding {
        report
            .error(source, raw.function.span(), "a part of a register is written with \"mask\", a whole one is not")
            .help("another function would change the other bits");
        return None;
    }
    if usize::from(place.count) > raw.function.count_max() {
        report
            .error(source, raw.function.span(), format!("the point has {} registers", place.count))
            .help("write \"registers\" (function 16)");
        return None;
    }
    let min = in_unit_of(&raw.min, point, source, report)?;
    let max = in_unit_of(&raw.max, point, source, report)?;
    if min.to_f64() > max.to_f64() {
        report.error(source, raw.max.span(), "the greatest value is below the least");
        return None;
    }
    match Setting::new(class, point.id.clone(), *raw.function, min, max) {
        Ok(setting) => Some(setting),
        Err(_) => {
            report
                .error(source, raw.at.clone(), "this class of equipment is never written to")
                .help("remove [[setting]]: fire panels and lifts are looked at, never touched");
            None
        }
    }
}
