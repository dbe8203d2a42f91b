//! What the gateway says on MQTT: its own status, availability, alarms and readings.
//!
//! ```text
//!  <prefix>/<site>/status                            online | offline (last will)                    retained
//!  <prefix>/<site>/device/<device>/availability      online | offline                                retained
//!  <prefix>/<site>/alarm/<device>/<alarm>            {"state", "priority", "text", ... }             retained
//!  <prefix>/<site>/device/<device>/point/<point>     {"value", "quality", "at"}   on change, and every PERIOD
//!  <prefix>/<site>/event                             what has happened, see [`super::events`]
//!  <ha>/device/guanjia_<site>_<device>/config        see [`super::homeassistant`]                retained
//! ```
//!
//! * Retained topics are *slots*. A slot knows what ought to stand there and stays due until the broker has
//!   acknowledged exactly that. After a reconnect every slot is due again: the broker may have lost its memory.
//! * Readings are the latest or nothing: while one waits to be sent, a newer one takes its place and is counted. A new
//!   session is told all of them once.
//! * The order is by weight: status, alarms, availability, readings.
//! * Values are written with their exact digits. A value that is stale or bad is `null`, with the quality saying why.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmDef, AlarmRecord};
use guanjia_core::reading::{PointIx, Quality, Value};
use guanjia_core::time::Timestamp;
use rumqttc::QoS;
use serde_json::json;

use super::homeassistant;
use crate::live::{AlarmBoard, DeviceStatus, Latest};
use crate::site::Site;

#[cfg(test)]
mod tests;

/// How often a reading is published although it has not changed.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Bytes of a fixed header, topic length and packet id.
const PACKET_OVERHEAD: usize = 16;
/// Configurations of devices that are gone, removed in one run of the program.
const STRAYS_MAX: usize = 2_000;
/// The slot of the gateway's own status.
const STATUS_SLOT: usize = 0;

/// What an acknowledgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Slot(usize),
    Reading,
    /// A row of the timeline.
    Event(u64),
    /// Nothing anybody waits for.
    Plain,
}

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub qos: QoS,
    pub token: Token,
}

/// One retained topic.
#[derive(Debug)]
struct Slot {
    topic: String,
    /// What ought to stand there; `None` until it is known.
    wanted: Option<String>,
    /// What was handed to the connection and is not acknowledged.
    sent: Option<String>,
}

/// What was last published of a point.
#[derive(Clone, Debug)]
struct Published {
    value: Option<Value>,
    quality: Quality,
    at: Timestamp,
}

/// The sending side of one broker.
#[derive(Debug)]
pub(super) struct Northbound {
    site: Arc<Site>,
    base: String,
    slots: Vec<Slot>,
    due: BTreeSet<usize>,
    /// From an alarm's key to its slot.
    alarm_slots: HashMap<Arc<str>, usize>,
    first_device_slot: usize,
    /// How retained configurations of this site begin; those without a slot are of devices that are gone.
    strays: Option<String>,
    strays_found: usize,
    readings: HashMap<PointIx, Latest>,
    /// The order in which points became due, so that a restless one does not keep the others waiting.
    readings_due: VecDeque<PointIx>,
    published: Vec<Option<Published>>,
    packet_bytes_max: usize,
}

/// `<prefix>/<site>/status`
pub(super) fn status_topic(prefix: &str, site: &str) -> String {
    format!("{prefix}/{site}/status")
}

impl Northbound {
    /// The topics of `site` under `prefix`. Nothing larger than `packet_bytes_max` is ever handed out.
    pub(super) fn new(site: Arc<Site>, prefix: &str, discovery: Option<&str>, packet_bytes_max: usize) -> Self {
        let base = format!("{prefix}/{}", site.id);
        let slot = |topic: String| Slot { topic, wanted: None, sent: None };
        let mut slots = vec![slot(status_topic(prefix, &site.id))];
        let mut alarm_slots = HashMap::new();
        for alarm in &site.alarms {
            alarm_slots.insert(Arc::clone(&alarm.key), slots.len());
            slots.push(slot(format!("{base}/alarm/{}", alarm.key)));
        }
        let first_device_slot = slots.len();
        slots.extend(site.devices.iter().map(|d| slot(format!("{base}/device/{}/availability", d.id))));
        let configs = discovery.map_or_else(Vec::new, |ha| homeassistant::configs(&site, ha, &base));
        slots.extend(configs.into_iter().map(|(topic, config)| Slot { topic, wanted: Some(config), sent: None }));
        let strays = discovery.map(|ha| homeassistant::own_prefix(ha, &site.id));
        let published = vec![None; site.points.len()];
        Self {
            site,
            base,
            slots,
            due: BTreeSet::new(),
            alarm_slots,
            first_device_slot,
            strays,
            strays_found: 0,
            readings: HashMap::new(),
            readings_due: VecDeque::new(),
            published,
            packet_bytes_max,
        }
    }

