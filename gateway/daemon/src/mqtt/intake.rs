//! What devices say on MQTT, as reports.
//!
//! * A device speaks on one topic or on several, each with points of its own. A message speaks of the points of its topic
//!   whose pointers lead somewhere in it. Points it does not mention keep their value and, if that goes on, turn stale. A
//!   message that mentions none of its topic's points, or that is no JSON, makes all of them bad: something else talks on
//!   that topic. The device is there as long as it says anything on any of them.
//! * What a payload says, and how old and how trustworthy it is, is read in [`super::payload`]. Suspect values can be
//!   seen, but raise, clear and bill nothing, until a live message confirms them.
//! * A retained message that is the last live one once more says nothing new.
//! * After a restart the last message of each topic that the journal has is looked at again, as of when it came.
//! * Samples of a logger are told once, in the order of their time. What it says now goes the way of every reading; what
//!   it counted before goes to the accounts alone.
//! * A device that said that it is gone (its last will) stays offline until it says that it is there, in the words of its
//!   profile, or sends a live message; what the broker retained of it means nothing.
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
use std::time::Duration;

use guanjia_core::decode::Decoder;
use guanjia_core::profile::PollClass;
use guanjia_core::reading::{BadReason, DeviceIx, Quality};
use guanjia_core::time::Timestamp;
use guanjia_field::{DeviceHealth, FieldReport};
use tracing::{debug, warn};

use super::inbox::{Keeping, fingerprint};
use super::payload::{LeftOut, Said, all_bad, presence, read};
use crate::site::{Attachment, Device, Site, Topic};

#[cfg(test)]
mod tests;

/// The largest payload that is looked at.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Because it was sent.
    Live,
    /// Because the broker had kept it.
    Retained,
    /// Because this program had kept it, over a restart.
    Kept {
        /// When it had come first.
        received: Timestamp,
    },
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
    /// Retained messages that were read before.
    pub repeated: u64,
    /// Samples of loggers that were not taken.
    pub samples: LeftOut,
    /// Whether it brought values of a time of their own.
    pub dated: bool,
}

impl Tally {
    /// Whether all of it was known: samples that were told before.
    pub(super) fn is_nothing_new(&self, reports: &[FieldReport]) -> bool {
        reports.is_empty() && self.samples.repeated > 0
    }
}

/// What a topic means to one device.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// Which device, and which of its topics.
    State(usize, usize),
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
    keeping: Keeping,
    topics: Vec<Heard>,
    decoder: Decoder,
}

/// One topic of a device and what was heard on it.
#[derive(Debug)]
struct Heard {
    topic: Topic,
    /// The last live message, by its fingerprint, and when it came.
    last: Option<(u64, Timestamp)>,
    /// Up to when samples were told.
    told: Option<Timestamp>,
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
            let Attachment::Mqtt { broker: its, topics: own, availability } = &device.attachment else { continue };
            if *its != broker {
                continue;
            }
            let index = devices.len();
            let keeping = keeping(&site, device);
            for (place, topic) in own.iter().enumerate() {
                topics.entry(topic.name.clone()).or_default().push(Role::State(index, place));
            }
            let heard = |topic: &Topic| Heard { topic: topic.clone(), last: None, told: None };
            // A ratio or unit counts until the device falls silent, or says another one.
            let decoder = Decoder::new(Arc::clone(&device.profile), |_| Duration::MAX);
            devices.push(Known {
                ix: device.ix,
                silent: None,
                heard: Timestamp::MAX,
                keeping,
                topics: own.iter().map(heard).collect(),
                decoder,
            });
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

