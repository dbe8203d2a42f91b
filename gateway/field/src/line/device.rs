//! One device of a line: its health and what is needed to ask it something.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::Decoder;
use guanjia_core::profile::{PollClass, Profile};
use guanjia_core::reading::{BadReason, Reading};
use guanjia_core::time::Timestamp;
use tokio::time::Instant;

use super::FieldDevice;
use super::introduce::Meeting;
use crate::bus::Ask;
use crate::frame::Request;
use crate::plan::{Layout, Learned, Lesson, Pace, ReadRequest, plan, read_alone, split, unreadable};

/// The pause grows by no less than this.
const PROBE_STEP_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two probes of a silent device, unless it is polled more rarely anyway.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The longest such pause of a device that has its line for itself, where a probe costs nobody anything.
const PROBE_PAUSE_ALONE: Duration = Duration::from_millis(400);

/// How often the silence of a device is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
/// A ratio or unit that a device was set to counts for so many periods of its poll class after it was read, and at
/// least for this long.
const REMEMBERED_PERIODS: u32 = 3;
const REMEMBERED_MIN: Duration = Duration::from_secs(10);

/// Whether a device answers, as far as is known.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing was asked since the start.
    Unknown,
    Answering,
    Silent {
        reason: BadReason,
        /// Probes since it fell silent.
        probes: u32,
        probe_at: Instant,
    },
}

impl State {
    pub(super) fn silent(reason: BadReason, probe_at: Instant) -> Self {
        State::Silent { reason, probes: 0, probe_at }
    }

    pub(super) fn is_silent_for(&self, why: BadReason) -> bool {
        matches!(self, State::Silent { reason, .. } if *reason == why)
    }
}

/// Whether a device has its line for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Shared,
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) spec: FieldDevice,
    pub(super) state: State,
    /// How long it may think.
    pub(super) response_max: Duration,
    /// By how much the pause between probes grows; also the first pause.
    pub(super) probe_step: Duration,
    probe_pause_max: Duration,
    /// What it said before that its values need.
    pub(super) decoder: Decoder,
    /// The last read that was answered with data.
    pub(super) last_good: Option<Request>,
    /// When its silence was last told, for all of its points.
    told_at: Instant,
    /// When it last answered anything.
    pub(super) heard_at: Option<Instant>,
    /// It wants nothing to be asked before.
    pub(super) ready_at: Instant,
    /// Questions to it that are under way.
    pub(super) under_way: u8,
    /// Reads that can stand between two reads of the same shape.
    bridges: Vec<Request>,
    /// Points that must come in one answer.
    together: Vec<(usize, usize)>,
    pace: Pace,
    /// Whether it has shown that it is the one of its profile.
    pub(super) meeting: Meeting,
    /// What it taught by refusing reads.
    pub(super) learned: Learned,
    /// How often its reads were planned anew because of that.
    pub(super) plans: u32,
}

impl Device {
    pub(super) fn new(spec: FieldDevice, response_max: Option<Duration>, pace: Pace, company: Company) -> Self {
        let shortest = [spec.periods.alarm, spec.periods.billing, spec.periods.bulk].into_iter().min();
        let probe_step = shortest.unwrap_or_default().max(PROBE_STEP_MIN);
        let probe_pause_max = match company {
            Company::Alone => PROBE_PAUSE_ALONE,
            Company::Shared => PROBE_PAUSE_MAX.max(probe_step),
        };
        Self {
            decoder: decoder(&spec),
            state: State::Unknown,
            response_max: response_max.unwrap_or(spec.profile.limits.response_max),
            probe_step: probe_step.min(probe_pause_max),
            probe_pause_max,
            last_good: None,
            told_at: Instant::now(),
            heard_at: None,
            ready_at: Instant::now(),
            under_way: 0,
            bridges: bridges(&spec, pace),
            together: spec.profile.together(),
            meeting: Meeting::new(&spec.profile),
            pace,
            learned: Learned::default(),
            plans: 0,
            spec,
        }
    }

    /// It is the one of its profile, of which this is all that it has.
    pub(super) fn learn_profile(&mut self, profile: Arc<Profile>) {
        self.spec.profile = profile;
        self.decoder = decoder(&self.spec);
        self.bridges = bridges(&self.spec, self.pace);
        self.learned = Learned::default();
        self.plans += 1;
    }

    /// It may come back as another one.
    pub(super) fn forget(&mut self) {
        self.decoder.forget();
        if self.meeting.again() {
            self.plans += 1;
        }
    }

    /// The reads of a class: of its points, or of its introduction as long as that is not over.
    pub(super) fn reads(&self, class: PollClass) -> Vec<ReadRequest> {
        self.meeting.reads(class).unwrap_or_else(|| plan(&self.layout(), Some(class)))
    }

