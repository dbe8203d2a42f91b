//! The decode doctor: which reading of these registers gives the number on the display?
//!
//! Makers' documents leave out the order of bytes and words, or print it wrong, and people try them all by hand. Here
//! every way a register map is known to hold a number is tried at once, and those that give what the display shows are
//! ranked:
//!
//! ```text
//! words ──► place in the window ──► form, byte and word order ──► raw × factor (+ offset) ──► within the display's step?
//!                                                                                              │ of every sample
//!                                              fewest assumptions first ◄── cost in tenths of a bit
//! ```
//!
//! * The display has a step: `234.6` stands for anything that is rounded or cut off to it. Each sample leaves an
//!   interval of factors; only what lies in all of them counts.
//! * The cost of a reading is what must be assumed for it, in tenths of a bit (10 = half as likely): a rare type, a
//!   swapped order, a factor that is no power of ten, an offset, words of the window left over. The cheapest comes
//!   first. The numbers are judgement, laid down in [`cost`](self::cost), and tested for the order they give.
//! * An unsigned number and its signed twin that agree on every sample are one [`Guess`]; only a negative number tells.
//! * If nothing fits to the last digit, readings within [`NEAR`] are offered: display and registers may not have been
//!   read at the same moment.
//!
//! The arithmetic is in doubles. That is enough for [`DIGITS_MAX`] digits, and nothing is billed by it: the reading
//! that a person chooses goes into a profile, whose decoder is exact.

use std::collections::HashSet;

use crate::profile::{Order, WordOrder};
use crate::reading::Decimal;

mod cost;
mod factor;
mod form;

pub use self::factor::{Factor, FactorKind};
pub use self::form::Form;

/// Words of one window: what one request can bring.
pub const WORDS_MAX: usize = 125;

/// Samples that are looked at together.
pub const SAMPLES_MAX: usize = 16;

/// Significant digits of a display.
pub const DIGITS_MAX: usize = 15;

/// How far a reading may lie from the display, relative to it, if nothing fits to the last digit.
pub const NEAR: f64 = 0.01;

/// The number on a display, with the step the display has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    value: f64,
    step: f64,
    digits: usize,
}

impl Shown {
    /// The number on the display.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Its significant digits; zeros in front do not count, those behind do.
    pub fn digits(&self) -> usize {
        self.digits
    }
}

impl std::str::FromStr for Shown {
    type Err = GuessError;

    /// Reads what stands on the display, digit by digit: `234.6`, `-5.00`, `000123.4`. A trailing zero is a digit.
    fn from_str(text: &str) -> Result<Self, GuessError> {
        let wrong = || GuessError::NotANumber(text.chars().take(32).collect());
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !is_digits(whole)
            || !is_digits(fraction)
            || (unsigned.contains('.') && fraction.is_empty())
        {
            return Err(wrong());
        }
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').count();
        if digits > DIGITS_MAX || fraction.len() > DIGITS_MAX {
            return Err(GuessError::TooManyDigits);
        }
        let value: f64 = text.parse().map_err(|_| wrong())?;
        Ok(Self { value, step: 10f64.powi(-(fraction.len() as i32)), digits })
    }
}

/// Registers, in the order in which they were received, and what the display showed at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The words of the window.
    pub words: Vec<u16>,
    /// The number on the display.
    pub shown: Shown,
}

/// Why nothing can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuessError {
    /// Not digits with at most one point.
    #[error("`{0}` is not a number on a display; write its digits and the point, such as 234.6, without unit")]
    NotANumber(String),
    /// More digits than a double holds.
    #[error("a display shows at most {DIGITS_MAX} digits")]
    TooManyDigits,
    /// No sample, or too many.
    #[error("give 1 to {SAMPLES_MAX} samples, each with its words and what the display shows")]
    Samples,
    /// An empty window, or one no request could have brought.
    #[error("a sample has 1 to {WORDS_MAX} words")]
    Words,
    /// Windows that differ in length.
    #[error("the samples have {0} and {1} words; read the same registers each time")]
    Lengths(usize, usize),
    /// A display of zero fits every scale.
    #[error("a display that shows 0 fits every type and scale; take a sample while it shows something else")]
    OnlyZero,
}

/// How well a reading meets the display, over all samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// To the last digit, with nothing left over.
    Exact,
    /// Rounded to the display's step.
    Rounded,
    /// Cut off at the display's last digit.
    Cut,
    /// Only within [`NEAR`].
    Near,
}

