//! A small MQTT 3.1.1 broker on a loopback port, for the simulated meters and the gateway.
//!
//! QoS 0 and 1, retained messages, last wills, `+` and `#`, clean and persistent sessions, takeover of a client id.
//! No QoS 2, no access control, no TLS: it stands in for the broker beside a gateway, it does not replace it.
//!
//! ```text
//!  connection task ── Packet ──► State (one lock): sessions, retained
//!        ▲                              │ route: queue of every matching session, then wake its connection
//!        └────── Packet ◄── Session::take ◄──┘
//! ```
//!
//! Everything is in memory. [`Broker::act`] with `Restart` is the power cut: sessions and retained messages are gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, SubAck, SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Error as MqttError, valid_filter, valid_topic};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::fault::BrokerAction;
use crate::lock;
use session::Session;

mod session;

/// The largest packet in either direction.
const PACKET_MAX: usize = 256 * 1024;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Persistent sessions kept for clients that are away.
const SESSIONS_MAX: usize = 256;
/// Retained messages.
const RETAINED_MAX: usize = 10_000;
/// How long a client may take to say CONNECT.
const CONNECT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State {
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, (QoS, Bytes)>,
    connections: u64,
    published: u64,
    generation: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Running,
    Frozen,
}

struct Shared {
    state: Mutex<State>,
    pace: watch::Sender<Pace>,
    stop: CancellationToken,
}

/// The broker; dropped connections and restarts can be ordered while it runs.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// What the broker holds at the moment.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerTruth {
    /// Ids of the connected clients.
    pub connected: Vec<String>,
    /// Sessions, connected or kept.
    pub sessions: usize,
    /// Retained messages by topic, as text.
    pub retained: BTreeMap<String, String>,
    /// Messages accepted since the start.
    pub published: u64,
}

/// Why a connection ended.
enum End {
    /// DISCONNECT: no will.
    Farewell,
    /// Anything else: the will is published.
    Lost,
}

impl Broker {
    pub(crate) fn start(listener: TcpListener, stop: &CancellationToken, tasks: &TaskTracker) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let state = State {
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            connections: 0,
            published: 0,
            generation: stop.child_token(),
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), pace: watch::channel(Pace::Running).0, stop: stop.clone() });
        tasks.spawn(accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        Ok(Self { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Freezes, thaws, disconnects or restarts it.
    pub fn act(&self, action: BrokerAction) {
        match action {
            BrokerAction::Freeze => {
                self.shared.pace.send_replace(Pace::Frozen);
            }
            BrokerAction::Thaw => {
                self.shared.pace.send_replace(Pace::Running);
            }
            BrokerAction::DropConnections | BrokerAction::Restart => {
                let mut state = lock(&self.shared.state);
                if action == BrokerAction::Restart {
                    state.sessions.clear();
                    state.retained.clear();
                }
                std::mem::replace(&mut state.generation, self.shared.stop.child_token()).cancel();
            }
        }
    }

    /// What it holds.
    pub fn truth(&self) -> BrokerTruth {
        let state = lock(&self.shared.state);
        let text = |payload: &Bytes| String::from_utf8_lossy(payload).into_owned();
        BrokerTruth {
            connected: state.sessions.iter().filter(|(_, s)| s.owner.is_some()).map(|(id, _)| id.clone()).collect(),
            sessions: state.sessions.len(),
            retained: state.retained.iter().map(|(topic, (_, payload))| (topic.clone(), text(payload))).collect(),
            published: state.published,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    debug!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let _ = socket.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            serve(socket, &shared).await;
            drop(permit);
        });
    }
}

/// One connection from CONNECT to its end.
async fn serve(mut socket: TcpStream, shared: &Shared) {
    let mut buffer = BytesMut::with_capacity(4096);
    let generation = lock(&shared.state).generation.clone();
    running(shared, &generation).await;
    let Ok(Some(Packet::Connect(connect))) = timeout(CONNECT_MAX, read(&mut socket, &mut buffer)).await else { return };
    let Some((owner, present, wake, taken_over)) = open_session(shared, &connect, &generation) else {
        let refusal = Packet::ConnAck(ConnAck::new(ConnectReturnCode::ServiceUnavailable, false));
        let _ = write(&mut socket, &[refusal]).await;
        return;
    };
    let accepted = Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, present));
    let mut end = End::Lost;
    if write(&mut socket, &[accepted]).await.is_ok() {
        let closing = [generation, taken_over];
        end = converse(&mut socket, &mut buffer, shared, &connect, &wake, &closing).await;
    }
    close_session(shared, &connect, owner, &end);
}

