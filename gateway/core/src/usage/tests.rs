use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::reading::{BadReason, Decimal, PointIx, Quality, Value};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000) + MINUTE * minutes as u32
}

fn spec() -> RegisterSpec {
    RegisterSpec {
        utility: Utility::Electricity,
        unit: "kW.h".into(),
        scale: Decimal::new(1, -2),
        form: NumberForm::Integer,
        digits: Some(8),
        ratio: Ratio::InMeter,
        // 80 A at three times 230 V.
        max_per_hour: Quantity(55_200),
    }
}

/// 0.01 kWh a count, eight digits.
fn register() -> Register {
    Register::new(spec()).unwrap()
}

fn binary32() -> Register {
    Register::new(RegisterSpec { form: NumberForm::Binary32, scale: Decimal::new(1, 0), digits: None, ..spec() })
        .unwrap()
}

fn counts(raw: u64, minutes: u64) -> Reading {
    Reading::good(PointIx(0), Value::Decimal(Decimal::new(i128::from(raw), -2)), at(minutes))
}

fn float(kwh: f32, minutes: u64) -> Reading {
    Reading::good(PointIx(0), Value::Float(f64::from(kwh)), at(minutes))
}

fn step(from: u64, reading: &Reading) -> Step {
    register().step(Some(&Baseline::opening(from, at(0))), reading, at(1_000_000))
}

fn held(step: Step) -> Option<HoldReason> {
    match step {
        Step::Hold { reason, .. } => Some(reason),
        _ => None,
    }
}

fn forward(step: Step) -> Forward {
    match step {
        Step::Forward(forward) => forward,
        other => panic!("expected consumption, got {other:?}"),
    }
}

#[test]
fn rating_vectors_rt_20_to_25() {
    let modulus = Some(100_000_000);
    // RT-20: a roll-over, 1.25 kWh; through CT x40 it is 50 kWh.
    assert_eq!(difference(99_999_998, 123, modulus, 2_000), Ok((125, UsageQuality::RolledOver)));
    let ratio = Ratio::External(NonZeroU32::new(40).unwrap());
    let through_ct = Register::new(RegisterSpec { ratio, ..spec() }).unwrap();
    assert_eq!(through_ct.quantity(125), Some(Quantity(50_000)));
    // RT-22: a glitch to zero.
    assert_eq!(difference(12_345_678, 0, modulus, 2_000), Err(HoldReason::Backward));
    // A small step back.
    assert_eq!(difference(12_345_678, 12_345_671, modulus, 2_000), Err(HoldReason::Backward));
    // RT-25: one above the physical maximum, and the maximum itself.
    assert_eq!(difference(12_345_678, 12_347_679, modulus, 2_000), Err(HoldReason::ImplausibleJump));
    assert_eq!(difference(12_345_678, 12_347_678, modulus, 2_000), Ok((2_000, UsageQuality::Measured)));
    // Without a known width a step back is never a roll-over.
    assert_eq!(difference(99_999_998, 123, None, 2_000), Err(HoldReason::Backward));
    // Half a turn may have been used: back and round zero look alike.
    assert_eq!(difference(60_000_000, 0, modulus, 50_000_000), Err(HoldReason::Backward));
}

/// AC 17.
#[test]
fn the_register_reads_zero_for_one_poll_and_comes_back() {
    let mut watch = HoldWatch::default();
    let baseline = Baseline::opening(12_345_678, at(0));
    let glitch = register().step(Some(&baseline), &counts(0, 15), at(15));
    assert_eq!(held(glitch), Some(HoldReason::Backward));
    let state = watch.observe(&register(), &glitch);
    assert_eq!(state, HoldState::Held { reason: HoldReason::Backward, since: at(15) });
    let back = register().step(Some(&baseline), &counts(12_345_700, 30), at(30));
    assert_eq!((forward(back).counts, forward(back).quantity), (22, Quantity(220)));
    assert_eq!(watch.observe(&register(), &back), HoldState::Clear);
}

#[test]
fn a_glitch_as_first_reading_bills_nothing_later() {
    let first = register().step(None, &counts(0, 0), at(0));
    assert_eq!(first, Step::First { raw: 0, at: at(0) });
    assert_eq!(held(step(0, &counts(12_345_678, 15))), Some(HoldReason::ImplausibleJump));
}

