//! Where a request that brings certain addresses begins and ends, if one may.
//!
//! Pure geometry of what the profile says. A request that touches a block is that block and nothing else; the block
//! comes from the maker's document, so it outranks alignment. A contradiction has no shape: its points are unreadable,
//! and the profile is wrong.

use guanjia_core::profile::{Alignment, Extent, ReadLimits, Registers, Table};

use super::{ADDRESS_END, BITS_MAX, REGISTERS_MAX, Span};

/// The most one read of this table may bring.
pub(super) fn count_max(limits: &ReadLimits, table: Table) -> u32 {
    let max = if table.is_bits() { limits.bits_max.min(BITS_MAX) } else { limits.registers_max.min(REGISTERS_MAX) };
    u32::from(max)
}

/// The request that brings one point.
pub(super) fn of_point(limits: &ReadLimits, place: &Registers) -> Option<Span> {
    let span = of_run(limits, place.table, Span::of(place), place.count > 1)?;
    let is_crowded = begins_at_barrier(limits, place.table, span) && u32::from(place.address) != span.start;
    (!is_crowded).then_some(span)
}

/// The request that brings all of `wanted`; `has_pair`: a value of more than one register is among it.
pub(super) fn of_run(limits: &ReadLimits, table: Table, wanted: Span, has_pair: bool) -> Option<Span> {
    if wanted.len() == 0 || wanted.end > ADDRESS_END {
        return None;
    }
    let blocks = || limits.blocks.iter().filter(|b| b.table == table).map(Span::of_extent);
    if let Some(block) = blocks().find(|b| b.touches(wanted)) {
        return (block.contains(wanted) && is_allowed(limits, table, block)).then_some(block);
    }
    let mut shapes = aligned(limits.alignment, table, wanted, has_pair).into_iter().flatten();
    shapes.find(|shape| is_allowed(limits, table, *shape) && !blocks().any(|b| b.touches(*shape)))
}

/// Whether a request of this shape begins at a place that must be read alone.
pub(super) fn begins_at_barrier(limits: &ReadLimits, table: Table, shape: Span) -> bool {
    limits.barriers.iter().any(|b| b.table == table && u32::from(b.address) == shape.start)
}

/// Whether these addresses come in one block.
pub(super) fn is_in_block(limits: &ReadLimits, table: Table, wanted: Span) -> bool {
    limits.blocks.iter().any(|b| b.table == table && Span::of_extent(b).contains(wanted))
}

/// The shapes that cover `wanted` as the device wants them, the better one first.
fn aligned(alignment: Alignment, table: Table, wanted: Span, has_pair: bool) -> [Option<Span>; 2] {
    let Span { start, end } = wanted;
    match alignment {
        _ if table.is_bits() => [Some(wanted), None],
        Alignment::Even => [Some(Span { start: start - start % 2, end: end + end % 2 }), None],
        Alignment::EvenCountOfPairs if has_pair && wanted.len() % 2 == 1 => {
            [Some(Span { start, end: end + 1 }), start.checked_sub(1).map(|start| Span { start, end })]
        }
        Alignment::Any | Alignment::EvenCountOfPairs => [Some(wanted), None],
    }
}

fn is_allowed(limits: &ReadLimits, table: Table, shape: Span) -> bool {
    let in_hole = |hole: &Extent| hole.table == table && Span::of_extent(hole).touches(shape);
    let crosses = |address: u16| shape.start < u32::from(address) && u32::from(address) < shape.end;
    shape.end <= ADDRESS_END
        && shape.len() <= count_max(limits, table)
        && !limits.holes.iter().any(in_hole)
        && !limits.barriers.iter().any(|b| b.table == table && crosses(b.address))
}