/// One way to read the registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The first word, counted from the start of the window.
    pub at: usize,
    /// The type on the wire.
    pub form: Form,
    /// Its signed twin reads the same on every sample.
    pub or_signed: bool,
    /// Which byte of a register comes first.
    pub bytes: Order,
    /// Which register of the value comes first.
    pub words: WordOrder,
    /// What the raw number is multiplied with.
    pub factor: Factor,
    /// What is added afterwards; zero for most.
    pub offset: Decimal,
    /// How well it meets the display.
    pub fit: Fit,
    /// What must be assumed for it, in tenths of a bit; the smaller the likelier.
    pub cost: u32,
}

impl Guess {
    /// What it makes of the words of a window; `None` if they are no number of this form.
    pub fn value(&self, window: &[u16]) -> Option<f64> {
        let words = window.get(self.at..self.at + self.form.words())?;
        let raw = self.form.raw(words, self.bytes, self.words)?;
        Some(raw * self.factor.to_f64() + self.offset.to_f64())
    }
}

/// Every reading that gives what the display shows in all samples, the likeliest first.
///
/// # Errors
/// [`GuessError`] if there is nothing to compare.
pub fn guess(samples: &[Sample]) -> Result<Vec<Guess>, GuessError> {
    check(samples)?;
    let mut found = Vec::new();
    for fits in [true, false] {
        each_form(samples, |candidate| if fits { candidate.exactly(&mut found) } else { candidate.nearly(&mut found) });
        if !found.is_empty() {
            break;
        }
    }
    merge_twins(&mut found, samples);
    found.sort_by_key(|g| (g.cost, g.at, g.form));
    Ok(found)
}

fn check(samples: &[Sample]) -> Result<(), GuessError> {
    let first = samples.first().filter(|_| samples.len() <= SAMPLES_MAX).ok_or(GuessError::Samples)?;
    let length = first.words.len();
    if !(1..=WORDS_MAX).contains(&length) {
        return Err(GuessError::Words);
    }
    if let Some(other) = samples.iter().find(|s| s.words.len() != length) {
        return Err(GuessError::Lengths(length, other.words.len()));
    }
    if samples.iter().all(|s| s.shown.value == 0.0) {
        return Err(GuessError::OnlyZero);
    }
    Ok(())
}

/// One place, form and order, with the raw number of each sample beside what was shown.
struct Candidate {
    at: usize,
    form: Form,
    bytes: Order,
    words: WordOrder,
    window: usize,
    pairs: Vec<(f64, Shown)>,
}

fn each_form(samples: &[Sample], mut see: impl FnMut(&Candidate)) {
    let window = samples.first().map_or(0, |s| s.words.len());
    for form in Form::ALL {
        for at in 0..(window + 1).saturating_sub(form.words()) {
            for (bytes, words) in form.orders() {
                let raw = |s: &Sample| Some((form.raw(&s.words[at..at + form.words()], bytes, words)?, s.shown));
                let Some(pairs) = samples.iter().map(raw).collect::<Option<Vec<_>>>() else { continue };
                see(&Candidate { at, form, bytes, words, window, pairs });
            }
        }
    }
}

impl Candidate {
    /// Every factor and offset with which the numbers are what the display shows.
    fn exactly(&self, found: &mut Vec<Guess>) {
        let zero = Decimal::new(0, 0);
        let mut offsets = vec![zero];
        offsets.extend(cost::OFFSETS.iter().map(|(offset, _)| *offset));
        let before = found.len();
        for offset in offsets {
            let Some((low, high)) = self.factors(offset) else { continue };
            for factor in factor::within(low, high) {
                // An offset is assumed with a plain factor only: both together fit too much.
                if offset == zero || factor.kind == FactorKind::PowerOfTen {
                    self.keep(factor, offset, found);
                }
            }
        }
        if found.len() > before || !self.moves() {
            return;
        }
        if let Some((low, high)) = self.factors(zero)
            && let Some(factor) = Factor::simplest(low, high)
        {
            self.keep(factor, zero, found);
        }
        for factor in factor::powers_of_ten() {
            if let Some(offset) = self.offset(factor) {
                self.keep(factor, offset, found);
            }
        }
    }

