//! Firmware update over file records (function codes 21 to send, 20 to read back).
//!
//! ```text
//!  package: header (32 bytes) │ image │ Ed25519 signature (64 bytes) over header and image
//!  header:  "GJNF" │ format u8 = 1 │ 0 │ board u16 │ version u32 │ image bytes u32 │ image crc32 │ 12 × 0    little endian
//! ```
//!
//! ```text
//!         begin: erase        verify               CRC and signature good         install: arm, restart
//!  IDLE ─────────► RECEIVING ────────► VERIFYING ──────────────────────► VERIFIED ───────────────────► INSTALLING
//!    ▲ abandon        │ staging fails     │ anything wrong                  │
//!    └────────────────┴──► REFUSED ◄──────┘                                 └ begin, abandon: forgotten
//! ```
//!
//! * Byte `b` of the package is in file `1 + b / 20 000`, record `b % 20 000 / 2`: a file has 10 000 records of two bytes.
//! * Records come in order. One that was received already is compared, so that a lost answer costs one repetition; one with
//!   a gap before it gets exception 2, and `update_received` says where to go on.
//! * Nothing is armed but a package of this board, newer than the running image, whole, and signed by the maker. Until it
//!   is armed the running image does not even know of it, and it is never overwritten by the node.
//! * A power cut forgets what was received; the boot stage of the board checks an armed package once more.

use crate::board::{Identity, Staging, Verifier, Version};
use crate::crc::Crc32;
use crate::pdu::{Exception, Group};

/// Bytes before the image.
pub const HEADER: usize = 32;
/// Bytes behind the image.
pub const SIGNATURE: u32 = 64;
/// First bytes of a package.
pub const MAGIC: [u8; 4] = *b"GJNF";
/// Layout of the package.
pub const FORMAT: u8 = 1;
/// Bytes that are summed in one turn.
const STEP: usize = 128;

/// The codes of register `update_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum UpdateState {
    /// Nothing staged.
    Idle = 0,
    /// Records are taken.
    Receiving = 1,
    /// CRC and signature are being checked.
    Verifying = 2,
    /// May be installed.
    Verified = 3,
    /// See the error.
    Refused = 4,
    /// Armed; the node restarts.
    Installing = 5,
}

/// The codes of register `update_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum UpdateError {
    /// None.
    None = 0,
    /// Bytes are missing.
    Incomplete = 1,
    /// Not a package, or of another format.
    NotAPackage = 2,
    /// For another board.
    OtherBoard = 3,
    /// The version that runs, or an older one.
    NotNewer = 4,
    /// The header and what was received differ.
    Length = 5,
    /// The image is not what was built.
    Crc = 6,
    /// Not signed by the maker.
    Signature = 7,
    /// The staging memory failed.
    Staging = 8,
}

/// What the header of a package says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Board the image is for.
    pub board_id: u16,
    /// Its version.
    pub version: Version,
    /// Its length.
    pub image_bytes: u32,
    /// Its checksum.
    pub crc: u32,
}

impl Header {
    /// Takes a header apart; `None` when it is none.
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let [m0, m1, m2, m3, format, _, b0, b1, v0, v1, v2, v3, l0, l1, l2, l3, c0, c1, c2, c3, ..] = *bytes;
        let is_ours = [m0, m1, m2, m3] == MAGIC && format == FORMAT;
        is_ours.then_some(Self {
            board_id: u16::from_le_bytes([b0, b1]),
            version: Version(u32::from_le_bytes([v0, v1, v2, v3])),
            image_bytes: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }

    /// Puts a header together; for the tool that packs images.
    pub fn encode(&self) -> [u8; HEADER] {
        let [m0, m1, m2, m3] = MAGIC;
        let [b0, b1] = self.board_id.to_le_bytes();
        let [v0, v1, v2, v3] = self.version.0.to_le_bytes();
        let [l0, l1, l2, l3] = self.image_bytes.to_le_bytes();
        let [c0, c1, c2, c3] = self.crc.to_le_bytes();
        let head = [m0, m1, m2, m3, FORMAT, 0, b0, b1, v0, v1, v2, v3, l0, l1, l2, l3, c0, c1, c2, c3];
        let mut bytes = [0; HEADER];
        for (place, byte) in bytes.iter_mut().zip(head) {
            *place = byte;
        }
        bytes
    }
}

/// An update under way.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    state: UpdateState,
    error: UpdateError,
    received: u32,
    version: Version,
    /// Bytes of the package that were summed, and their sum, while verifying.
    summed: u32,
    sum: Crc32,
}

impl Update {
    /// Nothing staged.
    pub const fn new() -> Self {
        Self {
            state: UpdateState::Idle,
            error: UpdateError::None,
            received: 0,
            version: Version(0),
            summed: 0,
            sum: Crc32::new(),
        }
    }

    /// How far it is.
    pub const fn state(&self) -> UpdateState {
        self.state
    }

    /// Why it was refused.
    pub const fn error(&self) -> UpdateError {
        self.error
    }

