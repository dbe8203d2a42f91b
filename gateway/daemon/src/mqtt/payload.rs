//! What one payload says: values by pointer, values in registers sent as text, and when they were measured.
//!
//! ```text
//!  payload ─► samples, in the order of their time ─┬─► the newest ─► readings
//!             (most messages are one)              └─► the others ─► what was counted in the past, for accounts only
//!
//!  sample ──► pointer ──► number, bit, text ──► x scale ─┐
//!        └──► pointer ──► base64 | hex ──► words ────────┴─► core's decoder: powers of ten, ratios, units, formulas ─► reading
//!        └──► pointer ──► RFC 3339 | Unix ──► when all of them were measured
//! ```
//!
//! * A value without a time of its own is as old as its arrival. A message the broker had queued for a gateway that was
//!   away counts as new then; only a profile with `time` can tell it apart.
//! * A time that cannot be read, or lies further ahead than [`SKEW_MAX`], is not believed: the values are suspect, with
//!   the time of arrival. A time that is past the device's `max_age` stays, and the values are suspect.
//! * A retained message may be from last year. Without a time of its own its values are suspect; with one it is as old
//!   as it says.
//! * What a logger kept while it was away comes as many samples at once, see [`samples`]. Only the newest is what the
//!   device says now; older ones raise and clear no alarm, because what they show is over. Its counters are good as of
//!   their time, which puts consumption into the hours in which it was consumed. The newest is the newest that speaks of
//!   any point of the topic: a logger that told of its battery since has still counted.
//! * A ratio or unit may stand in the same message, or come on another topic: it is remembered until the device falls
//!   silent. What must be of one moment (a power of ten, the parts of a formula) must be of one sample.

use std::time::Duration;

use guanjia_core::decode::{DecodeError, Decoder, measure};
use guanjia_core::profile::{MessageTime, PointDef, PollClass, Presence, Source, TimeFormat};
use guanjia_core::reading::{BadReason, Decimal, PointIx, Quality, Reading, Value};
use guanjia_core::time::Timestamp;

use super::intake::Delivery;
use super::json::{Found, Message};
use crate::site::Device;

mod samples;
mod words;

pub(super) use samples::LeftOut;
use samples::{Sample, Samples};
use words::Words;

/// How far a device's clock may be ahead of this one.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// Characters of a text value.
const TEXT_CHARS_MAX: usize = 256;

/// What a payload is worth.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// What the device says now; empty if it says nothing new.
    pub latest: Vec<Reading>,
    /// What it counted before, in the order of time: readings of the points somebody pays by, good as of their time.
    pub past: Vec<Reading>,
    /// Up to when it has told its samples; `None` if they have no time.
    pub until: Option<Timestamp>,
    /// Samples that were not taken.
    pub left_out: LeftOut,
}

