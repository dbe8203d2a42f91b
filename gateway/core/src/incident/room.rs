//! The control room: all alarms, root causes and incidents of a site, as one pure machine.
//!
//! ```text
//!   readings, health, time ─► AlarmSet ─transitions─► roots ─► Desk ─► Batch ─► store, then pager
//!   commands of people ──────────▲──────────────────────────────┘
//! ```
//!
//! Every call returns the [`Batch`] of what changed. Its rows belong into one transaction, and nothing of it is acted
//! upon before that transaction is durable. The machine does not go back when the store refuses: the caller keeps the
//! batch, joins the next one to it with [`Batch::append`], and tries again.
//!
//! The caller ticks at [`ControlRoom::next_deadline`], and at least every few seconds, so that a clock that was set
//! back is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::desk::{Desk, DeskOutput, IncidentError, Opening};
use super::message::Standing;
use super::{IncidentRecord, IncidentState, PageRequest, TimelineEntry};
use crate::alarm::{
    AckError, AlarmClass, AlarmDef, AlarmIx, AlarmRecord, AlarmSet, AlarmState, Declaration, Health, Priority,
    ResetError, Transition, TransitionKind,
};
use crate::inhibition::{NodeIx, Topology};
use crate::plan::PlanBook;
use crate::reading::{DeviceIx, Reading};
use crate::roster::Roster;
use crate::text::Bilingual;
use crate::time::Timestamp;

mod plant;
mod roots;

pub use plant::{Plant, RoomError, Saved, Timings};

/// Makes the ids of incidents: UUID v7 of the moment it is given.
pub type IdSource = Box<dyn FnMut(Timestamp) -> Uuid + Send + Sync>;

/// Why a person's command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such alarm.
    #[error("there is no alarm {0:?}")]
    UnknownAlarm(String),
    /// The acknowledgement of one alarm.
    #[error(transparent)]
    Ack(#[from] AckError),
    /// The reset of one alarm.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// The incident.
    #[error(transparent)]
    Incident(#[from] IncidentError),
}

/// What one call changed: the rows of one transaction.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Batch {
    /// Alarms as they are now, each at most once.
    pub alarms: Vec<AlarmRecord>,
    /// Incidents as they are now, each at most once.
    pub incidents: Vec<IncidentRecord>,
    /// Messages, in the order in which they were decided.
    pub pages: Vec<PageRequest>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.alarms.is_empty() && self.incidents.is_empty() && self.pages.is_empty() && self.timeline.is_empty()
    }

    /// Joins a later batch to this one; of each row the later state stays.
    pub fn append(&mut self, later: Batch) {
        self.alarms.retain(|old| later.alarms.iter().all(|new| new.key != old.key));
        self.incidents.retain(|old| later.incidents.iter().all(|new| new.id != old.id));
        self.alarms.extend(later.alarms);
        self.incidents.extend(later.incidents);
        self.pages.extend(later.pages);
        self.timeline.extend(later.timeline);
    }
}

/// All alarms, root causes and incidents of a site.
pub struct ControlRoom {
    alarms: AlarmSet,
    topology: Topology,
    desk: Desk,
    timings: Timings,
    ids: IdSource,
    /// Silent children and when their hold ends.
    waiting: BTreeMap<AlarmIx, Timestamp>,
    /// Nodes with an open incident.
    roots: BTreeMap<NodeIx, Uuid>,
    /// Those of them whose cause has gone, and when their children must have answered.
    recovering: BTreeMap<NodeIx, Timestamp>,
    /// When each device last answered in this run; for guesses only, so a restart begins without.
    heard: BTreeMap<DeviceIx, Timestamp>,
    /// Whether a device fell silent since the guesses were last compared.
    silences_changed: bool,
    dirty: BTreeSet<AlarmIx>,
    timeline: Vec<TimelineEntry>,
    /// The last numbers behind each declared alarm; an incident's title keeps them, so a restart begins without.
    numbers: BTreeMap<Arc<str>, Bilingual>,
}

