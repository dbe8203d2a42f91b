//! Modems that dial in: the ports they call, and who each of them is.
//!
//! A DTU that could be taken for another one would bring one bus's values under another's names, so everything that
//! could confuse two of them is an error: the same registration, one that begins like another, two that send none and
//! have a unit in common. And so is a heartbeat that could be the beginning of an answer.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guanjia_field::link::dial_in::PACKET_MAX;
use guanjia_field::{Carries, DialIn, EntranceConfig, Link};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::context::Context;
use super::super::document::Entry;
use super::super::value::{At, Span};
use super::{Line, Overload, RawParity, SerialKeys, line_config};
use crate::site::{Attachment, Device};

/// How long a caller may take to say who it is, unless the file says otherwise.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);
/// Connections of one port, unless the file says otherwise.
const CONNECTIONS_MAX: u16 = 100;
/// An answer through a mobile network takes longer than any profile says.
const RESPONSE_MAX: Duration = Duration::from_secs(3);
/// So does a late one.
const LINGER: Duration = Duration::from_secs(1);

/// `[dial_in.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDialIn {
    /// The gateway's address and port that DTUs connect to, such as "0.0.0.0:5020".
    pub listen: At<String>,
    /// How long a connection may take until it has said who it is. Default "10s".
    pub register_within: Option<At<Span>>,
    /// Connections at a time, those that have not said who they are among them. Default 100, at most 1,000.
    pub connections_max: Option<At<u16>>,
}

/// `[dtu.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDtu {
    /// The `[dial_in.NAME]` it connects to.
    pub dial_in: At<String>,
    /// What its connection begins with: text such as its IMEI, or { hex = "01 A5" }. Without it, it is known by its
    /// devices: they are asked.
    pub registration: Option<At<RawPacket>>,
    /// What it sends to keep its connection alive: text, or { hex = "FE" }.
    pub heartbeat: Option<At<RawPacket>>,
    /// What travels in its connection: "rtu", "ascii" or "modbus-tcp". Default "rtu".
    pub carries: Option<At<RawCarries>>,
    /// Bits per second on its bus; not with "modbus-tcp".
    pub baud: Option<At<u32>>,
    /// 8; 7 or 8 for "ascii". Default 8, for "ascii" 7.
    pub data_bits: Option<At<u8>>,
    /// "none", "even" or "odd". Default "none", for "ascii" "even".
    pub parity: Option<At<RawParity>>,
    /// 1 or 2. Default 1.
    pub stop_bits: Option<At<u8>>,
    /// How long its slowest device and the network may take together; instead of what the profiles say. Default "3s".
    pub response_max: Option<At<Span>>,
    /// How long its devices typically think, if that was measured; `guanjia plan` counts with it. Default "200ms",
    /// most of it the mobile network.
    pub turnaround: Option<At<Span>>,
    /// What to do if more is planned than the line has time for: "refuse" the site, or "accept" that turns are left
    /// out. Default "refuse".
    pub overload: Option<Overload>,
}

/// What travels in the connection of a DTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawCarries {
    /// RTU frames.
    Rtu,
    /// ASCII frames.
    Ascii,
    /// Modbus TCP's frames.
    ModbusTcp,
}

/// Bytes a modem sends of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPacket(Vec<u8>);

