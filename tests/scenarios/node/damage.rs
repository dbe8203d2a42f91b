//! Lines and lives cut at random.

use std::process::Command;
use std::thread;

use super::*;

/// Kills in one test: each finds another moment.
const KILLS: u32 = 40;

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_value_and_tears_none() {
    let Some(mut node) = Node::start().unwrap() else { return };
    // Five values of one channel that are written together, all with the same number.
    let at = address(Id::Price, 0);
    let run = |n: u32| [0, n as u16].repeat(5);
    let (mut acknowledged, mut asked) = (1, 1);
    assert_eq!(ask(&mut node.master().unwrap(), |master| master.write(at, &run(1))), Answer::Done);
    let boots = value(&mut node.master().unwrap(), Id::Boots, 0);
    let mut between = 0;
    for kill in 1..=KILLS {
        let mut master = node.master().unwrap();
        let process = node.process().unwrap().to_string();
        let wait = Duration::from_millis(fastrand::u64(0..250));
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            Command::new("kill").args(["-KILL", &process]).status().unwrap()
        });
        // Until the line breaks.
        loop {
            asked += 1;
            match master.write(at, &run(asked)) {
                Ok(Answer::Done) => acknowledged = asked,
                Ok(Answer::Silence) => {}
                Ok(other) => panic!("a write was answered with {other:?}"),
                Err(_) => break,
            }
        }
        assert!(killer.join().unwrap().success());
        node.launch().unwrap();
        let mut master = node.master().unwrap();
        let Answer::Words(found) = ask(&mut master, |master| master.read(at, 10)) else { panic!("no answer") };
        let kept = u32::from(found[1]);
        assert_eq!(found, run(kept), "torn at kill {kill}");
        assert!(kept >= acknowledged, "kill {kill}: {acknowledged} was acknowledged, {kept} is there");
        assert!(kept <= asked, "kill {kill}: {kept} was never asked for");
        between += u32::from(kept > acknowledged);
        acknowledged = kept;
        assert_eq!(value(&mut master, Id::Boots, 0), boots + kill, "starts are counted");
        assert_eq!(value(&mut master, Id::JournalFaults, 0), 0);
    }
    println!("node: {KILLS} kills, {acknowledged} writes kept, {between} kills between storing and answering");
    assert!(acknowledged > KILLS, "only {acknowledged} writes were acknowledged: the kills proved little");
}

#[test]
fn a_frame_cut_in_two_is_answered_rightly_or_not_at_all() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let expected = ask(&mut master, |master| master.read(0, 3));
    let Answer::Words(words) = &expected else { panic!("{expected:?}") };
    let mut right = vec![3, 6];
    right.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    let right = framed(1, &right);
    let frame = framed(1, &[3, 0, 0, 0, 3]);
    let mut answered = 0;
    let mut sent = 0;
    for gap in [0, 1, 2, 4, 6, 10, 30] {
        for cut in 1..frame.len() {
            master.send(&frame[..cut]).unwrap();
            thread::sleep(Duration::from_millis(gap));
            master.send(&frame[cut..]).unwrap();
            sent += 1;
            match master.hear(Duration::from_millis(200)).unwrap() {
                answer if answer.is_empty() => {}
                answer if answer == right => answered += 1,
                answer => panic!("cut at {cut} with {gap} ms between: {answer:02x?}"),
            }
            master.drain(Duration::from_millis(30)).unwrap();
        }
    }
    println!("node: {answered} of {sent} cut frames answered, all rightly");
    assert_eq!(ask(&mut master, |master| master.read(0, 3)), expected);
}

#[test]
fn bursts_of_garbage_are_survived_and_change_nothing() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let settings = |master: &mut Master| ask(master, |master| master.read(address(Id::Address, 0), 10));
    let before = settings(&mut master);
    let boots = value(&mut master, Id::Boots, 0);
    for burst in 0..40 {
        let mut garbage: Vec<u8> = (0..fastrand::usize(1..3000)).map(|_| fastrand::u8(..)).collect();
        if burst % 2 == 0 {
            // As if for this node: address, function code of a write, and then noise.
            garbage[..].iter_mut().zip([1, 16, 2, 0]).for_each(|(place, byte)| *place = byte);
        }
        master.send(&garbage).unwrap();
        master.drain(Duration::from_millis(60)).unwrap();
    }
    assert_eq!(settings(&mut master), before);
    assert_eq!(value(&mut master, Id::Boots, 0), boots, "nothing restarted");
    let errors = value(&mut master, Id::CrcErrors, 0) + value(&mut master, Id::LineErrors, 0);
    assert!(errors > 0, "the garbage never reached the node");
}

/// The line's interrupt is told once: one that is cleared with characters waiting never comes again.
#[test]
fn an_interrupt_of_the_line_that_was_lost_does_not_make_the_node_deaf() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let expected = ask(&mut master, |master| master.read(0, 3));
    let request = framed(1, &[3, 0, 0, 0, 3]);
    let mut answered = 0;
    for n in 0..10 {
        node.lose_line_interrupt(|| master.send(&request)).unwrap();
        // Where the emulator paused in the middle of the frame, it was two pieces for the node, and rightly no question.
        match master.hear(Duration::from_secs(3)).unwrap().is_empty() {
            false => answered += 1,
            true => assert!(master.is_answered(Duration::from_secs(3)).unwrap(), "deaf after {n} lost interrupts"),
        }
    }
    assert!(answered >= 5, "only {answered} of 10 questions were answered");
    assert_eq!(ask(&mut master, |master| master.read(0, 3)), expected);
}

#[test]
fn a_node_that_is_spoken_to_all_through_its_starts_hears_afterwards() {
    const STARTS: usize = 25;
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let request = framed(1, &[3, 0, 0, 0, 1]);
    let mut slowest = Duration::ZERO;
    for start in 0..STARTS {
        node.reset().unwrap();
        let begun = Instant::now();
        // No faster than a line at 115,200 Bd, or what QEMU has not read yet hides what comes after.
        while begun.elapsed() < Duration::from_millis(250) {
            master.send(&request).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        master.drain(Duration::from_millis(50)).unwrap();
        let silent = Instant::now();
        while !master.is_answered(Duration::from_millis(200)).unwrap() {
            assert!(silent.elapsed() < Duration::from_secs(20), "deaf after start {start}");
        }
        slowest = slowest.max(silent.elapsed());
    }
    println!("node: heard after each of {STARTS} starts, at the latest after {} ms", slowest.as_millis());
}
