//! Modbus ASCII: the same PDUs in printable characters (Modbus over Serial Line V1.02, 2.5.2).
//!
//! ```text
//!   ':'  0 1  0 3  0 2  1 2 3 4  B 4  CR LF          each byte as two hexadecimal digits, the high one first
//!        unit fc   ...          LRC: the two's complement of the sum of the bytes before it
//! ```
//!
//! The colon stands nowhere else, so it could be searched for. It is not: what comes before it is not the answer, and
//! whoever skipped it would also skip the beginning of a longer lie. The length is known from the request as over RTU.
//! Digits are sent in capitals, as the standard has them, and taken in either case.

use super::{Expected, FRAME_MAX, Form, Request, Verdict, expected_len, pdu_len};
use crate::stats::Discard;

const START: u8 = b':';
const END: [u8; 2] = *b"\r\n";

/// Characters of a frame with this many bytes of unit and PDU.
pub(super) fn text_len(bytes: usize) -> usize {
    1 + 2 * (bytes + 1) + END.len()
}

/// Characters from the colon to the end of so many bytes.
fn digits(bytes: usize) -> usize {
    1 + 2 * bytes
}

/// The longitudinal redundancy check.
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

pub(crate) fn encode(unit: u8, pdu: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut bytes = vec![unit];
    bytes.extend(pdu);
    bytes.push(lrc(&bytes));
    let mut text = Vec::with_capacity(text_len(bytes.len() - 1));
    text.push(START);
    text.extend(bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 0xF)]]));
    text.extend(END);
    text
}

