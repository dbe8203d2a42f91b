//! Taking rows from a gateway.

use guanjia_core::incident::IncidentRecord;
use guanjia_core::ledger::Transfer;
use uuid::Uuid;

use super::{Answer, BillingStore, Job, read};
use crate::chain::GENESIS;
use crate::error::{StoreError, signed, unsigned};
use crate::journal::OutboxRow;
use crate::payload::{CreditSettled, Payload, TopUp, Usage, WalletOpened};
use crate::sql::{Conn, Value, to_word};

/// Rows in one append; a longer list is refused.
pub const MAX_APPEND_ROWS: usize = 10_000;

impl BillingStore {
    /// Takes rows of one (site, epoch), in order, and returns the seq it wants next. What it has already is compared
    /// and skipped, so any part of the outbox may be sent again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Gap`] if rows are missing before or between them, [`StoreError::Fork`] if a row differs from
    /// the one it has, [`StoreError::Corrupt`] if a row is not what its own hash says, [`StoreError::Invalid`] if
    /// the list is empty, too long, of two gateways, or speaks of something this program does not know yet. Nothing
    /// of the list is taken then.
    pub async fn append(&self, rows: &[OutboxRow]) -> Result<u64, StoreError> {
        check_rows(rows)?;
        match self.run(Job::Append(rows.to_vec())).await? {
            Answer::Next(next) => Ok(next),
            other => Err(other.unexpected()),
        }
    }
}

/// What can be told without the database.
fn check_rows(rows: &[OutboxRow]) -> Result<(), StoreError> {
    let Some(first) = rows.first() else {
        return Err(StoreError::Invalid("there are no rows to append".to_owned()));
    };
    if rows.len() > MAX_APPEND_ROWS {
        return Err(StoreError::Invalid(format!("{} rows at once, at most {MAX_APPEND_ROWS}", rows.len())));
    }
    let mut previous: Option<&OutboxRow> = None;
    for row in rows {
        if (&row.site, row.epoch) != (&first.site, first.epoch) {
            return Err(StoreError::Invalid("rows of two gateways in one list".to_owned()));
        }
        if row.hash != row.expected_hash() {
            return Err(StoreError::corrupt("outbox", row.seq, "its hash does not fit"));
        }
        if let Some(previous) = previous {
            if row.seq != previous.seq + 1 {
                return Err(StoreError::Gap { expected: previous.seq + 1, got: row.seq });
            }
            if row.prev_hash != previous.hash {
                return Err(fork(row));
            }
        }
        previous = Some(row);
    }
    Ok(())
}

fn fork(row: &OutboxRow) -> StoreError {
    StoreError::Fork { site: row.site.clone(), epoch: row.epoch.to_string(), seq: row.seq }
}

/// Takes rows inside the open transaction.
pub(super) async fn append(conn: &mut Conn<'_>, rows: &[OutboxRow]) -> Result<u64, StoreError> {
    let Some(first) = rows.first() else {
        return Err(StoreError::Invalid("there are no rows to append".to_owned()));
    };
    let (site, epoch) = (first.site.as_str(), first.epoch);
    lock_cursor(conn, site, epoch).await?;
    let cursor = read::cursor(conn, site, epoch).await?;
    if first.seq == 0 || first.seq > cursor.next {
        return Err(StoreError::Gap { expected: cursor.next, got: first.seq });
    }
    let known = rows.iter().take_while(|row| row.seq < cursor.next).count();
    let (known, new) = rows.split_at(known);
    compare_known(conn, known).await?;
    let Some(first_new) = new.first() else { return Ok(cursor.next) };
    if first_new.prev_hash != cursor.last_hash {
        return Err(fork(first_new));
    }

    let mut tables = Tables::default();
    for row in new {
        tables.add(row)?;
    }
    tables.write(conn).await?;
    // `new` is not empty, so it has a last row.
    let last = new.last().unwrap_or(first_new);
    let next = last.seq + 1;
    conn.execute(
        "UPDATE cursors SET next = $1, last_hash = $2 WHERE site = $3 AND epoch = $4",
        &[signed("seq", next)?.into(), last.hash.as_str().into(), site.into(), epoch.into()],
    )
    .await?;
    Ok(next)
}

/// Makes the cursor's row if needed and locks it, so that two senders of one gateway take turns.
async fn lock_cursor(conn: &mut Conn<'_>, site: &str, epoch: Uuid) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO cursors (site, epoch, next, last_hash) VALUES ($1, $2, 1, $3)
         ON CONFLICT (site, epoch) DO NOTHING",
        &[site.into(), epoch.into(), GENESIS.into()],
    )
    .await?;
    let sql = "UPDATE cursors SET next = next WHERE site = $1 AND epoch = $2";
    conn.execute(sql, &[site.into(), epoch.into()]).await?;
    Ok(())
}

