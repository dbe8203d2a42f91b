//! What a reading costs: how much must be assumed for it, in tenths of a bit.
//!
//! Ten tenths say "half as likely". The order of the list is the only thing that matters; the numbers are judged from
//! the register maps of the library and from what people report about others.

use crate::profile::{Order, WordOrder};
use crate::reading::Decimal;

use super::{Factor, FactorKind, Fit, Form, Guess};

/// Offsets devices are known to have, and what each costs: Kelvin, sensors that begin at -40, -50 or -100.
pub(super) const OFFSETS: [(Decimal, u32); 5] = [
    (Decimal::new(-27_315, -2), 60),
    (Decimal::new(-40, 0), 60),
    (Decimal::new(-50, 0), 70),
    (Decimal::new(-100, 0), 70),
    (Decimal::new(-273, 0), 70),
];

/// An offset that only the samples speak for, and each digit of it.
const OFFSET_OTHER: u32 = 100;
const DIGIT: u32 = 10;

/// Words left over in a window so short that somebody chose it for the value.
const LEFT_OVER: u32 = 30;

/// The longest window somebody may have chosen for one value.
const CHOSEN_MAX: usize = 4;

pub(super) fn of(guess: &Guess, window: usize) -> u32 {
    let left_over = window <= CHOSEN_MAX && guess.form.words() < window;
    form(guess.form)
        + order(guess.form, guess.bytes, guess.words)
        + factor(guess.form, guess.factor)
        + offset(guess.offset)
        + fit(guess.fit)
        + if left_over { LEFT_OVER } else { 0 }
}

fn form(form: Form) -> u32 {
    match form {
        Form::U16 => 0,
        Form::U32 | Form::F32 => 2,
        Form::I16 | Form::I32 => 8,
        Form::U64 => 10,
        Form::F64 => 12,
        Form::I64 => 16,
        Form::Bcd(1 | 2) => 20,
        Form::Bcd(_) => 25,
        Form::U48 => 30,
        Form::Mod10k(2) => 45,
        Form::Mod10k(_) => 50,
        Form::F16 => 55,
    }
}

fn order(form: Form, bytes: Order, words: WordOrder) -> u32 {
    match (bytes, words) {
        (Order::Big, WordOrder::Big) => 0,
        (Order::Big, WordOrder::Little) => 10,
        (Order::Little, WordOrder::Little) => 30,
        // A single register has no order of words.
        (Order::Little, WordOrder::Big) if form.words() == 1 => 40,
        (Order::Little, WordOrder::Big) => 42,
        (Order::Big, WordOrder::SwappedInPairs | WordOrder::SwappedPairs) => 40,
        (Order::Little, WordOrder::SwappedInPairs | WordOrder::SwappedPairs) => 60,
    }
}

fn factor(form: Form, factor: Factor) -> u32 {
    let known = match factor.kind {
        FactorKind::PowerOfTen => match factor.number.exponent {
            0 => 0,
            -3..=-1 => 5,
            3 => 12,
            1 | 2 | -4 => 20,
            _ => 40,
        },
        FactorKind::Hours => 50,
        FactorKind::TransformerRatio => 55,
        FactorKind::BinaryFraction => 60,
        FactorKind::Other => 80 + digits(factor.number) * DIGIT,
    };
    // A device that sends a float has no need of a factor.
    let needless = matches!(form, Form::F16 | Form::F32 | Form::F64) && factor.to_f64() != 1.0;
    known + if needless { 15 } else { 0 }
}

fn offset(offset: Decimal) -> u32 {
    if offset.mantissa == 0 {
        return 0;
    }
    let known = OFFSETS.iter().find(|(o, _)| *o == offset);
    known.map_or_else(|| OFFSET_OTHER + digits(offset) * DIGIT, |(_, cost)| *cost)
}

fn fit(fit: Fit) -> u32 {
    match fit {
        Fit::Exact => 0,
        Fit::Rounded => 15,
        Fit::Cut => 35,
        Fit::Near => 120,
    }
}

fn digits(number: Decimal) -> u32 {
    number.mantissa.unsigned_abs().checked_ilog10().unwrap_or(0) + 1
}
