//! Mains: a floor goes dark, its meters fall silent one by one, and people hear of one thing.

use std::time::Duration;

use guanjia_sim::Story;
use guanjia_tests::duty::{expected, impatient, pages_per_person};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};

const SOON: Duration = Duration::from_secs(5);
/// The last meter's capacitors hold it up for twenty seconds; then it must be asked twice in vain.
const SILENT_MAX: Duration = Duration::from_secs(40);
/// The meters start up for three seconds, and a silent one is asked more and more rarely.
const BACK_MAX: Duration = Duration::from_secs(45);
const METERS: usize = 14;

/// The gateway's own supply hangs on the same feeder; at test tempo it recovers as quickly as the rest. The meters
/// need a while until they have started and been found again.
fn tuned(text: String) -> String {
    impatient(text).replace("recovery_hold = \"3s\"", "recovery_hold = \"30s\"")
        + r#"
[[alarm]]
device = "io"
id = "ups_on_battery"
when = [{ point = "ups_on_battery", equals = 1 }]
priority = "P2"
on_delay = "1s"
off_delay = "1s"
plan = "EP-02"
text = { zh = "网关转电池供电,市电可能中断", en = "Gateway on battery, mains may be lost" }
action = { zh = "确认停电范围,逐台呼叫轿厢查困人", en = "Find out how far the outage goes, call every lift car" }
"#
}

/// How many of the floor's meters are silent and hidden under a cause.
async fn hidden(house: &House) -> anyhow::Result<usize> {
    let alarms = house.alarms().await?;
    let dark = alarms.iter().filter(|alarm| {
        let key = alarm["key"].as_str().unwrap_or_default();
        key.starts_with("m-1") && key.ends_with("/no_answer") && alarm["suppressed_by"].is_string()
    });
    Ok(dark.count())
}

#[tokio::test]
async fn a_dark_floor_is_one_incident_and_one_page_per_person_and_step() -> anyhow::Result<()> {
    let house = House::start_with(quick(), |_| {}, tuned).await?;
    house.building.start_story(Story::MainsOutage, Some("1"))?;
    let incident = house.incident("EP-02", SOON).await?;
    let _ = house.wait_for_call("outage", SOON, |call| call.alerts_of(&incident) && call.is_for_duty_phone()).await?;

    eventually("every meter of the floor is silent and hidden", SILENT_MAX, || async {
        Ok((hidden(&house).await? == METERS).then_some(()))
    })
    .await?;
    let open = house.incidents().await?;
    assert_eq!(open.len(), 1, "one cause, one incident: {open:?}");
    // Nobody accepted: every step of the ladder was taken, the fallback person behind the last one included.
    let steps = expected(&[("duty", 1), ("control-room", 1), ("engineer", 1), ("manager", 2)]);
    house.wait_for_pages("alert", &incident, &steps, SILENT_MAX).await?;

    house.accept(&incident).await?;
    house.building.clear_story(Story::MainsOutage)?;
    house.wait_for_state(&incident, "closed", BACK_MAX).await?;
    let once = expected(&[("duty", 1), ("control-room", 1), ("engineer", 1), ("manager", 1)]);
    house.wait_for_pages("recovery", &incident, &once, SOON).await?;
    let alerts = pages_per_person(house.calls().iter().filter(|call| call.kind == "alert"));
    assert_eq!(alerts, steps, "nobody was called again, nor about anything else");
    assert_eq!(hidden(&house).await?, 0);
    assert!(house.incidents().await?.is_empty());
    Ok(())
}