/// Rows that are there already must be there with the same hash.
async fn compare_known(conn: &mut Conn<'_>, known: &[OutboxRow]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return Ok(()) };
    let sql = "SELECT seq, hash FROM inbox WHERE site = $1 AND epoch = $2 AND seq BETWEEN $3 AND $4 ORDER BY seq";
    let args = [
        first.site.as_str().into(),
        first.epoch.into(),
        signed("seq", first.seq)?.into(),
        signed("seq", last.seq)?.into(),
    ];
    let stored = conn.rows(sql, &args).await?;
    if stored.len() != known.len() {
        return Err(StoreError::corrupt("inbox", first.seq, "rows before the cursor are missing"));
    }
    for (row, stored) in known.iter().zip(&stored) {
        if unsigned("inbox", stored.int("seq")?)? != row.seq || stored.text("hash")? != row.hash {
            return Err(fork(row));
        }
    }
    Ok(())
}

/// New rows, sorted into the tables they are written to.
#[derive(Default)]
struct Tables<'a> {
    inbox: Vec<Vec<Value<'a>>>,
    wallets: Vec<Vec<Value<'a>>>,
    transfers: Vec<Vec<Value<'a>>>,
    postings: Vec<Vec<Value<'a>>>,
    receipts: Vec<Vec<Value<'a>>>,
    usage_intervals: Vec<Vec<Value<'a>>>,
    meter_credits: Vec<Vec<Value<'a>>>,
    incidents: Vec<(&'a OutboxRow, IncidentRecord)>,
}

impl<'a> Tables<'a> {
    fn add(&mut self, row: &'a OutboxRow) -> Result<(), StoreError> {
        let Some(payload) = Payload::parse(&row.kind, &row.payload)? else {
            return Err(StoreError::Invalid(format!("seq {} is a {}; update this program first", row.seq, row.kind)));
        };
        let mut inbox = keys(row);
        inbox.extend([
            signed("seq", row.seq)?.into(),
            row.kind.as_str().into(),
            row.at.into(),
            row.payload.as_str().into(),
            row.prev_hash.as_str().into(),
            row.hash.as_str().into(),
        ]);
        self.inbox.push(inbox);
        if let Some(transfer) = payload.transfer() {
            self.add_transfer(row, transfer)?;
        }
        match payload {
            Payload::Wallet(wallet) => self.add_wallet(row, wallet),
            Payload::TopUp(top_up) => self.add_receipt(row, *top_up),
            Payload::Usage(usage) => self.add_interval(row, *usage)?,
            Payload::MeterCredit(credit) => self.add_credit(row, *credit)?,
            Payload::Incident(incident) => self.incidents.push((row, *incident)),
        }
        Ok(())
    }

    fn add_transfer(&mut self, row: &'a OutboxRow, transfer: &Transfer) -> Result<(), StoreError> {
        let sum: i128 = transfer.postings.iter().map(|leg| i128::from(leg.amount.0)).sum();
        if sum != 0 || transfer.postings.is_empty() {
            return Err(StoreError::corrupt("transfer", transfer.id, format!("sums to {sum}, not to zero")));
        }
        let mut values = keys(row);
        values.extend([
            transfer.id.into(),
            transfer.kind.as_str().into(),
            transfer.at.into(),
            transfer.cause.clone().into(),
            transfer.reverses.into(),
            signed("seq", row.seq)?.into(),
        ]);
        self.transfers.push(values);
        for (leg, posting) in (1i64..).zip(&transfer.postings) {
            let mut values = keys(row);
            let account = posting.account.as_str().to_owned();
            values.extend([transfer.id.into(), leg.into(), account.into(), posting.amount.0.into()]);
            self.postings.push(values);
        }
        Ok(())
    }

    fn add_wallet(&mut self, row: &'a OutboxRow, wallet: WalletOpened) {
        let mut values = keys(row);
        values.extend([wallet.service_point.into(), wallet.utility.as_str().into(), wallet.at.into()]);
        self.wallets.push(values);
    }

    fn add_receipt(&mut self, row: &'a OutboxRow, top_up: TopUp) {
        let receipt = top_up.receipt;
        let mut values = keys(row);
        values.extend([
            receipt.number.into(),
            receipt.transfer.into(),
            receipt.service_point.into(),
            receipt.amount.0.into(),
            receipt.balance.0.into(),
            receipt.channel.into(),
            Value::Text(top_up.channel_txn.map(Into::into)),
            receipt.at.into(),
        ]);
        self.receipts.push(values);
    }

