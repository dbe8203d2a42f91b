//! What a topic can say, and what may be believed of it.

use guanjia_core::profile::{MessageForm, MessageTime, Presence, Source, TimeFormat};
use guanjia_core::reading::{Decimal, PointIx, Value};

use super::*;
use crate::mqtt::tests::water_site;

const STATE: &str = "water/w-1/state";
const ONLINE: &str = "water/w-1/online";
const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn intake() -> Intake {
    let mut intake = Intake::new(Arc::new(water_site(1883, None)), 0);
    intake.connected(T0);
    intake
}

fn topic(name: &str, points: &[usize]) -> Topic {
    Topic { name: name.to_owned(), points: points.to_vec() }
}

fn attached(topics: Vec<Topic>) -> Attachment {
    Attachment::Mqtt { broker: 0, topics, availability: Some(ONLINE.to_owned()) }
}

fn later(seconds: u64) -> Timestamp {
    T0 + std::time::Duration::from_secs(seconds)
}

fn qualities(reports: &[FieldReport]) -> Vec<Quality> {
    reports
        .iter()
        .filter_map(|report| match report {
            FieldReport::Readings { readings, .. } => Some(readings.iter().map(|r| r.quality)),
            FieldReport::Past { .. } | FieldReport::Health { .. } => None,
        })
        .flatten()
        .collect()
}

fn healths(reports: &[FieldReport]) -> Vec<DeviceHealth> {
    reports
        .iter()
        .filter_map(|report| match report {
            FieldReport::Health { health, .. } => Some(*health),
            FieldReport::Past { .. } | FieldReport::Readings { .. } => None,
        })
        .collect()
}

#[test]
fn a_retained_value_is_suspect_until_a_live_one_comes() {
    let mut intake = intake();
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, Delivery::Retained, T0);
    assert_eq!(qualities(&reports), [Quality::Suspect]);
    assert!(healths(&reports).is_empty(), "last year's message proves nothing about now");
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, Delivery::Live, T0);
    assert_eq!(qualities(&reports), [Quality::Good]);
    assert_eq!(healths(&reports), [DeviceHealth::Answering]);
    let (reports, tally) = intake.message(STATE, br#"{"flow":1}"#, Delivery::Retained, later(1));
    assert!(reports.is_empty() && tally.repeated == 1, "the last live message once more makes nothing suspect");
    let (reports, _) = intake.message(STATE, br#"{"flow":2}"#, Delivery::Retained, later(1));
    assert_eq!(qualities(&reports), [Quality::Suspect]);
}

#[test]
fn after_a_restart_the_last_message_counts_as_of_when_it_came() {
    let mut intake = intake();
    let kept = |received| Delivery::Kept { received };
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, kept(T0), later(59));
    assert_eq!(qualities(&reports), [Quality::Good]);
    assert!(
        matches!(&reports[1], FieldReport::Readings { readings, .. } if readings[0].at == T0),
        "the time of a value does not move"
    );
    assert_eq!(healths(&intake.overdue(later(61))), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    let mut intake = self::intake();
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, kept(T0), later(61));
    assert_eq!(qualities(&reports), [Quality::Suspect], "too old to raise, clear or bill anything");
    assert!(healths(&reports).is_empty());
}

#[test]
fn what_somebody_pays_by_is_kept_in_the_journal() {
    assert_eq!(intake().keeping(STATE), Keeping::Journal);
    assert_eq!(intake().keeping("water/w-2/state"), Keeping::Nowhere);
}

#[test]
fn rubbish_is_bad_and_counted_and_never_a_value() {
    let undecodable = Quality::Bad(BadReason::Undecodable);
    let rubbish: [&[u8]; 6] = [b"", b"\xff\xfe", b"{\"flow\":", b"[]", b"{}", b"{\"other\":1}"];
    for payload in rubbish {
        let (reports, tally) = intake().message(STATE, payload, Delivery::Live, T0);
        assert_eq!(qualities(&reports), [undecodable; 4], "{payload:?}");
        assert_eq!(tally.undecodable, 4);
    }
    let wrong = br#"{"volume_l":"12","flow":true,"valve":[1],"serial":{"a":1}}"#;
    let (reports, tally) = intake().message(STATE, wrong, Delivery::Live, T0);
    assert_eq!((qualities(&reports), tally.undecodable), (vec![undecodable; 4], 4));
}

