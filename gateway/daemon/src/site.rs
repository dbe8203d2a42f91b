//! The site as the rest of the program sees it: read, checked, resolved.
//!
//! [`crate::config`] turns the site file, the device profiles, the plans and the tariffs into a [`Site`] or into a
//! list of errors; nothing else in the program reads configuration. Every name has become an index or an `Arc`, so
//! a dangling reference cannot reach the code that runs. A `Site` never changes; a reload makes a new one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::AlarmDef;
use guanjia_core::incident::Timings;
use guanjia_core::inhibition::Topology;
use guanjia_core::ledger::Keeper;
use guanjia_core::plan::PlanBook;
use guanjia_core::profile::{PointDef, Profile, Relay};
use guanjia_core::reading::{DeviceIx, PointIx};
use guanjia_core::roster::Roster;
use guanjia_core::supply::{BreakerLimits, Policy, ServiceKind};
use guanjia_core::tariff::TariffPlan;
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::units::{Hao, Utility};
use guanjia_core::usage::Register;
use guanjia_field::budget::Share;
use guanjia_field::link::tls::revocation::Revocations;
use guanjia_field::{EntranceConfig, FieldDevice, LineConfig, Periods};

/// Text that must not be printed: tokens, passwords, URLs with passwords in them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One building, resolved.
#[derive(Debug)]
pub struct Site {
    /// The `site` label of metrics and billing rows: lower-case letters, digits and hyphens.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Bilingual,
    /// Whose midnight ends a billing day and whose clock the shifts follow.
    pub zone: jiff::tz::TimeZone,
    /// The language of pages, and of the console until its reader chooses.
    pub lang: Lang,
    /// Where the journal lies.
    pub data_dir: PathBuf,
    /// The HTTP side.
    pub http: Http,
    /// Programs that may call the API.
    pub api_clients: Vec<ApiClient>,
    /// Where usage and money go.
    pub billing: Billing,
    /// Every bus, each with the devices on it by index.
    pub lines: Vec<LineConfig>,
    /// What share of each line's time its reads are planned to take; as many as there are lines.
    pub utilization: Vec<Share>,
    /// The lines that another master owns, as indexes into `lines`: they are only listened to.
    pub passive: BTreeSet<usize>,
    /// Every port that modems connect to; their lines are among [`Site::lines`].
    pub entrances: Vec<EntranceConfig>,
    /// Every MQTT broker.
    pub brokers: Vec<Broker>,
    /// Every device; `devices[i].ix == DeviceIx(i)`.
    pub devices: Vec<Device>,
    /// Every point; `points[i]` is `PointIx(i)`. A device's points lie together, in its profile's order.
    pub points: Vec<Point>,
    /// Every alarm: the profiles' and the site's own, and one of communication per device.
    pub alarms: Vec<Arc<AlarmDef>>,
    /// Feeders and lines as causes of many alarms.
    pub topology: Topology,
    /// How long consequences wait for their cause, and the fallback for an answer.
    pub timings: Timings,
    /// The emergency plans, their roles and ladders.
    pub plans: PlanBook,
    /// Who is on duty.
    pub roster: Roster,
    /// People who can be paged.
    pub people: Vec<Person>,
    /// Ways to page them.
    pub channels: Vec<Channel>,
    /// Tenants.
    pub shops: Vec<Shop>,
    /// What each tenant is supplied with, metered and billed for.
    pub service_points: Vec<ServicePoint>,
    /// How many cuts in an hour are believed.
    pub mass_cut: BreakerLimits,
}

/// The HTTP side.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How phones reach it, for the links in pages; without a trailing slash. `None`: made from the bound address.
    pub public_url: Option<String>,
    /// Who may use the console.
    pub console: ConsoleAccess,
}

/// Who may use the console.
#[derive(Clone, Debug)]
pub enum ConsoleAccess {
    /// Whoever reaches it; accepted by the configuration only for loopback addresses.
    Open,
    /// Whoever knows this word.
    Password(Secret),
}

/// What an API client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Credit wallets.
    TopUp,
    /// Accept and reset alarms and incidents.
    Acknowledge,
    /// Read balances, statements and readings.
    Read,
}

