//! Friendly hours: windows of the week, and a date, before which nobody is cut.
//!
//! A cut needs a clock only where friendly hours are configured. Then an unset clock means that they may hold: no cut.

use crate::map::{Id, WINDOWS};
use crate::settings::Settings;

const DAY_S: u32 = 86_400;
/// 1970-01-01 was a Thursday; Monday is day 0.
const FIRST_WEEKDAY: u32 = 3;

/// Whether an empty account may be cut now; `local_s` is the local civil time, `None` when it was not set.
pub fn may_cut(settings: &Settings, local_s: Option<u32>) -> bool {
    let until = settings.get(Id::FriendlyUntil, 0);
    let windows = (0..WINDOWS).map(|n| Window {
        days: settings.word(Id::WindowDays, n),
        from: settings.get(Id::WindowFrom, n),
        to: settings.get(Id::WindowTo, n),
    });
    let configured = until != 0 || windows.clone().any(|window| window.days != 0);
    let Some(now) = local_s else { return !configured };
    now >= until && !windows.into_iter().any(|window| window.holds(now))
}

struct Window {
    /// Bit 0 Monday: days on which it begins.
    days: u16,
    /// Minute of the day it begins at.
    from: u32,
    /// Minute of the day it ends before; not after `from` = of the next day.
    to: u32,
}

impl Window {
    fn holds(&self, now: u32) -> bool {
        let weekday = (now / DAY_S + FIRST_WEEKDAY) % 7;
        let minute = now % DAY_S / 60;
        let on = |day: u32| self.days >> day & 1 == 1;
        if self.from < self.to {
            return on(weekday) && minute >= self.from && minute < self.to;
        }
        (on(weekday) && minute >= self.from) || (on((weekday + 6) % 7) && minute < self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map;

    /// 2027-01-01 00:00, a Friday.
    const FRIDAY: u32 = 20_819 * DAY_S;

    fn at(day: u32, hour: u32, minute: u32) -> Option<u32> {
        Some(FRIDAY + day * DAY_S + hour * 3600 + minute * 60)
    }

    fn settings(values: &[(Id, u32)]) -> Settings {
        let mut settings = Settings::new();
        for &(id, raw) in values {
            settings.put(map::rule(id).expect("a rule"), 0, raw);
        }
        settings
    }

    #[test]
    fn without_friendly_hours_a_cut_needs_no_clock() {
        assert!(may_cut(&Settings::new(), None));
        assert!(may_cut(&Settings::new(), at(0, 3, 0)));
    }

    #[test]
    fn an_unset_clock_never_cuts_where_hours_are_configured() {
        assert!(!may_cut(&settings(&[(Id::WindowDays, 1)]), None));
        assert!(!may_cut(&settings(&[(Id::FriendlyUntil, 1)]), None));
    }

    #[test]
    fn a_window_of_one_day() {
        // Friday (bit 4) from 16:00 to 24:00.
        let settings = settings(&[(Id::WindowDays, 1 << 4), (Id::WindowFrom, 960), (Id::WindowTo, 1440)]);
        assert!(may_cut(&settings, at(0, 15, 59)));
        assert!(!may_cut(&settings, at(0, 16, 0)));
        assert!(!may_cut(&settings, at(0, 23, 59)));
        assert!(may_cut(&settings, at(1, 0, 0)));
        assert!(may_cut(&settings, at(1, 16, 0)));
        assert!(!may_cut(&settings, at(7, 16, 0)));
    }

    #[test]
    fn a_window_over_midnight_and_over_the_end_of_the_week() {
        // Sunday (bit 6) from 18:00 to 08:00 of Monday.
        let settings = settings(&[(Id::WindowDays, 1 << 6), (Id::WindowFrom, 1080), (Id::WindowTo, 480)]);
        assert!(may_cut(&settings, at(2, 7, 0)), "Sunday morning");
        assert!(!may_cut(&settings, at(2, 18, 0)), "Sunday evening");
        assert!(!may_cut(&settings, at(3, 7, 59)), "Monday morning");
        assert!(may_cut(&settings, at(3, 8, 0)));
        assert!(may_cut(&settings, at(3, 18, 0)), "Monday evening");
    }

    #[test]
    fn holidays_hold_until_their_end() {
        let settings = settings(&[(Id::FriendlyUntil, FRIDAY)]);
        assert!(!may_cut(&settings, Some(FRIDAY - 1)));
        assert!(may_cut(&settings, Some(FRIDAY)));
    }
}
