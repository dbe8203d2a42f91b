//! What points need of each other: powers of ten, ratios, units, parts of formulas; and what tells a device from others.
//!
//! A value and its power of ten, and the measured parts of a formula, must come in one answer, so they are put into one
//! poll class, and a profile in which no request can bring them together is refused.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{
    Expected, Formula, Heartbeat, Identity, PointDef, PointKind, Profile, ReadLimits, Registers, Source as PointSource,
    Table, UnitCode, UnitInput,
};
use guanjia_core::reading::Decimal;

use super::place::Places;
use super::points::Found;
use super::raw::{RawExpected, RawFirmware, RawHeartbeat, RawIdentity, RawPoint};
use crate::config::alarms::numbered;
use crate::config::diagnostic::{Report, Source, suggest};
use crate::config::document::Entry;
use crate::config::value::At;

/// Reports that there is no such point, or gives its position.
pub fn find(id: &At<String>, points: &[Found], source: &Arc<Source>, report: &mut Report) -> Option<usize> {
    find_named(id, id.span(), points, source, report)
}

fn find_named(
    id: &str,
    at: Range<usize>,
    points: &[Found],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<usize> {
    let found = points.iter().position(|p| *p.def.id == *id);
    if found.is_none() {
        let known = suggest(id, points.iter().map(|p| &*p.def.id));
        report.error(source, at, format!("there is no point `{id}`")).help(known);
    }
    found
}

/// Ties the points together.
pub fn tie(raw: &[Entry<RawPoint>], points: &mut [Found], source: &Arc<Source>, report: &mut Report) {
    for i in 0..points.len() {
        let Some(entry) = points.get(i).and_then(|p| raw.get(p.entry)) else { continue };
        // The number of a repeated point, as its id shows it.
        let n = entry.repeat.and_then(|r| {
            (0..r.count)
                .map(|k| r.first.saturating_add(k))
                .find(|n| *numbered(&entry.id, Some(*n)) == *points[i].def.id)
        });
        let input =
            |id: &At<String>, report: &mut Report| find_named(&numbered(id, n), id.span(), points, source, report);
        let exponent = entry.scale_from.as_ref().and_then(|id| input(id, report));
        let times: Vec<(usize, Range<usize>)> =
            entry.times.iter().filter_map(|id| input(id, report).map(|p| (p, id.span()))).collect();
        let unit = entry.unit_from.as_ref().and_then(|u| input(&u.point, report).map(|p| (p, u)));
        for (input, at) in times.iter().cloned().chain(unit.iter().map(|(p, u)| (*p, u.point.span()))) {
            check_setting(&points[input], at, source, report);
        }
        let inputs = exponent.into_iter().chain(times.iter().map(|(p, _)| *p)).chain(unit.iter().map(|(p, _)| *p));
        for input in inputs.collect::<Vec<_>>() {
            let of = raw.get(points[input].entry);
            if of.is_some_and(|r| r.scale_from.is_some() || !r.times.is_empty() || r.unit_from.is_some()) || input == i
            {
                let what = format!("`{}` hangs on other registers itself", points[input].def.id);
                report.error(source, entry.id.span(), what).help("name points that stand for themselves");
            }
        }
        let formula = entry.formula.as_ref().and_then(|text| formula(text, i, points, source, report));
        let inputs = &mut points[i].def.inputs;
        inputs.exponent = exponent;
        inputs.times = times.into_iter().map(|(p, _)| p).collect();
        inputs.unit = unit.map(|(point, raw)| UnitInput {
            point,
            units: raw
                .units
                .iter()
                .map(|u| UnitCode {
                    code: u.code,
                    factor: u.factor.0,
                    offset: u.offset.map_or(Decimal::new(0, 0), |o| o.0),
                })
                .collect(),
        });
        if let Some(formula) = formula {
            points[i].def.source = PointSource::Derived(formula);
        }
    }
}

fn check_setting(input: &Found, at: Range<usize>, source: &Arc<Source>, report: &mut Report) {
    if input.def.kind == PointKind::Measured {
        report
            .error(source, at, format!("`{}` is measured, and may be of another time than the value", input.def.id))
            .help("if it only changes when somebody sets the device, give that point kind = \"configured\"");
    }
}

fn formula(
    text: &At<String>,
    own: usize,
    points: &[Found],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Formula> {
    let above = points.get(..own).unwrap_or_default();
    match Formula::parse(text, &|id| above.iter().position(|p| *p.def.id == *id)) {
        Ok(formula) if formula.points().next().is_some() => Some(formula),
        Ok(_) => {
            report.error(source, text.span(), "a formula without points is always the same");
            None
        }
        Err(error) => {
            // The text begins behind its quote; with escapes in it the place is that of the whole.
            let whole = text.span();
            let inner = whole.start + 1 + error.at.start..whole.start + 1 + error.at.end;
            let is_plain = source.text.get(whole.start + 1..whole.end.saturating_sub(1)) == Some(text.as_str());
            let wrong = text.get(error.at.clone()).unwrap_or_default();
            let help = suggest(wrong, above.iter().map(|p| &*p.def.id));
            let diagnostic = report.error(source, if is_plain { inner } else { whole }, error.message.clone());
            if error.message.contains("no point") {
                diagnostic.help(help);
            }
            None
        }
    }
}

/// Puts what must come together into one poll class, the more urgent one, and refuses what no request can bring.
pub fn check_together(profile: &mut Profile, points: &[Range<usize>], source: &Arc<Source>, report: &mut Report) {
    let derived: Vec<usize> =
        (0..profile.points.len()).filter(|i| matches!(profile.points[*i].source, PointSource::Derived(_))).collect();
    let mut groups: Vec<Vec<usize>> = derived.iter().map(|i| [vec![*i], profile.measured_parts(*i)].concat()).collect();
    groups.extend(profile.together().into_iter().map(|(a, b)| vec![a, b]));
    // A class can only become more urgent, so this ends.
    loop {
        let before: Vec<_> = profile.points.iter().map(|p| p.poll).collect();
        for group in &groups {
            let urgent = group.iter().map(|i| profile.points[*i].poll).min();
            group.iter().for_each(|i| profile.points[*i].poll = urgent.unwrap_or(profile.points[*i].poll));
        }
        if profile.points.iter().map(|p| p.poll).eq(before) {
            break;
        }
    }
    for group in &groups {
        let at = group.first().and_then(|i| points.get(*i)).cloned().unwrap_or(0..0);
        check_group(profile, group, at, source, report);
    }
}

fn check_group(profile: &Profile, group: &[usize], at: Range<usize>, source: &Arc<Source>, report: &mut Report) {
    let place = |i: &usize| match &profile.points[*i].source {
        PointSource::Registers(r) => Some((None, r)),
        PointSource::Model { model, registers } => Some((Some(*model), registers)),
        _ => None,
    };
    let places: Vec<_> = group.iter().filter_map(place).collect();
    let Some((model, first)) = places.first() else { return };
    let start = places.iter().map(|(_, r)| r.address).min().unwrap_or(0);
    let end = places.iter().map(|(_, r)| u32::from(r.address) + u32::from(r.count)).max().unwrap_or(0);
    let limits = &profile.limits;
    let most = if first.table.is_bits() { limits.bits_max } else { limits.registers_max };
    let is_one_place = places.iter().all(|(m, r)| m == model && r.table == first.table);
    let is_alone = limits.one_point_a_request && places.len() > 1;
    if !is_one_place || end - u32::from(start) > u32::from(most) || is_alone {
        let names = group.iter().map(|i| format!("`{}`", profile.points[*i].id)).collect::<Vec<_>>().join(", ");
        report
            .error(source, at, format!("{names} must come in one answer, and no request can bring them"))
            .help("values of different moments make a wrong one: leave it out, or check addresses and [read]");
    }
}

/// `[[identity]]`
pub fn identity(
    raw: &[Entry<RawIdentity>],
    points: &[Found],
    places: &Places<'_>,
    report: &mut Report,
) -> Vec<Identity> {
    let source = places.source;
    let mut identity = Vec::new();
    for raw in raw {
        let point = match (&raw.point, &raw.address, raw.r#type) {
            (Some(id), None, None) => find(id, points, source, report).map(|i| points[i].def.clone()),
            (None, Some(address), Some(wire)) => {
                let table = raw.table.or(places.defaults.table).unwrap_or(Table::Holding);
                let place = Registers {
                    count: wire.count().or(raw.registers).unwrap_or(1),
                    bytes: places.defaults.bytes,
                    words: places.defaults.words,
                    ..Registers::new(table, **address, wire)
                };
                let id = format!("{} {}", table_word(table), **address);
                Some(PointDef::new(&id, PointSource::Registers(place)))
            }
            _ => {
                report
                    .error(source, raw.at.clone(), "an identity is a point, or a place with `address` and `type`")
                    .help("write point = \"model_code\"");
                None
            }
        };
        let Some(point) = point else { continue };
        let has_place = matches!(point.source, PointSource::Registers(_) | PointSource::Model { .. });
        if !has_place || !point.inputs.is_empty() || raw.one_of.is_empty() {
            report
                .error(source, raw.at.clone(), "an identity stands in registers, and for itself")
                .help("and `one_of` lists what is read there");
            continue;
        }
        let expected = |e: &RawExpected| match e {
            RawExpected::Number(n) => Expected::Number(Decimal::new(i128::from(*n), 0)),
            RawExpected::Text(text) => Expected::Text(text.trim_end().into()),
        };
        identity.push(Identity { point, one_of: raw.one_of.iter().map(expected).collect() });
    }
    identity
}

fn table_word(table: Table) -> &'static str {
    match table {
        Table::Coil => "coil",
        Table::DiscreteInput => "discrete input",
        Table::Holding => "holding register",
        Table::Input => "input register",
    }
}

/// `[firmware]`, and that points which depend on it have it.
pub fn firmware(
    raw: Option<&Entry<RawFirmware>>,
    raw_points: &[Entry<RawPoint>],
    points: &[Found],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<usize> {
    let Some(raw) = raw else {
        for version in raw_points.iter().filter_map(|p| p.min_firmware.as_ref()) {
            report
                .error(source, version.span(), "nothing says where the firmware's version is read")
                .help("write [firmware] with the point");
        }
        return None;
    };
    find(&raw.point, points, source, report)
}

/// `[heartbeat]`
pub fn heartbeat(
    raw: Option<&Entry<RawHeartbeat>>,
    points: &[Found],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Heartbeat> {
    let raw = raw?;
    let point = find(&raw.point, points, source, report)?;
    if raw.within.0 < Duration::from_secs(5) {
        report
            .error(source, raw.within.span(), "a heartbeat is looked for once a poll; less than 5 s is always too late")
            .help("write some periods of its poll class, such as \"60s\"");
        return None;
    }
    Some(Heartbeat { point, within: raw.within.0 })
}

/// That the points can be read at all within the limits.
pub fn check_limits(profile: &Profile, at: &[Range<usize>], source: &Arc<Source>, report: &mut Report) {
    let limits: &ReadLimits = &profile.limits;
    for (i, point) in profile.points.iter().enumerate() {
        let Some(place) = point.source.registers() else { continue };
        let (start, end) = (u32::from(place.address), u32::from(place.address) + u32::from(place.count));
        let inside = |e: &guanjia_core::profile::Extent| {
            let (first, last) = (u32::from(e.address), u32::from(e.address) + u32::from(e.count));
            (e.table == place.table && start < last && first < end).then_some(first <= start && end <= last)
        };
        let most = if place.table.is_bits() { limits.bits_max } else { limits.registers_max };
        let problem = if place.count > most {
            Some("a request of this device brings fewer registers than the point has")
        } else if limits.holes.iter().any(|e| inside(e).is_some()) {
            Some("the point stands in a hole that no request may touch")
        } else if limits.blocks.iter().any(|e| inside(e) == Some(false)) {
            Some("the point stands half in a block that is only read as a whole")
        } else {
            None
        };
        if let Some(problem) = problem {
            report
                .error(source, at.get(i).cloned().unwrap_or(0..0), format!("`{}`: {problem}", point.id))
                .help("the profile contradicts itself: check the point's place and [read]");
        }
    }
}
