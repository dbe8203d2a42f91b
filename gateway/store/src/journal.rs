//! The journal: everything one gateway must not forget, in one SQLite file of its data directory.
//!
//! * One writer. A task owns the only connection that writes; callers queue (command, answer) pairs. What waits
//!   together is committed together, and answered only after the commit is on the disk (`synchronous=FULL`).
//! * A few read-only connections serve queries beside it. A read that starts after an answer sees what was answered.
//! * A caller that goes away cancels nothing: its command is in the queue, or it never was.
//! * One gateway per directory: the lock file `guanjia.lock` is held from open to close.
//!
//! ```text
//!             ┌── healthy ◄──────────────┐
//!  commit ok ─┘      │ BEGIN, COMMIT or   │ a commit succeeds
//!                    ▼ disk fails         │ (a probe tries every second)
//!                unhealthy ───────────────┘   every caller of the group gets `Unavailable`
//! ```
//!
//! What a power cut may cost: commands that were not answered yet; each is either wholly there or not at all. After
//! `Unavailable` it is unknown which, so a caller repeats the same request and the keys sort it out.
//!
//! What grows: about 1.5 kB per usage interval and 2.5 kB per top-up, outbox included. Nothing is pruned yet: at 700
//! meters and one interval per hour that is 9 GB a year, which is the limit to plan the disk by.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::error::StoreError;
use crate::schema;
use crate::sql::Conn;

mod alarms;
mod credits;
mod ledger;
mod marks;
mod messages;
mod outbox;
mod pages;
mod statement;
mod supply;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod writer;

pub use alarms::AlarmBatch;
pub use credits::CreditDecision;
pub use marks::Explanation;
pub use messages::KeptMessage;
pub use outbox::{Backlog, OutboxRow};
pub use pages::{PageResult, PageStatus};
pub use statement::{StatementLine, Wallet};
pub use supply::{ClosePermit, Notice, RelayOutcome};
pub use verify::Violation;

use writer::{Command, Envelope, Outcome, Writer};

/// Commands that may wait for the writer; the next caller waits for a place.
const QUEUE_LIMIT: usize = 1_024;
/// How long a caller waits for a place in the queue before it is told [`StoreError::Busy`].
pub(crate) const QUEUE_PATIENCE: Duration = Duration::from_secs(5);
/// Read-only connections.
const READERS: u32 = 3;
/// How long a connection waits for another one's lock, and a query for a free connection.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// The most rows any list query returns, whatever it was asked for.
const MAX_LIST_ROWS: u32 = 10_000;

/// The names every row of this journal is known under.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub site: String,
    pub epoch: Uuid,
    /// Counts the starts of the program, so that what was under way in an earlier one can be told.
    pub run: i64,
}

/// A handle on the journal. Clones share the writer.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    commands: mpsc::Sender<Envelope>,
    readers: SqlitePool,
    healthy: Arc<AtomicBool>,
    origin: Origin,
    file: PathBuf,
}

impl Store {
    /// Opens the journal of `site_id` in `dir`, makes both if they are not there, brings the schema up to date and
    /// starts the writer. The handle ends when the store is closed or its last clone is dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another gateway has the directory, [`StoreError::WrongSite`] if it is another
    /// site's, [`StoreError::Schema`] if a newer program wrote it, [`StoreError::Unavailable`] otherwise.
    pub async fn open(dir: &Path, site_id: &str) -> Result<(Store, JoinHandle<()>), StoreError> {
        if site_id.is_empty() {
            return Err(StoreError::Invalid("a site needs an id".to_owned()));
        }
        let file = dir.join("guanjia.db");
        let lock = prepare(dir, &file)?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(LOCK_PATIENCE);
        let writes = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0");

        let mut conn = SqliteConnection::connect_with(&writes).await?;
        schema::journal().run(&mut conn).await?;
        let origin = identify(&mut Conn::Sqlite(&mut conn), site_id).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(LOCK_PATIENCE)
            .connect_lazy_with(options.read_only(true));

        let (commands, queue) = mpsc::channel(QUEUE_LIMIT);
        let healthy = Arc::new(AtomicBool::new(true));
        let writer = Writer::new(writes, conn, queue, Arc::clone(&healthy), origin.clone(), &file, lock);
        let task = tokio::spawn(writer.run());
        Ok((Store { inner: Arc::new(Inner { commands, readers, healthy, origin, file }) }, task))
    }

