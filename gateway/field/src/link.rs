//! What a line is made of: the port or socket, its character timing, and how it is opened.
//!
//! ```text
//!                     RTU             ASCII           MBAP (Modbus TCP's frames)
//!   serial port       modbus_rtu      modbus_ascii
//!   serial server     rtu_over_tcp    modbus_ascii
//!   TCP                                               modbus_tcp
//!   TLS                                               modbus_tls
//!   UDP                                               modbus_udp
//!   it dials us       dtu             dtu             dtu
//! ```
//!
//! Eight ways, and one conversation: `bus` has the same deadlines, silences, drains and doubts over each of them. What a
//! way brings along of its own stands in its module: a port that was replugged (`serial`), certificates
//! ([`tls`]), datagrams (`udp`), modems that come and go ([`dial_in`]).
//!
//! Whatever goes wrong below the frames becomes a [`LinkError`]; the kind of the operating system's error is told to
//! people and never decided upon, because it differs between adapters and servers.

use std::sync::Arc;
use std::time::Duration;

use crate::frame::Framing;

pub mod dial_in;
mod error;
mod serial;
mod stream;
pub mod tls;
mod udp;

use dial_in::DialIn;
pub use error::{LinkError, Trouble};
pub(crate) use stream::{Dial, Stream};
use tls::TlsFiles;

/// The longest a connection may take to be accepted, name look-up included.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);

/// After this long without an answer a host is knocked at once more, beside the first time.
const KNOCK_AGAIN: Duration = Duration::from_millis(800);

/// The parity bit of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity, the default of Modbus over serial line.
    Even,
    /// Odd parity.
    Odd,
}

/// How characters look on a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialFormat {
    /// Bits per second.
    pub baud: u32,
    /// Data bits in a character, 5 to 8; Modbus RTU needs 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl SerialFormat {
    /// How long one character lasts: start bit, data, parity and stop bits.
    pub fn char_time(&self) -> Duration {
        let bits = 1 + u64::from(self.data_bits) + u64::from(self.parity != Parity::None) + u64::from(self.stop_bits);
        // A speed of zero cannot be meant; it must not divide by zero either.
        Duration::from_nanos(bits * 1_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// The silence that ends a frame: 3.5 characters, and a fixed 1.75 ms above 19200 baud
    /// (Modbus over Serial Line V1.02, 2.5.1.1).
    pub fn t35(&self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1_750) } else { self.char_time() * 7 / 2 }
    }
}

/// The way to the devices of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Modbus RTU on a serial port of this machine.
    Serial {
        /// Such as `/dev/serial/by-id/usb-…`, which survives replugging; `/dev/ttyUSB0` may be another adapter
        /// tomorrow.
        path: String,
        /// How characters look.
        format: SerialFormat,
    },
    /// Modbus RTU frames in the TCP stream of a serial server.
    RtuOverTcp {
        /// `host:port`.
        address: String,
        /// How characters look on the serial side, for the silences and deadlines.
        format: SerialFormat,
    },
    /// Modbus ASCII on a serial port of this machine.
    AsciiSerial {
        /// As in [`Link::Serial`].
        path: String,
        /// How characters look; 7 or 8 data bits.
        format: SerialFormat,
    },
    /// Modbus ASCII frames in the TCP stream of a serial server.
    AsciiOverTcp {
        /// `host:port`.
        address: String,
        /// How characters look on the serial side, for the deadlines.
        format: SerialFormat,
    },
    /// Modbus TCP.
    ModbusTcp {
        /// `host:port`.
        address: String,
    },
    /// Modbus TCP inside TLS (Modbus/TCP Security), both sides with a certificate.
    ModbusTls {
        /// `host:port`.
        address: String,
        /// Whom to believe, and who we are.
        tls: TlsFiles,
    },
    /// Modbus TCP's frames, one in a UDP datagram.
    ModbusUdp {
        /// `host:port`.
        address: String,
    },
    /// The bus behind a modem that connects to us.
    DialIn(DialIn),
}

impl Link {
    /// The port or address, as people know it.
    pub fn place(&self) -> &str {
        match self {
            Link::Serial { path, .. } | Link::AsciiSerial { path, .. } => path,
            Link::RtuOverTcp { address, .. }
            | Link::AsciiOverTcp { address, .. }
            | Link::ModbusTcp { address }
            | Link::ModbusTls { address, .. }
            | Link::ModbusUdp { address } => address,
            Link::DialIn(dial_in) => &dial_in.entrance,
        }
    }

    /// The character format; `None` where no serial line is known of.
    pub fn format(&self) -> Option<&SerialFormat> {
        match self {
            Link::Serial { format, .. }
            | Link::RtuOverTcp { format, .. }
            | Link::AsciiSerial { format, .. }
            | Link::AsciiOverTcp { format, .. } => Some(format),
            Link::ModbusTcp { .. } | Link::ModbusTls { .. } | Link::ModbusUdp { .. } => None,
            Link::DialIn(dial_in) => dial_in.carries.format(),
        }
    }

    /// Which envelope its requests travel in.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Link::Serial { .. } | Link::RtuOverTcp { .. } => Framing::Rtu,
            Link::AsciiSerial { .. } | Link::AsciiOverTcp { .. } => Framing::Ascii,
            Link::ModbusTcp { .. } | Link::ModbusTls { .. } | Link::ModbusUdp { .. } => Framing::Mbap,
            Link::DialIn(dial_in) => dial_in.carries.framing(),
        }
    }
}

/// One line of the site.
#[derive(Clone, Debug)]
pub struct LineConfig {
    /// Its name in the site file, in logs and in metrics.
    pub name: Arc<str>,
    /// The way to its devices.
    pub link: Link,
    /// How long a device may think before its answer begins; overrides what its profile says.
    pub response_max: Option<Duration>,
    /// How long its devices typically think before their answer begins, where that was measured; the plan of its reads
    /// counts with it.
    pub turnaround: Option<Duration>,
    /// Questions that may be under way at once where several devices share a Modbus TCP connection, such as the units
    /// behind a gateway; at least 1. A device that has the connection for itself says so in its profile.
    pub in_flight_max: u8,
    /// How long an RTU line stays silent after a request that was not answered properly, so that a late answer is
    /// heard and thrown away before anything else is asked.
    pub linger: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_and_the_silence_after_a_frame_last_as_the_standard_says() {
        let format = |baud, parity| SerialFormat { baud, data_bits: 8, parity, stop_bits: 1 };
        assert_eq!(format(9600, Parity::Even).char_time(), Duration::from_nanos(1_145_833));
        assert_eq!(format(9600, Parity::None).char_time(), Duration::from_nanos(1_041_666));
        assert_eq!(format(9600, Parity::Even).t35(), Duration::from_nanos(4_010_415));
        assert_eq!(format(19_200, Parity::Even).t35(), Duration::from_nanos(2_005_206));
        assert_eq!(format(115_200, Parity::Even).t35(), Duration::from_micros(1_750));
    }
}
