//! Thirty meters on one line at 9600 baud that are asked for more than the wire can carry.

use std::time::{Duration, Instant};

use guanjia_tests::gateway::eventually;

use crate::numbers::{Aim, row};
use crate::process::Role;
use crate::wire::{Place, Seen, Wire};
use crate::{Extent, role_at};

/// How many of the meters fall silent.
const SILENT: u8 = 3;
/// How long the first answer, and the first question to a silent meter, may take at the very most.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// Behind a serial server, and on a terminal.
pub async fn serial(extent: Extent) -> anyhow::Result<()> {
    let units = extent.of(30, 6) as u8;
    let healthy = units - SILENT;
    let silent: Vec<u8> = (healthy + 1..=units).collect();
    for (place, name) in [(Place::Tcp, "behind a serial server"), (Place::Terminal, "on a pseudo terminal")] {
        println!("{units} meters on one line at 9600 baud, {name}, asked for more than it can carry");
        let (all, share) = watch(place, units, &[], extent).await?;
        let aim = |aim| extent.aim(aim);
        row("wire in use, of what it allows", share * 100.0, "%", aim(Aim::Least(97.0)), "");
        row("frames that met another one", all.collisions as f64, "", Aim::Most(0.0), "");
        let (few, _) = watch(place, healthy, &[], extent).await?;
        let (some, _) = watch(place, units, &silent, extent).await?;
        let kept = some.answered as f64 / few.answered.max(1) as f64;
        let beside =
            format!("{} of {} answers; {} questions to the silent", some.answered, few.answered, some.unanswered);
        let what = format!("rate of {healthy} meters beside {SILENT} silent ones");
        row(&what, kept * 100.0, "%", aim(Aim::Least(97.0)), &beside);
        let collisions = few.collisions + some.collisions;
        row("frames that met another one", collisions as f64, "", Aim::Most(0.0), "");
        let damaged = all.damaged + few.damaged + some.damaged;
        anyhow::ensure!(damaged == 0, "{damaged} requests were damaged");
        anyhow::ensure!(all.collisions + collisions == 0, "frames met on the wire");
    }
    Ok(())
}

/// What a line sees in a while, and the share of the time in which the wire was needed.
async fn watch(place: Place, units: u8, silent: &[u8], extent: Extent) -> anyhow::Result<(Seen, f64)> {
    let wire = Wire::start(place)?;
    wire.silence(silent);
    let mut role = Role::start(&role_at("serial", wire.place(), &[usize::from(units), 1]))?;
    // The first round finds out who is silent; what comes after it lasts.
    tokio::time::sleep(extent.window(20)).await;
    eventually("the line is asked", ASKED_MAX, || async {
        let seen = wire.seen();
        let found = silent.is_empty() || seen.unanswered > 0;
        Ok((found && seen.answered > 0).then_some(()))
    })
    .await?;
    wire.take_seen();
    let begun = Instant::now();
    tokio::time::sleep(extent.window(60)).await;
    eventually("the line is answered", ASKED_MAX, || async { Ok((wire.seen().answered > 0).then_some(())) }).await?;
    let (seen, elapsed) = (wire.take_seen(), begun.elapsed());
    anyhow::ensure!(role.runs(), "the process that was to ask does not");
    let share = seen.needed.as_secs_f64() / elapsed.as_secs_f64();
    Ok((seen, share))
}
