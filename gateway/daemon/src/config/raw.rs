//! The site file as it is written: one type per kind of table, every key with its meaning, nothing checked yet.
//!
//! The JSON Schema (`config/site.schema.json`) is made from these types, and so are the messages about unknown and
//! missing keys. [`Spanned places`](super::value::At) stand wherever a later check may have to point at the text.

use std::collections::BTreeMap;

use guanjia_core::supply::{BreakerLimits, Exemption};
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::units::Utility;
use schemars::JsonSchema;
use serde::Deserialize;

use super::alarms::RawAlarm;
use super::channels::{RawNtfy, RawSmtp, RawWebhook};
use super::lines::dial_in::{RawDialIn, RawDtu};
use super::lines::{RawModbusAscii, RawModbusRtu, RawModbusTcp, RawModbusTls, RawModbusUdp, RawMqtt, RawRtuOverTcp};
use super::people::{RawDuty, RawLadders, RawPerson, RawReach, RawShift};
use super::policy::RawPolicy;
use super::secret::SecretSource;
use super::value::{At, Measure, Span};
use crate::site::Permission;

/// The whole site file. Only its schema is used as a whole; the tables are read one by one.
#[derive(JsonSchema)]
#[schemars(title = "Guanjia site file", deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read through the schema made from them")]
pub struct RawSite {
    /// The building itself.
    site: RawBuilding,
    /// Where the gateway keeps what must last.
    storage: RawStorage,
    /// The console, the API, the metrics.
    http: RawHttp,
    /// Where usage and money go.
    billing: Option<RawBilling>,
    /// Directories beside the site file whose files add to or replace the built-in library.
    library: Option<RawLibrary>,
    /// How often points are read unless a device says otherwise.
    polling: Option<RawPolling>,
    /// Programs that may call the API, by name.
    api_client: Option<BTreeMap<String, RawApiClient>>,
    /// RS-485 lines behind serial servers that pass bytes through, by name.
    rtu_over_tcp: Option<BTreeMap<String, RawRtuOverTcp>>,
    /// Modbus TCP servers, by name.
    modbus_tcp: Option<BTreeMap<String, RawModbusTcp>>,
    /// RS-485 lines on serial ports of this machine, by name.
    modbus_rtu: Option<BTreeMap<String, RawModbusRtu>>,
    /// RS-485 lines whose devices speak Modbus ASCII, on serial ports or behind serial servers, by name.
    modbus_ascii: Option<BTreeMap<String, RawModbusAscii>>,
    /// Modbus TCP servers behind TLS, by name.
    modbus_tls: Option<BTreeMap<String, RawModbusTls>>,
    /// Modbus servers reached by UDP, by name.
    modbus_udp: Option<BTreeMap<String, RawModbusUdp>>,
    /// Ports that modems (DTUs) connect to, by name.
    dial_in: Option<BTreeMap<String, RawDialIn>>,
    /// RS-485 lines behind modems that connect to the gateway, by name.
    dtu: Option<BTreeMap<String, RawDtu>>,
    /// MQTT brokers, by name.
    mqtt: Option<BTreeMap<String, RawMqtt>>,
    /// What feeds the devices with power, by name.
    feeder: Option<BTreeMap<String, RawFeeder>>,
    /// Every device, by id.
    device: Option<BTreeMap<String, RawDevice>>,
    /// Alarms of this site, beside or instead of those of the profiles.
    alarm: Option<Vec<RawAlarm>>,
    /// How long consequences wait for their cause.
    inhibition: Option<RawInhibition>,
    /// Tenants, by id.
    shop: Option<BTreeMap<String, RawShop>>,
    /// What each tenant is supplied with and pays for, by id.
    service_point: Option<BTreeMap<String, RawServicePoint>>,
    /// When to warn, cut and reconnect, by name.
    policy: Option<BTreeMap<String, RawPolicy>>,
    /// How many cuts in an hour are believed. Default 5 and 10 percent.
    mass_cut: Option<BreakerLimits>,
    /// People who can be paged, by id.
    person: Option<BTreeMap<String, RawPerson>>,
    /// Who is on duty when.
    shift: Option<Vec<RawShift>>,
    /// Who stands in for whom.
    duty: RawDuty,
    /// Signed HTTP calls as a way to page people, by name.
    webhook: Option<BTreeMap<String, RawWebhook>>,
    /// ntfy servers as a way to page people, by name.
    ntfy: Option<BTreeMap<String, RawNtfy>>,
    /// Mail as a way to page people, by name.
    smtp: Option<BTreeMap<String, RawSmtp>>,
    /// Escalation ladders of this site instead of the library's.
    ladder: Option<RawLadders>,
}

/// `[site]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBuilding {
    /// The `site` label of metrics and billing rows: lower-case letters, digits and hyphens. Never change it.
    pub id: At<String>,
    /// What people call the building.
    pub name: Bilingual,
    /// IANA time zone, such as "Asia/Shanghai".
    pub time_zone: At<String>,
    /// Language of pages, and of the console until its reader chooses: "zh" or "en".
    #[serde(default)]
    pub language: Lang,
}

/// `[storage]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStorage {
    /// Directory of the journal, relative to the site file; made if it is not there.
    pub directory: At<String>,
}

/// `[http]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: At<String>,
    /// How phones reach the gateway, for the links in pages, such as "http://192.0.2.10:8080".
    pub public_url: Option<At<String>>,
    /// "open" (on loopback addresses only) or { password = SECRET }.
    pub console: At<RawConsole>,
}

/// Who may use the console.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawConsole {
    /// Whoever reaches it.
    Open,
    /// Whoever knows this word.
    Password(At<SecretSource>),
}

