//! Policies: when a tenant is warned, cut and reconnected. Nothing that can cut somebody off has a default.

use std::ops::Range;
use std::sync::Arc;

use guanjia_core::supply::{self, Policy, PolicyError, RawCutWindow, RawLevel, Reconnect};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::context::Context;
use super::document::Entry;
use super::unit::{self, Kind};
use super::value::{At, Measure, Span};

/// `[policy.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// Yuan below zero before a cut, as text: "20.00", or "0".
    pub emergency_credit: At<String>,
    /// Yuan above which a cut supply comes back, as text. Default "0".
    pub reconnect_above: Option<At<String>>,
    /// The first notice: when the balance lasts less than `cover_days`, or is at or below `balance` yuan.
    pub notice1: At<RawLevel>,
    /// The second notice.
    pub notice2: At<RawLevel>,
    /// The final notice.
    pub r#final: At<RawLevel>,
    /// From the delivery of the final notice to the cut, at least.
    pub notice_lead: At<Span>,
    /// When a cut may be made, in local time: days, from, to; without any, nothing is cut.
    pub cut_windows: At<Vec<RawCutWindow>>,
    /// Days without cuts, such as "2026-10-01".
    pub holidays: Option<At<Vec<String>>>,
    /// How old the register's last good reading may be for a cut.
    pub reading_max_age: At<Span>,
    /// "direct": at once when paid; "close-permit": when somebody in the shop says that it is safe.
    pub reconnect: Reconnect,
    /// More power, current or flow than this through an open contact means it is welded or bypassed: "100 W".
    pub bypass_above: At<Measure>,
}

/// A policy and the kind of quantity its bypass limit is in.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    /// The policy; its bypass limit is in W, A or L/h.
    pub policy: Arc<Policy>,
    /// Power, current or flow.
    pub bypass: Kind,
}

/// Checks every policy. One that is wrong keeps its place.
pub fn policies(
    context: &mut Context,
    raw: &[Entry<RawPolicy>],
    zone: Option<&TimeZone>,
) -> Vec<Entry<Option<LoadedPolicy>>> {
    let mut policies = Vec::new();
    for entry in raw {
        let bypass = bypass(context, &entry.bypass_above);
        let checked = zone.zip(bypass).and_then(|(zone, (kind, bypass_above))| {
            let policy = check(context, entry, zone, bypass_above)?;
            Some(LoadedPolicy { policy: Arc::new(policy), bypass: kind })
        });
        policies.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: checked });
    }
    policies
}

fn bypass(context: &mut Context, raw: &At<Measure>) -> Option<(Kind, f64)> {
    let base = match raw.unit.kind {
        Kind::Power => "W",
        Kind::Current => "A",
        Kind::Flow => "L/h",
        _ => {
            context
                .error(raw.span(), format!("`bypass_above` cannot be in {}", raw.unit.code))
                .help("write a power (\"100 W\"), a current (\"0.5 A\") or a flow (\"50 L/h\")");
            return None;
        }
    };
    let value = raw.in_unit(unit::find(base)?)?.to_f64();
    Some((raw.unit.kind, value))
}

fn check(context: &mut Context, raw: &Entry<RawPolicy>, zone: &TimeZone, bypass_above: f64) -> Option<Policy> {
    let mut seconds = |span: &At<Span>| match u32::try_from(span.0.as_secs()) {
        Ok(seconds) => seconds,
        Err(_) => {
            context.error(span.span(), "that is longer than a lifetime").help("write \"24h\"");
            0
        }
    };
    let form = supply::RawPolicy {
        emergency_credit: (*raw.emergency_credit).clone(),
        reconnect_above: raw.reconnect_above.as_ref().map_or_else(|| "0".to_owned(), |y| (**y).clone()),
        notice1: (*raw.notice1).clone(),
        notice2: (*raw.notice2).clone(),
        final_notice: (*raw.r#final).clone(),
        notice_lead_s: seconds(&raw.notice_lead),
        cut_windows: (*raw.cut_windows).clone(),
        holidays: raw.holidays.as_ref().map(|h| (**h).clone()).unwrap_or_default(),
        reading_max_age_s: seconds(&raw.reading_max_age),
        reconnect: raw.reconnect,
        bypass_above,
    };
    match Policy::new(&form, zone) {
        Ok(policy) => Some(policy),
        Err(errors) => {
            for error in errors {
                let at = place(raw, &error);
                // The core names its keys in seconds; the file has durations.
                let message = error.to_string().replace("notice_lead_s", "notice_lead");
                let message = message.replace("reading_max_age_s", "reading_max_age");
                match message.split_once("; ").or_else(|| message.split_once(": ")) {
                    Some((what, help)) => context.error(at, what).help(help),
                    None => drop(context.error(at, message)),
                }
            }
            None
        }
    }
}

/// The key an error is about.
fn place(raw: &Entry<RawPolicy>, error: &PolicyError) -> Range<usize> {
    let of_key = |key: &str| match key {
        "reconnect_above" => raw.reconnect_above.as_ref().map_or(raw.at.clone(), At::span),
        "notice1" => raw.notice1.span(),
        "notice2" => raw.notice2.span(),
        "final" => raw.r#final.span(),
        _ => raw.emergency_credit.span(),
    };
    match error {
        PolicyError::Amount { field, .. } => of_key(field),
        PolicyError::Level(name) | PolicyError::LevelOrder(name) => of_key(name),
        PolicyError::Lead => raw.notice_lead.span(),
        PolicyError::ReadingAge => raw.reading_max_age.span(),
        PolicyError::Window { .. } | PolicyError::TooManyWindows => raw.cut_windows.span(),
        PolicyError::Holiday(_) => raw.holidays.as_ref().map_or(raw.at.clone(), At::span),
        PolicyError::Bypass => raw.bypass_above.span(),
    }
}