/// AC 17.
#[test]
fn the_plausible_jump_grows_with_the_time_between_readings() {
    // 55.2 kWh in the hour, 0.92 for the slack of a minute, one count for the turn of the first reading.
    assert_eq!(forward(step(1_000, &counts(1_000 + 5_520 + 93, 60))).quantity, Quantity(56_130));
    assert_eq!(held(step(1_000, &counts(1_000 + 5_520 + 94, 60))), Some(HoldReason::ImplausibleJump));
    assert_eq!(forward(step(1_000, &counts(1_000 + 11_040, 120))).quantity, Quantity(110_400));
}

#[test]
fn a_reading_from_the_future_or_the_past_is_held() {
    let baseline = Baseline::opening(100, at(10));
    let step = |reading: &Reading, now| register().step(Some(&baseline), reading, now);
    assert_eq!(held(step(&counts(110, 30), at(29))), Some(HoldReason::FutureDated));
    assert_eq!(held(register().step(None, &counts(110, 30), at(29))), Some(HoldReason::FutureDated));
    assert_eq!(held(step(&counts(110, 9), at(30))), Some(HoldReason::OutOfOrder));
    assert_eq!(held(step(&counts(110, 10), at(30))), Some(HoldReason::OutOfOrder));
    assert_eq!(step(&counts(100, 10), at(30)), Step::Same);
    assert_eq!(step(&counts(100, 20), at(30)), Step::Same);
}

#[test]
fn a_value_that_is_no_count_is_held() {
    let read = |value| held(step(100, &Reading::good(PointIx(0), value, at(1))));
    assert_eq!(read(Value::Decimal(Decimal::new(1_005, -3))), Some(HoldReason::Unscaled));
    assert_eq!(read(Value::Decimal(Decimal::new(-1, -2))), Some(HoldReason::Unscaled));
    assert_eq!(read(Value::Decimal(Decimal::new(100_000_000, -2))), Some(HoldReason::Unscaled), "nine digits");
    assert_eq!(read(Value::Float(1.01)), Some(HoldReason::Unscaled));
    assert_eq!(read(Value::Bool(true)), Some(HoldReason::Unscaled));
    assert_eq!(read(Value::Text("101".into())), Some(HoldReason::Unscaled));
}

#[test]
fn only_good_quality_bills() {
    let mut suspect = counts(110, 1);
    suspect.quality = Quality::Suspect;
    assert_eq!(held(step(100, &suspect)), Some(HoldReason::Quality));
    let bad = Reading::bad(PointIx(0), BadReason::NoAnswer, at(1));
    assert_eq!(held(step(100, &bad)), Some(HoldReason::Quality));
    assert_eq!(held(register().step(None, &bad, at(1))), Some(HoldReason::Quality));
}

/// AC 17.
#[test]
fn a_swapped_meter_is_reported_and_never_accepted_by_itself() {
    let mut watch = HoldWatch::default();
    let baseline = Baseline::opening(12_345_678, at(0));
    for reading in 1..u64::from(REVIEW_AFTER) {
        let step = register().step(Some(&baseline), &counts(500 + reading, reading * 15), at(reading * 15));
        assert!(matches!(watch.observe(&register(), &step), HoldState::Held { .. }), "too early at {reading}");
    }
    let step = register().step(Some(&baseline), &counts(520, 90), at(90));
    let review = HoldState::NeedsReview { reason: HoldReason::Backward, since: at(15) };
    assert_eq!(watch.observe(&register(), &step), review);
}

#[test]
fn silence_between_neither_hides_a_swapped_meter_nor_makes_one() {
    let mut watch = HoldWatch::default();
    let baseline = Baseline::opening(12_345_678, at(0));
    let mut observe = |reading: &Reading, now| {
        let state = watch.observe(&register(), &register().step(Some(&baseline), reading, now));
        matches!(state, HoldState::NeedsReview { .. })
    };
    for poll in 0..u64::from(REVIEW_AFTER) - 1 {
        let minutes = 10 + poll * 20;
        assert!(!observe(&Reading::bad(PointIx(0), BadReason::NoAnswer, at(minutes)), at(minutes)));
        assert!(!observe(&counts(500 + poll, minutes + 10), at(minutes + 10)));
    }
    assert!(!observe(&Reading::bad(PointIx(0), BadReason::NoAnswer, at(500)), at(500)));
    assert!(observe(&counts(600, 510), at(510)));
}

