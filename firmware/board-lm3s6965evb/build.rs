//! Where the memory map is, and which build this is.

use std::env;
use std::path::PathBuf;

/// Characters of the build id in the register map.
const BUILD_ID_BYTES: usize = 16;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo:rustc-link-search={}", here.display());
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-env-changed=GUANJIA_BUILD_ID");
    let given = env::var("GUANJIA_BUILD_ID").unwrap_or_else(|_| "unnamed".to_owned());
    let id: String = given.chars().filter(char::is_ascii_graphic).take(BUILD_ID_BYTES).collect();
    println!("cargo:rustc-env=GUANJIA_BUILD_ID={id:<BUILD_ID_BYTES$}");
}
