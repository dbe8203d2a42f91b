//! Which image the node runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;

/// The image `tests/run` has built.
const IMAGE: &str = "GUANJIA_NODE_IMAGE";
/// What `firmware/build.sh` exits with when it cannot build here, as opposed to a build that fails.
const CANNOT: i32 = 2;

/// The image: of the environment, or built now, once for all tests of this process. `None` (and a line that says why)
/// where the tools to build it are missing.
///
/// # Errors
/// When the environment names a file that is not there, or the image does not build.
pub fn image() -> anyhow::Result<Option<PathBuf>> {
    static BUILT: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    BUILT.get_or_init(|| find().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find() -> anyhow::Result<Option<PathBuf>> {
    if let Some(image) = std::env::var_os(IMAGE) {
        let image = PathBuf::from(image);
        anyhow::ensure!(image.is_file(), "{IMAGE} names {}, which is not there", image.display());
        return Ok(Some(image));
    }
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let build =
        Command::new("bash").arg(firmware.join("build.sh")).output().context("firmware/build.sh does not run")?;
    let said = String::from_utf8_lossy(&build.stdout);
    if build.status.code() == Some(CANNOT) {
        let why = said.lines().find_map(|line| line.strip_prefix("cannot: ")).unwrap_or("no reason given");
        println!("skipped: field node in QEMU ({why})");
        return Ok(None);
    }
    anyhow::ensure!(
        build.status.success(),
        "firmware/build.sh failed: {said}{}",
        String::from_utf8_lossy(&build.stderr)
    );
    let image =
        said.lines().find_map(|line| line.strip_prefix("image: ")).context("firmware/build.sh names no image")?;
    Ok(Some(PathBuf::from(image)))
}
