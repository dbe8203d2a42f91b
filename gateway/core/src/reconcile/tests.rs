//! An honest meter is never accused; every lie of a minor unit or more is told with its numbers.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::reading::Decimal;
use crate::units::Quantity;
use crate::usage::{NumberForm, Ratio, RegisterSpec};

/// A meter that keeps its balance in ten-thousandths, as a field node does.
#[derive(Clone, Debug)]
struct Meter {
    counter: i64,
    parts: i64,
    count: u32,
    price: i64,
}

impl Meter {
    fn sight(&self) -> Sight {
        let balance = i32::try_from(self.parts.div_euclid(PRICE_PARTS)).unwrap();
        let (counter, price) = (Span::of(self.counter, self.counter), Span::of(self.price, self.price));
        Sight { at: Timestamp::EPOCH, count: self.count, balance, counter, price }
    }

    fn count(&mut self, pulses: i64) {
        self.counter += pulses;
        self.parts -= pulses * self.price;
    }

    fn credit(&mut self, fen: i64) {
        (self.parts, self.count) = (self.parts + fen * PRICE_PARTS, self.count + 1);
    }
}

fn meter() -> Meter {
    Meter { counter: 1_000, parts: 2_500_000, count: 7, price: 3_950 }
}

const NOTHING: Booked = Booked { credited: Fen(0), credits: 0, unknown: 0 };

fn mark(meter: &Meter) -> MeterMark {
    MeterMark::new("s-1-w", &meter.sight(), &NOTHING).unwrap()
}

#[test]
fn somebody_used_a_card() {
    let mut meter = meter();
    let mark = mark(&meter);
    meter.credit(2_000);
    let difference = mark.compare(&meter.sight(), &NOTHING).unwrap_err();
    let told = "22.50 in the meter, 2.50 expected (credited 0.00, counted 0); purchase 8, 7 expected";
    assert_eq!(difference.to_string(), told);
}

#[test]
fn one_minor_unit_was_taken_out_of_the_meter() {
    let mut meter = meter();
    let mark = mark(&meter);
    meter.parts -= PRICE_PARTS;
    assert!(mark.compare(&meter.sight(), &NOTHING).is_err());
}

#[test]
fn what_was_booked_is_not_in_the_meter() {
    let mut meter = meter();
    let mark = mark(&meter);
    let booked = Booked { credited: Fen(5_000), credits: 1, unknown: 0 };
    let missing = mark.compare(&meter.sight(), &booked).unwrap_err();
    assert_eq!((missing.expected.least, missing.balance, missing.expected_count), (5_250, 250, 8));
    meter.credit(5_000);
    assert_eq!(mark.compare(&meter.sight(), &booked), Ok(()));
    meter.credit(5_000);
    assert!(mark.compare(&meter.sight(), &booked).is_err(), "credited twice");
}

#[test]
fn the_counter_was_set_back_or_the_meter_is_another_one() {
    let mut meter = meter();
    let mark = mark(&meter);
    meter.count(100);
    meter.counter -= 50;
    assert!(mark.compare(&meter.sight(), &NOTHING).is_err());
    meter.counter = 0;
    assert!(mark.compare(&meter.sight(), &NOTHING).is_err());
}

#[test]
fn it_counts_and_does_not_charge() {
    let mut meter = meter();
    let mark = mark(&meter);
    meter.counter += 100;
    assert!(mark.compare(&meter.sight(), &NOTHING).is_err());
}

#[test]
fn no_mark_is_made_while_a_credit_is_under_way_or_the_price_is_being_changed() {
    let sight = meter().sight();
    assert_eq!(MeterMark::new("s", &sight, &Booked { unknown: 1, ..NOTHING }), None);
    assert_eq!(MeterMark::new("s", &Sight { price: Span::of(1, 2), ..sight }, &NOTHING), None);
}

fn register(utility: Utility, unit: &str, ratio: u32) -> Register {
    let ratio = Ratio::External(NonZeroU32::new(ratio).unwrap());
    let spec = RegisterSpec {
        utility,
        scale: Decimal::new(1, 0),
        form: NumberForm::Integer,
        unit: unit.to_owned(),
        digits: None,
        ratio,
        max_per_hour: Quantity(1_000_000_000),
    };
    Register::new(spec).unwrap()
}

