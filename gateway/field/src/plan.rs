//! From points to reads: as few requests as the device allows, and never half a value.
//!
//! Points of one table that lie close together are read in one request. A read never exceeds the device's own limit
//! nor the standard's, never spans more unknown addresses than the profile permits, and always covers a value whole:
//! two halves of a counter that were read apart may never have been true together.
//!
//! The arithmetic is done in 32 bits, because a value at the end of the address space ends at 65536.

use guanjia_core::profile::{PointDef, PollClass, ReadLimits, Registers, Table};

/// Registers one read may return (Modbus Application Protocol V1.1b3, 6.3).
pub const REGISTERS_MAX: u16 = 125;

/// Bits one read may return (Modbus Application Protocol V1.1b3, 6.1).
pub const BITS_MAX: u16 = 2000;

/// Registers without a point that one read may span where the profile does not say.
const GAP_MAX: u16 = 8;

/// The first address that does not exist.
const ADDRESS_END: u32 = 65_536;

/// One read and the points it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Which table.
    pub table: Table,
    /// The first address, zero based.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// The positions of its points in the profile, by ascending address.
    pub points: Vec<usize>,
}

/// The reads that bring every readable point of `class` (of all classes if `None`) exactly once.
///
/// Points that do not come from registers and those of [`unreadable`] are in none of them.
pub fn plan(points: &[PointDef], limits: &ReadLimits, class: Option<PollClass>) -> Vec<ReadRequest> {
    let wanted = |p: &PointDef| class.is_none_or(|class| p.poll == class);
    let mut places: Vec<(usize, &Registers)> = points
        .iter()
        .enumerate()
        .filter(|(_, p)| wanted(p))
        .filter_map(|(i, p)| registers(p).map(|r| (i, r)))
        .filter(|(_, r)| is_readable(r, limits))
        .collect();
    places.sort_by_key(|(i, r)| (r.table, r.address, r.count, *i));

    let mut requests: Vec<ReadRequest> = Vec::new();
    for (i, place) in places {
        let end = end_of(place.address, place.count);
        let last = requests.last_mut().filter(|r| joins(r, place, end, limits));
        match last {
            Some(request) => {
                let whole = end.max(end_of(request.address, request.count)) - u32::from(request.address);
                request.count = whole as u16;
                request.points.push(i);
            }
            None => requests.push(ReadRequest {
                table: place.table,
                address: place.address,
                count: place.count,
                points: vec![i],
            }),
        }
    }
    requests
}

/// The positions of the points whose value no single read can bring: longer than the device or the standard allows,
/// beyond the last address, or empty. A profile with such a point is wrong.
pub fn unreadable(points: &[PointDef], limits: &ReadLimits) -> Vec<usize> {
    let bad = |p: &PointDef| registers(p).is_some_and(|r| !is_readable(r, limits));
    points.iter().enumerate().filter(|(_, p)| bad(p)).map(|(i, _)| i).collect()
}

/// Splits a read between two of its points into two that together bring the same points. `None` if it cannot be split.
pub(crate) fn split(request: &ReadRequest, points: &[PointDef]) -> Option<(ReadRequest, ReadRequest)> {
    if request.points.len() < 2 {
        return None;
    }
    let (low, high) = request.points.split_at(request.points.len() / 2);
    Some((cover(request.table, low, points)?, cover(request.table, high, points)?))
}

fn cover(table: Table, positions: &[usize], points: &[PointDef]) -> Option<ReadRequest> {
    let places: Vec<&Registers> = positions.iter().filter_map(|i| points.get(*i).and_then(registers)).collect();
    let address = places.iter().map(|r| r.address).min()?;
    let end = places.iter().map(|r| end_of(r.address, r.count)).max()?;
    let count = (end - u32::from(address)) as u16;
    Some(ReadRequest { table, address, count, points: positions.to_vec() })
}

pub(crate) fn registers(point: &PointDef) -> Option<&Registers> {
    point.source.registers()
}

fn end_of(address: u16, count: u16) -> u32 {
    u32::from(address) + u32::from(count)
}

/// The most one read of this table may bring. The device's limit is given in registers; one holds 16 bits.
fn count_max(table: Table, limits: &ReadLimits) -> u32 {
    let registers = u32::from(limits.registers_max.min(REGISTERS_MAX));
    if table.is_bits() { (registers * 16).min(u32::from(BITS_MAX)) } else { registers }
}

fn is_readable(place: &Registers, limits: &ReadLimits) -> bool {
    let count = u32::from(place.count);
    count > 0 && count <= count_max(place.table, limits) && end_of(place.address, place.count) <= ADDRESS_END
}

fn joins(request: &ReadRequest, place: &Registers, end: u32, limits: &ReadLimits) -> bool {
    let known_end = end_of(request.address, request.count);
    request.table == place.table
        && u32::from(place.address) <= known_end + u32::from(limits.gap_max.unwrap_or(GAP_MAX))
        && end.max(known_end) - u32::from(request.address) <= count_max(place.table, limits)
}

#[cfg(test)]
mod tests;
