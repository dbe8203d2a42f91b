//! Values, quality, readings, and the keys they travel under.
//!
//! A [`Reading`] is never a bare number: it carries the quality and the time at which the *device* answered, and
//! neither ever moves without a new answer. Inside one run of the program a point is a dense [`PointIx`], so that
//! the hot path compares integers; outside it is `device/point`.
//!
//! Register values stay exact. A `u64` energy counter scaled by 0.01 becomes the [`Decimal`] with that mantissa and
//! exponent -2, and is compared, printed and billed as such. Only what the device itself sends as a float is one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The index of a point in this run's catalogue. Not stable across restarts or reloads; never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointIx(pub u32);

/// The index of a device in this run's catalogue. Not stable across restarts or reloads; never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIx(pub u32);

/// `mantissa x 10^exponent`, exactly.
///
/// Packed to eight bytes: the sixteen that a 128-bit number asks for would make every [`Reading`] two thirds larger.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[repr(Rust, packed(8))]
pub struct Decimal {
    /// The digits.
    pub mantissa: i128,
    /// The power of ten; profiles keep it between -12 and 12.
    pub exponent: i8,
}

impl Decimal {
    /// `mantissa x 10^exponent`.
    pub const fn new(mantissa: i128, exponent: i8) -> Self {
        Self { mantissa, exponent }
    }

    /// The nearest double, for limits, charts and metrics; never for money.
    pub fn to_f64(self) -> f64 {
        // Dividing by an exact power of ten rounds once; multiplying by 0.1 would round twice.
        if self.exponent < 0 {
            self.mantissa as f64 / 10f64.powi(-i32::from(self.exponent))
        } else {
            self.mantissa as f64 * 10f64.powi(i32::from(self.exponent))
        }
    }

    /// The mantissa once the number is written with `exponent`. `None` if digits would be lost or it overflows.
    pub fn rescale(self, exponent: i8) -> Option<i128> {
        let shift = i32::from(self.exponent) - i32::from(exponent);
        let factor = 10i128.checked_pow(shift.unsigned_abs())?;
        if shift >= 0 {
            self.mantissa.checked_mul(factor)
        } else if self.mantissa % factor == 0 {
            Some(self.mantissa / factor)
        } else {
            None
        }
    }
}

/// Decimals a division that does not come out even is rounded to.
const DIVISION_DECIMALS: i8 = 12;

impl Decimal {
    /// The exact sum. `None` if it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let mantissa = self.rescale(exponent)?.checked_add(other.rescale(exponent)?)?;
        Some(Self { mantissa, exponent })
    }

    /// The exact product. `None` if it does not fit.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self { mantissa, exponent: self.exponent.checked_add(other.exponent)? })
    }

    /// The quotient, exact if it has at most twelve decimals, otherwise rounded to them, halves away from zero. `None`
    /// for a division by zero or a result that does not fit.
    pub fn checked_div(self, other: Self) -> Option<Self> {
        // a x 10^e / (b x 10^f) in steps of 10^-12 is a x 10^(e - f + 12) / b.
        let shift = i32::from(self.exponent) - i32::from(other.exponent) + i32::from(DIVISION_DECIMALS);
        let factor = 10i128.checked_pow(shift.unsigned_abs())?;
        let (above, below) = match shift {
            0.. => (self.mantissa.checked_mul(factor)?, other.mantissa),
            _ => (self.mantissa, other.mantissa.checked_mul(factor)?),
        };
        let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
        let up = i128::from(rest.unsigned_abs() >= below.unsigned_abs().div_ceil(2));
        let sign = if (above < 0) == (below < 0) { up } else { -up };
        Some(Self { mantissa: whole.checked_add(sign)?, exponent: -DIVISION_DECIMALS }.trimmed())
    }

    /// The same number without zeros at the end of its decimals.
    fn trimmed(mut self) -> Self {
        while self.exponent < 0 && self.mantissa % 10 == 0 {
            (self.mantissa, self.exponent) = (self.mantissa / 10, self.exponent + 1);
        }
        self
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        // Two values of one point nearly always have the same exponent, and dividing 128 bits is slow.
        if self.exponent == other.exponent {
            return self.mantissa == other.mantissa;
        }
        let exponent = self.exponent.min(other.exponent);
        match (self.rescale(exponent), other.rescale(exponent)) {
            (Some(a), Some(b)) => a == b,
            // One of them is too large to be written that finely, so they differ.
            _ => false,
        }
    }
}

