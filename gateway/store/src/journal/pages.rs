//! Pages: the notification outbox.
//!
//! ```text
//!            page_sending            Delivered
//!  pending ───────────────► sending ───────────► delivered
//!     ▲                        │ │
//!     └──────── RetryAt ───────┘ └─ Failed ► failed      Expired, from pending or sending ► expired
//! ```
//!
//! `sending` found by a later start of the program means that nobody knows whether the channel took it: the page is
//! due again, under the same id. Settled pages stay settled, but for one case: news that it was delivered after all
//! is always taken.

use guanjia_core::incident::{PageRecord, PageState};
use guanjia_core::time::Timestamp;
use uuid::Uuid;

use super::writer::Command;
use super::{Origin, Store, list_limit};
use crate::error::StoreError;
use crate::sql::{Conn, Row, to_json};

/// What a channel made of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageResult {
    /// It took it.
    Delivered,
    /// Not now: try again at that time; why.
    RetryAt(Timestamp, String),
    /// Never; why.
    Failed(String),
    /// Its time passed.
    Expired,
}

/// Where a page stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStatus {
    /// Its state.
    pub state: PageState,
    /// How many times it was handed to its channel.
    pub attempts: u32,
    /// When it is due, if it is not settled.
    pub next_at: Timestamp,
    /// What the channel said last, if it was not good.
    pub last_error: Option<String>,
    /// When it was delivered, failed or expired.
    pub settled_at: Option<Timestamp>,
}

/// Columns of a page and its status, in the order [`read`] knows by name.
macro_rules! page_columns {
    () => {
        "pages.record, pages.state, pages.attempts, pages.next_at, pages.last_error, pages.settled_at"
    };
}
pub(super) use page_columns;

impl Store {
    /// Pages that are to be sent now, the most urgent first. Nothing is claimed: the caller keeps track of what it
    /// has under way and writes [`Store::page_sending`] before the first byte. Expired pages are due too, so that
    /// somebody settles them.
    pub async fn due_pages(&self, now: Timestamp, limit: u32) -> Result<Vec<PageRecord>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT record FROM pages
                   WHERE (state = 'pending' OR state = 'sending' AND run < $1) AND next_at <= $2
                   ORDER BY priority, next_at, id LIMIT $3";
        let args = [self.inner.origin.run.into(), now.into(), list_limit(limit).into()];
        reader.conn().rows(sql, &args).await?.iter().map(|row| row.json("record")).collect()
    }

    /// When the next page is due, if any waits; may lie in the past.
    pub async fn next_page_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT MIN(next_at) AS next_at FROM pages
                   WHERE state = 'pending' OR state = 'sending' AND run < $1";
        let row = reader.conn().row(sql, &[self.inner.origin.run.into()]).await?;
        row.map_or(Ok(None), |row| row.opt_time("next_at"))
    }

    /// The page is about to be handed to its channel.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if there is no such page or it is settled.
    pub async fn page_sending(&self, id: Uuid) -> Result<(), StoreError> {
        self.send_done(Command::PageSending(id)).await
    }

    /// What became of it. The attempt is kept for ever.
    pub async fn page_result(&self, id: Uuid, result: PageResult, at: Timestamp) -> Result<(), StoreError> {
        self.send_done(Command::PageResult { id, result, at }).await
    }

    /// The pages of one incident, oldest first.
    pub async fn pages_of(&self, incident: Uuid) -> Result<Vec<(PageRecord, PageStatus)>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = concat!("SELECT ", page_columns!(), " FROM pages WHERE incident = $1 ORDER BY id LIMIT $2");
        let args = [incident.into(), list_limit(u32::MAX).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read).collect()
    }

    /// The (first) page whose acknowledgement link carries `token`.
    pub async fn page_by_token(&self, token: &str) -> Result<Option<PageRecord>, StoreError> {
        let mut reader = self.reader().await?;
        let row = reader
            .conn()
            .row("SELECT record FROM pages WHERE ack_token = $1 ORDER BY id LIMIT 1", &[token.into()])
            .await?;
        row.map(|row| row.json("record")).transpose()
    }
}

/// Adds a page unless its dedupe key exists; the id of the page that has the key.
pub(super) async fn add(conn: &mut Conn<'_>, page: &PageRecord) -> Result<Uuid, StoreError> {
    let added = conn
        .execute(
            "INSERT INTO pages (id, dedupe_key, incident, priority, ack_token, record, state, run, next_at, attempts)
             VALUES ($1, $2, $3, $4, $5, $6, 'pending', 0, $7, 0)
             ON CONFLICT DO NOTHING",
            &[
                page.id.into(),
                page.dedupe_key.as_str().into(),
                page.incident.into(),
                page.priority.as_str().into(),
                page.ack_token.as_deref().into(),
                to_json(page)?.into(),
                page.not_before.into(),
            ],
        )
        .await?;
    if added > 0 {
        return Ok(page.id);
    }
    let row = conn.row("SELECT id FROM pages WHERE dedupe_key = $1", &[page.dedupe_key.as_str().into()]).await?;
    row.ok_or_else(|| StoreError::Conflict(format!("page {} exists under another dedupe key", page.id)))?.parsed("id")
}

/// Marks a page as handed over by this start of the program.
pub(super) async fn sending(conn: &mut Conn<'_>, origin: &Origin, id: Uuid) -> Result<(), StoreError> {
    let sql = "UPDATE pages SET state = 'sending', run = $1, attempts = attempts + 1
               WHERE id = $2 AND state IN ('pending', 'sending')";
    match conn.execute(sql, &[origin.run.into(), id.into()]).await? {
        0 => Err(StoreError::NotFound { what: "unsettled page", id: id.to_string() }),
        _ => Ok(()),
    }
}

/// Writes down an attempt and what it means for the page.
pub(super) async fn result(
    conn: &mut Conn<'_>,
    id: Uuid,
    result: &PageResult,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (state, word, detail, retry_at) = match result {
        PageResult::Delivered => ("delivered", "delivered", "", None),
        PageResult::RetryAt(next, why) => ("pending", "retry", why.as_str(), Some(*next)),
        PageResult::Failed(why) => ("failed", "failed", why.as_str(), None),
        PageResult::Expired => ("expired", "expired", "", None),
    };
    if conn.row("SELECT id FROM pages WHERE id = $1", &[id.into()]).await?.is_none() {
        return Err(StoreError::NotFound { what: "page", id: id.to_string() });
    }
    conn.execute(
        "INSERT INTO page_attempts (page, at, outcome, detail) VALUES ($1, $2, $3, $4)",
        &[id.into(), at.into(), word.into(), detail.into()],
    )
    .await?;
    let settled_at = if retry_at.is_some() { None } else { Some(at) };
    let last_error = if detail.is_empty() { None } else { Some(detail) };
    conn.execute(
        "UPDATE pages SET state = $1, next_at = COALESCE($2, next_at), last_error = COALESCE($3, last_error),
             settled_at = $4
         WHERE id = $5 AND (state IN ('pending', 'sending') OR $1 = 'delivered' AND state <> 'delivered')",
        &[state.into(), retry_at.into(), last_error.into(), settled_at.into(), id.into()],
    )
    .await?;
    Ok(())
}

/// A page and its status.
pub(super) fn read(row: &Row) -> Result<(PageRecord, PageStatus), StoreError> {
    let status = PageStatus {
        state: row.word("state")?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        next_at: row.time("next_at")?,
        last_error: row.opt_text("last_error")?,
        settled_at: row.opt_time("settled_at")?,
    };
    Ok((row.json("record")?, status))
}
