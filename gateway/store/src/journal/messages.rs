//! Messages: what devices may forget because it is written here, and what subscribers have taken over.
//!
//! ```text
//!  device ── QoS 1 ──► broker ──► gateway ──► kept_messages (the last of each topic) ──► PUBACK
//!  timeline ── row by row ──► broker ── PUBACK ──► told (the last row of which all before it are acknowledged too)
//! ```
//!
//! * A device's message is acknowledged after it is here. After a restart the last one of each topic is looked at
//!   again, so whatever was only in memory (a delay that ran, a register that was not posted) begins anew.
//! * `told` only grows. It may lag behind what a broker has; what is sent twice has the same id.
//!
//! What a power cut may cost: messages that were not acknowledged, which the broker sends again.

use guanjia_core::incident::TimelineEntry;
use guanjia_core::time::Timestamp;

use super::alarms::read_entry;
use super::writer::Command;
use super::{Store, list_limit};
use crate::error::{StoreError, signed, unsigned};
use crate::sql::Conn;

/// The last message of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// The topic it came on.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// The packet id it was delivered under, by which a repetition is known.
    pub packet_id: u16,
    /// When it was received.
    pub at: Timestamp,
}

/// Messages of one broker to be kept.
pub(super) struct NewMessages {
    broker: String,
    messages: Vec<KeptMessage>,
}

impl Store {
    /// Keeps messages of a broker, each instead of what was kept of its topic.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the disk refuses: they must not be acknowledged then.
    pub async fn keep_messages(&self, broker: &str, messages: Vec<KeptMessage>) -> Result<(), StoreError> {
        self.send_done(Command::KeepMessages(Box::new(NewMessages { broker: broker.to_owned(), messages }))).await
    }

    /// Forgets what was kept of a topic nobody listens to any more.
    pub async fn forget_message(&self, broker: &str, topic: &str) -> Result<(), StoreError> {
        self.send_done(Command::ForgetMessage { broker: broker.to_owned(), topic: topic.to_owned() }).await
    }

    /// What is kept of a broker, in the order in which it was received.
    pub async fn kept_messages(&self, broker: &str) -> Result<Vec<KeptMessage>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT topic, payload, packet_id, at FROM kept_messages
                   WHERE broker = $1 ORDER BY at, topic LIMIT $2";
        let rows = reader.conn().rows(sql, &[broker.into(), list_limit(u32::MAX).into()]).await?;
        let read = |row: &crate::sql::Row| {
            Ok(KeptMessage {
                topic: row.text("topic")?,
                payload: row.bytes("payload")?,
                packet_id: u16::try_from(row.int("packet_id")?)
                    .map_err(|_| StoreError::Corrupt("packet id of a kept message".to_owned()))?,
                at: row.time("at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Timeline entries after row `seq`, oldest first, each with its row.
    pub async fn timeline_after(&self, seq: u64, limit: u32) -> Result<Vec<(u64, TimelineEntry)>, StoreError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT seq, at, incident, what, subject, detail FROM timeline
                   WHERE seq > $1 ORDER BY seq LIMIT $2";
        let args = [signed("timeline row", seq)?.into(), list_limit(limit).into()];
        let rows = reader.conn().rows(sql, &args).await?;
        rows.iter().map(|row| Ok((unsigned("timeline row", row.int("seq")?)?, read_entry(row)?))).collect()
    }

    /// Up to which timeline row a broker has taken over everything. A broker that was never told begins at the end:
    /// it is owed what happens from now on, not the history.
    pub async fn told(&self, broker: &str) -> Result<u64, StoreError> {
        let mut reader = self.reader().await?;
        let sql =
            "SELECT coalesce((SELECT seq FROM told WHERE broker = $1), (SELECT max(seq) FROM timeline), 0) AS seq";
        let row = reader.conn().row(sql, &[broker.into()]).await?;
        row.map_or(Ok(0), |row| unsigned("told", row.int("seq")?))
    }

    /// A broker has taken over everything up to and with row `seq`. An earlier row than before changes nothing.
    pub async fn tell(&self, broker: &str, seq: u64) -> Result<(), StoreError> {
        self.send_done(Command::Tell { broker: broker.to_owned(), seq: signed("timeline row", seq)? }).await
    }
}

/// Keeps messages inside the open transaction.
pub(super) async fn keep(conn: &mut Conn<'_>, new: &NewMessages) -> Result<(), StoreError> {
    for message in &new.messages {
        conn.execute(
            "INSERT INTO kept_messages (broker, topic, payload, packet_id, at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (broker, topic) DO UPDATE SET payload = excluded.payload,
                 packet_id = excluded.packet_id, at = excluded.at",
            &[
                new.broker.as_str().into(),
                message.topic.as_str().into(),
                message.payload.as_slice().into(),
                i64::from(message.packet_id).into(),
                message.at.into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Forgets a topic inside the open transaction.
pub(super) async fn forget(conn: &mut Conn<'_>, broker: &str, topic: &str) -> Result<(), StoreError> {
    conn.execute("DELETE FROM kept_messages WHERE broker = $1 AND topic = $2", &[broker.into(), topic.into()]).await?;
    Ok(())
}

/// Moves a broker's mark inside the open transaction.
pub(super) async fn tell(conn: &mut Conn<'_>, broker: &str, seq: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO told (broker, seq) VALUES ($1, $2)
               ON CONFLICT (broker) DO UPDATE SET seq = excluded.seq WHERE told.seq < excluded.seq";
    conn.execute(sql, &[broker.into(), seq.into()]).await?;
    Ok(())
}