/// Registers the connection as the owner of its client's session; an older connection of the same id is closed.
fn open_session(
    shared: &Shared,
    connect: &Connect,
    generation: &CancellationToken,
) -> Option<(u64, bool, Arc<Notify>, CancellationToken)> {
    let mut state = lock(&shared.state);
    if generation.is_cancelled() || state.sessions.len() >= SESSIONS_MAX {
        return None;
    }
    state.connections += 1;
    let owner = state.connections;
    let session = state.sessions.entry(connect.client_id.clone()).or_default();
    if let Some((_, taken_over)) = session.owner.take() {
        taken_over.cancel();
    }
    if connect.clean_session {
        *session = Session::default();
    }
    let present = session.kept;
    session.kept = !connect.clean_session;
    session.reconnected();
    let taken_over = CancellationToken::new();
    session.owner = Some((owner, taken_over.clone()));
    Some((owner, present, Arc::clone(&session.wake), taken_over))
}

fn close_session(shared: &Shared, connect: &Connect, owner: u64, end: &End) {
    let mut guard = lock(&shared.state);
    let state = &mut *guard;
    if let Some(session) = state.sessions.get_mut(&connect.client_id) {
        if session.owner.as_ref().is_none_or(|(current, _)| *current != owner) {
            // Its successor speaks for the client now; a will would call a client that is there lost.
            return;
        }
        session.owner = None;
        if connect.clean_session {
            state.sessions.remove(&connect.client_id);
        }
    }
    if let (End::Lost, Some(LastWill { topic, message, qos, retain })) = (end, &connect.last_will) {
        let will = Publish { retain: *retain, ..Publish::from_bytes(topic, *qos, message.clone()) };
        state.route(will);
    }
}

