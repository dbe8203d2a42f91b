//! The journal: two rings of records in one EEPROM or FRAM, each record whole or not there.
//!
//! ```text
//!  slot   0        4      5         6          8         12
//!         seq u32 │ kind │ version │ length u16│ crc32   │ payload …            little endian
//!                                                 └ over bytes 0..8 and the payload
//! ```
//!
//! ```text
//!         begin         body written        first page written        all read back
//!  IDLE ────────► BODY ─────────────► SEAL ───────────────────► VERIFY ─────────────► stored
//!    │              ▲ ▲                                            │ differs: the cell is worn
//!    └──► CLEAR ────┘ └────────── next slot, three times at most ◄─┘                     failed
//!         a slot that a try before the start may have left
//! ```
//!
//! * Number `n` goes to slot `n mod slots`, so writes go round and no slot wears before the others.
//! * While a slot is being written its checksum does not hold: until the seal the old number stands over new bytes, after
//!   it everything is there. A cut between any two bytes leaves the record before it, in another slot, the newest.
//! * A number is used once: a try that failed may still be found after a restart, so the next try takes the next number.
//! * After a restart it may be used again: the try that was cut off left no number behind, but perhaps everything else of its
//!   record, and the number alone would make that whole. So the first slots after a start lose their header before anything
//!   is written to them, which costs each one write of a page.
//! * A step is one access of the bus, some 3 ms at 100 kHz for a page of 32 bytes; while the chip writes, nothing waits.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::board::Memory;
use crate::crc::Crc32;
use crate::eeprom::{BUSY_LIMIT_US, Refusal};

/// Bytes of the memory that the journal takes, from address 0.
pub const MEMORY_BYTES: u16 = 8192;
/// Bytes before the payload.
pub const HEADER: usize = 12;
/// Longest record with its header.
pub const RECORD_MAX: usize = 256;
/// Layout of the payloads; a record of another one is not read.
pub const VERSION: u8 = 1;
/// Slots that are tried before a record counts as not stored.
const TRIES: u8 = 3;
/// Numbers after the newest one found at the start whose slots are cleared first: as many as two records try.
const CLEARED: u32 = 2 * TRIES as u32;
/// Bytes that are read back in one step.
const READ_BACK: usize = 32;
/// How often, and for how many milliseconds, reading at start waits for a memory that is busy, all in all: with one write,
/// which a reset left under way.
const START_TRIES: u8 = 30;

/// Which ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// What a master has set; seldom written.
    Settings,
    /// Pulses, balances, counts; often written.
    State,
}

impl Ring {
    const fn base(self) -> u16 {
        match self {
            Self::Settings => 0,
            Self::State => 0x0800,
        }
    }

    const fn slot_bytes(self) -> u16 {
        match self {
            Self::Settings => 256,
            Self::State => 128,
        }
    }

    /// Slots of the ring.
    pub const fn slots(self) -> u32 {
        match self {
            Self::Settings => 8,
            Self::State => 48,
        }
    }

    const fn kind(self) -> u8 {
        match self {
            Self::Settings => 0x53,
            Self::State => 0x54,
        }
    }

    /// Longest payload.
    pub const fn payload_max(self) -> usize {
        self.slot_bytes() as usize - HEADER
    }

    /// Address of the slot of a number.
    pub fn slot(self, sequence: u32) -> u16 {
        // A match of constants: a division by a variable would have to answer for zero.
        let slot = match self {
            Self::Settings => sequence % Self::Settings.slots(),
            Self::State => sequence % Self::State.slots(),
        };
        self.base() + slot as u16 * self.slot_bytes()
    }
}

const _: () = assert!(Ring::State.base() as u32 == Ring::Settings.slots() * Ring::Settings.slot_bytes() as u32);
const _: () =
    assert!(Ring::State.base() as u32 + Ring::State.slots() * Ring::State.slot_bytes() as u32 == MEMORY_BYTES as u32);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do.
    Idle,
    /// Goes on.
    Busy,
    /// The record is in the memory and was read back.
    Stored(Ring),
    /// The record may or may not be in the memory.
    Failed(Ring),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Clear,
    Body(u16),
    Seal,
    Verify(u16),
}

/// The journal over its memory.
#[derive(Debug)]
pub struct Journal {
    memory: Memory,
    buffer: [u8; RECORD_MAX],
    ring: Ring,
    /// Length of the record in the buffer, with its header.
    length: u16,
    phase: Phase,
    /// When the access under way was first tried, so that a dead chip is told from a busy one.
    since_us: Option<u32>,
    tries: u8,
    settings: u32,
    state: u32,
    /// Up to which number slots are cleared before they are used.
    settings_cleared: u32,
    state_cleared: u32,
    faults: u16,
}

