//! The hours in which a supply may be cut: civil time, by weekday, without holidays.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, civil};
use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::time::Timestamp;

/// The most windows or holidays one policy may list.
pub const WINDOWS_MAX: usize = 400;

/// How many days ahead the next window is looked for; no row of holidays is that long.
const LOOK_AHEAD_DAYS: i64 = 60;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    fn of(date: Date) -> Self {
        match date.weekday() {
            civil::Weekday::Monday => Weekday::Mon,
            civil::Weekday::Tuesday => Weekday::Tue,
            civil::Weekday::Wednesday => Weekday::Wed,
            civil::Weekday::Thursday => Weekday::Thu,
            civil::Weekday::Friday => Weekday::Fri,
            civil::Weekday::Saturday => Weekday::Sat,
            civil::Weekday::Sunday => Weekday::Sun,
        }
    }
}

/// Hours of some weekdays, as in the site file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCutWindow {
    /// The days it holds on.
    pub days: Vec<Weekday>,
    /// Its first minute, `09:00`.
    pub from: String,
    /// The minute it ends at, `16:00`; at most `24:00`. A window does not run over midnight.
    pub to: String,
}

/// When a cut may be made.
#[derive(Clone, Debug, PartialEq)]
pub struct CutWindows {
    zone: TimeZone,
    windows: Vec<Window>,
    holidays: Vec<Date>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    days: Vec<Weekday>,
    /// Minutes of the day, `from` included, `to` not.
    from: u16,
    to: u16,
}

impl CutWindows {
    /// Checks windows and holidays; both are civil time of `zone`. Without any window nothing is ever cut.
    ///
    /// # Errors
    /// Every fault found.
    pub fn new(windows: &[RawCutWindow], holidays: &[String], zone: &TimeZone) -> Result<Self, Vec<PolicyError>> {
        if windows.len() > WINDOWS_MAX || holidays.len() > WINDOWS_MAX {
            return Err(vec![PolicyError::TooManyWindows]);
        }
        let mut errors = Vec::new();
        let mut checked = Vec::with_capacity(windows.len());
        for raw in windows {
            match (minute_of_day(&raw.from), minute_of_day(&raw.to)) {
                (Some(from), Some(to)) if from < to && !raw.days.is_empty() => {
                    checked.push(Window { days: raw.days.clone(), from, to });
                }
                _ => errors.push(PolicyError::Window { from: raw.from.clone(), to: raw.to.clone() }),
            }
        }
        let mut dates = Vec::with_capacity(holidays.len());
        for text in holidays {
            match text.parse::<Date>() {
                Ok(date) if date.to_string() == *text => dates.push(date),
                _ => errors.push(PolicyError::Holiday(text.clone())),
            }
        }
        if errors.is_empty() { Ok(Self { zone: zone.clone(), windows: checked, holidays: dates }) } else { Err(errors) }
    }

    /// Whether a cut may be made at `now`. Never at a time that has no civil date.
    pub fn contains(&self, now: Timestamp) -> bool {
        let Some(instant) = now.to_jiff() else { return false };
        let local = self.zone.to_datetime(instant);
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.on(local.date()).any(|window| window.from <= minute && minute < window.to)
    }

    /// The first minute of the next window that has not begun at `now`. `None` if there is none in the next 60 days.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(now.to_jiff()?).date();
        for ahead in 0..=LOOK_AHEAD_DAYS {
            let date = today.checked_add(ahead.days()).ok()?;
            let openings = self.on(date).filter_map(|window| self.instant(date, window.from));
            if let Some(opening) = openings.filter(|at| *at > now).min() {
                return Some(opening);
            }
        }
        None
    }

    /// The windows of one day; none on a holiday.
    fn on(&self, date: Date) -> impl Iterator<Item = &Window> {
        let (weekday, holiday) = (Weekday::of(date), self.holidays.contains(&date));
        self.windows.iter().filter(move |window| !holiday && window.days.contains(&weekday))
    }

    fn instant(&self, date: Date, minute: u16) -> Option<Timestamp> {
        // A window begins before 24:00, so the hour is one of the day.
        let local = date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        let zoned = local.to_zoned_datetime(self.zone.clone()).ok()?;
        Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
    }
}

/// Reads `HH:MM`, 00:00 to 24:00, as minutes of the day.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= 24 * 60).then_some(of_day)
}
