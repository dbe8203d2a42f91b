use super::*;

/// The meters of floor 1 fall silent one by one, one every `gap` seconds, ticking in between.
fn floor_falls_silent(site: &mut Site, from: u64, gap: u64) {
    for n in 0..14 {
        let now = from + u64::from(n) * gap;
        site.silent(now, DeviceIx(n));
        site.run(now..=now + gap.saturating_sub(1));
    }
}

fn hidden(site: &Site) -> usize {
    site.room.alarms().iter().filter(|(_, alarm)| alarm.record().suppressed_by.is_some()).count()
}

#[test]
fn one_meter_dies_alone_and_wakes_nobody() {
    let mut site = Site::new();
    site.silent(0, DeviceIx(5));
    site.run(1..=19);
    assert_eq!((site.room.incidents().count(), site.room.waiting()), (0, 1));
    site.tick(20);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), incident.priority), ("meter-5/silent", Priority::P4));
    site.run(21..=4_000);
    assert!(site.rows.pages.is_empty());
}

#[test]
fn a_meter_that_answers_within_the_hold_opens_nothing() {
    let mut site = Site::new();
    site.silent(0, DeviceIx(5));
    site.answers(10, DeviceIx(5));
    site.run(11..=100);
    assert!(site.rows.incidents.is_empty());
    assert_eq!(site.room.waiting(), 0);
}

#[test]
fn f20a_children_first_and_the_proof_after_the_hold_are_one_incident_and_one_page() {
    let mut site = Site::new();
    floor_falls_silent(&mut site, 0, 3);
    let guessed = site.only_incident();
    assert_eq!((guessed.root.as_str(), guessed.plan.as_str()), ("feeder-1", "EP-02"));
    assert!(guessed.title.zh.starts_with("疑似feeder-1故障"), "{}", guessed.title.zh);
    site.bit(45, FLOOR_1_DEAD, true);
    site.run(45..=100);
    let proved = site.only_incident();
    assert_eq!((proved.id, proved.root.as_str()), (guessed.id, "floor-1/dead"));
    assert_eq!(hidden(&site), 14);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    assert_eq!(site.rows.incidents.len(), 1);
}

#[test]
fn the_proof_of_the_main_feeder_takes_over_the_guess_about_a_floor() {
    let mut site = Site::new();
    floor_falls_silent(&mut site, 0, 2);
    let guessed = site.only_incident();
    site.bit(45, ON_BATTERY, true);
    (14..METERS).for_each(|n| site.silent(46, DeviceIx(n)));
    site.run(47..=100);
    let proved = site.only_incident();
    assert_eq!((proved.id, proved.root.as_str()), (guessed.id, "ups/on-battery"));
    assert_eq!((hidden(&site), site.alerts()), (30, vec!["duty_phone-1"]));
    assert!(site.rows.alarms.values().filter_map(|r| r.suppressed_by.as_deref()).all(|root| root == "main"));
}

#[test]
fn the_parent_first_hides_its_children_without_any_hold() {
    let mut site = Site::new();
    site.bit(0, ON_BATTERY, true);
    floor_falls_silent(&mut site, 5, 1);
    assert_eq!((hidden(&site), site.room.waiting()), (14, 0));
    assert_eq!(site.only_incident().root, "ups/on-battery");
    site.bit(30, FLOOR_1_DEAD, true);
    assert_eq!(site.only_incident().root, "ups/on-battery", "a floor without power is no news when the main is out");
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn a_proof_during_the_hold_hides_the_waiting_children() {
    let mut site = Site::new();
    floor_falls_silent(&mut site, 0, 1);
    site.bit(14, FLOOR_1_DEAD, true);
    assert_eq!((hidden(&site), site.room.waiting()), (14, 0));
    site.run(15..=60);
    assert_eq!(site.rows.incidents.len(), 1);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn children_that_fall_silent_slower_than_the_hold_still_become_one_incident() {
    let mut site = Site::new();
    floor_falls_silent(&mut site, 0, 15);
    site.run(210..=240);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), hidden(&site)), ("feeder-1", 14));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn the_whole_house_without_any_proof_is_one_incident() {
    let mut site = Site::new();
    // Line a is polled through in 20 seconds, line b in 30.
    for n in 0..20 {
        site.silent(u64::from(n), DeviceIx(n));
        site.tick(u64::from(n));
        if n % 2 == 0 {
            site.silent(u64::from(n), DeviceIx(20 + n / 2));
        }
    }
    site.run(20..=150);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), hidden(&site)), ("main", 30));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn f20e_a_dead_line_is_inferred_and_is_blindness() {
    let mut site = Site::new();
    (0..20).for_each(|n| site.silent(0, DeviceIx(n)));
    site.run(1..=60);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), incident.plan.as_str()), ("line-a", "EP-11"));
    // The panel hangs on the line too and answers.
    assert_eq!(incident.title.zh, "疑似line-a故障 20/21台失联");
}

