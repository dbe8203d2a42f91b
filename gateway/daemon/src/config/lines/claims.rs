//! Which line has which port or address already.
//!
//! Two lines for one bus would be two masters, each taking the other's answers for its own. One thing can be written in
//! many ways: a host in capitals, an IPv4 address inside an IPv6 one, a serial port by its number and by the link the
//! device manager made to it. So what is compared is not what was written but what it comes to. Names are not looked
//! up: a check must not depend on who answers it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::super::context::Context;
use super::super::value::At;

/// What is taken: as it was written, and by which line.
#[derive(Default)]
pub struct Claims {
    taken: BTreeMap<String, (String, Arc<str>)>,
}

impl Claims {
    /// `host:port`, if nobody else has it; else there is an error.
    pub fn address(
        &mut self,
        context: &mut Context,
        raw: &At<String>,
        default_port: Option<u16>,
        line: &Arc<str>,
    ) -> Option<String> {
        let (host, port) = context.host_port(raw, default_port)?;
        let address = format!("{host}:{port}");
        self.claim(context, raw.span(), &address, format!("{}:{port}", plain_host(&host)), line).then_some(address)
    }

    /// The path of a serial port, if nobody else has it; else there is an error.
    pub fn port(&mut self, context: &mut Context, raw: &At<String>, line: &Arc<str>) -> Option<String> {
        if is_numbered(raw) {
            context
                .warning(raw.span(), format!("`{}` is whichever adapter was found first", **raw))
                .help("write its name under /dev/serial/by-id or /dev/serial/by-path: that one survives replugging");
        }
        let real = std::fs::canonicalize(raw.as_str()).unwrap_or_else(|_| plain_path(Path::new(raw.as_str())));
        self.claim(context, raw.span(), raw, real.display().to_string(), line).then(|| (**raw).clone())
    }

    /// False, with an error, if another line has it already.
    fn claim(&mut self, context: &mut Context, at: Range<usize>, written: &str, real: String, line: &Arc<str>) -> bool {
        if let Some((before, other)) = self.taken.get(&real) {
            let message = match before == written {
                true => format!("`{written}` is the line `{other}` already"),
                false => format!("`{written}` is the same as `{before}`, which is the line `{other}` already"),
            };
            context
                .error(at, message)
                .help("put all devices of one bus on one line: two masters take each other's answers");
            return false;
        }
        self.taken.insert(real, (written.to_owned(), line.clone()));
        true
    }
}

/// A host as it is compared.
fn plain_host(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)),
        Ok(v4) => Some(v4),
        Err(_) => None,
    };
    match address {
        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) => Ipv4Addr::LOCALHOST.to_string(),
        Some(address) => address.to_string(),
        None => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            if name == "localhost" { Ipv4Addr::LOCALHOST.to_string() } else { name }
        }
    }
}

/// A path without `.` and `..`, for a port that is not plugged in.
fn plain_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// Whether the kernel numbers such ports in the order in which it finds them.
fn is_numbered(path: &str) -> bool {
    ["/dev/ttyUSB", "/dev/ttyACM"].iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AC 11.
    #[test]
    fn one_host_in_many_spellings_is_one_host() {
        for same in [
            ["Plc.Example", "plc.example."],
            ["[::ffff:192.0.2.1]", "192.0.2.1"],
            ["[2001:DB8::0001]", "[2001:db8::1]"],
            ["localhost", "127.0.0.1"],
        ] {
            assert_eq!(plain_host(same[0]), plain_host(same[1]), "{same:?}");
        }
        assert_ne!(plain_host("plc-1.example"), plain_host("plc-2.example"));
        assert_eq!(plain_path(Path::new("/dev/./serial/../ttyS0")), Path::new("/dev/ttyS0"));
    }
}
