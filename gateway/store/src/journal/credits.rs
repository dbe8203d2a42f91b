//! Top-ups on their way into wallets that meters keep themselves; what the states mean is [`guanjia_core::credit`].
//!
//! ```text
//!  top_up(request, Meter) ─► pending ─► send_credit(count) ─► first byte leaves ─► settle_credit(state)
//!   same transaction as                        │ a crash here
//!   its receipt                                └─► open_credits() after the restart: the meter knows
//! ```
//!
//! What became of a credit is also a line of the timeline, in the same transaction.

use guanjia_core::credit::{CreditState, MeterCredit};
use guanjia_core::incident::TimelineEntry;
use guanjia_core::ledger::Receipt;
use guanjia_core::time::Timestamp;
use guanjia_core::units::Fen;

use super::alarms::add_entry;
use super::writer::Command;
use super::{Store, list_limit};
use crate::error::{StoreError, unsigned};
use crate::sql::{Conn, Row};

impl Store {
    /// Credits that have not reached their meters, the oldest first; those that wait for a person among them.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub async fn open_credits(&self) -> Result<Vec<MeterCredit>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT receipt, service_point, amount, count, state, attempts, detail, at FROM meter_credits
                   WHERE state <> 'confirmed' ORDER BY receipt LIMIT $1";
        let args = [list_limit(u32::MAX).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read).collect()
    }

    /// The newest credits of a service point, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub async fn credits(&self, service_point: &str, limit: u32) -> Result<Vec<MeterCredit>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT receipt, service_point, amount, count, state, attempts, detail, at FROM meter_credits
                   WHERE service_point = $1 ORDER BY receipt DESC LIMIT $2";
        let args = [service_point.into(), list_limit(limit).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read).collect()
    }

    /// Writes down that a frame with this purchase count is about to leave.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such open credit, [`StoreError::Conflict`] if it has another count, or
    /// another credit of the service point is under way: then nothing must be sent.
    pub async fn send_credit(&self, receipt: i64, count: u32, at: Timestamp) -> Result<(), StoreError> {
        self.send_done(Command::SendCredit { receipt, count, at }).await
    }

    /// Writes down where a credit stands, and why.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such open credit.
    pub async fn settle_credit(
        &self,
        receipt: i64,
        state: CreditState,
        detail: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.send_done(Command::SettleCredit { receipt, state, detail: detail.to_owned(), at }).await
    }
}

/// Adds the credit of a receipt inside the open transaction.
pub(super) async fn add(conn: &mut Conn<'_>, receipt: &Receipt) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO meter_credits (receipt, service_point, amount, state, attempts, detail, at)
         VALUES ($1, $2, $3, 'pending', 0, '', $4)",
        &[receipt.number.into(), receipt.service_point.as_str().into(), receipt.amount.0.into(), receipt.at.into()],
    )
    .await?;
    Ok(())
}

/// Writes a sending down inside the open transaction.
pub(super) async fn send(conn: &mut Conn<'_>, receipt: i64, count: u32, at: Timestamp) -> Result<(), StoreError> {
    let credit = open(conn, receipt).await?;
    if credit.count.is_some_and(|assigned| assigned != count) {
        return Err(StoreError::Conflict(format!("the credit of receipt {receipt} has another purchase count")));
    }
    let sql = "SELECT receipt FROM meter_credits
               WHERE service_point = $1 AND receipt <> $2 AND state IN ('sent', 'uncertain', 'held') LIMIT 1";
    if let Some(row) = conn.row(sql, &[credit.service_point.as_str().into(), receipt.into()]).await? {
        let other = row.int("receipt")?;
        return Err(StoreError::Conflict(format!("the credit of receipt {other} is still under way")));
    }
    let sql =
        "UPDATE meter_credits SET count = $1, state = 'sent', attempts = attempts + 1, at = $2 WHERE receipt = $3";
    conn.execute(sql, &[i64::from(count).into(), at.into(), receipt.into()]).await?;
    Ok(())
}

/// Settles a credit inside the open transaction. A try that ends where the one before ended (sending keeps the detail) is
/// not told again.
pub(super) async fn settle(
    conn: &mut Conn<'_>,
    receipt: i64,
    state: CreditState,
    detail: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let credit = open(conn, receipt).await?;
    let sql = "UPDATE meter_credits SET state = $1, detail = $2, at = $3 WHERE receipt = $4";
    conn.execute(sql, &[state.as_str().into(), detail.into(), at.into(), receipt.into()]).await?;
    if credit.detail == detail {
        return Ok(());
    }
    let count = credit.count.map_or_else(|| "none".to_owned(), |count| count.to_string());
    let entry = TimelineEntry {
        at,
        incident: None,
        what: "meter_credit".to_owned(),
        subject: credit.service_point,
        detail: format!("receipt {receipt}, purchase {count}: {}: {detail}", state.as_str()),
    };
    add_entry(conn, &entry).await
}

/// A credit that is not confirmed.
async fn open(conn: &mut Conn<'_>, receipt: i64) -> Result<MeterCredit, StoreError> {
    let sql = "SELECT receipt, service_point, amount, count, state, attempts, detail, at FROM meter_credits
               WHERE receipt = $1 AND state <> 'confirmed'";
    let row = conn.row(sql, &[receipt.into()]).await?;
    row.map_or_else(|| Err(StoreError::NotFound { what: "open credit", id: receipt.to_string() }), |row| read(&row))
}

fn read(row: &Row) -> Result<MeterCredit, StoreError> {
    let receipt = row.int("receipt")?;
    let narrow =
        |value: u64| u32::try_from(value).map_err(|error| StoreError::corrupt("meter_credits", receipt, error));
    let count = match row.opt_int("count")? {
        Some(count) => Some(narrow(unsigned("meter_credits", count)?)?),
        None => None,
    };
    Ok(MeterCredit {
        receipt,
        service_point: row.text("service_point")?,
        amount: Fen(row.int("amount")?),
        count,
        state: row.word("state")?,
        attempts: narrow(unsigned("meter_credits", row.int("attempts")?)?)?,
        detail: row.text("detail")?,
        at: row.time("at")?,
    })
}
