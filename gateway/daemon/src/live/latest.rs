//! The table of latest values.
//!
//! ```text
//!   good, suspect ──► too old for its device ──► stale          bad, at once, by what the field says
//!        ▲                                         │ │
//!        └──────── the next good reading ──────────┘◄┘
//! ```
//!
//! Readings come in the order in which they were made, and what is older than what is known is ignored, unless the clock was
//! set back in between. Nothing of it outlives the process.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use guanjia_core::reading::{BadReason, DeviceIx, PointIx, Quality, Reading, Value};
use guanjia_core::time::Timestamp;
use tokio::sync::watch;

use super::changes::{Changes, Marks, Touched};
use crate::site::{Device, Site};

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
    /// When it was last looked for what has become too old.
    looked: Timestamp,
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
            looked: now,
        };
        Self { table: RwLock::new(table), generation: watch::Sender::new(0), lookers: RwLock::new(Vec::new()) }
    }

    /// Takes in what one poll says about points of one device. A reading older than what is known is ignored, until
    /// [`Self::expire`] sees that the clock was set back.
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

    /// The clock was set back to `now`. What was said before cannot be of later: it would hold up all that is said until
    /// the clock is there again.
    fn set_back(&mut self, now: Timestamp) {
        for row in &mut self.rows {
            if let Some((_, at)) = &mut row.value {
                *at = now.min(*at);
            }
            row.since = row.since.min(now);
        }
        for device in &mut self.devices {
            device.since = device.since.min(now);
            device.last_success = device.last_success.map(|at| at.min(now));
        }
        for age in self.ages.iter_mut().filter(|age| age.none_before != Timestamp::MAX) {
            age.none_before = age.none_before.min(now);
        }
    }

    fn expire(&mut self, now: Timestamp) -> Vec<Reading> {
        if now < self.looked {
            self.set_back(now);
        }
        self.looked = now;
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
