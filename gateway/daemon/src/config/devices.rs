//! Devices and their points.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{Confidence, Profile};
use guanjia_core::reading::{DeviceIx, PointIx};
use guanjia_core::text::Bilingual;
use guanjia_field::Periods;

use super::context::Context;
use super::document::Entry;
use super::lines::{self, Line};
use super::profile::LoadedProfile;
use super::raw::{RawDevice, RawPolling};
use super::topics::{self, Templates};
use super::value::{At, Span};
use crate::site::{Attachment, Broker, Device, Point};

/// The most devices of one site: what a metrics page and a console still show in one piece.
pub const DEVICES_MAX: usize = 2_000;
/// A reading is stale once it has missed three polls.
const POLLS_MISSED_MAX: u32 = 3;
/// But not sooner than this.
const AGE_MIN: Duration = Duration::from_secs(30);
/// How old a message may become that comes by itself.
const AGE_OF_MESSAGES: Duration = Duration::from_secs(15 * 60);
/// What devices refer to.
pub struct Surroundings<'a> {
    /// Every line.
    pub lines: &'a [Entry<Option<Line>>],
    /// Every broker's table, right or wrong.
    pub broker_names: Vec<&'a str>,
    /// Every broker, and the topics of its devices.
    pub brokers: &'a [(Broker, Templates)],
    /// Every profile.
    pub profiles: &'a BTreeMap<String, LoadedProfile>,
    /// Every profile's name, of those with errors too.
    pub profile_names: Vec<&'a str>,
    /// `[polling]`
    pub polling: Periods,
}

/// The devices and points of the site.
#[derive(Default)]
pub struct Devices {
    /// In the file's order; a device with an error is missing.
    pub devices: Vec<Device>,
    /// In the order of [`Site::points`](crate::site::Site::points).
    pub points: Vec<Point>,
}

/// `[polling]` with its defaults.
pub fn polling(context: &mut Context, raw: &RawPolling, defaults: Periods) -> Periods {
    let mut period = |span: &Option<At<Span>>, default: Duration| match span {
        Some(s) if s.0 < Duration::from_millis(100) || s.0 > Duration::from_secs(86_400) => {
            context.error(s.span(), "a period lies between 100ms and 1d").help("write \"1s\"");
            default
        }
        Some(s) => s.0,
        None => default,
    };
    Periods {
        alarm: period(&raw.alarm, defaults.alarm),
        billing: period(&raw.billing, defaults.billing),
        bulk: period(&raw.bulk, defaults.bulk),
    }
}

/// Checks every device.
pub fn devices(context: &mut Context, raw: &[Entry<RawDevice>], around: &Surroundings<'_>) -> Devices {
    let mut found = Devices::default();
    let mut addresses: BTreeMap<(String, String), Arc<str>> = BTreeMap::new();
    if let Some(one_more) = raw.get(DEVICES_MAX) {
        context.error(one_more.at.clone(), format!("a site has at most {DEVICES_MAX} devices"));
    }
    let mut warned = std::collections::BTreeSet::new();
    for entry in raw {
        let loaded = around.profiles.get(&**entry.profile);
        if loaded.is_none() && !around.profile_names.contains(&entry.profile.as_str()) {
            context.dangling("profile", &entry.profile, around.profile_names.iter().copied());
        }
        let attachment = attachment(context, entry, loaded, around, &mut addresses);
        let max_age = max_age(context, entry, attachment.as_ref());
        let (Some(loaded), Some(attachment)) = (loaded, attachment) else { continue };
        if warned.insert(loaded.profile.id.clone()) {
            warn_of_thin_sources(context, &entry.profile, &loaded.profile);
        }
        let ix = DeviceIx(found.devices.len() as u32);
        let first_point = PointIx(found.points.len() as u32);
        let points = loaded.profile.points.len();
        found.points.extend((0..points).map(|def| Point { device: ix, def }));
        found.devices.push(Device {
            ix,
            id: entry.key.clone(),
            name: entry.name.clone().unwrap_or_else(|| Bilingual::new(&*entry.key, &*entry.key)),
            profile: own_profile(&loaded.profile, entry.response_max.as_ref()),
            attachment,
            first_point,
            max_age,
            building: entry.building.clone().unwrap_or_default(),
            floor: entry.floor.clone(),
        });
    }
    found
}

fn warn_of_thin_sources(context: &mut Context, at: &At<String>, profile: &Profile) {
    let what = match profile.confidence {
        Confidence::OneSource => "rests on one source",
        Confidence::Partial => "is known in part only",
        Confidence::TwoSources | Confidence::Synthetic => return,
    };
    context
        .warning(at.span(), format!("the register map of `{}` {what}", profile.id))
        .help("compare its readings with the display before anybody is billed or relies on its alarms");
}

/// The profile, with the device's own patience if it has one.
fn own_profile(profile: &Arc<Profile>, response_max: Option<&At<Span>>) -> Arc<Profile> {
    match response_max {
        None => profile.clone(),
        Some(span) => {
            let mut own = Profile::clone(profile);
            own.limits.response_max = span.0;
            Arc::new(own)
        }
    }
}

fn max_age(context: &mut Context, entry: &Entry<RawDevice>, attachment: Option<&Attachment>) -> Duration {
    let default = match attachment {
        Some(Attachment::Line { periods, .. }) => {
            let slowest = periods.alarm.max(periods.billing).max(periods.bulk);
            (slowest * POLLS_MISSED_MAX).max(AGE_MIN)
        }
        _ => AGE_OF_MESSAGES,
    };
    let Some(own) = &entry.max_age else { return default };
    if let Some(Attachment::Line { periods, .. }) = attachment {
        let slowest = periods.alarm.max(periods.billing).max(periods.bulk);
        if own.0 <= slowest {
            context
                .error(own.span(), "every reading would be stale before the next poll")
                .help(format!("write more than the slowest period, {} s", slowest.as_secs_f64()));
        }
    }
    own.0
}

