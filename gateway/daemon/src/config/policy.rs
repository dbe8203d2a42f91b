//! Policies: when a tenant is warned, cut and reconnected.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[policy.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {}