/// `[billing]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBilling {
    /// A SQLite file, in the storage directory unless the path is absolute.
    pub sqlite: Option<At<String>>,
    /// A PostgreSQL URL; a secret, because a password is in it.
    pub postgres: Option<At<SecretSource>>,
    /// How long one usage interval is; it divides a day evenly. Default "15m".
    pub interval: Option<At<Span>>,
}

/// `[library]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLibrary {
    /// Device profiles.
    pub profiles: Option<At<String>>,
    /// Emergency plans.
    pub plans: Option<At<String>>,
    /// Tariffs.
    pub tariffs: Option<At<String>>,
}

/// `[polling]`, and `polling` of a device.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPolling {
    /// Points an alarm looks at. Default "1s".
    pub alarm: Option<At<Span>>,
    /// Registers somebody pays by. Default "15s".
    pub billing: Option<At<Span>>,
    /// Everything else. Default "15s".
    pub bulk: Option<At<Span>>,
}

/// `[api_client.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApiClient {
    /// Its bearer token.
    pub token: At<SecretSource>,
    /// Any of "top-up", "acknowledge", "read".
    pub may: At<Vec<Permission>>,
}

/// `[feeder.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFeeder {
    /// What people call it.
    pub name: Bilingual,
    /// The feeder that feeds it.
    pub fed_by: Option<At<String>>,
    /// Alarms (`device/alarm`) that prove it lost its voltage.
    #[serde(default)]
    pub evidence: Vec<At<String>>,
}

/// `[device.ID]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDevice {
    /// Its model: the name of a profile.
    pub profile: At<String>,
    /// The Modbus line it is on.
    pub line: Option<At<String>>,
    /// Its Modbus address on the line: 1 to 247, on Modbus TCP 0 to 255.
    pub unit: Option<At<u16>>,
    /// The MQTT broker it reports to.
    pub broker: Option<At<String>>,
    /// The topic of its messages, instead of what its profile's or its broker's template says.
    pub topic: Option<At<String>>,
    /// What it is called in its topics, such as a radio meter's EUI: "{node}" of templates.
    pub node: Option<At<String>>,
    /// The topic on which it says whether it is there, instead of what its profile's or its broker's template says.
    pub availability: Option<At<String>>,
    /// What people call it. Default: its id.
    pub name: Option<Bilingual>,
    /// The building, if the site has several.
    pub building: Option<String>,
    /// The floor: "B1", "1F", ...
    pub floor: String,
    /// The feeder it has its power from.
    pub fed_by: Option<At<String>>,
    /// How often it is read, instead of `[polling]`.
    pub polling: Option<RawPolling>,
    /// How old a reading may become before it no longer counts.
    pub max_age: Option<At<Span>>,
    /// How long it may think before it answers, instead of what its profile says.
    pub response_max: Option<At<Span>>,
    /// The alarm "does not answer" of this device.
    pub communication: Option<RawCommunication>,
}

/// `communication` of a device
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCommunication {
    /// P1 to P4. Default: P2 for what guards life, P4 for the rest.
    pub priority: Option<guanjia_core::alarm::Priority>,
    /// How long it must be silent. Default "60s".
    pub on_delay: Option<At<Span>>,
    /// How long it must answer again. Default "0s": it answers again only after two good polls anyway.
    pub off_delay: Option<At<Span>>,
}

/// `[inhibition]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawInhibition {
    /// How long a silent device waits for the failure of its feeder or line to show. Default "20s", at most "90s".
    pub hold: Option<At<Span>>,
    /// How long devices have to come back once their feeder or line has. Default "20s", at most "10m".
    pub recovery_hold: Option<At<Span>>,
    /// How long after a ladder's last step the fallback person is paged. Default "5m", at most "1h".
    pub fallback_after: Option<At<Span>>,
}

/// `[shop.ID]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShop {
    /// The name over its door.
    pub name: Bilingual,
    /// The floor: "B1", "1F", ...
    pub floor: String,
    /// Where its notices go.
    #[serde(default)]
    pub contacts: Vec<RawReach>,
}

/// `[service_point.ID]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawServicePoint {
    /// The tenant.
    pub shop: At<String>,
    /// "electricity" or "water".
    pub utility: At<Utility>,
    /// The meter.
    pub device: At<String>,
    /// The point that is billed: an integer counter of energy or volume.
    pub register: At<String>,
    /// The tariff.
    pub tariff: At<String>,
    /// The policy by which it is warned, cut and reconnected.
    pub policy: At<String>,
    /// "prepaid", or "meter-wallet" if the meter keeps the balance and cuts by itself; or leave it out and write `exempt`.
    pub supply: Option<At<RawSupply>>,
    /// Why it is never cut: "fire-protection", "lift", "emergency-lighting", "drainage", "medical", "cold-store",
    /// "telecom", "shared" or "not-prepaid" (metered only).
    pub exempt: Option<At<Exemption>>,
    /// Current times voltage transformer ratio, if the meter does not know it. Default 1.
    pub ratio: Option<At<u32>>,
    /// The most power the connection can carry: a register that grows faster is not believed.
    pub power_max: Option<At<Measure>>,
    /// The most flow the connection can carry.
    pub flow_max: Option<At<Measure>>,
    /// The balance its wallet is opened with, in yuan. Default "0.00".
    pub opening_balance: Option<At<String>>,
}

/// How a service point is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawSupply {
    /// Before it is used.
    Prepaid,
    /// The same, with a balance in the meter to which every top-up is forwarded.
    MeterWallet,
}
