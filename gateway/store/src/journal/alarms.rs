//! Alarms, incidents and the timeline.
//!
//! One batch, one transaction: what an alarm changed, the incident it opened, the pages that incident sends and the
//! line people will read about it are there together or not at all. The records lie as JSON beside the columns that
//! queries need, so a record may grow a field without a migration.

use guanjia_core::alarm::AlarmRecord;
use guanjia_core::incident::{IncidentRecord, PageRecord, TimelineEntry};
use guanjia_core::time::Timestamp;
use uuid::Uuid;

use super::writer::Command;
use super::{Origin, Store, list_limit, outbox, pages};
use crate::chain::{GENESIS, digest};
use crate::error::StoreError;
use crate::payload::Payload;
use crate::sql::{Conn, Row, to_json, to_word};

/// Everything one step of the alarm task changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlarmBatch {
    /// Replaced by key.
    pub alarms: Vec<AlarmRecord>,
    /// Replaced by id; each change also goes to the billing store.
    pub incidents: Vec<IncidentRecord>,
    /// Added unless their dedupe key exists.
    pub pages: Vec<PageRecord>,
    /// Added.
    pub timeline: Vec<TimelineEntry>,
}

impl Store {
    /// Writes a batch. Writing the same batch again changes nothing but adds its timeline entries once more.
    pub async fn commit_alarms(&self, batch: AlarmBatch) -> Result<(), StoreError> {
        self.send_done(Command::Alarms(Box::new(batch))).await
    }

    /// Every alarm that was ever raised, by key: what a restart begins with.
    pub async fn load_alarms(&self) -> Result<Vec<AlarmRecord>, StoreError> {
        self.records("SELECT record FROM alarms ORDER BY key", None).await
    }

    /// Incidents that are not closed, oldest first.
    pub async fn open_incidents(&self) -> Result<Vec<IncidentRecord>, StoreError> {
        self.records("SELECT record FROM incidents WHERE state <> 'closed' ORDER BY opened_at, id", None).await
    }

    /// The newest incidents, open or closed.
    pub async fn incidents(&self, limit: u32) -> Result<Vec<IncidentRecord>, StoreError> {
        self.records("SELECT record FROM incidents ORDER BY opened_at DESC, id DESC LIMIT $1", Some(limit)).await
    }

    /// One incident.
    pub async fn incident(&self, id: Uuid) -> Result<Option<IncidentRecord>, StoreError> {
        let mut reader = self.reader().await?;
        let row = reader.conn().row("SELECT record FROM incidents WHERE id = $1", &[id.into()]).await?;
        row.map(|row| row.json("record")).transpose()
    }

    /// The newest timeline entries, of one incident or of all and of none; newest first.
    pub async fn timeline(&self, incident: Option<Uuid>, limit: u32) -> Result<Vec<TimelineEntry>, StoreError> {
        let mut reader = self.reader().await?;
        let mut conn = reader.conn();
        let limit = list_limit(limit).into();
        let rows = match incident {
            Some(id) => {
                let sql = "SELECT at, incident, what, subject, detail FROM timeline
                           WHERE incident = $1 ORDER BY seq DESC LIMIT $2";
                conn.rows(sql, &[id.into(), limit]).await?
            }
            None => {
                let sql = "SELECT at, incident, what, subject, detail FROM timeline ORDER BY seq DESC LIMIT $1";
                conn.rows(sql, &[limit]).await?
            }
        };
        rows.iter().map(read_entry).collect()
    }

    async fn records<T: serde::de::DeserializeOwned>(
        &self,
        sql: &'static str,
        limit: Option<u32>,
    ) -> Result<Vec<T>, StoreError> {
        let mut reader = self.reader().await?;
        let args: Vec<_> = limit.into_iter().map(|limit| list_limit(limit).into()).collect();
        reader.conn().rows(sql, &args).await?.iter().map(|row| row.json("record")).collect()
    }
}

