//! What a bookkeeper, a forwarder and a test ask.

use guanjia_core::units::Hao;
use uuid::Uuid;

use super::{Answer, BillingStore, Job};
use crate::chain::GENESIS;
use crate::error::{StoreError, unsigned};
use crate::sql::Conn;

/// How far one life of one gateway has been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The seq that has to come next; 1 if nothing came yet.
    pub next: u64,
    /// The hash of the last row that came; 64 zeros if none did.
    pub last_hash: String,
}

/// A wallet's balance as the sum of its postings, those of the wallet in the meter among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletSum {
    /// The life of the gateway it belongs to; after a gateway was set up anew its wallets begin anew too.
    pub epoch: Uuid,
    /// Whose.
    pub service_point: String,
    /// In hao.
    pub balance: Hao,
    /// What of it is in the wallet its meter keeps.
    pub in_meter: Hao,
}

/// Rows of one site, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillingCounts {
    /// Raw rows.
    pub inbox: u64,
    /// Wallets.
    pub wallets: u64,
    /// Transfers.
    pub transfers: u64,
    /// Their legs.
    pub postings: u64,
    /// Receipts.
    pub receipts: u64,
    /// Intervals of usage.
    pub usage_intervals: u64,
    /// Credits of meters with a wallet whose fate is known.
    pub meter_credits: u64,
    /// Incidents.
    pub incidents: u64,
}

impl BillingStore {
    /// How far (site, epoch) has been taken.
    pub async fn cursor(&self, site: &str, epoch: Uuid) -> Result<Cursor, StoreError> {
        match self.run(Job::Cursor { site: site.to_owned(), epoch }).await? {
            Answer::Cursor(cursor) => Ok(cursor),
            other => Err(other.unexpected()),
        }
    }

    /// Every wallet of a site, by epoch and service point.
    pub async fn wallet_sums(&self, site: &str) -> Result<Vec<WalletSum>, StoreError> {
        match self.run(Job::WalletSums { site: site.to_owned() }).await? {
            Answer::WalletSums(sums) => Ok(sums),
            other => Err(other.unexpected()),
        }
    }

    /// How many rows a site has.
    pub async fn counts(&self, site: &str) -> Result<BillingCounts, StoreError> {
        match self.run(Job::Counts { site: site.to_owned() }).await? {
            Answer::Counts(counts) => Ok(counts),
            other => Err(other.unexpected()),
        }
    }
}

pub(super) async fn cursor(conn: &mut Conn<'_>, site: &str, epoch: Uuid) -> Result<Cursor, StoreError> {
    let sql = "SELECT next, last_hash FROM cursors WHERE site = $1 AND epoch = $2";
    match conn.row(sql, &[site.into(), epoch.into()]).await? {
        Some(row) => Ok(Cursor { next: unsigned("cursors", row.int("next")?)?, last_hash: row.text("last_hash")? }),
        None => Ok(Cursor { next: 1, last_hash: GENESIS.to_owned() }),
    }
}

pub(super) async fn wallet_sums(conn: &mut Conn<'_>, site: &str) -> Result<Vec<WalletSum>, StoreError> {
    let sql = "SELECT wallets.epoch AS epoch, wallets.service_point AS service_point,
                      CAST(COALESCE(SUM(postings.amount), 0) AS BIGINT) AS balance,
                      CAST(COALESCE(SUM(CASE WHEN postings.account = 'meter_wallet:' || wallets.service_point
                          THEN postings.amount ELSE 0 END), 0) AS BIGINT) AS in_meter
               FROM wallets
               LEFT JOIN postings ON postings.site = wallets.site AND postings.epoch = wallets.epoch
                   AND postings.account IN ('wallet:' || wallets.service_point,
                                            'meter_wallet:' || wallets.service_point)
               WHERE wallets.site = $1
               GROUP BY wallets.epoch, wallets.service_point ORDER BY wallets.epoch, wallets.service_point";
    let rows = conn.rows(sql, &[site.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(WalletSum {
                epoch: row.parsed("epoch")?,
                service_point: row.text("service_point")?,
                balance: Hao(row.int("balance")?),
                in_meter: Hao(row.int("in_meter")?),
            })
        })
        .collect()
}

pub(super) async fn counts(conn: &mut Conn<'_>, site: &str) -> Result<BillingCounts, StoreError> {
    let sql = "SELECT (SELECT COUNT(*) FROM inbox WHERE site = $1) AS inbox,
                      (SELECT COUNT(*) FROM wallets WHERE site = $1) AS wallets,
                      (SELECT COUNT(*) FROM transfers WHERE site = $1) AS transfers,
                      (SELECT COUNT(*) FROM postings WHERE site = $1) AS postings,
                      (SELECT COUNT(*) FROM receipts WHERE site = $1) AS receipts,
                      (SELECT COUNT(*) FROM usage_intervals WHERE site = $1) AS usage_intervals,
                      (SELECT COUNT(*) FROM meter_credits WHERE site = $1) AS meter_credits,
                      (SELECT COUNT(*) FROM incidents WHERE site = $1) AS incidents";
    let Some(row) = conn.row(sql, &[site.into()]).await? else { return Ok(BillingCounts::default()) };
    let count = |column| unsigned(column, row.int(column)?);
    Ok(BillingCounts {
        inbox: count("inbox")?,
        wallets: count("wallets")?,
        transfers: count("transfers")?,
        postings: count("postings")?,
        receipts: count("receipts")?,
        usage_intervals: count("usage_intervals")?,
        meter_credits: count("meter_credits")?,
        incidents: count("incidents")?,
    })
}
