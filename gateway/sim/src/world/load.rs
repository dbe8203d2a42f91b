//! How the demand of a shop runs through the day.

use crate::inventory::Trade;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 3_600_000;

/// Percent of the base demand at each full hour.
fn curve(trade: Trade) -> &'static [u8; 24] {
    match trade {
        Trade::Retail => {
            &[8, 8, 8, 8, 8, 8, 10, 15, 30, 60, 95, 100, 100, 95, 95, 95, 95, 100, 100, 100, 90, 60, 20, 10]
        }
        Trade::Restaurant => {
            &[15, 12, 12, 12, 12, 15, 30, 45, 40, 50, 80, 100, 95, 60, 45, 45, 60, 90, 100, 100, 85, 60, 35, 20]
        }
        Trade::Office => {
            &[10, 10, 10, 10, 10, 10, 12, 30, 70, 100, 100, 95, 80, 95, 100, 100, 95, 80, 45, 30, 20, 15, 10, 10]
        }
        Trade::Constant => &[
            100, 100, 98, 98, 98, 98, 100, 100, 102, 104, 106, 108, 110, 110, 110, 108, 106, 104, 104, 102, 102, 100,
            100, 100,
        ],
        Trade::Lighting => {
            &[90, 85, 80, 80, 80, 85, 60, 30, 20, 20, 20, 20, 20, 20, 20, 25, 35, 60, 90, 100, 100, 100, 100, 95]
        }
    }
}

/// The share of the base demand at a time of day in milliseconds, interpolated between the full hours; about 0 to 1.1.
pub(crate) fn share(trade: Trade, time_of_day_ms: u64) -> f64 {
    let curve = curve(trade);
    let hour = (time_of_day_ms % DAY_MS / 3_600_000) as usize;
    let within = (time_of_day_ms % 3_600_000) as f64 / 3_600_000.0;
    let (from, to) = (f64::from(curve[hour]), f64::from(curve[(hour + 1) % 24]));
    (from + (to - from) * within) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_sleeps_at_night_and_a_cold_store_does_not() {
        let (night, noon) = (3 * 3_600_000, 12 * 3_600_000);
        assert!(share(Trade::Retail, night) < 0.2 && share(Trade::Retail, noon) > 0.9);
        assert!(share(Trade::Constant, night) > 0.9);
        assert!(share(Trade::Lighting, night) > share(Trade::Lighting, noon));
    }
}
