//! When a supply is cut, and every way in which it is not.

use super::*;

/// One way to spoil a world so that it must not be cut, and the block that says so.
type Spoiler = (fn(&mut World), CutBlock);

/// Groups of spoilers that exclude each other; any choice out of any groups must block.
fn spoilers() -> Vec<Vec<Spoiler>> {
    let opens = Some(time("2026-03-05T01:00:00Z"));
    vec![
        vec![(|w| w.contact = Contact::Absent, CutBlock::NoRelay)],
        vec![(|w| w.store = StoreHealth::Unhealthy, CutBlock::StoreUnhealthy)],
        vec![(|w| w.intents = vec![intent(w, RelayAction::Close, 0)], CutBlock::IntentOpen)],
        vec![
            (|w| w.reading = None, CutBlock::NoReading),
            (|w| mark(w).quality = Quality::Suspect, CutBlock::BadReading),
            (|w| mark(w).quality = Quality::Bad(BadReason::NoAnswer), CutBlock::BadReading),
            (|w| mark(w).at = w.now - MINUTE * 61, CutBlock::StaleReading),
            (|w| mark(w).at = w.now + MINUTE, CutBlock::StaleReading),
        ],
        vec![
            (|w| w.notices.clear(), CutBlock::FinalNoticeNotSent),
            (|w| w.notices[0].level = WarningLevel::Notice2, CutBlock::FinalNoticeNotSent),
            (|w| w.notices[0].cycle -= 1, CutBlock::FinalNoticeNotSent),
            (|w| w.notices[0].delivered_at = None, CutBlock::FinalNoticeNotDelivered),
            (|w| w.notices[0].sent_at = w.now - DAY * 8, CutBlock::FinalNoticeExpired),
        ],
        vec![(|w| w.register = RegisterTrust::Held, CutBlock::RegisterHeld)],
        vec![(|w| w.clock = ClockTrust::Untrusted, CutBlock::ClockUntrusted)],
        vec![(|w| w.payment = Payment::Pending, CutBlock::PaymentPending)],
        vec![(|w| w.dispute = Dispute::Open, CutBlock::DisputeOpen)],
        vec![(|w| w.breaker = BreakerState::Open { since: w.now }, CutBlock::BreakerOpen)],
        // The holiday: the next window opens on Thursday.
        vec![(|w| w.policy = on_holidays(), CutBlock::OutsideWindow { opens })],
    ]
}

fn mark(world: &mut World) -> &mut ReadingMark {
    world.reading.get_or_insert(ReadingMark { quality: Quality::Good, at: tuesday() })
}

fn on_holidays() -> Policy {
    let holidays = vec!["2026-03-03".into(), "2026-03-04".into()];
    Policy::new(&RawPolicy { holidays, ..raw_policy() }, &zone()).unwrap()
}

#[test]
fn a_used_up_balance_is_cut_when_everything_is_known_and_told() {
    let mut world = World::ripe();
    let decision = world.decide_and_store();
    assert_eq!((decision.desired, &decision.reasons[..]), (Supply::Off, &[Reason::Cut(CutReason::Balance)][..]));
    assert_eq!((decision.blocked.len(), decision.warning), (0, None));
    let evidence = decision.permit.as_ref().unwrap().evidence();
    assert_eq!(evidence.reading_at, Some(world.now - MINUTE));
    assert_eq!(evidence.final_notice, Some(world.notices[0]));
    assert_eq!((world.record.version, &world.record.reasons[..]), (1, &["balance".to_owned()][..]));
    assert_eq!(world.control(&decision).action, Action::Send(RelayAction::Open));
}

#[test]
fn no_subset_of_blocks_lets_a_cut_pass() {
    let groups = spoilers();
    let choices: Vec<usize> = groups.iter().map(|group| group.len() + 1).collect();
    let combinations: usize = choices.iter().product();
    for combination in 0..combinations {
        let (mut world, mut expected, mut rest) = (World::ripe(), Vec::new(), combination);
        for (group, choices) in groups.iter().zip(&choices) {
            if let Some((spoil, block)) = (rest % choices).checked_sub(1).map(|index| group[index]) {
                spoil(&mut world);
                expected.push(block);
            }
            rest /= choices;
        }
        let decision = world.decide();
        if expected.is_empty() {
            assert!(decision.permit.is_some());
            continue;
        }
        assert_eq!((decision.desired, &decision.permit), (Supply::On, &None), "cut in spite of {expected:?}");
        let named = |block: &CutBlock| decision.blocked.contains(block);
        assert!(expected.iter().all(named), "{expected:?} is not all in {:?}", decision.blocked);
        assert_eq!(expected.len(), decision.blocked.len(), "{expected:?} against {:?}", decision.blocked);
    }
}

