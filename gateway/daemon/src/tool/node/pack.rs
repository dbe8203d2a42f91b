//! `guanjia node keygen` and `guanjia node pack`: the maker's key, and a firmware signed with it.
//!
//! ```text
//!  keygen ─► FILE: the secret key ─────────────────────────────────┐
//!        └─► its public half, for the build of the boot stage      ▼
//!  build ──► update.elf ──► pack: flat image, header with CRC, Ed25519 over both ──► node-1.2.0.gjnf
//! ```
//!
//! * This is the maker's desk and not the technician's: it speaks to no node. Who has the secret key can put any program
//!   into every node that trusts it; who has lost it can update none of them over the bus any more.
//! * The key file is PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it, for its owner's eyes only. An
//!   existing one is never written over.
//! * A program that could not run as an update of its board (the factory's, one that is too long) is refused here, as a
//!   node would find out by three bad starts.
//! * What was packed is looked at once more, with the public key, before it is written.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use guanjia_node::board::{MODELS, Model, Version};
use guanjia_node::crc::Crc32;
use guanjia_node::update::{Header, SIGNATURE};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::tool::{Trouble, usage};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED_BYTES: usize = 32;
/// The longest program that is read at all; debug information makes it many times as long as its image.
const PROGRAM_MAX: u64 = 64 << 20;
/// Bits of a key file that others than its owner may have.
const OTHERS: u32 = 0o077;

/// Options of `guanjia node keygen`.
#[derive(Debug, Args)]
pub struct KeyOptions {
    /// The file to make; it must not be there
    file: PathBuf,
}

/// Options of `guanjia node pack`.
#[derive(Debug, Args)]
pub struct Options {
    /// update.elf of the build, or the image as it lies in memory
    image: PathBuf,
    /// The version it was built with (GUANJIA_VERSION); a node takes newer ones only
    #[arg(long, value_name = "X.Y.Z", value_parser = version)]
    version: Version,
    /// The board it was built for
    #[arg(long, value_name = "NAME", value_parser = board)]
    board: Model,
    /// The maker's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The package to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

fn version(text: &str) -> Result<Version, String> {
    let numbers: Vec<u8> = text.split('.').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [major, minor, patch] if text.split('.').count() == 3 => Ok(Version::new(major, minor, patch)),
        _ => Err("a version is three numbers of at most 255, such as 1.2.0".to_owned()),
    }
}

fn board(text: &str) -> Result<Model, String> {
    let known = || MODELS.map(|model| model.name).join(", ");
    MODELS.into_iter().find(|model| model.name == text).ok_or_else(|| format!("no such board; there is {}", known()))
}

/// Makes a key.
///
/// # Errors
/// [`Trouble::Usage`]: the file is there, or cannot be made.
pub fn keygen(options: &KeyOptions) -> Result<ExitCode, Trouble> {
    let mut seed = [0; SEED_BYTES];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| Trouble::NoAnswer("this machine gives no random numbers; try again".to_owned()))?;
    let key = Ed25519KeyPair::from_seed_unchecked(&seed)
        .map_err(|_| Trouble::NoAnswer("no key came out of it; try again".to_owned()))?;
    let name = options.file.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&options.file)
        .map_err(|error| usage(format!("{name}: {error}; a key is never written over, so name a new file")))?;
    file.write_all(pem(&seed).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| usage(format!("{name}: {error}; delete what is there of it")))?;
    println!("{}", hex(key.public_key().as_ref()));
    eprintln!("{name} is the secret key: keep it off this machine, twice, and show it to nobody.");
    eprintln!("The line above is its public half: build the boot stage with GUANJIA_MAKER_KEY set to it.");
    Ok(ExitCode::SUCCESS)
}

/// Packs and signs.
///
/// # Errors
/// [`Trouble::Usage`]: a file that is not what it should be.
pub fn pack(options: &Options) -> Result<ExitCode, Trouble> {
    let key = read_key(&options.key)?;
    let name = options.image.display();
    let length = std::fs::metadata(&options.image).map_err(|error| usage(format!("{name}: {error}")))?.len();
    if length > PROGRAM_MAX {
        return Err(usage(format!("{name} is no firmware of a field node: it is far too long")));
    }
    let program = std::fs::read(&options.image).map_err(|error| usage(format!("{name}: {error}")))?;
    let image = image(&program, &options.board).map_err(|why| usage(format!("{name} {why}")))?;
    let package = package(&image, options.board.id, options.version, &key);
    let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref());
    let is_signed = package
        .split_last_chunk::<{ SIGNATURE as usize }>()
        .is_some_and(|(message, signature)| public.verify(message, signature).is_ok());
    if !is_signed {
        return Err(Trouble::NoAnswer("the signature does not hold; this machine counts wrongly".to_owned()));
    }
    let output = options.output.display();
    std::fs::write(&options.output, &package).map_err(|error| usage(format!("{output}: {error}")))?;
    let [_, major, minor, patch] = options.version.0.to_be_bytes();
    println!(
        "{output}: firmware {major}.{minor}.{patch}, {} bytes, for {} ({:#06x}), signed by {}",
        package.len(),
        options.board.name,
        options.board.id,
        hex(key.public_key().as_ref())
    );
    Ok(ExitCode::SUCCESS)
}

