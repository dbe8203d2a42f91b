//! Where the gateway listens, who may call it, and where usage and money go.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::context::Context;
use super::document::Entry;
use super::raw::{RawApiClient, RawBilling, RawConsole, RawHttp};
use super::value::At;
use crate::site::{ApiClient, Billing, BillingTarget, ConsoleAccess, Http};

/// How long one usage interval is if nobody says anything else.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The shortest usage interval. A minute is the least that is worth a row; seconds let a trial be watched.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A billing day.
const DAY: Duration = Duration::from_secs(86_400);

/// Checks `[http]`.
pub fn http(context: &mut Context, raw: &Entry<RawHttp>) -> Option<Http> {
    let public_url = match &raw.public_url {
        Some(url) => Some(context.url(url)?),
        None => None,
    };
    let console = match &*raw.console {
        RawConsole::Open => Some(ConsoleAccess::Open),
        RawConsole::Password(secret) => context.secret(secret).map(ConsoleAccess::Password),
    };
    let Ok(listen) = raw.listen.parse::<SocketAddr>() else {
        context
            .error(raw.listen.span(), format!("`{}` is not an address and a port", *raw.listen))
            .help("write \"127.0.0.1:8080\" for this machine only, or \"0.0.0.0:8080\" for the network");
        return None;
    };
    if matches!(*raw.console, RawConsole::Open) && !listen.ip().is_loopback() {
        context
            .error(raw.console.span(), format!("the console would be open to everybody who reaches {listen}"))
            .help("write console = { password = { file = \"path\" } }, or listen on 127.0.0.1");
        return None;
    }
    Some(Http { listen, public_url, console: console? })
}

/// Checks `[billing]`.
pub fn billing(context: &mut Context, raw: Option<&Entry<RawBilling>>, data_dir: Option<&PathBuf>) -> Option<Billing> {
    let data_dir = data_dir?;
    let sqlite = |name: &str| BillingTarget::Sqlite(data_dir.join(name));
    let Some(raw) = raw else { return Some(Billing { target: sqlite("billing.db"), interval: INTERVAL }) };
    let target = match (&raw.sqlite, &raw.postgres) {
        (Some(name), None) => Some(sqlite(name)),
        (None, Some(url)) => context.secret(url).map(BillingTarget::Postgres),
        (None, None) => Some(sqlite("billing.db")),
        (Some(_), Some(postgres)) => {
            context.error(postgres.span(), "there is one billing store").help("write `sqlite` or `postgres`");
            None
        }
    };
    let interval = raw.interval.as_ref().map_or(INTERVAL, |i| i.0);
    if interval < INTERVAL_MIN || !DAY.as_millis().is_multiple_of(interval.as_millis()) {
        let at = raw.interval.as_ref().map_or(raw.at.clone(), At::span);
        context
            .error(at, "usage intervals divide a day evenly and last a second or more")
            .help("write \"15m\", \"30m\" or \"1h\"");
    }
    Some(Billing { target: target?, interval })
}

/// Checks every API client.
pub fn api_clients(context: &mut Context, raw: &[Entry<RawApiClient>]) -> Vec<ApiClient> {
    let mut clients: Vec<ApiClient> = Vec::new();
    for entry in raw {
        if entry.may.is_empty() {
            context
                .error(entry.may.span(), format!("`{}` may do nothing", entry.key))
                .help("write any of \"top-up\", \"acknowledge\", \"read\"");
        }
        let Some(token) = context.secret(&entry.token) else { continue };
        if let Some(twin) = clients.iter().find(|c| c.token == token) {
            let message = format!("the token is that of `{}`", twin.name);
            context
                .error(entry.token.span(), message)
                .help("every client has its own, or the ledger names the wrong one");
        }
        clients.push(ApiClient { name: entry.key.clone(), token, may: (*entry.may).clone() });
    }
    clients
}
