//! The proof: every invariant of the journal, checked again from the rows alone.
//!
//! The outbox is the spine. Its rows are chained by hash, so no byte of them changes unnoticed; and every row of
//! the ledger must say exactly what its outbox row says ([`replay`]), so no byte of the ledger does either. What is
//! not in the outbox (the timeline) has a chain of its own. The rest is arithmetic, in SQL.
//!
//! It reads everything in one snapshot and keeps nothing: a year of a large site takes minutes, and while it runs
//! the write-ahead log cannot be emptied. Run it at night and after a restore.

use sqlx::{Connection, SqliteConnection};

use super::outbox::rows_after;
use super::{Store, alarms};
use crate::chain::GENESIS;
use crate::error::StoreError;
use crate::schema;
use crate::sql::{Conn, Value};

mod replay;

/// Rows read at a time.
const CHUNK: i64 = 500;
/// More violations than this are not listed; the first few tell what happened.
const MAX_VIOLATIONS: usize = 100;

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable name of the invariant.
    pub check: &'static str,
    /// The table and row.
    pub row: String,
    /// What was found.
    pub detail: String,
}

/// Invariants that are one query: it returns the rows that break it, as `row` and `detail`.
const QUERIES: [(&str, &str); 13] = [
    (
        "postings_sum_to_zero",
        "SELECT 'transfers ' || id AS row, 'sum ' || COALESCE(SUM(amount), 'of nothing') AS detail
         FROM transfers LEFT JOIN postings ON postings.transfer = transfers.seq
         GROUP BY transfers.seq HAVING COALESCE(SUM(amount), 1) <> 0 LIMIT $1",
    ),
    (
        "balance_is_sum_of_postings",
        "SELECT 'wallets ' || service_point AS row, what || ' ' || total || ', postings ' || COALESCE(SUM(amount), 0) AS detail
         FROM (SELECT service_point, 'balance' AS what, 'wallet:' || service_point AS kept, balance AS total FROM wallets
               UNION ALL SELECT service_point, 'in the meter', 'meter_wallet:' || service_point, in_meter FROM wallets)
         LEFT JOIN postings ON account = kept
         GROUP BY kept HAVING total <> COALESCE(SUM(amount), 0) LIMIT $1",
    ),
    (
        "running_balance",
        "SELECT 'postings ' || transfer || '/' || leg AS row, 'balance ' || COALESCE(balance, 'none') || ', should be ' || total
             AS detail
         FROM (SELECT transfer, leg, balance, SUM(amount) OVER (PARTITION BY account ORDER BY transfer, leg) AS total
               FROM postings WHERE account LIKE 'wallet:%' OR account LIKE 'meter_wallet:%')
         WHERE balance IS NOT total LIMIT $1",
    ),
    (
        "trial_balance",
        "SELECT 'postings' AS row, 'all accounts sum to ' || SUM(amount) AS detail
         FROM postings HAVING SUM(amount) <> 0 LIMIT $1",
    ),
    (
        "receipts_gap_free",
        "SELECT 'receipts ' || number AS row, 'follows ' || before AS detail
         FROM (SELECT number, LAG(number, 1, 0) OVER (ORDER BY number) AS before FROM receipts)
         WHERE number <> before + 1 LIMIT $1",
    ),
    (
        "intervals_tile",
        "SELECT 'usage_intervals ' || seq AS row, 'does not start where the one before ended' AS detail
         FROM (SELECT usage_intervals.*,
                      LAG(to_raw, 1, raw) OVER w AS raw0, LAG(to_at, 1, first_baselines.at) OVER w AS at0,
                      LAG(to_exact, 1, exact) OVER w AS exact0, LAG(to_posted, 1, posted) OVER w AS posted0
               FROM usage_intervals JOIN first_baselines USING (service_point)
               WINDOW w AS (PARTITION BY service_point ORDER BY usage_intervals.seq))
         WHERE (from_raw, from_at, from_exact, from_posted) <> (raw0, at0, exact0, posted0) LIMIT $1",
    ),
    (
        "baseline_is_end_of_last_interval",
        "SELECT 'baselines ' || first.service_point AS row, 'is not the end of the last interval' AS detail
         FROM first_baselines AS first
         LEFT JOIN baselines AS now ON now.service_point = first.service_point
         LEFT JOIN usage_intervals AS last ON last.seq =
             (SELECT MAX(seq) FROM usage_intervals WHERE service_point = first.service_point)
         WHERE (now.raw, now.at, now.exact, now.posted) IS NOT
             (COALESCE(to_raw, first.raw), COALESCE(to_at, first.at), COALESCE(to_exact, first.exact),
              COALESCE(to_posted, first.posted)) LIMIT $1",
    ),
    (
        "ledger_is_in_outbox",
        "SELECT 'outbox' AS row, what || ': ' || rows || ' in the ledger, ' || sent || ' in the outbox' AS detail
         FROM (SELECT 'wallets' AS what, (SELECT COUNT(*) FROM wallets) AS rows,
                      (SELECT COUNT(*) FROM outbox WHERE kind = 'wallet') AS sent
               UNION ALL SELECT 'receipts', (SELECT COUNT(*) FROM receipts),
                      (SELECT COUNT(*) FROM outbox WHERE kind = 'top_up')
               UNION ALL SELECT 'top_up_keys', (SELECT COUNT(*) FROM top_up_keys),
                      (SELECT COUNT(*) FROM outbox WHERE kind = 'top_up')
               UNION ALL SELECT 'usage_intervals', (SELECT COUNT(*) FROM usage_intervals),
                      (SELECT COUNT(*) FROM outbox WHERE kind = 'usage')
               UNION ALL SELECT 'settled meter_credits',
                      (SELECT COUNT(*) FROM meter_credits WHERE state IN ('confirmed', 'not_applied')),
                      (SELECT COUNT(*) FROM outbox WHERE kind = 'meter_credit')
               UNION ALL SELECT 'transfers', (SELECT COUNT(*) FROM transfers),
                      (SELECT COUNT(*) FROM outbox WHERE payload -> 'transfer' ->> 'id' IS NOT NULL
                          OR payload -> 'opening' ->> 'id' IS NOT NULL))
         WHERE rows <> sent LIMIT $1",
    ),
    (
        "credits_are_receipts",
        "SELECT 'meter_credits ' || receipt AS row, 'differs from its receipt' AS detail
         FROM meter_credits AS credit JOIN receipts ON number = receipt
         WHERE (credit.service_point, credit.amount) <> (receipts.service_point, receipts.amount) LIMIT $1",
    ),
    (
        "credits_move_money_once",
        "SELECT 'meter_credits ' || receipt AS row, state || ', moved ' || COALESCE(postings.amount, 'nothing') AS detail
         FROM meter_credits AS credit LEFT JOIN transfers ON transfers.id = credit.transfer
         LEFT JOIN postings ON postings.transfer = transfers.seq AND account = 'meter_wallet:' || service_point
         WHERE CASE state WHEN 'confirmed' THEN kind IS NOT 'meter_credit' OR postings.amount IS NOT credit.amount * 100
               ELSE credit.transfer IS NOT NULL END
         UNION ALL
         SELECT 'transfers ' || id, 'moves money into a meter for no credit'
         FROM transfers LEFT JOIN meter_credits AS credit ON credit.transfer = id
         WHERE kind = 'meter_credit' AND credit.receipt IS NULL LIMIT $1",
    ),
    (
        "open_codes_are_unique",
        "SELECT 'incidents ' || MAX(id) AS row, 'code ' || code || ' is open ' || COUNT(*) || ' times' AS detail
         FROM incidents WHERE state <> 'closed' GROUP BY code HAVING COUNT(*) > 1 LIMIT $1",
    ),
    (
        "confirmed_is_in_outbox",
        "SELECT 'progress' AS row, 'confirmed ' || confirmed AS detail FROM progress
         WHERE confirmed > COALESCE((SELECT MAX(seq) FROM outbox), 0) LIMIT $1",
    ),
    (
        "file_is_sound",
        "SELECT 'file' AS row, quick_check AS detail FROM pragma_quick_check WHERE quick_check <> 'ok' LIMIT $1",
    ),
];

