//! What devices say on MQTT, as reports.
//!
//! * A message speaks of the points whose pointers lead somewhere in it. Points it does not mention keep their value
//!   and, if that goes on, turn stale. A message that mentions none of its device's points, or that is no JSON, makes
//!   all of them bad: something else talks on that topic.
//! * The time of a value is when it was received. A retained message may be from last year, so its values are
//!   [`Quality::Suspect`]: they can be seen, but raise, clear and bill nothing, until a live message confirms them.
//! * A device that said `offline` (its last will) stays offline until it says `online` or sends a live message; what
//!   the broker retained of it means nothing.
//!
//! ```text
//!             live message, `online`
//!  UNKNOWN ────────────────────────────► ANSWERING ◄──────────────────────┐
//!     │                                      │ `offline`: offline         │ live message,
//!     │ broker not reached: line_down        │ broker lost: line_down     │ `online`
//!     │ nothing for max_age: no_answer       ▼ nothing for max_age        │
//!     └────────────────────────────────► SILENT(why) ─────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use guanjia_core::profile::{PointDef, Source};
use guanjia_core::reading::{BadReason, Decimal, DeviceIx, PointIx, Quality, Reading, Value};
use guanjia_core::time::Timestamp;
use guanjia_field::{DeviceHealth, FieldReport};
use tracing::{debug, warn};

use super::json::{Found, Message};
use crate::site::{Attachment, Device, Site};

#[cfg(test)]
mod tests;

/// The largest payload that is looked at.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Characters of a text value.
const TEXT_CHARS_MAX: usize = 256;

/// Whether a message came because it was sent now, or because the broker had kept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Live,
    Retained,
}

/// What a message was worth, besides its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Points that could not be read.
    pub undecodable: u64,
    /// Points of devices whose message was too large to be looked at.
    pub oversized: u64,
    /// Messages on topics nobody asked for.
    pub unknown_topic: u64,
}

/// What a topic means to one device.
#[derive(Clone, Copy, Debug)]
enum Role {
    State(usize),
    Availability(usize),
}

/// One device and what is known of it.
#[derive(Debug)]
struct Known {
    ix: DeviceIx,
    /// `None` before anything is known.
    silent: Option<Option<BadReason>>,
    /// When it last said anything live, or the session with the broker began.
    heard: Timestamp,
}

/// The receiving side of one broker.
#[derive(Debug)]
pub(super) struct Intake {
    site: Arc<Site>,
    devices: Vec<Known>,
    topics: HashMap<String, Vec<Role>>,
}

impl Intake {
    /// The devices that `site` attaches to the broker of that index.
    pub(super) fn new(site: Arc<Site>, broker: usize) -> Self {
        let mut devices = Vec::new();
        let mut topics: HashMap<String, Vec<Role>> = HashMap::new();
        for device in &site.devices {
            let Attachment::Mqtt { broker: its, topic, availability } = &device.attachment else { continue };
            if *its != broker {
                continue;
            }
            let index = devices.len();
            devices.push(Known { ix: device.ix, silent: None, heard: Timestamp::MAX });
            topics.entry(topic.clone()).or_default().push(Role::State(index));
            if let Some(topic) = availability {
                topics.entry(topic.clone()).or_default().push(Role::Availability(index));
            }
        }
        Self { site, devices, topics }
    }

