use super::*;
use crate::reading::{BadReason, Quality, Reading, Value};

const POINT: PointIx = PointIx(0);
const OTHER: PointIx = PointIx(1);
const DEVICE: DeviceIx = DeviceIx(0);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000) + Duration::from_secs(seconds)
}

fn bit(point: PointIx, value: bool, now: Timestamp) -> Reading {
    Reading::good(point, Value::Bool(value), now)
}

fn def(condition: Condition) -> AlarmDef {
    AlarmDef {
        key: "panel-1/fire".into(),
        device: DEVICE,
        condition,
        priority: Priority::P2,
        class: AlarmClass::Process,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        latching: Latching::NonLatching,
        plan: None,
        text: Bilingual::new("火警", "fire"),
        action: Bilingual::new("到场", "go there"),
    }
}

fn when_set() -> Condition {
    Condition::All(vec![Term { point: POINT, test: Test::Equals(1) }])
}

fn alarm(change: impl FnOnce(&mut AlarmDef)) -> Alarm {
    let mut def = def(when_set());
    change(&mut def);
    Alarm::new(Arc::new(def), None)
}

fn latching() -> Alarm {
    alarm(|def| def.latching = Latching::Latching)
}

/// Drives the alarm with one good bit and returns where it is then.
fn drive(alarm: &mut Alarm, second: u64, value: bool) -> AlarmState {
    alarm.observe(at(second), &bit(POINT, value, at(second)));
    alarm.state()
}

fn ack(alarm: &mut Alarm, second: u64) -> AlarmState {
    let live = alarm.record().occurrence;
    alarm.ack(live, "zhang", at(second)).unwrap();
    alarm.state()
}

#[test]
fn t01_norm_goes_to_unack_after_the_on_delay() {
    let mut alarm = alarm(|def| def.on_delay = Duration::from_secs(30));
    assert_eq!(drive(&mut alarm, 0, true), AlarmState::Norm);
    assert_eq!(alarm.next_deadline(), Some(at(30)));
    assert_eq!(alarm.tick(at(29)), None);
    let transition = alarm.tick(at(30)).unwrap();
    assert_eq!((transition.kind, transition.occurrence), (TransitionKind::Raised, 1));
    assert_eq!((alarm.state(), alarm.record().raised_at), (AlarmState::Unack, at(30)));
    assert_eq!(alarm.next_deadline(), None);
}

#[test]
fn t02_unack_goes_to_acked() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    assert_eq!(ack(&mut alarm, 5), AlarmState::Acked);
    assert_eq!(alarm.record().acked_by.as_deref(), Some("zhang"));
    assert_eq!(alarm.record().acked_at, Some(at(5)));
}

#[test]
fn t03_unack_goes_to_rtnun_after_the_off_delay() {
    let mut alarm = alarm(|def| def.off_delay = Duration::from_secs(60));
    drive(&mut alarm, 0, true);
    assert_eq!(drive(&mut alarm, 10, false), AlarmState::Unack);
    assert_eq!(drive(&mut alarm, 69, false), AlarmState::Unack);
    assert_eq!(drive(&mut alarm, 70, false), AlarmState::Rtnun);
    assert_eq!(alarm.record().raised_at, at(0), "clearing keeps the details of the rise");
    assert_eq!(alarm.record().cleared_at, Some(at(70)));
}

#[test]
fn t04_rtnun_goes_to_norm_by_ack() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    drive(&mut alarm, 1, false);
    assert_eq!(ack(&mut alarm, 2), AlarmState::Norm);
}

#[test]
fn t05_rtnun_goes_to_unack_as_a_new_occurrence() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    drive(&mut alarm, 1, false);
    let again = alarm.observe(at(2), &bit(POINT, true, at(2))).unwrap();
    assert_eq!((again.kind, again.occurrence), (TransitionKind::Reoccurred, 2));
    assert_eq!(alarm.state(), AlarmState::Unack);
}

#[test]
fn t06_acked_goes_to_norm() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    ack(&mut alarm, 1);
    assert_eq!(drive(&mut alarm, 2, false), AlarmState::Norm);
}

