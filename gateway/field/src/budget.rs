//! Whether everything that is to be read fits the line, before anybody waits for it.
//!
//! Pure arithmetic on the plan of the reads: nothing is measured. A *turn* is what one device is asked for one class of
//! points in one period; the shares of all turns make the utilisation of the line.
//!
//! # The model of the worst age
//!
//! The line makes one transaction at a time and, when it is free, the most urgent turn that is due: alarm before
//! billing before bulk, the longest due first, and a turn that is late by its whole period counts as alarm. Each turn
//! is due once a period; one that is still waiting when it is due again is made once, and the other is left out. So
//! the reads of a turn are done at the latest so long after it was due:
//!
//! ```text
//!   one transaction of a less urgent class that has just begun
//! + one request somewhere on the line that nobody answers: its deadline, and the line listened to afterwards
//! + all turns of the same class, once each
//! + all turns of more urgent classes, as often as they can fall due meanwhile, one each that waits already
//! + the turn's own reads up to this one, and the time the device wants between the starts of two requests
//! = the wait; and the age of a point grows up to    period + wait    (more periods, if turns must be left out)
//! ```
//!
//! Where the line has alarm turns, a read that would not end before the next of them is put off as long as shorter ones
//! are due. So there everything passes everything but alarms, and all turns count as if they were more urgent.
//!
//! The sum stands on both sides, because a longer wait lets more turns fall due; the least solution is found by
//! iteration. There is none if the more urgent classes alone fill the line: then there is no bound.
//!
//! What it takes for granted: devices answer after the turnaround of [`Pace`], one request at most is lost per period
//! of the point, and nobody gives commands. It begins to hold when the first round after a start is over, in which all
//! turns are due at once. What a silent device costs besides is a fifth of the line at most (its probes), which is why
//! a line should not be planned fuller than [`UTILIZATION_WARN`].

use std::fmt;
use std::time::Duration;

use guanjia_core::profile::{PollClass, ReadLimits};

use crate::line::FieldDevice;
use crate::link::LineConfig;
use crate::plan::{Layout, Learned, Pace, ReadRequest, apart, plan, unreadable};

mod age;
mod remedy;

pub use remedy::{BAUDS, Remedies, Slower, remedies};

/// Above this share of its time a line has no room left for the probes of silent devices.
pub const UTILIZATION_WARN: Share = Share(800_000);

/// All of a line's time. A line that is planned beyond it leaves out turns for ever.
pub const UTILIZATION_MAX: Share = Share(1_000_000);

/// The classes, most urgent first.
pub const CLASSES: [PollClass; 3] = [PollClass::Alarm, PollClass::Billing, PollClass::Bulk];

/// A share of a line's time, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u64);

impl Share {
    fn of(time: Duration, period: Duration) -> Self {
        let share = time.as_nanos().saturating_mul(1_000_000) / period.as_nanos().max(1);
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// As a ratio, for metrics: 1 is all of the time.
    pub fn ratio(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl std::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        Self(shares.fold(0, |sum, share| sum.saturating_add(share.0)))
    }
}

impl fmt::Display for Share {
    /// In percent with one decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / 1_000;
        write!(f, "{}.{} %", tenths / 10, tenths % 10)
    }
}

/// What one line has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineBudget {
    /// One entry per device, in the order they were given.
    pub devices: Vec<DeviceBudget>,
}

/// What one device is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceBudget {
    /// How long an answer may take to begin before the request counts as lost.
    pub response_max: Duration,
    /// What it is asked, most urgent first; classes without points are missing.
    pub turns: Vec<Turn>,
    /// Positions of points no read can bring.
    pub unreadable: Vec<usize>,
    /// Pairs of points that belong together and cannot be read together.
    pub apart: Vec<(usize, usize)>,
}

