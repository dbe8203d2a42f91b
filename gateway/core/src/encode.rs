//! Values to register words: the exact inverse of [`mod@crate::decode`].
//!
//! What cannot be written exactly is not written: a set point with more digits than the register has, a number the type
//! does not hold, a value beyond the limits of the profile, one that the device would take for "no value", or a point
//! whose meaning hangs on other registers. Nothing is rounded and nothing is clamped, except that a float register holds
//! the nearest float.
//!
//! [`setting`] is the way from a setting of a profile and a wanted value to the words of a write. Fire panels and lifts
//! have no settings.

use crate::profile::{Order, PointDef, Profile, Registers, Setting, Table, WireType, WriteFunction};
use crate::reading::{Decimal, Value};

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The point is not in registers, or its meaning hangs on other registers.
    #[error("this point cannot be written: it is calculated, or its meaning hangs on other registers")]
    NotWritable,
    /// Beyond the limits of the profile.
    #[error("the value is beyond what the profile allows; choose one between the setting's min and max")]
    Limits,
    /// The register does not hold so many digits.
    #[error("the register cannot hold this value exactly; give it no more decimals than the scale has")]
    Inexact,
    /// The type does not hold so large a number.
    #[error("the number does not fit the register")]
    TooLarge,
    /// Not a number where one is needed, or text that does not fit.
    #[error("this is not what the register holds: a number for numbers, 0 or 1 for bits, short ASCII for text")]
    Kind,
    /// The device would take it for "no value".
    #[error("with this value the device says that it has none; it cannot be set")]
    Sentinel,
    /// A part of a register cannot be written without the rest.
    #[error("this is a part of a register; only function 22 (mask) writes one without the rest")]
    Part,
}

/// A write, ready to be put into a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// How it is written.
    pub function: WriteFunction,
    /// The first coil or register on the wire, zero based.
    pub address: u16,
    /// Coils as 0 and 1, registers in the order of their addresses, or for [`WriteFunction::Mask`] the AND mask and the
    /// OR mask.
    pub words: Vec<u16>,
}

/// The write that sets `setting` of a device of this profile to `value`, in the point's unit.
///
/// # Errors
/// [`EncodeError`].
pub fn setting(profile: &Profile, setting: &Setting, value: &Value) -> Result<Write, EncodeError> {
    let point = profile.point(setting.point()).and_then(|i| profile.points.get(i)).ok_or(EncodeError::NotWritable)?;
    let place = point.source.registers().ok_or(EncodeError::NotWritable)?;
    let wanted = match value {
        Value::Decimal(number) => Some(*number),
        Value::Bool(bit) => Some(Decimal::new(i128::from(*bit), 0)),
        Value::Float(_) => return Err(EncodeError::Kind),
        Value::Text(_) => None,
    };
    if wanted.is_some_and(|w| is_below(w, setting.min()) || is_below(setting.max(), w)) {
        return Err(EncodeError::Limits);
    }
    let function = setting.function();
    let fits_table = if function.is_coils() { place.table == Table::Coil } else { place.table == Table::Holding };
    if !fits_table {
        return Err(EncodeError::NotWritable);
    }
    let words = match function {
        WriteFunction::Mask => masks(point, place, value)?,
        _ => encode(point, value)?,
    };
    if words.is_empty() || words.len() > function.count_max() {
        return Err(EncodeError::Part);
    }
    Ok(Write { function, address: place.address, words })
}

/// The words of a whole value, in the order in which they are sent.
///
/// # Errors
/// [`EncodeError`].
pub fn encode(point: &PointDef, value: &Value) -> Result<Vec<u16>, EncodeError> {
    let place = point.source.registers().ok_or(EncodeError::NotWritable)?;
    if !point.inputs.is_empty() {
        return Err(EncodeError::NotWritable);
    }
    if place.wire.is_text() {
        return text(place, value);
    }
    if place.table.is_bits() {
        return bit(value).map(|bit| vec![u16::from(bit)]);
    }
    let is_part = place.bit.is_some() || place.mask.is_some();
    if is_part || matches!(place.wire, WireType::U8High | WireType::U8Low | WireType::I8High | WireType::I8Low) {
        return Err(EncodeError::Part);
    }
    let raw = raw(point, place, value)?;
    if place.invalid.contains(&raw) {
        return Err(EncodeError::Sentinel);
    }
    Ok(spread(place, raw))
}

