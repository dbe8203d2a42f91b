//! Holding the meters that keep the credit against the ledger; the rules are [`guanjia_core::reconcile`].
//!
//! ```text
//!  every PASS: price as last polled ──► the tariff's? ──────────────────────────────────────► alarm, or none
//!              account on or off    ──► as the site file says who cuts? ────────────────────► alarm, or none
//!  every LOOK: nothing under way ─► counter polled ─► wallet looked at ─► counter polled again
//!                                        └─ ledger unchanged meanwhile ─► compare with the mark ─► alarm, or none
//! ```
//!
//! * Only wallets whose profile names the point with their price are compared: without it the counts say nothing about money.
//! * Whether a meter cuts by an account of its own is held against every service point of its register, whoever keeps the
//!   balance, where the profile names the point that says so.
//! * A look is one read of the wallet between two ordinary polls. If a credit moves meanwhile, or the register or the price is
//!   not read well, nothing is said: the next look comes.
//! * A difference counts when two looks in a row show it; one agreement clears it ([`Looks`]).
//! * A power cut costs nothing: the mark is a row, and everything is declared anew after a start.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{Wallet, WalletSeen};
use guanjia_core::reading::{PointIx, Quality, Value};
use guanjia_core::reconcile::{
    Booked, Difference, Looks, MeterMark, PRICE_DIGITS, PRICE_PARTS, Sight, Span, Upshot, check_price,
};
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_field::{LineHandle, WalletCommand, WalletOutcome, now};
use guanjia_store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::duty::{Desk, Trouble};
use crate::hub::Observation;
use crate::live::LatestTable;
use crate::site::{Attachment, ServicePoint, Site};

/// How often prices are looked at, and whether a meter is due.
const PASS_PERIOD: Duration = Duration::from_secs(5);
/// How long a look may wait for a free line.
const VALID: Duration = Duration::from_secs(30);
/// How long the poll after a look is waited for.
const POLL_WITHIN: Duration = Duration::from_secs(180);

/// What the task works with.
pub struct Reconcile {
    /// The site.
    pub site: Arc<Site>,
    /// The journal.
    pub store: Store,
    /// The lines, in the site's order.
    pub lines: Vec<LineHandle>,
    /// What was polled last.
    pub latest: Arc<LatestTable>,
    /// The way to the task that pages people.
    pub alarms: mpsc::Sender<Observation>,
}

/// One meter's turn.
struct Turn {
    point: usize,
    price: PointIx,
    due: Instant,
    /// The look that waits for the poll after it.
    begun: Option<Begun>,
    looks: Looks,
}

/// A look of which the first half is done.
struct Begun {
    booked: Booked,
    counter: i64,
    price: i64,
    seen: WalletSeen,
    at: Timestamp,
    until: Instant,
}

/// Runs until `stop`.
pub async fn run(works: Reconcile, stop: CancellationToken) {
    let points = works.site.service_points.iter().enumerate();
    let compared = points.filter(|(_, point)| point.wallet.is_some());
    let mut turns: Vec<Turn> = compared
        .filter_map(|(index, point)| {
            Some(Turn {
                point: index,
                price: point.meter_price?,
                due: Instant::now(),
                begun: None,
                looks: Looks::default(),
            })
        })
        .collect();
    let mut desk = Desk::new(Arc::clone(&works.site), works.alarms.clone());
    // Where nothing is compared any more, what was declared by an earlier configuration goes.
    for point in works.site.service_points.iter().filter(|p| p.wallet.is_some() && p.meter_price.is_none()) {
        desk.declare(point, Trouble::Balance, None).await;
        desk.declare(point, Trouble::Price, None).await;
    }
    for point in works.site.service_points.iter().filter(|p| p.wallet.is_some() && p.meter_cuts.is_none()) {
        desk.declare(point, Trouble::AccountOff, None).await;
    }
    let mut pass = tokio::time::interval(PASS_PERIOD);
    pass.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = pass.tick() => {}
        }
        for point in &works.site.service_points {
            if let Some(cuts) = point.meter_cuts.and_then(|ix| cuts(&works.latest, ix)) {
                desk.tell_account(point, cuts).await;
            }
        }
        for turn in &mut turns {
            let point = &works.site.service_points[turn.point];
            if let Some(price) = price_of(&works.latest, turn.price) {
                desk.declare(point, Trouble::Price, drift(point, price, now())).await;
            }
            let compared = match turn.begun.take() {
                Some(begun) if Instant::now() < begun.until => finish(&works, point, turn, begun).await,
                Some(_) => Ok(None),
                None if Instant::now() < turn.due => continue,
                None => {
                    let begun = tokio::select! {
                        () = stop.cancelled() => return,
                        begun = begin(&works, point, turn.price) => begun,
                    };
                    begun.map(|begun| {
                        turn.begun = begun;
                        None
                    })
                }
            };
            if turn.begun.is_some() {
                continue;
            }
            let look = compared.unwrap_or_else(|failure| {
                error!(service_point = %point.id, %failure, "a meter cannot be held against the ledger");
                None
            });
            let (upshot, again) = turn.looks.take(look);
            turn.due = Instant::now() + again;
            match upshot {
                Upshot::Nothing | Upshot::Doubt => {}
                Upshot::Agree => desk.declare(point, Trouble::Balance, None).await,
                Upshot::Differ(difference) => {
                    warn!(service_point = %point.id, %difference, "a meter's balance is not the ledger's");
                    desk.declare(point, Trouble::Balance, Some(words(&difference))).await;
                }
            }
        }
    }
}

