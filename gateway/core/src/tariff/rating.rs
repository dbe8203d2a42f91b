//! Rating: a step of the register becomes intervals with a price.

use super::TariffPlan;
use crate::ledger::{Baseline, UsageInterval, UsageQuality};
use crate::time::Timestamp;
use crate::units::{ExactCharge, Utility};
use crate::usage::{Forward, Register};

/// Whose register it is.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// The service point that pays.
    pub service_point: &'a str,
    /// The device the register is in.
    pub device: &'a str,
    /// The register.
    pub register: &'a Register,
}

/// Why a step cannot be rated. Nothing is billed and the baseline stays, so nothing is lost either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// No price was in force.
    #[error("tariff {plan} has no version in force at {at}; add the price list that was in force then")]
    NotInForce {
        /// The plan.
        plan: String,
        /// The start of the part without a price.
        at: Timestamp,
    },
    /// The plan prices something else.
    #[error("tariff {plan} prices {priced}, the register counts {counted}; give the service point another tariff")]
    WrongUtility {
        /// The plan.
        plan: String,
        /// What it prices.
        priced: Utility,
        /// What was counted.
        counted: Utility,
    },
    /// The step does not follow the baseline.
    #[error("the step does not start at the baseline; read the baseline again and measure from it")]
    NotFromBaseline,
    /// The total is beyond what the ledger can hold.
    #[error("the charge is too large for the ledger; check the register's scale and ratio")]
    Overflow,
}

/// Prices what was used from `from` to `forward`. One interval, or one per price in force in between; they tile
/// the time and the register, and their charges sum to the rounded exact total.
///
/// # Errors
/// [`RateError`]; then nothing is to be posted.
pub fn rate(
    metered: Metered<'_>,
    from: &Baseline,
    forward: &Forward,
    plan: &TariffPlan,
) -> Result<Vec<UsageInterval>, RateError> {
    let utility = metered.register.utility();
    if plan.utility() != utility {
        let (plan, priced) = (plan.id().to_string(), plan.utility());
        return Err(RateError::WrongUtility { plan, priced, counted: utility });
    }
    if forward.at <= from.at || metered.register.advance(from.raw, forward.counts) != forward.raw {
        return Err(RateError::NotFromBaseline);
    }
    let mut ends: Vec<Timestamp> = plan.changes_between(from.at, forward.at).collect();
    let quality = if ends.is_empty() { forward.quality } else { UsageQuality::Estimated };
    ends.push(forward.at);

    let mut intervals = Vec::with_capacity(ends.len());
    let (mut start, mut used) = (from.clone(), 0);
    for end in ends {
        let version = plan
            .version_at(start.at)
            .ok_or_else(|| RateError::NotInForce { plan: plan.id().to_string(), at: start.at })?;
        let counts = counts_until(from.at, end, forward) - used;
        let quantity = metered.register.quantity(counts).ok_or(RateError::Overflow)?;
        let charge = version.rates.charge(quantity).0;
        let exact = ExactCharge(start.exact.0.checked_add(charge).ok_or(RateError::Overflow)?);
        let posted = exact.round(utility).ok_or(RateError::Overflow)?;
        let to = Baseline { raw: metered.register.advance(start.raw, counts), at: end, exact, posted };
        intervals.push(UsageInterval {
            service_point: metered.service_point.to_owned(),
            device: metered.device.to_owned(),
            utility,
            from: start,
            to: to.clone(),
            quantity,
            tariff: format!("{}@{}", plan.id(), version.label),
            quality,
        });
        (start, used) = (to, used + counts);
    }
    Ok(intervals)
}

/// How many of the step's counts fall before `end`, spread evenly over its time. All of them at its own end.
fn counts_until(start: Timestamp, end: Timestamp, forward: &Forward) -> u64 {
    let (part, whole) = (end.since(start).as_millis(), forward.at.since(start).as_millis());
    // `part` never exceeds `whole`, so the result never exceeds the counts; `whole` is above zero by the check in
    // `rate`, and a u64 times the milliseconds of an i64 fits.
    (u128::from(forward.counts) * part / whole) as u64
}