#[test]
fn t07_an_ack_sticks_while_nothing_gets_worse() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    ack(&mut alarm, 1);
    for second in 2..1_000 {
        assert_eq!(alarm.observe(at(second), &bit(POINT, true, at(second))), None);
    }
    assert_eq!((alarm.state(), alarm.record().occurrence), (AlarmState::Acked, 1));
}

#[test]
fn t08_to_t10_a_latched_alarm_waits_for_ack_and_reset() {
    let mut alarm = latching();
    assert_eq!(alarm.reset(at(0)), Err(ResetError::NotLatched));
    drive(&mut alarm, 0, true);
    assert_eq!(alarm.reset(at(1)), Err(ResetError::StillActive));
    assert_eq!(drive(&mut alarm, 2, false), AlarmState::Latun);
    assert_eq!(alarm.reset(at(3)), Err(ResetError::NotAcknowledged));
    assert_eq!(ack(&mut alarm, 4), AlarmState::Latak);
    assert_eq!(alarm.reset(at(5)).unwrap().to, AlarmState::Norm);
}

#[test]
fn t11_acked_and_latching_goes_to_latak() {
    let mut alarm = latching();
    drive(&mut alarm, 0, true);
    ack(&mut alarm, 1);
    assert_eq!(alarm.reset(at(2)), Err(ResetError::StillActive));
    assert_eq!(drive(&mut alarm, 3, false), AlarmState::Latak);
}

#[test]
fn t12_a_second_fire_on_a_latched_point_is_a_new_occurrence() {
    for accepted in [false, true] {
        let mut alarm = latching();
        drive(&mut alarm, 0, true);
        drive(&mut alarm, 1, false);
        if accepted {
            ack(&mut alarm, 2);
        }
        let again = alarm.observe(at(3), &bit(POINT, true, at(3))).unwrap();
        assert_eq!((again.kind, again.occurrence), (TransitionKind::Reoccurred, 2));
        assert_eq!(alarm.state(), AlarmState::Unack);
    }
}

#[test]
fn t19_lost_data_is_not_recovery() {
    for quality in [Quality::Bad(BadReason::NoAnswer), Quality::Stale, Quality::Suspect] {
        let mut alarm = alarm(|_| ());
        drive(&mut alarm, 0, true);
        let value = (quality == Quality::Suspect).then_some(Value::Bool(false));
        let lost = Reading { point: POINT, value, quality, at: at(1) };
        assert_eq!(alarm.observe(at(1), &lost), None);
        assert_eq!(alarm.tick(at(100_000)), None);
        assert_eq!(alarm.state(), AlarmState::Unack);
    }
}

#[test]
fn a_value_that_is_not_good_raises_nothing_either() {
    let mut alarm = alarm(|_| ());
    let suspect = Reading { point: POINT, value: Some(Value::Bool(true)), quality: Quality::Suspect, at: at(0) };
    assert_eq!(alarm.observe(at(0), &suspect), None);
    assert_eq!(alarm.observe(at(1), &Reading { quality: Quality::Stale, ..suspect }), None);
    assert_eq!(alarm.state(), AlarmState::Norm);
}

#[test]
fn t20_data_that_comes_back_unchanged_changes_nothing() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    ack(&mut alarm, 1);
    alarm.observe(at(2), &Reading::bad(POINT, BadReason::NoAnswer, at(2)));
    assert_eq!(alarm.observe(at(3), &bit(POINT, true, at(3))), None);
    assert_eq!((alarm.state(), alarm.record().occurrence), (AlarmState::Acked, 1));
}

#[test]
fn t21_after_a_restart_an_accepted_alarm_stays_accepted() {
    let mut before = latching();
    drive(&mut before, 0, true);
    ack(&mut before, 1);
    let mut after = Alarm::new(before.def().clone(), Some(before.record().clone()));
    assert_eq!(after.state(), AlarmState::Acked);
    assert_eq!(after.tick(at(100)), None, "no data yet, so no news");
    assert_eq!(after.observe(at(101), &bit(POINT, true, at(101))), None);
    assert_eq!(drive(&mut after, 102, false), AlarmState::Latak);
}

