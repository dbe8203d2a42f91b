//! Lines that another master owns.
//!
//! The gateway only listens there. So nothing on such a line may be what it must be able to move or top up: a prepaid meter
//! whose relay nobody could open or close would be a promise that cannot be kept.

use std::collections::BTreeSet;

use guanjia_core::supply::ServiceKind;

use super::context::Context;
use super::document::Entry;
use super::lines::{Line, RawLines};
use super::raw::RawServicePoint;
use crate::site::{Attachment, Device, ServicePoint};

/// The positions of the lines that are only listened to.
pub fn lines(raw: &RawLines, lines: &[Entry<Option<Line>>]) -> BTreeSet<usize> {
    let servers = raw.rtu_over_tcp.iter().filter(|line| line.passive).map(|line| &line.key);
    let ports = raw.modbus_rtu.iter().filter(|line| line.passive).map(|line| &line.key);
    let names: BTreeSet<_> = servers.chain(ports).collect();
    (0..lines.len()).filter(|i| names.contains(&lines[*i].key)).collect()
}

/// Refuses prepaid service points whose meter cannot be switched because its line is only listened to.
pub fn check_service_points(
    context: &mut Context,
    passive: &BTreeSet<usize>,
    raw: &[Entry<RawServicePoint>],
    found: &[ServicePoint],
    devices: &[Device],
) {
    for point in found.iter().filter(|point| matches!(point.kind, ServiceKind::Prepaid)) {
        let Some(device) = devices.get(point.device.0 as usize) else { continue };
        let on_passive = matches!(device.attachment, Attachment::Line { line, .. } if passive.contains(&line));
        let Some(entry) = raw.iter().find(|entry| entry.key == point.id).filter(|_| on_passive) else { continue };
        let what = match (point.relay, point.wallet) {
            (Some(_), _) => "its relay cannot be moved",
            (None, Some(_)) => "it cannot be topped up",
            (None, None) => continue,
        };
        context
            .error(entry.device.span(), format!("the line of `{}` is only listened to, so {what}", device.id))
            .help("take `passive` off the line and the other master off the bus, or make the service point exempt");
    }
}
