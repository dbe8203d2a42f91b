//! A device as its profile sees it, looked at once: every point with its quality, its raw words and its time.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::{Answer, Decoder};
use guanjia_core::profile::{Asked, Extent, Introduction, Next, PointKind, Profile, ReadLimits, Source, Table};
use guanjia_core::reading::{BadReason, Quality, Value};

use super::{Answered, Content, Patience, ReadOf, Session, SessionError};
use crate::plan::{Layout, Learned, ReadRequest, plan, read_alone, registers, split, unreadable};

/// Questions an introduction may take: every model of a SunSpec device, and some points.
const INTRODUCTION_MAX: usize = 100;

/// One point, looked at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its position in the profile.
    pub point: usize,
    /// What it says; `None` unless the quality is good.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
    /// The request that brought it, or did not; `None` for what is calculated or not there.
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
    /// The reads that bring every point of a profile on this line and touch no other address, because nobody knows yet
    /// which others the device has.
    pub fn plan(&self, profile: &Profile) -> Vec<ReadRequest> {
        let limits = ReadLimits { gap_max: Some(0), ..profile.limits.clone() };
        plan(&Layout { limits: &limits, ..self.layout(profile, &profile.together()) }, None)
    }

    /// The read that brings the point at this position and nothing else; `None` if it is not read, or not so.
    pub fn alone(&self, profile: &Profile, point: usize) -> Option<ReadRequest> {
        read_alone(&profile.points, &profile.limits, point)
    }

    fn layout<'a>(&self, profile: &'a Profile, together: &'a [(usize, usize)]) -> Layout<'a> {
        let (points, limits) = (&profile.points, &profile.limits);
        Layout { points, limits, together, learned: &NOTHING_LEARNED, pace: self.pace }
    }

    /// Makes sure that a unit is what a profile describes, as far as the profile knows how, and gives the profile as this
    /// very device has it.
    ///
    /// # Errors
    /// [`SessionError::Another`] if it is another device; anything else if it cannot be asked.
    pub async fn introduce(
        &mut self,
        unit: u8,
        profile: &Arc<Profile>,
        patience: Patience,
    ) -> Result<Arc<Profile>, SessionError> {
        self.holes.clone_from(&profile.limits.holes);
        let Some(mut introduction) = Introduction::of(profile) else { return Ok(Arc::clone(profile)) };
        for _ in 0..INTRODUCTION_MAX {
            let Extent { table, address, count } = match introduction.next() {
                Next::Ask(extent) => extent,
                Next::Fit(profile) => return Ok(profile),
                Next::Wrong(mismatch) => return Err(SessionError::Another { unit, mismatch }),
            };
            match self.read(ReadOf { unit, table, address, count }, patience).await {
                Ok(Answered { content: Content::Words(words), .. }) => introduction.answered(Asked::Words(&words)),
                Ok(_) => return Err(SessionError::Garbled { unit }),
                Err(SessionError::Refused { code, .. }) => introduction.answered(Asked::Refused(code)),
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Impossible("the device's own directory has no end; it is no SunSpec device"))
    }

    /// Looks at the points of a profile that `wanted` picks by position, in the profile's order. A read that a device
    /// refuses is split, so that one address it does not have costs the others nothing. The profile is the one that
    /// [`Session::introduce`] gave.
    ///
    /// # Errors
    /// [`SessionError`] if the line fails or the device is silent to everything; what is refused or silent in part is a
    /// bad [`Look`].
    pub async fn look(
        &mut self,
        unit: u8,
        profile: &Arc<Profile>,
        patience: Patience,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Look>, SessionError> {
        let wanted: Vec<bool> = (0..profile.points.len()).map(wanted).collect();
        let needed = with_parts(profile, &wanted);
        let mut looks: Vec<Look> =
            (0..profile.points.len()).map(|i| Look::bad(i, BadReason::NeverRead, None)).collect();
        for i in unreadable(&profile.points, &profile.limits) {
            looks[i].quality = Quality::Bad(BadReason::Undecodable);
        }
        let mut decoder = Decoder::new(Arc::clone(profile), |_| Duration::MAX);
        let together = profile.together();
        let layout = self.layout(profile, &together);
        let mut open: Vec<ReadRequest> = plan(&layout, None);
        open.retain(|r| r.points.iter().any(|i| needed[*i]));
        // Ratios and units come before what they belong to.
        let is_setting = |i: &usize| profile.points[*i].kind == PointKind::Configured;
        open.sort_by_key(|r| !r.points.iter().any(is_setting));
        open.reverse();
        let (mut answers, turn) = (0u32, tokio::time::Instant::now());
        while let Some(request) = open.pop() {
            let read = ReadOf { unit, table: request.table, address: request.address, count: request.count };
            match self.read(read, patience).await {
                Ok(answered) => {
                    answers += 1;
                    decoded(&mut decoder, &request, read, &answered, turn.elapsed(), &mut looks);
                }
                Err(SessionError::Refused { code, .. }) => {
                    answers += 1;
                    match split(&layout, &request).filter(|_| matches!(code, 2 | 3)) {
                        Some((low, high)) => open.extend([high, low]),
                        None => {
                            lose(&mut decoder, &request, read, BadReason::Refused, &mut looks);
                            request.points.iter().for_each(|&i| looks[i].exception = Some(code));
                        }
                    }
                }
                // A device that never said a word is not asked for everything it has.
                Err(error @ (SessionError::Silent { .. } | SessionError::Garbled { .. })) if answers == 0 => {
                    return Err(error);
                }
                Err(SessionError::Silent { .. } | SessionError::Garbled { .. }) => {
                    lose(&mut decoder, &request, read, BadReason::NoAnswer, &mut looks);
                }
                Err(error) => return Err(error),
            }
        }
        looks.retain(|l| wanted[l.point] && profile.points[l.point].source.is_asked());
        Ok(looks)
    }
}

/// What is wanted, and everything it is worked out from.
fn with_parts(profile: &Profile, wanted: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; wanted.len()];
    let mut open: Vec<usize> = (0..wanted.len()).filter(|i| wanted[*i]).collect();
    while let Some(i) = open.pop() {
        let Some(point) = profile.points.get(i).filter(|_| !std::mem::replace(&mut needed[i], true)) else { continue };
        open.extend(point.inputs.points());
        if let Source::Derived(formula) = &point.source {
            open.extend(formula.points());
        }
    }
    needed
}