impl ControlRoom {
    /// Continues from what the store remembers. Calls nobody: what was paged is paged, and ladders that fell due
    /// meanwhile climb at the first tick.
    ///
    /// # Errors
    /// The first [`RoomError`] found in the site file.
    pub fn new(plant: Plant, saved: Saved, ids: IdSource, now: Timestamp) -> Result<Self, RoomError> {
        plant::check(&plant)?;
        let alarms = AlarmSet::new(plant.alarms, saved.alarms);
        let alarms = alarms.map_err(|twin| RoomError::DuplicateAlarm(twin.0.to_string()))?;
        let mut room = Self {
            alarms,
            topology: plant.topology,
            desk: Desk::new(plant.plans, plant.roster, plant.timings.fallback_after),
            timings: plant.timings,
            ids,
            waiting: BTreeMap::new(),
            roots: BTreeMap::new(),
            recovering: BTreeMap::new(),
            heard: BTreeMap::new(),
            silences_changed: true,
            dirty: BTreeSet::new(),
            timeline: Vec::new(),
            numbers: BTreeMap::new(),
        };
        for record in saved.incidents {
            let alerted = saved.alerted.iter().filter(|(id, _)| *id == record.id).map(|(_, person)| person.clone());
            let alerted = alerted.collect();
            let standing = if room.is_standing(record.id) { Standing::Present } else { Standing::Gone };
            let action = room.action_of(&record.root);
            if let Some(node) = room.node_of(&record.root) {
                room.roots.insert(node, record.id);
            }
            room.desk.restore(record, action, standing, alerted);
        }
        room.resume_recoveries(now);
        let orphans = room.alarms.iter().filter(|(ix, _)| room.is_unexplained_silence(*ix)).map(|(ix, _)| ix);
        let orphans: Vec<AlarmIx> = orphans.collect();
        room.waiting.extend(orphans.into_iter().map(|ix| (ix, now + room.timings.child_hold)));
        Ok(room)
    }

    /// Takes one reading.
    pub fn on_reading(&mut self, now: Timestamp, reading: &Reading) -> Batch {
        let transitions = self.alarms.on_reading(now, reading);
        self.absorb(now, transitions)
    }

    /// Takes note that a device has answered, with whatever values. Changes nothing by itself: when others fall silent,
    /// it tells those that answer from those that were not asked yet.
    pub fn on_answer(&mut self, now: Timestamp, device: DeviceIx) {
        self.heard.insert(device, now);
    }

    /// Takes the poll health of a device.
    pub fn on_health(&mut self, now: Timestamp, device: DeviceIx, health: Health) -> Batch {
        let transitions = self.alarms.on_health(now, device, health);
        self.absorb(now, transitions)
    }

    /// Takes the gateway's own word on an alarm.
    pub fn on_declaration(&mut self, now: Timestamp, declaration: &Declaration) -> Batch {
        let Declaration { key, holds, detail } = declaration;
        if *holds {
            self.numbers.insert(Arc::clone(key), detail.clone());
        } else {
            self.numbers.remove(key);
        }
        let transitions = self.alarms.on_declaration(now, key, *holds).into_iter().collect();
        self.absorb(now, transitions)
    }

    /// Lets delays, holds and ladders that are due take effect.
    pub fn tick(&mut self, now: Timestamp) -> Batch {
        let transitions = self.alarms.tick(now);
        self.digest(now, transitions);
        self.end_holds(now);
        self.desk.tick(now);
        self.flush()
    }