impl Decimal {
    /// Writes all of its digits.
    fn write_to(self, out: &mut impl fmt::Write) -> fmt::Result {
        let Self { mantissa, exponent } = self;
        if exponent > 0 {
            return match self.rescale(0) {
                Some(whole) => write!(out, "{whole}"),
                None => write!(out, "{mantissa}e{exponent}"),
            };
        }
        let mut digits = itoa::Buffer::new();
        // Nearly all of them fit 64 bits, and dividing 128 bits is slow.
        let digits = match u64::try_from(mantissa.unsigned_abs()) {
            Ok(small) => digits.format(small),
            Err(_) => digits.format(mantissa.unsigned_abs()),
        };
        if mantissa < 0 {
            out.write_char('-')?;
        }
        let decimals = usize::from(exponent.unsigned_abs());
        if decimals == 0 {
            return out.write_str(digits);
        }
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
        out.write_str(if whole.is_empty() { "0" } else { whole })?;
        out.write_char('.')?;
        for _ in fraction.len()..decimals {
            out.write_char('0')?;
        }
        out.write_str(fraction)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

/// What a point can hold.
///
/// Its kind takes a whole machine word: kept in one byte, the seven beside it would be carried along in pieces, and the
/// processor waits for pieces.
#[derive(Clone, Debug, PartialEq)]
#[repr(u64)]
pub enum Value {
    /// A contact, a coil, one bit.
    Bool(bool),
    /// An integer or scaled integer, exact.
    Decimal(Decimal),
    /// A number the device itself sends as IEEE 754. Never NaN or infinite: those decode to bad quality.
    Float(f64),
    /// A serial number, a version, a line of text.
    Text(Arc<str>),
}

impl Value {
    /// The value as a number for comparing, charting and exporting. `None` for text.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Decimal(d) => Some(d.to_f64()),
            Value::Float(x) => Some(*x),
            Value::Text(_) => None,
        }
    }

    /// Appends the value as a number of a Prometheus exposition, several times as fast as formatting it: a decimal with
    /// all of its digits, a float with the fewest that are read back as itself. Nothing for text.
    pub fn write_sample(&self, out: &mut String) {
        match self {
            // Writing to a String cannot fail.
            Value::Decimal(decimal) => drop(decimal.write_to(out)),
            Value::Bool(bit) => out.push(if *bit { '1' } else { '0' }),
            Value::Float(float) => {
                let mut digits = zmij::Buffer::new();
                let digits = digits.format(*float);
                out.push_str(digits.strip_suffix(".0").unwrap_or(digits));
            }
            Value::Text(_) => {}
        }
    }

    /// The value as a truth: a bit, or a number that is not zero.
    pub fn as_bool(&self) -> Option<bool> {
        self.as_f64().map(|x| x != 0.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{}", u8::from(*b)),
            Value::Decimal(d) => write!(f, "{d}"),
            Value::Float(x) => write!(f, "{x}"),
            Value::Text(t) => f.write_str(t),
        }
    }
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadReason {
    /// Nothing was ever read since the start.
    NeverRead,
    /// The device does not answer.
    NoAnswer,
    /// The line to it is down: the port is gone, the serial server or broker refuses.
    LineDown,
    /// It answered with a Modbus exception.
    Refused,
    /// It says itself that there is no value (a sentinel such as 0x7FFF, NaN).
    Sentinel,
    /// What it sent cannot be read as the type the profile promises.
    Undecodable,
    /// It announced itself as gone (MQTT last will).
    Offline,
    /// Another value it is calculated from is missing, bad or from another time.
    Input,
    /// The device's heartbeat stands still: whatever it answers is old.
    Frozen,
    /// Another device answers under this address than the profile describes.
    WrongDevice,
    /// This device does not have it: its firmware is older, or its model is shorter.
    Absent,
}

impl BadReason {
    /// The word in logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            BadReason::NeverRead => "never_read",
            BadReason::NoAnswer => "no_answer",
            BadReason::LineDown => "line_down",
            BadReason::Refused => "refused",
            BadReason::Sentinel => "sentinel",
            BadReason::Undecodable => "undecodable",
            BadReason::Offline => "offline",
            BadReason::Input => "input",
            BadReason::Frozen => "frozen",
            BadReason::WrongDevice => "wrong_device",
            BadReason::Absent => "absent",
        }
    }
}

/// How far a value may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Read, checked, fresh.
    Good,
    /// Read, but the first answer after a time-out: it waits for the next one to confirm it.
    Suspect,
    /// Was good, and is older than the point may be.
    Stale,
    /// There is no value.
    Bad(BadReason),
}

