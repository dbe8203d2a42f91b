//! Registers that come as text.

use guanjia_core::decode::DecodeError;
use guanjia_core::profile::{MessageWords, Registers, WordEncoding};

use super::Sample;
use crate::mqtt::json::Found;

/// Registers in one message; more than any radio frame carries.
const WORDS_MAX: usize = 4096;

/// The registers of one sample.
pub(super) enum Words {
    /// It does not speak of them.
    Missing,
    /// What stands there is no text of whole registers.
    Damaged,
    /// These, the first of them at this address.
    Here(u16, Vec<u16>),
}

impl Words {
    /// The registers in a sample, or in a payload that is nothing else.
    pub(super) fn of(place: &MessageWords, payload: &[u8], sample: &Sample<'_>) -> Self {
        let text = match sample.find(&place.pointer) {
            Found::Text(text) => text,
            Found::Null | Found::Bool(_) => return Words::Damaged,
            // The whole payload, not in quotes; digits alone look like a number, and many of them like one beyond measure.
            Found::Missing | Found::Number(_) | Found::Unusable if place.pointer.is_empty() => {
                match String::from_utf8(payload.trim_ascii().to_vec()) {
                    Ok(text) => text,
                    Err(_) => return Words::Damaged,
                }
            }
            Found::Missing => return Words::Missing,
            Found::Number(_) | Found::Unusable => return Words::Damaged,
        };
        let bytes = match place.encoding {
            WordEncoding::Base64 => base64(&text),
            WordEncoding::Hex => hex(&text),
        };
        match bytes.filter(|bytes| bytes.len() % 2 == 0 && bytes.len() <= 2 * WORDS_MAX) {
            Some(bytes) => {
                let words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                Words::Here(place.address, words.collect())
            }
            None => Words::Damaged,
        }
    }

    /// The registers of a point; `None` if there are none, or they end before it.
    pub(super) fn own(&self, place: &Registers) -> Option<Result<&[u16], DecodeError>> {
        match self {
            Words::Missing => None,
            Words::Damaged => Some(Err(DecodeError::Message)),
            Words::Here(first, words) => {
                let start = usize::from(place.address.checked_sub(*first)?);
                words.get(start..start.checked_add(usize::from(place.count))?).map(Ok)
            }
        }
    }
}

/// RFC 4648, sections 4 and 5, padded or not. Bits behind the last whole byte must be zero, so that a text that was cut
/// is not taken for a shorter one.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