    /// What decides how its points are read.
    pub(super) fn layout(&self) -> Layout<'_> {
        let profile = &self.spec.profile;
        Layout {
            points: &profile.points,
            limits: &profile.limits,
            together: &self.together,
            learned: &self.learned,
            pace: self.pace,
        }
    }

    /// A read was answered, and may have settled what the device refuses.
    pub(super) fn learn_from_answer(&mut self, read: &ReadRequest) {
        let mut learned = std::mem::take(&mut self.learned);
        let lesson = learned.answered(read, &self.layout());
        self.learned = learned;
        self.plans += u32::from(lesson == Lesson::PlanAnew);
    }

    /// A read was refused. It comes in two halves from now on, or its place is refused.
    pub(super) fn learn_from_refusal(&mut self, read: &ReadRequest) -> Option<(ReadRequest, ReadRequest)> {
        let halves = split(&self.layout(), read);
        match &halves {
            Some((low, high)) => self.learned.split(read, low, high),
            None => self.plans += u32::from(self.learned.refuse(read) == Lesson::PlanAnew),
        }
        halves
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent { .. })
    }

    /// When the next probe is due; `None` unless the device is silent.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Silent { probe_at, .. } => Some(probe_at),
            _ => None,
        }
    }

    /// A silent device is probed at the next occasion.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if let State::Silent { probes, probe_at, .. } = &mut self.state {
            (*probes, *probe_at) = (0, now);
        }
    }

    /// A probe was not answered: the pause grows by one step.
    pub(super) fn probe_missed(&mut self, now: Instant) {
        if let State::Silent { probes, probe_at, .. } = &mut self.state {
            *probes = probes.saturating_add(1);
            *probe_at = now + self.probe_step.saturating_mul(probes.saturating_add(1)).min(self.probe_pause_max);
        }
    }

    /// Whether its silence is to be told once more, because the report of it may have been dropped.
    pub(super) fn tell_again(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.told_at) >= TOLD_AGAIN;
        if is_due {
            self.told_at = now;
        }
        is_due
    }

    /// Bad readings of all points that come from registers and are ever read.
    pub(super) fn all_bad(&self, reason: BadReason, at: Timestamp) -> Vec<Reading> {
        let profile = &self.spec.profile;
        let never_read = unreadable(&profile.points, &profile.limits);
        let is_read = |i: &usize| profile.points[*i].source.is_asked() && !never_read.contains(i);
        (0..profile.points.len()).filter(is_read).map(|i| Reading::bad(self.spec.point(i), reason, at)).collect()
    }

    /// The last good read other than `request`, to find out whether the device answers anything.
    pub(super) fn other_than(&self, request: &Request) -> Option<&Request> {
        self.last_good.as_ref().filter(|good| *good != request)
    }

    /// From when on it may be asked; `None` while it has as much to do as it takes.
    pub(super) fn ready(&self, in_flight_max: u8) -> Option<Instant> {
        (self.under_way < in_flight_max).then_some(self.ready_at)
    }

    /// A question to it.
    pub(super) fn ask<'a>(&self, request: &'a Request) -> Ask<'a> {
        let limits = &self.spec.profile.limits;
        Ask {
            unit: self.spec.unit,
            request,
            response_max: self.response_max,
            silence_min: limits.silence_min,
            unit_echo: limits.unit_echo,
            byte_count: limits.byte_count,
        }
    }

    /// It is asked now.
    pub(super) fn asked(&mut self, now: Instant) {
        self.ready_at = now + self.spec.profile.limits.interval_min;
    }

    pub(super) fn bridges(&self) -> &[Request] {
        &self.bridges
    }
}

fn decoder(spec: &FieldDevice) -> Decoder {
    let periods = spec.periods;
    let age_max = move |class| periods.of(class).saturating_mul(REMEMBERED_PERIODS).max(REMEMBERED_MIN);
    Decoder::new(Arc::clone(&spec.profile), age_max)
}

/// Reads of many shapes, the harmless ones first: those the profile knows, by ascending length, then one register of a
/// known place, then the same place of the sister table, which may be refused: a refusal is an answer too. None touches
/// a hole.
fn bridges(spec: &FieldDevice, pace: Pace) -> Vec<Request> {
    let profile = &spec.profile;
    let (points, limits, learned) = (&profile.points, &profile.limits, Learned::default());
    let layout = Layout { points, limits, together: &[], learned: &learned, pace };
    let alone = (0..points.len()).filter_map(|i| read_alone(points, limits, i));
    let mut known: Vec<Request> = plan(&layout, None).into_iter().chain(alone).map(|read| read.request()).collect();
    known.sort_by_key(Request::rtu_reply_len);
    let mut bridges: Vec<Request> = Vec::new();
    let odd = known.iter().filter_map(|r| r.one_of()).chain(known.iter().filter_map(|r| r.one_of_sister()));
    let odd = odd.filter(|r| !r.touches(&limits.holes));
    for request in known.iter().cloned().chain(odd) {
        // One of each shape is enough, except that the same place may be asked again and another may not.
        if !bridges.iter().any(|b| b.looks_like(&request)) {
            bridges.push(request);
        }
    }
    bridges
}
