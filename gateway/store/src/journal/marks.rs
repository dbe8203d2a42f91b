//! Where the comparison of a meter's own balance with the ledger begins; what it means is [`guanjia_core::reconcile`].

use guanjia_core::incident::TimelineEntry;
use guanjia_core::reconcile::{Booked, MeterMark};
use guanjia_core::time::Timestamp;
use guanjia_core::units::Fen;

use super::Store;
use super::alarms::add_entry;
use super::credits::checked_reason;
use super::writer::Command;
use crate::error::{StoreError, unsigned};
use crate::sql::{Conn, to_json};

/// A person has explained why a meter's balance is another than the ledger's: comparing begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whose meter.
    pub service_point: String,
    /// Who says so: a person of the site, or a program.
    pub who: String,
    /// How it was said: `api`, `console`.
    pub via: String,
    /// What it was, 1 to 500 characters.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Where comparing begins; `None` until the first look, and after a difference was explained.
    pub async fn meter_mark(&self, service_point: &str) -> Result<Option<MeterMark>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT record FROM meter_marks WHERE service_point = $1";
        reader.conn().row(sql, &[service_point.into()]).await?.map(|row| row.json("record")).transpose()
    }

    /// Begins comparing from here.
    ///
    /// # Errors
    /// [`StoreError::UnknownServicePoint`] if it has no wallet.
    pub async fn set_meter_mark(&self, mark: MeterMark) -> Result<(), StoreError> {
        self.send_done(Command::MarkMeter(Box::new(mark))).await
    }

    /// Forgets where comparing began, because a person has explained the difference; the next look begins anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if nothing is compared, [`StoreError::Invalid`] without a name or a reason.
    pub async fn explain_meter(&self, explanation: Explanation) -> Result<(), StoreError> {
        self.send_done(Command::ExplainMeter(Box::new(explanation))).await
    }

    /// What the ledger knows of the credits of a service point.
    pub async fn booked(&self, service_point: &str) -> Result<Booked, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT COALESCE(SUM(CASE WHEN state = 'confirmed' THEN amount ELSE 0 END), 0) AS credited,
                          COALESCE(SUM(state = 'confirmed'), 0) AS credits,
                          COALESCE(SUM(state IN ('sent', 'uncertain', 'manual')), 0) AS unknown
                   FROM meter_credits WHERE service_point = $1";
        let row = reader.conn().row(sql, &[service_point.into()]).await?;
        let row = row.ok_or_else(|| StoreError::Defect("a sum returned no row".to_owned()))?;
        Ok(Booked {
            credited: Fen(row.int("credited")?),
            credits: unsigned("meter_credits", row.int("credits")?)?,
            unknown: unsigned("meter_credits", row.int("unknown")?)?,
        })
    }
}

/// Writes a mark inside the open transaction.
pub(super) async fn mark(conn: &mut Conn<'_>, mark: &MeterMark) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO meter_marks (service_point, record) VALUES ($1, $2)
         ON CONFLICT (service_point) DO UPDATE SET record = excluded.record",
        &[mark.service_point.as_str().into(), to_json(mark)?.into()],
    )
    .await?;
    Ok(())
}

/// Forgets a mark inside the open transaction; the timeline keeps what it was.
pub(super) async fn explain(conn: &mut Conn<'_>, explanation: &Explanation) -> Result<(), StoreError> {
    let Explanation { service_point, who, via, reason, at } = explanation;
    let reason = checked_reason(who, reason)?;
    let sql = "DELETE FROM meter_marks WHERE service_point = $1 RETURNING record";
    let row = conn.row(sql, &[service_point.as_str().into()]).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: "mark of meter", id: service_point.clone() })?;
    let mark: MeterMark = row.json("record")?;
    let entry = TimelineEntry {
        at: *at,
        incident: None,
        what: "meter_difference_explained".to_owned(),
        subject: service_point.clone(),
        detail: format!(
            "by {who} ({via}): {reason}; compared since {}, {} then",
            mark.at,
            Fen(i64::from(mark.balance))
        ),
    };
    add_entry(conn, &entry).await
}
