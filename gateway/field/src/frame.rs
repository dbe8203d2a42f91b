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

use guanjia_core::profile::{Extent, Table, WriteFunction};
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

/// What is asked of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read {
        table: Table,
        address: u16,
        count: u16,
    },
    Write(Write),
    /// Records of two bytes in one file (the same, 6.14): 1 to 124.
    ReadFile {
        file: u16,
        record: u16,
        count: u16,
    },
    /// The same, written (6.15): 1 to 122.
    WriteFile {
        file: u16,
        record: u16,
        words: Vec<u16>,
    },
    /// Device identification (6.21): access code 1 to 4, and the first object.
    Identify {
        access: u8,
        object: u8,
    },
}

/// Records that one file read may bring: its byte count ends at 0xF5.
pub(crate) const FILE_READ_MAX: u16 = 121;
/// Records that one file write may carry: its byte count ends at 0xFB.
pub(crate) const FILE_WRITE_MAX: usize = 122;
/// The first record that a file has not.
pub(crate) const RECORDS_MAX: u16 = 10_000;
/// The one reference type of file records.
const FILE_REFERENCE: u8 = 6;
/// The type of Modbus encapsulated interface that identifies a device.
const MEI_IDENTITY: u8 = 14;
/// Function 43, Modbus encapsulated interface.
const ENCAPSULATED: u8 = 43;
/// Bytes of the PDU of an identity before its first object.
const IDENTITY_HEAD: usize = 7;
/// The longest PDU.
const PDU_MAX: usize = 253;

/// What is written (Modbus Application Protocol V1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Coil {
        address: u16,
        on: bool,
    },
    Register {
        address: u16,
        word: u16,
    },
    /// At least 1, at most what [`WriteFunction::count_max`] says.
    Coils {
        address: u16,
        bits: Vec<bool>,
    },
    /// 1 to 123 (the same, 6.12).
    Registers {
        address: u16,
        words: Vec<u16>,
    },
    /// The register becomes `register & and | or & !and`.
    Mask {
        address: u16,
        and: u16,
        or: u16,
    },
}

impl Write {
    /// What a profile says is written: coils as words of 0 and 1, for a mask the AND mask and the OR mask. `None` if the
    /// function does not take so many words.
    pub(crate) fn new(function: WriteFunction, address: u16, words: &[u16]) -> Option<Self> {
        if words.is_empty() || words.len() > function.count_max() {
            return None;
        }
        Some(match (function, words) {
            (WriteFunction::Coil, [word]) => Write::Coil { address, on: *word != 0 },
            (WriteFunction::Register, [word]) => Write::Register { address, word: *word },
            (WriteFunction::Mask, [and, or]) => Write::Mask { address, and: *and, or: *or },
            (WriteFunction::Coils, words) => Write::Coils { address, bits: words.iter().map(|w| *w != 0).collect() },
            (WriteFunction::Registers, words) => Write::Registers { address, words: words.to_vec() },
            _ => return None,
        })
    }

    fn function(&self) -> WriteFunction {
        match self {
            Write::Coil { .. } => WriteFunction::Coil,
            Write::Register { .. } => WriteFunction::Register,
            Write::Coils { .. } => WriteFunction::Coils,
            Write::Registers { .. } => WriteFunction::Registers,
            Write::Mask { .. } => WriteFunction::Mask,
        }
    }

    /// The first address and how many registers or bits.
    fn extent(&self) -> (u16, u16) {
        match self {
            Write::Coil { address, .. } | Write::Register { address, .. } | Write::Mask { address, .. } => {
                (*address, 1)
            }
            Write::Coils { address, bits } => (*address, bits.len() as u16),
            Write::Registers { address, words } => (*address, words.len() as u16),
        }
    }

    /// What follows the function in the echo: all of it, or the address and how many.
    fn echo(&self) -> ([u8; 6], usize) {
        let (address, second, third) = match self {
            Write::Coil { address, on } => (*address, if *on { COIL_ON } else { 0 }, None),
            Write::Register { address, word } => (*address, *word, None),
            Write::Coils { address, bits } => (*address, bits.len() as u16, None),
            Write::Registers { address, words } => (*address, words.len() as u16, None),
            Write::Mask { address, and, or } => (*address, *and, Some(*or)),
        };
        let mut echo = [0; 6];
        echo[..2].copy_from_slice(&address.to_be_bytes());
        echo[2..4].copy_from_slice(&second.to_be_bytes());
        echo[4..].copy_from_slice(&third.unwrap_or_default().to_be_bytes());
        (echo, if third.is_some() { 6 } else { 4 })
    }

