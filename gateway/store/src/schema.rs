//! The schemas, brought up to date when a store is opened.
//!
//! A migration is never edited after it has been released: sqlx keeps its checksum and refuses to start.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Top-ups on their way into meters, and what is in the meters; this makes the table of the former anew.
const METER_WALLETS: &str = include_str!("../migrations/sqlite/0004_meter_wallets.sql");

/// The triggers that keep the journal's history.
pub(crate) fn triggers() -> usize {
    let journal = include_str!("../migrations/sqlite/0001_journal.sql");
    [journal, METER_WALLETS].iter().map(|text| text.matches("CREATE TRIGGER").count()).sum()
}

/// The journal's tables.
pub(crate) fn journal() -> Migrator {
    migrator(&[
        ("journal", include_str!("../migrations/sqlite/0001_journal.sql")),
        ("messages", include_str!("../migrations/sqlite/0002_messages.sql")),
        ("meter_credits", include_str!("../migrations/sqlite/0003_meter_credits.sql")),
        ("meter_wallets", METER_WALLETS),
    ])
}

/// The billing store's tables on SQLite.
pub(crate) fn billing_sqlite() -> Migrator {
    migrator(&[
        ("billing", include_str!("../migrations/sqlite/0001_billing.sql")),
        ("meter_credits", include_str!("../migrations/sqlite/0002_billing_meter_credits.sql")),
    ])
}

/// The billing store's tables on PostgreSQL.
pub(crate) fn billing_postgres() -> Migrator {
    migrator(&[
        ("billing", include_str!("../migrations/postgres/0001_billing.sql")),
        ("meter_credits", include_str!("../migrations/postgres/0002_billing_meter_credits.sql")),
    ])
}

/// Migrations by name and text, numbered from 1.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(files);
    Migrator::with_migrations(
        numbered
            .map(|(n, (name, text))| {
                Migration::new(n, Cow::Borrowed(name), MigrationType::Simple, text.into_sql_str(), false)
            })
            .collect(),
    )
}