/// The masks of function 22 that change the bits of this point and leave the rest.
fn masks(point: &PointDef, place: &Registers, value: &Value) -> Result<Vec<u16>, EncodeError> {
    let one = |mask: u16, field: u16| {
        let swap = |word: u16| if place.bytes == Order::Little { word.swap_bytes() } else { word };
        Ok(vec![swap(!mask), swap(field & mask)])
    };
    if let (WireType::Bit, Some(number @ 0..=15)) = (place.wire, place.bit) {
        let mask = 1 << number;
        return one(mask, if bit(value)? { mask } else { 0 });
    }
    let mask = match (place.wire, place.mask) {
        (WireType::U16, Some(mask)) => u16::try_from(mask).map_err(|_| EncodeError::NotWritable)?,
        (WireType::U8High, None) => 0xFF00,
        (WireType::U8Low, None) => 0x00FF,
        _ => return Err(EncodeError::NotWritable),
    };
    let number = u16::try_from(unscaled(point, value)?).map_err(|_| EncodeError::TooLarge)?;
    let field = u32::from(number) << mask.trailing_zeros().min(15);
    match u16::try_from(field) {
        Ok(field) if field & !mask == 0 => one(mask, field),
        _ => Err(EncodeError::TooLarge),
    }
}

fn bit(value: &Value) -> Result<bool, EncodeError> {
    match value {
        Value::Bool(bit) => Ok(*bit),
        Value::Decimal(number) if *number == Decimal::new(0, 0) => Ok(false),
        Value::Decimal(number) if *number == Decimal::new(1, 0) => Ok(true),
        _ => Err(EncodeError::Kind),
    }
}

/// The whole number of register steps.
fn unscaled(point: &PointDef, value: &Value) -> Result<i128, EncodeError> {
    let number = match value {
        Value::Decimal(number) => *number,
        Value::Bool(bit) => Decimal::new(i128::from(*bit), 0),
        Value::Float(_) | Value::Text(_) => return Err(EncodeError::Kind),
    };
    let offset = Decimal::new(-point.offset.mantissa, point.offset.exponent);
    let scaled = number.checked_add(offset).ok_or(EncodeError::TooLarge)?;
    let steps = scaled.rescale(point.scale.exponent).ok_or(EncodeError::Inexact)?;
    match (steps.checked_rem(point.scale.mantissa), steps.checked_div(point.scale.mantissa)) {
        (Some(0), Some(steps)) => Ok(steps),
        (Some(_), _) => Err(EncodeError::Inexact),
        _ => Err(EncodeError::NotWritable),
    }
}

fn raw(point: &PointDef, place: &Registers, value: &Value) -> Result<u64, EncodeError> {
    use WireType::*;
    let too_large = |_| EncodeError::TooLarge;
    if place.wire.is_float() {
        return float(point, place, value);
    }
    let n = unscaled(point, value)?;
    match place.wire {
        U16 => u16::try_from(n).map(u64::from).map_err(too_large),
        I16 => i16::try_from(n).map(|n| u64::from(n as u16)).map_err(too_large),
        U32 => u32::try_from(n).map(u64::from).map_err(too_large),
        I32 => i32::try_from(n).map(|n| u64::from(n as u32)).map_err(too_large),
        U48 => u64::try_from(n).ok().filter(|n| *n < 1 << 48).ok_or(EncodeError::TooLarge),
        U64 => u64::try_from(n).map_err(too_large),
        I64 => i64::try_from(n).map(|n| n as u64).map_err(too_large),
        Bcd => bcd(n, usize::from(place.count)),
        Mod10k => mod10k(n, usize::from(place.count)),
        _ => Err(EncodeError::NotWritable),
    }
}

