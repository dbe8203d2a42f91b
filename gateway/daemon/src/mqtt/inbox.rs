//! What devices were promised: a message is acknowledged after everything that follows from it is stored.
//!
//! ```text
//!  QoS 1 message ──► NEW ──► reports, receipt ──► hub, alarms, accounts ─┐
//!                     │                                                  ├─ all stored ──► PUBACK ──► DONE
//!                     └────► kept in the journal (if it matters) ────────┘
//!        again, with the DUP flag ──► OPEN: acknowledged when it is stored   DONE: acknowledged at once, not read again
//! ```
//!
//! *Stored* means: the alarms task has committed what the message changed, or found that it changed nothing; the
//! accounts have the register in their queue, or, where the device itself says of when its values are, have posted them; and,
//! for devices somebody pays by or an alarm looks at, the journal has the message itself, the last one of each topic that
//! said anything new. What had only begun (an alarm's delay, an interval that is not over) begins anew from that message
//! after a restart. So a kill between any two instructions costs no message that was acknowledged.
//!
//! * A repetition is known by its packet id and its bytes together; the same bytes under another id are a new message.
//!   Only with the DUP flag is anything taken for a repetition.
//! * While the journal is not available nothing is acknowledged, and after [`UNACKNOWLEDGED_MAX`] open messages nothing
//!   more is taken from the connection: the broker keeps it.
//! * QoS 0 promises nothing and is not counted here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::time::Timestamp;
use guanjia_store::{KeptMessage, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;

use super::UNACKNOWLEDGED_MAX;
use super::connection::{Client, Message};
use crate::metrics::Metrics;
use crate::receipt::Receipt;

/// Messages of which it is remembered that they were stored.
const DONE_MAX: usize = 1024;
/// Messages written in one transaction.
const KEEP_BATCH: usize = 256;
/// How long the journal is left alone after it refused.
const RETRY: Duration = Duration::from_millis(500);

/// The open messages of one broker.
pub(super) struct Inbox {
    next: u64,
    open: HashMap<u64, Open>,
    done: VecDeque<(u16, u64)>,
    /// What this session waits for, in the order of arrival: acknowledgements leave in that order (MQTT 3.1.1, 4.6).
    acks: VecDeque<(u16, Stage)>,
    receipts: mpsc::Sender<u64>,
    stored: mpsc::Receiver<u64>,
    keeper: Keeper,
}

/// A message that is not stored yet.
struct Open {
    packet_id: u16,
    fingerprint: u64,
    session: Session,
}

/// How far a message of this session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Stored,
}

/// Whether the broker waits for the acknowledgement in this session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    This,
    Gone,
}

/// What to do with a message.
pub(super) enum Admission {
    /// Read it; nobody waits for an acknowledgement.
    Unpromised,
    /// Read it, and send the receipt after it.
    New(Receipt),
    /// It was read before.
    Known,
}

/// Whether a message itself has to outlive the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    Journal,
    Nowhere,
}

impl Inbox {
    pub(super) fn new(store: Store, broker: Arc<str>, metrics: Arc<Metrics>) -> Self {
        let (receipts, stored) = mpsc::channel(UNACKNOWLEDGED_MAX);
        let keeper = Keeper::start(store, broker, metrics);
        Self { next: 0, open: HashMap::new(), done: VecDeque::new(), acks: VecDeque::new(), receipts, stored, keeper }
    }

    /// What an earlier life of the program has stored.
    pub(super) fn resume(&mut self, kept: &[KeptMessage]) {
        for message in kept {
            self.finish(message.packet_id, fingerprint(&message.topic, &message.payload));
        }
    }

