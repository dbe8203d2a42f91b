//! A tariff as it stands in its file, and what is refused.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Cap, Rates, TariffPlan, TariffVersion};
use crate::text::Bilingual;
use crate::time::Timestamp;
use crate::units::{Price, Utility};

/// The most versions one plan may have: two hundred years of yearly changes, or a file gone wrong.
pub const VERSIONS_MAX: usize = 200;

/// The highest price believed: 100 yuan per kWh or m³. Above it somebody forgot a decimal point.
pub const PRICE_MAX: Price = Price(1_000_000);

/// The highest tax believed, in percent.
pub const TAX_PERCENT_MAX: u8 = 30;

/// One file of `config/tariffs/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTariffPlan {
    /// The id that service points name: lower-case letters, digits and hyphens.
    pub id: String,
    /// What people call it.
    pub name: Bilingual,
    /// What it prices.
    pub utility: Utility,
    /// The price lists, oldest first. One that has been in force is never changed: add another.
    #[serde(default, rename = "version")]
    pub versions: Vec<RawTariffVersion>,
}

/// One price list of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTariffVersion {
    /// The civil date from whose midnight, at the site, it is in force: `2026-01-01`.
    pub effective_from: String,
    /// Yuan per kWh or m³, tax included, at most four decimals, as text: `"0.5683"`.
    pub price: String,
    /// The highest lawful price, in the same form.
    pub cap: Option<String>,
    /// The document that sets the cap; required with one.
    pub cap_source: Option<String>,
    /// The value-added tax contained in the price, in percent.
    pub tax_percent: u8,
}

/// Why a tariff is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// The id is empty or has other characters.
    #[error("tariff id \"{0}\" must be 1 to 64 lower-case letters, digits and hyphens")]
    Id(String),
    /// There is no price at all.
    #[error("tariff {0} has no version, so nothing could be priced; add a [[version]]")]
    Empty(String),
    /// There are too many.
    #[error("tariff {plan} has {count} versions, more than {VERSIONS_MAX}")]
    TooMany {
        /// The plan.
        plan: String,
        /// How many.
        count: usize,
    },
    /// A date cannot be read.
    #[error("tariff {plan}: \"{text}\" is not a date; write effective_from as 2026-01-01")]
    Date {
        /// The plan.
        plan: String,
        /// As in the file.
        text: String,
    },
    /// Two versions begin on the same day, so both would be in force.
    #[error("tariff {plan} has two versions from {date}; which one is in force could not be told")]
    Overlap {
        /// The plan.
        plan: String,
        /// The date.
        date: String,
    },
    /// The versions are not in order, which usually means a mistyped year.
    #[error("tariff {plan}: version {date} stands after a later one; list the versions oldest first")]
    Order {
        /// The plan.
        plan: String,
        /// The date.
        date: String,
    },
    /// A price cannot be read, is zero, or is beyond belief.
    #[error("tariff {plan} from {date}: \"{text}\" is not a price; write yuan as text between 0.0001 and 100.0000")]
    Price {
        /// The plan.
        plan: String,
        /// The version.
        date: String,
        /// As in the file.
        text: String,
    },
    /// The price is higher than allowed.
    #[error("tariff {plan} from {date}: the price {price} is above the cap {cap}; it is not lawful to ask it")]
    AboveCap {
        /// The plan.
        plan: String,
        /// The version.
        date: String,
        /// The price.
        price: Price,
        /// The cap.
        cap: Price,
    },
    /// A cap without the document behind it, or the other way round.
    #[error("tariff {plan} from {date}: cap and cap_source belong together; name the document that sets the cap")]
    CapSource {
        /// The plan.
        plan: String,
        /// The version.
        date: String,
    },
    /// The tax is beyond belief.
    #[error("tariff {plan} from {date}: a tax of {percent} % cannot be; the most is {TAX_PERCENT_MAX} %")]
    Tax {
        /// The plan.
        plan: String,
        /// The version.
        date: String,
        /// As in the file.
        percent: u8,
    },
    /// Nothing is in force at a time that must be priced.
    #[error("tariff {plan} has no version in force at {at}; add the price list that was in force then")]
    NotInForce {
        /// The plan.
        plan: String,
        /// When.
        at: Timestamp,
    },
}