impl<'de> Deserialize<'de> for RawPacket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrHex;
        impl<'de> Visitor<'de> for TextOrHex {
            type Value = RawPacket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or { hex = \"01 A5\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawPacket, E> {
                checked(text.as_bytes().to_vec())
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<RawPacket, E> {
                Err(E::custom(format!("a packet is text or bytes\nwrite \"{n}\" for these digits as text")))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawPacket, A::Error> {
                let form = "a packet is text or bytes\nwrite \"text\", or { hex = \"01 A5\" }";
                match map.next_entry::<String, String>()? {
                    Some((key, text)) if key == "hex" => {
                        let bytes = parse_hex(&text).ok_or_else(|| {
                            A::Error::custom(format!(
                                "{text:?} is not bytes\nwrite two hexadecimal digits for each: \
                                 \"01 A5 FF\""
                            ))
                        })?;
                        checked(bytes)
                    }
                    _ => Err(A::Error::custom(form)),
                }
            }
        }
        fn checked<E: Error>(bytes: Vec<u8>) -> Result<RawPacket, E> {
            if (1..=PACKET_MAX).contains(&bytes.len()) {
                return Ok(RawPacket(bytes));
            }
            let message =
                format!("a packet of {} bytes\nwrite 1 to {PACKET_MAX}; its beginning is enough", bytes.len());
            Err(E::custom(message))
        }
        deserializer.deserialize_any(TextOrHex)
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl JsonSchema for RawPacket {
    fn schema_name() -> Cow<'static, str> {
        "Packet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes a modem sends: text, or hexadecimal digits.",
            "type": ["string", "object"],
            "properties": { "hex": { "description": "Two digits for each byte.", "type": "string" } },
            "additionalProperties": false
        })
    }
}

/// Checks the ports modems call.
pub fn entrances(
    context: &mut Context,
    raw: &[Entry<RawDialIn>],
    http: Option<SocketAddr>,
) -> Vec<Entry<Option<EntranceConfig>>> {
    let mut taken: Vec<(SocketAddr, String)> =
        http.map(|http| (http, "`http.listen`".to_owned())).into_iter().collect();
    let mut entrances = Vec::new();
    for entry in raw {
        let config = entrance(context, entry, &mut taken);
        entrances.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: config });
    }
    entrances
}

fn entrance(
    context: &mut Context,
    entry: &Entry<RawDialIn>,
    taken: &mut Vec<(SocketAddr, String)>,
) -> Option<EntranceConfig> {
    let Ok(listen) = entry.listen.parse::<SocketAddr>() else {
        context
            .error(entry.listen.span(), format!("`{}` is not an address and a port", *entry.listen))
            .help("write \"0.0.0.0:5020\", or the address of one network card instead of 0.0.0.0");
        return None;
    };
    if let Some((_, other)) = taken.iter().find(|(other, _)| collide(listen, *other)) {
        context
            .error(entry.listen.span(), format!("`{listen}` is the port of {other} already"))
            .help("write another port; many DTUs can share one [dial_in.NAME]");
        return None;
    }
    taken.push((listen, format!("[dial_in.{}]", entry.key)));
    let register_within = entry.register_within.as_ref().map_or(REGISTER_WITHIN, |s| s.0);
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&register_within) {
        let at = entry.register_within.as_ref().map_or(entry.at.clone(), At::span);
        context.error(at, "a caller has between 1s and 10m to say who it is").help("write \"10s\"");
        return None;
    }
    let connections_max = entry.connections_max.as_ref().map_or(CONNECTIONS_MAX, |n| **n);
    if !(1..=1_000).contains(&connections_max) {
        let at = entry.connections_max.as_ref().map_or(entry.at.clone(), At::span);
        context.error(at, "there are 1 to 1000 connections at a time").help("write 100");
        return None;
    }
    let (name, connections_max) = (entry.key.clone(), usize::from(connections_max));
    Some(EntranceConfig { name, listen, register_within, connections_max })
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_card = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_card
}

