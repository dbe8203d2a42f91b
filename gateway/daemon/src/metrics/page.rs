//! The text of `/metrics`: Prometheus text format 0.0.4.
//!
//! The counted events come from the registry; everything else is written here from the tables of the moment. No
//! sample carries a timestamp. A value whose quality is not good is not written at all, so Prometheus marks the series
//! stale at the next scrape; `guanjia_device_up` and `guanjia_device_last_success_timestamp_seconds` stay.
//!
//! The text is kept in pieces from its first line to the socket: one that grows as a whole is copied each time it doubles
//! and once more by the server, and a site of 500 lines would have most of its memory from its own metrics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use guanjia_core::alarm::{AlarmClass, AlarmDef, AlarmRecord, Priority};
use guanjia_core::credit::CreditState;
use guanjia_core::profile::{EquipmentClass, Profile};
use guanjia_core::reading::DeviceIx;
use guanjia_core::supply::ServiceKind;
use guanjia_core::units::Utility;
use prometheus::{Encoder, TextEncoder};

use crate::device_clock;
use crate::live::{DeviceStatus, Live, SupplyView};
use crate::metrics::{Metrics, SYSTEMS, bus, points, process, severity, system_of};
use crate::site::{Attachment, Device, Site};

/// The states of an alarm that is not normal.
const ALARM_STATES: [&str; 3] = ["unacknowledged", "acknowledged", "suppressed"];

/// What a prepaid account can be.
pub const ACCOUNT_STATES: [&str; 5] = ["normal", "warned", "cut", "pending", "exempt"];

/// What a piece of the text holds before the next one is begun.
const PIECE_BYTES: usize = 32 * 1024;
/// Room for the sample that fills a piece; a longer one only costs a copy.
const SAMPLE_BYTES: usize = 1024;

/// A page of metrics while it is written.
#[derive(Default)]
pub struct Page {
    full: Vec<String>,
    text: String,
}

impl Page {
    /// Begins the next piece if this one is full.
    fn turn(&mut self) {
        if self.text.len() >= PIECE_BYTES {
            let next = String::with_capacity(PIECE_BYTES + SAMPLE_BYTES);
            self.full.push(std::mem::replace(&mut self.text, next));
        }
    }

    /// All that was written, in order.
    fn pieces(mut self) -> Vec<String> {
        self.full.push(self.text);
        self.full
    }

    /// Begins a family: its samples follow at once.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.turn();
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.turn();
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one sample without labels, left out altogether if there is no value.
    pub fn optional(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }
}

/// Appends a label's value.
pub(super) fn escape(out: &mut String, text: &str) {
    // All three are ASCII, and bytes are looked through several times as fast as characters.
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Everything Prometheus is told, as of now; the pieces belong together in this order.
pub fn render(metrics: &Metrics, live: &Live) -> Vec<String> {
    metrics.adopt(&live.site);
    let mut events = Vec::new();
    // Encoding into memory fails only on a family without samples, and `gather` returns none of those.
    let _ = TextEncoder::new().encode(&metrics.gather(), &mut events);
    let mut page = Page { full: Vec::new(), text: String::from_utf8(events).unwrap_or_default() };
    page.family("guanjia_build_info", "gauge", "1; the labels say what runs.");
    let revision = option_env!("GUANJIA_REVISION").unwrap_or("unknown");
    page.sample("guanjia_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("revision", revision)], 1.0);
    process::write(&mut page);
    let statuses = live.latest.devices();
    devices(&mut page, &live.site, &statuses);
    clocks(&mut page, live);
    values(&mut page, live);
    alarms(&mut page, live);
    states(&mut page, live, &statuses);
    accounts(&mut page, &live.site, &live.supplies.get());
    meter_credits(&mut page, live);
    bus::write(&mut page, live);
    page.family("guanjia_storage_size_bytes", "gauge", "Bytes on disk.");
    page.sample("guanjia_storage_size_bytes", &[("store", "journal")], live.store.storage_bytes() as f64);
    page.pieces()
}

/// The `bus` label: the line or the broker a device is on.
pub fn bus_of<'a>(site: &'a Site, device: &Device) -> &'a str {
    match &device.attachment {
        Attachment::Line { line, .. } => site.lines.get(*line).map_or("", |l| &l.name),
        Attachment::Mqtt { broker, .. } => site.brokers.get(*broker).map_or("", |b| &b.name),
    }
}

