//! One test per way a meter can lie, and a model: whatever is lost or cut, a top-up is in the meter exactly once.

use proptest::prelude::*;

use super::*;

const AMOUNT: i32 = 5_000;

fn credit(count: Option<u32>, state: CreditState) -> MeterCredit {
    MeterCredit {
        receipt: 1,
        service_point: "s-1-w".to_owned(),
        amount: Fen(i64::from(AMOUNT)),
        count,
        state,
        attempts: 0,
        detail: String::new(),
        at: Timestamp::EPOCH,
        paid_at: Timestamp::EPOCH,
        decided_by: None,
    }
}

fn seen(count: u32, amount: i32, verdict: Verdict, verdict_count: u32) -> WalletSeen {
    WalletSeen { count, amount, balance: 0, verdict, verdict_count }
}

#[test]
fn the_reply_is_lost_after_the_meter_applied() {
    let sent = credit(Some(8), CreditState::Sent);
    let shown = sent.next(&seen(8, AMOUNT, Verdict::Applied, 8));
    assert_eq!(shown, Step::Settle(CreditState::Confirmed, "the meter shows this purchase"));
    assert_eq!(sent.judge(8, &seen(8, AMOUNT, Verdict::AlreadyApplied, 8)).0, CreditState::Confirmed);
}

#[test]
fn the_frame_never_arrived() {
    let sent = credit(Some(8), CreditState::Uncertain);
    assert_eq!(sent.next(&seen(7, 1, Verdict::None, 0)), Step::Send { count: 8, amount: AMOUNT });
}

#[test]
fn the_meter_refuses_and_has_applied_it_all_the_same() {
    let sent = credit(Some(8), CreditState::Sent);
    assert_eq!(sent.judge(8, &seen(8, AMOUNT, Verdict::NotStored, 8)).0, CreditState::Confirmed);
}

#[test]
fn somebody_used_a_card_in_between() {
    let sent = credit(Some(8), CreditState::Uncertain);
    for count in [0, 5, 6, 9, 10] {
        assert!(matches!(sent.next(&seen(count, AMOUNT, Verdict::None, 0)), Step::Settle(CreditState::Manual, _)));
    }
    assert!(matches!(sent.next(&seen(8, AMOUNT + 1, Verdict::None, 0)), Step::Settle(CreditState::Manual, _)));
}

#[test]
fn a_card_for_the_very_same_amount_is_not_taken_for_the_frame_that_was_lost() {
    let sent = credit(Some(8), CreditState::Uncertain);
    for (verdict, count) in [
        (Verdict::Applied, 7),
        (Verdict::None, 0),
        // The frame came, and was refused; then somebody bought.
        (Verdict::OverHoardingLimit, 8),
        (Verdict::WrongCount, 8),
        (Verdict::AmountNotAllowed, 8),
        (Verdict::Unknown(9), 8),
    ] {
        let shown = seen(8, AMOUNT, verdict, count);
        assert!(matches!(sent.next(&shown), Step::Settle(CreditState::Manual, _)), "{shown:?}");
        assert_eq!(sent.judge(8, &shown).0, CreditState::Manual);
    }
}

#[test]
fn a_person_decides_once_and_only_where_one_is_needed() {
    let manual = credit(Some(8), CreditState::Manual);
    assert_eq!(manual.decide(Finding::Applied), Ok(CreditState::Confirmed));
    assert_eq!(manual.decide(Finding::NotApplied), Ok(CreditState::NotApplied));
    for state in CreditState::ALL.into_iter().filter(|state| *state != CreditState::Manual) {
        for finding in [Finding::Applied, Finding::NotApplied] {
            let refused = credit(Some(8), state).decide(finding);
            assert_eq!(refused, Err(FindingRefusal::NotWaiting(state)));
        }
    }
}

#[test]
fn what_was_never_sent_is_not_in_the_meter_whoever_says_so() {
    let never = credit(None, CreditState::Manual);
    assert_eq!(never.decide(Finding::Applied), Err(FindingRefusal::NeverSent));
    assert_eq!(never.decide(Finding::NotApplied), Ok(CreditState::NotApplied));
}

