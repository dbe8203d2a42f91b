//! The ways to reach people.

use schemars::JsonSchema;
use serde::Deserialize;

use super::context::Context;
use super::document::Entry;
use super::secret::SecretSource;
use super::value::At;
use crate::site::{Channel, ChannelKind, SmtpSecurity};

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

/// The three kinds of channel tables.
pub struct RawChannels {
    /// `[webhook.…]`
    pub webhook: Vec<Entry<RawWebhook>>,
    /// `[ntfy.…]`
    pub ntfy: Vec<Entry<RawNtfy>>,
    /// `[smtp.…]`
    pub smtp: Vec<Entry<RawSmtp>>,
}

impl RawChannels {
    /// Every name, of channels with errors too.
    pub fn names(&self) -> Vec<String> {
        let webhooks = self.webhook.iter().map(|e| &e.key);
        let others = self.ntfy.iter().map(|e| &e.key).chain(self.smtp.iter().map(|e| &e.key));
        webhooks.chain(others).map(ToString::to_string).collect()
    }
}

/// Checks every channel.
pub fn channels(context: &mut Context, raw: &RawChannels) -> Vec<Channel> {
    let mut found: Vec<(std::ops::Range<usize>, Channel)> = Vec::new();
    for entry in &raw.webhook {
        let secret = entry.secret.as_ref().map(|s| context.secret(s));
        let Some(url) = context.url(&entry.url) else { continue };
        let kind = ChannelKind::Webhook { url, secret: secret.flatten() };
        found.push((entry.at.clone(), Channel { name: entry.key.clone(), kind }));
    }
    for entry in &raw.ntfy {
        let token = entry.token.as_ref().map(|t| context.secret(t));
        let Some(url) = context.url(&entry.url) else { continue };
        let kind = ChannelKind::Ntfy { url, token: token.flatten() };
        found.push((entry.at.clone(), Channel { name: entry.key.clone(), kind }));
    }
    for entry in &raw.smtp {
        let login = context.login(entry.user.as_ref(), entry.password.as_ref());
        let port = match entry.security {
            SmtpSecurity::None => 25,
            SmtpSecurity::Starttls => 587,
            SmtpSecurity::Tls => 465,
        };
        if !entry.from.contains('@') {
            context
                .error(entry.from.span(), format!("`{}` is not a mailbox", *entry.from))
                .help("write \"gateway@example.com\"");
        }
        let Some((host, port)) = context.host_port(&entry.address, Some(port)) else { continue };
        let kind = ChannelKind::Smtp { host, port, security: entry.security, login, from: (*entry.from).clone() };
        found.push((entry.at.clone(), Channel { name: entry.key.clone(), kind }));
    }
    for (i, (at, channel)) in found.iter().enumerate() {
        if found[..i].iter().any(|(_, other)| other.name == channel.name) {
            context.error(at.clone(), format!("there are two channels `{}`", channel.name)).help("rename one of them");
        }
    }
    found.into_iter().map(|(_, channel)| channel).collect()
}
