//! What is true right now, for everybody who only looks: pages, metrics, MQTT, the API.
//!
//! The tasks that decide (alarms, prepaid, lines) each publish what they know here; nobody reads it to decide
//! anything. A lock is held for the copy of one row or one `Arc`, never across an await.

mod changes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use guanjia_core::alarm::AlarmRecord;
use guanjia_core::credit::MeterCredit;
use guanjia_core::incident::IncidentRecord;
use guanjia_core::reading::{BadReason, DeviceIx, PointIx, Quality, Reading, Value};
use guanjia_core::supply::Supply;
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao};
use guanjia_field::{EntranceHandle, LineHandle};
use guanjia_store::Store;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::site::{Device, Site};

pub use self::changes::Changes;
use self::changes::{Marks, Touched};

/// Everything of one configuration that can be looked at or asked.
pub struct Live {
    /// The configuration.
    pub site: Arc<Site>,
    /// The latest value of every point.
    pub latest: Arc<LatestTable>,
    /// The field lines, for their statistics.
    pub lines: Vec<LineHandle>,
    /// The ports that modems connect to, for their statistics.
    pub entrances: Vec<EntranceHandle>,
    /// Alarms and incidents.
    pub alarms: Arc<Board<AlarmBoard>>,
    /// Supplies, one per service point.
    pub supplies: Arc<Board<Vec<SupplyView>>>,
    /// What is written down.
    pub store: Store,
    /// The way to the task that decides about incidents.
    pub desk: mpsc::Sender<DeskCommand>,
    /// Poked after a top-up, so that a supply comes back at once.
    pub prepaid: Arc<Notify>,
    /// Poked after a top-up that goes into a meter.
    pub credits: Arc<Notify>,
    /// The credits of meters whose fate is not known yet.
    pub open_credits: Arc<Board<Vec<MeterCredit>>>,
    /// What stands between the gateway and its work.
    pub ready: Arc<Readiness>,
    /// How phones reach the console; without a trailing slash.
    pub public_url: String,
}

/// What a person asks of the task that decides about alarms and incidents. It answers after the change is durable.
#[derive(Debug)]
pub enum DeskCommand {
    /// Accept an incident: its ladder stops.
    AckIncident {
        /// Which.
        incident: Uuid,
        /// The person, by the site file's id, or an API client's name.
        who: String,
        /// How: `console`, `link` or `api`.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
    /// Close an incident that is over.
    CloseIncident {
        /// Which.
        incident: Uuid,
        /// As in `AckIncident`.
        who: String,
        /// How.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
    /// Let go of a latched alarm whose condition has gone.
    ResetAlarm {
        /// `device/alarm`.
        key: String,
        /// As in `AckIncident`.
        who: String,
        /// How.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskRefusal {
    /// No such incident or alarm is open.
    #[error("no such incident or alarm is open")]
    Unknown,
    /// The incident is closed; it is never opened again by a late answer.
    #[error("the incident is closed already")]
    Closed,
    /// Somebody accepted it before; nothing changes.
    #[error("accepted already by {by}")]
    AlreadyAcknowledged {
        /// Who.
        by: String,
    },
    /// Nobody has accepted it yet; that comes first.
    #[error("nobody has accepted it yet")]
    NotAcknowledged,
    /// Its condition still holds, or an alarm of it does.
    #[error("the condition still holds")]
    StillActive,
    /// No paid supply waits for anybody's word there.
    #[error("no paid supply waits for a word there")]
    NotWaiting,
    /// No credit waits for a person there, or what was found cannot be.
    #[error("{0}")]
    NoCreditWaits(String),
    /// A decision about money says why.
    #[error("{0}")]
    NoReason(String),
    /// The change could not be written down.
    #[error("the store is not available: {0}")]
    Store(String),
}

/// What stands between the gateway and its work, for `/readyz` and the console's first page.
#[derive(Debug)]
pub struct Readiness {
    started: Timestamp,
    problems: Mutex<BTreeMap<&'static str, Bilingual>>,
}

impl Readiness {
    /// How long the first round of polls is waited for before the gateway counts as ready without it.
    pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(30);

    /// Nothing is known to be wrong.
    pub fn new(now: Timestamp) -> Self {
        Self { started: now, problems: Mutex::new(BTreeMap::new()) }
    }

    /// When the program (or this configuration) started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Says that part `what` has a problem only a person can settle, or (`None`) that it is settled.
    pub fn set(&self, what: &'static str, problem: Option<Bilingual>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(text) => problems.insert(what, text),
            None => problems.remove(what),
        };
    }

    /// Every problem there is.
    pub fn problems(&self) -> Vec<(&'static str, Bilingual)> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|(what, text)| (*what, text.clone())).collect()
    }
}

/// The latest word of one point.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The last value that was good or suspect, and when the device said it. It outlives bad quality, so that a
    /// page can show "12.3 kW, 4 minutes ago" instead of nothing; `quality` says whether it still counts.
    pub value: Option<(Value, Timestamp)>,
    /// The quality now.
    pub quality: Quality,
    /// Since when it has been of that quality.
    pub since: Timestamp,
}

/// The latest word of every point, by [`PointIx`].
#[derive(Debug)]
pub struct LatestTable {
    table: RwLock<Table>,
    generation: watch::Sender<u64>,
    lookers: RwLock<Vec<Weak<Marks>>>,
}

#[derive(Debug)]
struct Table {
    rows: Vec<Latest>,
    devices: Vec<DeviceStatus>,
    ages: Vec<Age>,
    touched: Touched,
}

/// What is needed to notice that values of a device have become too old.
#[derive(Clone, Copy, Debug)]
struct Age {
    /// Its points: this one, and so many.
    first: usize,
    count: usize,
    /// How old they may become.
    max: Duration,
    /// None of its values that count is older than this. It may be too early, never too late, so that a device whose
    /// values come all the time is looked through once in `max` and not once a second.
    none_before: Timestamp,
}

/// How one device is doing.
#[derive(Clone, Copy, Debug)]
pub struct DeviceStatus {
    /// `None` while it answers; otherwise why it does not.
    pub silent: Option<BadReason>,
    /// Since when.
    pub since: Timestamp,
    /// When it last answered.
    pub last_success: Option<Timestamp>,
}

impl LatestTable {
    /// A table for every point and device of the site, none read yet.
    pub fn new(site: &Site, now: Timestamp) -> Self {
        let never = Quality::Bad(BadReason::NeverRead);
        let row = Latest { value: None, quality: never, since: now };
        let status = DeviceStatus { silent: Some(BadReason::NeverRead), since: now, last_success: None };
        let age = |device: &Device| Age {
            first: device.first_point.0 as usize,
            count: device.profile.points.len(),
            max: device.max_age,
            none_before: Timestamp::MAX,
        };
        let table = Table {
            rows: vec![row; site.points.len()],
            devices: vec![status; site.devices.len()],
            ages: site.devices.iter().map(age).collect(),
            touched: Touched::default(),
        };
        Self { table: RwLock::new(table), generation: watch::Sender::new(0), lookers: RwLock::new(Vec::new()) }
    }

