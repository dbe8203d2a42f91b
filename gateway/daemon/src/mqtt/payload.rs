//! What one payload says: values by pointer, values in registers sent as text, and when they were measured.
//!
//! ```text
//!  payload ──► JSON? ──► pointer ──► number, bit, text ──► x scale ───────────────► reading
//!                 └────► pointer ──► base64 | hex ──► words ──► core::decode ───────► reading
//!                 └────► pointer ──► RFC 3339 | Unix ──► when all of them were measured
//! ```
//!
//! * A value without a time of its own is as old as its arrival. A message the broker had queued for a gateway that was
//!   away counts as new then; only a profile with `time` can tell it apart.
//! * A time that cannot be read, or lies further ahead than [`SKEW_MAX`], is not believed: the values are suspect, with
//!   the time of arrival. A time that is past the device's `max_age` stays, and the values are suspect.
//! * A retained message may be from last year. Without a time of its own its values are suspect; with one it is as old
//!   as it says.

use guanjia_core::decode::decode;
use guanjia_core::profile::{MessageTime, MessageWords, PointDef, Presence, Source, TimeFormat, WordEncoding};
use guanjia_core::reading::{BadReason, Decimal, PointIx, Quality, Reading, Value};
use guanjia_core::time::Timestamp;

use super::intake::Delivery;
use super::json::{Found, Message};
use crate::site::Device;

/// How far a device's clock may be ahead of this one.
const SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Characters of a text value.
const TEXT_CHARS_MAX: usize = 256;
/// Registers in one message; more than any radio frame carries.
const WORDS_MAX: usize = 4096;

/// The readings of one payload of one device, received `now`, of these points of it, which come on its topic.
pub(super) fn read(
    device: &Device,
    points: &[usize],
    payload: &[u8],
    delivery: Delivery,
    now: Timestamp,
) -> Vec<Reading> {
    let form = device.profile.message.as_ref();
    let message = Message::parse(payload);
    let words = form.and_then(|form| form.words.as_ref());
    let bare = words.is_some_and(|words| words.pointer.is_empty());
    if message.is_none() && !bare {
        return all_bad(device, points, BadReason::Undecodable, now);
    }
    let (at, trust) = dated(device, form.and_then(|form| form.time.as_ref()), message, delivery, now);
    let registers = words.map(|place| (place, words_of(place, payload, message)));
    let mut readings = Vec::new();
    for &offset in points {
        let Some(def) = device.profile.points.get(offset) else { continue };
        let value = match (&def.source, &registers) {
            (Source::Message { pointer, .. }, _) => message.map_or(Found::Missing, |m| m.find(pointer)).value(def),
            (Source::Registers(_), Some((place, words))) => in_words(def, place, words),
            (Source::Registers(_) | Source::Model { .. } | Source::Derived(_) | Source::Absent, _) => None,
        };
        let point = PointIx(device.first_point.0 + offset as u32);
        match value {
            None => {}
            Some(Ok(value)) => readings.push(Reading { point, value: Some(value), quality: trust, at }),
            Some(Err(why)) => readings.push(Reading::bad(point, why, at)),
        }
    }
    if readings.is_empty() { all_bad(device, points, BadReason::Undecodable, now) } else { readings }
}

/// These points of a device bad, for one reason.
pub(super) fn all_bad(device: &Device, points: &[usize], why: BadReason, at: Timestamp) -> Vec<Reading> {
    points.iter().map(|offset| Reading::bad(PointIx(device.first_point.0 + *offset as u32), why, at)).collect()
}

/// Whether the device says that it is there; `None` if it says neither word of its profile.
pub(super) fn presence(device: &Device, payload: &[u8]) -> Option<bool> {
    let usual = Presence::default();
    let words = device.profile.message.as_ref().map_or(&usual, |form| &form.presence);
    let bare = std::str::from_utf8(payload.trim_ascii()).ok().filter(|_| words.pointer.is_empty());
    let in_json = Message::parse(payload).and_then(|message| match message.find(&words.pointer) {
        Found::Text(text) => Some(text),
        Found::Bool(bit) => Some(bit.to_string()),
        Found::Number(number) => Some(number.to_string()),
        Found::Missing | Found::Null | Found::Unusable => None,
    });
    [bare, in_json.as_deref()].into_iter().flatten().find_map(|word| match word {
        word if word == words.online => Some(true),
        word if word == words.offline => Some(false),
        _ => None,
    })
}

/// What the points of a model say by one payload that comes on a topic of this template, long after it was sent.
#[cfg(test)]
pub(crate) fn rehearse(
    profile: &std::sync::Arc<guanjia_core::profile::Profile>,
    topic: Option<&str>,
    payload: &str,
) -> Vec<(usize, Result<Value, String>)> {
    let mut device = super::tests::water_site(1883, None).devices[0].clone();
    (device.profile, device.max_age) = (std::sync::Arc::clone(profile), std::time::Duration::MAX);
    let comes_here = |source: &Source| match source {
        Source::Message { topic: own, .. } => own.as_deref() == topic,
        _ => topic.is_none(),
    };
    let points = profile.points.iter().enumerate().filter(|(_, point)| comes_here(&point.source));
    let points: Vec<usize> = points.map(|(i, _)| i).collect();
    let now = Timestamp::from_millis(4_102_444_800_000);
    let readings = read(&device, &points, payload.as_bytes(), Delivery::Live, now);
    let told = readings.into_iter().map(|reading| {
        let value = match (reading.value, reading.quality) {
            (Some(value), _) => Ok(value),
            (None, Quality::Bad(why)) => Err(why.as_str().to_owned()),
            (None, other) => Err(other.as_str().to_owned()),
        };
        ((reading.point.0 - device.first_point.0) as usize, value)
    });
    told.collect()
}

