//! The tables of lines and brokers as they stand in the file.
//!
//! Keys that several kinds of line have are written out in each: a table that is taken apart key by key cannot be put
//! together of two without losing the places of its errors.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::dial_in::{RawDialIn, RawDtu};
use crate::config::document::Entry;
use crate::config::secret::SecretSource;
use crate::config::value::{At, Span};

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
    /// True if another master polls this line: then the gateway only listens, and never sends. Default false.
    #[serde(default)]
    pub passive: bool,
}

/// `[modbus_rtu.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusRtu {
    /// The serial port, such as "/dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0".
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
    /// True if another master polls this line: then the gateway only listens, and never sends. Default false.
    #[serde(default)]
    pub passive: bool,
}

/// `[modbus_tcp.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusTcp {
    /// Host and port; the port may be left out (502).
    pub address: At<String>,
    /// Requests that may be under way at once to all the units behind one gateway, 1 to 16. Default 1. A device that
    /// has the line for itself says it in its profile.
    pub in_flight_max: Option<At<u8>>,
    /// How long its slowest device may think; instead of what the profiles say.
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "20ms", and
    /// "10ms" without a serial line.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// `[modbus_ascii.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusAscii {
    /// The serial port; or `address`.
    pub port: Option<At<String>>,
    /// Host and port of the serial server; or `port`.
    pub address: Option<At<String>>,
    /// Bits per second on the bus.
    pub baud: At<u32>,
    /// 7 or 8. Default 7.
    pub data_bits: Option<At<u8>>,
    /// "none", "even" or "odd". Default "even".
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

/// `[modbus_tls.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusTls {
    /// Host and port; the port may be left out (802).
    pub address: At<String>,
    /// Certificates of the authorities that may sign the device's certificate: a PEM file.
    pub ca: At<String>,
    /// The certificates those authorities took back: a PEM file of one revocation list (CRL) or several. It is looked at
    /// for every connection. Default: nobody is asked.
    pub crl: Option<At<String>>,
    /// The gateway's certificate, and those between it and its authority: a PEM file.
    pub certificate: At<String>,
    /// The private key of that certificate: a PEM file, readable by the service's user only.
    pub key: At<String>,
    /// The name or address the device's certificate is made out to. Default: the host of `address`.
    pub server_name: Option<At<String>>,
    /// How long its slowest device may think; instead of what the profiles say.
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "20ms", and
    /// "10ms" without a serial line.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// `[modbus_udp.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModbusUdp {
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
    /// "3.1.1" or "5". Default "3.1.1", which every broker has.
    pub version: Option<RawMqttVersion>,
    /// How the connection is protected; without it nothing is.
    pub tls: Option<At<RawMqttTls>>,
    /// The topic of a device's messages, for devices that name none and whose profile has no layout of its own: "{device}"
    /// is its id, "{node}" its `node`.
    pub topic: Option<At<String>>,
    /// The topic on which a device says whether it is there, for the same devices and with the same placeholders.
    pub availability: Option<At<String>>,
    /// Prefix under which the gateway publishes readings, availability, alarms and events; nothing without it.
    pub publish: Option<At<String>>,
    /// Home Assistant's discovery prefix, mostly "homeassistant": it finds every device by itself. Needs `publish`.
    pub homeassistant: Option<At<String>>,
    /// Publish as an edge node of Sparkplug B, instead of `publish`.
    pub sparkplug: Option<At<RawSparkplug>>,
}

/// `version` of a broker
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RawMqttVersion {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
}

/// `tls` of a broker
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMqttTls {
    /// The certificate (PEM) of whoever signed the broker's, relative to the site file.
    pub ca: At<String>,
    /// The certificates they took back: a PEM file of one revocation list (CRL) or several. It is looked at for every
    /// connection. Default: nobody is asked.
    pub crl: Option<At<String>>,
    /// The gateway's own certificate (PEM, with those between it and its signer), for brokers that ask for one.
    pub cert: Option<At<String>>,
    /// The key (PEM) of that certificate; a file only the gateway can read.
    pub key: Option<At<String>>,
}

/// `sparkplug` of a broker
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSparkplug {
    /// The group id.
    pub group: String,
    /// The edge node id. Default: the site's id.
    pub node: Option<String>,
    /// The id of the primary host: while it does not say that it is online, nothing is told. Default: whoever listens is told.
    pub primary_host: Option<String>,
}

/// The tables of lines, by kind.
pub struct RawLines {
    /// `[rtu_over_tcp.…]`
    pub rtu_over_tcp: Vec<Entry<RawRtuOverTcp>>,
    /// `[modbus_tcp.…]`
    pub modbus_tcp: Vec<Entry<RawModbusTcp>>,
    /// `[modbus_rtu.…]`
    pub modbus_rtu: Vec<Entry<RawModbusRtu>>,
    /// `[modbus_ascii.…]`
    pub modbus_ascii: Vec<Entry<RawModbusAscii>>,
    /// `[modbus_tls.…]`
    pub modbus_tls: Vec<Entry<RawModbusTls>>,
    /// `[modbus_udp.…]`
    pub modbus_udp: Vec<Entry<RawModbusUdp>>,
    /// `[dial_in.…]`
    pub dial_in: Vec<Entry<RawDialIn>>,
    /// `[dtu.…]`
    pub dtu: Vec<Entry<RawDtu>>,
}

impl RawLines {
    /// What a line's table says about its plan.
    pub fn planning(&self, name: &str) -> Planning {
        macro_rules! find {
            ($($kind:ident)*) => {
                None$(.or_else(|| {
                    let entry = self.$kind.iter().find(|entry| *entry.key == *name)?;
                    Some((entry.turnaround.as_ref(), entry.overload))
                }))*
            };
        }
        let found = find!(rtu_over_tcp modbus_tcp modbus_rtu modbus_ascii modbus_tls modbus_udp dtu);
        found.map_or_else(Planning::default, |(turnaround, overload)| Planning {
            turnaround: turnaround.map(|t| t.0),
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
