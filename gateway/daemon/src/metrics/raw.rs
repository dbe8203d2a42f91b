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
            value.write_sample(text);
            text.push('\n');
        }
    });
}