/// Checks every DTU; each is a line.
pub fn dtus(
    context: &mut Context,
    raw: &[Entry<RawDtu>],
    entrances: &[Entry<Option<EntranceConfig>>],
) -> Vec<Entry<Option<Line>>> {
    let mut lines: Vec<Entry<Option<Line>>> = Vec::new();
    for (i, entry) in raw.iter().enumerate() {
        let known = context.position("dial_in", &entry.dial_in, entrances).is_some();
        let told_apart = is_told_apart(context, entry, &raw[..i]);
        let carries = carries(context, entry);
        let line = carries.filter(|_| known && told_apart).map(|(carries, format)| {
            let dial_in = DialIn {
                entrance: entry.dial_in.as_str().into(),
                who: who(entry),
                registration: entry.registration.as_ref().map(|p| p.0.as_slice().into()),
                heartbeat: entry.heartbeat.as_ref().map(|p| p.0.as_slice().into()),
                carries,
            };
            let mut config = line_config(entry.key.clone(), Link::DialIn(dial_in), &entry.response_max);
            config.response_max.get_or_insert(RESPONSE_MAX);
            config.linger = LINGER;
            Line { config, format }
        });
        lines.push(Entry { key: entry.key.clone(), at: entry.at.clone(), value: line });
    }
    for entrance in entrances.iter().filter_map(|e| e.value.as_ref()) {
        let callers = raw.iter().filter(|dtu| **dtu.dial_in == *entrance.name);
        if let Some(one_more) = callers.clone().nth(entrance.connections_max) {
            let (name, count) = (&entrance.name, callers.count());
            context
                .error(
                    one_more.at.clone(),
                    format!("{count} DTUs call [dial_in.{name}], which takes fewer connections"),
                )
                .help(format!("write connections_max = {} or more in [dial_in.{name}]", count * 2));
        }
    }
    lines
}

/// What people call it: its registration, if that can be read, else its name.
fn who(entry: &Entry<RawDtu>) -> Arc<str> {
    let registration = entry.registration.as_ref().and_then(|packet| std::str::from_utf8(&packet.0).ok());
    let plain =
        registration.map(str::trim).filter(|text| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()));
    plain.map_or_else(|| entry.key.clone(), Into::into)
}

fn is_told_apart(context: &mut Context, entry: &Entry<RawDtu>, before: &[Entry<RawDtu>]) -> bool {
    let Some(own) = &entry.registration else { return true };
    let same_port = before.iter().filter(|other| **other.dial_in == **entry.dial_in);
    for other in same_port {
        let Some(theirs) = other.registration.as_ref() else { continue };
        if own.0.starts_with(&theirs.0) || theirs.0.starts_with(&own.0) {
            let message = match own.0 == theirs.0 {
                true => format!("this is the registration of the DTU `{}` already", other.key),
                false => format!("this registration cannot be told from that of the DTU `{}`", other.key),
            };
            context.error(own.span(), message).help("each DTU needs its own; none may begin like another");
            return false;
        }
    }
    true
}

type Format = Option<(guanjia_field::SerialFormat, RawParity)>;

fn carries(context: &mut Context, entry: &Entry<RawDtu>) -> Option<(Carries, Format)> {
    let raw = entry.carries.as_ref().map_or(RawCarries::Rtu, |c| **c);
    let baud = match (raw, &entry.baud) {
        (RawCarries::ModbusTcp, None) => return Some((Carries::ModbusTcp, None)),
        (RawCarries::ModbusTcp, Some(baud)) => {
            context
                .error(baud.span(), "a DTU that speaks Modbus TCP looks after its bus by itself")
                .help("leave `baud` out, or write carries = \"rtu\"");
            return None;
        }
        (_, None) => {
            context
                .error(entry.at.clone(), "the key `baud` is missing")
                .help("`baud`: Bits per second on its bus; for the silences and deadlines");
            return None;
        }
        (_, Some(baud)) => baud,
    };
    let keys = SerialKeys { baud, data_bits: &entry.data_bits, parity: &entry.parity, stop_bits: &entry.stop_bits };
    let ascii = raw == RawCarries::Ascii;
    let (format, parity) = if ascii { keys.ascii(context)? } else { keys.rtu(context)? };
    let carries = if ascii { Carries::Ascii(format) } else { Carries::Rtu(format) };
    Some((carries, Some((format, parity))))
}

