//! What can go wrong below the frames, in the words of a log and in those of a page.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;

use super::CONNECT_MAX;
use super::tls::{Refusal, TlsError};

/// What can go wrong below the frames.
#[derive(Debug)]
pub enum LinkError {
    /// The port could not be opened, or the connection was refused.
    Open {
        /// The port or address.
        place: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nobody took the connection in time.
    OpenTimeout {
        /// The address.
        place: String,
    },
    /// A file of our side of TLS cannot be used.
    Files {
        /// The address.
        place: String,
        /// Which file, and why.
        source: TlsError,
    },
    /// The two sides of TLS do not trust each other.
    Handshake {
        /// The address.
        place: String,
        /// What was not believed.
        source: io::Error,
    },
    /// A revocation list speaks against the other side.
    Revocation {
        /// The address.
        place: String,
        /// What was found.
        why: Refusal,
    },
    /// The modem of this line is not here.
    NotDialledIn {
        /// Its registration, or the name of its line.
        who: String,
        /// The name of the entrance in the site file.
        entrance: String,
    },
    /// The modem dialled in once more, and its old connection is no longer used.
    Replaced {
        /// Its registration, or the name of its line.
        who: String,
    },
    /// The other side closed the connection.
    Closed,
    /// Reading or writing failed.
    Io(io::Error),
}

/// As in a log: what is wrong, and what to do about it.
impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, text, advice) = self.words();
        write!(f, "{}. {}", text.en, advice.en)
    }
}

impl Error for LinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LinkError::Open { source, .. } | LinkError::Handshake { source, .. } | LinkError::Io(source) => {
                Some(source)
            }
            LinkError::Files { source, .. } => Some(source),
            LinkError::OpenTimeout { .. }
            | LinkError::Revocation { .. }
            | LinkError::NotDialledIn { .. }
            | LinkError::Replaced { .. }
            | LinkError::Closed => None,
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(source: io::Error) -> Self {
        LinkError::Io(source)
    }
}

/// Why a line is down, for the people who have to bring it up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A word for programs.
    pub reason: &'static str,
    /// What is wrong.
    pub text: Bilingual,
    /// What to do about it.
    pub advice: Bilingual,
    /// Since when it has been so.
    pub since: Timestamp,
}

impl LinkError {
    /// The same as [`Trouble`], found at `since`.
    pub fn trouble(&self, since: Timestamp) -> Trouble {
        let (reason, text, advice) = self.words();
        Trouble { reason, text, advice, since }
    }

    fn words(&self) -> (&'static str, Bilingual, Bilingual) {
        let both = |zh: fmt::Arguments<'_>, en: fmt::Arguments<'_>| Bilingual::new(zh.to_string(), en.to_string());
        match self {
            LinkError::Open { place, source } => not_open(place, source),
            LinkError::OpenTimeout { place } => (
                "no_connection",
                both(
                    format_args!("{place} 在 {} 秒内没有接受连接", CONNECT_MAX.as_secs()),
                    format_args!("{place} did not accept a connection within {} s", CONNECT_MAX.as_secs()),
                ),
                Bilingual::new("检查设备电源、网线和地址", "Check power, cable and address"),
            ),
            LinkError::Files { source, .. } => (
                "tls_files",
                both(
                    format_args!("TLS 设置无法使用:{source}"),
                    format_args!("The settings of TLS cannot be used: {source}"),
                ),
                Bilingual::new("更正该文件或站点文件,然后重新加载", "Correct that file or the site file, and reload"),
            ),
            LinkError::Handshake { place, source } => (
                "tls_untrusted",
                both(
                    format_args!("{place} 与网关的 TLS 互不信任:{source}"),
                    format_args!("{place} and the gateway do not agree on TLS: {source}"),
                ),
                Bilingual::new(
                    "检查 ca、server_name、双方的时钟,以及设备是否认得网关的证书",
                    "Check `ca`, `server_name`, the clocks of both, and whether the device knows the gateway's certificate",
                ),
            ),
            LinkError::Revocation { place, why } => {
                let text = why.text();
                let text = Bilingual::new(format!("{place}:{}", text.zh), format!("{place}: {}", text.en));
                (why.as_str(), text, why.advice())
            }
            LinkError::NotDialledIn { who, entrance } => (
                "not_dialled_in",
                both(
                    format_args!("DTU {who} 没有拨入 {entrance}"),
                    format_args!("DTU {who} has not dialled in to {entrance}"),
                ),
                Bilingual::new(
                    "检查 DTU 的电源、SIM 卡和信号,以及它所设的服务器地址和端口",
                    "Check its power, SIM card and signal, and the server address and port it is set to",
                ),
            ),
            LinkError::Replaced { who } => (
                "replaced",
                both(format_args!("DTU {who} 重新拨入"), format_args!("DTU {who} dialled in again")),
                Bilingual::new("无需处理:改用新的连接", "Nothing to do: its new connection is used from now on"),
            ),
            LinkError::Closed => (
                "closed",
                Bilingual::new("对方关闭了连接", "The other side closed the connection"),
                Bilingual::new("检查是否有其他主站占用串口服务器", "Check that no other master uses the serial server"),
            ),
            LinkError::Io(source) => (
                "broken",
                both(format_args!("连接中断:{source}"), format_args!("The connection broke: {source}")),
                Bilingual::new("检查电源和线缆", "Check power and cable"),
            ),
        }
    }
}

