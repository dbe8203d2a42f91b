//! From tallies to findings: every threshold with its name, and which finding makes which other one superfluous.

use std::time::Duration;

use super::tally::Tally;
use super::{ASKED_MIN, Doctor, EVENTS_MIN, EVENTS_STAY, Finding, Illness, Patient, Wire};
use crate::trace::Role;

/// A finding of the kind "this share of the transactions": begins at the first, ends below the second, in percent.
#[derive(Clone, Copy)]
struct Level {
    begins: u32,
    ends: u32,
}

/// Damaged frames of a unit that is not well.
const DAMAGE: Level = Level { begins: 5, ends: 2 };
/// Damaged or unanswered requests of a unit before the fault on the line, at most.
const WELL_PERCENT: u32 = 1;
/// Answers with signs of a second device.
const DOUBLED: Level = Level { begins: 10, ends: 3 };
/// Requests whose answer came after the time-out.
const LATE: Level = Level { begins: 5, ends: 2 };
/// Unanswered requests of a unit that also answers: close to its time-out, or another master.
const UNANSWERED: Level = Level { begins: 10, ends: 4 };
/// Refused requests.
const REFUSED: Level = Level { begins: 50, ends: 25 };
/// Own requests that came back.
const ECHOED: Level = Level { begins: 20, ends: 5 };

/// Units that must be well before a fault, and ill beyond it, for it to be a place on the line.
const UNITS_EITHER_SIDE: usize = 2;
/// The share of the time-out beyond which an answer counts as close to it, in percent.
const CLOSE_PERCENT: u32 = 80;
/// No serial server is accused below this; many meters need as long themselves.
const BUFFER_MIN: Duration = Duration::from_millis(120);
/// By how much the answer times of all units may differ while a timer makes them.
const BUFFER_SPREAD_MAX: Duration = Duration::from_millis(30);
/// Units that must show the same delay.
const BUFFER_UNITS_MIN: usize = 3;
/// A unit has become slow when its mean time is this many times the usual, and longer by [`DRIFT_MIN`]; it is back when
/// both are halved.
const DRIFT_FACTOR: u32 = 2;
const DRIFT_MIN: Duration = Duration::from_millis(50);
/// The weight of a half window in the usual time: 1 in this many.
const USUAL_INERTIA: u32 = 16;

impl Patient {
    fn sum(&self) -> Tally {
        self.tally.current.plus(&self.tally.previous)
    }

    pub(super) fn turn(&mut self) {
        if self.tally.current.answered >= ASKED_MIN
            && let Some(mean) = self.tally.current.excess_mean()
        {
            let usual = self.usual.unwrap_or(mean);
            self.usual = Some((usual * (USUAL_INERTIA - 1) + mean) / USUAL_INERTIA);
        }
        self.tally.turn();
    }
}

impl Doctor {
    /// Everything that is wrong by the tallies of now.
    pub(super) fn examine(&self) -> Vec<Finding> {
        let sums: Vec<(u8, Tally)> =
            self.facts.units.iter().filter_map(|(unit, _)| Some((*unit, self.units.get(unit)?.sum()))).collect();
        let mut found = Vec::new();
        if self.facts.role == Role::Listener {
            return self.examine_overheard(&sums);
        }
        if self.facts.wire != Wire::Network {
            if let Some(finding) = self.wrong_format(&sums) {
                return vec![finding];
            }
            found.extend(self.company(&sums));
            // While somebody else talks on the line nothing can be said about its frames.
            if !found.is_empty() {
                return found;
            }
            found.extend(self.doubles(&sums));
            found.extend(self.damage(&sums, &found));
            found.extend(self.buffers(&sums));
        }
        found.extend(self.slowness(&sums));
        found.extend(self.drift());
        found.extend(self.refusals(&sums));
        found
    }

    /// The same of a line that is only listened to.
    fn examine_overheard(&self, sums: &[(u8, Tally)]) -> Vec<Finding> {
        if let Some(finding) = self.wrong_format(sums) {
            return vec![finding];
        }
        let mut found = self.doubles(sums);
        let damage = self.damage(sums, &found);
        let is_damaged = !damage.is_empty();
        found.extend(damage);
        // While frames are damaged, that is why answers are missing.
        if !is_damaged {
            found.extend(self.gaps(sums));
        }
        found.extend(self.drift());
        found.extend(self.refusals(sums));
        found
    }

    /// Whether `count` of `of` reaches the level; a lower one while the finding stands.
    fn reaches(&self, level: Level, illness: Illness, unit: Option<u8>, count: u32, of: u32) -> bool {
        let stands = self.stands(illness, unit);
        let (percent, events) = if stands { (level.ends, EVENTS_STAY) } else { (level.begins, EVENTS_MIN) };
        count >= events && of >= ASKED_MIN && u64::from(count) * 100 >= u64::from(of) * u64::from(percent)
    }

