//! Formulas over the points of one device, for values that a device sends in parts.
//!
//! ```text
//! sum    = term (("+" | "-") term)*          point = an id of the profile that stands further up
//! term   = factor (("*" | "/") factor)*      number = 12, 0.001
//! factor = "-" factor | number | point | "(" sum ")" | function "(" sum ")"
//!
//! pow10(x)      ten to the power of the whole number x, from -12 to 12
//! magnitude(x)  ten to the power of the number of digits before the point less one: 250 gives 100 (x above 0)
//! fold4q(x)     a power factor of four quadrants in one number (Schneider Electric): above 1 it is 2 - x, below -1 it
//!               is -2 - x, beyond 2 there is none
//! ```
//!
//! Whole numbers and decimals are calculated exactly; a division that does not come out even is rounded to twelve
//! decimals. Only where the device itself sends a float does the result become one. A missing part, a division by zero
//! or a number too large is no value.

use std::ops::Range;
use std::sync::Arc;

use crate::reading::{Decimal, Value};

/// The most characters of a formula.
const TEXT_MAX: usize = 500;
/// The deepest brackets and signs.
const BRACKETS_MAX: usize = 7;
/// The most numbers that wait for their operation: in each bracket one for + and one for *, and a third at the bottom.
const DEPTH_MAX: usize = 2 * BRACKETS_MAX + 1;

/// A number inside a formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact.
    Exact(Decimal),
    /// From a device that sends floats.
    Float(f64),
}

impl Number {
    /// The number in a value; `None` for text.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(bit) => Some(Number::Exact(Decimal::new(i128::from(*bit), 0))),
            Value::Decimal(number) => Some(Number::Exact(*number)),
            Value::Float(number) => Some(Number::Float(*number)),
            Value::Text(_) => None,
        }
    }

    /// The number as a value; `None` if it is not finite.
    pub fn value(self) -> Option<Value> {
        match self {
            Number::Exact(number) => Some(Value::Decimal(number)),
            Number::Float(number) => number.is_finite().then_some(Value::Float(number)),
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Number::Exact(number) => number.to_f64(),
            Number::Float(number) => number,
        }
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Number::Exact(a), Number::Exact(b)) => a.checked_add(b).map(Number::Exact),
            _ => finite(self.to_f64() + other.to_f64()),
        }
    }

    /// The product.
    pub fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Number::Exact(a), Number::Exact(b)) => a.checked_mul(b).map(Number::Exact),
            _ => finite(scaled(self, other)?),
        }
    }

    fn over(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Number::Exact(a), Number::Exact(b)) => a.checked_div(b).map(Number::Exact),
            _ => finite(self.to_f64() / other.to_f64()),
        }
    }

    fn negated(self) -> Option<Self> {
        match self {
            Number::Exact(a) => a.mantissa.checked_neg().map(|m| Number::Exact(Decimal::new(m, a.exponent))),
            Number::Float(a) => Some(Number::Float(-a)),
        }
    }

    /// Ten to the power of this whole number.
    fn power_of_ten(self) -> Option<Self> {
        let power = match self {
            Number::Exact(number) => i8::try_from(number.rescale(0)?).ok()?,
            Number::Float(number) if number.fract() == 0.0 && number.abs() <= 12.0 => number as i8,
            Number::Float(_) => return None,
        };
        (-12..=12).contains(&power).then_some(Number::Exact(Decimal::new(1, power)))
    }

    fn magnitude(self) -> Option<Self> {
        let Number::Exact(number) = self else {
            let power = self.to_f64().log10().floor();
            return Number::Float(power).power_of_ten();
        };
        let digits = number.mantissa.checked_ilog10()?;
        let power = i32::try_from(digits).ok()? + i32::from(number.exponent);
        Number::Exact(Decimal::new(i128::from(power), 0)).power_of_ten()
    }

    fn folded(self) -> Option<Self> {
        let x = self.to_f64();
        let whole = |n: i128| Number::Exact(Decimal::new(n, 0));
        match x.abs() {
            size if size <= 1.0 => Some(self),
            size if size <= 2.0 => whole(if x > 0.0 { 2 } else { -2 }).plus(self.negated()?),
            _ => None,
        }
    }
}

/// A float times an exact number: dividing by an exact power of ten rounds once, multiplying by 0.1 would round twice.
fn scaled(a: Number, b: Number) -> Option<f64> {
    match (a, b) {
        (Number::Float(float), Number::Exact(exact)) | (Number::Exact(exact), Number::Float(float)) => {
            let power = 10f64.powi(i32::from(exact.exponent).abs());
            let multiplied = float * exact.mantissa as f64;
            Some(if exact.exponent < 0 { multiplied / power } else { multiplied * power })
        }
        _ => Some(a.to_f64() * b.to_f64()),
    }
}

