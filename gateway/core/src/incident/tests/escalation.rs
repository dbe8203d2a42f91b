use super::*;

#[test]
fn sr01_a_fire_opens_its_plan_with_named_people_at_once() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let incident = site.only_incident();
    assert_eq!((incident.plan.as_str(), incident.priority), ("EP-06", Priority::P1));
    assert_eq!((incident.owner.as_str(), incident.code.len()), ("sec_head-1", 4));
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    let page = &site.rows.pages[0];
    assert_eq!(page.title.zh, format!("【火警】panelfire 09:58 到场确认。回{}=收到", incident.code));
    assert_eq!(page.title.en, format!("[FIRE] panel fire 09:58 Go there. Reply {}", incident.code));
    assert_eq!((page.level, page.priority), (1, Priority::P1));
    assert_eq!(site.record("panel/fire").incident, Some(incident.id));
}

#[test]
fn f64_a_ladder_nobody_answers_reaches_the_leadership_and_the_fallback() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    site.run(1..=59);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    site.run(60..=2_000);
    let expected = ["duty_phone-1", "duty_phone-1", "sec_head-1", "eng_head-1", "branch_mgr-1", "leader-1", "owner"];
    assert_eq!(site.alerts(), expected);
    let incident = site.only_incident();
    assert_eq!((incident.state, incident.level, incident.escalates_at), (IncidentState::Open, 5, None));
    let steps = site.rows.timeline.iter().filter(|line| line.what == "escalated").map(|line| line.at);
    assert_eq!(steps.collect::<Vec<_>>(), [at(0), at(60), at(180), at(600), at(900)]);
}

#[test]
fn an_acknowledgement_stops_the_ladder_and_accepts_the_alarm() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let id = site.only_incident().id;
    site.ack(30, id, "duty_phone-1");
    site.run(31..=2_000);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    assert_eq!(site.state("panel/fire"), AlarmState::Acked);
    assert_eq!(site.record("panel/fire").acked_by.as_deref(), Some("duty_phone-1"));
    let again = site.room.ack_incident(id, "li", at(40)).unwrap_err();
    assert_eq!(again, IncidentError::AlreadyAcknowledged { by: "duty_phone-1".into() });
}

#[test]
fn f51_a_step_that_calls_nobody_is_skipped_at_once() {
    let mut plant = plant();
    let mut form = RosterForm {
        zone: "Asia/Shanghai".into(),
        fallback: "owner".into(),
        shifts: Vec::new(),
        deputies: BTreeMap::new(),
        absent: BTreeSet::new(),
    };
    plant.roster = Roster::new(form.clone()).unwrap();
    let mut empty = Site::with(plant.clone());
    empty.bit(0, FIRE, true);
    assert_eq!(empty.alerts(), ["owner"], "an empty roster leaves the fallback, at once");
    assert_eq!(empty.only_incident().owner, "owner");
    assert_eq!(empty.rows.timeline.iter().filter(|line| line.what == "step_empty").count(), 4);

    let shift = ShiftForm {
        role: "branch_mgr".into(),
        person: "wang".into(),
        days: crate::roster::Day::ALL.to_vec(),
        from: "00:00".into(),
        to: "00:00".into(),
    };
    form.shifts = vec![shift];
    plant.roster = Roster::new(form).unwrap();
    let mut thin = Site::with(plant);
    thin.bit(0, FIRE, true);
    assert_eq!(thin.alerts(), ["wang"]);
    thin.tick(419);
    assert_eq!(thin.alerts(), ["wang"]);
    thin.tick(420);
    assert_eq!(thin.alerts(), ["wang", "owner"]);
}

#[test]
fn f50_a_restart_in_the_middle_of_a_wait_keeps_the_time() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    site.tick(60);
    site.restart(120);
    site.tick(179);
    assert_eq!(site.alerts().last(), Some(&"eng_head-1"));
    site.tick(180);
    assert_eq!(site.alerts().last(), Some(&"branch_mgr-1"));
    // The power was off when the next two steps fell due.
    site.restart(5_000);
    site.tick(5_000);
    assert_eq!(site.alerts()[4..], ["branch_mgr-1", "leader-1", "owner"]);
}

