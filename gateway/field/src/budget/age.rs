//! The bound on the age of every point; the model is in [`super`].

use std::time::Duration;

use guanjia_core::profile::PollClass;

use super::{CLASSES, LineBudget};

/// A bound beyond this is none.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// One turn as the model sees it.
struct Load {
    class: PollClass,
    period: Duration,
    time: Duration,
    /// How long after it is due it is done at the latest; `None`: no bound, or not known yet.
    done: Option<Duration>,
}

impl Load {
    /// How much of it can stand before a turn that waits for `wait`: one turn that waits already, and those that fall
    /// due meanwhile.
    fn ahead(&self, wait: Duration) -> Duration {
        let periods = |time: Duration| time.as_nanos() / self.period.as_nanos().max(1);
        let waiting = periods(wait) + 2;
        let turns = self.done.map_or(waiting, |done| waiting.min(periods(wait + done) + 1));
        self.time.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
    }

    /// Whether it may be late by its whole period, and then counts as alarm.
    fn may_starve(&self) -> bool {
        self.done.is_none_or(|done| done >= self.period)
    }
}

/// Fills in the worst age of every read.
pub(super) fn bound(budget: &mut LineBudget) {
    let load = |turn: &super::Turn| Load { class: turn.class, period: turn.period, time: turn.time(), done: None };
    let mut loads: Vec<Load> = budget.turns().map(load).collect();
    let reads = || budget.turns().flat_map(|turn| &turn.reads);
    let lost = reads().map(|read| read.lost_time).max().unwrap_or_default();
    let longest_after = |class: PollClass| {
        let less_urgent = budget.turns().filter(|turn| turn.class > class).flat_map(|turn| &turn.reads);
        less_urgent.map(|read| read.time).max().unwrap_or_default()
    };
    let blocking = CLASSES.map(longest_after);

    // Turns that may starve go before the more urgent ones, which may starve in turn: until nothing changes any more.
    let mut starving = vec![false; loads.len()];
    loop {
        for load in &mut loads {
            load.done = None;
        }
        for i in in_order(&loads) {
            loads[i].done = wait(&loads, &starving, i, blocking[position(loads[i].class)] + lost, Duration::ZERO);
        }
        let mut changed = false;
        for (load, starves) in loads.iter().zip(&mut starving) {
            changed |= load.may_starve() && !*starves;
            *starves |= load.may_starve();
        }
        if !changed {
            break;
        }
    }

    let turns = budget.devices.iter_mut().flat_map(|device| &mut device.turns);
    for (i, turn) in turns.enumerate() {
        let mut behind: Duration = turn.time();
        for read in &mut turn.reads {
            behind -= read.time;
            let waits = wait(&loads, &starving, i, blocking[position(turn.class)] + lost, behind);
            read.worst_age = waits.zip(loads[i].done).map(|(waits, done)| {
                let left_out = done.as_nanos() / turn.period.as_nanos().max(1);
                turn.period.saturating_mul(u32::try_from(left_out + 1).unwrap_or(u32::MAX)) + waits
            });
        }
    }
}

/// The turns, most urgent first, because the bound of a turn rests on those of the more urgent ones.
fn in_order(loads: &[Load]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..loads.len()).collect();
    order.sort_by_key(|i| loads[*i].class);
    order
}

fn position(class: PollClass) -> usize {
    CLASSES.iter().position(|c| *c == class).unwrap_or_default()
}

/// How long after it is due turn `i` is done, but for the last `behind` of its reads; `None` if there is no bound.
fn wait(loads: &[Load], starving: &[bool], i: usize, first: Duration, behind: Duration) -> Option<Duration> {
    let own = &loads[i];
    let others = || loads.iter().zip(starving).enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other);
    // Alarm turns, and those that count as such, go by their age: none passes twice. Neither does one of the same class.
    let passes_again = |l: &Load, starves: bool| l.class < own.class || starves && own.class > PollClass::Alarm;
    let passes_once = |l: &Load, starves: bool| l.class == own.class || starves;
    let again: Vec<&Load> = others().filter(|(l, s)| passes_again(l, **s)).map(|(l, _)| l).collect();
    let once: Duration =
        others().filter(|(l, s)| !passes_again(l, **s) && passes_once(l, **s)).map(|(l, _)| l.time).sum();
    let fixed = first + once + own.time.saturating_sub(behind);
    let mut wait = fixed;
    while wait <= AGE_MAX {
        let longer = fixed + again.iter().map(|l| l.ahead(wait)).sum::<Duration>();
        if longer == wait {
            return Some(wait);
        }
        wait = longer;
    }
    None
}
