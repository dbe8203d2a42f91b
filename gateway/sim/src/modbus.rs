//! The serving side of Modbus: framing of RTU and TCP, and which request gets which kind of answer.
//!
//! Written from the Modbus Application Protocol V1.1b3 and the Modbus over Serial Line V1.02 documents, apart from
//! the gateway's own framing: that the two agree is what the tests of the whole prove.

use crate::registers::{Exception, Table};

/// The longest RTU frame.
pub(crate) const RTU_FRAME_MAX: usize = 256;
/// Registers one read may ask for.
const READ_MAX: u16 = 125;
/// Registers one write may carry.
const WRITE_MAX: u16 = 123;

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read { table: Table, first: u16, count: u16 },
    Write { first: u16, values: Vec<u16>, single: bool },
}

/// What a device did about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Words(Vec<u16>),
    Written,
}

/// Parses a request PDU.
pub(crate) fn parse(pdu: &[u8]) -> Result<Request, Exception> {
    let word = |at: usize| pdu.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    match pdu.first() {
        Some(function @ (3 | 4)) => {
            let (Some(first), Some(count), 5) = (word(1), word(3), pdu.len()) else {
                return Err(Exception::IllegalDataValue);
            };
            if count == 0 || count > READ_MAX {
                return Err(Exception::IllegalDataValue);
            }
            let table = if *function == 3 { Table::Holding } else { Table::Input };
            Ok(Request::Read { table, first, count })
        }
        Some(6) => match (word(1), word(3), pdu.len()) {
            (Some(first), Some(value), 5) => Ok(Request::Write { first, values: vec![value], single: true }),
            _ => Err(Exception::IllegalDataValue),
        },
        Some(16) => {
            let (Some(first), Some(count), Some(&bytes)) = (word(1), word(3), pdu.get(5)) else {
                return Err(Exception::IllegalDataValue);
            };
            let data = &pdu[6..];
            if count == 0
                || count > WRITE_MAX
                || usize::from(bytes) != data.len()
                || data.len() != usize::from(count) * 2
            {
                return Err(Exception::IllegalDataValue);
            }
            let values = data.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            Ok(Request::Write { first, values, single: false })
        }
        _ => Err(Exception::IllegalFunction),
    }
}

/// The reply PDU to a request PDU.
pub(crate) fn answer(request: &[u8], outcome: Result<Reply, Exception>) -> Vec<u8> {
    let function = request.first().copied().unwrap_or(0);
    match outcome {
        Ok(Reply::Words(words)) => {
            let mut pdu = vec![function, (words.len() * 2) as u8];
            pdu.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            pdu
        }
        // Both write functions echo the address and the value or the quantity.
        Ok(Reply::Written) => request[..5].to_vec(),
        Err(exception) => vec![function | 0x80, exception as u8],
    }
}

/// CRC-16/MODBUS.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

/// Puts a PDU into an RTU frame.
pub(crate) fn rtu_frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit);
    frame.extend_from_slice(pdu);
    frame.extend(crc(&frame).to_le_bytes());
    frame
}

/// The unit and PDU of an RTU frame whose checksum is right.
pub(crate) fn rtu_open(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (body, sum) = frame.split_last_chunk::<2>()?;
    (body.len() >= 2 && crc(body) == u16::from_le_bytes(*sum)).then(|| (body[0], &body[1..]))
}

/// How long the request at the head of `buffer` is, once that can be known.
pub(crate) fn rtu_request_length(buffer: &[u8]) -> Option<usize> {
    match buffer.get(1)? {
        1..=6 => Some(8),
        15 | 16 => buffer.get(6).map(|bytes| 9 + usize::from(*bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_documents() {
        // The example frame of Modbus over Serial Line V1.02, appendix B: 02 07 -> 41 12.
        assert_eq!(rtu_frame(2, &[7]), [0x02, 0x07, 0x41, 0x12]);
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_not_opened() {
        let mut frame = rtu_frame(1, &[3, 0, 0, 0, 2]);
        assert_eq!(rtu_open(&frame), Some((1, &[3u8, 0, 0, 0, 2][..])));
        frame[3] ^= 0x10;
        assert_eq!(rtu_open(&frame), None);
    }

    #[test]
    fn requests_that_no_device_may_answer_with_data_are_refused() {
        assert_eq!(parse(&[3, 0, 0, 0, 0]), Err(Exception::IllegalDataValue));
        assert_eq!(parse(&[3, 0, 0, 0, 126]), Err(Exception::IllegalDataValue));
        assert_eq!(parse(&[43, 14, 1, 0]), Err(Exception::IllegalFunction));
        assert_eq!(parse(&[16, 0, 0x57, 0, 2, 4, 0, 1, 0]), Err(Exception::IllegalDataValue));
        assert_eq!(
            parse(&[16, 0, 0x57, 0, 2, 4, 0, 1, 0, 1]),
            Ok(Request::Write { first: 0x57, values: vec![1, 1], single: false })
        );
    }
}
