//! Who is on duty, by role, at an instant.
//!
//! Shifts are written in the site's local wall-clock time and zone, because that is what hangs on the wall of the
//! duty room: `Mon-Fri 20:00-08:00`. Instants are made from them at the edge, and both ends of every shift by the
//! same function, so one shift ends exactly where the next begins:
//!
//! * A wall-clock time that the clocks skip (spring) is the first instant after the gap.
//! * A wall-clock time that the clocks show twice (autumn) is its second showing: the old shift stays to the last.
//!
//! Shifts are half open: at 08:00:00.000 the day shift is on and the night shift is not. An absent person is replaced
//! by the deputy in the same step, so that no page waits for somebody who is not there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A person, by the site file's id.
pub type PersonId = String;

/// The furthest [`Roster::gaps`] looks ahead, in days; what lies beyond is not examined.
pub const GAPS_DAYS_MAX: i32 = 62;
/// Deputies of deputies are followed this far.
const DEPUTIES_MAX: usize = 8;

/// A day of the week as the site file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they are the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// All seven.
    pub const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

    fn of(weekday: Weekday) -> Self {
        Self::ALL[weekday.to_monday_zero_offset().unsigned_abs() as usize % 7]
    }
}

/// One line of the duty roster as the site file writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftForm {
    /// The role, such as `duty_phone`.
    pub role: String,
    /// Who.
    pub person: PersonId,
    /// The days on which it begins; every day if left out.
    #[serde(default = "every_day")]
    pub days: Vec<Day>,
    /// Local time, `HH:MM`.
    pub from: String,
    /// Local time, `HH:MM`. At or before `from` it means the next day, so `08:00` to `08:00` is a whole day.
    pub to: String,
}

fn every_day() -> Vec<Day> {
    Day::ALL.to_vec()
}

/// The duty roster as the site file writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RosterForm {
    /// The IANA zone of all wall-clock times, such as `Asia/Shanghai`.
    pub zone: String,
    /// The person every ladder ends with, whatever the roster says.
    pub fallback: PersonId,
    /// The shifts.
    #[serde(default)]
    pub shifts: Vec<ShiftForm>,
    /// Who stands in for whom.
    #[serde(default)]
    pub deputies: BTreeMap<PersonId, PersonId>,
    /// Who is away now.
    #[serde(default)]
    pub absent: BTreeSet<PersonId>,
}

/// Why a roster cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Not in the zone database.
    #[error("{0:?} is not an IANA time zone; write one such as Asia/Shanghai")]
    Zone(String),
    /// Not a time of day.
    #[error("{0:?} is not a time of day; write HH:MM between 00:00 and 23:59")]
    Time(String),
    /// A shift that never begins.
    #[error("the shift of {person} as {role} has no day; name its days or leave `days` out for every day")]
    NoDay {
        /// Who.
        person: PersonId,
        /// As what.
        role: String,
    },
}

/// One checked line of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shift {
    role: String,
    person: PersonId,
    days: BTreeSet<Day>,
    from: Time,
    to: Time,
}

/// The duty roster of a site.
#[derive(Clone, Debug)]
pub struct Roster {
    zone: TimeZone,
    fallback: PersonId,
    shifts: Vec<Shift>,
    deputies: BTreeMap<PersonId, PersonId>,
    absent: BTreeSet<PersonId>,
}

impl Roster {
    /// Checks the form.
    ///
    /// # Errors
    /// The first [`RosterError`] found.
    pub fn new(form: RosterForm) -> Result<Self, RosterError> {
        let zone = TimeZone::get(&form.zone).map_err(|_| RosterError::Zone(form.zone.clone()))?;
        let shifts = form.shifts.into_iter().map(|shift| {
            if shift.days.is_empty() {
                return Err(RosterError::NoDay { person: shift.person, role: shift.role });
            }
            let (from, to) = (time_of_day(&shift.from)?, time_of_day(&shift.to)?);
            Ok(Shift { role: shift.role, person: shift.person, days: shift.days.into_iter().collect(), from, to })
        });
        let shifts = shifts.collect::<Result<_, _>>()?;
        Ok(Self { zone, fallback: form.fallback, shifts, deputies: form.deputies, absent: form.absent })
    }

    /// The zone of the site's wall clocks.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The person every ladder ends with. Not replaced by a deputy: the site promised that this one is reachable.
    pub fn fallback(&self) -> &PersonId {
        &self.fallback
    }