/// The labels every series of a device has beside its name.
fn device_labels<'a>(site: &'a Site, device: &'a Device) -> [(&'static str, &'a str); 4] {
    [
        ("device", &device.id),
        ("building", &device.building),
        ("system", system_of(device.profile.class)),
        ("bus", bus_of(site, device)),
    ]
}

/// Who is there, and who answers.
fn devices(page: &mut Page, site: &Site, statuses: &[DeviceStatus]) {
    page.family("guanjia_device_info", "gauge", "1; the labels describe the device.");
    for device in &site.devices {
        let [id, building, system, bus] = device_labels(site, device);
        let labels = [id, system, building, ("floor", &device.floor), bus, ("name", device.name.get(site.lang))];
        page.sample("guanjia_device_info", &labels, 1.0);
    }
    page.family("guanjia_device_up", "gauge", "1 while the device answers, else 0.");
    for (device, status) in site.devices.iter().zip(statuses) {
        let up = if status.silent.is_none() { 1.0 } else { 0.0 };
        page.sample("guanjia_device_up", &device_labels(site, device), up);
    }
    let name = "guanjia_device_last_success_timestamp_seconds";
    page.family(name, "gauge", "When the device last answered, as a Unix time; absent until it first does.");
    for (device, status) in site.devices.iter().zip(statuses) {
        if let Some(at) = status.last_success {
            page.sample(name, &device_labels(site, device), at.as_seconds_f64());
        }
    }
}

/// How far the devices' own clocks are off.
fn clocks(page: &mut Page, live: &Live) {
    let name = "guanjia_device_clock_skew_seconds";
    page.family(
        name,
        "gauge",
        "By how much a device's own clock is ahead; absent without one, or while it is not read.",
    );
    for device in &live.site.devices {
        if let Some(clock) = device_clock::of(live, device) {
            page.sample(name, &device_labels(&live.site, device), clock.skew_seconds);
        }
    }
}

/// What good points say, in base units, and how many points are how good.
fn values(page: &mut Page, live: &Live) {
    let site = &live.site;
    let mut qualities: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for system in SYSTEMS {
        for quality in ["good", "suspect", "stale", "bad"] {
            qualities.insert((system, quality), 0);
        }
    }
    let metered: HashSet<DeviceIx> = site.service_points.iter().map(|s| s.device).collect();
    let mut exports: HashMap<*const Profile, Vec<(usize, points::Export)>> = HashMap::new();
    let mut series: HashMap<&str, Vec<Sample<'_>>> = HashMap::new();
    for device in &site.devices {
        let exports = exports.entry(Arc::as_ptr(&device.profile)).or_insert_with(|| points::exports(&device.profile));
        let system = system_of(device.profile.class);
        live.latest.with(device.first_point, device.profile.points.len(), |rows| {
            for row in rows {
                *qualities.entry((system, row.quality.as_str())).or_default() += 1;
            }
            for (def, export) in exports.iter() {
                let good = rows.get(*def).filter(|row| row.quality.is_good());
                let value = good.and_then(|row| row.value.as_ref()).and_then(|(value, _)| value.as_f64());
                let Some(value) = value else { continue };
                let samples = series.entry(export.metric.name).or_default();
                samples.push(Sample { device, label: export.label, value: value * export.factor });
            }
        });
    }
    page.family("guanjia_points", "gauge", "Points by the quality of their latest value.");
    for ((system, quality), n) in qualities {
        page.sample("guanjia_points", &[("system", system), ("quality", quality)], n as f64);
    }
    for metric in points::ALL {
        page.family(metric.name, metric.kind, metric.help);
        for Sample { device, label, value } in series.remove(metric.name).unwrap_or_default() {
            let circuit = if metered.contains(&device.ix) { "tenant" } else { "common" };
            let building = device.building.as_str();
            let all =
                [("device", &*device.id), ("building", building), ("circuit", circuit), label.unwrap_or_default()];
            let labels = if label.is_some() { &all[..] } else { &all[..3] };
            page.sample(metric.name, labels, value);
        }
    }
}

