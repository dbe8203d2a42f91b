//! Two 24C512 on I2C0, in which updates wait: one may hold the image that runs, the other takes the next.
//!
//! ```text
//!  0x0000  the package, as it came                                   65,408 bytes
//!  0xFF80  the order: mark | number | length | !(number ^ length)    four words, little endian, in the last page
//! ```
//!
//! * The node writes only to the memory that it does not run from, so that an update that was cut, or is bad, leaves the
//!   image that runs.
//! * The order is one write within one page, made last; a torn one does not carry its check and is none. The boot stage
//!   tries the orders by falling number.

use embedded_hal::i2c::{Error, ErrorKind, I2c};
use guanjia_node::board::{Staging, StagingError};

use super::retained::{self, Source};

/// Bytes of a page.
const PAGE: usize = 128;
/// Where the order lies.
const ORDER_AT: u32 = 0x1_0000 - PAGE as u32;
/// "GO!" and the layout's number.
const ORDER_MARK: u32 = 0x474F_2101;
/// A memory is busy for up to 10 ms after a write; an attempt takes 0.1 ms at 100 kHz, less in QEMU.
const ATTEMPTS: u32 = 200;

/// The order to run a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Of two orders the greater is the newer.
    pub number: u32,
    /// Bytes of the package.
    pub length: u32,
}

/// One of the two memories.
#[derive(Clone, Copy)]
pub struct UpdateMemory<I> {
    bus: I,
    address: u8,
}

impl<I: I2c> UpdateMemory<I> {
    /// A memory on a bus; `None` for the factory, which has none.
    pub fn of(source: Source, bus: I) -> Option<Self> {
        let address = match source {
            Source::Factory => return None,
            Source::First => 0x54,
            Source::Second => 0x55,
        };
        Some(Self { bus, address })
    }

    /// Reads, as soon as a write before has ended.
    ///
    /// # Errors
    /// The memory does not answer.
    pub fn read(&mut self, at: u16, bytes: &mut [u8]) -> Result<(), StagingError> {
        patient(|| self.bus.write_read(self.address, &at.to_be_bytes(), bytes))
    }

    /// Writes within one page, as soon as a write before has ended.
    fn write_page(&mut self, at: u16, bytes: &[u8]) -> Result<(), StagingError> {
        let mut frame = [0; 2 + PAGE];
        let frame = frame.get_mut(..2 + bytes.len()).ok_or(StagingError)?;
        for (place, byte) in frame.iter_mut().zip(at.to_be_bytes().iter().chain(bytes)) {
            *place = *byte;
        }
        patient(|| self.bus.write(self.address, frame))
    }

    /// The order that lies there, if there is a whole one.
    pub fn order(&mut self) -> Option<Order> {
        let mut bytes = [0; 16];
        self.read(ORDER_AT as u16, &mut bytes).ok()?;
        let mut words =
            bytes.chunks_exact(4).map(|word| word.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)));
        let (mark, number, length, check) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (mark == ORDER_MARK && check == !(number ^ length)).then_some(Order { number, length })
    }

    fn write_order(&mut self, mark: u32, order: Order) -> Result<(), StagingError> {
        let mut bytes = [0; 16];
        let words = [mark, order.number, order.length, !(order.number ^ order.length)].map(u32::to_le_bytes);
        for (place, byte) in bytes.iter_mut().zip(words.iter().flatten()) {
            *place = *byte;
        }
        self.write_page(ORDER_AT as u16, &bytes)
    }
}

/// Tries an access until the memory is no longer busy. A bus that is stuck is so at the first attempt: each takes 8 ms then,
/// and all of them would be more than the watchdog gives.
fn patient<E: Error>(mut access: impl FnMut() -> Result<(), E>) -> Result<(), StagingError> {
    for _ in 0..ATTEMPTS {
        match access() {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NoAcknowledge(_)) => {}
            Err(_) => break,
        }
    }
    Err(StagingError)
}

/// The memory that the running image does not come from.
pub struct Spare<I> {
    bus: I,
}

impl<I: I2c + Copy> Spare<I> {
    /// On a bus.
    pub const fn new(bus: I) -> Self {
        Self { bus }
    }

    fn source() -> Source {
        match retained::source() {
            Source::First => Source::Second,
            Source::Factory | Source::Second => Source::First,
        }
    }

    /// It, and the other one.
    fn both(&self) -> (UpdateMemory<I>, UpdateMemory<I>) {
        let [first, second] = [0x54, 0x55].map(|address| UpdateMemory { bus: self.bus, address });
        if Self::source() == Source::Second { (second, first) } else { (first, second) }
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

impl<I: I2c + Copy> Staging for Spare<I> {
    fn capacity(&self) -> u32 {
        // What the boot stage has room for.
        super::window::PACKAGE_MAX as u32
    }

    fn erase(&mut self) -> Result<(), StagingError> {
        self.both().0.write_order(0, Order { number: 0, length: 0 })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StagingError> {
        let mut at = within(offset, bytes.len())?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PAGE - usize::from(at) % PAGE;
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.both().0.write_page(at, now)?;
            at = at.wrapping_add(now.len() as u16);
            rest = later;
        }
        Ok(())
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StagingError> {
        let at = within(offset, bytes.len())?;
        self.both().0.read(at, bytes)
    }

    fn arm(&mut self, length: u32) -> Result<(), StagingError> {
        let (mut spare, mut other) = self.both();
        let number = other.order().map_or(1, |order| order.number.wrapping_add(1));
        spare.write_order(ORDER_MARK, Order { number, length })?;
        retained::forgive(Self::source());
        Ok(())
    }
}
