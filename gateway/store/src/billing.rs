//! The billing store: the bookkeeper's copy of every site's usage and money, on SQLite or PostgreSQL.
//!
//! * Rows arrive in (site, epoch, seq) order and only so. A row that is there already is skipped if its hash is the
//!   same; if it is not, the gateway has two histories and nothing more is taken from it ([`StoreError::Fork`]).
//! * The raw rows, the tables made from them and the cursor are one transaction. A crash on either side costs a
//!   resend, never a row.
//! * Work runs in a task of its own. A caller that goes away (a timeout, a closed request) leaves no connection in
//!   the middle of a transaction. As a second belt every PostgreSQL connection is rolled back before it is used:
//!   sqlx 0.9.0 can return one to its pool inside a transaction (transact-rs/sqlx#4393), and rows written there are
//!   acknowledged and lost.
//!
//! ```text
//!  rows ─► order, own hash, link ─► BEGIN ─► lock cursor ─► skip known | insert new ─► move cursor ─► COMMIT
//!               │ Gap, Corrupt                                  │ Fork                    deadlock: again, up to
//!               ▼                                               ▼                         RETRIES times
//!            refused                                      refused, rolled back
//! ```

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use uuid::Uuid;

use crate::error::StoreError;
use crate::journal::OutboxRow;
use crate::schema;
use crate::sql::Conn;

mod append;
mod read;
#[cfg(test)]
mod tests;

pub use append::MAX_APPEND_ROWS;
pub use read::{BillingCounts, Cursor, WalletSum};

/// PostgreSQL connections of one gateway.
const CONNECTIONS: u32 = 4;
/// How long a connection may take to be made or to become free.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a transaction is tried again after a deadlock or serialization failure.
const RETRIES: u32 = 5;
/// The wait before the first of them; doubles.
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// Where the billing store is.
#[derive(Clone, PartialEq, Eq)]
pub enum BillingTarget {
    /// A file; its directory must exist.
    Sqlite(PathBuf),
    /// A `postgres://` URL. TLS as its `sslmode` says; `prefer` if it says nothing.
    Postgres(String),
}

impl fmt::Debug for BillingTarget {
    /// Without the URL, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BillingTarget::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            BillingTarget::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// A connected billing store. Clones share its connections.
#[derive(Clone)]
pub struct BillingStore {
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl BillingStore {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file or server cannot be reached, [`StoreError::Invalid`] if the URL is
    /// none, [`StoreError::Schema`] if a newer program made the schema.
    pub async fn connect(target: &BillingTarget) -> Result<BillingStore, StoreError> {
        let backend = match target {
            BillingTarget::Sqlite(path) => Backend::Sqlite(connect_sqlite(path).await?),
            BillingTarget::Postgres(url) => Backend::Postgres(connect_postgres(url).await?),
        };
        Ok(BillingStore { backend })
    }

    /// Gives all connections back. Later calls are answered with [`StoreError::Closed`].
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(pool) => pool.close().await,
            Backend::Postgres(pool) => pool.close().await,
        }
    }

    /// Does a job in a task of its own, again after a deadlock.
    async fn run(&self, job: Job) -> Result<Answer, StoreError> {
        let backend = self.backend.clone();
        // The task is never cancelled; it can only end early with the runtime.
        tokio::spawn(async move { backend.run_with_retries(&job).await }).await.map_err(|_| StoreError::Closed)?
    }
}

/// What can be asked of the store.
enum Job {
    Append(Vec<OutboxRow>),
    Cursor { site: String, epoch: Uuid },
    WalletSums { site: String },
    Counts { site: String },
}

/// What it answers.
enum Answer {
    Next(u64),
    Cursor(Cursor),
    WalletSums(Vec<WalletSum>),
    Counts(BillingCounts),
}

impl Answer {
    /// The error for an answer of the wrong kind, which only a defect can produce.
    fn unexpected(self) -> StoreError {
        StoreError::Defect("the billing store answered another question".to_owned())
    }
}

impl Backend {
    async fn run_with_retries(&self, job: &Job) -> Result<Answer, StoreError> {
        let mut wait = RETRY_WAIT;
        for _ in 0..RETRIES {
            match self.run_once(job).await {
                Err(StoreError::Busy) => tokio::time::sleep(wait).await,
                other => return other,
            }
            wait *= 2;
        }
        self.run_once(job).await
    }

    async fn run_once(&self, job: &Job) -> Result<Answer, StoreError> {
        match self {
            Backend::Sqlite(pool) => {
                let mut conn = pool.acquire().await?;
                let (answer, state) = in_transaction(&mut Conn::Sqlite(&mut conn), "BEGIN IMMEDIATE", job).await;
                if let State::Unknown = state {
                    conn.close_on_drop();
                }
                answer
            }
            Backend::Postgres(pool) => {
                let mut conn = pool.acquire().await?;
                let (answer, state) = in_transaction(&mut Conn::Postgres(&mut conn), "BEGIN", job).await;
                if let State::Unknown = state {
                    conn.close_on_drop();
                }
                answer
            }
        }
    }
}

/// How a transaction left its connection.
enum State {
    /// Outside of any transaction.
    Clean,
    /// Nobody knows; it must not be used again.
    Unknown,
}

async fn in_transaction(conn: &mut Conn<'_>, begin: &'static str, job: &Job) -> (Result<Answer, StoreError>, State) {
    if let Err(error) = conn.control(begin).await {
        return (Err(error), State::Unknown);
    }
    match apply(conn, job).await {
        Ok(answer) => match conn.control("COMMIT").await {
            Ok(()) => (Ok(answer), State::Clean),
            // Whether it was committed is unknown; the same rows again will find out.
            Err(error) => (Err(error), State::Unknown),
        },
        Err(error) => match conn.control("ROLLBACK").await {
            Ok(()) => (Err(error), State::Clean),
            Err(_) => (Err(error), State::Unknown),
        },
    }
}

async fn apply(conn: &mut Conn<'_>, job: &Job) -> Result<Answer, StoreError> {
    match job {
        Job::Append(rows) => append::append(conn, rows).await.map(Answer::Next),
        Job::Cursor { site, epoch } => read::cursor(conn, site, *epoch).await.map(Answer::Cursor),
        Job::WalletSums { site } => read::wallet_sums(conn, site).await.map(Answer::WalletSums),
        Job::Counts { site } => read::counts(conn, site).await.map(Answer::Counts),
    }
}

async fn connect_sqlite(path: &Path) -> Result<SqlitePool, StoreError> {
    // Made here and not by SQLite, so that only its owner can read it.
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(CONNECT_PATIENCE)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool =
        SqlitePoolOptions::new().max_connections(1).acquire_timeout(CONNECT_PATIENCE).connect_with(options).await?;
    schema::billing_sqlite().run(&pool).await?;
    Ok(pool)
}

async fn connect_postgres(url: &str) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|_| StoreError::Invalid("the billing store's URL is not a postgres:// URL".to_owned()))?;
    let options = options.application_name("guanjia").options([
        ("synchronous_commit", "on"),
        ("lock_timeout", "10s"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "60s"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_PATIENCE)
        .before_acquire(|conn, _| {
            Box::pin(async move {
                // BEGIN first, so that the ROLLBACK of a clean connection is no warning in the server's log. If this
                // fails the pool throws the connection away, which is as good.
                Conn::Postgres(conn).control("BEGIN; ROLLBACK").await.map(|()| true).or(Ok(false))
            })
        })
        .connect_with(options)
        .await?;
    schema::billing_postgres().run(&pool).await?;
    Ok(pool)
}