#[test]
fn a_line_first_taken_for_a_floor_changes_its_plan_and_pages_nobody_twice() {
    let mut site = Site::new();
    for n in 0..20 {
        site.silent(u64::from(n) * 3, DeviceIx(n));
        site.run(u64::from(n) * 3..=u64::from(n) * 3 + 2);
        if n == 13 {
            assert_eq!(site.only_incident().root, "feeder-1");
        }
    }
    site.run(60..=150);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), incident.plan.as_str()), ("line-a", "EP-11"));
    assert_eq!((hidden(&site), site.alerts()), (20, vec!["duty_phone-1"]));
}

#[test]
fn a_silent_fire_panel_never_hides_under_its_line() {
    let mut site = Site::new();
    (0..20).for_each(|n| site.silent(0, DeviceIx(n)));
    site.silent(1, PANEL);
    assert_eq!(site.only_incident().root, "panel/silent");
    site.run(2..=60);
    let roots: Vec<&str> = site.room.incidents().map(|incident| incident.root.as_str()).collect();
    assert_eq!(roots, ["panel/silent", "line-a"]);
}

#[test]
fn f20f_a_fire_during_an_outage_pages_at_once() {
    let mut site = Site::new();
    site.bit(0, ON_BATTERY, true);
    floor_falls_silent(&mut site, 1, 1);
    site.bit(20, FIRE, true);
    let fire = site.rows.pages.last().unwrap();
    assert!(fire.title.zh.starts_with("【火警】"));
    assert_eq!(site.record("panel/fire").suppressed_by, None);
    assert_eq!(site.room.incidents().count(), 2);
}

#[test]
fn f20h_two_unrelated_causes_are_two_incidents() {
    let mut site = Site::new();
    (0..14).for_each(|n| site.silent(0, DeviceIx(n)));
    (20..30).for_each(|n| site.silent(0, DeviceIx(n)));
    site.bit(1, FLOOR_1_DEAD, true);
    site.run(1..=60);
    let roots: Vec<&str> = site.room.incidents().map(|incident| incident.root.as_str()).collect();
    assert_eq!(roots, ["floor-1/dead", "line-b"]);
}

#[test]
fn f20b_children_that_come_back_after_their_parent_page_nobody() {
    let mut site = Site::new();
    site.bit(0, FLOOR_1_DEAD, true);
    floor_falls_silent(&mut site, 1, 1);
    site.ack(20, site.only_incident().id, "zhang");
    site.bit(100, FLOOR_1_DEAD, false);
    for n in 0..14 {
        site.answers(101 + u64::from(n), DeviceIx(n));
        site.tick(101 + u64::from(n));
    }
    site.run(115..=300);
    assert_eq!(site.room.incidents().count(), 0);
    assert_eq!((site.alerts().len(), site.recoveries().len(), site.rows.incidents.len()), (1, 1, 1));
    assert_eq!(site.state("meter-3/silent"), AlarmState::Norm);
}

