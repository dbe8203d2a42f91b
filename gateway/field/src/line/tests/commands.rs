//! Relay commands.

use super::*;

pub(super) fn command(device: u32, action: RelayAction) -> RelayCommand {
    RelayCommand {
        device: DeviceIx(device),
        relay: 0,
        action,
        valid_until: clock::now() + Duration::from_secs(60),
        version: 3,
        current_version: Arc::new(AtomicU64::new(3)),
    }
}

fn writes(rig: &Rig) -> Vec<world::Asked> {
    rig.asked().into_iter().filter(|a| a.function == 16).collect()
}

#[tokio::test(start_paused = true)]
async fn a_relay_opens_and_closes_and_is_believed_only_by_its_proof() {
    for timing in [rtu(), tcp()] {
        let mut rig = Rig::start(timing, 2, Facts::default());
        rig.run(Duration::from_secs(1)).await;
        let outcome = rig.handle.relay(command(1, RelayAction::Open)).await;
        assert!(matches!(outcome, RelayOutcome::Verified { .. }), "{outcome:?}");
        assert_eq!(rig.facts.lock().unwrap().memory[&(2, PROOF)], 1);
        let outcome = rig.handle.relay(command(1, RelayAction::Close)).await;
        assert!(matches!(outcome, RelayOutcome::Verified { .. }), "{outcome:?}");
        assert_eq!(rig.facts.lock().unwrap().memory[&(2, PROOF)], 0);
        let sent: Vec<_> = writes(&rig).iter().map(|a| (a.unit, a.address, a.count)).collect();
        assert_eq!(sent, [(2, RELAY, 2), (2, RELAY, 2)]);
        assert_eq!(rig.handle.stats().queue.get(), 0);
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_starts_within_one_transaction() {
    let rig = Rig::start(rtu(), 3, Facts { dead: [1].into(), ..Facts::default() });
    // In the middle of the first request, which will time out.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (given, before) = (Instant::now(), rig.asked().len());
    let outcome = rig.handle.relay(command(2, RelayAction::Open)).await;
    assert!(matches!(outcome, RelayOutcome::Verified { .. }), "{outcome:?}");
    let next = rig.asked()[before];
    assert_eq!((next.unit, next.function), (3, 16), "nothing else goes first");
    assert!(next.at - given <= RESPONSE_MAX + Duration::from_millis(60), "{:?}", next.at - given);
    rig.end().await;
}

/// AC 26.
#[tokio::test(start_paused = true)]
async fn a_lost_echo_is_never_answered_with_a_second_write() {
    let rig = Rig::start(rtu(), 1, Facts { mute_writes: [1].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = rig.handle.relay(command(0, RelayAction::Open)).await;
    assert!(matches!(outcome, RelayOutcome::Verified { .. }), "the proof point decides: {outcome:?}");
    assert_eq!(writes(&rig).len(), 1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_echo_mismatch_is_no_proof() {
    let facts = Facts { stuck: [1].into(), memory: [((1, PROOF), 0)].into(), ..Facts::default() };
    let rig = Rig::start(tcp(), 1, facts);
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.facts.lock().unwrap().script = [Act::EchoOtherAddress].into();
    let outcome = rig.handle.relay(command(0, RelayAction::Open)).await;
    assert_eq!(outcome, RelayOutcome::NotMoved);
    assert_eq!(rig.handle.stats().discarded_foreign.get(), 1);
    assert_eq!(writes(&rig).len(), 1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_relay_has_not_moved_and_alarms_are_polled_meanwhile() {
    let facts = Facts { stuck: [1].into(), memory: [((1, PROOF), 0)].into(), ..Facts::default() };
    let mut rig = Rig::start(rtu(), 2, facts);
    rig.run(Duration::from_secs(1)).await;
    let before = rig.asked().len();
    assert_eq!(rig.handle.relay(command(0, RelayAction::Open)).await, RelayOutcome::NotMoved);
    let others = rig.asked()[before..].iter().filter(|a| a.unit == 2 && a.address == 0).count();
    assert!(others >= 5, "{others} alarm polls in three seconds");
    rig.end().await;
}

/// What a command that cuts comes to at a valve whose proof point goes on showing `code`.
async fn told_by_a_valve_that_shows(code: u16) -> RelayOutcome {
    let facts = Facts { stuck: [1].into(), memory: [((1, PROOF), code)].into(), ..Facts::default() };
    let rig = Rig::start(rtu(), 1, facts);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = rig.handle.relay(command(0, RelayAction::Open)).await;
    assert_eq!(writes(&rig).len(), 1);
    rig.end().await;
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_valve_on_its_way_has_not_arrived_and_one_that_jams_never_will() {
    assert_eq!(told_by_a_valve_that_shows(3).await, RelayOutcome::Moving);
    assert_eq!(told_by_a_valve_that_shows(4).await, RelayOutcome::NotMoved, "it goes the other way");
    assert_eq!(told_by_a_valve_that_shows(5).await, RelayOutcome::Jammed);
    let unnamed = told_by_a_valve_that_shows(7).await;
    assert!(matches!(unnamed, RelayOutcome::Unknown(_)), "a code without a meaning proves nothing: {unnamed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_jam_of_the_drive_before_is_not_taken_for_this_ones() {
    let facts = Facts { stuck: [1].into(), memory: [((1, PROOF), 5)].into(), ..Facts::default() };
    let rig = Rig::start(rtu(), 1, facts);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let handle = rig.handle.clone();
    let outcome = tokio::spawn(async move { handle.relay(command(0, RelayAction::Open)).await });
    for code in [3, 1] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.facts.lock().unwrap().memory.insert((1, PROOF), code);
    }
    let outcome = outcome.await.unwrap();
    assert!(matches!(outcome, RelayOutcome::Verified { .. }), "{outcome:?}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_device_leaves_the_outcome_unknown() {
    let rig = Rig::start(rtu(), 1, Facts { dead: [1].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = rig.handle.relay(command(0, RelayAction::Open)).await;
    assert!(matches!(outcome, RelayOutcome::Unknown(_)), "{outcome:?}");
    assert!(writes(&rig).len() <= 1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_with_its_code() {
    let rig = Rig::start(tcp(), 1, Facts::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.facts.lock().unwrap().script = [Act::Refuse(4)].into();
    assert_eq!(rig.handle.relay(command(0, RelayAction::Open)).await, RelayOutcome::Refused(4));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_is_not_sent() {
    let rig = Rig::start(rtu(), 1, Facts::default());
    let expired = RelayCommand { valid_until: Timestamp::EPOCH, ..command(0, RelayAction::Open) };
    assert_eq!(rig.handle.relay(expired).await, RelayOutcome::Expired);
    let superseded = RelayCommand { current_version: Arc::new(AtomicU64::new(4)), ..command(0, RelayAction::Open) };
    assert_eq!(rig.handle.relay(superseded).await, RelayOutcome::Superseded);
    assert_eq!(rig.handle.relay(command(7, RelayAction::Open)).await, RelayOutcome::NoRelay);
    let second = RelayCommand { relay: 1, ..command(0, RelayAction::Open) };
    assert_eq!(rig.handle.relay(second).await, RelayOutcome::NoRelay);
    let withdrawn = rig.handle.relay(command(0, RelayAction::Open));
    assert!(tokio::time::timeout(Duration::ZERO, withdrawn).await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(writes(&rig).len(), 0);
    assert_eq!(rig.handle.stats().queue.get(), 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_decision_while_the_line_is_down_leaves_nothing_to_send() {
    let rig = Rig::start(tcp(), 1, Facts { refuses: true, ..Facts::default() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = command(0, RelayAction::Open);
    let current = Arc::clone(&waiting.current_version);
    let handle = rig.handle.clone();
    let outcome = tokio::spawn(async move { handle.relay(waiting).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    current.store(4, std::sync::atomic::Ordering::Release);
    assert_eq!(outcome.await.unwrap(), RelayOutcome::Superseded);
    rig.facts.lock().unwrap().refuses = false;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(writes(&rig).len(), 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_everybody_who_waits() {
    let rig = Rig::start(tcp(), 1, Facts { refuses: true, ..Facts::default() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let handle = rig.handle.clone();
    let outcome = tokio::spawn(async move { handle.relay(command(0, RelayAction::Open)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let handle = rig.handle.clone();
    rig.end().await;
    assert!(matches!(outcome.await.unwrap(), RelayOutcome::Unknown(why) if why.contains("nothing was sent")));
    let after = handle.relay(command(0, RelayAction::Open)).await;
    assert!(matches!(after, RelayOutcome::Unknown(why) if why.contains("nothing was sent")));
}