/// One payload of one device, received `now`, as far as it is about these points of it, which come on its topic. Samples up
/// to `known` have been told before.
pub(super) fn read(
    device: &Device,
    decoder: &mut Decoder,
    points: &[usize],
    payload: &[u8],
    delivery: Delivery,
    known: Option<Timestamp>,
    now: Timestamp,
) -> Said {
    let form = device.profile.message.as_ref();
    let message = Message::parse(payload);
    let place = form.and_then(|form| form.time.as_ref());
    let received = if let Delivery::Kept { received } = delivery { received } else { now };
    let bad =
        |left_out| Said { latest: all_bad(device, points, BadReason::Undecodable, now), left_out, ..Said::default() };
    let Samples { mut samples, left_out } = match (form.and_then(|form| form.samples.as_ref()), message, place) {
        (Some(pointer), Some(message), Some(place)) => samples::split(message, pointer, place, received, known),
        (None, Some(message), _) => Samples::one(Sample::of(message)),
        // The whole payload is the registers, and no JSON.
        (None, None, _) if form.and_then(|form| form.words.as_ref()).is_some_and(|words| words.pointer.is_empty()) => {
            Samples::one(Sample::default())
        }
        _ => return bad(LeftOut::default()),
    };
    let until = samples.last().and_then(|sample| sample.at);
    while samples.len() > 1 && samples.last().is_some_and(|last| spoken(device, points, last, payload).is_empty()) {
        samples.pop();
    }
    let Some(newest) = samples.pop() else {
        // All of it was told before, or nothing in it can be believed.
        return if left_out.repeated > 0 { Said { left_out, ..Said::default() } } else { bad(left_out) };
    };
    let mut past = Vec::new();
    for sample in &samples {
        past.extend(counted(device, decoder, points, sample, received));
    }
    let (at, trust) = match newest.at {
        Some(at) => (at.min(received), fresh(device, at.min(received), now)),
        None => dated(device, place, &newest, delivery, now),
    };
    let latest = decoded(device, decoder, points, &newest, payload, at, trust);
    if newest.at.is_some() && trust == Quality::Suspect {
        past.extend(latest.iter().filter(|reading| is_billed(device, reading)).filter_map(as_of_its_time));
    }
    if latest.is_empty() { bad(left_out) } else { Said { latest, past, until, left_out } }
}

/// What the counters of an older sample said.
fn counted(
    device: &Device,
    decoder: &mut Decoder,
    points: &[usize],
    sample: &Sample<'_>,
    received: Timestamp,
) -> Vec<Reading> {
    let Some(at) = sample.at.map(|at| at.min(received)) else { return Vec::new() };
    let readings = decoded(device, decoder, points, sample, &[], at, Quality::Good);
    readings.into_iter().filter(|reading| reading.quality.is_good() && is_billed(device, reading)).collect()
}

fn is_billed(device: &Device, reading: &Reading) -> bool {
    let offset = reading.point.0.checked_sub(device.first_point.0).map(|offset| offset as usize);
    let def = offset.and_then(|offset| device.profile.points.get(offset));
    def.is_some_and(|def| def.poll == PollClass::Billing)
}

/// An old value that is dated by its device is nothing that holds now, and yet true of its time.
fn as_of_its_time(reading: &Reading) -> Option<Reading> {
    Some(Reading::good(reading.point, reading.value.clone()?, reading.at))
}

/// What one sample says of these points, before anything is calculated; nothing of those it does not speak of.
fn spoken(
    device: &Device,
    points: &[usize],
    sample: &Sample<'_>,
    payload: &[u8],
) -> Vec<(usize, Result<Value, DecodeError>)> {
    let words = device.profile.message.as_ref().and_then(|form| form.words.as_ref());
    let registers = words.map(|place| Words::of(place, payload, sample));
    let measured = |offset: usize| {
        let def = device.profile.points.get(offset)?;
        match &def.source {
            Source::Message { pointer, .. } => sample.find(pointer).measured(def),
            Source::Registers(place) => match registers.as_ref()?.own(place)? {
                Ok(own) => Some(measure(def, own)),
                Err(damaged) => Some(Err(damaged)),
            },
            Source::Model { .. } | Source::Derived(_) | Source::Absent => None,
        }
    };
    points.iter().filter_map(|&offset| Some((offset, measured(offset)?))).collect()
}

