//! What a device believes the time is.
//!
//! A meter's clock is an attribute of the meter, like its serial number. It is never taken for the time of a reading:
//! many meters begin at 2000-01-01 after a power cut, and a reading's time is when the device answered the gateway.
//! How far the clock is off matters all the same, because a meter with tariffs of its own switches by it, so it is
//! shown and exported.
//!
//! The profile reads it as a point `device_time` with a date and a time. Meters know no zone; theirs is the site's.

use guanjia_core::reading::{PointIx, Value};
use guanjia_core::time::Timestamp;

use crate::live::Live;
use crate::site::Device;

/// The id of the point that holds a device's clock.
const POINT: &str = "device_time";

/// A device's clock as it was read last.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceClock {
    /// What the device says, such as `2026-08-03T07:24:33`, on the site's clock.
    pub says: String,
    /// When it said so.
    pub at: Timestamp,
    /// By how many seconds it is ahead; negative if it is behind. Right to about a second and the round trip.
    pub skew_seconds: f64,
}

/// The clock of a device; `None` without one, or while it was not read well.
pub fn of(live: &Live, device: &Device) -> Option<DeviceClock> {
    let offset = u32::try_from(device.profile.point(POINT)?).ok()?;
    let latest = live.latest.get(PointIx(device.first_point.0 + offset))?;
    let (Value::Text(says), at) = latest.value.filter(|_| latest.quality.is_good())? else { return None };
    let skew_seconds = skew(&says, at, &live.site.zone)?;
    Some(DeviceClock { says: says.to_string(), at, skew_seconds })
}

/// By how much a clock that says `says` at the time `at` is ahead. `None` unless it is a date and a time.
fn skew(says: &str, at: Timestamp, zone: &jiff::tz::TimeZone) -> Option<f64> {
    let civil: jiff::civil::DateTime = says.parse().ok().filter(|_| says.contains('T'))?;
    let meant = zone.to_ambiguous_timestamp(civil).compatible().ok()?.as_millisecond();
    Some(meant.checked_sub(at.as_millis())? as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_moment_it_was_read_in_the_sites_zone() {
        let zone = jiff::tz::TimeZone::get("Asia/Shanghai").unwrap();
        let at = |text: &str| Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let read = at("2026-08-03T00:00:00Z");
        assert_eq!(skew("2026-08-03T08:00:00", read, &zone), Some(0.0));
        assert_eq!(skew("2026-08-03T08:01:30", read, &zone), Some(90.0));
        assert_eq!(skew("2026-08-03T07:59:59", read, &zone), Some(-1.0));
        let since_2000 = skew("2000-01-01T00:00:00", read, &zone).unwrap();
        assert!(since_2000 < -26.0 * 365.0 * 86_400.0, "a meter that lost its clock: {since_2000}");
        for wrong in ["2026-08-03", "08:00:00", "", "2026-13-01T00:00:00", "yesterday"] {
            assert_eq!(skew(wrong, read, &zone), None, "{wrong}");
        }
    }
}
