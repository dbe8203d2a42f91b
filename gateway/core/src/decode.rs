//! Register words to values, exactly or not at all.
//!
//! Integers stay integers: the scale moves into the [`Decimal`]'s mantissa and exponent, and no digit is ever rounded.
//! Only what the device itself sends as IEEE 754 becomes a float. A nibble above 9 in a BCD counter, a NaN, an infinite
//! number, unprintable text or a number of words that does not fit the type are errors with a name, never a zero.
//!
//! ```text
//! words as received ──► bytes within each word ──► order of the words ──► raw ──► "no value"? ──► mask ──► type ──► scale
//!                                                                                                                  │
//!                    value ◄── unit of the device ◄── ratios ◄── offset ◄── power of ten from another register ◄───┘
//! ```
//!
//! [`decode`] is the way of a value that stands for itself; what lies on the second row beyond the offset needs other
//! registers, and a [`Decoder`] remembers them.
//!
//! "No value" is compared with the raw unsigned number after ordering and before masking and scaling, as the profile
//! writes it.

use crate::profile::{Number, Order, PointDef, Registers, WireType};
use crate::reading::{BadReason, Decimal, Value};

mod decoder;
mod text;

pub use decoder::{Answer, Decoder, Pulse};

/// The most words a number may have.
const NUMBER_WORDS_MAX: usize = 4;

/// Why words are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The point comes in a message, not from registers.
    #[error("the point is not read from registers; correct its source in the profile")]
    NotRegisters,
    /// The number of words is not what the profile or the type says.
    #[error("{got} words where the type takes {expected}; correct count or type in the profile")]
    WordCount {
        /// What the type takes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// The bit number does not exist or is missing.
    #[error("a bit of a register needs a number from 0 to 15; correct `bit` in the profile")]
    Bit,
    /// A bit arrived for a point that is no bit.
    #[error("coils and discrete inputs hold bits only; correct the type in the profile")]
    NotABit,
    /// The device says that there is no value.
    #[error("the device reports that it has no value")]
    Sentinel,
    /// An infinite number, or one that becomes infinite by scaling.
    #[error("the number is not finite; check type and word order")]
    NotFinite,
    /// A nibble above 9.
    #[error("a BCD digit is above 9; check type and byte order")]
    Bcd,
    /// Bytes that are no printable ASCII.
    #[error("the text is not printable ASCII; check type and byte order")]
    Text,
    /// A register above 9,999 in a number to the base of 10,000.
    #[error("a register of a mod-10k number is above 9999; check type and word order")]
    Mod10k,
    /// A power of ten beyond what SunSpec allows.
    #[error("the scale factor is not a power of ten from -10 to 10; check its address")]
    PowerOfTen,
    /// A date or time that does not exist.
    #[error("this is no date and time; check the fields and the byte order in the profile")]
    Time,
    /// What stands in a message is not of the kind the point is.
    #[error("what the message says of it is no value of this kind; compare the message with the profile")]
    Message,
    /// Another value it needs is missing, bad or from another time.
    #[error("a value it is calculated from is missing or bad; look at its scale factor, ratios, unit and parts")]
    Input,
    /// The heartbeat stands still.
    #[error("the device's heartbeat stands still, so this is old; check what is behind the adapter")]
    Frozen,
    /// The scaled number does not fit.
    #[error("the scaled number is too large; check the scale in the profile")]
    Overflow,
}

impl DecodeError {
    /// The quality of a reading that failed so.
    pub fn reason(self) -> BadReason {
        match self {
            DecodeError::Sentinel => BadReason::Sentinel,
            DecodeError::Input => BadReason::Input,
            DecodeError::Frozen => BadReason::Frozen,
            _ => BadReason::Undecodable,
        }
    }
}

/// Reads the value of `point` from its words, in the order in which they were received.
///
/// # Errors
/// [`DecodeError`]; the reading is then bad with [`DecodeError::reason`]. A point that needs others
/// ([`PointDef::inputs`]) is [`DecodeError::Input`] here: only a [`Decoder`] knows them.
pub fn decode(point: &PointDef, words: &[u16]) -> Result<Value, DecodeError> {
    if !point.inputs.is_empty() {
        return Err(DecodeError::Input);
    }
    shifted(measure(point, words)?, point.offset)
}

/// A number that fits a machine word, before it becomes a [`Value`].
enum Quick {
    Float(f64),
    Decimal {
        mantissa: i64,
        exponent: i8,
    },
    /// Whatever else it may be.
    No,
}

/// How the plain numbers that nearly all points are lie in an answer, worked out once: reading them by it says what
/// [`decode`] says, and no definition of a point and no whole [`Value`] goes through the processor's cache for that.
#[derive(Clone, Copy, Debug)]
struct Recipe {
    address: u16,
    /// Registers beyond the first: one or none.
    others: usize,
    is_low_first: bool,
    exponent: i8,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Float,
    U16,
    I16,
    U32,
    I32,
    /// Only [`decode`] reads it.
    Other,
}

