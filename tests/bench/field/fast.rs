//! As fast as it can: requests a second of the field side, and of the bare loop, by turns on the same devices.

use std::time::Duration;

use crate::numbers::{Aim, median, row};
use crate::plant::{Caller, Plant, Rest};
use crate::process::{Role, allow_sockets, processor_time};
use crate::{Extent, role};

/// Requests under way at once, where pipelining is on: as many reads of 50 points each are asked for then.
const IN_FLIGHT: usize = 8;
/// Rounds, of which the middle one counts.
const ROUNDS: usize = 5;

/// Ten devices, without a pause between two requests.
pub async fn fast(extent: Extent) -> anyhow::Result<()> {
    let devices = 10;
    println!("{devices} devices as fast as it goes");
    allow_sockets(1_000)?;
    let plant = Plant::start_as(devices, Rest::Watches)?;
    let (base, own) = (usize::from(plant.port(Caller::Baseline)), usize::from(plant.port(Caller::Gateway)));
    let (mut bare, mut plain, mut piped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.of(ROUNDS, 1) {
        bare.push(pace(&plant, Caller::Baseline, &role("baseline", &[base, devices, 0]), extent).await?);
        plain.push(pace(&plant, Caller::Gateway, &role("fast", &[own, devices, 1, 1]), extent).await?);
        piped.push(pace(&plant, Caller::Gateway, &role("fast", &[own, devices, IN_FLIGHT, IN_FLIGHT]), extent).await?);
    }
    let rate = |of: &[Pace]| median(of.iter().map(|pace| pace.rate).collect());
    let micros = |of: &[Pace]| median(of.iter().map(|pace| pace.micros).collect());
    let over = |of: &[Pace], aim| {
        let ratios: Vec<f64> = of.iter().zip(&bare).map(|(own, bare)| own.rate / bare.rate).collect();
        let (least, most) = ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), r| (least.min(*r), most.max(*r)));
        let beside = format!("{} rounds, from {least:.2} to {most:.2}", ratios.len());
        row("over bare loop", median(ratios), "x", aim, &beside);
    };
    row("bare loop", rate(&bare), "requests/s", Aim::Stated, &taken(micros(&bare)));
    row("field side, one request under way", rate(&plain), "requests/s", Aim::Stated, &taken(micros(&plain)));
    over(&plain, extent.aim(Aim::Least(0.8)));
    let many = format!("field side, {IN_FLIGHT} under way where allowed");
    row(&many, rate(&piped), "requests/s", Aim::Stated, &taken(micros(&piped)));
    over(&piped, Aim::Stated);
    Ok(())
}

/// How fast a process asks, and what that costs it.
struct Pace {
    /// Requests a second.
    rate: f64,
    /// Microseconds of processor time a request.
    micros: f64,
}

fn taken(micros: f64) -> String {
    format!("{micros:.2} us of processor time each")
}

async fn pace(plant: &Plant, caller: Caller, arguments: &[String], extent: Extent) -> anyhow::Result<Pace> {
    let mut role = Role::start(arguments)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    plant.clear();
    let window = extent.window(5);
    let (from, spent) = (plant.now(), processor_time(role.pid())?);
    tokio::time::sleep(window).await;
    let (requests, to) = (plant.requests(caller), plant.now());
    anyhow::ensure!(role.runs() && requests > 0, "the process that was to ask does not");
    let spent = processor_time(role.pid())?.saturating_sub(spent);
    drop(role);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let rate = requests as f64 / ((to - from) as f64 / 1e9);
    Ok(Pace { rate, micros: spent.as_secs_f64() * 1e6 / requests as f64 })
}
