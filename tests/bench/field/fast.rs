//! As fast as it can: requests a second of the field side, and of the bare loop, by turns on the same devices.

use std::time::Duration;

use crate::numbers::{Aim, median, row};
use crate::plant::{Caller, Plant};
use crate::process::{Role, allow_sockets};
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
    let plant = Plant::start(devices)?;
    let (base, own) = (usize::from(plant.port(Caller::Baseline)), usize::from(plant.port(Caller::Gateway)));
    let (mut bare, mut plain, mut piped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.of(ROUNDS, 1) {
        bare.push(rate(&plant, Caller::Baseline, &role("baseline", &[base, devices, 0]), extent).await?);
        plain.push(rate(&plant, Caller::Gateway, &role("fast", &[own, devices, 1, 1]), extent).await?);
        piped.push(rate(&plant, Caller::Gateway, &role("fast", &[own, devices, IN_FLIGHT, IN_FLIGHT]), extent).await?);
    }
    let ratio = |of: &[f64]| median(of.iter().zip(&bare).map(|(own, bare)| own / bare).collect());
    let (plain_ratio, piped_ratio) = (ratio(&plain), ratio(&piped));
    row("bare loop", median(bare.clone()), "requests/s", Aim::Stated, "");
    row("field side, one request under way", median(plain), "requests/s", Aim::Stated, "");
    row("over bare loop", plain_ratio, "x", extent.aim(Aim::Least(0.8)), "");
    row(&format!("field side, {IN_FLIGHT} under way where allowed"), median(piped), "requests/s", Aim::Stated, "");
    row("over bare loop", piped_ratio, "x", Aim::Stated, "");
    Ok(())
}

async fn rate(plant: &Plant, caller: Caller, arguments: &[String], extent: Extent) -> anyhow::Result<f64> {
    let mut role = Role::start(arguments)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    plant.clear();
    let window = extent.window(5);
    let from = plant.now();
    tokio::time::sleep(window).await;
    let (requests, to) = (plant.requests(caller), plant.now());
    anyhow::ensure!(role.runs() && requests > 0, "the process that was to ask does not");
    drop(role);
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(requests as f64 / ((to - from) as f64 / 1e9))
}
