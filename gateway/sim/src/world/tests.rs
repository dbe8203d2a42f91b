use super::meter::Contactor;
use super::*;

fn noon() -> World {
    World::new(7, 60.0, 12 * 3_600_000)
}

fn run(world: &mut World, seconds: u64) {
    for _ in 0..seconds * 10 {
        world.tick(Duration::from_millis(100));
    }
}

fn truth(world: &World, id: &str) -> DeviceTruth {
    world.device(id).expect("the inventory has it").truth()
}

/// Reads holding registers the way a server does.
fn read(world: &mut World, line: LineId, unit: u8, function: u8, first: u16, count: u16) -> Vec<u8> {
    let pdu = [&[function][..], &first.to_be_bytes(), &count.to_be_bytes()].concat();
    world.request(line, unit, &pdu).expect("the device answers")
}

#[test]
fn the_same_seed_builds_and_runs_the_same_building() {
    let (mut one, mut two) = (noon(), noon());
    run(&mut one, 5);
    run(&mut two, 5);
    assert_eq!(one.snapshot(), two.snapshot());
    assert_ne!(one.snapshot(), World::new(8, 60.0, 12 * 3_600_000).snapshot());
}

#[test]
fn energy_is_power_times_time_and_no_counter_ever_goes_backward() {
    let mut world = noon();
    world.meter_mut("m-101").expect("a meter").forced_watts = Some(6_000.0);
    let before = world.truth();
    // Sixty real seconds at speed 60 are one hour.
    run(&mut world, 60);
    let after = world.truth();
    for (old, new) in before.iter().zip(&after) {
        assert!(new.energy_wh >= old.energy_wh && new.volume_l >= old.volume_l, "{}", new.id);
    }
    let used = after[0].energy_wh.expect("a meter") - before[0].energy_wh.expect("a meter");
    assert!((5_995..=6_005).contains(&used), "{used} Wh");
}

#[test]
fn the_incomer_carries_what_the_others_draw() {
    let world = noon();
    let sum: f64 = world.truth().iter().filter(|d| &*d.id != "incomer").filter_map(|d| d.power_w).sum();
    let incomer = truth(&world, "incomer").power_w.expect("a meter");
    assert!(incomer >= sum && sum > 10_000.0, "{incomer} W for {sum} W");
}

#[test]
fn an_open_relay_takes_the_load_off_and_the_counter_stands() {
    let mut world = noon();
    let trip = [16, 0, 0x57, 0, 2, 4, 0, 1, 0, 1];
    assert_eq!(world.request(LineId::Rs485A, 1, &trip), Some(trip[..5].to_vec()));
    assert_eq!(truth(&world, "m-101").relay, Some(Relay::Closed), "a contactor needs time to move");
    run(&mut world, 1);
    let cut = truth(&world, "m-101");
    assert_eq!((cut.relay, cut.power_w), (Some(Relay::Open), Some(0.0)));
    assert_eq!(read(&mut world, LineId::Rs485A, 1, 3, 0x57, 2), [3, 4, 0, 1, 0, 1]);
    run(&mut world, 10);
    assert_eq!(truth(&world, "m-101").energy_wh, cut.energy_wh);
    let close = [16, 0, 0x57, 0, 2, 4, 0, 1, 0, 0];
    world.request(LineId::Rs485A, 1, &close);
    run(&mut world, 1);
    assert!(truth(&world, "m-101").power_w > Some(0.0));
    assert_eq!(truth(&world, "m-101").relay_moves, Some(2));
}

#[test]
fn a_stuck_contactor_accepts_the_command_and_stays() {
    let mut world = noon();
    world.meter_mut("m-101").expect("a meter").contactor = Contactor::Stuck;
    let trip = [16, 0, 0x57, 0, 2, 4, 0, 1, 0, 1];
    assert!(world.request(LineId::Rs485A, 1, &trip).is_some());
    run(&mut world, 2);
    assert_eq!(truth(&world, "m-101").relay, Some(Relay::Closed));
}

#[test]
fn nothing_else_in_the_building_can_be_written() {
    let mut world = noon();
    for (line, unit) in
        [(LineId::Fire, 1), (LineId::Lift1, 1), (LineId::Io, 1), (LineId::Plant, 2), (LineId::Rs485B, 11)]
    {
        for pdu in [&[6, 0, 0, 0, 1][..], &[16, 0, 0x57, 0, 2, 4, 0, 1, 0, 1]] {
            let reply = world.request(line, unit, pdu).expect("it answers");
            assert_eq!(reply[0], pdu[0] | 0x80, "{line:?} accepted a write");
        }
    }
}