#[test]
fn a_cut_that_is_not_made_yet_is_withdrawn_by_any_block() {
    for (spoil, block) in spoilers().into_iter().flatten() {
        let mut world = World::ripe();
        let _ = world.trip();
        assert_eq!(world.record.desired, Supply::Off);
        spoil(&mut world);
        let decision = world.decide();
        assert_eq!(decision.permit, None, "{block:?}");
        // Our own command on its way is no reason to take it back.
        let desired = if block == CutBlock::IntentOpen { Supply::Off } else { Supply::On };
        assert_eq!(decision.desired, desired, "{block:?}");
    }
}

#[test]
fn a_cut_that_is_made_stays_whatever_the_hour() {
    for (spoil, block) in spoilers().into_iter().flatten() {
        let mut world = World::cut();
        spoil(&mut world);
        if matches!(block, CutBlock::DisputeOpen | CutBlock::NoRelay) {
            continue;
        }
        let decision = world.decide_and_store();
        assert_eq!((decision.desired, &decision.permit), (Supply::Off, &None), "{block:?}");
        assert_eq!(world.control(&decision).action, Action::None, "{block:?}");
        // A contact that cannot be seen changes nothing, and nothing is commanded.
        world.contact = Contact::Unknown;
        let decision = world.decide_and_store();
        assert_eq!(decision.desired, Supply::Off, "{block:?}");
        assert_eq!(world.control(&decision).action, Action::Wait(WaitReason::ContactUnknown), "{block:?}");
    }
}

#[test]
fn a_dispute_brings_the_supply_back() {
    let mut world = World::cut();
    world.dispute = Dispute::Open;
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    assert_eq!(world.record.reasons, ["dispute"]);
}

#[test]
fn the_fire_pump_at_minus_500_is_not_cut() {
    for why in [Exemption::FireProtection, Exemption::ColdStore, Exemption::Shared, Exemption::NotPrepaid] {
        for order in [None, Some(Order::Safety), Some(Order::CourtOrder)] {
            let mut world = World::ripe();
            (world.kind, world.balance, world.order) = (ServiceKind::Exempt { why }, yuan(-500), order);
            let decision = world.decide();
            assert_eq!((decision.desired, &decision.permit, decision.warning), (Supply::On, &None, None));
            assert_eq!(decision.blocked, [CutBlock::Exempt(why)]);
            // Even one that was cut before it became exempt comes back.
            let mut world = World::cut();
            (world.kind, world.balance, world.order) = (ServiceKind::Exempt { why }, yuan(-500), order);
            assert_eq!(world.pass(), Action::Send(RelayAction::Close));
        }
    }
}

#[test]
fn used_up_on_a_saturday_night_is_told_and_not_cut_until_the_window() {
    // Saturday 2026-03-07, 02:00 in Shanghai.
    let mut world = World::ripe();
    world.now = time("2026-03-06T18:00:00Z");
    mark(&mut world).at = world.now;
    world.notices.clear();
    world.ladder = Ladder::resume(&[]);
    let decision = world.decide();
    assert_eq!(decision.warning, Some(WarningLevel::Final));
    let opens = time("2026-03-09T01:00:00Z");
    assert!(decision.blocked.contains(&CutBlock::OutsideWindow { opens: Some(opens) }));
    // Told on Saturday; on Monday at 08:59 still not, at 09:00 it is.
    let sent_at = world.now;
    let told = NoticeMark { level: WarningLevel::Final, cycle: 1, sent_at, delivered_at: Some(sent_at) };
    world.ladder.give(WarningLevel::Final, sent_at);
    world.notices.push(told);
    world.now = opens - MINUTE;
    mark(&mut world).at = world.now;
    let decision = world.decide();
    assert_eq!((decision.desired, decision.next_check), (Supply::On, opens));
    world.now = opens;
    mark(&mut world).at = world.now;
    assert!(world.decide().permit.is_some());
}