/// Writes a batch inside the open transaction.
pub(super) async fn commit(conn: &mut Conn<'_>, origin: &Origin, batch: &AlarmBatch) -> Result<(), StoreError> {
    for alarm in &batch.alarms {
        conn.execute(
            "INSERT INTO alarms (key, record) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE SET record = excluded.record",
            &[alarm.key.as_str().into(), to_json(alarm)?.into()],
        )
        .await?;
    }
    for incident in &batch.incidents {
        commit_incident(conn, origin, incident, happened_at(batch, incident)).await?;
    }
    for page in &batch.pages {
        pages::add(conn, page).await?;
    }
    for entry in &batch.timeline {
        add_entry(conn, entry).await?;
    }
    Ok(())
}

/// Replaces an incident and tells the billing store, unless nothing changed.
async fn commit_incident(
    conn: &mut Conn<'_>,
    origin: &Origin,
    incident: &IncidentRecord,
    at: Timestamp,
) -> Result<(), StoreError> {
    let record = to_json(incident)?;
    let changed = conn
        .execute(
            "INSERT INTO incidents (id, code, state, opened_at, record) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET code = excluded.code, state = excluded.state,
                 opened_at = excluded.opened_at, record = excluded.record
             WHERE incidents.record <> excluded.record",
            &[
                incident.id.into(),
                incident.code.as_str().into(),
                to_word(&incident.state)?.into(),
                incident.opened_at.into(),
                record.into(),
            ],
        )
        .await?;
    if changed > 0 {
        outbox::append(conn, origin, &Payload::Incident(Box::new(incident.clone())), at).await?;
    }
    Ok(())
}

/// When the batch changed the incident: its newest timeline entry knows, otherwise the incident's own times do.
fn happened_at(batch: &AlarmBatch, incident: &IncidentRecord) -> Timestamp {
    let entries = batch.timeline.iter().filter(|entry| entry.incident == Some(incident.id)).map(|entry| entry.at);
    entries.max().unwrap_or_else(|| {
        [Some(incident.opened_at), incident.acked_at, incident.closed_at]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    })
}

/// Appends one entry to the timeline's chain.
pub(super) async fn add_entry(conn: &mut Conn<'_>, entry: &TimelineEntry) -> Result<(), StoreError> {
    let last = conn.row("SELECT seq, hash FROM timeline ORDER BY seq DESC LIMIT 1", &[]).await?;
    let (seq, prev_hash) = match last {
        Some(row) => (row.int("seq")? + 1, row.text("hash")?),
        None => (1, GENESIS.to_owned()),
    };
    let hash = entry_hash(&prev_hash, seq, entry);
    conn.execute(
        "INSERT INTO timeline (seq, at, incident, what, subject, detail, prev_hash, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            seq.into(),
            entry.at.into(),
            entry.incident.into(),
            entry.what.as_str().into(),
            entry.subject.as_str().into(),
            entry.detail.as_str().into(),
            prev_hash.into(),
            hash.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The hash of a timeline row.
pub(super) fn entry_hash(prev_hash: &str, seq: i64, entry: &TimelineEntry) -> String {
    let incident = entry.incident.map_or_else(|| "-".to_owned(), |id| id.to_string());
    digest(&[
        prev_hash,
        &seq.to_string(),
        &entry.at.as_millis().to_string(),
        &incident,
        &entry.what,
        &entry.subject,
        &entry.detail,
    ])
}

/// A timeline row.
pub(super) fn read_entry(row: &Row) -> Result<TimelineEntry, StoreError> {
    let incident = row.opt_text("incident")?;
    Ok(TimelineEntry {
        at: row.time("at")?,
        incident: match incident {
            Some(text) => Some(text.parse().map_err(|error| StoreError::corrupt("timeline incident", &text, error))?),
            None => None,
        },
        what: row.text("what")?,
        subject: row.text("subject")?,
        detail: row.text("detail")?,
    })
}