    /// Whether anybody listens to a topic.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Whether a message on that topic has to outlive the program.
    pub(super) fn keeping(&self, topic: &str) -> Keeping {
        let matters = self.topics.get(topic).into_iter().flatten().any(|role| match role {
            Role::State(index, _) | Role::Availability(index) => self.devices[*index].keeping == Keeping::Journal,
        });
        if matters { Keeping::Journal } else { Keeping::Nowhere }
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
                Role::Availability(index) => {
                    let at = if let Delivery::Kept { received } = delivery { received } else { now };
                    self.availability(index, payload, at, &mut reports);
                }
                Role::State(index, place) => {
                    self.state(index, place, payload, delivery, now, &mut reports, &mut tally);
                }
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
            if let Role::State(index, _) = role {
                self.silence(index, BadReason::Refused, now, &mut reports);
            }
        }
        reports
    }

    fn availability(&mut self, index: usize, payload: &[u8], now: Timestamp, reports: &mut Vec<FieldReport>) {
        match presence(self.device(index), payload) {
            Some(true) => self.answering(index, now, reports),
            Some(false) => self.silence(index, BadReason::Offline, now, reports),
            None => warn!(device = %self.device(index).id, "neither there nor gone in its profile's words, ignored"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one message with everything that decides about it")]
    fn state(
        &mut self,
        index: usize,
        place: usize,
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
        let site = Arc::clone(&self.site);
        let known = &mut self.devices[index];
        let device = &site.devices[known.ix.0 as usize];
        let heard = &mut known.topics[place];
        let print = fingerprint("", payload);
        let again = heard.last.is_some_and(|(last, at)| last == print && now.since(at) <= device.max_age);
        if delivery == Delivery::Retained && again {
            tally.repeated += 1;
            return;
        }
        let points = &heard.topic.points;
        let said = if payload.len() > PAYLOAD_BYTES_MAX {
            warn!(device = %device.id, bytes = payload.len(), "message too large, not looked at");
            tally.oversized += points.len() as u64;
            Said { latest: all_bad(device, points, BadReason::Undecodable, now), ..Said::default() }
        } else {
            let said = read(device, &mut known.decoder, points, payload, delivery, heard.told, now);
            let bad = said.latest.iter().filter(|r| r.quality == Quality::Bad(BadReason::Undecodable)).count();
            if bad > 0 || said.left_out.undated > 0 {
                debug!(device = %device.id, points = bad, undated = said.left_out.undated, "not as the profile promises");
                tally.undecodable += bad as u64;
            }
            said
        };
        heard.told = heard.told.max(said.until);
        tally.samples = said.left_out;
        let is_dated = device.profile.message.as_ref().is_some_and(|form| form.time.is_some());
        tally.dated |= is_dated && !(said.latest.is_empty() && said.past.is_empty());
        match delivery {
            Delivery::Live => heard.last = Some((print, now)),
            Delivery::Kept { received } => heard.last = Some((print, received)),
            Delivery::Retained => {}
        }
        let ix = device.ix;
        if !said.past.is_empty() {
            reports.push(FieldReport::Past { device: ix, readings: said.past });
        }
        let readings = said.latest;
        // Only a live message proves that the device is there now; one that says itself that it is old does not.
        let Some(measured) = readings.iter().map(|r| r.at).max() else { return };
        let current = now.since(measured) <= device.max_age;
        match delivery {
            Delivery::Live if current => self.answering(index, now, reports),
            Delivery::Kept { received } if now.since(received) <= device.max_age => {
                self.answering(index, received, reports)
            }
            Delivery::Live | Delivery::Retained | Delivery::Kept { .. } => {}
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
        // It may come back as another one, and what the broker retained of it has to be looked at again.
        known.decoder.forget();
        for heard in &mut known.topics {
            heard.last = None;
            // After so long a silence samples of before are too old to be taken for new ones, and a logger whose clock was
            // set back is heard again. After a short one it may repeat what is young enough to raise an alarm.
            if why == BadReason::NoAnswer {
                heard.told = None;
            }
        }
        let device = known.ix;
        reports.push(FieldReport::Health { device, health: DeviceHealth::Silent(why), at });
        let all: Vec<usize> = (0..self.device(index).profile.points.len()).collect();
        reports.push(FieldReport::Readings { device, readings: all_bad(self.device(index), &all, why, at) });
    }

    fn device(&self, index: usize) -> &Device {
        &self.site.devices[self.devices[index].ix.0 as usize]
    }
}

/// The last message of a device somebody pays by, or an alarm looks at, has to outlive the program.
fn keeping(site: &Site, device: &Device) -> Keeping {
    use guanjia_core::alarm::Condition;
    let pays = device.profile.points.iter().any(|point| point.poll != PollClass::Bulk);
    let watched =
        site.alarms.iter().any(|alarm| alarm.device == device.ix && matches!(alarm.condition, Condition::All(_)));
    if pays || watched { Keeping::Journal } else { Keeping::Nowhere }
}
