//! What a meter that keeps the credit says of itself, against what the ledger says was put there (prepaid mode M2).
//!
//! ```text
//!   mark: balance, counter, purchase count, price, and what was credited until then
//!     │
//!     └─ balance then + credited since − counts since × price = balance now        to the minor unit, or people are told
//! ```
//!
//! * The meter's balance is never booked: it is looked at, and a difference is told with its numbers. Somebody who topped the
//!   meter up by a card, a counter that was set back, a price that was changed, another meter: each shows here.
//! * The counter is read just before and just after the balance, so what was used lies between two numbers. While nothing is
//!   used they are the same and the comparison is exact; a meter shows whole minor units, which leaves less than one.
//! * The mark stays for as long as the price does, so small errors do not hide in many comparisons. Where the price changed in
//!   between, each count cost one of the two.
//! * A difference stays a difference until a person has explained it; then a new mark begins.
//! * People are told of one that [`LOOKS_NEEDED`] looks in a row have shown ([`Looks`]); one look that agrees ends it, and one
//!   that came to nothing says nothing either way.
//! * The price in the meter is held against the tariff in force, as finely as the meter can hold a price: a drift is told
//!   before a tenant's balance shows it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tariff::Rates;
use crate::time::Timestamp;
use crate::units::{Fen, Price, Utility};
use crate::usage::Register;

/// Parts of a minor unit in which a meter keeps its price.
pub const PRICE_PARTS: i64 = 10_000;
/// The same, as decimal digits.
pub const PRICE_DIGITS: i8 = 4;

/// Looks in a row that must show a difference before people are told.
pub const LOOKS_NEEDED: u32 = 2;
/// How often each meter is looked at: a read of some ten registers, so that a line full of nodes spends little on it.
pub const LOOK_PERIOD: Duration = Duration::from_secs(300);
/// How soon again after a look that came to nothing, or showed a difference for the first time: time enough for a price that
/// was changed to be polled.
pub const LOOK_AGAIN: Duration = Duration::from_secs(120);

/// Two numbers between which the true one lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The least it can be.
    pub least: i64,
    /// The most it can be.
    pub most: i64,
}

impl Span {
    /// Two numbers in any order.
    pub fn of(one: i64, other: i64) -> Self {
        Self { least: one.min(other), most: one.max(other) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most { write!(f, "{}", self.least) } else { write!(f, "{} to {}", self.least, self.most) }
    }
}

/// What the ledger knows of the credits of one service point, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// All that were proven to be in the meter.
    pub credited: Fen,
    /// How many they are.
    pub credits: u64,
    /// How many may be in the meter or not; while there are any, nothing can be compared.
    pub unknown: u64,
}

/// One look at a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// Purchases applied.
    pub count: u32,
    /// What is left, in whole minor units, rounded down.
    pub balance: i32,
    /// The counter before and after.
    pub counter: Span,
    /// What one count costs, before and after, in ten-thousandths of a minor unit.
    pub price: Span,
}

/// Where comparing begins: a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterMark {
    /// Whose meter.
    pub service_point: String,
    /// When it was made.
    pub at: Timestamp,
    /// Purchases applied until then.
    pub count: u32,
    /// What was left.
    pub balance: i32,
    /// The counter.
    pub counter: Span,
    /// What one count cost, in ten-thousandths of a minor unit.
    pub price: i64,
    /// What the ledger had credited until then.
    pub credited: Fen,
    /// In how many credits.
    pub credits: u64,
}

/// The meter and the ledger contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Since when it is compared.
    pub since: Timestamp,
    /// What was credited since then.
    pub credited: Fen,
    /// What was counted since then.
    pub used: Span,
    /// What should be left, in minor units.
    pub expected: Span,
    /// What is.
    pub balance: i32,
    /// The purchases that should have been applied.
    pub expected_count: u64,
    /// Those that were.
    pub count: u32,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credited, used, balance, expected_count, count, .. } = self;
        let (least, most) = (Fen(self.expected.least), Fen(self.expected.most));
        write!(f, "{} in the meter, {least}", Fen(i64::from(*balance)))?;
        if least != most {
            write!(f, " to {most}")?;
        }
        write!(f, " expected (credited {credited}, counted {used}); purchase {count}, {expected_count} expected")
    }
}

impl MeterMark {
    /// A mark of what is seen now; `None` while the price is being changed or a credit is under way.
    pub fn new(service_point: &str, sight: &Sight, booked: &Booked) -> Option<Self> {
        let steady = sight.price.least == sight.price.most && booked.unknown == 0;
        steady.then(|| Self {
            service_point: service_point.to_owned(),
            at: sight.at,
            count: sight.count,
            balance: sight.balance,
            counter: sight.counter,
            price: sight.price.least,
            credited: booked.credited,
            credits: booked.credits,
        })
    }

