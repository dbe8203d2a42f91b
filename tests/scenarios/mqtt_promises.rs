//! What is promised over MQTT, with a mosquitto in the middle: a device whose message was acknowledged is heard, and a
//! subscriber is told everything that has happened.

use std::time::Duration;

use anyhow::Context;
use guanjia_sim::Story;
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use guanjia_tests::mosquitto::{Mosquitto, Setup};
use guanjia_tests::peer::Peer;
use rumqttc::{AsyncClient, MqttOptions, QoS};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const METER: &str = "site/w-900/state";

/// A house with one more water meter, on a broker of its own, that is named by its broker's template.
async fn house(broker: &Mosquitto, more: &str) -> anyhow::Result<House> {
    let own = format!(
        "[mqtt.meters]\naddress = \"{}\"\ntopic = \"site/{{device}}/state\"\n{more}\n\
         [device.w-900]\nprofile = \"mqtt_water_meter\"\nbroker = \"meters\"\nfloor = \"1F\"\n",
        broker.address()
    );
    House::start_with(quick(), |_| {}, |text| format!("{text}\n{own}")).await
}

async fn litres(meter: &mut Peer, litres: u64) -> anyhow::Result<()> {
    meter.say(METER, format!(r#"{{"volume_l":{litres},"flow_l_h":1.5,"battery_pct":90}}"#), false).await
}

/// The ids of the events a subscriber has seen, in order.
fn event_ids(peer: &Peer) -> Vec<u64> {
    let events = peer.messages("guanjia/harbour-plaza/event");
    let ids = events.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
    ids.filter_map(|event| event["id"].as_str()?.rsplit('/').next()?.parse().ok()).collect()
}

/// Waits until the gateway has the register of the meter, and takes it for good.
async fn metered(house: &House, litres: u64) -> anyhow::Result<()> {
    eventually(&format!("{litres} litres are read"), LIMIT, || async {
        let Ok(device) = house.api("/devices/w-900").await else { return Ok(None) };
        let points = device["points"].as_array().context("a list of points")?;
        let volume = points.iter().find(|point| point["id"] == "volume_total").context("the volume")?;
        let text = volume["value"].to_string();
        let value: f64 = text.trim_matches('"').parse().unwrap_or(-1.0);
        Ok(((value * 1000.0).round() == litres as f64 && volume["quality"] == "good").then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_was_acknowledged_to_a_device_is_read_whoever_is_killed_or_restarted_meanwhile() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start_with(Setup::Remembering).await? else { return Ok(()) };
    let mut house = house(&broker, "").await?;
    let mut meter = Peer::start(broker.address(), &[]);
    litres(&mut meter, 1_000).await?;
    metered(&house, 1_000).await?;

    house.gateway.kill();
    litres(&mut meter, 2_000).await?;
    house.gateway.restart().await?;
    metered(&house, 2_000).await?;

    for round in 1..=3u64 {
        let counted = 2_000 + round;
        litres(&mut meter, counted).await?;
        // Somewhere between the message's arrival and the end of all that follows from it.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
        house.gateway.kill();
        house.gateway.restart().await?;
        metered(&house, counted).await?;
    }

    house.gateway.kill();
    litres(&mut meter, 3_000).await?;
    broker.stop().await?;
    broker.launch().await?;
    house.gateway.restart().await?;
    metered(&house, 3_000).await
}

#[tokio::test]
async fn a_broker_that_freezes_or_forgets_and_keeps_a_monster_is_lived_with() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start().await? else { return Ok(()) };
    let mut meter = Peer::start(broker.address(), &["guanjia/#"]);
    let monster = format!(r#"{{"volume_l":1,"junk":"{}"}}"#, "x".repeat(20_000));
    meter.say(METER, monster, true).await?;
    let house = house(&broker, "publish = \"guanjia\"").await?;
    litres(&mut meter, 1_000).await?;
    metered(&house, 1_000).await?;
    let sessions = house.gateway.metric("guanjia_mqtt_sessions_total{broker=\"meters\",session=\"new\"}").await?;
    assert_eq!(sessions, Some(1.0), "20 KB that the broker keeps end no session");

    // A subscriber that never reads what it is sent holds nobody up.
    let (slow, _unread) = AsyncClient::new(MqttOptions::new("slow", "127.0.0.1", broker.address().port()), 8);
    slow.subscribe("guanjia/#", QoS::AtLeastOnce).await?;

    broker.freeze()?;
    house.building.start_story(Story::FireAlarm, None)?;
    house.incident("EP-06", LIMIT).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.thaw()?;
    eventually("the alarm is told after the thaw", LIMIT, || async {
        Ok(meter.has("guanjia/harbour-plaza/event", "\"alarm_raised\"").then_some(()))
    })
    .await?;

    broker.crash();
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.launch().await?;
    eventually("a new session", LIMIT, || async {
        let new = house.gateway.metric("guanjia_mqtt_sessions_total{broker=\"meters\",session=\"new\"}").await?;
        Ok((new == Some(2.0)).then_some(()))
    })
    .await?;
    // The broker knows no subscription any more, so an answer proves a new one.
    eventually("the meter is heard again", LIMIT, || async {
        meter.client.try_publish(METER, QoS::AtMostOnce, false, r#"{"volume_l":4000}"#)?;
        let device = house.api("/devices/w-900").await?;
        let points = device["points"].as_array().context("a list of points")?;
        let read = points.iter().any(|p| p["id"] == "volume_total" && p["quality"] == "good");
        Ok((device["answering"] == true && read).then_some(()))
    })
    .await?;
    metered(&house, 4_000).await
}

#[tokio::test]
async fn a_subscriber_is_told_every_event_in_order_over_a_restart_of_the_broker_and_a_kill() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start_with(Setup::Remembering).await? else { return Ok(()) };
    let peer = Peer::start(broker.address(), &["guanjia/harbour-plaza/event"]);
    let mut house = house(&broker, "publish = \"guanjia\"").await?;
    house.building.start_story(Story::FireAlarm, None)?;
    eventually("the alarm is told", LIMIT, || async {
        Ok(peer.has("guanjia/harbour-plaza/event", "\"alarm_raised\"").then_some(()))
    })
    .await?;
    broker.stop().await?;
    let incident = house.incident("EP-06", LIMIT).await?;
    house.order(&format!("/incidents/{}/acknowledge", incident["id"].as_str().context("an id")?)).await?;
    house.gateway.kill();
    broker.launch().await?;
    house.gateway.restart().await?;
    eventually("the acceptance is told", LIMIT, || async {
        Ok(peer.has("guanjia/harbour-plaza/event", "acknowledged").then_some(()))
    })
    .await?;
    let ids = event_ids(&peer);
    let (first, last) = (*ids.iter().min().context("an event")?, *ids.iter().max().context("an event")?);
    for id in first..=last {
        assert!(ids.contains(&id), "event {id} was never told: {ids:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_is_spoken_to_in_mqtt_5_and_others_find_the_devices() -> anyhow::Result<()>
{
    let Some(broker) = Mosquitto::start_with(Setup::Tls).await? else { return Ok(()) };
    let files = broker.certificates();
    let tls = format!(
        "tls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}\nversion = \"5\"\n",
        files.ca.display(),
        files.cert.display(),
        files.key.display()
    );
    let more = format!(
        "{tls}publish = \"guanjia\"\nhomeassistant = \"homeassistant\"\n\
         [mqtt.spark]\naddress = \"{}\"\n{}sparkplug = {{ group = \"mall\", primary_host = \"scada\" }}\n",
        broker.address(),
        tls.replace("version = \"5\"\n", "")
    );
    let house = house(&broker, &more).await?;
    let mut options = MqttOptions::new("host", "127.0.0.1", broker.address().port());
    let (ca, cert, key) = (std::fs::read(files.ca)?, std::fs::read(files.cert)?, std::fs::read(files.key)?);
    options.set_transport(rumqttc::Transport::tls(ca, Some((cert, key)), None));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let mut peer = Peer::connect(options, &["guanjia/#", "homeassistant/#", "spBv1.0/#"]);
    litres(&mut peer, 7_000).await?;
    metered(&house, 7_000).await?;
    eventually("the reading is told", LIMIT, || async {
        Ok(peer.has("guanjia/harbour-plaza/device/w-900/point/volume_total", "\"value\":7.000").then_some(()))
    })
    .await?;
    eventually("Home Assistant finds the meter", LIMIT, || async {
        let topic = "homeassistant/device/guanjia_harbour-plaza_w-900/config";
        Ok(peer.has(topic, "\"dev_cla\":\"water\"").then_some(()))
    })
    .await?;
    // Nothing is told before the primary host is there; then everything is.
    let (birth, death) = ("spBv1.0/mall/NBIRTH/harbour-plaza", "spBv1.0/mall/NDEATH/harbour-plaza");
    assert!(!peer.has(birth, "bdSeq"), "the host was not there");
    let state = |online: bool, at: u64| format!("{{\"online\":{online},\"timestamp\":{at}}}");
    peer.client.publish("spBv1.0/STATE/scada", QoS::AtLeastOnce, true, state(true, 1)).await?;
    eventually("the node is born", LIMIT, || async { Ok(peer.has(birth, "bdSeq").then_some(())) }).await?;
    peer.client.publish("spBv1.0/STATE/scada", QoS::AtLeastOnce, true, state(false, 2)).await?;
    eventually("the node dies with its host", LIMIT, || async { Ok(peer.has(death, "bdSeq").then_some(())) }).await?;
    peer.client.publish("spBv1.0/STATE/scada", QoS::AtLeastOnce, true, state(true, 3)).await?;
    // A host that came late asks for a rebirth, as Sparkplug has it.
    let rebirth = b"\x08\x01\x12\x1a\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01";
    peer.client.publish("spBv1.0/mall/NCMD/harbour-plaza", QoS::AtLeastOnce, false, &rebirth[..]).await?;
    for (topic, word) in
        [("spBv1.0/mall/NBIRTH/harbour-plaza", "bdSeq"), ("spBv1.0/mall/DBIRTH/harbour-plaza/w-900", "volume_total")]
    {
        eventually(topic, LIMIT, || async { Ok(peer.has(topic, word).then_some(())) }).await?;
    }
    Ok(())
}