    /// A new session: the broker may have forgotten everything, and nothing that was under way counts.
    pub(super) fn connected(&mut self) {
        for slot in &mut self.slots {
            slot.sent = None;
        }
        self.due = (0..self.slots.len()).filter(|&index| self.slots[index].wanted.is_some()).collect();
        self.published.fill(None);
        self.readings.clear();
        self.readings_due.clear();
    }

    /// A retained configuration that stands at the broker; what this site has no device for any more is removed.
    pub(super) fn found(&mut self, topic: &str, payload: &[u8]) {
        let ours = self.strays.as_ref().is_some_and(|prefix| topic.starts_with(prefix.as_str()));
        let full = self.strays_found >= STRAYS_MAX;
        if !ours || payload.is_empty() || full || self.slots.iter().any(|slot| slot.topic == topic) {
            return;
        }
        self.strays_found += 1;
        self.due.insert(self.slots.len());
        // An empty retained message removes the one that stands there.
        self.slots.push(Slot { topic: topic.to_owned(), wanted: Some(String::new()), sent: None });
    }

    /// Whether the gateway is there.
    pub(super) fn status(&mut self, word: &str) {
        self.want(STATUS_SLOT, word.to_owned());
    }

    /// The alarms as they stand; one that is not on the board is normal. The board has to be loaded.
    pub(super) fn alarms(&mut self, board: &AlarmBoard) {
        let records: HashMap<&str, &AlarmRecord> = board.alarms.iter().map(|r| (r.key.as_str(), r)).collect();
        for def in &Arc::clone(&self.site).alarms {
            let record = records.get(&*def.key).copied();
            if let Some(&slot) = self.alarm_slots.get(&def.key) {
                self.want(slot, alarm_payload(def, record));
            }
        }
    }

    /// Which devices answer. A device that was never asked is not spoken of.
    pub(super) fn devices(&mut self, devices: &[DeviceStatus]) {
        use guanjia_core::reading::BadReason;
        for (index, status) in devices.iter().enumerate().take(self.site.devices.len()) {
            if status.silent == Some(BadReason::NeverRead) {
                continue;
            }
            let word = if status.silent.is_none() { "online" } else { "offline" };
            self.want(self.first_device_slot + index, word.to_owned());
        }
    }

    /// Takes in the latest values; those that have changed, or were published a period ago, become due. Returns how
    /// many waiting readings were replaced by newer ones.
    pub(super) fn readings(&mut self, rows: &[(PointIx, Latest)], now: Timestamp) -> u64 {
        let mut replaced = 0;
        for (point, row) in rows {
            let Some(last) = self.published.get_mut(point.0 as usize) else { continue };
            let never_read = Quality::Bad(guanjia_core::reading::BadReason::NeverRead);
            if row.quality == never_read {
                continue;
            }
            let changed = last.as_ref().is_none_or(|published| {
                published.quality != row.quality
                    || published.value.as_ref() != row.value.as_ref().map(|(value, _)| value)
                    || now.since(published.at) >= PERIOD
            });
            if !changed {
                continue;
            }
            *last =
                Some(Published { value: row.value.as_ref().map(|(v, _)| v.clone()), quality: row.quality, at: now });
            match self.readings.insert(*point, row.clone()) {
                Some(_) => replaced += 1,
                None => self.readings_due.push_back(*point),
            }
        }
        replaced
    }

    /// Points that were published a period ago.
    pub(super) fn unmentioned(&self, now: Timestamp) -> Vec<PointIx> {
        let published = self.published.iter().enumerate();
        published
            .filter(|(_, last)| last.as_ref().is_some_and(|last| now.since(last.at) >= PERIOD))
            .map(|(index, _)| PointIx(index as u32))
            .collect()
    }

    /// The next retained topic that is due, the weightiest first.
    pub(super) fn next_state(&mut self) -> Option<Outgoing> {
        loop {
            let message = self.next_slot()?;
            if self.fits(&message) {
                return Some(message);
            }
            if let Token::Slot(index) = message.token {
                self.slots[index].sent = None;
                self.slots[index].wanted = None;
            }
        }
    }

