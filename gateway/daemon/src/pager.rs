//! The pager: every page row leaves over its channel, or is settled out loud.
//!
//! * The rows are the queue. The pager keeps in memory only what it has under way, so a restart loses nothing: rows
//!   that an earlier run left in `sending` are due again under the same id.
//! * At least once, never silently zero times. A receiver tells copies by the page's id. After an attempt whose end
//!   nobody knows, P1 and P2 are repeated until they expire, P3 and P4 once ([`UNKNOWN_MAX`]).
//! * Every channel has its own slots ([`SLOTS`], and [`SLOTS_P1`] more that only P1 may use), so a channel that hangs
//!   delays nobody else, and its own P1 pages find a slot even when it is busy with lesser ones.
//! * The journal is looked at when somebody wakes the pager and once a second besides: a page leaves within a second
//!   of its commit even if the wake-up was lost.
//! * If the journal does not take the result of an attempt, the result is offered until it does; the page stays under
//!   way meanwhile. A P1 page leaves even when the journal cannot note that it is being sent: the row was committed
//!   before, and a copy too many is better than a fire nobody hears of.
//!
//! ```text
//!              slot free                    Delivered                 ► delivered
//!  due ──────► page_sending ──► attempt ──► Retry, Unknown            ► pending, at a later time
//!   │                                       Permanent, no such channel ► failed   } timeline entry, error log
//!   └─ its time has passed ───────────────────────────────────────────► expired  }
//! ```
//!
//! What a power cut may cost: one copy too many of each page that was under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::Priority;
use guanjia_core::incident::{PageRecord, TimelineEntry};
use guanjia_core::time::Timestamp;
use guanjia_store::{AlarmBatch, PageResult, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::notify::{self, Attempt};
use crate::site::Channel;

#[cfg(test)]
mod tests;

/// Attempts under way at once on one channel.
const SLOTS: usize = 4;
/// Further attempts that only P1 pages may have under way on one channel.
const SLOTS_P1: usize = 2;
/// Due rows looked at first; more only if they are all of channels without a free slot.
const DUE_ROWS: u32 = 64;
/// Due rows looked at in the end.
const DUE_ROWS_MAX: u32 = 8_192;
/// How often the journal is looked at without being woken.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Delay before the second attempt; doubles with each one.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest delay between two attempts of a P1 or P2 page.
const RETRY_MAX_URGENT: Duration = Duration::from_secs(30);
/// The longest delay between two attempts of any other page.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest delay a channel may ask for; an hour of silence is not its to decide.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Attempts of a P3 or P4 page that may end without anybody knowing how.
const UNKNOWN_MAX: u32 = 2;
/// How long a P1 page waits for the journal to note that it is being sent.
const NOTE_MAX: Duration = Duration::from_secs(1);
/// Delay before a write is offered to the journal again.
const WRITE_RETRY: Duration = Duration::from_millis(500);
/// How long attempts under way may go on after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Sends pages until `stop`. `public_url` is how phones reach the console, without a trailing slash; `wake` is
/// notified after every commit that may have written a page. On the stop, attempts under way get three seconds.
pub async fn run(
    store: Store,
    channels: Vec<Channel>,
    public_url: String,
    metrics: Arc<Metrics>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let http = match notify::client() {
        Ok(http) => http,
        Err(failure) => {
            error!(%failure, "no page can be sent: the HTTP client does not start");
            return;
        }
    };
    let channels = channels.into_iter().map(|channel| (channel.name.to_string(), channel)).collect();
    let desk = Arc::new(Desk { store, channels, public_url, metrics, http });
    Pager::new(desk).run(&wake, &stop).await;
}
/// Whether the journal answered the last look at it; a change is logged once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readable {
    Yes,
    No,
}

/// What every attempt needs.
struct Desk {
    store: Store,
    channels: HashMap<String, Channel>,
    public_url: String,
    metrics: Arc<Metrics>,
    http: reqwest::Client,
}

/// What this run knows about a page that is not settled: how often it was tried, and how often the end is unknown.
#[derive(Clone, Copy, Default)]
struct History {
    tries: u32,
    unknown: u32,
}

/// A page under way.
struct UnderWay {
    page: Uuid,
    channel: String,
}

struct Pager {
    desk: Arc<Desk>,
    under_way: HashMap<tokio::task::Id, UnderWay>,
    /// Bounded by the open pages: an entry goes when its page is settled.
    history: HashMap<Uuid, History>,
    attempts: JoinSet<Settled>,
}

/// What an attempt leaves behind; `None` once the page is settled.
struct Settled {
    page: Uuid,
    history: Option<History>,
}

impl Pager {
    fn new(desk: Arc<Desk>) -> Self {
        Self { desk, under_way: HashMap::new(), history: HashMap::new(), attempts: JoinSet::new() }
    }

