//! Frames in bytes whose question is not known: a line that is only listened to, or what was thrown away.
//!
//! The gateway's own answers are judged by what was asked (`frame`). Here nothing was asked, so a frame is what its
//! check sum says: 16 bits, wrong by chance once in 65,536 tries. Whoever looks into noise keeps that in mind and takes
//! nothing from one frame alone.
//!
//! ```text
//!              request                                  answer
//! 01..04   unit fn address count crc          8         unit fn bytes data.. crc      5 + bytes
//! 05 06    unit fn address value crc          8         the same                      8
//! 15 16    unit fn address count bytes ..     9 + bytes unit fn address count crc     8
//! 22       unit 16h address and or crc        10        the same                      10
//! other                                                 unit fn+80h code crc          5
//! 01..04 of a unit that counts in two bytes             unit fn 0 bytes data.. crc    6 + bytes
//! ```
//!
//! Some bytes are both: an answer of three bytes to function 01 is as long as a request, and what a single register is
//! written with is echoed. Which of the two it is, order and time decide ([`crate::passive`]).

use guanjia_core::profile::ByteCount;

use crate::frame::crc16;
use crate::tap::Question;

/// The longest RTU frame (Modbus over Serial Line V1.02, 2.5.1).
pub const FRAME_MAX: usize = 256;

/// The shortest frame: an exception.
pub const FRAME_MIN: usize = 5;

const EXCEPTION_BIT: u8 = 0x80;

/// An answer as it can be seen without its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Data of functions 01 to 04.
    Data(&'a [u8]),
    /// The echo of a write: address, and value or count.
    Echo(u16, u16),
    /// An exception with this code.
    Exception(u8),
}

/// The request that begins with the first of these bytes, and its length; `None` if none does.
pub fn request_at(bytes: &[u8]) -> Option<(Question, usize)> {
    let [unit, function, a0, a1, c0, c1, rest @ ..] = bytes else { return None };
    let (len, count) = match function {
        1..=4 => (8, u16::from_be_bytes([*c0, *c1])),
        5 | 6 => (8, 1),
        15 | 16 => (9 + usize::from(*rest.first()?), u16::from_be_bytes([*c0, *c1])),
        22 => (10, 1),
        _ => return None,
    };
    let is_plausible = match function {
        1 | 2 | 15 => (1..=2_000).contains(&count),
        _ => (1..=125).contains(&count),
    };
    let address = u16::from_be_bytes([*a0, *a1]);
    (is_plausible && is_whole(bytes, len))
        .then_some((Question { unit: *unit, function: *function, address, count }, len))
}

/// The answer that begins with the first of these bytes: unit, function without the exception bit, content, length.
pub fn answer_at(bytes: &[u8]) -> Option<(u8, u8, Answer<'_>, usize)> {
    let [unit, function, third, rest @ ..] = bytes else { return None };
    let plain = function & !EXCEPTION_BIT;
    if function & EXCEPTION_BIT != 0 {
        let is_one = (1..=0x2B).contains(&plain) && (1..=0x0B).contains(third) && is_whole(bytes, 5);
        return is_one.then_some((*unit, plain, Answer::Exception(*third), 5));
    }
    match function {
        1..=4 => {
            let len = 5 + usize::from(*third);
            let is_one = *third > 0 && (*function < 3 || third % 2 == 0) && is_whole(bytes, len);
            let data = bytes.get(3..len - 2).filter(|_| is_one)?;
            Some((*unit, plain, Answer::Data(data), len))
        }
        5 | 6 | 15 | 16 | 22 => {
            let len = if *function == 22 { 10 } else { 8 };
            let [a1, v0, v1, ..] = rest else { return None };
            let echo = Answer::Echo(u16::from_be_bytes([*third, *a1]), u16::from_be_bytes([*v0, *v1]));
            is_whole(bytes, len).then_some((*unit, plain, echo, len))
        }
        _ => None,
    }
}

/// The same for a unit whose answers to reads count their bytes so.
pub fn answer_as(byte_count: ByteCount, bytes: &[u8]) -> Option<(u8, u8, Answer<'_>, usize)> {
    match (byte_count, bytes) {
        (ByteCount::OneByte, _) => answer_at(bytes),
        // No answer has more than 250 bytes of data, so the first of the two is zero.
        (ByteCount::TwoBytes, [unit, function @ 1..=4, 0, low, ..]) => {
            let len = 6 + usize::from(*low);
            let is_one = *low > 0 && (*function < 3 || low % 2 == 0) && is_whole(bytes, len);
            let data = bytes.get(4..len - 2).filter(|_| is_one)?;
            Some((*unit, *function, Answer::Data(data), len))
        }
        (ByteCount::TwoBytes, [_, 1..=4, ..]) => None,
        (ByteCount::TwoBytes, _) => answer_at(bytes),
    }
}

/// Whether the first `len` bytes are there and end with the check sum of the others.
fn is_whole(bytes: &[u8], len: usize) -> bool {
    let frame = if len <= FRAME_MAX { bytes.get(..len) } else { None };
    frame.is_some_and(|frame| {
        let (data, sum) = frame.split_at(len - 2);
        crc16(data).to_le_bytes() == sum
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc16(bytes).to_le_bytes()].concat()
    }

    #[test]
    fn requests_and_answers_are_told_apart_where_they_can_be() {
        let request = sealed(&[9, 3, 0, 10, 0, 2]);
        assert_eq!(request_at(&request), Some((Question { unit: 9, function: 3, address: 10, count: 2 }, 8)));
        assert_eq!(answer_at(&request), None);
        let answer = sealed(&[9, 3, 4, 1, 2, 3, 4]);
        assert_eq!(answer_at(&answer), Some((9, 3, Answer::Data(&[1, 2, 3, 4]), 9)));
        assert_eq!(request_at(&answer), None);
        let refusal = sealed(&[9, 0x83, 2]);
        assert_eq!(answer_at(&refusal), Some((9, 3, Answer::Exception(2), 5)));
        let both = sealed(&[9, 6, 0, 1, 0, 77]);
        assert_eq!(request_at(&both), Some((Question { unit: 9, function: 6, address: 1, count: 1 }, 8)));
        assert_eq!(answer_at(&both), Some((9, 6, Answer::Echo(1, 77), 8)));
        let write = sealed(&[9, 16, 0, 1, 0, 1, 2, 5, 6]);
        assert_eq!(request_at(&write), Some((Question { unit: 9, function: 16, address: 1, count: 1 }, 11)));
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic_or_claim_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((_, len)) = request_at(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            for byte_count in [ByteCount::OneByte, ByteCount::TwoBytes] {
                if let Some((.., len)) = answer_as(byte_count, &bytes) {
                    prop_assert!(len <= bytes.len());
                }
            }
        }

        #[test]
        fn a_damaged_frame_is_no_frame(bit in 0usize..64) {
            let mut request = sealed(&[9, 3, 0, 10, 0, 2]);
            request[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(request_at(&request), None);
            prop_assert_eq!(answer_at(&request), None);
        }
    }
}