    /// Marks who is away from now on.
    pub fn set_absent(&mut self, absent: BTreeSet<PersonId>) {
        self.absent = absent;
    }

    /// Who is on duty for the role, in the roster's order, deputies in the place of the absent. Empty in a gap.
    pub fn on_duty(&self, role: &str, now: Timestamp) -> Vec<PersonId> {
        let mut found: Vec<PersonId> = Vec::new();
        let Some(today) = self.local_date(now) else { return found };
        for shift in self.shifts.iter().filter(|shift| shift.role == role) {
            let on = self.instances(shift, today, 1).any(|(start, end)| start <= now && now < end);
            if let (true, Some(person)) = (on, self.present(&shift.person))
                && !found.contains(person)
            {
                found.push(person.clone());
            }
        }
        found
    }

    /// The times in `from..to` at which nobody is on duty for the role, in order. At most [`GAPS_DAYS_MAX`] days.
    pub fn gaps(&self, role: &str, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let (Some(first), Some(last)) = (self.local_date(from), self.local_date(to)) else { return Vec::new() };
        let days = first.until(last).map_or(0, |span: Span| span.get_days()).clamp(0, GAPS_DAYS_MAX);
        let to = to.min(from + std::time::Duration::from_secs(GAPS_DAYS_MAX.unsigned_abs().into()) * 86_400);
        let mut covered: Vec<(Timestamp, Timestamp)> = self
            .shifts
            .iter()
            .filter(|shift| shift.role == role && self.present(&shift.person).is_some())
            .flat_map(|shift| self.instances(shift, first, days + 1))
            .collect();
        covered.sort_unstable();
        let mut gaps = Vec::new();
        let mut open = from;
        for (start, end) in covered {
            if start >= to {
                break;
            }
            if start > open {
                gaps.push((open, start));
            }
            open = open.max(end);
        }
        if open < to {
            gaps.push((open, to));
        }
        gaps
    }

    /// `HH:MM` on the site's wall clocks.
    pub fn wall_clock(&self, at: Timestamp) -> String {
        match at.to_jiff() {
            Some(at) => self.zone.to_datetime(at).strftime("%H:%M").to_string(),
            None => "--:--".to_owned(),
        }
    }

    fn local_date(&self, at: Timestamp) -> Option<Date> {
        Some(self.zone.to_datetime(at.to_jiff()?).date())
    }

    /// The shift's instances that begin between the day before `day` and `days` after it. A night shift and a change
    /// of the clocks reach no further than that.
    fn instances<'a>(
        &'a self,
        shift: &'a Shift,
        day: Date,
        days: i32,
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> + 'a {
        (-2..=days).filter_map(move |offset| {
            let start = day.checked_add(offset.days()).ok()?;
            if !shift.days.contains(&Day::of(start.weekday())) {
                return None;
            }
            let end = if shift.to > shift.from { start } else { start.tomorrow().ok()? };
            let (start, end) = (self.instant(start, shift.from)?, self.instant(end, shift.to)?);
            (start < end).then_some((start, end))
        })
    }

    /// The instant of a wall-clock time; see the module's head for skipped and doubled ones.
    fn instant(&self, date: Date, time: Time) -> Option<Timestamp> {
        let civil = date.to_datetime(time);
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        let instant = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok()?,
            AmbiguousOffset::Fold { after, .. } => after.to_timestamp(civil).ok()?,
            AmbiguousOffset::Gap { after, .. } => {
                // Read with the later offset, a skipped time lies before the change; the change is what follows.
                let before = after.to_timestamp(civil).ok()?;
                self.zone.following(before).next()?.timestamp()
            }
        };
        Some(Timestamp::from_millis(instant.as_millisecond()))
    }

    /// The person, or the first deputy of the chain who is there.
    fn present<'a>(&'a self, person: &'a PersonId) -> Option<&'a PersonId> {
        let mut person = person;
        for _ in 0..DEPUTIES_MAX {
            if !self.absent.contains(person) {
                return Some(person);
            }
            person = self.deputies.get(person)?;
        }
        None
    }
}

fn time_of_day(text: &str) -> Result<Time, RosterError> {
    let bad = || RosterError::Time(text.to_owned());
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    if text.len() != 5 || hours.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return Err(bad());
    }
    let part = |part: &str| part.parse::<i8>().map_err(|_| bad());
    Time::new(part(hours)?, part(minutes)?, 0, 0).map_err(|_| bad())
}

#[cfg(test)]
mod tests;
