//! From consumption to money.
//!
//! A [`TariffPlan`] is a row of immutable, effective-dated versions; the one in force at the start of an interval
//! prices it. Plans are checked once, when they are read: a version that is missing, doubled, above its legal cap or
//! without a price is refused by name, and there is no default price anywhere.
//!
//! ```text
//!            baseline            tariff change             reading
//!  time ────────┼──────────────────────┼──────────────────────┼────►
//!  register     │◄──── counts x t/T ──►│◄────── the rest ────►│        split by time, marked estimated
//!  exact        Σ                      Σ + q₁·p₁              Σ + q₁·p₁ + q₂·p₂
//!  posted       round(Σ)               round(Σ + q₁·p₁)       round(Σ + q₁·p₁ + q₂·p₂)
//! ```
//!
//! * **Telescoping**: what an interval posts is the rounded cumulative charge after it minus the one before it, never
//!   a rounded price of its own. However many intervals there are, they sum to the rounded exact total.
//! * The exact total runs through all versions of a wallet's life; a change of price does not start a new rounding.
//! * Prices include tax. The percentage is carried for receipts and reports, see [`split_tax`].
//! * Only a flat rate exists so far. [`Rates`] is where tiers (by quantity) and times of use (by time, then tier) go;
//!   [`rate`] already works on parts of an interval, so neither changes its form.
//! * A power cut costs nothing: rating is a function of the stored baseline, and is simply done again.

use std::sync::Arc;

use crate::text::Bilingual;
use crate::time::Timestamp;
use crate::units::{ExactCharge, Price, Quantity, Utility};

mod rating;
mod raw;
mod share;
#[cfg(test)]
mod tests;

pub use rating::{Metered, RateError, rate};
pub use raw::{PRICE_MAX, RawTariffPlan, RawTariffVersion, TAX_PERCENT_MAX, TariffError, VERSIONS_MAX};
pub use share::{apportion, split_tax};

/// What one utility costs, now and as far as it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffPlan {
    id: Arc<str>,
    name: Bilingual,
    utility: Utility,
    /// Ascending by `effective_from`, no two the same, never empty.
    versions: Vec<TariffVersion>,
}

/// One price list, from its date until the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffVersion {
    /// Its civil date, such as `2026-01-01`; `plan@label` stands in every interval it priced.
    pub label: String,
    /// Midnight of that date at the site.
    pub effective_from: Timestamp,
    /// What it costs.
    pub rates: Rates,
    /// The highest price the law allows, and the document that says so.
    pub cap: Option<Cap>,
    /// The value-added tax contained in the price, in percent.
    pub tax_percent: u8,
}

/// How a quantity is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// Every unit costs the same.
    Flat(Price),
}

impl Rates {
    /// The exact price of a quantity.
    pub fn charge(self, quantity: Quantity) -> ExactCharge {
        match self {
            Rates::Flat(price) => ExactCharge::of(quantity, price),
        }
    }

    /// The highest price a unit can have.
    pub fn highest(self) -> Price {
        match self {
            Rates::Flat(price) => price,
        }
    }
}

/// The highest price that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Per kWh or m³, tax included.
    pub price: Price,
    /// Which document of which authority sets it.
    pub source: String,
}

impl TariffPlan {
    /// The id that service points name.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What people call it.
    pub fn name(&self) -> &Bilingual {
        &self.name
    }

    /// What it prices.
    pub fn utility(&self) -> Utility {
        self.utility
    }

    /// Its versions, oldest first; never empty.
    pub fn versions(&self) -> &[TariffVersion] {
        &self.versions
    }

    /// The version in force at `at`. `None` before the first.
    pub fn version_at(&self, at: Timestamp) -> Option<&TariffVersion> {
        let later = self.versions.partition_point(|version| version.effective_from <= at);
        later.checked_sub(1).and_then(|index| self.versions.get(index))
    }

    /// When the prices change strictly between `from` and `to`.
    fn changes_between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.versions.iter().map(|version| version.effective_from).filter(move |at| *at > from && *at < to)
    }
}
