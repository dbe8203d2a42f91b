//! The one task that writes.
//!
//! ```text
//!   recv_many ─► BEGIN IMMEDIATE ─► per command: SAVEPOINT, apply, RELEASE | ROLLBACK TO ─► COMMIT ─► answer all
//!                      │                         │ the disk failed                          │
//!                      └─────────────────────────┴──────► drop the connection, `Unavailable` to the whole group
//! ```
//!
//! * A refusal undoes its own command only; the group goes on.
//! * After a failure the connection's state is unknown, so it is thrown away and a new one recovers from the log.
//! * Checkpoints are taken between groups, never inside a commit: a small one when the log is long, a full one when
//!   nothing happens for a while.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guanjia_core::credit::CreditState;
use guanjia_core::ledger::{Baseline, Keeper, Receipt, TopUpOutcome, TopUpRequest, UsageInterval, UsageOutcome};
use guanjia_core::reconcile::MeterMark;
use guanjia_core::supply::{RelayIntent, SupplyRecord};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Hao, Utility};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::alarms::AlarmBatch;
use super::credits::CreditDecision;
use super::marks::Explanation;
use super::messages::NewMessages;
use super::pages::PageResult;
use super::supply::{ClosePermit, NewNotice};
use super::{Origin, Wallet, alarms, credits, ledger, marks, messages, outbox, pages, supply, usage, with_suffix};
use crate::error::StoreError;
use crate::sql::Conn;

/// Commands in one commit.
const GROUP_LIMIT: usize = 256;
/// A log longer than this is folded into the file after the group.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// A log longer than this waits for readers until it can be emptied.
const WAL_LIMIT_BYTES: u64 = 64 << 20;
/// After this long without a command the log is emptied.
const IDLE: Duration = Duration::from_secs(20);
/// How often an unhealthy store tries whether it can write again.
const PROBE: Duration = Duration::from_secs(1);

/// What the writer can be asked.
pub(super) enum Command {
    Alarms(Box<AlarmBatch>),
    PageSending(Uuid),
    PageResult {
        id: Uuid,
        result: PageResult,
        at: Timestamp,
    },
    OpenWallet {
        service_point: String,
        utility: Utility,
        opening: Hao,
        at: Timestamp,
    },
    TopUp(Box<TopUpRequest>, Keeper),
    CarryOver {
        service_point: String,
        at: Timestamp,
    },
    SendCredit {
        receipt: i64,
        count: u32,
        at: Timestamp,
    },
    SettleCredit {
        receipt: i64,
        state: CreditState,
        detail: String,
        at: Timestamp,
    },
    DecideCredit(Box<CreditDecision>),
    MarkMeter(Box<MeterMark>),
    ExplainMeter(Box<Explanation>),
    FirstBaseline {
        service_point: String,
        baseline: Baseline,
    },
    Usage(Box<UsageInterval>, Keeper),
    SaveSupply(Box<SupplyRecord>),
    IntendRelay(Box<RelayIntent>),
    SettleRelay {
        id: Uuid,
        outcome: String,
        detail: String,
        at: Timestamp,
    },
    PermitClose(Box<ClosePermit>),
    Notice(Box<NewNotice>),
    KeepMessages(Box<NewMessages>),
    ForgetMessage {
        broker: String,
        topic: String,
    },
    Tell {
        broker: String,
        seq: i64,
    },
    Confirm(u64),
    /// Writes nothing; finds out whether writing works.
    Probe,
    Close,
    /// Lets a test break the connection under the writer.
    #[cfg(test)]
    Sabotage(&'static str),
}

/// What it answers.
pub(super) enum Outcome {
    Done,
    Wallet(Wallet),
    TopUp(TopUpOutcome),
    CarriedOver(Option<Receipt>),
    Usage(UsageOutcome),
    /// Whether the notice is new.
    Noticed(bool),
}

impl Outcome {
    /// The error for an answer of the wrong kind, which only a defect can produce.
    pub fn unexpected(self) -> StoreError {
        StoreError::Defect("the writer answered another question".to_owned())
    }
}

/// A command and where its answer goes.
pub(super) struct Envelope {
    pub command: Command,
    pub answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// The writer's belongings.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    conn: Option<SqliteConnection>,
    queue: mpsc::Receiver<Envelope>,
    healthy: Arc<AtomicBool>,
    origin: Origin,
    wal: PathBuf,
    lock: File,
}

impl Writer {
    pub fn new(
        options: SqliteConnectOptions,
        conn: SqliteConnection,
        queue: mpsc::Receiver<Envelope>,
        healthy: Arc<AtomicBool>,
        origin: Origin,
        file: &Path,
        lock: File,
    ) -> Self {
        Self { options, conn: Some(conn), queue, healthy, origin, wal: with_suffix(file, "-wal"), lock }
    }

    /// Serves the queue until it is closed and empty.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP_LIMIT);
        let mut closers = Vec::new();
        loop {
            let patience = if self.healthy.load(Ordering::Acquire) { IDLE } else { PROBE };
            match tokio::time::timeout(patience, self.queue.recv_many(&mut group, GROUP_LIMIT)).await {
                Ok(0) => break,
                Ok(_) => {
                    let commands: Vec<&Command> = group.iter().map(|envelope| &envelope.command).collect();
                    let answers = self.commit(&commands).await;
                    for (envelope, answer) in group.drain(..).zip(answers) {
                        if matches!(envelope.command, Command::Close) {
                            self.queue.close();
                            closers.push(envelope.answer);
                        } else {
                            // A caller that went away finds its answer under its key.
                            let _ = envelope.answer.send(answer);
                        }
                    }
                    self.fold_long_log().await;
                }
                Err(_) if self.healthy.load(Ordering::Acquire) => {
                    self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
                }
                Err(_) => drop(self.commit(&[&Command::Probe]).await),
            }
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.close().await
        {
            warn!(%error, "journal closed with an error");
        }
        drop(self.lock);
        for closer in closers {
            let _ = closer.send(Ok(Outcome::Done));
        }
    }

