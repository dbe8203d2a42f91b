//! A page that was decided arrives: whatever the phone does, and wherever the gateway is killed.

use std::time::Duration;

use guanjia_sim::{Detector, Person, PhoneMode};
use guanjia_tests::duty::{Call, expected, now_ms, pages_per_person};
use guanjia_tests::house::House;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);
/// The longest back-off after a few refusals, and a restart.
const AGAIN_MAX: Duration = Duration::from_secs(20);
/// Between the register's change and the kill; the panel is read twice a second.
const KILL_AFTER_MS: std::ops::Range<u64> = 20..600;
const KILLS: u8 = 5;

/// How the duty phone behaves, whoever has it at this hour.
fn duty_phone(house: &House, mode: PhoneMode) {
    for person in ["duty-day", "duty-night"] {
        house.building.phone().set_person(person, Person { mode, acknowledge_after_ms: None });
    }
}

#[tokio::test]
async fn a_refused_page_survives_a_kill_and_arrives_under_the_same_key() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    duty_phone(&house, PhoneMode::Refuse);
    house.building.set_detector(5, Detector::Fire)?;
    let refused = house.wait_for_call("the first attempt", SOON, |call| call.is_for_duty_phone()).await?;
    assert_eq!(refused.answered, 500);
    let incident = house.incident("EP-06", SOON).await?;
    house.accept(&incident).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    duty_phone(&house, PhoneMode::Accept);
    let taken = |call: &Call| call.is_for_duty_phone() && call.answered == 200;
    let taken = house.wait_for_call("the page after the kill", AGAIN_MAX, taken).await?;
    assert_eq!((taken.key, taken.title), (refused.key, refused.title), "it is the same page");
    assert_eq!(pages_per_person(&house.calls())["duty"], 1);
    Ok(())
}

#[tokio::test]
async fn a_phone_that_hangs_delays_nobody_else_and_gets_its_page_when_it_is_back() -> anyhow::Result<()> {
    let house = House::start().await?;
    duty_phone(&house, PhoneMode::Hang);
    let lit = now_ms();
    house.building.set_detector(6, Detector::Fire)?;
    let control = house.wait_for_call("control room", SOON, |call| call.person == "control-room").await?;
    assert!(control.received_at - lit <= 2_000, "after {} ms", control.received_at - lit);
    let hung = house.wait_for_call("the attempt that hangs", SOON, |call| call.is_for_duty_phone()).await?;
    assert_eq!(hung.answered, 0);
    let incident = house.incident("EP-06", SOON).await?;
    house.accept(&incident).await?;
    duty_phone(&house, PhoneMode::Accept);
    // An attempt is given up after ten seconds.
    let taken = |call: &Call| call.is_for_duty_phone() && call.answered == 200;
    let taken = house.wait_for_call("the page after the hang", AGAIN_MAX, taken).await?;
    assert_eq!(taken.key, hung.key, "it is the same page");
    Ok(())
}

#[tokio::test]
async fn no_alarm_is_lost_wherever_the_gateway_is_killed() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    for detector in 1..=KILLS {
        house.building.set_detector(detector, Detector::Fire)?;
        let after = Duration::from_millis(fastrand::u64(KILL_AFTER_MS));
        tokio::time::sleep(after).await;
        house.gateway.kill();
        house.gateway.restart().await?;
        let mine = |call: &Call| call.title.contains(&format!("一区{detector}号探测器火警"));
        for person in ["duty", "control-room"] {
            let wanted = |call: &Call| mine(call) && call.person.starts_with(person);
            house.wait_for_call(&format!("killed after {after:?}: {person}"), AGAIN_MAX, wanted).await?;
        }
        let open: Vec<Value> = house.incidents().await?;
        let mut mine_open = open.iter().filter(|i| i["root"] == *format!("fire-panel/zone_1_fire_{detector}"));
        let incident = mine_open.next().expect("the fire has an incident");
        assert!(mine_open.next().is_none(), "killed after {after:?}: one fire, one incident");
        // The next kill must not meet this one's ladder.
        house.accept(incident).await?;
        let calls: Vec<Call> = house.calls().into_iter().filter(mine).collect();
        let first_step: std::collections::BTreeMap<_, _> =
            pages_per_person(&calls).into_iter().filter(|(p, _)| p == "duty" || p == "control-room").collect();
        assert_eq!(first_step, expected(&[("duty", 1), ("control-room", 1)]), "killed after {after:?}");
    }
    Ok(())
}