    /// What follows the echo's bytes in the request: the data with its length, for those that have some.
    fn put_data(&self, frame: &mut Vec<u8>) {
        match self {
            Write::Coil { .. } | Write::Register { .. } | Write::Mask { .. } => {}
            Write::Coils { bits, .. } => {
                frame.push(bits.len().div_ceil(8) as u8);
                let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
                frame.extend(bits.chunks(8).map(byte));
            }
            Write::Registers { words, .. } => {
                frame.push((words.len() * 2) as u8);
                frame.extend(words.iter().flat_map(|w| w.to_be_bytes()));
            }
        }
    }
}

/// The value that switches a coil on with function 05.
const COIL_ON: u16 = 0xFF00;

/// What a unit answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Words(Vec<u16>),
    Bits(Vec<bool>),
    Written,
    Identity(Identity),
    Exception(u8),
}

/// A piece of a device's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The object to ask for next, if there are more.
    pub(crate) next: Option<u8>,
    /// Objects with their ids, as they came.
    pub(crate) objects: Vec<(u8, Vec<u8>)>,
}

impl Identity {
    fn pdu_len(&self) -> usize {
        IDENTITY_HEAD + self.objects.iter().map(|(_, text)| 2 + text.len()).sum::<usize>()
    }

    /// From what follows the function; `None` if it is no answer to `access`.
    fn parse(access: u8, data: &[u8]) -> Option<Self> {
        let [MEI_IDENTITY, code, _, more, next, count, rest @ ..] = data else { return None };
        let mut rest = rest;
        if *code != access || *count == 0 {
            return None;
        }
        let mut objects = Vec::new();
        for _ in 0..*count {
            let [id, length, after @ ..] = rest else { return None };
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            objects.push((*id, text.to_vec()));
            rest = after;
        }
        let next = match more {
            0 => None,
            0xFF => Some(*next),
            _ => return None,
        };
        rest.is_empty().then_some(Self { next, objects })
    }

