//! The door through which the fuzz targets reach the loaders of everything that people write. Nothing else uses it.
//!
//! What is checked here needs the loaders' own types; the targets (`fuzz/src/loaders.rs`) only bring the bytes.

use std::path::Path;

use crate::config::{self, Report};

/// Loads a text as a site file whose directory does not exist. Panics if anything panics, if a site comes with errors, or
/// if an error cannot be told.
pub fn site(text: &str) {
    let (site, report) = config::load_fuzzed_site(text, Path::new("/nonexistent"));
    tell(text, &report);
    assert!(site.is_none() || !report.has_errors(), "a site with errors passes: {report}");
    if let Some(site) = site {
        assert_eq!(site.points.len(), site.devices.iter().map(|d| d.profile.points.len()).sum::<usize>());
    }
}

/// Loads a text as a device profile. Panics if anything panics, if a profile comes with errors, or if a profile that is
/// accepted cannot be read.
pub fn profile(text: &str) {
    let (loaded, report) = config::load_fuzzed_profile(text);
    tell(text, &report);
    let Some(loaded) = loaded else {
        assert!(report.has_errors(), "a profile is refused without a word");
        return;
    };
    assert!(!report.has_errors(), "a profile with errors passes: {report}");
    let profile = loaded.profile;
    let unreadable = guanjia_field::plan::unreadable(&profile.points, &profile.limits);
    assert!(unreadable.is_empty(), "points {unreadable:?} can never be read");
}

/// Every message can be shown, and stands in the text.
fn tell(text: &str, report: &Report) {
    let lines = text.lines().count().max(1) + 1;
    for diagnostic in &report.diagnostics {
        assert!(!diagnostic.message.is_empty(), "an error without a word");
        let place = diagnostic.place();
        let line = place.rsplit(':').nth(1).and_then(|line| line.parse::<usize>().ok());
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{place} of {lines} lines");
    }
    assert!(report.to_string().len() >= report.diagnostics.len());
}
