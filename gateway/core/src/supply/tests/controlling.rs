//! From a decision to the contact, and what the contact answers.

use super::*;

#[test]
fn a_trip_decided_before_a_top_up_does_not_fire_after_it() {
    let mut world = World::ripe();
    let trip = world.trip();
    assert_eq!(trip.may_send(&world.record, world.now), Ok(()));
    world.intents = vec![trip.clone()];
    world.balance = yuan(30);
    // The trip may already have been sent: the contact is told to close, whatever it shows and without waiting.
    world.contact = Contact::Unknown;
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    let refused = trip.may_send(&world.record, world.now);
    assert_eq!(refused, Err(SendRefusal::Superseded { decided: 1, current: 2 }));
    let restore = RelayIntent::restore(Uuid::from_u128(2), &world.record, world.now, String::new()).unwrap();
    assert_eq!(restore.may_send(&world.record, world.now), Ok(()));
}

#[test]
fn a_trip_that_had_left_before_the_top_up_does_not_look_like_a_hand() {
    let mut world = World::ripe();
    let trip = world.trip();
    world.intents = vec![trip.clone()];
    world.balance = yuan(30);
    world.now = world.now + Duration::from_secs(1);
    // The contact is still closed, as it should be by now; but the trip is on the wire.
    assert_eq!(world.pass(), Action::None);
    let (seen_at, settled_at) = (world.now + Duration::from_secs(1), world.now + Duration::from_secs(2));
    assert!(!proves(&world.record, world.contact, seen_at, &world.intents, None));
    assert!(!proves(&world.record, world.contact, seen_at, &[], Some(settled_at)), "seen before the trip was done");
    assert!(!proves(&world.record, world.contact, world.record.changed_at, &[], None), "seen before the decision");
    assert!(proves(&world.record, world.contact, settled_at + MINUTE, &[], Some(settled_at)));
    assert!(!proves(&world.record, Contact::Seen(Supply::Off), settled_at + MINUTE, &[], Some(settled_at)));
    // Even if it was taken for proved, the contact that opens now is closed again while the trip is not settled.
    (world.contact, world.proved) = (Contact::Seen(Supply::Off), Some(world.record.version));
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    (world.intents, world.proved) = (Vec::new(), Some(trip.version));
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
}

#[test]
fn a_command_does_not_outlive_its_minutes() {
    let mut world = World::ripe();
    let trip = world.trip();
    let last = world.now + INTENT_VALIDITY;
    assert_eq!(trip.valid_until, last);
    assert_eq!(trip.may_send(&world.record, last), Ok(()));
    let after = last + Duration::from_millis(1);
    assert_eq!(trip.may_send(&world.record, after), Err(SendRefusal::Expired(last)));
    assert_eq!(trip.may_send(&world.record, world.now - DAY), Err(SendRefusal::Expired(last)), "the clock went back");
    let mut other = world.record.clone();
    other.service_point = "s-102".into();
    assert_eq!(trip.may_send(&other, world.now), Err(SendRefusal::Foreign));
}

#[test]
fn a_permit_serves_only_the_record_it_was_decided_for() {
    let permit = |world: &mut World| world.decide_and_store().permit.unwrap();
    let pass = || Breaker::new(BreakerLimits::default(), 100).admit("s-101", tuesday()).unwrap();
    let make = |permit: CutPermit, record: &SupplyRecord, at| {
        permit.intent(pass(), Uuid::from_u128(1), record, at, String::new())
    };
    let mut world = World::ripe();
    let late = make(permit(&mut world), &world.record, world.now + INTENT_VALIDITY + MINUTE);
    assert!(matches!(late, Err(SendRefusal::Expired(_))), "{late:?}");
    let mut world = World::ripe();
    let before = world.record.clone();
    assert!(make(permit(&mut world), &before, tuesday()).is_err(), "the record was not stored");
    assert_eq!(RelayIntent::restore(Uuid::from_u128(1), &world.record, tuesday(), String::new()), None);
    assert_eq!(RelayIntent::restore(Uuid::from_u128(1), &before, tuesday(), String::new()), None, "version 0");
}

