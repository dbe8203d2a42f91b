//! Usage: intervals that tile a register's life without gap or overlap.
//!
//! The stored baseline is the proof: an interval is posted only if it starts exactly where the last one ended, and
//! posting moves the baseline in the same transaction. The second posting of an interval, after a crash or from a
//! second task, therefore finds another baseline and does nothing.

use guanjia_core::ledger::{AccountId, Baseline, Keeper, TransferKind, UsageInterval, UsageOutcome};
use guanjia_core::units::{ExactCharge, Hao};

use super::writer::{Command, Outcome};
use super::{Origin, Store, ledger, outbox, statement};
use crate::error::StoreError;
use crate::payload::{Interval, Mark, Payload, Usage};
use crate::sql::{Conn, Row, Value, to_word};

impl Store {
    /// Where billing of a service point's register stands.
    pub async fn baseline(&self, service_point: &str) -> Result<Option<Baseline>, StoreError> {
        let mut reader = self.reader().await?;
        stored(&mut reader.conn(), service_point).await
    }

    /// Where billing begins. Setting the same one again does nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the service point has another baseline, [`StoreError::UnknownServicePoint`] if it
    /// has no wallet.
    pub async fn set_first_baseline(&self, service_point: &str, baseline: Baseline) -> Result<(), StoreError> {
        self.send_done(Command::FirstBaseline { service_point: service_point.to_owned(), baseline }).await
    }

    /// Posts an interval: the interval, its transfer (unless it costs nothing), the wallet, the baseline and the
    /// outbox row, together.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] if the interval runs backward or its `posted` is not its `exact` rounded,
    /// [`StoreError::NoBaseline`] and [`StoreError::UnknownServicePoint`] if there is nothing to post against.
    pub async fn post_usage(&self, interval: UsageInterval) -> Result<UsageOutcome, StoreError> {
        self.send_usage(interval, Keeper::Ledger).await
    }

    /// The same for a service point whose meter keeps the wallet: the charge is taken from there.
    ///
    /// # Errors
    ///
    /// As [`Store::post_usage`].
    pub async fn post_meter_usage(&self, interval: UsageInterval) -> Result<UsageOutcome, StoreError> {
        self.send_usage(interval, Keeper::Meter).await
    }

    async fn send_usage(&self, interval: UsageInterval, keeper: Keeper) -> Result<UsageOutcome, StoreError> {
        match self.send(Command::Usage(Box::new(interval), keeper)).await? {
            Outcome::Usage(outcome) => Ok(outcome),
            other => Err(other.unexpected()),
        }
    }
}

