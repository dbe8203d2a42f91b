//! What a board gives the node: pins, a bus, a line, a clock, and the few things only a processor can do.
//!
//! A second board is one new folder: a type that implements [`Board`], a `main` that fills [`Parts`], calls
//! [`crate::node::Node::start`] once and [`crate::node::Node::poll`] at least once a millisecond, and calls
//! [`crate::pulse::Sampler::tick`] once a millisecond, from a timer interrupt where there is one.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::map;
use crate::pulse::PulseBank;

/// Address switches; all off = the address register holds.
pub const DIP_SWITCHES: usize = 5;

/// Names the types of one board, so that the node has one type parameter instead of ten.
pub trait Board {
    /// Digital inputs: switches, limits, tamper. High = closed: the board inverts what is wired to ground.
    type Input: InputPin;
    /// Coils of relays, drives of valves, DE of the transceiver. High = driven.
    type Output: OutputPin;
    /// The bus of the EEPROM or FRAM.
    type I2c: I2c;
    /// Waits at start only, while a memory ends the write that a reset interrupted.
    type Delay: DelayNs;
    /// The RS-485 line.
    type Uart: Uart;
    /// Contact levels and the supply.
    type Analog: Analog;
    /// Watchdog, reset, stack.
    type System: System;
    /// Where an update waits until it is installed.
    type Staging: Staging;
    /// Checks the maker's signature.
    type Verifier: Verifier;
}

/// Everything the node owns of a board.
pub struct Parts<B: Board> {
    /// Bus of the journal's memory.
    pub i2c: B::I2c,
    /// Waiting at start.
    pub delay: B::Delay,
    /// The line to the gateway.
    pub uart: B::Uart,
    /// Driver enable of the transceiver; high while the node sends.
    pub driver_enable: B::Output,
    /// Contacts and supply.
    pub analog: B::Analog,
    /// Address switches, bit 0 first.
    pub dip: [B::Input; DIP_SWITCHES],
    /// Cover switch; closed = the cover is shut.
    pub cover: B::Input,
    /// Button of the tenant: held for three seconds it asks for emergency credit.
    pub button: B::Input,
    /// Limit switches of each output: [open end, closed end].
    pub limits: [[B::Input; 2]; map::OUTPUTS],
    /// Coils of each output: [opens, closes].
    pub coils: [[B::Output; 2]; map::OUTPUTS],
    /// Counted by the sampler, which the board calls.
    pub pulses: &'static PulseBank,
    /// Watchdog, reset, stack.
    pub system: B::System,
    /// Staging of an update.
    pub staging: B::Staging,
    /// Signature of an update.
    pub verifier: B::Verifier,
    /// The memory of the journal.
    pub memory: Memory,
    /// Who this image is.
    pub identity: Identity,
}

/// The chip that holds the journal. The first [`crate::journal::MEMORY_BYTES`] bytes are the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// 7-bit bus address, 0x50 for a 24Cxx with its address pins low.
    pub address: u8,
    /// Bytes of one page, a power of two from 16 to 128; a write never crosses a page. An FRAM has none: say 32.
    pub page: u8,
}

/// Who the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Board the image is built for; never given twice.
    pub board_id: u16,
    /// Version of the firmware.
    pub version: Version,
    /// Build it comes from; filled with spaces.
    pub build_id: [u8; map::BUILD_ID_BYTES],
}

/// A board that has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Name of its folder behind `board-`.
    pub name: &'static str,
    /// Its id; never given twice.
    pub id: u16,
    /// Where the image of an update is linked to run.
    pub image_at: u32,
    /// Longest image of an update, in bytes.
    pub image_max: u32,
}

/// The first board.
pub const LM3S6965EVB: Model = Model { name: "lm3s6965evb", id: 0x6965, image_at: 0x2000_4000, image_max: 32 * 1024 };
/// All boards: for the tool that packs updates, and so that no id is given twice.
pub const MODELS: [Model; 1] = [LM3S6965EVB];

/// Version of a firmware; newer is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// Packs major, minor and patch as 0x00MMmmpp.
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self((major as u32) << 16 | (minor as u32) << 8 | patch as u32)
    }
}

/// A clock that only goes forward, for [`crate::node::Node::turn`].
pub trait Clock {
    /// Microseconds since any moment; wraps after 71 minutes.
    fn micros(&self) -> u32;
}

/// Speed and shape of a character on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineSettings {
    /// Bits a second.
    pub baud: u32,
    /// Parity bit; [`Parity::None`] comes with two stop bits, so that a character always has eleven bits.
    pub parity: Parity,
}

