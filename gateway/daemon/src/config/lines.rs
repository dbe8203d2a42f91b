//! Lines and brokers.
//!
//! There is one table per kind of line. Two tables for one serial server or one port would put two masters on one bus,
//! each taking the other's answers for its own; so an address may stand only once, see [`claims`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::time::Timestamp;
use guanjia_field::line::IN_FLIGHT_MAX;
use guanjia_field::link::tls::revocation::Revocations;
use guanjia_field::link::tls::{MODBUS_TLS_PORT, TlsPart};
use guanjia_field::{EntranceConfig, LineConfig, Link, Parity, SerialFormat, TlsFiles};

use super::context::Context;
use super::document::Entry;
use super::profile::RawSerial;
use super::secret::readable_by_everybody;
use super::value::{At, Span};

mod claims;
pub mod dial_in;
mod raw;

use claims::Claims;

pub use raw::{
    Overload, RawLines, RawModbusAscii, RawModbusRtu, RawModbusTcp, RawModbusTls, RawModbusUdp, RawMqtt, RawMqttTls,
    RawMqttVersion, RawParity, RawRtuOverTcp, RawSparkplug,
};

/// How long a line waits for a late answer before it goes on.
const LINGER: Duration = Duration::from_millis(250);
/// The registered port of Modbus TCP.
const MODBUS_PORT: u16 = 502;

/// One line, under the name of its table.
pub struct Line {
    /// What the field needs.
    pub config: LineConfig,
    /// The format of its bus; `None` where Modbus TCP's frames travel.
    pub format: Option<(SerialFormat, RawParity)>,
}

/// Every line, and every port that modems call.
pub struct Lines {
    /// In the order of their kinds.
    pub lines: Vec<Entry<Option<Line>>>,
    /// `[dial_in.…]`
    pub entrances: Vec<Entry<Option<EntranceConfig>>>,
}

/// Checks every line. A line that is wrong keeps its place, so that its devices are not called dangling besides.
pub fn lines(context: &mut Context, raw: &RawLines, http: Option<SocketAddr>, now: Timestamp) -> Lines {
    let mut lines = Vec::new();
    let mut claims = Claims::default();
    for entry in &raw.rtu_over_tcp {
        let format = entry.serial().rtu(context);
        let address = claims.address(context, &entry.address, None, &entry.key);
        let link = address.zip(format).map(|(address, (format, _))| Link::RtuOverTcp { address, format });
        lines.push(line(entry, link, format, &entry.response_max));
    }
    for entry in &raw.modbus_tcp {
        let address = claims.address(context, &entry.address, Some(MODBUS_PORT), &entry.key);
        let mut line = line(entry, address.map(|address| Link::ModbusTcp { address }), None, &entry.response_max);
        if let (Some(line), Some(most)) = (&mut line.value, &entry.in_flight_max) {
            line.config.in_flight_max = in_flight(context, most);
        }
        lines.push(line);
    }
    for entry in &raw.modbus_rtu {
        let format = entry.serial().rtu(context);
        let path = claims.port(context, &entry.port, &entry.key);
        let link = path.zip(format).map(|(path, (format, _))| Link::Serial { path, format });
        lines.push(line(entry, link, format, &entry.response_max));
    }
    for entry in &raw.modbus_ascii {
        let format = entry.serial().ascii(context);
        let link = ascii_link(context, entry, &mut claims, format);
        lines.push(line(entry, link, format, &entry.response_max));
    }
    for entry in &raw.modbus_tls {
        let address = claims.address(context, &entry.address, Some(MODBUS_TLS_PORT), &entry.key);
        let link =
            address.and_then(|address| Some(Link::ModbusTls { tls: tls(context, entry, &address, now)?, address }));
        lines.push(line(entry, link, None, &entry.response_max));
    }
    for entry in &raw.modbus_udp {
        let address = claims.address(context, &entry.address, Some(MODBUS_PORT), &entry.key);
        lines.push(line(entry, address.map(|address| Link::ModbusUdp { address }), None, &entry.response_max));
    }
    let entrances = dial_in::entrances(context, &raw.dial_in, http);
    lines.extend(dial_in::dtus(context, &raw.dtu, &entrances));
    check_names(context, &lines);
    for line in &mut lines {
        let planning = raw.planning(&line.key);
        if let Some(line) = &mut line.value {
            line.config.turnaround = planning.turnaround;
        }
    }
    Lines { lines, entrances }
}