/// A program that may call the API.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// Its name in the ledger; idempotency keys are its own.
    pub name: Arc<str>,
    /// Its bearer token.
    pub token: Secret,
    /// What it may do.
    pub may: Vec<Permission>,
}

/// Where usage and money go.
#[derive(Clone, Debug)]
pub struct Billing {
    /// The database.
    pub target: BillingTarget,
    /// How long one usage interval is; billing registers are posted at its civil boundaries.
    pub interval: Duration,
}

/// The billing database.
#[derive(Clone, Debug)]
pub enum BillingTarget {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL.
    Postgres(Secret),
}

/// An MQTT broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// Which protocol it is spoken to in.
    pub version: MqttVersion,
    /// How the connection is protected; `None`: not at all.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The revocation lists that `tls` asks; `None`: nobody is asked.
    pub crl: Option<Revocations>,
    /// What is published there; `None`: nothing is.
    pub publish: Option<Publish>,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1, which every broker has.
    V311,
    /// 5.
    V5,
}

/// What is published at a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Topics of this project's own, one a point.
    Topics {
        /// How they begin.
        prefix: String,
        /// Home Assistant's discovery prefix, if it shall find the devices by itself.
        home_assistant: Option<String>,
    },
    /// Sparkplug B.
    Sparkplug {
        /// The group id.
        group: String,
        /// The edge node id.
        node: String,
        /// The host without which nothing is told; `None` to tell whoever listens.
        primary_host: Option<String>,
    },
}

/// How a device is reached.
#[derive(Clone, Debug)]
pub enum Attachment {
    /// On the line `Site::lines[line]`, as this unit.
    Line {
        /// Index into [`Site::lines`].
        line: usize,
        /// 1 to 247 on a serial line, 0 to 255 on Modbus TCP.
        unit: u8,
        /// How often each class of its points is read.
        periods: Periods,
    },
    /// On the broker `Site::brokers[broker]`.
    Mqtt {
        /// Index into [`Site::brokers`].
        broker: usize,
        /// The topics of its messages, each with the points that come on it.
        topics: Vec<Topic>,
        /// The topic on which it says whether it is there, in the words of its profile.
        availability: Option<String>,
    },
}

/// One topic of a device's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its whole name.
    pub name: String,
    /// Positions in the profile of the points that come on it, ascending.
    pub points: Vec<usize>,
}

/// One device of the site.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its index.
    pub ix: DeviceIx,
    /// Its id in the site file.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Bilingual,
    /// Its model.
    pub profile: Arc<Profile>,
    /// How it is reached.
    pub attachment: Attachment,
    /// Its first point; the others follow in the profile's order.
    pub first_point: PointIx,
    /// How old a good reading may become before it is stale.
    pub max_age: Duration,
    /// The `building` label; empty if the site has only one.
    pub building: String,
    /// `B1`, `1F`, ...
    pub floor: String,
}

/// One point of the site.
#[derive(Clone, Debug)]
pub struct Point {
    /// The device it belongs to.
    pub device: DeviceIx,
    /// Its position in the profile.
    pub def: usize,
}

/// Somebody who can be paged.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id in the site file.
    pub id: Arc<str>,
    /// The name shown.
    pub name: String,
    /// Every way to reach them, all used at once for P1.
    pub reach: Vec<Reach>,
}

/// One address on one channel.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The channel's name.
    pub channel: Arc<str>,
    /// What the channel calls the person: a topic, a mail address, a path segment.
    pub address: String,
}

/// A way to page people.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// How it works.
    pub kind: ChannelKind,
}

/// The kinds of channel.
#[derive(Clone, Debug)]
pub enum ChannelKind {
    /// A signed POST of JSON; `{address}` in the URL is replaced by the address.
    Webhook {
        /// `http://192.0.2.9/page/{address}`
        url: String,
        /// The key of the `X-Signature` HMAC.
        secret: Option<Secret>,
    },
    /// An ntfy server; the address is the topic.
    Ntfy {
        /// The server's root URL.
        url: String,
        /// An access token.
        token: Option<Secret>,
    },
    /// Mail; the address is a mailbox.
    Smtp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// How the connection is protected.
        security: SmtpSecurity,
        /// User name and password.
        login: Option<(String, Secret)>,
        /// The sender's mailbox.
        from: String,
    },
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// Not at all: a relay inside the building.
    None,
    /// Plain first, then TLS (port 587).
    Starttls,
    /// TLS from the first byte (port 465).
    Tls,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The id in the site file.
    pub id: Arc<str>,
    /// The name over its door.
    pub name: Bilingual,
    /// `B1`, `1F`, ...
    pub floor: String,
    /// Where its notices go.
    pub contacts: Vec<Reach>,
}