/// When the values were measured, and how far they may be trusted.
fn dated(
    device: &Device,
    place: Option<&MessageTime>,
    message: Option<Message<'_>>,
    delivery: Delivery,
    now: Timestamp,
) -> (Timestamp, Quality) {
    let fresh = |at: Timestamp, age_from: Timestamp| match age_from.since(at) > device.max_age {
        true => Quality::Suspect,
        false => Quality::Good,
    };
    let Some(place) = place else {
        return match delivery {
            Delivery::Live => (now, Quality::Good),
            Delivery::Retained => (now, Quality::Suspect),
            Delivery::Kept { received } => (received, fresh(received, now)),
        };
    };
    let received = if let Delivery::Kept { received } = delivery { received } else { now };
    match message.and_then(|message| time_of(message.find(&place.pointer), place.format)) {
        Some(own) if own <= received + SKEW_MAX => (own.min(received), fresh(own.min(received), now)),
        Some(_) | None => (received, Quality::Suspect),
    }
}

fn time_of(found: Found, format: TimeFormat) -> Option<Timestamp> {
    let millis = |number: Decimal, exponent: i8| {
        let shift = i32::from(number.exponent) - i32::from(exponent);
        let factor = 10i128.checked_pow(shift.unsigned_abs())?;
        let millis = if shift >= 0 { number.mantissa.checked_mul(factor)? } else { number.mantissa / factor };
        i64::try_from(millis).ok().map(Timestamp::from_millis)
    };
    match (format, found) {
        (TimeFormat::Rfc3339, Found::Text(text)) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(Timestamp::from_millis(time.as_millisecond()))
        }
        (TimeFormat::UnixSeconds, Found::Number(number)) => millis(number, -3),
        (TimeFormat::UnixMillis, Found::Number(number)) => millis(number, 0),
        _ => None,
    }
}

/// The words of a message; `None` if there are none, or they are no words.
fn words_of(place: &MessageWords, payload: &[u8], message: Option<Message<'_>>) -> Result<Vec<u16>, Absence> {
    let text = match message.map(|message| message.find(&place.pointer)) {
        Some(Found::Text(text)) => text,
        // The whole payload, not in quotes.
        None | Some(Found::Number(_)) if place.pointer.is_empty() => {
            String::from_utf8(payload.trim_ascii().to_vec()).map_err(|_| Absence::Damaged)?
        }
        Some(Found::Missing) => return Err(Absence::Missing),
        _ => return Err(Absence::Damaged),
    };
    let bytes = match place.encoding {
        WordEncoding::Base64 => base64(&text),
        WordEncoding::Hex => hex(&text),
    };
    let bytes = bytes.filter(|bytes| bytes.len() % 2 == 0 && bytes.len() <= 2 * WORDS_MAX).ok_or(Absence::Damaged)?;
    Ok(bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
}

/// Why there are no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// The message does not speak of them.
    Missing,
    /// What stands there is no text of whole registers.
    Damaged,
}

/// The value of a point among the words; `None` if the message ends before it.
fn in_words(
    def: &PointDef,
    place: &MessageWords,
    words: &Result<Vec<u16>, Absence>,
) -> Option<Result<Value, BadReason>> {
    let Source::Registers(registers) = &def.source else { return None };
    let words = match words {
        Ok(words) => words,
        Err(Absence::Missing) => return None,
        Err(Absence::Damaged) => return Some(Err(BadReason::Undecodable)),
    };
    let start = usize::from(registers.address.checked_sub(place.address)?);
    let own = words.get(start..start.checked_add(usize::from(registers.count))?)?;
    Some(decode(def, own).map_err(guanjia_core::decode::DecodeError::reason))
}

impl Found {
    /// The value of a point, scaled; `None` if the message does not speak of it.
    fn value(self, def: &PointDef) -> Option<Result<Value, BadReason>> {
        Some(match self {
            Found::Missing => return None,
            Found::Null => Err(BadReason::Sentinel),
            Found::Number(number) => scaled(number, def).map(Value::Decimal).ok_or(BadReason::Undecodable),
            Found::Bool(bit) if !is_measurement(def) => Ok(Value::Bool(bit)),
            Found::Text(text)
                if !is_measurement(def) && def.codes.is_empty() && text.chars().count() <= TEXT_CHARS_MAX =>
            {
                Ok(Value::Text(text.into()))
            }
            Found::Bool(_) | Found::Text(_) | Found::Unusable => Err(BadReason::Undecodable),
        })
    }
}

/// Something with a unit or a counter can only be a number.
fn is_measurement(def: &PointDef) -> bool {
    !def.unit.is_empty() || def.counter_digits.is_some()
}

/// Exactly `number x scale + offset`; `None` on overflow.
fn scaled(number: Decimal, def: &PointDef) -> Option<Decimal> {
    let mantissa = number.mantissa.checked_mul(def.scale.mantissa)?;
    let product = Decimal::new(mantissa, number.exponent.checked_add(def.scale.exponent)?);
    if def.offset.mantissa == 0 {
        return Some(product);
    }
    let exponent = product.exponent.min(def.offset.exponent);
    let sum = product.rescale(exponent)?.checked_add(def.offset.rescale(exponent)?)?;
    Some(Decimal::new(sum, exponent))
}

/// RFC 4648, sections 4 and 5, padded or not. Bits behind the last whole byte must be zero, so that a text that was cut
/// is not taken for a shorter one.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests;
