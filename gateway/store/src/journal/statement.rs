//! What people ask the ledger: balances, receipts, statements.

use guanjia_core::ledger::{Keeper, Receipt, TransferKind};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao, Quantity, Utility};
use uuid::Uuid;

use super::{Store, list_limit};
use crate::error::StoreError;
use crate::sql::{Conn, Row};

/// What a tenant has paid and not yet used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// Whose.
    pub service_point: String,
    /// For what.
    pub utility: Utility,
    /// In hao; negative when in debt. With what is in the meter.
    pub balance: Hao,
    /// What of it is in the wallet its meter keeps; 0 where the meter keeps none.
    pub in_meter: Hao,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl Wallet {
    /// What of it the ledger's own account holds, and what the meter's.
    pub fn kept_by(&self, keeper: Keeper) -> Hao {
        match keeper {
            Keeper::Ledger => Hao(self.balance.0.saturating_sub(self.in_meter.0)),
            Keeper::Meter => self.in_meter,
        }
    }
}

/// One line of a tenant's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLine {
    /// The transfer behind it.
    pub transfer: Uuid,
    /// Why money moved.
    pub kind: TransferKind,
    /// When.
    pub at: Timestamp,
    /// What caused it.
    pub cause: String,
    /// How much; negative is use. A credit that reached its meter changes nothing of what the tenant has.
    pub amount: Hao,
    /// The balance right after, with what was in the meter.
    pub balance: Hao,
    /// The receipt, for a top-up.
    pub receipt: Option<i64>,
    /// How much was used, for usage; in Wh or mL.
    pub quantity: Option<Quantity>,
    /// The tariff, for usage.
    pub tariff: Option<String>,
}

impl Store {
    /// The answer that was given under a key, if it had an effect.
    pub async fn top_up_by_key(&self, client: &str, key: &str) -> Result<Option<Receipt>, StoreError> {
        let mut reader = self.reader().await?;
        Ok(by_key(&mut reader.conn(), client, key).await?.map(|(_, receipt)| receipt))
    }

    /// One receipt.
    pub async fn receipt(&self, number: i64) -> Result<Option<Receipt>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT number, transfer, service_point, amount, balance, channel, at
                   FROM receipts WHERE number = $1";
        reader.conn().row(sql, &[number.into()]).await?.as_ref().map(read_receipt).transpose()
    }

    /// The newest receipts of a service point, newest first.
    pub async fn receipts(&self, service_point: &str, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT number, transfer, service_point, amount, balance, channel, at
                   FROM receipts WHERE service_point = $1 ORDER BY number DESC LIMIT $2";
        let args = [service_point.into(), list_limit(limit).into()];
        reader.conn().rows(sql, &args).await?.iter().map(read_receipt).collect()
    }

    /// All wallets, by service point.
    pub async fn wallets(&self) -> Result<Vec<Wallet>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT service_point, utility, balance, in_meter, opened_at FROM wallets ORDER BY service_point";
        reader.conn().rows(sql, &[]).await?.iter().map(read_wallet).collect()
    }

    /// What the ledger's own wallets owe, in whole minor units and by service point; money of top-ups on their way into
    /// meters pays nothing of it. Where the meter keeps the credit, that is a debt of before it did: no use and no top-up
    /// of later changes it. Everything is of one moment.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub async fn debts(&self) -> Result<Vec<(String, Fen)>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT service_point, (on_the_way * 100 - balance) / 100 AS fen FROM (
                       SELECT service_point, balance,
                              COALESCE((SELECT SUM(amount) FROM meter_credits AS credit
                                        WHERE credit.service_point = wallets.service_point
                                        AND state <> 'confirmed' AND state <> 'not_applied'), 0) AS on_the_way
                       FROM wallets)
                   WHERE on_the_way * 100 - balance >= 100 ORDER BY service_point";
        let rows = reader.conn().rows(sql, &[]).await?;
        rows.iter().map(|row| Ok((row.text("service_point")?, Fen(row.int("fen")?)))).collect()
    }

    /// One wallet.
    pub async fn wallet(&self, service_point: &str) -> Result<Option<Wallet>, StoreError> {
        let mut reader = self.reader().await?;
        wallet(&mut reader.conn(), service_point).await
    }

    /// The newest movements of what a tenant has, newest first.
    pub async fn statement(&self, service_point: &str, limit: u32) -> Result<Vec<StatementLine>, StoreError> {
        let mut reader = self.reader().await?;
        // A transfer among the newest of both accounts is among the newest of each, so its two legs are found together.
        let sql = "WITH legs AS (
                       SELECT * FROM (SELECT transfer, amount FROM postings WHERE account = $1
                                      ORDER BY transfer DESC LIMIT $3)
                       UNION ALL
                       SELECT * FROM (SELECT transfer, amount FROM postings WHERE account = $2
                                      ORDER BY transfer DESC LIMIT $3)),
                   moves AS (SELECT transfer, SUM(amount) AS amount FROM legs GROUP BY transfer
                             ORDER BY transfer DESC LIMIT $3)
                   SELECT transfers.id, transfers.kind, transfers.at, transfers.cause, moves.amount,
                          receipts.number, usage_intervals.quantity, usage_intervals.tariff,
                          (SELECT balance + in_meter FROM wallets WHERE service_point = $4) AS balance
                   FROM moves
                   JOIN transfers ON transfers.seq = moves.transfer
                   LEFT JOIN receipts ON receipts.transfer = transfers.id
                   LEFT JOIN usage_intervals ON usage_intervals.transfer = transfers.id
                   ORDER BY moves.transfer DESC";
        let [wallet, in_meter] = [Keeper::Ledger, Keeper::Meter].map(|keeper| keeper.account(service_point));
        let limit = list_limit(limit).into();
        let args = [wallet.as_str().into(), in_meter.as_str().into(), limit, service_point.into()];
        let rows = reader.conn().rows(sql, &args).await?;
        let mut lines: Vec<StatementLine> = rows.iter().map(read_line).collect::<Result<_, _>>()?;
        // Every row came with the balance of now; before the newest movement it was as much less.
        let mut balance = lines.first().map_or(Hao(0), |line| line.balance);
        for line in &mut lines {
            line.balance = balance;
            balance = Hao(balance.0.saturating_sub(line.amount.0));
        }
        Ok(lines)
    }
}