/// Header, image, signature over both.
fn package(image: &[u8], board_id: u16, version: Version, key: &Ed25519KeyPair) -> Vec<u8> {
    // `image` has bounded it.
    let header =
        Header { board_id, version, image_bytes: image.len() as u32, crc: Crc32::new().update(image).finish() };
    let mut package = [&header.encode()[..], image].concat();
    let signature = key.sign(&package);
    package.extend_from_slice(signature.as_ref());
    package
}

/// The image of a program for a board, as it lies in memory; why it is none.
fn image(program: &[u8], board: &Model) -> Result<Vec<u8>, String> {
    let mut image = if program.starts_with(b"\x7fELF") {
        let (at, image) = flat(program, board.image_max).ok_or("is no whole program for a 32-bit part")?;
        if at != board.image_at {
            return Err(format!(
                "is linked to run at {at:#010x}, and an update of {} runs at {:#010x}: pack update.elf, not node.elf",
                board.name, board.image_at
            ));
        }
        image
    } else {
        program.to_vec()
    };
    // Records have two bytes, and words four.
    image.resize(image.len().next_multiple_of(4), 0);
    if image.len() > board.image_max as usize {
        return Err(format!("is {} bytes long, and {} has room for {}", image.len(), board.name, board.image_max));
    }
    // Its first words are its stack and its entry, which lies in it; its lowest bit says that it is Thumb code.
    let word = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?));
    let entry = word(4).ok_or("is empty")?;
    let end = u64::from(board.image_at) + image.len() as u64;
    if entry & 1 == 0 || entry < board.image_at || u64::from(entry) >= end {
        return Err("does not begin with the vectors of a program for this board".to_owned());
    }
    Ok(image)
}

/// Where an ELF file is loaded, and what lies there without gaps.
fn flat(elf: &[u8], most: u32) -> Option<(u32, Vec<u8>)> {
    const LOAD: u32 = 1;
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?)));
    // 32 bits, little endian.
    if elf.get(4..6)? != [1, 1] {
        return None;
    }
    let (table, entry, count) = (word(28)? as usize, half(42)?, half(44)?);
    let mut segments = Vec::new();
    for at in (0..count).map(|n| table.checked_add(n * entry)) {
        let at = at?;
        let (kind, offset, loaded_at, bytes) = (word(at)?, word(at + 4)?, word(at + 12)?, word(at + 16)?);
        if kind == LOAD && bytes > 0 {
            segments.push((loaded_at, elf.get(offset as usize..)?.get(..bytes as usize)?));
        }
    }
    segments.sort_by_key(|(at, _)| *at);
    let (start, _) = *segments.first()?;
    let mut image = Vec::new();
    for (at, bytes) in segments {
        let gap = (at - start) as usize;
        // Parts that overlap, or a gap that no memory has.
        if gap < image.len() || gap > most as usize {
            return None;
        }
        image.resize(gap, 0);
        image.extend_from_slice(bytes);
    }
    Some((start, image))
}

/// Reads a secret key.
fn read_key(file: &Path) -> Result<Ed25519KeyPair, Trouble> {
    let name = file.display();
    let metadata = std::fs::metadata(file).map_err(|error| usage(format!("{name}: {error}")))?;
    if metadata.permissions().mode() & OTHERS != 0 {
        eprintln!("warning: others on this machine can read {name}: chmod 600 it, or make a new key if they may have");
    }
    let text = std::fs::read(file).map_err(|error| usage(format!("{name}: {error}")))?;
    let no_key = |_| usage(format!("{name} is no Ed25519 key in PEM; guanjia node keygen makes one"));
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(no_key)?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
        .map_err(|_| usage(format!("{name} is a key, but not an Ed25519 key; guanjia node keygen makes one")))
}

/// A secret key as a file.
fn pem(seed: &[u8; SEED_BYTES]) -> String {
    let der = [&PKCS8[..], seed].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