    async fn run(mut self, wake: &Notify, stop: &CancellationToken) {
        let mut readable = Readable::Yes;
        loop {
            readable = self.start_due(readable).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => self.finish(ended).await,
                () = wake.notified() => {}
                () = tokio::time::sleep(LOOK_PERIOD) => {}
            }
        }
        let deadline = Instant::now() + DRAIN_MAX;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.attempts.join_next_with_id()).await {
            self.finish(ended).await;
        }
        self.attempts.shutdown().await;
        let left: Vec<Uuid> = self.under_way.values().map(|left| left.page).collect();
        for page in left {
            info!(%page, "the attempt under way is given up; it is repeated after the next start");
            self.release(page, "the gateway stopped during the attempt").await;
        }
    }

    /// Makes a page due again whose attempt was given up. The journal repeats `sending` by itself only after a restart
    /// of the process, and a changed configuration starts a new pager without one.
    async fn release(&self, page: Uuid, why: &str) {
        let now = guanjia_field::now();
        let result = || PageResult::RetryAt(now, why.to_owned());
        until_written("a page that is due again", || self.desk.store.page_result(page, result(), now)).await;
    }

    /// Starts an attempt for every due page that finds a slot, the most urgent first.
    async fn start_due(&mut self, readable: Readable) -> Readable {
        let mut rows = DUE_ROWS;
        loop {
            let due = match self.desk.store.due_pages(guanjia_field::now(), rows).await {
                Ok(due) => due,
                Err(failure) => {
                    if readable == Readable::Yes {
                        error!(%failure, "due pages cannot be read from the journal");
                    }
                    return Readable::No;
                }
            };
            let all_seen = due.len() < rows as usize;
            for page in due {
                self.start(page);
            }
            if all_seen || rows >= DUE_ROWS_MAX {
                return Readable::Yes;
            }
            rows *= 4;
        }
    }

    fn start(&mut self, page: PageRecord) {
        let busy = self.under_way.values().filter(|other| other.channel == page.channel).count();
        let slots = if page.priority == Priority::P1 { SLOTS + SLOTS_P1 } else { SLOTS };
        if busy >= slots || self.under_way.values().any(|other| other.page == page.id) {
            return;
        }
        let key = UnderWay { page: page.id, channel: page.channel.clone() };
        let history = self.history.get(&page.id).copied().unwrap_or_default();
        let task = self.attempts.spawn(Arc::clone(&self.desk).attempt(page, history));
        self.under_way.insert(task.id(), key);
    }

    async fn finish(&mut self, ended: Result<(tokio::task::Id, Settled), tokio::task::JoinError>) {
        match ended {
            Ok((task, settled)) => {
                self.under_way.remove(&task);
                match settled.history {
                    Some(history) => self.history.insert(settled.page, history),
                    None => self.history.remove(&settled.page),
                };
            }
            Err(failure) => {
                error!(%failure, "an attempt to send a page ended by a defect");
                if let Some(UnderWay { page, .. }) = self.under_way.remove(&failure.id()) {
                    self.release(page, "the attempt ended by a defect").await;
                }
            }
        }
    }
}

impl Desk {
    /// One attempt, from the note in the journal to its result there.
    async fn attempt(self: Arc<Self>, page: PageRecord, mut history: History) -> Settled {
        let now = guanjia_field::now();
        if now >= page.expires_at {
            self.settle(&page, PageResult::Expired, 0.0).await;
            return Settled { page: page.id, history: None };
        }
        match self.note_sending(&page).await {
            Noted::Yes => {}
            Noted::Settled => return Settled { page: page.id, history: None },
            Noted::No => {
                // Not sent and not counted: the next look finds the row again.
                tokio::time::sleep(WRITE_RETRY).await;
                return Settled { page: page.id, history: Some(history) };
            }
        }
        let begin = Instant::now();
        let attempt = match self.channels.get(&page.channel) {
            Some(channel) => {
                let ack_url = page.ack_token.as_ref().map(|token| format!("{}/a/{token}", self.public_url));
                notify::send(channel, &page, ack_url.as_deref(), &self.http, now).await
            }
            None => Attempt::Permanent(format!("channel {} is not in the site file any more", page.channel)),
        };
        let seconds = begin.elapsed().as_secs_f64();
        history.tries = history.tries.saturating_add(1);
        if matches!(attempt, Attempt::Unknown(_)) {
            history.unknown = history.unknown.saturating_add(1);
        }
        let result = result_of(&page, attempt, history, guanjia_field::now());
        let open = matches!(result, PageResult::RetryAt(..));
        self.settle(&page, result, seconds).await;
        Settled { page: page.id, history: open.then_some(history) }
    }

