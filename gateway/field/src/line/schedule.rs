//! When what is read: anchored slots.
//!
//! Each device has one slot per poll class. A slot's times are `anchor + n x period` and nothing else: a late poll does
//! not push the next one, and a missed one is left out and counted instead of being made up for. The anchors of the
//! devices are spread over the period, so that a line does not ask everybody at once and then sleep, and each line has
//! its own place between two of them, so that five hundred lines do not ask at once either. The first poll of all comes
//! at the start, because a meter that is read once an hour must not be unknown for an hour. A period of zero means that
//! the slot is due again as soon as its turn is over.
//!
//! ```text
//!   turn     launch ──► launch ──► ...         as many reads under way as the device takes: one, unless said otherwise
//!              │ answered                     └── all are: the turn is over, next anchored time
//!              │ missed ──► once more: has the device anything to say at all? then the read again
//!              └ suspect alarm ──► the read again
//! ```
//!
//! Reads are sized by the planner so that an alarm turn never waits long for one that has begun. One that would end
//! after the next alarm turn of the line begins is not begun while a shorter one is due. Nobody
//! starves of that, because a turn that is late by its whole period counts as an alarm turn itself.

use std::cmp::Reverse;
use std::time::Duration;

use guanjia_core::profile::PollClass;
use tokio::time::Instant;

use super::device::Device;
use crate::frame::Request;
use crate::plan::ReadRequest;

/// No slot comes more often, unless it has no period at all.
pub(super) const PERIOD_MIN: Duration = Duration::from_millis(10);

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
    /// How long its last answer took, silence included; zero if there was none.
    took: Duration,
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
        Self { read, request, trust: Trust::Confirmed, proven: false, refusals: 0, rests: None, took: Duration::ZERO }
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
    /// Reads that were asked and are neither answered nor given up.
    under_way: u8,
    /// Something is to be asked at once.
    repeat: Option<Repeat>,
    anchor: Instant,
    /// Zero: due again at once.
    period: Duration,
}

/// Why something is asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The read at `position` was not answered: does the device answer anything?
    Doubt,
    /// The read at `position` was not answered, and another was.
    OnceMore,
    /// The answer to the read at `position` was the first after a silence.
    Suspect,
}

impl Slot {
    pub(super) fn is_repeat(&self) -> bool {
        self.repeat.is_some()
    }

