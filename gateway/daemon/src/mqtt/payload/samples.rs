//! The samples of one message, in the order in which they were measured.
//!
//! ```text
//!  [ {ts 3}, {ts 1}, {ts 2}, {ts 2}, {ts ?}, {ts 2099} ] ──► 1, 2, 3        left out: one undated, one ahead of its time
//! ```
//!
//! * A logger's clock is the only word on the order: where a sample stands in the array says nothing.
//! * Elements of one time are one sample, because some loggers send every value in an element of its own. Where two of
//!   them say different things of one value, nobody knows which is meant, and it is unusable.
//! * A sample without a believable time has no place in the order. It is left out and counted; but a message that is a
//!   single sample is judged like any other message.
//! * What was told before is not told again: a logger that got no acknowledgement sends all of it once more. So the time of
//!   a device never goes back here; one whose clock was set back is heard again when it has caught up.
//! * At most [`SAMPLES_MAX`] of one message, the newest; counters lose nothing by it but the hour.

use std::collections::BTreeMap;

use guanjia_core::profile::MessageTime;
use guanjia_core::time::Timestamp;

use super::{is_believed, time_of};
use crate::mqtt::json::{Found, Message};

/// Samples that are taken from one message: ten days of quarter-hours.
pub(super) const SAMPLES_MAX: usize = 1_000;

/// One moment of a device; without an element if the payload is no JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample<'a> {
    /// When it was measured, if the message has an order of its own.
    pub at: Option<Timestamp>,
    elements: Vec<Message<'a>>,
}

/// Samples that were not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::mqtt) struct LeftOut {
    /// Without a time, or ahead of it.
    pub undated: u64,
    /// No newer than what is known.
    pub repeated: u64,
    /// Older than the newest [`SAMPLES_MAX`].
    pub beyond: u64,
}

/// The samples of a message, the oldest first.
pub(super) struct Samples<'a> {
    pub samples: Vec<Sample<'a>>,
    pub left_out: LeftOut,
}

impl<'a> Sample<'a> {
    /// A message that is one sample.
    pub(super) fn of(message: Message<'a>) -> Self {
        Self { at: None, elements: vec![message] }
    }

    /// What a pointer leads to.
    pub(super) fn find(&self, pointer: &str) -> Found {
        let mut found = Found::Missing;
        for element in &self.elements {
            found = match (found, element.find(pointer)) {
                (Found::Missing, other) | (other, Found::Missing) => other,
                (one, other) if one == other => one,
                _ => return Found::Unusable,
            };
        }
        found
    }
}

impl<'a> Samples<'a> {
    /// Of a message that is one sample.
    pub(super) fn one(sample: Sample<'a>) -> Self {
        Self { samples: vec![sample], left_out: LeftOut::default() }
    }
}

/// The samples at `pointer` that are newer than `known`; none if there are none, or nothing there is a sample.
pub(super) fn split<'a>(
    message: Message<'a>,
    pointer: &str,
    place: &MessageTime,
    received: Timestamp,
    known: Option<Timestamp>,
) -> Samples<'a> {
    let mut left_out = LeftOut::default();
    let mut moments: BTreeMap<Timestamp, Vec<Message<'a>>> = BTreeMap::new();
    let mut undated = Vec::new();
    let elements = message.elements(pointer);
    let is_alone = elements.len() == 1;
    for element in elements {
        match time_of(element.find(&place.pointer), place.format).filter(|at| is_believed(*at, received)) {
            Some(at) => moments.entry(at).or_default().push(element),
            None => undated.push(element),
        }
    }
    if let (true, [alone]) = (is_alone, undated.as_slice()) {
        return Samples::one(Sample::of(*alone));
    }
    left_out.undated = undated.len() as u64;
    if let Some(known) = known {
        let newer = moments.split_off(&known);
        left_out.repeated = moments.values().map(|elements| elements.len() as u64).sum();
        moments = newer;
        left_out.repeated += moments.remove(&known).map_or(0, |elements| elements.len() as u64);
    }
    let beyond = moments.len().saturating_sub(SAMPLES_MAX);
    left_out.beyond = beyond as u64;
    let newest = moments.into_iter().skip(beyond);
    Samples { samples: newest.map(|(at, elements)| Sample { at: Some(at), elements }).collect(), left_out }
}