    /// What to subscribe to, in a stable order.
    pub(super) fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.topics.keys().cloned().collect();
        topics.sort_unstable();
        topics
    }

    /// One message.
    pub(super) fn message(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
        now: Timestamp,
    ) -> (Vec<FieldReport>, Tally) {
        let mut reports = Vec::new();
        let mut tally = Tally::default();
        let Some(roles) = self.topics.get(topic).cloned() else {
            tally.unknown_topic = 1;
            return (reports, tally);
        };
        for role in roles {
            match role {
                Role::Availability(index) => self.availability(index, payload, now, &mut reports),
                Role::State(index) => self.state(index, payload, delivery, now, &mut reports, &mut tally),
            }
        }
        (reports, tally)
    }

    /// The session with the broker stands: from now on silence is the device's own.
    pub(super) fn connected(&mut self, now: Timestamp) {
        for known in &mut self.devices {
            known.heard = now;
        }
    }

    /// Looks for devices that have said nothing for longer than their values may be old; only while connected. A
    /// device that dies without a last will is noticed by this alone.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<FieldReport> {
        let mut reports = Vec::new();
        for index in 0..self.devices.len() {
            let waiting = matches!(self.devices[index].silent, None | Some(None | Some(BadReason::LineDown)));
            if waiting && now.since(self.devices[index].heard) > self.device(index).max_age {
                self.silence(index, BadReason::NoAnswer, now, &mut reports);
            }
        }
        reports
    }

    /// The session with the broker is gone, or could not be made: nothing is known of any device.
    pub(super) fn lost(&mut self, now: Timestamp) -> Vec<FieldReport> {
        let mut reports = Vec::new();
        for index in 0..self.devices.len() {
            self.silence(index, BadReason::LineDown, now, &mut reports);
        }
        reports
    }

    /// The broker does not let us listen to a topic.
    pub(super) fn refused(&mut self, topic: &str, now: Timestamp) -> Vec<FieldReport> {
        let mut reports = Vec::new();
        for role in self.topics.get(topic).cloned().unwrap_or_default() {
            if let Role::State(index) = role {
                self.silence(index, BadReason::Refused, now, &mut reports);
            }
        }
        reports
    }

    fn availability(&mut self, index: usize, payload: &[u8], now: Timestamp, reports: &mut Vec<FieldReport>) {
        match payload.trim_ascii() {
            b"online" => self.answering(index, now, reports),
            b"offline" => self.silence(index, BadReason::Offline, now, reports),
            _ => warn!(device = %self.device(index).id, "availability is neither online nor offline, it is ignored"),
        }
    }

    fn state(
        &mut self,
        index: usize,
        payload: &[u8],
        delivery: Delivery,
        now: Timestamp,
        reports: &mut Vec<FieldReport>,
        tally: &mut Tally,
    ) {
        let offline = self.devices[index].silent == Some(Some(BadReason::Offline));
        if delivery == Delivery::Retained && offline {
            return;
        }
        let device = self.device(index);
        let points = device.profile.points.len() as u64;
        let readings = if payload.len() > PAYLOAD_BYTES_MAX {
            warn!(device = %device.id, bytes = payload.len(), "message too large, not looked at");
            tally.oversized += points;
            all_bad(device, BadReason::Undecodable, now)
        } else {
            let readings = read(device, payload, delivery, now);
            let bad = readings.iter().filter(|r| r.quality == Quality::Bad(BadReason::Undecodable)).count();
            if bad > 0 {
                debug!(device = %device.id, points = bad, "message not as the profile promises");
                tally.undecodable += bad as u64;
            }
            readings
        };
        let ix = device.ix;
        // Only a live message proves that the device is there now.
        if delivery == Delivery::Live {
            self.answering(index, now, reports);
        }
        reports.push(FieldReport::Readings { device: ix, readings });
    }

    fn answering(&mut self, index: usize, at: Timestamp, reports: &mut Vec<FieldReport>) {
        let known = &mut self.devices[index];
        known.heard = at;
        if known.silent != Some(None) {
            known.silent = Some(None);
            reports.push(FieldReport::Health { device: known.ix, health: DeviceHealth::Answering, at });
        }
    }

    fn silence(&mut self, index: usize, why: BadReason, at: Timestamp, reports: &mut Vec<FieldReport>) {
        let known = &mut self.devices[index];
        if known.silent == Some(Some(why)) {
            return;
        }
        known.silent = Some(Some(why));
        let device = known.ix;
        reports.push(FieldReport::Health { device, health: DeviceHealth::Silent(why), at });
        reports.push(FieldReport::Readings { device, readings: all_bad(self.device(index), why, at) });
    }

    fn device(&self, index: usize) -> &Device {
        &self.site.devices[self.devices[index].ix.0 as usize]
    }
}

fn all_bad(device: &Device, why: BadReason, at: Timestamp) -> Vec<Reading> {
    (0..device.profile.points.len()).map(|offset| Reading::bad(point_ix(device, offset), why, at)).collect()
}

fn point_ix(device: &Device, offset: usize) -> PointIx {
    PointIx(device.first_point.0 + offset as u32)
}

/// The readings of one payload of one device.
fn read(device: &Device, payload: &[u8], delivery: Delivery, at: Timestamp) -> Vec<Reading> {
    let Some(message) = Message::parse(payload) else { return all_bad(device, BadReason::Undecodable, at) };
    let mut readings = Vec::new();
    for (offset, def) in device.profile.points.iter().enumerate() {
        let Source::Message { pointer } = &def.source else { continue };
        let found = message.find(pointer);
        if found == Found::Missing {
            continue;
        }
        let point = point_ix(device, offset);
        readings.push(match value_of(def, found) {
            Ok(value) if delivery == Delivery::Live => Reading::good(point, value, at),
            Ok(value) => Reading { point, value: Some(value), quality: Quality::Suspect, at },
            Err(why) => Reading::bad(point, why, at),
        });
    }
    if readings.is_empty() { all_bad(device, BadReason::Undecodable, at) } else { readings }
}

/// The value of a point, scaled.
fn value_of(def: &PointDef, found: Found) -> Result<Value, BadReason> {
    match found {
        Found::Null => Err(BadReason::Sentinel),
        Found::Number(number) => scaled(number, def.scale).map(Value::Decimal).ok_or(BadReason::Undecodable),
        Found::Bool(bit) if !is_measurement(def) => Ok(Value::Bool(bit)),
        Found::Text(text) if !is_measurement(def) && def.codes.is_empty() && text.chars().count() <= TEXT_CHARS_MAX => {
            Ok(Value::Text(text.into()))
        }
        Found::Missing | Found::Bool(_) | Found::Text(_) | Found::Unusable => Err(BadReason::Undecodable),
    }
}

/// Something with a unit or a counter can only be a number.
fn is_measurement(def: &PointDef) -> bool {
    !def.unit.is_empty() || def.counter_digits.is_some()
}

/// Exactly `number x scale`; `None` on overflow.
fn scaled(number: Decimal, scale: Decimal) -> Option<Decimal> {
    let mantissa = number.mantissa.checked_mul(scale.mantissa)?;
    let exponent = number.exponent.checked_add(scale.exponent)?;
    Some(Decimal::new(mantissa, exponent))
}
