//! `guanjia decode`: which reading of these registers gives the number on the display?

use std::process::ExitCode;

use clap::Args;
use guanjia_core::guess::{Factor, FactorKind, Fit, Form, Guess, Sample, Shown, guess};
use guanjia_core::profile::{Order, WordOrder};
use guanjia_core::reading::Decimal;
use serde_json::{Value, json};

use super::text::{columns, hex};
use super::{EXIT_CODES, Trouble, end, usage};

/// Guesses that are shown.
const SHOWN_MAX: usize = 5;

const LONG_HELP: &str = "\
Give the registers as they came, and the digits the display showed at that moment:

    guanjia decode --words \"436A A2CB\" --shows 234.6

One sample is a hint, two settle most, three nearly all: repeat both options, for the same registers at another value.
The window may be wider than the value; its place is found.

    guanjia decode --words \"0000 E2B1 0BA1\" --shows 24.6 --words \"0000 E2B1 0BC5\" --shows 28.2

Words are hexadecimal, in the order received, with or without spaces. Trailing zeros of the display are digits.

JSON: {samples, words, guesses: [{rank, at, type, registers, bytes, words, scale, divisor, offset, fit, cost, or_signed,
values, profile}]}; `at` counts words from the start of the window, `fit` is exact, rounded, cut or near, `cost` is in
tenths of a bit, `profile` is the snippet.";

/// Options of `guanjia decode`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    /// Registers of one sample, in hexadecimal: "436A A2CB" or "43 6A A2 CB"
    #[arg(long, value_name = "HEX", required = true)]
    words: Vec<String>,
    /// What the display showed: 234.6
    #[arg(long, value_name = "NUMBER", required = true, allow_hyphen_values = true)]
    shows: Vec<String>,
    /// The address of the first register, for the snippet
    #[arg(long, value_name = "N")]
    address: Option<String>,
    /// Show every reading that fits
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Guesses and prints.
pub fn run(options: &Options) -> ExitCode {
    end(decode(options))
}

fn decode(options: &Options) -> Result<ExitCode, Trouble> {
    let samples = samples(options)?;
    let address = options.address.as_deref().map(|a| super::text::number(a, "address")).transpose()?;
    let mut guesses = guess(&samples).map_err(|error| usage(error.to_string()))?;
    let found = guesses.len();
    if !options.all {
        guesses.truncate(SHOWN_MAX);
    }
    if options.json {
        println!("{:#}", as_json(&guesses, &samples, address));
    } else if guesses.is_empty() {
        println!("{}", nothing(&samples));
    } else {
        print!("{}", as_text(&guesses, found, &samples, address));
    }
    Ok(if guesses.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn samples(options: &Options) -> Result<Vec<Sample>, Trouble> {
    if options.words.len() != options.shows.len() {
        return Err(usage(format!(
            "{} times --words and {} times --shows: each sample has both",
            options.words.len(),
            options.shows.len()
        )));
    }
    let sample = |(words, shows): (&String, &String)| {
        let shown: Shown = shows.parse().map_err(|e: guanjia_core::guess::GuessError| usage(e.to_string()))?;
        Ok(Sample { words: self::words(words)?, shown })
    };
    options.words.iter().zip(&options.shows).map(sample).collect()
}

/// Registers from hexadecimal digits, whatever stands between them.
fn words(text: &str) -> Result<Vec<u16>, Trouble> {
    let wrong = || usage(format!("`{text}` are no registers; write four hexadecimal digits each: \"436A A2CB\""));
    let digits: String = text
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '-'))
        .map(|part| part.strip_prefix("0x").unwrap_or(part))
        .collect();
    if digits.is_empty() || !digits.len().is_multiple_of(4) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let word = |four: &[u8]| std::str::from_utf8(four).ok().and_then(|four| u16::from_str_radix(four, 16).ok());
    digits.as_bytes().chunks(4).map(word).collect::<Option<_>>().ok_or_else(wrong)
}

fn as_text(guesses: &[Guess], found: usize, samples: &[Sample], address: Option<u16>) -> String {
    let mut rows =
        vec![["", "word", "type", "bytes", "words", "scale", "offset", "reads", "fit"].map(String::from).to_vec()];
    for (i, g) in guesses.iter().enumerate() {
        let values: Vec<String> = samples.iter().map(|s| display(g, s)).collect();
        rows.push(vec![
            format!("{}.", i + 1),
            g.at.to_string(),
            type_text(g),
            word(g.bytes),
            if g.form.words() > 1 { word(g.words) } else { "-".to_owned() },
            scale_text(g.factor),
            if g.offset.mantissa == 0 { "-".to_owned() } else { g.offset.to_string() },
            values.join(", "),
            fit_text(g.fit).to_owned(),
        ]);
    }
    let mut text = columns(&rows);
    if found > guesses.len() {
        text += &format!("... and {} more, see --all\n", found - guesses.len());
    }
    text += &format!("\n{}\n", advice(guesses, samples));
    if let Some(best) = guesses.first() {
        text += &format!("\nThe first one in a profile:\n\n{}", snippet(best, address));
    }
    text
}

