//! From arrival times to the figures of the table.

use std::time::Duration;

/// What the times of a device's requests say about its period.
#[derive(Clone, Debug, Default)]
pub struct Periods {
    /// Periods between two requests of one device, sorted, in nanoseconds.
    gaps: Vec<u64>,
    nominal: u64,
    met: u64,
    missed: u64,
}

impl Periods {
    /// Looks at `arrivals` of every device between `from` and `to`, in nanoseconds. A device that is not heard of for
    /// longer than one and a half periods has missed one, also at the beginning and at the end.
    pub fn of<'a>(arrivals: impl Iterator<Item = &'a Vec<u64>>, nominal: Duration, from: u64, to: u64) -> Self {
        let nominal = nominal.as_nanos() as u64;
        let mut periods = Self { nominal, ..Self::default() };
        for device in arrivals {
            let inside: Vec<u64> = device.iter().copied().filter(|at| (from..to).contains(at)).collect();
            periods.met += inside.len() as u64;
            let edges = [from].into_iter().chain(inside.iter().copied()).chain([to]);
            let mut last = None;
            for at in edges {
                if let Some(last) = last {
                    periods.missed += periods.missed_in(at - last);
                }
                last = Some(at);
            }
            periods.gaps.extend(inside.windows(2).map(|pair| pair[1] - pair[0]));
        }
        periods.gaps.sort_unstable();
        periods
    }

    fn missed_in(&self, gap: u64) -> u64 {
        ((gap + self.nominal / 2) / self.nominal).saturating_sub(1)
    }

    /// The share of the cycles that were met.
    pub fn coverage(&self) -> f64 {
        self.met as f64 / (self.met + self.missed).max(1) as f64
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.met
    }

    /// How far the periods are off, at `share` of them, in milliseconds.
    pub fn jitter_ms(&self, share: f64) -> f64 {
        let mut off: Vec<u64> = self.gaps.iter().map(|gap| gap.abs_diff(self.nominal)).collect();
        off.sort_unstable();
        at(&off, share) as f64 / 1e6
    }

    /// The period that `share` of them do not exceed, over the nominal one.
    pub fn stretch(&self, share: f64) -> f64 {
        at(&self.gaps, share) as f64 / self.nominal as f64
    }
}

/// The value that `share` of the sorted values do not exceed; 0 if there is none.
pub fn at<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// The middle of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    at(&numbers, 0.5)
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// At most.
    Most(f64),
    /// At least.
    Least(f64),
    /// Nothing; it is stated.
    Stated,
}

/// Prints one line of the table.
pub fn row(what: &str, value: f64, unit: &str, aim: Aim, beside: &str) {
    let verdict = match aim {
        Aim::Most(most) if value <= most => format!("met (at most {most})"),
        Aim::Most(most) => format!("MISSED (at most {most})"),
        Aim::Least(least) if value >= least => format!("met (at least {least})"),
        Aim::Least(least) => format!("MISSED (at least {least})"),
        Aim::Stated => String::new(),
    };
    println!("  {what:<52} {value:>11.4} {unit:<12} {verdict:<26} {beside}");
}