#[test]
fn f02_an_acknowledged_incident_stays_so_after_a_restart() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let id = site.only_incident().id;
    site.ack(5, id, "zhang");
    site.restart(10);
    site.bit(11, FIRE, true);
    site.run(12..=1_000);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    assert_eq!(
        (site.only_incident().state, site.state("panel/fire")),
        (IncidentState::Acknowledged, AlarmState::Acked)
    );
}

#[test]
fn f07_a_thousand_identical_updates_are_one_page() {
    let mut site = Site::new();
    for second in 0..50 {
        (0..20).for_each(|_| site.bit(second, FIRE, true));
    }
    assert_eq!(site.alerts(), ["duty_phone-1"]);
}

#[test]
fn f11_a_silent_panel_keeps_its_fire_and_adds_blindness() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    site.lose(10, FIRE);
    site.silent(10, PANEL);
    site.run(11..=40);
    assert_eq!(site.state("panel/fire"), AlarmState::Unack);
    assert_eq!(site.recoveries(), Vec::<&str>::new());
    assert_eq!(site.room.incidents().map(|i| i.root.as_str()).collect::<Vec<_>>(), ["panel/fire", "panel/silent"]);
}

#[test]
fn f12_f04_recovery_goes_only_to_those_who_were_alerted() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    site.run(1..=60);
    assert_eq!(site.alerts(), ["duty_phone-1", "duty_phone-1", "sec_head-1", "eng_head-1"]);
    site.ack(61, site.only_incident().id, "zhang");
    site.bit(62, GAS, false);
    let mut told = site.recoveries();
    told.sort_unstable();
    assert_eq!(told, ["duty_phone-1", "eng_head-1", "sec_head-1"]);
    assert_eq!(site.room.incidents().count(), 0, "accepted and gone is closed");

    let mut quiet = Site::new();
    quiet.silent(0, DeviceIx(3));
    quiet.tick(20);
    assert_eq!(quiet.only_incident().priority, Priority::P4);
    quiet.answers(30, DeviceIx(3));
    assert!(quiet.rows.pages.is_empty(), "P4 rings nobody, so nobody hears that it is over");
}

#[test]
fn t03_a_p1_that_went_by_itself_still_wants_somebody() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    site.bit(10, GAS, false);
    assert_eq!(site.recoveries(), ["duty_phone-1"]);
    site.tick(60);
    assert_eq!(site.alerts()[1..], ["duty_phone-1", "sec_head-1", "eng_head-1"]);
    assert!(site.rows.pages.last().unwrap().title.zh.starts_with("【燃气】已恢复待确认"));
    site.ack(70, site.only_incident().id, "zhang");
    assert_eq!((site.room.incidents().count(), site.state("panel/gas")), (0, AlarmState::Norm));
}

#[test]
fn t03_a_p3_that_went_by_itself_stops_calling_and_calls_again_when_it_is_back() {
    let mut site = Site::new();
    site.bit(0, LEVEL, true);
    site.bit(10, LEVEL, false);
    site.run(11..=4_000);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    site.bit(4_001, LEVEL, true);
    assert_eq!(site.alerts(), ["duty_phone-1", "duty_phone-1"]);
    site.tick(4_001 + 900);
    assert_eq!(site.alerts().last(), Some(&"eng_head-1"));
    assert_eq!(site.rows.incidents.len(), 1);
}

#[test]
fn f14_t23_a_late_acknowledgement_reopens_nothing() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    let id = site.only_incident().id;
    site.ack(5, id, "zhang");
    site.bit(6, GAS, false);
    assert_eq!(site.room.ack_incident(id, "li", at(7)), Err(IncidentError::NotOpen));
    let late = site.room.ack_alarm("panel/gas", 1, "li", at(7)).unwrap_err();
    assert_eq!(late, CommandError::Ack(crate::alarm::AckError::NothingToAck));
    assert_eq!(site.rows.incidents[&id].state, IncidentState::Closed);
}

#[test]
fn t05_life_safety_that_comes_back_calls_again_and_the_ladder_climbs_on() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    site.bit(10, GAS, false);
    site.bit(20, GAS, true);
    assert_eq!(site.alerts(), ["duty_phone-1", "duty_phone-1"]);
    let incident = site.only_incident();
    assert_eq!((incident.round(), incident.steps_taken(), incident.escalates_at), (1, 1, Some(at(60))));
    site.tick(60);
    assert_eq!(site.alerts().len(), 5);
    assert_eq!(site.rows.incidents.len(), 1, "the same incident");
}

