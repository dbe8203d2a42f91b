//! Device profiles: from one TOML file to one checked [`Profile`].
//!
//! `config/profiles/_blueprint.toml` explains the format key by key. A profile is data from a maker's document, so
//! every mistake that can be seen without the device is refused here: addresses past the end of a table, units that
//! do not exist, alarms on points that do not, and a relay on equipment that is never written to.

mod points;
mod raw;

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{Confidence, EquipmentClass, PointDef, Profile, ReadLimits, Relay, Source as PointSource};
use serde::Deserialize;
use serde_json::Value as Schema;

pub use self::raw::{RawProfile, RawSerial};

use self::raw::{RawPoint, RawRead, RawRelay};
use super::alarms::{self, RawAlarm};
use super::diagnostic::{Report, Source, suggest};
use super::document::{Document, Entry};
use super::value::{At, Span};

/// Modbus Application Protocol V1.1b3, 6.3: registers in one answer.
const REGISTERS_MAX: u16 = 125;
/// Modbus Application Protocol V1.1b3, 6.12: registers in one write.
const WRITE_MAX: usize = 123;

/// The keys before the first table.
#[derive(Debug, Deserialize)]
struct Head {
    vendor: String,
    model: String,
    class: EquipmentClass,
    confidence: Confidence,
    sources: At<Vec<String>>,
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
    let mut found = Vec::new();
    for raw in &raw_points {
        found.extend(points::points(raw, source, report));
    }
    points::check_unique(&raw_points, &found, source, report);
    let mut alarms = Vec::new();
    for raw in &raw_alarms {
        if let Some(device) = &raw.device {
            report
                .error(source, device.span(), "an alarm of a profile is about every device of the model")
                .help("remove `device`");
        }
        alarms.extend(alarms::templates(raw, &found, source, report));
    }
    let limits = read_limits(read.as_ref(), source, report);
    let relay = relay.and_then(|r| self::relay(&r, head.class, &found, source, report));
    if report.diagnostics.len() > before {
        return None;
    }
    let profile = Profile {
        vendor: head.vendor.clone(),
        model: head.model.clone(),
        confidence: head.confidence,
        limits,
        alarms,
        relay,
        ..Profile::new(id, head.class, found)
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
        gap_max: raw.gap_max.or(defaults.gap_max),
        silence_min: or(&raw.silence_min, defaults.silence_min),
        response_max: or(&raw.response_max, defaults.response_max),
        ..defaults
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