/// What one tenant is supplied with at one place.
#[derive(Clone, Debug)]
pub struct ServicePoint {
    /// The id in the site file; its wallet is `wallet:<id>`, and `meter_wallet:<id>` what is in
    /// its meter.
    pub id: Arc<str>,
    /// Index into [`Site::shops`].
    pub shop: usize,
    /// What is supplied.
    pub utility: Utility,
    /// The meter.
    pub device: DeviceIx,
    /// The billing register.
    pub register_point: PointIx,
    /// How that register counts.
    pub register: Register,
    /// What it costs.
    pub tariff: Arc<TariffPlan>,
    /// Prepaid, or exempt from being cut, and why.
    pub kind: ServiceKind,
    /// When it is warned, cut and reconnected.
    pub policy: Arc<Policy>,
    /// Where power, current or flow is read that must be near zero while the supply is off; `None` if the meter does
    /// not tell.
    pub load: Option<LoadPoint>,
    /// The balance its wallet is opened with.
    pub opening: Hao,
    /// Which of the meter's relays or valves interrupts it; `None` if it has none for this register, or moves it itself
    /// because it keeps the balance.
    pub relay: Option<usize>,
    /// Which of the meter's own wallets it tops up; `None` if the ledger alone keeps the balance.
    pub wallet: Option<usize>,
    /// Where that meter says what one count of the register costs, in minor units; `None` if its price and balance are not
    /// held against the ledger.
    pub meter_price: Option<PointIx>,
    /// Where the meter says whether an account of its own charges this register and cuts by it, whoever keeps the balance;
    /// `None` if it has no such account, or does not tell.
    pub meter_cuts: Option<PointIx>,
}

impl ServicePoint {
    /// Who keeps the balance by which it is cut.
    pub fn keeper(&self) -> Keeper {
        if self.wallet.is_some() { Keeper::Meter } else { Keeper::Ledger }
    }
}

/// The point by which a bypass is recognised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadPoint {
    /// The point.
    pub point: PointIx,
    /// Its value times this is in the unit of [`Policy::bypass_above`].
    pub factor: f64,
}

/// The devices on the line at this index, as the field knows them.
pub fn on_line(devices: &[Device], index: usize) -> Vec<FieldDevice> {
    let on_this_line = devices.iter().filter_map(|device| match device.attachment {
        Attachment::Line { line, unit, periods } if line == index => Some(FieldDevice {
            ix: device.ix,
            id: Arc::clone(&device.id),
            unit,
            profile: Arc::clone(&device.profile),
            first_point: device.first_point,
            periods,
        }),
        Attachment::Line { .. } | Attachment::Mqtt { .. } => None,
    });
    on_this_line.collect()
}

impl Site {
    /// Whether another master owns the line at this index of [`Site::lines`].
    pub fn is_passive(&self, line: usize) -> bool {
        self.passive.contains(&line)
    }

    /// The definition of a point in its profile.
    pub fn point_def(&self, point: PointIx) -> &PointDef {
        let point = &self.points[point.0 as usize];
        &self.devices[point.device.0 as usize].profile.points[point.def]
    }

    /// The device a point belongs to.
    pub fn device_of(&self, point: PointIx) -> &Device {
        &self.devices[self.points[point.0 as usize].device.0 as usize]
    }

    /// The relay or valve that interrupts a service point.
    pub fn relay(&self, point: &ServicePoint) -> Option<&Relay> {
        self.devices.get(point.device.0 as usize)?.profile.relays.get(point.relay?)
    }

    /// The index of a point by device and point id.
    pub fn find_point(&self, device: &str, point: &str) -> Option<PointIx> {
        let device = self.devices.iter().find(|d| &*d.id == device)?;
        let offset = device.profile.point(point)?;
        Some(PointIx(device.first_point.0 + u32::try_from(offset).ok()?))
    }
}
