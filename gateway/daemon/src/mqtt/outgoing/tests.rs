//! What is published, and what stays due.

use guanjia_core::reading::{BadReason, Decimal, Reading};

use super::*;
use crate::live::LatestTable;
use crate::mqtt::tests::{raised, water_site};

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn northbound(packet_bytes_max: usize) -> Northbound {
    Northbound::new(Arc::new(water_site(1883, Some("gj"))), "gj", None, packet_bytes_max)
}

fn board(alarms: Vec<AlarmRecord>) -> AlarmBoard {
    AlarmBoard { alarms, incidents: vec![] }
}

/// The next message, the weightiest first.
fn next(north: &mut Northbound) -> Option<Outgoing> {
    north.next_state().or_else(|| north.next_reading())
}

fn everything(north: &mut Northbound) -> Vec<Outgoing> {
    std::iter::from_fn(|| next(north)).collect()
}

fn text(message: &Outgoing) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

/// Every row of the table.
fn rows(latest: &LatestTable) -> Vec<(PointIx, Latest)> {
    (0..).map(PointIx).map_while(|point| Some((point, latest.get(point)?))).collect()
}

#[test]
fn a_slot_is_due_until_exactly_its_state_is_acknowledged() {
    let mut north = northbound(65_536);
    north.alarms(&board(vec![]));
    let normal = next(&mut north).unwrap();
    assert!(text(&normal).contains(r#""state":"normal""#));
    north.alarms(&board(vec![raised()]));
    assert_eq!(next(&mut north), None, "two states of one topic are never under way at once");
    north.acknowledged(normal.token);
    let active = next(&mut north).unwrap();
    assert!(text(&active).contains(r#""state":"active_unacknowledged""#) && active.retain);
    assert!(!north.settled());
    north.connected();
    let again = next(&mut north).unwrap();
    assert_eq!(again, active, "the session ended before the acknowledgement");
    north.acknowledged(again.token);
    north.alarms(&board(vec![raised()]));
    assert_eq!(next(&mut north), None);
    assert!(north.settled());
}

#[test]
fn status_and_alarms_go_before_readings() {
    let mut north = northbound(65_536);
    let site = water_site(1883, None);
    let latest = LatestTable::new(&site, T0);
    latest.update(&[Reading::good(PointIx(1), Value::Float(2.5), T0)]);
    latest.set_device(guanjia_core::reading::DeviceIx(0), None, T0);
    north.readings(&rows(&latest), T0);
    north.devices(&latest.devices());
    north.alarms(&board(vec![raised()]));
    north.status("online");
    let topics: Vec<String> = everything(&mut north).into_iter().map(|message| message.topic).collect();
    assert_eq!(
        topics,
        [
            "gj/test/status",
            "gj/test/alarm/w-1/leak",
            "gj/test/device/w-1/availability",
            "gj/test/device/w-1/point/flow"
        ]
    );
}

#[test]
fn a_reading_that_waits_is_replaced_by_a_newer_one_and_repeated_after_a_period() {
    let mut north = northbound(65_536);
    let latest = LatestTable::new(&water_site(1883, None), T0);
    let update =
        |value: i128, at| latest.update(&[Reading::good(PointIx(0), Value::Decimal(Decimal::new(value, 0)), at)]);
    assert_eq!(north.readings(&rows(&latest), T0), 0);
    assert_eq!(next(&mut north), None, "what was never read is not spoken of");
    update(1, T0);
    assert_eq!(north.readings(&rows(&latest), T0), 0);
    update(2, T0 + Duration::from_secs(1));
    assert_eq!(north.readings(&rows(&latest), T0 + Duration::from_secs(1)), 1);
    assert!(text(&next(&mut north).unwrap()).starts_with(r#"{"value":2,"#));
    assert_eq!(next(&mut north), None);
    north.readings(&rows(&latest), T0 + PERIOD);
    assert_eq!(next(&mut north), None);
    north.readings(&rows(&latest), T0 + PERIOD + Duration::from_secs(1));
    assert!(next(&mut north).is_some());
}

#[test]
fn a_stale_or_bad_value_goes_out_as_null() {
    let mut north = northbound(65_536);
    let latest = LatestTable::new(&water_site(1883, None), T0);
    latest.update(&[Reading::good(PointIx(0), Value::Decimal(Decimal::new(7, 0)), T0)]);
    let at = T0 + Duration::from_secs(60);
    latest.update(&[Reading { point: PointIx(0), value: None, quality: Quality::Stale, at }]);
    north.readings(&rows(&latest), at);
    assert!(text(&next(&mut north).unwrap()).starts_with(r#"{"value":null,"quality":"stale""#));
    latest.update(&[Reading::bad(PointIx(0), BadReason::Offline, at)]);
    north.readings(&rows(&latest), at);
    let message = next(&mut north).unwrap();
    let payload = text(&message);
    assert!(payload.ends_with(r#""why":"offline"}"#) && payload.contains(r#""value":null"#), "{payload}");
}

#[test]
fn what_is_too_large_is_left_out_and_holds_nothing_up() {
    let mut north = northbound(200);
    north.alarms(&board(vec![raised()]));
    north.status("online");
    let topics: Vec<String> = everything(&mut north).into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["gj/test/status"]);
    north.connected();
    assert_eq!(everything(&mut north).len(), 1);
}

#[test]
fn alarm_states_have_their_words() {
    let with = |change: fn(&mut AlarmRecord)| {
        let mut record = raised();
        change(&mut record);
        state_word(Some(&record))
    };
    assert_eq!(with(|_| ()), "active_unacknowledged");
    assert_eq!(with(|r| r.acked = true), "active_acknowledged");
    assert_eq!(with(|r| r.active = false), "returned_unacknowledged");
    assert_eq!(with(|r| (r.active, r.acked, r.latched) = (false, true, true)), "latched");
    assert_eq!(with(|r| (r.active, r.acked) = (false, true)), "normal");
    assert_eq!(state_word(None), "normal");
}

#[test]
fn what_was_configured_for_a_device_that_is_gone_is_taken_away() {
    let site = Arc::new(water_site(1883, Some("gj")));
    let mut north = Northbound::new(site, "gj", Some("homeassistant"), 65_536);
    north.connected();
    let config = next(&mut north).unwrap();
    assert_eq!((config.topic.as_str(), config.retain), ("homeassistant/device/guanjia_test_w-1/config", true));
    north.found("homeassistant/device/guanjia_test_w-1/config", b"{}");
    north.found("homeassistant/device/guanjia_other_w-9/config", b"{}");
    north.found("homeassistant/device/guanjia_test_w-9/config", b"");
    assert_eq!(next(&mut north), None, "neither one's own, nor another site's, nor one that is gone already");
    north.found("homeassistant/device/guanjia_test_w-9/config", b"{}");
    let removal = next(&mut north).unwrap();
    assert_eq!(removal.topic, "homeassistant/device/guanjia_test_w-9/config");
    assert!(removal.payload.is_empty() && removal.retain);
}

#[test]
fn a_restless_point_does_not_keep_the_others_waiting() {
    let mut north = northbound(65_536);
    let latest = LatestTable::new(&water_site(1883, None), T0);
    let mut topics = Vec::new();
    for round in 0..3i64 {
        let at = T0 + Duration::from_secs(round as u64);
        let value = Value::Decimal(Decimal::new(i128::from(round), 0));
        latest.update(&[Reading::good(PointIx(0), value.clone(), at), Reading::good(PointIx(1), value, at)]);
        north.readings(&rows(&latest), at);
        topics.push(next(&mut north).unwrap().topic);
    }
    assert!(topics.iter().any(|topic| topic.ends_with("/flow")), "{topics:?}");
}