    /// How long the PDU is, as far as what follows the function tells.
    fn expected_len(data: &[u8]) -> Expected {
        let Some(&count) = data.get(IDENTITY_HEAD - 2) else { return Expected::AtLeast(IDENTITY_HEAD) };
        let mut length = IDENTITY_HEAD;
        for _ in 0..count {
            // The function is not in `data`.
            match data.get(length) {
                Some(&text) => length += 2 + usize::from(text),
                None => return Expected::AtLeast(length + 2),
            }
        }
        Expected::Pdu(length)
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

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Request::Read { table, .. } => table.read_function(),
            Request::Write(write) => write.function().code(),
            Request::ReadFile { .. } => 20,
            Request::WriteFile { .. } => 21,
            Request::Identify { .. } => ENCAPSULATED,
        }
    }

    /// The first address and how many registers or bits.
    pub(crate) fn extent(&self) -> (u16, u16) {
        match self {
            Request::Read { address, count, .. } => (*address, *count),
            Request::Write(write) => write.extent(),
            Request::ReadFile { record, count, .. } => (*record, *count),
            Request::WriteFile { record, words, .. } => (*record, words.len() as u16),
            Request::Identify { object, .. } => (u16::from(*object), 1),
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Request::Write(_) | Request::WriteFile { .. })
    }

    /// What follows the byte count of a file request, without the data.
    fn file_head(file: u16, record: u16, count: u16) -> [u8; 7] {
        let [[f1, f0], [r1, r0], [c1, c0]] = [file, record, count].map(u16::to_be_bytes);
        [FILE_REFERENCE, f1, f0, r1, r0, c1, c0]
    }

    fn put_pdu(&self, frame: &mut Vec<u8>) {
        frame.push(self.function());
        match self {
            Request::Read { address, count, .. } => {
                frame.extend(address.to_be_bytes());
                frame.extend(count.to_be_bytes());
            }
            Request::Write(write) => {
                let (echo, length) = write.echo();
                frame.extend(&echo[..length]);
                write.put_data(frame);
            }
            Request::ReadFile { file, record, count } => {
                frame.push(7);
                frame.extend(Self::file_head(*file, *record, *count));
            }
            Request::WriteFile { file, record, words } => {
                frame.push((7 + 2 * words.len()) as u8);
                frame.extend(Self::file_head(*file, *record, words.len() as u16));
                frame.extend(words.iter().flat_map(|w| w.to_be_bytes()));
            }
            Request::Identify { access, object } => frame.extend([MEI_IDENTITY, *access, *object]),
        }
    }

    /// The byte count it is answered with; `None` where the answer has none.
    fn data_bytes(&self) -> Option<usize> {
        match self {
            Request::ReadFile { count, .. } => Some(2 + usize::from(*count) * 2),
            Request::WriteFile { words, .. } => Some(7 + words.len() * 2),
            Request::Identify { .. } => None,
            Request::Read { table, count, .. } if table.is_bits() => Some(usize::from(*count).div_ceil(8)),
            Request::Read { count, .. } => Some(usize::from(*count) * 2),
            Request::Write(_) => None,
        }
    }

    /// The length of the PDU of a good answer; of an identity, the longest there can be.
    pub(crate) fn reply_len(&self) -> usize {
        match self {
            Request::Write(write) => 1 + write.echo().1,
            Request::Identify { .. } => PDU_MAX,
            _ => 2 + self.data_bytes().unwrap_or(0),
        }
    }

    /// The length of a good answer as RTU.
    pub(crate) fn rtu_reply_len(&self) -> usize {
        self.reply_len() + 3
    }

    /// The length of the frame that brings this reply.
    pub(crate) fn frame_len(&self, framing: Framing, reply: &Reply) -> usize {
        framing.frame_len(match reply {
            Reply::Exception(_) => EXCEPTION_LEN,
            Reply::Identity(identity) => identity.pdu_len(),
            Reply::Words(_) | Reply::Bits(_) | Reply::Written => self.reply_len(),
        })
    }

    /// How much of a good answer can be asked for before any of it has come.
    pub(crate) fn frame_len_min(&self, framing: Framing) -> usize {
        match self {
            Request::Identify { .. } => 0,
            _ => framing.frame_len(self.reply_len()),
        }
    }

    /// One register or bit at the same place; `None` for what is no read.
    pub(crate) fn one_of(&self) -> Option<Request> {
        match *self {
            Request::Read { table, address, .. } => Some(Request::Read { table, address, count: 1 }),
            _ => None,
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

    /// Whether it reads any of these places.
    pub(crate) fn touches(&self, places: &[Extent]) -> bool {
        let Request::Read { table, address, count } = *self else { return false };
        let (start, end) = (u32::from(address), u32::from(address) + u32::from(count));
        let is_touched = |p: &Extent| {
            p.table == table && u32::from(p.address) < end && start < u32::from(p.address) + u32::from(p.count)
        };
        places.iter().any(is_touched)
    }

    /// Whether a good answer to the one, seen without a transaction number, could be taken for one to the other. The answer
    /// to a file write repeats all of it.
    pub(crate) fn looks_like(&self, other: &Request) -> bool {
        if let (Request::WriteFile { .. }, Request::WriteFile { .. }) = (self, other) {
            return self == other;
        }
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
        if function != self.function() {
            return None;
        }
        if let Request::Identify { access, .. } = self {
            return Identity::parse(*access, data).map(Reply::Identity);
        }
        if pdu.len() != self.reply_len() {
            return None;
        }
        let words = |data: &[u8]| data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
        match self {
            Request::ReadFile { count, .. } => {
                let [bytes, length, FILE_REFERENCE, records @ ..] = data else { return None };
                let expected = 1 + usize::from(*count) * 2;
                let fits = usize::from(*bytes) == 1 + expected && usize::from(*length) == expected;
                fits.then(|| Reply::Words(words(records)))
            }
            Request::WriteFile { .. } => {
                let mut asked = Vec::with_capacity(pdu.len());
                self.put_pdu(&mut asked);
                (pdu == asked).then_some(Reply::Written)
            }
            Request::Identify { .. } => None,
            Request::Write(write) => {
                let (echo, length) = write.echo();
                (data == &echo[..length]).then_some(Reply::Written)
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
                Some(Reply::Words(words(data)))
            }
        }
    }
}

/// The whole frame of a request.
pub(crate) fn encode(framing: Framing, tid: u16, unit: u8, request: &Request) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16);
    match framing {
        Framing::Rtu => {
            frame.push(unit);
            request.put_pdu(&mut frame);
            let sum = crc16(&frame);
            frame.extend(sum.to_le_bytes());
        }
        Framing::Ascii => {
            let mut pdu = Vec::with_capacity(16);
            request.put_pdu(&mut pdu);
            frame = ascii::encode(unit, &pdu);
        }
        Framing::Mbap => {
            frame.extend(tid.to_be_bytes());
            frame.extend([0; 4]);
            frame.push(unit);
            request.put_pdu(&mut frame);
            let length = (frame.len() - 6) as u16;
            frame[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }
    frame
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