    /// When [`ControlRoom::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let holds = self.waiting.values().chain(self.recovering.values()).copied();
        holds.chain(self.alarms.next_deadline()).chain(self.desk.next_deadline()).min()
    }

    /// A person accepts an incident and with it every alarm under it.
    ///
    /// # Errors
    /// [`IncidentError`]; nothing changes then.
    pub fn ack_incident(&mut self, id: Uuid, who: &str, now: Timestamp) -> Result<Batch, IncidentError> {
        let unacked: Vec<AlarmIx> = self.members(id).filter(|(_, record)| !record.acked).map(|(ix, _)| ix).collect();
        match self.desk.ack(id, who, now) {
            // An alarm that came in quietly after the incident was accepted still wants its own acceptance.
            Err(IncidentError::AlreadyAcknowledged { .. }) if !unacked.is_empty() => {}
            other => other?,
        }
        let mut transitions = Vec::new();
        for ix in unacked {
            let live = self.alarms.get(ix).record().occurrence;
            transitions.extend(self.alarms.ack(ix, live, who, now).map(|transition| (ix, transition)));
        }
        self.digest(now, transitions);
        Ok(self.flush())
    }

    /// A person accepts one occurrence of one alarm. When it was the last one of its incident, that is accepted too.
    ///
    /// # Errors
    /// [`CommandError`]; nothing changes then.
    pub fn ack_alarm(&mut self, key: &str, occurrence: u64, who: &str, now: Timestamp) -> Result<Batch, CommandError> {
        let ix = self.alarm(key)?;
        let transition = self.alarms.ack(ix, occurrence, who, now)?;
        if let Some(id) = self.alarms.get(ix).record().incident
            && self.members(id).all(|(_, record)| record.acked || record.suppressed_by.is_some())
            && self.desk.get(id).is_some_and(|record| record.state == IncidentState::Open)
        {
            self.desk.ack(id, who, now)?;
        }
        Ok(self.absorb(now, vec![(ix, transition)]))
    }

    /// A person resets a latched alarm whose cause is gone and which was accepted.
    ///
    /// # Errors
    /// [`CommandError`]; nothing changes then.
    pub fn reset_alarm(&mut self, key: &str, who: &str, now: Timestamp) -> Result<Batch, CommandError> {
        let ix = self.alarm(key)?;
        let transition = self.alarms.reset(ix, now)?;
        if let Some(id) = self.alarms.get(ix).record().incident.filter(|id| self.desk.get(*id).is_some()) {
            self.desk.note(now, id, "reset_by", who, key);
        }
        Ok(self.absorb(now, vec![(ix, transition)]))
    }

    /// A person closes an incident whose alarms have all gone; that is also their acknowledgement.
    ///
    /// # Errors
    /// [`IncidentError`]; nothing changes then.
    pub fn close_incident(&mut self, id: Uuid, who: &str, why: &str, now: Timestamp) -> Result<Batch, IncidentError> {
        let state = self.desk.get(id).ok_or(IncidentError::NotOpen)?.state;
        if let Some((_, record)) = self.members(id).find(|(_, record)| record.active || record.latched) {
            return Err(IncidentError::NotSettled { alarm: record.key.clone() });
        }
        let mut batch = match state {
            IncidentState::Open => self.ack_incident(id, who, now)?,
            IncidentState::Acknowledged | IncidentState::Closed => Batch::default(),
        };
        if self.desk.get(id).is_some() {
            self.desk.close(id, who, why, now);
            self.forget_root(id);
        }
        batch.append(self.flush());
        Ok(batch)
    }

    /// The open incident with that code.
    pub fn find_code(&self, code: &str) -> Option<Uuid> {
        self.desk.find_code(code)
    }

    /// All open incidents, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &IncidentRecord> {
        self.desk.iter()
    }

    /// All alarms.
    pub fn alarms(&self) -> &AlarmSet {
        &self.alarms
    }

    /// The plans.
    pub fn plans(&self) -> &PlanBook {
        self.desk.plans()
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        self.desk.roster()
    }

    /// A new roster from now on.
    pub fn set_roster(&mut self, roster: Roster) {
        self.desk.set_roster(roster);
    }

    /// Silent devices that still wait for a root cause.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn alarm(&self, key: &str) -> Result<AlarmIx, CommandError> {
        self.alarms.find(key).ok_or_else(|| CommandError::UnknownAlarm(key.to_owned()))
    }

    fn absorb(&mut self, now: Timestamp, transitions: Vec<(AlarmIx, Transition)>) -> Batch {
        if transitions.is_empty() {
            return Batch::default();
        }
        self.digest(now, transitions);
        self.flush()
    }

    /// Lets transitions take effect on roots and incidents.
    fn digest(&mut self, now: Timestamp, transitions: Vec<(AlarmIx, Transition)>) {
        for (ix, transition) in transitions {
            self.dirty.insert(ix);
            match transition.kind {
                TransitionKind::Raised | TransitionKind::Reoccurred => {
                    self.rose(ix, now);
                    self.log(ix, transition.kind, now);
                }
                TransitionKind::Cleared | TransitionKind::Acknowledged | TransitionKind::Reset => {
                    self.waiting.remove(&ix);
                    self.log(ix, transition.kind, now);
                }
            }
        }
        self.review_roots(now);
        self.settle(now);
    }

    /// An alarm rose. Life-safety goes straight through; silence looks for its cause first.
    fn rose(&mut self, ix: AlarmIx, now: Timestamp) {
        let def = self.alarms.get(ix).def().clone();
        let evidence = self.topology.evidence_for(&def.key);
        match (def.class, evidence) {
            (AlarmClass::LifeSafety, _) => self.open_or_repeat(ix, now),
            (_, Some(node)) => self.evidence_rose(ix, node, now),
            (AlarmClass::Communication, None) if self.topology.may_hide(def.device) => self.child_fell_silent(ix, now),
            (AlarmClass::Communication | AlarmClass::Process, None) => self.open_or_repeat(ix, now),
        }
    }

    /// Opens an incident of the alarm's own, or goes on with the one that is still open.
    fn open_or_repeat(&mut self, ix: AlarmIx, now: Timestamp) {
        let (def, record) = (self.alarms.get(ix).def().clone(), self.alarms.get(ix).record().clone());
        if let Some(id) = record.incident.filter(|id| self.desk.get(*id).is_some()) {
            let accepted = self.desk.get(id).is_some_and(|record| record.state == IncidentState::Acknowledged);
            let stopped = self.desk.get(id).is_some_and(|record| record.escalates_at.is_none());
            let worse = self.desk.get(id).is_some_and(|record| def.priority < record.priority);
            self.desk.relapse(id);
            self.desk.note(now, id, "reoccurred", &def.key, &format!("occurrence {}", record.occurrence));
            if worse {
                self.desk.raise_priority(id, def.priority, now);
            } else if def.class == AlarmClass::LifeSafety || accepted || stopped {
                self.desk.call_again(id, "reoccurred", now);
            }
            return;
        }
        let id = self.opening_of(&def).map(|opening| self.open(opening, now));
        self.attach(ix, id);
    }

    /// The incident the alarm would open; `None` if it is one that opens none.
    fn opening_of(&self, def: &AlarmDef) -> Option<Opening> {
        Some(Opening {
            root: def.key.to_string(),
            plan: def.plan.as_deref()?.to_owned(),
            priority: def.priority,
            title: self.title_of(def),
            action: def.action.clone(),
        })
    }

    fn open(&mut self, opening: Opening, now: Timestamp) -> Uuid {
        let id = (self.ids)(now);
        self.desk.open(id, opening, now);
        id
    }

    /// Puts the alarm under an incident, or under none.
    fn attach(&mut self, ix: AlarmIx, id: Option<Uuid>) {
        self.alarms.record_mut(ix).incident = id;
        self.dirty.insert(ix);
        if let Some(id) = id {
            self.desk.relapse(id);
        }
    }

    /// Tells the desk which incidents have recovered, and closes those that are settled.
    fn settle(&mut self, now: Timestamp) {
        let open: Vec<(Uuid, IncidentState)> = self.desk.iter().map(|record| (record.id, record.state)).collect();
        for (id, state) in open {
            if self.is_standing(id) {
                continue;
            }
            self.desk.recover(id, now);
            if state == IncidentState::Acknowledged && self.members(id).all(|(_, r)| r.state() == AlarmState::Norm) {
                self.desk.close(id, "", "all alarms are normal", now);
                self.forget_root(id);
            }
        }
    }

    /// The alarms under an incident.
    fn members(&self, id: Uuid) -> impl Iterator<Item = (AlarmIx, &AlarmRecord)> {
        let records = self.alarms.iter().map(|(ix, alarm)| (ix, alarm.record()));
        records.filter(move |(_, record)| record.incident == Some(id))
    }

    /// Whether any alarm of the incident still stands or is latched.
    fn is_standing(&self, id: Uuid) -> bool {
        self.members(id).any(|(_, record)| record.active || record.latched)
    }

    /// Place and what, as titles and pages name it.
    fn title_of(&self, def: &AlarmDef) -> Bilingual {
        let place = self.topology.device(def.device).map(|links| links.name.clone()).unwrap_or_default();
        let title =
            Bilingual { zh: format!("{}{}", place.zh, def.text.zh), en: format!("{} {}", place.en, def.text.en) };
        match self.numbers.get(&def.key).filter(|numbers| !numbers.en.is_empty()) {
            Some(numbers) => {
                Bilingual { zh: format!("{}:{}", title.zh, numbers.zh), en: format!("{}: {}", title.en, numbers.en) }
            }
            None => title,
        }
    }

    fn log(&mut self, ix: AlarmIx, kind: TransitionKind, now: Timestamp) {
        let record = self.alarms.get(ix).record();
        let numbers = || self.numbers.get(record.key.as_str()).map_or_else(String::new, |numbers| numbers.en.clone());
        let (what, detail) = match kind {
            TransitionKind::Raised => ("alarm_raised", numbers()),
            TransitionKind::Reoccurred => ("alarm_reoccurred", numbers()),
            TransitionKind::Cleared => ("alarm_cleared", format!("raised at {}", record.raised_at)),
            TransitionKind::Acknowledged => ("alarm_acknowledged", record.acked_by.clone().unwrap_or_default()),
            TransitionKind::Reset => ("alarm_reset", String::new()),
        };
        self.note(ix, what, &detail, now);
    }

    /// One line of the timeline about an alarm.
    fn note(&mut self, ix: AlarmIx, what: &str, detail: &str, at: Timestamp) {
        let record = self.alarms.get(ix).record();
        let incident = record.incident.filter(|id| self.desk.get(*id).is_some());
        let (what, subject, detail) = (what.to_owned(), record.key.clone(), detail.to_owned());
        self.timeline.push(TimelineEntry { at, incident, what, subject, detail });
    }

    fn flush(&mut self) -> Batch {
        let DeskOutput { incidents, pages, timeline } = self.desk.take();
        let mut lines = std::mem::take(&mut self.timeline);
        lines.extend(timeline);
        let dirty = std::mem::take(&mut self.dirty);
        let alarms = dirty.into_iter().map(|ix| self.alarms.get(ix).record().clone()).collect();
        Batch { alarms, incidents, pages, timeline: lines }
    }
}
