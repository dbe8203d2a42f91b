//! Hash chains: every row carries the SHA-256 of itself and of the row before it.
//!
//! A byte that changes in any old row breaks its own hash; a row that is taken out or put in breaks the link of the
//! next. The chain is not signed: it shows damage and forks, and the billing store's copy shows who is right.

use sha2::{Digest, Sha256};

/// What the first row of a chain has before it.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// SHA-256 in hex over `parts`, each preceded by its length so that no two lists of parts are alike.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        for nibble in [byte >> 4, byte & 0x0f] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_digest() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["abc"]), digest(&["abc", ""]));
    }

    #[test]
    fn it_is_plain_sha_256_in_hex() {
        // SHA-256 of eight zero bytes (the length of an empty part).
        assert_eq!(digest(&[""]), "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
        assert_eq!(GENESIS.len(), 64);
    }
}
