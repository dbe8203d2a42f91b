//! MQTT: devices that talk by themselves, and what the gateway tells others.
//!
//! * One session is one client and one event loop, used once ([`connection`]). On the first error both are dropped and a
//!   new pair is made after a jittered delay; nothing is carried over inside the library, where it could be lost or
//!   replayed. What must arrive is known here: subscriptions, open messages ([`inbox`]), retained topics ([`outgoing`])
//!   and the rows of the journal ([`events`]).
//! * The event loop is polled by a task of its own that does nothing else. It may wait for this task; this task never
//!   waits for it: publications go through a window of [`WINDOW`] unacknowledged messages, without waiting.
//! * In: QoS 1 with a session the broker keeps, under an id that never changes, so what is sent while the gateway is away
//!   waits there. A message is acknowledged after it is stored, see [`inbox`]. The topics are subscribed to again in
//!   every session, whether or not the broker says that it still knows them.
//! * Out: QoS 1, packets of at most [`PACKET_BYTES_OUT_MAX`]. What changes is published at once, but the table is asked at
//!   most every [`COALESCE`]: a point that changes faster is told as it stands then.
//! * Incoming packets are allowed to be larger than what is looked at, so that one retained monster is refused and
//!   counted instead of ending every session that meets it; beyond [`PACKET_BYTES_IN_MAX`] the session does end.
//! * A broker that stops acknowledging for 20 seconds is left and connected to again.
//! * Reports are waited for: while the hub is behind, nothing more is taken from the connection, and the broker keeps it.
//! * Nothing can be commanded by MQTT: no message of anybody moves a relay.
//!
//! ```text
//!              CONNACK: subscribe, all retained topics due again, rows read again from the last acknowledged
//!  CONNECTING ───────────────────────────────────────────────► ONLINE ──► stop: "offline", DISCONNECT
//!    ▲  │ refused, unreachable                                   │ any error, no PUBACK, AwaitAck
//!    │  ▼                                                        ▼
//!    └─ WAITING: all devices of the broker silent(line_down) ◄───┘
//! ```
//!
//! What a power cut may cost: readings that were not acknowledged, which the broker sends again, and those of QoS 0. The
//! broker publishes the last will; the next session sets every retained topic right and goes on with the journal's rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::reading::PointIx;
use guanjia_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::hub;
use crate::live::{AlarmBoard, Board, Changes, LatestTable};
use crate::metrics::{Metrics, MqttIn, MqttOut};
use crate::site::{Broker, Site};

mod connection;
mod events;
mod homeassistant;
mod inbox;
mod incoming;
mod intake;
mod json;
mod north;
mod outgoing;
mod payload;
mod queue;
mod session;
mod sparkplug;
#[cfg(test)]
mod tests;

use connection::{Client, Heard, SessionKind, Settings, Verdict};
use inbox::Inbox;
use intake::Intake;
use north::North;
#[cfg(test)]
pub(crate) use payload::rehearse;
use queue::Hub;
use session::{Flight, Subscriptions};

