//! When what is read: anchored slots.
//!
//! Each device has one slot per poll class. A slot's times are `anchor + n x period` and nothing else: a late poll does
//! not push the next one, and a missed one is left out and counted instead of being made up for. The anchors of the
//! devices are spread over the period, so that a line does not ask everybody at once and then sleep. The first poll of
//! all comes at the start, because a meter that is read once an hour must not be unknown for an hour.

use std::cmp::Reverse;
use std::time::Duration;

use guanjia_core::profile::PollClass;
use tokio::time::Instant;

use super::device::Device;
use crate::frame::Request;
use crate::plan::{ReadRequest, plan};

/// No slot comes more often.
pub(super) const PERIOD_MIN: Duration = Duration::from_millis(50);

/// Whether a read must be answered once more before its readings are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Confirmed,
    /// The device was silent since this was last read.
    Unconfirmed,
}

/// One read of a slot.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) read: ReadRequest,
    pub(super) request: Request,
    pub(super) trust: Trust,
    /// Whether the device ever answered it with data.
    pub(super) proven: bool,
    /// How often in a row the device refused it.
    pub(super) refusals: u32,
    /// The device answers, but not to this: it is left out until then.
    pub(super) rests: Option<Rest>,
}

/// The back-off of one read that is never answered by a device that answers others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) misses: u32,
    pub(super) until: Instant,
}

impl Planned {
    pub(super) fn new(read: ReadRequest) -> Self {
        let request = read.request();
        Self { read, request, trust: Trust::Confirmed, proven: false, refusals: 0, rests: None }
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.rests.is_some_and(|rest| now < rest.until)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    /// The position of the device on its line.
    pub(super) device: usize,
    pub(super) class: PollClass,
    pub(super) reads: Vec<Planned>,
    /// Which of the device's plans they come from.
    pub(super) plan: u32,
    /// When this turn began or begins.
    pub(super) due: Instant,
    /// The read that comes next in this turn.
    pub(super) position: usize,
    /// The read at `position` is to be made again at once.
    repeat: Option<Repeat>,
    anchor: Instant,
    period: Duration,
}

/// Why a read is made again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It was not answered.
    Missed,
    /// Its answer was the first after a silence.
    Suspect,
}

impl Slot {
    pub(super) fn is_repeat(&self) -> bool {
        self.repeat.is_some()
    }

    pub(super) fn repeats(&self) -> Option<Repeat> {
        self.repeat
    }

    pub(super) fn repeat(&mut self, why: Repeat) {
        self.repeat = Some(why);
    }

    /// The smallest goes first. A poll that is late by its whole period counts as an alarm poll, so that a busy line
    /// starves nobody.
    pub(super) fn urgency(&self, now: Instant) -> (PollClass, Instant, Reverse<usize>) {
        let is_starving = now.saturating_duration_since(self.due) >= self.period;
        let class = if is_starving { PollClass::Alarm } else { self.class };
        // Among equals a turn that has begun is finished first.
        (class, self.due, Reverse(self.position))
    }

    /// Steps over reads that rest. Returns whether one is left in this turn.
    pub(super) fn seek(&mut self, now: Instant) -> bool {
        while self.reads.get(self.position).is_some_and(|r| r.is_resting(now)) {
            self.position += 1;
        }
        self.position < self.reads.len()
    }

    /// The present read is done with. Returns how many turns were missed if the turn is over.
    pub(super) fn advance(&mut self, now: Instant) -> u64 {
        self.repeat = None;
        self.position += 1;
        if self.seek(now) { 0 } else { self.finish(now) }
    }

    /// The turn is over; the next one is the first anchored time that still lies ahead.
    pub(super) fn finish(&mut self, now: Instant) -> u64 {
        (self.position, self.repeat) = (0, None);
        let following = self.after(self.due);
        self.due = if following > now { following } else { self.after(now) };
        ((self.due - following).as_nanos() / self.period.as_nanos()) as u64
    }