#[test]
fn windows_are_hours_of_weekdays_without_holidays() {
    let windows = policy().windows;
    for (local, inside) in [
        ("2026-03-03T08:59:59+08:00", false),
        ("2026-03-03T09:00:00+08:00", true),
        ("2026-03-03T15:59:59+08:00", true),
        ("2026-03-03T16:00:00+08:00", false),
        ("2026-03-04T10:00:00+08:00", false),
        ("2026-03-06T10:00:00+08:00", false),
    ] {
        assert_eq!(windows.contains(time(local)), inside, "{local}");
    }
    assert!(!windows.contains(Timestamp::MAX), "a time without a civil date is no hour for cuts");
    let none = CutWindows::new(&[], &[], &zone()).unwrap();
    assert!(!none.contains(tuesday()) && none.next_opening(tuesday()).is_none());
    let all_day = RawCutWindow { days: vec![Weekday::Tue], from: "00:00".into(), to: "24:00".into() };
    let all_day = CutWindows::new(&[all_day], &[], &zone()).unwrap();
    assert!(all_day.contains(time("2026-03-03T23:59:59+08:00")));
    assert!(!all_day.contains(time("2026-03-04T00:00:00+08:00")));
}

#[test]
fn the_clock_jumps_ten_days_ahead_and_nobody_is_cut() {
    let mut world = World::ripe();
    world.now = tuesday() + DAY * 14;
    world.clock = ClockTrust::Untrusted;
    let decision = world.decide();
    assert_eq!(decision.desired, Supply::On);
    let stale = [CutBlock::StaleReading, CutBlock::FinalNoticeExpired, CutBlock::ClockUntrusted];
    assert!(stale.iter().all(|block| decision.blocked.contains(block)), "{:?}", decision.blocked);
}

#[test]
fn a_tariff_typo_that_empties_300_wallets_cuts_five_shops() {
    let mut breaker = Breaker::new(BreakerLimits::default(), 300);
    let mut cut = 0;
    for shop in 0..300 {
        let mut world = World::ripe();
        world.record.service_point = format!("s-{shop}");
        world.breaker = breaker.state();
        let Some(permit) = world.decide_and_store().permit else { continue };
        let Some(pass) = breaker.admit(&world.record.service_point, world.now) else { continue };
        permit.intent(pass, Uuid::from_u128(1), &world.record, world.now, String::new()).unwrap();
        cut += 1;
    }
    assert_eq!((cut, breaker.state()), (5, BreakerState::Open { since: tuesday() }));
    // It stays open for days, until a person resets it.
    assert_eq!(breaker.admit("s-1", tuesday() + DAY * 3), None);
    breaker.reset();
    assert!(breaker.admit("s-1", tuesday() + DAY * 3).is_some());
}

#[test]
fn the_breaker_counts_service_points_within_an_hour() {
    let limits = BreakerLimits { cuts_per_hour: 10, percent_per_hour: 10 };
    let mut breaker = Breaker::new(limits, 25);
    assert_eq!(breaker.limit(), 2);
    assert_eq!(Breaker::new(limits, 3).limit(), 1, "a small house can still cut one");
    assert_eq!(Breaker::new(limits, 1_000).limit(), 10);
    assert!(breaker.admit("a", tuesday()).is_some());
    assert!(breaker.admit("b", tuesday() + MINUTE * 30).is_some());
    assert!(breaker.admit("b", tuesday() + MINUTE * 31).is_some(), "a second attempt is not a second cut");
    assert!(breaker.admit("c", tuesday() + MINUTE * 60).is_some(), "the first is an hour ago");
    let cuts = [("b", 30), ("c", 60)].map(|(s, m)| (s.to_owned(), tuesday() + MINUTE * m));
    let mut resumed = Breaker::resume(limits, 25, cuts, BreakerState::Closed);
    for breaker in [&mut breaker, &mut resumed] {
        assert!(breaker.admit("d", tuesday() + MINUTE * 61).is_none());
        assert_ne!(breaker.state(), BreakerState::Closed);
    }
    let open = BreakerState::Open { since: tuesday() };
    assert_eq!(Breaker::resume(limits, 25, [], open).state(), open);
}

