use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::ledger::{Baseline, UsageQuality};
use crate::reading::Decimal;
use crate::units::{Fen, Hao};
use crate::usage::{Forward, NumberForm, Ratio, Register, RegisterSpec, Resolution};

fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn raw(versions: &[(&str, &str)]) -> RawTariffPlan {
    let version = |(from, price): &(&str, &str)| RawTariffVersion {
        effective_from: (*from).into(),
        price: (*price).into(),
        cap: None,
        cap_source: None,
        tax_percent: 13,
    };
    RawTariffPlan {
        id: "shops".into(),
        name: Bilingual::new("商铺", "Shops"),
        utility: Utility::Electricity,
        versions: versions.iter().map(version).collect(),
    }
}

fn plan(versions: &[(&str, &str)]) -> TariffPlan {
    TariffPlan::new(raw(versions), &zone()).unwrap()
}

/// One Wh a count, so that counts read as Wh.
fn register() -> Register {
    Register::new(RegisterSpec {
        utility: Utility::Electricity,
        unit: "W.h".into(),
        scale: Decimal::new(1, 0),
        form: NumberForm::Integer,
        digits: Some(9),
        ratio: Ratio::InMeter,
        max_per_hour: Quantity(1_000_000),
    })
    .unwrap()
}

fn used(register: &Register, from: &Baseline, counts: u64, at: Timestamp) -> Forward {
    Forward {
        raw: register.advance(from.raw, counts),
        at,
        counts,
        quantity: register.quantity(counts).unwrap(),
        quality: UsageQuality::Measured,
        resolution: Resolution::Fine,
    }
}

fn metered(register: &Register) -> Metered<'_> {
    Metered { service_point: "s-101", device: "m-101", register }
}

#[test]
fn rt_01_however_many_intervals_the_total_is_exact() {
    let (register, plan) = (register(), plan(&[("2026-01-01", "0.5683")]));
    let mut baseline = Baseline::opening(999_990_000, time("2026-03-01T00:00:00Z"));
    let mut charges = Vec::new();
    for _ in 0..2_880 {
        let step = used(&register, &baseline, 70, baseline.at + std::time::Duration::from_secs(900));
        let intervals = rate(metered(&register), &baseline, &step, &plan).unwrap();
        assert_eq!(intervals.len(), 1);
        charges.push(intervals[0].charge().0);
        baseline = intervals[0].to.clone();
    }
    assert_eq!(charges[..10], [398, 398, 397, 398, 398, 398, 398, 397, 398, 398]);
    assert_eq!(charges.iter().sum::<i64>(), 1_145_693);
    assert_eq!((baseline.exact, baseline.posted), (ExactCharge(1_145_692_800), Hao(1_145_693)));
    assert_eq!(baseline.raw, 191_600, "the register rolled over on the way");
}

#[test]
fn a_price_change_inside_a_gap_splits_it_at_midnight() {
    let (register, plan) = (register(), plan(&[("2026-01-01", "0.5000"), ("2026-07-01", "0.8000")]));
    // Nothing was read for three hours around 1 July 00:00 in Shanghai.
    let baseline = Baseline::opening(0, time("2026-06-30T15:00:00Z"));
    let step = used(&register, &baseline, 3_001, time("2026-06-30T18:00:00Z"));
    let intervals = rate(metered(&register), &baseline, &step, &plan).unwrap();
    let seen: Vec<_> = intervals.iter().map(|i| (&*i.tariff, i.quantity.0, i.charge().0, i.quality)).collect();
    assert_eq!(
        seen,
        [
            ("shops@2026-01-01", 1_000, 5_000, UsageQuality::Estimated),
            ("shops@2026-07-01", 2_001, 16_008, UsageQuality::Estimated),
        ]
    );
    assert_eq!(intervals[0].to.at, time("2026-06-30T16:00:00Z"));
    assert_eq!(intervals[0].to, intervals[1].from);
    assert_eq!((intervals[1].to.raw, intervals[1].to.at), (step.raw, step.at));
}

#[test]
fn an_interval_that_ends_at_the_change_is_not_split() {
    let (register, plan) = (register(), plan(&[("2026-01-01", "0.5000"), ("2026-07-01", "0.8000")]));
    let midnight = time("2026-06-30T16:00:00Z");
    let before = Baseline::opening(0, time("2026-06-30T15:00:00Z"));
    let up_to = rate(metered(&register), &before, &used(&register, &before, 100, midnight), &plan).unwrap();
    assert_eq!((up_to.len(), &*up_to[0].tariff, up_to[0].quality), (1, "shops@2026-01-01", UsageQuality::Measured));
    let step = used(&register, &up_to[0].to, 100, time("2026-06-30T17:00:00Z"));
    let after = rate(metered(&register), &up_to[0].to, &step, &plan).unwrap();
    assert_eq!((after.len(), &*after[0].tariff, after[0].charge()), (1, "shops@2026-07-01", Hao(800)));
}