#[test]
fn the_meter_accepts_the_command_and_does_not_move() {
    let mut world = World::ripe();
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    world.attempts = Attempts { count: 1, last: world.now };
    assert_eq!(world.pass(), Action::Wait(WaitReason::Retry { at: world.now + RETRY_FIRST }));
    world.now = world.now + RETRY_FIRST;
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    world.attempts = Attempts { count: STUCK_AFTER, last: world.now - RETRY_MAX };
    let decision = world.decide();
    let control = world.control(&decision);
    assert_eq!((control.action, control.alarms), (Action::Send(RelayAction::Open), vec![ContactAlarm::Stuck]));
    // However many attempts there were, the wait has an end.
    world.attempts = Attempts { count: u32::MAX, last: world.now };
    assert_eq!(world.pass(), Action::Wait(WaitReason::Retry { at: world.now + RETRY_MAX }));
}

#[test]
fn a_clock_set_back_does_not_keep_a_payer_in_the_dark() {
    let mut world = World::cut();
    world.balance = yuan(30);
    let _ = world.decide_and_store();
    world.attempts = Attempts { count: 5, last: world.now + DAY };
    world.intents = vec![RelayIntent { at: world.now + DAY, ..intent(&world, RelayAction::Close, 2) }];
    world.intents[0].valid_until = world.now + DAY * 2;
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
}

#[test]
fn a_command_on_its_way_is_not_doubled() {
    let mut world = World::cut();
    world.balance = yuan(30);
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    world.intents = vec![intent(&world, RelayAction::Close, world.record.version)];
    assert_eq!(world.pass(), Action::Wait(WaitReason::IntentOpen));
    let mut world = World::ripe();
    let trip = world.trip();
    world.intents = vec![trip];
    assert_eq!(world.pass(), Action::Wait(WaitReason::IntentOpen));
    assert_eq!(world.record.desired, Supply::Off);
}

#[test]
fn current_through_an_open_contact_is_a_bypass() {
    let mut world = World::cut();
    world.load = Load::Flowing;
    let decision = world.decide();
    assert_eq!(world.control(&decision).alarms, [ContactAlarm::Bypass]);
    world.load = Load::Unknown;
    assert_eq!(world.control(&decision).alarms, []);
    assert_eq!(Load::judge(Some(20.0), 20.0), Load::None);
    assert_eq!(Load::judge(Some(-20.1), 20.0), Load::Flowing, "a reversed current transformer hides nothing");
    assert_eq!(Load::judge(Some(f64::NAN), 20.0), Load::Unknown);
    assert_eq!(Load::judge(None, 20.0), Load::Unknown);
}

#[test]
fn a_load_from_before_the_contact_opened_is_no_bypass() {
    let at = |second: i64| Timestamp::from_millis(second * 1_000);
    let mut opened = Opened::default();
    assert!(opened.is_told_by(at(1)), "nobody has seen it open");
    opened.see(Contact::Seen(Supply::On), at(4));
    opened.see(Contact::Moving(Supply::Off), at(5));
    assert!(opened.is_told_by(at(5)));
    opened.see(Contact::Seen(Supply::Off), at(6));
    assert!(!opened.is_told_by(at(5)) && !opened.is_told_by(at(6)), "they may have been read in one answer");
    // It is seen again and again, and for a while not at all: it is open since the first time.
    opened.see(Contact::Seen(Supply::Off), at(8));
    opened.see(Contact::Unknown, at(9));
    assert!(opened.is_told_by(at(7)));
    opened.see(Contact::Seen(Supply::On), at(10));
    opened.see(Contact::Seen(Supply::Off), at(12));
    assert!(!opened.is_told_by(at(7)), "it was closed in between");
}