/// One wallet.
pub(super) async fn wallet(conn: &mut Conn<'_>, service_point: &str) -> Result<Option<Wallet>, StoreError> {
    let sql = "SELECT service_point, utility, balance, in_meter, opened_at FROM wallets WHERE service_point = $1";
    conn.row(sql, &[service_point.into()]).await?.as_ref().map(read_wallet).transpose()
}

/// The fingerprint and the receipt of a key.
pub(super) async fn by_key(
    conn: &mut Conn<'_>,
    client: &str,
    key: &str,
) -> Result<Option<(String, Receipt)>, StoreError> {
    let sql = "SELECT fingerprint, number, transfer, service_point, amount, balance, receipts.channel, at
               FROM top_up_keys JOIN receipts ON receipts.number = top_up_keys.receipt
               WHERE client = $1 AND key = $2";
    let row = conn.row(sql, &[client.into(), key.into()]).await?;
    row.map(|row| Ok((row.text("fingerprint")?, read_receipt(&row)?))).transpose()
}

/// The receipt of a channel's transaction.
pub(super) async fn by_channel_txn(
    conn: &mut Conn<'_>,
    channel: &str,
    txn: &str,
) -> Result<Option<Receipt>, StoreError> {
    let sql = "SELECT number, transfer, service_point, amount, balance, receipts.channel, at
               FROM top_up_keys JOIN receipts ON receipts.number = top_up_keys.receipt
               WHERE top_up_keys.channel = $1 AND channel_txn = $2";
    conn.row(sql, &[channel.into(), txn.into()]).await?.as_ref().map(read_receipt).transpose()
}

/// A receipt as the row has it.
pub(super) fn read_receipt(row: &Row) -> Result<Receipt, StoreError> {
    Ok(Receipt {
        number: row.int("number")?,
        transfer: row.parsed("transfer")?,
        service_point: row.text("service_point")?,
        amount: Fen(row.int("amount")?),
        balance: Hao(row.int("balance")?),
        channel: row.text("channel")?,
        at: row.time("at")?,
    })
}

fn read_wallet(row: &Row) -> Result<Wallet, StoreError> {
    Ok(Wallet {
        service_point: row.text("service_point")?,
        utility: row.word("utility")?,
        balance: Hao(row.int("balance")?.saturating_add(row.int("in_meter")?)),
        in_meter: Hao(row.int("in_meter")?),
        opened_at: row.time("opened_at")?,
    })
}

fn read_line(row: &Row) -> Result<StatementLine, StoreError> {
    Ok(StatementLine {
        transfer: row.parsed("id")?,
        kind: row.word("kind")?,
        at: row.time("at")?,
        cause: row.text("cause")?,
        amount: Hao(row.int("amount")?),
        balance: Hao(row.int("balance")?),
        receipt: row.opt_int("number")?,
        quantity: row.opt_int("quantity")?.map(Quantity),
        tariff: row.opt_text("tariff")?,
    })
}
