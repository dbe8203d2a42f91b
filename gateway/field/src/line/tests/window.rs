//! Several questions under way at once, and whose answers are taken.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_four_questions_is_asked_four_at_once_and_others_one() {
    for (in_flight_max, at_once) in [(4, 4), (1, 1)] {
        let script = vec![Act::Late(50); 4].into();
        let mut rig = Rig::start(several(in_flight_max), 1, Facts { script, ..Facts::default() });
        rig.run(Duration::from_millis(40)).await;
        assert_eq!(rig.asked().len(), at_once);
        rig.run(Duration::from_secs(5)).await;
        rig.assert_names();
        for (point, ..) in POINTS {
            assert_eq!(rig.last(0, point).quality, Quality::Good, "{point}");
        }
        let stats = rig.handle.stats();
        assert_eq!((stats.devices[0].timeout.get(), stats.connects.get()), (0, 1));
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_unit_behind_a_gateway_delays_no_other() {
    let mut rig = Rig::start(several(3), 3, Facts { dead: [2].into(), ..Facts::default() });
    rig.run(Duration::from_secs(60)).await;
    rig.assert_names();
    assert_eq!(rig.healths(1), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    for device in [0, 2] {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
        let asked: Vec<Instant> =
            rig.asked().iter().filter(|a| u32::from(a.unit) == device + 1 && a.address == 0).map(|a| a.at).collect();
        let late = asked[2..].windows(2).filter(|w| w[1] - w[0] > Duration::from_millis(505)).count();
        assert_eq!((asked.len() >= 119, late), (true, 0), "{} polls", asked.len());
    }
    let stats = rig.handle.stats();
    assert_eq!((stats.overruns.get(), stats.connects.get()), (0, 1), "one silent unit costs nobody the connection");
    rig.facts.lock().unwrap().dead.clear();
    rig.run(Duration::from_secs(31)).await;
    assert_eq!(rig.healths(1).last(), Some(&DeviceHealth::Answering));
    rig.end().await;
}

/// AC 06.
#[tokio::test(start_paused = true)]
async fn a_foreign_a_double_and_a_misnumbered_answer_cost_one_question_each_at_most() {
    let script = [Act::OtherUnit, Act::Twice(5), Act::OtherTid, Act::Answer, Act::Split(30)].into();
    let mut rig = Rig::start(several(4), 2, Facts { script, ..Facts::default() });
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    let stats = rig.handle.stats();
    let failed: u64 = stats.devices.iter().map(|d| d.timeout.get() + d.crc_error.get() + d.link_error.get()).sum();
    assert_eq!((failed, stats.connects.get()), (2, 1));
    assert_eq!((stats.discarded_foreign.get(), stats.discarded_late.get()), (1, 2), "the copy and the wrong number");
    for device in 0..2 {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_header_that_lies_costs_what_is_under_way_and_a_new_connection() {
    let mut rig = Rig::start(several(4), 2, Facts { script: [Act::Answer, Act::LengthLie].into(), ..Facts::default() });
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    assert_eq!(rig.handle.stats().connects.get(), 2);
    for device in 0..2 {
        for (point, ..) in POINTS {
            assert_eq!(rig.last(device, point).quality, Quality::Good, "{point}");
        }
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_what_is_under_way_and_travels_alone() {
    let script = vec![Act::Late(60); 4].into();
    let rig = Rig::start(several(4), 1, Facts { script, ..Facts::default() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (given, before) = (Instant::now(), rig.asked().len());
    let outcome = rig.handle.relay(commands::command(0, RelayAction::Open)).await;
    assert!(matches!(outcome, RelayOutcome::Verified { .. }), "{outcome:?}");
    let next = rig.asked()[before];
    assert_eq!((before, next.function), (4, 16), "nothing else is asked first");
    let waited = next.at - given;
    assert!(waited >= Duration::from_millis(40) && waited <= RESPONSE_MAX, "{waited:?}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_answers_without_its_unit_is_heard_if_its_profile_says_so() {
    use guanjia_core::profile::UnitEcho;
    for (timing, unit, unit_echo, heard) in [
        (tcp(), 255, UnitEcho::AskedOrNone, true),
        (several(4), 0, UnitEcho::AskedOrNone, true),
        (tcp(), 9, UnitEcho::AskedOrNone, false),
        (tcp(), 255, UnitEcho::Asked, false),
        (several(4), 255, UnitEcho::Asked, false),
    ] {
        let facts: Shared = Arc::new(Mutex::new(Facts { answers_as: Some(unit), ..Facts::default() }));
        let dial = world(timing.framing, &facts);
        let mut devices = devices(1);
        take_several(&mut devices, timing.in_flight_max);
        let mut profile = Profile::clone(&devices[0].profile);
        profile.limits.unit_echo = unit_echo;
        devices[0].profile = Arc::new(profile);
        let mut rig = Rig::with_dial(timing, devices, dial, facts);
        rig.run(Duration::from_secs(3)).await;
        rig.assert_names();
        let answered = rig.handle.stats().devices[0].ok.get() > 0;
        assert_eq!(answered, heard, "asked as 1, answers as {unit}, {unit_echo:?}");
        rig.end().await;
    }
}