/// Parity of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit and two stop bits.
    None,
    /// Even, one stop bit: the default of Modbus.
    Even,
    /// Odd, one stop bit.
    Odd,
}

/// The serial line. Nothing may block: the node asks first, and a byte that does not fit waits for the next turn.
///
/// A read error (parity, framing, overrun) spoils the frame under way and nothing else.
pub trait Uart: Read + ReadReady + Write + WriteReady {
    /// Whether the last stop bit has left the wire, so that the driver may be switched off.
    fn is_idle(&mut self) -> bool;

    /// Changes speed and parity; called while the line is idle.
    fn configure(&mut self, settings: LineSettings);
}

/// Analogue inputs.
pub trait Analog {
    /// Level of a contact's loop (0..[`map::CONTACTS`]), 0..4095 of the reference; `None` when the converter failed.
    fn contact(&mut self, index: usize) -> Option<u16>;

    /// Supply in mV; `None` when the board cannot measure it, and then it is not watched.
    fn supply_mv(&mut self) -> Option<u16>;
}

/// Why the processor started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ResetCause {
    /// The board cannot tell.
    Unknown = 0,
    /// Power came.
    PowerOn = 1,
    /// The reset input, or a tool.
    External = 2,
    /// The program hung.
    Watchdog = 3,
    /// The supply dipped.
    BrownOut = 4,
    /// [`System::reboot`].
    Requested = 5,
    /// A hard fault of the processor.
    Fault = 6,
}

/// What only the processor can do.
pub trait System {
    /// Puts the watchdog off; called once a turn, and for each round through the journal at start. A board may demand more
    /// (that its timer ticks), and the watchdog bites when that is not there either.
    fn feed_watchdog(&mut self);

    /// Why the processor started; the same answer until the next start.
    fn reset_cause(&self) -> ResetCause;

    /// Most stack ever in use, in bytes; 0 when the board cannot tell.
    fn stack_high_water(&self) -> u16;

    /// Starts the processor anew. May return (tests, boards that reset through the watchdog): the node then goes on.
    fn reboot(&mut self);
}

/// The staging memory failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingError;

/// Where a package of an update waits. It never overlaps the running image.
pub trait Staging {
    /// Longest package in bytes; 0 = this board takes no updates.
    fn capacity(&self) -> u32;

    /// Forgets what was staged and makes room. An installation that was armed is disarmed.
    ///
    /// # Errors
    /// The memory failed.
    fn erase(&mut self) -> Result<(), StagingError>;

    /// Writes the next bytes; offsets only grow, by an even number of bytes.
    ///
    /// # Errors
    /// The memory failed.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StagingError>;

    /// Reads back.
    ///
    /// # Errors
    /// The memory failed.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StagingError>;

    /// Arms the installation of the verified package of `length` bytes, in one step that a power cut cannot halve. The
    /// next start of the boot stage installs it and checks it again.
    ///
    /// # Errors
    /// The memory failed; the old image stays.
    fn arm(&mut self, length: u32) -> Result<(), StagingError>;
}

/// Checks an Ed25519 signature (RFC 8032) against the maker's public key, which the board holds.
///
/// A board whose boot stage checks the signature at every start, before it runs anything, may say yes here: then
/// `verified` in register `update_state` speaks of the checksum, and the old image goes on running if the boot stage
/// refuses the new one.
///
/// The message is longer than the memory, so it is read from the staging piece by piece. On a slow processor this takes
/// seconds: a board whose watchdog bites earlier stretches it here.
pub trait Verifier {
    /// Whether `signature` is the maker's over the first `length` bytes that are staged. A read that fails is a no.
    fn verify(&mut self, signature: &[u8; 64], staging: &mut impl Staging, length: u32) -> bool;
}

/// A board without updates.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStaging;

impl Staging for NoStaging {
    fn capacity(&self) -> u32 {
        0
    }

    fn erase(&mut self) -> Result<(), StagingError> {
        Err(StagingError)
    }

    fn write(&mut self, _offset: u32, _bytes: &[u8]) -> Result<(), StagingError> {
        Err(StagingError)
    }

    fn read(&mut self, _offset: u32, _bytes: &mut [u8]) -> Result<(), StagingError> {
        Err(StagingError)
    }

    fn arm(&mut self, _length: u32) -> Result<(), StagingError> {
        Err(StagingError)
    }
}
