//! Targets for what people write: the site file and the profiles. The checks are behind the doors they go through, because
//! they need the loaders' own types.
//!
//! This file is compiled into the fuzz targets beside it and into a test of the daemon.

/// What is done with one input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 2] = [("site", site), ("profile", profile)];

/// A file the loaders are pointed at by the text is read; a device that never ends is not among them.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok().filter(|text| !text.contains("/dev/") && !text.contains("/proc/"))
}

/// Any text as a site file.
pub fn site(data: &[u8]) {
    if let Some(text) = text(data) {
        guanjia_daemon::fuzzing::site(text);
    }
}

/// Any text as a device profile.
pub fn profile(data: &[u8]) {
    if let Some(text) = text(data) {
        guanjia_daemon::fuzzing::profile(text);
    }
}
