use proptest::prelude::*;

use super::*;

const TERMS: Terms =
    Terms { prepaid: true, exempt: false, price: 35_000, hoarding: 100_000, warning: 2_000, cut: 0, emergency: 1_000 };

fn with(minor: i32) -> Account {
    Account { balance: Money { minor, fraction: 0 }, count: 7, last_amount: 500, ..Account::default() }
}

#[test]
fn pulses_cost_their_price_to_the_ten_thousandth() {
    let mut account = with(10);
    account.count_pulses(1, &TERMS);
    assert_eq!(account.balance, Money { minor: 6, fraction: 5_000 });
    account.count_pulses(1, &TERMS);
    assert_eq!(account.balance, Money { minor: 3, fraction: 0 });
    account.count_pulses(1, &TERMS);
    assert_eq!(account.balance, Money { minor: -1, fraction: 5_000 });
    assert_eq!(account.pulses, 3);
}

#[test]
fn an_account_that_is_not_prepaid_only_counts() {
    let mut account = with(10);
    account.count_pulses(5, &Terms { prepaid: false, ..TERMS });
    assert_eq!((account.pulses, account.balance.minor), (5, 10));
}

#[test]
fn the_next_count_is_applied_once() {
    let after = with(100).top_up(&TERMS, 8, 500).expect("applied");
    assert_eq!((after.balance.minor, after.count, after.last_amount), (600, 8, 500));
    assert_eq!(after.top_up(&TERMS, 8, 500), Err(TopUpResult::AlreadyApplied));
}

#[test]
fn a_replayed_or_skipped_count_is_refused() {
    for count in [0, 1, 6, 9, u32::MAX] {
        assert_eq!(with(100).top_up(&TERMS, count, 500), Err(TopUpResult::WrongCount), "{count}");
    }
    let last = Account { count: u32::MAX, ..with(0) };
    assert_eq!(last.top_up(&TERMS, 0, 500), Err(TopUpResult::WrongCount));
    assert_eq!(Account::default().top_up(&TERMS, 0, 0), Err(TopUpResult::WrongCount));
}

#[test]
fn a_used_count_with_another_amount_is_another_purchase() {
    assert_eq!(with(100).top_up(&TERMS, 7, 501), Err(TopUpResult::AmountDiffers));
}

#[test]
fn hoarding_and_what_is_not_there_are_refused() {
    assert!(with(99_000).top_up(&TERMS, 8, 1_000).is_ok());
    assert_eq!(with(99_000).top_up(&TERMS, 8, 1_001), Err(TopUpResult::OverHoardingLimit));
    assert_eq!(with(99_000).top_up(&TERMS, 8, i32::MAX), Err(TopUpResult::OverHoardingLimit));
    assert_eq!(with(99).top_up(&TERMS, 8, 0), Err(TopUpResult::AmountNotAllowed));
    assert_eq!(with(99).top_up(&TERMS, 8, -100), Err(TopUpResult::AmountNotAllowed));
    assert_eq!(with(-99).top_up(&TERMS, 8, i32::MIN), Err(TopUpResult::AmountNotAllowed));
    assert_eq!(with(99).top_up(&TERMS, 8, -99).map(|account| account.balance.minor), Ok(0));
}

#[test]
fn from_credit_to_cut_and_back() {
    assert_eq!(with(2_001).state(&TERMS, true), CreditState::InCredit);
    assert_eq!(with(2_000).state(&TERMS, true), CreditState::Low);
    assert_eq!(with(1).state(&TERMS, true), CreditState::Low);
    assert_eq!(with(0).state(&TERMS, true), CreditState::Cut);
    assert_eq!(with(0).state(&TERMS, false), CreditState::Held);
    let cut = Account { cut: true, ..with(0) };
    assert_eq!(cut.state(&TERMS, false), CreditState::Cut, "friendly hours do not reconnect");
    let after = cut.top_up(&TERMS, 8, 10).expect("applied");
    assert_eq!(after.state(&TERMS, true), CreditState::Low);
}