#[test]
fn only_the_lawful_reasons_can_be_said() {
    for (word, reason) in [
        ("balance", CutReason::Balance),
        ("safety", CutReason::Safety),
        ("owner_request", CutReason::OwnerRequest),
        ("court_order", CutReason::CourtOrder),
    ] {
        assert_eq!(serde_json::from_str::<CutReason>(&format!("\"{word}\"")).unwrap(), reason);
        assert_eq!(reason.as_str(), word);
    }
    for debt in ["property_fee", "rent", "parking", "deposit", "other", ""] {
        assert!(serde_json::from_str::<CutReason>(&format!("\"{debt}\"")).is_err(), "{debt}");
        assert!(serde_json::from_str::<Order>(&format!("\"{debt}\"")).is_err(), "{debt}");
    }
    assert!(serde_json::from_str::<Order>("\"balance\"").is_err(), "money is decided by the rules, not ordered");
}

#[test]
fn an_order_keeps_a_paid_supply_off_until_it_is_lifted() {
    let mut world = World::ripe();
    (world.balance, world.order, world.clock) = (yuan(500), Some(Order::Safety), ClockTrust::Untrusted);
    assert_eq!(world.pass(), Action::Send(RelayAction::Open));
    assert_eq!(world.record.reasons, ["safety"]);
    (world.contact, world.proved) = (Contact::Seen(Supply::Off), Some(1));
    world.balance = yuan(1_000);
    assert_eq!(world.pass(), Action::None, "a top-up does not end a danger");
    world.order = None;
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
}

#[test]
fn an_order_lifted_is_no_cut_for_money() {
    let mut world = World::ripe();
    (world.balance, world.order) = (yuan(-5), Some(Order::OwnerRequest));
    let _ = world.pass();
    (world.contact, world.proved, world.order) = (Contact::Seen(Supply::Off), Some(1), None);
    assert_eq!(world.pass(), Action::Send(RelayAction::Close), "minus five is within the emergency credit");
    // But one that was cut for money before stays cut.
    let mut world = World::cut();
    (world.order, world.balance) = (Some(Order::Safety), yuan(-5));
    let _ = world.pass();
    assert_eq!(world.record.reasons, ["safety", "balance"]);
    world.order = None;
    assert_eq!(world.pass(), Action::None);
    assert_eq!(world.record.reasons, ["balance"]);
}

#[test]
fn credit_is_used_before_a_cut_and_repaid_before_the_supply_is_back() {
    let mut world = World::ripe();
    world.balance = Hao(yuan(-20).0 + 1);
    assert_eq!(world.decide().reasons, [Reason::EmergencyCredit]);
    world.emergency_credit = Hao(-1);
    world.balance = Hao(1);
    assert_eq!(world.decide().desired, Supply::On, "a negative credit does not cut who has money");
    let mut world = World::cut();
    world.balance = Hao(0);
    assert_eq!(world.pass(), Action::None, "not yet above the level");
    world.balance = Hao(1);
    assert_eq!(world.pass(), Action::Send(RelayAction::Close));
    assert_eq!((world.record.version, &world.record.reasons[..]), (2, &["topped_up".to_owned()][..]));
}

proptest! {
    #[test]
    fn a_top_up_always_leads_to_on(
        paid in 1i64..1_000_000_000, picks in prop::collection::vec(0usize..6, 11), cut in any::<bool>(), hours in 0u32..2_000,
    ) {
        let mut world = if cut { World::cut() } else { World::ripe() };
        for (group, pick) in spoilers().iter().zip(picks) {
            if let Some((spoil, _)) = pick.checked_sub(1).and_then(|index| group.get(index)) {
                spoil(&mut world);
            }
        }
        world.now = world.now + MINUTE * 60 * hours;
        world.balance = Hao(paid);
        let decision = world.decide_and_store();
        prop_assert_eq!((decision.desired, decision.permit.is_none(), decision.blocked.len()), (Supply::On, true, 0));
        prop_assert_eq!(world.record.desired, Supply::On);
        if cut && world.contact == Contact::Seen(Supply::Off) {
            prop_assert_eq!(world.control(&decision).action, Action::Send(RelayAction::Close));
        }
    }

    #[test]
    fn nothing_is_cut_above_its_limit(balance in -1_000_000i64..1_000_000, credit in -10_000i64..500_000) {
        let mut world = World::ripe();
        (world.balance, world.emergency_credit) = (Hao(balance), Hao(credit));
        prop_assert_eq!(world.decide().permit.is_some(), balance <= -credit.max(0));
    }
}
