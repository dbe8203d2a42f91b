//! 24C512, the second memory on I2C0, in which an update waits.
//!
//! ```text
//!  0x0000  the package, as it came                    65,408 bytes
//!  0xFF80  the order: mark u32 | length u32 | !length u32    (little endian), the last page
//! ```
//!
//! The order is one write within one page, made last; a torn one does not carry its complement and is none. Whoever
//! starts the node reads the order, checks the package anew and decides: see `README.md`.

use embedded_hal::i2c::I2c;
use guanjia_node::board::{Staging, StagingError};

/// 7-bit address of the memory.
const ADDRESS: u8 = 0x54;
/// Bytes of a page.
const PAGE: usize = 128;
/// Where the order lies.
const ORDER_AT: u32 = 0x1_0000 - PAGE as u32;
/// "GO!" and the layout's number.
const ORDER_MARK: u32 = 0x474F_2101;
/// The memory is busy for up to 10 ms after a write; an empty address takes 0.2 ms at 100 kHz, less in QEMU.
const POLLS: u32 = 100;

/// The memory.
pub struct StagingMemory<I> {
    bus: I,
}

impl<I: I2c> StagingMemory<I> {
    /// The memory on a bus.
    pub fn new(bus: I) -> Self {
        Self { bus }
    }

    /// Waits until the write before has ended.
    fn wait(&mut self) -> Result<(), StagingError> {
        (0..POLLS).find(|_| self.bus.write(ADDRESS, &[]).is_ok()).map(drop).ok_or(StagingError)
    }

    /// Writes what lies within one page.
    fn write_page(&mut self, at: u16, bytes: &[u8]) -> Result<(), StagingError> {
        let [high, low] = at.to_be_bytes();
        let mut frame = [0; 2 + PAGE];
        let frame = frame.get_mut(..2 + bytes.len()).ok_or(StagingError)?;
        for (place, byte) in frame.iter_mut().zip([high, low].iter().chain(bytes)) {
            *place = *byte;
        }
        self.wait()?;
        self.bus.write(ADDRESS, frame).map_err(|_| StagingError)
    }

    fn order(&mut self, mark: u32, length: u32) -> Result<(), StagingError> {
        let mut order = [0; 12];
        let words = [mark, length, !length].map(u32::to_le_bytes);
        for (place, byte) in order.iter_mut().zip(words.iter().flatten()) {
            *place = *byte;
        }
        self.write_page(ORDER_AT as u16, &order)
    }
}

/// The 16-bit address of bytes that lie below the order.
fn within(offset: u32, length: usize) -> Result<u16, StagingError> {
    let end = u32::try_from(length).ok().and_then(|length| offset.checked_add(length)).ok_or(StagingError)?;
    if end > ORDER_AT {
        return Err(StagingError);
    }
    u16::try_from(offset).map_err(|_| StagingError)
}

impl<I: I2c> Staging for StagingMemory<I> {
    fn capacity(&self) -> u32 {
        ORDER_AT
    }

    fn erase(&mut self) -> Result<(), StagingError> {
        self.order(0, 0)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StagingError> {
        let mut at = within(offset, bytes.len())?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PAGE - usize::from(at) % PAGE;
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.write_page(at, now)?;
            at = at.wrapping_add(now.len() as u16);
            rest = later;
        }
        Ok(())
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StagingError> {
        let at = within(offset, bytes.len())?;
        self.wait()?;
        self.bus.write_read(ADDRESS, &at.to_be_bytes(), bytes).map_err(|_| StagingError)
    }

    fn arm(&mut self, length: u32) -> Result<(), StagingError> {
        self.order(ORDER_MARK, length)
    }
}