fn line<T>(
    entry: &Entry<T>,
    link: Option<Link>,
    format: Option<(SerialFormat, RawParity)>,
    response_max: &Option<At<Span>>,
) -> Entry<Option<Line>> {
    let line = link.map(|link| Line { config: line_config(entry.key.clone(), link, response_max), format });
    Entry { key: entry.key.clone(), at: entry.at.clone(), value: line }
}

fn in_flight(context: &mut Context, most: &At<u8>) -> u8 {
    if !(1..=IN_FLIGHT_MAX).contains(&**most) {
        context
            .error(most.span(), format!("{} requests cannot be under way at once", **most))
            .help(format!("write 1 to {IN_FLIGHT_MAX}"));
        return 1;
    }
    **most
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

fn ascii_link(
    context: &mut Context,
    entry: &Entry<RawModbusAscii>,
    claims: &mut Claims,
    format: Option<(SerialFormat, RawParity)>,
) -> Option<Link> {
    match (&entry.port, &entry.address) {
        (Some(port), None) => {
            let path = claims.port(context, port, &entry.key)?;
            format.map(|(format, _)| Link::AsciiSerial { path, format })
        }
        (None, Some(address)) => {
            let address = claims.address(context, address, None, &entry.key)?;
            format.map(|(format, _)| Link::AsciiOverTcp { address, format })
        }
        _ => {
            context
                .error(entry.at.clone(), format!("the line `{}` is not on one port", entry.key))
                .help("write `port` for a serial port, or `address` for a serial server");
            None
        }
    }
}

/// The files of a line over TLS, read once to see whether they can be used.
fn tls(context: &mut Context, entry: &Entry<RawModbusTls>, address: &str, now: Timestamp) -> Option<TlsFiles> {
    let file = |path: &At<String>| context.directory.join(path.as_str());
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let files = TlsFiles {
        ca: file(&entry.ca),
        crl: entry.crl.as_ref().map(|path| Revocations::new(file(path))),
        certificate: file(&entry.certificate),
        key: file(&entry.value.key),
        server_name: entry.server_name.as_ref().map_or(host, |name| name.as_str()).to_owned(),
    };
    if let Err(error) = files.load() {
        let (at, help) = match error.part {
            TlsPart::Ca => (entry.ca.span(), "write the path of a PEM file, relative to the site file"),
            TlsPart::Crl => (entry.crl.as_ref().map_or(entry.ca.span(), At::span), CRL_HELP),
            TlsPart::Certificate => {
                (entry.certificate.span(), "write the path of a PEM file, relative to the site file")
            }
            TlsPart::Key => {
                (entry.value.key.span(), "write the path of the certificate's private key, relative to the site file")
            }
            TlsPart::ServerName => (
                entry.server_name.as_ref().map_or(entry.address.span(), At::span),
                "write the name the device's certificate is made out to: server_name = \"plc-1.example\"",
            ),
        };
        context.error(at, error.message).help(help);
        return None;
    }
    if readable_by_everybody(&files.key) {
        let shown = entry.value.key.as_str();
        context
            .warning(entry.value.key.span(), format!("everybody on this machine can read {shown}"))
            .help(format!("chmod 600 {shown}"));
    }
    if let Some((crl, path)) = files.crl.as_ref().zip(entry.crl.as_ref()) {
        overdue(context, path, crl, now);
    }
    Some(files)
}

/// What to write for `crl`.
pub const CRL_HELP: &str =
    "write the path of a PEM file with the authority's revocation list; leave `crl` out if it issues none";

/// A warning if the revocation lists that were just read are out of date.
pub fn overdue(context: &mut Context, path: &At<String>, crl: &Revocations, now: Timestamp) {
    if let Some(due) = crl.due().filter(|due| *due < now) {
        let due = due.to_jiff().map(|due| due.to_string()).unwrap_or_default();
        let shown = path.as_str();
        context
            .warning(path.span(), format!("a revocation list in {shown} is out of date: the next one was due {due}"))
            .help(
                "who was revoked since is still believed; rename the authority's newest list over the file, no restart is \
                 needed",
            );
    }
}

/// The keys of a serial format, in whichever table they stand.
struct SerialKeys<'a> {
    baud: &'a At<u32>,
    data_bits: &'a Option<At<u8>>,
    parity: &'a Option<At<RawParity>>,
    stop_bits: &'a Option<At<u8>>,
}

