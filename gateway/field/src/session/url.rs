//! A line in one word, as it is typed: `modbus-tcp://192.0.2.10`, `rtu-over-tcp://192.0.2.11:4001?baud=9600&parity=even`,
//! `/dev/serial/by-id/usb-FTDI-port0?baud=9600`.
//!
//! ```text
//!   modbus-tcp://host[:port]   modbus-udp://host[:port]
//!   modbus-tls://host[:port]?ca=FILE&cert=FILE&key=FILE[&name=NAME][&crl=FILE]       the files of TLS, in PEM
//!   rtu-over-tcp://host:port[?key=value&...]    the serial keys: baud, data, parity, stop
//!   ascii-over-tcp://host:port[?key=value&...]  the same, with Modbus ASCII on the bus
//!   /dev/path[?key=value&...]                   a serial port is its path; mode=ascii for Modbus ASCII
//! ```
//!
//! A line whose modem dials in has more to say than a word holds: it stands in a site file.
//!
//! Nothing is guessed: an unknown scheme or key, a key that stands twice or does not belong to the scheme, a value that
//! is none, each is an error that says what to write. Only what every site has the same has a default: port 502 of
//! Modbus TCP and 802 of TLS, 9600 baud, 8 data bits, no parity, 1 stop bit.

use std::str::FromStr;

use crate::link::tls::revocation::Revocations;
use crate::link::tls::{MODBUS_TLS_PORT, TlsFiles};
use crate::link::{Link, Parity, SerialFormat};

/// The registered port of Modbus TCP.
const MODBUS_PORT: u16 = 502;

/// The longest link somebody types; more is a paste of something else.
const CHARS_MAX: usize = 512;

/// Why a text is not a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Too long, or empty.
    #[error("a link is 1 to {CHARS_MAX} characters, such as {EXAMPLES}")]
    Length,
    /// No path and no known scheme.
    #[error("`{0}` is no kind of link; write {EXAMPLES}")]
    Scheme(String),
    /// No host.
    #[error("the link names no host; write {EXAMPLES}")]
    Host,
    /// The port is missing or none.
    #[error("`{0}` is not a host and its port; write host:port, an IPv6 address in brackets")]
    Port(String),
    /// A key that is unknown, or means nothing to this kind of link.
    #[error(
        "`{0}` means nothing to this link; the keys of a serial line are baud, data, parity and stop, those of TLS ca, crl, cert, \
         key and name"
    )]
    Key(String),
    /// A key without which the link says too little.
    #[error("the link needs `{0}`; write modbus-tls://host?ca=FILE&cert=FILE&key=FILE, each a file in PEM")]
    Missing(&'static str),
    /// A key that stands twice.
    #[error("`{0}` stands twice in the link")]
    Twice(String),
    /// A value that is none.
    #[error("`{key}={value}` is wrong; write {help}")]
    Value {
        /// The key.
        key: String,
        /// What stands behind it.
        value: String,
        /// What to write.
        help: &'static str,
    },
}

/// What a link may look like.
const EXAMPLES: &str = "modbus-tcp://192.0.2.10:502, rtu-over-tcp://192.0.2.11:4001?baud=9600&parity=none&stop=1, or \
                        /dev/serial/by-id/NAME?baud=9600";

impl FromStr for Link {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() || text.chars().count() > CHARS_MAX {
            return Err(UrlError::Length);
        }
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        if place.starts_with('/') {
            let path = place.to_owned();
            let (mode, format) = serial(query, Place::Port)?;
            return Ok(match mode {
                Mode::Rtu => Link::Serial { path, format },
                Mode::Ascii => Link::AsciiSerial { path, format },
            });
        }
        let Some((scheme, host)) = place.split_once("://") else { return Err(UrlError::Scheme(short(place))) };
        let host = host.strip_suffix('/').unwrap_or(host);
        match scheme {
            "modbus-tcp" => {
                keys(query, &[])?;
                Ok(Link::ModbusTcp { address: address(host, Some(MODBUS_PORT))? })
            }
            "modbus-tls" => {
                let address = address(host, Some(MODBUS_TLS_PORT))?;
                Ok(Link::ModbusTls { tls: tls(query, &address)?, address })
            }
            "modbus-udp" => {
                keys(query, &[])?;
                Ok(Link::ModbusUdp { address: address(host, Some(MODBUS_PORT))? })
            }
            "rtu-over-tcp" => {
                let (_, format) = serial(query, Place::Server(Mode::Rtu))?;
                Ok(Link::RtuOverTcp { address: address(host, None)?, format })
            }
            "ascii-over-tcp" => {
                let (_, format) = serial(query, Place::Server(Mode::Ascii))?;
                Ok(Link::AsciiOverTcp { address: address(host, None)?, format })
            }
            _ => Err(UrlError::Scheme(short(scheme))),
        }
    }
}

