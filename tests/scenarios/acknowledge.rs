//! Acknowledging: looking changes nothing, pressing does, and every way says who it was.

use std::time::Duration;

use anyhow::Context;
use guanjia_sim::Detector;
use guanjia_tests::duty::plain_client;
use guanjia_tests::house::{House, TOKEN};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);

/// A fire at that detector, and its incident.
async fn fire(house: &House, detector: u8) -> anyhow::Result<Value> {
    house.building.set_detector(detector, Detector::Fire)?;
    let root = format!("fire-panel/zone_1_fire_{detector}");
    guanjia_tests::gateway::eventually("the fire", SOON, || async {
        Ok(house.incidents().await?.into_iter().find(|incident| incident["root"] == *root))
    })
    .await
}

async fn state(house: &House, incident: &Value) -> anyhow::Result<(String, Option<String>)> {
    let seen = house.incident_by_id(incident).await?;
    let state = seen["state"].as_str().context("a state")?.to_owned();
    Ok((state, seen["acknowledged_by"].as_str().map(str::to_owned)))
}

fn acknowledged_by(who: &str) -> (String, Option<String>) {
    ("acknowledged".to_owned(), Some(who.to_owned()))
}

#[tokio::test]
async fn the_link_in_a_page_shows_when_looked_at_and_accepts_when_pressed() -> anyhow::Result<()> {
    let house = House::start().await?;
    let incident = fire(&house, 1).await?;
    let duty = house.wait_for_call("fire", SOON, |call| call.is_for_duty_phone()).await?;
    let control = house.wait_for_call("fire", SOON, |call| call.person == "control-room").await?;
    let (link, other) = (duty.link.context("a link")?, control.link.context("a link")?);
    assert_ne!(link, other, "each page has its own token");
    let client = plain_client()?;

    // Mail and chat programs fetch links to show a preview.
    for _ in 0..2 {
        assert_eq!(client.head(&link).send().await?.status(), StatusCode::OK);
        let shown = client.get(&link).send().await?;
        assert_eq!(shown.status(), StatusCode::OK);
        assert!(shown.text().await?.contains(incident["code"].as_str().context("a code")?));
    }
    assert_eq!(state(&house, &incident).await?, ("open".to_owned(), None), "looking is not accepting");

    house.building.phone().acknowledge(&duty.person).await?;
    assert_eq!(state(&house, &incident).await?, acknowledged_by(&duty.person));
    // A second answer changes nothing: it still was the first person.
    assert_eq!(client.post(&other).send().await?.status(), StatusCode::OK);
    assert_eq!(state(&house, &incident).await?, acknowledged_by(&duty.person));

    // The incident is over; its link never opens it again.
    house.building.set_detector(1, Detector::Normal)?;
    house.wait_for_alarm("fire-panel/zone_1_fire_1", SOON, |alarm| alarm["latched"] == true).await?;
    house.order("/alarms/fire-panel/zone_1_fire_1/reset").await?;
    let closed = house.wait_for_state(&incident, "closed", SOON).await?;
    assert_eq!(client.get(&other).send().await?.status(), StatusCode::OK);
    let late = client.post(&other).send().await?;
    assert_eq!(late.status(), StatusCode::OK, "the page says that it is closed");
    let after = house.incident_by_id(&incident).await?;
    assert_eq!((&after["state"], &after["acknowledged_by"]), (&closed["state"], &closed["acknowledged_by"]));
    Ok(())
}

#[tokio::test]
async fn a_token_nobody_was_given_accepts_nothing() -> anyhow::Result<()> {
    let house = House::start().await?;
    let incident = fire(&house, 2).await?;
    let client = plain_client()?;
    for token in ["0123456789abcdef0123456789abcdef", "x", "..%2f..%2fapi"] {
        let link = format!("{}/a/{token}", house.gateway.base());
        assert_eq!(client.get(&link).send().await?.status(), StatusCode::NOT_FOUND, "{token}");
        assert_eq!(client.post(&link).send().await?.status(), StatusCode::NOT_FOUND, "{token}");
    }
    assert_eq!(state(&house, &incident).await?.0, "open");
    Ok(())
}

/// Presses the console's button as a browser on a page of `origin` does.
async fn press(client: &Client, house: &House, incident: &Value, origin: &str) -> anyhow::Result<StatusCode> {
    let id = incident["id"].as_str().context("an id")?;
    let form = client.post(format!("{}/incidents/{id}/acknowledge", house.gateway.base()));
    let form = form.header("Origin", origin).header("Content-Type", "application/x-www-form-urlencoded");
    Ok(form.body("person=engineer").send().await?.status())
}

#[tokio::test]
async fn the_console_and_the_api_accept_in_the_name_of_a_person() -> anyhow::Result<()> {
    let house = House::start().await?;
    let client = plain_client()?;
    let first = fire(&house, 3).await?;
    let foreign = press(&client, &house, &first, "http://evil.example.com").await?;
    assert!(foreign.is_client_error(), "a foreign page may not press our buttons: {foreign}");
    assert_eq!(state(&house, &first).await?.0, "open");
    let own = house.gateway.base().to_owned();
    assert_eq!(press(&client, &house, &first, &own).await?, StatusCode::SEE_OTHER);
    assert_eq!(state(&house, &first).await?, acknowledged_by("engineer"));

    let second = fire(&house, 4).await?;
    let id = second["id"].as_str().context("an id")?;
    let order = || client.post(format!("{own}/api/v1/incidents/{id}/acknowledge"));
    assert_eq!(order().send().await?.status(), StatusCode::UNAUTHORIZED);
    let nobody = order().bearer_auth(TOKEN).json(&json!({ "person": "nobody" })).send().await?;
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
    assert_eq!(state(&house, &second).await?.0, "open");
    let named = order().bearer_auth(TOKEN).json(&json!({ "person": "manager" })).send().await?;
    assert_eq!(named.status(), StatusCode::OK);
    assert_eq!(state(&house, &second).await?, acknowledged_by("manager"));
    Ok(())
}
