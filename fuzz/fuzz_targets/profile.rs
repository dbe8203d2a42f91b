#![no_main]

#[path = "../src/loaders.rs"]
#[allow(dead_code, reason = "each binary is one of the targets")]
mod loaders;

libfuzzer_sys::fuzz_target!(|data: &[u8]| loaders::profile(data));
