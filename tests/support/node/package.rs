//! Firmware packages as a maker makes them: with `guanjia node pack`, and nothing of our own.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use guanjia_node::board::{LM3S6965EVB, Version};
use guanjia_node::update::{HEADER, SIGNATURE};

use crate::gateway::binary;

/// Secret key of RFC 8032, 7.1, test 1: the one whose signature a board trusts that was built without a maker's key.
pub const MAKER: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
/// The key of RFC 8032, 7.1, test 2: somebody else's.
pub const STRANGER: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n\
    -----END PRIVATE KEY-----\n";

/// Packs a program, or an image, for the board of the tests, and signs it.
///
/// # Errors
/// When the tool refuses it.
pub fn package(image: &Path, version: Version, key: &str) -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let (key_file, output) = (dir.path().join("key.pem"), dir.path().join("node.gjnf"));
    std::fs::write(&key_file, key)?;
    let [_, major, minor, patch] = version.0.to_be_bytes();
    let done = Command::new(binary())
        .args(["node", "pack"])
        .arg(image)
        .args(["--version", &format!("{major}.{minor}.{patch}"), "--board", LM3S6965EVB.name, "--key"])
        .arg(&key_file)
        .arg("--output")
        .arg(&output)
        .output()
        .context("the tool does not run")?;
    anyhow::ensure!(done.status.success(), "guanjia node pack: {}", String::from_utf8_lossy(&done.stderr));
    Ok(std::fs::read(&output)?)
}

/// The image in a package.
pub fn image_of(package: &[u8]) -> &[u8] {
    package.get(HEADER..package.len().saturating_sub(SIGNATURE as usize)).unwrap_or_default()
}