/// How sure this is, and what would make it surer.
fn advice(guesses: &[Guess], samples: &[Sample]) -> String {
    let (Some(best), digits) = (guesses.first(), samples.iter().map(|s| s.shown.digits()).max().unwrap_or(0)) else {
        return String::new();
    };
    let mut text = match best.fit {
        Fit::Near => {
            "Nothing gives the display to its last digit. Read registers and display at the same moment.".to_owned()
        }
        _ if samples.len() == 1 && digits < 3 => {
            format!("A display with {digits} digits fits many readings by chance. Take a sample with more digits.")
        }
        _ if samples.len() == 1 => {
            format!("One sample of {digits} digits is a hint. A second one at another value settles it.")
        }
        _ => match guesses.get(1).map(|second| second.cost.saturating_sub(best.cost)) {
            Some(0..=9) => {
                "The first two are as good as each other. Take one more sample at quite another value.".to_owned()
            }
            _ => format!("{} samples agree on the first one.", samples.len()),
        },
    };
    if best.or_signed {
        text += " Whether it has a sign only a negative number tells.";
    }
    text
}

fn nothing(samples: &[Sample]) -> String {
    let words = samples.iter().map(|s| hex(&s.words)).collect::<Vec<_>>().join(" / ");
    format!(
        "No known type, order, scale and offset makes {words} what the display shows.\n\
         Check that these are the registers of that value, that they were read in the same moment as the display, and \
         take a wider window:\n    guanjia read --link URL --unit N holding ADDRESS 20"
    )
}

/// The value as far as its type holds it: seven digits of a float, all of the others.
fn display(guess: &Guess, sample: &Sample) -> String {
    match (guess.value(&sample.words), guess.form) {
        (None, _) => "-".to_owned(),
        (Some(value), Form::F16 | Form::F32) => (value as f32).to_string(),
        (Some(value), _) => {
            let text = format!("{value:.9}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

fn type_text(guess: &Guess) -> String {
    let name = word(guess.form.wire());
    match guess.form.signed().filter(|_| guess.or_signed) {
        Some(signed) => format!("{name} or {}", word(signed.wire())),
        None => name,
    }
}

/// A type or an order as profiles write it.
fn word(of: impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn scale_text(factor: Factor) -> String {
    let number =
        if factor.divisor == 1 { factor.number.to_string() } else { format!("{}/{}", factor.number, factor.divisor) };
    let what = match factor.kind {
        FactorKind::TransformerRatio => " (transformer)",
        FactorKind::BinaryFraction => " (binary)",
        FactorKind::Hours => " (hours)",
        FactorKind::PowerOfTen | FactorKind::Other => "",
    };
    number + what
}

fn fit_text(fit: Fit) -> &'static str {
    match fit {
        Fit::Exact => "exact",
        Fit::Rounded => "rounded",
        Fit::Cut => "cut",
        Fit::Near => "near",
    }
}

/// The reading as a `[[point]]`, to be pasted and named.
fn snippet(guess: &Guess, address: Option<u16>) -> String {
    let place = match address {
        Some(first) => format!("address = {}", u32::from(first) + guess.at as u32),
        None => format!("address = {}   # the address of the first word of the window, plus {0}", guess.at),
    };
    let mut text = format!(
        "[[point]]\nid = \"\"\nname = {{ zh = \"\", en = \"\" }}\ntable = \"holding\"\n{place}\ntype = \"{}\"\n",
        word(guess.form.wire())
    );
    if let Form::Bcd(words) | Form::Mod10k(words) = guess.form {
        text += &format!("registers = {words}\n");
    }
    if guess.bytes == Order::Little {
        text += "bytes = \"little\"\n";
    }
    if guess.form.words() > 1 && guess.words != WordOrder::Big {
        text += &format!("words = \"{}\"\n", word(guess.words));
    }
    if guess.factor.to_f64() != 1.0 {
        text += &format!("scale = {}\n", decimal_scale(guess.factor));
    }
    if guess.offset.mantissa != 0 {
        text += &format!("offset = {}\n", guess.offset);
    }
    text + "unit = \"\"\n"
}

/// The factor as a profile writes it: a decimal number.
fn decimal_scale(factor: Factor) -> String {
    if factor.divisor == 1 {
        return factor.number.to_string();
    }
    let places = 12;
    let mantissa = (factor.to_f64() * 1e12).round() as i128;
    let exactly = format!("{}/{}", factor.number, factor.divisor);
    format!("{}   # {exactly} to {places} places", Decimal::new(mantissa, -places))
}

fn as_json(guesses: &[Guess], samples: &[Sample], address: Option<u16>) -> Value {
    let one = |(i, g): (usize, &Guess)| {
        json!({
            "rank": i + 1,
            "at": g.at,
            "type": word(g.form.wire()),
            "registers": g.form.words(),
            "bytes": g.bytes,
            "words": g.words,
            "scale": g.factor.number.to_string(),
            "divisor": g.factor.divisor,
            "offset": g.offset.to_string(),
            "fit": fit_text(g.fit),
            "cost": g.cost,
            "or_signed": g.or_signed,
            "values": samples.iter().map(|s| g.value(&s.words)).collect::<Vec<_>>(),
            "profile": snippet(g, address),
        })
    };
    json!({
        "samples": samples.len(),
        "words": samples.first().map_or(0, |s| s.words.len()),
        "guesses": guesses.iter().enumerate().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_however_they_are_pasted() {
        for text in ["436A A2CB", "43 6A A2 CB", "0x436A,0xA2CB", "436aa2cb", "43:6A:A2:CB"] {
            assert_eq!(words(text).ok(), Some(vec![0x436A, 0xA2CB]), "{text}");
        }
        for text in ["", "436", "43 6A A2", "436G", "17258"] {
            assert!(matches!(words(text), Err(Trouble::Usage(_))), "{text}");
        }
    }
}
