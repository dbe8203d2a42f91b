//! What is published, and what stays due.

use guanjia_core::reading::{BadReason, Decimal, Reading};

use super::*;
use crate::live::LatestTable;
use crate::mqtt::tests::{raised, water_site};

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn northbound(packet_bytes_max: usize) -> Northbound {
    Northbound::new(Arc::new(water_site(1883, Some("gj"))), "gj", packet_bytes_max)
}

fn board(alarms: Vec<AlarmRecord>) -> AlarmBoard {
    AlarmBoard { alarms, incidents: vec![] }
}

fn everything(north: &mut Northbound) -> Vec<Outgoing> {
    std::iter::from_fn(|| north.next()).collect()
}

#[test]
fn a_slot_is_due_until_exactly_its_state_is_acknowledged() {
    let mut north = northbound(65_536);
    north.alarms(&board(vec![]));
    let normal = north.next().unwrap();
    assert!(normal.payload.contains(r#""state":"normal""#));
    north.alarms(&board(vec![raised()]));
    assert_eq!(north.next(), None, "two states of one topic are never under way at once");
    north.acknowledged(normal.token);
    let active = north.next().unwrap();
    assert!(active.payload.contains(r#""state":"active_unacknowledged""#) && active.retain);
    assert!(!north.settled());
    north.connected();
    let again = north.next().unwrap();
    assert_eq!(again, active, "the session ended before the acknowledgement");
    north.acknowledged(again.token);
    north.alarms(&board(vec![raised()]));
    assert_eq!(north.next(), None);
    assert!(north.settled());
}

#[test]
fn status_and_alarms_go_before_readings() {
    let mut north = northbound(65_536);
    let site = water_site(1883, None);
    let latest = LatestTable::new(&site, T0);
    latest.update(&[Reading::good(PointIx(1), Value::Float(2.5), T0)]);
    latest.set_device(guanjia_core::reading::DeviceIx(0), None, T0);
    north.readings(&latest.all(), T0);
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
    assert_eq!(north.readings(&latest.all(), T0), 0);
    assert_eq!(north.next(), None, "what was never read is not spoken of");
    update(1, T0);
    assert_eq!(north.readings(&latest.all(), T0), 0);
    update(2, T0 + Duration::from_secs(1));
    assert_eq!(north.readings(&latest.all(), T0 + Duration::from_secs(1)), 1);
    assert!(north.next().unwrap().payload.starts_with(r#"{"value":2,"#));
    assert_eq!(north.next(), None);
    north.readings(&latest.all(), T0 + PERIOD);
    assert_eq!(north.next(), None);
    north.readings(&latest.all(), T0 + PERIOD + Duration::from_secs(1));
    assert!(north.next().is_some());
}

#[test]
fn a_stale_or_bad_value_goes_out_as_null() {
    let mut north = northbound(65_536);
    let latest = LatestTable::new(&water_site(1883, None), T0);
    latest.update(&[Reading::good(PointIx(0), Value::Decimal(Decimal::new(7, 0)), T0)]);
    let at = T0 + Duration::from_secs(60);
    latest.update(&[Reading { point: PointIx(0), value: None, quality: Quality::Stale, at }]);
    north.readings(&latest.all(), at);
    assert!(north.next().unwrap().payload.starts_with(r#"{"value":null,"quality":"stale""#));
    latest.update(&[Reading::bad(PointIx(0), BadReason::Offline, at)]);
    north.readings(&latest.all(), at);
    let payload = north.next().unwrap().payload;
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
