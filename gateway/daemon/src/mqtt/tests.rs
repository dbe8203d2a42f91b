//! The bridge against a small broker that can be told to misbehave.

use guanjia_core::alarm::{AlarmClass, AlarmDef, AlarmRecord, Condition, Latching, Priority};
use guanjia_core::incident::TimelineEntry;
use guanjia_core::profile::{EquipmentClass, PointDef, PollClass, Profile, Source};
use guanjia_core::reading::{Decimal, DeviceIx, PointIx, Quality, Reading, Value};
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_field::{DeviceHealth, FieldReport};
use guanjia_store::AlarmBatch;
use tokio::task::JoinHandle;

use super::*;
use broker::{BrokerState, FakeBroker, Order};

use crate::notify::tests::bare_site;
use crate::site::{Attachment, Device, MqttVersion, Point, Publish, Topic};

mod broker;
mod promises;

/// A water meter on `water/<id>/state` with volume, flow, valve and serial number, and its one alarm.
pub(super) fn water_site(port: u16, publish: Option<&str>) -> Site {
    let point = |id: &str, pointer: &str, unit: &str, exponent: i8| PointDef {
        scale: Decimal::new(1, exponent),
        unit: unit.to_owned(),
        poll: PollClass::Billing,
        ..PointDef::new(id, Source::Message { topic: None, pointer: pointer.to_owned() })
    };
    let points = vec![
        point("volume_total", "/volume_l", "m3", -3),
        point("flow", "/flow", "L/h", 0),
        point("valve_open", "/valve", "", 0),
        point("serial", "/serial", "", 0),
    ];
    let profile = Profile::new("water", EquipmentClass::WaterMeter, points);
    let mut site = bare_site(std::env::temp_dir());
    site.brokers = vec![Broker {
        name: "local".into(),
        host: "127.0.0.1".to_owned(),
        port,
        login: None,
        version: MqttVersion::V311,
        tls: None,
        crl: None,
        publish: publish.map(|prefix| Publish::Topics { prefix: prefix.to_owned(), home_assistant: None }),
    }];
    site.points = (0..4).map(|def| Point { device: DeviceIx(0), def }).collect();
    site.devices = vec![Device {
        ix: DeviceIx(0),
        id: "w-1".into(),
        name: Bilingual::new("水表 1", "Water meter 1"),
        profile: Arc::new(profile),
        attachment: Attachment::Mqtt {
            broker: 0,
            topics: vec![Topic { name: "water/w-1/state".to_owned(), points: (0..4).collect() }],
            availability: Some("water/w-1/online".to_owned()),
        },
        first_point: PointIx(0),
        max_age: Duration::from_secs(60),
        building: String::new(),
        floor: "1F".to_owned(),
    }];
    site.alarms = vec![Arc::new(AlarmDef {
        key: "w-1/leak".into(),
        device: DeviceIx(0),
        condition: Condition::Silent(DeviceIx(0)),
        priority: Priority::P1,
        class: AlarmClass::LifeSafety,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        latching: Latching::Latching,
        plan: None,
        text: Bilingual::new("漏水", "Leak"),
        action: Bilingual::new("关阀", "Close the valve"),
    })];
    site
}

/// The alarm of [`water_site`], raised.
pub(super) fn raised() -> AlarmRecord {
    AlarmRecord {
        key: "w-1/leak".to_owned(),
        occurrence: 1,
        active: true,
        acked: false,
        latched: false,
        suppressed_by: None,
        raised_at: Timestamp::from_millis(1_800_000_000_000),
        cleared_at: None,
        acked_at: None,
        acked_by: None,
        incident: None,
    }
}

/// A bridge to a fake broker, between a hub that this test is and a journal.
struct Bench {
    broker: FakeBroker,
    latest: Arc<LatestTable>,
    alarms: Arc<Board<AlarmBoard>>,
    messages: mpsc::Receiver<hub::Message>,
    journal: Journal,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

struct Journal {
    store: Store,
    dir: tempfile::TempDir,
}

impl Journal {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), "test").await.unwrap();
        Self { store, dir }
    }

    async fn happen(&self, what: &str) {
        let entry = TimelineEntry {
            at: Timestamp::from_millis(1_800_000_000_000),
            incident: None,
            what: what.to_owned(),
            subject: "w-1/leak".to_owned(),
            detail: String::new(),
        };
        self.store.commit_alarms(AlarmBatch { timeline: vec![entry], ..AlarmBatch::default() }).await.unwrap();
    }
}

impl Bench {
    async fn start(publish: Option<&str>) -> Self {
        let broker = FakeBroker::start().await;
        Self::with(broker, Journal::new().await, publish)
    }