    /// Holds what is seen now against the mark. A caller with a credit under way does not ask.
    ///
    /// # Errors
    /// [`Difference`] with every number of it.
    pub fn compare(&self, sight: &Sight, booked: &Booked) -> Result<(), Difference> {
        let credited = Fen(booked.credited.0 - self.credited.0);
        let expected_count = u64::from(self.count) + booked.credits.saturating_sub(self.credits);
        let most = sight.counter.most - self.counter.least;
        // What lies between the two reads of a counter is no step back.
        let least = (sight.counter.least - self.counter.most).max(0.min(most));
        let used = Span { least, most };
        let price = Span::of(self.price.min(sight.price.least), self.price.max(sight.price.most));
        let costs = [(least, price.least), (least, price.most), (most, price.least), (most, price.most)];
        let costs = costs.map(|(counts, price)| i128::from(counts) * i128::from(price));
        let (cheapest, dearest) =
            costs.iter().fold((i128::MAX, i128::MIN), |(a, b), cost| (a.min(*cost), b.max(*cost)));
        let parts = i128::from(PRICE_PARTS);
        let had = (i128::from(self.balance) + i128::from(credited.0)) * parts;
        // Both balances are rounded down, so each may be almost one more.
        let minor =
            |exact: i128| i64::try_from(exact.div_euclid(parts)).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX });
        let expected = Span { least: minor(had - dearest), most: minor(had + parts - 1 - cheapest) };
        let balance = i64::from(sight.balance);
        let agrees = (expected.least..=expected.most).contains(&balance) && u64::from(sight.count) == expected_count;
        let (since, balance, count) = (self.at, sight.balance, sight.count);
        if agrees {
            Ok(())
        } else {
            Err(Difference { since, credited, used, expected, balance, expected_count, count })
        }
    }
}

/// The looks at one meter so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// In a row that showed a difference.
    different: u32,
}

/// What one more look comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upshot {
    /// Nothing could be compared: whatever was told before still holds.
    Nothing,
    /// Meter and ledger agree: nothing is wrong, or not any more.
    Agree,
    /// A difference for the first time: looked at again before anybody is told.
    Doubt,
    /// People are told.
    Differ(Difference),
}

impl Looks {
    /// Takes in a look; `None` if it came to nothing. What follows from it, and how soon to look again.
    pub fn take(&mut self, look: Option<Result<(), Difference>>) -> (Upshot, Duration) {
        match look {
            None => (Upshot::Nothing, LOOK_AGAIN),
            Some(Ok(())) => {
                self.different = 0;
                (Upshot::Agree, LOOK_PERIOD)
            }
            Some(Err(difference)) => {
                self.different = self.different.saturating_add(1);
                if self.different < LOOKS_NEEDED {
                    (Upshot::Doubt, LOOK_AGAIN)
                } else {
                    (Upshot::Differ(difference), LOOK_PERIOD)
                }
            }
        }
    }
}

/// The price in a meter is not the tariff's; both in ten-thousandths of a minor unit per count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceDrift {
    /// What the meter charges.
    pub meter: i64,
    /// What it should charge, rounded to what it can hold.
    pub tariff: i64,
}

impl fmt::Display for PriceDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |price: i64| format!("{}.{:04}", price / PRICE_PARTS, price % PRICE_PARTS);
        write!(f, "{} in the meter, {} by the tariff, minor units a count", text(self.meter), text(self.tariff))
    }
}

/// Holds the price in a meter (ten-thousandths of a minor unit per count of `register`) against the tariff's.
///
/// # Errors
/// [`PriceDrift`] if they are one step of the meter's price or more apart.
pub fn check_price(meter: i64, register: &Register, rates: Rates) -> Result<(), PriceDrift> {
    let Rates::Flat(Price(price)) = rates;
    let unit: i128 = match register.utility() {
        Utility::Electricity => 1_000,
        Utility::Water => 1_000_000,
    };
    let base = register.quantity(1).map_or(0, |quantity| quantity.0);
    // Hao a unit, times base units a count: a hundredth of a minor unit is a hao, and has a hundred parts.
    let exact = i128::from(price) * i128::from(base) * 100;
    let drift = (i128::from(meter) * unit - exact).abs();
    if drift < unit {
        return Ok(());
    }
    Err(PriceDrift { meter, tariff: i64::try_from((exact + unit / 2) / unit).unwrap_or(i64::MAX) })
}

#[cfg(test)]
mod tests;