/// The readings of one sample.
fn decoded(
    device: &Device,
    decoder: &mut Decoder,
    points: &[usize],
    sample: &Sample<'_>,
    payload: &[u8],
    at: Timestamp,
    trust: Quality,
) -> Vec<Reading> {
    let values = spoken(device, points, sample, payload);
    let spoken: Vec<usize> = values.iter().map(|(offset, _)| *offset).collect();
    let mut readings = Vec::with_capacity(spoken.len());
    // Ratios are remembered by the time of the device, as its samples are.
    let moment = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0));
    let said = |offset: usize| match values.binary_search_by_key(&offset, |(offset, _)| *offset) {
        Ok(place) => values[place].1.clone(),
        Err(_) => Err(DecodeError::Message),
    };
    decoder.message(&said, &spoken, moment, |offset, value| {
        let point = PointIx(device.first_point.0 + offset as u32);
        readings.push(match value {
            Ok(value) => Reading { point, value: Some(value), quality: trust, at },
            Err(error) => Reading::bad(point, error.reason(), at),
        });
    });
    readings
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
    (device.profile, device.max_age) = (std::sync::Arc::clone(profile), Duration::MAX);
    let comes_here = |source: &Source| match source {
        Source::Message { topic: own, .. } => own.as_deref() == topic,
        _ => topic.is_none(),
    };
    let points = profile.points.iter().enumerate().filter(|(_, point)| comes_here(&point.source));
    let points: Vec<usize> = points.map(|(i, _)| i).collect();
    let now = Timestamp::from_millis(4_102_444_800_000);
    let mut decoder = Decoder::new(std::sync::Arc::clone(profile), |_| Duration::MAX);
    let said = read(&device, &mut decoder, &points, payload.as_bytes(), Delivery::Live, None, now);
    let told = said.latest.into_iter().map(|reading| {
        let value = match (reading.value, reading.quality) {
            (Some(value), _) => Ok(value),
            (None, Quality::Bad(why)) => Err(why.as_str().to_owned()),
            (None, other) => Err(other.as_str().to_owned()),
        };
        ((reading.point.0 - device.first_point.0) as usize, value)
    });
    told.collect()
}

fn fresh(device: &Device, at: Timestamp, now: Timestamp) -> Quality {
    if now.since(at) > device.max_age { Quality::Suspect } else { Quality::Good }
}

/// When the values of a message that is one sample were measured, and how far they may be trusted.
fn dated(
    device: &Device,
    place: Option<&MessageTime>,
    sample: &Sample<'_>,
    delivery: Delivery,
    now: Timestamp,
) -> (Timestamp, Quality) {
    let Some(place) = place else {
        return match delivery {
            Delivery::Live => (now, Quality::Good),
            Delivery::Retained => (now, Quality::Suspect),
            Delivery::Kept { received } => (received, fresh(device, received, now)),
        };
    };
    let received = if let Delivery::Kept { received } = delivery { received } else { now };
    match time_of(sample.find(&place.pointer), place.format).filter(|own| is_believed(*own, received)) {
        Some(own) => (own.min(received), fresh(device, own.min(received), now)),
        None => (received, Quality::Suspect),
    }
}

fn is_believed(own: Timestamp, received: Timestamp) -> bool {
    own <= received + SKEW_MAX
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

impl Found {
    /// What it says of a point, scaled and without offset and inputs; `None` if the message does not speak of it.
    fn measured(self, def: &PointDef) -> Option<Result<Value, DecodeError>> {
        Some(match self {
            Found::Missing => return None,
            Found::Null => Err(DecodeError::Sentinel),
            Found::Number(number) => scaled(number, def).map(Value::Decimal).ok_or(DecodeError::Overflow),
            Found::Bool(bit) if !is_measurement(def) => Ok(Value::Bool(bit)),
            Found::Text(text)
                if !is_measurement(def) && def.codes.is_empty() && text.chars().count() <= TEXT_CHARS_MAX =>
            {
                Ok(Value::Text(text.into()))
            }
            Found::Bool(_) | Found::Text(_) | Found::Unusable => Err(DecodeError::Message),
        })
    }
}

/// Something with a unit or a counter can only be a number.
fn is_measurement(def: &PointDef) -> bool {
    !def.unit.is_empty() || def.counter_digits.is_some()
}

/// Exactly `number x scale`; `None` on overflow.
fn scaled(number: Decimal, def: &PointDef) -> Option<Decimal> {
    let mantissa = number.mantissa.checked_mul(def.scale.mantissa)?;
    Some(Decimal::new(mantissa, number.exponent.checked_add(def.scale.exponent)?))
}

#[cfg(test)]
mod tests;
