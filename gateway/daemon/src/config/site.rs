//! From the tables of a site file to a [`Site`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::supply::BreakerLimits;
use guanjia_core::time::Timestamp;
use guanjia_field::Periods;
use jiff::tz::TimeZone;

use super::alarms::RawAlarm;
use super::brokers;
use super::budget;
use super::causes::{self, Plans};
use super::channels::{self, RawChannels};
use super::context::Context;
use super::device_alarms;
use super::devices::{self, Devices};
use super::diagnostic::{Report, Severity, Source};
use super::document::{Document, Entry};
use super::library::{self, Files, Shelf};
use super::lines::{self, RawLines, RawMqtt};
use super::passive;
use super::people::{self, Duty, RawDuty, RawLadders, RawPerson, RawShift};
use super::policy::{self, RawPolicy};
use super::prepaid;
use super::profile::{self, LoadedProfile};
use super::raw::{
    RawApiClient, RawBilling, RawBuilding, RawDevice, RawFeeder, RawHttp, RawInhibition, RawLibrary, RawPolling,
    RawServicePoint, RawShop, RawStorage,
};
use super::schema;
use super::service;
use super::value::At;
use crate::prepaid::duty;
use crate::site::Site;

/// How often points are read if nobody says anything else.
const PERIODS: Periods =
    Periods { alarm: Duration::from_secs(1), billing: Duration::from_secs(15), bulk: Duration::from_secs(15) };
/// Every table of the file, unchecked.
struct Tables {
    building: Option<Entry<RawBuilding>>,
    storage: Option<Entry<RawStorage>>,
    http: Option<Entry<RawHttp>>,
    billing: Option<Entry<RawBilling>>,
    library: Option<Entry<RawLibrary>>,
    polling: Option<Entry<RawPolling>>,
    api_clients: Vec<Entry<RawApiClient>>,
    lines: RawLines,
    mqtt: Vec<Entry<RawMqtt>>,
    feeders: Vec<Entry<RawFeeder>>,
    devices: Vec<Entry<RawDevice>>,
    alarms: Vec<Entry<RawAlarm>>,
    inhibition: Option<Entry<RawInhibition>>,
    shops: Vec<Entry<RawShop>>,
    service_points: Vec<Entry<RawServicePoint>>,
    policies: Vec<Entry<RawPolicy>>,
    mass_cut: Option<Entry<BreakerLimits>>,
    people: Vec<Entry<RawPerson>>,
    shifts: Vec<Entry<RawShift>>,
    duty: Option<Entry<RawDuty>>,
    channels: RawChannels,
    ladders: Option<Entry<RawLadders>>,
}

impl Tables {
    /// The tables, and the names of those that are wrong.
    fn read(source: &Arc<Source>, report: &mut Report) -> Option<(Self, BTreeSet<String>)> {
        let mut file = Document::parse(source, &schema::SITE, report)?;
        let tables = Self {
            building: file.one("site", report),
            storage: file.one("storage", report),
            http: file.one("http", report),
            billing: file.one("billing", report),
            library: file.one("library", report),
            polling: file.one("polling", report),
            api_clients: file.named("api_client", report),
            lines: RawLines {
                rtu_over_tcp: file.named("rtu_over_tcp", report),
                modbus_tcp: file.named("modbus_tcp", report),
                modbus_rtu: file.named("modbus_rtu", report),
                modbus_ascii: file.named("modbus_ascii", report),
                modbus_tls: file.named("modbus_tls", report),
                modbus_udp: file.named("modbus_udp", report),
                dial_in: file.named("dial_in", report),
                dtu: file.named("dtu", report),
            },
            mqtt: file.named("mqtt", report),
            feeders: file.named("feeder", report),
            devices: file.named("device", report),
            alarms: file.list("alarm", report),
            inhibition: file.one("inhibition", report),
            shops: file.named("shop", report),
            service_points: file.named("service_point", report),
            policies: file.named("policy", report),
            mass_cut: file.one("mass_cut", report),
            people: file.named("person", report),
            shifts: file.list("shift", report),
            duty: file.one("duty", report),
            channels: RawChannels {
                webhook: file.named("webhook", report),
                ntfy: file.named("ntfy", report),
                smtp: file.named("smtp", report),
            },
            ladders: file.one("ladder", report),
        };
        let broken = file.finish(report);
        Some((tables, broken))
    }
}

/// The site, unless there are errors, and everything that was found.
pub fn resolve(source: &Arc<Source>, directory: PathBuf, now: Timestamp) -> (Option<Site>, Report) {
    let (site, report) = resolve_leniently(source, directory, now);
    (site.filter(|_| !report.has_errors()), report)
}

