//! The field node's firmware, as it is shipped, on its emulated part: what only the whole program on its board can show.
//!
//! The rules of the node (journal, credit, framing, outputs) are proven on the host, in `firmware/node`. Here the promise is
//! that board, boot stage and node together keep them: over sockets that cut frames anywhere, and over SIGKILL.
//! A master that gets no answer asks again, as masters do: on a loaded host the emulated part may not run when it should.

#![allow(clippy::unwrap_used, reason = "helpers of tests: what cannot go on fails there")]

use std::time::{Duration, Instant};

use guanjia_node::map::{CHANNELS, CONTACTS, Id, rule};
use guanjia_tests::node::{Answer, Loop, MAKER, Master, Node, Terminal, framed};

mod damage;
pub mod fallback;
mod update;

/// How long the node may take for something that it does by itself.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a master asks before it gives up.
const ATTEMPTS: usize = 5;
/// RAM of the node on this board, without the retained words.
const RAM_END: u32 = 0x2000_1000;

fn address(id: Id, n: u16) -> u16 {
    let rule = rule(id).unwrap();
    rule.address + n * rule.stride
}

/// One value of the map.
fn value(master: &mut Master, id: Id, n: u16) -> u32 {
    value_if_heard(master, id, n).unwrap_or_else(|| panic!("{id:?}: silence"))
}

/// The same of a node that may be starting.
fn value_if_heard(master: &mut Master, id: Id, n: u16) -> Option<u32> {
    let words = rule(id).unwrap().kind.words();
    match ask(master, |master| master.read(address(id, n), words)) {
        Answer::Words(words) => Some(words.iter().fold(0, |value, word| value << 16 | u32::from(*word))),
        Answer::Silence => None,
        other => panic!("{id:?}: {other:?}"),
    }
}

/// Asks again while there is no answer.
fn ask(master: &mut Master, mut request: impl FnMut(&mut Master) -> anyhow::Result<Answer>) -> Answer {
    for _ in 0..ATTEMPTS {
        match request(master).unwrap() {
            Answer::Silence => {}
            answer => return answer,
        }
    }
    Answer::Silence
}

fn set(master: &mut Master, id: Id, n: u16, words: &[u16]) {
    assert_eq!(ask(master, |master| master.write(address(id, n), words)), Answer::Done, "{id:?}");
}

/// Waits until a value is as it should be.
fn until(master: &mut Master, id: Id, n: u16, wanted: u32) {
    let end = Instant::now() + LIMIT;
    loop {
        let found = value_if_heard(master, id, n);
        if found == Some(wanted) {
            return;
        }
        assert!(Instant::now() < end, "{id:?} of {n} is {found:?} instead of {wanted}");
    }
}

/// Gives one pulse, no faster than the node sees it.
fn pulse(node: &Node, master: &mut Master, channel: usize) {
    for closed in [true, false] {
        node.set(Terminal::Pulse(channel), closed).unwrap();
        until(master, Id::InputLevel, channel as u16, u32::from(closed));
    }
}

#[test]
fn a_thousand_reads_are_each_answered_with_what_was_asked() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    // Two runs of registers whose values stand still and differ: an answer to the other request would show.
    let runs = [(address(Id::MapVersion, 0), 13), (address(Id::WindowDays, 0), 12)];
    let expected = runs.map(|(at, count)| ask(&mut master, |master| master.read(at, count)));
    assert_ne!(expected[0], expected[1]);
    let (mut silent, mut slowest) = (0, Duration::ZERO);
    for n in 0..1000 {
        let (at, count) = runs[n % 2];
        let begun = Instant::now();
        let mut answer = master.read(at, count).unwrap();
        if answer == Answer::Silence {
            silent += 1;
            answer = ask(&mut master, |master| master.read(at, count));
        } else {
            slowest = slowest.max(begun.elapsed());
        }
        assert_eq!(answer, expected[n % 2], "read {n}");
    }
    println!("node: 1000 of 1000 reads right, {silent} asked again, slowest {} ms", slowest.as_millis());
    assert!(silent <= 20, "{silent} of 1000 requests were not heard");
}