#[test]
fn the_meter_would_hold_too_much() {
    let sent = credit(Some(8), CreditState::Sent);
    assert_eq!(sent.judge(8, &seen(7, 1, Verdict::OverHoardingLimit, 8)).0, CreditState::Held);
    // A verdict of an earlier frame says nothing of this one.
    assert_eq!(sent.judge(8, &seen(7, 1, Verdict::OverHoardingLimit, 7)).0, CreditState::Uncertain);
    let held = credit(Some(8), CreditState::Held);
    assert_eq!(held.next(&seen(7, 1, Verdict::None, 0)), Step::Send { count: 8, amount: AMOUNT });
}

#[test]
fn an_amount_no_register_holds_is_for_a_person() {
    let huge = MeterCredit { amount: Fen(i64::from(i32::MAX) + 1), ..credit(None, CreditState::Pending) };
    assert!(matches!(huge.next(&seen(0, 0, Verdict::None, 0)), Step::Settle(CreditState::Manual, _)));
    let last = credit(None, CreditState::Pending);
    assert!(matches!(last.next(&seen(u32::MAX, 0, Verdict::None, 0)), Step::Settle(CreditState::Manual, _)));
}

#[test]
fn pauses_grow_and_end() {
    assert_eq!([1, 2, 3, 99].map(pause).map(|p| p.as_secs()), [1, 2, 4, 60]);
}

/// A meter that keeps the compare-and-set and nothing else.
#[derive(Default)]
struct Meter {
    count: u32,
    amount: i32,
    credited: i64,
    verdict: (Option<Verdict>, u32),
}

impl Meter {
    fn frame(&mut self, count: u32, amount: i32) {
        let verdict = if count == self.count && amount == self.amount {
            Verdict::AlreadyApplied
        } else if count == self.count + 1 {
            (self.count, self.amount, self.credited) = (count, amount, self.credited + i64::from(amount));
            Verdict::Applied
        } else {
            Verdict::WrongCount
        };
        self.verdict = (Some(verdict), count);
    }

    fn seen(&self) -> WalletSeen {
        seen(self.count, self.amount, self.verdict.0.unwrap_or(Verdict::None), self.verdict.1)
    }
}

/// What goes wrong in one try: the gateway dies before the row, after it, after the frame; the frame or the last look is
/// lost; the meter restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    DiesBeforeTheRow,
    DiesBeforeTheFrame,
    FrameLost,
    DiesAfterTheFrame,
    LookLost,
    MeterRestarts,
}

fn faults() -> impl Strategy<Value = Fault> {
    use Fault::*;
    prop_oneof![
        Just(None),
        Just(DiesBeforeTheRow),
        Just(DiesBeforeTheFrame),
        Just(FrameLost),
        Just(DiesAfterTheFrame),
        Just(LookLost),
        Just(MeterRestarts)
    ]
}

/// One try of the gateway at a row and a meter, with a fault.
fn attempt(row: &mut MeterCredit, meter: &mut Meter, fault: Fault) {
    let (count, amount) = match row.next(&meter.seen()) {
        Step::Settle(state, _) => {
            row.state = state;
            return;
        }
        Step::Send { count, amount } => (count, amount),
    };
    if fault == Fault::DiesBeforeTheRow {
        return;
    }
    (row.count, row.state) = (Some(count), CreditState::Sent);
    if fault == Fault::DiesBeforeTheFrame {
        return;
    }
    if fault != Fault::FrameLost {
        meter.frame(count, amount);
    }
    if fault == Fault::MeterRestarts {
        // What it keeps: the last purchase came as a frame.
        meter.verdict = (Some(Verdict::Applied), meter.count);
    }
    if matches!(fault, Fault::DiesAfterTheFrame | Fault::LookLost) {
        return;
    }
    row.state = row.judge(count, &meter.seen()).0;
}

proptest! {
    #[test]
    fn whatever_fails_each_top_up_is_in_the_meter_once(
        top_ups in proptest::collection::vec((1..10_000i64, proptest::collection::vec(faults(), 0..6)), 1..6),
        before in 0..1_000u32,
    ) {
        let mut meter = Meter { count: before, ..Meter::default() };
        let mut paid = 0;
        for (amount, faults) in top_ups {
            let mut row = MeterCredit { amount: Fen(amount), ..credit(None, CreditState::Pending) };
            for fault in faults.into_iter().chain([Fault::None, Fault::None]) {
                if !row.state.is_final() {
                    attempt(&mut row, &mut meter, fault);
                }
            }
            paid += amount;
            prop_assert_eq!(row.state, CreditState::Confirmed);
            prop_assert_eq!(meter.credited, paid);
        }
    }
}
