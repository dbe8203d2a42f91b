//! Alarm definitions, as profiles and the site file both write them.
//!
//! A limit is written in a unit whenever its point has one. Nobody can then raise an alarm at 300 of the wrong thing.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmClass, Latching, Priority, Test};
use guanjia_core::profile::{AlarmTemplate, PointDef, Source as PointSource, TermTemplate};
use guanjia_core::reading::Decimal;
use guanjia_core::text::Bilingual;
use schemars::JsonSchema;
use serde::Deserialize;

use super::diagnostic::{Report, Source, suggest};
use super::document::Entry;
use super::unit;
use super::value::{At, Limit, Span};

/// `[[alarm]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAlarm {
    /// The device it is about; only in a site file. In a profile an alarm is about every device of the model.
    pub device: Option<At<String>>,
    /// Its id; `device/id` is the alarm's key. The id of one of the profile's alarms replaces that one.
    pub id: At<String>,
    /// The same alarm for points numbered one after the other; `{n}` in texts and point ids is the number.
    pub repeat: Option<RawRepeat>,
    /// What must be true; several terms must be true together.
    pub when: At<Vec<RawTerm>>,
    /// P1 (life or major damage) to P4 (next working day, rings nobody).
    pub priority: Priority,
    /// "life-safety", "process" or "communication". Default "process".
    pub class: Option<AlarmClass>,
    /// How long the condition must hold. Default "0s".
    pub on_delay: Option<At<Span>>,
    /// How long it must be gone. Default "0s".
    pub off_delay: Option<At<Span>>,
    /// "latching" stays until a person resets it. Default "non-latching".
    pub latching: Option<Latching>,
    /// The emergency plan it starts, such as "EP-06".
    pub plan: Option<At<String>>,
    /// What happened, in a few words.
    pub text: Bilingual,
    /// What a person has to do now.
    pub action: Bilingual,
}

/// One condition on one point.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTerm {
    /// The point's id in the profile.
    pub point: At<String>,
    /// Above this.
    pub above: Option<At<Limit>>,
    /// Below this.
    pub below: Option<At<Limit>>,
    /// How far it must come back before it is no longer above or below. Default 0.
    pub deadband: Option<At<Limit>>,
    /// Exactly this number or code.
    pub equals: Option<i64>,
    /// Anything but this number or code.
    pub differs: Option<i64>,
    /// Any bit of this mask is set.
    pub any_bit: Option<i64>,
}

/// `repeat` of points and alarms.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRepeat {
    /// The first number. Default 1.
    #[serde(default = "one")]
    pub first: u16,
    /// How many.
    pub count: u16,
    /// Addresses from one to the next. Default 1.
    #[serde(default = "one")]
    pub stride: u16,
    /// Instead of `stride`, bits from one to the next inside a register, 1 to 16; after 16 bits the next register.
    pub bits: Option<u8>,
}

fn one() -> u16 {
    1
}

/// The number that stands for `{n}`, if there is one, and how far it lies from the first address.
pub type Numbered = (Option<u16>, u16);

impl RawRepeat {
    /// What `one` makes of every number; nothing from the first it can make nothing of.
    pub fn each<T>(repeat: Option<Self>, one: impl FnMut(Numbered) -> Option<T>) -> Vec<T> {
        Self::numbers(repeat).into_iter().map_while(one).collect()
    }

    /// The number and the offset of its address, for each.
    pub fn numbers(repeat: Option<Self>) -> Vec<Numbered> {
        match repeat {
            None => vec![(None, 0)],
            Some(r) => (0..r.count).map(|i| (Some(r.first.saturating_add(i)), r.offset(i))).collect(),
        }
    }

    /// Addresses from the first one to the `i`th.
    fn offset(self, i: u16) -> u16 {
        match self.bits {
            Some(bits) => u16::try_from(u32::from(i) * u32::from(bits) / 16).unwrap_or(u16::MAX),
            None => self.stride.saturating_mul(i),
        }
    }

    /// Bits inside its register from the first one to the one with this number.
    pub fn shift(self, n: u16) -> u8 {
        let i = u32::from(n.saturating_sub(self.first));
        self.bits.map_or(0, |bits| (i * u32::from(bits) % 16) as u8)
    }
}

/// Puts the number in place of `{n}`.
pub fn numbered(text: &str, n: Option<u16>) -> String {
    match n {
        Some(n) => text.replace("{n}", &n.to_string()),
        None => text.to_owned(),
    }
}

/// [`numbered`] in both languages.
pub fn numbered_both(text: &Bilingual, n: Option<u16>) -> Bilingual {
    Bilingual::new(numbered(&text.zh, n), numbered(&text.en, n))
}

