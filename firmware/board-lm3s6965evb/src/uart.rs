//! UART0 (PL011), the RS-485 line: embedded-io over a ring that its interrupt fills.
//!
//! * The ring covers the time the node is busy with its memory: 128 characters are 11 ms at 115,200 Bd.
//! * A full ring masks the interrupt and leaves the rest in the peripheral's own FIFO of 16; what does not fit there is
//!   an overrun, which the peripheral reports and the node counts.
//! * **The interrupt is told once.** The peripheral raises it when a character comes into an empty FIFO (or fills it to its
//!   level), and whoever clears it with characters in the FIFO has cleared it for good: the FIFO fills up, and the line is
//!   deaf until a reset. So it is cleared *before* the FIFO is emptied, never after; and the node looks for itself once a
//!   turn, so that an interrupt which was lost all the same costs a millisecond and not the line.
//! * The FIFO is asked for an interrupt at its first quarter or after 32 bit times of silence, so that a frame at full
//!   speed costs two interrupts in eight characters and its last characters are seen at once.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use guanjia_node::board::{LineSettings, Parity, Uart};

use super::register::registers;
use super::system::SYSTEM_HZ;

registers! { 0x4000_C000:
    /// Data, with the errors of a received character in bits 8 to 11.
    DR = 0x000;
    /// Flags.
    FR = 0x018;
    /// Divisor, whole part.
    IBRD = 0x024;
    /// Divisor, 64ths.
    FBRD = 0x028;
    /// Line control; writing it takes over the divisor.
    LCRH = 0x02C;
    /// Control.
    CTL = 0x030;
    /// Fill levels at which the interrupts come.
    IFLS = 0x034;
    /// Interrupts let through.
    IM = 0x038;
    /// Interrupts cleared.
    ICR = 0x044;
}

const FR_BUSY: u32 = 1 << 3;
const FR_RX_EMPTY: u32 = 1 << 4;
const FR_TX_FULL: u32 = 1 << 5;
const FR_TX_EMPTY: u32 = 1 << 7;
const DR_ERRORS: u32 = 0xF << 8;
const LCRH_EVEN: u32 = 1 << 2;
const LCRH_PARITY: u32 = 1 << 1;
const LCRH_TWO_STOP: u32 = 1 << 3;
const LCRH_FIFO: u32 = 1 << 4;
const LCRH_EIGHT_BITS: u32 = 0b11 << 5;
const CTL_ON: u32 = 1 | (1 << 8) | (1 << 9);
/// Receive interrupt at a quarter of the FIFO.
const IFLS_RX_QUARTER: u32 = 0b001 << 3;
/// Received, and received long ago.
const IM_RECEIVE: u32 = (1 << 4) | (1 << 6);
const ALL: u32 = 0x7F0;

/// Characters between the interrupt and the node; a power of two of at most 128, so that its counters may wrap.
const RING: usize = 128;
const RING_MASK: usize = RING - 1;

/// Written by the interrupt.
static HEAD: AtomicU8 = AtomicU8::new(0);
/// Written by the node.
static TAIL: AtomicU8 = AtomicU8::new(0);
static BYTES: [AtomicU8; RING] = [const { AtomicU8::new(0) }; RING];
static DAMAGED: AtomicBool = AtomicBool::new(false);

/// Takes what has come out of the FIFO; for the interrupt, or where it cannot come.
pub fn received() {
    // What comes from here on raises it again.
    ICR.write(ALL);
    IM.write(IM_RECEIVE);
    let tail = TAIL.load(Ordering::Acquire);
    while FR.read() & FR_RX_EMPTY == 0 {
        let head = HEAD.load(Ordering::Relaxed);
        if usize::from(head.wrapping_sub(tail)) == RING {
            // Whoever makes room comes back for the rest.
            IM.write(0);
            return;
        }
        let data = DR.read();
        if data & DR_ERRORS != 0 {
            DAMAGED.store(true, Ordering::Relaxed);
        }
        if let Some(place) = BYTES.get(usize::from(head) & RING_MASK) {
            place.store((data & 0xFF) as u8, Ordering::Relaxed);
        }
        HEAD.store(head.wrapping_add(1), Ordering::Release);
    }
}

/// A character came with a parity, framing, break or overrun error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged character")
    }
}

impl core::error::Error for Damaged {}

impl embedded_io::Error for Damaged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidData
    }
}

/// The line.
pub struct Uart0(());

impl Uart0 {
    /// The line, for the main loop only; [`Uart::configure`] switches it on.
    pub const fn the() -> Self {
        Self(())
    }

    fn waiting() -> u8 {
        HEAD.load(Ordering::Acquire).wrapping_sub(TAIL.load(Ordering::Relaxed))
    }
}

impl ErrorType for Uart0 {
    type Error = Damaged;
}

impl ReadReady for Uart0 {
    fn read_ready(&mut self) -> Result<bool, Damaged> {
        if FR.read() & FR_RX_EMPTY == 0 {
            cortex_m::interrupt::free(|_| received());
        }
        Ok(Self::waiting() > 0 || DAMAGED.load(Ordering::Relaxed))
    }
}

impl Read for Uart0 {
    /// What is there, without waiting: none when nothing is.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damaged> {
        if DAMAGED.swap(false, Ordering::Relaxed) {
            return Err(Damaged);
        }
        let mut taken = 0;
        for (place, _) in buffer.iter_mut().zip(0..Self::waiting()) {
            let tail = TAIL.load(Ordering::Relaxed);
            *place = BYTES.get(usize::from(tail) & RING_MASK).map_or(0, |byte| byte.load(Ordering::Relaxed));
            TAIL.store(tail.wrapping_add(1), Ordering::Release);
            taken += 1;
        }
        Ok(taken)
    }
}

impl WriteReady for Uart0 {
    fn write_ready(&mut self) -> Result<bool, Damaged> {
        Ok(FR.read() & FR_TX_FULL == 0)
    }
}

impl Write for Uart0 {
    /// As much as the FIFO takes now.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Damaged> {
        let mut sent = 0;
        for &byte in bytes {
            if FR.read() & FR_TX_FULL != 0 {
                break;
            }
            DR.write(u32::from(byte));
            sent += 1;
        }
        Ok(sent)
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> Result<(), Damaged> {
        Ok(())
    }
}

impl Uart for Uart0 {
    fn is_idle(&mut self) -> bool {
        FR.read() & (FR_BUSY | FR_TX_EMPTY) == FR_TX_EMPTY
    }

    fn configure(&mut self, settings: LineSettings) {
        let LineSettings { baud, parity } = settings;
        IM.write(0);
        CTL.write(0);
        // Sixteenths of a bit in 64ths, rounded: 4 * clock / baud.
        let divisor = (8 * SYSTEM_HZ / baud.max(1)).div_ceil(2);
        IBRD.write(divisor >> 6);
        FBRD.write(divisor & 0x3F);
        let shape = match parity {
            Parity::None => LCRH_TWO_STOP,
            Parity::Even => LCRH_PARITY | LCRH_EVEN,
            Parity::Odd => LCRH_PARITY,
        };
        LCRH.write(LCRH_EIGHT_BITS | LCRH_FIFO | shape);
        IFLS.write(IFLS_RX_QUARTER);
        CTL.write(CTL_ON);
        // What came before was meant for another speed, or for nobody.
        cortex_m::interrupt::free(|_| {
            received();
            TAIL.store(HEAD.load(Ordering::Relaxed), Ordering::Release);
            DAMAGED.store(false, Ordering::Relaxed);
        });
    }
}