fn finite(number: f64) -> Option<Number> {
    number.is_finite().then_some(Number::Float(number))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Number(Decimal),
    Point(usize),
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
    PowerOfTen,
    Magnitude,
    Fold,
}

/// A checked formula, as steps of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    text: Arc<str>,
    steps: Vec<Step>,
}

/// Why a text is not a formula.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormulaError {
    /// Which bytes of the text.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
}

impl Formula {
    /// Reads a formula; `find` gives the position of a point's id.
    ///
    /// # Errors
    /// [`FormulaError`] with the place.
    pub fn parse(text: &str, find: &dyn Fn(&str) -> Option<usize>) -> Result<Self, FormulaError> {
        if text.len() > TEXT_MAX {
            return Err(FormulaError { at: 0..text.len(), message: format!("a formula has at most {TEXT_MAX} bytes") });
        }
        let mut parser = Parser { text, at: 0, depth: 0, steps: Vec::new(), find };
        parser.sum()?;
        match parser.peek() {
            None => Ok(Self { text: text.into(), steps: parser.steps }),
            Some(_) => Err(parser.error("expected + - * / or the end")),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The positions of the points in it.
    pub fn points(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(|step| match step {
            Step::Point(i) => Some(*i),
            _ => None,
        })
    }

    /// The result; `None` if a part is missing or the result is no number.
    pub fn value(&self, part: &mut dyn FnMut(usize) -> Option<Number>) -> Option<Number> {
        let mut stack = [Number::Exact(Decimal::new(0, 0)); DEPTH_MAX];
        let mut top = 0;
        for step in &self.steps {
            let result = match *step {
                Step::Number(number) => Some(Number::Exact(number)),
                Step::Point(i) => part(i),
                Step::Negate | Step::PowerOfTen | Step::Magnitude | Step::Fold => {
                    top -= 1;
                    let x = *stack.get(top)?;
                    match step {
                        Step::Negate => x.negated(),
                        Step::PowerOfTen => x.power_of_ten(),
                        Step::Magnitude => x.magnitude(),
                        _ => x.folded(),
                    }
                }
                Step::Add | Step::Subtract | Step::Multiply | Step::Divide => {
                    top -= 2;
                    let (a, b) = (*stack.get(top)?, *stack.get(top + 1)?);
                    match step {
                        Step::Add => a.plus(b),
                        Step::Subtract => a.plus(b.negated()?),
                        Step::Multiply => a.times(b),
                        _ => a.over(b),
                    }
                }
            };
            *stack.get_mut(top)? = result?;
            top += 1;
        }
        Some(stack[0])
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    steps: Vec<Step>,
    find: &'a dyn Fn(&str) -> Option<usize>,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, message: impl Into<String>) -> FormulaError {
        let end = (self.at + 1..=self.text.len()).find(|i| self.text.is_char_boundary(*i)).unwrap_or(self.text.len());
        FormulaError { at: self.at.min(end)..end, message: message.into() }
    }

    fn sum(&mut self) -> Result<(), FormulaError> {
        // What stands to the left waits on the stack while the right side is worked out.
        self.depth += 1;
        if self.depth > BRACKETS_MAX {
            return Err(self.error("the brackets are too deep"));
        }
        self.term()?;
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            self.term()?;
            self.steps.push(if sign == b'+' { Step::Add } else { Step::Subtract });
        }
        self.depth -= 1;
        Ok(())
    }

    fn term(&mut self) -> Result<(), FormulaError> {
        self.factor()?;
        while let Some(sign @ (b'*' | b'/')) = self.peek() {
            self.at += 1;
            self.factor()?;
            self.steps.push(if sign == b'*' { Step::Multiply } else { Step::Divide });
        }
        Ok(())
    }

    fn factor(&mut self) -> Result<(), FormulaError> {
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                self.depth += 1;
                if self.depth > BRACKETS_MAX {
                    return Err(self.error("the signs are too many"));
                }
                self.factor()?;
                self.depth -= 1;
                self.steps.push(Step::Negate);
                Ok(())
            }
            Some(b'(') => self.brackets(),
            Some(b'0'..=b'9') => self.number(),
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => self.name(),
            _ => Err(self.error("expected a point, a number or a bracket")),
        }
    }

    fn brackets(&mut self) -> Result<(), FormulaError> {
        self.at += 1;
        self.sum()?;
        if self.peek() != Some(b')') {
            return Err(self.error("expected the closing bracket"));
        }
        self.at += 1;
        Ok(())
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|b| wanted(*b)).count();
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<(), FormulaError> {
        let start = self.at;
        let text = self.take(|b| b.is_ascii_digit() || b == b'.');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mantissa = format!("{whole}{fraction}").parse().ok();
        match (mantissa, fraction.len()) {
            (Some(mantissa), decimals @ 0..=12) if !text.ends_with('.') => {
                self.steps.push(Step::Number(Decimal::new(mantissa, -(decimals as i8))));
                Ok(())
            }
            _ => Err(FormulaError { at: start..self.at, message: format!("`{text}` is not a number") }),
        }
    }

    fn name(&mut self) -> Result<(), FormulaError> {
        let start = self.at;
        let name = self.take(|b| b.is_ascii_alphanumeric() || b == b'_');
        let at = start..self.at;
        if self.peek() == Some(b'(') {
            let step = match name {
                "pow10" => Step::PowerOfTen,
                "magnitude" => Step::Magnitude,
                "fold4q" => Step::Fold,
                _ => {
                    let message = format!("there is no function `{name}`; there are pow10, magnitude and fold4q");
                    return Err(FormulaError { at, message });
                }
            };
            self.brackets()?;
            self.steps.push(step);
            return Ok(());
        }
        let Some(point) = (self.find)(name) else {
            return Err(FormulaError { at, message: format!("there is no point `{name}` further up") });
        };
        self.steps.push(Step::Point(point));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "n"];

    fn formula(text: &str) -> Result<Formula, FormulaError> {
        Formula::parse(text, &|name| NAMES.iter().position(|n| *n == name))
    }

    fn exact(text: &str, parts: [Option<i128>; 3]) -> Option<String> {
        let formula = formula(text).unwrap();
        let value = formula.value(&mut |i| parts[i].map(|n| Number::Exact(Decimal::new(n, 0))))?;
        value.value().map(|v| v.to_string())
    }

    #[test]
    fn decimals_are_calculated_exactly() {
        let parts = [Some(123_456_789_012_345_678), Some(7), Some(-3)];
        for (text, result) in [
            ("a * 1000 + b", Some("123456789012345678007")),
            ("(a + b) * pow10(n)", Some("123456789012345.685")),
            ("b - 2 * (b - 1)", Some("-5")),
            ("b / 8", Some("0.875")),
            ("b / 3", Some("2.333333333333")),
            ("-b + 0.5", Some("-6.5")),
            ("magnitude(250)", Some("100")),
            ("magnitude(0.5)", Some("0.1")),
            ("fold4q(1.2)", Some("0.8")),
            ("fold4q(0 - 1.2)", Some("-0.8")),
            ("fold4q(0.9)", Some("0.9")),
            ("fold4q(2.5)", None),
            ("magnitude(n)", None),
            ("b / (n + 3)", None),
            ("pow10(13)", None),
            ("pow10(b / 2)", None),
        ] {
            let got = exact(text, parts).map(|t| t.trim_end_matches('0').trim_end_matches('.').to_owned());
            let wanted = result.map(|t| t.trim_end_matches('0').trim_end_matches('.').to_owned());
            assert_eq!(got, wanted, "{text}");
        }
    }

    #[test]
    fn a_missing_part_is_no_value_and_a_float_stays_one() {
        assert_eq!(exact("a + b", [Some(1), None, None]), None);
        let float = formula("a * 0.1 + b").unwrap().value(&mut |i| match i {
            0 => Some(Number::Float(5.0)),
            _ => Some(Number::Exact(Decimal::new(2, 0))),
        });
        assert_eq!(float, Some(Number::Float(2.5)));
    }

    #[test]
    fn a_wrong_formula_is_told_with_its_place() {
        for (text, at) in [
            ("a +", 3..3),
            ("a + c", 4..5),
            ("sqrt(a)", 0..4),
            ("(a", 2..2),
            ("a b", 2..3),
            ("1.", 0..2),
            ("", 0..0),
            ("a ü", 2..4),
        ] {
            assert_eq!(formula(text).unwrap_err().at, at, "{text}");
        }
        assert!(formula(&"(".repeat(400)).is_err());
        assert!(formula(&"-".repeat(400)).is_err());
        assert!(formula(&format!("{}a", "a+".repeat(300))).is_err());
    }

    proptest! {
        /// Whatever is written, it is a formula that can be worked out or an error with a place in the text.
        #[test]
        fn any_text_is_a_formula_or_an_error(text in "[abn0-9+*/() .pow10-]{0,40}") {
            match formula(&text) {
                Ok(formula) => drop(formula.value(&mut |_| Some(Number::Exact(Decimal::new(3, 0))))),
                Err(error) => prop_assert!(text.get(error.at).is_some()),
            }
        }
    }
}