/// Writes the first baseline inside the open transaction.
pub(super) async fn set_first_baseline(
    conn: &mut Conn<'_>,
    service_point: &str,
    baseline: &Baseline,
) -> Result<(), StoreError> {
    let utility = statement::wallet(conn, service_point)
        .await?
        .ok_or_else(|| StoreError::UnknownServicePoint(service_point.to_owned()))?
        .utility;
    if baseline.exact.round(utility) != Some(baseline.posted) {
        return Err(StoreError::Invalid("a baseline's posted charge is its exact charge rounded".to_owned()));
    }
    match stored(conn, service_point).await? {
        Some(found) if found == *baseline => return Ok(()),
        Some(_) => return Err(StoreError::Conflict(format!("{service_point} has a baseline already"))),
        None => {}
    }
    let mark = Mark::from(baseline);
    let args: [Value<'_>; 5] =
        [service_point.into(), mark.raw.into(), mark.at.into(), mark.exact.into(), mark.posted.0.into()];
    let first = "INSERT INTO first_baselines (service_point, raw, at, exact, posted) VALUES ($1, $2, $3, $4, $5)";
    conn.execute(first, &args).await?;
    let current = "INSERT INTO baselines (service_point, raw, at, exact, posted) VALUES ($1, $2, $3, $4, $5)";
    conn.execute(current, &args).await?;
    Ok(())
}

/// Posts an interval inside the open transaction.
pub(super) async fn post(
    conn: &mut Conn<'_>,
    origin: &Origin,
    interval: &UsageInterval,
    keeper: Keeper,
) -> Result<UsageOutcome, StoreError> {
    let service_point = interval.service_point.as_str();
    let wallet = statement::wallet(conn, service_point)
        .await?
        .ok_or_else(|| StoreError::UnknownServicePoint(service_point.to_owned()))?;
    let baseline =
        stored(conn, service_point).await?.ok_or_else(|| StoreError::NoBaseline(service_point.to_owned()))?;
    if baseline != interval.from {
        return Ok(UsageOutcome::BaselineMoved(baseline));
    }
    if interval.utility != wallet.utility {
        return Err(StoreError::Conflict(format!("wallet {service_point} is for {}", wallet.utility)));
    }
    check(interval)?;

    let at = interval.to.at;
    let (balance, transfer) = if interval.charge() == Hao(0) {
        (wallet.balance, None)
    } else {
        let cause = format!("usage {service_point} to {}", interval.to.at.as_millis());
        let used = Hao(-interval.charge().0);
        let legs = (AccountId::revenue(interval.utility), keeper.account(service_point));
        let transfer = ledger::movement(TransferKind::Usage, at, cause, used, legs)?;
        (ledger::post(conn, &transfer).await?, Some(transfer))
    };
    let row = Interval::from(interval);
    write(conn, &row, transfer.as_ref().map(|transfer| transfer.id)).await?;
    let mark = Mark::from(&interval.to);
    conn.execute(
        "UPDATE baselines SET raw = $1, at = $2, exact = $3, posted = $4 WHERE service_point = $5",
        &[mark.raw.into(), mark.at.into(), mark.exact.into(), mark.posted.0.into(), service_point.into()],
    )
    .await?;
    let payload = Usage { interval: row, transfer };
    outbox::append(conn, origin, &Payload::Usage(Box::new(payload)), at).await?;
    Ok(UsageOutcome::Posted { balance })
}

/// A baseline never moves backward, and what is posted is always the exact charge rounded.
fn check(interval: &UsageInterval) -> Result<(), StoreError> {
    let (from, to) = (&interval.from, &interval.to);
    let refuse = |why: &str| Err(StoreError::Invalid(format!("usage of {}: {why}", interval.service_point)));
    if to.at <= from.at {
        return refuse("the interval ends before it begins");
    }
    if interval.quantity.0 < 0 || to.exact < from.exact || to.posted < from.posted {
        return refuse("the interval runs backward");
    }
    if to.exact.round(interval.utility) != Some(to.posted) {
        return refuse("the posted charge is not the exact charge rounded");
    }
    Ok(())
}

async fn write(conn: &mut Conn<'_>, interval: &Interval, transfer: Option<uuid::Uuid>) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO usage_intervals (service_point, device, utility, from_raw, from_at, from_exact, from_posted,
             to_raw, to_at, to_exact, to_posted, quantity, tariff, quality, transfer)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        &[
            interval.service_point.as_str().into(),
            interval.device.as_str().into(),
            interval.utility.as_str().into(),
            interval.from.raw.as_str().into(),
            interval.from.at.into(),
            interval.from.exact.as_str().into(),
            interval.from.posted.0.into(),
            interval.to.raw.as_str().into(),
            interval.to.at.into(),
            interval.to.exact.as_str().into(),
            interval.to.posted.0.into(),
            interval.quantity.0.into(),
            interval.tariff.as_str().into(),
            to_word(&interval.quality)?.into(),
            transfer.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The baseline in the store.
async fn stored(conn: &mut Conn<'_>, service_point: &str) -> Result<Option<Baseline>, StoreError> {
    let sql = "SELECT raw, at, exact, posted FROM baselines WHERE service_point = $1";
    let row = conn.row(sql, &[service_point.into()]).await?;
    row.map(|row| {
        Ok(Baseline {
            raw: row.parsed("raw")?,
            at: row.time("at")?,
            exact: ExactCharge(row.parsed("exact")?),
            posted: Hao(row.int("posted")?),
        })
    })
    .transpose()
}

/// An interval as the row has it.
pub(super) fn read_interval(row: &Row) -> Result<Interval, StoreError> {
    let mark = |raw, at, exact, posted| -> Result<Mark, StoreError> {
        Ok(Mark { raw: row.text(raw)?, at: row.time(at)?, exact: row.text(exact)?, posted: Hao(row.int(posted)?) })
    };
    Ok(Interval {
        service_point: row.text("service_point")?,
        device: row.text("device")?,
        utility: row.word("utility")?,
        from: mark("from_raw", "from_at", "from_exact", "from_posted")?,
        to: mark("to_raw", "to_at", "to_exact", "to_posted")?,
        quantity: guanjia_core::units::Quantity(row.int("quantity")?),
        tariff: row.text("tariff")?,
        quality: row.word("quality")?,
    })
}