    fn add_interval(&mut self, row: &'a OutboxRow, usage: Usage) -> Result<(), StoreError> {
        let interval = usage.interval;
        let mut values = keys(row);
        values.extend([
            signed("seq", row.seq)?.into(),
            interval.service_point.into(),
            interval.device.into(),
            interval.utility.as_str().into(),
            interval.from.raw.into(),
            interval.from.at.into(),
            interval.from.exact.into(),
            interval.from.posted.0.into(),
            interval.to.raw.into(),
            interval.to.at.into(),
            interval.to.exact.into(),
            interval.to.posted.0.into(),
            interval.quantity.0.into(),
            interval.tariff.into(),
            to_word(&interval.quality)?.into(),
            usage.transfer.map(|transfer| transfer.id).into(),
        ]);
        self.usage_intervals.push(values);
        Ok(())
    }

    fn add_credit(&mut self, row: &'a OutboxRow, credit: CreditSettled) -> Result<(), StoreError> {
        let mut values = keys(row);
        values.extend([
            credit.receipt.into(),
            credit.service_point.into(),
            credit.amount.0.into(),
            Value::Int(credit.count.map(i64::from)),
            credit.state.as_str().into(),
            credit.detail.into(),
            Value::Text(credit.decided_by.map(Into::into)),
            credit.at.into(),
            credit.transfer.map(|transfer| transfer.id).into(),
            signed("seq", row.seq)?.into(),
        ]);
        self.meter_credits.push(values);
        Ok(())
    }

    async fn write(self, conn: &mut Conn<'_>) -> Result<(), StoreError> {
        conn.insert("inbox (site, epoch, seq, kind, at, payload, prev_hash, hash)", &self.inbox).await?;
        conn.insert("wallets (site, epoch, service_point, utility, opened_at)", &self.wallets).await?;
        conn.insert("transfers (site, epoch, id, kind, at, cause, reverses, seq)", &self.transfers).await?;
        conn.insert("postings (site, epoch, transfer, leg, account, amount)", &self.postings).await?;
        conn.insert(
            "receipts (site, epoch, number, transfer, service_point, amount, balance, channel, channel_txn, at)",
            &self.receipts,
        )
        .await?;
        conn.insert(
            "usage_intervals (site, epoch, seq, service_point, device, utility, from_raw, from_at, from_exact, \
             from_posted, to_raw, to_at, to_exact, to_posted, quantity, tariff, quality, transfer)",
            &self.usage_intervals,
        )
        .await?;
        conn.insert(
            "meter_credits (site, epoch, receipt, service_point, amount, count, state, detail, decided_by, at, transfer, \
             seq)",
            &self.meter_credits,
        )
        .await?;
        for (row, incident) in &self.incidents {
            write_incident(conn, row, incident).await?;
        }
        Ok(())
    }
}

/// The first two columns of every table.
fn keys(row: &OutboxRow) -> Vec<Value<'_>> {
    vec![row.site.as_str().into(), row.epoch.into()]
}

/// An incident is told about many times; the last counts, and rows come in order.
async fn write_incident(conn: &mut Conn<'_>, row: &OutboxRow, incident: &IncidentRecord) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO incidents (site, epoch, id, seq, code, plan, priority, state, root, title_zh, title_en, owner,
             opened_at, acked_at, acked_by, closed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (site, epoch, id) DO UPDATE SET seq = excluded.seq, code = excluded.code, plan = excluded.plan,
             priority = excluded.priority, state = excluded.state, root = excluded.root,
             title_zh = excluded.title_zh, title_en = excluded.title_en, owner = excluded.owner,
             opened_at = excluded.opened_at, acked_at = excluded.acked_at, acked_by = excluded.acked_by,
             closed_at = excluded.closed_at",
        &[
            row.site.as_str().into(),
            row.epoch.into(),
            incident.id.into(),
            signed("seq", row.seq)?.into(),
            incident.code.as_str().into(),
            incident.plan.as_str().into(),
            incident.priority.as_str().into(),
            to_word(&incident.state)?.into(),
            incident.root.as_str().into(),
            incident.title.zh.as_str().into(),
            incident.title.en.as_str().into(),
            incident.owner.as_str().into(),
            incident.opened_at.into(),
            incident.acked_at.into(),
            incident.acked_by.as_deref().into(),
            incident.closed_at.into(),
        ],
    )
    .await?;
    Ok(())
}
