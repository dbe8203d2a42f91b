//! Runs the fuzz targets of the loaders over everything in `config/`, whole and a little broken, so that they stay right
//! without a fuzzer. `fuzz/README.md` tells how to run them for real.

#[path = "../../../fuzz/src/loaders.rs"]
mod loaders;

use std::fs;
use std::path::{Path, PathBuf};

/// Broken files each target gets besides the whole ones.
const BROKEN: usize = 300;

fn toml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

/// One or a few changes, as people make them: a line lost, doubled or moved, a character or a number that is another.
fn broken(text: &str, dice: &mut fastrand::Rng) -> String {
    const WORDS: [&str; 10] =
        ["0", "-1", "65536", "1e400", "\"\"", "\"\u{1F525}\"", "[]", "{ is = 1 }", "true", "99999999999999999999"];
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..dice.usize(1..4) {
        let (at, other) = (dice.usize(0..lines.len()), dice.usize(0..lines.len()));
        match dice.u8(0..6) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3 => {
                let mut characters: Vec<char> = lines[at].chars().collect();
                let place = dice.usize(0..=characters.len());
                characters.insert(place, dice.char(..));
                lines[at] = characters.into_iter().collect();
            }
            _ => {
                if let Some((key, _)) = lines[at].clone().split_once('=') {
                    lines[at] = format!("{key}= {}", dice.choice(WORDS).unwrap_or("0"));
                }
            }
        }
    }
    lines.join("\n")
}

#[test]
fn the_loaders_hold_for_every_file_and_for_broken_ones() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let sites = [vec![config.join("site.toml")], toml_files(&config.join("bad"))].concat();
    let profiles = toml_files(&config.join("profiles"));
    for ((name, target), files) in loaders::TARGETS.into_iter().zip([sites, profiles]) {
        let mut dice = fastrand::Rng::with_seed(21);
        let texts: Vec<String> =
            files.iter().map(|path| fs::read_to_string(path).expect("it is in the repository")).collect();
        assert!(texts.len() >= 40, "{name} has only {} files", texts.len());
        texts.iter().for_each(|text| target(text.as_bytes()));
        for _ in 0..BROKEN {
            let text = &texts[dice.usize(0..texts.len())];
            target(broken(text, &mut dice).as_bytes());
        }
    }
}