fn float(point: &PointDef, place: &Registers, value: &Value) -> Result<u64, EncodeError> {
    let number = match value {
        Value::Decimal(number) => number.to_f64(),
        Value::Float(number) => *number,
        Value::Bool(_) | Value::Text(_) => return Err(EncodeError::Kind),
    };
    let number = (number - point.offset.to_f64()) / point.scale.to_f64();
    let raw = match place.wire {
        WireType::F32 => u64::from((number as f32).to_bits()),
        WireType::F64 => number.to_bits(),
        _ => return Err(EncodeError::NotWritable),
    };
    let is_held = if place.wire == WireType::F32 { (number as f32).is_finite() } else { number.is_finite() };
    if is_held { Ok(raw) } else { Err(EncodeError::TooLarge) }
}

fn bcd(number: i128, count: usize) -> Result<u64, EncodeError> {
    let mut rest = u64::try_from(number).map_err(|_| EncodeError::TooLarge)?;
    let digits = count.min(4) * 4;
    let raw = (0..digits).fold(0, |raw, i| {
        let digit = rest % 10;
        rest /= 10;
        raw | digit << (4 * i)
    });
    if rest == 0 { Ok(raw) } else { Err(EncodeError::TooLarge) }
}

fn mod10k(number: i128, count: usize) -> Result<u64, EncodeError> {
    let mut rest = u64::try_from(number.unsigned_abs()).map_err(|_| EncodeError::TooLarge)?;
    let mut raw = 0;
    for i in 0..count.clamp(1, 4) - 1 {
        raw |= (rest % 10_000) << (16 * i);
        rest /= 10_000;
    }
    let shift = 16 * (count.clamp(1, 4) - 1);
    match rest {
        0..=0x7FFF => Ok(raw | rest << shift | if number < 0 { 0x8000 << shift } else { 0 }),
        _ => Err(EncodeError::TooLarge),
    }
}

fn text(place: &Registers, value: &Value) -> Result<Vec<u16>, EncodeError> {
    let Value::Text(text) = value else { return Err(EncodeError::Kind) };
    let count = usize::from(place.count);
    let per_word = match place.wire {
        WireType::Ascii => 2,
        WireType::AsciiWide => 1,
        _ => return Err(EncodeError::NotWritable),
    };
    let is_plain = text.bytes().all(|b| matches!(b, 0x20..=0x7E)) && !text.ends_with(' ');
    if !is_plain || text.len() > count * per_word {
        return Err(EncodeError::Kind);
    }
    let mut bytes = text.bytes().chain(std::iter::repeat(0));
    let mut byte = || u16::from(bytes.next().unwrap_or(0));
    let words: Vec<u16> = (0..count).map(|_| if per_word == 2 { byte() << 8 | byte() } else { byte() }).collect();
    Ok(arrange(place, &words))
}

/// The number in so many registers, in the order in which they are sent.
fn spread(place: &Registers, raw: u64) -> Vec<u16> {
    let count = usize::from(place.count).clamp(1, 4);
    let words: Vec<u16> = (0..count).map(|i| (raw >> (16 * (count - 1 - i))) as u16).collect();
    arrange(place, &words)
}

/// From the most significant first to the order of the device.
fn arrange(place: &Registers, words: &[u16]) -> Vec<u16> {
    let mut sent = vec![0; words.len()];
    for (i, word) in words.iter().enumerate() {
        if let Some(slot) = sent.get_mut(place.words.place(i, words.len())) {
            *slot = if place.bytes == Order::Little { word.swap_bytes() } else { *word };
        }
    }
    sent
}

fn is_below(a: Decimal, b: Decimal) -> bool {
    let difference = a.checked_add(Decimal::new(-b.mantissa, b.exponent));
    difference.is_none_or(|d| d.mantissa < 0)
}

#[cfg(test)]
mod tests;
