//! Modbus frames, driven by the request: pure functions from bytes to verdicts.
//!
//! The gateway is the only master, so it always knows what the answer to its request looks like: the unit, the
//! function, the length to the byte, and over Modbus TCP the transaction. [`judge`] looks at what has arrived so far and
//! says how many bytes the frame needs, or that this is the answer, or that it cannot be. Nothing searches for a frame
//! in a stream of bytes, so nothing can lock on to the wrong one.
//!
//! ```text
//! RTU    unit | function | data ... | crc low | crc high            at most 256 bytes
//! TCP    tid(2) | 0(2) | length(2) | unit | function | data ...     at most 260 bytes
//! ASCII  ':' | hex of unit, function, data ..., lrc | CR | LF       at most 513 bytes
//!
//! read        function | byte count | data       write 05, 06   function | address(2) | value(2)
//! exception   function + 0x80 | code             write 15, 16   function | address(2) | quantity(2)
//!                                                write 22       function | address(2) | and(2) | or(2)
//! file 20     function | byte count | length | 6 | data           file 21   all of the request
//! identity    function | 14 | code | conformity | more | next | count | { id | length | text } ...
//! ```
//!
//! The identity is the one answer whose length the request does not tell. It is heard piece by piece: each of its objects
//! says how long it is.

use std::time::Duration;

use guanjia_core::profile::ByteCount;
use tokio::time::Instant;

use crate::stats::Discard;

pub(crate) mod ascii;
mod request;

use request::PDU_MAX;
pub(crate) use request::{FILE_READ_MAX, FILE_WRITE_MAX, Identity, RECORDS_MAX, Reply, Request, Write};

/// The longest frame of any kind, that of ASCII.
pub(crate) const FRAME_MAX: usize = 513;

/// The longest frame with an MBAP header.
pub(crate) const MBAP_MAX: usize = 260;

/// The bytes of an MBAP header, the unit included.
pub(crate) const MBAP_HEADER: usize = 7;

/// The largest length field of an MBAP header: the unit and a PDU of 253 bytes.
const MBAP_LENGTH_MAX: usize = 254;

/// The longest pause between two characters of an ASCII frame.
const ASCII_APART_MAX: Duration = Duration::from_secs(1);

/// The bit a device adds to the function when it refuses.
const EXCEPTION_BIT: u8 = 0x80;

/// Bytes of the PDU of an exception: the function and a code.
pub(crate) const EXCEPTION_LEN: usize = 2;

/// Which envelope the PDU travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Rtu,
    Mbap,
    Ascii,
}

impl Framing {
    /// Whether a transaction number tells which question an answer belongs to.
    pub(crate) fn has_transactions(self) -> bool {
        self == Framing::Mbap
    }

    /// Until when the next piece of an answer may come of which a piece came now. Modbus ASCII allows a second between
    /// two characters (Modbus over Serial Line V1.02, 2.5.2.1); the other two have no pauses in a frame.
    pub(crate) fn patience(self, now: impl FnOnce() -> Instant, deadline: Instant) -> Instant {
        match self {
            Framing::Rtu | Framing::Mbap => deadline,
            Framing::Ascii => (now() + ASCII_APART_MAX).min(deadline + ASCII_APART_MAX),
        }
    }

    /// The length of a good answer in characters, for the deadline. MBAP is counted as what a gateway behind it
    /// would hear.
    pub(crate) fn reply_len(self, request: &Request) -> usize {
        match self {
            Framing::Rtu | Framing::Mbap => request.rtu_reply_len(),
            Framing::Ascii => self.frame_len(request.reply_len()),
        }
    }

    /// The length of the frame around a PDU of this length.
    pub(crate) fn frame_len(self, pdu: usize) -> usize {
        match self {
            Framing::Rtu => pdu + 3,
            Framing::Mbap => pdu + MBAP_HEADER,
            Framing::Ascii => ascii::text_len(1 + pdu),
        }
    }
}

/// What the bytes received so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not complete: the frame needs this many bytes in all.
    Need(usize),
    /// The answer.
    Reply(Reply),
    /// A whole frame of this length that belongs to another transaction; the answer may follow.
    Skip(usize),
    /// Not the answer. Without transaction numbers the kind is preliminary, see [`form_of`].
    Reject(Discard),
}

