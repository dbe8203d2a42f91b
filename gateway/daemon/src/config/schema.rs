//! The JSON Schemas of the two formats, for editors and for [`super::document`].

use std::sync::LazyLock;

use serde_json::Value;

use super::profile::RawProfile;
use super::raw::RawSite;

/// The schema of the site file.
pub static SITE: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(RawSite).to_value());

/// The schema of a device profile.
pub static PROFILE: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(RawProfile).to_value());

/// The JSON Schema of the site file, as text.
pub fn site_schema() -> String {
    format!("{:#}", *SITE)
}

/// The JSON Schema of a device profile, as text.
pub fn profile_schema() -> String {
    format!("{:#}", *PROFILE)
}