/// Checks what only the devices tell: who is known by them, and what their answers begin with.
pub fn check_devices(context: &mut Context, raw: &[Entry<RawDtu>], lines: &[Entry<Option<Line>>], devices: &[Device]) {
    let units = |key: &str| -> Vec<u8> {
        let on = |device: &Device| match device.attachment {
            Attachment::Line { line, unit, .. } if &*lines[line].key == key => Some(unit),
            _ => None,
        };
        devices.iter().filter_map(on).collect()
    };
    for (i, entry) in raw.iter().enumerate() {
        let own = units(&entry.key);
        for (packet, what) in [(&entry.heartbeat, "heartbeat"), (&entry.registration, "registration")] {
            let Some(packet) = packet else { continue };
            let carries = entry.carries.as_ref().map_or(RawCarries::Rtu, |c| **c);
            if let Some(why) = could_be_an_answer(&packet.0, carries, &own) {
                context
                    .error(packet.span(), format!("this {what} could be the beginning of an answer: {why}"))
                    .help("set another one in the DTU, or give the device another unit");
            }
        }
        if entry.registration.is_some() {
            continue;
        }
        if own.is_empty() {
            context
                .error(
                    entry.at.clone(),
                    format!("the DTU `{}` has no registration and no device to be known by", entry.key),
                )
                .help("write what it sends when it connects: registration = \"…\"");
        }
        let others = raw[..i].iter().filter(|o| o.registration.is_none() && **o.dial_in == **entry.dial_in);
        for other in others {
            if let Some(unit) = units(&other.key).iter().find(|unit| own.contains(unit)) {
                context
                    .error(
                        entry.at.clone(),
                        format!("`{}` and `{}` send no registration and both have a unit {unit}", other.key, entry.key),
                    )
                    .help("nobody can tell them apart; give them registrations, or their devices other units");
            }
        }
    }
}

/// Why a packet of the modem could be taken for the beginning of an answer; `None` if it could not.
fn could_be_an_answer(packet: &[u8], carries: RawCarries, units: &[u8]) -> Option<String> {
    match carries {
        RawCarries::Rtu => {
            let unit = units.iter().find(|unit| packet.first() == Some(unit))?;
            let function = packet.get(1).map(|f| f & 0x7F);
            let answers = function.is_none_or(|f| matches!(f, 1..=6 | 15 | 16 | 22));
            answers.then(|| format!("it begins like one of unit {unit}"))
        }
        RawCarries::Ascii => packet.starts_with(b":").then(|| "every ASCII frame begins with a colon".to_owned()),
        // The transaction number can be anything; the two bytes after it are zero.
        RawCarries::ModbusTcp => match packet {
            [_, _, p0, p1, ..] if (*p0, *p1) != (0, 0) => None,
            [_, _, p0] if *p0 != 0 => None,
            _ => Some("two bytes and two zeros can begin any Modbus TCP frame".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_pairs_of_digits() {
        assert_eq!(parse_hex("01 a5FF"), Some(vec![1, 0xA5, 0xFF]));
        assert_eq!(parse_hex("1"), None);
        assert_eq!(parse_hex("0x"), None);
    }

    #[test]
    fn a_packet_that_could_begin_an_answer_is_found() {
        let units = [1, 0x50];
        for (packet, carries, is_doubtful) in [
            (&b"PING"[..], RawCarries::Rtu, false),
            (&[0x50, 0x03, 0xFF][..], RawCarries::Rtu, true),
            (&[1][..], RawCarries::Rtu, true),
            (&[2, 3][..], RawCarries::Rtu, false),
            (&[0xFE][..], RawCarries::Rtu, false),
            (&b":PING"[..], RawCarries::Ascii, true),
            (&b"PING"[..], RawCarries::Ascii, false),
            (&b"PING"[..], RawCarries::ModbusTcp, false),
            (&[0xFE][..], RawCarries::ModbusTcp, true),
            (&[1, 2, 0, 0, 9][..], RawCarries::ModbusTcp, true),
        ] {
            let why = could_be_an_answer(packet, carries, &units);
            assert_eq!(why.is_some(), is_doubtful, "{packet:?} {carries:?} {why:?}");
        }
    }

    #[test]
    fn two_listeners_collide_when_they_share_a_port_of_one_card() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(collide(at("0.0.0.0:8080"), at("127.0.0.1:8080")));
        assert!(!collide(at("192.0.2.1:8080"), at("127.0.0.1:8080")));
        assert!(!collide(at("127.0.0.1:0"), at("127.0.0.1:0")));
    }
}