#[test]
fn pulses_are_counted_once_each_and_outlive_a_kill() {
    let Some(mut node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    for _ in 0..12 {
        pulse(&node, &mut master, 1);
    }
    assert_eq!(value(&mut master, Id::Pulses, 1), 12);
    assert_eq!(value(&mut master, Id::Pulses, 0), 0);
    // The supply falls: everything is saved at once, and only then does it end.
    let before = value(&mut master, Id::JournalCommits, 0);
    node.supply_mv(5_000).unwrap();
    let end = Instant::now() + LIMIT;
    while value(&mut master, Id::JournalCommits, 0) == before {
        assert!(Instant::now() < end, "nothing was saved");
    }
    drop(master);
    node.supply_mv(12_000).unwrap();
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::Pulses, 1), 12);
    assert_eq!(value(&mut master, Id::BrownOuts, 0), 1);
    // A contact that is closed at start is not a pulse; its next closing is.
    node.set(Terminal::Pulse(1), true).unwrap();
    until(&mut master, Id::InputLevel, 1, 1);
    drop(master);
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    until(&mut master, Id::InputLevel, 1, 1);
    let counted = value(&mut master, Id::Pulses, 1);
    node.set(Terminal::Pulse(1), false).unwrap();
    until(&mut master, Id::InputLevel, 1, 0);
    assert_eq!(value(&mut master, Id::Pulses, 1), counted, "an opening counts nothing");
    assert!(
        (12..=13).contains(&counted),
        "{counted} pulses: the thirteenth may be lost with the power, and not be two"
    );
    pulse(&node, &mut master, 1);
    assert_eq!(value(&mut master, Id::Pulses, 1), counted + 1);
}

#[test]
fn loops_switches_and_supply_are_seen_at_the_terminals() {
    let Some(mut node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    for n in 0..CONTACTS as u16 {
        set(&mut master, Id::ContactMode, n, &[1]);
    }
    let states = [(Loop::Normal, 1), (Loop::Alarm, 2), (Loop::Open, 3), (Loop::Short, 4), (Loop::Normal, 1)];
    for (state, code) in states {
        node.contact(5, state).unwrap();
        until(&mut master, Id::ContactState, 5, code);
        assert_eq!(value(&mut master, Id::ContactState, 4), 1, "the neighbour is not moved");
    }
    assert_eq!(value(&mut master, Id::ContactLatched, 0), 1 << 5);

    node.supply_mv(11_300).unwrap();
    until(&mut master, Id::Supply, 0, 11_300);

    let tampered = |master: &mut Master| value(master, Id::Status, 0) & 0b110;
    assert_eq!(tampered(&mut master), 0, "a shut cover");
    node.set(Terminal::Cover, false).unwrap();
    until(&mut master, Id::TamperEvents, 0, 1);
    node.set(Terminal::Cover, true).unwrap();

    node.set(Terminal::Switch(0), true).unwrap();
    node.set(Terminal::Switch(3), true).unwrap();
    // They are read at start.
    drop(master);
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::AddressInUse, 0), 9);
}

#[test]
fn a_relay_is_driven_for_its_pulse_and_no_longer() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    set(&mut master, Id::OutputKind, 2, &[1]);
    set(&mut master, Id::PulseWidth, 2, &[2000]);
    assert_eq!(node.coil(2).unwrap(), (false, false), "nothing moves by itself");
    set(&mut master, Id::OutputCommand, 2, &[2]);
    let begun = Instant::now();
    while node.coil(2).unwrap() != (false, true) {
        assert!(begun.elapsed() < LIMIT, "the closing coil was never driven");
    }
    let driven = Instant::now();
    while node.coil(2).unwrap() == (false, true) {
        assert!(driven.elapsed() < LIMIT, "the coil is still driven");
    }
    assert_eq!(node.coil(2).unwrap(), (false, false));
    assert!(driven.elapsed() > Duration::from_millis(1500), "driven for {} ms only", driven.elapsed().as_millis());
    until(&mut master, Id::OutputState, 2, 2);
    for other in [0, 1, 3] {
        assert_eq!(node.coil(other).unwrap(), (false, false));
    }
}

#[test]
fn a_hang_is_bitten_by_the_watchdog_and_told() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::ResetCause, 0), 1, "power on");
    let boots = value(&mut master, Id::Boots, 0);
    let begun = Instant::now();
    node.stop_timer().unwrap();
    until(&mut master, Id::ResetCause, 0, 3);
    println!("node: back {} ms after its timer stopped", begun.elapsed().as_millis());
    assert_eq!(value(&mut master, Id::WatchdogResets, 0), 1);
    assert_eq!(value(&mut master, Id::Boots, 0), boots + 1);

    set(&mut master, Id::Reboot, 0, &[0xB007]);
    until(&mut master, Id::ResetCause, 0, 5);
    node.reset().unwrap();
    until(&mut master, Id::ResetCause, 0, 2);
    assert_eq!(value(&mut master, Id::WatchdogResets, 0), 1, "only a watchdog counts as one");
}

