//! Lines and brokers.
//!
//! Two tables for one serial server or one port would put two masters on one bus, each taking the other's answers for
//! its own; so an address may stand only once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use guanjia_field::{LineConfig, Link, Parity, SerialFormat};
use schemars::JsonSchema;
use serde::Deserialize;

use super::context::Context;
use super::document::Entry;
use super::profile::RawSerial;
use super::secret::SecretSource;
use super::value::{At, Span};
use crate::site::Broker;

/// How long a line waits for a late answer before it goes on.
const LINGER: Duration = Duration::from_millis(250);
/// The registered port of Modbus TCP.
const MODBUS_PORT: u16 = 502;
/// The registered port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// `[rtu_over_tcp.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRtuOverTcp {
    /// Host and port of the serial server.
    pub address: At<String>,
    /// Bits per second on the bus.
    pub baud: At<u32>,
    /// 8; Modbus RTU has no other. Default 8.
    pub data_bits: Option<At<u8>>,
    /// "none", "even" or "odd". Default "none".
    pub parity: Option<At<RawParity>>,
    /// 1 or 2. Default 1.
    pub stop_bits: Option<At<u8>>,
    /// How long its slowest device may think; instead of what the profiles say.
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "20ms", and
    /// "10ms" without a serial line.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// `[modbus_rtu.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusRtu {
    /// The serial port, such as "/dev/ttyUSB0".
    pub port: At<String>,
    /// Bits per second on the bus.
    pub baud: At<u32>,
    /// 8; Modbus RTU has no other. Default 8.
    pub data_bits: Option<At<u8>>,
    /// "none", "even" or "odd". Default "none".
    pub parity: Option<At<RawParity>>,
    /// 1 or 2. Default 1.
    pub stop_bits: Option<At<u8>>,
    /// How long its slowest device may think; instead of what the profiles say.
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "20ms", and
    /// "10ms" without a serial line.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// `[modbus_tcp.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusTcp {
    /// Host and port; the port may be left out (502).
    pub address: At<String>,
    /// How long its slowest device may think; instead of what the profiles say.
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "20ms", and
    /// "10ms" without a serial line.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// What to do about a line that is planned too full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overload {
    /// The site is wrong.
    #[default]
    Refuse,
    /// Somebody knows and wants it so; turns are left out and counted.
    Accept,
}

/// The parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawParity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

impl RawParity {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            RawParity::None => "none",
            RawParity::Even => "even",
            RawParity::Odd => "odd",
        }
    }
}

/// `[mqtt.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMqtt {
    /// Host and port; the port may be left out (1883).
    pub address: At<String>,
    /// User name.
    pub user: Option<At<String>>,
    /// Password.
    pub password: Option<At<SecretSource>>,
    /// Prefix under which the gateway publishes readings, availability and alarms; nothing is published without it.
    pub publish: Option<At<String>>,
}

/// The three kinds of tables of lines.
pub struct RawLines {
    /// `[rtu_over_tcp.…]`
    pub rtu_over_tcp: Vec<Entry<RawRtuOverTcp>>,
    /// `[modbus_tcp.…]`
    pub modbus_tcp: Vec<Entry<RawModbusTcp>>,
    /// `[modbus_rtu.…]`
    pub modbus_rtu: Vec<Entry<RawModbusRtu>>,
}

impl RawLines {
    /// What a line's table says about its plan.
    pub fn planning(&self, name: &str) -> Planning {
        let rtu_over_tcp = self.rtu_over_tcp.iter().map(|e| (&e.key, &e.turnaround, e.overload));
        let modbus_tcp = self.modbus_tcp.iter().map(|e| (&e.key, &e.turnaround, e.overload));
        let modbus_rtu = self.modbus_rtu.iter().map(|e| (&e.key, &e.turnaround, e.overload));
        let found = rtu_over_tcp.chain(modbus_tcp).chain(modbus_rtu).find(|(key, ..)| ***key == *name);
        found.map_or_else(Planning::default, |(_, turnaround, overload)| Planning {
            turnaround: turnaround.as_ref().map(|t| t.0),
            overload: overload.unwrap_or_default(),
        })
    }
}

/// What the plan of a line counts with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planning {
    /// How long its devices typically think.
    pub turnaround: Option<Duration>,
    /// What to do if it is too full.
    pub overload: Overload,
}

/// One line, under the name of its table.
pub struct Line {
    /// What the field needs.
    pub config: LineConfig,
    /// The format of its bus; `None` on Modbus TCP.
    pub format: Option<(SerialFormat, RawParity)>,
}

/// Checks every line. A line that is wrong keeps its place, so that its devices are not called dangling besides.
pub fn lines(context: &mut Context, raw: &RawLines) -> Vec<Entry<Option<Line>>> {
    let mut lines = Vec::new();
    let mut taken = BTreeMap::new();
    for entry in &raw.rtu_over_tcp {
        let format = format(context, &entry.baud, &entry.data_bits, &entry.parity, &entry.stop_bits);
        let address = address(context, &entry.address, None, &entry.key, &mut taken);
        let line = address.zip(format).map(|(address, (format, parity))| Line {
            config: line_config(entry.key.clone(), Link::RtuOverTcp { address, format }, &entry.response_max),
            format: Some((format, parity)),
        });
        lines.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: line });
    }
    for entry in &raw.modbus_tcp {
        let address = address(context, &entry.address, Some(MODBUS_PORT), &entry.key, &mut taken);
        let line = address.map(|address| Line {
            config: line_config(entry.key.clone(), Link::ModbusTcp { address }, &entry.response_max),
            format: None,
        });
        lines.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: line });
    }
    for entry in &raw.modbus_rtu {
        let format = format(context, &entry.baud, &entry.data_bits, &entry.parity, &entry.stop_bits);
        let free = claim(context, entry.port.span(), (*entry.port).clone(), &entry.key, &mut taken);
        let line = format.filter(|_| free).map(|(format, parity)| Line {
            config: line_config(
                entry.key.clone(),
                Link::Serial { path: (*entry.port).clone(), format },
                &entry.response_max,
            ),
            format: Some((format, parity)),
        });
        lines.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: line });
    }
    check_names(context, &lines);
    for line in &mut lines {
        let planning = raw.planning(&line.key);
        if let Some(line) = &mut line.value {
            line.config.turnaround = planning.turnaround;
        }
    }
    lines
}

