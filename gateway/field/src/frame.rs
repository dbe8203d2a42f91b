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
//! read   function | byte count | data           write 16   0x10 | address(2) | quantity(2)
//! exception   function + 0x80 | code
//! ```

use std::time::Duration;

use guanjia_core::profile::Table;
use tokio::time::Instant;

use crate::stats::Discard;

pub(crate) mod ascii;

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

/// Function 16, write multiple registers.
const WRITE_REGISTERS: u8 = 0x10;

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
    pub(crate) fn patience(self, now: Instant, deadline: Instant) -> Instant {
        match self {
            Framing::Rtu | Framing::Mbap => deadline,
            Framing::Ascii => (now + ASCII_APART_MAX).min(deadline + ASCII_APART_MAX),
        }
    }

    /// The length of a good answer in characters, for the deadline. MBAP is counted as what a gateway behind it
    /// would hear.
    pub(crate) fn reply_len(self, request: &Request) -> usize {
        match self {
            Framing::Rtu | Framing::Mbap => request.rtu_reply_len(),
            Framing::Ascii => ascii::text_len(1 + request.reply_len()),
        }
    }
}

/// What is asked of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read { table: Table, address: u16, count: u16 },
    Write { address: u16, words: Vec<u16> },
}

/// What a unit answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Words(Vec<u16>),
    Bits(Vec<bool>),
    Written,
    Exception(u8),
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

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Request::Read { table, .. } => table.read_function(),
            Request::Write { .. } => WRITE_REGISTERS,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Request::Write { .. })
    }

    fn pdu(&self) -> Vec<u8> {
        let mut pdu = vec![self.function()];
        match self {
            Request::Read { address, count, .. } => {
                pdu.extend(address.to_be_bytes());
                pdu.extend(count.to_be_bytes());
            }
            Request::Write { address, words } => {
                pdu.extend(address.to_be_bytes());
                pdu.extend((words.len() as u16).to_be_bytes());
                pdu.push((words.len() * 2) as u8);
                pdu.extend(words.iter().flat_map(|w| w.to_be_bytes()));
            }
        }
        pdu
    }

    /// The byte count a read is answered with; `None` for a write, whose answer has none.
    fn data_bytes(&self) -> Option<usize> {
        match self {
            Request::Read { table, count, .. } if table.is_bits() => Some(usize::from(*count).div_ceil(8)),
            Request::Read { count, .. } => Some(usize::from(*count) * 2),
            Request::Write { .. } => None,
        }
    }

    /// The length of the PDU of a good answer.
    pub(crate) fn reply_len(&self) -> usize {
        self.data_bytes().map_or(5, |bytes| 2 + bytes)
    }

    /// The length of a good answer as RTU.
    pub(crate) fn rtu_reply_len(&self) -> usize {
        self.reply_len() + 3
    }

    /// One register or bit at the same place; `None` for a write.
    pub(crate) fn one_of(&self) -> Option<Request> {
        match *self {
            Request::Read { table, address, .. } => Some(Request::Read { table, address, count: 1 }),
            Request::Write { .. } => None,
        }
    }

    /// One register or bit at the same place of the table that is read with the sister function; `None` for a write.
    pub(crate) fn one_of_sister(&self) -> Option<Request> {
        let Request::Read { table, address, .. } = *self else { return None };
        let table = match table {
            Table::Coil => Table::DiscreteInput,
            Table::DiscreteInput => Table::Coil,
            Table::Holding => Table::Input,
            Table::Input => Table::Holding,
        };
        Some(Request::Read { table, address, count: 1 })
    }

    /// Whether a good answer to the one, seen without a transaction number, could be taken for one to the other.
    pub(crate) fn looks_like(&self, other: &Request) -> bool {
        self.function() == other.function() && self.reply_len() == other.reply_len()
    }

    /// Reads the PDU of an answer; `None` if it is none to this request.
    fn parse(&self, pdu: &[u8]) -> Option<Reply> {
        let (&function, data) = pdu.split_first()?;
        if function == self.function() | EXCEPTION_BIT {
            return match data {
                [code] if *code != 0 => Some(Reply::Exception(*code)),
                _ => None,
            };
        }
        if function != self.function() || pdu.len() != self.reply_len() {
            return None;
        }
        match self {
            Request::Write { address, words } => {
                let echo = [address.to_be_bytes(), (words.len() as u16).to_be_bytes()].concat();
                (data == echo).then_some(Reply::Written)
            }
            Request::Read { table, count, .. } => {
                let (&bytes, data) = data.split_first()?;
                if Some(usize::from(bytes)) != self.data_bytes() {
                    return None;
                }
                if table.is_bits() {
                    let bit = |i: usize| data[i / 8] >> (i % 8) & 1 == 1;
                    return Some(Reply::Bits((0..usize::from(*count)).map(bit).collect()));
                }
                Some(Reply::Words(data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect()))
            }
        }
    }
}

/// The whole frame of a request.
pub(crate) fn encode(framing: Framing, tid: u16, unit: u8, request: &Request) -> Vec<u8> {
    let pdu = request.pdu();
    match framing {
        Framing::Rtu => {
            let mut frame = vec![unit];
            frame.extend(pdu);
            frame.extend(crc16(&frame).to_le_bytes());
            frame
        }
        Framing::Ascii => ascii::encode(unit, &pdu),
        Framing::Mbap => {
            let mut frame = Vec::with_capacity(MBAP_HEADER + pdu.len());
            frame.extend(tid.to_be_bytes());
            frame.extend([0, 0]);
            frame.extend((pdu.len() as u16 + 1).to_be_bytes());
            frame.push(unit);
            frame.extend(pdu);
            frame
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

/// How long the PDU of an answer is, as far as its beginning tells; `Err` if it is no answer to `request`.
fn expected_len(request: &Request, function: u8, rest: &[u8]) -> Result<Expected, ()> {
    if function == request.function() | EXCEPTION_BIT {
        return Ok(Expected::Pdu(EXCEPTION_LEN));
    }
    if function != request.function() {
        return Err(());
    }
    match (request.data_bytes(), rest.first()) {
        (Some(_), None) => Ok(Expected::ByteCount),
        (Some(expected), Some(&claimed)) if usize::from(claimed) != expected => Err(()),
        _ => Ok(Expected::Pdu(request.reply_len())),
    }
}

/// What [`expected_len`] knows.
enum Expected {
    /// The byte count must be heard first.
    ByteCount,
    /// The PDU has this many bytes.
    Pdu(usize),
}

fn judge_rtu(unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    const NOT_OURS: Verdict = Verdict::Reject(Discard::Foreign);
    // The length is known with the third byte at the latest; asking for no more than that never reads into what
    // follows the frame.
    let [first, function, rest @ ..] = bytes else { return Verdict::Need(2) };
    if *first != unit {
        return NOT_OURS;
    }
    let total = match expected_len(request, *function, rest) {
        Err(()) => return NOT_OURS,
        Ok(Expected::ByteCount) => return Verdict::Need(3),
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
        1..=4 => 2 + usize::from(third),
        f if f & EXCEPTION_BIT != 0 => EXCEPTION_LEN,
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
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xA001;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests;
