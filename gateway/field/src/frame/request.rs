//! What is asked and what is answered: PDUs, without an envelope.

use guanjia_core::profile::{Extent, Table, WriteFunction};

use super::{EXCEPTION_BIT, EXCEPTION_LEN, Expected, Framing};

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
pub(super) const PDU_MAX: usize = 253;

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
    pub(super) fn expected_len(data: &[u8]) -> Expected {
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

    pub(super) fn put_pdu(&self, frame: &mut Vec<u8>) {
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
    pub(super) fn data_bytes(&self) -> Option<usize> {
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
    pub(super) fn parse(&self, pdu: &[u8]) -> Option<Reply> {
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
        let words = |data: &[u8]| data.as_chunks().0.iter().map(|word| u16::from_be_bytes(*word)).collect();
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