    /// Takes in what one poll says about points of one device. A reading older than what is known is ignored.
    pub fn report(&self, device: DeviceIx, readings: &[Reading]) {
        let touched;
        {
            let table = &mut *self.write();
            for reading in readings {
                table.take_in(device, reading);
            }
            if let Some(at) = readings.iter().filter(|r| r.quality.is_good()).map(|r| r.at).max() {
                table.set_device(device, None, at);
            }
            touched = std::mem::take(&mut table.touched);
        }
        self.changed(touched);
    }

    /// Takes in readings of whatever devices, and nothing about the devices themselves.
    #[cfg(test)]
    pub fn update(&self, readings: &[Reading]) {
        let touched;
        {
            let table = &mut *self.write();
            for reading in readings {
                let devices_up_to_it = table.ages.partition_point(|age| age.first <= reading.point.0 as usize);
                table.take_in(DeviceIx(devices_up_to_it as u32 - 1), reading);
            }
            touched = std::mem::take(&mut table.touched);
        }
        self.changed(touched);
    }

    /// Takes in a device's health.
    pub fn set_device(&self, device: DeviceIx, silent: Option<BadReason>, at: Timestamp) {
        let touched = {
            let table = &mut *self.write();
            table.set_device(device, silent, at);
            std::mem::take(&mut table.touched)
        };
        self.changed(touched);
    }

    /// Turns stale what is good or suspect and older than its device allows; returns a reading for each.
    pub fn expire(&self, now: Timestamp) -> Vec<Reading> {
        let stale = self.write().expire(now);
        if !stale.is_empty() {
            self.changed(Touched { points: stale.iter().map(|reading| reading.point).collect(), health: false });
        }
        stale
    }

    /// From now on, what changes.
    pub fn changes(&self) -> Changes {
        let (changes, marks) = Changes::of(self.read().rows.len());
        let mut lookers = self.lookers.write().unwrap_or_else(PoisonError::into_inner);
        lookers.retain(|looker| looker.strong_count() > 0);
        lookers.push(marks);
        changes
    }

    /// The latest word of some points.
    pub fn rows(&self, points: &[PointIx]) -> Vec<(PointIx, Latest)> {
        let table = self.read();
        points.iter().filter_map(|point| Some((*point, table.rows.get(point.0 as usize)?.clone()))).collect()
    }

    /// The latest word of one point.
    pub fn get(&self, point: PointIx) -> Option<Latest> {
        self.read().rows.get(point.0 as usize).cloned()
    }

    /// Looks at the latest word of `count` points from `first` on. Whoever brings readings waits meanwhile, so what is
    /// done with them must be short.
    pub fn with<T>(&self, first: PointIx, count: usize, look: impl FnOnce(&[Latest]) -> T) -> T {
        let first = first.0 as usize;
        look(self.read().rows.get(first..first + count).unwrap_or_default())
    }

