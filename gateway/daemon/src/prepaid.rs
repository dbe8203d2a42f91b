//! Prepaid utilities: from the register's readings to the wallet, from the wallet to the relay.
//!
//! ```text
//!  readings ──► usage at every interval's end ──► journal (interval, transfer, balance, outbox: one transaction)
//!                                                    │ balance
//!  top-up (HTTP) ── journal ── poke ─────────────────┤
//!                                                    ▼
//!                    core::supply::decide ──► notice rows ──► pager ──► tenant
//!                             │
//!                             ▼
//!                    supply record ──► relay intent ──► line ──► read-back ──► settled
//!                    (each written before the next step is taken)
//! ```
//!
//! A meter that keeps a wallet itself gets every top-up as well: [`meter`].
//!
//! * One task owns every account, so no two decisions about one shop can cross. Only the relay command itself runs
//!   beside it, and it carries the version it was decided under: the line drops it if a top-up came first.
//! * A power cut costs nothing: baselines, records, intents and notices are rows, and everything is decided again from
//!   them. An intent found open is not sent again; it waits out its validity and the contact shows what became of it.
//! * Readings may be dropped on their way here; registers are cumulative, so the next one bills the same.
//! * What a device dates itself (a logger's night) is told apart by nothing that comes later, so its message is acknowledged
//!   when the accounts have posted it: a receipt behind its readings brings on a pass, and is given back after it.

mod account;
pub mod duty;
pub mod meter;
pub mod reconcile;
mod register;
pub mod relay;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::ledger::Keeper;
use guanjia_core::reading::{PointIx, Reading};
use guanjia_core::supply::{Breaker, ServiceKind};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao};
use guanjia_field::LineHandle;
use guanjia_store::{Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::clock::ClockTrust;
use crate::live::{Board, SupplyView};
use crate::metrics::Metrics;
use crate::receipt::Receipt;
use crate::site::{ServicePoint, Site};
use account::{Account, Points};
use relay::Settled;

/// How often every account is looked at even if nothing happened.
const PASS_PERIOD: Duration = Duration::from_secs(1);
/// How long receipts are gathered for one pass.
const GATHER: Duration = Duration::from_millis(20);
/// Relay commands that can be on their way at once: one per account, and no site has more relays than this.
const SETTLED_MAX: usize = 1024;

/// What the prepaid task works with.
pub struct Prepaid {
    /// The site.
    pub site: Arc<Site>,
    /// The journal.
    pub store: Store,
    /// The lines, in the site's order.
    pub lines: Vec<LineHandle>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Whether time of day may decide.
    pub clock: Arc<ClockTrust>,
    /// Where the state is shown.
    pub board: Arc<Board<Vec<SupplyView>>>,
    /// Rung by the API after a top-up.
    pub poke: Arc<Notify>,
    /// Rung for the pager after a notice.
    pub pager: Arc<Notify>,
    /// Rung for the forwarder after a posting.
    pub forwarder: Arc<Notify>,
}

/// What the accounts are told.
#[derive(Debug)]
pub enum Told {
    /// Readings of the points they look at.
    Readings(Vec<Reading>),
    /// What was told before this has to be posted, then the receipt is given back.
    Receipt(Receipt),
}

/// The points a service point's account looks at: its register, its contact, its load.
pub fn watched(site: &Site, service_point: &ServicePoint) -> impl Iterator<Item = PointIx> {
    Points::of(site, service_point).all()
}

/// Opens every wallet and resumes every account from the journal.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn resume(prepaid: &Prepaid) -> anyhow::Result<(Vec<Account>, Breaker)> {
    let now = guanjia_field::now();
    let mut accounts = Vec::with_capacity(prepaid.site.service_points.len());
    let mut cuts = Vec::new();
    for index in 0..prepaid.site.service_points.len() {
        let account = Account::resume(prepaid, index, now).await?;
        cuts.extend(account.recent_cuts());
        accounts.push(account);
    }
    cuts.sort_by_key(|(_, at)| *at);
    let prepaid_count = prepaid.site.service_points.iter().filter(|sp| sp.kind == ServiceKind::Prepaid).count();
    let breaker =
        Breaker::resume(prepaid.site.mass_cut, prepaid_count, cuts, guanjia_core::supply::BreakerState::Closed);
    Ok((accounts, breaker))
}