#[test]
fn one_held_reading_looked_at_often_is_still_one() {
    let mut watch = HoldWatch::default();
    let step = register().step(Some(&Baseline::opening(12_345_678, at(0))), &counts(0, 15), at(15));
    for _ in 0..100 {
        assert!(matches!(watch.observe(&register(), &step), HoldState::Held { .. }));
    }
}

#[test]
fn values_that_are_never_counts_are_reported() {
    let mut watch = HoldWatch::default();
    let wrong_scale = |poll: u64| Reading::good(PointIx(0), Value::Decimal(Decimal::new(12_345, -3)), at(poll));
    for poll in 1..=u64::from(REVIEW_AFTER) {
        let state = watch.observe(&register(), &register().step(None, &wrong_scale(poll), at(poll)));
        let review = HoldState::NeedsReview { reason: HoldReason::Unscaled, since: at(1) };
        assert_eq!(state == review, poll == u64::from(REVIEW_AFTER), "{state:?}");
    }
}

#[test]
fn wild_readings_and_silence_are_no_meter_swap() {
    let mut watch = HoldWatch::default();
    let baseline = Baseline::opening(12_345_678, at(0));
    for poll in 1..50 {
        let wild = counts(if poll % 2 == 0 { 5_000 } else { 3 }, poll);
        let step = register().step(Some(&baseline), &wild, at(poll));
        assert!(matches!(watch.observe(&register(), &step), HoldState::Held { .. }));
        let silent = Reading::bad(PointIx(0), BadReason::NoAnswer, at(poll));
        let step = register().step(Some(&baseline), &silent, at(poll));
        assert!(matches!(watch.observe(&register(), &step), HoldState::Held { .. }));
    }
}

#[test]
fn a_register_finer_than_the_base_unit_keeps_its_last_digits() {
    // 0.1 Wh a step: 1,009 steps are 100 Wh, and the nine are billed once the tenth has come.
    let fine = Register::new(RegisterSpec { scale: Decimal::new(1, -4), ..spec() }).unwrap();
    let read = |steps| Reading::good(PointIx(0), Value::Decimal(Decimal::new(steps, -4)), at(60));
    let baseline = Baseline::opening(100, at(0));
    assert_eq!(fine.step(Some(&baseline), &read(1_009), at(60)), Step::Same);
    assert_eq!(forward(fine.step(Some(&baseline), &read(1_010), at(60))).quantity, Quantity(1));
    let before_turn = Baseline::opening(9_999_999, at(0));
    let turned = forward(fine.step(Some(&before_turn), &read(21), at(60)));
    assert_eq!((turned.quantity, turned.quality), (Quantity(3), UsageQuality::RolledOver));
}

#[test]
fn float_vectors_rt_71_to_73() {
    let register = binary32();
    let count = |kwh: f32| register.count(&Value::Float(f64::from(kwh)));
    // RT-71: 262,144.01 arrives as 262,144.0, and the next representable number is 31.25 Wh away.
    let seen = count(f32::from_bits(0x4880_0000)).unwrap();
    assert_eq!(seen, register::Count { raw: 262_144_000, ulp: 32, resolution: Resolution::Coarse });
    // RT-72: 1,234,567.89 arrives as 1,234,567.875.
    assert_eq!(count(f32::from_bits(0x4996_b43f)).unwrap().raw, 1_234_567_875);
    // RT-73: 16,777,217 arrives as 16,777,216; a kWh more or less can no longer be told.
    assert_eq!(count(f32::from_bits(0x4b80_0000)), Err(HoldReason::Resolution));
    // Below 2^17 kWh there is no flag; from there on there is.
    assert_eq!(count(131_071.99).unwrap().resolution, Resolution::Fine);
    assert_eq!(count(131_072.0).unwrap().resolution, Resolution::Coarse);
    for not_a_count in [f64::NAN, f64::INFINITY, -0.6, 1e300] {
        assert_eq!(register.count(&Value::Float(not_a_count)), Err(HoldReason::Unscaled));
    }
}

#[test]
fn a_single_ulp_of_a_large_float_waits_for_more() {
    let (register, baseline) = (binary32(), Baseline::opening(262_144_000, at(0)));
    let step = |kwh| register.step(Some(&baseline), &float(kwh, 15), at(15));
    assert_eq!(step(262_144.03), Step::Same);
    let two = forward(step(262_144.06));
    assert_eq!((two.quantity, two.resolution), (Quantity(63), Resolution::Coarse), "62.5 Wh to the nearest");
}

