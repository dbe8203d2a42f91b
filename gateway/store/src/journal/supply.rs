//! Supply: what is wanted, what relays were told, and what tenants were told before.
//!
//! ```text
//!  save_supply(version n) ─► intend_relay(version n) ─► first byte leaves ─► settle_relay(word, detail)
//!                                     │ a crash here
//!                                     └─► open_intents() after the restart: find out what the relay did
//! ```
//!
//! What became of a command is also a line of the timeline, in the same transaction: whoever is told what happens is
//! told that too.
//!
//! A notice and its pages are written together; whether it reached anybody is read from the pages themselves, so a
//! notice can never be called delivered by mistake.

use guanjia_core::incident::{PageRecord, PageState, TimelineEntry};
use guanjia_core::supply::{RelayIntent, SupplyRecord};
use guanjia_core::time::Timestamp;
use uuid::Uuid;

use super::alarms::add_entry;
use super::pages::{self, PageStatus, page_columns};
use super::writer::{Command, Outcome};
use super::{Store, list_limit};
use crate::error::{StoreError, signed, unsigned};
use crate::sql::{Conn, Row, to_json, to_word};

/// What a tenant was told, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Whose supply.
    pub service_point: String,
    /// The warning level, as the supply policy names it.
    pub level: String,
    /// Counts the times the balance has run low; a top-up starts the next cycle.
    pub cycle: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Its messages and where each stands.
    pub pages: Vec<(PageRecord, PageStatus)>,
}

impl Notice {
    /// When the first of its messages was delivered; `None` while nobody can have read it.
    pub fn delivered_at(&self) -> Option<Timestamp> {
        let delivered = self.pages.iter().filter(|(_, status)| status.state == PageState::Delivered);
        delivered.filter_map(|(_, status)| status.settled_at).min()
    }
}

/// A command to a relay and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayOutcome {
    /// The command.
    pub intent: RelayIntent,
    /// A stable word; `None` while it is open.
    pub outcome: Option<String>,
    /// What the relay showed.
    pub detail: Option<String>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
}

/// Somebody's word that a paid supply may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosePermit {
    /// Whose supply.
    pub service_point: String,
    /// When it was said.
    pub at: Timestamp,
    /// Who said it: a person of the site, or an API client.
    pub who: String,
    /// How: `console` or `api`.
    pub via: String,
}

/// A notice to be written.
pub(super) struct NewNotice {
    service_point: String,
    level: String,
    cycle: u64,
    pages: Vec<PageRecord>,
    at: Timestamp,
}

impl Store {
    /// Replaces the supply state of a service point.
    ///
    /// # Errors
    ///
    /// [`StoreError::StaleVersion`] if the store has a later version.
    pub async fn save_supply(&self, record: SupplyRecord) -> Result<(), StoreError> {
        self.send_done(Command::SaveSupply(Box::new(record))).await
    }