#[test]
fn what_has_no_price_is_not_billed_at_a_default() {
    let (register, plan) = (register(), plan(&[("2026-01-01", "0.5000")]));
    let early = Baseline::opening(0, time("2025-12-31T15:00:00Z"));
    let step = used(&register, &early, 100, time("2026-01-01T00:00:00Z"));
    let refused = rate(metered(&register), &early, &step, &plan);
    assert_eq!(refused, Err(RateError::NotInForce { plan: "shops".into(), at: early.at }));
    let at = early.at;
    assert_eq!(plan.covers(at), Err(TariffError::NotInForce { plan: "shops".into(), at }));
    assert_eq!(plan.covers(step.at), Ok(()));
}

#[test]
fn a_step_that_does_not_follow_the_baseline_is_refused() {
    let (register, plan) = (register(), plan(&[("2026-01-01", "0.5000")]));
    let baseline = Baseline::opening(100, time("2026-02-01T00:00:00Z"));
    let step = used(&register, &baseline, 10, time("2026-02-01T01:00:00Z"));
    let moved = Baseline { raw: 105, ..baseline.clone() };
    assert_eq!(rate(metered(&register), &moved, &step, &plan), Err(RateError::NotFromBaseline));
    let late = Baseline { at: step.at, ..baseline };
    assert_eq!(rate(metered(&register), &late, &step, &plan), Err(RateError::NotFromBaseline));
}

#[test]
fn a_water_tariff_does_not_price_electricity() {
    let mut water = raw(&[("2026-01-01", "5.0000")]);
    water.utility = Utility::Water;
    let (register, plan) = (register(), TariffPlan::new(water, &zone()).unwrap());
    let baseline = Baseline::opening(0, time("2026-02-01T00:00:00Z"));
    let step = used(&register, &baseline, 10, time("2026-02-01T01:00:00Z"));
    let refused = rate(metered(&register), &baseline, &step, &plan);
    assert!(matches!(refused, Err(RateError::WrongUtility { .. })), "{refused:?}");
}

#[test]
fn a_plan_with_a_hole_a_double_or_a_wrong_order_is_refused() {
    let refused = |versions: &[(&str, &str)]| TariffPlan::new(raw(versions), &zone()).unwrap_err();
    let (plan, date) = (|| "shops".to_owned(), |d: &str| d.to_owned());
    assert_eq!(refused(&[]), [TariffError::Empty(plan())]);
    let twice = [("2026-01-01", "0.5"), ("2026-01-01", "0.6")];
    assert_eq!(refused(&twice), [TariffError::Overlap { plan: plan(), date: date("2026-01-01") }]);
    let back = [("2026-07-01", "0.5"), ("2026-01-01", "0.6")];
    assert_eq!(refused(&back), [TariffError::Order { plan: plan(), date: date("2026-01-01") }]);
    for text in ["2026-13-01", "2026-1-1", "tomorrow", "", "2026-01-01T00:00:00"] {
        assert_eq!(refused(&[(text, "0.5")]), [TariffError::Date { plan: plan(), text: date(text) }], "{text}");
    }
    let many = vec![("2026-01-01", "0.5"); VERSIONS_MAX + 1];
    assert_eq!(refused(&many), [TariffError::TooMany { plan: plan(), count: VERSIONS_MAX + 1 }]);
    for id in ["", "Shops", "shops@1", "a b"] {
        let named = RawTariffPlan { id: id.into(), ..raw(&[("2026-01-01", "0.5")]) };
        assert_eq!(TariffPlan::new(named, &zone()), Err(vec![TariffError::Id(id.into())]));
    }
}

#[test]
fn a_price_that_is_odd_free_or_absurd_is_refused() {
    for text in ["", "0", "0.0000", "-1", "+1", "1,5", "0.56831", ".5", "5.", "1e1", "100.0001", "99999", " 1"] {
        let refused = TariffPlan::new(raw(&[("2026-01-01", text)]), &zone()).unwrap_err();
        assert!(matches!(&refused[..], [TariffError::Price { text: t, .. }] if t == text), "{text:?}: {refused:?}");
    }
    for (text, price) in [("0.5683", 5_683), ("0.5", 5_000), ("1", 10_000), ("100.0000", 1_000_000), ("0.05", 500)] {
        assert_eq!(plan(&[("2026-01-01", text)]).versions()[0].rates, Rates::Flat(Price(price)), "{text}");
    }
}

