//! Lift: somebody is inside a car that stands between two floors.

use std::time::Duration;

use guanjia_sim::Story;
use guanjia_tests::duty::expected;
use guanjia_tests::house::House;

const SOON: Duration = Duration::from_secs(5);
/// Two seconds of delay at test tempo, the poll, and room for a busy machine.
const ENTRAPMENT_MAX: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_entrapment_is_paged_for_its_own_lift_and_ends_only_by_a_person() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.start_story(Story::LiftEntrapment, Some("lift-1"))?;
    let call = house.wait_for_call("entrapment", ENTRAPMENT_MAX, |call| call.is_for_duty_phone()).await?;
    assert!(call.title.starts_with("【困人】") || call.title.contains("困人"), "{}", call.title);
    assert!(call.title.contains("1号客梯"), "{}", call.title);
    assert_eq!(call.priority, "P1");
    let incident = house.incident("EP-05", SOON).await?;
    assert_eq!(incident["root"], "lift-1/entrapment");
    let _ = house.wait_for_call("control room", SOON, |call| call.person == "control-room").await?;
    house.accept(&incident).await?;

    house.building.clear_story(Story::LiftEntrapment)?;
    let alarm = house.wait_for_alarm("lift-1/entrapment", SOON, |alarm| alarm["active"] == false).await?;
    assert_eq!(alarm["latched"], true, "that the people are out, a person has to say");
    assert_eq!(house.incident_by_id(&incident).await?["state"], "acknowledged");
    house.order("/alarms/lift-1/entrapment/reset").await?;
    house.wait_for_state(&incident, "closed", SOON).await?;

    let once = expected(&[("duty", 1), ("control-room", 1)]);
    house.wait_for_pages("recovery", &incident, &once, SOON).await?;
    house.wait_for_pages("alert", &incident, &once, SOON).await?;
    let others = house.incidents().await?;
    assert!(others.is_empty(), "the other lift travelled all the time with people in it: {others:?}");
    for lift in ["lift-1", "lift-2"] {
        assert_eq!(house.building.device(lift)?.writes, 0, "nobody writes to a lift");
    }
    Ok(())
}
