//! Warnings, and the policy they come from.

use super::*;

fn level(balance: i64, cover_days: Option<u32>) -> Option<WarningLevel> {
    policy().level(yuan(balance), yuan(20), cover_days.map(|days| DAY * days))
}

#[test]
fn levels_fall_with_the_balance_or_with_its_cover() {
    assert_eq!(level(51, None), None);
    assert_eq!(level(50, None), Some(WarningLevel::Notice1));
    assert_eq!(level(500, Some(7)), None);
    assert_eq!(level(500, Some(6)), Some(WarningLevel::Notice1));
    assert_eq!(level(500, Some(2)), Some(WarningLevel::Notice2));
    assert_eq!(level(20, Some(30)), Some(WarningLevel::Notice2));
    assert_eq!(level(20, Some(0)), Some(WarningLevel::Final));
    assert_eq!(level(0, None), Some(WarningLevel::Final));
    let never = Level { cover: None, balance: None };
    let silent = Policy { notice1: never, notice2: never, final_notice: never, ..policy() };
    assert_eq!(silent.level(yuan(-20), yuan(20), None), Some(WarningLevel::Final), "used up is always told");
}

/// Lets balances pass and returns what the tenant is told, as (level, cycle).
fn told(ladder: &mut Ladder, balances: &[i64]) -> Vec<(WarningLevel, u64)> {
    let mut told = Vec::new();
    for balance in balances {
        let level = level(*balance, None);
        ladder.observe(yuan(*balance), level, tuesday());
        if let Some(due) = ladder.due(level) {
            ladder.give(due, tuesday());
            told.push((due, ladder.cycle()));
        }
    }
    told
}

#[test]
fn each_level_is_told_once_per_cycle() {
    use WarningLevel::{Final, Notice1, Notice2};
    let mut ladder = Ladder::resume(&[]);
    assert_eq!(told(&mut ladder, &[60, 49, 48, 47, 19, 18, 0, -1, -30]), [(Notice1, 1), (Notice2, 1), (Final, 1)]);
    // A drop in the ocean ends nothing: nobody is told twice, and the final notice stands.
    assert_eq!(told(&mut ladder, &[-25, -26, -1]), []);
    // Above the final level again, still low: the next final is a new one, the second notice is not repeated.
    assert_eq!(told(&mut ladder, &[15, 10, -5]), [(Final, 2)]);
    // All paid: the ladder begins anew.
    assert_eq!(told(&mut ladder, &[500, 40, 0]), [(Notice1, 3), (Final, 3)]);
}

#[test]
fn an_old_final_notice_does_not_cut_after_a_recovery() {
    let mut world = World::ripe();
    world.ladder.observe(yuan(-20), Some(WarningLevel::Final), world.now);
    assert!(world.decide().permit.is_some());
    world.ladder.observe(yuan(100), None, world.now);
    world.ladder.observe(yuan(-30), Some(WarningLevel::Final), world.now);
    world.balance = yuan(-30);
    let decision = world.decide();
    assert_eq!((decision.blocked, decision.warning), (vec![CutBlock::FinalNoticeNotSent], Some(WarningLevel::Final)));
}

#[test]
fn the_tenant_has_the_promised_time_after_delivery() {
    let mut world = World::ripe();
    world.notices[0].delivered_at = Some(world.now - MINUTE * 30 + Duration::from_millis(1));
    let until = world.now + Duration::from_millis(1);
    let decision = world.decide();
    assert_eq!((decision.blocked, decision.next_check), (vec![CutBlock::NoticeLead { until }], until));
    world.now = until;
    assert!(world.decide().permit.is_some());
}

#[test]
fn a_final_notice_of_last_week_is_given_again() {
    let mut ladder = Ladder::resume(&[]);
    assert_eq!(told(&mut ladder, &[0]), [(WarningLevel::Final, 1)]);
    let later = tuesday() + FINAL_VALIDITY + MINUTE;
    ladder.observe(yuan(-1), level(-1, None), later);
    assert_eq!((ladder.due(level(-1, None)), ladder.cycle()), (Some(WarningLevel::Final), 2));
}

#[test]
fn a_restart_neither_repeats_nor_forgets_a_notice() {
    let mark = |level, cycle| NoticeMark { level, cycle, sent_at: tuesday(), delivered_at: None };
    let notices = [mark(WarningLevel::Final, 1), mark(WarningLevel::Notice2, 2), mark(WarningLevel::Notice1, 2)];
    let mut ladder = Ladder::resume(&notices);
    assert_eq!((ladder.cycle(), ladder.given()), (2, Some(WarningLevel::Notice2)));
    assert_eq!(told(&mut ladder, &[15, 14]), []);
    assert_eq!(told(&mut ladder, &[0]), [(WarningLevel::Final, 2)]);
    // Paid while nobody looked: what was told before the restart does not count for what comes.
    let mut ladder = Ladder::resume(&notices);
    assert_eq!(told(&mut ladder, &[100, 19]), [(WarningLevel::Notice2, 3)]);
}

