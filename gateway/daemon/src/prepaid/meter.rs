//! From a top-up in the ledger to the wallet inside a meter (mode M2), exactly once.
//!
//! ```text
//!  top-up (HTTP) ── journal: receipt and pending credit, one transaction ── poke
//!                                                                             │
//!     ┌───────────────────────────────────────────────────────────────────────┘
//!     ▼
//!  oldest open credit of each service point ── look at the wallet ──► core::credit::next
//!                                                                        │        │
//!      count written down ◄── Send ──────────────────────────────────────┘        │ Settle
//!             │                                                                   ▼
//!             └─► frame leaves, once ── look at the wallet ── core::credit::judge ─► state written down
//! ```
//!
//! * The ledger's wallet is the system of record of the tenant's money; the meter holds what was credited to it, charges it
//!   by itself and cuts by itself. So the gateway sends no relay command to such a service point: the meter's own account
//!   would move the contact back.
//! * The count is durable before the first byte of its frame, so a gateway that dies at any point finds in the row and in
//!   the meter whether the credit is there. A frame goes again with the same count only after the meter has shown that it
//!   is exactly one purchase behind.
//! * A service point has one credit under way at a time, each line as many as it has service points. One that waits for a
//!   person does not keep later ones back: each takes the meter's next count.
//! * A credit whose fate is not known, or that waits for a person, pages the people on duty, and goes when it is settled:
//!   [`duty`](super::duty).
//! * A meter that does not answer is asked again after 1 s, 2 s and so on up to a minute, as is one that holds too much.
//!
//! What a power cut may cost: nothing; the pauses begin again at a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::credit::{CreditState, MeterCredit, Step, pause};
use guanjia_core::reading::DeviceIx;
use guanjia_field::{CreditFrame, LineHandle, WalletCommand, WalletOutcome, now};
use guanjia_store::{Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::duty::Desk;
use crate::hub::Observation;
use crate::live::Board;
use crate::site::{Attachment, ServicePoint, Site};

/// The word for a debt of before the meter kept the credit. No top-up pays it, as those go into the meter whole: the till takes
/// it with `"pays": "debt"`.
pub const LEDGER_DEBT: &str = "ledger_debt";

/// How often the journal is looked at even if nobody rang.
const PASS_PERIOD: Duration = Duration::from_secs(1);
/// How long a frame may wait for a free line.
const VALID: Duration = Duration::from_secs(30);

/// What the task works with.
pub struct Credits {
    /// The site.
    pub site: Arc<Site>,
    /// The journal.
    pub store: Store,
    /// The lines, in the site's order.
    pub lines: Vec<LineHandle>,
    /// Rung by the API after a top-up, and when a person has settled a credit.
    pub poke: Arc<Notify>,
    /// The way to the task that pages people.
    pub alarms: mpsc::Sender<Observation>,
    /// Where the credits that are not settled are shown.
    pub board: Arc<Board<Vec<MeterCredit>>>,
    /// Rung for the forwarder after a credit was settled.
    pub forwarder: Arc<Notify>,
}

/// When a service point's meter is asked next, and how often in a row that has settled nothing.
struct Turn {
    under_way: bool,
    tries: u32,
    not_before: Instant,
}

/// The way to one wallet.
struct Way {
    store: Store,
    line: LineHandle,
    device: DeviceIx,
    wallet: usize,
}

/// Runs until `stop`, then waits for the credits that are on their way.
pub async fn run(credits: Credits, stop: CancellationToken) {
    let mut turns: HashMap<String, Turn> = HashMap::new();
    let mut desk = Desk::new(Arc::clone(&credits.site), credits.alarms.clone());
    let mut under_way: JoinSet<(String, Result<CreditState, StoreError>)> = JoinSet::new();
    let mut pass = tokio::time::interval(PASS_PERIOD);
    pass.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next() => if let Ok((service_point, outcome)) = ended {
                if outcome.as_ref().is_ok_and(|state| state.is_settled()) {
                    credits.forwarder.notify_one();
                }
                settled(&mut turns, &service_point, outcome);
            },
            () = credits.poke.notified() => {}
            _ = pass.tick() => {}
        }
        let open = match credits.store.open_credits().await {
            Ok(open) => open,
            // The next pass asks again.
            Err(failure) => {
                error!(%failure, "the credits on their way to meters cannot be read");
                continue;
            }
        };
        desk.tell_credits(&open).await;
        credits.board.publish(open.clone());
        for credit in first_of_each(open) {
            let turn = turns.entry(credit.service_point.clone()).or_insert_with(|| Turn {
                under_way: false,
                tries: 0,
                not_before: Instant::now(),
            });
            if turn.under_way || Instant::now() < turn.not_before {
                continue;
            }
            let Some(way) = way(&credits, &credit.service_point) else { continue };
            turn.under_way = true;
            under_way.spawn(async move { (credit.service_point.clone(), forward(&way, &credit).await) });
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// The credit to be carried on of each service point. One that is under way comes before one that has not begun.
fn first_of_each(open: Vec<MeterCredit>) -> Vec<MeterCredit> {
    let mut first: Vec<MeterCredit> = Vec::new();
    for credit in open.into_iter().filter(|credit| !credit.state.is_final()) {
        match first.iter_mut().find(|other| other.service_point == credit.service_point) {
            None => first.push(credit),
            Some(other) if other.count.is_none() && credit.count.is_some() => *other = credit,
            Some(_) => {}
        }
    }
    first
}

/// The way to a service point's wallet; `None` if the site file has none any more. The credit then waits.
fn way(credits: &Credits, service_point: &str) -> Option<Way> {
    let point: &ServicePoint = credits.site.service_points.iter().find(|point| *point.id == *service_point)?;
    let device = credits.site.devices.get(point.device.0 as usize)?;
    let Attachment::Line { line, .. } = device.attachment else { return None };
    let line = credits.lines.get(line)?.clone();
    Some(Way { store: credits.store.clone(), line, device: device.ix, wallet: point.wallet? })
}

fn settled(turns: &mut HashMap<String, Turn>, service_point: &str, outcome: Result<CreditState, StoreError>) {
    let Some(turn) = turns.get_mut(service_point) else { return };
    turn.under_way = false;
    match outcome {
        Ok(state) if state.is_final() => (turn.tries, turn.not_before) = (0, Instant::now()),
        Ok(_) => {
            turn.tries += 1;
            turn.not_before = Instant::now() + pause(turn.tries);
        }
        Err(failure) => {
            error!(service_point, %failure, "the journal refuses a credit's state; nothing is sent before it is written");
            turn.tries += 1;
            turn.not_before = Instant::now() + pause(turn.tries);
        }
    }
}

/// Carries one credit as far as the meter lets it.
async fn forward(way: &Way, credit: &MeterCredit) -> Result<CreditState, StoreError> {
    let seen = match ask(way, None).await {
        WalletOutcome::Shown(seen) => seen,
        _ => return silent(way, credit, "the meter does not answer").await,
    };
    let (count, amount) = match credit.next(&seen) {
        Step::Send { count, amount } => (count, amount),
        Step::Settle(state, why) => return settle(way, credit, state, why).await,
    };
    way.store.send_credit(credit.receipt, count, now()).await?;
    let sent = MeterCredit { count: Some(count), state: CreditState::Sent, ..credit.clone() };
    info!(service_point = %sent.service_point, receipt = sent.receipt, count, "a top-up leaves for its meter");
    match ask(way, Some(CreditFrame { count, amount })).await {
        WalletOutcome::Shown(seen) => {
            let (state, why) = sent.judge(count, &seen);
            settle(way, &sent, state, why).await
        }
        WalletOutcome::Unknown(why) | WalletOutcome::NotWritable(why) => silent(way, &sent, &why).await,
        WalletOutcome::Expired => silent(way, &sent, "the line was not free in time; nothing was sent").await,
    }
}

async fn ask(way: &Way, frame: Option<CreditFrame>) -> WalletOutcome {
    let command = WalletCommand { device: way.device, wallet: way.wallet, frame, valid_until: now() + VALID };
    way.line.wallet(command).await
}

/// The meter was not seen: what has begun is uncertain, what has not still waits.
async fn silent(way: &Way, credit: &MeterCredit, why: &str) -> Result<CreditState, StoreError> {
    if credit.count.is_none() || credit.state == CreditState::Held {
        return Ok(credit.state);
    }
    settle(way, credit, CreditState::Uncertain, why).await
}

async fn settle(way: &Way, credit: &MeterCredit, state: CreditState, why: &str) -> Result<CreditState, StoreError> {
    let (service_point, receipt) = (&credit.service_point, credit.receipt);
    match state {
        CreditState::Confirmed => info!(%service_point, receipt, "a top-up is in its meter"),
        CreditState::Manual => error!(%service_point, receipt, why, "a top-up waits for a person"),
        _ => warn!(%service_point, receipt, state = state.as_str(), why, "a top-up is not in its meter yet"),
    }
    way.store.settle_credit(receipt, state, why, now()).await?;
    Ok(state)
}

/// What people must know of a service point's credits, as a stable word; the worst first.
pub fn alert(open: &[MeterCredit], service_point: &str) -> Option<&'static str> {
    let states = || open.iter().filter(|credit| credit.service_point == service_point).map(|credit| credit.state);
    [
        (CreditState::Manual, "meter_credit_manual"),
        (CreditState::Uncertain, "meter_credit_uncertain"),
        (CreditState::Held, "meter_credit_held"),
    ]
    .into_iter()
    .find_map(|(state, word)| states().any(|other| other == state).then_some(word))
}

#[cfg(test)]
mod tests {
    use guanjia_core::time::Timestamp;
    use guanjia_core::units::Fen;

    use super::*;

    fn credit(receipt: i64, service_point: &str, count: Option<u32>, state: CreditState) -> MeterCredit {
        MeterCredit {
            receipt,
            service_point: service_point.to_owned(),
            amount: Fen(100),
            count,
            state,
            attempts: 0,
            detail: String::new(),
            at: Timestamp::EPOCH,
            paid_at: Timestamp::EPOCH,
            decided_by: None,
        }
    }

    #[test]
    fn one_at_a_time_the_one_that_has_begun_first_and_people_keep_nobody_waiting() {
        let open = vec![
            credit(1, "a", Some(7), CreditState::Manual),
            credit(2, "a", None, CreditState::Pending),
            credit(3, "a", Some(8), CreditState::Held),
            credit(4, "a", None, CreditState::Pending),
            credit(5, "b", None, CreditState::Pending),
            credit(6, "c", Some(1), CreditState::Manual),
        ];
        let first: Vec<i64> = first_of_each(open.clone()).iter().map(|credit| credit.receipt).collect();
        assert_eq!(first, [3, 5]);
        assert_eq!(alert(&open, "a"), Some("meter_credit_manual"));
        assert_eq!((alert(&open[1..], "a"), alert(&open, "b")), (Some("meter_credit_held"), None));
    }
}