impl Recipe {
    fn of(point: &PointDef) -> Self {
        let other = Self { address: 0, others: 0, is_low_first: false, exponent: 0, form: Form::Other };
        let Some(place) = point.source.registers() else { return other };
        let Decimal { mantissa, exponent } = point.scale;
        let is_bare = point.inputs.is_empty()
            && point.offset.mantissa == 0
            && place.invalid.is_empty()
            && place.mask.is_none()
            && place.bytes == Order::Big
            && place.wire.count() == Some(place.count)
            && mantissa == 1;
        let form = match place.wire {
            WireType::F32 if exponent == 0 => Form::Float,
            WireType::U16 => Form::U16,
            WireType::I16 => Form::I16,
            WireType::U32 => Form::U32,
            WireType::I32 => Form::I32,
            _ => Form::Other,
        };
        let others = usize::from(place.count.saturating_sub(1));
        let is_low_first = place.words.place(0, 1 + others) != 0;
        if is_bare { Self { address: place.address, others, is_low_first, exponent, form } } else { other }
    }

    /// The number in an answer whose first register has the address `first`.
    #[inline]
    fn read(&self, first: u16, words: &[u16]) -> Quick {
        let at = usize::from(self.address.wrapping_sub(first));
        let (Some(&one), Some(&other)) = (words.get(at), words.get(at + self.others)) else { return Quick::No };
        let (high, low) = if self.is_low_first { (other, one) } else { (one, other) };
        let raw = u32::from(high) << 16 | u32::from(low);
        let mantissa = match self.form {
            Form::Float => {
                let float = f32::from_bits(raw);
                return if float.is_finite() { Quick::Float(float.into()) } else { Quick::No };
            }
            Form::U16 => low.into(),
            Form::I16 => (low as i16).into(),
            Form::U32 => raw.into(),
            Form::I32 => (raw as i32).into(),
            Form::Other => return Quick::No,
        };
        Quick::Decimal { mantissa, exponent: self.exponent }
    }
}

/// Reads the value of `point` from a coil or discrete input.
///
/// # Errors
/// [`DecodeError`] if the point is no bit of a table of bits, or if this state means "no value".
pub fn decode_bit(point: &PointDef, bit: bool) -> Result<Value, DecodeError> {
    let place = registers(point)?;
    if !place.table.is_bits() || place.wire != WireType::Bit || place.count != 1 {
        return Err(DecodeError::NotABit);
    }
    if place.invalid.contains(&u64::from(bit)) { Err(DecodeError::Sentinel) } else { Ok(Value::Bool(bit)) }
}

/// The raw number of an integer counter, before scaling. `None` for anything that is not a number from zero up, or
/// that [`decode`] would refuse.
pub fn raw_counter(point: &PointDef, words: &[u16]) -> Option<u64> {
    let place = registers(point).ok()?;
    if place.wire == WireType::Bit || place.wire.is_float() || place.wire.is_text() {
        return None;
    }
    decode(point, words).ok()?;
    u64::try_from(integer(place, words).ok()?).ok()
}

/// The value with its scale, and without offset and inputs: what a [`Decoder`] goes on with.
///
/// # Errors
/// As of [`decode`].
pub fn measure(point: &PointDef, words: &[u16]) -> Result<Value, DecodeError> {
    let place = registers(point)?;
    if words.len() != usize::from(place.count) {
        return Err(DecodeError::WordCount { expected: usize::from(place.count), got: words.len() });
    }
    match place.wire {
        wire if wire.is_text() => text::text(place, words),
        WireType::Bit => {
            let raw = raw(place, words)?;
            match place.bit {
                _ if place.invalid.contains(&raw) => Err(DecodeError::Sentinel),
                Some(bit @ 0..=15) => Ok(Value::Bool(raw >> bit & 1 == 1)),
                _ => Err(DecodeError::Bit),
            }
        }
        WireType::F16 | WireType::F32 | WireType::F64 => {
            let raw = raw(place, words)?;
            if place.invalid.contains(&raw) {
                return Err(DecodeError::Sentinel);
            }
            let number = match place.wire {
                WireType::F16 => binary16(raw as u16),
                WireType::F32 => f64::from(f32::from_bits(raw as u32)),
                _ => f64::from_bits(raw),
            };
            float(number, point.scale)
        }
        _ => scaled(integer(place, words)?, point.scale),
    }
}

/// The whole number, before scaling.
fn integer(place: &Registers, words: &[u16]) -> Result<i128, DecodeError> {
    let raw = raw(place, words)?;
    if place.invalid.contains(&raw) {
        return Err(DecodeError::Sentinel);
    }
    match place.wire {
        WireType::I8High | WireType::I8Low => Ok(i128::from(raw as u8 as i8)),
        WireType::I16 => Ok(i128::from(raw as u16 as i16)),
        WireType::I32 => Ok(i128::from(raw as u32 as i32)),
        WireType::I64 => Ok(i128::from(raw as i64)),
        WireType::Bcd => bcd(raw).map(i128::from),
        WireType::Mod10k => mod10k(raw, words.len()),
        WireType::Acc32 if raw == 0 => Err(DecodeError::Sentinel),
        WireType::SunSsf => match raw as u16 as i16 {
            i16::MIN => Err(DecodeError::Sentinel),
            power @ -10..=10 => Ok(i128::from(power)),
            _ => Err(DecodeError::PowerOfTen),
        },
        _ => Ok(i128::from(cut(place, raw))),
    }
}

