//! A firmware package as a maker makes it: header, image, signature.

use std::path::Path;

use ed25519_compact::{KeyPair, Seed};
use guanjia_node::board::Version;
use guanjia_node::crc::Crc32;
use guanjia_node::update::Header;

use super::flat;

/// Secret key of RFC 8032, 7.1, test 1: the one whose signature a board trusts that was built without a maker's key.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

/// Packs a program for a board under its own version, and signs it.
///
/// # Errors
/// When the file is no program of the node.
pub fn package(elf: &Path, board_id: u16, version: Version) -> anyhow::Result<Vec<u8>> {
    let mut image = flat(elf)?;
    // Records have two bytes.
    image.resize(image.len().next_multiple_of(2), 0xFF);
    let crc = Crc32::new().update(&image).finish();
    let header = Header { board_id, version, image_bytes: u32::try_from(image.len())?, crc };
    let mut package = [&header.encode()[..], &image].concat();
    let signature = KeyPair::from_seed(Seed::new(SEED)).sk.sign(&package, None);
    package.extend_from_slice(signature.as_ref());
    Ok(package)
}
