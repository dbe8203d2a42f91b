//! Silence: one meter, or a whole serial server, and everybody else unaffected.

use std::time::Duration;

use guanjia_sim::{Fault, Life, Story};
use guanjia_tests::duty::{expected, impatient, pages_per_person};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);
/// The line's devices; see the inventory of the building.
const ON_RS485_B: [&str; 28] = [
    "m-207", "m-208", "m-209", "m-210", "m-211", "m-212", "m-213", "m-214", "m-215", "m-216", "m-301", "m-302",
    "m-303", "m-304", "m-305", "m-306", "m-307", "m-308", "m-309", "m-310", "w-101", "w-102", "w-105", "w-108",
    "w-201", "w-203", "w-207", "w-210",
];

async fn devices(house: &House) -> anyhow::Result<Vec<Value>> {
    Ok(house.api("/devices").await?["devices"].as_array().cloned().unwrap_or_default())
}

fn names(devices: &[Value], answering: bool) -> Vec<&str> {
    devices.iter().filter(|d| d["answering"] == answering).filter_map(|d| d["id"].as_str()).collect()
}

async fn qualities(house: &House, device: &str) -> anyhow::Result<Vec<String>> {
    let device = house.api(&format!("/devices/{device}")).await?;
    let points = device["points"].as_array().cloned().unwrap_or_default();
    Ok(points.iter().map(|point| point["quality"].as_str().unwrap_or("?").to_owned()).collect())
}

#[tokio::test]
async fn a_dead_meter_goes_bad_alone_and_rings_nobody() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.fault(&Fault::Device { device: "m-105".to_owned(), life: Life::Dead })?;
    // Its relay is read twice a second: two periods, two deadlines, and room for a busy machine. To the millisecond the
    // line's own tests see to it, in a time that no load can stretch.
    eventually("every value of the dead meter is bad", SOON, || async {
        let qualities = qualities(&house, "m-105").await?;
        Ok(qualities.iter().all(|quality| quality == "bad").then_some(()))
    })
    .await?;
    let alarm = house.wait_for_alarm("m-105/no_answer", SOON, |alarm| alarm["active"] == true).await?;
    assert_eq!(alarm["priority"], "P4");

    // Everybody else is asked and answers as before.
    let since: Vec<(String, String)> = last_answers(&house).await?;
    eventually("every other device has answered again", Duration::from_secs(20), || async {
        let now = last_answers(&house).await?;
        let moved = |(id, at): &(String, String)| id == "m-105" || now.iter().any(|(i, a)| i == id && a > at);
        Ok(since.iter().all(moved).then_some(()))
    })
    .await?;
    assert_eq!(names(&devices(&house).await?, false), ["m-105"]);
    assert!(house.incidents().await?.is_empty(), "a silent meter waits for the next working day");
    assert!(house.calls().is_empty(), "it rings nobody");

    house.building.fault(&Fault::Device { device: "m-105".to_owned(), life: Life::Alive })?;
    // A busy line gives a fiftieth of its time to a silent device, so half a second of waiting for it comes every 25 s.
    house.wait_for_alarm("m-105/no_answer", Duration::from_secs(45), |alarm| alarm["active"] != true).await?;
    eventually("every value is good again", Duration::from_secs(20), || async {
        let qualities = qualities(&house, "m-105").await?;
        Ok(qualities.iter().all(|quality| quality == "good").then_some(()))
    })
    .await?;
    assert!(house.calls().is_empty());
    Ok(())
}

/// When each device last answered, as the API tells it; RFC 3339 in UTC sorts by time.
async fn last_answers(house: &House) -> anyhow::Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(devices(house).await?.iter().map(|d| (text(&d["id"]), text(&d["last_success"]))).collect())
}

#[tokio::test]
async fn a_hanging_serial_server_is_one_incident_and_silences_no_other_line() -> anyhow::Result<()> {
    let house = House::start_with(quick(), |_| {}, impatient).await?;
    house.building.start_story(Story::SerialServerHangs, Some("rs485-b"))?;
    let incident = house.incident("EP-11", Duration::from_secs(30)).await?;
    assert_eq!((incident["root"].as_str(), incident["priority"].as_str()), (Some("rs485-b"), Some("P2")));
    let _ = house.wait_for_call("the line", SOON, |call| call.alerts_of(&incident) && call.is_for_duty_phone()).await?;
    house.accept(&incident).await?;
    eventually("every device of the line is silent", Duration::from_secs(60), || async {
        let devices = devices(&house).await?;
        Ok((names(&devices, false).len() >= ON_RS485_B.len()).then_some(()))
    })
    .await?;
    let mut silent: Vec<String> = names(&devices(&house).await?, false).into_iter().map(str::to_owned).collect();
    silent.sort();
    assert_eq!(silent, ON_RS485_B, "only that line's devices");
    assert!(qualities(&house, "m-301").await?.iter().all(|quality| quality == "bad"));
    assert!(qualities(&house, "m-101").await?.iter().all(|quality| quality == "good"));
    let open = house.incidents().await?;
    assert_eq!(open.len(), 1, "one line, one incident: {open:?}");

    house.building.clear_story(Story::SerialServerHangs)?;
    house.wait_for_state(&incident, "closed", Duration::from_secs(60)).await?;
    let alerts = pages_per_person(house.calls().iter().filter(|call| call.kind == "alert"));
    assert_eq!((alerts["duty"], alerts["control-room"]), (1, 1), "{alerts:?}");
    let once: Vec<(&str, usize)> = alerts.keys().map(|person| (person.as_str(), 1)).collect();
    house.wait_for_pages("recovery", &incident, &expected(&once), SOON).await?;
    Ok(())
}