#[test]
fn a_message_with_any_number_of_decimals_is_counted_in_millilitres() {
    let water = Register::new(RegisterSpec {
        utility: Utility::Water,
        unit: "L".into(),
        scale: Decimal::new(1, 0),
        form: NumberForm::Binary64,
        digits: None,
        ratio: Ratio::InMeter,
        max_per_hour: Quantity(10_000_000),
    })
    .unwrap();
    let raw = |value| water.count(&value).map(|count| count.raw);
    assert_eq!(raw(Value::Decimal(Decimal::new(12_345, -1))), Ok(1_234_500));
    assert_eq!(raw(Value::Decimal(Decimal::new(12_345_678, -4))), Ok(1_234_568));
    assert_eq!(raw(Value::Float(1234.5)), Ok(1_234_500));
    assert_eq!(raw(Value::Decimal(Decimal::new(-1, 0))), Err(HoldReason::Unscaled));
}

#[test]
fn a_register_is_shown_in_base_units() {
    let ratio = Ratio::External(NonZeroU32::new(40).unwrap());
    let through_ct = Register::new(RegisterSpec { ratio, ..spec() }).unwrap();
    let value = Value::Decimal(Decimal::new(12_345, -2));
    assert_eq!(register().base_units(&value), Some(123_450));
    assert_eq!(through_ct.base_units(&value), Some(4_938_000));
    assert_eq!(register().base_units(&Value::Float(1.0)), None);
}

#[test]
fn a_register_that_cannot_bill_is_refused() {
    let refused = |spec| Register::new(spec).err();
    let unit = RegisterError::Unit { unit: "V".into(), utility: Utility::Electricity };
    assert_eq!(refused(RegisterSpec { unit: "V".into(), ..spec() }), Some(unit));
    assert_eq!(refused(RegisterSpec { scale: Decimal::new(0, 0), ..spec() }), Some(RegisterError::Scale));
    assert_eq!(refused(RegisterSpec { scale: Decimal::new(-1, -2), ..spec() }), Some(RegisterError::Scale));
    assert_eq!(refused(RegisterSpec { scale: Decimal::new(3, -4), ..spec() }), Some(RegisterError::Scale));
    assert_eq!(refused(RegisterSpec { digits: Some(0), ..spec() }), Some(RegisterError::Digits(0)));
    assert_eq!(refused(RegisterSpec { digits: Some(19), ..spec() }), Some(RegisterError::Digits(19)));
    assert_eq!(refused(RegisterSpec { max_per_hour: Quantity(0), ..spec() }), Some(RegisterError::MaxPerHour));
}

proptest! {
    #[test]
    fn whatever_is_read_the_baseline_only_moves_on(
        polls in prop::collection::vec((0u64..100_000_000, 0u64..2_000, 0u64..4), 1..200),
    ) {
        let register = register();
        let mut baseline = Baseline::opening(99_990_000, at(0));
        for (wild, minutes, kind) in polls {
            // Readings of every kind: wild, the same, a little on (round zero too), and a little back.
            let raw = match kind {
                0 => wild,
                1 => baseline.raw,
                2 => (baseline.raw + wild % 3_000) % 100_000_000,
                _ => baseline.raw.saturating_sub(wild % 50),
            };
            let before = baseline.clone();
            let elapsed = MINUTE * minutes as u32;
            let reading = Reading { at: before.at + elapsed, ..counts(raw, 0) };
            match register.step(Some(&before), &reading, reading.at) {
                Step::Forward(forward) => {
                    prop_assert!(forward.at > before.at && forward.counts > 0);
                    prop_assert_eq!(register.advance(before.raw, forward.counts), forward.raw);
                    let possible = 55_200 * (elapsed + REFRESH_SLACK).as_secs() as i64 / HOUR.as_secs() as i64 + 20;
                    prop_assert!(forward.quantity.0 <= possible, "{} Wh in {elapsed:?}", forward.quantity.0);
                    prop_assert_eq!(forward.quality == UsageQuality::RolledOver, forward.raw < before.raw);
                    baseline = Baseline::opening(forward.raw, forward.at);
                }
                Step::First { .. } => prop_assert!(false, "there is a baseline"),
                Step::Same | Step::Hold { .. } => {}
            }
            prop_assert!(baseline.at >= before.at);
        }
    }
}
