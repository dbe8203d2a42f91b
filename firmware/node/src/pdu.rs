//! Requests taken apart, after the Modbus application protocol V1.1b3.
//!
//! The order of the checks is the specification's: function code (exception 1), lengths and counts (3), then addresses (2)
//! by whoever knows them, then the work itself (4, 6). A request whose length is not that of its function has a fault in
//! its structure: exception 3.

/// Most registers of one read.
pub const READ_WORDS_MAX: u16 = 125;
/// Most registers of one write.
pub const WRITE_WORDS_MAX: u16 = 123;
/// Most bits of one read.
pub const READ_BITS_MAX: u16 = 2000;
/// Most bits of one write.
pub const WRITE_BITS_MAX: u16 = 1968;
/// Records of one file: 0..9999.
pub const RECORDS: u16 = 10_000;
/// Reference type of a file record.
const FILE_REFERENCE: u8 = 6;

/// What a slave answers when it does not do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exception {
    /// The function code is not one of ours.
    IllegalFunction = 1,
    /// No such address, or not with this length, or not to be written.
    IllegalAddress = 2,
    /// A value or the structure is wrong.
    IllegalValue = 3,
    /// The memory failed; nothing is known to have changed.
    DeviceFailure = 4,
    /// Ask again later.
    Busy = 6,
}

/// Which bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Outputs.
    Coils,
    /// Inputs.
    Discrete,
}

/// A request that is sound in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Function codes 1 and 2.
    ReadBits(Bits, u16, u16),
    /// Function codes 3 and 4: first register, count.
    ReadWords(u16, u16),
    /// Function code 5.
    WriteCoil(u16, bool),
    /// Function code 15: first coil, count, packed bits.
    WriteCoils(u16, u16, &'a [u8]),
    /// Function codes 6 and 16: first register, two bytes for each.
    WriteWords(u16, &'a [u8]),
    /// Function code 17.
    ServerId,
    /// Function code 43, type 14: read code, object.
    DeviceId(u8, u8),
    /// Function code 20: sub-requests of seven bytes.
    ReadFile(&'a [u8]),
    /// Function code 21: sub-requests of seven bytes and their data.
    WriteFile(&'a [u8]),
}

/// Takes a PDU apart.
///
/// # Errors
/// The exception to be answered.
pub fn parse(pdu: &[u8]) -> Result<Request<'_>, Exception> {
    let (&function, body) = pdu.split_first().ok_or(Exception::IllegalValue)?;
    match function {
        1 | 2 => {
            let (start, count) = range(body, READ_BITS_MAX)?;
            Ok(Request::ReadBits(if function == 1 { Bits::Coils } else { Bits::Discrete }, start, count))
        }
        3 | 4 => range(body, READ_WORDS_MAX).map(|(start, count)| Request::ReadWords(start, count)),
        5 => match *body {
            [h, l, 0xFF, 0x00] => Ok(Request::WriteCoil(u16::from_be_bytes([h, l]), true)),
            [h, l, 0x00, 0x00] => Ok(Request::WriteCoil(u16::from_be_bytes([h, l]), false)),
            _ => Err(Exception::IllegalValue),
        },
        6 => match body.split_first_chunk::<2>() {
            Some((address, data)) if data.len() == 2 => Ok(Request::WriteWords(u16::from_be_bytes(*address), data)),
            _ => Err(Exception::IllegalValue),
        },
        15 => {
            let (start, count, data) = block(body, WRITE_BITS_MAX)?;
            (data.len() == usize::from(count.div_ceil(8)))
                .then_some(Request::WriteCoils(start, count, data))
                .ok_or(Exception::IllegalValue)
        }
        16 => {
            let (start, count, data) = block(body, WRITE_WORDS_MAX)?;
            (data.len() == usize::from(count) * 2)
                .then_some(Request::WriteWords(start, data))
                .ok_or(Exception::IllegalValue)
        }
        17 => body.is_empty().then_some(Request::ServerId).ok_or(Exception::IllegalValue),
        20 => {
            let groups = counted(body)?;
            let sound = groups.len() >= 7 && groups.len() <= 0xF5 && groups.len() % 7 == 0;
            sound.then_some(Request::ReadFile(groups)).ok_or(Exception::IllegalValue)
        }
        21 => {
            let groups = counted(body)?;
            let sound = groups.len() >= 9 && groups.len() <= 0xFB;
            sound.then_some(Request::WriteFile(groups)).ok_or(Exception::IllegalValue)
        }
        43 => match *body {
            [14, code @ 1..=4, object] => Ok(Request::DeviceId(code, object)),
            [14, ..] => Err(Exception::IllegalValue),
            _ => Err(Exception::IllegalFunction),
        },
        _ => Err(Exception::IllegalFunction),
    }
}

/// One sub-request of a file access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Byte of the package it begins at.
    pub offset: u32,
    /// Registers of two bytes.
    pub words: u16,
    /// What is to be written; empty in a read.
    pub data: &'a [u8],
}

/// Takes the next sub-request off; `with_data` for writes.
///
/// # Errors
/// The exception to be answered.
pub fn group<'a>(rest: &mut &'a [u8], with_data: bool) -> Result<Group<'a>, Exception> {
    let (head, after) = rest.split_first_chunk::<7>().ok_or(Exception::IllegalValue)?;
    let [reference, f0, f1, r0, r1, w0, w1] = *head;
    let (file, record) = (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([r0, r1]));
    let words = u16::from_be_bytes([w0, w1]);
    if reference != FILE_REFERENCE || words == 0 {
        return Err(Exception::IllegalValue);
    }
    let data_bytes = if with_data { usize::from(words) * 2 } else { 0 };
    let (data, after) = after.split_at_checked(data_bytes).ok_or(Exception::IllegalValue)?;
    if file == 0 || record >= RECORDS || words > RECORDS - record {
        return Err(Exception::IllegalAddress);
    }
    *rest = after;
    let record = u32::from(file - 1) * u32::from(RECORDS) + u32::from(record);
    Ok(Group { offset: record * 2, words, data })
}