#[test]
fn t22_an_ack_of_an_older_occurrence_is_refused() {
    let mut alarm = alarm(|_| ());
    drive(&mut alarm, 0, true);
    drive(&mut alarm, 1, false);
    drive(&mut alarm, 2, true);
    assert_eq!(alarm.ack(1, "zhang", at(3)), Err(AckError::WrongOccurrence { live: 2 }));
    assert_eq!(alarm.state(), AlarmState::Unack);
}

#[test]
fn t23_a_late_ack_reopens_nothing() {
    let mut alarm = alarm(|_| ());
    assert_eq!(alarm.ack(0, "zhang", at(0)), Err(AckError::NothingToAck));
    drive(&mut alarm, 0, true);
    ack(&mut alarm, 1);
    drive(&mut alarm, 2, false);
    assert_eq!(alarm.ack(1, "li", at(3)), Err(AckError::NothingToAck));
    assert_eq!((alarm.state(), alarm.record().acked_by.as_deref()), (AlarmState::Norm, Some("zhang")));
}

#[test]
fn t24_an_alarm_taken_away_while_pending_raises_nothing() {
    let mut pending = alarm(|def| def.on_delay = Duration::from_secs(10));
    drive(&mut pending, 0, true);
    let set = AlarmSet::new(Vec::new(), vec![pending.record().clone()]).unwrap();
    assert_eq!(set.next_deadline(), None);
    assert!(set.snapshot().is_empty());
}

#[test]
fn t25_an_edited_limit_keeps_the_flags_and_the_latch() {
    let mut before = latching();
    drive(&mut before, 0, true);
    drive(&mut before, 1, false);
    let mut edited = AlarmDef::clone(before.def());
    edited.condition = Condition::All(vec![Term { point: POINT, test: Test::Equals(7) }]);
    edited.latching = Latching::NonLatching;
    let after = Alarm::new(Arc::new(edited), Some(before.record().clone()));
    assert_eq!(after.state(), AlarmState::Latun);
}

#[test]
fn f06_29_of_30_seconds_raise_nothing_and_31_raise_one() {
    let mut alarm = alarm(|def| def.on_delay = Duration::from_secs(30));
    drive(&mut alarm, 0, true);
    drive(&mut alarm, 29, false);
    assert_eq!(alarm.tick(at(40)), None);
    drive(&mut alarm, 100, true);
    assert_eq!(drive(&mut alarm, 131, true), AlarmState::Unack);
    assert_eq!(alarm.record().occurrence, 1);
}

#[test]
fn a_lost_answer_freezes_the_delay_and_does_not_forget_it() {
    let mut alarm = alarm(|def| def.on_delay = Duration::from_secs(45));
    drive(&mut alarm, 0, true);
    alarm.observe(at(20), &Reading::bad(POINT, BadReason::NoAnswer, at(20)));
    assert_eq!(alarm.next_deadline(), None);
    assert_eq!(alarm.tick(at(500)), None);
    assert_eq!(drive(&mut alarm, 1_000, true), AlarmState::Norm);
    assert_eq!(alarm.next_deadline(), Some(at(1_025)));
    assert_eq!(alarm.tick(at(1_025)).map(|t| t.to), Some(AlarmState::Unack));
}

#[test]
fn a_clock_set_back_delays_an_alarm_by_no_more_than_its_delay() {
    let mut alarm = alarm(|def| def.on_delay = Duration::from_secs(30));
    drive(&mut alarm, 10_000, true);
    assert_eq!(drive(&mut alarm, 100, true), AlarmState::Norm);
    assert_eq!(drive(&mut alarm, 130, true), AlarmState::Unack);
}