    fn with(broker: FakeBroker, journal: Journal, publish: Option<&str>) -> Self {
        let site = Arc::new(water_site(broker.port, publish));
        let latest = Arc::new(LatestTable::new(&site, guanjia_field::now()));
        let alarms = Arc::new(Board::new(AlarmBoard::default()));
        let (queue, messages) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let works = Works {
            metrics: Arc::new(Metrics::new(&site)),
            site,
            store: journal.store.clone(),
            messages: queue,
            latest: Arc::clone(&latest),
            alarms: Arc::clone(&alarms),
        };
        let running = tokio::spawn(run(works, 0, stop.clone()));
        Self { broker, latest, alarms, messages, journal, stop, running }
    }

    async fn subscribed(&self) {
        self.broker.until("no subscription", |state| state.subscribed.len() >= 2).await;
    }

    async fn message(&mut self) -> hub::Message {
        tokio::time::timeout(Duration::from_secs(10), self.messages.recv()).await.expect("no message").unwrap()
    }

    /// The next report; receipts before it are given back.
    async fn report(&mut self) -> FieldReport {
        loop {
            match self.message().await {
                hub::Message::Report(report) => return report,
                hub::Message::Bill(receipt) | hub::Message::Receipt(receipt) => give_back(receipt),
            }
        }
    }

    async fn receipt(&mut self) -> crate::receipt::Receipt {
        loop {
            if let hub::Message::Receipt(receipt) = self.message().await {
                return receipt;
            }
        }
    }

    /// The next readings, whatever health comes before them.
    async fn readings(&mut self) -> Vec<Reading> {
        loop {
            if let FieldReport::Readings { readings, .. } = self.report().await {
                return readings;
            }
        }
    }

    fn deliver(&self, packet_id: u16, payload: &'static str, duplicate: bool) {
        self.broker.say.send(Order::Deliver { packet_id, payload, duplicate }).unwrap();
    }

    fn acknowledged(&self) -> Vec<u16> {
        self.broker.state.lock().unwrap().acknowledged.clone()
    }

    /// The words of the events that arrived, in order.
    fn events(&self) -> Vec<String> {
        let state = self.broker.state.lock().unwrap();
        let events = state.arrived.iter().filter(|(topic, _)| topic == "gj/test/event");
        let word = |payload: &str| serde_json::from_str::<serde_json::Value>(payload).unwrap()["what"].clone();
        events.map(|(_, payload)| word(payload).as_str().unwrap().to_owned()).collect()
    }

    async fn end(self) -> (FakeBroker, Journal) {
        self.stop.cancel();
        self.running.await.unwrap();
        (self.broker, self.journal)
    }

    /// The end of a process that is killed: nothing is said, nothing is finished.
    async fn kill(self) -> (FakeBroker, Journal) {
        self.running.abort();
        drop(self.running.await);
        (self.broker, self.journal)
    }
}

/// As the alarms task does.
fn give_back(receipt: crate::receipt::Receipt) {
    receipt.stored();
}

const LEAK: &str = "gj/test/alarm/w-1/leak";