#[test]
fn t05_anything_else_that_comes_back_before_it_was_accepted_calls_nobody() {
    let mut site = Site::new();
    site.bit(0, ON_BATTERY, true);
    for second in 1..9 {
        site.bit(second * 10, ON_BATTERY, second % 2 == 0);
    }
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    assert_eq!(site.record("ups/on-battery").occurrence, 5);
    assert_eq!(site.rows.incidents.len(), 1);
}

#[test]
fn t12_a_second_fire_after_the_first_was_accepted_calls_from_the_bottom() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let id = site.only_incident().id;
    site.ack(5, id, "zhang");
    site.bit(6, FIRE, false);
    assert_eq!(site.recoveries(), Vec::<&str>::new(), "a latched alarm has not recovered");
    site.bit(7, FIRE, true);
    let incident = site.only_incident();
    assert_eq!((incident.id, incident.state, incident.acked_by), (id, IncidentState::Open, None));
    assert_eq!(site.alerts(), ["duty_phone-1", "duty_phone-1"]);
    site.tick(67);
    assert_eq!(site.alerts().len(), 5);
}

#[test]
fn a_latched_fire_closes_only_after_ack_and_reset() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let id = site.only_incident().id;
    site.bit(1, FIRE, false);
    assert!(site.room.reset_alarm("panel/fire", "zhang", at(2)).is_err());
    site.ack(3, id, "zhang");
    let refused = site.room.close_incident(id, "zhang", "false alarm", at(4)).unwrap_err();
    assert_eq!(refused, IncidentError::NotSettled { alarm: "panel/fire".into() });
    let batch = site.room.reset_alarm("panel/fire", "zhang", at(5)).unwrap();
    site.rows.write(batch);
    assert_eq!(site.rows.incidents[&id].state, IncidentState::Closed);
    assert_eq!(site.recoveries(), ["duty_phone-1"]);
    assert_eq!(site.state("panel/fire"), AlarmState::Norm);
}

#[test]
fn acknowledging_the_last_alarm_accepts_the_incident() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let stale = site.room.ack_alarm("panel/fire", 7, "zhang", at(1)).unwrap_err();
    assert_eq!(stale, CommandError::Ack(crate::alarm::AckError::WrongOccurrence { live: 1 }));
    let batch = site.room.ack_alarm("panel/fire", 1, "zhang", at(2)).unwrap();
    site.rows.write(batch);
    assert_eq!(site.only_incident().state, IncidentState::Acknowledged);
    assert_eq!(site.only_incident().acked_by.as_deref(), Some("zhang"));
}

#[test]
fn a_person_closes_what_has_gone_and_that_accepts_it() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    site.bit(1, GAS, false);
    let id = site.only_incident().id;
    let batch = site.room.close_incident(id, "zhang", "false alarm", at(2)).unwrap();
    site.rows.write(batch);
    assert_eq!(site.rows.incidents[&id].state, IncidentState::Closed);
    assert_eq!(site.record("panel/gas").acked_by.as_deref(), Some("zhang"));
}

#[test]
fn codes_of_open_incidents_differ() {
    // Both ids lead to the same code; the second must step aside.
    let mut next = 1;
    let twins = Box::new(move |_| Uuid::from_u128(std::mem::replace(&mut next, 9_001)));
    let room = ControlRoom::new(plant(), Saved::default(), twins, at(0)).unwrap();
    let mut site = Site { room, rows: Rows::default() };
    site.bit(0, FIRE, true);
    site.bit(1, GAS, true);
    let codes: BTreeSet<&str> = site.room.incidents().map(|incident| incident.code.as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["1001", "1002"]));
    assert_eq!(site.room.find_code("1002"), Some(Uuid::from_u128(9_001)));
}

#[test]
fn a_clock_set_back_does_not_stop_a_ladder() {
    let mut site = Site::new();
    site.bit(100_000, FIRE, true);
    site.tick(0);
    site.tick(60);
    assert_eq!(site.alerts().len(), 4);
}

#[test]
fn a_failed_commit_is_joined_to_the_next_batch() {
    let mut site = Site::new();
    let good = |value, second| Reading::good(GAS, Value::Bool(value), at(second));
    let mut batch = site.room.on_reading(at(0), &good(true, 0));
    batch.append(site.room.on_reading(at(1), &good(false, 1)));
    assert_eq!((batch.alarms.len(), batch.incidents.len(), batch.pages.len()), (1, 1, 2));
    assert_eq!(batch.alarms[0].state(), AlarmState::Rtnun);
}