/// The first half of a look: the polls before it, and the wallet. `None` if nothing can be compared now.
async fn begin(works: &Reconcile, point: &ServicePoint, price: PointIx) -> Result<Option<Begun>, StoreError> {
    let booked = works.store.booked(&point.id).await?;
    let polled = polled(&works.latest, point, price, None);
    let (0, Some((counter, price))) = (booked.unknown, polled) else { return Ok(None) };
    let Some(seen) = wallet(works, point).await else { return Ok(None) };
    Ok(Some(Begun { booked, counter, price, seen, at: now(), until: Instant::now() + POLL_WITHIN }))
}

/// The second half, when the register was polled again; until then it is begun as before. `None` if a credit moved meanwhile.
async fn finish(
    works: &Reconcile,
    point: &ServicePoint,
    turn: &mut Turn,
    begun: Begun,
) -> Result<Option<Result<(), Difference>>, StoreError> {
    let Some((counter, price)) = polled(&works.latest, point, turn.price, Some(begun.at)) else {
        turn.begun = Some(begun);
        return Ok(None);
    };
    let Begun { booked, seen, at, .. } = begun;
    if works.store.booked(&point.id).await? != booked {
        return Ok(None);
    }
    let (counter, price) = (Span::of(begun.counter, counter), Span::of(begun.price, price));
    let sight = Sight { at, count: seen.count, balance: seen.balance, counter, price };
    let mark = works.store.meter_mark(&point.id).await?;
    let compared = mark.as_ref().map_or(Ok(()), |mark| mark.compare(&sight, &booked));
    let is_repriced = mark.as_ref().is_none_or(|mark| price != Span::of(mark.price, mark.price));
    if compared.is_ok()
        && is_repriced
        && let Some(mark) = MeterMark::new(&point.id, &sight, &booked)
    {
        works.store.set_meter_mark(mark).await?;
    }
    Ok(Some(compared))
}

/// The register's counts and the meter's price as they were polled, the register after that moment.
fn polled(latest: &LatestTable, point: &ServicePoint, price: PointIx, after: Option<Timestamp>) -> Option<(i64, i64)> {
    Some((counts(latest, point, after)?, price_of(latest, price)?))
}

async fn wallet(works: &Reconcile, point: &ServicePoint) -> Option<WalletSeen> {
    let device = works.site.devices.get(point.device.0 as usize)?;
    let Attachment::Line { line, .. } = device.attachment else { return None };
    let command = WalletCommand { device: device.ix, wallet: point.wallet?, frame: None, valid_until: now() + VALID };
    match works.lines.get(line)?.wallet(command).await {
        WalletOutcome::Shown(seen) => Some(seen),
        WalletOutcome::Unknown(_) | WalletOutcome::NotWritable(_) | WalletOutcome::Expired => None,
    }
}

/// The price a meter says, in ten-thousandths of a minor unit; `None` if it is not read well or is no such number.
fn price_of(latest: &LatestTable, point: PointIx) -> Option<i64> {
    let row = latest.get(point).filter(|row| row.quality == Quality::Good)?;
    match row.value? {
        (Value::Decimal(price), _) => price.rescale(-PRICE_DIGITS).and_then(|parts| i64::try_from(parts).ok()),
        (Value::Float(_) | Value::Bool(_) | Value::Text(_), _) => None,
    }
}

/// Whether a meter says that it cuts by its own account; `None` if that is not read well or is neither.
fn cuts(latest: &LatestTable, point: PointIx) -> Option<bool> {
    let row = latest.get(point).filter(|row| row.quality == Quality::Good)?;
    Wallet::cuts(&row.value?.0)
}

/// What the billed register shows, in its own counts.
fn counts(latest: &LatestTable, point: &ServicePoint, after: Option<Timestamp>) -> Option<i64> {
    let row = latest.get(point.register_point).filter(|row| row.quality == Quality::Good)?;
    let (value, at) = row.value?;
    if after.is_some_and(|after| at <= after) {
        return None;
    }
    let base = point.register.base_units(&value)?;
    base.checked_div(point.register.quantity(1)?.0)
}

/// How far the meter's price is from the tariff in force; `None` if it is that, or nothing is in force.
fn drift(point: &ServicePoint, price: i64, at: Timestamp) -> Option<Bilingual> {
    let drift = check_price(price, &point.register, point.tariff.version_at(at)?.rates).err()?;
    let text = |price: i64| format!("{}.{:04}", price / PRICE_PARTS, price % PRICE_PARTS);
    let zh = format!("表内{},价目{}(分/计数)", text(drift.meter), text(drift.tariff));
    Some(Bilingual { zh, en: drift.to_string() })
}

/// The numbers of a difference.
fn words(difference: &Difference) -> Bilingual {
    use guanjia_core::units::Fen;
    let Difference { credited, used, expected, balance, count, expected_count, .. } = difference;
    let zh = format!(
        "表内{},应为{}(入表{credited},计数{used}),购买次数{count}应为{expected_count}",
        Fen(i64::from(*balance)),
        Fen(expected.least),
    );
    Bilingual { zh, en: difference.to_string() }
}

#[cfg(test)]
mod tests;