    fn stands(&self, illness: Illness, unit: Option<u8>) -> bool {
        self.standing.iter().any(|s| s.finding.illness == illness && s.finding.unit == unit)
    }

    fn wrong_format(&self, sums: &[(u8, Tally)]) -> Option<Finding> {
        let line = self.line.current.plus(&self.line.previous);
        let of: u32 = sums.iter().map(|(_, t)| t.asked).sum();
        let answered: u32 = sums.iter().map(|(_, t)| t.answered + t.refused + t.late).sum();
        // The questions of another master are heard as well; our own prove nothing.
        let heard = line.foreign + if self.facts.role == Role::Listener { of } else { answered };
        (heard == 0 && line.noise >= EVENTS_MIN).then(|| finding(Illness::WrongFormat, None, None, line.noise, of))
    }

    /// Somebody else on the line, or the own echo.
    fn company(&self, sums: &[(u8, Tally)]) -> Option<Finding> {
        let line = self.line.current.plus(&self.line.previous);
        let of: u32 = sums.iter().map(|(_, t)| t.asked).sum();
        if self.reaches(ECHOED, Illness::Echo, None, line.echoed, of) {
            return Some(finding(Illness::Echo, None, None, line.echoed, of));
        }
        (line.foreign >= EVENTS_MIN).then(|| finding(Illness::AnotherMaster, None, None, line.foreign, of))
    }

    fn doubles(&self, sums: &[(u8, Tally)]) -> Vec<Finding> {
        let of_unit = |(unit, t): &(u8, Tally)| {
            let doubled = self.reaches(DOUBLED, Illness::DoubleAddress, Some(*unit), t.doubled, t.asked);
            doubled.then(|| finding(Illness::DoubleAddress, Some(*unit), None, t.doubled, t.asked))
        };
        let doubles: Vec<Finding> = sums.iter().filter_map(of_unit).collect();
        // A serial server that repeats requests makes doubles of everybody; that is no second device.
        let asked = sums.iter().filter(|(_, t)| t.asked >= ASKED_MIN).count();
        if asked > 1 && doubles.len() * 2 > asked { Vec::new() } else { doubles }
    }

    /// Damage at a unit, beyond a unit, or everywhere, without the units that `known` explains.
    fn damage(&self, sums: &[(u8, Tally)], known: &[Finding]) -> Vec<Finding> {
        let judged: Vec<&(u8, Tally)> = sums
            .iter()
            .filter(|(unit, t)| t.asked >= ASKED_MIN && !known.iter().any(|f| f.unit == Some(*unit)))
            .collect();
        let is_ill = |unit: u8, t: &Tally| {
            let at = [Some(unit), None].into_iter().any(|place| {
                let kinds = [Illness::DamageAtUnit, Illness::DamageBeyond, Illness::DamageEverywhere];
                kinds.into_iter().any(|kind| self.reaches(DAMAGE, kind, place, t.damaged, t.asked))
            });
            at || self.standing.iter().any(|s| s.finding.illness == Illness::DamageBeyond)
                && t.damaged >= EVENTS_STAY
                && t.damaged * 100 >= t.asked * DAMAGE.ends
        };
        let ill: Vec<bool> = judged.iter().map(|(unit, t)| is_ill(*unit, t)).collect();
        let is_well = |t: &Tally| (t.damaged + t.timeouts) * 100 <= t.asked * WELL_PERCENT;
        let sum = |tallies: &[&(u8, Tally)]| {
            tallies.iter().fold((0, 0), |(count, of), (_, t)| (count + t.damaged, of + t.asked))
        };
        let ill_units = ill.iter().filter(|ill| **ill).count();
        if let Some(first) = ill.iter().position(|ill| *ill) {
            let (before, beyond) = judged.split_at(first);
            let is_place = before.len() >= UNITS_EITHER_SIDE
                && beyond.len() >= UNITS_EITHER_SIDE
                && before.iter().all(|(_, t)| is_well(t))
                && ill[first..].iter().all(|ill| *ill);
            if let (true, Some((last_well, _))) = (is_place, before.last()) {
                let (count, of) = sum(beyond);
                return vec![finding(Illness::DamageBeyond, Some(*last_well), None, count, of)];
            }
        }
        if judged.len() >= UNITS_EITHER_SIDE && ill_units * 2 > judged.len() {
            let (count, of) = sum(&judged);
            return vec![finding(Illness::DamageEverywhere, None, None, count, of)];
        }
        let ill = judged.iter().zip(&ill).filter(|(_, ill)| **ill);
        ill.map(|((unit, t), _)| finding(Illness::DamageAtUnit, Some(*unit), None, t.damaged, t.asked)).collect()
    }

