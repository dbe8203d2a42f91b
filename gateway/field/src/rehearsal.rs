//! A question and its answer from paper, put through the same functions as those of a line.
//!
//! Frames in documents and in the library of profiles are judged here byte by byte before anybody decodes them, so a golden
//! frame proves the request, the check of the answer and the value at once.

use guanjia_core::profile::{ByteCount, Extent, Table};

use crate::frame::{Framing, Reply, Request, Verdict, encode, judge_as};

/// What a rehearsed answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsed {
    /// Registers.
    Words(Vec<u16>),
    /// Coils or discrete inputs.
    Bits(Vec<bool>),
    /// The device refused with this exception.
    Refused(u8),
}

/// Why a pair of frames is no question and answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RehearsalError {
    /// The first is no read as this gateway sends it.
    #[error("the request is no read with functions 01 to 04, address, count and the right CRC")]
    Request,
    /// The second is not the answer to it.
    #[error("the answer would be discarded: {0}; check unit, function, length and CRC")]
    Answer(String),
}

/// Reads a request and its answer as they go over a serial line to a device that counts its bytes so. Gives what was
/// asked and what came.
///
/// # Errors
/// [`RehearsalError`].
pub fn rehearse(request: &[u8], answer: &[u8], byte_count: ByteCount) -> Result<(Extent, Rehearsed), RehearsalError> {
    let [unit, function, a0, a1, c0, c1, _, _] = *request else { return Err(RehearsalError::Request) };
    let table = Table::ALL.into_iter().find(|t| t.read_function() == function).ok_or(RehearsalError::Request)?;
    let (address, count) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([c0, c1]));
    let asked = Request::Read { table, address, count };
    if encode(Framing::Rtu, 0, unit, &asked) != request {
        return Err(RehearsalError::Request);
    }
    let came = match judge_as(byte_count, Framing::Rtu, 0, unit, &asked, answer) {
        Verdict::Reply(Reply::Words(words)) => Rehearsed::Words(words),
        Verdict::Reply(Reply::Bits(bits)) => Rehearsed::Bits(bits),
        Verdict::Reply(Reply::Exception(code)) => Rehearsed::Refused(code),
        verdict => return Err(RehearsalError::Answer(format!("{verdict:?}"))),
    };
    Ok((Extent { table, address, count }, came))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_from_a_document_is_judged_like_one_from_a_line() {
        let request = [0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x71, 0xCB];
        let answer = [0x01, 0x04, 0x04, 0x43, 0x6A, 0xA2, 0xCB, 0xF6, 0xEB];
        let wrong_sum = [&answer[..8], &[0x00]].concat();
        match rehearse(&request, &answer, ByteCount::OneByte) {
            Ok((extent, Rehearsed::Words(words))) => {
                assert_eq!((extent.table, extent.address, extent.count), (Table::Input, 0, 2));
                assert_eq!(words, [0x436A, 0xA2CB]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(rehearse(&request, &wrong_sum, ByteCount::OneByte), Err(RehearsalError::Answer(_))));
        assert!(matches!(rehearse(&request, &answer[..7], ByteCount::OneByte), Err(RehearsalError::Answer(_))));
        assert_eq!(rehearse(&request[..7], &answer, ByteCount::OneByte), Err(RehearsalError::Request));
        assert_eq!(
            rehearse(&[&request[..7], &[0]].concat(), &answer, ByteCount::OneByte),
            Err(RehearsalError::Request)
        );
    }
}