#[test]
fn less_use_alone_ends_no_cycle() {
    let mut ladder = Ladder::resume(&[]);
    let mut told = 0;
    for day in 0..100 {
        // The balance falls slowly, and its cover swings around the level of seven days.
        let balance = yuan(1_000 - day);
        let level = policy().level(balance, yuan(20), Some(DAY * if day % 2 == 0 { 6 } else { 8 }));
        ladder.observe(balance, level, tuesday());
        if let Some(due) = ladder.due(level) {
            ladder.give(due, tuesday());
            told += 1;
        }
    }
    assert_eq!(told, 1);
}

#[test]
fn nobody_is_told_in_a_dispute_or_when_exempt() {
    let mut world = World::ripe();
    world.ladder = Ladder::resume(&[]);
    assert_eq!(world.decide().warning, Some(WarningLevel::Final));
    world.dispute = Dispute::Open;
    assert_eq!(world.decide().warning, None);
    let mut world = World::cut();
    world.ladder = Ladder::resume(&[]);
    assert_eq!(world.decide().warning, None, "who is cut already knows");
}

#[test]
fn cover_is_balance_over_use() {
    let week = DAY * 7;
    assert_eq!(cover(yuan(30), yuan(70), week), Some(DAY * 3));
    assert_eq!(cover(yuan(-30), yuan(70), week), Some(Duration::ZERO));
    assert_eq!(cover(yuan(30), Hao(0), week), None);
    assert_eq!(cover(yuan(30), yuan(1), Duration::ZERO), None);
    assert_eq!(cover(Hao(i64::MAX), Hao(1), week), Some(Duration::from_millis(u64::MAX)));
}

#[test]
fn words_of_levels_are_read_back() {
    for level in [WarningLevel::Notice1, WarningLevel::Notice2, WarningLevel::Final] {
        assert_eq!(WarningLevel::from_word(level.as_str()), Some(level));
    }
    assert_eq!(WarningLevel::from_word("last"), None);
}

#[test]
fn a_policy_that_could_cut_by_mistake_is_refused() {
    let refused = |spoil: fn(&mut RawPolicy)| {
        let mut raw = raw_policy();
        spoil(&mut raw);
        Policy::new(&raw, &zone()).unwrap_err()
    };
    let level = |balance: &str| RawLevel { cover_days: None, balance: Some(balance.into()) };
    assert_eq!(refused(|p| p.notice_lead_s = 0), [PolicyError::Lead]);
    assert_eq!(refused(|p| p.reading_max_age_s = 0), [PolicyError::ReadingAge]);
    assert_eq!(refused(|p| p.bypass_above = f64::NAN), [PolicyError::Bypass]);
    assert_eq!(refused(|p| p.bypass_above = 0.0), [PolicyError::Bypass]);
    assert_eq!(refused(|p| p.notice1 = RawLevel::default()), [PolicyError::Level("notice1")]);
    let amount = PolicyError::Amount { field: "emergency_credit", text: "-20".into() };
    assert_eq!(refused(|p| p.emergency_credit = "-20".into()), [amount]);
    let raised = |raw: &mut RawPolicy, level| raw.final_notice = level;
    let mut raw = raw_policy();
    raised(&mut raw, level("30.00"));
    assert_eq!(Policy::new(&raw, &zone()), Err(vec![PolicyError::LevelOrder("final")]));
    for (from, to) in [("16:00", "09:00"), ("9:00", "16:00"), ("09:00", "24:01"), ("09:60", "16:00"), ("", "")] {
        let mut raw = raw_policy();
        (raw.cut_windows[0].from, raw.cut_windows[0].to) = (from.into(), to.into());
        let error = PolicyError::Window { from: from.into(), to: to.into() };
        assert_eq!(Policy::new(&raw, &zone()), Err(vec![error]));
    }
    assert_eq!(refused(|p| p.holidays = vec!["2026-02-30".into()]), [PolicyError::Holiday("2026-02-30".into())]);
    let both = refused(|p| (p.notice_lead_s, p.holidays) = (0, vec!["x".into()]));
    assert_eq!(both, [PolicyError::Lead, PolicyError::Holiday("x".into())]);
}

#[test]
fn a_policy_reads_from_its_file() {
    let text = r#"
        emergency_credit = "20.00"
        notice1 = { cover_days = 7 }
        notice2 = { cover_days = 3, balance = "20.00" }
        final = { balance = "0" }
        notice_lead_s = 1800
        cut_windows = [{ days = ["mon", "tue"], from = "09:00", to = "16:00" }]
        holidays = ["2026-10-01"]
        reading_max_age_s = 3600
        reconnect = "direct"
        bypass_above = 20.0
    "#;
    let raw: RawPolicy = toml::from_str(text).unwrap();
    let policy = Policy::new(&raw, &zone()).unwrap();
    assert_eq!((policy.emergency_credit, policy.reconnect_above), (yuan(20), Hao(0)));
    assert_eq!(policy.final_notice, Level { cover: None, balance: Some(Hao(0)) });
    // What could cut somebody off is never guessed.
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let optional = line.starts_with("cut_windows") || line.starts_with("holidays");
        assert_eq!(toml::from_str::<RawPolicy>(&text.replace(line, "")).is_ok(), optional, "without {line}");
    }
    let exempt: ServiceKind = serde_json::from_str(r#"{"exempt":{"why":"fire-protection"}}"#).unwrap();
    assert_eq!(exempt, ServiceKind::Exempt { why: Exemption::FireProtection });
}
