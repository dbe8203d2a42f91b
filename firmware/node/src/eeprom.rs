//! A 24Cxx EEPROM (or an FRAM that looks like one) on the I2C bus: two address bytes, writes within a page.
//!
//! A write ends on the wire before it ends in the cells: for up to 5 ms the chip answers nothing (NACK of its address).
//! Whoever comes next finds it busy and comes again; there is no empty write to ask, which some controllers cannot send.

use embedded_hal::i2c::{Error, ErrorKind, I2c};

use crate::board::Memory;

/// Longest page that is made use of.
pub const PAGE_MAX: usize = 128;
/// A chip that is busy for longer is broken; the datasheets say 5 ms, old ones 10.
pub const BUSY_LIMIT_US: u32 = 25_000;

/// Why an access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The chip did not answer: it is writing, or not there.
    Busy,
    /// The bus failed, or the access crosses a page.
    Fault,
}

impl Memory {
    /// Bytes of a page, made sound: a power of two from 16 to 128.
    pub fn page_bytes(self) -> u16 {
        match self.page {
            128 => 128,
            64..=127 => 64,
            32..=63 => 32,
            _ => 16,
        }
    }

    /// Reads from an address on.
    ///
    /// # Errors
    /// Nothing was read.
    pub fn read(self, i2c: &mut impl I2c, address: u16, bytes: &mut [u8]) -> Result<(), Refusal> {
        i2c.write_read(self.address, &address.to_be_bytes(), bytes).map_err(|error| refusal(&error))
    }

    /// Writes within one page. Busy afterwards.
    ///
    /// # Errors
    /// Perhaps a part was written.
    pub fn write(self, i2c: &mut impl I2c, address: u16, bytes: &[u8]) -> Result<(), Refusal> {
        let mut frame = [0; PAGE_MAX + 2];
        let frame = frame.get_mut(..bytes.len() + 2).ok_or(Refusal::Fault)?;
        // Not `copy_from_slice`, whose panic for unequal lengths is linked even where it cannot happen.
        for (place, byte) in frame.iter_mut().zip(address.to_be_bytes().iter().chain(bytes)) {
            *place = *byte;
        }
        i2c.write(self.address, frame).map_err(|error| refusal(&error))
    }
}

fn refusal(error: &impl Error) -> Refusal {
    match error.kind() {
        ErrorKind::NoAcknowledge(_) => Refusal::Busy,
        _ => Refusal::Fault,
    }
}

#[cfg(test)]
mod tests;
