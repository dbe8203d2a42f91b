//! One device of a line: its health and what is needed to ask it something.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::Decoder;
use guanjia_core::profile::PollClass;
use guanjia_core::reading::{BadReason, Reading};
use guanjia_core::time::Timestamp;
use tokio::time::Instant;

use super::FieldDevice;
use super::schedule::PERIOD_MIN;
use crate::frame::Request;
use crate::plan::{Layout, Learned, Lesson, Pace, ReadRequest, plan, read_alone, split, unreadable};

/// The longest pause between two probes of a silent device, unless it is polled more rarely anyway.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(30);

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
    /// Reads that can stand between two reads of the same shape.
    bridges: Vec<Request>,
    /// Points that must come in one answer.
    together: Vec<(usize, usize)>,
    pace: Pace,
    /// What it taught by refusing reads.
    pub(super) learned: Learned,
    /// How often its reads were planned anew because of that.
    pub(super) plans: u32,
}

impl Device {
    pub(super) fn new(spec: FieldDevice, response_max: Option<Duration>, pace: Pace) -> Self {
        let shortest = [spec.periods.alarm, spec.periods.billing, spec.periods.bulk].into_iter().min();
        let probe_step = shortest.unwrap_or(PERIOD_MIN).max(PERIOD_MIN);
        let periods = spec.periods;
        let age_max = |class| match class {
            PollClass::Alarm => periods.alarm,
            PollClass::Billing => periods.billing,
            PollClass::Bulk => periods.bulk,
        };
        let age_max = |class| age_max(class).saturating_mul(REMEMBERED_PERIODS).max(REMEMBERED_MIN);
        Self {
            decoder: Decoder::new(Arc::clone(&spec.profile), age_max),
            state: State::Unknown,
            response_max: response_max.unwrap_or(spec.profile.limits.response_max),
            probe_step,
            probe_pause_max: PROBE_PAUSE_MAX.max(probe_step),
            last_good: None,
            bridges: bridges(&spec, pace),
            together: spec.profile.together(),
            pace,
            learned: Learned::default(),
            plans: 0,
            spec,
        }
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

    /// Bad readings of all points that come from registers and are ever read.
    pub(super) fn all_bad(&self, reason: BadReason, at: Timestamp) -> Vec<Reading> {
        let profile = &self.spec.profile;
        let never_read = unreadable(&profile.points, &profile.limits);
        let is_read = |i: &usize| profile.points[*i].source.is_asked() && !never_read.contains(i);
        (0..profile.points.len()).filter(is_read).map(|i| Reading::bad(self.spec.point(i), reason, at)).collect()
    }

    pub(super) fn bridges(&self) -> &[Request] {
        &self.bridges
    }
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