/// The bytes that are there in whole pairs of digits after the colon; `None` if the text is not what it should be.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (start, digits) = text.split_first()?;
    if *start != START {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The unit and PDU of a whole frame of this length; `None` if it is damaged.
pub(crate) fn open(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = decode(text.strip_suffix(&END)?)?;
    let sum = bytes.pop()?;
    (lrc(&bytes) == sum).then_some(bytes)
}

/// The beginning of a frame: colon, unit, function.
const HEAD: usize = 5;
/// The same and one byte more.
const HEAD_AND_ONE: usize = 7;

pub(super) fn judge(unit: u8, request: &Request, text: &[u8]) -> Verdict {
    const NOT_OURS: Verdict = Verdict::Reject(Discard::Foreign);
    const DAMAGED: Verdict = Verdict::Reject(Discard::Damaged);
    // Noise is known by its first character; waiting for four more of it would cost the whole deadline.
    if text.first().is_some_and(|first| *first != START) {
        return DAMAGED;
    }
    if text.len() < HEAD {
        return Verdict::Need(HEAD);
    }
    let mut known = text.len().min(HEAD_AND_ONE);
    let total = loop {
        let Some(head) = decode(&text[..known]) else { return DAMAGED };
        let [their_unit, function, rest @ ..] = &head[..] else { return DAMAGED };
        if *their_unit != unit {
            return NOT_OURS;
        }
        match expected_len(request, *function, rest) {
            Err(()) => return NOT_OURS,
            Ok(Expected::AtLeast(pdu)) if text.len() < digits(1 + pdu) => return Verdict::Need(digits(1 + pdu)),
            Ok(Expected::AtLeast(pdu)) => known = digits(1 + pdu),
            Ok(Expected::Pdu(pdu)) => break text_len(1 + pdu),
        }
    };
    if text.len() < total {
        return Verdict::Need(total);
    }
    match open(&text[..total]) {
        None => DAMAGED,
        Some(bytes) => request.parse(&bytes[1..]).map_or(NOT_OURS, Verdict::Reply),
    }
}

/// Looks whether rejected characters are a whole frame, meant for another question.
pub(super) fn form_of(text: &[u8]) -> Form {
    if text.first().is_some_and(|first| *first != START) {
        return Form::Noise;
    }
    if text.len() < HEAD_AND_ONE {
        return Form::Need(HEAD_AND_ONE);
    }
    let Some(&[unit, function, third]) = decode(&text[..HEAD_AND_ONE]).as_deref() else { return Form::Noise };
    let pdu = pdu_len(function, third);
    let total = text_len(1 + pdu);
    match text.get(..total) {
        None if total > FRAME_MAX => Form::Noise,
        None => Form::Need(total),
        Some(frame) if open(frame).is_some() => Form::Frame { unit, function, pdu, total },
        Some(_) => Form::Noise,
    }
}

#[cfg(test)]
mod tests {
    use guanjia_core::profile::Table;
    use proptest::prelude::*;

    use super::super::{Framing, Reply, Write};
    use super::*;

    fn read(address: u16, count: u16) -> Request {
        Request::Read { table: Table::Holding, address, count }
    }

    #[test]
    fn frames_agree_with_published_ones() {
        let request = super::super::encode(Framing::Ascii, 0, 0x11, &read(0x6B, 3));
        assert_eq!(request, b":1103006B00037E\r\n");
        let write = Request::Write(Write::Registers { address: 1, words: vec![0x000A, 0x0102] });
        assert_eq!(super::super::encode(Framing::Ascii, 0, 0x11, &write), b":11100001000204000A0102CB\r\n");
        assert_eq!(judge(0x11, &write, b":111000010002DC\r\n"), Verdict::Reply(Reply::Written));
        let answer = b":110306AE415652434069\r\n";
        assert_eq!(judge(0x11, &read(0x6B, 3), answer), Verdict::Reject(Discard::Damaged), "a wrong LRC");
        let answer = b":110306AE4156524340CC\r\n";
        let words = vec![0xAE41, 0x5652, 0x4340];
        assert_eq!(judge(0x11, &read(0x6B, 3), answer), Verdict::Reply(Reply::Words(words)));
        assert_eq!(judge(0x11, &read(0x6B, 3), b":1183026A\r\n"), Verdict::Reply(Reply::Exception(2)));
    }

    #[test]
    fn small_digits_are_digits() {
        let reply = judge(1, &read(0, 1), b":010302ab0c43\r\n");
        assert_eq!(reply, Verdict::Reply(Reply::Words(vec![0xAB0C])));
    }

    #[test]
    fn no_more_is_read_than_the_answer_has() {
        let answer = b":01030200FFFB\r\n";
        let needs = [0, 1, 5, 6, 7, 14].map(|n| judge(1, &read(0, 1), &answer[..n]));
        let total = answer.len();
        assert_eq!(needs, [HEAD, HEAD, HEAD_AND_ONE, HEAD_AND_ONE, total, total].map(Verdict::Need));
    }

    #[test]
    fn what_another_question_was_answered_with_is_known_by_its_form() {
        assert_eq!(form_of(b":02030200FFFA\r\n"), Form::Frame { unit: 2, function: 3, pdu: 4, total: 15 });
        assert_eq!(form_of(b":0203FF"), Form::Noise, "longer than any frame");
        assert_eq!(form_of(b":02030200FFFB\r\n"), Form::Noise);
    }

    /// A right answer, and the request it answers.
    fn answered() -> impl Strategy<Value = (u8, Vec<u16>)> {
        (1u8..=247, prop::collection::vec(any::<u16>(), 1..=123))
    }

    fn text_of(unit: u8, words: &[u16]) -> Vec<u8> {
        let mut pdu = vec![3, (words.len() * 2) as u8];
        pdu.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        encode(unit, &pdu)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_again((unit, words) in answered()) {
            let text = text_of(unit, &words);
            prop_assert!(text.len() <= FRAME_MAX);
            let verdict = judge(unit, &read(0, words.len() as u16), &text);
            prop_assert_eq!(verdict, Verdict::Reply(Reply::Words(words)));
        }

        /// One character more, less, or another one: the answer is not believed, and the same answer undamaged is.
        #[test]
        fn one_wrong_character_costs_one_answer(
            (unit, words) in answered(), at: prop::sample::Index, how in 0..3, with: u8,
        ) {
            let right = text_of(unit, &words);
            let at = at.index(right.len());
            let mut text = right.clone();
            match how {
                0 => text.insert(at, with),
                1 => drop(text.remove(at)),
                _ => text[at] = with,
            }
            let request = read(0, words.len() as u16);
            let same = text[..text.len().min(right.len())].eq_ignore_ascii_case(&right);
            match judge(unit, &request, &text) {
                Verdict::Reply(reply) => {
                    // A digit in the other case is the same digit, and what comes after the end is drained.
                    prop_assert!(same);
                    prop_assert_eq!(reply, Reply::Words(words));
                }
                Verdict::Need(total) => prop_assert!(total > text.len() && total <= FRAME_MAX),
                Verdict::Reject(_) => prop_assert!(!same),
                Verdict::Skip(_) => prop_assert!(false, "nothing is skipped without a transaction number"),
            }
        }

        /// No characters make the codec panic, ask for more than the buffer holds, or ask for nothing.
        #[test]
        fn any_characters_are_judged(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..FRAME_MAX),
                ":[0-9A-F]{0,300}(\r\n)?".prop_map(String::into_bytes),
            ],
            count in 1u16..=125, unit: u8,
        ) {
            if let Verdict::Need(total) = judge(unit, &read(0, count), &text) {
                prop_assert!(total > text.len() && total <= FRAME_MAX);
            }
            match form_of(&text) {
                Form::Need(total) => prop_assert!(total > text.len() && total <= FRAME_MAX),
                Form::Frame { total, .. } => prop_assert!(total <= text.len()),
                Form::Noise => {}
            }
        }
    }
}
