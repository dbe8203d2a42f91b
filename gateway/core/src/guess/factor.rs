//! What a raw number is multiplied with: powers of ten, hours, transformer ratios, binary fractions.

use std::sync::LazyLock;

use crate::reading::Decimal;

/// Where a factor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorKind {
    /// 1, 0.1, 0.01, 1000 ...
    PowerOfTen,
    /// A 3600th of one: watt-seconds to watt-hours.
    Hours,
    /// A ratio of current transformers to 5 A or 1 A, or a power of ten times it.
    TransformerRatio,
    /// A half, a quarter, ... a 4096th.
    BinaryFraction,
    /// None of these; the simplest number that fits.
    Other,
}

/// `number / divisor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// Multiplied with.
    pub number: Decimal,
    /// And divided by: 3600 for hours, 1 otherwise.
    pub divisor: u16,
    /// Where it comes from.
    pub kind: FactorKind,
}

/// The powers of ten that are tried; profiles hold no finer ones.
const POWERS: std::ops::RangeInclusive<i8> = -6..=6;

/// Ratios of common current transformers and their mantissas times a power of ten: 5/5 to 6000/5 A, and /1 A.
const RATIOS: [i128; 13] = [12, 15, 16, 2, 25, 3, 4, 5, 6, 75, 8, 24, 32];

/// The finest binary fraction: its decimal still has twelve places.
const BINARY_MAX: u32 = 12;

/// The digits an unknown factor or offset may have: more of them would fit anything.
const SIMPLE_DIGITS: u32 = 4;

impl Factor {
    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.number.to_f64() / f64::from(self.divisor)
    }

    /// The number with the fewest digits between two.
    pub(super) fn simplest(low: f64, high: f64) -> Option<Factor> {
        let number = simplest_decimal(low, high).filter(|d| d.mantissa > 0)?;
        Some(Factor { number, divisor: 1, kind: FactorKind::Other })
    }
}

pub(super) fn powers_of_ten() -> impl Iterator<Item = Factor> {
    let power = |e| Factor { number: Decimal::new(1, e), divisor: 1, kind: FactorKind::PowerOfTen };
    POWERS.map(power)
}

/// Every known factor with its value, the smallest first; of two with one value, the likelier.
///
/// Some thousand candidates ask for each of half a dozen offsets which of them lie between two numbers.
static KNOWN: LazyLock<Vec<(f64, Factor)>> = LazyLock::new(|| {
    let mut known: Vec<(f64, Factor)> = Vec::new();
    let mut see = |factor: Factor| {
        let value = factor.to_f64();
        if known.iter().all(|(other, _)| *other != value) {
            known.push((value, factor));
        }
    };
    powers_of_ten().for_each(&mut see);
    for e in [-3, 0, 3] {
        see(Factor { number: Decimal::new(1, e), divisor: 3600, kind: FactorKind::Hours });
    }
    for ratio in RATIOS {
        for e in -5..=3 {
            see(Factor { number: Decimal::new(ratio, e), divisor: 1, kind: FactorKind::TransformerRatio });
        }
    }
    for shift in 1..=BINARY_MAX {
        // 1/2^n is 5^n / 10^n.
        let number = Decimal::new(5i128.pow(shift), -(shift as i8));
        see(Factor { number, divisor: 1, kind: FactorKind::BinaryFraction });
    }
    known.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    known
});

/// Every known factor between two, ends excluded, the smallest first.
pub(super) fn within(low: f64, high: f64) -> impl Iterator<Item = Factor> {
    let first = KNOWN.partition_point(|(value, _)| *value <= low);
    KNOWN.iter().skip(first).take_while(move |(value, _)| *value < high).map(|(_, factor)| *factor)
}

/// The number with the fewest significant digits between two; `None` if it needs too many.
pub(super) fn simplest_decimal(low: f64, high: f64) -> Option<Decimal> {
    if !(low.is_finite() && high.is_finite() && low < high) {
        return None;
    }
    if low < 0.0 && high > 0.0 {
        return Some(Decimal::new(0, 0));
    }
    let size = low.abs().max(high.abs());
    let top = size.log10().floor() as i32;
    for digits in 1..=SIMPLE_DIGITS as i32 {
        let exponent = top + 1 - digits;
        // Profiles keep exponents between -12 and 12.
        let Some(e) = i8::try_from(exponent).ok().filter(|e| (-12..=12).contains(e)) else { continue };
        let unit = 10f64.powi(exponent);
        let nearest = ((low + high) / 2.0 / unit).round();
        if low < nearest * unit && nearest * unit < high {
            return Some(Decimal::new(nearest as i128, e));
        }
    }
    None
}