#[test]
fn the_price_in_the_meter_is_the_tariffs_or_it_is_told() {
    // 3.95 yuan a cubic metre, a litre a pulse; 0.5683 yuan a kWh, 10 Wh a pulse.
    let water = register(Utility::Water, "L", 1);
    assert_eq!(check_price(3_950, &water, Rates::Flat(Price(39_500))), Ok(()));
    let power = register(Utility::Electricity, "W.h", 10);
    assert_eq!(check_price(5_683, &power, Rates::Flat(Price(5_683))), Ok(()));
    let drift = check_price(3_900, &water, Rates::Flat(Price(39_500))).unwrap_err();
    assert_eq!(drift.to_string(), "0.3900 in the meter, 0.3950 by the tariff, minor units a count");
    assert!(check_price(0, &water, Rates::Flat(Price(39_500))).is_err(), "never set");
    // What the meter cannot hold exactly is right on either side of it, and wrong one step further.
    for (price, is_right) in [(3_949, false), (3_950, true), (3_951, true), (3_952, false)] {
        assert_eq!(check_price(price, &water, Rates::Flat(Price(39_505))).is_ok(), is_right, "{price}");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Use(i64),
    Credit(i64),
    Price(i64),
    /// A look whose two reads of the counter have so many counts between them.
    Look(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..5_000i64).prop_map(Event::Use),
        2 => (1..50_000i64).prop_map(Event::Credit),
        1 => (0..20_000i64).prop_map(Event::Price),
        3 => (0..20i64).prop_map(Event::Look),
    ]
}

proptest! {
    #[test]
    fn an_honest_meter_is_never_accused_and_a_thief_always(events in prop::collection::vec(event(), 1..40), stolen in 2..1_000i64) {
        let mut meter = meter();
        let mut mark = mark(&meter);
        let mut booked = NOTHING;
        for event in events {
            match event {
                Event::Use(pulses) => meter.count(pulses),
                Event::Credit(fen) => {
                    meter.credit(fen);
                    booked = Booked { credited: Fen(booked.credited.0 + fen), credits: booked.credits + 1, unknown: 0 };
                }
                // The gateway sees the new price before it is used, and compares.
                Event::Price(price) => {
                    meter.price = price;
                    prop_assert_eq!(mark.compare(&meter.sight(), &booked), Ok(()));
                    mark = MeterMark::new("s-1-w", &meter.sight(), &booked).unwrap();
                }
                Event::Look(between) => {
                    let before = meter.counter;
                    meter.count(between / 2);
                    let seen = meter.sight();
                    meter.count(between - between / 2);
                    let sight = Sight { counter: Span::of(before, meter.counter), ..seen };
                    prop_assert_eq!(mark.compare(&sight, &booked), Ok(()));
                }
            }
        }
        prop_assert_eq!(mark.compare(&meter.sight(), &booked), Ok(()));
        meter.parts += stolen * PRICE_PARTS;
        prop_assert!(mark.compare(&meter.sight(), &booked).is_err());
    }
}

/// A difference of a card that nobody knows of.
fn difference() -> Difference {
    let mut meter = meter();
    let mark = mark(&meter);
    meter.credit(2_000);
    mark.compare(&meter.sight(), &NOTHING).unwrap_err()
}

#[test]
fn a_difference_that_is_seen_once_tells_nobody_and_is_looked_at_again_soon() {
    let mut looks = Looks::default();
    assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Doubt, LOOK_AGAIN));
    assert_eq!(looks.take(Some(Ok(()))), (Upshot::Agree, LOOK_PERIOD), "a poll came between");
    assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Doubt, LOOK_AGAIN), "agreeing began the count anew");
}

#[test]
fn a_difference_that_is_seen_twice_is_told_and_stays_told_until_one_look_agrees() {
    let mut looks = Looks::default();
    let _ = looks.take(Some(Err(difference())));
    for _ in 0..3 {
        assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Differ(difference()), LOOK_PERIOD));
    }
    assert_eq!(looks.take(Some(Ok(()))), (Upshot::Agree, LOOK_PERIOD));
    assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Doubt, LOOK_AGAIN));
}

#[test]
fn a_look_that_comes_to_nothing_neither_clears_nor_counts() {
    let mut looks = Looks::default();
    assert_eq!(looks.take(None), (Upshot::Nothing, LOOK_AGAIN));
    let _ = looks.take(Some(Err(difference())));
    for _ in 0..5 {
        assert_eq!(looks.take(None), (Upshot::Nothing, LOOK_AGAIN), "nobody is told of what was seen once");
    }
    assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Differ(difference()), LOOK_PERIOD));
    assert_eq!(looks.take(None), (Upshot::Nothing, LOOK_AGAIN), "what was told is not taken back");
    assert_eq!(looks.take(Some(Err(difference()))), (Upshot::Differ(difference()), LOOK_PERIOD));
}

proptest! {
    #[test]
    fn people_are_told_of_exactly_the_differences_that_the_look_before_has_shown_as_well(
        looks in prop::collection::vec(prop_oneof![Just(None), Just(Some(true)), Just(Some(false))], 0..40),
    ) {
        let mut watch = Looks::default();
        // Looks that came to nothing leave no trace.
        let mut before = true;
        for agrees in looks {
            let (upshot, pause) = watch.take(agrees.map(|agrees| if agrees { Ok(()) } else { Err(difference()) }));
            let told = agrees == Some(false) && !before;
            prop_assert_eq!(matches!(upshot, Upshot::Differ(_)), told);
            prop_assert_eq!(matches!(upshot, Upshot::Agree), agrees == Some(true));
            prop_assert_eq!(pause == LOOK_PERIOD, told || agrees == Some(true));
            before = agrees.unwrap_or(before);
        }
    }
}
