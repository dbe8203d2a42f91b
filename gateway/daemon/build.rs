//! Embeds the library (`config/profiles`, `config/plans`, `config/tariffs`) in the binary, so that a gateway works
//! with its site file alone. Writes one list of `(stem, text)` per directory; files that begin with `_` are embedded
//! too, because plans keep their common part in one, and the loader decides what they mean.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../config");
    let mut out = String::new();
    for (constant, directory) in [("PROFILES", "profiles"), ("PLANS", "plans"), ("TARIFFS", "tariffs")] {
        let directory = config.join(directory);
        println!("cargo:rerun-if-changed={}", directory.display());
        writeln!(out, "/// The built-in files of `config/{}`.", directory.file_name().unwrap_or_default().display())?;
        writeln!(out, "pub(super) const {constant}: &[(&str, &str)] = &[")?;
        for path in toml_files(&directory)? {
            let stem = path.file_stem().unwrap_or_default().display().to_string();
            writeln!(out, "    ({stem:?}, include_str!({:?})),", fs::canonicalize(&path)?.display().to_string())?;
        }
        writeln!(out, "];")?;
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("library.rs"), out)?;
    Ok(())
}

/// The TOML files of a directory in the order of their names; none if there is no such directory.
fn toml_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
