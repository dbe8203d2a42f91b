//! Configuration: one TOML site file, and the library of profiles, plans and tariffs, made into a [`Site`].
//!
//! ```text
//!  site.toml ──parse──► tables ──deserialise one by one──► raw mirror ──check against each other──► Site
//!  library ───parse──────────────────────────────────────────────┘                         │
//!                                                  every error, with its place ◄───────────┘
//! ```
//!
//! * Nothing is guessed. An unknown key, a number without its unit, a name that refers to nothing: each is an error
//!   with file, line, column and what to write instead. All of them are reported at once.
//! * There is one table per kind of thing and no `kind = …` key, because that keeps the places of errors exact.
//! * Secrets are named, never written; see [`secret`].
//! * A [`Site`] exists only without errors. Warnings do not stop it.
//! * Reading a configuration changes nothing on disk, so a power cut costs nothing.

mod alarms;
mod brokers;
mod budget;
mod causes;
mod channels;
mod context;
mod device_alarms;
mod devices;
mod diagnostic;
mod document;
mod library;
mod lines;
mod passive;
mod people;
mod policy;
mod prepaid;
mod profile;
mod raw;
mod schema;
mod secret;
mod service;
mod site;
#[cfg(test)]
mod tests;
mod topics;
mod unit;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use guanjia_core::time::Timestamp;
use tracing::warn;

pub use self::budget::{by_class, class_name, span};
pub use self::diagnostic::Report;
pub use self::profile::LoadedProfile;
pub use self::schema::{profile_schema, site_schema};

use self::diagnostic::Source;
use self::library::Shelf;
use crate::site::Site;

/// Reads a site file and everything it names. Warnings go to the log.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Site, Report> {
    let (site, report) = load_at(path, guanjia_field::now());
    match site {
        Some(site) => {
            for warning in &report.diagnostics {
                warn!(place = %warning.place(), message = %warning.message, "the configuration is remarkable");
            }
            Ok(site)
        }
        None => Err(report),
    }
}

/// The device profiles that are known: the built-in ones, and over them those of a directory.
pub struct ProfileShelf {
    files: BTreeMap<String, Arc<Source>>,
}

