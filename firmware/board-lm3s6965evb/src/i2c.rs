//! I2C0 as master at 100 kHz, as embedded-hal's [`I2c`].
//!
//! **A known deviation from the trait.** Between a write and a read of one transaction the trait wants a repeated START.
//! QEMU's model of this controller does not deliver one to its devices, so this file ends the write with a STOP and
//! starts anew. The memories and monitors of this board keep their address pointer over a STOP, and no other master is on
//! this bus. A board with another controller, or with another master on its bus, must not copy this.
//!
//! Before first use, and after an access at which the bus hung, the pins are taken from the controller and
//! [`guanjia_node::bus::free`] ends what a device was doing. QEMU's controller is not on these pins: there the steps run and
//! free nothing.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation, SevenBitAddress};

use guanjia_node::bus;

use super::gpio;
use super::register::registers;
use super::system::SYSTEM_HZ;

registers! { 0x4002_0000:
    /// Slave address and direction.
    MSA = 0x000;
    /// Read: state; written: command.
    MCS = 0x004;
    /// Data.
    MDR = 0x008;
    /// Period.
    MTPR = 0x00C;
    /// Configuration; bit 4 = master.
    MCR = 0x020;
}

const RUN: u32 = 1;
const START: u32 = 1 << 1;
const STOP: u32 = 1 << 2;
const ACK: u32 = 1 << 3;

const BUSY: u32 = 1;
const ERROR: u32 = 1 << 1;
const DATA_NAK: u32 = 1 << 3;
const ARBITRATION_LOST: u32 = 1 << 4;

const MASTER: u32 = 1 << 4;
/// 20 cycles of the clock times (period + 1) make one bit.
const PERIOD_100_KHZ: u32 = SYSTEM_HZ / (20 * 100_000) - 1;
/// Reads of the state that one character may take: 90 µs at 100 kHz, and a device that stretches the clock a few times.
const CHARACTER_READS: u32 = 10_000;

/// What went wrong on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum I2cError {
    /// Nobody answered to the address.
    NoDevice,
    /// A byte was not taken.
    Refused,
    /// The bus was lost, or hangs: a device holds a line.
    Stuck,
}

impl Error for I2cError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDevice => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Refused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            Self::Stuck => ErrorKind::Bus,
        }
    }
}

/// Waits by counting cycles, as the boot stage has no timer: at least as long as asked for.
struct Cycles;

impl DelayNs for Cycles {
    fn delay_ns(&mut self, ns: u32) {
        cortex_m::asm::delay(ns / (1_000_000_000 / SYSTEM_HZ) + 1);
    }
}

/// The bus. Several may hold it: all of them live in the main loop, and a transaction is not left before its end.
#[derive(Clone, Copy)]
pub struct I2c0 {
    /// Not for an interrupt.
    _main_only: core::marker::PhantomData<*const ()>,
}

impl I2c0 {
    /// The bus, for the main loop only.
    pub const fn the() -> Self {
        Self { _main_only: core::marker::PhantomData }
    }

    /// Frees the bus, which a reset may have left in the middle of a byte, and switches the controller on. Takes 0.1 ms, or
    /// 1.2 ms where a line is held; whoever uses it next hears of that.
    pub fn start(self) {
        MCR.write(0);
        let (mut clock, mut data) = gpio::take_from_i2c();
        // What holds a line after this needs hands; the next access fails and tells.
        let _ = bus::free(&mut clock, &mut data, &mut Cycles);
        gpio::give_to_i2c();
        MCR.write(MASTER);
        MTPR.write(PERIOD_100_KHZ);
    }

    /// Gives a command and waits for its end.
    fn command(self, command: u32) -> Result<(), I2cError> {
        MCS.write(command);
        let state = (0..CHARACTER_READS).map(|_| MCS.read()).find(|state| state & BUSY == 0).ok_or(I2cError::Stuck)?;
        if state & ERROR == 0 {
            return Ok(());
        }
        if command & STOP == 0 {
            MCS.write(STOP);
        }
        Err(match state {
            _ if state & ARBITRATION_LOST != 0 => I2cError::Stuck,
            _ if state & DATA_NAK != 0 => I2cError::Refused,
            // QEMU says no more than that there was an error, and only when nobody answers.
            _ => I2cError::NoDevice,
        })
    }

    /// One run of bytes to the device; `first` and `last` of its direction.
    fn send(self, address: u8, bytes: &[u8], first: bool, last: bool) -> Result<(), I2cError> {
        MSA.write(u32::from(address) << 1);
        let mut start = if first { START } else { 0 };
        let end = if last { STOP } else { 0 };
        let Some((&final_byte, others)) = bytes.split_last() else {
            // Nothing to say: only whether it is there. Without START and STOP there is nothing to do at all.
            return if first && last { self.command(START | RUN | STOP) } else { Ok(()) };
        };
        for &byte in others {
            MDR.write(u32::from(byte));
            self.command(start | RUN)?;
            start = 0;
        }
        MDR.write(u32::from(final_byte));
        self.command(start | RUN | end)
    }

    /// One run of bytes from the device.
    fn receive(self, address: u8, bytes: &mut [u8], first: bool, last: bool) -> Result<(), I2cError> {
        MSA.write(u32::from(address) << 1 | 1);
        let mut start = if first { START } else { 0 };
        // The very last byte is not acknowledged: that is how the device knows.
        let end = if last { STOP } else { ACK };
        let Some((final_byte, others)) = bytes.split_last_mut() else { return Ok(()) };
        for byte in others {
            self.command(start | RUN | ACK)?;
            *byte = MDR.read() as u8;
            start = 0;
        }
        self.command(start | RUN | end)?;
        *final_byte = MDR.read() as u8;
        Ok(())
    }
}

impl ErrorType for I2c0 {
    type Error = I2cError;
}

/// Which way an operation goes.
fn reads(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Read(_))
}

impl I2c<SevenBitAddress> for I2c0 {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        let done = self.run(address, operations);
        if done == Err(I2cError::Stuck) {
            // For the next one: this one is told as it went.
            self.start();
        }
        done
    }
}

impl I2c0 {
    fn run(self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        let mut before = None;
        let mut rest = operations.iter_mut().peekable();
        while let Some(operation) = rest.next() {
            let direction = reads(operation);
            let first = before != Some(direction);
            // See above: a change of direction ends with a STOP.
            let last = rest.peek().is_none_or(|next| reads(next) != direction);
            match operation {
                Operation::Write(bytes) => self.send(address, bytes, first, last)?,
                Operation::Read(bytes) => self.receive(address, bytes, first, last)?,
            }
            before = Some(direction);
        }
        Ok(())
    }
}