fn line_config(name: Arc<str>, link: Link, response_max: &Option<At<Span>>) -> LineConfig {
    LineConfig {
        name,
        link,
        response_max: response_max.as_ref().map(|r| r.0),
        turnaround: None,
        in_flight_max: 1,
        linger: LINGER,
    }
}

fn address(
    context: &mut Context,
    raw: &At<String>,
    default_port: Option<u16>,
    name: &Arc<str>,
    taken: &mut BTreeMap<String, Arc<str>>,
) -> Option<String> {
    let (host, port) = context.host_port(raw, default_port)?;
    let address = format!("{host}:{port}");
    claim(context, raw.span(), address.clone(), name, taken).then_some(address)
}

/// False, with an error, if another line has the address already.
fn claim(
    context: &mut Context,
    at: Range<usize>,
    address: String,
    name: &Arc<str>,
    taken: &mut BTreeMap<String, Arc<str>>,
) -> bool {
    if let Some(other) = taken.get(&address) {
        let message = format!("`{address}` is the line `{other}` already");
        context
            .error(at, message)
            .help("put all devices of one bus on one line: two masters take each other's answers");
        return false;
    }
    taken.insert(address, name.clone());
    true
}

fn format(
    context: &mut Context,
    baud: &At<u32>,
    data_bits: &Option<At<u8>>,
    parity: &Option<At<RawParity>>,
    stop_bits: &Option<At<u8>>,
) -> Option<(SerialFormat, RawParity)> {
    let mut right = true;
    if !(300..=1_000_000).contains(&**baud) {
        context.error(baud.span(), format!("{} is not a speed of a serial line", **baud)).help("write 9600");
        right = false;
    }
    if let Some(bits) = data_bits.as_ref().filter(|b| ***b != 8) {
        context.error(bits.span(), "Modbus RTU has 8 data bits").help("write 8, or leave `data_bits` out");
        right = false;
    }
    if let Some(bits) = stop_bits.as_ref().filter(|b| !(1..=2).contains(&***b)) {
        context.error(bits.span(), "there are 1 or 2 stop bits").help("write 1 or 2");
        right = false;
    }
    let raw_parity = parity.as_ref().map_or(RawParity::None, |p| **p);
    let parity = match raw_parity {
        RawParity::None => Parity::None,
        RawParity::Even => Parity::Even,
        RawParity::Odd => Parity::Odd,
    };
    let stop_bits = stop_bits.as_ref().map_or(1, |b| **b);
    right.then_some((SerialFormat { baud: **baud, data_bits: 8, parity, stop_bits }, raw_parity))
}

fn check_names(context: &mut Context, lines: &[Entry<Option<Line>>]) {
    for (i, line) in lines.iter().enumerate() {
        if lines[..i].iter().any(|other| other.key == line.key) {
            context.error(line.at.clone(), format!("there are two lines `{}`", line.key)).help("rename one of them");
        }
    }
}

/// What a device of this serial setting cannot follow on the line; `None` if it can.
pub fn format_conflict(line: &Line, serial: &RawSerial) -> Option<(String, String)> {
    let (format, parity) = line.format.as_ref()?;
    let fits = serial.baud.contains(&format.baud)
        && serial.data_bits.contains(&format.data_bits)
        && serial.parity.contains(parity)
        && serial.stop_bits.contains(&format.stop_bits);
    if fits {
        return None;
    }
    let list = |items: Vec<String>| items.join(" or ");
    let numbers = |items: &[u8]| items.iter().map(u8::to_string).collect::<Vec<_>>();
    let can = format!(
        "baud {}, parity {}, stop bits {}",
        list(serial.baud.iter().map(u32::to_string).collect()),
        list(serial.parity.iter().map(|p| p.as_str().to_owned()).collect()),
        list(numbers(&serial.stop_bits)),
    );
    let is = format!("{} baud, parity {}, {} stop bits", format.baud, parity.as_str(), format.stop_bits);
    Some((is, can))
}

/// Checks every broker.
pub fn brokers(context: &mut Context, raw: &[Entry<RawMqtt>]) -> Vec<Broker> {
    let mut brokers = Vec::new();
    for entry in raw {
        let login = context.login(entry.user.as_ref(), entry.password.as_ref());
        if let Some(prefix) = entry.publish.as_ref().filter(|p| !is_topic(p)) {
            context.error(prefix.span(), format!("`{}` is not a topic", **prefix)).help("write \"guanjia\"");
        }
        let Some((host, port)) = context.host_port(&entry.address, Some(MQTT_PORT)) else { continue };
        let publish = entry.publish.as_ref().map(|p| (**p).clone());
        brokers.push(Broker { name: entry.key.clone(), host, port, login, publish });
    }
    brokers
}

/// A topic name: not empty, no wildcards, no slash at either end.
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0']) && !text.starts_with('/') && !text.ends_with('/')
}
