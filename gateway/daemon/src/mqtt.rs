//! MQTT: devices that talk by themselves, and what the gateway tells others.
//!
//! * One session is one client and one event loop, used once. On the first error both are dropped and a new pair is
//!   made after a jittered delay; nothing is carried over inside the library, where it could be lost or replayed.
//!   What must arrive is known here: subscriptions, and the retained topics of [`outgoing`].
//! * The event loop is polled by a task of its own that does nothing else. It may wait for this task; this task never
//!   waits for it: publications go through a window of [`WINDOW`] unacknowledged messages with `try_publish`.
//! * QoS 1 both ways, clean sessions, packets of at most [`PACKET_BYTES_OUT_MAX`] out. Incoming packets are allowed to
//!   be larger than what is looked at, so that one retained monster is refused and counted instead of ending every
//!   session that meets it; beyond [`PACKET_BYTES_IN_MAX`] the session does end.
//! * A broker that stops acknowledging for [`ACK_MAX`] is left and connected to again.
//! * Reports go into the lines' queue without waiting. Readings that find it full are dropped and counted; changes of
//!   health are kept, the latest of each device, and offered again before anything newer of that device.
//!
//! ```text
//!              CONNACK: subscribe, all retained topics due again
//!  CONNECTING ───────────────────────────────────────────────► ONLINE ──► stop: "offline", DISCONNECT
//!    ▲  │ refused, unreachable                                   │ any error, no PUBACK, AwaitAck
//!    │  ▼                                                        ▼
//!    └─ WAITING: all devices of the broker silent(line_down) ◄───┘
//! ```
//!
//! What a power cut may cost: readings in flight. The broker publishes the last will; the next session sets every
//! retained topic right.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::reading::DeviceIx;
use guanjia_field::FieldReport;
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, Publish, QoS, SubscribeFilter};
use rumqttc::{Outgoing as Sent, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::live::{AlarmBoard, Board, LatestTable};
use crate::metrics::Metrics;
use crate::site::{Broker, Site};

mod intake;
mod json;
mod outgoing;
#[cfg(test)]
mod tests;

use intake::{Delivery, Intake};
use outgoing::{Northbound, Token, status_topic};

/// Messages handed to the connection and not acknowledged.
const WINDOW: usize = 32;
/// Requests the connection holds: the window, a subscription and a disconnect.
const REQUESTS_MAX: usize = WINDOW + 8;
/// Events on their way from the connection to this task.
const EVENTS_MAX: usize = 256;
/// The largest packet that is sent.
const PACKET_BYTES_OUT_MAX: usize = 64 * 1024;
/// The largest packet that is received; payloads above 64 KiB are refused without being looked at.
const PACKET_BYTES_IN_MAX: usize = 1024 * 1024;
/// Topics in one SUBSCRIBE.
const TOPICS_PER_SUBSCRIBE: usize = 50;
/// PINGREQ period; a dead line is noticed after at most two of them.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a message or subscription may go unacknowledged.
const ACK_MAX: Duration = Duration::from_secs(20);
/// The delay after the first failure; doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A session that lived this long starts the delays anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How often values, devices and alarms are looked at for changes.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long the farewell may take.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Runs the connection to the site's broker of that index until `stop`: readings and health of the devices attached to
/// it go into `reports`; what it is configured to publish is taken from `latest` and `alarms`. The board must
/// have been loaded from the journal before: what is not on it is published as normal.
pub async fn run(
    site: Arc<Site>,
    broker: usize,
    reports: mpsc::Sender<FieldReport>,
    latest: Arc<LatestTable>,
    alarms: Arc<Board<AlarmBoard>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    match Bridge::new(site, broker, Views { latest, alarms }, reports, metrics) {
        Some(bridge) => bridge.run(stop).await,
        None => error!(broker, "no such broker in the site, its devices stay unread"),
    }
}

/// What is published.
struct Views {
    latest: Arc<LatestTable>,
    alarms: Arc<Board<AlarmBoard>>,
}

struct Bridge {
    site: Arc<Site>,
    config: Broker,
    intake: Intake,
    north: Option<Northbound>,
    reports: Reports,
    views: Views,
    /// The alarm board as it was last taken over.
    board: Option<Arc<AlarmBoard>>,
    metrics: Arc<Metrics>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Failed,
    Stopped,
}

impl Bridge {
    fn new(
        site: Arc<Site>,
        broker: usize,
        views: Views,
        reports: mpsc::Sender<FieldReport>,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        let config = site.brokers.get(broker)?.clone();
        let north = config.publish.as_ref().map(|p| Northbound::new(Arc::clone(&site), p, PACKET_BYTES_OUT_MAX));
        Some(Self {
            intake: Intake::new(Arc::clone(&site), broker),
            north,
            reports: Reports { queue: reports, kept: VecDeque::new() },
            site,
            config,
            views,
            board: None,
            metrics,
        })
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut backoff = BACKOFF_FIRST;
        self.metrics.mqtt_connected(&self.config.name, false);
        loop {
            let begin = Instant::now();
            let end = self.session(&stop).await;
            self.metrics.mqtt_connected(&self.config.name, false);
            if end == End::Stopped {
                return;
            }
            let lost = self.intake.lost(guanjia_field::now());
            self.deliver(lost);
            if begin.elapsed() >= STABLE_AFTER {
                backoff = BACKOFF_FIRST;
            }
            let wake = Instant::now() + backoff.mul_f64(0.75 + 0.5 * fastrand::f64());
            while Instant::now() < wake {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep_until(wake.min(Instant::now() + LOOK_PERIOD)) => self.reports.offer_kept(),
                }
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One session, from the first byte to the first error.
    async fn session(&mut self, stop: &CancellationToken) -> End {
        let (client, event_loop) = AsyncClient::new(self.options(), REQUESTS_MAX);
        let (events_in, mut events) = mpsc::channel(EVENTS_MAX);
        let _poller = Poller(tokio::spawn(poll(event_loop, events_in)));
        let mut flight = Flight::default();
        let mut subscriptions = Subscriptions::new(self.intake.topics());
        let mut look = tokio::time::interval(LOOK_PERIOD);
        let mut online = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    if online {
                        self.farewell(&client, &mut events, &mut flight).await;
                    }
                    return End::Stopped;
                }
                event = events.recv() => match event {
                    Some(Heard::Connected) => {
                        online = true;
                        self.connected();
                    }
                    Some(Heard::Message(publish)) => self.message(&publish),
                    Some(Heard::Subscribed(codes)) => {
                        for topic in subscriptions.acknowledged(&codes) {
                            error!(broker = %self.config.name, topic, "the broker refuses a subscription, allow it there");
                            let refused = self.intake.refused(&topic, guanjia_field::now());
                            self.deliver(refused);
                        }
                    }
                    Some(Heard::Handed(packet_id)) => flight.handed(packet_id),
                    Some(Heard::Acknowledged(packet_id)) => {
                        if let (Some(token), Some(north)) = (flight.acknowledged(packet_id), &mut self.north) {
                            north.acknowledged(token);
                        }
                    }
                    Some(Heard::Failed(why)) => {
                        warn!(broker = %self.config.name, why, "no session with the broker");
                        return End::Failed;
                    }
                    None => return End::Failed,
                },
                _ = look.tick() => {
                    self.reports.offer_kept();
                    if online {
                        self.look();
                    }
                    if flight.overdue() || subscriptions.overdue() {
                        warn!(broker = %self.config.name, "the broker does not acknowledge, the session is ended");
                        return End::Failed;
                    }
                }
            }
            if online {
                subscriptions.send_next(&client);
                self.publish_due(&client, &mut flight);
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let id = format!("guanjia-{}-{}", self.site.id, self.config.name);
        let mut options = MqttOptions::new(id, self.config.host.clone(), self.config.port);
        options
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(PACKET_BYTES_IN_MAX, PACKET_BYTES_OUT_MAX)
            .set_inflight(100);
        if let Some((user, password)) = &self.config.login {
            options.set_credentials(user.clone(), password.expose().to_owned());
        }
        if let Some(prefix) = &self.config.publish {
            let topic = status_topic(prefix, &self.site.id);
            options.set_last_will(LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
        }
        options
    }

    fn connected(&mut self) {
        info!(broker = %self.config.name, "session with the broker");
        self.metrics.mqtt_connected(&self.config.name, true);
        self.intake.connected(guanjia_field::now());
        if let Some(north) = &mut self.north {
            north.connected();
            north.status("online");
        }
        self.look();
    }

    fn message(&mut self, publish: &Publish) {
        let delivery = if publish.retain { Delivery::Retained } else { Delivery::Live };
        let (reports, tally) = self.intake.message(&publish.topic, &publish.payload, delivery, guanjia_field::now());
        let counts = [
            ("undecodable", tally.undecodable),
            ("oversized", tally.oversized),
            ("unknown_topic", tally.unknown_topic),
        ];
        for (reason, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
            self.metrics.ingest_dropped(reason, n);
        }
        self.deliver(reports);
    }

    fn deliver(&mut self, reports: Vec<FieldReport>) {
        for report in reports {
            let dropped = self.reports.send(report);
            if dropped > 0 {
                self.metrics.ingest_dropped("queue_full", dropped);
            }
        }
    }

    /// Looks at what may have changed: silent devices, values, alarms.
    fn look(&mut self) {
        let now = guanjia_field::now();
        let overdue = self.intake.overdue(now);
        self.deliver(overdue);
        let Some(north) = &mut self.north else { return };
        let board = self.views.alarms.get();
        if !self.board.as_ref().is_some_and(|known| Arc::ptr_eq(known, &board)) {
            north.alarms(&board);
            self.board = Some(board);
        }
        north.devices(&self.views.latest.devices());
        let replaced = north.readings(&self.views.latest.all(), now);
        if replaced > 0 {
            debug!(broker = %self.config.name, replaced, "readings replaced by newer ones before they were published");
            self.metrics.ingest_dropped("publish_replaced", replaced);
        }
    }

    fn publish_due(&mut self, client: &AsyncClient, flight: &mut Flight) {
        let Some(north) = &mut self.north else { return };
        while flight.len() < WINDOW {
            let Some(message) = north.next() else { return };
            let handed = client.try_publish(message.topic, QoS::AtLeastOnce, message.retain, message.payload);
            if let Err(failure) = handed {
                // The window is smaller than the connection's queue, so the connection is gone; its end is on its way.
                debug!(%failure, "message not handed over");
                return;
            }
            flight.submitted(message.token);
        }
    }

    /// Says goodbye, so that "offline" is known at once and not by the last will.
    async fn farewell(&mut self, client: &AsyncClient, events: &mut mpsc::Receiver<Heard>, flight: &mut Flight) {
        if let Some(north) = &mut self.north {
            north.status("offline");
        }
        let deadline = Instant::now() + FAREWELL_MAX;
        self.publish_due(client, flight);
        while self.north.as_ref().is_some_and(|north| !north.settled()) {
            match tokio::time::timeout_at(deadline, events.recv()).await {
                Ok(Some(Heard::Handed(packet_id))) => flight.handed(packet_id),
                Ok(Some(Heard::Acknowledged(packet_id))) => {
                    if let (Some(token), Some(north)) = (flight.acknowledged(packet_id), &mut self.north) {
                        north.acknowledged(token);
                    }
                }
                Ok(Some(Heard::Failed(_)) | None) | Err(_) => break,
                Ok(Some(_)) => {}
            }
            self.publish_due(client, flight);
        }
        if client.try_disconnect().is_ok() {
            // The connection ends its events once the packet is out.
            while tokio::time::timeout_at(deadline, events.recv()).await.is_ok_and(|event| event.is_some()) {}
        }
    }
}

/// What the connection says that matters here.
enum Heard {
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
struct Poller(JoinHandle<()>);

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publications under way.
#[derive(Default)]
struct Flight {
    /// Given to the client, without a packet id yet; first in, first out.
    submitted: VecDeque<(Token, Instant)>,
    /// On the wire, by packet id.
    handed: HashMap<u16, (Token, Instant)>,
}

impl Flight {
    fn len(&self) -> usize {
        self.submitted.len() + self.handed.len()
    }

    fn submitted(&mut self, token: Token) {
        self.submitted.push_back((token, Instant::now()));
    }

    fn handed(&mut self, packet_id: u16) {
        if let Some(entry) = self.submitted.pop_front() {
            self.handed.insert(packet_id, entry);
        }
    }

    fn acknowledged(&mut self, packet_id: u16) -> Option<Token> {
        self.handed.remove(&packet_id).map(|(token, _)| token)
    }

    fn overdue(&self) -> bool {
        let late = |entry: &(Token, Instant)| entry.1.elapsed() > ACK_MAX;
        self.submitted.front().is_some_and(late) || self.handed.values().any(late)
    }
}

/// Subscriptions of one session, sent one packet at a time so that each answer is known to belong to its topics.
struct Subscriptions {
    waiting: VecDeque<Vec<String>>,
    asked: Option<(Vec<String>, Instant)>,
}

impl Subscriptions {
    fn new(topics: Vec<String>) -> Self {
        Self { waiting: topics.chunks(TOPICS_PER_SUBSCRIBE).map(<[String]>::to_vec).collect(), asked: None }
    }

    fn send_next(&mut self, client: &AsyncClient) {
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
    fn acknowledged(&mut self, codes: &[SubscribeReasonCode]) -> Vec<String> {
        let Some((topics, _)) = self.asked.take() else { return Vec::new() };
        topics
            .into_iter()
            .zip(codes)
            .filter(|(_, code)| matches!(code, SubscribeReasonCode::Failure))
            .map(|(topic, _)| topic)
            .collect()
    }

    fn overdue(&self) -> bool {
        self.asked.as_ref().is_some_and(|(_, since)| since.elapsed() > ACK_MAX)
    }
}

/// The way into the hub.
struct Reports {
    queue: mpsc::Sender<FieldReport>,
    /// Changes of health that found the queue full; at most one per device.
    kept: VecDeque<FieldReport>,
}

impl Reports {
    /// Offers a report; returns how many readings were dropped.
    fn send(&mut self, report: FieldReport) -> u64 {
        self.offer_kept();
        match report {
            FieldReport::Health { device, .. } => {
                self.kept.retain(|kept| device_of(kept) != device);
                self.kept.push_back(report);
                self.offer_kept();
                0
            }
            FieldReport::Readings { device, ref readings } => {
                let count = readings.len() as u64;
                let overtakes = self.kept.iter().any(|kept| device_of(kept) == device);
                if overtakes || self.queue.try_send(report).is_err() { count } else { 0 }
            }
        }
    }

    fn offer_kept(&mut self) {
        while let Some(report) = self.kept.front() {
            if self.queue.try_send(report.clone()).is_err() {
                return;
            }
            self.kept.pop_front();
        }
    }
}

fn device_of(report: &FieldReport) -> DeviceIx {
    match report {
        FieldReport::Readings { device, .. } | FieldReport::Health { device, .. } => *device,
    }
}
