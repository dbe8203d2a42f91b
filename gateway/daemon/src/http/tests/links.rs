//! The link in a page: robots look, people press.

use std::time::Duration;

use guanjia_core::alarm::Priority;
use guanjia_core::incident::IncidentState;
use guanjia_store::AlarmBatch;
use reqwest::StatusCode;

use super::house::{House, TOKEN, batch, incident, long_ago};

async fn state(house: &House) -> IncidentState {
    house.live.store.incident(house.incident).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_preview_robot_accepts_nothing_and_a_person_does() {
    let house = House::open().await;
    let link = format!("{}/a/{TOKEN}", house.url);
    for _ in 0..2 {
        let seen = house.http.get(&link).send().await.unwrap();
        assert_eq!(seen.status(), StatusCode::OK);
        assert_eq!(seen.headers()["referrer-policy"], "no-referrer");
        assert_eq!(seen.headers()["cache-control"], "no-store");
        let text = seen.text().await.unwrap();
        assert!(text.contains("一层烟感报警") && text.contains("0001") && text.contains("Acknowledge"), "{text}");
        assert_eq!(house.http.head(&link).send().await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(state(&house).await, IncidentState::Open);
    // A notification's button posts without any page behind it.
    let pressed = house.http.post(&link).send().await.unwrap();
    assert_eq!(pressed.status(), StatusCode::OK);
    assert!(pressed.text().await.unwrap().contains("已受理,谢谢。"));
    assert_eq!(state(&house).await, IncidentState::Acknowledged);
    let after = house.live.store.incident(house.incident).await.unwrap().unwrap();
    assert_eq!(after.acked_by.as_deref(), Some("duty-a"), "in the name of the person who was paged");
    let twice = house.http.post(&link).header("Accept-Language", "en").send().await.unwrap();
    assert_eq!(twice.status(), StatusCode::OK);
    assert!(twice.text().await.unwrap().contains("Accepted already by 值班员甲."));
}

#[tokio::test]
async fn a_late_acceptance_of_a_closed_incident_does_not_open_it() {
    let house = House::open().await;
    let mut closed = house.live.store.incident(house.incident).await.unwrap().unwrap();
    closed.state = IncidentState::Closed;
    let change = AlarmBatch { incidents: vec![closed], ..AlarmBatch::default() };
    house.live.store.commit_alarms(change).await.unwrap();
    let pressed = house.http.post(format!("{}/a/{TOKEN}?lang=en", house.url)).send().await.unwrap();
    assert!(pressed.text().await.unwrap().contains("The incident is closed; it is not opened again."));
    assert_eq!(state(&house).await, IncidentState::Closed);
}

#[tokio::test]
async fn an_unknown_or_expired_link_says_so() {
    let house = House::open().await;
    let mut old = incident(7, Priority::P2);
    old.opened_at = long_ago();
    let mut rows = batch(&old);
    rows.alarms.clear();
    rows.pages[0].ack_token = Some("feedfeedfeedfeedfeedfeedfeedfeed".to_owned());
    rows.pages[0].expires_at = old.opened_at + Duration::from_secs(60);
    house.live.store.commit_alarms(rows).await.unwrap();
    for (token, status) in
        [("feedfeedfeedfeedfeedfeedfeedfeed", 410), ("00000000000000000000000000000000", 404), ("%27%20or%201", 404)]
    {
        let link = format!("{}/a/{token}", house.url);
        assert_eq!(house.http.get(&link).send().await.unwrap().status().as_u16(), status, "{token}");
        assert_eq!(house.http.post(&link).send().await.unwrap().status().as_u16(), status, "{token}");
    }
    let untouched = house.live.store.incident(old.id).await.unwrap().unwrap();
    assert_eq!(untouched.state, IncidentState::Open);
}
