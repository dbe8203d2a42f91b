//! One test per way a bus can lie; all of them together are in [`super::interleavings`].

use proptest::prelude::*;

use super::world::{Damage, Storm};
use super::*;

/// Runs a line whose first two polls go well, whose next request meets `acts`, and which is honest afterwards.
async fn after(way: impl Into<Way>, acts: &[Act]) -> Rig {
    let script = [Act::Answer, Act::Answer].iter().chain(acts).cloned().collect();
    let mut rig = Rig::start(way, 3, Facts { script, ..Facts::default() });
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering], "one lie makes nobody silent");
        for (point, ..) in POINTS {
            assert_eq!(rig.last(device, point).quality, Quality::Good, "{point}");
        }
    }
    rig
}

fn failed(rig: &Rig) -> u64 {
    rig.handle.stats().devices.iter().map(|d| d.timeout.get() + d.crc_error.get() + d.link_error.get()).sum()
}

fn discarded(rig: &Rig) -> (u64, u64, u64) {
    let stats = rig.handle.stats();
    (stats.discarded_late.get(), stats.discarded_foreign.get(), stats.discarded_damaged.get())
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_within_the_linger() {
    for way in serial_ways() {
        // Longer frames wait longer.
        let late = if way.timing.framing == Framing::Ascii { 150 } else { 140 };
        let rig = after(way, &[Act::Late(late)]).await;
        assert_eq!(failed(&rig), 1, "{way:?}");
        assert!(rig.handle.stats().stale_bytes.get() > 0, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_into_the_new_socket_while_the_next_answer_is_awaited() {
    // The second time the answer comes 30 ms after the repeated request, into another socket than it was asked on.
    for late in [155, 160, 180, 200, 240] {
        for way in serial_ways() {
            let rig = after(way, &[Act::Late(late), Act::Late(60)]).await;
            let sockets = rig.handle.stats().connects.get();
            assert!(if way.socket == Socket::Kept { sockets == 1 } else { sockets >= 2 }, "{way:?}: {sockets}");
            assert!(failed(&rig) <= 2, "{way:?}, {late} ms: {}", failed(&rig));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_sent_twice() {
    for gap in [0, 1, 2, 3, 4, 5, 20, 100] {
        for way in serial_ways() {
            let rig = after(way, &vec![Act::Twice(gap); 40]).await;
            assert!(failed(&rig) <= 40, "{way:?}, {gap} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_another_unit() {
    for way in all_ways() {
        let rig = after(way, &[Act::OtherUnit]).await;
        assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 1, 0)), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_short() {
    for way in all_ways() {
        let rig = after(way, &[Act::OneLess]).await;
        assert_eq!(failed(&rig), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_long() {
    for way in all_ways() {
        let rig = after(way, &[Act::OneMore]).await;
        assert_eq!(failed(&rig), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_another_function() {
    for way in all_ways() {
        let rig = after(way, &[Act::OtherFunction]).await;
        assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 1, 0)), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_check_sum() {
    for bit in [0, 8, 16, 24, 40, 60] {
        for way in serial_ways() {
            let rig = after(way, &[Act::FlipBit(bit)]).await;
            assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)), "{way:?}, bit {bit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_reply() {
    for way in serial_ways() {
        let rig = after(way, &[Act::Cut]).await;
        assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_two_pieces_is_a_reply() {
    for way in all_ways() {
        let rig = after(way, &[Act::Split(30)]).await;
        assert_eq!(failed(&rig), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_bytes_of_garbage_before_the_reply() {
    for way in serial_ways() {
        let rig = after(way, &[Act::Garbage(5)]).await;
        assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_bytes_of_garbage_and_nothing_else() {
    for way in all_ways() {
        let rig = after(way, &[Act::GarbageOnly]).await;
        assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)));
    }
}

/// AC 06.
#[tokio::test(start_paused = true)]
async fn a_transaction_number_of_yesterday() {
    for way in [tcp().into(), dtu(tcp())] {
        let rig = after(way, &[Act::OtherTid]).await;
        assert_eq!(failed(&rig), 1);
        assert!(discarded(&rig).0 >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_lies_about_its_length() {
    let rig = after(tcp(), &[Act::LengthLie]).await;
    assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)));
    assert_eq!(rig.handle.stats().connects.get(), 2, "a stream without known borders is given up");
    let rig = after(dtu(tcp()), &[Act::LengthLie]).await;
    assert_eq!((failed(&rig), discarded(&rig)), (1, (0, 0, 1)));
    assert_eq!(rig.handle.stats().connects.get(), 1, "a modem's is listened to until it is silent");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_instead_of_answered() {
    for way in all_ways() {
        let rig = after(way, &[Act::Close]).await;
        assert_eq!(failed(&rig), 1);
        assert_eq!(rig.handle.stats().connects.get(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_ignores_one_read_is_not_silent() {
    let mut rig = Rig::start(rtu(), 1, Facts::default());
    rig.run(Duration::from_secs(3)).await;
    rig.facts.lock().unwrap().ignored = [(1, 100)].into();
    rig.run(Duration::from_secs(10)).await;
    assert_eq!(rig.healths(0), [DeviceHealth::Answering]);
    assert_eq!(rig.last(0, "energy").quality, Quality::Bad(BadReason::NoAnswer));
    assert_eq!(rig.last(0, "volume").quality, Quality::Good);
    rig.facts.lock().unwrap().ignored.clear();
    rig.run(Duration::from_secs(40)).await;
    rig.assert_names();
    assert_eq!(rig.last(0, "energy").quality, Quality::Good);
    rig.end().await;
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Answer),
        4 => (80u64..4000).prop_map(Act::Late),
        2 => Just(Act::Drop),
        3 => (0u64..1500).prop_map(Act::Twice),
        1 => (0u64..150).prop_map(Act::Split),
        1 => any::<usize>().prop_map(Act::FlipBit),
        1 => (0u64..120).prop_map(Act::Garbage),
        1 => Just(Act::GarbageOnly),
        1 => Just(Act::OtherUnit),
        1 => Just(Act::OtherFunction),
        1 => Just(Act::OneLess),
        1 => Just(Act::OneMore),
        1 => Just(Act::Cut),
        1 => (1u8..12).prop_map(Act::Refuse),
        1 => Just(Act::Close),
    ]
}

fn any_way() -> impl Strategy<Value = Way> {
    prop::sample::select(all_ways())
}

/// Lets a line meet `acts` for some time, and then an honest bus.
fn meet(acts: Vec<Act>, way: Way, lies: Duration, truth: Duration) -> Rig {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut rig = Rig::start(way, 2, Facts { script: acts.into(), ..Facts::default() });
        rig.run(lies).await;
        rig.facts.lock().unwrap().script.clear();
        rig.run(truth).await;
        rig.assert_names();
        rig.stop.cancel();
        rig
    })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

fn one_wrong_byte() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<usize>().prop_map(Damage::Lost),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Added(at, byte)),
        (any::<usize>(), 1u16..256).prop_map(|(at, bits)| Damage::Burst(at, bits)),
    ]
}

proptest! {
    #![proptest_config(config(60))]

    /// One byte more, less or another one, anywhere in an answer, costs that request and no other.
    #[test]
    fn one_wrong_byte_costs_one_request_at_most(damage in one_wrong_byte(), way in any_way()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let storm = Storm { delay: 1, copy: None, damage, split: None };
            let rig = after(way, &[Act::Storm(storm)]).await;
            prop_assert!(failed(&rig) <= 1, "{}", failed(&rig));
            Ok(())
        })?;
    }

    /// When the bus has become honest, everybody is read again.
    #[test]
    fn every_device_comes_back(acts in prop::collection::vec(any_act(), 1..60), way in any_way()) {
        let rig = meet(acts, way, Duration::from_secs(10), Duration::from_secs(45));
        for device in 0..2 {
            let health = rig.healths(device).last().copied();
            prop_assert_eq!(health, Some(DeviceHealth::Answering));
            for (point, ..) in POINTS {
                prop_assert_eq!(rig.last(device, point).quality, Quality::Good);
            }
        }
    }
}