#[test]
fn a_price_above_the_lawful_cap_is_refused() {
    let capped = |price: &str, cap: Option<&str>, source: Option<&str>| {
        let mut raw = raw(&[("2026-01-01", price)]);
        raw.versions[0].cap = cap.map(Into::into);
        raw.versions[0].cap_source = source.map(Into::into);
        TariffPlan::new(raw, &zone())
    };
    assert!(capped("0.8500", Some("0.8500"), Some("notice 1")).is_ok());
    let above = capped("0.8501", Some("0.8500"), Some("notice 1")).unwrap_err();
    let (plan, date) = ("shops".to_owned(), "2026-01-01".to_owned());
    assert_eq!(above, [TariffError::AboveCap { plan, date, price: Price(8_501), cap: Price(8_500) }]);
    for (cap, source) in [(Some("0.85"), None), (None, Some("notice 1")), (Some("0.85"), Some("  "))] {
        let refused = capped("0.5", cap, source).unwrap_err();
        assert!(matches!(refused[..], [TariffError::CapSource { .. }]), "{refused:?}");
    }
    // A decimal point in the wrong place is stopped by the cap.
    assert!(capped("8.5000", Some("0.8500"), Some("notice 1")).is_err());
}

#[test]
fn the_tariffs_in_the_library_are_accepted() {
    for text in [
        include_str!("../../../../config/tariffs/shop-electricity.toml"),
        include_str!("../../../../config/tariffs/shop-water.toml"),
    ] {
        let raw: RawTariffPlan = toml::from_str(text).unwrap();
        let plan = TariffPlan::new(raw, &zone()).unwrap();
        assert!(plan.versions().iter().all(|version| version.cap.is_some()));
    }
    let unknown = "id = \"a\"\nname = { zh = \"a\", en = \"a\" }\nutility = \"water\"\nprize = 1\n";
    assert!(toml::from_str::<RawTariffPlan>(unknown).is_err(), "an unknown key is not ignored");
}

#[test]
fn tax_vectors_rt_40_to_43() {
    for (gross, percent, net, tax) in
        [(10_000, 13, 8_850, 1_150), (1, 13, 1, 0), (99_999, 9, 91_742, 8_257), (12_345, 3, 11_985, 360)]
    {
        assert_eq!(split_tax(Fen(gross), percent), (Fen(net), Fen(tax)));
        assert_eq!(split_tax(Fen(-gross), percent), (Fen(-net), Fen(-tax)));
    }
}

#[test]
fn share_vectors_rt_30_and_33() {
    let shares = |total, weights: &[u64]| apportion(Fen(total), weights).unwrap();
    assert_eq!(shares(65_037, &[12_050, 8_800, 4_125]), [Fen(31_379), Fen(22_916), Fen(10_742)]);
    assert_eq!(shares(99_999, &[0, 7, 3]), [Fen(0), Fen(69_999), Fen(30_000)]);
    assert_eq!(shares(10, &[1, 1, 1]), [Fen(4), Fen(3), Fen(3)]);
    assert_eq!(apportion(Fen(10), &[0, 0]), None);
    assert_eq!(apportion(Fen(10), &[]), None);
}

proptest! {
    #[test]
    fn shares_always_sum_to_the_total(total in any::<i64>().prop_filter("has an opposite", |t| *t != i64::MIN),
                                      weights in prop::collection::vec(any::<u64>(), 1..20)) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let shares = apportion(Fen(total), &weights).unwrap();
        prop_assert_eq!(shares.iter().map(|s| i128::from(s.0)).sum::<i128>(), i128::from(total));
    }

    #[test]
    fn charges_sum_to_the_rounded_exact_total_and_tile_the_register(
        steps in prop::collection::vec((1u64..5_000_000, 1u64..60 * 86_400), 1..60),
        prices in prop::collection::vec(1i64..20_000, 4),
    ) {
        let register = register();
        let months = ["2026-01-01", "2026-03-01", "2026-03-02", "2026-09-01"];
        let texts: Vec<String> = prices.iter().map(|p| Price(*p).to_string()).collect();
        let versions: Vec<_> = months.iter().copied().zip(texts.iter().map(String::as_str)).collect();
        let plan = plan(&versions);
        let start = Baseline::opening(999_000_000, time("2026-01-01T00:00:00Z"));
        let (mut last, mut charged, mut exact, mut base) = (start.clone(), 0i64, 0i128, 0i64);
        for (counts, seconds) in steps {
            let step = used(&register, &last, counts, last.at + std::time::Duration::from_secs(seconds));
            let intervals = rate(metered(&register), &last, &step, &plan).unwrap();
            let quantity: i64 = intervals.iter().map(|i| i.quantity.0).sum();
            prop_assert_eq!(quantity, step.quantity.0);
            for interval in intervals {
                prop_assert_eq!(&interval.from, &last);
                prop_assert!(interval.to.at > last.at && interval.quantity.0 >= 0);
                let Rates::Flat(price) = plan.version_at(interval.from.at).unwrap().rates;
                exact += i128::from(interval.quantity.0) * i128::from(price.0);
                charged += interval.charge().0;
                base += interval.quantity.0;
                last = interval.to;
            }
            prop_assert_eq!((last.raw, last.at), (step.raw, step.at));
            prop_assert_eq!(Some(Hao(charged)), ExactCharge(exact).round(Utility::Electricity));
        }
        prop_assert_eq!(last.raw, register.advance(start.raw, base as u64));
    }
}