fn attachment(
    context: &mut Context,
    entry: &Entry<RawDevice>,
    loaded: Option<&LoadedProfile>,
    around: &Surroundings<'_>,
    addresses: &mut BTreeMap<(String, String), Arc<str>>,
) -> Option<Attachment> {
    let periods = match &entry.polling {
        Some(own) => polling(context, own, around.polling),
        None => around.polling,
    };
    match (&entry.line, &entry.unit, &entry.broker) {
        (Some(line), Some(unit), None) if entry.topic.is_none() => {
            let (index, unit) = on_line(context, line, unit, loaded, around)?;
            let address = (format!("line `{}`", **line), format!("unit {unit}"));
            claim(context, entry, unit_span(&entry.unit), address, addresses)?;
            check_heartbeat(context, entry, loaded, periods);
            Some(Attachment::Line { line: index, unit, periods })
        }
        (None, None, Some(broker)) => on_broker(context, entry, broker, loaded, around, addresses),
        _ => {
            context
                .error(entry.at.clone(), format!("device `{}` is not on one bus", entry.key))
                .help("write `line` and `unit` for Modbus, or `broker` and `topic` for MQTT");
            None
        }
    }
}

/// A heartbeat that is looked at more rarely than it must move would stand still for ever.
fn check_heartbeat(context: &mut Context, entry: &Entry<RawDevice>, loaded: Option<&LoadedProfile>, periods: Periods) {
    let Some(profile) = loaded.map(|l| &l.profile) else { return };
    let Some(heartbeat) = profile.heartbeat else { return };
    let Some(point) = profile.points.get(heartbeat.point) else { return };
    let period = periods.of(point.poll);
    if heartbeat.within < period * 2 {
        context
            .error(
                entry.at.clone(),
                format!(
                    "`{}` must move within {} s, and is read every {} s",
                    point.id,
                    heartbeat.within.as_secs_f64(),
                    period.as_secs_f64()
                ),
            )
            .help("give the device a `polling` with a shorter period, or its profile a longer `within`");
    }
}

fn unit_span(unit: &Option<At<u16>>) -> std::ops::Range<usize> {
    unit.as_ref().map_or(0..0, At::span)
}

/// Two devices at one address would each get the other's readings.
fn claim(
    context: &mut Context,
    entry: &Entry<RawDevice>,
    at: std::ops::Range<usize>,
    address: (String, String),
    addresses: &mut BTreeMap<(String, String), Arc<str>>,
) -> Option<()> {
    if let Some(other) = addresses.get(&address) {
        let message = format!("{} on {} is the device `{other}` already", address.1, address.0);
        context.error(at, message).help("every device has its own address");
        return None;
    }
    addresses.insert(address, entry.key.clone());
    Some(())
}

fn on_line(
    context: &mut Context,
    line: &At<String>,
    unit: &At<u16>,
    loaded: Option<&LoadedProfile>,
    around: &Surroundings<'_>,
) -> Option<(usize, u8)> {
    let index = context.position("line", line, around.lines)?;
    let on = around.lines[index].value.as_ref()?;
    if let Some(loaded) = loaded {
        if loaded.is_mqtt() {
            context
                .error(line.span(), format!("`{}` reports by MQTT and is on no line", loaded.profile.id))
                .help("write `broker` and `topic`");
            return None;
        }
        if let Some((is, can)) = loaded.serial.as_ref().and_then(|s| lines::format_conflict(on, s)) {
            context
                .error(line.span(), format!("`{}` cannot follow this line's format: {is}", loaded.profile.id))
                .help(format!("it can be set to {can}"));
            return None;
        }
    }
    let (lowest, highest) = if on.format.is_some() { (1, 247) } else { (0, 255) };
    if !(lowest..=highest).contains(&**unit) {
        context
            .error(unit.span(), format!("{} is not a Modbus address of this line", **unit))
            .help(format!("write {lowest} to {highest}"));
        return None;
    }
    Some((index, u8::try_from(**unit).ok()?))
}

fn on_broker(
    context: &mut Context,
    entry: &Entry<RawDevice>,
    broker: &At<String>,
    loaded: Option<&LoadedProfile>,
    around: &Surroundings<'_>,
    addresses: &mut BTreeMap<(String, String), Arc<str>>,
) -> Option<Attachment> {
    if !around.broker_names.contains(&broker.as_str()) {
        context.dangling("broker", broker, around.broker_names.iter().copied());
        return None;
    }
    if loaded.is_some_and(|l| !l.is_mqtt()) {
        context
            .error(broker.span(), "this model is read by Modbus and has no messages")
            .help("write `line` and `unit`");
        return None;
    }
    let index = around.brokers.iter().position(|(b, _)| *b.name == ***broker)?;
    let profile = &loaded?.profile;
    let spoken = topics::of(context, entry, profile, &around.brokers[index].1)?;
    for (topic, at) in &spoken.topics {
        let address = (format!("broker `{}`", **broker), format!("topic `{}`", topic.name));
        claim(context, entry, at.clone(), address, addresses)?;
    }
    let topics = spoken.topics.into_iter().map(|(topic, _)| topic).collect();
    Some(Attachment::Mqtt { broker: index, topics, availability: spoken.availability })
}
