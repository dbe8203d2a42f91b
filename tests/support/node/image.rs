//! Which programs the node runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;

/// The directory into which `tests/run` has built them.
const IMAGES: &str = "GUANJIA_NODE_IMAGES";
/// What `firmware/build.sh` exits with when it cannot build here, as opposed to a build that fails.
const CANNOT: i32 = 2;

/// The programs of a board, as `firmware/build.sh` leaves them.
#[derive(Clone, Debug)]
pub struct Images {
    /// What a reset starts.
    pub boot: PathBuf,
    /// The image of the factory.
    pub factory: PathBuf,
    /// The same, one patch newer, linked to run as an update.
    pub update: PathBuf,
}

impl Images {
    fn within(directory: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| {
            let path = directory.join(name);
            anyhow::ensure!(path.is_file(), "{} is not there: build it with firmware/build.sh", path.display());
            Ok(path)
        };
        Ok(Self { boot: file("boot.elf")?, factory: file("node.elf")?, update: file("update.elf")? })
    }
}

/// The programs: of the environment, or built now, once for all tests of this process. `None` (and a line that says why)
/// where the tools to build them are missing.
///
/// # Errors
/// When the environment names a directory without them, or they do not build.
pub fn images() -> anyhow::Result<Option<Images>> {
    static BUILT: OnceLock<Result<Option<Images>, String>> = OnceLock::new();
    BUILT.get_or_init(|| find().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find() -> anyhow::Result<Option<Images>> {
    if let Some(directory) = std::env::var_os(IMAGES) {
        return Images::within(Path::new(&directory)).map(Some);
    }
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let build =
        Command::new("bash").arg(firmware.join("build.sh")).output().context("firmware/build.sh does not run")?;
    let said = String::from_utf8_lossy(&build.stdout);
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    if build.status.code() == Some(CANNOT) {
        println!("skipped: field node in QEMU ({})", line("cannot: ").unwrap_or("no reason given"));
        return Ok(None);
    }
    let errors = String::from_utf8_lossy(&build.stderr);
    anyhow::ensure!(build.status.success(), "firmware/build.sh failed: {said}{errors}");
    Images::within(Path::new(line("images: ").context("firmware/build.sh names no images")?)).map(Some)
}

/// Where RAM begins on this part.
const RAM: u32 = 0x2000_0000;
const PT_LOAD: u32 = 1;

/// One part of a program in memory.
struct Segment<'a> {
    /// Where it lies in memory.
    address: u32,
    /// Where it is loaded from: in flash for what is copied to RAM at start.
    loaded_at: u32,
    bytes: &'a [u8],
    size: u32,
}

/// The parts of a 32-bit little-endian ELF file.
fn segments(elf: &[u8]) -> Option<Vec<Segment<'_>>> {
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let (table, entry, count) = (word(28)? as usize, usize::from(half(42)?), usize::from(half(44)?));
    let mut segments = Vec::new();
    for header in (0..count).map(|n| table + n * entry) {
        if word(header)? == PT_LOAD {
            let (offset, in_file) = (word(header + 4)? as usize, word(header + 16)? as usize);
            segments.push(Segment {
                address: word(header + 8)?,
                loaded_at: word(header + 12)?,
                bytes: elf.get(offset..offset + in_file)?,
                size: word(header + 20)?,
            });
        }
    }
    Some(segments)
}

/// A program as it lies in the memory it is loaded into, without gaps: the image of an update.
///
/// # Errors
/// It is not there, or not a program for the part.
pub fn flat(elf: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::read(elf)?;
    let mut segments = segments(&file).context("not a program for the part")?;
    segments.retain(|segment| !segment.bytes.is_empty());
    segments.sort_by_key(|segment| segment.loaded_at);
    let start = segments.first().context("an empty program")?.loaded_at;
    let mut image = Vec::new();
    for segment in segments {
        image.resize((segment.loaded_at - start) as usize, 0);
        image.extend_from_slice(segment.bytes);
    }
    // Updates come in records of two bytes.
    image.resize(image.len().next_multiple_of(4), 0);
    Ok(image)
}

/// Where the statics of a program end in RAM, and its stack may reach.
///
/// # Errors
/// It is not there, or not a program for the part.
pub fn ram_end(elf: &Path) -> anyhow::Result<u32> {
    let file = std::fs::read(elf)?;
    let segments = segments(&file).context("not a program for the part")?;
    let ends = segments.iter().filter(|segment| segment.address >= RAM).map(|segment| segment.address + segment.size);
    ends.max().context("a program without statics")
}
