//! What people who run such lines suffer from, as cases. Time is the runtime's and stands still unless all sleep.

use super::*;

/// 9600 baud, 8E1.
fn slow() -> Timing {
    let format =
        crate::link::SerialFormat { baud: 9_600, data_bits: 8, parity: crate::link::Parity::Even, stop_bits: 1 };
    Timing { char_time: format.char_time(), t35: format.t35(), ..rtu() }
}

/// Meters with one read of twenty registers each.
fn meters(count: u8, period: Duration) -> Vec<FieldDevice> {
    let point = |i: u16| {
        let source = Source::Registers(Registers::new(Table::Holding, i, WireType::U16));
        PointDef::new(&format!("p{i}"), source)
    };
    let limits = ReadLimits { response_max: Duration::from_millis(300), ..ReadLimits::default() };
    let class = EquipmentClass::ElectricityMeter;
    let profile = Arc::new(Profile { limits, ..Profile::new("meter", class, (0..20).map(point).collect()) });
    let periods = Periods { alarm: period, billing: period, bulk: period };
    devices(count).into_iter().map(|device| FieldDevice { profile: Arc::clone(&profile), periods, ..device }).collect()
}

fn rig(timing: Timing, devices: Vec<FieldDevice>, dead: impl IntoIterator<Item = u8>) -> Rig {
    let byte_time = timing.char_time;
    let facts: Shared = Arc::new(Mutex::new(Facts { byte_time, dead: dead.into_iter().collect(), ..Facts::default() }));
    let dial = world(timing.framing, &facts);
    Rig::with_dial(timing, devices, dial, facts)
}

fn ok(rig: &Rig) -> Vec<u64> {
    rig.handle.stats().devices.iter().map(|d| d.ok.get()).collect()
}

async fn pass(rig: &mut Rig, seconds: u64) {
    // In small steps, so that the queue of reports has room.
    for _ in 0..seconds {
        rig.run(Duration::from_secs(1)).await;
    }
}

/// AC 01.
#[tokio::test(start_paused = true)]
async fn of_thirty_two_units_at_9600_baud_one_is_silent_and_no_other_misses_a_slot() {
    let mut rig = rig(slow(), meters(32, Duration::from_secs(10)), [7]);
    pass(&mut rig, 600).await;
    for (device, ok) in ok(&rig).into_iter().enumerate().filter(|(i, _)| *i != 6) {
        assert!((60..=62).contains(&ok), "device {device}: {ok} of 60 and the first");
    }
    let asked = rig.asked();
    let probes = asked.iter().filter(|a| a.unit == 7).count() as u32;
    let share = probes * 350 / 6_000;
    assert!((10..=60).contains(&probes) && share <= 5, "{probes} probes, {share} % of the time");
    rig.facts.lock().unwrap().dead.clear();
    pass(&mut rig, 31).await;
    assert_eq!(rig.healths(6).last(), Some(&DeviceHealth::Answering), "back within one pause between probes");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn three_silent_meters_of_thirty_take_less_than_three_percent_from_the_others_on_a_line_that_is_never_idle() {
    let rate = async |dead: Vec<u8>, healthy: Vec<usize>, count: u8| {
        let mut rig = rig(slow(), meters(count, Duration::from_secs(1)), dead);
        pass(&mut rig, 60).await;
        let before = ok(&rig);
        pass(&mut rig, 240).await;
        let after = ok(&rig);
        assert!(rig.handle.stats().overruns.get() > 1_000, "more is wanted than the wire can carry");
        let read = healthy.iter().map(|i| after[*i] - before[*i]).sum::<u64>();
        rig.end().await;
        read as f64
    };
    let without = rate(vec![], (0..27).collect(), 27).await;
    let with = rate(vec![5, 15, 25], (0..30).filter(|i| ![4, 14, 24].contains(i)).collect(), 30).await;
    assert!(with / without >= 0.97, "{with} reads instead of {without}");
}

#[tokio::test(start_paused = true)]
async fn a_serial_server_with_twenty_eight_devices_hangs_and_is_known_as_one_thing_in_three_seconds() {
    let mut rig = rig(slow(), meters(28, Duration::from_secs(5)), []);
    pass(&mut rig, 20).await;
    let seen = rig.seen.len();
    rig.facts.lock().unwrap().dead = (1..=28).collect();
    pass(&mut rig, 4).await;
    let down = FieldReport::Health {
        device: DeviceIx(0),
        health: DeviceHealth::Silent(BadReason::LineDown),
        at: clock::now(),
    };
    let told = rig.seen[seen..].iter().filter(|r| match (r, &down) {
        (FieldReport::Health { health, .. }, FieldReport::Health { health: down, .. }) => health == down,
        _ => false,
    });
    assert_eq!((told.count(), rig.handle.stats().mute.get()), (28, 1));
    pass(&mut rig, 300).await;
    rig.facts.lock().unwrap().dead.clear();
    pass(&mut rig, 5).await;
    assert!((0..28).all(|d| rig.healths(d).last() == Some(&DeviceHealth::Answering)), "all are back at once");
    assert_eq!(rig.handle.stats().mute.get(), 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn three_meters_that_fall_silent_at_once_are_not_taken_for_the_line() {
    let mut rig = rig(slow(), meters(30, Duration::from_secs(5)), []);
    pass(&mut rig, 20).await;
    rig.facts.lock().unwrap().dead = [4, 5, 6].into();
    pass(&mut rig, 60).await;
    for device in 0..30 {
        let expected =
            if (3..6).contains(&device) { DeviceHealth::Silent(BadReason::NoAnswer) } else { DeviceHealth::Answering };
        assert_eq!(rig.healths(device).last(), Some(&expected), "device {device}");
        assert!(rig.healths(device).len() <= 2, "nobody flickers");
    }
    rig.end().await;
}

/// AC 03.
#[tokio::test(start_paused = true)]
async fn a_device_that_is_off_at_the_start_is_read_within_one_step_after_it_comes_on() {
    let mut rig = rig(tcp(), meters(1, Duration::from_secs(1)), [1]);
    pass(&mut rig, 60).await;
    assert_eq!(rig.healths(0), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    rig.facts.lock().unwrap().dead.clear();
    rig.run(Duration::from_millis(750)).await;
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Answering));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn every_line_that_was_refused_is_read_within_a_second_after_it_is_accepted() {
    let mut rig = rig(tcp(), meters(1, Duration::from_secs(1)), []);
    rig.facts.lock().unwrap().refuses = true;
    pass(&mut rig, 120).await;
    rig.facts.lock().unwrap().refuses = false;
    rig.run(Duration::from_secs(1)).await;
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Answering));
    rig.end().await;
}

/// AC 14.
#[tokio::test(start_paused = true)]
async fn a_meter_that_is_read_once_an_hour_is_known_right_after_the_start() {
    let mut rig = rig(slow(), meters(10, Duration::from_secs(3_600)), []);
    pass(&mut rig, 2).await;
    assert_eq!(ok(&rig), [1; 10]);
    pass(&mut rig, 3_600).await;
    assert_eq!(ok(&rig), [2; 10]);
    rig.end().await;
}

/// AC 15.
#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_keep_up_leaves_turns_out_and_counts_them_and_nothing_queues_up() {
    let mut rig = rig(slow(), meters(30, Duration::from_secs(1)), []);
    pass(&mut rig, 60).await;
    let (read, overruns) = (ok(&rig), rig.handle.stats().overruns.get());
    let total: u64 = read.iter().sum();
    assert!(total + overruns >= 30 * 58 && overruns > 0, "{total} read, {overruns} left out");
    let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
    assert!(most - least <= 2, "everybody gets the same: {read:?}");
    rig.end().await;
}

