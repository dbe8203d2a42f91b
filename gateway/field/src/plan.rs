//! From points to reads: the least time on the wire that the device allows, and never half a value.
//!
//! ```text
//!  points ──► places that must come whole ──► atoms ──► runs of neighbours, the cheapest partition ──► reads
//!             one value, or two that belong             one request each: whatever lies between two
//!             together (a value, its scale factor)      atoms is read along and thrown away
//! ```
//!
//! A gap is a *cost*: whether two values come in one request is decided by what the registers between them take on
//! this wire, against what another request takes ([`Pace`]). A profile may fix the widest gap besides.
//!
//! What a request must respect, whatever it costs (module `shape`): the device's and the standard's greatest length,
//! holes, blocks that are read exactly so, barriers, alignment, and whatever the device has taught by refusing
//! ([`Learned`]). What the device taught never loses a point: one that could only be read against it is read alone.
//!
//! A read of points that are no alarms is besides no longer than the alarms of its line can wait ([`Pace::beside`]).
//!
//! The partition is found by dynamic programming over the atoms in order of address: no other partition into runs of
//! neighbours costs less time; among equals the one with fewer requests, then with fewer registers, is taken. The
//! same points and limits always give the same reads. Addresses are 32 bits wide in here, because a value at the end
//! of the address space ends at 65536.

use std::time::Duration;

use guanjia_core::profile::{Extent, PointDef, PollClass, ReadLimits, Registers, Table};

use crate::frame::Request;

mod learned;
mod pace;
mod shape;

pub use learned::Learned;
pub(crate) use learned::Lesson;
pub use pace::{Pace, TURNAROUND_DIAL_IN, TURNAROUND_NETWORK, TURNAROUND_SERIAL};

/// Registers one read may return (Modbus Application Protocol V1.1b3, 6.3).
pub const REGISTERS_MAX: u16 = 125;

/// Bits one read may return (Modbus Application Protocol V1.1b3, 6.1).
pub const BITS_MAX: u16 = 2000;

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

impl ReadRequest {
    /// What is asked of the device.
    pub(crate) fn request(&self) -> Request {
        Request::Read { table: self.table, address: self.address, count: self.count }
    }

    /// How many of its registers or bits belong to a point it brings.
    pub(crate) fn useful(&self, points: &[PointDef]) -> u32 {
        let mut spans: Vec<Span> =
            self.points.iter().filter_map(|i| registers(points.get(*i)?)).map(Span::of).collect();
        spans.sort();
        let mut covered_to = 0;
        let mut useful = 0;
        for span in spans {
            useful += span.end.saturating_sub(span.start.max(covered_to));
            covered_to = covered_to.max(span.end);
        }
        useful
    }

    fn span(&self) -> Span {
        Span { start: u32::from(self.address), end: u32::from(self.address) + u32::from(self.count) }
    }
}

/// All that decides how the points of one device are read.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Its points.
    pub points: &'a [PointDef],
    /// What its reads must respect.
    pub limits: &'a ReadLimits,
    /// Positions of points that must come in one answer, such as a value and its scale factor. A pair no single
    /// request can bring is read apart, see [`apart`].
    pub together: &'a [(usize, usize)],
    /// What the device has taught by refusing.
    pub learned: &'a Learned,
    /// What a read costs.
    pub pace: Pace,
}

