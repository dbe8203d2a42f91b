//! The forms a number has on the wire, and what raw number words are in each.

use crate::profile::{Order, WireType, WordOrder};

/// How a number is laid into registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Unsigned 16 bit.
    U16,
    /// Two's complement 16 bit.
    I16,
    /// Unsigned 32 bit.
    U32,
    /// IEEE 754 binary32.
    F32,
    /// Two's complement 32 bit.
    I32,
    /// Unsigned 48 bit.
    U48,
    /// Unsigned 64 bit.
    U64,
    /// IEEE 754 binary64.
    F64,
    /// Two's complement 64 bit.
    I64,
    /// Packed decimal digits, four a register; one, two, three or four registers.
    Bcd(u8),
    /// A number to the base of 10,000, one digit a register; bit 15 of the first is the sign. Two to four registers.
    Mod10k(u8),
    /// IEEE 754 binary16.
    F16,
}

impl Form {
    /// Every form, the commonest first.
    pub const ALL: [Form; 17] = [
        Form::U16,
        Form::I16,
        Form::U32,
        Form::F32,
        Form::I32,
        Form::U64,
        Form::F64,
        Form::I64,
        Form::Bcd(1),
        Form::Bcd(2),
        Form::Bcd(3),
        Form::Bcd(4),
        Form::U48,
        Form::Mod10k(2),
        Form::Mod10k(3),
        Form::Mod10k(4),
        Form::F16,
    ];

    /// How many registers it takes.
    pub fn words(self) -> usize {
        match self {
            Form::U16 | Form::I16 | Form::F16 => 1,
            Form::U32 | Form::I32 | Form::F32 => 2,
            Form::U48 => 3,
            Form::U64 | Form::I64 | Form::F64 => 4,
            Form::Bcd(words) | Form::Mod10k(words) => usize::from(words),
        }
    }

    /// The type as profiles have it.
    pub fn wire(self) -> WireType {
        match self {
            Form::U16 => WireType::U16,
            Form::I16 => WireType::I16,
            Form::U32 => WireType::U32,
            Form::I32 => WireType::I32,
            Form::U48 => WireType::U48,
            Form::U64 => WireType::U64,
            Form::I64 => WireType::I64,
            Form::F16 => WireType::F16,
            Form::F32 => WireType::F32,
            Form::F64 => WireType::F64,
            Form::Bcd(_) => WireType::Bcd,
            Form::Mod10k(_) => WireType::Mod10k,
        }
    }

    /// The same width with a sign, for unsigned integers.
    pub fn signed(self) -> Option<Form> {
        match self {
            Form::U16 => Some(Form::I16),
            Form::U32 => Some(Form::I32),
            Form::U64 => Some(Form::I64),
            _ => None,
        }
    }

    /// The orders of bytes and words in which it is found. The last two orders of words differ from the others for four
    /// registers only.
    pub fn orders(self) -> impl Iterator<Item = (Order, WordOrder)> {
        let known = match self.words() {
            1 => 1,
            2 | 3 => 2,
            _ => WordOrder::ALL.len(),
        };
        let words = WordOrder::ALL.into_iter().take(known);
        words.flat_map(|words| [(Order::Big, words), (Order::Little, words)])
    }

    /// The share of a number by which its own representation may be off.
    pub(super) fn precision(self) -> f64 {
        match self {
            Form::F16 => 1.0 / 2048.0,
            Form::F32 => 1.0 / 8_388_608.0,
            _ => 1e-13,
        }
    }

    /// The raw number; `None` if the words are none of this form: another count, a digit above 9, NaN, infinite.
    pub fn raw(self, words: &[u16], bytes: Order, order: WordOrder) -> Option<f64> {
        let count = self.words();
        if words.len() != count {
            return None;
        }
        let word = |i: usize| words.get(order.place(i, count)).copied();
        let byte = |word: u16| if bytes == Order::Little { word.swap_bytes() } else { word };
        let bits = (0..count).try_fold(0, |bits: u64, i| Some(bits << 16 | u64::from(byte(word(i)?))))?;
        let raw = match self {
            Form::U16 | Form::U32 | Form::U48 | Form::U64 => bits as f64,
            Form::I16 => f64::from(bits as u16 as i16),
            Form::I32 => f64::from(bits as u32 as i32),
            Form::I64 => bits as i64 as f64,
            Form::F16 => f16(bits as u16),
            Form::F32 => f64::from(f32::from_bits(bits as u32)),
            Form::F64 => f64::from_bits(bits),
            Form::Bcd(_) => bcd(bits)?,
            Form::Mod10k(words) => mod10k(bits, words)?,
        };
        raw.is_finite().then_some(raw)
    }
}

fn bcd(bits: u64) -> Option<f64> {
    (0..16).rev().try_fold(0.0, |number, nibble| {
        let digit = (bits >> (nibble * 4) & 0xF) as u8;
        (digit <= 9).then_some(number * 10.0 + f64::from(digit))
    })
}

fn mod10k(bits: u64, words: u8) -> Option<f64> {
    let sign = 0x8000 << (16 * (u32::from(words) - 1));
    let magnitude = (0..words).rev().try_fold(0.0, |number, i| {
        let digit = (bits & !sign) >> (16 * u32::from(i)) & 0xFFFF;
        // The first may be as large as its fifteen bits.
        (digit < 10_000 || i == words - 1).then_some(number * 10_000.0 + digit as f64)
    })?;
    Some(if bits & sign == 0 { magnitude } else { -magnitude })
}

/// IEEE 754 binary16: sign, five bits of exponent, ten of fraction.
fn f16(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        0x1F => return f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}
