//! A device that does not have every register somebody asks it for.

use super::*;

/// How often a register of the first unit was asked for so far.
fn asked_for(rig: &Rig, register: u16) -> usize {
    let facts = rig.facts.lock().unwrap();
    let reads = |a: &&world::Asked| a.function == 3 && a.unit == 1;
    let has = |a: &&world::Asked| a.address <= register && register < a.address + a.count;
    facts.asked.iter().filter(reads).filter(has).count()
}

/// AC 34.
#[tokio::test(start_paused = true)]
async fn a_gap_that_is_refused_is_learned_once_and_never_asked_for_again() {
    // The alarm points lie at 0, 1 and 40; on a network one request spans them.
    let facts: Shared = Arc::new(Mutex::new(Facts { missing: [(1, 20)].into(), ..Facts::default() }));
    let mut devices = devices(1);
    let mut profile = Profile::clone(&devices[0].profile);
    profile.limits.gap_max = None;
    devices[0].profile = Arc::new(profile);
    let dial = world(Framing::Mbap, &facts);
    let mut rig = Rig::with_dial(tcp(), devices, dial, facts);
    rig.run(Duration::from_secs(5)).await;
    rig.assert_names();
    for point in ["fire", "fault", "far_fire"] {
        assert_eq!(rig.last(0, point).quality, Quality::Good, "{point}");
    }
    assert_eq!(asked_for(&rig, 20), 1);
    rig.run(Duration::from_secs(120)).await;
    assert_eq!(asked_for(&rig, 20), 1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_point_is_tried_rarely_for_ever_and_comes_back_when_the_device_has_it() {
    let mut rig = Rig::start(tcp(), 1, Facts { missing: [(1, 1)].into(), ..Facts::default() });
    rig.run(Duration::from_secs(890)).await;
    rig.assert_names();
    assert_eq!(rig.last(0, "fault").quality, Quality::Bad(BadReason::Refused));
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    let tries = asked_for(&rig, 1);
    assert!((5..=10).contains(&tries), "{tries} tries in a quarter of an hour");
    rig.facts.lock().unwrap().missing.clear();
    rig.run(Duration::from_secs(400)).await;
    assert_eq!(rig.last(0, "fault").quality, Quality::Good);
    // It is in the common read again, twice a second.
    let before = asked_for(&rig, 1);
    rig.run(Duration::from_secs(60)).await;
    assert!(asked_for(&rig, 1) - before > 100);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_begins_to_refuse_what_it_had_costs_that_point_only() {
    let mut rig = Rig::start(tcp(), 1, Facts::default());
    rig.run(Duration::from_secs(5)).await;
    assert_eq!(rig.last(0, "fault").quality, Quality::Good);
    rig.facts.lock().unwrap().missing.insert((1, 1));
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    assert_eq!(rig.last(0, "fault").quality, Quality::Bad(BadReason::Refused));
    for point in ["fire", "far_fire", "energy", "current"] {
        assert_eq!(rig.last(0, point).quality, Quality::Good, "{point}");
    }
    rig.end().await;
}