impl Quality {
    /// `good`, `suspect`, `stale` or `bad`: the closed set of the metrics' `quality` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Suspect => "suspect",
            Quality::Stale => "stale",
            Quality::Bad(_) => "bad",
        }
    }

    /// Only good values may raise or clear an alarm, bill, or move a relay.
    pub fn is_good(self) -> bool {
        self == Quality::Good
    }
}

/// One answer of one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which point.
    pub point: PointIx,
    /// What it says; `None` unless the quality is good or suspect.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
    /// When the device answered (not when anybody looked). For bad quality: when the answer failed to come.
    pub at: Timestamp,
}

impl Reading {
    /// A checked value.
    pub fn good(point: PointIx, value: Value, at: Timestamp) -> Self {
        Self { point, value: Some(value), quality: Quality::Good, at }
    }

    /// No value, and why.
    pub fn bad(point: PointIx, why: BadReason, at: Timestamp) -> Self {
        Self { point, value: None, quality: Quality::Bad(why), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_as_small_as_its_number_allows() {
        // Tens of thousands are kept, and copied for every answer.
        assert_eq!(size_of::<Decimal>(), 24);
        assert_eq!(size_of::<Reading>(), 48);
    }

    #[test]
    fn decimals_print_and_compare_exactly() {
        assert_eq!(Decimal::new(12_345_678, -2).to_string(), "123456.78");
        assert_eq!(Decimal::new(-5, -3).to_string(), "-0.005");
        assert_eq!(Decimal::new(5, 2).to_string(), "500");
        assert_eq!(Decimal::new(i128::from(u64::MAX), -2).to_string(), "184467440737095516.15");
        assert_eq!(Decimal::new(0, -2).to_string(), "0.00");
        assert_eq!(Decimal::new(-100, -2).to_string(), "-1.00");
        assert_eq!(Decimal::new(i128::MIN, 0).to_string(), i128::MIN.to_string());
        assert_eq!(Decimal::new(i128::MAX, -38).to_string(), "1.70141183460469231731687303715884105727");
        assert_eq!(Decimal::new(i128::MAX, 1).to_string(), format!("{}e1", i128::MAX));
        assert_eq!(Decimal::new(500, -2), Decimal::new(5, 0));
        assert_ne!(Decimal::new(501, -2), Decimal::new(5, 0));
    }

    #[test]
    fn a_sample_is_read_back_as_the_value_it_was() {
        let written = |value: Value| {
            let mut text = String::new();
            value.write_sample(&mut text);
            text
        };
        for float in [0.0, -0.0, 1.0, -2.5, 50.01, 1e-7, 1.5e300, f64::from(230.12_f32), f64::MIN_POSITIVE, f64::MAX] {
            let text = written(Value::Float(float));
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(float.to_bits()), "{text}");
        }
        assert_eq!(written(Value::Decimal(Decimal::new(-12_345_678, -2))), "-123456.78");
        assert_eq!(written(Value::Bool(true)) + &written(Value::Bool(false)), "10");
        assert_eq!(written(Value::Text("open".into())), "");
    }

    #[test]
    fn arithmetic_is_exact_or_says_no() {
        let n = Decimal::new;
        assert_eq!(n(i128::from(u64::MAX), -2).checked_add(n(1, 0)).unwrap().to_string(), "184467440737095517.15");
        assert_eq!(n(5, -1).checked_mul(n(-3, 2)), Some(n(-150, 0)));
        assert_eq!(n(1, 0).checked_div(n(3, 0)), Some(n(333_333_333_333, -12)));
        assert_eq!(n(-2, 0).checked_div(n(3, 0)), Some(n(-666_666_666_667, -12)));
        assert_eq!(n(1, 3).checked_div(n(8, -2)), Some(n(12_500, 0)));
        assert_eq!(n(1, 0).checked_div(n(0, 5)), None);
        assert_eq!(n(i128::MAX, 0).checked_mul(n(2, 0)), None);
        assert_eq!(n(i128::MAX, 0).checked_add(n(1, -1)), None);
    }

    #[test]
    fn rescaling_never_loses_a_digit_silently() {
        assert_eq!(Decimal::new(123, -2).rescale(-3), Some(1230));
        assert_eq!(Decimal::new(1230, -3).rescale(-2), Some(123));
        assert_eq!(Decimal::new(123, -2).rescale(0), None);
        assert_eq!(Decimal::new(i128::MAX, 0).rescale(-1), None);
    }
}
