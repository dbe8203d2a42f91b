//! How soon a register's change is out, and what a scrape costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_tests::mosquitto::Mosquitto;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::watch;

use crate::Extent;
use crate::numbers::{Aim, Periods, at, row};
use crate::plant::Caller;
use crate::process::processor_time;
use crate::rig::Rig;
use crate::site::{POINTS, device_id};

const PERIOD: Duration = Duration::from_secs(1);
/// Scrapes one after the other whose processor time is counted.
const BURST: usize = 50;
/// How long one change may take to be seen at all.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// A register changes, and a subscriber of the broker waits for it.
pub async fn mqtt(extent: Extent) -> anyhow::Result<()> {
    let Some(broker) = Mosquitto::start().await? else { return Ok(()) };
    let devices = extent.of(50, 5);
    println!(
        "a register changes in one of {devices} devices that are read every second, a subscriber of the broker waits"
    );
    let rig = Rig::start(devices, 0, PERIOD, Some(broker.address())).await?;
    let topic = format!("guanjia/bench/device/{}/point/active_power_total", device_id(3));
    let mut heard = subscribe(broker.address(), topic).await?;
    let mut delays = Vec::new();
    for n in 1..=extent.of(60, 3) {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(200..1_200))).await;
        let value = n as i32 * 7;
        let begun = Instant::now();
        rig.plant.signal(3, value);
        let wanted = format!("\"value\":{value_in_kw}", value_in_kw = kilowatts(value));
        let seen = tokio::time::timeout(SEEN_MAX, heard.wait_for(|text| text.contains(&wanted))).await;
        seen.with_context(|| format!("{wanted} was not published"))??;
        delays.push(begun.elapsed().as_secs_f64());
    }
    delays.sort_by(f64::total_cmp);
    let aim = extent.aim(Aim::Most(PERIOD.as_secs_f64() + 0.020));
    row("register change to message, p50", at(&delays, 0.5), "s", Aim::Stated, "half a period is waiting for the poll");
    row("register change to message, p95", at(&delays, 0.95), "s", aim, "");
    Ok(())
}

/// The value as it is published, in kW with three decimals.
fn kilowatts(value: i32) -> String {
    format!("{}.{:03}", value / 1000, value % 1000)
}

async fn subscribe(broker: std::net::SocketAddr, topic: String) -> anyhow::Result<watch::Receiver<String>> {
    let mut options = MqttOptions::new("bench-listener", broker.ip().to_string(), broker.port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 16);
    let (tell, heard) = watch::channel(String::new());
    client.subscribe(topic, QoS::AtMostOnce).await?;
    tokio::spawn(async move {
        // The client lives as long as its events are asked for.
        let _client = client;
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(message)) = event {
                tell.send_replace(String::from_utf8_lossy(&message.payload).into_owned());
            }
        }
    });
    Ok(heard)
}

/// 1,000 devices are scraped all the time: how long does one scrape take, and do the polls notice?
pub async fn scrape(extent: Extent) -> anyhow::Result<()> {
    let devices = extent.of(1_000, 20);
    let points = devices * POINTS;
    println!("{points} points of {devices} devices read every second, scraped");
    let rig = Rig::start(devices, 0, PERIOD, None).await?;
    let aim = |aim| extent.aim(aim);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calm = polled(&rig, extent, None).await?.1;
    let mut results = Vec::new();
    for path in ["/metrics/points", "/metrics"] {
        let text = rig.gateway.get(path).await?;
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        if path == "/metrics/points" {
            anyhow::ensure!(samples >= points, "{samples} of {points} points are exported");
        }
        let (times, periods) = polled(&rig, extent, Some(path)).await?;
        let cost = cost(&rig, path, extent.of(BURST, 2)).await?;
        results.push((path, samples, times, periods, cost));
    }
    for (path, samples, times, periods, cost) in results {
        let beside = format!("{samples} samples; the client's time to take them is in it");
        row(&format!("GET {path}, p50"), at(&times, 0.5), "ms", Aim::Stated, &beside);
        let aimed = if path == "/metrics/points" { aim(Aim::Most(10.0)) } else { Aim::Stated };
        row("processor time of one", cost, "ms", aimed, "the polls' share taken off");
        let beside = format!("without scrapes {:.4}", calm.jitter_ms(0.99));
        row("period off by, p99, scraped once a second", periods.jitter_ms(0.99), "ms", Aim::Stated, &beside);
    }
    Ok(())
}

/// The gateway's processor time for one scrape, in milliseconds, without what the polls take meanwhile.
async fn cost(rig: &Rig, path: &str, times: usize) -> anyhow::Result<f64> {
    let pid = rig.pid()?;
    let (before, calm) = (processor_time(pid)?, Duration::from_secs(5));
    tokio::time::sleep(calm).await;
    let share = (processor_time(pid)? - before).as_secs_f64() / calm.as_secs_f64();
    let (before, begun) = (processor_time(pid)?, Instant::now());
    for _ in 0..times {
        std::hint::black_box(rig.gateway.get(path).await?);
    }
    let (spent, elapsed) = ((processor_time(pid)? - before).as_secs_f64(), begun.elapsed().as_secs_f64());
    Ok((spent - share * elapsed) / times as f64 * 1e3)
}

/// Scrape times in milliseconds, sorted, and the periods of the polls meanwhile.
async fn polled(rig: &Rig, extent: Extent, path: Option<&str>) -> anyhow::Result<(Vec<f64>, Periods)> {
    let (from, begun) = (rig.plant.now(), Instant::now());
    let mut times = Vec::new();
    while begun.elapsed() < extent.window(20) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(path) = path {
            let asked = Instant::now();
            let text = rig.gateway.get(path).await?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
            std::hint::black_box(Arc::new(text));
        }
    }
    times.sort_by(f64::total_cmp);
    let arrivals = rig.plant.arrivals(Caller::Gateway);
    Ok((times, Periods::of(arrivals.iter(), PERIOD, from, rig.plant.now())))
}