    /// Plans the reads anew between two turns, if the device has taught something since. What is known about a read
    /// that stays the same is kept; a point whose last answer was not to be believed yet is not believed now either.
    pub(super) fn replan(&mut self, device: &Device) {
        if self.plan == device.plans || self.position > 0 || self.is_repeat() {
            return;
        }
        self.plan = device.plans;
        let mut old = std::mem::take(&mut self.reads);
        for read in plan(&device.layout(), Some(self.class)) {
            let same = old.iter().position(|planned| planned.read == read);
            let planned = same.map(|at| old.swap_remove(at)).unwrap_or_else(|| Planned::new(read));
            self.reads.push(planned);
        }
        let is_doubted = |i: &usize| old.iter().any(|o| o.trust == Trust::Unconfirmed && o.read.points.contains(i));
        for planned in self.reads.iter_mut().filter(|p| p.read.points.iter().any(is_doubted)) {
            planned.trust = Trust::Unconfirmed;
        }
    }

    /// The device fell silent: what it says next is not believed before it is confirmed.
    pub(super) fn forget(&mut self) {
        (self.position, self.repeat) = (0, None);
        for planned in &mut self.reads {
            planned.trust = Trust::Unconfirmed;
            planned.rests = None;
        }
    }

    /// The first anchored time after `instant`.
    fn after(&self, instant: Instant) -> Instant {
        if instant < self.anchor {
            return self.anchor;
        }
        let turns = (instant - self.anchor).as_nanos() / self.period.as_nanos() + 1;
        let ahead = turns.saturating_mul(self.period.as_nanos());
        self.anchor + Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX))
    }
}

/// All slots of a line that starts now.
pub(super) fn slots(devices: &[Device], start: Instant) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        for class in [PollClass::Alarm, PollClass::Billing, PollClass::Bulk] {
            let period = match class {
                PollClass::Alarm => device.spec.periods.alarm,
                PollClass::Billing => device.spec.periods.billing,
                PollClass::Bulk => device.spec.periods.bulk,
            };
            let period = period.max(PERIOD_MIN);
            let reads = plan(&device.layout(), Some(class));
            if reads.is_empty() {
                continue;
            }
            slots.push(Slot {
                device: i,
                class,
                reads: reads.into_iter().map(Planned::new).collect(),
                plan: device.plans,
                due: start,
                position: 0,
                repeat: None,
                anchor: start + period.mul_f64(i as f64 / devices.len() as f64),
                period,
            });
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(period: u64) -> Slot {
        let now = Instant::now();
        Slot {
            device: 0,
            class: PollClass::Bulk,
            reads: Vec::new(),
            plan: 0,
            due: now,
            position: 0,
            repeat: None,
            anchor: now,
            period: Duration::from_millis(period),
        }
    }

    #[tokio::test]
    async fn a_late_poll_does_not_push_the_next_one() {
        let mut slot = slot(100);
        let anchor = slot.anchor;
        assert_eq!(slot.finish(anchor + Duration::from_millis(99)), 0);
        assert_eq!(slot.due, anchor + Duration::from_millis(100));
        assert_eq!(slot.finish(anchor + Duration::from_millis(130)), 0);
        assert_eq!(slot.due, anchor + Duration::from_millis(200));
    }

    #[tokio::test]
    async fn missed_turns_are_left_out_and_counted() {
        let mut slot = slot(100);
        let anchor = slot.anchor;
        assert_eq!(slot.finish(anchor + Duration::from_millis(350)), 3);
        assert_eq!(slot.due, anchor + Duration::from_millis(400));
    }

    #[tokio::test]
    async fn a_poll_late_by_its_period_goes_with_the_alarms() {
        let slot = slot(100);
        assert_eq!(slot.urgency(slot.anchor + Duration::from_millis(99)).0, PollClass::Bulk);
        assert_eq!(slot.urgency(slot.anchor + Duration::from_millis(100)).0, PollClass::Alarm);
    }
}
