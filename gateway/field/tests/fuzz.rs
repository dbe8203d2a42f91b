//! Runs every fuzz target over its corpus and some thousand inputs of its own, so that the targets stay right without a
//! fuzzer. `fuzz/README.md` tells how to run them for real.

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Inputs each target gets besides its corpus.
const RANDOM: usize = 4_000;

/// The longest of them.
const LENGTH_MAX: usize = 96;

/// A small change, as a fuzzer makes it.
fn mutated(seed: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..dice.usize(1..6) {
        let at = dice.usize(0..=bytes.len());
        match dice.u8(0..4) {
            0 => bytes.insert(at, dice.u8(..)),
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.u8(0..8),
            2 if at < bytes.len() => bytes[at] = *dice.choice(&[0, 1, 0x7F, 0x80, 0xFF, b'/', b'"']).unwrap_or(&0),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

#[test]
fn every_fuzz_target_holds_for_its_corpus_and_for_random_inputs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut dice = fastrand::Rng::with_seed(20);
        let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("the corpus of {name}: {e}"));
        let mut seeds: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        seeds.sort();
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name} has no corpus");
        seeds.iter().for_each(|seed| target(seed));
        for round in 0..RANDOM {
            let input = match round % 2 {
                0 => (0..dice.usize(0..LENGTH_MAX)).map(|_| dice.u8(..)).collect(),
                _ => mutated(&seeds[round % seeds.len()], &mut dice),
            };
            target(&input);
        }
    }
}