/// Messages handed to the connection and not acknowledged.
const WINDOW: usize = 32;
/// Messages of devices that are taken in and not acknowledged.
const UNACKNOWLEDGED_MAX: usize = 512;
/// The largest packet that is sent.
const PACKET_BYTES_OUT_MAX: usize = 64 * 1024;
/// The largest packet that is received; payloads above 64 KiB are refused without being looked at.
const PACKET_BYTES_IN_MAX: usize = 1024 * 1024;
/// The delay after the first failure; doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A session that lived this long starts the delays anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How often overdue devices and acknowledgements are looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How often changes are taken from the table at most.
const COALESCE: Duration = Duration::from_millis(5);
/// How long the farewell may take.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What a broker's task works with.
#[derive(Clone)]
pub struct Works {
    /// The site.
    pub site: Arc<Site>,
    /// The journal.
    pub store: Store,
    /// The way into the hub.
    pub messages: mpsc::Sender<hub::Message>,
    /// What is published.
    pub latest: Arc<LatestTable>,
    /// As well. The board must have been loaded from the journal before: what is not on it is published as normal.
    pub alarms: Arc<Board<AlarmBoard>>,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Runs the connection to the site's broker of that index until `stop`: readings and health of the devices attached to
/// it go to the hub; what it is configured to publish is taken from the table, the board and the journal.
pub async fn run(works: Works, broker: usize, stop: CancellationToken) {
    match works.site.brokers.get(broker).cloned() {
        Some(config) => Bridge::new(works, broker, config).await.run(stop).await,
        None => error!(broker, "no such broker in the site, its devices stay unread"),
    }
}

struct Bridge {
    works: Works,
    config: Broker,
    intake: Intake,
    inbox: Inbox,
    north: North,
    changes: Changes,
    hub: Hub,
    /// Announces that alarms have changed.
    alarms: watch::Receiver<Arc<AlarmBoard>>,
    /// Until when the table is left alone.
    next_look: Instant,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Failed,
    Stopped,
}

/// One connection at work.
struct Session {
    client: Client,
    flight: Flight,
    subscriptions: Subscriptions,
    state: State,
    /// Topics that were unsubscribed from.
    strangers: HashSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Online,
}

impl Bridge {
    async fn new(works: Works, broker: usize, config: Broker) -> Self {
        let now = guanjia_field::now();
        let name = Arc::clone(&config.name);
        let north = North::new(&works.site, &config, &works.store, now).await;
        let mut bridge = Self {
            intake: Intake::new(Arc::clone(&works.site), broker),
            inbox: Inbox::new(works.store.clone(), name, Arc::clone(&works.metrics)),
            north,
            changes: works.latest.changes(),
            hub: Hub::new(works.messages.clone()),
            alarms: works.alarms.watch(),
            next_look: Instant::now(),
            works,
            config,
        };
        bridge.resume().await;
        bridge
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut backoff = BACKOFF_FIRST;
        self.works.metrics.mqtt_connected(&self.config.name, false);
        loop {
            let begin = Instant::now();
            let end = self.session(&stop).await;
            self.works.metrics.mqtt_connected(&self.config.name, false);
            if end == End::Stopped {
                return;
            }
            self.inbox.lost();
            self.north.lost();
            let lost = self.intake.lost(guanjia_field::now());
            self.hub.send_all(lost);
            if begin.elapsed() >= STABLE_AFTER {
                backoff = BACKOFF_FIRST;
            }
            if self.wait(backoff.mul_f64(0.75 + 0.5 * fastrand::f64()), &stop).await == End::Stopped {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits between two sessions; what the hub is owed goes on its way meanwhile.
    async fn wait(&mut self, pause: Duration, stop: &CancellationToken) -> End {
        let wake = Instant::now() + pause;
        loop {
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = tokio::time::sleep_until(wake) => return End::Failed,
                sent = self.hub.send_next(), if self.hub.is_behind() => if sent.is_err() { return End::Stopped },
                Some(number) = self.inbox.stored() => self.inbox.settle(number),
            }
        }
    }

    /// One session, from the first byte to the first error.
    async fn session(&mut self, stop: &CancellationToken) -> End {
        let will = self.north.will(guanjia_field::now());
        let mut topics = self.intake.topics();
        let session = if topics.is_empty() { SessionKind::Clean } else { SessionKind::Kept };
        topics.extend(self.north.topics());
        let id = format!("guanjia-{}-{}", self.works.site.id, self.config.name);
        let (client, _poller, mut events) = connection::open(Settings { id, broker: &self.config, session, will });
        let mut session = Session {
            client,
            flight: Flight::default(),
            subscriptions: Subscriptions::new(topics),
            state: State::Connecting,
            strangers: HashSet::new(),
        };
        let mut look = tokio::time::interval(LOOK_PERIOD);
        loop {
            let online = session.state == State::Online;
            let takes_more = self.hub.has_room() && self.inbox.has_room();
            tokio::select! {
                () = stop.cancelled() => {
                    if online {
                        self.farewell(session, &mut events).await;
                    }
                    return End::Stopped;
                }
                heard = events.recv(), if takes_more => match heard {
                    Some(Heard::Failed(why)) => {
                        warn!(broker = %self.config.name, why, "no session with the broker");
                        return End::Failed;
                    }
                    Some(heard) => self.hear(heard, &mut session),
                    None => return End::Failed,
                },
                sent = self.hub.send_next(), if self.hub.is_behind() => if sent.is_err() { return End::Failed },
                Some(number) = self.inbox.stored() => self.inbox.settle(number),
                () = self.north.event(), if online => {}
                Ok(()) = self.alarms.changed(), if online && self.north.publishes() => self.take_board(),
                () = changed(&self.changes, self.next_look), if online && self.north.publishes() => self.take_changes(),
                _ = look.tick() => {
                    if online {
                        self.look();
                    }
                    self.north.note().await;
                    let owed = session.flight.len().max(self.north.owed());
                    self.works.metrics.mqtt_open(&self.config.name, self.inbox.open(), owed);
                    if session.flight.overdue() || session.subscriptions.overdue() {
                        warn!(broker = %self.config.name, "the broker does not acknowledge, the session is ended");
                        return End::Failed;
                    }
                }
            }
            if session.state == State::Online && self.north.wants_to_leave() {
                info!(broker = %self.config.name, "the primary host has gone, the session is ended and begun anew");
                self.farewell(session, &mut events).await;
                return End::Failed;
            }
            if session.state == State::Online {
                let acknowledged = self.inbox.acknowledge(&session.client);
                self.works.metrics.mqtt_in(&self.config.name, MqttIn::Acknowledged, acknowledged);
                session.subscriptions.send_next(&session.client);
                self.publish_due(&mut session);
            }
        }
    }

    fn hear(&mut self, heard: Heard, session: &mut Session) {
        match heard {
            Heard::Connected { resumed } => {
                session.state = State::Online;
                self.connected(resumed);
            }
            Heard::Message(message) => self.message(&message, session),
            Heard::Subscribed(answers) => {
                for topic in session.subscriptions.acknowledged(&answers) {
                    error!(broker = %self.config.name, topic, "the broker refuses a subscription, allow it there");
                    let refused = self.intake.refused(&topic, guanjia_field::now());
                    self.hub.send_all(refused);
                }
            }
            Heard::Handed(packet_id) => {
                if let Some(token) = session.flight.handed(packet_id) {
                    self.north.acknowledged(token);
                }
            }
            Heard::Acknowledged(packet_id, verdict) => {
                let Some(token) = session.flight.acknowledged(packet_id) else { return };
                let outcome = match verdict {
                    Verdict::Taken => MqttOut::Acknowledged,
                    // It will refuse the same again, so it is not asked again; the log and the counter say so.
                    Verdict::Refused => {
                        error!(broker = %self.config.name, ?token, "the broker refuses a message, allow it there");
                        MqttOut::Refused
                    }
                };
                self.works.metrics.mqtt_out(&self.config.name, outcome, 1);
                self.north.acknowledged(token);
            }
            // The session's own loop ends by it.
            Heard::Failed(_) => {}
        }
    }

    fn connected(&mut self, resumed: bool) {
        info!(broker = %self.config.name, resumed, "session with the broker");
        self.works.metrics.mqtt_connected(&self.config.name, true);
        self.works.metrics.mqtt_session(&self.config.name, resumed);
        let now = guanjia_field::now();
        if !resumed {
            self.inbox.forgotten();
        }
        self.intake.connected(now);
        self.tell_everything();
    }

    /// Everything is to be said anew: the broker may have forgotten it, and nothing that was under way counts.
    fn tell_everything(&mut self) {
        if !self.north.publishes() {
            return;
        }
        let now = guanjia_field::now();
        self.north.connected(now);
        let all: Vec<PointIx> = (0..self.works.site.points.len() as u32).map(PointIx).collect();
        self.take_rows(&all);
        self.take_board();
        self.north.devices(&self.works.latest.devices(), now);
    }

    /// Looks at what no change announces: devices that have fallen silent, values that were not told for long.
    fn look(&mut self) {
        let now = guanjia_field::now();
        let overdue = self.intake.overdue(now);
        self.hub.send_all(overdue);
        if !self.north.publishes() {
            return;
        }
        if self.north.wants_rebirth(now) {
            info!(broker = %self.config.name, "a host asks for everything anew");
            self.tell_everything();
        }
        let unmentioned = self.north.unmentioned(now);
        self.take_rows(&unmentioned);
    }

    fn take_board(&mut self) {
        let board = Arc::clone(&self.alarms.borrow_and_update());
        self.north.alarms(&board);
    }

    fn take_changes(&mut self) {
        self.next_look = Instant::now() + COALESCE;
        let (points, devices) = self.changes.take();
        if devices {
            self.north.devices(&self.works.latest.devices(), guanjia_field::now());
        }
        self.take_rows(&points);
    }

    fn take_rows(&mut self, points: &[PointIx]) {
        if points.is_empty() {
            return;
        }
        let replaced = self.north.readings(&self.works.latest.rows(points), guanjia_field::now());
        if replaced > 0 {
            debug!(broker = %self.config.name, replaced, "readings replaced by newer ones before they were published");
            self.works.metrics.ingest_dropped("publish_replaced", replaced);
            self.works.metrics.mqtt_out(&self.config.name, MqttOut::Replaced, replaced);
        }
    }

    fn publish_due(&mut self, session: &mut Session) {
        let now = guanjia_field::now();
        while session.flight.len() < WINDOW {
            let Some(message) = self.north.next(now) else { return };
            let token = message.token;
            if let Err(failure) = session.client.publish(message) {
                // The window is smaller than the connection's queue, so the connection is gone; its end is on its way.
                debug!(%failure, "message not handed over");
                return;
            }
            self.works.metrics.mqtt_out(&self.config.name, MqttOut::Sent, 1);
            session.flight.submitted(token);
        }
    }

    /// Says goodbye, so that "offline" is known at once and not by the last will.
    async fn farewell(&mut self, mut session: Session, events: &mut mpsc::Receiver<Heard>) {
        self.north.farewell(guanjia_field::now());
        let deadline = Instant::now() + FAREWELL_MAX;
        self.publish_due(&mut session);
        while !self.north.settled() || session.flight.len() > 0 {
            match tokio::time::timeout_at(deadline, events.recv()).await {
                // Devices' messages are no longer taken in; they stay unacknowledged, and the broker keeps them.
                Ok(Some(Heard::Message(_))) => {}
                Ok(Some(Heard::Failed(_)) | None) | Err(_) => break,
                Ok(Some(heard)) => self.hear(heard, &mut session),
            }
            self.publish_due(&mut session);
        }
        self.north.note().await;
        if session.client.disconnect().is_ok() {
            // The connection ends its events once the packet is out.
            while tokio::time::timeout_at(deadline, events.recv()).await.is_ok_and(|event| event.is_some()) {}
        }
    }
}

/// Waits for a change in the table, but lets it rest until `not_before`.
async fn changed(changes: &Changes, not_before: Instant) {
    tokio::time::sleep_until(not_before).await;
    changes.changed().await;
}