/// Enough of a text to recognise it by.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `host:port`, with the port of the kind if it has one and none is written.
fn address(text: &str, default_port: Option<u16>) -> Result<String, UrlError> {
    let wrong = || UrlError::Port(short(text));
    if text.is_empty() {
        return Err(UrlError::Host);
    }
    // In brackets colons belong to the address.
    let (host, port) = match text.rfind(']') {
        Some(end) if text.starts_with('[') => (&text[..=end], text[end + 1..].strip_prefix(':')),
        _ => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let right = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok() && text.len() == host.len() + port_len(port),
        None => !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if !right {
        return Err(if host.is_empty() { UrlError::Host } else { wrong() });
    }
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
        None => default_port.ok_or_else(wrong)?,
    };
    if port == 0 { Err(wrong()) } else { Ok(format!("{host}:{port}")) }
}

/// The length of `:port` behind a bracket.
fn port_len(port: Option<&str>) -> usize {
    port.map_or(0, |p| p.len() + 1)
}

/// The keys and values of a query, each of them known and once.
fn keys<'a>(query: &'a str, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, UrlError> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if !known.contains(&key) {
            return Err(UrlError::Key(short(key)));
        }
        if found.iter().any(|(k, _)| *k == key) {
            return Err(UrlError::Twice(short(key)));
        }
        found.push((key, value));
    }
    Ok(found)
}

/// The files of TLS; the device's certificate is made out to its host unless a name is given.
fn tls(query: &str, address: &str) -> Result<TlsFiles, UrlError> {
    let pairs = keys(query, &["ca", "crl", "cert", "key", "name"])?;
    let value = |wanted: &'static str| {
        let found = pairs.iter().find(|(key, value)| *key == wanted && !value.is_empty());
        found.map(|(_, value)| (*value).to_owned()).ok_or(UrlError::Missing(wanted))
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Ok(TlsFiles {
        ca: value("ca")?.into(),
        crl: value("crl").ok().map(Revocations::new),
        certificate: value("cert")?.into(),
        key: value("key")?.into(),
        server_name: value("name").unwrap_or_else(|_| host.to_owned()),
    })
}

/// Which frames a bus carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Rtu,
    Ascii,
}

/// Where a bus begins: at a port of this machine, whose frames a key tells, or behind a server, where the scheme does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Port,
    Server(Mode),
}

