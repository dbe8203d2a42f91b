//! MQTT both ways: what the gateway tells others, and what devices tell the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use guanjia_sim::inventory::Attachment;
use guanjia_sim::{BrokerAction, Fault, Life, Story};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use guanjia_tests::mosquitto::Mosquitto;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const BASE: &str = "guanjia/harbour-plaza";

/// Another program on the broker, with the last message of every topic it has seen.
struct Listener {
    seen: Arc<Mutex<BTreeMap<String, String>>>,
    client: AsyncClient,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    fn start(broker: SocketAddr) -> Self {
        let id = format!("listener-{}", fastrand::u32(..));
        let (client, mut events) = AsyncClient::new(MqttOptions::new(id, broker.ip().to_string(), broker.port()), 16);
        let seen: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let (store, subscriber) = (Arc::clone(&seen), client.clone());
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        // A new session knows nothing, so nothing seen before counts any more.
                        store.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        drop(subscriber.try_subscribe(format!("{BASE}/#"), QoS::AtLeastOnce));
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let text = String::from_utf8_lossy(&message.payload).into_owned();
                        store.lock().unwrap_or_else(PoisonError::into_inner).insert(message.topic.clone(), text);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { seen, client, task }
    }

    fn text(&self, topic: &str) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&format!("{BASE}/{topic}")).cloned()
    }

    fn json(&self, topic: &str) -> Value {
        self.text(topic).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
    }

    /// The state of every alarm of a device.
    fn alarm_states(&self, device: &str) -> BTreeMap<String, String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("{BASE}/alarm/{device}/");
        let of_device = seen.iter().filter_map(|(topic, text)| Some((topic.strip_prefix(&prefix)?, text)));
        of_device
            .filter_map(|(alarm, text)| Some((alarm, serde_json::from_str::<Value>(text).ok()?)))
            .map(|(alarm, value)| (alarm.to_owned(), value["state"].as_str().unwrap_or_default().to_owned()))
            .collect()
    }

    async fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let waited = eventually(what, LIMIT, || async { Ok(is_so(self).then_some(())) }).await;
        waited.with_context(|| format!("{} topics seen", self.seen.lock().map_or(0, |seen| seen.len())))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything that must stand on a broker about a healthy building with a fire alarm in state `fire`.
fn is_told(listener: &Listener, fire: &str) -> bool {
    let states = listener.alarm_states("fire-panel");
    listener.text("status").as_deref() == Some("online")
        && listener.text("device/m-101/availability").as_deref() == Some("online")
        && listener.text("device/w-301/availability").as_deref() == Some("online")
        && states.values().any(|state| state == fire)
        && states.values().any(|state| state == "normal")
}

#[tokio::test]
async fn what_others_read_is_right_even_after_the_broker_forgot_everything() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    let listener = Listener::start(house.building.addresses().mqtt);
    listener.wait("a reading is published", |l| l.json("device/m-101/point/voltage_l1")["quality"] == "good").await?;
    let reading = listener.json("device/m-101/point/voltage_l1");
    assert!(reading["value"].as_f64().is_some_and(|volts| (200.0..240.0).contains(&volts)), "{reading}");
    house.building.start_story(Story::FireAlarm, None)?;
    listener.wait("the fire alarm is told", |l| is_told(l, "active_unacknowledged")).await?;

    house.building.fault(&Fault::Broker { action: BrokerAction::Restart })?;
    listener.wait("everything is told again", |l| is_told(l, "active_unacknowledged")).await?;
    let incident = house.incident("EP-06", LIMIT).await?;
    house.order(&format!("/incidents/{}/acknowledge", incident["id"].as_str().context("an id")?)).await?;
    listener.wait("the acceptance is told", |l| is_told(l, "active_acknowledged")).await?;

    house.gateway.terminate().await?;
    listener.wait("the farewell is told", |l| l.text("status").as_deref() == Some("offline")).await?;
    house.gateway.restart().await?;
    listener.wait("the return is told", |l| is_told(l, "active_acknowledged")).await?;
    house.gateway.kill();
    listener.wait("the last will is told", |l| l.text("status").as_deref() == Some("offline")).await
}