#[test]
fn a_contact_closed_by_hand_is_an_alarm_and_not_cut_again() {
    let mut world = World::cut();
    world.contact = Contact::Seen(Supply::On);
    let decision = world.decide_and_store();
    let control = world.control(&decision);
    assert_eq!((control.action, control.alarms), (Action::None, vec![ContactAlarm::FoundClosed]));
    // Also on a holiday, and with part of the debt paid.
    world.balance = yuan(-1);
    let decision = world.decide_and_store();
    assert_eq!(world.control(&decision).alarms, [ContactAlarm::FoundClosed]);
}

#[test]
fn a_contact_opened_by_hand_is_an_alarm_and_stays_open() {
    let mut world = World::cut();
    world.balance = yuan(30);
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    (world.contact, world.proved) = (Contact::Seen(Supply::On), Some(2));
    assert_eq!(world.pass(), Action::None);
    world.contact = Contact::Seen(Supply::Off);
    let decision = world.decide_and_store();
    let control = world.control(&decision);
    assert_eq!((control.action, control.alarms), (Action::None, vec![ContactAlarm::FoundOpen]));
}

#[test]
fn a_relay_found_open_when_the_gateway_is_put_in_is_left_open() {
    let mut world = World::ripe();
    (world.balance, world.contact, world.proved) = (yuan(100), Contact::Seen(Supply::Off), None);
    let decision = world.decide_and_store();
    let control = world.control(&decision);
    assert_eq!((control.action, control.alarms), (Action::None, vec![ContactAlarm::FoundOpen]));
    world.contact = Contact::Unknown;
    assert_eq!(world.pass(), Action::Wait(WaitReason::ContactUnknown));
    world.contact = Contact::Absent;
    assert_eq!(world.pass(), Action::None);
}

#[test]
fn where_the_shop_must_agree_the_contact_waits_for_it() {
    let mut world = World::cut();
    world.policy.reconnect = Reconnect::ClosePermit;
    world.permitted_at = Some(world.now - MINUTE);
    world.balance = yuan(30);
    assert_eq!(world.pass(), Action::Wait(WaitReason::ClosePermit), "that was for an earlier time");
    world.permitted_at = Some(world.now);
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
}

proptest! {
    /// Any interleaving of top-ups, usage, hours, lost readings, moved contacts and restarts: an open command is sent
    /// only with a permit, and never under a version that wants the supply on.
    #[test]
    fn whatever_happens_commands_serve_the_version_in_force(
        events in prop::collection::vec((0u8..10, -60i64..60), 1..120),
    ) {
        let mut world = World::ripe();
        world.proved = None;
        let mut versions = 0;
        for (event, amount) in events {
            match event {
                0 | 1 => world.balance = Hao(world.balance.0.saturating_add(amount * Hao::PER_YUAN)),
                2 => world.now = world.now + MINUTE * amount.unsigned_abs() as u32,
                3 => world.reading = None,
                4 => world.reading = Some(ReadingMark { quality: Quality::Good, at: world.now }),
                5 => world.contact = Contact::Unknown,
                6 => world.contact = Contact::Seen(Supply::On),
                7 => world.contact = Contact::Seen(Supply::Off),
                8 => world.dispute = if amount > 0 { Dispute::Open } else { Dispute::None },
                _ => world.intents.clear(),
            }
            let before = world.record.clone();
            let decision = world.decide_and_store();
            prop_assert_eq!(world.record.version, before.version + u64::from(world.record.desired != before.desired));
            versions = versions.max(world.record.version);
            match world.control(&decision).action {
                Action::Send(RelayAction::Open) => {
                    let permit = decision.permit.expect("no open command without a permit");
                    let pass = Breaker::new(BreakerLimits::default(), 100).admit("s-101", world.now).unwrap();
                    let made = permit.intent(pass, Uuid::from_u128(1), &world.record, world.now, String::new());
                    prop_assert!(made.is_ok(), "{made:?}");
                    prop_assert!(world.balance <= yuan(-20) && world.policy.windows.contains(world.now));
                    world.intents = made.into_iter().collect();
                }
                Action::Send(RelayAction::Close) => {
                    prop_assert_eq!(world.record.desired, Supply::On);
                    let made = RelayIntent::restore(Uuid::from_u128(2), &world.record, world.now, String::new());
                    prop_assert!(made.is_some());
                    world.intents.extend(made);
                }
                Action::None | Action::Wait(_) => {}
            }
            for intent in &world.intents {
                let serves = (intent.action == RelayAction::Close) == (world.record.desired == Supply::On);
                prop_assert!(intent.may_send(&world.record, world.now).is_err() || serves);
            }
            if world.contact == Contact::Seen(world.record.desired) {
                world.proved = Some(world.record.version);
            }
        }
        prop_assert_eq!(versions, world.record.version, "versions only grow");
    }
}

