use super::*;

const B: Order = Order::Big;
const L: Order = Order::Little;
const WB: WordOrder = WordOrder::Big;
const WL: WordOrder = WordOrder::Little;

fn shown(text: &str) -> Shown {
    text.parse().unwrap()
}

fn hex(text: &str) -> Vec<u16> {
    text.split(' ').map(|word| u16::from_str_radix(word, 16).unwrap()).collect()
}

fn sample(words: &str, display: &str) -> Sample {
    Sample { words: hex(words), shown: shown(display) }
}

/// The first guess as people say it: place, form, orders, factor, offset.
fn first(samples: &[Sample]) -> (usize, Form, Order, WordOrder, f64, f64) {
    let guesses = guess(samples).unwrap();
    let best = guesses.first().expect("something fits");
    (best.at, best.form, best.bytes, best.words, best.factor.to_f64(), best.offset.to_f64())
}

#[test]
fn the_usual_registers_are_read_from_one_sample() {
    let cases = [
        ("436A A2CB", "234.6", (0, Form::F32, B, WB, 1.0, 0.0)),
        ("A2CB 436A", "234.6", (0, Form::F32, B, WL, 1.0, 0.0)),
        ("6A43 CBA2", "234.64", (0, Form::F32, L, WB, 1.0, 0.0)),
        ("CBA2 6A43", "234.64", (0, Form::F32, L, WL, 1.0, 0.0)),
        ("092A", "234.6", (0, Form::U16, B, WB, 0.1, 0.0)),
        ("2A09", "234.6", (0, Form::U16, L, WB, 0.1, 0.0)),
        ("FF9C", "-10.0", (0, Form::I16, B, WB, 0.1, 0.0)),
        ("0001 E240", "1234.56", (0, Form::U32, B, WB, 0.01, 0.0)),
        ("E240 0001", "1234.56", (0, Form::U32, B, WL, 0.01, 0.0)),
        ("0012 3456", "1234.56", (0, Form::Bcd(2), B, WB, 0.01, 0.0)),
        ("0000 0000 0001 E240", "123.456", (0, Form::U64, B, WB, 0.001, 0.0)),
        ("405E DD2F 1A9F BE77", "123.456", (0, Form::F64, B, WB, 1.0, 0.0)),
        ("000C 0D80", "123456", (0, Form::Mod10k(2), B, WB, 1.0, 0.0)),
    ];
    for (words, display, expected) in cases {
        assert_eq!(first(&[sample(words, display)]), expected, "{words} shows {display}");
    }
}

#[test]
fn a_value_is_found_in_a_wide_window() {
    let window = "1F3A 8821 0077 0009 436A A2CB 4102 5511 7001";
    assert_eq!(first(&[sample(window, "234.64")]), (4, Form::F32, B, WB, 1.0, 0.0));
}

#[test]
fn kelvin_joules_and_transformers_are_known() {
    assert_eq!(first(&[sample("0BA1", "24.6"), sample("0BC5", "28.2")]), (0, Form::U16, B, WB, 0.1, -273.15));
    let joules = [sample("0001 E240", "34.29"), sample("0010 F447", "308.64")];
    let (_, form, .., factor, _) = first(&joules);
    assert_eq!((form, factor), (Form::U32, 1.0 / 3600.0));
    let ratio = [sample("0F37", "155.80"), sample("1001", "163.88")];
    let (_, form, .., factor, _) = first(&ratio);
    assert_eq!((form, factor), (Form::U16, 0.04));
}

#[test]
fn a_signed_twin_is_told_apart_by_a_negative_number_only() {
    let positive = sample("00FA", "25.0");
    let guesses = guess(std::slice::from_ref(&positive)).unwrap();
    assert!(guesses[0].or_signed && guesses[0].form == Form::U16);
    assert!(guesses.iter().all(|g| g.form != Form::I16 || g.factor != guesses[0].factor));
    let guesses = guess(&[positive, sample("FFCE", "-5.0")]).unwrap();
    assert_eq!((guesses[0].form, guesses[0].or_signed), (Form::I16, false));
}

#[test]
fn what_was_not_read_at_the_same_moment_is_only_near() {
    let guesses = guess(&[sample("436A A2CB", "235.1")]).unwrap();
    let best = &guesses[0];
    assert_eq!((best.form, best.bytes, best.words, best.fit), (Form::F32, B, WB, Fit::Near));
}