impl Journal {
    /// A journal that has read nothing yet.
    pub const fn new(memory: Memory) -> Self {
        Self {
            memory,
            buffer: [0; RECORD_MAX],
            ring: Ring::State,
            length: 0,
            phase: Phase::Idle,
            since_us: None,
            tries: 0,
            settings: 0,
            state: 0,
            settings_cleared: CLEARED,
            state_cleared: CLEARED,
            faults: 0,
        }
    }

    /// Number of the newest record of a ring.
    pub fn sequence(&self, ring: Ring) -> u32 {
        match ring {
            Ring::Settings => self.settings,
            Ring::State => self.state,
        }
    }

    /// Whether a record is under way.
    pub fn is_busy(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Slots that did not keep what was written, since the start.
    pub fn faults(&self) -> u16 {
        self.faults
    }

    /// Payload of the last record that was read, begun or stored.
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER..usize::from(self.length)).unwrap_or(&[])
    }

    /// Finds the newest valid record of a ring and reads it into [`Self::payload`]; waits for the memory.
    ///
    /// Each round looks at all numbers, and at the newest record that was not looked at before: a tenth of a second at
    /// 100 kHz. It ends with the first valid record, so most often after one round, and after as many as there are slots at
    /// the latest. `alive` is called before each.
    ///
    /// # Errors
    /// The memory does not answer; an empty one answers `Ok(false)`.
    pub fn load(
        &mut self,
        i2c: &mut impl I2c,
        delay: &mut impl DelayNs,
        alive: &mut impl FnMut(),
        ring: Ring,
    ) -> Result<bool, Refusal> {
        self.phase = Phase::Idle;
        self.length = 0;
        let mut below = u32::MAX;
        let mut tries = START_TRIES;
        loop {
            alive();
            // The numbers alone say which records may be the newest; most often the first one tried is valid.
            let mut newest = None;
            for slot in 0..ring.slots() {
                let mut head = [0; HEADER];
                patient(delay, &mut tries, || self.memory.read(i2c, ring.slot(slot), &mut head))?;
                let [s0, s1, s2, s3, kind, ..] = head;
                let sequence = u32::from_le_bytes([s0, s1, s2, s3]);
                if kind == ring.kind() && sequence < below && ring.slot(sequence) == ring.slot(slot) {
                    newest = newest.max(Some(sequence));
                }
            }
            let Some(sequence) = newest else { return Ok(false) };
            let slot_bytes = usize::from(ring.slot_bytes());
            if let Some(buffer) = self.buffer.get_mut(..slot_bytes) {
                patient(delay, &mut tries, || self.memory.read(i2c, ring.slot(sequence), buffer))?;
            }
            if let Some(length) = valid(&self.buffer, ring, sequence) {
                self.length = length;
                self.ring = ring;
                self.set_sequence(ring, sequence);
                match ring {
                    Ring::Settings => self.settings_cleared = sequence.saturating_add(CLEARED),
                    Ring::State => self.state_cleared = sequence.saturating_add(CLEARED),
                }
                return Ok(true);
            }
            below = sequence;
        }
    }

    /// Begins a record; `fill` writes the payload and tells its length. `false` when another one is under way or the
    /// payload does not fit.
    pub fn begin(&mut self, ring: Ring, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        if self.is_busy() {
            return false;
        }
        let payload = self.buffer.get_mut(HEADER..HEADER + ring.payload_max());
        let Some(length) = payload.and_then(fill) else { return false };
        self.ring = ring;
        self.length = (HEADER + length.min(ring.payload_max())) as u16;
        self.tries = 0;
        self.start_slot();
        true
    }

    /// One access of the bus, if there is something to do.
    pub fn step(&mut self, i2c: &mut impl I2c, now_us: u32) -> Progress {
        let result = match self.phase {
            Phase::Idle => return Progress::Idle,
            Phase::Clear => {
                let slot = self.ring.slot(self.sequence(self.ring));
                self.memory.write(i2c, slot, &[0; HEADER]).map(|()| {
                    self.phase = self.first();
                    Progress::Busy
                })
            }
            Phase::Body(offset) => self.write(i2c, offset).map(|()| {
                let next = offset + self.memory.page_bytes();
                self.phase = if next < self.length { Phase::Body(next) } else { Phase::Seal };
                Progress::Busy
            }),
            Phase::Seal => self.write(i2c, 0).map(|()| {
                self.phase = Phase::Verify(0);
                Progress::Busy
            }),
            Phase::Verify(offset) => self.read_back(i2c, offset),
        };
        match result {
            Ok(progress) => {
                self.since_us = None;
                progress
            }
            Err(_) => {
                let since = *self.since_us.get_or_insert(now_us);
                if now_us.wrapping_sub(since) <= BUSY_LIMIT_US {
                    return Progress::Busy;
                }
                self.since_us = None;
                self.faults = self.faults.saturating_add(1);
                self.phase = Phase::Idle;
                Progress::Failed(self.ring)
            }
        }
    }

    fn set_sequence(&mut self, ring: Ring, sequence: u32) {
        match ring {
            Ring::Settings => self.settings = sequence,
            Ring::State => self.state = sequence,
        }
    }

    /// Gives the record in the buffer the next number, and with it the next slot.
    fn start_slot(&mut self) {
        let sequence = self.sequence(self.ring).wrapping_add(1);
        self.set_sequence(self.ring, sequence);
        let [s0, s1, s2, s3] = sequence.to_le_bytes();
        let [l0, l1] = (self.length - HEADER as u16).to_le_bytes();
        let head = [s0, s1, s2, s3, self.ring.kind(), VERSION, l0, l1];
        let crc = Crc32::new().update(&head).update(self.payload()).finish();
        if let Some((place, rest)) = self.buffer.split_first_chunk_mut::<8>() {
            *place = head;
            if let Some(place) = rest.first_chunk_mut::<4>() {
                *place = crc.to_le_bytes();
            }
        }
        self.tries += 1;
        self.since_us = None;
        let cleared = match self.ring {
            Ring::Settings => self.settings_cleared,
            Ring::State => self.state_cleared,
        };
        self.phase = if sequence <= cleared { Phase::Clear } else { self.first() };
    }

    /// What a record begins with in a slot that holds nothing of its number.
    fn first(&self) -> Phase {
        let page = self.memory.page_bytes();
        if page < self.length { Phase::Body(page) } else { Phase::Seal }
    }

    fn write(&self, i2c: &mut impl I2c, offset: u16) -> Result<(), Refusal> {
        let end = (offset + self.memory.page_bytes()).min(self.length);
        let bytes = self.buffer.get(usize::from(offset)..usize::from(end)).ok_or(Refusal::Fault)?;
        self.memory.write(i2c, self.ring.slot(self.sequence(self.ring)) + offset, bytes)
    }

    fn read_back(&mut self, i2c: &mut impl I2c, offset: u16) -> Result<Progress, Refusal> {
        let mut found = [0; READ_BACK];
        let end = (offset + READ_BACK as u16).min(self.length);
        let expected = self.buffer.get(usize::from(offset)..usize::from(end)).ok_or(Refusal::Fault)?;
        let found = found.get_mut(..expected.len()).ok_or(Refusal::Fault)?;
        self.memory.read(i2c, self.ring.slot(self.sequence(self.ring)) + offset, found)?;
        if found != expected {
            self.faults = self.faults.saturating_add(1);
            if self.tries >= TRIES {
                self.phase = Phase::Idle;
                return Ok(Progress::Failed(self.ring));
            }
            self.start_slot();
            return Ok(Progress::Busy);
        }
        if end < self.length {
            self.phase = Phase::Verify(end);
            return Ok(Progress::Busy);
        }
        self.phase = Phase::Idle;
        Ok(Progress::Stored(self.ring))
    }
}