    /// Notes that the page is about to be sent, so that a crash is known to have hit an attempt.
    async fn note_sending(&self, page: &PageRecord) -> Noted {
        let noted = tokio::time::timeout(NOTE_MAX, self.store.page_sending(page.id)).await;
        let failure = match noted {
            Ok(Ok(())) => return Noted::Yes,
            // Settled since it was read: there is nothing left to send.
            Ok(Err(StoreError::NotFound { .. })) => return Noted::Settled,
            Ok(Err(failure)) => failure,
            Err(_) => StoreError::Busy,
        };
        warn!(page = %page.id, %failure, "the journal does not note that a page is being sent");
        if page.priority == Priority::P1 { Noted::Yes } else { Noted::No }
    }

    /// Writes the result down, however long that takes, and says aloud what was not delivered.
    async fn settle(&self, page: &PageRecord, result: PageResult, seconds: f64) {
        let (word, event) = match &result {
            PageResult::Delivered => ("delivered", Some(("page_delivered", String::new()))),
            PageResult::RetryAt(_, why) => {
                warn!(page = %page.id, person = %page.person, channel = %page.channel, why, "page not taken yet");
                ("retried", None)
            }
            PageResult::Failed(why) => ("failed", Some(("page_failed", why.clone()))),
            PageResult::Expired => {
                ("expired", Some(("page_expired", "its time passed before it was taken".to_owned())))
            }
        };
        self.metrics.page_attempt(&page.channel, word, seconds);
        if let Some((what, why)) = event.as_ref().filter(|(what, _)| *what != "page_delivered") {
            error!(
                page = %page.id, person = %page.person, channel = %page.channel, priority = page.priority.as_str(),
                incident = page.incident.map(tracing::field::display), what, why, "undeliverable page"
            );
        }
        let at = guanjia_field::now();
        until_written("the result of a page", || self.store.page_result(page.id, result.clone(), at)).await;
        if let Some((what, why)) = event {
            let detail = if why.is_empty() { page.channel.clone() } else { format!("{}: {why}", page.channel) };
            let entry = TimelineEntry {
                at,
                incident: page.incident,
                what: what.to_owned(),
                subject: page.person.clone(),
                detail,
            };
            let batch = || AlarmBatch { timeline: vec![entry.clone()], ..AlarmBatch::default() };
            until_written("the timeline of a page", || self.store.commit_alarms(batch())).await;
        }
    }
}

/// Whether a page may be sent now.
enum Noted {
    Yes,
    /// Somebody has settled it meanwhile.
    Settled,
    No,
}

/// Offers a write until it is taken or is known never to be.
async fn until_written<T, W: Future<Output = Result<T, StoreError>>>(what: &str, write: impl Fn() -> W) {
    let mut warned = false;
    loop {
        let failure = match write().await {
            Ok(_) => return,
            Err(failure) => failure,
        };
        if !matches!(failure, StoreError::Unavailable(_) | StoreError::Busy) {
            error!(what, %failure, "the journal refuses a write of the pager");
            return;
        }
        if !warned {
            warn!(what, %failure, "the journal does not take a write of the pager; it is offered until it does");
            warned = true;
        }
        tokio::time::sleep(WRITE_RETRY).await;
    }
}

/// What an attempt means for its page. `history` counts this attempt already.
fn result_of(page: &PageRecord, attempt: Attempt, history: History, now: Timestamp) -> PageResult {
    let urgent = page.priority <= Priority::P2;
    match attempt {
        Attempt::Delivered { .. } => PageResult::Delivered,
        Attempt::Permanent(why) => PageResult::Failed(why),
        Attempt::Unknown(why) if !urgent && history.unknown >= UNKNOWN_MAX => {
            PageResult::Failed(format!("sent {} times, whether it arrived is unknown: {why}", history.tries))
        }
        Attempt::Unknown(why) => PageResult::RetryAt(retry_at(page, history, None, now), why),
        Attempt::Retry { after, why } => PageResult::RetryAt(retry_at(page, history, after, now), why),
    }
}

/// Exponential back-off with up to a quarter of jitter, at least what the channel asked for (within reason), and not
/// past the page's expiry, so that an expired page is settled when it expires.
fn retry_at(page: &PageRecord, history: History, after: Option<Duration>, now: Timestamp) -> Timestamp {
    let cap = if page.priority <= Priority::P2 { RETRY_MAX_URGENT } else { RETRY_MAX };
    let doubled = RETRY_FIRST.saturating_mul(1 << history.tries.saturating_sub(1).min(16));
    let wait = doubled.min(cap).mul_f64(0.75 + 0.25 * fastrand::f64());
    let wait = wait.max(after.unwrap_or_default().min(RETRY_AFTER_MAX));
    (now + wait).min(page.expires_at)
}
