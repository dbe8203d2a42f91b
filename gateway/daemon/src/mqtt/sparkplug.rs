//! Sparkplug B: the gateway as one edge node, every device as one device (Sparkplug 3.0.0).
//!
//! ```text
//!  spBv1.0/<group>/NBIRTH/<node>            seq 0, bdSeq, Node Control/Rebirth      at the start of a session
//!  spBv1.0/<group>/DBIRTH/<node>/<device>   every metric with its type and unit     when a device answers
//!  spBv1.0/<group>/DDATA/<node>/<device>    what has changed                        after its DBIRTH
//!  spBv1.0/<group>/DDEATH/<node>/<device>                                           when a device is silent
//!  spBv1.0/<group>/NDEATH/<node>            bdSeq (last will, and before a farewell)
//!  spBv1.0/<group>/NCMD/<node>              Node Control/Rebirth is obeyed, nothing else is
//!  spBv1.0/STATE/<host>                     whether the primary host is there, if the site names one: see [`host`]
//! ```
//!
//! ```text
//!  device:  UNBORN ── answers ──► BORN ── silent ──► DEAD ── answers ──► BORN
//!             ▲ a new session, or a rebirth                 (every change of it is a message, in order)
//! ```
//!
//! * Births and data go out with QoS 0 and unretained, as the specification has it; `seq` tells a host that one is
//!   missing, and it asks for a rebirth. Alarms and what has happened are not part of Sparkplug: who needs them has
//!   topics of this project's own on a second `[mqtt.…]`.
//! * One message a device at a time: what changes while it waits goes out with it. Only the latest value is told.
//! * A whole counter is Int64, what is scaled to a fraction is Double and loses digits beyond 15; bills are not made
//!   from this.
//! * While the broker or the primary host is away nothing is kept for it, so nothing is ever told as historical: a birth says
//!   what holds now, and counters are cumulative. Who must not miss what happened has the events of the project's own topics.
//! * Nothing is commanded: DCMD is not subscribed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{PointDef, Source, WireType};
use guanjia_core::reading::{BadReason, PointIx, Quality, Value};
use guanjia_core::time::Timestamp;
use rumqttc::QoS;

use self::encode::{DataType, Metric, MetricValue};
use super::outgoing::{Outgoing, Token};
use crate::live::{DeviceStatus, Latest};
use crate::site::Site;

pub(super) mod encode;
mod host;

pub(super) use host::Host;

/// The metric by which a host asks for everything anew.
const REBIRTH: &str = "Node Control/Rebirth";
/// A rebirth of 2,000 devices is a burst; hosts that ask more often wait.
const REBIRTH_PERIOD: Duration = Duration::from_secs(1);
/// Metrics in one message: a device with more points has the rest in further DDATA.
const METRICS_MAX: usize = 500;

/// The edge node at one broker.
#[derive(Debug)]
pub(super) struct EdgeNode {
    site: Arc<Site>,
    group: String,
    node: String,
    /// The host it waits for, if there is one.
    host: Option<Host>,
    seq: u8,
    bd_seq: u8,
    born: Life,
    devices: Vec<Life>,
    /// What each device has told last.
    latest: Vec<Option<Latest>>,
    /// Points that changed since, by device.
    due: BTreeMap<usize, BTreeSet<PointIx>>,
    ready: VecDeque<Outgoing>,
    last_birth: Option<Timestamp>,
    rebirth: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Unborn,
    Born,
    Dead,
}

impl EdgeNode {
    pub(super) fn new(site: Arc<Site>, group: &str, node: &str, host: Option<Host>, now: Timestamp) -> Self {
        let (devices, latest) = (vec![Life::Unborn; site.devices.len()], vec![None; site.points.len()]);
        // Another number than the last life of the program used, whose will may still be on its way.
        let bd_seq = (now.as_millis() / 1000) as u8;
        Self {
            site,
            group: group.to_owned(),
            node: node.to_owned(),
            host,
            seq: 0,
            bd_seq,
            born: Life::Unborn,
            devices,
            latest,
            due: BTreeMap::new(),
            ready: VecDeque::new(),
            last_birth: None,
            rebirth: false,
        }
    }

    /// The last will of the next session; with it a new number begins that its birth will carry too.
    pub(super) fn will(&mut self, now: Timestamp) -> Outgoing {
        self.bd_seq = self.bd_seq.wrapping_add(1);
        self.death(now)
    }

    fn death(&self, now: Timestamp) -> Outgoing {
        let payload = encode::payload(now, None, &[self.bd_metric(now)]);
        Outgoing {
            topic: self.topic("NDEATH", None),
            payload,
            retain: false,
            qos: QoS::AtLeastOnce,
            token: Token::Plain,
        }
    }

