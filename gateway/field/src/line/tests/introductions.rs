//! A device shows that it is the one of its profile before anything it says is believed.

use guanjia_core::profile::{Expected, Heartbeat, Identity, SunSpec};

use super::*;

/// The test profile for devices that answer `expected` in holding register 11.
fn with_identity(expected: u16) -> Profile {
    let place = Registers::new(Table::Holding, 11, WireType::U16);
    let point = PointDef::new("holding register 11", Source::Registers(place));
    let one_of = vec![Expected::Number(Decimal::new(i128::from(expected), 0))];
    Profile { identity: vec![Identity { point, one_of }], ..(*profile()).clone() }
}

fn rig(profile: Profile, facts: Facts) -> Rig {
    let facts: Shared = Arc::new(Mutex::new(facts));
    let dial = world(Framing::Rtu, &facts);
    let mut devices = devices(1);
    devices[0].profile = Arc::new(profile);
    Rig::with_dial(rtu(), devices, dial, facts)
}

fn reason(reading: &Reading) -> Option<BadReason> {
    match reading.quality {
        Quality::Bad(reason) => Some(reason),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_right_device_is_asked_once_and_then_read() {
    let mut rig = rig(with_identity(ident(1, Table::Holding, 11)), Facts::default());
    rig.run(Duration::from_secs(5)).await;
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    assert_eq!(rig.last(0, "current").quality, Quality::Good);
    let asked = rig.asked();
    assert_eq!((asked[0].address, asked[0].count), (11, 1), "it is asked first, and alone");
    assert_eq!(asked.iter().filter(|a| (a.address, a.count) == (11, 1)).count(), 1);
    rig.assert_names();
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_device_is_bad_in_all_its_points_and_is_neither_read_nor_written() {
    let mut rig = rig(with_identity(1), Facts::default());
    rig.run(Duration::from_secs(20)).await;
    for (id, ..) in POINTS {
        assert_eq!(reason(rig.last(0, id)), Some(BadReason::WrongDevice), "{id}");
    }
    assert!(rig.asked().iter().all(|a| (a.function, a.address, a.count) == (3, 11, 1)), "{:?}", rig.asked());
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Silent(BadReason::WrongDevice)), "somebody must hear of it");
    let command = RelayCommand {
        device: DeviceIx(0),
        relay: 0,
        action: RelayAction::Open,
        valid_until: Timestamp::from_millis(i64::MAX),
        version: 1,
        current_version: Arc::new(AtomicU64::new(1)),
    };
    let outcome = rig.handle.relay(command).await;
    assert!(matches!(outcome, RelayOutcome::Unknown(ref why) if why.contains("nothing was sent")), "{outcome:?}");
    assert!(rig.asked().iter().all(|a| a.function == 3));
    // Somebody puts the right one there.
    rig.facts.lock().unwrap().memory.insert((1, 11), 1);
    rig.run(Duration::from_secs(60)).await;
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Answering));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_stands_still_is_told_like_a_silence() {
    let mut profile = (*profile()).clone();
    // The world's registers never move by themselves.
    profile.heartbeat = Some(Heartbeat { point: 1, within: Duration::from_secs(10) });
    let mut rig = rig(profile, Facts::default());
    rig.run(Duration::from_secs(9)).await;
    assert_eq!(rig.healths(0), [DeviceHealth::Answering]);
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    rig.run(Duration::from_secs(5)).await;
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Silent(BadReason::Frozen)));
    for (id, ..) in POINTS.iter().filter(|p| p.0 != "fault") {
        assert_eq!(reason(rig.last(0, id)), Some(BadReason::Frozen), "{id}");
    }
    assert_eq!(rig.last(0, "fault").quality, Quality::Good, "what stands still is shown");
    rig.facts.lock().unwrap().memory.insert((1, 1), 99);
    rig.run(Duration::from_secs(5)).await;
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Answering));
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_silent_must_show_itself_again() {
    let mut rig = rig(with_identity(ident(1, Table::Holding, 11)), Facts::default());
    rig.run(Duration::from_secs(5)).await;
    rig.facts.lock().unwrap().dead.insert(1);
    rig.run(Duration::from_secs(5)).await;
    assert_eq!(reason(rig.last(0, "fire")), Some(BadReason::NoAnswer));
    // The meter was exchanged for one of another model meanwhile.
    rig.facts.lock().unwrap().memory.insert((1, 11), 7);
    rig.facts.lock().unwrap().dead.clear();
    rig.seen.clear();
    rig.run(Duration::from_secs(60)).await;
    assert_eq!(reason(rig.last(0, "fire")), Some(BadReason::WrongDevice));
    assert!(rig.readings().all(|r| r.value.is_none()), "nothing it says is believed");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sunspec_device_is_read_where_its_models_are() {
    let mut profile = (*profile()).clone();
    for point in &mut profile.points {
        let Source::Registers(place) = &point.source else { continue };
        if place.table == Table::Holding && place.address < 10 {
            let registers = Registers { address: place.address + 2, ..place.clone() };
            point.source = Source::Model { model: 203, registers };
        }
    }
    profile.sunspec = Some(SunSpec { bases: vec![40_000, 50_000] });
    let mut facts = Facts::default();
    let chain = [(50_000, 0x5375), (50_001, 0x6E53), (50_002, 1), (50_003, 4), (50_008, 203), (50_009, 3)];
    facts.memory.extend(chain.map(|(address, word)| ((1, address), word)));
    facts.memory.extend([((1, 50_010), 77), ((1, 50_011), 78)]);
    let mut rig = rig(profile, facts);
    rig.run(Duration::from_secs(5)).await;
    let value = |rig: &Rig, id| rig.last(0, id).value.as_ref().map(ToString::to_string);
    assert_eq!(value(&rig, "fire").as_deref(), Some("77"));
    assert_eq!(value(&rig, "fault").as_deref(), Some("78"));
    assert_eq!(rig.last(0, "current").quality, Quality::Good);
    rig.end().await;
}
