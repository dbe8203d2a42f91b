//! Many devices on Modbus TCP: is every cycle met, how even are the periods, and what does it cost?

use std::time::{Duration, Instant};

use crate::numbers::{Aim, Periods, row};
use crate::plant::Caller;
use crate::process::{Role, bind_to_core, processor_time, resident_bytes};
use crate::rig::Rig;
use crate::site::POINTS;
use crate::{Extent, role};

/// How often Prometheus comes.
const SCRAPE_PERIOD: Duration = Duration::from_secs(15);
/// How long everything runs before it counts.
const WARM_UP: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_secs(1);

/// 500 devices of 50 points every second, beside the bare loop that reads the same registers in the same seconds.
pub async fn many(extent: Extent) -> anyhow::Result<()> {
    let devices = extent.of(500, 20);
    println!("{devices} devices x {POINTS} points every second over Modbus TCP");
    let rig = Rig::start(devices, 0, PERIOD, None).await?;
    let mut bare = Role::start(&role("baseline", &[rig.plant.port(Caller::Baseline).into(), devices, 1_000]))?;
    let measured = measure(&rig, Some(&bare), extent).await?;
    anyhow::ensure!(bare.runs(), "the bare loop has ended");
    let base = measured.baseline.as_ref().map_or(f64::NAN, |b| b.cpu);
    measured.print(extent);
    println!();
    let aim = |aim| extent.aim(aim);
    row("bare loop, processor", base, "s/1000 pts", Aim::Stated, "tokio-modbus, one thread, decodes nothing");
    row("gateway, processor", measured.cpu, "s/1000 pts", Aim::Stated, "decode, alarms, latest values, scrapes");
    row("gateway over bare loop, processor", measured.cpu / base, "x", aim(Aim::Most(3.0)), "");
    row("gateway, memory, resident", measured.resident, "MB", aim(Aim::Most(40.0)), "");
    Ok(())
}

/// 2,000 devices, the gateway on one core.
pub async fn core(extent: Extent) -> anyhow::Result<()> {
    let devices = extent.of(2_000, 20);
    println!("{devices} devices x {POINTS} points every second over Modbus TCP, the gateway on one core");
    let rig = Rig::start(devices, 0, PERIOD, None).await?;
    bind_to_core(rig.pid()?, 0)?;
    let measured = measure(&rig, None, extent).await?;
    measured.print(extent);
    row("gateway, processor", measured.cpu, "s/1000 pts", Aim::Stated, "");
    row("gateway, share of its core", measured.share * 100.0, "%", Aim::Stated, "");
    row("gateway, memory, resident", measured.resident, "MB", Aim::Stated, "");
    Ok(())
}

struct Measured {
    periods: Periods,
    /// Seconds of processor time for 1,000 points.
    cpu: f64,
    share: f64,
    resident: f64,
    baseline: Option<Baseline>,
}

struct Baseline {
    periods: Periods,
    cpu: f64,
}

impl Measured {
    fn print(&self, extent: Extent) {
        let aim = |aim| extent.aim(aim);
        let beside = |figure: fn(&Periods) -> f64| {
            self.baseline.as_ref().map_or(String::new(), |b| format!("bare loop {:.4}", figure(&b.periods)))
        };
        let coverage = |p: &Periods| p.coverage() * 100.0;
        row("cycles met", coverage(&self.periods), "%", aim(Aim::Least(99.9)), &beside(coverage));
        let half = |p: &Periods| p.jitter_ms(0.5);
        row("period off by, p50", half(&self.periods), "ms", Aim::Stated, &beside(half));
        let most = |p: &Periods| p.jitter_ms(0.99);
        row("period off by, p99", most(&self.periods), "ms", aim(Aim::Most(5.0)), &beside(most));
    }
}

async fn measure(rig: &Rig, bare: Option<&Role>, extent: Extent) -> anyhow::Result<Measured> {
    let pid = rig.pid()?;
    tokio::time::sleep(WARM_UP).await;
    let (from, begun) = (rig.plant.now(), Instant::now());
    let before = processor_time(pid)?;
    let bare_before = bare.map(|bare| processor_time(bare.pid())).transpose()?;
    let mut left = extent.window(60);
    while !left.is_zero() {
        let pause = left.min(SCRAPE_PERIOD);
        tokio::time::sleep(pause).await;
        rig.check_names().await?;
        left -= pause;
    }
    let cpu = (processor_time(pid)? - before).as_secs_f64();
    let to = rig.plant.now();
    let arrivals = rig.plant.arrivals(Caller::Gateway);
    let periods = Periods::of(arrivals.iter(), PERIOD, from, to);
    let points = |periods: &Periods| (periods.requests() * POINTS as u64) as f64 / 1000.0;
    let baseline = match (bare, bare_before) {
        (Some(bare), Some(before)) => {
            let cpu = (processor_time(bare.pid())? - before).as_secs_f64();
            let arrivals = rig.plant.arrivals(Caller::Baseline);
            let periods = Periods::of(arrivals.iter(), PERIOD, from, to);
            Some(Baseline { cpu: cpu / points(&periods), periods })
        }
        _ => None,
    };
    Ok(Measured {
        cpu: cpu / points(&periods),
        share: cpu / begun.elapsed().as_secs_f64(),
        resident: resident_bytes(pid)? as f64 / 1e6,
        periods,
        baseline,
    })
}
