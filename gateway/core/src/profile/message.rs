//! What the messages of devices on MQTT look like.

use serde::{Deserialize, Serialize};

use super::Table;

/// What the messages of a device on MQTT look like, beyond the pointers of its points.
///
/// The topics here are the maker's layout, as templates: `{device}` is the device's id, `{node}` what the device calls
/// itself, and in the topic of a point `{topic}` the device's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageForm {
    /// On which topic its messages come.
    pub topic: Option<String>,
    /// On which topic it says whether it is there.
    pub availability: Option<String>,
    /// How it says so.
    pub presence: Presence,
    /// Registers that come as text, as radio meters send them; points with a [`Source::Registers`](super::Source::Registers) are read from these.
    pub words: Option<MessageWords>,
    /// Where the device says when it measured; without it a value is as old as its arrival.
    pub time: Option<MessageTime>,
    /// The RFC 6901 pointer to the samples of a logger: one object, or an array of them in any order, each with its own
    /// time. All other pointers lead into a sample then. `None` if a message is one sample.
    pub samples: Option<String>,
}

/// How a device says on its topic of availability whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The RFC 6901 pointer to the word; empty if the whole payload is the word.
    pub pointer: String,
    /// The word for being there.
    pub online: String,
    /// The word for being gone; mostly a last will.
    pub offline: String,
}

impl Default for Presence {
    fn default() -> Self {
        Self { pointer: String::new(), online: "online".to_owned(), offline: "offline".to_owned() }
    }
}

/// Consecutive registers of one table, written as text inside a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageWords {
    /// The RFC 6901 pointer to the text; empty if the whole payload is the text.
    pub pointer: String,
    /// How the bytes are written.
    pub encoding: WordEncoding,
    /// Which table the registers are of.
    pub table: Table,
    /// The address of the first of them, zero based.
    pub address: u16,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WordEncoding {
    /// RFC 4648, either alphabet, with or without padding.
    Base64,
    /// Two hexadecimal digits a byte.
    Hex,
}

/// Where and how a message says when its values were measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTime {
    /// The RFC 6901 pointer to it.
    pub pointer: String,
    /// How it is written.
    pub format: TimeFormat,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// `2026-01-31T08:00:00Z`, with its offset from UTC.
    Rfc3339,
    /// Seconds since 1970 in UTC.
    UnixSeconds,
    /// Milliseconds since 1970 in UTC.
    UnixMillis,
}