#[test]
fn registers_outside_the_map_do_not_exist() {
    let mut world = noon();
    for (line, unit, function, first) in [
        (LineId::Rs485A, 1, 3, 60),
        (LineId::Rs485A, 1, 4, 0),
        (LineId::Rs485B, 31, 3, 5 + 1),
        (LineId::Fire, 1, 3, 400),
        (LineId::Lift2, 1, 3, 25),
        (LineId::Rs485B, 11, 4, 1),
    ] {
        assert_eq!(read(&mut world, line, unit, function, first, 1), [function | 0x80, 2], "{line:?} {first}");
    }
}

#[test]
fn a_dead_feeder_silences_its_floor_within_forty_seconds_and_no_other() {
    let mut world = noon();
    world.feeders[0] = Feeder::Lost;
    world.tick(Duration::from_millis(100));
    assert!(truth(&world, "m-101").answers, "capacitors hold a meter up for a moment");
    assert_eq!(truth(&world, "m-101").power_w, Some(0.0));
    run(&mut world, 40);
    let silent: Vec<String> = world.truth().iter().filter(|d| !d.answers).map(|d| d.id.to_string()).collect();
    assert_eq!(silent.len(), 14);
    assert!(silent.iter().all(|id| id.starts_with("m-1")), "{silent:?}");
    assert_eq!(read(&mut world, LineId::Io, 1, 3, 2, 4), [3, 8, 0, 1, 0, 0, 0, 1, 0, 1]);
    world.feeders[0] = Feeder::Live;
    run(&mut world, 5);
    assert!(world.truth().iter().all(|d| d.answers));
}

#[test]
fn a_snapshot_continues_where_it_ended() {
    let mut world = noon();
    world.request(LineId::Rs485A, 3, &[16, 0, 0x57, 0, 2, 4, 0, 1, 0, 1]);
    run(&mut world, 3);
    let saved = world.snapshot();
    let mut next = World::new(99, 60.0, 0);
    next.restore(&saved).expect("its own snapshot");
    assert_eq!(next.snapshot(), saved);
    assert_eq!(truth(&next, "m-103").relay, Some(Relay::Open));
    assert!(next.restore(&json!({ "devices": {} })).is_err());
}

#[test]
fn the_sump_fills_is_pumped_and_fills_faster_with_a_leak() {
    let mut world = World::new(1, 600.0, 0);
    world.utility_mut().expect("it is there").level_mm = 790.0;
    let levels: Vec<f64> = (0..20)
        .map(|_| {
            run(&mut world, 1);
            world.utility_mut().expect("it is there").level_mm
        })
        .collect();
    assert!(levels.iter().any(|level| *level < 320.0), "the pump empties the pit: {levels:?}");
    assert!(levels.iter().all(|level| *level < 820.0), "and lets it fill no higher: {levels:?}");
    world.utility_mut().expect("it is there").pump = utility::Pump::Tripped;
    world.water_mut("w-301").expect("a meter").leak_l_h = 900.0;
    let before = world.utility_mut().expect("it is there").level_mm;
    run(&mut world, 6);
    // One hour: 120 l of ground water and 900 l of the leak on one square metre.
    let risen = world.utility_mut().expect("it is there").level_mm - before;
    assert!((1_000.0..1_040.0).contains(&risen), "{risen} mm");
}

#[test]
fn a_jammed_lift_is_occupied_closed_standing_and_not_level() {
    let mut world = noon();
    world.lift_mut("lift-1").expect("a lift").jam();
    run(&mut world, 60);
    // 16 running, 17 closed, 18 open ... 22 occupied, 23 level.
    let words = read(&mut world, LineId::Lift1, 1, 3, 16, 8);
    assert_eq!([words[3], words[5], words[7], words[15], words[17]], [0, 1, 0, 1, 0]);
    world.lift_mut("lift-1").expect("a lift").release();
    run(&mut world, 3);
    let words = read(&mut world, LineId::Lift1, 1, 3, 16, 8);
    assert_eq!([words[5], words[7], words[15], words[17]], [0, 1, 0, 1]);
}
