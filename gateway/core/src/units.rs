//! Money and quantities as integers with a unit in the type.
//!
//! | type | unit | why this size |
//! |---|---|---|
//! | [`Quantity`] | Wh or mL, by [`Utility`] | the finest step a register of either kind counts in |
//! | [`Hao`] | 0.0001 yuan | the ledger's unit: a kWh price has four decimals |
//! | [`Fen`] | 0.01 yuan | what can be paid; 100 hao |
//! | [`Price`] | 0.0001 yuan per kWh or m³ | |
//! | [`ExactCharge`] | 1e-7 yuan (electricity) or 1e-10 yuan (water) | quantity x price without any rounding |
//!
//! Nothing in here is ever a float. Arithmetic that can overflow is checked and says so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is supplied and paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Utility {
    /// Active energy; the base unit is the watt-hour.
    Electricity,
    /// Cold water; the base unit is the millilitre.
    Water,
}

impl Utility {
    /// Both, in the order of every table.
    pub const ALL: [Utility; 2] = [Utility::Electricity, Utility::Water];

    /// The word in metrics, rows and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Utility::Electricity => "electricity",
            Utility::Water => "water",
        }
    }

    /// The unit people are billed in.
    pub fn billing_unit(self) -> &'static str {
        match self {
            Utility::Electricity => "kWh",
            Utility::Water => "m³",
        }
    }

    /// Base units (Wh, mL) in one billing unit (kWh, m³).
    pub const fn base_per_billing_unit(self) -> i64 {
        match self {
            Utility::Electricity => 1_000,
            Utility::Water => 1_000_000,
        }
    }
}

impl fmt::Display for Utility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of energy in Wh or of water in mL; which of them, the [`Utility`] beside it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub i64);

/// Ledger money: ten-thousandths of a yuan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hao(pub i64);

/// Payable money: hundredths of a yuan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fen(pub i64);

impl Hao {
    /// Hao in one fen.
    pub const PER_FEN: i64 = 100;
    /// Hao in one yuan.
    pub const PER_YUAN: i64 = 10_000;

    /// `None` on overflow.
    pub fn checked_add(self, other: Hao) -> Option<Hao> {
        self.0.checked_add(other.0).map(Hao)
    }

    /// `None` on overflow.
    pub fn checked_sub(self, other: Hao) -> Option<Hao> {
        self.0.checked_sub(other.0).map(Hao)
    }
}

impl From<Fen> for Hao {
    /// Saturates; [`Fen::MAX_PAYABLE`] lies far below the edge.
    fn from(fen: Fen) -> Hao {
        Hao(fen.0.saturating_mul(Hao::PER_FEN))
    }
}

impl fmt::Display for Hao {
    /// Yuan with four decimals: `-3.0500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 4)
    }
}

impl Fen {
    /// The largest single payment the gateway accepts: one million yuan.
    pub const MAX_PAYABLE: Fen = Fen(100_000_000);
}

impl fmt::Display for Fen {
    /// Yuan with two decimals: `100.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 2)
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most two decimals.
    #[error("an amount is yuan with at most two decimals, such as 100 or 100.50")]
    Form,
    /// Zero, or above [`Fen::MAX_PAYABLE`].
    #[error("an amount lies between 0.01 and 1000000.00 yuan")]
    Range,
}

impl FromStr for Fen {
    type Err = AmountError;

    /// Reads yuan: digits, optionally a point and one or two decimals. No sign, no space, no exponent, no grouping:
    /// whatever else a person might have meant is asked again instead of guessed.
    fn from_str(text: &str) -> Result<Fen, AmountError> {
        let (yuan, cents) = match text.split_once('.') {
            Some((yuan, cents)) if (1..=2).contains(&cents.len()) => (yuan, cents),
            Some(_) => return Err(AmountError::Form),
            None => (text, "0"),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(yuan) || !digits(cents) {
            return Err(AmountError::Form);
        }
        let yuan: i64 = yuan.parse().map_err(|_| AmountError::Range)?;
        let scale = if cents.len() == 1 { 10 } else { 1 };
        let cents: i64 = cents.parse::<i64>().map_err(|_| AmountError::Form)? * scale;
        let fen = yuan.checked_mul(100).and_then(|f| f.checked_add(cents)).ok_or(AmountError::Range)?;
        if fen == 0 || fen > Fen::MAX_PAYABLE.0 { Err(AmountError::Range) } else { Ok(Fen(fen)) }
    }
}

/// A price in ten-thousandths of a yuan per kWh or per m³.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub i64);

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 4)
    }
}

/// Quantity x price before rounding: 1e-7 yuan for Wh, 1e-10 yuan for mL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactCharge(pub i128);

impl ExactCharge {
    /// The exact charge of `quantity` at `price`. Cannot overflow: two i64 fit an i128.
    pub fn of(quantity: Quantity, price: Price) -> ExactCharge {
        ExactCharge(i128::from(quantity.0) * i128::from(price.0))
    }

    /// To the nearest hao, halves away from zero. `None` if it does not fit.
    pub fn round(self, utility: Utility) -> Option<Hao> {
        let per_hao = i128::from(utility.base_per_billing_unit());
        let half = per_hao / 2 * self.0.signum();
        i64::try_from((self.0 + half) / per_hao).ok().map(Hao)
    }
}

/// Writes `value` as a decimal number with `decimals` places.
fn decimal(f: &mut fmt::Formatter<'_>, value: i64, decimals: usize) -> fmt::Result {
    let unit = 10u64.pow(decimals as u32);
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    write!(f, "{sign}{}.{:0decimals$}", magnitude / unit, magnitude % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_text_is_exact_where_floats_lose_a_fen() {
        for (text, fen) in
            [("1.15", 115), ("0.29", 29), ("4.35", 435), ("19.99", 1999), ("64.10", 6410), ("64.1", 6410), ("7", 700)]
        {
            assert_eq!(text.parse(), Ok(Fen(fen)), "{text}");
        }
    }

    #[test]
    fn odd_money_text_is_refused_not_guessed() {
        for text in ["", "1.", ".5", "1.234", "-1", "+1", "1e3", "1,000", " 1", "１", "0x10", "1.2.3"] {
            assert_eq!(text.parse::<Fen>(), Err(AmountError::Form), "{text:?}");
        }
        for text in ["0", "0.00", "1000000.01", "99999999999999999999"] {
            assert_eq!(text.parse::<Fen>(), Err(AmountError::Range), "{text:?}");
        }
    }

    #[test]
    fn charges_round_half_away_from_zero() {
        let charge = |wh, price| ExactCharge::of(Quantity(wh), Price(price)).round(Utility::Electricity);
        assert_eq!(charge(70, 5683), Some(Hao(398)));
        assert_eq!(charge(1, 500), Some(Hao(1)));
        assert_eq!(charge(1, 499), Some(Hao(0)));
        assert_eq!(charge(-1, 500), Some(Hao(-1)));
    }

    #[test]
    fn money_prints_in_yuan() {
        assert_eq!(Hao(-30_500).to_string(), "-3.0500");
        assert_eq!(Hao(-5).to_string(), "-0.0005");
        assert_eq!(Fen(10_000).to_string(), "100.00");
    }
}
