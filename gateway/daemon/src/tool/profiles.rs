//! `guanjia profiles`: which models are known, and how well.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::target::LibraryOptions;
use super::text::columns;
use super::{EXIT_CODES, Trouble, end};
use crate::config::{LoadedProfile, ProfileShelf};

const LONG_HELP: &str = "\
Every profile is read and checked, so this is also how a directory of profiles of one's own is checked without a site:

    guanjia profiles --profiles config/profiles

JSON: a list of {profile, vendor, model, class, confidence, points, transport}; `transport` is modbus or mqtt, `confidence`
how many sources agree on the register map.";

/// Options of `guanjia profiles`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    library: LibraryOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub fn run(options: &Options) -> ExitCode {
    end(list(options))
}

fn list(options: &Options) -> Result<ExitCode, Trouble> {
    let shelf = ProfileShelf::find(options.library.profiles.as_deref()).map_err(Trouble::Config)?;
    let profiles = shelf.read_all().map_err(Trouble::Config)?;
    if options.json {
        println!("{:#}", Value::from(profiles.iter().map(as_json).collect::<Vec<_>>()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["profile", "class", "points", "confidence", "model"].map(String::from).to_vec()];
    rows.extend(profiles.iter().map(|loaded| {
        let profile = &loaded.profile;
        vec![
            profile.id.clone(),
            word(profile.class),
            profile.points.len().to_string(),
            word(profile.confidence),
            format!("{} {}", profile.vendor, profile.model),
        ]
    }));
    println!("{}{} profiles", columns(&rows), profiles.len());
    Ok(ExitCode::SUCCESS)
}

/// A word of the profile format, as it is written there.
fn word(of: impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn as_json(loaded: &LoadedProfile) -> Value {
    let profile = &loaded.profile;
    json!({
        "profile": profile.id,
        "vendor": profile.vendor,
        "model": profile.model,
        "class": profile.class,
        "confidence": profile.confidence,
        "points": profile.points.len(),
        "transport": if loaded.is_mqtt() { "mqtt" } else { "modbus" },
    })
}
