//! Device profiles: from one TOML file to one checked [`Profile`].
//!
//! `config/profiles/_blueprint.toml` explains the format key by key. A profile is data from a maker's document, so
//! every mistake that can be seen without the device is refused here: addresses past the end of a table, units that
//! do not exist, alarms on points that do not, and a relay on equipment that is never written to.

mod golden;
mod inputs;
mod limits;
mod message;
mod place;
mod points;
mod raw;
mod writing;

use std::ops::Range;
use std::sync::Arc;

use guanjia_core::profile::{Confidence, EquipmentClass, PointDef, Profile, Source as PointSource, SunSpec};
use serde::Deserialize;
use serde_json::Value as Schema;

pub use self::golden::Golden;
#[cfg(test)]
pub use self::golden::{Exchange, GoldenValue, Proof};
#[cfg(test)]
pub use self::raw::GoldenKind;
pub use self::raw::{RawProfile, RawSerial};

use self::place::Places;
use self::raw::{
    RawDefaults, RawFirmware, RawGolden, RawHeartbeat, RawIdentity, RawInvalid, RawMessage, RawNumbers, RawPoint,
    RawRead, RawRelay, RawSetting, RawSunSpec, RawWallet,
};
use super::alarms::{self, RawAlarm, RawRepeat};
use super::diagnostic::{Report, Source};
use super::document::Document;
use super::value::At;

/// Modbus Application Protocol V1.1b3, 6.3: registers in one answer.
const REGISTERS_MAX: u16 = 125;
/// Modbus Application Protocol V1.1b3, 6.1: bits in one answer.
const BITS_MAX: u16 = 2_000;

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
    /// Frames and what they say; the tests of the library decode them.
    #[cfg_attr(not(test), expect(dead_code, reason = "a running gateway only checks their form"))]
    pub golden: Vec<Golden>,
}

impl LoadedProfile {
    /// Whether its points come in MQTT messages.
    pub fn is_mqtt(&self) -> bool {
        let in_words = self.profile.message.as_ref().is_some_and(|form| form.words.is_some());
        in_words || self.profile.points.iter().any(|p| matches!(p.source, PointSource::Message { .. }))
    }
}

/// Reads one profile. `None` if anything in it is wrong, and `report` says what.
pub fn read(id: &str, source: &Arc<Source>, schema: &Schema, report: &mut Report) -> Option<LoadedProfile> {
    let before = report.diagnostics.len();
    let mut document = Document::parse(source, schema, report)?;
    let serial = document.one::<RawSerial>("serial", report);
    let read = document.one::<RawRead>("read", report);
    let numbers = document.one::<RawNumbers>("numbers", report);
    let defaults = document.one::<RawDefaults>("defaults", report);
    let invalid = document.one::<RawInvalid>("invalid", report);
    let identity = document.list::<RawIdentity>("identity", report);
    let firmware = document.one::<RawFirmware>("firmware", report);
    let sunspec = document.one::<RawSunSpec>("sunspec", report);
    let heartbeat = document.one::<RawHeartbeat>("heartbeat", report);
    let message = document.one::<RawMessage>("message", report);
    let mut raw_points = document.list::<RawPoint>("point", report);
    let raw_alarms = document.list::<RawAlarm>("alarm", report);
    let raw_relays = document.list::<RawRelay>("relay", report);
    let raw_settings = document.list::<RawSetting>("setting", report);
    let raw_wallets = document.list::<RawWallet>("wallet", report);
    let golden = document.list::<RawGolden>("golden", report);
    let head = document.rest::<Head>(report)?;
    if head.sources.is_empty() && head.confidence != Confidence::Synthetic {
        report
            .error(source, head.sources.span(), "a register map has a source")
            .help("name the document or repository");
    }
    let places = Places {
        source,
        numbers: numbers.map(|n| n.value).unwrap_or_default(),
        defaults: defaults.map(|d| d.value).unwrap_or_default(),
        invalid: invalid.map(|i| i.value.by_type).unwrap_or_default(),
        has_models: sunspec.is_some(),
    };
    let mut found = Vec::new();
    let mut elements = 0;
    for (entry, raw) in raw_points.iter_mut().enumerate() {
        let in_array = message.as_ref().and_then(|m| message::element(m, raw, elements));
        let mut made = points::points(raw, entry, &places, report);
        if let Some(array) = in_array {
            message::in_order(&array, elements, &mut made);
            elements += made.len();
        }
        found.extend(made);
    }
    points::check_unique(&raw_points, &found, source, report);
    if message.as_ref().is_none_or(|m| m.words.is_none()) {
        points::check_one_way(&raw_points, &found, source, report);
    }
    inputs::tie(&raw_points, &mut found, source, report);
    let limits = limits::read_limits(read.as_ref(), places.defaults.table, source, report);
    let identity = inputs::identity(&identity, &found, &places, report);
    let firmware = inputs::firmware(firmware.as_ref(), &raw_points, &found, source, report);
    let heartbeat = inputs::heartbeat(heartbeat.as_ref(), &found, source, report);
    let golden = golden.iter().filter_map(|g| golden::golden(g, &found, source, report)).collect();
    let at: Vec<Range<usize>> = found.iter().map(|f| raw_points.get(f.entry).map_or(0..0, |r| r.id.span())).collect();
    let found: Vec<PointDef> = found.into_iter().map(|f| f.def).collect();
    let mut alarms = Vec::new();
    for raw in &raw_alarms {
        if let Some(device) = &raw.device {
            report
                .error(source, device.span(), "an alarm of a profile is about every device of the model")
                .help("remove `device`");
        }
        alarms.extend(alarms::templates(raw, &found, source, report));
    }
    let message = message.as_ref().and_then(|m| message::form(m, &found, source, report));
    let (mut relays, mut settings, mut wallets) = (Vec::new(), Vec::new(), Vec::new());
    for raw in &raw_relays {
        relays.extend(RawRepeat::each(raw.repeat, |n| writing::relay(raw, n, head.class, &found, source, report)));
    }
    writing::check_relays(&raw_relays, &relays, &found, source, report);
    for raw in &raw_settings {
        settings.extend(RawRepeat::each(raw.repeat, |n| writing::setting(raw, n, head.class, &found, source, report)));
    }
    for raw in &raw_wallets {
        wallets.extend(RawRepeat::each(raw.repeat, |n| writing::wallet(raw, n, head.class, &found, source, report)));
    }
    let mut profile = Profile {
        vendor: head.vendor.clone(),
        model: head.model.clone(),
        confidence: head.confidence,
        limits,
        alarms,
        relays,
        message,
        settings,
        wallets,
        identity,
        firmware,
        sunspec: sunspec.map(|s| SunSpec { bases: (*s.bases).clone() }),
        heartbeat,
        ..Profile::new(id, head.class, found)
    };
    if report.diagnostics.len() == before {
        inputs::check_together(&mut profile, &at, source, report);
        message::check_together(&profile, &at, source, report);
        inputs::check_limits(&profile, &at, source, report);
    }
    if report.diagnostics.len() > before {
        return None;
    }
    Some(LoadedProfile {
        profile: Arc::new(profile),
        serial: serial.map(|s| s.value),
        source: source.clone(),
        plans: raw_alarms.iter().filter_map(|a| a.plan.clone()).collect(),
        golden,
    })
}