    /// Whether the next read can be asked, apart from the time.
    pub(super) fn is_launchable(&self) -> bool {
        if self.repeat.is_some() { self.under_way == 0 } else { self.position < self.reads.len() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// How long the next read will probably keep the line.
    fn takes(&self) -> Duration {
        self.reads.get(self.position).map_or(Duration::ZERO, |r| r.took)
    }

    pub(super) fn repeat(&self) -> Option<Repeat> {
        self.repeat
    }

    /// The next read of this turn is asked now. Returns its position.
    pub(super) fn launch(&mut self) -> usize {
        let position = self.position;
        self.repeat = None;
        self.position += 1;
        self.under_way = self.under_way.saturating_add(1);
        position
    }

    /// Something else is asked now in its place.
    pub(super) fn launch_other(&mut self) {
        self.under_way = self.under_way.saturating_add(1);
    }

    /// What was asked came to nothing, and the turn goes on from `position`.
    pub(super) fn back_to(&mut self, position: usize) {
        self.under_way = self.under_way.saturating_sub(1);
        self.position = position;
    }

    /// Nothing is to be asked in this turn. Returns how many others were missed.
    pub(super) fn skip(&mut self, now: Instant) -> u64 {
        let missed = self.finish(now);
        if self.period.is_zero() {
            self.due = now + PERIOD_MIN;
        }
        missed
    }

    /// The read at `position` is to be asked again, or something in its place. Those after it follow once more.
    pub(super) fn again(&mut self, position: usize, why: Repeat) {
        self.under_way = self.under_way.saturating_sub(1);
        self.position = if self.repeat.is_some() { self.position.min(position) } else { position };
        self.repeat = Some(why);
    }

    /// The smallest goes first. A poll that is late by its whole period counts as an alarm poll, so that a busy line
    /// starves nobody.
    pub(super) fn urgency(&self, now: Instant) -> (PollClass, Instant, Reverse<usize>) {
        let is_starving = !self.period.is_zero() && now.saturating_duration_since(self.due) >= self.period;
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

    /// A read is done with. Returns how many turns were missed if the turn is over.
    pub(super) fn settled(&mut self, now: Instant) -> u64 {
        self.under_way = self.under_way.saturating_sub(1);
        let is_over = self.repeat.is_none() && !self.seek(now) && self.is_idle();
        if is_over { self.finish(now) } else { 0 }
    }

    /// The turn is over; the next one is the first anchored time that still lies ahead.
    pub(super) fn finish(&mut self, now: Instant) -> u64 {
        (self.position, self.repeat) = (0, None);
        if self.period.is_zero() {
            // Later than everything that is due already, so that slots without a period take turns.
            self.due = now;
            return 0;
        }
        let following = self.after(self.due);
        self.due = if following > now { following } else { self.after(now) };
        ((self.due - following).as_nanos() / self.period.as_nanos()) as u64
    }

    /// Plans the reads anew between two turns, if the device has taught something since. What is known about a read
    /// that stays the same is kept; a point whose last answer was not to be believed yet is not believed now either.
    pub(super) fn replan(&mut self, device: &Device) {
        if self.plan == device.plans || self.position > 0 || self.is_repeat() || !self.is_idle() {
            return;
        }
        self.plan = device.plans;
        let mut old = std::mem::take(&mut self.reads);
        for read in device.reads(self.class) {
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

    /// The answer to the read at `position` took so long.
    pub(super) fn learn(&mut self, position: usize, took: Duration) {
        if let Some(planned) = self.reads.get_mut(position) {
            planned.took = took;
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

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This slot is due.
    Poll(usize),
    /// Nothing before this moment; `None` if nothing is known to come.
    Wait(Option<Instant>),
}

impl Next {
    /// The most urgent slot. `ready` tells from when on a slot's device may be asked; `None` if it may not.
    pub(super) fn among(slots: &[Slot], ready: impl Fn(&Slot) -> Option<Instant>, now: Instant) -> Next {
        let (mut wait, mut alarm): (Option<Instant>, Option<Instant>) = (None, None);
        let mut best: Option<(_, usize)> = None;
        let sooner = |than: Option<Instant>, at: Instant| Some(than.map_or(at, |t| t.min(at)));
        let open =
            || slots.iter().enumerate().filter(|(_, s)| s.is_launchable()).filter_map(|(i, s)| Some((i, s, ready(s)?)));
        for (i, slot, from) in open() {
            let at = if slot.is_repeat() { from } else { slot.due.max(from) };
            if at > now {
                wait = sooner(wait, at);
                if slot.class == PollClass::Alarm {
                    alarm = sooner(alarm, at);
                }
                continue;
            }
            if slot.is_repeat() {
                return Next::Poll(i);
            }
            let urgency = slot.urgency(now);
            if best.is_none_or(|(least, _)| urgency < least) {
                best = Some((urgency, i));
            }
        }
        let Some((urgency, first)) = best else { return Next::Wait(wait) };
        let ends_in_time = |slot: &Slot| alarm.is_none_or(|alarm| now + slot.takes() <= alarm);
        if urgency.0 == PollClass::Alarm || ends_in_time(&slots[first]) {
            return Next::Poll(first);
        }
        let short = open().filter(|(_, s, from)| s.due.max(*from) <= now && ends_in_time(s));
        Next::Poll(short.min_by_key(|(_, s, _)| s.urgency(now)).map_or(first, |(i, ..)| i))
    }
}

/// Where between the anchors of two neighbours a line has its own, from 0 up to 1: the same at every start, and spread
/// over all lines (FNV-1a, and the last step of MurmurHash3 for names that differ in their last letter only).
fn place_of(line: &str) -> f64 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = line.bytes().fold(0x811C_9DC5, mix);
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    f64::from(hash ^ hash >> 16) / f64::from(u32::MAX)
}

/// All slots of a line that starts now.
pub(super) fn slots(line: &str, devices: &[Device], start: Instant) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        let phase = (i as f64 + place_of(line)) / devices.len() as f64;
        for class in [PollClass::Alarm, PollClass::Billing, PollClass::Bulk] {
            let period = device.spec.periods.of(class);
            let reads = device.reads(class);
            if reads.is_empty() && (device.meeting.is_over() || !device.meeting.will_read(class)) {
                continue;
            }
            slots.push(Slot {
                device: i,
                class,
                reads: reads.into_iter().map(Planned::new).collect(),
                plan: device.plans,
                due: start,
                position: 0,
                under_way: 0,
                repeat: None,
                anchor: start + period.mul_f64(phase),
                period,
            });
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use guanjia_core::profile::Table;

    use super::*;

    fn slot(period: u64) -> Slot {
        let now = Instant::now();
        let read = ReadRequest { table: Table::Holding, address: 0, count: 1, points: vec![0] };
        Slot {
            device: 0,
            class: PollClass::Bulk,
            reads: vec![Planned::new(read)],
            plan: 0,
            due: now,
            position: 0,
            under_way: 0,
            repeat: None,
            anchor: now,
            period: Duration::from_millis(period),
        }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn a_late_poll_does_not_push_the_next_one() {
        let mut slot = slot(100);
        let anchor = slot.anchor;
        assert_eq!(slot.finish(anchor + millis(99)), 0);
        assert_eq!(slot.due, anchor + millis(100));
        assert_eq!(slot.finish(anchor + millis(130)), 0);
        assert_eq!(slot.due, anchor + millis(200));
    }

    #[tokio::test]
    async fn missed_turns_are_left_out_and_counted() {
        let mut slot = slot(100);
        let anchor = slot.anchor;
        assert_eq!(slot.finish(anchor + millis(350)), 3);
        assert_eq!(slot.due, anchor + millis(400));
    }

    #[tokio::test]
    async fn a_poll_late_by_its_period_goes_with_the_alarms() {
        let slot = slot(100);
        assert_eq!(slot.urgency(slot.anchor + millis(99)).0, PollClass::Bulk);
        assert_eq!(slot.urgency(slot.anchor + millis(100)).0, PollClass::Alarm);
    }

    #[tokio::test]
    async fn a_turn_is_over_when_the_last_of_its_reads_is_answered() {
        let mut slot = slot(100);
        let other = ReadRequest { table: Table::Input, address: 0, count: 1, points: vec![1] };
        slot.reads.push(Planned::new(other));
        let anchor = slot.anchor;
        assert_eq!((slot.launch(), slot.launch()), (0, 1));
        assert!(!slot.is_launchable());
        slot.settled(anchor + millis(1));
        assert_eq!(slot.due, anchor, "the other is still under way");
        slot.again(0, Repeat::Doubt);
        assert!(slot.is_launchable());
        assert_eq!(slot.repeat(), Some(Repeat::Doubt));
        assert_eq!((slot.launch(), slot.launch()), (0, 1), "what follows a missed read is read again");
        slot.settled(anchor + millis(2));
        slot.settled(anchor + millis(3));
        assert_eq!(slot.due, anchor + millis(100));
    }

    #[tokio::test]
    async fn a_long_read_waits_for_the_alarm_if_a_shorter_one_is_due() {
        let now = Instant::now();
        let (mut long, mut short, mut alarm) = (slot(10_000), slot(10_000), slot(500));
        (long.due, short.due, alarm.due) = (now - millis(20), now - millis(10), now + millis(50));
        (long.reads[0].took, short.reads[0].took, alarm.class) = (millis(300), millis(40), PollClass::Alarm);
        let mut slots = [long, short, alarm];
        let next = |slots: &[Slot]| Next::among(slots, |_| Some(now), now);
        assert_eq!(next(&slots), Next::Poll(1));
        slots[1].due = now + millis(1000);
        assert_eq!(next(&slots), Next::Poll(0), "the line is not left idle");
        slots[1].due = now - millis(10);
        slots[0].due = now - millis(10_000);
        assert_eq!(next(&slots), Next::Poll(0), "nobody waits for ever");
        slots[2].due = now - millis(1);
        assert_eq!(next(&slots), Next::Poll(0), "the oldest of the urgent");
        let nobody = Next::among(&slots, |_| None, now);
        assert_eq!(nobody, Next::Wait(None));
    }

    #[tokio::test]
    async fn lines_with_one_device_each_do_not_ask_at_the_same_moment() {
        let mut places: Vec<f64> = (0..500).map(|i| place_of(&format!("meter-{i}"))).collect();
        places.sort_by(f64::total_cmp);
        let widest = places.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        assert!(widest < 0.05, "{widest}");
    }
}