fn serial(query: &str, place: Place) -> Result<(Mode, SerialFormat), UrlError> {
    let known: &[&str] = match place {
        Place::Port => &["baud", "data", "parity", "stop", "mode"],
        Place::Server(_) => &["baud", "data", "parity", "stop"],
    };
    let pairs = keys(query, known)?;
    let wrong = |key: &str, value: &str, help| UrlError::Value { key: key.to_owned(), value: short(value), help };
    let mode = match (place, pairs.iter().find(|(key, _)| *key == "mode")) {
        (Place::Server(mode), _) => mode,
        (Place::Port, None | Some((_, "rtu"))) => Mode::Rtu,
        (Place::Port, Some((_, "ascii"))) => Mode::Ascii,
        (Place::Port, Some((key, value))) => return Err(wrong(key, value, "rtu or ascii: mode=ascii")),
    };
    let mut format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    for (key, value) in pairs {
        match (key, value) {
            ("baud", _) => {
                let help = "bits per second, 300 to 1000000: baud=9600";
                let baud = value.parse().ok().filter(|baud| (300..=1_000_000).contains(baud));
                format.baud = baud.ok_or_else(|| wrong(key, value, help))?;
            }
            ("data", "8") => format.data_bits = 8,
            ("data", "7") if mode == Mode::Ascii => format.data_bits = 7,
            ("data", _) => return Err(wrong(key, value, "data=8; only Modbus ASCII has 7 too")),
            ("parity", "none") => format.parity = Parity::None,
            ("parity", "even") => format.parity = Parity::Even,
            ("parity", "odd") => format.parity = Parity::Odd,
            ("parity", _) => return Err(wrong(key, value, "none, even or odd: parity=even")),
            ("stop", "1") => format.stop_bits = 1,
            ("stop", "2") => format.stop_bits = 2,
            ("stop", _) => return Err(wrong(key, value, "1 or 2: stop=1")),
            _ => {}
        }
    }
    Ok((mode, format))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(text: &str) -> Result<Link, UrlError> {
        text.parse()
    }

    fn tcp(address: &str) -> Result<Link, UrlError> {
        Ok(Link::ModbusTcp { address: address.to_owned() })
    }

    #[test]
    fn the_kinds_of_links_are_read_as_people_write_them() {
        let format = |baud, parity, stop_bits| SerialFormat { baud, data_bits: 8, parity, stop_bits };
        assert_eq!(link("modbus-tcp://192.0.2.10:1502"), tcp("192.0.2.10:1502"));
        assert_eq!(link("modbus-tcp://meter-gw.example/"), tcp("meter-gw.example:502"));
        assert_eq!(link("modbus-tcp://[2001:db8::7]"), tcp("[2001:db8::7]:502"));
        let tls = |address: &str, name: &str| {
            let tls = TlsFiles {
                ca: "/etc/ca.pem".into(),
                crl: None,
                certificate: "own.pem".into(),
                key: "own.key".into(),
                server_name: name.to_owned(),
            };
            Ok(Link::ModbusTls { address: address.to_owned(), tls })
        };
        let files = "ca=/etc/ca.pem&cert=own.pem&key=own.key";
        assert_eq!(link(&format!("modbus-tls://[2001:db8::7]?{files}")), tls("[2001:db8::7]:802", "2001:db8::7"));
        let named = format!("modbus-tls://192.0.2.10:1802?{files}&name=meter.example");
        assert_eq!(link(&named), tls("192.0.2.10:1802", "meter.example"));
        let Ok(Link::ModbusTls { tls: listed, .. }) = link(&format!("{named}&crl=/etc/crl.pem")) else {
            panic!("{named}")
        };
        assert_eq!(listed.crl, Some(Revocations::new("/etc/crl.pem")));
        assert_eq!(link("modbus-tls://192.0.2.10?ca=a&cert=b"), Err(UrlError::Missing("key")));
        assert_eq!(link("modbus-tls://192.0.2.10?ca=&cert=b&key=c"), Err(UrlError::Missing("ca")));
        assert_eq!(link("modbus-tls://192.0.2.10?baud=9600"), Err(UrlError::Key("baud".into())));
        assert_eq!(link("modbus-tcp://[2001:db8::7]:1502"), tcp("[2001:db8::7]:1502"));
        assert_eq!(
            link("rtu-over-tcp://192.0.2.11:4001?baud=19200&parity=even&stop=2"),
            Ok(Link::RtuOverTcp { address: "192.0.2.11:4001".into(), format: format(19_200, Parity::Even, 2) })
        );
        assert_eq!(link("modbus-udp://192.0.2.10"), Ok(Link::ModbusUdp { address: "192.0.2.10:502".into() }));
        let seven = SerialFormat { data_bits: 7, ..format(9600, Parity::Even, 1) };
        assert_eq!(
            link("ascii-over-tcp://192.0.2.11:4001?data=7&parity=even"),
            Ok(Link::AsciiOverTcp { address: "192.0.2.11:4001".into(), format: seven })
        );
        assert_eq!(
            link("/dev/ttyS0?parity=even&data=7&mode=ascii"),
            Ok(Link::AsciiSerial { path: "/dev/ttyS0".into(), format: seven })
        );
        assert_eq!(
            link("/dev/serial/by-id/usb-FTDI-port0?baud=2400"),
            Ok(Link::Serial { path: "/dev/serial/by-id/usb-FTDI-port0".into(), format: format(2400, Parity::None, 1) })
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_never_guessed() {
        let key = |text: &str| Err(UrlError::Key(text.into()));
        assert_eq!(link(""), Err(UrlError::Length));
        assert_eq!(link(&"x".repeat(600)), Err(UrlError::Length));
        assert_eq!(link("192.0.2.10:502"), Err(UrlError::Scheme("192.0.2.10:502".into())));
        assert_eq!(link("http://192.0.2.10"), Err(UrlError::Scheme("http".into())));
        assert_eq!(link("modbus-tcp://"), Err(UrlError::Host));
        assert_eq!(link("modbus-tcp://:502"), Err(UrlError::Host));
        assert_eq!(link("rtu-over-tcp://192.0.2.11"), Err(UrlError::Port("192.0.2.11".into())));
        for host in ["a:0", "a:70000", "a:+5", "a:x", "a b:1", "2001:db8::7:502", "[2001:db8::7", "[::1]x:5", "a@b:1"] {
            assert_eq!(link(&format!("modbus-tcp://{host}")), Err(UrlError::Port(host.into())), "{host}");
        }
        assert_eq!(link("modbus-tcp://192.0.2.10?baud=9600"), key("baud"));
        assert_eq!(link("/dev/ttyUSB0?speed=9600"), key("speed"));
        assert_eq!(link("rtu-over-tcp://192.0.2.11:4001?mode=ascii"), key("mode"));
        assert_eq!(link("/dev/ttyUSB0?baud=1&baud=2"), Err(UrlError::Twice("baud".into())));
        for query in ["baud=", "baud=fast", "baud=0", "data=7", "mode=tcp", "parity=E", "stop=1.5"] {
            let wrong = link(&format!("/dev/ttyUSB0?{query}"));
            assert!(matches!(wrong, Err(UrlError::Value { .. })), "{query}: {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "\\PC{0,80}") {
            let _ = link(&text);
            let _ = link(&format!("modbus-tcp://{text}"));
            let _ = link(&format!("/dev/x?{text}"));
        }
    }
}