/// One sample of a metric of meaning.
struct Sample<'a> {
    device: &'a Device,
    label: Option<(&'static str, &'static str)>,
    value: f64,
}

/// The definition of an alarm by its key.
pub fn definitions(site: &Site) -> HashMap<&str, &Arc<AlarmDef>> {
    site.alarms.iter().map(|def| (&*def.key, def)).collect()
}

/// What stands, by who it concerns and how bad it is.
fn alarms(page: &mut Page, live: &Live) {
    let (site, board) = (&live.site, live.alarms.get());
    let definitions = definitions(site);
    let mut counts: BTreeMap<[&str; 4], u64> = BTreeMap::new();
    let mut buildings: Vec<&str> = site.devices.iter().map(|d| d.building.as_str()).collect();
    buildings.sort_unstable();
    buildings.dedup();
    for building in buildings {
        for system in SYSTEMS {
            for priority in Priority::ALL {
                for state in ALARM_STATES {
                    counts.insert([system, severity(priority), building, state], 0);
                }
            }
        }
    }
    let mut oldest: BTreeMap<&str, f64> = BTreeMap::new();
    for alarm in board.alarms.iter().filter(|a| a.active || a.latched || !a.acked) {
        let state = alarm_state(alarm);
        // An alarm without a definition belongs to something the configuration no longer has. It is the gateway's own
        // to settle, and it must not disappear from the count.
        let (system, building, priority) = match definitions.get(alarm.key.as_str()) {
            Some(def) => {
                let device = &site.devices[def.device.0 as usize];
                (system_of(device.profile.class), device.building.as_str(), def.priority)
            }
            None => ("gateway", "", incident_priority(alarm, &board.incidents).unwrap_or(Priority::P2)),
        };
        *counts.entry([system, severity(priority), building, state]).or_default() += 1;
        if state == "unacknowledged" {
            let at = alarm.raised_at.as_seconds_f64();
            oldest.entry(severity(priority)).and_modify(|known| *known = known.min(at)).or_insert(at);
        }
    }
    page.family(
        "guanjia_alarms_active",
        "gauge",
        "Alarms that are not normal. Severity: critical P1, major P2, minor P3, info P4.",
    );
    for ([system, severity, building, state], n) in counts {
        let labels = [("system", system), ("severity", severity), ("building", building), ("state", state)];
        page.sample("guanjia_alarms_active", &labels, n as f64);
    }
    let name = "guanjia_alarm_oldest_unacknowledged_timestamp_seconds";
    page.family(name, "gauge", "When the oldest alarm nobody has accepted was raised; absent when there is none.");
    for (severity, at) in oldest {
        page.sample(name, &[("severity", severity)], at);
    }
}

/// Which of [`ALARM_STATES`] an alarm is in.
pub fn alarm_state(alarm: &AlarmRecord) -> &'static str {
    if alarm.suppressed_by.is_some() {
        "suppressed"
    } else if alarm.acked {
        "acknowledged"
    } else {
        "unacknowledged"
    }
}

/// The priority of the incident an alarm belongs to.
fn incident_priority(alarm: &AlarmRecord, incidents: &[guanjia_core::incident::IncidentRecord]) -> Option<Priority> {
    incidents.iter().find(|i| Some(i.id) == alarm.incident).map(|i| i.priority)
}