impl TariffPlan {
    /// Checks a plan. Its dates are days of `zone`.
    ///
    /// # Errors
    /// Every fault found, not only the first.
    pub fn new(raw: RawTariffPlan, zone: &TimeZone) -> Result<Self, Vec<TariffError>> {
        let mut errors = Vec::new();
        let plan = raw.id;
        if !is_id(&plan) {
            errors.push(TariffError::Id(plan.clone()));
        }
        if raw.versions.is_empty() {
            errors.push(TariffError::Empty(plan.clone()));
        }
        if raw.versions.len() > VERSIONS_MAX {
            return Err(vec![TariffError::TooMany { plan, count: raw.versions.len() }]);
        }
        let mut versions: Vec<TariffVersion> = Vec::with_capacity(raw.versions.len());
        for raw in raw.versions {
            let Some(version) = check_version(&plan, raw, zone, &mut errors) else { continue };
            if let Some(before) = versions.last() {
                let (plan, date) = (plan.clone(), version.label.clone());
                if version.effective_from == before.effective_from {
                    errors.push(TariffError::Overlap { plan, date });
                } else if version.effective_from < before.effective_from {
                    errors.push(TariffError::Order { plan, date });
                }
            }
            versions.push(version);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { id: Arc::from(plan), name: raw.name, utility: raw.utility, versions })
    }

    /// Whether a price is in force at `at`: asked when the site starts, so that a gap is not found by a meter.
    ///
    /// # Errors
    /// [`TariffError::NotInForce`].
    pub fn covers(&self, at: Timestamp) -> Result<(), TariffError> {
        match self.version_at(at) {
            Some(_) => Ok(()),
            None => Err(TariffError::NotInForce { plan: self.id.to_string(), at }),
        }
    }
}

/// Checks one version by itself. `None` if so much is wrong that it has no place among the others.
fn check_version(
    plan: &str,
    raw: RawTariffVersion,
    zone: &TimeZone,
    errors: &mut Vec<TariffError>,
) -> Option<TariffVersion> {
    let (plan, date) = (plan.to_owned(), raw.effective_from);
    let Some((label, effective_from)) = midnight(&date, zone) else {
        errors.push(TariffError::Date { plan, text: date });
        return None;
    };
    let price = read_price(&raw.price);
    if price.is_none() {
        errors.push(TariffError::Price { plan: plan.clone(), date: date.clone(), text: raw.price });
    }
    let cap = match (raw.cap, raw.cap_source.map(|source| source.trim().to_owned()).filter(|s| !s.is_empty())) {
        (None, None) => None,
        (Some(text), Some(source)) => match read_price(&text) {
            Some(price) => Some(Cap { price, source }),
            None => {
                errors.push(TariffError::Price { plan: plan.clone(), date: date.clone(), text });
                None
            }
        },
        _ => {
            errors.push(TariffError::CapSource { plan: plan.clone(), date: date.clone() });
            None
        }
    };
    if let (Some(price), Some(Cap { price: cap, .. })) = (price, &cap)
        && price > *cap
    {
        errors.push(TariffError::AboveCap { plan: plan.clone(), date: date.clone(), price, cap: *cap });
    }
    if raw.tax_percent > TAX_PERCENT_MAX {
        errors.push(TariffError::Tax { plan, date, percent: raw.tax_percent });
    }
    // Without a price the version still has its place, so that its date is compared with the others'.
    let rates = Rates::Flat(price.unwrap_or_default());
    Some(TariffVersion { label, effective_from, rates, cap, tax_percent: raw.tax_percent })
}

/// Lower-case letters, digits and hyphens.
fn is_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// The first moment of a civil date at the site. Only the plain form `2026-01-01` is a date here.
fn midnight(text: &str, zone: &TimeZone) -> Option<(String, Timestamp)> {
    let date: Date = text.parse().ok()?;
    if date.to_string() != text {
        return None;
    }
    let zoned = date.to_zoned_datetime(zone.clone()).ok()?;
    Some((text.to_owned(), Timestamp::from_millis(zoned.timestamp().as_millisecond())))
}

/// Reads a price: digits, optionally a point and one to four decimals; above zero, at most [`PRICE_MAX`].
fn read_price(text: &str) -> Option<Price> {
    let (whole, decimals) = text.split_once('.').map_or((text, "0"), |(whole, decimals)| (whole, decimals));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 4) || !digits(decimals, 4) {
        return None;
    }
    let scale = 10i64.pow(4 - decimals.len() as u32);
    let price = Price(whole.parse::<i64>().ok()? * 10_000 + decimals.parse::<i64>().ok()? * scale);
    (price.0 > 0 && price <= PRICE_MAX).then_some(price)
}