impl ProfileShelf {
    /// Finds them; none is read yet.
    ///
    /// # Errors
    /// The directory, or a file in it, cannot be read.
    pub fn find(directory: Option<&Path>) -> Result<Self, Report> {
        let mut report = Report::default();
        let named_by = Source::new("--profiles", "");
        let mut files = library::files(Shelf::Profiles, directory.map(|d| (d, &named_by, 0..0)), &mut report).all;
        files.retain(|name, _| !name.starts_with('_'));
        if report.has_errors() { Err(report) } else { Ok(Self { files }) }
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Reads one; `None` if there is none of that id.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn read(&self, id: &str) -> Result<Option<LoadedProfile>, Report> {
        let Some(source) = self.files.get(id) else { return Ok(None) };
        let mut report = Report::default();
        profile::read(id, source, &schema::PROFILE, &mut report).map(Some).ok_or(report)
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn read_all(&self) -> Result<Vec<LoadedProfile>, Report> {
        let mut report = Report::default();
        let files = self.files.iter();
        let profiles =
            files.filter_map(|(id, source)| profile::read(id, source, &schema::PROFILE, &mut report)).collect();
        if report.has_errors() { Err(report) } else { Ok(profiles) }
    }
}

/// `guanjia check`: prints everything there is to say about a site file; exits 64 if it cannot be run.
pub fn check(path: &Path) -> ExitCode {
    let now = guanjia_field::now();
    let (site, report) = load_at(path, now);
    eprint!("{report}");
    match site {
        Some(site) => {
            println!("{}", summary(&site, now));
            ExitCode::SUCCESS
        }
        None => ExitCode::from(crate::EXIT_CONFIG),
    }
}

/// Reads a site file to show its plan, also if its lines are planned too full.
pub fn load_for_plan(path: &Path) -> (Option<Site>, Report) {
    with_text(path, |source, directory| site::resolve_leniently(source, directory, guanjia_field::now()))
}

/// The site, unless there are errors, and everything that was found.
fn load_at(path: &Path, now: Timestamp) -> (Option<Site>, Report) {
    with_text(path, |source, directory| site::resolve(source, directory, now))
}

fn with_text(
    path: &Path,
    resolve: impl FnOnce(&Arc<Source>, PathBuf) -> (Option<Site>, Report),
) -> (Option<Site>, Report) {
    let name = path.display().to_string();
    let text = match library::read_text(path) {
        Ok(text) => text,
        Err(why) => {
            let mut report = Report::default();
            report
                .error_without_place(format!("the site file {name} cannot be read: {why}"))
                .help("name an existing file; config/site.toml is an example with every key explained");
            return (None, report);
        }
    };
    let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
    resolve(&Source::new(name, text), directory)
}

/// What the site consists of, in a few lines.
fn summary(site: &Site, now: Timestamp) -> String {
    let mut text = format!(
        "{} ({}): {} lines, {} brokers, {} devices, {} points, {} alarms\n{} shops, {} service points, {} people, {} channels",
        site.name.zh,
        site.id,
        site.lines.len(),
        site.brokers.len(),
        site.devices.len(),
        site.points.len(),
        site.alarms.len(),
        site.shops.len(),
        site.service_points.len(),
        site.people.len(),
        site.channels.len(),
    );
    for line in &site.lines {
        let guanjia_field::Link::ModbusTls { tls, .. } = &line.link else { continue };
        let role = match tls.role() {
            Ok(Some(role)) => format!("carries the Modbus role {role:?}"),
            Ok(None) => "carries no Modbus role; a device that grants by role may refuse it".to_owned(),
            Err(error) => error.to_string(),
        };
        text.push_str(&format!("\nline {}: our certificate {role}", line.name));
    }
    let name = |id: &String| {
        let person = site.people.iter().find(|p| *p.id == **id);
        person.map_or_else(|| id.clone(), |p| format!("{} ({id})", p.name))
    };
    let roles: BTreeSet<&String> =
        site.plans.iter().flat_map(|plan| plan.roles.with.iter().chain([&plan.roles.lead])).collect();
    let duty_phone = "duty_phone".to_owned();
    for role in std::iter::once(&duty_phone).chain(roles.into_iter().filter(|role| **role != duty_phone)) {
        let people: Vec<String> = site.roster.on_duty(role, now).iter().map(name).collect();
        if !people.is_empty() {
            text.push_str(&format!("\non duty now as {role}: {}", people.join(", ")));
        }
    }
    text.push_str(&format!("\nfallback: {}", name(site.roster.fallback())));
    text
}

/// A text that may be anything, as a site file.
pub(crate) fn load_fuzzed_site(text: &str, directory: &Path) -> (Option<Site>, Report) {
    site::resolve(&Source::new("site.toml", text), directory.to_owned(), Timestamp::EPOCH)
}

/// A text that may be anything, as a profile.
pub(crate) fn load_fuzzed_profile(text: &str) -> (Option<LoadedProfile>, Report) {
    let mut report = Report::default();
    let loaded = profile::read("fuzzed", &Source::new("fuzzed.toml", text), &schema::PROFILE, &mut report);
    (loaded, report)
}

/// As [`load_for_plan`], from a text that is not a file on disk, for tests.
#[cfg(test)]
pub fn text_for_plan(name: &str, text: &str, directory: &Path) -> (Option<Site>, Report) {
    site::resolve_leniently(&Source::new(name, text), directory.to_owned(), guanjia_field::now())
}

/// A text that is not a file on disk, for tests.
#[cfg(test)]
fn load_text(name: &str, text: &str, directory: &Path, now: Timestamp) -> (Option<Site>, Report) {
    site::resolve(&Source::new(name, text), directory.to_owned(), now)
}