#[test]
fn sites_that_would_stay_mute_are_refused() {
    let refuse = |change: fn(&mut Plant)| {
        let mut plant = plant();
        change(&mut plant);
        ControlRoom::new(plant, Saved::default(), ids(0), at(0)).err().unwrap()
    };
    let mute = RoomError::MuteLifeSafety("panel/fire".into());
    assert_eq!(refuse(|plant| Arc::make_mut(&mut plant.alarms[0]).plan = None), mute);
    assert_eq!(refuse(|plant| Arc::make_mut(&mut plant.alarms[0]).priority = Priority::P4), mute);
    let unknown = RoomError::UnknownPlan { alarm: "panel/fire".into(), plan: "EP-99".into() };
    assert_eq!(refuse(|plant| Arc::make_mut(&mut plant.alarms[0]).plan = Some("EP-99".into())), unknown);
    let evidence = RoomError::UnknownEvidence("ups/on-battery".into());
    assert_eq!(refuse(|plant| drop(plant.alarms.remove(3))), evidence);
    let evidence = RoomError::LifeSafetyEvidence("ups/on-battery".into());
    assert_eq!(refuse(|plant| Arc::make_mut(&mut plant.alarms[3]).class = AlarmClass::LifeSafety), evidence);
    let device = RoomError::UnknownDevice("panel/fire".into());
    assert_eq!(refuse(|plant| Arc::make_mut(&mut plant.alarms[0]).device = DeviceIx(9_999)), device);
    let twin = RoomError::DuplicateAlarm("panel/fire".into());
    assert_eq!(refuse(|plant| plant.alarms.push(plant.alarms[0].clone())), twin);
}

#[test]
fn f09_t07_every_rise_of_the_priority_calls_anew_and_nothing_lowers_it() {
    let mut desk = Desk::new(crate::plan::tests::shipped(), roster(), Duration::from_secs(300));
    let id = Uuid::from_u128(1);
    let opening = desk::Opening {
        root: "sump/level".into(),
        plan: "EP-04".into(),
        priority: Priority::P3,
        title: Bilingual::new("集水井高水位", "sump high"),
        action: Bilingual::new("到场", "go there"),
    };
    desk.open(id, opening, at(0));
    desk.ack(id, "zhang", at(10)).unwrap();
    desk.take();
    desk.raise_priority(id, Priority::P2, at(600));
    desk.raise_priority(id, Priority::P1, at(1_800));
    desk.raise_priority(id, Priority::P3, at(1_900));
    let out = desk.take();
    let called: Vec<(u32, Priority)> = out.pages.iter().map(|page| (page.level, page.priority)).collect();
    assert_eq!(called, [(101, Priority::P2), (201, Priority::P1)]);
    let incident = desk.get(id).unwrap();
    assert_eq!((incident.state, incident.priority), (IncidentState::Open, Priority::P1));
    assert_eq!(incident.escalates_at, Some(at(1_860)), "by the ladder of the new priority");
}

#[test]
fn a_plan_that_was_removed_does_not_silence_its_incident() {
    let mut site = Site::new();
    site.bit(0, FIRE, true);
    let mut saved = site.rows.saved();
    saved.incidents[0].plan = "EP-77".into();
    let mut room = ControlRoom::new(plant(), saved, ids(1), at(30)).unwrap();
    let batch = room.tick(at(60));
    assert_eq!(batch.pages.len(), 3);
    assert!(batch.pages[0].title.zh.starts_with("【突发】"));
}

#[test]
fn an_alarm_that_was_removed_does_not_keep_its_incident_open() {
    let mut site = Site::new();
    site.bit(0, GAS, true);
    let id = site.only_incident().id;
    let mut plant = plant();
    plant.alarms.remove(1);
    site.room = ControlRoom::new(plant, site.rows.saved(), ids(1), at(10)).unwrap();
    site.tick(11);
    assert_eq!(site.only_incident().state, IncidentState::Open, "somebody was called, so somebody has to answer");
    site.ack(12, id, "zhang");
    assert_eq!(site.room.incidents().count(), 0);
}
