//! What to change about a line that is planned too full: computed, so that whoever follows it is done.

use std::time::Duration;

use guanjia_core::profile::PollClass;

use super::{CLASSES, LineBudget, Share, UTILIZATION_WARN};
use crate::line::FieldDevice;
use crate::link::{LineConfig, Link};

/// The speeds of serial lines that meters know.
pub const BAUDS: [u32; 7] = [2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200];

/// Ways to bring a line down to [`UTILIZATION_WARN`], each of which is enough by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedies {
    /// Reading one class more rarely: the class, and its periods before and after.
    pub one_class: Option<(PollClass, Slower)>,
    /// Reading everything more rarely, where one class is not enough.
    pub all_classes: Vec<(PollClass, Slower)>,
    /// The least speed at which it fits, if all devices know it.
    pub baud: Option<u32>,
    /// How many devices have to go to another line, those that take the most time first.
    pub devices: usize,
}

/// How much more rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slower {
    /// All devices have the one period and get the other.
    Period(Duration, Duration),
    /// They differ; each is to be multiplied with this, in hundredths.
    Factor(u64),
}

/// What would help this line. `knows` says whether a device can be set to a speed.
pub fn remedies(
    line: &LineConfig,
    devices: &[FieldDevice],
    budget: &LineBudget,
    knows: impl Fn(&FieldDevice, u32) -> bool,
) -> Remedies {
    let total = budget.utilization();
    let one = CLASSES.into_iter().rev().find_map(|class| {
        let own = budget.utilization_of(class);
        let room = UTILIZATION_WARN.0.checked_sub(total.0 - own.0).filter(|room| *room > 0)?;
        // A class that would have to be read a hundred times more rarely is not read any more.
        (own.0 > room && own.0 / room < 100).then(|| (class, slower(budget, class, own.0, room)))
    });
    let every = |class: PollClass| {
        let is_read = budget.turns().any(|turn| turn.class == class);
        is_read.then(|| (class, slower(budget, class, total.0, UTILIZATION_WARN.0)))
    };
    Remedies {
        one_class: one,
        all_classes: if one.is_some() { Vec::new() } else { CLASSES.into_iter().filter_map(every).collect() },
        baud: faster(line, devices, knows),
        devices: to_move(budget),
    }
}

fn slower(budget: &LineBudget, class: PollClass, from: u64, to: u64) -> Slower {
    let mut periods = budget.turns().filter(|turn| turn.class == class).map(|turn| turn.period);
    let first = periods.next().unwrap_or_default();
    if periods.all(|period| period == first) {
        let nanos = first.as_nanos() * u128::from(from) / u128::from(to.max(1)) + 1;
        Slower::Period(first, handsome(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    } else {
        Slower::Factor((from * 100).div_ceil(to.max(1)))
    }
}

/// The next period that somebody would write into a file.
fn handsome(period: Duration) -> Duration {
    let millis = u64::try_from(period.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let step = match millis {
        0..1_000 => 100,
        1_000..10_000 => 1_000,
        10_000..60_000 => 5_000,
        60_000..600_000 => 30_000,
        _ => 300_000,
    };
    Duration::from_millis(millis.div_ceil(step).saturating_mul(step))
}

fn faster(line: &LineConfig, devices: &[FieldDevice], knows: impl Fn(&FieldDevice, u32) -> bool) -> Option<u32> {
    let now = line.link.format()?.baud;
    let candidates = BAUDS.into_iter().filter(|baud| *baud > now);
    let known = candidates.filter(|baud| devices.iter().all(|device| knows(device, *baud)));
    known.into_iter().find(|baud| {
        let mut other = line.clone();
        match &mut other.link {
            Link::Serial { format, .. }
            | Link::RtuOverTcp { format, .. }
            | Link::AsciiSerial { format, .. }
            | Link::AsciiOverTcp { format, .. } => format.baud = *baud,
            _ => return false,
        }
        LineBudget::new(&other, devices).utilization() <= UTILIZATION_WARN
    })
}

fn to_move(budget: &LineBudget) -> usize {
    let mut shares: Vec<Share> = budget.devices.iter().map(super::DeviceBudget::utilization).collect();
    shares.sort_by(|a, b| b.cmp(a));
    let mut left = budget.utilization().0;
    let moved = shares.iter().take_while(|share| {
        let is_too_full = left > UTILIZATION_WARN.0;
        left = left.saturating_sub(share.0);
        is_too_full
    });
    moved.count()
}
