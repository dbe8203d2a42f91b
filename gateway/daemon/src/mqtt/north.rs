//! What is published at one broker, in whichever form.
//!
//! | form | states | what has happened | values |
//! |---|---|---|---|
//! | [`Northbound`], topics of this project's own | retained, due until acknowledged | [`Outbox`], row by row | QoS 1, the latest |
//! | [`EdgeNode`], Sparkplug B | births and deaths | not part of it | QoS 0, numbered |

use std::sync::Arc;

use guanjia_core::reading::PointIx;
use guanjia_core::time::Timestamp;
use guanjia_store::Store;
use rumqttc::QoS;

use super::events::Outbox;
use super::homeassistant;
use super::outgoing::{Northbound, Outgoing, Token, status_topic};
use super::sparkplug::{EdgeNode, Host};
use crate::live::{AlarmBoard, DeviceStatus, Latest};
use crate::site::{Broker, Publish, Site};

/// The publishing side of one broker.
pub(super) enum North {
    Nothing,
    Topics {
        north: Box<Northbound>,
        outbox: Box<Outbox>,
        /// The row that is sent next.
        event: Option<Outgoing>,
        will: Outgoing,
        /// Where configurations of devices that are gone may stand.
        strays: Option<String>,
    },
    Sparkplug(Box<EdgeNode>),
}

impl North {
    pub(super) async fn new(site: &Arc<Site>, broker: &Broker, store: &Store, now: Timestamp) -> Self {
        match &broker.publish {
            None => North::Nothing,
            Some(Publish::Topics { prefix, home_assistant }) => {
                let ha = home_assistant.as_deref();
                let topic = format!("{prefix}/{}/event", site.id);
                let will = Outgoing {
                    topic: status_topic(prefix, &site.id),
                    payload: b"offline".to_vec(),
                    retain: true,
                    qos: QoS::AtLeastOnce,
                    token: Token::Plain,
                };
                North::Topics {
                    north: Box::new(Northbound::new(Arc::clone(site), prefix, ha, super::PACKET_BYTES_OUT_MAX)),
                    outbox: Box::new(Outbox::resume(store.clone(), Arc::clone(&broker.name), topic).await),
                    event: None,
                    will,
                    strays: ha.map(homeassistant::everything),
                }
            }
            Some(Publish::Sparkplug { group, node, primary_host }) => {
                let host = primary_host.as_deref().map(Host::new);
                North::Sparkplug(Box::new(EdgeNode::new(Arc::clone(site), group, node, host, now)))
            }
        }
    }

    pub(super) fn publishes(&self) -> bool {
        !matches!(self, North::Nothing)
    }

    /// What the broker says for a gateway that has gone without a word.
    pub(super) fn will(&mut self, now: Timestamp) -> Option<Outgoing> {
        match self {
            North::Nothing => None,
            North::Topics { will, .. } => Some(will.clone()),
            North::Sparkplug(node) => Some(node.will(now)),
        }
    }

    /// What has to be heard for publishing.
    pub(super) fn topics(&self) -> Vec<String> {
        match self {
            North::Nothing => Vec::new(),
            North::Topics { strays, .. } => strays.iter().cloned().collect(),
            North::Sparkplug(node) => node.topics(),
        }
    }

    /// A message on one of those topics; false if it is none.
    pub(super) fn message(&mut self, topic: &str, payload: &[u8]) -> bool {
        match self {
            North::Nothing => false,
            North::Topics { strays: None, .. } => false,
            North::Topics { north, strays: Some(_), .. } => {
                let config = topic.ends_with("/config");
                if config {
                    north.found(topic, payload);
                }
                config
            }
            North::Sparkplug(node) => node.hear(topic, payload),
        }
    }

    /// A new session. Afterwards every row, device and alarm has to be told again.
    pub(super) fn connected(&mut self, now: Timestamp) {
        match self {
            North::Nothing => {}
            North::Topics { north, outbox, event, .. } => {
                *event = None;
                outbox.connected();
                north.connected();
                north.status("online");
            }
            North::Sparkplug(node) => node.connected(now),
        }
    }

    pub(super) fn lost(&mut self) {
        match self {
            North::Nothing => {}
            North::Topics { outbox, event, .. } => {
                *event = None;
                outbox.lost();
            }
            North::Sparkplug(node) => node.lost(),
        }
    }

    /// Takes in values that have changed; returns how many waiting ones were replaced.
    pub(super) fn readings(&mut self, rows: &[(PointIx, Latest)], now: Timestamp) -> u64 {
        match self {
            North::Nothing => 0,
            North::Topics { north, .. } => north.readings(rows, now),
            North::Sparkplug(node) => {
                node.readings(rows);
                0
            }
        }
    }

    /// Values that have to be told again although they have not changed.
    pub(super) fn unmentioned(&self, now: Timestamp) -> Vec<PointIx> {
        match self {
            North::Topics { north, .. } => north.unmentioned(now),
            North::Nothing | North::Sparkplug(_) => Vec::new(),
        }
    }

    pub(super) fn devices(&mut self, statuses: &[DeviceStatus], now: Timestamp) {
        match self {
            North::Nothing => {}
            North::Topics { north, .. } => north.devices(statuses),
            North::Sparkplug(node) => node.devices(statuses, now),
        }
    }

    pub(super) fn alarms(&mut self, board: &AlarmBoard) {
        if let North::Topics { north, .. } = self {
            north.alarms(board);
        }
    }

    /// Whether a host waits for everything anew.
    pub(super) fn wants_rebirth(&self, now: Timestamp) -> bool {
        matches!(self, North::Sparkplug(node) if node.wants_rebirth(now))
    }

    /// Whether the session has to be ended, because the one it is for has gone.
    pub(super) fn wants_to_leave(&self) -> bool {
        matches!(self, North::Sparkplug(node) if node.wants_to_leave())
    }

    /// Waits for the next row of the timeline, while none is waiting to be sent.
    pub(super) async fn event(&mut self) {
        match self {
            North::Topics { outbox, event: event @ None, .. } => *event = Some(outbox.next().await),
            _ => std::future::pending().await,
        }
    }

    /// The next message, the weightiest first.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Outgoing> {
        match self {
            North::Nothing => None,
            North::Topics { north, event, .. } => {
                north.next_state().or_else(|| event.take()).or_else(|| north.next_reading())
            }
            North::Sparkplug(node) => node.next(now),
        }
    }

    pub(super) fn acknowledged(&mut self, token: Token) {
        let North::Topics { north, outbox, .. } = self else { return };
        match token {
            Token::Event(seq) => outbox.acknowledged(seq),
            Token::Slot(_) | Token::Reading | Token::Plain => north.acknowledged(token),
        }
    }

    /// Writes down what has been told.
    pub(super) async fn note(&mut self) {
        if let North::Topics { outbox, .. } = self {
            outbox.note().await;
        }
    }

    /// What is promised and not acknowledged.
    pub(super) fn owed(&self) -> usize {
        match self {
            North::Topics { outbox, .. } => outbox.open(),
            North::Nothing | North::Sparkplug(_) => 0,
        }
    }

    pub(super) fn farewell(&mut self, now: Timestamp) {
        match self {
            North::Nothing => {}
            North::Topics { north, .. } => north.status("offline"),
            North::Sparkplug(node) => node.farewell(now),
        }
    }

    /// Whether everything that ought to stand at the broker does.
    pub(super) fn settled(&self) -> bool {
        match self {
            North::Nothing => true,
            North::Topics { north, .. } => north.settled(),
            North::Sparkplug(node) => node.settled(),
        }
    }
}
