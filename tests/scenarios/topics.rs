//! A meter that has a topic for each of its values, with a mosquitto in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use guanjia_tests::mosquitto::Mosquitto;
use guanjia_tests::peer::Peer;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(40);
const NODE: &str = "shellyem3-0123456789AB";
/// How old a value of this meter may become.
const MAX_AGE: Duration = Duration::from_secs(5);
/// How often it tells all of them.
const PERIOD: Duration = Duration::from_secs(1);
/// What it measures of each phase: the point and the end of the topic.
const MEASURED: [(&str, &str); 5] = [
    ("voltage", "voltage"),
    ("current", "current"),
    ("active_power", "power"),
    ("energy_active_import", "total"),
    ("energy_active_export", "total_returned"),
];

/// Every point of the meter with its topic and a value that no other has.
fn values() -> Vec<(String, String, f64)> {
    let of_phase = |phase: u8| {
        MEASURED.iter().zip(1u8..).map(move |((point, topic), number)| {
            let point = format!("{point}_l{}", phase + 1);
            (point, format!("shellies/{NODE}/emeter/{phase}/{topic}"), f64::from(10 * (phase + 1) + number) + 0.25)
        })
    };
    (0..3).flat_map(of_phase).collect()
}

/// A round of messages, without those of one point.
async fn tell(meter: &Peer, but: &str) -> anyhow::Result<()> {
    for (_, topic, value) in values().into_iter().filter(|(point, ..)| point != but) {
        meter.client.publish(topic, rumqttc::QoS::AtMostOnce, false, value.to_string()).await?;
    }
    Ok(())
}

/// What is shown of each point: its value and quality.
async fn shown(house: &House) -> anyhow::Result<BTreeMap<String, (Option<f64>, String)>> {
    let device = house.api("/devices/m-901").await?;
    let points = device["points"].as_array().context("a list of points")?;
    let shown = |point: &serde_json::Value| {
        let (id, quality) = (point["id"].as_str()?.to_owned(), point["quality"].as_str()?.to_owned());
        Some((id, (point["value"].as_f64(), quality)))
    };
    points.iter().map(|point| shown(point).with_context(|| format!("no point: {point}"))).collect()
}

/// Points that are not good, with their quality.
async fn not_good(house: &House) -> anyhow::Result<BTreeMap<String, String>> {
    let shown = shown(house).await?;
    Ok(shown.into_iter().filter(|(_, (_, quality))| quality != "good").map(|(id, (_, q))| (id, q)).collect())
}

#[tokio::test]
async fn each_value_has_its_own_name_and_only_the_topic_that_falls_silent_turns_stale() -> anyhow::Result<()> {
    let Some(broker) = Mosquitto::start().await? else { return Ok(()) };
    let own = format!(
        "[mqtt.shellies]\naddress = \"{}\"\n\n[device.m-901]\nprofile = \"shelly_3em\"\nbroker = \"shellies\"\n\
         node = \"{NODE}\"\nfloor = \"1F\"\nmax_age = \"{}s\"\n",
        broker.address(),
        MAX_AGE.as_secs()
    );
    let house = House::start_with(quick(), |_| {}, |text| format!("{text}\n{own}")).await?;
    let meter = Peer::start(broker.address(), &[]);

    let expected: BTreeMap<_, _> =
        values().into_iter().map(|(point, _, value)| (point, (Some(value), "good".to_owned()))).collect();
    assert_eq!(expected.len(), 15);
    eventually("every value has its own name", LIMIT, || async {
        tell(&meter, "").await?;
        let shown = shown(&house).await?;
        anyhow::ensure!(shown == expected, "{shown:?}");
        Ok(Some(()))
    })
    .await?;

    // One topic falls silent, and the others go on: first nothing, then it alone, and it stays alone.
    let silent = "active_power_l2";
    let stale = BTreeMap::from([(silent.to_owned(), "stale".to_owned())]);
    let begin = Instant::now();
    let mut stale_after = None;
    while begin.elapsed() < 3 * MAX_AGE {
        tell(&meter, silent).await?;
        tokio::time::sleep(PERIOD / 2).await;
        let not_good = not_good(&house).await?;
        anyhow::ensure!(not_good.is_empty() || not_good == stale, "{:?} after it: {not_good:?}", begin.elapsed());
        if not_good.is_empty() {
            anyhow::ensure!(stale_after.is_none(), "stale, and good again without a word");
        } else {
            stale_after.get_or_insert(begin.elapsed());
        }
    }
    let stale_after = stale_after.context("a topic was silent and its value stays good")?;
    assert!(stale_after + PERIOD >= MAX_AGE, "stale after {stale_after:?} already");
    assert_eq!(house.api("/devices/m-901").await?["answering"], true, "the meter itself is there");

    // A payload that is no number spoils its own value only.
    let topic = format!("shellies/{NODE}/emeter/2/voltage");
    eventually("nonsense is bad", LIMIT, || async {
        tell(&meter, "voltage_l3").await?;
        meter.client.publish(&topic, rumqttc::QoS::AtMostOnce, false, "unavailable").await?;
        let not_good = not_good(&house).await?;
        anyhow::ensure!(not_good == BTreeMap::from([("voltage_l3".to_owned(), "bad".to_owned())]), "{not_good:?}");
        Ok(Some(()))
    })
    .await?;

    // It says itself that it is gone, and that it is back.
    let online = format!("shellies/{NODE}/online");
    meter.client.publish(&online, rumqttc::QoS::AtLeastOnce, true, "false").await?;
    eventually("its last will is understood", LIMIT, || async {
        let device = house.api("/devices/m-901").await?;
        Ok((device["why_silent"] == "offline").then_some(()))
    })
    .await?;
    assert_eq!(not_good(&house).await?.len(), 15);
    meter.client.publish(&online, rumqttc::QoS::AtLeastOnce, true, "true").await?;
    eventually("all is well again", LIMIT, || async {
        tell(&meter, "").await?;
        Ok((shown(&house).await? == expected).then_some(()))
    })
    .await
}