fn state_of(payload: Option<String>) -> Option<String> {
    let payload: serde_json::Value = serde_json::from_str(&payload?).unwrap();
    Some(payload["state"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn messages_become_readings_with_every_digit() {
    let mut bench = Bench::start(None).await;
    bench.subscribed().await;
    bench.broker.publish("water/w-1/state", r#"{"volume_l":9007199254740993,"flow":12.50,"valve":true}"#, false);
    let health = bench.report().await;
    assert!(matches!(health, FieldReport::Health { health: DeviceHealth::Answering, .. }), "{health:?}");
    let readings = bench.readings().await;
    assert_eq!(readings.len(), 3, "the serial number was not spoken of");
    assert_eq!(readings[0].value, Some(Value::Decimal(Decimal::new(9_007_199_254_740_993, -3))));
    assert_eq!(readings[0].quality, Quality::Good);
    bench.end().await;
}

#[tokio::test]
async fn an_oversized_message_is_refused_and_ends_no_session() {
    let mut bench = Bench::start(None).await;
    bench.subscribed().await;
    let monster = format!(r#"{{"volume_l":1,"junk":"{}"}}"#, "x".repeat(200_000));
    bench.broker.publish("water/w-1/state", monster, true);
    let readings = bench.readings().await;
    assert!(readings.iter().all(|r| r.quality == Quality::Bad(guanjia_core::reading::BadReason::Undecodable)));
    bench.broker.publish("water/w-1/state", r#"{"volume_l":2}"#, false);
    assert_eq!(bench.readings().await[0].quality, Quality::Good);
    let (broker, _) = bench.end().await;
    assert_eq!(broker.state.lock().unwrap().connects, 1);
}

#[tokio::test]
async fn a_lost_session_silences_its_devices_and_is_made_anew() {
    let mut bench = Bench::start(None).await;
    bench.subscribed().await;
    bench.broker.say.send(Order::Drop).unwrap();
    let health = bench.report().await;
    let down = DeviceHealth::Silent(guanjia_core::reading::BadReason::LineDown);
    assert!(matches!(health, FieldReport::Health { health, .. } if health == down), "{health:?}");
    assert!(bench.readings().await.iter().all(|r| r.value.is_none()));
    bench.broker.until("no resubscription", |state| state.connects == 2 && state.subscribed.len() == 4).await;
    bench.broker.publish("water/w-1/online", "online", true);
    assert!(matches!(bench.report().await, FieldReport::Health { health: DeviceHealth::Answering, .. }));
    bench.end().await;
}

#[tokio::test]
async fn a_refused_subscription_is_not_mistaken_for_a_quiet_device() {
    let broker = FakeBroker::start().await;
    broker.state.lock().unwrap().refuse_subscriptions = true;
    let mut bench = Bench::with(broker, Journal::new().await, None);
    let refused = DeviceHealth::Silent(guanjia_core::reading::BadReason::Refused);
    let health = bench.report().await;
    assert!(matches!(health, FieldReport::Health { health, .. } if health == refused), "{health:?}");
    bench.end().await;
}

#[tokio::test]
async fn a_broker_that_lost_its_memory_is_told_the_alarms_again() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("no normal state", |s| s.retained.contains_key(LEAK)).await;
    assert_eq!(state_of(bench.broker.retained(LEAK)).as_deref(), Some("normal"));
    bench.alarms.publish(AlarmBoard { alarms: vec![raised()], incidents: vec![] });
    let leaking = |s: &BrokerState| state_of(s.retained.get(LEAK).cloned()).as_deref() == Some("active_unacknowledged");
    bench.broker.until("alarm not published", leaking).await;
    bench.broker.state.lock().unwrap().retained.clear();
    bench.broker.say.send(Order::Drop).unwrap();
    bench.broker.until("alarm not published again", leaking).await;
    assert_eq!(bench.broker.retained("gj/test/status").as_deref(), Some("online"));
    bench.end().await;
}

#[tokio::test]
async fn an_alarm_that_was_sent_and_not_acknowledged_is_sent_again() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("no normal state", |s| s.retained.contains_key(LEAK)).await;
    bench.broker.state.lock().unwrap().mute = true;
    bench.alarms.publish(AlarmBoard { alarms: vec![raised()], incidents: vec![] });
    let sent = |s: &BrokerState| s.arrived.iter().filter(|(topic, _)| topic == LEAK).count() >= 2;
    bench.broker.until("alarm not sent", sent).await;
    assert_eq!(state_of(bench.broker.retained(LEAK)).as_deref(), Some("normal"), "it was never taken");
    bench.broker.state.lock().unwrap().mute = false;
    bench.broker.say.send(Order::Drop).unwrap();
    let leaking = |s: &BrokerState| state_of(s.retained.get(LEAK).cloned()).as_deref() == Some("active_unacknowledged");
    bench.broker.until("alarm lost with the session", leaking).await;
    bench.end().await;
}

#[tokio::test]
async fn the_last_will_speaks_for_a_gateway_that_is_cut_off_and_the_gateway_for_itself() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("no status", |s| s.retained.contains_key("gj/test/status")).await;
    bench.broker.say.send(Order::Drop).unwrap();
    bench.broker.until("no will", |s| !s.wills.is_empty()).await;
    let will = ("gj/test/status".to_owned(), "offline".to_owned());
    assert_eq!(bench.broker.state.lock().unwrap().wills[0], will);
    bench.broker.until("no second session", |s| s.connects == 2 && s.retained["gj/test/status"] == "online").await;
    let (broker, _) = bench.end().await;
    broker.until("no farewell", |s| s.disconnected_politely && s.retained["gj/test/status"] == "offline").await;
    assert_eq!(broker.state.lock().unwrap().wills.len(), 1);
}

#[tokio::test]
async fn readings_go_out_exact_and_with_their_quality() {
    let bench = Bench::start(Some("gj")).await;
    let topic = "gj/test/device/w-1/point/volume_total";
    let reading = Reading::good(PointIx(0), Value::Decimal(Decimal::new(1250, -3)), Timestamp::from_millis(1_000));
    bench.latest.update(&[reading]);
    bench.broker.until("no reading", |s| s.arrived.iter().any(|(t, _)| t == topic)).await;
    let arrived = bench.broker.state.lock().unwrap().arrived.clone();
    let (_, payload) = arrived.iter().find(|(t, _)| t == topic).unwrap();
    assert_eq!(payload, r#"{"value":1.250,"quality":"good","at":"1970-01-01T00:00:01Z"}"#);
    assert!(bench.broker.retained(topic).is_none(), "a value that is retained is a value without an age");
    bench.end().await;
}