#[tokio::test]
async fn a_mosquitto_that_crashes_has_every_retained_state_again() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start().await? else { return Ok(()) };
    let second = format!("[mqtt.northbound]\naddress = \"{}\"\npublish = \"guanjia\"\n", broker.address());
    let house =
        House::start_with(quick(), |_| {}, |text| format!("{}\n{second}", text.replace("publish = \"guanjia\"\n", "")))
            .await?;
    let listener = Listener::start(broker.address());
    listener.wait("a reading is published", |l| l.json("device/m-101/point/voltage_l1")["quality"] == "good").await?;
    house.building.start_story(Story::FireAlarm, None)?;
    listener.wait("the fire alarm is told", |l| is_told(l, "active_unacknowledged")).await?;
    broker.crash();
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.launch().await?;
    listener.wait("everything is told again", |l| is_told(l, "active_unacknowledged")).await
}

/// The quality of every point of a device.
async fn qualities(house: &House, device: &str) -> anyhow::Result<Vec<String>> {
    let answer = house.api(&format!("/devices/{device}")).await?;
    let points = answer["points"].as_array().context("a list of points")?;
    Ok(points.iter().map(|point| point["quality"].as_str().unwrap_or("none").to_owned()).collect())
}

#[tokio::test]
async fn a_meter_that_vanishes_is_offline_and_one_that_talks_nonsense_spoils_only_its_own_points() -> anyhow::Result<()>
{
    let house = House::start().await?;
    let listener = Listener::start(house.building.addresses().mqtt);
    eventually("the meters answer", LIMIT, || async {
        let mut good = house.api("/devices/w-301").await?["answering"] == true;
        for device in ["w-303", "w-305", "w-308", "m-101"] {
            good &= qualities(&house, device).await?.iter().all(|quality| quality == "good");
        }
        Ok(good.then_some(()))
    })
    .await?;
    house.building.fault(&Fault::Device { device: "w-301".to_owned(), life: Life::Dead })?;
    let gone = eventually("its will is understood", LIMIT, || async {
        let device = house.api("/devices/w-301").await?;
        Ok((device["answering"] == false).then_some(device))
    })
    .await?;
    assert_eq!(gone["why_silent"], "offline");
    listener.wait("others are told", |l| l.text("device/w-301/availability").as_deref() == Some("offline")).await?;

    let topic = house.building.inventory().iter().find_map(|device| match &device.attachment {
        Attachment::Mqtt { topic, .. } if &*device.id == "w-303" => Some(topic.clone()),
        _ => None,
    });
    let topic = topic.context("w-303 speaks MQTT")?;
    // The meter itself speaks between the false messages, so the nonsense is repeated until it is seen.
    eventually("nonsense makes its points bad", LIMIT, || async {
        listener.client.try_publish(&topic, QoS::AtLeastOnce, false, "{\"volume\": ")?;
        let bad = qualities(&house, "w-303").await?.iter().all(|quality| quality == "bad");
        Ok(bad.then_some(()))
    })
    .await?;
    for other in ["w-305", "w-308", "m-101"] {
        let qualities = qualities(&house, other).await?;
        assert!(qualities.iter().all(|quality| quality == "good"), "{other}: {qualities:?}");
    }
    eventually("the meter's own word counts again", LIMIT, || async {
        Ok(qualities(&house, "w-303").await?.iter().all(|quality| quality == "good").then_some(()))
    })
    .await?;
    house.building.fault(&Fault::Device { device: "w-301".to_owned(), life: Life::Alive })?;
    eventually("it is back", LIMIT, || async {
        Ok((house.api("/devices/w-301").await?["answering"] == true).then_some(()))
    })
    .await
}