    /// All supply states, by service point.
    pub async fn supplies(&self) -> Result<Vec<SupplyRecord>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = reader.conn().rows("SELECT record FROM supplies ORDER BY service_point", &[]).await?;
        rows.iter().map(|row| row.json("record")).collect()
    }

    /// Writes a command down before its first byte leaves. Writing it again does nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::StaleVersion`] if the supply state has moved on (or was never saved): the command must not be
    /// sent.
    pub async fn intend_relay(&self, intent: RelayIntent) -> Result<(), StoreError> {
        self.send_done(Command::IntendRelay(Box::new(intent))).await
    }

    /// What became of a command: a stable word, such as `verified` or `refused`, and free detail.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if there is no such command or it was settled before.
    pub async fn settle_relay(&self, id: Uuid, outcome: &str, detail: &str, at: Timestamp) -> Result<(), StoreError> {
        let (outcome, detail) = (outcome.to_owned(), detail.to_owned());
        self.send_done(Command::SettleRelay { id, outcome, detail, at }).await
    }

    /// Writes down that a paid supply may come back. Nobody's word is ever taken back: it is worthless by itself once
    /// the supply is cut again.
    pub async fn permit_close(&self, permit: ClosePermit) -> Result<(), StoreError> {
        self.send_done(Command::PermitClose(Box::new(permit))).await
    }

    /// The newest permit of every service point that ever had one.
    pub async fn close_permits(&self) -> Result<Vec<ClosePermit>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT service_point, at, who, via FROM close_permits
                   WHERE seq IN (SELECT MAX(seq) FROM close_permits GROUP BY service_point) ORDER BY service_point";
        let read = |row: &Row| {
            Ok(ClosePermit {
                service_point: row.text("service_point")?,
                at: row.time("at")?,
                who: row.text("who")?,
                via: row.text("via")?,
            })
        };
        reader.conn().rows(sql, &[]).await?.iter().map(read).collect()
    }

    /// Commands that were written down and not settled, oldest first.
    pub async fn open_intents(&self) -> Result<Vec<RelayIntent>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT record FROM relay_intents WHERE outcome IS NULL ORDER BY at, id";
        reader.conn().rows(sql, &[]).await?.iter().map(|row| row.json("record")).collect()
    }

    /// The newest commands of a service point with their outcomes, newest first.
    pub async fn intents(&self, service_point: &str, limit: u32) -> Result<Vec<RelayOutcome>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT record, outcome, detail, settled_at FROM relay_intents
                   WHERE service_point = $1 ORDER BY at DESC, id DESC LIMIT $2";
        let args = [service_point.into(), list_limit(limit).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read_outcome).collect()
    }

    /// Writes a notice with its pages; `false` if this (service point, level, cycle) was written before, in which
    /// case nothing is added.
    pub async fn commit_notice(
        &self,
        service_point: &str,
        level: &str,
        cycle: u64,
        pages: Vec<PageRecord>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let notice = NewNotice { service_point: service_point.to_owned(), level: level.to_owned(), cycle, pages, at };
        match self.send(Command::Notice(Box::new(notice))).await? {
            Outcome::Noticed(new) => Ok(new),
            other => Err(other.unexpected()),
        }
    }

    /// The notices of a service point with the state of their pages, newest first.
    pub async fn notices(&self, service_point: &str) -> Result<Vec<Notice>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = concat!(
            "SELECT notices.level, notices.cycle, notices.at, ",
            page_columns!(),
            " FROM notices
              LEFT JOIN notice_pages USING (service_point, level, cycle)
              LEFT JOIN pages ON pages.id = notice_pages.page
              WHERE notices.service_point = $1
              ORDER BY notices.at DESC, notices.cycle DESC, notices.level, pages.id LIMIT $2"
        );
        let args = [service_point.into(), list_limit(u32::MAX).into()];
        let mut notices: Vec<Notice> = Vec::new();
        for row in &reader.conn().rows(sql, &args).await? {
            let (level, cycle) = (row.text("level")?, unsigned("notices", row.int("cycle")?)?);
            if notices.last().is_none_or(|last| (&last.level, last.cycle) != (&level, cycle)) {
                let service_point = service_point.to_owned();
                notices.push(Notice { service_point, level, cycle, at: row.time("at")?, pages: Vec::new() });
            }
            if let (Some(notice), Some(_)) = (notices.last_mut(), row.opt_text("record")?) {
                notice.pages.push(pages::read(row)?);
            }
        }
        Ok(notices)
    }
}

/// Replaces a supply state inside the open transaction.
pub(super) async fn save(conn: &mut Conn<'_>, record: &SupplyRecord) -> Result<(), StoreError> {
    let saved = conn
        .execute(
            "INSERT INTO supplies (service_point, version, record) VALUES ($1, $2, $3)
             ON CONFLICT (service_point) DO UPDATE SET version = excluded.version, record = excluded.record
             WHERE supplies.version <= excluded.version",
            &[
                record.service_point.as_str().into(),
                signed("supply version", record.version)?.into(),
                to_json(record)?.into(),
            ],
        )
        .await?;
    if saved == 0 { Err(stale(conn, &record.service_point, record.version).await?) } else { Ok(()) }
}

