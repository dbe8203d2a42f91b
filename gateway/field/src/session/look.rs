//! A device as its profile sees it, looked at once: every point with its quality, its raw words and its time.

use std::time::Duration;

use guanjia_core::decode::{decode, decode_bit};
use guanjia_core::profile::{Profile, Table};
use guanjia_core::reading::{BadReason, Quality, Value};

use super::{Answered, Content, Patience, ReadOf, Session, SessionError};
use crate::plan::{Layout, Learned, ReadRequest, plan, registers, split, unreadable};

/// One point, looked at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its position in the profile.
    pub point: usize,
    /// What it says; `None` unless the quality is good.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
    /// The request that brought it, or did not.
    pub read: Option<ReadOf>,
    /// Its registers as they came, or its bit as 0 or 1; empty without an answer.
    pub raw: Vec<u16>,
    /// How long the request took; `None` without an answer.
    pub took: Option<Duration>,
    /// The exception the device answered with.
    pub exception: Option<u8>,
}

impl Look {
    fn bad(point: usize, why: BadReason, read: Option<ReadOf>) -> Self {
        let quality = Quality::Bad(why);
        Self { point, value: None, quality, read, raw: Vec::new(), took: None, exception: None }
    }
}

/// A person who asks once has been taught nothing yet.
static NOTHING_LEARNED: Learned = Learned::NOTHING;

impl Session {
    /// The reads that bring every point of a profile on this line.
    pub fn plan(&self, profile: &Profile) -> Vec<ReadRequest> {
        plan(&self.layout(profile, &profile.together()), None)
    }

    fn layout<'a>(&self, profile: &'a Profile, together: &'a [(usize, usize)]) -> Layout<'a> {
        let (points, limits) = (&profile.points, &profile.limits);
        Layout { points, limits, together, learned: &NOTHING_LEARNED, pace: self.pace }
    }

    /// Looks at the points of a profile that `wanted` picks by position, in the profile's order. A read that a device
    /// refuses is split, so that one address it does not have costs the others nothing.
    ///
    /// # Errors
    /// [`SessionError`] if the line fails or the device is silent to everything; what is refused or silent in part is a
    /// bad [`Look`].
    pub async fn look(
        &mut self,
        unit: u8,
        profile: &Profile,
        patience: Patience,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Look>, SessionError> {
        let mut looks: Vec<Look> = unreadable(&profile.points, &profile.limits)
            .into_iter()
            .map(|i| Look::bad(i, BadReason::Undecodable, None))
            .collect();
        let together = profile.together();
        let layout = self.layout(profile, &together);
        let mut open: Vec<ReadRequest> = plan(&layout, None);
        open.retain(|r| r.points.iter().any(|i| wanted(*i)));
        open.reverse();
        let mut answers = 0u32;
        while let Some(request) = open.pop() {
            let read = ReadOf { unit, table: request.table, address: request.address, count: request.count };
            match self.read(read, patience).await {
                Ok(answered) => {
                    answers += 1;
                    looks.extend(decoded(profile, &request, read, &answered));
                }
                Err(SessionError::Refused { code, .. }) => {
                    answers += 1;
                    match split(&layout, &request).filter(|_| matches!(code, 2 | 3)) {
                        Some((low, high)) => open.extend([high, low]),
                        None => looks.extend(request.points.iter().map(|&i| {
                            let bad = Look::bad(i, BadReason::Refused, Some(read));
                            Look { exception: Some(code), ..bad }
                        })),
                    }
                }
                Err(error @ (SessionError::Silent { .. } | SessionError::Garbled { .. })) => {
                    let bad = |&i: &usize| Look::bad(i, BadReason::NoAnswer, Some(read));
                    looks.extend(request.points.iter().map(bad));
                    // A device that never said a word is not asked for everything it has.
                    if answers == 0 {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        looks.retain(|l| wanted(l.point));
        looks.sort_by_key(|l| l.point);
        Ok(looks)
    }
}

fn decoded(profile: &Profile, request: &ReadRequest, read: ReadOf, answered: &Answered) -> Vec<Look> {
    let look = |&i: &usize| {
        let point = &profile.points[i];
        let Some(place) = registers(point) else { return Look::bad(i, BadReason::Undecodable, Some(read)) };
        let start = usize::from(place.address.wrapping_sub(request.address));
        let (raw, value) = match &answered.content {
            Content::Words(words) => {
                let raw = words.get(start..start + usize::from(place.count)).unwrap_or_default();
                (raw.to_vec(), decode(point, raw))
            }
            Content::Bits(bits) => {
                let bit = bits.get(start).copied().unwrap_or_default();
                (vec![u16::from(bit)], decode_bit(point, bit))
            }
        };
        let (value, quality) = match value {
            Ok(value) => (Some(value), Quality::Good),
            Err(error) => (None, Quality::Bad(error.reason())),
        };
        Look { point: i, value, quality, read: Some(read), raw, took: Some(answered.took), exception: None }
    };
    request.points.iter().map(look).collect()
}

impl std::fmt::Display for ReadOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unit {}, {} {}", self.unit, table_name(self.table), self.address)?;
        if self.count > 1 { write!(f, " to {}", u32::from(self.address) + u32::from(self.count) - 1) } else { Ok(()) }
    }
}

/// The table's name in profiles and on the command line.
pub fn table_name(table: Table) -> &'static str {
    match table {
        Table::Coil => "coil",
        Table::DiscreteInput => "discrete-input",
        Table::Holding => "holding",
        Table::Input => "input",
    }
}
