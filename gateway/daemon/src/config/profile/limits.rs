//! `[read]`: what a request to the device must respect.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{Extent, Place, ReadLimits, Table};

use super::raw::{PointsARequest, RawExtent, RawRead};
use super::{BITS_MAX, REGISTERS_MAX};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::value::{At, Span};

/// No device is known to take more.
const IN_FLIGHT_MAX: u8 = 16;

pub fn read_limits(
    raw: Option<&Entry<RawRead>>,
    table: Option<Table>,
    source: &Arc<Source>,
    report: &mut Report,
) -> ReadLimits {
    // Where the profile says nothing, the planner weighs a gap against another request.
    let defaults = ReadLimits { gap_max: None, ..ReadLimits::default() };
    let Some(raw) = raw else { return defaults };
    let registers_max =
        within(raw.registers_max.as_ref(), 1..=REGISTERS_MAX, "a request reads", "registers", source, report);
    let bits_max = within(raw.bits_max.as_ref(), 1..=BITS_MAX, "a request reads", "bits", source, report);
    let in_flight =
        within(raw.in_flight_max.as_ref(), 1..=IN_FLIGHT_MAX, "a device takes", "requests at once", source, report);
    let registers_max = registers_max.unwrap_or(defaults.registers_max);
    let bits_max = bits_max.unwrap_or(defaults.bits_max);
    let or = |span: &Option<Span>, default: Duration| span.map_or(default, |s| s.0);
    let mut extents = |raw: &[RawExtent], most: Option<u16>| {
        let mut extents: Vec<Extent> = Vec::new();
        for extent in raw {
            let table = extent.table.or(table).unwrap_or(Table::Holding);
            let ends = u32::from(*extent.address) + u32::from(extent.count);
            let limit = if table.is_bits() { bits_max } else { registers_max };
            if extent.count == 0 || ends > 0x1_0000 || most.is_some() && extent.count > limit {
                report
                    .error(source, extent.address.span(), "no request can have this place and length")
                    .help("at least 1, at most what one request brings, and not beyond address 65535");
            }
            extents.push(Extent { table, address: *extent.address, count: extent.count });
        }
        extents
    };
    let (holes, blocks) = (extents(&raw.holes, None), extents(&raw.blocks, Some(registers_max)));
    let barrier =
        |p: &super::raw::RawPlace| Place { table: p.table.or(table).unwrap_or(Table::Holding), address: *p.address };
    ReadLimits {
        registers_max,
        bits_max,
        gap_max: raw.gap_max,
        holes,
        blocks,
        barriers: raw.barriers.iter().map(barrier).collect(),
        alignment: raw.alignment,
        one_point_a_request: raw.points_a_request == PointsARequest::One,
        silence_min: or(&raw.silence_min, defaults.silence_min),
        interval_min: or(&raw.interval_min, defaults.interval_min),
        response_max: or(&raw.response_max, defaults.response_max),
        in_flight_max: in_flight.unwrap_or(defaults.in_flight_max),
        unit_echo: raw.unit_echo,
        byte_count: raw.byte_count,
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    raw: Option<&At<N>>,
    range: RangeInclusive<N>,
    who: &str,
    what: &str,
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<N> {
    let number = raw?;
    if range.contains(&**number) {
        return Some(**number);
    }
    report
        .error(source, number.span(), format!("{who} {} to {} {what}", range.start(), range.end()))
        .help(format!("write a number up to {}", range.end()));
    None
}