#[test]
fn an_exempt_account_is_never_cut() {
    for cut in [false, true] {
        let account = Account { cut, ..with(-50_000) };
        assert_eq!(account.state(&Terms { exempt: true, ..TERMS }, true), CreditState::Held);
    }
}

#[test]
fn lost_state_never_cuts() {
    let account = Account { lost: true, ..Account::default() };
    assert_eq!(account.state(&TERMS, true), CreditState::Held);
    let after = account.top_up(&TERMS, 1, 5).expect("applied");
    assert_eq!(after.state(&TERMS, true), CreditState::Low);
}

#[test]
fn emergency_credit_is_lent_once_until_repaid() {
    assert_eq!(with(2_001).lend(&TERMS), None, "there is credit left");
    assert_eq!(with(0).lend(&Terms { emergency: 0, ..TERMS }), None, "none agreed");
    let cut = Account { cut: true, ..with(-10) };
    let lent = cut.lend(&TERMS).expect("lent");
    assert_eq!(lent.state(&TERMS, true), CreditState::Emergency);
    assert_eq!(lent.lend(&TERMS), None, "twice");
    let mut used = lent;
    used.count_pulses(283, &TERMS);
    assert_eq!(used.balance, Money { minor: -1_001, fraction: 5_000 });
    assert_eq!(used.state(&TERMS, true), CreditState::Cut);
    let part = used.top_up(&TERMS, 8, 600).expect("applied");
    assert!(part.emergency && part.lend(&TERMS).is_none(), "not yet repaid");
    assert_eq!(part.state(&TERMS, true), CreditState::Emergency);
    let repaid = part.top_up(&TERMS, 9, 500).expect("applied");
    assert!(!repaid.emergency);
    assert_eq!(repaid.state(&TERMS, true), CreditState::Low);
    assert!(repaid.lend(&TERMS).is_some());
}

#[test]
fn a_balance_ends_at_its_least_value() {
    let mut account = with(i32::MIN + 1);
    account.count_pulses(100, &TERMS);
    assert_eq!(account.balance, Money { minor: i32::MIN, fraction: 0 });
}

proptest! {
    /// Against one number in ten-thousandths.
    #[test]
    fn charging_is_multiplication(
        minor in -1_000_000i32..1_000_000, fraction in 0u16..10_000, price in 0u32..1_000_000_000, pulses in 0u32..100_000,
    ) {
        let mut account = Account { balance: Money { minor, fraction }, ..Account::default() };
        account.count_pulses(pulses, &Terms { price, ..TERMS });
        let exact = i128::from(minor) * 10_000 + i128::from(fraction) - i128::from(price) * i128::from(pulses);
        let least = i128::from(i32::MIN) * 10_000;
        let kept = i128::from(account.balance.minor) * 10_000 + i128::from(account.balance.fraction);
        prop_assert_eq!(kept, exact.max(least));
        prop_assert!(account.balance.fraction < 10_000);
    }

    /// Whatever frames come, in whatever order and how often: each count is credited at most once, none is skipped, and
    /// the balance is the sum of what was credited.
    #[test]
    fn frames_in_any_order_credit_each_count_once(frames in prop::collection::vec((0u32..6, -300i32..900), 0..60)) {
        let terms = Terms { hoarding: 1_500, ..TERMS };
        let mut account = Account::default();
        let mut credited = vec![];
        for (count, amount) in frames {
            if let Ok(after) = account.top_up(&terms, count, amount) {
                credited.push((count, amount));
                account = after;
            }
        }
        let counts: Vec<_> = credited.iter().map(|(count, _)| *count).collect();
        prop_assert_eq!(counts, (1..=credited.len() as u32).collect::<Vec<_>>());
        prop_assert_eq!(account.balance.minor, credited.iter().map(|(_, amount)| amount).sum::<i32>());
        prop_assert!(account.balance.minor <= 1_500);
    }
}