/// Length of the record in a buffer, when it is whole and of this number.
fn valid(buffer: &[u8; RECORD_MAX], ring: Ring, sequence: u32) -> Option<u16> {
    let (head, rest) = buffer.split_first_chunk::<8>()?;
    let (crc, _) = rest.split_first_chunk::<4>()?;
    let [s0, s1, s2, s3, kind, version, l0, l1] = *head;
    let length = u16::from_le_bytes([l0, l1]);
    let same = u32::from_le_bytes([s0, s1, s2, s3]) == sequence && kind == ring.kind() && version == VERSION;
    if !same || usize::from(length) > ring.payload_max() {
        return None;
    }
    let end = HEADER + usize::from(length);
    let sum = Crc32::new().update(head).update(buffer.get(HEADER..end)?).finish();
    (sum == u32::from_le_bytes(*crc)).then_some(end as u16)
}

/// Tries an access until the memory is no longer busy, or there are no tries left.
fn patient(
    delay: &mut impl DelayNs,
    tries: &mut u8,
    mut access: impl FnMut() -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    loop {
        let Err(refusal) = access() else { return Ok(()) };
        *tries = tries.checked_sub(1).ok_or(refusal)?;
        delay.delay_ms(1);
    }
}

#[cfg(test)]
mod tests;