/// Neighbouring addresses of one table, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn of(place: &Registers) -> Self {
        let start = u32::from(place.address);
        Self { start, end: start + u32::from(place.count) }
    }

    fn of_extent(extent: &Extent) -> Self {
        let start = u32::from(extent.address);
        Self { start, end: start + u32::from(extent.count) }
    }

    fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    fn touches(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    fn with(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Points that come in one request or not at all.
#[derive(Clone, Debug)]
struct Atom {
    table: Table,
    span: Span,
    points: Vec<usize>,
    /// The most urgent of its points.
    class: PollClass,
    company: Company,
}

/// Whether other points may come in the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Welcome,
    /// The device refuses it, or takes one point a request only.
    None,
}

/// The reads that bring every readable point of `class` (of all classes if `None`) exactly once.
///
/// A point that must come together with a more urgent one belongs to that one's class. Points that do not come from
/// registers and those of [`unreadable`] are in no read.
pub fn plan(layout: &Layout<'_>, class: Option<PollClass>) -> Vec<ReadRequest> {
    let wanted: Vec<Atom> =
        atoms(layout).into_iter().filter(|atom| class.is_none_or(|class| atom.class == class)).collect();
    let mut requests = Vec::new();
    for table in [Table::Coil, Table::DiscreteInput, Table::Holding, Table::Input] {
        let of_table = || wanted.iter().filter(|atom| atom.table == table);
        let known = known(layout, table);
        let welcome: Vec<&Atom> = of_table().filter(|a| a.company == Company::Welcome).collect();
        requests.extend(cheapest(layout, &welcome, &known, layout.pace.read_max(class)));
        let alone: Vec<&Atom> = of_table().filter(|a| a.company == Company::None).collect();
        requests.extend(singles(layout, &alone));
    }
    requests.sort_by_key(|r| (r.table, r.address, r.count, r.points.first().copied()));
    requests
}

/// The positions of the points whose value no single read can bring: longer than the device or the standard allows,
/// beyond the last address, in a hole, across a barrier or the edge of a block, or empty. A profile with such a point
/// is wrong.
pub fn unreadable(points: &[PointDef], limits: &ReadLimits) -> Vec<usize> {
    let bad = |p: &PointDef| registers(p).is_some_and(|r| shape::of_point(limits, r).is_none());
    points.iter().enumerate().filter(|(_, p)| bad(p)).map(|(i, _)| i).collect()
}

/// The read that brings the point at position `i` and nothing else; `None` if none can.
pub(crate) fn read_alone(points: &[PointDef], limits: &ReadLimits, i: usize) -> Option<ReadRequest> {
    let place = registers(points.get(i)?)?;
    let span = shape::of_point(limits, place)?;
    let (address, count) = (u16::try_from(span.start).ok()?, u16::try_from(span.len()).ok()?);
    Some(ReadRequest { table: place.table, address, count, points: vec![i] })
}

/// The pairs of [`Layout::together`] that no single request can bring, so that they are read apart.
pub fn apart(layout: &Layout<'_>) -> Vec<(usize, usize)> {
    let atoms = atoms(layout);
    let in_one = |(a, b): &(usize, usize)| atoms.iter().any(|atom| atom.points.contains(a) && atom.points.contains(b));
    let is_read = |i: &usize| layout.points.get(*i).and_then(registers).is_some();
    layout.together.iter().filter(|pair| is_read(&pair.0) && is_read(&pair.1) && !in_one(pair)).copied().collect()
}

/// Splits a refused read into two that together bring the same points, each in a shorter request; at the widest gap
/// if there is one. `None` if the device refuses a single place.
pub(crate) fn split(layout: &Layout<'_>, read: &ReadRequest) -> Option<(ReadRequest, ReadRequest)> {
    let mut atoms: Vec<Atom> =
        atoms(layout).into_iter().filter(|a| a.points.iter().all(|i| read.points.contains(i))).collect();
    if atoms.len() < 2 {
        // What belongs together is taken apart before it is given up: one of the two may be the culprit.
        atoms = places(layout, &read.points);
    }
    let known = known(layout, read.table);
    let cut = |k: usize| {
        let (low, high) = atoms.split_at(k);
        let (low, high) = (request(layout.limits, &[low])?, request(layout.limits, &[high])?);
        (low.count < read.count && high.count < read.count).then_some((low, high))
    };
    let middle = atoms.len() / 2;
    let candidates = (1..atoms.len()).filter_map(|k| cut(k).map(|halves| (k, halves)));
    let rank = |(k, (low, high)): &(usize, (ReadRequest, ReadRequest))| {
        let (low, high) = (low.span(), high.span());
        (low.end <= high.start, known.unknown(low.end, high.start), std::cmp::Reverse(k.abs_diff(middle)))
    };
    candidates.max_by_key(rank).map(|(_, halves)| halves)
}

/// The place of a point that comes from registers.
pub(crate) fn registers(point: &PointDef) -> Option<&Registers> {
    point.source.registers()
}

/// Every readable point in the atom it belongs to, by ascending address.
fn atoms(layout: &Layout<'_>) -> Vec<Atom> {
    let everything: Vec<usize> = (0..layout.points.len()).collect();
    let mut atoms = places(layout, &everything);
    for &(a, b) in layout.together {
        let position = |i: usize| atoms.iter().position(|atom| atom.points.contains(&i));
        let (Some(a), Some(b)) = (position(a), position(b)) else { continue };
        if a == b || [a, b].iter().any(|i| atoms[*i].company == Company::None) {
            continue;
        }
        let Some(read) = request(layout.limits, &[&atoms[a..=a], &atoms[b..=b]]) else { continue };
        if !layout.learned.allows(read.table, read.span()) {
            continue;
        }
        let other = atoms.remove(a.max(b));
        let atom = &mut atoms[a.min(b)];
        atom.span = atom.span.with(other.span);
        atom.class = atom.class.min(other.class);
        atom.points.extend(other.points);
    }
    atoms.sort_by_key(|a| (a.table, a.span, a.points.first().copied()));
    atoms
}

/// The readable ones among these points, those at the same place in one atom, by ascending address.
fn places(layout: &Layout<'_>, points: &[usize]) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = Vec::new();
    let readable = |i: &usize| {
        let place = registers(layout.points.get(*i)?)?;
        shape::of_point(layout.limits, place).map(|span| (*i, place, span))
    };
    let mut readable: Vec<(usize, &Registers, Span)> = points.iter().filter_map(readable).collect();
    readable.sort_by_key(|(i, place, _)| (place.table, Span::of(place), *i));
    for (i, place, shape) in readable {
        let (span, class) = (Span::of(place), layout.points[i].poll);
        let of_its_own = layout.limits.one_point_a_request;
        let is_single = of_its_own || !layout.learned.allows(place.table, shape);
        let same = atoms.last_mut().filter(|a| a.table == place.table && a.span == span && !of_its_own);
        match same {
            Some(atom) => {
                atom.points.push(i);
                atom.class = atom.class.min(class);
            }
            None => {
                let company = if is_single { Company::None } else { Company::Welcome };
                atoms.push(Atom { table: place.table, span, points: vec![i], class, company });
            }
        }
    }
    atoms
}

/// The request that brings these atoms, if what the profile says allows one.
fn request(limits: &ReadLimits, atoms: &[&[Atom]]) -> Option<ReadRequest> {
    let atoms: Vec<&Atom> = atoms.iter().copied().flatten().collect();
    let first = atoms.first()?;
    let wanted = atoms.iter().map(|a| a.span).reduce(Span::with)?;
    if atoms.iter().any(|a| a.table != first.table) {
        return None;
    }
    let has_pair = atoms.iter().any(|a| a.span.len() > 1);
    let span = shape::of_run(limits, first.table, wanted, has_pair)?;
    if shape::begins_at_barrier(limits, first.table, span) && atoms.iter().any(|a| a.span.start != span.start) {
        return None;
    }
    let mut points: Vec<(Span, usize)> = atoms.iter().flat_map(|a| a.points.iter().map(|i| (a.span, *i))).collect();
    points.sort();
    let mut points: Vec<usize> = points.into_iter().map(|(_, i)| i).collect();
    // Collected in place, they would keep the memory of their spans for as long as the line runs.
    points.shrink_to_fit();
    Some(ReadRequest {
        table: first.table,
        address: u16::try_from(span.start).ok()?,
        count: u16::try_from(span.len()).ok()?,
        points,
    })
}

/// A request for each of these atoms; those the device can only bring in the same request share it.
fn singles(layout: &Layout<'_>, atoms: &[&Atom]) -> Vec<ReadRequest> {
    let mut requests: Vec<ReadRequest> = Vec::new();
    for read in atoms.iter().filter_map(|atom| request(layout.limits, &[std::slice::from_ref(*atom)])) {
        let same = requests.last_mut().filter(|r| r.span() == read.span() && !layout.limits.one_point_a_request);
        match same {
            Some(other) => other.points.extend(read.points),
            None => requests.push(read),
        }
    }
    requests
}

/// What a partition costs; the smallest is the best.
type Price = (Duration, usize, u32);

/// The cheapest partition of atoms of one table into runs of neighbours, none of which takes longer than `read_max` if
/// it can be divided.
fn cheapest(layout: &Layout<'_>, atoms: &[&Atom], known: &Known, read_max: Duration) -> Vec<ReadRequest> {
    let limits = layout.limits;
    // best[k]: the cheapest way to bring the first k atoms, and where its last run begins.
    let mut best: Vec<Option<(Price, usize)>> = vec![None; atoms.len() + 1];
    best[0] = Some(((Duration::ZERO, 0, 0), 0));
    for begin in 0..atoms.len() {
        let Some(((time, requests, registers), _)) = best[begin] else { continue };
        let table = atoms[begin].table;
        for run in runs(limits, &atoms[begin..], known) {
            let end = begin + run.atoms;
            let Some(shape) = shape::of_run(limits, table, run.span, run.has_pair) else { continue };
            let all_begin_there = [atoms[begin], atoms[end - 1]].iter().all(|a| a.span.start == shape.start);
            let crowds_barrier = !all_begin_there && shape::begins_at_barrier(limits, table, shape);
            let takes_too_long = layout.pace.line_time(limits, table, shape.len()) > read_max;
            let can_be_divided = run.atoms > 1 && !shape::is_in_block(limits, table, run.span);
            if crowds_barrier || takes_too_long && can_be_divided || !layout.learned.allows(table, shape) {
                continue;
            }
            let read_time = layout.pace.read_time(limits, table, shape.len());
            let price = (time + read_time, requests + 1, registers + shape.len());
            if best[end].is_none_or(|(cheapest, _)| price < cheapest) {
                best[end] = Some((price, begin));
            }
        }
    }
    let mut requests = Vec::new();
    let mut end = atoms.len();
    while end > 0 {
        // Every atom can be read by itself, so a way to every position was found.
        let Some((_, begin)) = best[end] else { break };
        let run: Vec<Atom> = atoms[begin..end].iter().map(|a| (*a).clone()).collect();
        requests.extend(request(limits, &[&run]));
        end = begin;
    }
    requests
}

/// Some neighbouring atoms.
#[derive(Clone, Copy)]
struct Run {
    atoms: usize,
    span: Span,
    /// A value of more than one register is among them.
    has_pair: bool,
}

/// The runs that begin with the first of these atoms. They end where one request cannot be long enough, or the gap is
/// wider than the profile permits; within a block there is no gap, because it is read whole.
fn runs<'a>(limits: &'a ReadLimits, atoms: &'a [&Atom], known: &'a Known) -> impl Iterator<Item = Run> + 'a {
    let mut last: Option<Run> = None;
    atoms.iter().map_while(move |atom| {
        let run = match last {
            None => Run { atoms: 1, span: atom.span, has_pair: atom.span.len() > 1 },
            Some(run) => {
                let span = run.span.with(atom.span);
                let gap = || known.unknown(run.span.end, atom.span.start);
                let is_too_wide = limits.gap_max.is_some_and(|max| gap() > u32::from(max));
                if span.len() > shape::count_max(limits, atom.table)
                    || is_too_wide && !shape::is_in_block(limits, atom.table, span)
                {
                    return None;
                }
                Run { atoms: run.atoms + 1, span, has_pair: run.has_pair || atom.span.len() > 1 }
            }
        };
        last = Some(run);
        last
    })
}

/// Where the points of one table are, of whatever class.
struct Known(Vec<Span>);

fn known(layout: &Layout<'_>, table: Table) -> Known {
    let of_table = layout.points.iter().filter_map(registers).filter(|r| r.table == table);
    let mut spans: Vec<Span> = of_table.map(Span::of).collect();
    spans.sort();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut().filter(|last| span.start <= last.end) {
            Some(last) => *last = last.with(span),
            None => merged.push(span),
        }
    }
    Known(merged)
}

impl Known {
    /// Addresses from `start` to `end` of which no point tells that they exist.
    fn unknown(&self, start: u32, end: u32) -> u32 {
        if end <= start {
            return 0;
        }
        let first = self.0.partition_point(|span| span.end <= start);
        let within = self.0[first..].iter().take_while(|span| span.start < end);
        let covered: u32 = within.map(|span| span.end.min(end) - span.start.max(start)).sum();
        (end - start).saturating_sub(covered)
    }
}

#[cfg(test)]
mod tests;