/// What was found so far.
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, check: &'static str, row: impl Into<String>, detail: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(Violation { check, row: row.into(), detail: detail.into() });
        }
    }

    /// The value, or a finding that it cannot be read.
    fn readable<T>(&mut self, row: &str, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add("row_is_readable", row, error.to_string());
                None
            }
        }
    }
}

impl Store {
    /// Proves the journal; an empty list is the proof. At most a hundred violations are listed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be read at all.
    pub async fn verify(&self) -> Result<Vec<Violation>, StoreError> {
        // Its own connection: a caller that goes away closes it, instead of leaving an old snapshot in the pool.
        let mut own = SqliteConnection::connect_with(&self.inner.readers.connect_options()).await?;
        let mut conn = Conn::Sqlite(&mut own);
        conn.control("BEGIN").await?;
        let mut findings = Findings(Vec::new());
        for (check, sql) in QUERIES {
            let limit = Value::from(i64::try_from(MAX_VIOLATIONS).unwrap_or(i64::MAX));
            match conn.rows(sql, &[limit]).await {
                Ok(rows) => {
                    for row in rows {
                        let detail = findings.readable(check, row.text("detail"));
                        findings.add(check, row.text("row").unwrap_or_default(), detail.unwrap_or_default());
                    }
                }
                // Damaged rows can break the arithmetic or the JSON itself; that is a finding, not a failure.
                Err(error @ StoreError::Defect(_)) => return Err(error),
                Err(error) => findings.add(check, "query", error.to_string()),
            }
        }
        check_triggers(&mut conn, &mut findings).await?;
        self.check_outbox(&mut conn, &mut findings).await?;
        check_timeline(&mut conn, &mut findings).await?;
        own.close().await?;
        Ok(findings.0)
    }

