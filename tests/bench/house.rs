//! What one gateway costs and how fast it is, against the simulated building of the demo.
//!
//!     cargo build --release
//!     GUANJIA_BINARY=$PWD/target/release/guanjia cargo bench --profile dev -p guanjia-tests --bench house
//!
//! The gateway is a process of its own, so its memory and processor time are its own; the simulator runs in this one.
//! Buses take their real time (9600 baud), alarm points are polled every second.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_sim::{BuildingConfig, Detector, SiteFileOptions, Tempo};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::House;

/// How long processor time is counted.
const COUNTED: Duration = Duration::from_secs(30);
/// Detectors of the panel.
const DETECTORS: u8 = 24;
/// Times every detector is set.
const ROUNDS: usize = 4;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let begin = Instant::now();
    let config = BuildingConfig { speed: 60.0, ..BuildingConfig::default() };
    let demo = |options: &mut SiteFileOptions| options.tempo = Tempo::Demo;
    let mut house = House::start_with(config, demo, |text| text).await?;
    let built = begin.elapsed();
    house.gateway.kill();
    let begin = Instant::now();
    house.gateway.restart().await?;
    let ready = begin.elapsed();
    println!(
        "ready after a kill -9           {:>8.2} s   (first start, building included: {:.2} s)",
        ready.as_secs_f64(),
        built.as_secs_f64()
    );
    eventually("every device answers", Duration::from_secs(60), || async {
        let devices = house.api("/devices").await?;
        let list = devices.as_array().or_else(|| devices["devices"].as_array()).context("a list")?;
        Ok(list.iter().all(|device| device["answering"] == true).then_some(()))
    })
    .await?;
    println!("every device read once          {:>8.2} s", begin.elapsed().as_secs_f64());

    let pid = house.gateway.pid().context("the gateway runs")?;
    let before = processor_time(pid)?;
    let counted = Instant::now();
    tokio::time::sleep(COUNTED).await;
    let share = (processor_time(pid)? - before).as_secs_f64() / counted.elapsed().as_secs_f64();
    println!("processor, share of one core    {:>8.2} %   (over {} s)", share * 100.0, COUNTED.as_secs());
    println!("memory, resident                {:>8.1} MB", resident_bytes(pid)? as f64 / 1e6);

    let mut delays = Vec::new();
    for _ in 0..ROUNDS {
        for number in 1..=DETECTORS {
            // Spread over the poll period, so that the wait for the next poll is what it is in life.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1_000))).await;
            delays.push(fire_to_page(&house, number).await?);
        }
        calm_down(&house).await?;
    }
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64();
    println!("register change to page, p50    {:>8.3} s   ({} changes, polled every second)", at(0.5), delays.len());
    println!("register change to page, p99    {:>8.3} s   (longest {:.3} s)", at(0.99), at(1.0));
    Ok(())
}

/// Sets one detector to fire and waits for a page that no earlier one explains.
async fn fire_to_page(house: &House, number: u8) -> anyhow::Result<Duration> {
    let known: BTreeSet<u64> = house.building.phone().pages().iter().map(|page| page.number).collect();
    let begin = Instant::now();
    house.building.set_detector(number, Detector::Fire)?;
    let words = format!("区{number}号");
    let is_new = |page: &guanjia_sim::Page| !known.contains(&page.number) && page.body.contains(&words);
    let page = house.building.phone().wait_for_page(is_new, Duration::from_secs(20)).await;
    page.with_context(|| format!("no page for detector {number} within 20 s"))?;
    Ok(begin.elapsed())
}

/// Ends every fire, accepts every incident and resets every latch.
async fn calm_down(house: &House) -> anyhow::Result<()> {
    for number in 1..=DETECTORS {
        house.building.set_detector(number, Detector::Normal)?;
    }
    eventually("the panel is calm", Duration::from_secs(60), || async {
        for incident in house.incidents().await? {
            let id = incident["id"].as_str().context("an id")?;
            // Already accepted ones refuse, and that is as good.
            let _ = house.order(&format!("/incidents/{id}/acknowledge")).await;
        }
        for number in 1..=DETECTORS {
            let zone = (number - 1) / 8 + 1;
            let _ = house.order(&format!("/alarms/fire-panel/zone_{zone}_fire_{number}/reset")).await;
        }
        Ok(house.incidents().await?.is_empty().then_some(()))
    })
    .await
}

/// User and system time of a process (proc(5): fields 14 and 15 of stat, in ticks of 10 ms).
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("a name in brackets")?.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process.
fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024)
}
