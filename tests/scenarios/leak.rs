//! Water: a leak that only a meter on MQTT sees, and the pit it runs into.

use std::time::Duration;

use guanjia_sim::{Story, Table};
use guanjia_tests::duty::{expected, pages_per_person};
use guanjia_tests::house::{House, quick};

const SOON: Duration = Duration::from_secs(5);
/// A message every two seconds, two seconds of delay, and room for a busy machine.
const LEAK_MAX: Duration = Duration::from_secs(12);
/// The level is the module's first register, in millimetres.
const SUMP_LEVEL: u16 = 0;

#[tokio::test]
async fn a_night_leak_is_paged_once_and_its_end_is_told_to_those_who_were_called() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.set_time(Duration::from_secs(3 * 3600));
    house.building.start_story(Story::WaterLeak, Some("w-301"))?;
    let incident = house.incident("EP-03", LEAK_MAX).await?;
    assert_eq!((incident["priority"].as_str(), incident["root"].as_str()), (Some("P3"), Some("w-301/leak")));
    let call = house.wait_for_call("leak", SOON, |call| call.is_for_duty_phone()).await?;
    assert!(call.title.contains("301号") && call.title.contains("漏水"), "{}", call.title);

    house.building.clear_story(Story::WaterLeak)?;
    let recovered = |call: &guanjia_tests::duty::Call| call.kind == "recovery" && call.is_for_duty_phone();
    let told = house.wait_for_call("the end of the leak", LEAK_MAX, recovered).await?;
    assert!(told.title.starts_with("【已恢复】") && told.link.is_none(), "{}", told.title);
    // Whoever was called hears the end, and nobody else; a leak that has ended calls nobody further.
    let alerts = pages_per_person(house.calls_about(&incident).iter().filter(|call| call.kind == "alert"));
    house.wait_for_pages("recovery", &incident, &alerts, SOON).await?;
    house.accept(&incident).await?;
    house.wait_for_state(&incident, "closed", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_sump_is_urgent_and_an_overflowing_one_is_life_safety() -> anyhow::Result<()> {
    let short = |text: String| {
        text + r#"
[[alarm]]
device = "io"
id = "sump_high"
when = [{ point = "sump_level", above = "1500 mm", deadband = "100 mm" }]
priority = "P2"
on_delay = "500ms"
off_delay = "500ms"
plan = "EP-04"
text = { zh = "集水井高水位", en = "Sump level high" }
action = { zh = "到泵房检查排污泵和浮球", en = "Check pump and float at the pit" }
"#
    };
    let house = House::start_with(quick(), |_| {}, short).await?;
    let level = |mm| house.building.set_register("io", Table::Holding, SUMP_LEVEL, Some(mm));
    level(1_600)?;
    let high = house.incident("EP-04", SOON).await?;
    assert_eq!(high["priority"], "P2");
    level(1_950)?;
    let flood = house.incident("EP-07", SOON).await?;
    assert_eq!(flood["priority"], "P1");
    let _ = house.wait_for_call("flood", SOON, |call| call.alerts_of(&flood) && call.is_for_duty_phone()).await?;
    house.accept(&high).await?;
    house.accept(&flood).await?;
    // Within the deadband the level still counts as high; 20 mm below it does not.
    level(1_450)?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(house.incident_by_id(&high).await?["state"], "acknowledged");
    level(1_380)?;
    house.wait_for_state(&high, "closed", SOON).await?;
    assert_eq!(house.incident_by_id(&flood).await?["state"], "acknowledged", "a flood is latched");
    let first_step = expected(&[("duty", 1), ("control-room", 1)]);
    let calls = house.calls_about(&flood);
    assert_eq!(pages_per_person(calls.iter().filter(|call| call.kind == "alert")), first_step);
    Ok(())
}