/// Tables with these keys.
macro_rules! serial_keys {
    ($($raw:ty),*) => {
        $(impl $raw {
            fn serial(&self) -> SerialKeys<'_> {
                let Self { baud, data_bits, parity, stop_bits, .. } = self;
                SerialKeys { baud, data_bits, parity, stop_bits }
            }
        })*
    };
}
serial_keys!(RawRtuOverTcp, RawModbusRtu, RawModbusAscii);

impl SerialKeys<'_> {
    /// Eight data bits, no parity unless the file says otherwise.
    fn rtu(&self, context: &mut Context) -> Option<(SerialFormat, RawParity)> {
        let mut right = true;
        if let Some(bits) = self.data_bits.as_ref().filter(|b| ***b != 8) {
            context.error(bits.span(), "Modbus RTU has 8 data bits").help("write 8, or leave `data_bits` out");
            right = false;
        }
        self.format(context, 8, RawParity::None).filter(|_| right)
    }

    /// Seven data bits and even parity unless the file says otherwise, as the standard has it.
    fn ascii(&self, context: &mut Context) -> Option<(SerialFormat, RawParity)> {
        let mut right = true;
        if let Some(bits) = self.data_bits.as_ref().filter(|b| !(7..=8).contains(&***b)) {
            context.error(bits.span(), "Modbus ASCII has 7 or 8 data bits").help("write 7 or 8");
            right = false;
        }
        self.format(context, 7, RawParity::Even).filter(|_| right)
    }

    fn format(&self, context: &mut Context, data_bits: u8, parity: RawParity) -> Option<(SerialFormat, RawParity)> {
        let (baud, mut right) = (**self.baud, true);
        if !(300..=1_000_000).contains(&baud) {
            context.error(self.baud.span(), format!("{baud} is not a speed of a serial line")).help("write 9600");
            right = false;
        }
        if let Some(bits) = self.stop_bits.as_ref().filter(|b| !(1..=2).contains(&***b)) {
            context.error(bits.span(), "there are 1 or 2 stop bits").help("write 1 or 2");
            right = false;
        }
        let raw_parity = self.parity.as_ref().map_or(parity, |p| **p);
        let parity = match raw_parity {
            RawParity::None => Parity::None,
            RawParity::Even => Parity::Even,
            RawParity::Odd => Parity::Odd,
        };
        let data_bits = self.data_bits.as_ref().map_or(data_bits, |b| **b);
        let stop_bits = self.stop_bits.as_ref().map_or(1, |b| **b);
        right.then_some((SerialFormat { baud, data_bits, parity, stop_bits }, raw_parity))
    }
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
    let bits = if format.data_bits == 8 { String::new() } else { format!("{} data bits, ", format.data_bits) };
    let is = format!("{} baud, {bits}parity {}, {} stop bits", format.baud, parity.as_str(), format.stop_bits);
    Some((is, can))
}

/// Bytes of a topic. MQTT carries 65,535; no device has half a kilobyte to say where it speaks.
const TOPIC_BYTES_MAX: usize = 512;

/// A topic name: not empty, no wildcards, no slash at either end, and no control character, for which a broker may end the
/// session with everybody on it (MQTT 3.1.1, 1.5.3).
pub fn is_topic(text: &str) -> bool {
    let is_odd = |c: char| matches!(c, '+' | '#') || c.is_control();
    (1..=TOPIC_BYTES_MAX).contains(&text.len())
        && !text.contains(is_odd)
        && !text.starts_with('/')
        && !text.ends_with('/')
}