#[test]
fn f20b_seven_that_do_not_come_back_are_one_new_incident() {
    let mut site = Site::new();
    site.bit(0, FLOOR_1_DEAD, true);
    floor_falls_silent(&mut site, 1, 1);
    let outage = site.only_incident().id;
    site.ack(20, outage, "zhang");
    site.bit(100, FLOOR_1_DEAD, false);
    (0..7).for_each(|n| site.answers(105, DeviceIx(n)));
    site.run(106..=119);
    assert_eq!(site.rows.incidents.len(), 1, "the hold still runs");
    site.run(120..=160);
    let rest = site.only_incident();
    assert_eq!(rest.root, "feeder-1/unrestored");
    assert_eq!(rest.title.zh, "feeder-1复电后未恢复 7 台");
    assert_eq!(site.rows.incidents[&outage].state, IncidentState::Closed);
    assert_eq!(hidden(&site), 0);
    assert_eq!(site.alerts().len(), 2);
}

#[test]
fn one_that_does_not_come_back_stands_for_itself() {
    let mut site = Site::new();
    site.bit(0, FLOOR_1_DEAD, true);
    floor_falls_silent(&mut site, 1, 1);
    site.ack(20, site.only_incident().id, "zhang");
    site.bit(100, FLOOR_1_DEAD, false);
    (1..14).for_each(|n| site.answers(105, DeviceIx(n)));
    site.run(106..=130);
    assert_eq!((site.only_incident().root.as_str(), site.alerts().len()), ("meter-0/silent", 1));
}

#[test]
fn f20c_a_flapping_parent_pages_once() {
    let mut site = Site::new();
    site.bit(0, FLOOR_1_DEAD, true);
    floor_falls_silent(&mut site, 1, 1);
    for flap in 0..3 {
        site.bit(20 + flap * 10, FLOOR_1_DEAD, false);
        site.bit(25 + flap * 10, FLOOR_1_DEAD, true);
    }
    site.run(50..=100);
    assert_eq!((site.rows.incidents.len(), hidden(&site)), (1, 14));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn t21_after_a_restart_the_children_wait_again_and_hide_again() {
    let mut site = Site::new();
    (0..14).for_each(|n| site.silent(0, DeviceIx(n)));
    site.restart(10);
    assert_eq!(site.room.waiting(), 14);
    site.bit(11, FLOOR_1_DEAD, true);
    site.restart(12);
    site.run(13..=60);
    assert_eq!((site.only_incident().root.as_str(), hidden(&site)), ("floor-1/dead", 14));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    // The roots are known again: recovery works as if nothing had happened.
    site.bit(61, FLOOR_1_DEAD, true);
    (0..14).for_each(|n| site.silent(61, DeviceIx(n)));
    site.ack(62, site.only_incident().id, "zhang");
    site.bit(70, FLOOR_1_DEAD, false);
    (0..14).for_each(|n| site.answers(75, DeviceIx(n)));
    site.run(76..=120);
    assert_eq!((site.room.incidents().count(), site.rows.incidents.len()), (0, 1));
}

#[test]
fn a_guess_that_dissolves_recovers() {
    let mut site = Site::new();
    (0..20).for_each(|n| site.silent(0, DeviceIx(n)));
    site.run(1..=30);
    (0..20).for_each(|n| site.answers(40, DeviceIx(n)));
    assert_eq!(site.recoveries(), ["duty_phone-1"]);
    site.ack(50, site.only_incident().id, "zhang");
    site.run(51..=100);
    assert_eq!(site.room.incidents().count(), 0);
}

#[test]
fn a_floor_that_stays_dark_when_the_main_is_back_inherits_the_incident() {
    let mut site = Site::new();
    site.bit(0, ON_BATTERY, true);
    site.bit(1, FLOOR_1_DEAD, true);
    (0..METERS).for_each(|n| site.silent(2, DeviceIx(n)));
    site.bit(10, ON_BATTERY, false);
    (14..METERS).for_each(|n| site.answers(12, DeviceIx(n)));
    site.run(13..=60);
    let incident = site.only_incident();
    assert_eq!((incident.root.as_str(), hidden(&site)), ("floor-1/dead", 14));
    assert_eq!(site.record("meter-3/silent").suppressed_by.as_deref(), Some("feeder-1"));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}