/// The same, and a site whose only errors are lines that are planned too full is returned all the same, so that it can
/// be shown how full.
pub fn resolve_leniently(source: &Arc<Source>, directory: PathBuf, now: Timestamp) -> (Option<Site>, Report) {
    let mut context = Context {
        source: source.clone(),
        directory,
        report: Report::default(),
        broken: BTreeSet::new(),
        overloaded: 0,
    };
    let site = Tables::read(source, &mut context.report).and_then(|(tables, broken)| {
        context.broken = broken;
        checked(&mut context, &tables, now)
    });
    let mut report = context.report;
    report.sort();
    (site.filter(|_| report.count(Severity::Error) == context.overloaded), report)
}

/// Checks everything; `None` if a part is missing. Errors may have been reported all the same.
fn checked(context: &mut Context, tables: &Tables, now: Timestamp) -> Option<Site> {
    let zone = tables.building.as_ref().and_then(|b| zone(context, &b.time_zone));
    if let Some(building) = &tables.building {
        check_site_id(context, &building.id);
    }
    let data_dir = tables.storage.as_ref().map(|s| context.directory.join(s.directory.as_str()));
    let http = tables.http.as_ref().and_then(|h| service::http(context, h));
    let billing = service::billing(context, tables.billing.as_ref(), data_dir.as_ref());
    let api_clients = service::api_clients(context, &tables.api_clients);

    let shelves = Shelves::read(context, tables.library.as_ref());
    let plans = Plans::read(&shelves.plans.all, &mut context.report);
    let plan_ids: Option<Vec<String>> = plans.as_ref().map(|p| p.ids().iter().map(|id| (*id).to_owned()).collect());
    let profiles = profiles(context, &shelves.profiles, &tables.devices, plan_ids.as_deref());
    let tariffs = prepaid::tariffs(&shelves.tariffs.all, zone.as_ref(), &mut context.report);

    let lines::Lines { lines, entrances } = lines::lines(context, &tables.lines, http.as_ref().map(|h| h.listen), now);
    let site_id = tables.building.as_ref().map_or("site", |building| building.id.as_str());
    let brokers = brokers::brokers(context, &tables.mqtt, site_id, now);
    let polling = match &tables.polling {
        Some(raw) => devices::polling(context, raw, PERIODS),
        None => PERIODS,
    };
    let profile_names = shelves.profiles.all.keys().filter(|n| !n.starts_with('_')).map(String::as_str).collect();
    let around = devices::Surroundings {
        lines: &lines,
        broker_names: tables.mqtt.iter().map(|b| &*b.key).collect(),
        brokers: &brokers,
        profiles: &profiles,
        profile_names,
        polling,
    };
    let found = devices::devices(context, &tables.devices, &around);
    let passive = passive::lines(&tables.lines, &lines);
    let utilization = budget::check(context, &tables.lines, &lines, &passive, &found.devices, &profiles);
    lines::dial_in::check_devices(context, &tables.lines.dtu, &lines, &found.devices);
    let mut alarms = device_alarms::alarms(context, &tables.alarms, &tables.devices, &found.devices);
    check_plans(context, &tables.alarms, plan_ids.as_deref());
    let parts = causes::Parts {
        feeders: &tables.feeders,
        lines: &lines,
        raw_devices: &tables.devices,
        devices: &found.devices,
        alarms: &alarms,
    };
    let topology = causes::topology(context, &parts);
    let timings = tables.inhibition.as_ref().map(|i| causes::timings(context, i)).unwrap_or_default();

    let channel_names = tables.channels.names();
    let channels = channels::channels(context, &tables.channels);
    let people = people::people(context, &tables.people, &channel_names);
    let (roster, plans) = duty(context, tables, plans, now);
    let shops = prepaid::shops(context, &tables.shops, &channel_names);
    let policies = policy::policies(context, &tables.policies, zone.as_ref());
    let around = prepaid::Surroundings {
        shops: &tables.shops,
        raw_devices: &tables.devices,
        devices: &found,
        tariffs: &tariffs,
        policies: &policies,
    };
    let service_points = prepaid::service_points(context, &tables.service_points, &around);
    alarms.extend(duty::definitions(&service_points, &shops, &found.devices));
    passive::check_service_points(context, &passive, &tables.service_points, &service_points, &found.devices);

    let building = tables.building.as_ref()?;
    let Devices { devices, points } = found;
    Some(Site {
        id: building.id.as_str().into(),
        name: building.name.clone(),
        zone: zone?,
        lang: building.language,
        data_dir: data_dir?,
        http: http?,
        api_clients,
        billing: billing?,
        lines: lines.into_iter().map(|l| l.value.map(|l| l.config)).collect::<Option<_>>()?,
        utilization,
        passive,
        entrances: entrances.into_iter().map(|e| e.value).collect::<Option<_>>()?,
        brokers: brokers.into_iter().map(|(broker, _)| broker).collect(),
        devices,
        points,
        alarms,
        topology: topology?,
        timings,
        plans: plans?,
        roster: roster?,
        people,
        channels,
        shops,
        service_points,
        mass_cut: tables.mass_cut.as_ref().map_or_else(BreakerLimits::default, |m| m.value),
    })
}