    /// Plain factors with which the numbers come near what the display shows.
    fn nearly(&self, found: &mut Vec<Guess>) {
        for factor in factor::powers_of_ten() {
            let near = |(raw, shown): &(f64, Shown)| {
                (raw * factor.to_f64() - shown.value).abs() <= (shown.value.abs() * NEAR).max(shown.step)
            };
            if self.pairs.iter().all(near) {
                found.push(self.made(factor, Decimal::new(0, 0), Fit::Near));
            }
        }
    }

    /// The factors that bring every sample within one step of the display.
    fn factors(&self, offset: Decimal) -> Option<(f64, f64)> {
        let (mut low, mut high) = (0.0_f64, f64::INFINITY);
        for (raw, shown) in &self.pairs {
            let target = shown.value - offset.to_f64();
            if *raw == 0.0 {
                if target.abs() >= shown.step {
                    return None;
                }
                continue;
            }
            let (a, b) = ((target - shown.step) / raw, (target + shown.step) / raw);
            low = low.max(a.min(b));
            high = high.min(a.max(b));
        }
        // Only positive factors: a register that counts the other way round is not known of.
        (low < high && high.is_finite()).then_some((low, high))
    }

    /// The simplest offset with which this factor fits every sample.
    fn offset(&self, factor: Factor) -> Option<Decimal> {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for (raw, shown) in &self.pairs {
            let rest = shown.value - raw * factor.to_f64();
            low = low.max(rest - shown.step / 2.0);
            high = high.min(rest + shown.step / 2.0);
        }
        let offset = factor::simplest_decimal(low, high)?;
        (offset.mantissa != 0).then_some(offset)
    }

    /// Whether the samples differ by more than rounding: only then do they say anything about a factor nobody knows.
    fn moves(&self) -> bool {
        let shown = |pick: fn(f64, f64) -> f64| self.pairs.iter().map(|(_, s)| s.value).reduce(pick).unwrap_or(0.0);
        let step = self.pairs.iter().map(|(_, s)| s.step).fold(0.0, f64::max);
        shown(f64::max) - shown(f64::min) >= 8.0 * step
    }

    fn keep(&self, factor: Factor, offset: Decimal, found: &mut Vec<Guess>) {
        let fit = self.pairs.iter().try_fold(Fit::Exact, |worst, (raw, shown)| {
            let value = raw * factor.to_f64() + offset.to_f64();
            Some(worst.max(fit(value, *shown, self.form)?))
        });
        if let Some(fit) = fit {
            found.push(self.made(factor, offset, fit));
        }
    }

    fn made(&self, factor: Factor, offset: Decimal, fit: Fit) -> Guess {
        let mut guess = Guess {
            at: self.at,
            form: self.form,
            or_signed: false,
            bytes: self.bytes,
            words: self.words,
            factor,
            offset,
            fit,
            cost: 0,
        };
        guess.cost = cost::of(&guess, self.window);
        guess
    }
}

/// How well a number meets a display; `None` if the display would show something else.
fn fit(value: f64, shown: Shown, form: Form) -> Option<Fit> {
    let slack = (shown.value.abs() * form.precision()).max(shown.step * 1e-9);
    let off = (value - shown.value).abs();
    if off <= slack {
        Some(Fit::Exact)
    } else if off <= shown.step / 2.0 + slack {
        Some(Fit::Rounded)
    } else if off < shown.step && value.abs() > shown.value.abs() {
        Some(Fit::Cut)
    } else {
        None
    }
}

/// Takes the signed twin out where it says the same as the unsigned one.
fn merge_twins(found: &mut Vec<Guess>, samples: &[Sample]) {
    let parts = |number: Decimal| (number.mantissa, number.exponent);
    let key = |g: &Guess| (g.at, g.form, g.bytes, g.words, parts(g.factor.number), g.factor.divisor, parts(g.offset));
    // A display of one digit is met by thousands of readings of a whole window: no twin is looked for one by one.
    let mut twins = HashSet::new();
    for guess in found.iter_mut() {
        if let Some(signed) = guess.form.signed() {
            let twin = Guess { form: signed, ..guess.clone() };
            if samples.iter().all(|s| twin.value(&s.words) == guess.value(&s.words)) {
                guess.or_signed = true;
                twins.insert(key(&twin));
            }
        }
    }
    found.retain(|g| !twins.contains(&key(g)));
}

#[cfg(test)]
mod tests;
