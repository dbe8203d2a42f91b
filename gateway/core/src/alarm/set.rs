//! All alarms of a site, found by the point or device they watch.
//!
//! A reading costs as much as the alarms of its point, a tick as much as the delays that have run out. The set holds
//! no rule of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{AckError, Alarm, AlarmDef, AlarmRecord, Condition, Health, ResetError, Transition};
use crate::reading::{DeviceIx, PointIx, Reading};
use crate::time::Timestamp;

/// The index of an alarm in its [`AlarmSet`]. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmIx(pub(crate) u32);

/// The site has two alarms of one key, so records could not tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two alarms have the key {0:?}; rename one of them")]
pub struct DuplicateAlarm(pub Arc<str>);

/// All alarms of a site.
#[derive(Clone, Debug, Default)]
pub struct AlarmSet {
    alarms: Vec<Alarm>,
    by_point: HashMap<PointIx, Vec<AlarmIx>>,
    by_device: HashMap<DeviceIx, Vec<AlarmIx>>,
    by_key: BTreeMap<Arc<str>, AlarmIx>,
    /// The delays that are running, soonest first.
    due: BTreeSet<(Timestamp, AlarmIx)>,
}

impl AlarmSet {
    /// The alarms of the site file, each with what the store knows of it. Records of alarms the site no longer has
    /// are left alone.
    ///
    /// # Errors
    /// [`DuplicateAlarm`] when two definitions share a key.
    pub fn new(defs: Vec<Arc<AlarmDef>>, records: Vec<AlarmRecord>) -> Result<Self, DuplicateAlarm> {
        let mut records: HashMap<String, AlarmRecord> = records.into_iter().map(|r| (r.key.clone(), r)).collect();
        let mut set = Self::default();
        for def in defs {
            let ix = AlarmIx(set.alarms.len() as u32);
            if set.by_key.insert(def.key.clone(), ix).is_some() {
                return Err(DuplicateAlarm(def.key.clone()));
            }
            match &def.condition {
                Condition::All(terms) => {
                    let points: BTreeSet<PointIx> = terms.iter().map(|term| term.point).collect();
                    for point in points {
                        set.by_point.entry(point).or_default().push(ix);
                    }
                }
                Condition::Silent(device) => set.by_device.entry(*device).or_default().push(ix),
                // Found by its key.
                Condition::Declared => {}
            }
            let record = records.remove(&*def.key);
            set.alarms.push(Alarm::new(def, record));
        }
        Ok(set)
    }

    /// Takes one reading.
    pub fn on_reading(&mut self, now: Timestamp, reading: &Reading) -> Vec<(AlarmIx, Transition)> {
        // Taken out for the while, because a step needs the whole set; nothing else looks at the index meanwhile.
        let Some(watchers) = self.by_point.get_mut(&reading.point).map(std::mem::take) else { return Vec::new() };
        let steps = watchers.iter().filter_map(|ix| self.step(*ix, |alarm| alarm.observe(now, reading))).collect();
        self.by_point.insert(reading.point, watchers);
        steps
    }

    /// Takes the poll health of a device.
    pub fn on_health(&mut self, now: Timestamp, device: DeviceIx, health: Health) -> Vec<(AlarmIx, Transition)> {
        let watchers = self.by_device.get(&device).cloned().unwrap_or_default();
        watchers.into_iter().filter_map(|ix| self.step(ix, |alarm| alarm.device_health(now, device, health))).collect()
    }

    /// Takes the gateway's own word on one alarm. A word on an alarm that is not there, or that watches something else,
    /// changes nothing.
    pub fn on_declaration(&mut self, now: Timestamp, key: &str, holds: bool) -> Option<(AlarmIx, Transition)> {
        let ix = self.find(key)?;
        self.step(ix, |alarm| alarm.declared(now, holds))
    }

    /// Lets every delay that has run out take effect, in the order in which they ran out.
    pub fn tick(&mut self, now: Timestamp) -> Vec<(AlarmIx, Transition)> {
        let ripe: Vec<AlarmIx> = self.due.range(..=(now, AlarmIx(u32::MAX))).map(|&(_, ix)| ix).collect();
        ripe.into_iter().filter_map(|ix| self.step(ix, |alarm| alarm.tick(now))).collect()
    }

    /// When [`AlarmSet::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|&(at, _)| at)
    }

    /// A person accepts one occurrence.
    ///
    /// # Errors
    /// [`AckError`].
    pub fn ack(&mut self, ix: AlarmIx, occurrence: u64, who: &str, now: Timestamp) -> Result<Transition, AckError> {
        self.alarms[ix.0 as usize].ack(occurrence, who, now)
    }

    /// A person resets a latch.
    ///
    /// # Errors
    /// [`ResetError`].
    pub fn reset(&mut self, ix: AlarmIx, now: Timestamp) -> Result<Transition, ResetError> {
        self.alarms[ix.0 as usize].reset(now)
    }

    /// The alarm of that key.
    pub fn find(&self, key: &str) -> Option<AlarmIx> {
        self.by_key.get(key).copied()
    }

    /// One alarm.
    pub fn get(&self, ix: AlarmIx) -> &Alarm {
        &self.alarms[ix.0 as usize]
    }

    /// The alarms that watch whether that device answers.
    pub fn silence_of(&self, device: DeviceIx) -> &[AlarmIx] {
        self.by_device.get(&device).map_or(&[], Vec::as_slice)
    }

    /// All alarms, in the order of the site file.
    pub fn iter(&self) -> impl Iterator<Item = (AlarmIx, &Alarm)> {
        self.alarms.iter().enumerate().map(|(i, alarm)| (AlarmIx(i as u32), alarm))
    }

    /// The records of all alarms that ever rose.
    pub fn snapshot(&self) -> Vec<AlarmRecord> {
        self.alarms.iter().map(Alarm::record).filter(|record| record.occurrence > 0).cloned().collect()
    }

    pub(crate) fn record_mut(&mut self, ix: AlarmIx) -> &mut AlarmRecord {
        self.alarms[ix.0 as usize].record_mut()
    }

    /// Runs one step of one alarm and keeps the deadline index true.
    fn step(
        &mut self,
        ix: AlarmIx,
        step: impl FnOnce(&mut Alarm) -> Option<Transition>,
    ) -> Option<(AlarmIx, Transition)> {
        let alarm = &mut self.alarms[ix.0 as usize];
        if let Some(at) = alarm.next_deadline() {
            self.due.remove(&(at, ix));
        }
        let transition = step(alarm);
        if let Some(at) = alarm.next_deadline() {
            self.due.insert((at, ix));
        }
        transition.map(|transition| (ix, transition))
    }
}
