//! One session with a broker: what it says, what is under way, what was subscribed to.
//!
//! Everything here lives as long as one connection and is forgotten with it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Outgoing as Sent, Packet, Publish, QoS};
use rumqttc::{SubscribeFilter, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

use super::outgoing::Token;

/// Topics in one SUBSCRIBE.
const TOPICS_PER_SUBSCRIBE: usize = 50;
/// How long a message or subscription may go unacknowledged.
const ACK_MAX: Duration = Duration::from_secs(20);

/// What the connection says that matters here.
pub(super) enum Heard {
    Connected,
    Message(Publish),
    Subscribed(Vec<SubscribeReasonCode>),
    /// A publication got this packet id; in the order of submission.
    Handed(u16),
    Acknowledged(u16),
    Failed(String),
}

/// Polls a connection until its first error, and nothing else: an abandoned poll could lose an acknowledgement.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Heard>) {
    loop {
        let heard = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Heard::Connected,
            Ok(Event::Incoming(Packet::Publish(publish))) => Heard::Message(publish),
            Ok(Event::Incoming(Packet::SubAck(ack))) => Heard::Subscribed(ack.return_codes),
            Ok(Event::Incoming(Packet::PubAck(ack))) => Heard::Acknowledged(ack.pkid),
            Ok(Event::Outgoing(Sent::Publish(packet_id))) => Heard::Handed(packet_id),
            Ok(Event::Outgoing(Sent::AwaitAck(_))) => Heard::Failed("acknowledgements out of order".to_owned()),
            Ok(_) => continue,
            Err(failure) => Heard::Failed(failure.to_string()),
        };
        let last = matches!(heard, Heard::Failed(_));
        if events.send(heard).await.is_err() || last {
            return;
        }
    }
}

/// Ends the polling task, and with it the connection, when the session is dropped.
pub(super) struct Poller(JoinHandle<()>);

impl Poller {
    pub(super) fn start(event_loop: EventLoop, events: mpsc::Sender<Heard>) -> Self {
        Self(tokio::spawn(poll(event_loop, events)))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publications under way.
#[derive(Default)]
pub(super) struct Flight {
    /// Given to the client, without a packet id yet; first in, first out.
    submitted: VecDeque<(Token, Instant)>,
    /// On the wire, by packet id.
    handed: HashMap<u16, (Token, Instant)>,
}

impl Flight {
    pub(super) fn len(&self) -> usize {
        self.submitted.len() + self.handed.len()
    }

    pub(super) fn submitted(&mut self, token: Token) {
        self.submitted.push_back((token, Instant::now()));
    }

    pub(super) fn handed(&mut self, packet_id: u16) {
        if let Some(entry) = self.submitted.pop_front() {
            self.handed.insert(packet_id, entry);
        }
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Token> {
        self.handed.remove(&packet_id).map(|(token, _)| token)
    }

    pub(super) fn overdue(&self) -> bool {
        let late = |entry: &(Token, Instant)| entry.1.elapsed() > ACK_MAX;
        self.submitted.front().is_some_and(late) || self.handed.values().any(late)
    }
}

/// Subscriptions of one session, sent one packet at a time so that each answer is known to belong to its topics.
pub(super) struct Subscriptions {
    waiting: VecDeque<Vec<String>>,
    asked: Option<(Vec<String>, Instant)>,
}

impl Subscriptions {
    pub(super) fn new(topics: Vec<String>) -> Self {
        Self { waiting: topics.chunks(TOPICS_PER_SUBSCRIBE).map(<[String]>::to_vec).collect(), asked: None }
    }

    pub(super) fn send_next(&mut self, client: &AsyncClient) {
        if self.asked.is_some() {
            return;
        }
        let Some(topics) = self.waiting.pop_front() else { return };
        let filters = topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
        match client.try_subscribe_many(filters) {
            Ok(()) => self.asked = Some((topics, Instant::now())),
            Err(failure) => {
                debug!(%failure, "subscription not handed over");
                self.waiting.push_front(topics);
            }
        }
    }

    /// The topics the broker refused.
    pub(super) fn acknowledged(&mut self, codes: &[SubscribeReasonCode]) -> Vec<String> {
        let Some((topics, _)) = self.asked.take() else { return Vec::new() };
        topics
            .into_iter()
            .zip(codes)
            .filter(|(_, code)| matches!(code, SubscribeReasonCode::Failure))
            .map(|(topic, _)| topic)
            .collect()
    }

    pub(super) fn overdue(&self) -> bool {
        self.asked.as_ref().is_some_and(|(_, since)| since.elapsed() > ACK_MAX)
    }
}
