//! The text of `/metrics/points`: every point with a number that is good, in the unit of its profile.
//!
//! ```text
//! guanjia_point_value{device="m-101",point="frequency",system="electricity",building="A"} 50.01
//! ```
//!
//! `/metrics` brings what has a meaning of its own; this brings everything, and is made to be large. It is written piece
//! by piece while it is sent: neither the whole text nor a copy of the values is ever in memory, the table of latest
//! values is held for one device at a time, and no piece keeps a thread from the lines for as long as a poll takes. What
//! is common to the points of a device is written once and copied. Decimals keep their exact digits.
//!
//! A reading that is not good is left out, so Prometheus marks the series stale. Scrape it more rarely than `/metrics`,
//! as a job of its own.

use std::fmt::Write as _;
use std::sync::Arc;

use guanjia_core::reading::Value;

use super::page::escape;
use super::system_of;
use crate::live::Live;
use crate::site::Device;

/// The name of every series here.
const NAME: &str = "guanjia_point_value";
/// What a piece holds at least, unless it is the last.
const PIECE_BYTES: usize = 32 * 1024;
/// Room for the last device of a piece.
const DEVICE_BYTES: usize = 16 * 1024;

/// The text, piece by piece. It ends with the last device of the site.
pub struct Points {
    live: Arc<Live>,
    /// The `system` whose points are wanted; all of them without one.
    system: Option<String>,
    next: usize,
}

impl Points {
    /// The points of one system, or all.
    pub fn new(live: Arc<Live>, system: Option<String>) -> Self {
        Self { live, system, next: 0 }
    }
}

impl Iterator for Points {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let devices = &self.live.site.devices;
        if self.next >= devices.len() && self.next > 0 {
            return None;
        }
        let mut text = String::with_capacity(PIECE_BYTES + DEVICE_BYTES);
        if self.next == 0 {
            let help = "The latest good value of a point, in the unit of its profile.";
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {NAME} {help}\n# TYPE {NAME} gauge");
        }
        while text.len() < PIECE_BYTES
            && let Some(device) = devices.get(self.next)
        {
            let system = system_of(device.profile.class);
            if self.system.as_deref().is_none_or(|wanted| wanted == system) {
                points_of(&mut text, &self.live, device, system);
            }
            self.next += 1;
        }
        // A site without devices has its two lines all the same, and ends after them.
        self.next = self.next.max(1);
        Some(text)
    }
}

fn points_of(text: &mut String, live: &Live, device: &Device, system: &str) {
    let mut before = format!("{NAME}{{device=\"");
    escape(&mut before, &device.id);
    before.push_str("\",point=\"");
    let mut behind = format!("\",system=\"{system}\",building=\"");
    escape(&mut behind, &device.building);
    behind.push_str("\"} ");
    let points = &device.profile.points;
    live.latest.with(device.first_point, points.len(), |rows| {
        for (point, row) in points.iter().zip(rows) {
            let Some((value, _)) = row.value.as_ref().filter(|_| row.quality.is_good()) else { continue };
            if matches!(value, Value::Text(_)) {
                continue;
            }
            text.push_str(&before);
            escape(text, &point.id);
            text.push_str(&behind);
            number(text, value);
            text.push('\n');
        }
    });
}

fn number(text: &mut String, value: &Value) {
    match value {
        Value::Decimal(decimal) => match i64::try_from(decimal.mantissa) {
            Ok(mantissa) if (-18..=0).contains(&decimal.exponent) => decimal_digits(text, mantissa, decimal.exponent),
            // Rare, and slow because it is right for everything.
            _ => drop(write!(text, "{decimal}")),
        },
        Value::Bool(bit) => text.push(if *bit { '1' } else { '0' }),
        // The shortest digits that are read back as the same double; a value is never NaN or infinite.
        Value::Float(float) => {
            let mut digits = ryu::Buffer::new();
            let digits = digits.format(*float);
            text.push_str(digits.strip_suffix(".0").unwrap_or(digits));
        }
        Value::Text(_) => {}
    }
}

/// `mantissa x 10^exponent` with all its digits, as [`guanjia_core::reading::Decimal`] prints itself, several times as fast.
fn decimal_digits(text: &mut String, mantissa: i64, exponent: i8) {
    let decimals = usize::from(exponent.unsigned_abs());
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(mantissa.unsigned_abs());
    if mantissa < 0 {
        text.push('-');
    }
    if decimals == 0 {
        text.push_str(digits);
        return;
    }
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
    text.push_str(if whole.is_empty() { "0" } else { whole });
    text.push('.');
    for _ in fraction.len()..decimals {
        text.push('0');
    }
    text.push_str(fraction);
}

#[cfg(test)]
mod tests {
    use guanjia_core::reading::Decimal;

    use super::*;

    #[test]
    fn a_double_is_written_so_that_it_is_read_back_as_itself() {
        for float in [0.0, -0.0, 1.0, -2.5, 50.01, 1e-7, 1.5e300, f64::from(230.12_f32), f64::MIN_POSITIVE, f64::MAX] {
            let mut text = String::new();
            number(&mut text, &Value::Float(float));
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(float.to_bits()), "{text}");
        }
    }

    #[test]
    fn digits_are_the_ones_a_decimal_prints() {
        for mantissa in [0, 1, -1, 9, 10, -10, 99, 100, 12_345_678, -12_345_678, i64::MAX, i64::MIN] {
            for exponent in -18..=0 {
                let mut text = String::new();
                decimal_digits(&mut text, mantissa, exponent);
                assert_eq!(text, Decimal::new(i128::from(mantissa), exponent).to_string());
            }
        }
    }
}
