//! The golden frames and messages of a profile as they stand in its file.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::value::{At, Number};

/// `[[golden]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGolden {
    /// How much it proves.
    pub kind: GoldenKind,
    /// Where it is from.
    pub source: At<String>,
    /// Exchanges before it, such as the one that brings a ratio.
    #[serde(default)]
    pub before: Vec<RawExchange>,
    /// The request as it goes over a serial line, in hexadecimal with its CRC.
    pub request: Option<At<String>>,
    /// The answer, likewise.
    pub response: Option<At<String>>,
    /// Instead of both, for MQTT: a payload as it comes.
    pub payload: Option<At<String>>,
    /// The template of the topic it comes on, if that is one of single points.
    pub topic: Option<At<String>>,
    /// What the points then say.
    pub values: Vec<RawGoldenValue>,
}

/// What a golden frame proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoldenKind {
    /// The registers were published from a real device.
    Captured,
    /// The maker's worked example or stated "no value".
    Documented,
    /// Another project's public test.
    UnitTest,
    /// Built from a documented rule: it proves the rule, not the device.
    Synthetic,
}

/// One request and its answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawExchange {
    /// The request.
    pub request: At<String>,
    /// The answer.
    pub response: At<String>,
}

/// What one point says: exactly one of `is`, `text` and `bad`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGoldenValue {
    /// Which point.
    pub point: At<String>,
    /// A number; exact, but for floats to six digits.
    pub is: Option<Number>,
    /// A text.
    pub text: Option<String>,
    /// No value, for this reason, such as "sentinel".
    pub bad: Option<String>,
}
