//! Some devices hang or refuse, or all of them restart: what do the others notice, and how soon is everybody back?

use std::time::{Duration, Instant};

use guanjia_tests::gateway::eventually;

use crate::Extent;
use crate::numbers::{Aim, Periods, at, row};
use crate::plant::{Caller, Mood};
use crate::process::resident_bytes;
use crate::rig::Rig;

const PERIOD: Duration = Duration::from_secs(1);
/// How long the devices are off in a restart.
const OFF: Duration = Duration::from_secs(5);
/// All devices of the soak are off once in so many seconds.
const OUTAGE_EVERY_S: u64 = 15;
/// How long everybody may take to be back, at the very most.
const BACK_MAX: Duration = Duration::from_secs(60);

/// One device in ten hangs; one in ten refuses; all restart.
pub async fn outage(extent: Extent) -> anyhow::Result<()> {
    let devices = extent.of(200, 20);
    let tenth = devices / 10;
    println!("{devices} devices every second over Modbus TCP, a tenth of them hangs or refuses, then all restart");
    let aim = |aim| extent.aim(aim);
    let rig = Rig::start(devices, tenth, PERIOD, None).await?;
    let calm = healthy(&rig, 0, extent).await;
    for device in 0..tenth {
        rig.plant.set_mood(device, Mood::Hangs);
    }
    // Until it is known who hangs.
    tokio::time::sleep(extent.window(10)).await;
    let hung = healthy(&rig, tenth, extent).await;
    for device in 0..tenth {
        rig.plant.set_mood(device, Mood::Answers);
    }
    let beside = format!("cycles met {:.2} %", calm.coverage() * 100.0);
    row("period p99 over nominal, a tenth refuses", calm.stretch(0.99), "x", aim(Aim::Most(1.02)), &beside);
    let beside = format!("cycles met {:.2} %", hung.coverage() * 100.0);
    row("period p99 over nominal, a tenth hangs as well", hung.stretch(0.99), "x", aim(Aim::Most(1.02)), &beside);

    rig.plant.go_down()?;
    tokio::time::sleep(OFF).await;
    rig.plant.clear();
    let up = rig.plant.now();
    rig.plant.come_up()?;
    let all_back = eventually("every device is read again", BACK_MAX, || async {
        let back = first_arrivals(&rig);
        Ok((back.len() == devices).then_some(back))
    });
    let mut back: Vec<f64> = all_back.await?.iter().map(|at| (at - up) as f64 / 1e9).collect();
    back.sort_by(f64::total_cmp);
    row("read again after all were off for 5 s, p50", at(&back, 0.5), "s", Aim::Stated, "");
    row("read again after all were off for 5 s, the last", at(&back, 1.0), "s", aim(Aim::Most(1.0)), "");
    tokio::time::sleep(PERIOD * 3).await;
    rig.check_names().await
}

/// The periods of all devices but the first `sick` ones.
async fn healthy(rig: &Rig, sick: usize, extent: Extent) -> Periods {
    tokio::time::sleep(PERIOD * 2).await;
    let from = rig.plant.now();
    tokio::time::sleep(extent.window(30)).await;
    let arrivals = rig.plant.arrivals(Caller::Gateway);
    Periods::of(arrivals.iter().skip(sick), PERIOD, from, rig.plant.now())
}

fn first_arrivals(rig: &Rig) -> Vec<u64> {
    rig.plant.arrivals(Caller::Gateway).iter().filter_map(|times| times.first().copied()).collect()
}

/// Polls of the fastest period a site may have, with an outage every so often: does memory stay where it is?
/// AC 24.
pub async fn soak(extent: Extent) -> anyhow::Result<()> {
    let (devices, fastest) = (extent.of(500, 10), Duration::from_millis(100));
    let lasts = extent.window(180);
    let outages = extent.of((lasts.as_secs() / OUTAGE_EVERY_S).max(4) as usize, 4);
    println!("{devices} devices every 100 ms for {} s, all off for a second {outages} times", lasts.as_secs());
    let rig = Rig::start(devices, 0, fastest, None).await?;
    let pid = rig.pid()?;
    let (mut memory, mut requests) = (Vec::new(), 0);
    for _ in 0..outages {
        let begun = Instant::now();
        tokio::time::sleep(lasts / (2 * outages as u32)).await;
        rig.plant.go_down()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.plant.come_up()?;
        tokio::time::sleep((lasts / outages as u32).saturating_sub(begun.elapsed())).await;
        memory.push(resident_bytes(pid)? as f64 / 1e6);
        requests += rig.plant.requests(Caller::Gateway);
        rig.plant.clear();
    }
    // The first quarter fills what is filled once: queues, pages of the allocator.
    let settled = &memory[outages / 4..];
    let (low, high) = settled.iter().fold((f64::MAX, f64::MIN), |(low, high), m| (low.min(*m), high.max(*m)));
    let hours = requests as f64 / 50.0 / 3600.0;
    let beside = format!("as many as 50 devices answer in {hours:.1} h at one a second");
    row("polls", requests as f64, "", Aim::Stated, &beside);
    row("memory, resident, at the end", at(&memory, 1.0), "MB", Aim::Stated, "");
    row(
        "memory, from the lowest to the highest",
        high - low,
        "MB",
        extent.aim(Aim::Most(5.0)),
        "after a quarter of the time",
    );
    Ok(())
}
