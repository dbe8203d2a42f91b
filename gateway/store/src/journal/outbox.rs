//! The outbox: what the billing store is owed, in the order in which it happened.
//!
//! Rows are written in the transaction of their effect, numbered 1, 2, 3, ... and chained by hash. Confirmed rows
//! stay: they are what [`Store::verify`] proves the ledger against, and what a billing store restored from a backup
//! is filled up with.

use guanjia_core::time::Timestamp;
use uuid::Uuid;

use super::writer::Command;
use super::{Origin, Store, list_limit};
use crate::chain::{GENESIS, digest};
use crate::error::{StoreError, signed, unsigned};
use crate::payload::Payload;
use crate::sql::{Conn, Row};

/// One row on its way to the billing store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The site.
    pub site: String,
    /// The life of the journal it comes from.
    pub epoch: Uuid,
    /// 1, 2, 3, ... without a hole.
    pub seq: u64,
    /// `wallet`, `top_up`, `usage`, `meter_credit` or `incident`.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// JSON text.
    pub payload: String,
    /// The hash of the row before; 64 zeros for the first.
    pub prev_hash: String,
    /// SHA-256 over everything above, in hex.
    pub hash: String,
}

impl OutboxRow {
    /// The hash this row ought to have.
    pub fn expected_hash(&self) -> String {
        digest(&[
            &self.prev_hash,
            &self.site,
            &self.epoch.to_string(),
            &self.seq.to_string(),
            &self.kind,
            &self.at.as_millis().to_string(),
            &self.payload,
        ])
    }
}

/// What the billing store has not confirmed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Rows.
    pub count: u64,
    /// When the oldest of them happened.
    pub oldest_at: Option<Timestamp>,
}

impl Store {
    /// Up to `limit` rows that follow `seq`, in order.
    pub async fn outbox_after(&self, seq: u64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let mut reader = self.reader().await?;
        rows_after(&mut reader.conn(), &self.inner.origin, seq, list_limit(limit)).await
    }

    /// Remembers that the billing store has everything up to `seq`. Going back is no error and does nothing.
    pub async fn outbox_confirmed(&self, seq: u64) -> Result<(), StoreError> {
        self.send_done(Command::Confirm(seq)).await
    }

    /// The last seq the billing store confirmed; 0 if none.
    pub async fn outbox_cursor(&self) -> Result<u64, StoreError> {
        let mut reader = self.reader().await?;
        let row = reader.conn().row("SELECT confirmed FROM progress", &[]).await?;
        unsigned("progress", row.map_or(Ok(0), |row| row.int("confirmed"))?)
    }

    /// The time of the newest row: a clock that lies before it cannot be right.
    pub async fn newest_row(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut reader = self.reader().await?;
        let row = reader.conn().row("SELECT at FROM outbox ORDER BY seq DESC LIMIT 1", &[]).await?;
        row.map(|row| row.time("at")).transpose()
    }

    /// How much waits, and since when.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT COALESCE((SELECT MAX(seq) FROM outbox), 0) - confirmed AS waiting,
                          (SELECT at FROM outbox WHERE seq = confirmed + 1) AS oldest
                   FROM progress";
        match reader.conn().row(sql, &[]).await? {
            Some(row) => {
                Ok(Backlog { count: unsigned("progress", row.int("waiting")?)?, oldest_at: row.opt_time("oldest")? })
            }
            None => Err(StoreError::Corrupt("progress is empty".to_owned())),
        }
    }
}

/// Appends one row to the chain.
pub(super) async fn append(
    conn: &mut Conn<'_>,
    origin: &Origin,
    payload: &Payload,
    at: Timestamp,
) -> Result<(), StoreError> {
    let last = conn.row("SELECT seq, hash FROM outbox ORDER BY seq DESC LIMIT 1", &[]).await?;
    let (seq, prev_hash) = match last {
        Some(row) => (unsigned("outbox", row.int("seq")?)?, row.text("hash")?),
        None => (0, GENESIS.to_owned()),
    };
    let mut row = OutboxRow {
        site: origin.site.clone(),
        epoch: origin.epoch,
        seq: seq + 1,
        kind: payload.kind().to_owned(),
        at,
        payload: payload.json()?,
        prev_hash,
        hash: String::new(),
    };
    row.hash = row.expected_hash();
    conn.execute(
        "INSERT INTO outbox (seq, kind, at, payload, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            signed("seq", row.seq)?.into(),
            row.kind.into(),
            row.at.into(),
            row.payload.into(),
            row.prev_hash.into(),
            row.hash.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Rows that follow `seq`.
pub(super) async fn rows_after(
    conn: &mut Conn<'_>,
    origin: &Origin,
    seq: u64,
    limit: i64,
) -> Result<Vec<OutboxRow>, StoreError> {
    let sql = "SELECT seq, kind, at, payload, prev_hash, hash FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = conn.rows(sql, &[signed("seq", seq)?.into(), limit.into()]).await?;
    rows.iter().map(|row| read(row, origin)).collect()
}

/// Moves the cursor forward.
pub(super) async fn confirm(conn: &mut Conn<'_>, seq: u64) -> Result<(), StoreError> {
    let seq = signed("seq", seq)?;
    let last = conn.row("SELECT COALESCE(MAX(seq), 0) AS last FROM outbox", &[]).await?;
    let last = last.map_or(Ok(0), |row| row.int("last"))?;
    if seq > last {
        return Err(StoreError::Invalid(format!("seq {seq} was confirmed, the outbox ends at {last}")));
    }
    conn.execute("UPDATE progress SET confirmed = $1 WHERE confirmed < $1", &[seq.into()]).await?;
    Ok(())
}

fn read(row: &Row, origin: &Origin) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        site: origin.site.clone(),
        epoch: origin.epoch,
        seq: unsigned("outbox", row.int("seq")?)?,
        kind: row.text("kind")?,
        at: row.time("at")?,
        payload: row.text("payload")?,
        prev_hash: row.text("prev_hash")?,
        hash: row.text("hash")?,
    })
}