    fn buffers(&self, sums: &[(u8, Tally)]) -> Option<Finding> {
        if self.facts.wire != Wire::SerialServer {
            return None;
        }
        let timed: Vec<&Tally> = sums.iter().map(|(_, t)| t).filter(|t| t.answered >= ASKED_MIN).collect();
        let quickest = timed.iter().filter_map(|t| t.excess_min()).min()?;
        let slowest = timed.iter().filter_map(|t| t.excess_mean()).max()?;
        let is_timer = timed.len() >= BUFFER_UNITS_MIN
            && quickest >= BUFFER_MIN
            && slowest.saturating_sub(quickest) <= BUFFER_SPREAD_MAX;
        let answered = timed.iter().map(|t| t.answered).sum();
        is_timer.then(|| finding(Illness::ServerBuffers, None, Some(slowest), answered, answered))
    }

    /// Time-outs that are shorter than what a unit, or most of them, needs.
    fn slowness(&self, sums: &[(u8, Tally)]) -> Vec<Finding> {
        let slow = |(unit, t): &(u8, Tally)| {
            let is_late = self.reaches(LATE, Illness::SlowUnit, Some(*unit), t.late, t.asked);
            let patience = self.units.get(unit)?.patience;
            let is_close = t.answered > 0
                && t.excess_max() * 100 >= patience * CLOSE_PERCENT
                && self.reaches(UNANSWERED, Illness::SlowUnit, Some(*unit), t.timeouts, t.asked);
            let needs = t.late_mean_ms().map_or(t.excess_max(), |ms| Duration::from_millis(u64::from(ms)));
            let count = if is_late { t.late } else { t.timeouts };
            (is_late || is_close).then(|| finding(Illness::SlowUnit, Some(*unit), Some(needs), count, t.asked))
        };
        let slow: Vec<Finding> = sums.iter().filter_map(slow).collect();
        let asked = sums.iter().filter(|(_, t)| t.asked >= ASKED_MIN).count();
        if asked < 2 || slow.len() < 2 || slow.len() * 2 <= asked {
            return slow;
        }
        let longest = slow.iter().filter_map(|f| f.millis).max().map(|ms| Duration::from_millis(u64::from(ms)));
        let (count, of) = slow.iter().fold((0, 0), |(count, of), f| (count + f.count, of + f.of));
        vec![finding(Illness::TimeoutTooShort, None, longest, count, of)]
    }

    fn drift(&self) -> Vec<Finding> {
        let drifted = |(unit, patient): (&u8, &Patient)| {
            let (usual, now) = (patient.usual?, patient.tally.current.excess_mean()?);
            let t = &patient.tally.current;
            let halving = if self.stands(Illness::RoundTripDrift, Some(*unit)) { 2 } else { 1 };
            let is_slow = t.answered >= ASKED_MIN
                && now * halving > usual * DRIFT_FACTOR
                && (now.saturating_sub(usual)) * halving > DRIFT_MIN;
            is_slow.then(|| finding(Illness::RoundTripDrift, Some(*unit), Some(now), t.answered, t.asked))
        };
        self.units.iter().map(|(unit, patient)| (unit, &**patient)).filter_map(drifted).collect()
    }

    /// Units that are there and leave questions unanswered. One that never answers is silent, and that is its health.
    fn gaps(&self, sums: &[(u8, Tally)]) -> Vec<Finding> {
        let has_gaps = |(unit, t): &(u8, Tally)| {
            let often = t.answered + t.doubtful > 0
                && self.reaches(UNANSWERED, Illness::Gaps, Some(*unit), t.timeouts, t.asked);
            often.then(|| finding(Illness::Gaps, Some(*unit), None, t.timeouts, t.asked))
        };
        sums.iter().filter_map(has_gaps).collect()
    }

    fn refusals(&self, sums: &[(u8, Tally)]) -> Vec<Finding> {
        let refused = |(unit, t): &(u8, Tally)| {
            let often = self.reaches(REFUSED, Illness::Refuses, Some(*unit), t.refused, t.asked);
            often.then(|| finding(Illness::Refuses, Some(*unit), None, t.refused, t.asked))
        };
        sums.iter().filter_map(refused).collect()
    }
}

fn finding(illness: Illness, unit: Option<u8>, time: Option<Duration>, count: u32, of: u32) -> Finding {
    let millis = time.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    Finding { illness, unit, millis, count, of }
}
