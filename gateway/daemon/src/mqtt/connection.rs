//! One connection with a broker, in either version of the protocol.
//!
//! The library has two copies of itself, one for MQTT 3.1.1 and one for MQTT 5. This file is the only one that names
//! either; everything else sees a [`Client`] to ask and [`Heard`] to listen to. A connection is used once: on the
//! first error both halves are dropped, and with them all the library remembers.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use guanjia_field::link::tls::revocation::refusal;
use rumqttc::v5::mqttbytes::QoS as QosV5;
use rumqttc::{AsyncClient, MqttOptions, Outgoing as Sent, QoS, TlsConfiguration, Transport, v5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::outgoing::Outgoing;
use crate::site::{Broker, MqttVersion};

/// Requests the connection holds: the window, acknowledgements, a subscription and a disconnect.
const REQUESTS_MAX: usize = super::WINDOW + super::UNACKNOWLEDGED_MAX + 8;
/// Events on their way from the connection to the broker's task.
const EVENTS_MAX: usize = 256;
/// PINGREQ period; a dead line is noticed after at most two of them.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What the library may have under way; more than is ever handed to it, because its own limit can stall it.
const INFLIGHT_MAX: u16 = 100;
/// How long an MQTT 5 broker keeps the session of a gateway that is away. A 3.1.1 broker has its own setting.
const SESSION_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What a session is made with.
pub(super) struct Settings<'a> {
    pub id: String,
    pub broker: &'a Broker,
    pub session: SessionKind,
    pub will: Option<Outgoing>,
}

/// Whether the broker keeps what this client has not acknowledged while it is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    Kept,
    Clean,
}

/// What the connection says that matters here.
#[derive(Debug)]
pub(super) enum Heard {
    /// The session stands; whether the broker still had it.
    Connected {
        resumed: bool,
    },
    Message(Message),
    /// One answer per topic asked for.
    Subscribed(Vec<Granted>),
    /// A publication got this packet id (0 without acknowledgement); in the order of submission.
    Handed(u16),
    /// The broker has taken a publication, or says that it will not.
    Acknowledged(u16, Verdict),
    Failed(String),
}

/// A message somebody published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
    /// The broker may have sent it before.
    pub duplicate: bool,
    /// What it is acknowledged by; 0 if it need not be.
    pub packet_id: u16,
}

/// The answer to one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Yes,
    No,
}

/// The answer to one publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    Refused,
}

/// The asking half.
pub(super) enum Client {
    V4(AsyncClient),
    V5(v5::AsyncClient),
}

/// The connection has no place for a request, or is gone.
#[derive(Debug, thiserror::Error)]
#[error("the connection takes no more requests")]
pub(super) struct NoPlace;

impl Client {
    /// Hands a publication over.
    pub(super) fn publish(&self, message: Outgoing) -> Result<(), NoPlace> {
        let Outgoing { topic, payload, retain, qos, .. } = message;
        match self {
            Client::V4(client) => client.try_publish(topic, qos, retain, payload).map_err(|_| NoPlace),
            Client::V5(client) => client.try_publish(topic, qos_v5(qos), retain, payload).map_err(|_| NoPlace),
        }
    }

    /// Acknowledges a message of this session.
    pub(super) fn acknowledge(&self, packet_id: u16) -> Result<(), NoPlace> {
        match self {
            Client::V4(client) => {
                let mut publish = rumqttc::Publish::new("", QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet_id;
                client.try_ack(&publish).map_err(|_| NoPlace)
            }
            Client::V5(client) => {
                let mut publish = v5::mqttbytes::v5::Publish::new("", QosV5::AtLeastOnce, Bytes::new(), None);
                publish.pkid = packet_id;
                client.try_ack(&publish).map_err(|_| NoPlace)
            }
        }
    }

    /// Asks for topics, all with QoS 1; answered in this order.
    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), NoPlace> {
        match self {
            Client::V4(client) => {
                let filters = topics.iter().map(|t| rumqttc::SubscribeFilter::new(t.clone(), QoS::AtLeastOnce));
                client.try_subscribe_many(filters).map_err(|_| NoPlace)
            }
            Client::V5(client) => {
                let filters = topics.iter().map(|t| v5::mqttbytes::v5::Filter::new(t.clone(), QosV5::AtLeastOnce));
                client.try_subscribe_many(filters).map_err(|_| NoPlace)
            }
        }
    }

    /// Takes a subscription back.
    pub(super) fn unsubscribe(&self, topic: &str) -> Result<(), NoPlace> {
        match self {
            Client::V4(client) => client.try_unsubscribe(topic).map_err(|_| NoPlace),
            Client::V5(client) => client.try_unsubscribe(topic).map_err(|_| NoPlace),
        }
    }

    /// Ends the session politely.
    pub(super) fn disconnect(&self) -> Result<(), NoPlace> {
        match self {
            Client::V4(client) => client.try_disconnect().map_err(|_| NoPlace),
            Client::V5(client) => client.try_disconnect().map_err(|_| NoPlace),
        }
    }
}

/// Ends the polling task, and with it the connection, when the session is dropped.
pub(super) struct Poller(JoinHandle<()>);

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a connection. The event loop is polled by a task of its own, and nothing else is done there: an abandoned
/// poll could lose an acknowledgement.
pub(super) fn open(settings: Settings<'_>) -> (Client, Poller, mpsc::Receiver<Heard>) {
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let (client, task) = match settings.broker.version {
        MqttVersion::V311 => {
            let (client, event_loop) = AsyncClient::new(options_v4(settings), REQUESTS_MAX);
            (Client::V4(client), tokio::spawn(poll_v4(event_loop, events_in)))
        }
        MqttVersion::V5 => {
            let (client, event_loop) = v5::AsyncClient::new(options_v5(settings), REQUESTS_MAX);
            (Client::V5(client), tokio::spawn(poll_v5(event_loop, events_in)))
        }
    };
    (client, Poller(task), events)
}

