//! Register words to values, exactly or not at all.
//!
//! Integers stay integers: the scale moves into the [`Decimal`]'s mantissa and exponent, and no digit is ever rounded.
//! Only what the device itself sends as IEEE 754 becomes a float. A nibble above 9 in a BCD counter, a NaN, an infinite
//! number, unprintable text or a number of words that does not fit the type are errors with a name, never a zero.
//!
//! ```text
//! words as received ──► bytes within each word ──► order of the words ──► raw ──► "no value"? ──► mask ──► type ──► scale
//! ```
//!
//! "No value" is compared with the raw unsigned number after ordering and before masking and scaling, as the profile
//! writes it.

use crate::profile::{Order, PointDef, Registers, Source, WireType};
use crate::reading::{BadReason, Decimal, Value};

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
    /// The scaled number does not fit.
    #[error("the scaled number is too large; check the scale in the profile")]
    Overflow,
}

impl DecodeError {
    /// The quality of a reading that failed so.
    pub fn reason(self) -> BadReason {
        match self {
            DecodeError::Sentinel => BadReason::Sentinel,
            _ => BadReason::Undecodable,
        }
    }
}

/// Reads the value of `point` from its words, in the order in which they were received.
///
/// # Errors
/// [`DecodeError`]; the reading is then bad with [`DecodeError::reason`].
pub fn decode(point: &PointDef, words: &[u16]) -> Result<Value, DecodeError> {
    let place = registers(point)?;
    if words.len() != usize::from(place.count) {
        return Err(DecodeError::WordCount { expected: usize::from(place.count), got: words.len() });
    }
    if place.wire == WireType::Ascii {
        return text(place, words);
    }
    let raw = raw(place, words)?;
    if place.invalid.contains(&raw) {
        return Err(DecodeError::Sentinel);
    }
    let integer = |value: i128| scaled(value, point.scale);
    match place.wire {
        WireType::Bit => match place.bit {
            Some(bit @ 0..=15) => Ok(Value::Bool(raw >> bit & 1 == 1)),
            _ => Err(DecodeError::Bit),
        },
        WireType::U16 | WireType::U32 | WireType::U64 => integer(i128::from(cut(place, raw))),
        WireType::I16 => integer(i128::from(raw as u16 as i16)),
        WireType::I32 => integer(i128::from(raw as u32 as i32)),
        WireType::I64 => integer(i128::from(raw as i64)),
        WireType::F32 => float(f64::from(f32::from_bits(raw as u32)), point.scale),
        WireType::F64 => float(f64::from_bits(raw), point.scale),
        WireType::Bcd => integer(i128::from(bcd(raw)?)),
        // Handled above, because text may be longer than any number.
        WireType::Ascii => Err(DecodeError::Text),
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
    if matches!(place.wire, WireType::Bit | WireType::F32 | WireType::F64 | WireType::Ascii) {
        return None;
    }
    decode(point, words).ok()?;
    let raw = raw(place, words).ok()?;
    match place.wire {
        WireType::Bcd => bcd(raw).ok(),
        WireType::I16 => u64::try_from(raw as u16 as i16).ok(),
        WireType::I32 => u64::try_from(raw as u32 as i32).ok(),
        WireType::I64 => u64::try_from(raw as i64).ok(),
        _ => Some(cut(place, raw)),
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
    match &point.source {
        Source::Registers(registers) => Ok(registers),
        Source::Message { .. } => Err(DecodeError::NotRegisters),
    }
}

/// The words with the most significant first and the most significant byte of each first.
fn ordered(place: &Registers, words: &[u16]) -> Vec<u16> {
    let byte_order = |word: &u16| match place.bytes {
        Order::Big => *word,
        Order::Little => word.swap_bytes(),
    };
    let mut ordered: Vec<u16> = words.iter().map(byte_order).collect();
    if place.words == Order::Little {
        ordered.reverse();
    }
    ordered
}

/// The words as one unsigned number.
fn raw(place: &Registers, words: &[u16]) -> Result<u64, DecodeError> {
    let expected = match place.wire {
        WireType::Bit | WireType::U16 | WireType::I16 => 1,
        WireType::U32 | WireType::I32 | WireType::F32 => 2,
        WireType::U64 | WireType::I64 | WireType::F64 => 4,
        // Meters have BCD counters of one to four registers.
        WireType::Bcd | WireType::Ascii => words.len().clamp(1, NUMBER_WORDS_MAX),
    };
    if words.len() != expected {
        return Err(DecodeError::WordCount { expected, got: words.len() });
    }
    Ok(ordered(place, words).into_iter().fold(0, |raw, word| raw << 16 | u64::from(word)))
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
    let multiplied = value * scale.mantissa as f64;
    // Dividing by an exact power of ten rounds once; multiplying by 0.1 would round twice.
    let power = 10f64.powi(i32::from(scale.exponent).abs());
    let result = if scale.exponent < 0 { multiplied / power } else { multiplied * power };
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(DecodeError::NotFinite) }
}

fn bcd(raw: u64) -> Result<u64, DecodeError> {
    (0..16).rev().try_fold(0, |number, nibble| {
        let digit = raw >> (nibble * 4) & 0xF;
        // Sixteen digits fit a u64 with room to spare.
        if digit > 9 { Err(DecodeError::Bcd) } else { Ok(number * 10 + digit) }
    })
}

fn text(place: &Registers, words: &[u16]) -> Result<Value, DecodeError> {
    if words.len() <= NUMBER_WORDS_MAX && !words.is_empty() && place.invalid.contains(&raw(place, words)?) {
        return Err(DecodeError::Sentinel);
    }
    let bytes: Vec<u8> = ordered(place, words).iter().flat_map(|w| w.to_be_bytes()).collect();
    let end = bytes.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
    let text = &bytes[..end];
    if !text.iter().all(|b| matches!(b, 0x20..=0x7E)) {
        return Err(DecodeError::Text);
    }
    std::str::from_utf8(text).map(|text| Value::Text(text.into())).map_err(|_| DecodeError::Text)
}

#[cfg(test)]
mod tests;