/// The field of an unsigned number that the profile's mask keeps, moved down to bit 0; the whole number without one.
fn cut(place: &Registers, raw: u64) -> u64 {
    match place.mask {
        // A mask of zero would shift by 64; it keeps nothing.
        Some(0) => 0,
        Some(mask) => (raw & mask) >> mask.trailing_zeros(),
        None => raw,
    }
}

fn registers(point: &PointDef) -> Result<&Registers, DecodeError> {
    point.source.registers().ok_or(DecodeError::NotRegisters)
}

/// The words with the most significant first and the most significant byte of each first.
fn ordered<'a>(place: &Registers, words: &'a [u16]) -> impl Iterator<Item = u16> + 'a {
    let (bytes, order) = (place.bytes, place.words);
    (0..words.len()).filter_map(move |i| words.get(order.place(i, words.len()))).map(move |word| match bytes {
        Order::Big => *word,
        Order::Little => word.swap_bytes(),
    })
}

/// The words as one unsigned number; of a half register its byte.
fn raw(place: &Registers, words: &[u16]) -> Result<u64, DecodeError> {
    // Meters have counters of one to four registers.
    let expected = place.wire.count().map_or(words.len().clamp(1, NUMBER_WORDS_MAX), usize::from);
    if words.len() != expected {
        return Err(DecodeError::WordCount { expected, got: words.len() });
    }
    let word = |word: u16| u64::from(if place.bytes == Order::Big { word } else { word.swap_bytes() });
    // Nearly all values have one register or two.
    let raw = match *words {
        [only] => word(only),
        [first, second] if place.words.place(0, 2) == 0 => word(first) << 16 | word(second),
        [first, second] => word(second) << 16 | word(first),
        _ => ordered(place, words).fold(0, |raw, word| raw << 16 | u64::from(word)),
    };
    Ok(match place.wire {
        WireType::U8High | WireType::I8High => raw >> 8,
        WireType::U8Low | WireType::I8Low => raw & 0xFF,
        _ => raw,
    })
}

fn scaled(value: i128, scale: Decimal) -> Result<Value, DecodeError> {
    let mantissa = value.checked_mul(scale.mantissa).ok_or(DecodeError::Overflow)?;
    Ok(Value::Decimal(Decimal::new(mantissa, scale.exponent)))
}

fn float(value: f64, scale: Decimal) -> Result<Value, DecodeError> {
    // NaN is how a device that sends floats says that it has no value.
    if value.is_nan() {
        return Err(DecodeError::Sentinel);
    }
    if value.is_infinite() {
        return Err(DecodeError::NotFinite);
    }
    if (scale.mantissa, scale.exponent) == (1, 0) {
        return Ok(Value::Float(value));
    }
    let product = Number::Float(value).times(Number::Exact(scale));
    product.and_then(Number::value).ok_or(DecodeError::NotFinite)
}

/// The value and what the profile adds to it.
fn shifted(value: Value, offset: Decimal) -> Result<Value, DecodeError> {
    if offset.mantissa == 0 {
        return Ok(value);
    }
    let number = Number::of(&value).ok_or(DecodeError::Text)?;
    number.plus(Number::Exact(offset)).and_then(Number::value).ok_or(DecodeError::Overflow)
}

/// IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction.
fn binary16(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3FF) / 1_024.0;
    sign * match bits >> 10 & 0x1F {
        0 => fraction * 2f64.powi(-14),
        0x1F if fraction == 0.0 => f64::INFINITY,
        0x1F => f64::NAN,
        exponent => (1.0 + fraction) * 2f64.powi(i32::from(exponent) - 15),
    }
}

fn bcd(raw: u64) -> Result<u64, DecodeError> {
    (0..16).rev().try_fold(0, |number, nibble| {
        let digit = raw >> (nibble * 4) & 0xF;
        // Sixteen digits fit a u64 with room to spare.
        if digit > 9 { Err(DecodeError::Bcd) } else { Ok(number * 10 + digit) }
    })
}

/// A number to the base of 10,000 whose first register holds the sign in bit 15 and may be as large as 32,767.
fn mod10k(raw: u64, count: usize) -> Result<i128, DecodeError> {
    let word = |i: usize| i128::from(raw >> (16 * (count - 1 - i)) & 0xFFFF);
    let first = word(0);
    let number = (1..count).try_fold(first & 0x7FFF, |number, i| match word(i) {
        digits @ 0..=9_999 => Ok(number * 10_000 + digits),
        _ => Err(DecodeError::Mod10k),
    })?;
    Ok(if first & 0x8000 == 0 { number } else { -number })
}

#[cfg(test)]
mod tests;
