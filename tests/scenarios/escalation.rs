//! Escalation: nobody answers, the ladder climbs; somebody answers, it stops; a crash changes neither.

use std::time::Duration;

use guanjia_sim::Detector;
use guanjia_tests::duty::{Call, expected, pages_per_person};
use guanjia_tests::house::House;

const SOON: Duration = Duration::from_secs(5);
/// The third step comes six seconds after the first; a restart and a busy machine may add to it.
const LADDER_MAX: Duration = Duration::from_secs(20);

/// Seconds from one call to another.
fn seconds(from: &Call, to: &Call) -> f64 {
    (to.received_at - from.received_at) as f64 / 1_000.0
}

#[tokio::test]
async fn a_kill_between_two_steps_costs_no_step_and_doubles_none() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    house.building.set_detector(1, Detector::Fire)?;
    let duty = house.wait_for_call("step 1", SOON, |call| call.is_for_duty_phone()).await?;
    let _ = house.wait_for_call("step 1", SOON, |call| call.person == "control-room").await?;
    let incident = house.incident("EP-06", SOON).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    let engineer = house.wait_for_call("step 2", LADDER_MAX, |call| call.person == "engineer").await?;
    let manager = house.wait_for_call("step 3", LADDER_MAX, |call| call.person == "manager").await?;
    assert!(seconds(&duty, &engineer) > 2.5, "not before its time: {}", seconds(&duty, &engineer));
    assert!(seconds(&duty, &manager) > 5.5, "not before its time: {}", seconds(&duty, &manager));
    house.accept(&incident).await?;

    let calls = house.calls();
    assert!(calls.iter().all(|call| call.alerts_of(&incident)), "one fire, one incident: {calls:?}");
    let once = expected(&[("duty", 1), ("control-room", 1), ("engineer", 1), ("manager", 1)]);
    assert_eq!(pages_per_person(&calls), once);
    // What was under way at the kill may have come as a second copy of the same page, no more.
    for call in &calls {
        let copies = calls.iter().filter(|other| other.key == call.key).count();
        assert!(copies <= 2, "{} copies for {}", copies, call.person);
    }
    Ok(())
}

#[tokio::test]
async fn an_accepted_fire_calls_nobody_further_even_after_a_kill() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    house.building.set_detector(2, Detector::Fire)?;
    let incident = house.incident("EP-06", SOON).await?;
    let _ = house.wait_for_call("step 1", SOON, |call| call.is_for_duty_phone()).await?;
    let _ = house.wait_for_call("step 1", SOON, |call| call.person == "control-room").await?;
    house.accept(&incident).await?;
    // The answer was given, so it is durable: not even an immediate kill takes it back.
    house.gateway.kill();
    house.gateway.restart().await?;
    let again = house.incident_by_id(&incident).await?;
    assert_eq!((again["state"].as_str(), again["acknowledged_by"].as_str()), (Some("acknowledged"), Some("cashier")));
    let alarm = house.wait_for_alarm("fire-panel/zone_1_fire_2", SOON, |alarm| alarm["active"] == true).await?;
    assert_eq!((&alarm["acknowledged"], &alarm["occurrence"]), (&true.into(), &1.into()), "it is still the same fire");

    // The second step would have come after three seconds.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(pages_per_person(&house.calls()), expected(&[("duty", 1), ("control-room", 1)]));
    assert_eq!(house.incidents().await?.len(), 1);
    Ok(())
}