    /// The next reading that is due, the oldest first.
    pub(super) fn next_reading(&mut self) -> Option<Outgoing> {
        loop {
            let message = self.take_reading()?;
            if self.fits(&message) {
                return Some(message);
            }
        }
    }

    /// A message that is too large would end the session, and the next one, and every one after it.
    fn fits(&self, message: &Outgoing) -> bool {
        let fits = message.topic.len() + message.payload.len() + PACKET_OVERHEAD <= self.packet_bytes_max;
        if !fits {
            tracing::error!(topic = %message.topic, bytes = message.payload.len(), "message too large to publish");
        }
        fits
    }

    /// The broker has the message.
    pub(super) fn acknowledged(&mut self, token: Token) {
        let Token::Slot(index) = token else { return };
        let slot = &mut self.slots[index];
        if slot.sent.take() != slot.wanted {
            self.due.insert(index);
        }
    }

    /// Whether everything that ought to stand at the broker has been acknowledged.
    pub(super) fn settled(&self) -> bool {
        self.due.is_empty() && self.slots.iter().all(|slot| slot.sent.is_none())
    }

    fn want(&mut self, index: usize, payload: String) {
        let slot = &mut self.slots[index];
        if slot.wanted.as_ref() == Some(&payload) {
            return;
        }
        slot.wanted = Some(payload);
        // While an older state is under way its acknowledgement makes the slot due again; two states under way at
        // once could be taken in either order.
        if slot.sent.is_none() {
            self.due.insert(index);
        }
    }

    fn next_slot(&mut self) -> Option<Outgoing> {
        let index = self.due.pop_first()?;
        let slot = &mut self.slots[index];
        let payload = slot.wanted.clone()?;
        slot.sent = Some(payload.clone());
        let payload = payload.into_bytes();
        let (topic, qos) = (slot.topic.clone(), QoS::AtLeastOnce);
        Some(Outgoing { topic, payload, retain: true, qos, token: Token::Slot(index) })
    }

    fn take_reading(&mut self) -> Option<Outgoing> {
        let point = self.readings_due.pop_front()?;
        let row = self.readings.remove(&point)?;
        let device = self.site.device_of(point);
        let topic = format!("{}/device/{}/point/{}", self.base, device.id, self.site.point_def(point).id);
        let payload = reading_payload(&row).into_bytes();
        Some(Outgoing { topic, payload, retain: false, qos: QoS::AtLeastOnce, token: Token::Reading })
    }
}

/// `{"value":12.50,"quality":"good","at":"..."}`; written by hand because a double would lose digits.
fn reading_payload(row: &Latest) -> String {
    let usable = matches!(row.quality, Quality::Good | Quality::Suspect);
    let (value, at) = match &row.value {
        Some((value, at)) if usable => (value_text(value), *at),
        _ => ("null".to_owned(), row.since),
    };
    let mut text = format!(r#"{{"value":{value},"quality":"{}","at":"{at}""#, row.quality.as_str());
    if let Quality::Bad(why) = row.quality {
        text.push_str(&format!(r#","why":"{}""#, why.as_str()));
    }
    text.push('}');
    text
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Bool(bit) => bit.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Float(number) => json!(number).to_string(),
        Value::Text(text) => json!(&**text).to_string(),
    }
}

fn alarm_payload(def: &AlarmDef, record: Option<&AlarmRecord>) -> String {
    let mut payload = json!({
        "state": state_word(record),
        "priority": def.priority,
        "class": def.class,
        "text": def.text,
        "action": def.action,
    });
    if let Some(record) = record {
        payload["occurrence"] = json!(record.occurrence);
        payload["raised_at"] = json!(record.raised_at.to_string());
        payload["cleared_at"] = json!(record.cleared_at.map(|at| at.to_string()));
        payload["acked_at"] = json!(record.acked_at.map(|at| at.to_string()));
        payload["acked_by"] = json!(record.acked_by);
        payload["suppressed_by"] = json!(record.suppressed_by);
        payload["incident"] = json!(record.incident);
    }
    payload.to_string()
}

/// The states of ISA-18.2, as far as the record tells them apart.
fn state_word(record: Option<&AlarmRecord>) -> &'static str {
    match record {
        Some(r) if r.active && !r.acked => "active_unacknowledged",
        Some(r) if r.active => "active_acknowledged",
        Some(r) if r.latched => "latched",
        Some(r) if !r.acked => "returned_unacknowledged",
        _ => "normal",
    }
}