/// A port or address that could not be opened, by what the operating system says of it.
fn not_open(place: &str, source: &io::Error) -> (&'static str, Bilingual, Bilingual) {
    let (reason, zh, en, zh_advice, en_advice) = match source.kind() {
        ErrorKind::ConnectionRefused => (
            "connection_refused",
            format!("{place} 拒绝了连接"),
            format!("{place} refuses the connection"),
            "检查端口号、设备的 Modbus 服务是否开启,以及是否有其他主站占用了它的最后一个连接",
            "Check the port number, that the device's Modbus server is on, and that no other master holds its last connection",
        ),
        ErrorKind::NotFound => (
            "no_such_port",
            format!("找不到 {place}"),
            format!("There is no {place}"),
            "检查适配器是否插好;名称见 /dev/serial/by-id",
            "Check that the adapter is plugged in; its name stands in /dev/serial/by-id",
        ),
        ErrorKind::PermissionDenied => (
            "not_allowed",
            format!("网关无权打开 {place}"),
            format!("The gateway is not allowed to open {place}"),
            "把运行网关的用户加入串口所属的组(通常是 dialout)",
            "Add the gateway's user to the group that owns the port (usually dialout)",
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => (
            "unreachable",
            format!("到 {place} 的网络不通"),
            format!("No network leads to {place}"),
            "检查网线、交换机、地址和路由",
            "Check cable, switch, address and route",
        ),
        _ => (
            "cannot_open",
            format!("打不开 {place}:{source}"),
            format!("{place} cannot be opened: {source}"),
            "检查电源、线缆、地址和权限",
            "Check power, cable, address and permissions",
        ),
    };
    (reason, Bilingual::new(zh, en), Bilingual::new(zh_advice, en_advice))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::link::tls::TlsPart;

    #[test]
    fn every_trouble_has_its_own_word_and_is_told_in_both_languages() {
        let place = || "198.51.100.7:502".to_owned();
        let open = |kind: ErrorKind| LinkError::Open { place: place(), source: kind.into() };
        let refused = |why| LinkError::Revocation { place: place(), why };
        let (who, entrance) = ("D-1".to_owned(), "gate".to_owned());
        let errors = [
            open(ErrorKind::ConnectionRefused),
            open(ErrorKind::NotFound),
            open(ErrorKind::PermissionDenied),
            open(ErrorKind::HostUnreachable),
            open(ErrorKind::Other),
            LinkError::OpenTimeout { place: place() },
            LinkError::Handshake { place: place(), source: ErrorKind::InvalidData.into() },
            refused(Refusal::Revoked),
            refused(Refusal::NotListed),
            refused(Refusal::ForeignList),
            LinkError::NotDialledIn { who: who.clone(), entrance },
            LinkError::Replaced { who },
            LinkError::Closed,
            LinkError::Io(ErrorKind::ConnectionReset.into()),
            LinkError::Files {
                place: place(),
                source: TlsError { part: TlsPart::Key, message: "the file k.pem has no private key in PEM".to_owned() },
            },
        ];
        let troubles: Vec<Trouble> = errors.iter().map(|error| error.trouble(Timestamp::EPOCH)).collect();
        let reasons: BTreeSet<&str> = troubles.iter().map(|trouble| trouble.reason).collect();
        assert_eq!(reasons.len(), errors.len());
        let is_han = |c: char| ('\u{4E00}'..='\u{9FFF}').contains(&c);
        for trouble in &troubles {
            for text in [&trouble.text, &trouble.advice] {
                assert!(text.zh.chars().any(is_han) && !text.en.chars().any(is_han), "{text:?}");
            }
        }
        for (error, trouble) in errors.iter().zip(&troubles).take(10) {
            assert!(trouble.text.zh.contains(&place()) && trouble.text.en.contains(&place()), "{error}");
        }
    }
}
