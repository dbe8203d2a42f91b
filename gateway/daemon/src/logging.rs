//! Logs: constant messages with fields, as text for people or JSON for collectors.

use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// Starts logging to standard error. `GUANJIA_LOG` sets the level, alone (`debug`) or per target
/// (`info,guanjia_field=debug`); the default is `info`.
pub fn start(format: LogFormat) {
    let wanted = std::env::var("GUANJIA_LOG").unwrap_or_default();
    let (filter, refused) = match Targets::from_str(&wanted) {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (Targets::new().with_default(Level::INFO), None),
        Err(error) => (Targets::new().with_default(Level::INFO), Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(ansi).with_target(false).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    if let Some(error) = refused {
        tracing::warn!(value = %wanted, %error, "GUANJIA_LOG is not understood; logging at info");
    }
}
