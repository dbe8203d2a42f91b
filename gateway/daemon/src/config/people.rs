//! People, the ways to reach them, shifts and ladders.

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::SecretSource;
use super::value::{At, Span};
use crate::site::SmtpSecurity;

/// `[person.ID]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPerson {
    /// The name shown.
    pub name: String,
    /// Every way to reach them, all used at once for P1.
    pub reach: Vec<RawReach>,
}

/// One address on one channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawReach {
    /// The channel: the name of a webhook, ntfy or smtp table.
    pub channel: At<String>,
    /// What the channel calls them: a path segment, a topic, a mailbox.
    pub address: At<String>,
}

/// `[[shift]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShift {
    /// A role of the plans, such as "duty_phone".
    pub role: At<String>,
    /// Who.
    pub person: At<String>,
    /// The days on which it begins. Default: every day.
    pub days: Option<Vec<RawDay>>,
    /// Local time at which it begins: "08:00".
    pub from: At<String>,
    /// Local time at which it ends; not after `from` means on the next day.
    pub to: At<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawDay {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// `[duty]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDuty {
    /// Who is paged when nobody else is on duty; every ladder ends here.
    pub fallback: At<String>,
    /// Who stands in for whom: { zhang = "li" }.
    #[serde(default)]
    pub deputies: std::collections::BTreeMap<String, At<String>>,
    /// Who is away at the moment.
    #[serde(default)]
    pub absent: Vec<At<String>>,
}

/// `[webhook.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Where the page is posted as JSON; "{address}" in it is replaced by the person's address.
    pub url: At<String>,
    /// The key of the `X-Signature` HMAC.
    pub secret: Option<At<SecretSource>>,
}

/// `[ntfy.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNtfy {
    /// The server's root URL; the person's address is the topic.
    pub url: At<String>,
    /// An access token.
    pub token: Option<At<SecretSource>>,
}

/// `[smtp.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSmtp {
    /// Host and port; the port may be left out (25, 587 or 465 by `security`).
    pub address: At<String>,
    /// "tls", "starttls", or "none" for a relay inside the building.
    pub security: SmtpSecurity,
    /// User name.
    pub user: Option<At<String>>,
    /// Password.
    pub password: Option<At<SecretSource>>,
    /// The sender's mailbox.
    pub from: At<String>,
}

/// `[ladder.P1]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLadder {
    /// Who is paged, and how long after the incident began.
    pub steps: Vec<RawStep>,
}

/// One step of a ladder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStep {
    /// How long after the incident began, unless somebody has accepted it.
    pub after: At<Span>,
    /// The roles that are paged.
    pub to: Vec<At<String>>,
}

