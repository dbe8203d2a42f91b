//! What a device teaches by refusing a read with exception 02 or 03.
//!
//! ```text
//!  refused read of several points ──split at the widest gap──► two halves on trial
//!      both answered:    the gap between them is never read again (no gap: no request goes across the cut)
//!      one refused:      the culprit lies in it; it is split in turn, and the gap is innocent
//!  refused read of one place: the point is refused, read alone and rarely, and all others go on
//! ```
//!
//! Every refusal ends in something learned, so a device with `n` points refuses at most `2 n` reads before its plan is
//! one that it answers. Nothing of this is kept on disk: after a restart it costs the same few requests again.

use guanjia_core::profile::{Extent, Place, Table};

use super::{Known, Layout, ReadRequest, Span, known};

/// What one device has taught since the start. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Addresses without a point that are never read again.
    gaps: Vec<Extent>,
    /// Addresses no request may go across, although it may begin there.
    cuts: Vec<Place>,
    /// The places of points that are refused.
    refused: Vec<Extent>,
    trials: Vec<Trial>,
}

/// Two halves of a refused read, until it is known which of them, or what between them, is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trial {
    table: Table,
    low: Span,
    high: Span,
    low_answered: bool,
    high_answered: bool,
}

/// Whether the reads of a device have to be planned anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    None,
    /// Something was learned, and nothing is on trial any more.
    PlanAnew,
}

impl Learned {
    /// What a device has taught that was never asked.
    pub const NOTHING: Self = Self { gaps: Vec::new(), cuts: Vec::new(), refused: Vec::new(), trials: Vec::new() };

    /// Addresses without a point that the device refuses.
    pub fn gaps(&self) -> &[Extent] {
        &self.gaps
    }

    /// The places of points that the device refuses.
    pub fn refused(&self) -> &[Extent] {
        &self.refused
    }

    /// Whether a request for these addresses is not known to be refused.
    pub(super) fn allows(&self, table: Table, shape: Span) -> bool {
        let touches = |extent: &Extent| extent.table == table && Span::of_extent(extent).touches(shape);
        let crosses =
            |p: &Place| p.table == table && shape.start < u32::from(p.address) && u32::from(p.address) < shape.end;
        !self.gaps.iter().any(touches) && !self.refused.iter().any(touches) && !self.cuts.iter().any(crosses)
    }

    /// A refused read was split into these two.
    pub(crate) fn split(&mut self, read: &ReadRequest, low: &ReadRequest, high: &ReadRequest) {
        self.acquit(read);
        let (table, low, high) = (read.table, low.span(), high.span());
        if low.end <= high.start {
            self.trials.push(Trial { table, low, high, low_answered: false, high_answered: false });
        }
    }

    /// A read that cannot be split was refused.
    pub(crate) fn refuse(&mut self, read: &ReadRequest) -> Lesson {
        self.acquit(read);
        let place = Extent { table: read.table, address: read.address, count: read.count };
        if self.refused.contains(&place) {
            return Lesson::None;
        }
        self.refused.push(place);
        self.lesson()
    }

    /// A read was answered.
    pub(crate) fn answered(&mut self, read: &ReadRequest, layout: &Layout<'_>) -> Lesson {
        if self.trials.is_empty() && self.refused.is_empty() {
            return Lesson::None;
        }
        let (table, span) = (read.table, read.span());
        for trial in self.trials.iter_mut().filter(|t| t.table == table) {
            trial.low_answered |= trial.low == span;
            trial.high_answered |= trial.high == span;
        }
        let (over, open) =
            std::mem::take(&mut self.trials).into_iter().partition::<Vec<_>, _>(|t| t.low_answered && t.high_answered);
        self.trials = open;
        let known = known(layout, table);
        for trial in &over {
            self.convict(trial, &known);
        }
        let refused = self.refused.len();
        self.refused.retain(|place| place.table != table || !span.contains(Span::of_extent(place)));
        if over.is_empty() && refused == self.refused.len() { Lesson::None } else { self.lesson() }
    }

    /// Both halves are answered and the whole is not: what lies between them is at fault. Registers of other points
    /// that lie there are not, their own reads will tell.
    fn convict(&mut self, trial: &Trial, known: &Known) {
        let before = self.gaps.len();
        let gap = Span { start: trial.low.end, end: trial.high.start };
        let mut at = gap.start;
        let within = known.0.iter().filter(|span| span.touches(gap));
        for (start, next) in within.map(|s| (s.start, s.end)).chain([(trial.high.start, trial.high.end)]) {
            if at < start {
                let extent = u16::try_from(at).ok().zip(u16::try_from(start - at).ok());
                self.gaps.extend(extent.map(|(address, count)| Extent { table: trial.table, address, count }));
            }
            at = at.max(next);
        }
        if self.gaps.len() == before {
            let place = u16::try_from(trial.high.start).ok().map(|address| Place { table: trial.table, address });
            self.cuts.extend(place);
        }
    }

    /// The culprit lies in this half, not in what separates it from the other.
    fn acquit(&mut self, read: &ReadRequest) {
        self.trials.retain(|t| t.table != read.table || (t.low != read.span() && t.high != read.span()));
    }

    fn lesson(&self) -> Lesson {
        if self.trials.is_empty() { Lesson::PlanAnew } else { Lesson::None }
    }
}