#[test]
fn the_deadband_holds_an_alarm_that_trembles_around_its_limit() {
    let mut alarm = alarm(|def| {
        let test = Test::Above { limit: 90.0, deadband: 5.0 };
        def.condition = Condition::All(vec![Term { point: POINT, test }]);
    });
    let mut level = |second, x| {
        alarm.observe(at(second), &Reading::good(POINT, Value::Float(x), at(second)));
        alarm.state()
    };
    assert_eq!(level(0, 90.0), AlarmState::Norm);
    assert_eq!(level(1, 90.1), AlarmState::Unack);
    assert_eq!(level(2, 86.0), AlarmState::Unack);
    assert_eq!(level(3, 85.0), AlarmState::Rtnun);
    assert_eq!(level(4, 88.0), AlarmState::Rtnun);
    // The deadband outlives a restart: an active alarm is measured with the lower edge.
    let mut record = alarm.record().clone();
    record.active = true;
    let mut restarted = Alarm::new(alarm.def().clone(), Some(record));
    assert_eq!(restarted.observe(at(5), &Reading::good(POINT, Value::Float(88.0), at(5))), None);
}

#[test]
fn a_condition_over_two_points_needs_good_readings_of_both() {
    let terms = vec![Term { point: POINT, test: Test::Equals(1) }, Term { point: OTHER, test: Test::Differs(1) }];
    let mut alarm = alarm(|def| def.condition = Condition::All(terms));
    assert_eq!(drive(&mut alarm, 0, true), AlarmState::Norm, "the other was never read");
    alarm.observe(at(1), &bit(OTHER, false, at(1)));
    assert_eq!(alarm.state(), AlarmState::Unack);
    alarm.observe(at(2), &Reading::bad(OTHER, BadReason::NoAnswer, at(2)));
    assert_eq!(alarm.state(), AlarmState::Unack);
    assert_eq!(drive(&mut alarm, 3, false), AlarmState::Rtnun, "one good contradiction is enough");
}

#[test]
fn codes_and_bits_compare_exactly() {
    use crate::reading::Decimal;
    let whole = |n| Value::Decimal(Decimal::new(n, 0));
    assert_eq!(Test::Equals(3).holds(&whole(3), false), Some(true));
    assert_eq!(Test::Equals(3).holds(&Value::Decimal(Decimal::new(31, -1)), false), Some(false));
    assert_eq!(Test::Differs(3).holds(&Value::Text("3".into()), false), None);
    assert_eq!(Test::AnyBit(0b100).holds(&whole(0b110), false), Some(true));
    assert_eq!(Test::AnyBit(0b100).holds(&whole(0b011), false), Some(false));
    assert_eq!(Test::AnyBit(1 << 63).holds(&whole(-1), false), Some(true));
    assert_eq!(Test::AnyBit(1).holds(&Value::Float(1.0), false), None);
}

#[test]
fn the_set_finds_alarms_by_point_and_device_and_runs_their_delays() {
    let mut slow = def(when_set());
    slow.on_delay = Duration::from_secs(10);
    let mut silent = def(Condition::Silent(DEVICE));
    silent.key = "panel-1/silent".into();
    let mut set = AlarmSet::new(vec![Arc::new(slow), Arc::new(silent)], Vec::new()).unwrap();
    assert_eq!(set.on_reading(at(0), &bit(OTHER, true, at(0))), vec![]);
    assert_eq!(set.on_reading(at(0), &bit(POINT, true, at(0))), vec![]);
    let health = set.on_health(at(1), DEVICE, Health::Silent);
    assert_eq!(health.len(), 1);
    assert_eq!(set.get(health[0].0).def().key.as_ref(), "panel-1/silent");
    assert_eq!(set.on_health(at(2), DeviceIx(9), Health::Silent), vec![]);
    assert_eq!(set.next_deadline(), Some(at(10)));
    assert_eq!(set.tick(at(9)), vec![]);
    assert_eq!(set.tick(at(10)).len(), 1);
    assert_eq!((set.next_deadline(), set.snapshot().len()), (None, 2));
}

#[test]
fn two_alarms_of_one_key_are_refused() {
    let twin = Arc::new(def(when_set()));
    let refused = AlarmSet::new(vec![twin.clone(), twin], Vec::new()).unwrap_err();
    assert_eq!(refused.0.as_ref(), "panel-1/fire");
}