#[test]
fn a_valve_on_its_way_is_neither_cut_nor_told_again() {
    let mut world = World::ripe();
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    (world.attempts, world.contact) = (Attempts { count: 1, last: world.now }, Contact::Moving(Supply::Off));
    // The hours end and the notice ages while it moves; the cut that was made in time stands.
    world.notices.clear();
    for _ in 0..10 {
        world.now = world.now + MINUTE;
        assert_eq!(world.pass(), Action::Wait(WaitReason::Moving));
        assert!(!proves(&world.record, world.contact, world.now, &[], None), "half a way proves nothing");
    }
    world.contact = Contact::Seen(Supply::Off);
    assert_eq!(world.pass(), Action::None);
    assert!(proves(&world.record, world.contact, world.now + MINUTE, &[], None));
}

#[test]
fn a_valve_that_is_on_its_way_for_ever_is_told() {
    let mut world = World::ripe();
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    (world.attempts, world.contact) = (Attempts { count: 1, last: world.now }, Contact::Moving(Supply::Off));
    for (later, alarms) in [(MOVING_MAX, vec![]), (MOVING_MAX + MINUTE, vec![ContactAlarm::Stuck])] {
        world.now = world.attempts.last + later;
        let decision = world.decide_and_store();
        assert_eq!(world.control(&decision), Control { action: Action::Wait(WaitReason::Moving), alarms });
    }
}

#[test]
fn a_tenant_who_pays_while_the_valve_closes_does_not_wait_until_it_is_shut() {
    let mut world = World::ripe();
    let _ = world.trip();
    (world.contact, world.balance) = (Contact::Moving(Supply::Off), yuan(30));
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    world.contact = Contact::Moving(Supply::On);
    assert_eq!(world.pass(), Action::Wait(WaitReason::Moving));
}

#[test]
fn a_jammed_valve_is_told_at_once_tried_at_its_pace_and_proves_nothing() {
    let mut world = World::ripe();
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    (world.attempts, world.contact) = (Attempts { count: 1, last: world.now }, Contact::Jammed);
    let decision = world.decide_and_store();
    let control = world.control(&decision);
    assert_eq!(control.alarms, [ContactAlarm::Jammed]);
    assert_eq!(control.action, Action::Wait(WaitReason::Retry { at: world.now + RETRY_FIRST }));
    world.now = world.now + RETRY_FIRST;
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    assert!(!proves(&world.record, world.contact, world.now + MINUTE, &[], None));
    // One that was proved and jams later was moved by somebody else: told, and left alone.
    let mut world = World::cut();
    world.contact = Contact::Jammed;
    let decision = world.decide_and_store();
    assert_eq!(world.control(&decision), Control { action: Action::None, alarms: vec![ContactAlarm::Jammed] });
}

#[test]
fn a_valve_that_somebody_turns_back_is_told_while_it_still_moves() {
    let mut world = World::cut();
    world.contact = Contact::Moving(Supply::On);
    let decision = world.decide_and_store();
    assert_eq!(world.control(&decision), Control { action: Action::None, alarms: vec![ContactAlarm::FoundClosed] });
}
