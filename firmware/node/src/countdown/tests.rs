//! A counter of sixteen cycles, read at every moment around its end.

use std::cell::{Cell, RefCell};

use super::*;

/// 12.5 cycles a microsecond, as on the first board: halves show wrong rounding.
const HALF_CYCLES: NonZeroU32 = NonZeroU32::new(25).unwrap();
const COUNTDOWN: Countdown = Countdown { period_us: 4, half_cycles_per_us: HALF_CYCLES };
const PERIOD: u64 = 50;

/// A counter on a part or in an emulator.
struct Timer {
    /// Cycles since the start.
    now: Cell<u64>,
    /// Cycles from an end until the part says that it is pending; 0 on a part.
    late: u64,
    /// What a late counter stands at.
    stands_at: u32,
    /// Ends that were counted.
    counted: Cell<u64>,
}

impl Timer {
    fn at(now: u64, counted: u64, late: u64, stands_at: u32) -> Self {
        Self { now: Cell::new(now), late, stands_at, counted: Cell::new(counted) }
    }

    /// Ends that the part has said.
    fn said(&self) -> u64 {
        let now = self.now.get();
        if now % PERIOD < self.late && now >= PERIOD { now / PERIOD - 1 } else { now / PERIOD }
    }

    fn left(&self) -> u32 {
        let now = self.now.get();
        match now % PERIOD {
            _ if self.said() < now / PERIOD => self.stands_at,
            0 => 0,
            gone => (PERIOD - gone) as u32,
        }
    }

    fn pending(&self) -> bool {
        self.said() > self.counted.get()
    }

    /// The exception runs.
    fn count(&self) {
        self.counted.set(self.said());
    }

    /// Reads the time; between the accesses the given cycles pass.
    fn micros(&self, pauses: [u64; 2]) -> u64 {
        let pauses = RefCell::new(pauses.into_iter());
        let pass = || self.now.set(self.now.get() + pauses.borrow_mut().next().unwrap_or(0));
        let counted = self.counted.get() as u32;
        let left = || {
            let left = self.left();
            pass();
            left
        };
        let pending = || {
            let pending = self.pending();
            pass();
            pending
        };
        u64::from(COUNTDOWN.micros(counted, left, pending))
    }
}

/// µs of cycles.
fn us(cycles: u64) -> u64 {
    cycles * 2 / 25
}

#[test]
fn the_period_is_whole() {
    assert_eq!(u64::from(COUNTDOWN.period_cycles()), PERIOD);
}

#[test]
fn every_moment_of_a_part_is_read_as_it_is() {
    for now in 1..4 * PERIOD {
        // Counted, or one end pending; in the very cycle of an end no exception has run yet.
        for pending in u64::from(now % PERIOD == 0)..=u64::from(now >= PERIOD) {
            assert_eq!(
                Timer::at(now, now / PERIOD - pending, 0, 0).micros([0, 0]),
                us(now),
                "at {now}, {pending} pending"
            );
        }
    }
}

/// The end falls before the first access, between any two, or behind the last; the part says so at once or late, and
/// stands at 0 or 1 meanwhile.
#[test]
fn an_end_between_any_two_accesses_is_on_one_side_of_it() {
    for stands_at in [0, 1] {
        for late in 0..6 {
            for before in 1..8 {
                for first in 0..8 {
                    for second in 0..8 {
                        let from = PERIOD - before;
                        let read = Timer::at(from, 0, late, stands_at).micros([first, second]);
                        let to = from + first + second;
                        // A late end holds the time at the last microsecond.
                        let held = if to % PERIOD < late + second { us(from).min(us(PERIOD) - 1) } else { us(from) };
                        assert!(
                            (held..=us(to)).contains(&read),
                            "{read} us between {held} and {} us: late {late}, {before} before, {first} and {second}",
                            us(to)
                        );
                    }
                }
            }
        }
    }
}

/// Readings at every distance, with the exception running anywhere between them, never step back.
#[test]
fn time_never_steps_back_while_the_exception_runs_once_a_period() {
    for stands_at in [0, 1] {
        for late in [0, 1, 3, 9] {
            for stride in 1..PERIOD / 2 {
                for counts_after in 0..5 {
                    let timer = Timer::at(1, 0, late, stands_at);
                    let (mut last, mut waits) = (0, 0);
                    while timer.now.get() < 20 * PERIOD {
                        let now = timer.micros([stride % 3, stride % 2]);
                        assert!(now >= last, "from {last} to {now} us, late {late}, stride {stride}");
                        assert!(now <= us(timer.now.get()), "{now} us is in the future");
                        last = now;
                        waits = if timer.pending() { waits + 1 } else { 0 };
                        // At the latest before the next end.
                        if waits > counts_after || timer.now.get() % PERIOD + 2 * stride + 6 >= PERIOD {
                            timer.count();
                        }
                        timer.now.set(timer.now.get() + stride);
                    }
                    assert!(last + us(2 * PERIOD) > us(timer.now.get()), "{last} us is far behind");
                }
            }
        }
    }
}

/// What the period must be long enough for: this is no promise, but what happens without it.
#[test]
fn two_ends_without_the_exception_lose_a_period() {
    let timer = Timer::at(2 * PERIOD + 10, 0, 0, 0);
    assert_eq!(timer.micros([0, 0]), us(PERIOD + 10));
}

#[test]
fn time_wraps_with_its_width() {
    let ends = u32::MAX / COUNTDOWN.period_us + 1;
    assert_eq!(COUNTDOWN.micros(ends, || 25, || false), 2, "2^32 is a multiple of the period here");
    assert_eq!(COUNTDOWN.micros(u32::MAX, || 25, || true), 2);
}
