//! A firmware package as a maker makes it: header, image, signature.

use std::path::Path;

use anyhow::Context;
use ed25519_compact::{KeyPair, Seed};
use guanjia_node::board::Version;
use guanjia_node::crc::Crc32;
use guanjia_node::update::Header;

/// Secret key of RFC 8032, 7.1, test 1: the one whose signature a board trusts that was built without a maker's key.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69,
    0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// Where an ELF file of 32 bits says where its program headers are, how long one is and how many there are.
const PROGRAM_HEADERS: [usize; 3] = [28, 42, 44];
/// A segment that is loaded.
const LOAD: u32 = 1;

/// Packs a program for a board and signs it.
///
/// # Errors
/// When the file is no program of 32 bits.
pub fn package(elf: &Path, board_id: u16, version: Version) -> anyhow::Result<Vec<u8>> {
    let mut image = image(&std::fs::read(elf)?).context("not a program of 32 bits")?;
    // Records have two bytes.
    image.resize(image.len().next_multiple_of(2), 0xFF);
    let crc = Crc32::new().update(&image).finish();
    let header = Header { board_id, version, image_bytes: u32::try_from(image.len())?, crc };
    let mut package = [&header.encode()[..], &image].concat();
    let signature = KeyPair::from_seed(Seed::new(SEED)).sk.sign(&package, None);
    package.extend_from_slice(signature.as_ref());
    Ok(package)
}

/// The bytes of the loaded segments from the first to the last, at the places where they are loaded.
fn image(elf: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| elf.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let half = |at: usize| elf.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let [table, size, count] = PROGRAM_HEADERS;
    let (table, size, count) = (word(table)? as usize, usize::from(half(size)?), usize::from(half(count)?));
    let mut segments = Vec::new();
    for at in (0..count).map(|n| table + n * size) {
        let (kind, offset, address, bytes) = (word(at)?, word(at + 4)? as usize, word(at + 12)?, word(at + 16)?);
        if kind == LOAD && bytes > 0 {
            segments.push((address, elf.get(offset..offset + bytes as usize)?));
        }
    }
    let first = segments.iter().map(|(address, _)| *address).min()?;
    let mut image = Vec::new();
    for (address, bytes) in segments {
        let at = (address - first) as usize;
        image.resize(image.len().max(at + bytes.len()), 0xFF);
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Some(image)
}
