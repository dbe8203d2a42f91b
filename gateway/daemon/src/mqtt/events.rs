//! What has happened, told row by row: the journal's timeline is the outbox.
//!
//! ```text
//!  <prefix>/<site>/event   {"id", "at", "what", "subject", "detail", "incident"}   not retained
//! ```
//!
//! * A retained topic says how things are; whoever was away does not learn what came and went meanwhile. Here every
//!   alarm that was raised, accepted or cleared and every command that has ended is one message, in the journal's order.
//! * A row is told when the broker has acknowledged it and all before it. A new session reads again from there, so a
//!   broker that is away, or forgets, is told everything; a message may come twice, with the same `id`.
//! * A broker that was never told begins with what happens next. A broker that is away for long is owed a long list; it
//!   lies in the journal and not in memory.

use std::collections::VecDeque;
use std::time::Duration;

use guanjia_core::incident::TimelineEntry;
use guanjia_store::Store;
use rumqttc::QoS;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::outgoing::{Outgoing, Token};

/// Rows read at once, and rows that wait to be sent.
const ROWS_MAX: usize = 32;
/// How often the journal is asked for news; what an alarm writes is also announced.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// The rows one broker has not acknowledged yet.
pub(super) struct Outbox {
    store: Store,
    broker: std::sync::Arc<str>,
    topic: String,
    /// Acknowledged up to here, and what of that is written.
    told: u64,
    written: u64,
    /// Rows of this session in order, and whether each is acknowledged.
    under_way: VecDeque<(u64, Progress)>,
    feed: Option<Feed>,
    writing: Option<JoinHandle<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Sent,
    Acknowledged,
}

/// Reads rows ahead of a session; ends with it.
struct Feed {
    rows: mpsc::Receiver<(u64, TimelineEntry)>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outbox {
    /// What the journal owes that broker.
    pub(super) async fn resume(store: Store, broker: std::sync::Arc<str>, topic: String) -> Self {
        let told = match store.told(&broker).await {
            Ok(told) => told,
            Err(failure) => {
                warn!(%broker, %failure, "the journal does not say what the broker was told; all of it is told again");
                0
            }
        };
        // Written at once, so that a broker that is new today is owed what happens from today on.
        let writing = Some(write(store.clone(), std::sync::Arc::clone(&broker), told));
        Self { store, broker, topic, told, written: 0, under_way: VecDeque::new(), feed: None, writing }
    }

    /// A new session: everything that is not acknowledged is read again.
    pub(super) fn connected(&mut self) {
        self.under_way.clear();
        let (queue, rows) = mpsc::channel(ROWS_MAX);
        let task = tokio::spawn(read_ahead(self.store.clone(), self.told, queue));
        self.feed = Some(Feed { rows, task });
    }

    /// The session is gone.
    pub(super) fn lost(&mut self) {
        self.feed = None;
    }

    /// Waits for a row; for ever without a session.
    pub(super) async fn next(&mut self) -> Outgoing {
        loop {
            let Some(feed) = &mut self.feed else { return std::future::pending().await };
            match feed.rows.recv().await {
                Some((seq, entry)) => return self.message(seq, &entry),
                None => self.feed = None,
            }
        }
    }

    fn message(&mut self, seq: u64, entry: &TimelineEntry) -> Outgoing {
        self.under_way.push_back((seq, Progress::Sent));
        let payload = json!({
            "id": format!("{}/{seq}", self.store.epoch()),
            "at": entry.at.to_string(),
            "what": entry.what,
            "subject": entry.subject,
            "detail": entry.detail,
            "incident": entry.incident,
        });
        Outgoing {
            topic: self.topic.clone(),
            payload: payload.to_string().into_bytes(),
            retain: false,
            qos: QoS::AtLeastOnce,
            token: Token::Event(seq),
        }
    }

    /// The broker has that row.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        if let Some(row) = self.under_way.iter_mut().find(|row| row.0 == seq) {
            row.1 = Progress::Acknowledged;
        }
        while let Some((seq, Progress::Acknowledged)) = self.under_way.front() {
            self.told = *seq;
            self.under_way.pop_front();
        }
    }

    /// Writes down how far the broker was told, one write at a time. A power cut before that only repeats messages.
    pub(super) async fn note(&mut self) {
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.written = writing.await.unwrap_or(self.written).max(self.written);
        }
        if self.writing.is_none() && self.told > self.written {
            self.writing = Some(write(self.store.clone(), std::sync::Arc::clone(&self.broker), self.told));
        }
    }

    /// Rows sent and not acknowledged.
    pub(super) fn open(&self) -> usize {
        self.under_way.iter().filter(|row| row.1 == Progress::Sent).count()
    }
}

/// Writes the mark; returns what is written, 0 if it was refused.
fn write(store: Store, broker: std::sync::Arc<str>, seq: u64) -> JoinHandle<u64> {
    tokio::spawn(async move {
        match store.tell(&broker, seq).await {
            Ok(()) => seq,
            Err(failure) => {
                warn!(%broker, %failure, "what the broker was told cannot be written; it will be told twice");
                0
            }
        }
    })
}

async fn read_ahead(store: Store, mut from: u64, queue: mpsc::Sender<(u64, TimelineEntry)>) {
    loop {
        let rows = match store.timeline_after(from, ROWS_MAX as u32).await {
            Ok(rows) => rows,
            Err(failure) => {
                warn!(%failure, "the timeline cannot be read, trying again");
                Vec::new()
            }
        };
        if rows.is_empty() {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        for (seq, entry) in rows {
            from = seq;
            if queue.send((seq, entry)).await.is_err() {
                return;
            }
        }
    }
}