#[test]
fn time_goes_forward_at_its_pace() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let (begun, from) = (Instant::now(), value(&mut master, Id::Uptime, 0));
    let mut last = from;
    while begun.elapsed() < Duration::from_secs(8) {
        let now = value(&mut master, Id::Uptime, 0);
        assert!(now == last || now == last + 1 || begun.elapsed() > Duration::from_secs(3), "from {last} s to {now} s");
        assert!(now >= last, "back from {last} s to {now} s");
        last = now;
    }
    let gone = f64::from(last - from);
    let passed = begun.elapsed().as_secs_f64();
    assert!((gone - passed).abs() < 2.0, "{gone} s in {passed} s");
}

/// Whatever keeps the processor from running for less than the watchdog's time costs no time: two ends of its counter in
/// one stop would.
#[test]
fn a_processor_that_stands_still_for_a_moment_loses_no_time() {
    const STOPS: u32 = 15;
    const ROUNDS: u32 = 5;
    const STOP: Duration = Duration::from_millis(400);
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    for round in 1..=ROUNDS {
        let boots = value(&mut master, Id::Boots, 0);
        // From one second to the next, so that the second says a moment.
        let turn = |master: &mut Master| {
            let before = value(master, Id::Uptime, 0);
            loop {
                match value(master, Id::Uptime, 0) {
                    now if now == before => {}
                    now => return (now, Instant::now()),
                }
            }
        };
        let (from, begun) = turn(&mut master);
        for _ in 0..STOPS {
            node.stand_still(STOP).unwrap();
            std::thread::sleep(Duration::from_millis(fastrand::u64(120..200)));
        }
        let (to, ended) = turn(&mut master);
        if value(&mut master, Id::Boots, 0) != boots {
            // A loaded machine made one of them longer than the watchdog waits.
            println!("node: restarted in round {round}");
            continue;
        }
        let passed = ended.duration_since(begun).as_secs_f64();
        println!("node: {} s counted in {passed:.2} s with {STOPS} stops of {} ms", to - from, STOP.as_millis());
        assert!((f64::from(to - from) - passed).abs() < 0.7, "{} s in {passed:.2} s", to - from);
        return;
    }
    panic!("restarted in each of {ROUNDS} rounds");
}

#[test]
fn stack_stays_within_what_the_memory_leaves() {
    let Some(node) = Node::start().unwrap() else { return };
    let statics_end = guanjia_tests::node::ram_end(&node.images().factory).unwrap();
    let room = RAM_END - statics_end;
    let mut master = node.master().unwrap();
    // The longest ways: whole runs of settings, coils, a top-up, contacts, an update with its check, a bad frame.
    let limits: Vec<u16> = [1u32, 100_000, 2000, 0, 500].iter().flat_map(|v| [(v >> 16) as u16, *v as u16]).collect();
    for channel in 0..CHANNELS as u16 {
        set(&mut master, Id::Price, channel, &limits);
        set(&mut master, Id::TopUpFrame, channel, &[0, 1, 0, 500]);
        pulse(&node, &mut master, usize::from(channel));
    }
    for output in 0..4 {
        set(&mut master, Id::OutputKind, output, &[1]);
    }
    assert_eq!(master.ask(&[15, 0, 0, 0, 4, 1, 0b1010]).unwrap(), [15, 0, 0, 0, 4]);
    ask(&mut master, |master| master.read(0, 125));
    update::send(&mut master, &update::package(&node, MAKER));
    set(&mut master, Id::UpdateCommand, 0, &[2]);
    until(&mut master, Id::UpdateState, 0, 3);
    master.send(&framed(1, &[3; 200])).unwrap();
    master.drain(Duration::from_millis(100)).unwrap();
    node.supply_mv(5_000).unwrap();
    until(&mut master, Id::BrownOuts, 0, 1);
    let used = value(&mut master, Id::StackHighWater, 0);
    println!("stack:  {used} of {room} bytes at the most");
    assert!(used > 200, "the stack is not measured");
    // What the paint cannot show, an interrupt at the deepest point, still has room.
    assert!(used + 128 <= room, "{used} of {room} bytes of stack");
}