    /// Whether another message can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.open() < UNACKNOWLEDGED_MAX
    }

    /// Messages that are not acknowledged, or not stored.
    pub(super) fn open(&self) -> usize {
        self.open.len().max(self.acks.len())
    }

    /// Looks whether a message is new. One that is must be read, and its receipt sent behind what it said; it is the part of
    /// the alarms, behind whom the accounts have the register in their queue.
    pub(super) fn admit(&mut self, message: &Message) -> Admission {
        if message.packet_id == 0 {
            return Admission::Unpromised;
        }
        let fingerprint = fingerprint(&message.topic, &message.payload);
        if message.duplicate {
            let same = |open: &&mut Open| open.packet_id == message.packet_id && open.fingerprint == fingerprint;
            if let Some(open) = self.open.values_mut().find(same) {
                open.session = Session::This;
                self.acks.push_back((message.packet_id, Stage::Open));
                return Admission::Known;
            }
            if self.done.contains(&(message.packet_id, fingerprint)) {
                self.acks.push_back((message.packet_id, Stage::Stored));
                return Admission::Known;
            }
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Open { packet_id: message.packet_id, fingerprint, session: Session::This });
        self.acks.push_back((message.packet_id, Stage::Open));
        Admission::New(Receipt::new(number, self.receipts.clone()))
    }

    /// Writes an admitted message into the journal.
    pub(super) fn keep(&self, message: &Message, receipt: Receipt, now: Timestamp) {
        let kept = KeptMessage {
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            packet_id: message.packet_id,
            at: now,
        };
        self.keeper.keep(kept, receipt);
    }

    /// The number of the next message that everybody has stored.
    pub(super) async fn stored(&mut self) -> Option<u64> {
        self.stored.recv().await
    }

    /// Everybody has stored that message: it is acknowledged if its session still stands.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else { return };
        self.finish(open.packet_id, open.fingerprint);
        let waits = |ack: &&mut (u16, Stage)| *ack == &(open.packet_id, Stage::Open);
        if open.session == Session::This
            && let Some(ack) = self.acks.iter_mut().find(waits)
        {
            ack.1 = Stage::Stored;
        }
    }

    /// Hands acknowledgements over; how many.
    pub(super) fn acknowledge(&mut self, client: &Client) -> u64 {
        let mut sent = 0;
        while let Some((packet_id, Stage::Stored)) = self.acks.front() {
            if client.acknowledge(*packet_id).is_err() {
                break;
            }
            self.acks.pop_front();
            sent += 1;
        }
        sent
    }

    /// The broker knows nothing of earlier sessions: their packet ids come again and mean other messages.
    pub(super) fn forgotten(&mut self) {
        self.done.clear();
        for open in self.open.values_mut() {
            open.packet_id = 0;
        }
    }

    /// The session is gone: packet ids of it mean nothing until the broker sends those messages again.
    pub(super) fn lost(&mut self) {
        self.acks.clear();
        for open in self.open.values_mut() {
            open.session = Session::Gone;
        }
    }

    fn finish(&mut self, packet_id: u16, fingerprint: u64) {
        if self.done.len() >= DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back((packet_id, fingerprint));
    }
}

/// Tells two messages apart.
pub(super) fn fingerprint(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    payload.hash(&mut hasher);
    hasher.finish()
}

/// The task that writes messages into the journal; it ends with its inbox.
struct Keeper {
    queue: mpsc::Sender<(KeptMessage, Receipt)>,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(store: Store, broker: Arc<str>, metrics: Arc<Metrics>) -> Self {
        let (queue, messages) = mpsc::channel(UNACKNOWLEDGED_MAX);
        Self { queue, task: tokio::spawn(keep(store, broker, metrics, messages)) }
    }

    fn keep(&self, message: KeptMessage, receipt: Receipt) {
        // There is a place for every open message. Were there none, the receipt would never come back, and the broker
        // would send the message again.
        let _ = self.queue.try_send((message, receipt));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    store: Store,
    broker: Arc<str>,
    metrics: Arc<Metrics>,
    mut messages: mpsc::Receiver<(KeptMessage, Receipt)>,
) {
    let mut batch = Vec::with_capacity(KEEP_BATCH);
    while messages.recv_many(&mut batch, KEEP_BATCH).await > 0 {
        let mut latest: BTreeMap<String, KeptMessage> = BTreeMap::new();
        let mut receipts = Vec::with_capacity(batch.len());
        for (message, receipt) in batch.drain(..) {
            latest.insert(message.topic.clone(), message);
            receipts.push(receipt);
        }
        let rows: Vec<KeptMessage> = latest.into_values().collect();
        while let Err(failure) = store.keep_messages(&broker, rows.clone()).await {
            metrics.storage_write_error();
            error!(%broker, %failure, "messages cannot be kept; they stay unacknowledged and are tried again");
            tokio::time::sleep(RETRY).await;
        }
        receipts.into_iter().for_each(Receipt::stored);
    }
}
