//! What is asked and what is answered: PDUs, without an envelope.

use guanjia_core::profile::{Extent, Table, WriteFunction};

use super::{EXCEPTION_BIT, EXCEPTION_LEN, Framing};

/// What is asked of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read { table: Table, address: u16, count: u16 },
    Write(Write),
}

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
    Exception(u8),
}

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Request::Read { table, .. } => table.read_function(),
            Request::Write(write) => write.function().code(),
        }
    }

    /// The first address and how many registers or bits.
    pub(crate) fn extent(&self) -> (u16, u16) {
        match self {
            Request::Read { address, count, .. } => (*address, *count),
            Request::Write(write) => write.extent(),
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Request::Write(_))
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
        }
    }

    /// The byte count a read is answered with; `None` for a write, whose answer has none.
    pub(super) fn data_bytes(&self) -> Option<usize> {
        match self {
            Request::Read { table, count, .. } if table.is_bits() => Some(usize::from(*count).div_ceil(8)),
            Request::Read { count, .. } => Some(usize::from(*count) * 2),
            Request::Write(_) => None,
        }
    }

    /// The length of the PDU of a good answer.
    pub(crate) fn reply_len(&self) -> usize {
        match self {
            Request::Write(write) => 1 + write.echo().1,
            Request::Read { .. } => 2 + self.data_bytes().unwrap_or(0),
        }
    }

    /// The length of a good answer as RTU.
    pub(crate) fn rtu_reply_len(&self) -> usize {
        self.reply_len() + 3
    }

    /// The length of the frame that brings this reply.
    pub(crate) fn frame_len(&self, framing: Framing, reply: &Reply) -> usize {
        framing.frame_len(if matches!(reply, Reply::Exception(_)) { EXCEPTION_LEN } else { self.reply_len() })
    }

    /// One register or bit at the same place; `None` for a write.
    pub(crate) fn one_of(&self) -> Option<Request> {
        match *self {
            Request::Read { table, address, .. } => Some(Request::Read { table, address, count: 1 }),
            Request::Write(_) => None,
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

    /// Whether a good answer to the one, seen without a transaction number, could be taken for one to the other.
    pub(crate) fn looks_like(&self, other: &Request) -> bool {
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
        if function != self.function() || pdu.len() != self.reply_len() {
            return None;
        }
        match self {
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
                Some(Reply::Words(data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect()))
            }
        }
    }
}
