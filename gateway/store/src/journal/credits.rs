//! Top-ups on their way into wallets that meters keep themselves; what the states mean is [`guanjia_core::credit`].
//!
//! ```text
//!  top_up(request, Meter) ─► pending ─► send_credit(count) ─► first byte leaves ─► settle_credit(state)
//!   same transaction as                        │ a crash here                            │ confirmed: transfer, outbox
//!   its receipt                                └─► open_credits() after the restart:     │
//!                                                  the meter knows                       └─ manual ─► decide_credit(person)
//! ```
//!
//! * [`Store::carry_over`] makes credits of money that was in the wallet before its meter kept the credit; from then on they are
//!   as any other.
//! * With the step to confirmed the money moves from the tenant's wallet to the meter's, in the same transaction: the row
//!   names its transfer, and the schema lets one credit have one. No other step moves money.
//! * A credit whose fate is known is a row of the outbox, written once, with its transfer.
//! * One that waits for a person is settled by [`Store::decide_credit`] and by nothing else.
//! * What became of a credit is also a line of the timeline. All of it is one transaction.

use guanjia_core::credit::{CreditState, Finding, MeterCredit};
use guanjia_core::incident::TimelineEntry;
use guanjia_core::ledger::{Receipt, Transfer};
use guanjia_core::time::Timestamp;
use guanjia_core::units::Fen;

use super::alarms::add_entry;
use super::writer::Command;
use super::{Origin, Store, ledger, list_limit, outbox};
use crate::error::{StoreError, id_at, unsigned};
use crate::payload::{CreditSettled, Payload};
use crate::sql::{Conn, Row};

/// The longest reason a person may give, in characters.
const REASON_CHARS_MAX: usize = 500;

/// What a person has found out about a credit that waited for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditDecision {
    /// The credit's receipt.
    pub receipt: i64,
    /// What was found.
    pub finding: Finding,
    /// Who says so: a person of the site, or a program.
    pub who: String,
    /// How it was said: `api`, `console`.
    pub via: String,
    /// How it was found out, 1 to 500 characters.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Credits that have not reached their meters, the oldest first; those that wait for a person among them.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub async fn open_credits(&self) -> Result<Vec<MeterCredit>, StoreError> {
        let mut reader = self.reader().await?;
        let sql =
            "SELECT credit.*, receipts.at AS paid_at FROM meter_credits AS credit JOIN receipts ON number = receipt
                   WHERE state NOT IN ('confirmed', 'not_applied') ORDER BY receipt LIMIT $1";
        let args = [list_limit(u32::MAX).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read).collect()
    }

    /// The newest credits of a service point, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub async fn credits(&self, service_point: &str, limit: u32) -> Result<Vec<MeterCredit>, StoreError> {
        let mut reader = self.reader().await?;
        let sql =
            "SELECT credit.*, receipts.at AS paid_at FROM meter_credits AS credit JOIN receipts ON number = receipt
                   WHERE credit.service_point = $1 ORDER BY receipt DESC LIMIT $2";
        let args = [service_point.into(), list_limit(limit).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read).collect()
    }

    /// The credit of one receipt; `None` if its top-up was for no meter.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub async fn credit(&self, receipt: i64) -> Result<Option<MeterCredit>, StoreError> {
        let mut reader = self.reader().await?;
        find(&mut reader.conn(), receipt).await
    }

    /// Writes down that a frame with this purchase count is about to leave.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such open credit, [`StoreError::Conflict`] if it has another count, or
    /// another credit of the service point is under way: then nothing must be sent.
    pub async fn send_credit(&self, receipt: i64, count: u32, at: Timestamp) -> Result<(), StoreError> {
        self.send_done(Command::SendCredit { receipt, count, at }).await
    }

    /// Writes down where a credit stands, and why; confirmed, its money moves to the meter's wallet as well.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such credit on its way, [`StoreError::Invalid`] if it is a state that only a
    /// person can find out.
    pub async fn settle_credit(
        &self,
        receipt: i64,
        state: CreditState,
        detail: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.send_done(Command::SettleCredit { receipt, state, detail: detail.to_owned(), at }).await
    }

    /// Settles a credit that waited for a person, once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such credit, [`StoreError::Conflict`] if it does not wait for a person or was
    /// never sent and is said to be applied, [`StoreError::Invalid`] without a name or a reason.
    pub async fn decide_credit(&self, decision: CreditDecision) -> Result<(), StoreError> {
        self.send_done(Command::DecideCredit(Box::new(decision))).await
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
    let credit = on_its_way(conn, receipt).await?;
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

/// Writes down where a credit stands inside the open transaction. A try that ends where the one before ended (sending keeps
/// the detail) is not told again.
pub(super) async fn settle(
    conn: &mut Conn<'_>,
    origin: &Origin,
    receipt: i64,
    state: CreditState,
    detail: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    if state == CreditState::NotApplied {
        return Err(StoreError::Invalid("that a credit is not in its meter is for a person to say".to_owned()));
    }
    let credit = on_its_way(conn, receipt).await?;
    let is_news = credit.detail != detail;
    let settled = MeterCredit { state, detail: detail.to_owned(), at, ..credit };
    write(conn, origin, &settled).await?;
    if is_news { tell(conn, &settled, "meter_credit", "").await } else { Ok(()) }
}

/// Writes down what a person has found out inside the open transaction.
pub(super) async fn decide(conn: &mut Conn<'_>, origin: &Origin, decision: &CreditDecision) -> Result<(), StoreError> {
    let CreditDecision { receipt, finding, who, via, reason, at } = decision;
    let reason = checked_reason(who, reason)?;
    let credit = find(conn, *receipt).await?;
    let credit = credit.ok_or_else(|| StoreError::NotFound { what: "credit of receipt", id: receipt.to_string() })?;
    let state = credit.decide(*finding).map_err(|refusal| StoreError::Conflict(refusal.to_string()))?;
    let settled = MeterCredit { state, detail: reason.to_owned(), at: *at, decided_by: Some(who.clone()), ..credit };
    write(conn, origin, &settled).await?;
    tell(conn, &settled, "meter_credit_decided", &format!(" by {who} ({via})")).await
}

/// The reason of a decision, without spaces around it.
pub(super) fn checked_reason<'a>(who: &str, reason: &'a str) -> Result<&'a str, StoreError> {
    let reason = reason.trim();
    if who.trim().is_empty() || reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        let why = format!("a decision names who made it, and why in 1 to {REASON_CHARS_MAX} characters");
        return Err(StoreError::Invalid(why));
    }
    Ok(reason)
}

