//! The forms a number has on the wire, and what raw number words are in each.

use crate::profile::Order;

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
    /// Unsigned 64 bit.
    U64,
    /// IEEE 754 binary64.
    F64,
    /// Two's complement 64 bit.
    I64,
    /// Packed decimal digits, four a register; one, two, three or four registers.
    Bcd(u8),
    /// The first register counts ten-thousands; bit 15 of it is the sign.
    Mod10k,
    /// IEEE 754 binary16.
    F16,
}

impl Form {
    /// Every form, the commonest first.
    pub const ALL: [Form; 14] = [
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
        Form::Mod10k,
        Form::F16,
    ];

    /// How many registers it takes.
    pub fn words(self) -> usize {
        match self {
            Form::U16 | Form::I16 | Form::F16 => 1,
            Form::U32 | Form::I32 | Form::F32 | Form::Mod10k => 2,
            Form::U64 | Form::I64 | Form::F64 => 4,
            Form::Bcd(words) => usize::from(words),
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

    /// The orders of bytes and words in which it is found.
    pub fn orders(self) -> impl Iterator<Item = (Order, Order)> {
        let words: &[Order] = if self.words() == 1 { &[Order::Big] } else { &[Order::Big, Order::Little] };
        words.iter().flat_map(|words| [(Order::Big, *words), (Order::Little, *words)])
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
    pub fn raw(self, words: &[u16], bytes: Order, order: Order) -> Option<f64> {
        if words.len() != self.words() || words.len() > 4 {
            return None;
        }
        let byte = |word: u16| if bytes == Order::Little { word.swap_bytes() } else { word };
        let push = |raw: u64, word: &u16| raw << 16 | u64::from(byte(*word));
        let bits = match order {
            Order::Big => words.iter().fold(0, push),
            Order::Little => words.iter().rev().fold(0, push),
        };
        let raw = match self {
            Form::U16 | Form::U32 | Form::U64 => bits as f64,
            Form::I16 => f64::from(bits as u16 as i16),
            Form::I32 => f64::from(bits as u32 as i32),
            Form::I64 => bits as i64 as f64,
            Form::F16 => f16(bits as u16),
            Form::F32 => f64::from(f32::from_bits(bits as u32)),
            Form::F64 => f64::from_bits(bits),
            Form::Bcd(_) => bcd(bits)?,
            Form::Mod10k => mod10k(bits)?,
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

fn mod10k(bits: u64) -> Option<f64> {
    let (high, low) = (bits >> 16 & 0x7FFF, bits & 0xFFFF);
    let magnitude = (high * 10_000 + low) as f64;
    (low < 10_000).then_some(if bits & 0x8000_0000 == 0 { magnitude } else { -magnitude })
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
