//! Keys and packages against RFC 8032, and against what a maker may take for a program.

#![allow(clippy::unwrap_used, reason = "helpers of tests: what cannot go on fails there")]

use guanjia_node::board::LM3S6965EVB;
use guanjia_node::update::HEADER;

use super::*;

/// RFC 8032, 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&bytes::<32>(SEED)).unwrap()
}

/// A program: stack, entry, and a little code.
fn program(length: usize) -> Vec<u8> {
    let mut image = vec![0x5A; length];
    image[..4].copy_from_slice(&0x2000_1000_u32.to_le_bytes());
    image[4..8].copy_from_slice(&(LM3S6965EVB.image_at + 9).to_le_bytes());
    image
}

/// The same as an ELF file with parts at the given places; the last two bytes of the image make the second part.
fn elf(parts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 52];
    file[..6].copy_from_slice(b"\x7fELF\x01\x01");
    file[28..32].copy_from_slice(&52_u32.to_le_bytes());
    file[42..44].copy_from_slice(&32_u16.to_le_bytes());
    file[44..46].copy_from_slice(&(parts.len() as u16).to_le_bytes());
    let mut offset = 52 + 32 * parts.len();
    for (at, bytes) in parts {
        for word in [1, offset as u32, *at, *at, bytes.len() as u32, bytes.len() as u32, 5, 4] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        offset += bytes.len();
    }
    parts.iter().for_each(|(_, bytes)| file.extend_from_slice(bytes));
    file
}

#[test]
fn a_key_file_is_read_as_it_was_written_and_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maker.pem");
    assert_eq!(keygen(&KeyOptions { file: file.clone() }).unwrap(), ExitCode::SUCCESS);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&file).unwrap();
    let public = read_key(&file).unwrap().public_key().as_ref().to_vec();
    assert!(keygen(&KeyOptions { file: file.clone() }).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), first);

    let other = dir.path().join("other.pem");
    keygen(&KeyOptions { file: other.clone() }).unwrap();
    assert_ne!(read_key(&other).unwrap().public_key().as_ref(), public, "two keys are two");
}

/// `openssl pkey` writes the same text for this key.
#[test]
fn the_key_of_the_rfc_is_the_file_that_openssl_writes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rfc.pem");
    let text = "-----BEGIN PRIVATE KEY-----\n\
                MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                -----END PRIVATE KEY-----\n";
    assert_eq!(pem(&bytes(SEED)), text);
    std::fs::write(&file, text).unwrap();
    assert_eq!(hex(read_key(&file).unwrap().public_key().as_ref()), PUBLIC);
    for wrong in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", SEED] {
        std::fs::write(&file, wrong).unwrap();
        assert!(read_key(&file).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_package_is_header_image_and_a_signature_over_both() {
    let image = image(&program(1001), &LM3S6965EVB).unwrap();
    assert_eq!(image.len(), 1004, "whole words");
    let package = package(&image, 0x6965, Version::new(1, 2, 3), &key());
    let (message, signature) = package.split_last_chunk::<{ SIGNATURE as usize }>().unwrap();
    UnparsedPublicKey::new(&ED25519, bytes::<32>(PUBLIC)).verify(message, signature).unwrap();
    let header = Header::decode(message.first_chunk().unwrap()).unwrap();
    assert_eq!((header.board_id, header.version, header.image_bytes), (0x6965, Version(0x0001_0203), 1004));
    assert_eq!(header.crc, Crc32::new().update(&image).finish());
    assert_eq!(&message[HEADER..], image);
}

#[test]
fn an_elf_file_is_laid_out_as_memory_has_it() {
    let whole = program(100);
    let file = elf(&[(LM3S6965EVB.image_at + 96, &whole[96..]), (LM3S6965EVB.image_at, &whole[..92])]);
    let laid = image(&file, &LM3S6965EVB).unwrap();
    assert_eq!((&laid[..92], &laid[92..96], &laid[96..]), (&whole[..92], &[0; 4][..], &whole[96..]));
}

#[test]
fn what_cannot_run_as_an_update_is_refused() {
    let whole = program(100);
    let at = LM3S6965EVB.image_at;
    let mut outside = whole.clone();
    outside[4..8].copy_from_slice(&0x0000_4001_u32.to_le_bytes());
    let mut even = whole.clone();
    even[4] &= !1;
    let factory = elf(&[(0x4000, &whole)]);
    let overlapping = elf(&[(at, &whole), (at + 50, &whole)]);
    let far = elf(&[(at, &whole), (0xFFFF_0000, &whole)]);
    let mut cut = elf(&[(at, &whole)]);
    cut.pop();
    let mut wide = elf(&[(at, &whole)]);
    wide[4] = 2;
    for (what, program, why) in [
        ("nothing", &[][..], "is empty"),
        ("text", b"a text that is long enough", "vectors"),
        ("an entry outside", &outside, "vectors"),
        ("an entry that is no Thumb code", &even, "vectors"),
        ("one that is too long", &program(32 * 1024 + 1), "room"),
        ("the factory's program", &factory, "not node.elf"),
        ("parts over each other", &overlapping, "no whole program"),
        ("parts far apart", &far, "no whole program"),
        ("a cut file", &cut, "no whole program"),
        ("a program of 64 bits", &wide, "no whole program"),
    ] {
        let told = image(program, &LM3S6965EVB).expect_err(what);
        assert!(told.contains(why), "{what}: {told}");
    }
}

#[test]
fn a_version_has_three_numbers() {
    assert_eq!(version("1.20.255"), Ok(Version(0x0001_14FF)));
    for text in ["", "1.2", "1.2.3.4", "1.2.256", "1.2.x", "1.x.2.3", "-1.2.3"] {
        assert!(version(text).is_err(), "{text}");
    }
    assert_eq!(board("lm3s6965evb"), Ok(LM3S6965EVB));
    assert!(board("0x6965").unwrap_err().contains("lm3s6965evb"));
}