/// Books credits that were confirmed by a program that had no meter wallets, inside the open transaction.
pub(super) async fn book_old(conn: &mut Conn<'_>, origin: &Origin) -> Result<(), StoreError> {
    let sql = "SELECT credit.*, receipts.at AS paid_at FROM meter_credits AS credit JOIN receipts ON number = receipt
               WHERE state = 'confirmed' AND credit.transfer IS NULL ORDER BY receipt";
    for row in conn.rows(sql, &[]).await? {
        write(conn, origin, &read(&row)?).await?;
    }
    Ok(())
}

/// Writes where a credit stands. Where its fate is known now, the money moves if it is in the meter, and the billing store is
/// owed a row.
async fn write(conn: &mut Conn<'_>, origin: &Origin, credit: &MeterCredit) -> Result<(), StoreError> {
    let transfer = (credit.state == CreditState::Confirmed).then(|| {
        let count = credit.count.map_or_else(|| "none".to_owned(), |count| count.to_string());
        let cause = format!("receipt {}, purchase {count}", credit.receipt);
        Transfer::meter_credit(id_at(credit.at), &credit.service_point, credit.amount, credit.at, cause)
    });
    if let Some(transfer) = &transfer {
        ledger::post(conn, transfer).await?;
    }
    let sql = "UPDATE meter_credits SET state = $1, detail = $2, at = $3, decided_by = $4, transfer = $5
               WHERE receipt = $6";
    let args = [
        credit.state.as_str().into(),
        credit.detail.as_str().into(),
        credit.at.into(),
        credit.decided_by.as_deref().into(),
        transfer.as_ref().map(|transfer| transfer.id).into(),
        credit.receipt.into(),
    ];
    conn.execute(sql, &args).await?;
    if !credit.state.is_settled() {
        return Ok(());
    }
    let payload = CreditSettled {
        receipt: credit.receipt,
        service_point: credit.service_point.clone(),
        amount: credit.amount,
        count: credit.count,
        state: credit.state,
        detail: credit.detail.clone(),
        decided_by: credit.decided_by.clone(),
        at: credit.at,
        transfer,
    };
    outbox::append(conn, origin, &Payload::MeterCredit(Box::new(payload)), credit.at).await
}

/// One line of the timeline about a credit.
async fn tell(conn: &mut Conn<'_>, credit: &MeterCredit, what: &str, by: &str) -> Result<(), StoreError> {
    let count = credit.count.map_or_else(|| "none".to_owned(), |count| count.to_string());
    let (receipt, state, why) = (credit.receipt, credit.state.as_str(), &credit.detail);
    let entry = TimelineEntry {
        at: credit.at,
        incident: None,
        what: what.to_owned(),
        subject: credit.service_point.clone(),
        detail: format!("receipt {receipt}, purchase {count}: {state}{by}: {why}"),
    };
    add_entry(conn, &entry).await
}

/// A credit that neither is settled nor waits for a person.
async fn on_its_way(conn: &mut Conn<'_>, receipt: i64) -> Result<MeterCredit, StoreError> {
    let credit = find(conn, receipt).await?.filter(|credit| !credit.state.is_final());
    credit.ok_or_else(|| StoreError::NotFound { what: "credit on its way", id: receipt.to_string() })
}

/// The credit of a receipt.
pub(super) async fn find(conn: &mut Conn<'_>, receipt: i64) -> Result<Option<MeterCredit>, StoreError> {
    let sql = "SELECT credit.*, receipts.at AS paid_at FROM meter_credits AS credit JOIN receipts ON number = receipt
               WHERE receipt = $1";
    conn.row(sql, &[receipt.into()]).await?.as_ref().map(read).transpose()
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
        paid_at: row.time("paid_at")?,
        decided_by: row.opt_text("decided_by")?,
    })
}
