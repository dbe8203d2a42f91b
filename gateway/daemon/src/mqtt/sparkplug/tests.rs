//! Births, data and deaths, in order and numbered.

use guanjia_core::reading::{Decimal, DeviceIx, Reading};

use super::*;
use crate::live::LatestTable;
use crate::mqtt::tests::water_site;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Plant {
    node: EdgeNode,
    latest: LatestTable,
}

impl Plant {
    fn new() -> Self {
        let site = Arc::new(water_site(1883, None));
        let latest = LatestTable::new(&site, T0);
        let mut plant = Self { node: EdgeNode::new(site, "mall", "gw", None, T0), latest };
        plant.node.connected(T0);
        plant
    }

    /// One that waits for its host, in its first session.
    fn waiting() -> Self {
        let site = Arc::new(water_site(1883, None));
        let latest = LatestTable::new(&site, T0);
        let mut plant = Self { node: EdgeNode::new(site, "mall", "gw", Some(Host::new("scada")), T0), latest };
        plant.session();
        plant
    }

    /// A new session, and everything told as the bridge tells it.
    fn session(&mut self) {
        self.node.will(T0);
        self.tell();
    }

    fn tell(&mut self) {
        self.node.connected(T0);
        self.node.devices(&self.latest.devices(), T0);
    }

    /// What the host says, and a birth if it asks for one.
    fn state(&mut self, payload: &str) {
        assert!(self.node.hear("spBv1.0/STATE/scada", payload.as_bytes()));
        if self.node.wants_rebirth(T0) {
            self.tell();
        }
    }

    fn say(&mut self, value: i128) {
        let point = PointIx(0);
        self.latest.update(&[Reading::good(point, Value::Decimal(Decimal::new(value, -3)), T0)]);
        self.node.readings(&self.latest.rows(&[point]));
    }

    fn health(&mut self, silent: Option<BadReason>) {
        self.latest.set_device(DeviceIx(0), silent, T0);
        self.node.devices(&self.latest.devices(), T0);
    }

    /// The kinds of the messages that are due, and the last byte of each: its sequence number.
    fn due(&mut self) -> Vec<(String, u8)> {
        let messages = std::iter::from_fn(|| self.node.next(T0));
        messages
            .map(|m| {
                assert!(!m.retain);
                (m.topic.replace("spBv1.0/mall/", ""), *m.payload.last().unwrap())
            })
            .collect()
    }
}

fn is(expected: &[(&str, u8)]) -> Vec<(String, u8)> {
    expected.iter().map(|(topic, seq)| ((*topic).to_owned(), *seq)).collect()
}

#[test]
fn a_device_is_born_when_it_answers_and_dies_when_it_is_silent() {
    let mut plant = Plant::new();
    plant.say(1);
    assert_eq!(plant.due(), is(&[("NBIRTH/gw", 0)]), "nothing is told of a device that was not born");
    plant.health(None);
    plant.say(2);
    plant.say(3);
    plant.health(Some(BadReason::Offline));
    assert_eq!(plant.due(), is(&[("DBIRTH/gw/w-1", 1), ("DDEATH/gw/w-1", 2)]));
    plant.say(4);
    assert_eq!(plant.due(), is(&[]));
    plant.health(None);
    plant.say(5);
    plant.say(6);
    assert_eq!(plant.due(), is(&[("DBIRTH/gw/w-1", 3), ("DDATA/gw/w-1", 4)]), "the latest value, once");
}

#[test]
fn a_host_that_asks_is_told_everything_anew_from_zero() {
    let mut plant = Plant::new();
    plant.health(None);
    plant.due();
    plant.node.hear("spBv1.0/mall/NCMD/gw", b"rubbish");
    assert!(!plant.node.wants_rebirth(T0 + REBIRTH_PERIOD));
    let rebirth: [u8; 30] = [
        0x08, 0x01, 0x12, 0x1a, 0x0a, 0x14, 0x4e, 0x6f, 0x64, 0x65, 0x20, 0x43, 0x6f, 0x6e, 0x74, 0x72, 0x6f, 0x6c,
        0x2f, 0x52, 0x65, 0x62, 0x69, 0x72, 0x74, 0x68, 0x20, 0x0b, 0x70, 0x01,
    ];
    plant.node.hear("spBv1.0/mall/NCMD/gw", &rebirth);
    assert!(!plant.node.wants_rebirth(T0), "not more often than once a second");
    assert!(plant.node.wants_rebirth(T0 + REBIRTH_PERIOD));
    plant.node.connected(T0 + REBIRTH_PERIOD);
    plant.node.devices(&plant.latest.devices(), T0);
    assert_eq!(plant.due(), is(&[("NBIRTH/gw", 0), ("DBIRTH/gw/w-1", 1)]));
}