#[test]
fn what_cannot_be_compared_is_refused_with_a_reason() {
    assert_eq!(guess(&[]), Err(GuessError::Samples));
    assert_eq!(guess(&[Sample { words: vec![], shown: shown("1") }]), Err(GuessError::Words));
    assert_eq!(guess(&[sample("0001", "1"), sample("0001 0002", "1")]), Err(GuessError::Lengths(1, 2)));
    assert_eq!(guess(&[sample("0000", "0.0")]), Err(GuessError::OnlyZero));
    for text in ["", "-", "1.", ".5", "1e3", "12,5", "0x10", "1.2.3", "nan"] {
        assert!(matches!(text.parse::<Shown>(), Err(GuessError::NotANumber(_))), "{text}");
    }
    assert_eq!("1234567890123456".parse::<Shown>(), Err(GuessError::TooManyDigits));
}

/// A linear congruential generator (Knuth's MMIX): the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Words that hold a number of the form, with enough digits on the display to say something.
fn words_of(form: Form, negative: bool, dice: &mut Dice) -> Vec<u16> {
    let sign = if negative { -1 } else { 1 };
    let bits: u64 = match form {
        Form::U16 => 10_000 + dice.below(55_000),
        Form::I16 => (sign * (10_000 + dice.below(22_000) as i64)) as u16 as u64,
        Form::U32 => 1_000_000 + dice.below(4_000_000_000),
        Form::I32 => (sign * (1_000_000 + dice.below(2_000_000_000) as i64)) as u32 as u64,
        Form::U64 => 100_000_000_000 + dice.below(800_000_000_000),
        Form::I64 => (sign * (100_000_000_000 + dice.below(800_000_000_000) as i64)) as u64,
        Form::F32 => u64::from((sign as f32 * (100.0 + dice.below(90_000_000) as f32 / 1_000.0)).to_bits()),
        Form::F64 => (sign as f64 * (100.0 + dice.below(90_000_000_000) as f64 / 1_000_000.0)).to_bits(),
        Form::F16 => 0x5C00 + dice.below(0x0FFF) + if negative { 0x8000 } else { 0 },
        Form::Bcd(words) => {
            let digits = (u32::from(words) * 4).min(11);
            let number = 10u64.pow(digits - 1) + dice.below(9 * 10u64.pow(digits - 1));
            (0..digits).fold(0, |bits, i| bits | (number / 10u64.pow(i) % 10) << (4 * i))
        }
        Form::U48 => 100_000_000 + dice.below(200_000_000_000),
        Form::Mod10k(words) => {
            // One to nine hundred in front, so that fifteen digits are enough for all of them.
            let first = if words == 4 { 0 } else { 1 + dice.below(900) };
            let rest = (1..words).fold(first, |bits, _| bits << 16 | (1 + dice.below(9_999)));
            rest | if negative { 0x8000 << (16 * (words - 1)) } else { 0 }
        }
    };
    (0..form.words()).rev().map(|i| (bits >> (16 * i)) as u16).collect()
}

fn ordered(plain: Vec<u16>, bytes: Order, order: WordOrder) -> Vec<u16> {
    let mut words = plain.clone();
    for (i, word) in plain.iter().enumerate() {
        words[order.place(i, plain.len())] = *word;
    }
    if bytes == Order::Little {
        words.iter_mut().for_each(|w| *w = w.swap_bytes());
    }
    words
}

/// What a display with a fitting step shows of a number: five digits, or all of an integer's.
fn display(value: f64, factor: Factor) -> String {
    let size = value.abs().log10().floor() as i32;
    let decimals = match factor.kind {
        FactorKind::PowerOfTen if factor.number.exponent <= 0 => {
            (-i32::from(factor.number.exponent)).max(4 - size).min(14 - size)
        }
        _ => 4 - size,
    };
    format!("{value:.*}", decimals.clamp(0, 9) as usize)
}

fn catalogue() -> Vec<Factor> {
    let mut factors: Vec<Factor> =
        (-4..=3).map(|e| Factor { number: Decimal::new(1, e), divisor: 1, kind: FactorKind::PowerOfTen }).collect();
    factors.push(Factor { number: Decimal::new(1, 0), divisor: 3600, kind: FactorKind::Hours });
    for ratio in [4, 20, 30, 60, 120] {
        factors.push(Factor { number: Decimal::new(ratio, 0), divisor: 1, kind: FactorKind::TransformerRatio });
    }
    factors.push(Factor { number: Decimal::new(625, -4), divisor: 1, kind: FactorKind::BinaryFraction });
    factors
}

