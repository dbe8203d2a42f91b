//! The writable things of a profile: the relays and valves of a meter, settings, and accounts of credit.

use std::collections::BTreeSet;
use std::sync::Arc;

use guanjia_core::profile::{
    EquipmentClass, Extent, Order, PointDef, Registers, Relay, RelayProof, RelayWords, Setting, Table, Wallet,
    WalletParts, WireType, WordOrder, WriteFunction,
};

use super::REGISTERS_MAX;
use super::raw::{RawRelay, RawRelayProof, RawSetting, RawWallet};
use crate::config::alarms::{Numbered, in_unit_of, numbered};
use crate::config::diagnostic::{Report, Source, suggest};
use crate::config::document::Entry;
use crate::config::value::At;

/// The relay or valve that `[[relay]]` defines under this number, so far from its address.
pub fn relay(
    raw: &Entry<RawRelay>,
    (n, offset): Numbered,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Relay> {
    let function = raw.function.unwrap_or(WriteFunction::Registers);
    for words in [&raw.cut, &raw.restore] {
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
    if *raw.cut == *raw.restore {
        report.error(source, raw.restore.span(), "cutting and restoring are the same words");
        return None;
    }
    let Some(address) = raw.address.checked_add(offset) else {
        report.error(source, raw.address.span(), "the last of these relays lies beyond address 65535");
        return None;
    };
    let supplies = raw.registers.as_ref().map_or(Some(Vec::new()), |ids| all_named(ids, n, points, source, report))?;
    let words = RelayWords { function, address, cut: (*raw.cut).clone(), restore: (*raw.restore).clone() };
    let proof = relay_proof(&raw.proof, n, points, source, report)?;
    match Relay::new(class, supplies, words, proof) {
        Ok(relay) => Some(relay),
        Err(_) => {
            report
                .error(source, raw.at.clone(), "this class of equipment is never written to")
                .help("remove [[relay]]: fire panels and lifts are looked at, never touched");
            None
        }
    }
}

fn relay_proof(
    raw: &RawRelayProof,
    n: Option<u16>,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<RelayProof> {
    let point = named(&raw.point, n, points, source, report)?;
    if point.source.registers().is_none() || !point.inputs.is_empty() {
        report
            .error(source, raw.point.span(), "a proof is a point in registers that stands for itself")
            .help("it is read alone, right after the write");
        return None;
    }
    for (codes, what) in [(&raw.cut, "interrupted"), (&raw.supplied, "there")] {
        if codes.is_empty() {
            report
                .error(source, codes.span(), format!("nothing proves that the supply is {what}"))
                .help("write every value that the point reads there, and only there");
            return None;
        }
    }
    let meanings =
        [&raw.cut, &raw.supplied].into_iter().chain([&raw.cutting, &raw.restoring, &raw.jammed].into_iter().flatten());
    let mut known = BTreeSet::new();
    for codes in meanings {
        if let Some(code) = codes.iter().find(|code| !known.insert(**code)) {
            report
                .error(source, codes.span(), format!("{code} means two things"))
                .help("each value of the point says where the relay is, or nothing");
            return None;
        }
    }
    let codes = |codes: &Option<At<Vec<i64>>>| codes.as_ref().map(|codes| (**codes).clone()).unwrap_or_default();
    Some(RelayProof {
        point: point.id.clone(),
        cut: (*raw.cut).clone(),
        supplied: (*raw.supplied).clone(),
        cutting: codes(&raw.cutting),
        restoring: codes(&raw.restoring),
        jammed: codes(&raw.jammed),
    })
}

/// Which relay interrupts which register must be clear: where there are several, each says what it supplies, and no two
/// say the same.
pub fn check_relays(
    raw: &[Entry<RawRelay>],
    found: &[Relay],
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) {
    let Some(last) = raw.last().filter(|_| found.len() > 1) else { return };
    if let Some(entry) = raw.iter().find(|entry| entry.registers.is_none()) {
        report
            .error(source, entry.at.clone(), "one of several relays, and it is not said which registers it supplies")
            .help("write registers = [\"...\"]: the points that count what it supplies");
        return;
    }
    let is_supplied_twice = |point: &&PointDef| found.iter().filter(|relay| relay.supplies(&point.id)).count() > 1;
    if let Some(point) = points.iter().find(is_supplied_twice) {
        report
            .error(source, last.at.clone(), format!("`{}` is supplied by more than one relay", point.id))
            .help("one register, one relay");
    }
}

/// The points of these names, with the number in them.
fn all_named(
    names: &At<Vec<String>>,
    n: Option<u16>,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Vec<Arc<str>>> {
    if names.is_empty() {
        report
            .error(source, names.span(), "no register is named")
            .help("name the points that count, or leave the key out");
        return None;
    }
    let mut found = Vec::new();
    for name in names.iter() {
        let id = numbered(name, n);
        let Some(point) = points.iter().find(|p| *p.id == *id) else {
            report
                .error(source, names.span(), format!("there is no point `{id}`"))
                .help(suggest(&id, points.iter().map(|p| &*p.id)));
            return None;
        };
        found.push(point.id.clone());
    }
    Some(found)
}

/// The setting that `[[setting]]` defines under this number.
pub fn setting(
    raw: &Entry<RawSetting>,
    (n, _): Numbered,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Setting> {
    let point = named(&raw.point, n, points, source, report)?;
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

/// The account that `[[wallet]]` defines under this number, so far from its address.
pub fn wallet(
    raw: &Entry<RawWallet>,
    (n, offset): Numbered,
    class: EquipmentClass,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Wallet> {
    let charged_by = all_named(&raw.registers, n, points, source, report)?;
    let mut told = |name: &Option<At<String>>| match name {
        Some(name) => named(name, n, points, source, report).map(|point| Some(point.id.clone())),
        None => Some(None),
    };
    let (price, prepaid) = (told(&raw.price)?, told(&raw.prepaid)?);
    let mut part = |name: &At<String>, wire: WireType| {
        let point = named(name, n, points, source, report)?;
        let fits = |place: &&Registers| {
            (place.table, place.wire, place.bytes, place.words) == (Table::Holding, wire, Order::Big, WordOrder::Big)
        };
        let place = point.source.registers().filter(fits).filter(|_| point.inputs.is_empty());
        if place.is_none() {
            report
                .error(
                    source,
                    name.span(),
                    format!("this part of an account is a holding register of type {}", word_of(wire)),
                )
                .help("most significant byte and word first, and standing for itself");
        }
        place.map(|place| place.address)
    };
    let count = part(&raw.count, WireType::U32)?;
    let amount = part(&raw.amount, WireType::I32)?;
    let balance = part(&raw.balance, WireType::I32)?;
    let result = part(&raw.result, WireType::U16)?;
    let result_count = part(&raw.result_count, WireType::U32)?;
    let first = [count, amount, balance, result, result_count].into_iter().min()?;
    let end = [count, amount, balance, result_count].map(|address| u32::from(address) + 2).into_iter().max()?;
    let end = end.max(u32::from(result) + 1);
    let registers = u16::try_from(end - u32::from(first)).ok().filter(|count| *count <= REGISTERS_MAX);
    let frame = raw.address.checked_add(offset).filter(|address| *address <= u16::MAX - 3);
    let (Some(registers), Some(frame)) = (registers, frame) else {
        report
            .error(source, raw.address.span(), "an account does not fit one read and one frame")
            .help("its five points must lie within 125 registers, and the frame has four from `address` on");
        return None;
    };
    let at = |address: u16| usize::from(address - first);
    let parts = WalletParts {
        count: at(count),
        amount: at(amount),
        balance: at(balance),
        result: at(result),
        result_count: at(result_count),
    };
    let read = Extent { table: Table::Holding, address: first, count: registers };
    match Wallet::new(class, charged_by, frame, read, parts) {
        Ok(wallet) => {
            let wallet = match price {
                Some(price) => wallet.with_price(price),
                None => wallet,
            };
            Some(match prepaid {
                Some(prepaid) => wallet.with_prepaid(prepaid),
                None => wallet,
            })
        }
        Err(_) => {
            report
                .error(source, raw.at.clone(), "this class of equipment is never written to")
                .help("remove [[wallet]]: fire panels and lifts are looked at, never touched");
            None
        }
    }
}

/// How a profile writes a type.
fn word_of(wire: WireType) -> &'static str {
    match wire {
        WireType::U16 => "u16",
        WireType::I32 => "i32",
        _ => "u32",
    }
}

/// The point of that name, with the number in it.
fn named<'a>(
    name: &At<String>,
    n: Option<u16>,
    points: &'a [PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<&'a PointDef> {
    let id = numbered(name, n);
    let found = points.iter().find(|p| *p.id == *id);
    if found.is_none() {
        report
            .error(source, name.span(), format!("there is no point `{id}`"))
            .help(suggest(&id, points.iter().map(|p| &*p.id)));
    }
    found
}