    /// Bytes without a gap.
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Version of what was verified.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Obeys register `update_command`.
    ///
    /// # Errors
    /// It cannot be done in this state, or the memory failed.
    pub fn command(&mut self, code: u16, staging: &mut impl Staging) -> Result<(), Exception> {
        match (code, self.state) {
            (_, UpdateState::Verifying | UpdateState::Installing) => Err(Exception::Busy),
            (1, _) => {
                *self = Self::new();
                staging.erase().map_err(|_| self.fail())?;
                self.state = UpdateState::Receiving;
                Ok(())
            }
            (2, UpdateState::Receiving) => {
                self.state = UpdateState::Verifying;
                self.summed = HEADER as u32;
                self.sum = Crc32::new();
                Ok(())
            }
            // Asked again after a lost answer.
            (2, UpdateState::Verified) => Ok(()),
            (3, UpdateState::Verified) => {
                staging.arm(self.received).map_err(|_| self.fail())?;
                self.state = UpdateState::Installing;
                Ok(())
            }
            (4, _) => {
                *self = Self::new();
                Ok(())
            }
            _ => Err(Exception::IllegalValue),
        }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// It does not follow the last one, no update has begun, or the memory failed.
    pub fn write(&mut self, group: &Group<'_>, staging: &mut impl Staging) -> Result<(), Exception> {
        match self.state {
            UpdateState::Receiving => {}
            UpdateState::Verifying | UpdateState::Installing => return Err(Exception::Busy),
            UpdateState::Idle | UpdateState::Verified | UpdateState::Refused => return Err(Exception::DeviceFailure),
        }
        let end = group.offset + group.data.len() as u32;
        if end > staging.capacity() || group.offset > self.received {
            return Err(Exception::IllegalAddress);
        }
        if group.offset == self.received {
            staging.write(group.offset, group.data).map_err(|_| self.fail())?;
            self.received = end;
            return Ok(());
        }
        if end > self.received {
            return Err(Exception::IllegalAddress);
        }
        let mut found = [0; 16];
        let mut at = group.offset;
        for expected in group.data.chunks(found.len()) {
            let found = found.get_mut(..expected.len()).ok_or(Exception::DeviceFailure)?;
            staging.read(at, found).map_err(|_| self.fail())?;
            if found != expected {
                return Err(Exception::IllegalValue);
            }
            at += expected.len() as u32;
        }
        Ok(())
    }

    /// Reads a record back into `place`.
    ///
    /// # Errors
    /// It was not received, or the memory failed.
    pub fn read(&mut self, group: &Group<'_>, place: &mut [u8], staging: &mut impl Staging) -> Result<(), Exception> {
        if group.offset + place.len() as u32 > self.received {
            return Err(Exception::IllegalAddress);
        }
        staging.read(group.offset, place).map_err(|_| Exception::DeviceFailure)
    }

    /// One turn of the check: sums a piece, and in the last one checks the signature.
    pub fn poll(&mut self, identity: &Identity, staging: &mut impl Staging, verifier: &mut impl Verifier) {
        if self.state != UpdateState::Verifying {
            return;
        }
        match self.check(identity, staging, verifier) {
            Ok(None) => {}
            Ok(Some(version)) => {
                self.version = version;
                self.state = UpdateState::Verified;
            }
            Err(error) => {
                self.error = error;
                self.state = UpdateState::Refused;
            }
        }
    }

    fn check(
        &mut self,
        identity: &Identity,
        staging: &mut impl Staging,
        verifier: &mut impl Verifier,
    ) -> Result<Option<Version>, UpdateError> {
        let Some(signed) = self.received.checked_sub(SIGNATURE).filter(|signed| *signed >= HEADER as u32) else {
            return Err(UpdateError::Incomplete);
        };
        let mut head = [0; HEADER];
        staging.read(0, &mut head).map_err(|_| UpdateError::Staging)?;
        let header = Header::decode(&head).ok_or(UpdateError::NotAPackage)?;
        if header.board_id != identity.board_id {
            return Err(UpdateError::OtherBoard);
        }
        if header.version <= identity.version {
            return Err(UpdateError::NotNewer);
        }
        let expected = header.image_bytes.checked_add(HEADER as u32).ok_or(UpdateError::Length)?;
        if expected > signed {
            return Err(UpdateError::Incomplete);
        }
        if expected < signed || header.image_bytes == 0 {
            return Err(UpdateError::Length);
        }
        let mut piece = [0; STEP];
        let bytes = (signed - self.summed).min(STEP as u32);
        let piece = piece.get_mut(..bytes as usize).ok_or(UpdateError::Length)?;
        staging.read(self.summed, piece).map_err(|_| UpdateError::Staging)?;
        self.sum = self.sum.update(piece);
        self.summed += bytes;
        if self.summed < signed {
            return Ok(None);
        }
        if self.sum.finish() != header.crc {
            return Err(UpdateError::Crc);
        }
        let mut signature = [0; SIGNATURE as usize];
        staging.read(signed, &mut signature).map_err(|_| UpdateError::Staging)?;
        if !verifier.verify(&signature, staging, signed) {
            return Err(UpdateError::Signature);
        }
        Ok(Some(header.version))
    }

    fn fail(&mut self) -> Exception {
        self.state = UpdateState::Refused;
        self.error = UpdateError::Staging;
        Exception::DeviceFailure
    }
}

impl Default for Update {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
