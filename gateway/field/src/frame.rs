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
//!
//! read   function | byte count | data           write 16   0x10 | address(2) | quantity(2)
//! exception   function + 0x80 | code
//! ```

use guanjia_core::profile::Table;

use crate::stats::Discard;

/// The longest frame of either kind.
pub(crate) const FRAME_MAX: usize = 260;

/// The largest length field of an MBAP header: the unit and a PDU of 253 bytes.
const MBAP_LENGTH_MAX: usize = 254;

/// The bit a device adds to the function when it refuses.
const EXCEPTION_BIT: u8 = 0x80;

/// Function 16, write multiple registers.
const WRITE_REGISTERS: u8 = 0x10;

/// Which envelope the PDU travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Rtu,
    Mbap,
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
    /// Not the answer. Over RTU the kind is preliminary, see [`form_of_rtu`].
    Reject(Discard),
}

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Request::Read { table, .. } => table.read_function(),
            Request::Write { .. } => WRITE_REGISTERS,
        }
    }

    /// The first address and how many registers or bits.
    pub(crate) fn extent(&self) -> (u16, u16) {
        match self {
            Request::Read { address, count, .. } => (*address, *count),
            Request::Write { address, words } => (*address, words.len() as u16),
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
    fn reply_len(&self) -> usize {
        self.data_bytes().map_or(5, |bytes| 2 + bytes)
    }

    /// The length of a good answer on a serial line, for the deadline.
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
        Framing::Mbap => {
            let mut frame = Vec::with_capacity(7 + pdu.len());
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
    }
}

fn judge_rtu(unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    const NOT_OURS: Verdict = Verdict::Reject(Discard::Foreign);
    // The length is known with the third byte at the latest; asking for no more than that never reads into what
    // follows the frame.
    let [first, function, rest @ ..] = bytes else { return Verdict::Need(2) };
    if *first != unit {
        return NOT_OURS;
    }
    let total = if *function == request.function() | EXCEPTION_BIT {
        5
    } else if *function == request.function() {
        match (request.data_bytes(), rest.first()) {
            (Some(_), None) => return Verdict::Need(3),
            (Some(expected), Some(&claimed)) if usize::from(claimed) != expected => return NOT_OURS,
            _ => request.rtu_reply_len(),
        }
    } else {
        return NOT_OURS;
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

fn judge_mbap(tid: u16, unit: u8, request: &Request, bytes: &[u8]) -> Verdict {
    let [t0, t1, p0, p1, l0, l1, their_unit, pdu @ ..] = bytes else { return Verdict::Need(7) };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    // A header that lies about its length or protocol means that nobody knows any more where a frame begins.
    if (*p0, *p1) != (0, 0) || !(3..=MBAP_LENGTH_MAX).contains(&length) {
        return Verdict::Reject(Discard::Damaged);
    }
    let total = 6 + length;
    if bytes.len() < total {
        return Verdict::Need(total);
    }
    if u16::from_be_bytes([*t0, *t1]) != tid {
        return Verdict::Skip(total);
    }
    if *their_unit != unit {
        return Verdict::Reject(Discard::Foreign);
    }
    match request.parse(&pdu[..length - 1]) {
        Some(reply) => Verdict::Reply(reply),
        None => Verdict::Reject(Discard::Foreign),
    }
}

/// What rejected bytes of an RTU line are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Not known before this many bytes are there.
    Need(usize),
    /// A whole frame whose check sum holds.
    Frame { unit: u8, function: u8, total: usize },
    /// No frame.
    Noise,
}

/// Looks whether rejected bytes are a whole frame, meant for another question.
pub(crate) fn form_of_rtu(bytes: &[u8]) -> Form {
    let [unit, function, third, ..] = bytes else { return Form::Need(3) };
    let total = match function {
        1..=4 => 5 + usize::from(*third),
        f if f & EXCEPTION_BIT != 0 => 5,
        _ => 8,
    };
    match bytes.get(..total) {
        None => Form::Need(total),
        Some(frame) if crc_holds(frame) => Form::Frame { unit: *unit, function: *function, total },
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
