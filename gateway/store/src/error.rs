//! Why a store did not do what it was asked.
//!
//! Two families matter to a caller. [`StoreError::Unavailable`] and [`StoreError::Busy`] say nothing about the
//! request: ask again with the same key. Everything else is about the request and will be answered the same way
//! again.

use guanjia_core::time::Timestamp;

/// The refusals and failures of both stores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, the file or the server failed. Whether the request took effect is unknown: repeat it unchanged.
    #[error("store unavailable, check disk space and the server, then repeat the request unchanged: {0}")]
    Unavailable(String),
    /// Too many others wanted the same at the same time; nothing was done.
    #[error("the store has been busy for too long, repeat the request unchanged")]
    Busy,
    /// The store was closed, or its writer is gone.
    #[error("the store is closed, the gateway is stopping")]
    Closed,
    /// Another process has this data directory.
    #[error("another gateway is running on {0}, stop it first")]
    Locked(String),
    /// The data directory is another site's.
    #[error("the data directory belongs to site {found}, not to {wanted}; correct the site id or the directory")]
    WrongSite {
        /// The site it was made for.
        found: String,
        /// The site that was asked for.
        wanted: String,
    },
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date, do not start an older program on newer data: {0}")]
    Schema(String),
    /// A value is outside what the row may hold.
    #[error("refused: {0}")]
    Invalid(String),
    /// It contradicts a row that is already there.
    #[error("contradicts what is stored: {0}")]
    Conflict(String),
    /// No wallet of that name.
    #[error("no wallet is open for service point {0}")]
    UnknownServicePoint(String),
    /// Usage was posted before a first baseline was set.
    #[error("service point {0} has no baseline yet, set the first one")]
    NoBaseline(String),
    /// A page, intent or supply that does not exist.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A supply record or relay intent of an older decision.
    #[error("supply of {service_point} is at version {stored}, {offered} is out of date")]
    StaleVersion {
        /// Whose supply.
        service_point: String,
        /// The version in the store.
        stored: u64,
        /// The version that came.
        offered: u64,
    },
    /// A stored row cannot be read back as what it was written.
    #[error("a stored row is damaged, run verify and restore from a backup: {0}")]
    Corrupt(String),
    /// Outbox rows are missing before the first one that was sent.
    #[error("rows are missing: expected seq {expected}, got {got}; send again from {expected}")]
    Gap {
        /// The next seq the store can take.
        expected: u64,
        /// The seq that came.
        got: u64,
    },
    /// The same (site, epoch, seq) exists with another content: the gateway was restored from an old copy.
    #[error("seq {seq} of {site}/{epoch} exists with another content: the gateway runs on an old copy of its data")]
    Fork {
        /// Whose.
        site: String,
        /// Which life of the journal.
        epoch: String,
        /// The first seq that differs.
        seq: u64,
    },
    /// The program is wrong: a statement and its arguments do not fit.
    #[error("defect in the program, report it: {0}")]
    Defect(String),
}

impl StoreError {
    /// Whether the state of the connection is unknown, so that nothing else of the same transaction may be kept.
    pub(crate) fn spoils_transaction(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }

    /// A row that does not read back.
    pub(crate) fn corrupt(table: &str, id: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        StoreError::Corrupt(format!("{table} {id}: {why}"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        match &error {
            sqlx::Error::PoolClosed => StoreError::Closed,
            // PostgreSQL undid the transaction because of others: serialization failure, deadlock.
            sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("40001" | "40P01")) => {
                StoreError::Busy
            }
            sqlx::Error::Database(database) => match database.kind() {
                ErrorKind::UniqueViolation
                | ErrorKind::ForeignKeyViolation
                | ErrorKind::NotNullViolation
                | ErrorKind::CheckViolation => StoreError::Conflict(database.message().to_owned()),
                _ if refused_by_schema(database.code().as_deref()) => {
                    StoreError::Conflict(database.message().to_owned())
                }
                _ => StoreError::Unavailable(database.to_string()),
            },
            sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt(error.to_string())
            }
            _ => StoreError::Unavailable(error.to_string()),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        StoreError::Schema(error.to_string())
    }
}

/// Refusals by a trigger or by a strict column type: SQLite's extended codes 1811 and 3091, PostgreSQL's `P0001`.
fn refused_by_schema(code: Option<&str>) -> bool {
    matches!(code, Some("1811" | "3091" | "P0001"))
}

/// A count or version from a `BIGINT` column, which the program only ever writes non-negative.
pub(crate) fn unsigned(table: &str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::corrupt(table, value, "negative count"))
}

/// A count on its way into a `BIGINT` column.
pub(crate) fn signed(what: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Invalid(format!("{what} {value} is too large")))
}

/// The UUID v7 of something that happened `at`, so that ids sort by the gateway's time.
pub(crate) fn id_at(at: Timestamp) -> uuid::Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(millis % 1_000 * 1_000_000).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, nanos))
}