/// Runs until `stop`, then waits for relay commands that are on their way.
pub async fn run(
    prepaid: Prepaid,
    mut accounts: Vec<Account>,
    mut breaker: Breaker,
    mut told: mpsc::Receiver<Told>,
    stop: CancellationToken,
) {
    let (settled_in, mut settled) = mpsc::channel::<Settled>(SETTLED_MAX);
    let mut pass = tokio::time::interval(PASS_PERIOD);
    pass.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut in_flight = 0usize;
    // Never more than the brokers have open messages.
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut bill_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            told = told.recv() => match told {
                Some(Told::Readings(readings)) => {
                    for account in &mut accounts {
                        account.take_in(&prepaid.site, &readings);
                    }
                    continue;
                }
                Some(Told::Receipt(receipt)) => {
                    if receipts.is_empty() {
                        bill_at = Instant::now() + GATHER;
                    }
                    receipts.push(receipt);
                    continue;
                }
                None => break,
            },
            () = tokio::time::sleep_until(bill_at), if !receipts.is_empty() => bill_at = Instant::now() + PASS_PERIOD,
            outcome = settled.recv() => if let Some(outcome) = outcome {
                in_flight -= 1;
                finish(&prepaid, &mut accounts, outcome).await;
            },
            () = prepaid.poke.notified() => reload(&prepaid, &mut accounts).await,
            _ = pass.tick() => reload(&prepaid, &mut accounts).await,
        }
        let now = guanjia_field::now();
        for account in &mut accounts {
            in_flight += usize::from(look_at(&prepaid, account, &mut breaker, &settled_in, now).await);
        }
        // While the journal is not available the broker keeps the messages. What a healthy one refuses it will refuse
        // again, and would hold up every other device.
        if prepaid.store.healthy() || !accounts.iter().any(Account::owes_posting) {
            receipts.drain(..).for_each(Receipt::stored);
        }
        prepaid.board.publish(accounts.iter().map(|account| account.view(&prepaid.site)).collect());
    }
    drop(settled_in);
    while in_flight > 0 {
        let Some(outcome) = settled.recv().await else { break };
        in_flight -= 1;
        finish(&prepaid, &mut accounts, outcome).await;
    }
}

/// Posts, warns, cuts or restores as far as one account needs it; whether a command has left.
async fn look_at(
    prepaid: &Prepaid,
    account: &mut Account,
    breaker: &mut Breaker,
    settled: &mpsc::Sender<Settled>,
    now: Timestamp,
) -> bool {
    let worked = async {
        account.post_usage(prepaid, now).await?;
        let decision = account.decide(prepaid, breaker, now).await?;
        account.warn(prepaid, &decision, now).await?;
        relay::act(prepaid, account, decision, breaker, settled, now).await
    };
    match worked.await {
        Ok(sent) => sent,
        Err(failure) => {
            prepaid.metrics.storage_write_error();
            let id = &prepaid.site.service_points[account.index].id;
            error!(service_point = %id, %failure, "the journal refuses; nothing was decided and it is tried again");
            false
        }
    }
}

async fn finish(prepaid: &Prepaid, accounts: &mut [Account], outcome: Settled) {
    let Some(account) = accounts.get_mut(outcome.account) else { return };
    let id = &prepaid.site.service_points[outcome.account].id;
    info!(service_point = %id, action = ?outcome.intent.action, outcome = outcome.word, detail = %outcome.detail, "relay command settled");
    account.settled(&outcome);
    let settled = prepaid.store.settle_relay(outcome.intent.id, outcome.word, &outcome.detail, outcome.at).await;
    if let Err(failure) = settled {
        error!(service_point = %id, %failure, "the outcome of a relay command could not be written");
    }
}

/// Takes in what was credited and permitted. A poke only makes this sooner: one that was rung for an earlier configuration, or
/// while this one was starting, would otherwise leave a shop dark that has paid.
async fn reload(prepaid: &Prepaid, accounts: &mut [Account]) {
    let store = &prepaid.store;
    let read = async {
        let (wallets, permits) = (store.wallets().await?, store.close_permits().await?);
        Ok::<_, StoreError>((wallets, permits, store.open_credits().await?, store.debts().await?))
    };
    let (wallets, permits, credits, debts) = match read.await {
        Ok(read) => read,
        // The next pass asks again.
        Err(failure) => {
            error!(%failure, "balances and permits cannot be read");
            return;
        }
    };
    let balances: HashMap<&str, Hao> = wallets.iter().map(|w| (w.service_point.as_str(), w.balance)).collect();
    let permits: HashMap<&str, Timestamp> = permits.iter().map(|p| (p.service_point.as_str(), p.at)).collect();
    let debts: HashMap<&str, Fen> = debts.iter().map(|(id, debt)| (id.as_str(), *debt)).collect();
    let now = guanjia_field::now();
    for account in accounts {
        let sp = &prepaid.site.service_points[account.index];
        let id = &*sp.id;
        // Where the ledger keeps the balance, a debt is the balance.
        account.debt = debts.get(id).copied().filter(|_| sp.keeper() == Keeper::Meter);
        account.permitted_at = permits.get(id).copied();
        account.credit = meter::alert(&credits, id);
        if let Some(balance) = balances.get(id).filter(|balance| **balance != account.balance) {
            account.balance_is(prepaid, *balance, now);
        }
    }
}
