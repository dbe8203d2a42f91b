//! The points of a profile: name, unit and scale of each. [`super::place`] says where they stand, [`super::inputs`] what
//! they need of each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use guanjia_core::profile::{PointDef, PollClass, Source as PointSource};
use guanjia_core::reading::Decimal;
use guanjia_core::text::Bilingual;

use super::place::{Places, place};
use super::raw::RawPoint;
use crate::config::alarms::{RawRepeat, numbered, numbered_both};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::unit;

/// A point and the entry it was made of.
pub struct Found {
    /// The point; its inputs come later, when all points are known.
    pub def: PointDef,
    /// The position of its `[[point]]`.
    pub entry: usize,
}

/// The points that the `entry`th `[[point]]` defines.
pub fn points(raw: &Entry<RawPoint>, entry: usize, places: &Places<'_>, report: &mut Report) -> Vec<Found> {
    let source = places.source;
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
    if raw.r#type.as_ref().is_some_and(|t| t.is_text())
        && let Some(at) = raw.scale.as_ref().map(|s| s.span()).or(raw.unit.as_ref().map(|u| u.span()))
    {
        report.error(source, at, "text has neither scale nor unit").help("remove it, or choose a type of a number");
    }
    let mut points = Vec::new();
    for (n, offset) in RawRepeat::numbers(raw.repeat) {
        let shift = raw.repeat.zip(n).map_or(0, |(repeat, n)| repeat.shift(n));
        let Some(place) = place(raw, offset, shift, places, report) else { return Vec::new() };
        let names = |zh: &str, en: &str| Bilingual::new(numbered(zh, n), numbered(en, n));
        let def = PointDef {
            name: numbered_both(&raw.name, n),
            scale,
            offset: raw.offset.map_or(Decimal::new(0, 0), |o| o.0),
            unit: unit.unwrap_or_default().to_owned(),
            poll: raw.poll.unwrap_or(PollClass::Bulk),
            kind: raw.kind,
            codes: raw.codes.iter().map(|c| (c.value, names(&c.zh, &c.en))).collect(),
            bits: raw.bits.iter().map(|b| (b.bit, names(&b.zh, &b.en))).collect(),
            min_firmware: raw.min_firmware.as_ref().map(|v| v.0),
            evidence: raw.evidence,
            counter_digits: counter_digits(raw, source, report),
            ..PointDef::new(&numbered(&raw.id, n), numbered_place(place, n))
        };
        points.push(Found { def, entry });
    }
    points
}

/// Puts the number in place of `{n}` in a topic and a pointer.
fn numbered_place(place: PointSource, n: Option<u16>) -> PointSource {
    match place {
        PointSource::Message { topic, pointer } => {
            PointSource::Message { topic: topic.map(|topic| numbered(&topic, n)), pointer: numbered(&pointer, n) }
        }
        other => other,
    }
}

fn counter_digits(raw: &Entry<RawPoint>, source: &Arc<Source>, report: &mut Report) -> Option<u8> {
    let digits = raw.counter_digits.as_ref()?;
    let is_counter = raw.r#type.as_ref().is_none_or(|t| !t.is_float() && !t.is_text() && t.count() != Some(1))
        || raw.r#type.as_ref().is_some_and(|t| t.takes_mask());
    if !is_counter || !(1..=20).contains(&**digits) {
        report
            .error(source, digits.span(), "`counter_digits` is 1 to 20 digits of an integer counter")
            .help("leave it out for floats: they do not roll over, they lose digits");
        return None;
    }
    let is_scaled = raw.scale_from.is_some() || !raw.times.is_empty() || raw.unit_from.is_some();
    if is_scaled || raw.formula.is_some() {
        report
            .error(source, digits.span(), "`counter_digits` counts the digits of a register that stands for itself")
            .help("leave it out: a value that other registers scale does not roll over at a fixed number");
        return None;
    }
    Some(**digits)
}

/// Reports ids that stand twice.
pub fn check_unique(raw: &[Entry<RawPoint>], points: &[Found], source: &Arc<Source>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for point in points.iter().filter(|p| !seen.insert(p.def.id.clone())) {
        let at = raw.get(point.entry).map_or(0..0, |r| r.id.span());
        report
            .error(source, at, format!("there are two points `{}`", point.def.id))
            .help("every point of a profile has its own id");
    }
}

/// Whether every point comes in messages, or none does.
pub fn check_one_way(raw: &[Entry<RawPoint>], points: &[Found], source: &Arc<Source>, report: &mut Report) {
    let is_message = |p: &&Found| matches!(p.def.source, PointSource::Message { .. });
    let Some(message) = points.iter().find(is_message) else { return };
    if points.iter().any(|p| p.def.source.registers().is_some()) {
        let at = raw.get(message.entry).map_or(0..0, |r| r.id.span());
        report
            .error(source, at, "a device is on MQTT or on Modbus, not on both")
            .help("make two profiles, and a device of each");
    }
}
