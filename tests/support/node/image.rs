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

/// Where each part of a 32-bit little-endian ELF file begins and ends in memory.
fn segments(elf: &[u8]) -> Option<Vec<(u32, u32)>> {
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let (table, entry, count) = (word(28)? as usize, usize::from(half(42)?), usize::from(half(44)?));
    let mut segments = Vec::new();
    for header in (0..count).map(|n| table + n * entry) {
        if word(header)? == PT_LOAD {
            let (begin, size) = (word(header + 8)?, word(header + 20)?);
            segments.push((begin, begin.checked_add(size)?));
        }
    }
    Some(segments)
}

/// Where the statics of a program end in RAM, and its stack may reach.
///
/// # Errors
/// It is not there, or not a program for the part.
pub fn ram_end(elf: &Path) -> anyhow::Result<u32> {
    let file = std::fs::read(elf)?;
    let segments = segments(&file).context("not a program for the part")?;
    let ends = segments.into_iter().filter(|(begin, _)| *begin >= RAM).map(|(_, end)| end);
    ends.max().context("a program without statics")
}
