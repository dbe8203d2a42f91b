//! Fire: the one page that must never be late.

use std::time::Duration;

use guanjia_sim::Story;
use guanjia_tests::house::House;

#[tokio::test]
async fn a_fire_alarm_pages_everybody_on_duty_and_runs_its_plan() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.start_story(Story::FireAlarm, None)?;
    let page = house.building.phone().wait_for_page(|page| page.body.contains("火警"), Duration::from_secs(15)).await;
    let page = page.expect("the duty phone rings");
    assert_eq!(page.signature, guanjia_sim::Signature::Valid);
    assert!(page.ack_link.is_some(), "an alert can be accepted by its link: {}", page.body);
    let incident = house.incident("EP-06", Duration::from_secs(2)).await?;
    assert_eq!(incident["priority"], "P1");
    assert_ne!(incident["owner"], "");
    Ok(())
}
