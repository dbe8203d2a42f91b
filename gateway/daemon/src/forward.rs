//! The billing forwarder: outbox rows to the billing store, in order, none missing, none twice.
//!
//! * The billing store's cursor is the truth about what it has. On every connection it is compared with the journal:
//!   what the billing store has beyond our note of it is confirmed (the answer to the last append was lost), what it
//!   has lost (a restored backup) is sent again from there, for the journal keeps its rows.
//! * A row is confirmed only after the billing store has committed it. Either side may die between any two steps; the
//!   next connection finds out where things stand.
//! * If the two disagree about a row, or the billing store wants a row that does not exist, no program can tell who is
//!   right: the forwarder stops, says so until a person has settled it, and never skips a row. The journal goes on
//!   collecting, so nothing is lost by waiting.
//!
//! ```text
//!             connected, cursors agree              rows confirmed
//!  CONNECTING ─────────────────────────► FOLLOWING ◄──────────────┐
//!   ▲   │                                 │  │  └─────────────────┘ wake, or every LOOK_PERIOD
//!   │   │ unreachable                     │  │ fork, gap that stays, refused row
//!   │   ▼                     unreachable │  ▼
//!   └─ WAITING (back-off) ◄───────────────┘ STOPPED until the next start
//! ```
//!
//! What a power cut may cost: nothing; a batch that was under way is sent again and recognised.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::text::Bilingual;
use guanjia_store::{BillingStore, Cursor, OutboxRow, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::live::Readiness;
use crate::metrics::Metrics;
use crate::site::BillingTarget;

#[cfg(test)]
mod tests;

/// Rows in one append.
const BATCH_ROWS: u32 = 500;
/// How often the outbox is looked at without being woken.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// How long one call to the billing store may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The first delay after a failure; doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The part of the gateway this is, for the list of what is not ready.
const PART: &str = "billing";

/// Forwards until `stop`. `wake` is notified after commits that wrote outbox rows. Trouble is shown under `billing`
/// in `ready`: a store that cannot be reached as long as that lasts, a disagreement until the next start.
pub async fn run(
    store: Store,
    target: BillingTarget,
    metrics: Arc<Metrics>,
    ready: Arc<Readiness>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let forwarder = Forwarder { store, target: Target::Billing(target), metrics, ready, wake };
    tokio::select! {
        () = stop.cancelled() => {}
        () = forwarder.run() => {}
    }
}

struct Forwarder {
    store: Store,
    target: Target,
    metrics: Arc<Metrics>,
    ready: Arc<Readiness>,
    wake: Arc<Notify>,
}

/// Why a connection ended.
#[derive(Debug)]
enum Trouble {
    /// It may be better in a moment.
    Unreachable(StoreError),
    /// Rows are missing where the cursors said they would fit: true once after the billing store was put back to a
    /// backup under our feet, a disagreement if it is true again.
    Gap(StoreError),
    /// A person has to look.
    Disagreement(StoreError),
}

impl Trouble {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Busy
            | StoreError::Closed
            | StoreError::Locked(_)
            | StoreError::Schema(_) => Self::Unreachable(error),
            StoreError::Gap { .. } => Self::Gap(error),
            _ => Self::Disagreement(error),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::of(error)
    }
}

/// What one connection achieved before it ended.
#[derive(Default)]
struct Progress {
    rows: u64,
}