/// Writes a command down inside the open transaction.
pub(super) async fn intend(conn: &mut Conn<'_>, intent: &RelayIntent) -> Result<(), StoreError> {
    let record = to_json(intent)?;
    if let Some(row) = conn.row("SELECT record FROM relay_intents WHERE id = $1", &[intent.id.into()]).await? {
        let same = row.text("record")? == record;
        return if same { Ok(()) } else { Err(StoreError::Conflict(format!("intent {} is another", intent.id))) };
    }
    if stored_version(conn, &intent.service_point).await? != Some(intent.version) {
        return Err(stale(conn, &intent.service_point, intent.version).await?);
    }
    conn.execute(
        "INSERT INTO relay_intents (id, service_point, at, record) VALUES ($1, $2, $3, $4)",
        &[intent.id.into(), intent.service_point.as_str().into(), intent.at.into(), record.into()],
    )
    .await?;
    Ok(())
}

/// Writes a permit inside the open transaction.
pub(super) async fn permit(conn: &mut Conn<'_>, permit: &ClosePermit) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO close_permits (service_point, at, who, via) VALUES ($1, $2, $3, $4)",
        &[
            permit.service_point.as_str().into(),
            permit.at.into(),
            permit.who.as_str().into(),
            permit.via.as_str().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Settles a command inside the open transaction.
pub(super) async fn settle(
    conn: &mut Conn<'_>,
    id: Uuid,
    outcome: &str,
    detail: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE relay_intents SET outcome = $1, detail = $2, settled_at = $3 WHERE id = $4 AND outcome IS NULL";
    if conn.execute(sql, &[outcome.into(), detail.into(), at.into(), id.into()]).await? == 0 {
        return Err(StoreError::NotFound { what: "open intent", id: id.to_string() });
    }
    let row = conn.row("SELECT record FROM relay_intents WHERE id = $1", &[id.into()]).await?;
    let Some(intent) = row.map(|row| row.json::<RelayIntent>("record")).transpose()? else { return Ok(()) };
    let entry = TimelineEntry {
        at,
        incident: None,
        what: "relay_settled".to_owned(),
        subject: intent.service_point.clone(),
        detail: format!("{} {outcome}: {detail}", to_word(&intent.action)?),
    };
    add_entry(conn, &entry).await
}

/// Writes a notice inside the open transaction.
pub(super) async fn notice(conn: &mut Conn<'_>, notice: &NewNotice) -> Result<bool, StoreError> {
    let (service_point, level) = (notice.service_point.as_str(), notice.level.as_str());
    let cycle = signed("notice cycle", notice.cycle)?;
    let sql = "INSERT INTO notices (service_point, level, cycle, at) VALUES ($1, $2, $3, $4)
               ON CONFLICT (service_point, level, cycle) DO NOTHING";
    if conn.execute(sql, &[service_point.into(), level.into(), cycle.into(), notice.at.into()]).await? == 0 {
        return Ok(false);
    }
    for page in &notice.pages {
        let id = pages::add(conn, page).await?;
        let sql = "INSERT INTO notice_pages (service_point, level, cycle, page) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (service_point, level, cycle, page) DO NOTHING";
        conn.execute(sql, &[service_point.into(), level.into(), cycle.into(), id.into()]).await?;
    }
    Ok(true)
}

async fn stored_version(conn: &mut Conn<'_>, service_point: &str) -> Result<Option<u64>, StoreError> {
    let row = conn.row("SELECT version FROM supplies WHERE service_point = $1", &[service_point.into()]).await?;
    row.map(|row| unsigned("supplies", row.int("version")?)).transpose()
}

async fn stale(conn: &mut Conn<'_>, service_point: &str, offered: u64) -> Result<StoreError, StoreError> {
    let stored = stored_version(conn, service_point).await?.unwrap_or(0);
    Ok(StoreError::StaleVersion { service_point: service_point.to_owned(), stored, offered })
}

fn read_outcome(row: &Row) -> Result<RelayOutcome, StoreError> {
    Ok(RelayOutcome {
        intent: row.json("record")?,
        outcome: row.opt_text("outcome")?,
        detail: row.opt_text("detail")?,
        settled_at: row.opt_time("settled_at")?,
    })
}
