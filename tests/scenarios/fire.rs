//! Fire: the one page that must never be late, and the one alarm that only a person lets go.

use std::time::Duration;

use guanjia_sim::{Detector, Signature, Via};
use guanjia_tests::duty::{expected, now_ms, pages_per_person};
use guanjia_tests::house::House;
use serde_json::Value;

/// From the change of the panel's register to the phone.
const PAGE_MAX_MS: i64 = 2_000;
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_fire_alarm_pages_everybody_on_duty_and_runs_its_plan() -> anyhow::Result<()> {
    let house = House::start().await?;
    let lit = now_ms();
    house.building.set_detector(3, Detector::Fire)?;
    let duty = house.wait_for_call("fire", SOON, |call| call.is_for_duty_phone()).await?;
    let control = house.wait_for_call("fire", SOON, |call| call.person == "control-room").await?;
    for call in [&duty, &control] {
        assert!(call.received_at - lit <= PAGE_MAX_MS, "{} after {} ms", call.person, call.received_at - lit);
        assert_eq!((call.signature, call.kind.as_str(), call.priority.as_str()), (Signature::Valid, "alert", "P1"));
        assert!(call.title.starts_with("【火警】") && call.title.contains("一区3号探测器火警"), "{}", call.title);
        assert!(call.link.is_some(), "an alert can be accepted by its link");
    }
    let incident = house.incident("EP-06", SOON).await?;
    let code = incident["code"].as_str().unwrap_or_default();
    assert!(code.len() == 4 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
    assert!(duty.title.contains(code) && duty.body.contains(code), "{} / {}", duty.title, duty.body);
    assert_eq!(incident["priority"], "P1");
    // The plan's lead role is the head of security, whom the control room stands in for here.
    assert_eq!(incident["owner"], "control-room");
    assert_eq!(duty.incident, incident["id"]);
    let ntfy = |page: &guanjia_sim::Page| page.via == Via::Ntfy && page.person.starts_with("duty-");
    let ntfy = house.building.phone().wait_for_page(ntfy, SOON).await.expect("the second channel of the same person");
    let message: Value = serde_json::from_str(&ntfy.body)?;
    assert_eq!(message["priority"], 5, "a fire passes through do-not-disturb");
    assert!(message["title"].as_str().is_some_and(|title| title.contains(code)), "{message}");

    // A second detector is a second alarm: it calls again, and nobody mistakes it for the first.
    house.building.set_detector(4, Detector::Fire)?;
    let second = house.wait_for_call("detector 4", SOON, |call| call.title.contains("一区4号探测器火警")).await?;
    assert_ne!(second.key, duty.key);
    assert_eq!(house.building.device("fire-panel")?.writes, 0, "nobody writes to a fire panel");
    Ok(())
}

#[tokio::test]
async fn a_fire_stays_latched_after_the_panel_resets_until_a_person_lets_go() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.set_detector(9, Detector::Fire)?;
    let incident = house.incident("EP-06", SOON).await?;
    // Nobody accepts: the engineer at the second step, the manager at the third, by phone and by mail.
    let mail = |page: &guanjia_sim::Page| page.via == Via::Mail && page.person == "manager";
    let mail = house.building.phone().wait_for_page(mail, Duration::from_secs(12)).await.expect("the manager's mail");
    assert!(
        mail.body.contains(incident["code"].as_str().unwrap_or("?")) && mail.body.contains("火警"),
        "{}",
        mail.body
    );
    assert!(mail.ack_link.is_some(), "{}", mail.body);
    let _ = house.wait_for_call("step 3", SOON, |call| call.person == "manager").await?;
    let counts = pages_per_person(&house.calls_about(&incident));
    assert_eq!(counts, expected(&[("duty", 1), ("control-room", 1), ("engineer", 1), ("manager", 1)]));

    let reset = "/alarms/fire-panel/zone_2_fire_9/reset";
    house.accept(&incident).await?;
    let (status, body) = house.try_order(reset).await?;
    assert_eq!(status, 409, "while it burns there is nothing to let go: {body}");

    house.building.set_detector(9, Detector::Normal)?;
    let alarm = house.wait_for_alarm("fire-panel/zone_2_fire_9", SOON, |alarm| alarm["active"] == false).await?;
    assert_eq!(alarm["latched"], true);
    assert_eq!(house.incident_by_id(&incident).await?["state"], "acknowledged");
    assert!(
        house.calls_about(&incident).iter().all(|call| call.kind == "alert"),
        "nothing has recovered while it is latched"
    );

    house.order(reset).await?;
    house.wait_for_state(&incident, "closed", SOON).await?;
    let _ = house.wait_for_call("recovery", SOON, |call| call.kind == "recovery" && call.person == "manager").await?;
    Ok(())
}