#[test]
fn one_bad_member_spoils_no_other() {
    let (reports, tally) =
        intake().message(STATE, br#"{"volume_l":1e99,"flow":null,"serial":"A7"}"#, Delivery::Live, T0);
    let expected = [Quality::Bad(BadReason::Undecodable), Quality::Bad(BadReason::Sentinel), Quality::Good];
    assert_eq!(qualities(&reports), expected);
    assert_eq!(tally.undecodable, 1);
}

#[test]
fn a_device_that_said_goodbye_stays_away_whatever_the_broker_kept() {
    let mut intake = intake();
    intake.message(STATE, br#"{"flow":1}"#, Delivery::Live, T0);
    let (reports, _) = intake.message(ONLINE, b"offline", Delivery::Retained, T0);
    assert_eq!(healths(&reports), [DeviceHealth::Silent(BadReason::Offline)]);
    assert_eq!(qualities(&reports), [Quality::Bad(BadReason::Offline); 4]);
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, Delivery::Retained, T0);
    assert!(reports.is_empty());
    let (reports, _) = intake.message(ONLINE, b"maybe", Delivery::Live, T0);
    assert!(reports.is_empty());
    let (reports, _) = intake.message(STATE, br#"{"flow":1}"#, Delivery::Live, T0);
    assert_eq!(healths(&reports), [DeviceHealth::Answering]);
}

#[test]
fn a_device_that_dies_without_a_will_is_noticed_by_its_silence() {
    let mut intake = intake();
    intake.message(STATE, br#"{"flow":1}"#, Delivery::Live, later(10));
    assert!(intake.overdue(later(70)).is_empty());
    let reports = intake.overdue(later(71));
    assert_eq!(healths(&reports), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    assert!(intake.overdue(later(200)).is_empty(), "said once");
}

#[test]
fn a_broker_that_is_back_does_not_excuse_a_device_for_ever() {
    let mut intake = intake();
    assert_eq!(healths(&intake.lost(later(5))), [DeviceHealth::Silent(BadReason::LineDown)]);
    assert!(intake.lost(later(6)).is_empty(), "said once");
    intake.connected(later(100));
    assert!(intake.overdue(later(150)).is_empty());
    assert_eq!(healths(&intake.overdue(later(161))), [DeviceHealth::Silent(BadReason::NoAnswer)]);
}

/// A meter whose volume and flow come alone, and everything else on its own topic.
fn scattered() -> Intake {
    let mut site = water_site(1883, None);
    let mut profile = (*site.devices[0].profile).clone();
    for place in [0, 1] {
        profile.points[place].source = Source::Message { topic: Some("{topic}/n".to_owned()), pointer: String::new() };
    }
    profile.message = Some(MessageForm {
        presence: Presence { pointer: "/state".to_owned(), online: "true".to_owned(), offline: "gone".to_owned() },
        ..MessageForm::default()
    });
    site.devices[0].profile = Arc::new(profile);
    site.devices[0].attachment =
        attached(vec![topic("water/w-1/volume", &[0]), topic("water/w-1/flow", &[1]), topic(STATE, &[2, 3])]);
    let mut intake = Intake::new(Arc::new(site), 0);
    intake.connected(T0);
    intake
}

#[test]
fn values_that_come_on_topics_of_their_own_spoil_no_others() {
    let mut intake = scattered();
    assert_eq!(intake.topics(), ["water/w-1/flow", ONLINE, STATE, "water/w-1/volume"]);
    let (reports, _) = intake.message("water/w-1/volume", b"1234", Delivery::Live, T0);
    assert_eq!((qualities(&reports), healths(&reports)), (vec![Quality::Good], vec![DeviceHealth::Answering]));
    let (reports, tally) = intake.message("water/w-1/flow", b"n/a", Delivery::Live, T0);
    assert!(
        matches!(&reports[0], FieldReport::Readings { readings, .. } if readings.len() == 1 && readings[0].point == PointIx(1)),
        "{reports:?}"
    );
    assert_eq!((qualities(&reports), tally.undecodable), (vec![Quality::Bad(BadReason::Undecodable)], 1));
    let (reports, _) = intake.message(STATE, br#"{"valve":true,"flow":9}"#, Delivery::Live, T0);
    assert_eq!(qualities(&reports), [Quality::Good], "the flow is not said here");
    intake.message("water/w-1/flow", b"7", Delivery::Live, later(50));
    assert!(intake.overdue(later(100)).is_empty(), "it speaks, whatever of");
    assert_eq!(healths(&intake.overdue(later(111))), [DeviceHealth::Silent(BadReason::NoAnswer)]);
}

#[test]
fn the_same_bytes_on_another_topic_are_no_repetition() {
    let mut intake = scattered();
    intake.message("water/w-1/volume", b"5", Delivery::Live, T0);
    let (reports, tally) = intake.message("water/w-1/flow", b"5", Delivery::Retained, T0);
    assert_eq!((qualities(&reports), tally.repeated), (vec![Quality::Suspect], 0));
}

#[test]
fn being_there_is_said_in_the_words_of_the_maker() {
    let mut intake = scattered();
    let mut say = |payload: &[u8]| healths(&intake.message(ONLINE, payload, Delivery::Retained, T0).0);
    let gone = [DeviceHealth::Silent(BadReason::Offline)];
    assert_eq!(say(br#"{"state":true}"#), [DeviceHealth::Answering]);
    assert_eq!(say(br#"{"state":"gone"}"#), gone);
    for other in [&b"true"[..], b"online", br#"{"state":"offline"}"#, br#"{"state":null}"#, b"{}", b"\xff"] {
        assert!(say(other).is_empty(), "{other:?}");
    }
    assert_eq!(say(br#"{"state":"true"}"#), [DeviceHealth::Answering]);
}

#[test]
fn a_topic_nobody_asked_for_is_counted() {
    let (reports, tally) = intake().message("water/w-2/state", b"{}", Delivery::Live, T0);
    assert!(reports.is_empty());
    assert_eq!(tally.unknown_topic, 1);
}

#[test]
fn a_plain_payload_is_the_value_itself() {
    let mut site = water_site(1883, None);
    let mut profile = (*site.devices[0].profile).clone();
    profile.points.truncate(1);
    profile.points[0].source = Source::Message { topic: None, pointer: String::new() };
    site.devices[0].profile = Arc::new(profile);
    site.devices[0].attachment = attached(vec![topic(STATE, &[0])]);
    site.points.truncate(1);
    let mut intake = Intake::new(Arc::new(site), 0);
    let (reports, _) = intake.message(STATE, b" 1234.5\n", Delivery::Live, T0);
    let value = Some(Value::Decimal(Decimal::new(12_345, -4)));
    assert!(
        matches!(&reports[1], FieldReport::Readings { readings, .. } if readings.len() == 1 && readings[0].value == value)
    );
}

#[test]
fn a_backlog_goes_to_the_accounts_and_only_its_newest_sample_to_everybody() {
    let mut site = water_site(1883, None);
    let mut profile = (*site.devices[0].profile).clone();
    profile.message = Some(MessageForm {
        time: Some(MessageTime { pointer: "/ts".to_owned(), format: TimeFormat::UnixMillis }),
        samples: Some(String::new()),
        ..MessageForm::default()
    });
    site.devices[0].profile = Arc::new(profile);
    let mut intake = Intake::new(Arc::new(site), 0);
    intake.connected(T0);
    let sample = |ago: i64, litres: u32| format!(r#"{{"ts":{},"volume_l":{litres}}}"#, T0.as_millis() - ago * 1_000);
    let message = format!("[{},{},{}]", sample(5, 30), sample(7_200, 10), sample(3_600, 20));
    let (reports, _) = intake.message(STATE, message.as_bytes(), Delivery::Live, T0);
    let past: Vec<Timestamp> = reports
        .iter()
        .filter_map(|report| match report {
            FieldReport::Past { readings, .. } => Some(readings.iter().map(|reading| reading.at)),
            _ => None,
        })
        .flatten()
        .collect();
    let ago = |seconds: i64| Timestamp::from_millis(T0.as_millis() - seconds * 1_000);
    assert_eq!(past, [ago(7_200), ago(3_600)]);
    assert_eq!(healths(&reports), [DeviceHealth::Answering]);
    assert!(
        matches!(reports.last(), Some(FieldReport::Readings { readings, .. }) if readings.len() == 1 && readings[0].at == ago(5))
    );
    // It got no acknowledgement and sends all of it again.
    let again = format!("[{},{}]", sample(3_600, 20), sample(5, 30));
    let (reports, tally) = intake.message(STATE, again.as_bytes(), Delivery::Live, later(30));
    assert!(reports.is_empty(), "{reports:?}");
    assert_eq!(tally.samples.repeated, 2);
    assert!(tally.is_nothing_new(&reports) && !tally.dated);
    intake.lost(later(31));
    intake.connected(later(32));
    let (reports, _) = intake.message(STATE, again.as_bytes(), Delivery::Live, later(33));
    assert!(reports.is_empty(), "nor is it news because the broker was away: {reports:?}");
    assert_eq!(
        healths(&intake.overdue(later(93))),
        [DeviceHealth::Silent(BadReason::NoAnswer)],
        "old news prove nothing"
    );
}

#[test]
fn a_backlog_that_is_too_large_is_not_looked_at() {
    let sample = |n: u32| format!(r#"{{"ts":{n},"volume_l":1}}"#);
    let message = format!("[{}]", (0..10_000).map(sample).collect::<Vec<_>>().join(","));
    assert!(message.len() > PAYLOAD_BYTES_MAX);
    let (reports, tally) = intake().message(STATE, message.as_bytes(), Delivery::Live, T0);
    assert_eq!((qualities(&reports).len(), tally.oversized), (4, 4));
}
