//! Which memory map each program has, which build this is, and whose signature it trusts.

#![allow(clippy::panic, clippy::expect_used, reason = "a build that cannot go on says why and ends")]

use std::env;
use std::path::PathBuf;

/// Characters of the build id in the register map.
const BUILD_ID_BYTES: usize = 16;
/// Public key of RFC 8032, 7.1, test 1: its secret key is in the same place, so it proves nothing but that all works.
const PUBLISHED_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn main() {
    let memory = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("memory");
    let slot = setting("GUANJIA_SLOT", "flash");
    assert!(slot == "flash" || slot == "ram", "GUANJIA_SLOT is flash (factory) or ram (update), not {slot}");
    println!("cargo:rustc-link-arg-bin=node=-L{}", memory.join(slot).display());
    println!("cargo:rustc-link-arg-bin=boot=-L{}", memory.join("boot").display());
    println!("cargo:rerun-if-changed=memory");

    let id: String =
        setting("GUANJIA_BUILD_ID", "unnamed").chars().filter(char::is_ascii_graphic).take(BUILD_ID_BYTES).collect();
    println!("cargo:rustc-env=GUANJIA_BUILD_ID={id:<BUILD_ID_BYTES$}");

    let version = setting("GUANJIA_VERSION", env!("CARGO_PKG_VERSION"));
    let numbers: Vec<u8> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    let [major, minor, patch] = numbers[..] else { panic!("GUANJIA_VERSION is major.minor.patch, not {version}") };
    println!("cargo:rustc-env=GUANJIA_VERSION_NUMBER={}", u32::from_be_bytes([0, major, minor, patch]));

    let key = setting("GUANJIA_MAKER_KEY", PUBLISHED_KEY);
    let bytes: Vec<u8> =
        (0..key.len()).step_by(2).filter_map(|at| u8::from_str_radix(key.get(at..at + 2)?, 16).ok()).collect();
    assert!(bytes.len() == 32, "GUANJIA_MAKER_KEY is an Ed25519 public key of 64 hexadecimal digits");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("maker.key");
    std::fs::write(out, bytes).expect("the build directory can be written");
}

fn setting(name: &str, default: &str) -> String {
    println!("cargo:rerun-if-env-changed={name}");
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