    /// What has to be heard: commands to the node, and whether its host is there.
    pub(super) fn topics(&self) -> Vec<String> {
        let host = self.host.as_ref().map(|host| host.topic().to_owned());
        [self.topic("NCMD", None)].into_iter().chain(host).collect()
    }

    /// A message on one of those topics; false if it is none. Of commands only a rebirth is obeyed.
    pub(super) fn hear(&mut self, topic: &str, payload: &[u8]) -> bool {
        if let Some(host) = self.host.as_mut().filter(|host| host.topic() == topic) {
            host.hear(payload);
            // It came while this session waited for it.
            self.rebirth |= host.is_there() && self.born == Life::Unborn;
            return true;
        }
        let command = topic == self.topic("NCMD", None);
        self.rebirth |= command && encode::asks_for_rebirth(payload);
        command
    }

    /// Whether the host has gone: this session has to say goodbye and end, and the next one waits.
    pub(super) fn wants_to_leave(&self) -> bool {
        self.host.as_ref().is_some_and(Host::is_gone)
    }

    /// The session is gone, and what the host said in it.
    pub(super) fn lost(&mut self) {
        self.born = Life::Unborn;
        if let Some(host) = &mut self.host {
            host.forget();
        }
    }

    /// A new session, once commands can be heard: everything is born again, as soon as the host is there.
    pub(super) fn connected(&mut self, now: Timestamp) {
        self.ready.clear();
        self.due.clear();
        self.devices.fill(Life::Unborn);
        self.rebirth = false;
        if self.host.as_ref().is_some_and(|host| !host.is_there()) {
            (self.born, self.last_birth) = (Life::Unborn, None);
            return;
        }
        self.last_birth = Some(now);
        self.seq = 0;
        let rebirth = Metric {
            name: REBIRTH.to_owned(),
            at: now,
            datatype: DataType::Boolean,
            value: MetricValue::Boolean(false),
            quality: None,
            unit: None,
        };
        let metrics = [self.bd_metric(now), rebirth];
        self.born = Life::Born;
        self.push("NBIRTH", None, &metrics, now);
    }

    /// Whether a host waits for everything anew.
    pub(super) fn wants_rebirth(&self, now: Timestamp) -> bool {
        self.rebirth && self.last_birth.is_none_or(|last| now.since(last) >= REBIRTH_PERIOD)
    }

    /// What the points say now.
    pub(super) fn readings(&mut self, rows: &[(PointIx, Latest)]) {
        for (point, row) in rows {
            let Some(last) = self.latest.get_mut(point.0 as usize) else { continue };
            *last = Some(row.clone());
            let device = self.site.points[point.0 as usize].device.0 as usize;
            if self.devices[device] == Life::Born {
                self.due.entry(device).or_default().insert(*point);
            }
        }
    }

    /// Which devices answer: births and deaths.
    pub(super) fn devices(&mut self, statuses: &[DeviceStatus], now: Timestamp) {
        if self.born != Life::Born {
            return;
        }
        for (index, status) in statuses.iter().enumerate().take(self.devices.len()) {
            match (self.devices[index], status.silent) {
                (_, Some(BadReason::NeverRead)) | (Life::Born, None) | (Life::Dead | Life::Unborn, Some(_)) => {}
                (Life::Unborn | Life::Dead, None) => self.bear(index, now),
                (Life::Born, Some(_)) => {
                    self.devices[index] = Life::Dead;
                    self.due.remove(&index);
                    self.push("DDEATH", Some(index), &[], now);
                }
            }
        }
    }

    fn bear(&mut self, index: usize, now: Timestamp) {
        self.devices[index] = Life::Born;
        self.due.remove(&index);
        let device = &self.site.devices[index];
        let first = device.first_point.0;
        let points = (first..first + device.profile.points.len() as u32).map(PointIx);
        let metrics: Vec<Metric> = points.map(|point| self.metric(point, now, Detail::Birth)).collect();
        self.push("DBIRTH", Some(index), &metrics, now);
    }