impl Forwarder {
    /// Never returns; dropped at the stop. A dropped call to either store is finished by the store.
    async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        let mut gaps = 0u32;
        loop {
            let mut progress = Progress::default();
            let trouble = match self.follow(&mut progress).await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            };
            if progress.rows > 0 {
                (backoff, gaps) = (BACKOFF_FIRST, 0);
            }
            let failure = match trouble {
                Trouble::Unreachable(failure) => failure,
                Trouble::Gap(failure) if gaps == 0 => {
                    gaps += 1;
                    failure
                }
                Trouble::Gap(failure) | Trouble::Disagreement(failure) => return self.stand_still(&failure).await,
            };
            warn!(%failure, retry_in_ms = backoff.as_millis() as u64, "the billing store does not take rows");
            self.ready.set(PART, Some(unreachable_text(&failure)));
            self.measure().await;
            // Without an answer to listen for, the wake-up of new rows would only shorten the back-off.
            tokio::time::sleep(backoff.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One connection: compares the cursors, then forwards until something fails.
    async fn follow(&self, progress: &mut Progress) -> Result<std::convert::Infallible, Trouble> {
        let billing = within(self.target.connect()).await?;
        let mut sent = self.agree(&billing).await?;
        self.ready.set(PART, None);
        info!(sent, "the billing store is connected");
        loop {
            let rows = self.store.outbox_after(sent, BATCH_ROWS).await?;
            let Some(last) = rows.last().map(|row| row.seq) else {
                self.measure().await;
                // A timeout is the usual end of this wait: nothing happened.
                let _ = tokio::time::timeout(LOOK_PERIOD, self.wake.notified()).await;
                continue;
            };
            let begin = Instant::now();
            let appended = within(billing.append(&rows)).await;
            let seconds = begin.elapsed().as_secs_f64();
            let next = match appended {
                Ok(next) => next,
                Err(failure) => {
                    let trouble = Trouble::of(failure);
                    let word = if matches!(trouble, Trouble::Disagreement(_)) { "rejected" } else { "retried" };
                    self.metrics.forwarded(word, rows.len() as u64, seconds);
                    return Err(trouble);
                }
            };
            if next <= last {
                return Err(Trouble::Gap(StoreError::Gap { expected: next, got: last + 1 }));
            }
            self.store.outbox_confirmed(last).await?;
            self.metrics.forwarded("confirmed", rows.len() as u64, seconds);
            progress.rows += rows.len() as u64;
            sent = last;
            self.measure().await;
        }
    }

    /// Finds the seq up to which both sides hold the same rows.
    async fn agree(&self, billing: &Connected) -> Result<u64, Trouble> {
        let (site, epoch) = (self.store.site().to_owned(), self.store.epoch());
        let cursor = within(billing.cursor(&self.store)).await?;
        let theirs = cursor.next.saturating_sub(1);
        if theirs > 0 {
            let ours = self.store.outbox_after(theirs - 1, 1).await?;
            if ours.first().is_none_or(|row| row.seq != theirs || row.hash != cursor.last_hash) {
                let fork = StoreError::Fork { site, epoch: epoch.to_string(), seq: theirs };
                return Err(Trouble::Disagreement(fork));
            }
        }
        let confirmed = self.store.outbox_cursor().await?;
        if theirs < confirmed {
            warn!(confirmed, theirs, "the billing store has lost rows it had confirmed; they are sent again");
        } else if theirs > confirmed {
            info!(confirmed, theirs, "the billing store has more than was confirmed; an answer was lost");
            self.store.outbox_confirmed(theirs).await?;
        }
        Ok(theirs)
    }

    /// Says until the stop that a person has to decide.
    async fn stand_still(&self, failure: &StoreError) {
        error!(%failure, "forwarding to the billing store has stopped; settle the disagreement and restart");
        self.ready.set(PART, Some(disagreement_text(failure)));
        loop {
            self.measure().await;
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    async fn measure(&self) {
        match self.store.backlog().await {
            Ok(backlog) => self.metrics.forward_backlog(backlog.count, backlog.oldest_at),
            Err(failure) => warn!(%failure, "the outbox cannot be measured"),
        }
    }
}

/// A call that takes too long counts as one that was not answered; the cursors will tell what became of it.
async fn within<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unavailable(format!("the billing store gave no answer in {} s", CALL_MAX.as_secs()))),
    }
}

fn unreachable_text(failure: &StoreError) -> Bilingual {
    Bilingual::new(
        format!("计费库暂不可用，数据在本地排队等待：{failure}"),
        format!("the billing store is not available, rows wait in the journal: {failure}"),
    )
}

fn disagreement_text(failure: &StoreError) -> Bilingual {
    Bilingual::new(
        format!("已停止向计费库转发，须人工核对后重启：{failure}"),
        format!("forwarding to the billing store has stopped until a person settles it and restarts: {failure}"),
    )
}

/// Where rows go. The second kind lets tests lose an answer after the commit, which no real store does on demand.
enum Target {
    Billing(BillingTarget),
    #[cfg(test)]
    Faulty(tests::Faulty),
}

impl Target {
    async fn connect(&self) -> Result<Connected, StoreError> {
        match self {
            Target::Billing(target) => {
                let target = match target {
                    BillingTarget::Sqlite(path) => guanjia_store::BillingTarget::Sqlite(path.clone()),
                    BillingTarget::Postgres(url) => guanjia_store::BillingTarget::Postgres(url.expose().to_owned()),
                };
                BillingStore::connect(&target).await.map(Connected::Billing)
            }
            #[cfg(test)]
            Target::Faulty(faulty) => faulty.connect().await.map(Connected::Faulty),
        }
    }
}

/// A connection to one of them.
enum Connected {
    Billing(BillingStore),
    #[cfg(test)]
    Faulty(tests::FaultyConnection),
}

impl Connected {
    async fn cursor(&self, store: &Store) -> Result<Cursor, StoreError> {
        match self {
            Connected::Billing(billing) => billing.cursor(store.site(), store.epoch()).await,
            #[cfg(test)]
            Connected::Faulty(faulty) => faulty.billing.cursor(store.site(), store.epoch()).await,
        }
    }

    async fn append(&self, rows: &[OutboxRow]) -> Result<u64, StoreError> {
        match self {
            Connected::Billing(billing) => billing.append(rows).await,
            #[cfg(test)]
            Connected::Faulty(faulty) => faulty.append(rows).await,
        }
    }
}
