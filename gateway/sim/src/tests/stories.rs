use super::*;

fn word(building: &Building, device: &str, address: u16) -> u16 {
    building.registers(device).expect("it exists")[&format!("holding:{address}")]
}

fn answers(building: &Building, device: &str) -> bool {
    building.device(device).expect("it exists").answers
}

#[tokio::test]
async fn a_fire_begins_with_smoke_and_clears_with_the_panel() {
    let building = building().await;
    building.start_story(Story::FireAlarm, Some("2")).expect("a zone");
    assert_eq!(word(&building, "fire-panel", 8), 0x5400, "prealarm of the zone's first detector");
    until("fire", || word(&building, "fire-panel", 8) == 0x0C10).await;
    assert_eq!(word(&building, "fire-panel", 0), 0x1400, "no other zone");
    building.clear_story(Story::FireAlarm).expect("it runs");
    assert_eq!(word(&building, "fire-panel", 8), 0x1400);
    assert!(building.truth().stories.is_empty());
}

#[tokio::test]
async fn somebody_stuck_presses_the_button_and_is_let_out() {
    let building = building().await;
    building.start_story(Story::LiftEntrapment, Some("lift-2")).expect("a lift");
    let state = |building: &Building| [16, 17, 22, 23].map(|address| word(building, "lift-2", address));
    assert_eq!(state(&building), [0, 1, 1, 0]);
    assert_eq!(word(&building, "lift-2", 24), 0);
    until("the button", || word(&building, "lift-2", 24) == 1).await;
    building.clear_story(Story::LiftEntrapment).expect("it runs");
    until("the open door", || word(&building, "lift-2", 18) == 1).await;
    assert_eq!([22, 23, 24].map(|address| word(&building, "lift-2", address)), [0, 1, 0]);
}

#[tokio::test]
async fn a_leak_flows_until_somebody_closes_the_tap() {
    let building = building().await;
    building.set_time(Duration::from_secs(3 * 3600));
    until("night", || building.device("w-303").is_ok_and(|meter| meter.flow_l_h == Some(0.0))).await;
    building.start_story(Story::WaterLeak, Some("w-303")).expect("a meter");
    let flow = |building: &Building| building.device("w-303").expect("a meter").flow_l_h.expect("water");
    until("the leak", || flow(&building) > 800.0).await;
    building.clear_story(Story::WaterLeak).expect("it runs");
    until("the end of the leak", || flow(&building) == 0.0).await;
}

#[tokio::test]
async fn a_shop_without_credit_is_cut_by_somebody_pays_and_has_power_again() {
    let building = building().await;
    building.start_story(Story::ShopOutOfCredit, Some("s-103")).expect("a shop with a relay");
    until("the load", || building.device("m-103").is_ok_and(|meter| meter.power_w > Some(15_000.0))).await;
    // The gateway's part is played by a Modbus client.
    let mut meter = modbus(&building, LineId::Rs485A, 3).await;
    meter.write_multiple_registers(0x57, &[1, 1]).await.expect("the wire works").expect("no exception");
    until("darkness", || building.truth().stories.first().is_some_and(|story| story.phase == "dark")).await;
    let wait = timeout(Duration::from_secs(15), async {
        while building.payments().payments().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    wait.await.expect("the shopkeeper pays within fifteen seconds");
    let payment = &building.payments().payments()[0];
    assert_eq!((payment.service_point.as_str(), payment.amount.as_str()), ("s-103-e", "50.00"));
    meter.write_multiple_registers(0x57, &[1, 0]).await.expect("the wire works").expect("no exception");
    until("the end", || building.truth().stories.is_empty()).await;
    until("normal load", || building.device("m-103").is_ok_and(|meter| meter.power_w < Some(15_000.0))).await;
    assert!(building.start_story(Story::ShopOutOfCredit, Some("s-301")).is_err(), "an SDM630 has no relay");
}

#[tokio::test]
async fn a_floor_without_mains_shows_at_once_and_comes_back() {
    let building = building().await;
    building.start_story(Story::MainsOutage, None).expect("a floor");
    assert_eq!([2, 3, 4, 5].map(|address| word(&building, "io", address)), [1, 0, 1, 1]);
    let dark = || building.truth().devices.iter().filter(|device| !device.answers).count();
    until("the first silent meter", || dark() > 0).await;
    building.clear_story(Story::MainsOutage).expect("it runs");
    assert_eq!([2, 3].map(|address| word(&building, "io", address)), [0, 1]);
    until("all meters", || dark() == 0).await;
}

#[tokio::test]
async fn a_meter_dies_on_the_wire_and_on_the_broker() {
    let building = building().await;
    let retained = || building.broker().truth().retained.get("site/water/w-305/online").cloned();
    until("the meter is online", || retained().as_deref() == Some("online")).await;
    building.start_story(Story::MeterDies, None).expect("a meter");
    assert!(!answers(&building, "m-105"));
    building.start_story(Story::MeterDies, Some("w-305")).expect("a meter");
    assert!(answers(&building, "m-105"), "the story moved on to another meter");
    until("its will", || retained().as_deref() == Some("offline")).await;
    building.clear_story(Story::MeterDies).expect("it runs");
    until("its return", || retained().as_deref() == Some("online")).await;
}

#[tokio::test]
async fn lines_hang_and_get_noisy_and_recover() {
    let building = building().await;
    let line = |name: &str| building.truth().lines.into_iter().find(|line| line.name == name).expect("a line").fault;
    building.start_story(Story::SerialServerHangs, None).expect("a line");
    building.start_story(Story::GarbageOnLine, Some("rs485-b")).expect("a line");
    assert_eq!((line("rs485-b").server, line("rs485-b").noise), (Server::Hangs, Noise::Garbage));
    building.clear_story(Story::SerialServerHangs).expect("it runs");
    assert_eq!((line("rs485-b").server, line("rs485-b").noise), (Server::Works, Noise::Garbage));
    building.reset();
    assert_eq!(line("rs485-b"), LineFault::default());
    assert!(building.start_story(Story::GarbageOnLine, Some("rs485-z")).is_err());
}

#[tokio::test]
async fn in_automatic_mode_the_stories_follow_each_other() {
    client();
    let config =
        BuildingConfig { story: StoryMode::Auto, pace: Duration::from_millis(400), ..BuildingConfig::default() };
    let building = Building::start(config).await.expect("it starts");
    for story in [Story::ShopOutOfCredit, Story::FireAlarm, Story::WaterLeak] {
        until(story.name(), || building.truth().stories.iter().any(|running| running.story == story)).await;
    }
    until("the end of the fire", || !building.truth().stories.iter().any(|running| running.story == Story::FireAlarm))
        .await;
}

#[tokio::test]
async fn a_restarted_building_goes_on_where_it_ended() {
    let first = building().await;
    let before = first.device("m-101").expect("a meter").energy_wh;
    let saved = first.snapshot();
    first.shutdown().await;
    let config = BuildingConfig { seed: 77, restore: Some(saved), ..BuildingConfig::default() };
    let second = Building::start(config).await.expect("it starts");
    assert!(second.device("m-101").expect("a meter").energy_wh >= before);
    let damaged = BuildingConfig { restore: Some(serde_json::json!({})), ..BuildingConfig::default() };
    assert!(matches!(Building::start(damaged).await, Err(SimError::Snapshot(_))));
}