fn decoded(
    decoder: &mut Decoder,
    request: &ReadRequest,
    read: ReadOf,
    answered: &Answered,
    now: Duration,
    looks: &mut [Look],
) {
    let profile = Arc::clone(decoder.profile());
    let extent = Extent { table: request.table, address: request.address, count: request.count };
    for &i in &request.points {
        let Some(place) = registers(&profile.points[i]) else { continue };
        let start = usize::from(place.address.wrapping_sub(request.address));
        let look = &mut looks[i];
        (look.read, look.took) = (Some(read), Some(answered.took));
        look.raw = match &answered.content {
            Content::Words(words) => words.get(start..start + usize::from(place.count)).unwrap_or_default().to_vec(),
            Content::Bits(bits) => bits.get(start).map(|bit| u16::from(*bit)).into_iter().collect(),
        };
    }
    let answer = match &answered.content {
        Content::Words(words) => Answer::Words(words),
        Content::Bits(bits) => Answer::Bits(bits),
    };
    decoder.answer(extent, answer, &request.points, now, |i, value| {
        (looks[i].value, looks[i].quality) = match value {
            Ok(value) => (Some(value), Quality::Good),
            Err(error) => (None, Quality::Bad(error.reason())),
        };
    });
}

/// A read brought nothing, and what is worked out from it neither.
fn lose(decoder: &mut Decoder, request: &ReadRequest, read: ReadOf, why: BadReason, looks: &mut [Look]) {
    let derived: Vec<usize> = decoder.lost(&request.points).collect();
    request.points.iter().for_each(|&i| looks[i] = Look::bad(i, why, Some(read)));
    derived.into_iter().for_each(|i| looks[i] = Look::bad(i, why, None));
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