/// What one device is asked for one class of its points, once a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The class.
    pub class: PollClass,
    /// How often.
    pub period: Duration,
    /// The reads, in the order in which they are made.
    pub reads: Vec<ReadBudget>,
    /// Requests that are under way at once.
    in_flight: u32,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBudget {
    /// What is asked.
    pub read: ReadRequest,
    /// How many of its registers or bits belong to a point it brings.
    pub useful: u32,
    /// How long the line is taken by it.
    pub time: Duration,
    /// How much longer the same device may not be asked, while others are.
    pub rest: Duration,
    /// How long the line is taken if nobody answers.
    pub lost_time: Duration,
    /// How old its points become at most; `None` if there is no bound.
    pub worst_age: Option<Duration>,
}

impl LineBudget {
    /// The budget of a line with these devices.
    pub fn new(line: &LineConfig, devices: &[FieldDevice]) -> Self {
        let pace = Pace::of(line).beside(devices);
        let mut budget = Self { devices: devices.iter().map(|device| of_device(line, pace, device)).collect() };
        age::bound(&mut budget);
        budget
    }

    /// The share of the line's time that all reads take.
    pub fn utilization(&self) -> Share {
        self.devices.iter().map(DeviceBudget::utilization).sum()
    }

    /// The same, for the reads of one class.
    pub fn utilization_of(&self, class: PollClass) -> Share {
        self.turns().filter(|turn| turn.class == class).map(Turn::utilization).sum()
    }

    /// Every turn of every device.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.devices.iter().flat_map(|device| &device.turns)
    }
}

impl DeviceBudget {
    /// The share of the line's time that its reads take.
    pub fn utilization(&self) -> Share {
        self.turns.iter().map(Turn::utilization).sum()
    }

    /// The share of its own time that the device is asked, or may not be asked yet. Beyond [`UTILIZATION_MAX`] it
    /// cannot be read so often, however free the line is.
    pub fn own_utilization(&self) -> Share {
        let of = |turn: &Turn| Share::of(turn.time() + turn.rest(), turn.period * turn.in_flight);
        self.turns.iter().map(of).sum()
    }
}

impl Turn {
    /// How long the line is taken by all of its reads.
    pub fn time(&self) -> Duration {
        self.reads.iter().map(|read| read.time).sum()
    }

    /// How much longer than that the device takes, because it wants time between two requests.
    pub fn rest(&self) -> Duration {
        self.reads.iter().map(|read| read.rest).sum()
    }

    /// The share of the line's time it takes. Requests that are under way at once share theirs.
    pub fn utilization(&self) -> Share {
        Share::of(self.time(), self.period * self.in_flight)
    }

    /// How old its points become at most; `None` if there is no bound.
    pub fn worst_age(&self) -> Option<Duration> {
        self.reads.iter().map(|read| read.worst_age).collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

fn of_device(line: &LineConfig, pace: Pace, device: &FieldDevice) -> DeviceBudget {
    let (points, limits) = (&device.profile.points, &device.profile.limits);
    let (together, learned) = (device.profile.together(), Learned::NOTHING);
    let layout = Layout { points, limits, together: &together, learned: &learned, pace };
    let response_max = line.response_max.unwrap_or(limits.response_max);
    let turn = |class| {
        let reads: Vec<ReadBudget> =
            plan(&layout, Some(class)).into_iter().map(|read| of_read(line, &layout, response_max, read)).collect();
        let in_flight = if line.link.format().is_some() { 1 } else { u32::from(limits.in_flight_max.max(1)) };
        Turn { class, period: device.periods.of(class), reads, in_flight }
    };
    DeviceBudget {
        response_max,
        turns: CLASSES.into_iter().map(turn).filter(|turn| !turn.reads.is_empty()).collect(),
        unreadable: unreadable(points, limits),
        apart: apart(&layout),
    }
}

fn of_read(line: &LineConfig, layout: &Layout<'_>, response_max: Duration, read: ReadRequest) -> ReadBudget {
    let limits: &ReadLimits = layout.limits;
    let (pace, count) = (layout.pace, u32::from(read.count));
    ReadBudget {
        useful: read.useful(layout.points),
        time: pace.line_time(limits, read.table, count),
        rest: limits.interval_min.saturating_sub(pace.line_time(limits, read.table, count)),
        lost_time: pace.lost_time(response_max, line.linger, read.table, count),
        worst_age: None,
        read,
    }
}

#[cfg(test)]
mod tests;
