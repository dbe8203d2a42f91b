//! The desk: open incidents, their owners, their ladders.
//!
//! * The owner is never empty: the first person on duty for the plan's lead role, else the duty phone, else the
//!   fallback person.
//! * A step of a ladder whose roles nobody fills is skipped at once. Behind the last step stands the fallback person,
//!   so no ladder ends without anybody having been called.
//! * An acknowledgement stops the ladder. It never re-opens anything, however late it comes.
//! * A life-safety alarm that comes again always calls again. Any other one calls again only after the incident was
//!   accepted, because before that the ladder is still calling.
//! * Recovery pages go to those who were alerted, and to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::message::{self, Standing, Words};
use super::{IncidentRecord, IncidentState, LEVELS_PER_ROUND, PageKind, TimelineEntry};
use crate::alarm::Priority;
use crate::plan::{After, LadderStep, OTHER_EVENTS, PlanBook};
use crate::roster::{PersonId, Roster};
use crate::text::Bilingual;
use crate::time::Timestamp;

/// The role that answers for whatever has no other owner.
pub const DUTY_PHONE: &str = "duty_phone";
/// Codes have four digits and no leading zero, so that they survive being spoken.
const CODES: std::ops::Range<u32> = 1_000..10_000;

/// One message to one person; the daemon makes one page row of it per channel of the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The incident.
    pub incident: Uuid,
    /// [`IncidentRecord::level`] when it was decided; part of the dedupe key.
    pub level: u32,
    /// To whom.
    pub person: PersonId,
    /// What it says.
    pub kind: PageKind,
    /// Its rank in a channel's queue. A recovery never goes ahead of an alert.
    pub priority: Priority,
    /// One line of at most 70 UTF-16 units, with the code.
    pub title: Bilingual,
    /// The whole text.
    pub body: Bilingual,
}

/// What the desk decided: rows to be written.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeskOutput {
    /// Incidents as they are now, each at most once.
    pub incidents: Vec<IncidentRecord>,
    /// Messages, in the order in which they were decided.
    pub pages: Vec<PageRequest>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// Why a command about an incident was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncidentError {
    /// Closed, merged, or never there.
    #[error("no open incident has this code; it may have recovered and been closed already")]
    NotOpen,
    /// Somebody was faster.
    #[error("{by} has already acknowledged this incident")]
    AlreadyAcknowledged {
        /// Who.
        by: PersonId,
    },
    /// Closing was refused.
    #[error("the alarm {alarm} is not back to normal; settle it before closing the incident")]
    NotSettled {
        /// One alarm that still stands, waits for a reset, or waits for an acknowledgement.
        alarm: String,
    },
}

/// What opens an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The alarm's key or the node's id.
    pub root: String,
    /// The plan it runs.
    pub plan: String,
    /// How bad it is.
    pub priority: Priority,
    /// Place and what.
    pub title: Bilingual,
    /// What a person has to do now.
    pub action: Bilingual,
}

/// One open incident and what the desk remembers of it.
#[derive(Clone, Debug)]
struct Case {
    record: IncidentRecord,
    action: Bilingual,
    standing: Standing,
    alerted: BTreeSet<PersonId>,
}

/// The open incidents of a site.
#[derive(Clone, Debug)]
pub struct Desk {
    plans: PlanBook,
    roster: Roster,
    /// How long after a ladder's last step the fallback person is called.
    fallback_after: std::time::Duration,
    open: BTreeMap<Uuid, Case>,
    changed: BTreeSet<Uuid>,
    out: DeskOutput,
}

impl Desk {
    /// An empty desk.
    pub fn new(plans: PlanBook, roster: Roster, fallback_after: std::time::Duration) -> Self {
        let (open, changed) = (BTreeMap::new(), BTreeSet::new());
        Self { plans, roster, fallback_after, open, changed, out: DeskOutput::default() }
    }

    /// Puts an open incident back on the desk after a restart. Writes nothing and calls nobody.
    pub fn restore(
        &mut self,
        record: IncidentRecord,
        action: Bilingual,
        standing: Standing,
        alerted: BTreeSet<PersonId>,
    ) {
        if record.state != IncidentState::Closed {
            self.open.insert(record.id, Case { record, action, standing, alerted });
        }
    }

    /// The open incident of that id.
    pub fn get(&self, id: Uuid) -> Option<&IncidentRecord> {
        self.open.get(&id).map(|case| &case.record)
    }