/// The alarms that one `[[alarm]]` defines for a device with these points; none if it is wrong, and `report` says why.
pub fn templates(
    raw: &Entry<RawAlarm>,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Vec<AlarmTemplate> {
    if raw.when.is_empty() {
        report
            .error(source, raw.when.span(), "an alarm needs a condition")
            .help("write when = [{ point = \"…\", equals = 1 }]");
        return Vec::new();
    }
    if [&raw.text, &raw.action].iter().any(|t| t.zh.trim().is_empty() || t.en.trim().is_empty()) {
        report
            .error(source, raw.id.span(), format!("alarm `{}` has an empty text or action", *raw.id))
            .help("say what happened and what to do now, in both languages");
        return Vec::new();
    }
    let delay = |span: &Option<At<Span>>| span.as_ref().map_or(Duration::ZERO, |s| s.0);
    let mut templates = Vec::new();
    for (n, _) in RawRepeat::numbers(raw.repeat) {
        let terms: Vec<Option<TermTemplate>> = raw.when.iter().map(|t| term(t, n, points, source, report)).collect();
        let Some(when) = terms.into_iter().collect() else { return Vec::new() };
        templates.push(AlarmTemplate {
            id: numbered(&raw.id, n).into(),
            when,
            priority: raw.priority,
            class: raw.class.unwrap_or(AlarmClass::Process),
            on_delay: delay(&raw.on_delay),
            off_delay: delay(&raw.off_delay),
            latching: raw.latching.unwrap_or(Latching::NonLatching),
            plan: raw.plan.as_ref().map(|p| (**p).clone()),
            text: numbered_both(&raw.text, n),
            action: numbered_both(&raw.action, n),
        });
    }
    templates
}

fn term(
    raw: &RawTerm,
    n: Option<u16>,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<TermTemplate> {
    let id = numbered(&raw.point, n);
    let Some(point) = points.iter().find(|p| *p.id == *id) else {
        report
            .error(source, raw.point.span(), format!("there is no point `{id}`"))
            .help(suggest(&id, points.iter().map(|p| &*p.id)));
        return None;
    };
    if matches!(&point.source, PointSource::Registers(r) | PointSource::Model { registers: r, .. } if r.wire.is_text())
    {
        report.error(source, raw.point.span(), format!("`{id}` is text and cannot be compared"));
        return None;
    }
    let comparisons =
        [raw.above.is_some(), raw.below.is_some(), raw.equals.is_some(), raw.differs.is_some(), raw.any_bit.is_some()];
    if comparisons.iter().filter(|c| **c).count() != 1 {
        report
            .error(source, raw.point.span(), "a condition makes one comparison")
            .help("write exactly one of `above`, `below`, `equals`, `differs`, `any_bit`");
        return None;
    }
    let test = match (&raw.above, &raw.below) {
        (Some(limit), _) => {
            let (limit, deadband) = limits(limit, raw.deadband.as_ref(), point, source, report)?;
            Test::Above { limit, deadband }
        }
        (_, Some(limit)) => {
            let (limit, deadband) = limits(limit, raw.deadband.as_ref(), point, source, report)?;
            Test::Below { limit, deadband }
        }
        _ => exact_test(raw, source, report)?,
    };
    Some(TermTemplate { point: point.id.clone(), test })
}

fn exact_test(raw: &RawTerm, source: &Arc<Source>, report: &mut Report) -> Option<Test> {
    if let Some(deadband) = &raw.deadband {
        report.error(source, deadband.span(), "only `above` and `below` have a deadband").help("remove `deadband`");
        return None;
    }
    match (raw.equals, raw.differs, raw.any_bit.map(u64::try_from)) {
        (Some(n), ..) => Some(Test::Equals(n)),
        (_, Some(n), _) => Some(Test::Differs(n)),
        (.., Some(Ok(mask))) if mask != 0 => Some(Test::AnyBit(mask)),
        _ => {
            report.error(source, raw.point.span(), "`any_bit` is a mask with at least one bit").help("write 0x0800");
            None
        }
    }
}

/// Limit and deadband in the point's unit.
fn limits(
    limit: &At<Limit>,
    deadband: Option<&At<Limit>>,
    point: &PointDef,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<(f64, f64)> {
    let limit = in_unit_of(limit, point, source, report)?;
    let Some(raw) = deadband else { return Some((limit.to_f64(), 0.0)) };
    let deadband = in_unit_of(raw, point, source, report)?;
    if deadband.mantissa < 0 {
        report.error(source, raw.span(), "a deadband is not negative").help("it is a distance, not a limit");
        return None;
    }
    Some((limit.to_f64(), deadband.to_f64()))
}

pub(super) fn in_unit_of(
    limit: &At<Limit>,
    point: &PointDef,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<Decimal> {
    match (&**limit, unit::find(&point.unit)) {
        (Limit::Bare(number), None) => Some(*number),
        (Limit::Bare(number), Some(unit)) => {
            report
                .error(source, limit.span(), format!("`{}` is measured in {}", point.id, unit.code))
                .help(format!("write the limit with its unit: \"{number} {}\"", unit.code));
            None
        }
        (Limit::Measure(measure), Some(unit)) => {
            let converted = measure.in_unit(unit);
            if converted.is_none() {
                report
                    .error(
                        source,
                        limit.span(),
                        format!("`{}` is measured in {}, not in {}", point.id, unit.code, measure.unit.code),
                    )
                    .help(format!("write the limit in {}", unit.code));
            }
            converted
        }
        (Limit::Measure(measure), None) => {
            report
                .error(source, limit.span(), format!("`{}` has no unit", point.id))
                .help(format!("write the bare number {}", measure.number));
            None
        }
    }
}
