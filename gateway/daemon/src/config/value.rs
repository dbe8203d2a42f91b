//! The small values of the files: durations, measures and numbers with their unit, and where they stand.
//!
//! None of them can be written in a way that leaves the unit to a guess. A message has what to write instead behind
//! a line break, where [`super::document`] finds it.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::time::Duration;

use guanjia_core::reading::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::unit::{self, Unit};

/// A value and its place in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct At<T>(toml::Spanned<T>);

impl<T> At<T> {
    /// A value that stands for something else in the file.
    pub fn new(value: T, at: Range<usize>) -> Self {
        Self(toml::Spanned::new(at, value))
    }

    /// Where it stands, in bytes of the file.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A duration, written as text with its unit: `500ms`, `1s`, `1m30s`, `2h`, `3d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// Numbers with units that get finer: `1m30s`, not `30s1m`.
    fn parse(text: &str) -> Option<Duration> {
        let (mut rest, mut total, mut coarser) = (text, 0u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let millis = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            if millis >= coarser {
                return None;
            }
            coarser = millis;
            rest = &rest[letters..];
            total = number.checked_mul(millis).and_then(|part| total.checked_add(part))?;
        }
        (!text.is_empty()).then(|| Duration::from_millis(total))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"15s\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map(Span).ok_or_else(|| {
                    E::custom(format!(
                        "{text:?} is not a duration\nwrite a whole number and its unit: \"500ms\", \"15s\", \"15m\", \
                         \"2h\" or \"3d\""
                    ))
                })
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Span, E> {
                Err(E::custom(format!(
                    "a duration needs a unit\nwrite \"{n}s\" for seconds or \"{n}ms\" for milliseconds"
                )))
            }

            fn visit_f64<E: Error>(self, n: f64) -> Result<Span, E> {
                Err(E::custom(format!("a duration needs a unit\nwrite \"{}ms\" if {n} means seconds", n * 1000.0)))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number and its unit: \"500ms\", \"15s\", \"15m\", \"2h\", \"3d\".",
            "type": "string",
            "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
        })
    }
}

/// An exact decimal number, written as a TOML number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub Decimal);

/// Reads `-12.50`; digits with at most one point, no exponent.
pub fn parse_decimal(text: &str) -> Option<Decimal> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > 12 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(Decimal::new(sign * mantissa, -(fraction.len() as i8)))
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Limit::deserialize(deserializer)? {
            Limit::Bare(number) => Ok(Number(number)),
            Limit::Measure(_) => Err(D::Error::custom("expected a bare number\nremove the unit and the quotes")),
        }
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A decimal number, kept exactly.", "type": "number" })
    }
}

/// A number with its unit, written as text: `30 kW`.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// The number as written.
    pub number: Decimal,
    /// The unit as written.
    pub unit: &'static Unit,
}

impl Measure {
    fn parse<E: Error>(text: &str) -> Result<Self, E> {
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
        let (number, name) = text.split_at(split);
        let Some(number) = parse_decimal(number) else {
            return Err(E::custom(format!("{text:?} is not a measure\nwrite a number, a space and a unit: \"30 kW\"")));
        };
        let name = name.trim();
        match unit::find(name) {
            Some(unit) => Ok(Self { number, unit }),
            None if name.is_empty() => Err(E::custom(format!("{text:?} has no unit\nwrite for example \"{text} kW\""))),
            None => Err(E::custom(format!("`{name}` is not a unit\n{}", unit::suggest(name)))),
        }
    }

    /// The same measure in another unit of the same kind, exactly. `None` if they are of different kinds.
    pub fn in_unit(&self, unit: &Unit) -> Option<Decimal> {
        if self.unit.kind != unit.kind {
            return None;
        }
        let exponent = i16::from(self.number.exponent) + i16::from(self.unit.exponent) - i16::from(unit.exponent);
        Some(Decimal::new(self.number.mantissa, i8::try_from(exponent).ok()?))
    }
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Limit::deserialize(deserializer)? {
            Limit::Measure(measure) => Ok(measure),
            Limit::Bare(n) => Err(D::Error::custom(format!("{n} has no unit\nwrite it as text with one: \"{n} kW\""))),
        }
    }
}

impl JsonSchema for Measure {
    fn schema_name() -> Cow<'static, str> {
        "Measure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number and its unit: \"30 kW\", \"5 m3/h\".",
            "type": "string",
            "pattern": "^-?[0-9]+(\\.[0-9]+)? ?[^0-9]+"
        })
    }
}

/// What a point is compared with: a bare number for counts and codes, a measure where the point has a unit.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// `3`
    Bare(Decimal),
    /// `"300 mm"`
    Measure(Measure),
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl Visitor<'_> for NumberOrText {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or text with a unit such as \"30 kW\"")
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Limit, E> {
                Ok(Limit::Bare(Decimal::new(n.into(), 0)))
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<Limit, E> {
                Ok(Limit::Bare(Decimal::new(n.into(), 0)))
            }

            fn visit_f64<E: Error>(self, n: f64) -> Result<Limit, E> {
                // The shortest text of a double is the text it was read from, up to 15 digits.
                parse_decimal(&n.to_string()).map(Limit::Bare).ok_or_else(|| {
                    E::custom("this number is out of range\nwrite a plain decimal number with at most 12 decimals")
                })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Limit, E> {
                Measure::parse(text).map(Limit::Measure)
            }
        }
        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A bare number for points without a unit, otherwise text with the unit: \"300 mm\".",
            "type": ["number", "string"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(Span::parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(Span::parse("15m"), Some(Duration::from_secs(900)));
        assert_eq!(Span::parse("1m30s"), Some(Duration::from_secs(90)));
        for text in ["", "15", "s", "1.5s", "-1s", "15 s", "15min", "30s1m", "99999999999999999999d"] {
            assert_eq!(Span::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_read_exactly() {
        assert_eq!(parse_decimal("0.01").map(|d| (d.mantissa, d.exponent)), Some((1, -2)));
        assert_eq!(parse_decimal("-12.50").map(|d| (d.mantissa, d.exponent)), Some((-1250, -2)));
        for text in ["", "-", ".5", "1e3", "1.2.3", "+1", "0.1234567890123"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_measure_converts_within_its_kind_only() {
        let measure: Measure = Measure::parse::<serde::de::value::Error>("30 kW").expect("it is a measure");
        let watt = unit::find("W").expect("watts exist");
        assert_eq!(measure.in_unit(watt), Some(Decimal::new(30_000, 0)));
        assert_eq!(measure.in_unit(unit::find("kWh").expect("kWh exist")), None);
    }
}
