//! What is taken from the polls: only what was read well, and exactly.

use guanjia_core::reading::{BadReason, Decimal, Reading};

use super::*;
use crate::prepaid::duty::tests::site_with_node;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_795_478_400_000 + second * 1_000)
}

#[test]
fn register_and_price_are_taken_as_they_were_read_or_not_at_all() {
    let site = site_with_node();
    let point = site.service_points.iter().find(|point| point.wallet.is_some()).unwrap();
    let price = site.find_point("node-1", "price_1").unwrap();
    let latest = LatestTable::new(&site, at(0));
    assert_eq!((counts(&latest, point, None), price_of(&latest, price)), (None, None), "never read");
    let good = |ix, value| Reading::good(ix, Value::Decimal(value), at(5));
    latest.report(
        point.device,
        &[good(point.register_point, Decimal::new(12_345, 0)), good(price, Decimal::new(3_950, -4))],
    );
    assert_eq!((counts(&latest, point, None), price_of(&latest, price)), (Some(12_345), Some(3_950)));
    assert_eq!(counts(&latest, point, Some(at(4))), Some(12_345));
    assert_eq!(counts(&latest, point, Some(at(5))), None, "a reading of before the look");
    let bad = |ix| Reading::bad(ix, BadReason::NoAnswer, at(6));
    latest.report(point.device, &[bad(point.register_point), bad(price)]);
    assert_eq!(
        (counts(&latest, point, None), price_of(&latest, price)),
        (None, None),
        "what is not known is not compared"
    );
}

#[test]
fn whether_a_meter_cuts_is_known_only_when_it_was_read_well() {
    let site = site_with_node();
    let point = site.service_points.iter().find(|point| point.wallet.is_some()).unwrap();
    let account = point.meter_cuts.unwrap();
    assert_eq!(site.find_point("node-1", "prepaid_1"), Some(account));
    let latest = LatestTable::new(&site, at(0));
    assert_eq!(cuts(&latest, account), None, "never read");
    for (raw, wanted) in [(0, Some(false)), (1, Some(true)), (7, None)] {
        let reading = Reading::good(account, Value::Decimal(Decimal::new(raw, 0)), at(5));
        latest.report(point.device, &[reading]);
        assert_eq!(cuts(&latest, account), wanted);
    }
    latest.report(point.device, &[Reading::good(account, Value::Decimal(Decimal::new(1, 0)), at(6))]);
    latest.report(point.device, &[Reading::bad(account, BadReason::NoAnswer, at(7))]);
    assert_eq!(cuts(&latest, account), None, "a line that is dead says nothing of the meter");
}

#[test]
fn a_price_that_is_not_the_tariffs_is_told_with_both_numbers() {
    let site = site_with_node();
    let point = site.service_points.iter().find(|point| point.wallet.is_some()).unwrap();
    let version = point.tariff.version_at(at(0)).unwrap();
    let guanjia_core::tariff::Rates::Flat(price) = version.rates;
    // A litre a count: a tenth of the price of a cubic metre in ten-thousandths of a yuan, in ten-thousandths of a fen.
    let right = price.0 / 10;
    assert_eq!(drift(point, right, at(0)), None);
    let told = drift(point, right + 100, at(0)).unwrap();
    assert!(told.en.contains("in the meter") && told.zh.starts_with("表内"), "{told:?}");
    assert!(drift(point, 0, at(0)).is_some(), "it was never set");
}