    /// Follows the outbox chain and holds every row against the ledger.
    async fn check_outbox(&self, conn: &mut Conn<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let mut replay = replay::Replay::default();
        let (mut seq, mut prev_hash) = (0, GENESIS.to_owned());
        loop {
            let rows = match rows_after(conn, &self.inner.origin, seq, CHUNK).await {
                Ok(rows) => rows,
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    findings.add("row_is_readable", format!("outbox after {seq}"), error.to_string());
                    return Ok(());
                }
            };
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let name = format!("outbox {}", row.seq);
                if row.seq != seq + 1 {
                    findings.add("outbox_is_dense", name.as_str(), format!("follows {seq}"));
                }
                if row.prev_hash != prev_hash || row.hash != row.expected_hash() {
                    findings.add("outbox_chain", name.as_str(), "its hash does not fit");
                }
                replay.check(conn, &row, findings).await?;
                (seq, prev_hash) = (row.seq, row.hash);
            }
        }
        replay.finish(conn, findings).await
    }
}

/// Follows the timeline's chain.
async fn check_timeline(conn: &mut Conn<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let (mut last, mut prev_hash) = (0, GENESIS.to_owned());
    loop {
        let sql = "SELECT seq, at, incident, what, subject, detail, prev_hash, hash
                   FROM timeline WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = conn.rows(sql, &[last.into(), CHUNK.into()]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let seq = row.int("seq")?;
            let name = format!("timeline {seq}");
            let entry = findings.readable(&name, alarms::read_entry(&row));
            let hashes = findings.readable(&name, row.text("prev_hash").and_then(|prev| Ok((prev, row.text("hash")?))));
            if let (Some(entry), Some((prev, hash))) = (entry, hashes) {
                if seq != last + 1 || prev != prev_hash || hash != alarms::entry_hash(&prev, seq, &entry) {
                    findings.add("timeline_chain", name, "its hash does not fit");
                }
                prev_hash = hash;
            }
            last = seq;
        }
    }
}

/// The triggers that keep history are all there.
async fn check_triggers(conn: &mut Conn<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let wanted = schema::triggers();
    let row = conn.row("SELECT COUNT(*) AS found FROM sqlite_schema WHERE type = 'trigger'", &[]).await?;
    let found = row.map_or(Ok(0), |row| row.int("found"))?;
    if usize::try_from(found) != Ok(wanted) {
        findings.add("history_is_guarded", "schema", format!("{found} triggers of {wanted}"));
    }
    Ok(())
}