async fn converse(
    socket: &mut TcpStream,
    buffer: &mut BytesMut,
    shared: &Shared,
    connect: &Connect,
    wake: &Notify,
    closing: &[CancellationToken; 2],
) -> End {
    // A client is given one and a half keep-alive periods (3.1.2.10); zero switches the check off.
    let patience = match connect.keep_alive {
        0 => Duration::from_secs(24 * 3600),
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    loop {
        running(shared, &closing[0]).await;
        let Some(due) = lock(&shared.state).sessions.get_mut(&connect.client_id).map(Session::take) else {
            return End::Lost;
        };
        if !due.is_empty() {
            tokio::select! {
                () = closing[0].cancelled() => return End::Lost,
                () = closing[1].cancelled() => return End::Lost,
                written = write(socket, &due) => if written.is_err() { return End::Lost },
            }
        }
        let packet = tokio::select! {
            () = closing[0].cancelled() => return End::Lost,
            () = closing[1].cancelled() => return End::Lost,
            () = wake.notified() => continue,
            packet = timeout(patience, read(socket, buffer)) => packet,
        };
        let Ok(Some(packet)) = packet else { return End::Lost };
        running(shared, &closing[0]).await;
        let mut state = lock(&shared.state);
        match state.accept(&connect.client_id, packet) {
            Ok(None) => {}
            Ok(Some(reply)) => state.answer(&connect.client_id, reply),
            Err(end) => return end,
        }
    }
}

impl State {
    /// Handles one packet; the reply, if it needs one.
    fn accept(&mut self, client: &str, packet: Packet) -> Result<Option<Packet>, End> {
        match packet {
            Packet::Publish(publish) => {
                if publish.qos == QoS::ExactlyOnce || !valid_topic(&publish.topic) {
                    return Err(End::Lost);
                }
                let reply = (publish.qos == QoS::AtLeastOnce).then(|| Packet::PubAck(PubAck::new(publish.pkid)));
                self.published += 1;
                self.route(publish);
                Ok(reply)
            }
            Packet::PubAck(ack) => {
                self.session(client)?.acknowledged(ack.pkid);
                Ok(None)
            }
            Packet::Subscribe(subscribe) => {
                let codes = subscribe.filters.iter().map(|filter| self.subscribe(client, &filter.path, filter.qos));
                let codes = codes.collect::<Result<Vec<_>, End>>()?;
                Ok(Some(Packet::SubAck(SubAck::new(subscribe.pkid, codes))))
            }
            Packet::Unsubscribe(unsubscribe) => {
                let session = self.session(client)?;
                session.filters.retain(|filter, _| !unsubscribe.topics.contains(filter));
                Ok(Some(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))))
            }
            Packet::PingReq => Ok(Some(Packet::PingResp)),
            Packet::Disconnect => Err(End::Farewell),
            _ => Err(End::Lost),
        }
    }

    fn session(&mut self, client: &str) -> Result<&mut Session, End> {
        self.sessions.get_mut(client).ok_or(End::Lost)
    }

    fn answer(&mut self, client: &str, reply: Packet) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.reply(reply);
        }
    }

    /// Grants at most QoS 1, and queues the retained messages that match.
    fn subscribe(&mut self, client: &str, filter: &str, qos: QoS) -> Result<SubscribeReasonCode, End> {
        if !valid_filter(filter) {
            return Ok(SubscribeReasonCode::Failure);
        }
        let granted = if qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let Self { sessions, retained, .. } = self;
        let session = sessions.get_mut(client).ok_or(End::Lost)?;
        if !session.subscribe(filter, granted) {
            return Ok(SubscribeReasonCode::Failure);
        }
        for (topic, (qos, payload)) in retained.iter().filter(|(topic, _)| session::matches(topic, filter)) {
            let qos = if *qos == QoS::AtMostOnce { QoS::AtMostOnce } else { granted };
            session.offer(Publish { retain: true, ..Publish::from_bytes(topic, qos, payload.clone()) });
        }
        Ok(SubscribeReasonCode::Success(granted))
    }

    /// Keeps what is to be kept and queues the message for every session that wants it.
    fn route(&mut self, publish: Publish) {
        if publish.retain && publish.payload.is_empty() {
            self.retained.remove(&publish.topic);
        } else if publish.retain && (self.retained.len() < RETAINED_MAX || self.retained.contains_key(&publish.topic)) {
            self.retained.insert(publish.topic.clone(), (publish.qos, publish.payload.clone()));
        }
        for session in self.sessions.values_mut() {
            if let Some(wanted) = session.wants(&publish.topic) {
                let qos = if publish.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { wanted };
                // To a subscriber that was there already, a message is live, not retained (3.3.1.3).
                session.offer(Publish::from_bytes(&publish.topic, qos, publish.payload.clone()));
            }
        }
    }
}

/// Waits while the broker is frozen.
async fn running(shared: &Shared, generation: &CancellationToken) {
    let mut pace = shared.pace.subscribe();
    tokio::select! {
        () = generation.cancelled() => {}
        // The sender lives as long as the broker.
        _ = pace.wait_for(|pace| *pace == Pace::Running) => {}
    }
}

/// The next packet; `None` when the client is gone or speaks something else.
async fn read(socket: &mut TcpStream, buffer: &mut BytesMut) -> Option<Packet> {
    loop {
        match Packet::read(buffer, PACKET_MAX) {
            Ok(packet) => return Some(packet),
            Err(MqttError::InsufficientBytes(_)) => {}
            Err(error) => {
                debug!(%error, "client speaks no valid MQTT");
                return None;
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn write(socket: &mut TcpStream, packets: &[Packet]) -> Result<(), End> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet.write(&mut bytes, PACKET_MAX).map_err(|_| End::Lost)?;
    }
    socket.write_all(&bytes).await.map_err(|_| End::Lost)
}

#[cfg(test)]
mod tests;
