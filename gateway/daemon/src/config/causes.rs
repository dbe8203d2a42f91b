//! Feeders and lines as causes of many alarms, the plans, and the timings between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::AlarmDef;
use guanjia_core::incident::Timings;
use guanjia_core::inhibition::{DeviceLinks, Node, NodeKind, Topology};
use guanjia_core::plan::{Common, Plan, PlanBook};
use guanjia_core::text::Bilingual;

use super::context::Context;
use super::diagnostic::{Report, Source, suggest};
use super::document::Entry;
use super::lines::Line;
use super::raw::{RawDevice, RawFeeder, RawInhibition};
use super::value::{At, Span};
use crate::site::{Attachment, Device};

/// The roles and ladders, and every plan with its file.
pub struct Plans {
    /// `_common.toml`
    pub common: Common,
    /// Every other file.
    pub plans: Vec<(Arc<Source>, Plan)>,
}

impl Plans {
    /// Reads the files; `None` if one cannot be read, and `report` says why.
    pub fn read(files: &BTreeMap<String, Arc<Source>>, report: &mut Report) -> Option<Self> {
        let Some(common) = files.get("_common") else {
            report
                .error_without_place("the library has no plans/_common.toml")
                .help("copy it from the project's config/plans into the site's directory of plans");
            return None;
        };
        let common = parse::<Common>(common, report);
        let mut plans = Vec::new();
        let mut complete = true;
        for (_, source) in files.iter().filter(|(stem, _)| !stem.starts_with('_')) {
            match parse::<Plan>(source, report) {
                Some(plan) => plans.push((source.clone(), plan)),
                None => complete = false,
            }
        }
        common.filter(|_| complete).map(|common| Self { common, plans })
    }

    /// The ids of all plans.
    pub fn ids(&self) -> Vec<&str> {
        self.plans.iter().map(|(_, plan)| plan.id.as_str()).collect()
    }