/// The doctor's raw numbers are the decoder's.
#[test]
fn every_form_reads_as_the_decoder_does() {
    use crate::decode::decode;
    use crate::profile::{PointDef, Registers, Source, Table};
    let mut dice = Dice(3);
    for form in Form::ALL {
        for (bytes, words) in form.orders() {
            for round in 0..200 {
                let count = form.words();
                let random = (0..count).map(|_| dice.below(65_536) as u16).collect();
                let window =
                    if round % 2 == 0 { random } else { ordered(words_of(form, false, &mut dice), bytes, words) };
                let place =
                    Registers { bytes, words, count: count as u16, ..Registers::new(Table::Holding, 0, form.wire()) };
                let point = PointDef::new("p", Source::Registers(place));
                let decoded = decode(&point, &window).ok().and_then(|v| v.as_f64());
                assert_eq!(form.raw(&window, bytes, words), decoded, "{form:?} {bytes:?} {words:?} {window:04X?}");
            }
        }
    }
}

/// Each type, order and scale, many times: the truth is among the first three with two samples, and first with three.
#[test]
fn the_truth_is_among_three_from_two_samples_and_first_from_three() {
    let mut dice = Dice(7);
    let mut ranks = [0u32; 3];
    for form in Form::ALL {
        for (bytes, words) in form.orders() {
            for factor in catalogue() {
                for round in 0..2 {
                    let has_sign = !matches!(form, Form::U16 | Form::U32 | Form::U48 | Form::U64 | Form::Bcd(_));
                    let one = |i: u32, dice: &mut Dice| {
                        let plain = words_of(form, has_sign && i == 0, dice);
                        let raw = form.raw(&plain, B, WB).unwrap();
                        let display = display(raw * factor.to_f64(), factor);
                        Sample { words: ordered(plain, bytes, words), shown: shown(&display) }
                    };
                    let samples: Vec<Sample> = (0..3).map(|i| one(i, &mut dice)).collect();
                    let is_truth = |g: &Guess| {
                        (g.at, g.form, g.bytes, g.words) == (0, form, bytes, words)
                            && (g.factor.to_f64() / factor.to_f64() - 1.0).abs() < 1e-12
                            && g.offset.mantissa == 0
                    };
                    let rank = |n: usize| guess(&samples[..n]).unwrap().iter().position(is_truth);
                    let what = format!("{form:?} {bytes:?} {words:?} {factor:?} round {round}: {samples:?}");
                    assert!(rank(2).is_some_and(|r| r < 3), "not among three from two: {what}");
                    assert_eq!(rank(3), Some(0), "not first from three: {what}");
                    ranks[rank(1).map_or(2, |r| r.min(2))] += 1;
                }
            }
        }
    }
    // One sample alone is no proof, but it is a good hint.
    assert!(ranks[0] > 3 * (ranks[1] + ranks[2]), "{ranks:?}");
}

/// In a window full of other numbers, two samples find the place.
#[test]
fn the_place_in_a_wide_window_is_found_from_two_samples() {
    let mut dice = Dice(11);
    for form in [Form::U16, Form::U32, Form::F32, Form::U64, Form::Bcd(2)] {
        for (bytes, words) in form.orders() {
            for _ in 0..20 {
                let at = dice.below(36) as usize;
                let factor = Factor { number: Decimal::new(1, -1), divisor: 1, kind: FactorKind::PowerOfTen };
                let one = |dice: &mut Dice| {
                    let mut window: Vec<u16> = (0..40).map(|_| dice.below(65_536) as u16).collect();
                    let plain = words_of(form, false, dice);
                    let raw = form.raw(&plain, B, WB).unwrap();
                    let own = ordered(plain, bytes, words);
                    window[at..at + own.len()].copy_from_slice(&own);
                    Sample { words: window, shown: shown(&display(raw * factor.to_f64(), factor)) }
                };
                let samples = [one(&mut dice), one(&mut dice)];
                let guesses = guess(&samples).unwrap();
                let found = &guesses[0];
                assert_eq!((found.at, found.form, found.bytes, found.words), (at, form, bytes, words), "{guesses:?}");
            }
        }
    }
}

/// What a technician tries first: everything one request brings, against a display of one digit.
#[test]
fn a_digit_that_thousands_of_readings_meet_is_answered_and_no_twin_stands_beside_its_own() {
    let samples = [Sample { words: (0..WORDS_MAX as u16).map(|i| i % 7).collect(), shown: shown("1") }];
    let guesses = guess(&samples).unwrap();
    assert!(guesses.len() > 5_000, "{}", guesses.len());
    let alike =
        |g: &Guess| format!("{} {:?} {:?} {:?} {} {}", g.at, g.bytes, g.words, g.factor, g.offset, g.form.words());
    let merged: HashSet<String> =
        guesses.iter().filter(|g| g.form.signed().is_some() && g.or_signed).map(alike).collect();
    let signed = |g: &&Guess| matches!(g.form, Form::I16 | Form::I32 | Form::I64);
    assert!(!merged.is_empty());
    assert_eq!(guesses.iter().filter(signed).filter(|g| merged.contains(&alike(g))).count(), 0);
}
