//! A staging memory that can fail, and the tools of a maker.

use std::cell::RefCell;
use std::rc::Rc;

use ed25519_compact::{KeyPair, PublicKey, Seed};

use crate::board::{Staging, StagingError, Version};
use crate::crc::Crc32;
use crate::ed25519::Ed25519;
use crate::update::Header;

#[derive(Debug, Default)]
pub struct Slot {
    pub bytes: Vec<u8>,
    pub capacity: u32,
    pub armed: Option<u32>,
    /// Accesses until the memory fails.
    pub fails_after: Option<usize>,
}

/// Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Stage(pub Rc<RefCell<Slot>>);

impl Stage {
    pub fn new(capacity: u32) -> Self {
        Self(Rc::new(RefCell::new(Slot { capacity, ..Slot::default() })))
    }

    fn access(&self) -> Result<std::cell::RefMut<'_, Slot>, StagingError> {
        let mut slot = self.0.borrow_mut();
        match slot.fails_after {
            Some(0) => return Err(StagingError),
            Some(left) => slot.fails_after = Some(left - 1),
            None => {}
        }
        Ok(slot)
    }
}

impl Staging for Stage {
    fn capacity(&self) -> u32 {
        self.0.borrow().capacity
    }

    fn erase(&mut self) -> Result<(), StagingError> {
        let mut slot = self.access()?;
        slot.bytes.clear();
        slot.armed = None;
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StagingError> {
        let mut slot = self.access()?;
        assert_eq!(offset as usize, slot.bytes.len(), "offsets only grow, without gaps");
        slot.bytes.extend(bytes);
        Ok(())
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StagingError> {
        let slot = self.access()?;
        let offset = offset as usize;
        bytes.copy_from_slice(slot.bytes.get(offset..offset + bytes.len()).ok_or(StagingError)?);
        Ok(())
    }

    fn arm(&mut self, length: u32) -> Result<(), StagingError> {
        self.access()?.armed = Some(length);
        Ok(())
    }
}

/// A maker with a key of their own.
pub struct Maker(KeyPair);

impl Maker {
    pub fn new(seed: u8) -> Self {
        Self(KeyPair::from_seed(Seed::new([seed; 32])))
    }

    pub fn public(&self) -> PublicKey {
        self.0.pk
    }

    pub fn verifier(&self) -> Ed25519 {
        Ed25519::new(*self.0.pk)
    }

    /// A signed package.
    pub fn package(&self, board_id: u16, version: Version, image: &[u8]) -> Vec<u8> {
        let crc = Crc32::new().update(image).finish();
        let header = Header { board_id, version, image_bytes: image.len() as u32, crc };
        self.sign([&header.encode()[..], image].concat())
    }

    /// Signs whatever it is given.
    pub fn sign(&self, mut message: Vec<u8>) -> Vec<u8> {
        let signature = self.0.sk.sign(&message, None);
        message.extend(signature.as_ref());
        message
    }
}