    /// The open incident with that code.
    pub fn find_code(&self, code: &str) -> Option<Uuid> {
        self.iter().find(|record| record.code == code).map(|record| record.id)
    }

    /// The open incident with that root.
    pub fn find_root(&self, root: &str) -> Option<Uuid> {
        self.iter().find(|record| record.root == root).map(|record| record.id)
    }

    /// All open incidents, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &IncidentRecord> {
        self.open.values().map(|case| &case.record)
    }

    /// The plans.
    pub fn plans(&self) -> &PlanBook {
        &self.plans
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// A new roster from now on.
    pub fn set_roster(&mut self, roster: Roster) {
        self.roster = roster;
    }

    /// Opens an incident and takes the first step of its ladder.
    pub fn open(&mut self, id: Uuid, opening: Opening, now: Timestamp) {
        let owner = self.owner(&opening.plan, now);
        let record = IncidentRecord {
            id,
            code: self.free_code(id),
            plan: opening.plan,
            priority: opening.priority,
            state: IncidentState::Open,
            root: opening.root,
            title: opening.title,
            owner,
            opened_at: now,
            level: 0,
            escalates_at: (opening.priority != Priority::P4).then_some(now),
            acked_at: None,
            acked_by: None,
            closed_at: None,
        };
        let (root, detail) = (record.root.clone(), format!("{} {}", record.priority.as_str(), record.title.zh));
        let case = Case { record, action: opening.action, standing: Standing::Present, alerted: BTreeSet::new() };
        self.open.insert(id, case);
        self.note(now, id, "opened", &root, &detail);
        self.climb(id, now);
    }

    /// An alarm of the incident stands again, or one more does.
    pub fn relapse(&mut self, id: Uuid) {
        if let Some(case) = self.open.get_mut(&id) {
            case.standing = Standing::Present;
        }
    }

    /// Calls people again. While the ladder climbs, everybody called so far is called once more and it climbs on from
    /// where it is; if it has ended or was stopped, the incident is open again and the ladder starts from the bottom.
    pub fn call_again(&mut self, id: Uuid, why: &str, now: Timestamp) {
        let Some(case) = self.open.get_mut(&id) else { return };
        if case.record.priority == Priority::P4 {
            return;
        }
        let round = (case.record.round() + 1) * LEVELS_PER_ROUND;
        let subject = case.record.root.clone();
        if case.record.state == IncidentState::Open && case.record.escalates_at.is_some() {
            case.record.level = round + case.record.steps_taken();
            let people: Vec<PersonId> = case.alerted.iter().cloned().collect();
            self.note(now, id, "called_again", &subject, why);
            self.page(id, PageKind::Alert, &people, now);
        } else {
            self.note(now, id, "called_again", &subject, why);
            self.start_round(id, round, now);
        }
    }

    /// Raises the incident to a higher priority, if it is one; people are called by the new ladder from its bottom.
    pub fn raise_priority(&mut self, id: Uuid, priority: Priority, now: Timestamp) {
        let Some(case) = self.open.get_mut(&id) else { return };
        // P1 orders before P4.
        if priority >= case.record.priority {
            return;
        }
        let detail = format!("{} -> {}", case.record.priority.as_str(), priority.as_str());
        case.record.priority = priority;
        let (round, root) = ((case.record.round() + 1) * LEVELS_PER_ROUND, case.record.root.clone());
        self.note(now, id, "priority_raised", &root, &detail);
        self.start_round(id, round, now);
    }

    fn start_round(&mut self, id: Uuid, level: u32, now: Timestamp) {
        if let Some(case) = self.open.get_mut(&id) {
            let record = &mut case.record;
            record.state = IncidentState::Open;
            record.acked_at = None;
            record.acked_by = None;
            record.level = level;
            record.escalates_at = Some(now);
        }
        self.climb(id, now);
    }

    /// Another cause turned out to be the root. Its priority counts through [`Desk::raise_priority`] only, and nobody
    /// is called for the change itself.
    pub fn set_root(&mut self, id: Uuid, cause: Opening, now: Timestamp) {
        let Some(case) = self.open.get_mut(&id) else { return };
        let detail = format!("{} -> {}", case.record.root, cause.root);
        case.record.root = cause.root.clone();
        case.record.plan = cause.plan;
        case.record.title = cause.title;
        case.action = cause.action;
        self.note(now, id, "root_changed", &cause.root, &detail);
    }

    /// A person accepts the incident; the ladder stops.
    ///
    /// # Errors
    /// [`IncidentError::NotOpen`] or [`IncidentError::AlreadyAcknowledged`]; nothing changes then.
    pub fn ack(&mut self, id: Uuid, who: &str, now: Timestamp) -> Result<(), IncidentError> {
        let case = self.open.get_mut(&id).ok_or(IncidentError::NotOpen)?;
        if case.record.state == IncidentState::Acknowledged {
            let by = case.record.acked_by.clone().unwrap_or_default();
            return Err(IncidentError::AlreadyAcknowledged { by });
        }
        case.record.state = IncidentState::Acknowledged;
        case.record.escalates_at = None;
        case.record.acked_at = Some(now);
        case.record.acked_by = Some(who.to_owned());
        self.note(now, id, "acknowledged", who, "");
        Ok(())
    }

    /// All alarms of the incident have gone: those who were alerted are told. A P3 ladder stops, P1 and P2 climb on
    /// until somebody accepts.
    pub fn recover(&mut self, id: Uuid, now: Timestamp) {
        let Some(case) = self.open.get_mut(&id) else { return };
        if case.standing == Standing::Gone {
            return;
        }
        case.standing = Standing::Gone;
        if case.record.priority > Priority::P2 {
            case.record.escalates_at = None;
        }
        let (root, people) = (case.record.root.clone(), case.alerted.iter().cloned().collect::<Vec<_>>());
        self.note(now, id, "recovered", &root, "");
        self.page(id, PageKind::Recovery, &people, now);
    }

    /// Takes the incident off the desk.
    pub fn close(&mut self, id: Uuid, subject: &str, why: &str, now: Timestamp) {
        self.note(now, id, "closed", subject, why);
        let Some(mut case) = self.open.remove(&id) else { return };
        self.changed.remove(&id);
        case.record.state = IncidentState::Closed;
        case.record.escalates_at = None;
        case.record.closed_at = Some(now);
        self.out.incidents.push(case.record);
    }

    /// Takes `from` off the desk because `into` is the same trouble. Whoever was alerted about `from` hears the
    /// recovery of `into`.
    pub fn merge(&mut self, from: Uuid, into: Uuid, now: Timestamp) {
        let Some(code) = self.get(into).map(|record| record.code.clone()) else { return };
        let alerted = self.open.get(&from).map(|case| case.alerted.clone()).unwrap_or_default();
        if let Some(case) = self.open.get_mut(&into) {
            case.alerted.extend(alerted);
        }
        self.close(from, &code, "merged", now);
    }

    /// Takes every step that is due. A clock that was set back delays a step by no more than its own wait.
    pub fn tick(&mut self, now: Timestamp) {
        let ahead: Vec<Uuid> =
            self.iter().filter(|r| r.escalates_at.is_some_and(|at| at > now)).map(|r| r.id).collect();
        for id in ahead {
            let Some(record) = self.get(id) else { continue };
            let (steps, taken) = (self.ladder(&record.plan, record.priority), record.steps_taken() as usize);
            let (Some(next), Some(last)) = (steps.get(taken), steps.get(taken.saturating_sub(1))) else { continue };
            let latest = now + next.after.0.saturating_sub(last.after.0);
            if record.escalates_at.is_some_and(|at| at > latest) {
                self.amend(id, |record| record.escalates_at = Some(latest));
            }
        }
        let due = |record: &&IncidentRecord| record.escalates_at.is_some_and(|at| at <= now);
        let due: Vec<Uuid> = self.iter().filter(due).map(|record| record.id).collect();
        for id in due {
            self.climb(id, now);
        }
    }

    /// When [`Desk::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.iter().filter_map(|record| record.escalates_at).min()
    }

    /// Everything decided since the last time.
    pub fn take(&mut self) -> DeskOutput {
        let mut out = std::mem::take(&mut self.out);
        let changed = std::mem::take(&mut self.changed);
        out.incidents.extend(changed.into_iter().filter_map(|id| self.get(id).cloned()));
        out
    }

    /// Adds a line to the incident's timeline; the incident's row is written with it.
    pub fn note(&mut self, at: Timestamp, id: Uuid, what: &str, subject: &str, detail: &str) {
        self.changed.insert(id);
        self.out.timeline.push(TimelineEntry {
            at,
            incident: Some(id),
            what: what.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// Climbs until the next step lies ahead.
    fn climb(&mut self, id: Uuid, now: Timestamp) {
        // The ladder is shorter than a round has levels, so this ends.
        while let Some((due, taken)) = self.due_step(id, now) {
            let Some(record) = self.get(id) else { return };
            let steps = self.ladder(&record.plan, record.priority);
            let Some(step) = steps.get(taken) else {
                self.amend(id, |record| record.escalates_at = None);
                return;
            };
            let people = self.people(step, now);
            // Nobody waits for a step that calls nobody.
            let wait = |next: &LadderStep| {
                if people.is_empty() { due } else { due + next.after.0.saturating_sub(step.after.0) }
            };
            let next = steps.get(taken + 1).map(wait);
            self.amend(id, |record| {
                record.level += 1;
                record.escalates_at = next;
            });
            let (what, roles) = (if people.is_empty() { "step_empty" } else { "escalated" }, step.to.join(" "));
            let subject = if people.is_empty() { roles.clone() } else { people.join(" ") };
            self.note(now, id, what, &subject, &roles);
            self.page(id, PageKind::Alert, &people, now);
        }
    }

    /// The due time of the step that must be taken now, and how many were taken before it.
    fn due_step(&self, id: Uuid, now: Timestamp) -> Option<(Timestamp, usize)> {
        let record = self.get(id).filter(|record| record.state == IncidentState::Open)?;
        let due = record.escalates_at.filter(|due| *due <= now)?;
        Some((due, record.steps_taken() as usize))
    }

    fn amend(&mut self, id: Uuid, change: impl FnOnce(&mut IncidentRecord)) {
        if let Some(case) = self.open.get_mut(&id) {
            change(&mut case.record);
            self.changed.insert(id);
        }
    }

    /// The ladder with the fallback person behind its last step. That step names no role.
    fn ladder(&self, plan: &str, priority: Priority) -> Vec<LadderStep> {
        let mut steps = self.plans.ladder(plan, priority).to_vec();
        if let Some(last) = steps.last() {
            steps.push(LadderStep { after: After(last.after.0 + self.fallback_after), to: Vec::new() });
        }
        steps
    }

    fn people(&self, step: &LadderStep, now: Timestamp) -> Vec<PersonId> {
        if step.to.is_empty() {
            return vec![self.roster.fallback().clone()];
        }
        let mut people: Vec<PersonId> = Vec::new();
        for person in step.to.iter().flat_map(|role| self.roster.on_duty(role, now)) {
            if !people.contains(&person) {
                people.push(person);
            }
        }
        people
    }

    fn owner(&self, plan: &str, now: Timestamp) -> PersonId {
        let lead = self.plans.get(plan).map(|plan| plan.roles.lead.as_str());
        let roles = lead.into_iter().chain([DUTY_PHONE]);
        let found = roles.flat_map(|role| self.roster.on_duty(role, now)).next();
        found.unwrap_or_else(|| self.roster.fallback().clone())
    }

    /// Words one message per person and remembers who was alerted.
    fn page(&mut self, id: Uuid, kind: PageKind, people: &[PersonId], now: Timestamp) {
        let Some(case) = self.open.get_mut(&id) else { return };
        // A plan that the site has since removed must not silence its incident.
        let Some(plan) = self.plans.get(&case.record.plan).or_else(|| self.plans.get(OTHER_EVENTS)) else { return };
        let record = &case.record;
        let clock = self.roster.wall_clock(if kind == PageKind::Recovery { now } else { record.opened_at });
        let words = Words { record, plan, action: &case.action, clock: &clock, standing: case.standing };
        let (title, body) = (message::title(kind, &words), message::body(kind, &words));
        let priority = if kind == PageKind::Recovery { record.priority.max(Priority::P3) } else { record.priority };
        for person in people {
            self.out.pages.push(PageRequest {
                incident: id,
                level: record.level,
                person: person.clone(),
                kind,
                priority,
                title: title.clone(),
                body: body.clone(),
            });
        }
        if kind == PageKind::Alert {
            case.alerted.extend(people.iter().cloned());
        }
        self.changed.insert(id);
    }

    /// Four digits that no other open incident has; a fifth if all are taken, for a long code beats a silent alarm.
    fn free_code(&self, id: Uuid) -> String {
        let taken: BTreeSet<&str> = self.iter().map(|record| record.code.as_str()).collect();
        let count = CODES.end - CODES.start;
        let start = (id.as_u128() % u128::from(count)) as u32;
        let codes = (0..count).map(|i| CODES.start + (start + i) % count).chain(CODES.end..);
        codes.map(|code| code.to_string()).find(|code| !taken.contains(code.as_str())).unwrap_or_default()
    }
}