#[test]
fn the_will_and_the_birth_of_a_session_have_the_same_number_and_the_next_session_another() {
    let mut plant = Plant::new();
    let first = plant.node.will(T0);
    let second = plant.node.will(T0);
    assert_eq!((first.topic.as_str(), first.qos), ("spBv1.0/mall/NDEATH/gw", QoS::AtLeastOnce));
    assert_ne!(first.payload, second.payload);
    plant.node.farewell(T0);
    assert_eq!(plant.node.next(T0).unwrap().payload, second.payload);
    assert!(plant.node.settled());
}

#[test]
fn what_is_not_good_does_not_pass_for_good() {
    assert_eq!(quality_code(Quality::Good), 192);
    assert_eq!(quality_code(Quality::Stale), 500);
    assert_eq!(quality_code(Quality::Suspect), 0);
    assert_eq!(value_of(&Value::Decimal(Decimal::new(15, -1)), DataType::Int64), MetricValue::Null);
    assert_eq!(value_of(&Value::Decimal(Decimal::new(-5, 0)), DataType::Int64), MetricValue::Long(-5i64 as u64));
}

#[test]
fn nothing_is_born_before_the_primary_host_is_there() {
    let mut plant = Plant::waiting();
    assert_eq!(plant.node.topics(), ["spBv1.0/mall/NCMD/gw", "spBv1.0/STATE/scada"]);
    plant.health(None);
    plant.say(1);
    plant.node.hear("spBv1.0/mall/NCMD/gw", b"\x08\x01\x12\x1a\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01");
    if plant.node.wants_rebirth(T0) {
        plant.tell();
    }
    for state in
        ["", "ONLINE", r#"{"online":true}"#, r#"{"online":"true","timestamp":1}"#, r#"{"online":false,"timestamp":2}"#]
    {
        plant.state(state);
    }
    assert!(
        !plant.node.hear("spBv1.0/STATE/other", br#"{"online":true,"timestamp":3}"#),
        "another host is not this one"
    );
    assert_eq!(plant.due(), is(&[]));
    plant.state(r#"{"online":true,"timestamp":3}"#);
    assert_eq!(plant.due(), is(&[("NBIRTH/gw", 0), ("DBIRTH/gw/w-1", 1)]));
    plant.state(r#"{"online":true,"timestamp":3}"#);
    plant.say(2);
    assert_eq!(plant.due(), is(&[("DDATA/gw/w-1", 2)]), "the same word once more changes nothing");
}

#[test]
fn a_primary_host_that_goes_takes_the_node_with_it_and_the_next_session_waits_again() {
    let mut plant = Plant::waiting();
    plant.health(None);
    plant.state(r#"{"online":true,"timestamp":10}"#);
    plant.due();
    plant.state(r#"{"online":false,"timestamp":9}"#);
    assert!(!plant.node.wants_to_leave(), "the will of an earlier session of the host");
    plant.state(r#"{"online":false,"timestamp":11}"#);
    assert!(plant.node.wants_to_leave());
    plant.node.farewell(T0);
    let farewell: Vec<String> = std::iter::from_fn(|| plant.node.next(T0)).map(|message| message.topic).collect();
    assert_eq!(farewell, ["spBv1.0/mall/NDEATH/gw"]);
    plant.node.lost();
    assert!(!plant.node.wants_to_leave());
    plant.session();
    plant.say(5);
    plant.state(r#"{"online":false,"timestamp":11}"#);
    assert_eq!(plant.due(), is(&[]), "it is still away");
    plant.state(r#"{"online":true,"timestamp":4}"#);
    assert_eq!(plant.due(), is(&[]), "older than what was just said");
    plant.state(r#"{"online":true,"timestamp":12}"#);
    assert_eq!(plant.due(), is(&[("NBIRTH/gw", 0), ("DBIRTH/gw/w-1", 1)]));
}

#[test]
fn who_was_never_born_does_not_die() {
    let mut plant = Plant::waiting();
    plant.node.farewell(T0);
    assert_eq!(plant.node.next(T0), None);
}