fn zone(context: &mut Context, raw: &At<String>) -> Option<TimeZone> {
    match TimeZone::get(raw) {
        Ok(zone) => Some(zone),
        Err(_) => {
            context
                .error(raw.span(), format!("`{}` is not an IANA time zone", **raw))
                .help("write \"Asia/Shanghai\", \"Europe/Berlin\", ...");
            None
        }
    }
}

fn check_site_id(context: &mut Context, id: &At<String>) {
    let plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || id.is_empty() || id.len() > super::document::NAME_CHARS_MAX {
        context
            .error(id.span(), format!("`{}` cannot be a site's id", **id))
            .help("write lower-case letters, digits and hyphens; people see `name` instead");
    }
}

/// The files of the library, built-in and the site's own.
struct Shelves {
    profiles: Files,
    plans: Files,
    tariffs: Files,
}

impl Shelves {
    fn read(context: &mut Context, raw: Option<&Entry<RawLibrary>>) -> Self {
        let mut shelf = |shelf: Shelf, directory: Option<&At<String>>| {
            let path = directory.map(|d| (context.directory.join(d.as_str()), d.span()));
            let named = path.as_ref().map(|(path, at)| (path.as_path(), &context.source, at.clone()));
            library::files(shelf, named, &mut context.report)
        };
        Self {
            profiles: shelf(Shelf::Profiles, raw.and_then(|r| r.profiles.as_ref())),
            plans: shelf(Shelf::Plans, raw.and_then(|r| r.plans.as_ref())),
            tariffs: shelf(Shelf::Tariffs, raw.and_then(|r| r.tariffs.as_ref())),
        }
    }
}

/// Reads every profile of the site's own, used or not: a file that is wrong should not wait for its first device. Of the
/// built-in ones, which are right, only those that a device names.
fn profiles(
    context: &mut Context,
    files: &Files,
    devices: &[Entry<RawDevice>],
    plans: Option<&[String]>,
) -> BTreeMap<String, LoadedProfile> {
    let named: BTreeSet<&str> = devices.iter().map(|d| d.profile.as_str()).collect();
    let is_read = |name: &String| files.own.contains(name) || named.contains(name.as_str());
    let mut profiles = BTreeMap::new();
    for (name, source) in files.all.iter().filter(|(name, _)| !name.starts_with('_') && is_read(name)) {
        let Some(loaded) = profile::read(name, source, &schema::PROFILE, &mut context.report) else { continue };
        for plan in plans.iter().flat_map(|_| &loaded.plans) {
            let known: Vec<&str> = plans.unwrap_or_default().iter().map(String::as_str).collect();
            causes::check_plan(plan, &known, &loaded.source, &mut context.report);
        }
        profiles.insert(name.clone(), loaded);
    }
    profiles
}

fn check_plans(context: &mut Context, alarms: &[Entry<RawAlarm>], plans: Option<&[String]>) {
    let Some(plans) = plans else { return };
    let known: Vec<&str> = plans.iter().map(String::as_str).collect();
    for plan in alarms.iter().filter_map(|a| a.plan.as_ref()) {
        causes::check_plan(plan, &known, &context.source, &mut context.report);
    }
}

/// The roster and the plans, which check each other's roles.
fn duty(
    context: &mut Context,
    tables: &Tables,
    plans: Option<Plans>,
    now: Timestamp,
) -> (Option<guanjia_core::roster::Roster>, Option<guanjia_core::plan::PlanBook>) {
    let Some(mut plans) = plans else { return (None, None) };
    let roles: Vec<String> = plans.common.roles.keys().cloned().collect();
    let before = context.report.diagnostics.len();
    if let Some(own) = &tables.ladders {
        people::ladders(context, own, &roles, &mut plans.common.ladders);
    }
    let book = if context.report.diagnostics.len() == before { plans.into_book(&mut context.report) } else { None };
    let (Some(duty), Some(building)) = (&tables.duty, &tables.building) else { return (None, book) };
    let duty = Duty {
        shifts: &tables.shifts,
        duty,
        people: &tables.people,
        roles: roles.iter().map(String::as_str).collect(),
        zone: if TimeZone::get(&building.time_zone).is_ok() { &building.time_zone } else { "UTC" },
    };
    (people::roster(context, &duty, now), book)
}