    /// Answers what is queued, folds the write-ahead log into the file and gives the directory free. Every later
    /// call on any clone is answered with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.readers.close().await;
        // A writer that is gone already has nothing left to close.
        let _ = self.send(Command::Close).await;
    }

    /// The site these rows belong to.
    pub fn site(&self) -> &str {
        &self.inner.origin.site
    }

    /// The life of this journal file, made when the file was: (site, epoch, seq) names an outbox row for ever.
    pub fn epoch(&self) -> Uuid {
        self.inner.origin.epoch
    }

    /// Whether the last write reached the disk.
    pub fn healthy(&self) -> bool {
        self.inner.healthy.load(Ordering::Acquire) && !self.inner.commands.is_closed()
    }

    /// Bytes on the disk: the file, its write-ahead log and its index.
    pub fn storage_bytes(&self) -> u64 {
        ["", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| std::fs::metadata(with_suffix(&self.inner.file, suffix)).ok())
            .map(|found| found.len())
            .sum()
    }

    /// Queues a command and waits until it is durable or refused.
    async fn send(&self, command: Command) -> Result<Outcome, StoreError> {
        let (answer, answered) = oneshot::channel();
        let envelope = Envelope { command, answer };
        match self.inner.commands.send_timeout(envelope, QUEUE_PATIENCE).await {
            Ok(()) => answered.await.map_err(|_| StoreError::Closed)?,
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(StoreError::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(StoreError::Closed),
        }
    }

    /// Queues a command whose only answer is that it is done.
    async fn send_done(&self, command: Command) -> Result<(), StoreError> {
        match self.send(command).await? {
            Outcome::Done => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    /// A read-only connection.
    async fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader(self.inner.readers.acquire().await?))
    }
}

/// A read-only connection on loan from the pool.
struct Reader(PoolConnection<Sqlite>);

impl Reader {
    fn conn(&mut self) -> Conn<'_> {
        Conn::Sqlite(&mut self.0)
    }
}

/// Makes the directory and the file (readable by their owner only), and takes the lock.
fn prepare(dir: &Path, file: &Path) -> Result<File, StoreError> {
    let failed = |what: &Path, error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", what.display()));
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let private = |path: &Path| {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        Ok(file)
    };
    let lock_file = dir.join("guanjia.lock");
    let lock = private(&lock_file).map_err(|error| failed(&lock_file, error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Locked(dir.display().to_string())),
        Err(std::fs::TryLockError::Error(error)) => return Err(failed(&lock_file, error)),
    }
    // SQLite gives its log and index the mode of the file it finds; the directory entry must outlive a power cut.
    private(file).map_err(|error| failed(file, error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed(dir, error))?;
    Ok(lock)
}

/// Reads who this journal is, or decides it on the first start, and counts this start; books what an older program left.
async fn identify(conn: &mut Conn<'_>, site_id: &str) -> Result<Origin, StoreError> {
    conn.control("BEGIN IMMEDIATE").await?;
    let epoch = Uuid::now_v7();
    conn.execute(
        "INSERT INTO identity (one, site, epoch) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING",
        &[site_id.into(), epoch.into()],
    )
    .await?;
    conn.execute("INSERT INTO progress (one, run, confirmed) VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING", &[])
        .await?;
    conn.execute("UPDATE progress SET run = run + 1", &[]).await?;
    let row = conn
        .row("SELECT site, epoch, run FROM identity JOIN progress USING (one)", &[])
        .await?
        .ok_or_else(|| StoreError::Corrupt("identity is empty".to_owned()))?;
    let origin = Origin { site: row.text("site")?, epoch: row.parsed("epoch")?, run: row.int("run")? };
    if origin.site != site_id {
        return Err(StoreError::WrongSite { found: origin.site, wanted: site_id.to_owned() });
    }
    credits::book_old(conn, &origin).await?;
    conn.control("COMMIT").await?;
    Ok(origin)
}

/// `guanjia.db` to `guanjia.db-wal`.
fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The limit of a list query as SQL wants it.
fn list_limit(limit: u32) -> i64 {
    i64::from(limit.min(MAX_LIST_ROWS))
}