/// The state codes of fire panels and lifts.
fn states(page: &mut Page, live: &Live, statuses: &[DeviceStatus]) {
    let board = live.alarms.get();
    let definitions = definitions(&live.site);
    let tables = [
        (
            EquipmentClass::FirePanel,
            "guanjia_fire_panel_state_code",
            "0 offline, 1 normal, 2 fault, 3 supervisory, 4 alarm, 5 test.",
        ),
        (
            EquipmentClass::Lift,
            "guanjia_elevator_state_code",
            "0 offline, 1 normal, 2 idle, 3 maintenance, 4 fault, 5 entrapment, 6 fire recall.",
        ),
    ];
    for (class, name, help) in tables {
        page.family(name, "gauge", help);
        for (device, status) in live.site.devices.iter().zip(statuses).filter(|(d, _)| d.profile.class == class) {
            let standing = board.alarms.iter().filter(|a| a.active || a.latched).filter_map(|a| {
                definitions.get(a.key.as_str()).filter(|def| def.device == device.ix).map(|def| def.class)
            });
            let code = state_code(class, status, standing);
            page.sample(name, &[("device", &device.id), ("building", &device.building)], code);
        }
    }
}

/// A panel's or lift's state as far as its standing alarms tell it: the gravest wins, silence beats them all, because
/// a device that does not answer says nothing about now.
fn state_code(class: EquipmentClass, status: &DeviceStatus, standing: impl Iterator<Item = AlarmClass>) -> f64 {
    if status.silent.is_some() {
        return 0.0;
    }
    let (life_safety, fault) = if class == EquipmentClass::Lift { (5.0, 4.0) } else { (4.0, 2.0) };
    standing
        .map(|class| match class {
            AlarmClass::LifeSafety => life_safety,
            AlarmClass::Process => fault,
            AlarmClass::Communication => 1.0,
        })
        .fold(1.0, f64::max)
}

/// How many accounts are in which state.
fn accounts(page: &mut Page, site: &Site, supplies: &[SupplyView]) {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for utility in Utility::ALL {
        for state in ACCOUNT_STATES {
            counts.insert((utility.as_str(), state), 0);
        }
    }
    for point in &site.service_points {
        let view = supplies.iter().find(|v| v.service_point == point.id);
        let state = account_state(&point.kind, view);
        *counts.entry((point.utility.as_str(), state)).or_default() += 1;
    }
    page.family(
        "guanjia_prepaid_accounts",
        "gauge",
        "Service points by state; pending: the supply is not yet as it should be.",
    );
    for ((utility, state), n) in counts {
        page.sample("guanjia_prepaid_accounts", &[("utility", utility), ("state", state)], n as f64);
    }
}

/// The credits of meters that are not settled.
fn meter_credits(page: &mut Page, live: &Live) {
    let open = live.open_credits.get();
    page.family(
        "guanjia_meter_credits",
        "gauge",
        "Top-ups for meters that keep the credit and that are not settled, by state; manual: a person is waited for.",
    );
    for state in CreditState::ALL.into_iter().filter(|state| !state.is_settled()) {
        let n = open.iter().filter(|credit| credit.state == state).count();
        page.sample("guanjia_meter_credits", &[("state", state.as_str())], n as f64);
    }
    let name = "guanjia_meter_credit_oldest_unsettled_timestamp_seconds";
    page.family(name, "gauge", "When the oldest of them was paid; absent when there is none.");
    if let Some(paid_at) = open.iter().map(|credit| credit.paid_at).min() {
        page.sample(name, &[], paid_at.as_seconds_f64());
    }
}

/// Which of [`ACCOUNT_STATES`] a service point is in.
pub fn account_state(kind: &ServiceKind, view: Option<&SupplyView>) -> &'static str {
    use guanjia_core::supply::Supply;
    if !matches!(kind, ServiceKind::Prepaid) {
        return "exempt";
    }
    let Some(view) = view else { return "pending" };
    match (view.desired, view.reported) {
        (desired, Some(reported)) if desired != reported => "pending",
        (Supply::Off, None) => "pending",
        (Supply::Off, _) => "cut",
        (Supply::On, _) if view.warning.is_some() => "warned",
        (Supply::On, _) => "normal",
    }
}