    /// The status of every device, in order.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.read().devices.clone()
    }

    /// Whether every device has answered or failed to answer at least once.
    pub fn first_round_done(&self) -> bool {
        self.read().devices.iter().all(|d| d.silent != Some(BadReason::NeverRead))
    }

    /// Changes whenever anything in the table does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, touched: Touched) {
        self.generation.send_modify(|g| *g += 1);
        if touched.points.is_empty() && !touched.health {
            return;
        }
        let lookers = self.lookers.read().unwrap_or_else(PoisonError::into_inner);
        for looker in lookers.iter().filter_map(Weak::upgrade) {
            looker.mark(&touched);
        }
    }
}

impl Table {
    fn take_in(&mut self, device: DeviceIx, reading: &Reading) {
        let Some(row) = self.rows.get_mut(reading.point.0 as usize) else { return };
        if row.value.as_ref().is_some_and(|(_, at)| reading.at < *at) {
            return;
        }
        let same = reading.value.is_none() || reading.value.as_ref() == row.value.as_ref().map(|(value, _)| value);
        if row.quality != reading.quality || !same {
            self.touched.points.push(reading.point);
        }
        if row.quality != reading.quality {
            row.quality = reading.quality;
            row.since = reading.at;
        }
        if let Some(value) = &reading.value {
            row.value = Some((value.clone(), reading.at));
        }
        let counts = matches!(row.quality, Quality::Good | Quality::Suspect);
        if let (true, Some(age)) = (counts, self.ages.get_mut(device.0 as usize)) {
            age.none_before = age.none_before.min(reading.at);
        }
    }

    fn set_device(&mut self, device: DeviceIx, silent: Option<BadReason>, at: Timestamp) {
        let Some(status) = self.devices.get_mut(device.0 as usize) else { return };
        if status.silent != silent {
            status.silent = silent;
            status.since = at;
            self.touched.health = true;
        }
        if silent.is_none() {
            status.last_success = Some(at);
        }
    }

    fn expire(&mut self, now: Timestamp) -> Vec<Reading> {
        let mut stale = Vec::new();
        for age in &mut self.ages {
            if age.none_before == Timestamp::MAX || now.since(age.none_before) <= age.max {
                continue;
            }
            age.none_before = Timestamp::MAX;
            let rows = self.rows.iter_mut().enumerate().skip(age.first).take(age.count);
            for (index, row) in rows {
                let (Some((_, at)), Quality::Good | Quality::Suspect) = (&row.value, row.quality) else { continue };
                if now.since(*at) <= age.max {
                    age.none_before = age.none_before.min(*at);
                    continue;
                }
                (row.quality, row.since) = (Quality::Stale, now);
                stale.push(Reading { point: PointIx(index as u32), value: None, quality: Quality::Stale, at: now });
            }
        }
        stale
    }
}

/// Alarms and incidents as of the last committed change.
#[derive(Clone, Debug, Default)]
pub struct AlarmBoard {
    /// Every alarm that is not simply normal.
    pub alarms: Vec<AlarmRecord>,
    /// Every incident that is not closed, newest first.
    pub incidents: Vec<IncidentRecord>,
}

/// One service point as people ask about it: what it has, whether it is on, and why not.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SupplyView {
    /// The site file's id.
    pub service_point: Arc<str>,
    /// The wallet's balance.
    pub balance: Hao,
    /// What of it is owed in the ledger although the meter keeps the credit; `None` if nothing is.
    pub debt: Option<Fen>,
    /// What the gateway wants.
    pub desired: Supply,
    /// What the relay says; `None` while it has not been read, or there is none.
    pub reported: Option<Supply>,
    /// Why it is wanted so, as stable words.
    pub reasons: Vec<String>,
    /// What stands between a used-up balance and a cut, as stable words.
    pub blocked: Vec<String>,
    /// What a supply that is wanted and not there waits for, as a stable word; `close_permit`: somebody's word that it
    /// is safe.
    pub waits_for: Option<&'static str>,
    /// How long the balance lasts at the use of the last days; `None` while unknown.
    pub cover: Option<Duration>,
    /// The warning level reached in this cycle.
    pub warning: Option<String>,
    /// The register, in Wh or mL, and when it was read.
    pub register: Option<(i64, Timestamp)>,
}

/// A value that one task publishes and many look at.
#[derive(Debug)]
pub struct Board<T> {
    value: watch::Sender<Arc<T>>,
}

impl<T> Board<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self { value: watch::Sender::new(Arc::new(value)) }
    }

    /// Replaces it.
    pub fn publish(&self, value: T) {
        self.value.send_replace(Arc::new(value));
    }

    /// The value now.
    pub fn get(&self) -> Arc<T> {
        self.value.borrow().clone()
    }

    /// Changes whenever it is replaced.
    pub fn watch(&self) -> watch::Receiver<Arc<T>> {
        self.value.subscribe()
    }
}
