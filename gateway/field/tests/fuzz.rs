//! Runs every fuzz target over its corpus and some thousand inputs of its own, so that the targets stay right without a
//! fuzzer; with `GUANJIA_FUZZ_INPUTS=15000000`, over so many. `fuzz/README.md` tells how to run them with coverage.

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Inputs each target gets besides its corpus, unless the environment says otherwise.
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

fn inputs() -> usize {
    let Ok(text) = std::env::var("GUANJIA_FUZZ_INPUTS") else { return RANDOM };
    text.parse().unwrap_or_else(|_| panic!("GUANJIA_FUZZ_INPUTS is not a number: {text}"))
}

/// Runs one target over its corpus, and over inputs that are by turns random and a changed file of the corpus.
fn run(name: &str, target: fn(&[u8]), inputs: usize) {
    let mut dice = fastrand::Rng::with_seed(20);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("the corpus of {name}: {e}"));
    let mut seeds: Vec<_> = files.map(|file| file.expect("a folder that can be read").path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).expect("a file that can be read")).collect();
    assert!(!seeds.is_empty(), "{name} has no corpus");
    seeds.iter().for_each(|seed| target(seed));
    for round in 0..inputs {
        let input = match round % 2 {
            0 => (0..dice.usize(0..LENGTH_MAX)).map(|_| dice.u8(..)).collect(),
            _ => mutated(&seeds[round / 2 % seeds.len()], &mut dice),
        };
        target(&input);
    }
    println!("{name}: {} inputs", seeds.len() + inputs);
}

#[test]
fn every_fuzz_target_holds_for_its_corpus_and_for_random_inputs() {
    let inputs = inputs();
    std::thread::scope(|scope| {
        for (name, target) in targets::TARGETS {
            scope.spawn(move || run(name, target, inputs));
        }
    });
}