/// The whole frame of a request.
pub(crate) fn encode(framing: Framing, tid: u16, unit: u8, request: &Request) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16);
    encode_into(&mut frame, framing, tid, unit, request);
    frame
}

/// The same, in place of what `frame` held.
pub(crate) fn encode_into(frame: &mut Vec<u8>, framing: Framing, tid: u16, unit: u8, request: &Request) {
    frame.clear();
    match framing {
        Framing::Rtu => {
            frame.push(unit);
            request.put_pdu(frame);
            let sum = crc16(frame);
            frame.extend(sum.to_le_bytes());
        }
        Framing::Ascii => {
            let mut pdu = Vec::with_capacity(16);
            request.put_pdu(&mut pdu);
            *frame = ascii::encode(unit, &pdu);
        }
        Framing::Mbap => {
            frame.extend(tid.to_be_bytes());
            frame.extend([0; 4]);
            frame.push(unit);
            request.put_pdu(frame);
            let length = (frame.len() - 6) as u16;
            frame[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Judges what has arrived in answer to `request`.
pub(crate) fn judge(framing: Framing, tid: u16, unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    match framing {
        Framing::Rtu => judge_rtu(unit, request, bytes),
        Framing::Mbap => judge_mbap(tid, unit, request, bytes),
        Framing::Ascii => ascii::judge(unit, request, bytes),
    }
}

/// The same for a device that says in its own way how long its answers are; that is so over RTU only.
pub(crate) fn judge_as(
    byte_count: ByteCount,
    framing: Framing,
    tid: u16,
    unit: u8,
    request: &Request,
    bytes: &[u8],
) -> Verdict {
    match byte_count {
        ByteCount::TwoBytes if framing == Framing::Rtu => judge_two_bytes(unit, request, bytes),
        _ => judge(framing, tid, unit, request, bytes),
    }
}

/// The length of the frame that brings this reply to such a device's reader.
pub(crate) fn frame_len_as(byte_count: ByteCount, framing: Framing, request: &Request, reply: &Reply) -> usize {
    let is_long = byte_count == ByteCount::TwoBytes && framing == Framing::Rtu;
    let is_read = matches!(reply, Reply::Words(_) | Reply::Bits(_));
    request.frame_len(framing, reply) + usize::from(is_long && is_read)
}

/// An RTU answer whose byte count has two bytes. Exceptions and echoes have none and are as everywhere.
fn judge_two_bytes(unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    let [first, function, rest @ ..] = bytes else { return Verdict::Need(2) };
    let Some(expected) = request.data_bytes().filter(|_| *first == unit && *function == request.function()) else {
        return judge_rtu(unit, request, bytes);
    };
    let [high, low, ..] = rest else { return Verdict::Need(4) };
    if usize::from(u16::from_be_bytes([*high, *low])) != expected {
        return Verdict::Reject(Discard::Foreign);
    }
    let total = request.rtu_reply_len() + 1;
    let Some(frame) = bytes.get(..total) else { return Verdict::Need(total) };
    if !crc_holds(frame) {
        return Verdict::Reject(Discard::Damaged);
    }
    let pdu = [&[*function, *low], &frame[4..total - 2]].concat();
    request.parse(&pdu).map_or(Verdict::Reject(Discard::Foreign), Verdict::Reply)
}

/// How long the PDU of an answer is, as far as its beginning tells; `Err` if it is no answer to `request`.
fn expected_len(request: &Request, function: u8, rest: &[u8]) -> Result<Expected, ()> {
    if function == request.function() | EXCEPTION_BIT {
        return Ok(Expected::Pdu(EXCEPTION_LEN));
    }
    if function != request.function() {
        return Err(());
    }
    if let Request::Identify { .. } = request {
        return match Identity::expected_len(rest) {
            Expected::AtLeast(pdu) | Expected::Pdu(pdu) if pdu > PDU_MAX => Err(()),
            expected => Ok(expected),
        };
    }
    match (request.data_bytes(), rest.first()) {
        (Some(_), None) => Ok(Expected::AtLeast(2)),
        (Some(expected), Some(&claimed)) if usize::from(claimed) != expected => Err(()),
        _ => Ok(Expected::Pdu(request.reply_len())),
    }
}

/// What [`expected_len`] knows.
enum Expected {
    /// The PDU has at least so many bytes, and more is not known before they are heard.
    AtLeast(usize),
    /// The PDU has this many bytes.
    Pdu(usize),
}

fn judge_rtu(unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    const NOT_OURS: Verdict = Verdict::Reject(Discard::Foreign);
    // Asking for no more than what the frame must have never reads into what follows it.
    let [first, function, rest @ ..] = bytes else { return Verdict::Need(2) };
    if *first != unit {
        return NOT_OURS;
    }
    let total = match expected_len(request, *function, rest) {
        Err(()) => return NOT_OURS,
        Ok(Expected::AtLeast(pdu)) => return Verdict::Need(1 + pdu),
        Ok(Expected::Pdu(pdu)) => pdu + 3,
    };
    if bytes.len() < total {
        return Verdict::Need(total);
    }
    let frame = &bytes[..total];
    if !crc_holds(frame) {
        return Verdict::Reject(Discard::Damaged);
    }
    match request.parse(&frame[1..total - 2]) {
        Some(reply) => Verdict::Reply(reply),
        None => NOT_OURS,
    }
}

/// How long the frame is that begins with these bytes, by its MBAP header; `None` if the header is not whole, or lies.
pub(crate) fn mbap_len(bytes: &[u8]) -> Option<usize> {
    let [_, _, p0, p1, l0, l1, _, ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    ((*p0, *p1) == (0, 0) && (3..=MBAP_LENGTH_MAX).contains(&length)).then_some(6 + length)
}

fn judge_mbap(tid: u16, unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    let [t0, t1, _, _, _, _, their_unit, pdu @ ..] = bytes else { return Verdict::Need(MBAP_HEADER) };
    // A header that lies about its length or protocol means that nobody knows any more where a frame begins.
    let Some(total) = mbap_len(bytes) else { return Verdict::Reject(Discard::Damaged) };
    if bytes.len() < total {
        return Verdict::Need(total);
    }
    if u16::from_be_bytes([*t0, *t1]) != tid {
        return Verdict::Skip(total);
    }
    if *their_unit != unit {
        return Verdict::Reject(Discard::Foreign);
    }
    match request.parse(&pdu[..total - MBAP_HEADER]) {
        Some(reply) => Verdict::Reply(reply),
        None => Verdict::Reject(Discard::Foreign),
    }
}

/// What rejected bytes of a line without transaction numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Not known before this many bytes are there.
    Need(usize),
    /// A whole frame of `total` bytes whose check sum holds, and the length of the PDU in it.
    Frame { unit: u8, function: u8, pdu: usize, total: usize },
    /// No frame.
    Noise,
}

/// Looks whether rejected bytes are a whole frame, meant for another question. A frame with a transaction number is
/// passed over without a look.
pub(crate) fn form_of(framing: Framing, bytes: &[u8]) -> Form {
    match framing {
        Framing::Rtu => form_of_rtu(bytes),
        Framing::Ascii => ascii::form_of(bytes),
        Framing::Mbap => Form::Noise,
    }
}

/// The length of the PDU of any answer, by its function and the byte after it.
fn pdu_len(function: u8, third: u8) -> usize {
    match function {
        1..=4 | 20 | 21 => 2 + usize::from(third),
        f if f & EXCEPTION_BIT != 0 => EXCEPTION_LEN,
        22 => 7,
        _ => 5,
    }
}

fn form_of_rtu(bytes: &[u8]) -> Form {
    let [unit, function, third, ..] = bytes else { return Form::Need(3) };
    let pdu = pdu_len(*function, *third);
    let total = pdu + 3;
    match bytes.get(..total) {
        None => Form::Need(total),
        Some(frame) if crc_holds(frame) => Form::Frame { unit: *unit, function: *function, pdu, total },
        Some(_) => Form::Noise,
    }
}

fn crc_holds(frame: &[u8]) -> bool {
    let (data, sum) = frame.split_at(frame.len() - 2);
    crc16(data).to_le_bytes() == sum
}

/// CRC-16/MODBUS: polynomial 0xA001 reflected, start value 0xFFFF. On the wire the low byte comes first.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

/// What each byte does to the sum.
const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = (byte as u16, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