fn transport(broker: &Broker) -> Transport {
    match &broker.tls {
        None => Transport::Tcp,
        Some(config) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(config))),
    }
}

fn options_v4(settings: Settings<'_>) -> MqttOptions {
    let broker = settings.broker;
    let mut options = MqttOptions::new(settings.id, broker.host.clone(), broker.port);
    options
        .set_transport(transport(broker))
        .set_clean_session(settings.session == SessionKind::Clean)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_max_packet_size(super::PACKET_BYTES_IN_MAX, super::PACKET_BYTES_OUT_MAX)
        .set_inflight(INFLIGHT_MAX);
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user.clone(), password.expose().to_owned());
    }
    if let Some(will) = settings.will {
        options.set_last_will(rumqttc::LastWill::new(will.topic, will.payload, will.qos, will.retain));
    }
    options
}

fn options_v5(settings: Settings<'_>) -> v5::MqttOptions {
    let broker = settings.broker;
    let mut options = v5::MqttOptions::new(settings.id, broker.host.clone(), broker.port);
    let kept = (settings.session == SessionKind::Kept).then_some(SESSION_KEPT.as_secs() as u32);
    options
        .set_transport(transport(broker))
        .set_clean_start(settings.session == SessionKind::Clean)
        .set_session_expiry_interval(kept)
        .set_receive_maximum(Some(super::UNACKNOWLEDGED_MAX as u16))
        .set_max_packet_size(Some(super::PACKET_BYTES_IN_MAX as u32))
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user.clone(), password.expose().to_owned());
    }
    if let Some(will) = settings.will {
        let will = v5::mqttbytes::v5::LastWill::new(will.topic, will.payload, qos_v5(will.qos), will.retain, None);
        options.set_last_will(will);
    }
    options
}

fn qos_v5(qos: QoS) -> QosV5 {
    match qos {
        QoS::AtMostOnce => QosV5::AtMostOnce,
        QoS::AtLeastOnce => QosV5::AtLeastOnce,
        QoS::ExactlyOnce => QosV5::ExactlyOnce,
    }
}

async fn poll_v4(mut event_loop: rumqttc::EventLoop, events: mpsc::Sender<Heard>) {
    use rumqttc::{Event, Packet, SubscribeReasonCode};
    loop {
        let heard = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => Heard::Connected { resumed: ack.session_present },
            Ok(Event::Incoming(Packet::Publish(publish))) => Heard::Message(Message {
                topic: publish.topic,
                payload: publish.payload,
                retain: publish.retain,
                duplicate: publish.dup,
                packet_id: publish.pkid,
            }),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Failure);
                Heard::Subscribed(ack.return_codes.iter().map(|c| granted(!refused(c))).collect())
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => Heard::Acknowledged(ack.pkid, Verdict::Taken),
            Ok(Event::Outgoing(Sent::Publish(packet_id))) => Heard::Handed(packet_id),
            Ok(Event::Outgoing(Sent::AwaitAck(_))) => Heard::Failed(OUT_OF_ORDER.to_owned()),
            Ok(_) => continue,
            Err(failure) => Heard::Failed(ended(&failure)),
        };
        if !pass_on(heard, &events).await {
            return;
        }
    }
}

async fn poll_v5(mut event_loop: v5::EventLoop, events: mpsc::Sender<Heard>) {
    use v5::Event;
    use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    loop {
        let heard = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => Heard::Connected { resumed: ack.session_present },
            Ok(Event::Incoming(Packet::Publish(publish))) => match std::str::from_utf8(&publish.topic) {
                Ok(topic) => Heard::Message(Message {
                    topic: topic.to_owned(),
                    payload: publish.payload,
                    retain: publish.retain,
                    duplicate: publish.dup,
                    packet_id: publish.pkid,
                }),
                Err(_) => Heard::Failed("a topic that is no text".to_owned()),
            },
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let taken = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                Heard::Subscribed(ack.return_codes.iter().map(|c| granted(taken(c))).collect())
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                Heard::Acknowledged(ack.pkid, if taken { Verdict::Taken } else { Verdict::Refused })
            }
            Ok(Event::Incoming(Packet::Disconnect(farewell))) => {
                Heard::Failed(format!("the broker ends the session: {:?}", farewell.reason_code))
            }
            Ok(Event::Outgoing(Sent::Publish(packet_id))) => Heard::Handed(packet_id),
            Ok(Event::Outgoing(Sent::AwaitAck(_))) => Heard::Failed(OUT_OF_ORDER.to_owned()),
            Ok(_) => continue,
            Err(failure) => Heard::Failed(ended(&failure)),
        };
        if !pass_on(heard, &events).await {
            return;
        }
    }
}

/// Why the connection ended, and what to do where that is known.
fn ended(failure: &(dyn Error + 'static)) -> String {
    refusal(failure).map_or_else(|| failure.to_string(), |why| format!("the broker is not believed: {why}"))
}

/// The library stalls for ever after this; a new connection does not.
const OUT_OF_ORDER: &str = "acknowledgements out of order";

fn granted(yes: bool) -> Granted {
    if yes { Granted::Yes } else { Granted::No }
}

/// Whether the connection goes on.
async fn pass_on(heard: Heard, events: &mpsc::Sender<Heard>) -> bool {
    let last = matches!(heard, Heard::Failed(_));
    events.send(heard).await.is_ok() && !last
}

#[cfg(test)]
mod tests;
