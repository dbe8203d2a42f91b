//! The bound on the age of every point; the model is in [`super`].

use std::time::Duration;

use guanjia_core::profile::PollClass;

use super::{CLASSES, LineBudget, Turn};

/// A bound beyond this is none.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How often the bounds are taken to improve each other.
const PASSES: usize = 3;

/// One turn as the model sees it.
struct Load {
    device: usize,
    class: PollClass,
    period: Duration,
    /// How long it takes the line.
    time: Duration,
    /// How much longer it takes its device.
    rest: Duration,
    /// How long after it is due it is done at the latest; `None`: no bound, or not known yet.
    done: Option<Duration>,
}

impl Load {
    /// How long a turn of `other` waits for one of these: on the same device, also until that may be asked again.
    fn takes(&self, other: &Load) -> Duration {
        if self.device == other.device { self.time + self.rest } else { self.time }
    }

    /// How many of it can stand before a turn that waits for `wait`: one turn that waits already, and those that fall
    /// due meanwhile.
    fn ahead(&self, wait: Duration) -> u32 {
        let periods = |time: Duration| time.as_nanos() / self.period.as_nanos().max(1);
        let waiting = periods(wait) + 2;
        let turns = self.done.map_or(waiting, |done| waiting.min(periods(wait + done) + 1));
        u32::try_from(turns).unwrap_or(u32::MAX)
    }

    /// Whether it may be late by its whole period, and then counts as alarm.
    fn may_starve(&self) -> bool {
        self.done.is_none_or(|done| done >= self.period)
    }
}

/// All turns of a line, and what no turn can pass.
struct Model {
    loads: Vec<Load>,
    /// Turns that may be so late that they count as alarm.
    starving: Vec<bool>,
    /// The longest transaction of a less urgent class, for each class, and a request that is lost.
    first: [Duration; 3],
    has_alarms: bool,
}

/// Fills in the worst age of every read.
pub(super) fn bound(budget: &mut LineBudget) {
    let mut model = Model::new(budget);
    model.settle();
    let turns = budget.devices.iter_mut().flat_map(|device| &mut device.turns);
    for (i, turn) in turns.enumerate() {
        let mut behind = turn.time() + turn.rest();
        for read in &mut turn.reads {
            behind -= read.time + read.rest;
            let waits = model.wait(i, behind);
            read.worst_age = waits.zip(model.loads[i].done).map(|(waits, done)| {
                let left_out = done.as_nanos() / turn.period.as_nanos().max(1);
                turn.period.saturating_mul(u32::try_from(left_out + 1).unwrap_or(u32::MAX)) + waits
            });
        }
    }
}

impl Model {
    fn new(budget: &LineBudget) -> Self {
        let turns = budget.devices.iter().enumerate().flat_map(|(i, d)| d.turns.iter().map(move |turn| (i, turn)));
        let load = |(device, turn): (usize, &Turn)| Load {
            device,
            class: turn.class,
            period: turn.period,
            time: turn.time(),
            rest: turn.rest(),
            done: None,
        };
        let loads: Vec<Load> = turns.map(load).collect();
        let lost = budget.turns().flat_map(|turn| &turn.reads).map(|read| read.lost_time).max().unwrap_or_default();
        let longest_after = |class: PollClass| {
            let less_urgent = budget.turns().filter(|turn| turn.class > class).flat_map(|turn| &turn.reads);
            less_urgent.map(|read| read.time).max().unwrap_or_default()
        };
        Self {
            starving: vec![false; loads.len()],
            has_alarms: loads.iter().any(|load| load.class == PollClass::Alarm),
            loads,
            first: CLASSES.map(|class| longest_after(class) + lost),
        }
    }

    /// Turns that may starve go before the more urgent ones, which may starve in turn: until nothing changes any more.
    fn settle(&mut self) {
        loop {
            for load in &mut self.loads {
                load.done = None;
            }
            for _ in 0..PASSES {
                for i in self.in_order() {
                    self.loads[i].done = self.wait(i, Duration::ZERO);
                }
            }
            let starving: Vec<bool> =
                self.loads.iter().zip(&self.starving).map(|(l, s)| *s || l.may_starve()).collect();
            if starving == self.starving {
                return;
            }
            self.starving = starving;
        }
    }

    /// The turns, most urgent first, because the bound of a turn rests on those of the more urgent ones.
    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.loads.len()).collect();
        order.sort_by_key(|i| self.loads[*i].class);
        order
    }

    /// How long after it is due turn `i` is done, but for the last reads of it, which take `behind`; `None` if there is
    /// no bound.
    fn wait(&self, i: usize, behind: Duration) -> Option<Duration> {
        let own = &self.loads[i];
        let others = || self.loads.iter().zip(&self.starving).enumerate().filter(|(j, _)| *j != i).map(|(_, o)| o);
        // Alarm turns, and those that count as such, go by their age: none passes twice. Neither does one of the same
        // class where nothing is put off.
        let passes_again = |l: &Load, starves: bool| {
            own.class > PollClass::Alarm && (l.class < own.class || starves || self.has_alarms)
        };
        let passes_once = |l: &Load, starves: bool| l.class == own.class || starves;
        let again: Vec<(&Load, Duration)> =
            others().filter(|(l, s)| passes_again(l, **s)).map(|(l, _)| (l, l.takes(own))).collect();
        let once = others().filter(|(l, s)| !passes_again(l, **s) && passes_once(l, **s));
        let once: Duration = once.map(|(l, _)| l.takes(own)).sum();
        let first = CLASSES.iter().position(|class| *class == own.class).map_or(Duration::ZERO, |at| self.first[at]);
        let fixed = first + once + (own.time + own.rest).saturating_sub(behind);
        let mut wait = fixed;
        while wait <= AGE_MAX {
            let passing: Duration = again.iter().map(|(l, takes)| takes.saturating_mul(l.ahead(wait))).sum();
            if fixed + passing == wait {
                return Some(wait);
            }
            wait = fixed + passing;
        }
        None
    }
}