    /// Commits a group; one answer per command, in order.
    async fn commit(&mut self, group: &[&Command]) -> Vec<Result<Outcome, StoreError>> {
        match self.try_commit(group).await {
            Ok(answers) => {
                if !self.healthy.swap(true, Ordering::AcqRel) {
                    info!("journal writes again");
                }
                answers
            }
            Err(error) => {
                self.conn = None;
                if self.healthy.swap(false, Ordering::AcqRel) {
                    error!(%error, commands = group.len(), "journal cannot write");
                }
                group.iter().map(|_| Err(StoreError::Unavailable(error.to_string()))).collect()
            }
        }
    }

    async fn try_commit(&mut self, group: &[&Command]) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            empty => empty.insert(SqliteConnection::connect_with(&self.options).await?),
        };
        let mut conn = Conn::Sqlite(conn);
        conn.control("BEGIN IMMEDIATE").await?;
        let mut answers = Vec::with_capacity(group.len());
        for command in group {
            conn.control("SAVEPOINT command").await?;
            let answer = apply(&mut conn, &self.origin, command).await;
            match &answer {
                Ok(_) => conn.control("RELEASE command").await?,
                Err(error) if error.spoils_transaction() => return Err(error.clone()),
                Err(_) => conn.control("ROLLBACK TO command; RELEASE command").await?,
            }
            answers.push(answer);
        }
        conn.control("COMMIT").await?;
        Ok(answers)
    }

    /// Keeps the log short without making anybody wait for it.
    async fn fold_long_log(&mut self) {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |found| found.len());
        if bytes > WAL_LIMIT_BYTES {
            self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
        } else if bytes > CHECKPOINT_BYTES {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await;
        }
    }

    async fn checkpoint(&mut self, pragma: &'static str) {
        if let Some(conn) = &mut self.conn
            && let Err(error) = Conn::Sqlite(conn).control(pragma).await
        {
            warn!(%error, "journal checkpoint failed");
        }
    }
}

/// Applies one command inside the open transaction.
async fn apply(conn: &mut Conn<'_>, origin: &Origin, command: &Command) -> Result<Outcome, StoreError> {
    match command {
        Command::Alarms(batch) => alarms::commit(conn, origin, batch).await.map(|()| Outcome::Done),
        Command::PageSending(id) => pages::sending(conn, origin, *id).await.map(|()| Outcome::Done),
        Command::PageResult { id, result, at } => pages::result(conn, *id, result, *at).await.map(|()| Outcome::Done),
        Command::OpenWallet { service_point, utility, opening, at } => {
            ledger::open_wallet(conn, origin, service_point, *utility, *opening, *at).await.map(Outcome::Wallet)
        }
        Command::TopUp(request, keeper) => ledger::top_up(conn, origin, request, *keeper).await.map(Outcome::TopUp),
        Command::CarryOver { service_point, at } => {
            ledger::carry_over(conn, origin, service_point, *at).await.map(Outcome::CarriedOver)
        }
        Command::SendCredit { receipt, count, at } => {
            credits::send(conn, *receipt, *count, *at).await.map(|()| Outcome::Done)
        }
        Command::SettleCredit { receipt, state, detail, at } => {
            credits::settle(conn, origin, *receipt, *state, detail, *at).await.map(|()| Outcome::Done)
        }
        Command::MarkMeter(mark) => marks::mark(conn, mark).await.map(|()| Outcome::Done),
        Command::ExplainMeter(explanation) => marks::explain(conn, explanation).await.map(|()| Outcome::Done),
        Command::DecideCredit(decision) => credits::decide(conn, origin, decision).await.map(|()| Outcome::Done),
        Command::FirstBaseline { service_point, baseline } => {
            usage::set_first_baseline(conn, service_point, baseline).await.map(|()| Outcome::Done)
        }
        Command::Usage(interval, keeper) => usage::post(conn, origin, interval, *keeper).await.map(Outcome::Usage),
        Command::SaveSupply(record) => supply::save(conn, record).await.map(|()| Outcome::Done),
        Command::IntendRelay(intent) => supply::intend(conn, intent).await.map(|()| Outcome::Done),
        Command::SettleRelay { id, outcome, detail, at } => {
            supply::settle(conn, *id, outcome, detail, *at).await.map(|()| Outcome::Done)
        }
        Command::PermitClose(permit) => supply::permit(conn, permit).await.map(|()| Outcome::Done),
        Command::Notice(notice) => supply::notice(conn, notice).await.map(Outcome::Noticed),
        Command::KeepMessages(new) => messages::keep(conn, new).await.map(|()| Outcome::Done),
        Command::ForgetMessage { broker, topic } => messages::forget(conn, broker, topic).await.map(|()| Outcome::Done),
        Command::Tell { broker, seq } => messages::tell(conn, broker, *seq).await.map(|()| Outcome::Done),
        Command::Confirm(seq) => outbox::confirm(conn, *seq).await.map(|()| Outcome::Done),
        Command::Probe => conn.execute("UPDATE progress SET run = run", &[]).await.map(|_| Outcome::Done),
        Command::Close => Ok(Outcome::Done),
        #[cfg(test)]
        Command::Sabotage(sql) => conn.control(sql).await.map(|()| Outcome::Done),
    }
}