/// AC 08.
#[tokio::test(start_paused = true)]
async fn a_byte_that_is_lost_added_or_changed_anywhere_costs_one_request_at_most() {
    let answer_len = 9;
    let mut damages: Vec<world::Damage> = (0..answer_len).map(world::Damage::Lost).collect();
    damages.extend((0..answer_len).map(|at| world::Damage::Added(at, 0xA5)));
    damages.extend((0..answer_len).map(|at| world::Damage::Burst(at * 8, 0b1001_0110)));
    for damage in damages {
        let storm = world::Storm { delay: 1, copy: None, damage, split: None };
        let script = [Act::Answer, Act::Answer, Act::Storm(storm)].into();
        let mut rig = Rig::start(rtu(), 3, Facts { script, ..Facts::default() });
        rig.run(Duration::from_secs(5)).await;
        rig.assert_names();
        let stats = rig.handle.stats();
        let failed: u64 = stats.devices.iter().map(|d| d.timeout.get() + d.crc_error.get() + d.link_error.get()).sum();
        assert_eq!(failed, 1, "{damage:?}");
        assert!((0..3).all(|d| rig.healths(d) == [DeviceHealth::Answering]), "{damage:?}");
        rig.end().await;
    }
}

/// AC 09.
#[tokio::test(start_paused = true)]
async fn the_line_is_silent_between_two_frames_as_long_as_the_speed_and_the_profile_ask_for() {
    for (baud, silence_ms) in [(1_200, 0), (2_400, 0), (9_600, 0), (19_200, 0), (38_400, 0), (115_200, 0), (9_600, 20)]
    {
        let format = crate::link::SerialFormat { baud, data_bits: 8, parity: crate::link::Parity::Even, stop_bits: 1 };
        let timing = Timing { char_time: format.char_time(), t35: format.t35(), ..rtu() };
        let mut meters = meters(3, Duration::from_millis(200));
        let silence_min = Duration::from_millis(silence_ms);
        for meter in &mut meters {
            let mut profile = Profile::clone(&meter.profile);
            profile.limits.silence_min = silence_min;
            meter.profile = Arc::new(profile);
        }
        let mut rig = rig(timing, meters, []);
        rig.run(Duration::from_secs(5)).await;
        let answer = timing.char_time * (8 + 45) + Duration::from_millis(1);
        let shortest =
            rig.asked().windows(2).map(|w| w[1].at - w[0].at - answer).min().expect("it asked more than once");
        assert!(shortest >= timing.t35.max(silence_min), "{baud} baud: {shortest:?}");
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wants_time_between_two_questions_gets_it_and_the_others_use_it() {
    let mut devices = devices(2);
    let mut profile = Profile::clone(&devices[0].profile);
    profile.limits.interval_min = Duration::from_millis(80);
    devices[0].profile = Arc::new(profile);
    let mut rig = rig(rtu(), devices, []);
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    let of = |unit: u8| rig.asked().into_iter().filter(|a| a.unit == unit).map(|a| a.at).collect::<Vec<_>>();
    let shortest = of(1).windows(2).map(|w| w[1] - w[0]).min().expect("it was asked more than once");
    assert!(shortest >= Duration::from_millis(80), "{shortest:?}");
    let shortest = of(2).windows(2).map(|w| w[1] - w[0]).min().expect("it was asked more than once");
    assert!(shortest < Duration::from_millis(10), "{shortest:?}");
    rig.end().await;
}