    /// The next message.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Outgoing> {
        if let Some(message) = self.ready.pop_front() {
            return Some(message);
        }
        let (device, mut points) = self.due.pop_first()?;
        let later = points.iter().nth(METRICS_MAX).copied();
        if let Some(later) = later {
            self.due.insert(device, points.split_off(&later));
        }
        let metrics: Vec<Metric> = points.iter().map(|point| self.metric(*point, now, Detail::Data)).collect();
        self.push("DDATA", Some(device), &metrics, now);
        self.ready.pop_front()
    }

    /// Says goodbye: a polite end publishes no will.
    pub(super) fn farewell(&mut self, now: Timestamp) {
        self.due.clear();
        self.ready.clear();
        if self.born == Life::Born {
            self.ready.push_back(self.death(now));
        }
        self.born = Life::Dead;
    }

    /// Whether everything has been handed over.
    pub(super) fn settled(&self) -> bool {
        self.ready.is_empty()
    }

    fn push(&mut self, kind: &str, device: Option<usize>, metrics: &[Metric], now: Timestamp) {
        let payload = encode::payload(now, Some(self.seq), metrics);
        self.seq = self.seq.wrapping_add(1);
        let id = device.map(|index| &*self.site.devices[index].id);
        let topic = self.topic(kind, id);
        self.ready.push_back(Outgoing { topic, payload, retain: false, qos: QoS::AtMostOnce, token: Token::Plain });
    }

    fn topic(&self, kind: &str, device: Option<&str>) -> String {
        match device {
            None => format!("spBv1.0/{}/{kind}/{}", self.group, self.node),
            Some(device) => format!("spBv1.0/{}/{kind}/{}/{device}", self.group, self.node),
        }
    }

    fn bd_metric(&self, now: Timestamp) -> Metric {
        Metric {
            name: "bdSeq".to_owned(),
            at: now,
            datatype: DataType::Int64,
            value: MetricValue::Long(u64::from(self.bd_seq)),
            quality: None,
            unit: None,
        }
    }

    fn metric(&self, point: PointIx, now: Timestamp, detail: Detail) -> Metric {
        let def = self.site.point_def(point);
        let datatype = datatype(def);
        let row = self.latest.get(point.0 as usize).and_then(Option::as_ref);
        let quality = row.map_or(Quality::Bad(BadReason::NeverRead), |row| row.quality);
        let usable = matches!(quality, Quality::Good | Quality::Suspect);
        let (value, at) = match row {
            Some(Latest { value: Some((value, at)), .. }) if usable => (value_of(value, datatype), *at),
            Some(row) => (MetricValue::Null, row.since),
            None => (MetricValue::Null, now),
        };
        let unit = (detail == Detail::Birth && !def.unit.is_empty()).then(|| def.unit.clone());
        Metric { name: def.id.to_string(), at, datatype, value, quality: Some(quality_code(quality)), unit }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Birth,
    Data,
}

/// A metric keeps its type for good, so it comes from the profile and not from the value.
fn datatype(def: &PointDef) -> DataType {
    match &def.source {
        Source::Registers(place) => match place.wire {
            WireType::Bit => DataType::Boolean,
            wire if wire.is_text() => DataType::String,
            wire if wire.is_float() || !def.inputs.is_empty() || def.offset.exponent < 0 => DataType::Double,
            _ if def.scale.exponent >= 0 => DataType::Int64,
            _ => DataType::Double,
        },
        Source::Model { .. } | Source::Derived(_) | Source::Absent => DataType::Double,
        Source::Message { .. } if !def.unit.is_empty() || def.counter_digits.is_some() => DataType::Double,
        Source::Message { .. } if !def.codes.is_empty() => DataType::Int64,
        Source::Message { .. } => DataType::String,
    }
}

fn value_of(value: &Value, datatype: DataType) -> MetricValue {
    match datatype {
        DataType::Boolean => value.as_bool().map_or(MetricValue::Null, MetricValue::Boolean),
        DataType::String => MetricValue::Text(value.to_string()),
        DataType::Int64 | DataType::Int32 => match value {
            Value::Decimal(number) => {
                let whole = number.rescale(0).and_then(|whole| i64::try_from(whole).ok());
                whole.map_or(MetricValue::Null, |whole| MetricValue::Long(whole as u64))
            }
            Value::Bool(bit) => MetricValue::Long(u64::from(*bit)),
            Value::Float(_) | Value::Text(_) => MetricValue::Null,
        },
        DataType::Double => value.as_f64().map_or(MetricValue::Null, MetricValue::Double),
    }
}

/// Sparkplug 3.0.0, 6.4.14: the codes of the property `Quality`.
fn quality_code(quality: Quality) -> i32 {
    match quality {
        Quality::Good => 192,
        Quality::Stale => 500,
        // It has no word for a value that waits to be confirmed, and what is not good must not pass for it.
        Quality::Suspect | Quality::Bad(_) => 0,
    }
}

#[cfg(test)]
mod tests;