fn range(body: &[u8], max: u16) -> Result<(u16, u16), Exception> {
    let [s0, s1, c0, c1] = *body else { return Err(Exception::IllegalValue) };
    let count = u16::from_be_bytes([c0, c1]);
    if count == 0 || count > max {
        return Err(Exception::IllegalValue);
    }
    Ok((u16::from_be_bytes([s0, s1]), count))
}

fn block(body: &[u8], max: u16) -> Result<(u16, u16, &[u8]), Exception> {
    let (head, rest) = body.split_first_chunk::<4>().ok_or(Exception::IllegalValue)?;
    let (start, count) = range(head, max)?;
    Ok((start, count, counted(rest)?))
}

/// Bytes behind their own count.
fn counted(body: &[u8]) -> Result<&[u8], Exception> {
    match body.split_first() {
        Some((&count, data)) if usize::from(count) == data.len() => Ok(data),
        _ => Err(Exception::IllegalValue),
    }
}

/// An answer under way.
#[derive(Debug)]
pub struct Reply<'a> {
    place: &'a mut [u8],
    length: usize,
    overflow: bool,
}

impl<'a> Reply<'a> {
    /// Writes from the begin of a buffer.
    pub fn new(place: &'a mut [u8]) -> Self {
        Self { place, length: 0, overflow: false }
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        match self.place.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.overflow = true,
        }
    }

    /// Two bytes, high first.
    pub fn word(&mut self, word: u16) {
        for byte in word.to_be_bytes() {
            self.byte(byte);
        }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    /// Bytes written so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes still free.
    pub fn room(&self) -> usize {
        self.place.len() - self.length
    }

    /// The last `count` free bytes as a place to read into; they become part of the answer.
    pub fn reserve(&mut self, count: usize) -> Option<&mut [u8]> {
        let end = self.length.checked_add(count)?;
        let place = self.place.get_mut(self.length..end)?;
        self.length = end;
        Some(place)
    }

    /// Overwrites a byte that was written.
    pub fn patch(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.place.get_mut(at) {
            *place = byte;
        }
    }

    /// Length of the answer, unless it did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.length)
    }
}

#[cfg(test)]
mod tests;
