//! The library: what is built into the binary, and what a site adds to it or replaces.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Report, Source};

include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// The most bytes one file of the library or the site file may have.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// One directory of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// Device profiles.
    Profiles,
    /// Emergency plans.
    Plans,
    /// Tariffs.
    Tariffs,
}

impl Shelf {
    fn name(self) -> &'static str {
        match self {
            Shelf::Profiles => "profiles",
            Shelf::Plans => "plans",
            Shelf::Tariffs => "tariffs",
        }
    }

    fn built_in(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Shelf::Profiles => PROFILES,
            Shelf::Plans => PLANS,
            Shelf::Tariffs => TARIFFS,
        }
    }
}

/// The files of a shelf.
#[derive(Debug, Default)]
pub struct Files {
    /// Every one by its stem: the built-in ones, and over them those of the site's directory.
    pub all: BTreeMap<String, Arc<Source>>,
    /// Which of them say something else than the built-in ones.
    pub own: BTreeSet<String>,
}

/// Finds the files of a shelf. Nothing is parsed.
///
/// `site_directory` is the directory and the file and place that names it.
pub fn files(shelf: Shelf, site_directory: Option<(&Path, &Arc<Source>, Range<usize>)>, report: &mut Report) -> Files {
    let mut files = Files::default();
    for (stem, text) in shelf.built_in() {
        let name = format!("built-in {}/{stem}.toml", shelf.name());
        files.all.insert((*stem).to_owned(), Source::new(name, *text));
    }
    let Some((directory, source, at)) = site_directory else { return files };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            report
                .error(source, at, format!("the directory of {} cannot be read: {}", shelf.name(), why(&error)))
                .help("make it, or leave the key out to use the built-in library alone");
            return files;
        }
    };
    for path in entries.filter_map(Result::ok).map(|e| e.path()) {
        let Some(stem) =
            path.file_stem().and_then(|s| s.to_str()).filter(|_| path.extension() == Some("toml".as_ref()))
        else {
            continue;
        };
        match read_text(&path) {
            Ok(text) => {
                // A copy of a built-in file is as right as that one.
                if files.all.get(stem).is_none_or(|built_in| built_in.text != text) {
                    files.own.insert(stem.to_owned());
                }
                files.all.insert(stem.to_owned(), Source::new(path.display().to_string(), text));
            }
            Err(why) => {
                report.error(source, at.clone(), format!("{} cannot be read: {why}", path.display()));
            }
        }
    }
    files
}

/// Reads a text file of bounded size.
pub fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| why(&e))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes, more than {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|e| why(&e))
}

/// Why a file cannot be read, as a technician would say it.
pub fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "it is not there".to_owned(),
        ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}
