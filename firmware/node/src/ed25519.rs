//! The maker's signature, checked by ed25519-compact without heap or tables.

use ed25519_compact::{PublicKey, Signature};

use crate::board::{Staging, Verifier};

/// Bytes that are hashed at a time: a block of SHA-512.
const PIECE: usize = 128;

/// Checks against one public key.
#[derive(Clone, Copy, Debug)]
pub struct Ed25519 {
    key: [u8; 32],
}

impl Ed25519 {
    /// The maker's public key, which the board holds in its image.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }
}

impl Verifier for Ed25519 {
    fn verify(&mut self, signature: &[u8; 64], staging: &mut impl Staging, length: u32) -> bool {
        let key = PublicKey::new(self.key);
        let Ok(mut state) = key.verify_incremental(&Signature::new(*signature)) else { return false };
        let mut at = 0;
        while at < length {
            let mut piece = [0; PIECE];
            let bytes = (length - at).min(PIECE as u32);
            let Some(piece) = piece.get_mut(..bytes as usize) else { return false };
            if staging.read(at, piece).is_err() {
                return false;
            }
            state.absorb(piece);
            at += bytes;
        }
        state.verify().is_ok()
    }
}