    /// Checks the plans against each other.
    pub fn into_book(self, report: &mut Report) -> Option<PlanBook> {
        let plans = self.plans.into_iter().map(|(_, plan)| plan).collect();
        match PlanBook::new(self.common, plans) {
            Ok(book) => Some(book),
            Err(error) => {
                report.error_without_place(error.to_string());
                None
            }
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(source: &Arc<Source>, report: &mut Report) -> Option<T> {
    match toml::from_str(&source.text) {
        Ok(value) => Some(value),
        Err(error) => {
            report.error(source, error.span().unwrap_or(0..0), error.message());
            None
        }
    }
}

/// An alarm may only name a plan there is.
pub fn check_plan(name: &At<String>, known: &[&str], source: &Arc<Source>, report: &mut Report) {
    if !known.contains(&name.as_str()) {
        report
            .error(source, name.span(), format!("there is no plan `{}`", **name))
            .help(suggest(name, known.iter().copied()));
    }
}

/// `[inhibition]` with its defaults.
pub fn timings(context: &mut Context, raw: &RawInhibition) -> Timings {
    let defaults = Timings::default();
    let mut bounded = |span: &Option<At<Span>>, default: Duration, most: u64, what: &str| match span {
        None => default,
        Some(s) if s.0 <= Duration::from_secs(most) => s.0,
        Some(s) => {
            context.error(s.span(), format!("that is too long: {what}")).help(format!("write at most \"{most}s\""));
            default
        }
    };
    Timings {
        child_hold: bounded(&raw.hold, defaults.child_hold, 90, "a real failure would stay unknown as long"),
        recovery_hold: bounded(&raw.recovery_hold, defaults.recovery_hold, 600, "what is still dead would stay hidden"),
        fallback_after: bounded(&raw.fallback_after, defaults.fallback_after, 3_600, "nobody would come"),
    }
}

/// What the topology is made of.
pub struct Parts<'a> {
    /// `[feeder.…]`
    pub feeders: &'a [Entry<RawFeeder>],
    /// Every line.
    pub lines: &'a [Entry<Option<Line>>],
    /// `[device.…]`
    pub raw_devices: &'a [Entry<RawDevice>],
    /// The devices that are right.
    pub devices: &'a [Device],
    /// Every alarm.
    pub alarms: &'a [Arc<AlarmDef>],
}

/// Checks feeders and what hangs on them.
pub fn topology(context: &mut Context, parts: &Parts<'_>) -> Option<Topology> {
    let before = context.report.diagnostics.len();
    let mut nodes = Vec::new();
    for (index, feeder) in parts.feeders.iter().enumerate() {
        if let Some(line) = parts.lines.iter().find(|l| l.key == feeder.key) {
            context
                .error(feeder.at.clone(), format!("`{}` is the name of a line already", line.key))
                .help("give the feeder another name");
        }
        if let Some(parent) = &feeder.fed_by {
            context.position("feeder", parent, parts.feeders);
            if goes_in_a_circle(index, parts.feeders) {
                context
                    .error(parent.span(), format!("`{}` feeds itself around a circle", feeder.key))
                    .help("cut one of the `fed_by` of the circle");
            }
        }
        for key in &feeder.evidence {
            check_evidence(context, key, parts);
        }
        nodes.push(Node {
            id: feeder.key.to_string(),
            kind: NodeKind::Feeder,
            name: feeder.name.clone(),
            fed_by: feeder.fed_by.as_ref().map(|f| (**f).clone()),
            evidence: feeder.evidence.iter().map(|e| (**e).clone()).collect(),
        });
    }
    nodes.extend(parts.lines.iter().map(|line| Node {
        id: line.key.to_string(),
        kind: NodeKind::Line,
        name: Bilingual::new(format!("{}总线", line.key), format!("line {}", line.key)),
        fed_by: None,
        evidence: Vec::new(),
    }));
    for raw in parts.raw_devices {
        if let Some(feeder) = &raw.fed_by {
            context.position("feeder", feeder, parts.feeders);
        }
    }
    if context.report.diagnostics[before..].iter().any(|d| d.is_error()) {
        return None;
    }
    let links = parts.devices.iter().map(|device| links(device, parts)).collect();
    match Topology::new(nodes, links) {
        Ok(topology) => Some(topology),
        Err(error) => {
            context.report.error_without_place(error.to_string());
            None
        }
    }
}

fn links(device: &Device, parts: &Parts<'_>) -> DeviceLinks {
    let raw = parts.raw_devices.iter().find(|d| d.key == device.id);
    DeviceLinks {
        device: device.ix,
        name: device.name.clone(),
        class: device.profile.class,
        fed_by: raw.and_then(|r| r.fed_by.as_ref()).map(|f| (**f).clone()),
        via: match device.attachment {
            Attachment::Line { line, .. } => parts.lines.get(line).map(|l| l.key.to_string()),
            Attachment::Mqtt { .. } => None,
        },
    }
}

fn goes_in_a_circle(start: usize, feeders: &[Entry<RawFeeder>]) -> bool {
    let mut at = start;
    for _ in 0..=feeders.len() {
        let parent = feeders[at].fed_by.as_ref().and_then(|f| feeders.iter().position(|e| *e.key == ***f));
        match parent {
            Some(parent) if parent == start => return true,
            Some(parent) => at = parent,
            None => return false,
        }
    }
    false
}

fn check_evidence(context: &mut Context, key: &At<String>, parts: &Parts<'_>) {
    if parts.alarms.iter().any(|a| *a.key == ***key) {
        return;
    }
    // An alarm of a device that is wrong itself is not known, and not dangling either.
    let device = key.split('/').next().unwrap_or_default();
    let is_wrong =
        parts.raw_devices.iter().any(|d| *d.key == *device) && !parts.devices.iter().any(|d| *d.id == *device);
    if !is_wrong {
        let near: Vec<&str> = parts.alarms.iter().map(|a| &*a.key).collect();
        context.dangling("alarm", key, near);
    }
}
