//! Decoding whole answers of one device, with what it said before.
//!
//! Most values stand for themselves. The others need a power of ten, a ratio, a unit or the other half of themselves:
//!
//! ```text
//!                    ┌── power of ten, parts of a formula: only from this very answer
//!   words ──► value ─┤
//!                    └── ratios, units (what the device is set to): from this answer, or an earlier one that is not
//!                        too old, since the device last fell silent
//! ```
//!
//! A part that is missing, bad or from another time makes the value bad with [`DecodeError::Input`]; it is never worked
//! out with what was true once. A device whose heartbeat stands still is bad with [`DecodeError::Frozen`] whatever it
//! answers, until the heartbeat moves again.
//!
//! Nothing here is kept over a restart, and a profile without inputs costs nothing: its points go straight through.

use std::sync::Arc;
use std::time::Duration;

use super::{DecodeError, Quick, Recipe, decode, decode_bit, measure, shifted};
use crate::profile::{Extent, Number, PointDef, PointKind, PollClass, Profile, Source, UnitInput};
use crate::reading::{Decimal, Value};

/// What a device answered to a read.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Registers, in the order of their addresses.
    Words(&'a [u16]),
    /// Coils or discrete inputs, in the order of their addresses.
    Bits(&'a [bool]),
}

/// What the device said, as far as a value stands for itself.
#[derive(Clone, Copy)]
enum Said<'a> {
    Registers(Extent, Answer<'a>),
    /// Gives the measured value of a point of a message: scaled, without offset and inputs.
    Message(&'a dyn Fn(usize) -> Result<Value, DecodeError>),
}

/// The decoder of one device.
#[derive(Clone, Debug)]
pub struct Decoder {
    profile: Arc<Profile>,
    /// One for each point; empty if no point needs another.
    parts: Vec<Part>,
    /// The same, and the other way round: empty if any point needs another.
    recipes: Box<[Recipe]>,
    /// The derived points, each with the point whose arrival makes it due, in the profile's order.
    derived: Vec<(usize, usize)>,
    /// How many answers were decoded.
    turn: u64,
    /// When the heartbeat last moved, or was first looked for.
    moved: Option<Duration>,
    /// What the last answer showed of it.
    pulse: Pulse,
}

/// Whether the heartbeat of a device moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It does, or the device has none.
    Moves,
    /// It stands still: everything else is [`DecodeError::Frozen`].
    StandsStill,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    /// Whether another point needs it.
    is_needed: bool,
    /// How long what it said counts.
    age_max: Duration,
    kept: Option<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    number: Number,
    turn: u64,
    at: Duration,
}

impl Decoder {
    /// A decoder that has heard nothing yet. `age_max` tells how old a remembered ratio or unit may be, by the poll
    /// class of its point: some periods of that class.
    pub fn new(profile: Arc<Profile>, age_max: impl Fn(PollClass) -> Duration) -> Self {
        let mut needed = vec![false; profile.points.len()];
        let mut derived = Vec::new();
        for (i, point) in profile.points.iter().enumerate() {
            let mut mark = |input: usize| needed.iter_mut().skip(input).take(1).for_each(|n| *n = true);
            point.inputs.points().for_each(&mut mark);
            if let Source::Derived(formula) = &point.source {
                formula.points().for_each(&mut mark);
                let first = profile.measured_parts(i).first().copied().or_else(|| formula.points().next());
                derived.extend(first.map(|first| (first, i)));
            }
        }
        if let Some(needed) = profile.heartbeat.and_then(|heartbeat| needed.get_mut(heartbeat.point)) {
            *needed = true;
        }
        let part = |(is_needed, point): (bool, &PointDef)| Part { is_needed, age_max: age_max(point.poll), kept: None };
        let is_plain = !needed.contains(&true) && profile.heartbeat.is_none();
        let parts = if is_plain { Vec::new() } else { needed.into_iter().zip(&profile.points).map(part).collect() };
        let recipes = if is_plain { profile.points.iter().map(Recipe::of).collect() } else { Box::default() };
        Self { profile, parts, recipes, derived, turn: 0, moved: None, pulse: Pulse::Moves }
    }

    /// What the last answer showed of the heartbeat. Whoever watches over the device must hear of it: it still answers.
    pub fn pulse(&self) -> Pulse {
        self.pulse
    }

    /// The profile it decodes with.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The values of `points` in an answer to a read of `extent`, and of what is derived from them, each given to `each`
    /// with its position in the profile. `now` is a monotonic time since any fixed moment.
    pub fn answer(
        &mut self,
        extent: Extent,
        answer: Answer<'_>,
        points: &[usize],
        now: Duration,
        each: impl FnMut(usize, Result<Value, DecodeError>),
    ) {
        self.take(Said::Registers(extent, answer), points, now, each);
    }

    /// Whether no point needs another: then [`Self::value_of`] is all there is to its answers.
    pub fn is_plain(&self) -> bool {
        self.parts.is_empty()
    }

    /// The value of one point in an answer, for a decoder that [is plain](Self::is_plain). `words` begins with the register
    /// `extent` begins with.
    ///
    /// # Errors
    /// As of [`decode`].
    #[inline]
    pub fn value_of(&self, i: usize, extent: Extent, words: &[u16]) -> Result<Value, DecodeError> {
        match self.recipes.get(i).map_or(Quick::No, |recipe| recipe.read(extent.address, words)) {
            Quick::Float(float) => Ok(Value::Float(float)),
            Quick::Decimal { mantissa, exponent } => Ok(Value::Decimal(Decimal::new(i128::from(mantissa), exponent))),
            Quick::No => self.plain(i, Said::Registers(extent, Answer::Words(words))),
        }
    }

    /// The same of a message that speaks of `points`; `measured` gives what it says of each, as [`measure`] does. The message
    /// is one answer: what is calculated from several of its values needs them all in it.
    pub fn message(
        &mut self,
        measured: &dyn Fn(usize) -> Result<Value, DecodeError>,
        points: &[usize],
        now: Duration,
        each: impl FnMut(usize, Result<Value, DecodeError>),
    ) {
        self.take(Said::Message(measured), points, now, each);
    }

    fn take(
        &mut self,
        said: Said<'_>,
        points: &[usize],
        now: Duration,
        mut each: impl FnMut(usize, Result<Value, DecodeError>),
    ) {
        if self.is_plain() {
            points.iter().for_each(|&i| each(i, self.plain(i, said)));
            return;
        }
        self.turn += 1;
        for &i in points {
            if !self.parts.get(i).is_some_and(|p| p.is_needed) {
                continue;
            }
            let number = self.plain(i, said).ok().as_ref().and_then(Number::of);
            self.beat(i, number, now);
            self.keep(i, number, now);
        }
        let is_frozen = self.is_frozen(now);
        self.pulse = if is_frozen { Pulse::StandsStill } else { Pulse::Moves };
        for &i in points {
            let value = self.value(i, said, now);
            self.tell(i, value, is_frozen, now, &mut each);
        }
        for at in 0..self.derived.len() {
            let Some(&(first, i)) = self.derived.get(at) else { break };
            if points.contains(&first) {
                let value = self.formula(i, now);
                self.tell(i, value, is_frozen, now, &mut each);
            }
        }
    }

    /// These points were asked for and did not come: nothing may be worked out with what they said before. Gives the
    /// derived points that are bad with them.
    pub fn lost<'a>(&'a mut self, points: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        for &i in points {
            if let Some(part) = self.parts.get_mut(i) {
                part.kept = None;
            }
        }
        self.derived.iter().filter(|(first, _)| points.contains(first)).map(|(_, derived)| *derived)
    }

    /// The device fell silent: it may come back as another one.
    pub fn forget(&mut self) {
        self.parts.iter_mut().for_each(|part| part.kept = None);
        (self.moved, self.pulse) = (None, Pulse::Moves);
    }

    fn tell(
        &mut self,
        i: usize,
        value: Result<Value, DecodeError>,
        is_frozen: bool,
        now: Duration,
        each: &mut impl FnMut(usize, Result<Value, DecodeError>),
    ) {
        let is_beat = self.profile.heartbeat.is_some_and(|h| h.point == i);
        if self.parts.get(i).is_some_and(|p| p.is_needed) {
            self.keep(i, value.as_ref().ok().and_then(Number::of), now);
        }
        each(i, if is_frozen && !is_beat { Err(DecodeError::Frozen) } else { value });
    }

    fn keep(&mut self, i: usize, number: Option<Number>, now: Duration) {
        let turn = self.turn;
        if let Some(part) = self.parts.get_mut(i) {
            part.kept = number.map(|number| Kept { number, turn, at: now });
        }
    }

    fn beat(&mut self, i: usize, number: Option<Number>, now: Duration) {
        if self.profile.heartbeat.is_some_and(|h| h.point == i) {
            let before = self.parts.get(i).and_then(|p| p.kept).map(|k| k.number);
            if number.is_some() && before.is_some() && before != number {
                self.moved = Some(now);
            }
        }
    }

    fn is_frozen(&mut self, now: Duration) -> bool {
        let Some(heartbeat) = self.profile.heartbeat else { return false };
        let moved = *self.moved.get_or_insert(now);
        now.saturating_sub(moved) > heartbeat.within
    }

    /// The value of a point that needs no other.
    fn plain(&self, i: usize, said: Said<'_>) -> Result<Value, DecodeError> {
        let point = self.profile.points.get(i).ok_or(DecodeError::NotRegisters)?;
        match said {
            Said::Message(_) if !point.inputs.is_empty() => Err(DecodeError::Input),
            Said::Message(measured) => shifted(measured(i)?, point.offset),
            Said::Registers(extent, Answer::Words(words)) => decode(point, words_of(point, extent, words)?),
            Said::Registers(extent, Answer::Bits(bits)) => {
                let place = point.source.registers().ok_or(DecodeError::NotRegisters)?;
                let bit = bits.get(usize::from(place.address.wrapping_sub(extent.address)));
                decode_bit(point, *bit.ok_or(DecodeError::WordCount { expected: usize::from(place.count), got: 0 })?)
            }
        }
    }

    fn value(&self, i: usize, said: Said<'_>, now: Duration) -> Result<Value, DecodeError> {
        let point = self.profile.points.get(i).ok_or(DecodeError::NotRegisters)?;
        if point.inputs.is_empty() {
            return self.plain(i, said);
        }
        let measured = match said {
            Said::Message(measured) => measured(i)?,
            Said::Registers(extent, Answer::Words(words)) => measure(point, words_of(point, extent, words)?)?,
            Said::Registers(_, Answer::Bits(_)) => return self.plain(i, said),
        };
        let mut number = Number::of(&measured).ok_or(DecodeError::Text)?;
        if let Some(exponent) = point.inputs.exponent {
            let Some(Number::Exact(power)) = self.part(exponent, now) else { return Err(DecodeError::Input) };
            let power = power.rescale(0).and_then(|p| i8::try_from(p).ok()).ok_or(DecodeError::Input)?;
            number = number.times(Number::Exact(Decimal::new(1, power))).ok_or(DecodeError::Overflow)?;
        }
        let offset = shifted(number.value().ok_or(DecodeError::Overflow)?, point.offset)?;
        number = Number::of(&offset).ok_or(DecodeError::Text)?;
        self.finished(point, number, now)
    }

    /// The number after the ratios and the unit of the device.
    fn finished(&self, point: &PointDef, mut number: Number, now: Duration) -> Result<Value, DecodeError> {
        for &factor in &point.inputs.times {
            let factor = self.part(factor, now).ok_or(DecodeError::Input)?;
            number = number.times(factor).ok_or(DecodeError::Overflow)?;
        }
        if let Some(unit) = &point.inputs.unit {
            number = self.in_unit(number, unit, now)?;
        }
        number.value().ok_or(DecodeError::NotFinite)
    }

    fn in_unit(&self, number: Number, unit: &UnitInput, now: Duration) -> Result<Number, DecodeError> {
        let Some(Number::Exact(code)) = self.part(unit.point, now) else { return Err(DecodeError::Input) };
        let code = code.rescale(0).and_then(|c| i64::try_from(c).ok()).ok_or(DecodeError::Input)?;
        let unit = unit.units.iter().find(|u| u.code == code).ok_or(DecodeError::Input)?;
        let number = number.times(Number::Exact(unit.factor)).ok_or(DecodeError::Overflow)?;
        number.plus(Number::Exact(unit.offset)).ok_or(DecodeError::Overflow)
    }

    fn formula(&self, i: usize, now: Duration) -> Result<Value, DecodeError> {
        let point = self.profile.points.get(i).ok_or(DecodeError::NotRegisters)?;
        let Source::Derived(formula) = &point.source else { return Err(DecodeError::NotRegisters) };
        let number = formula.value(&mut |input| self.part(input, now)).ok_or(DecodeError::Input)?;
        self.finished(point, number, now)
    }

    /// What a point that another one needs says: in this answer, or remembered if it is a setting of the device.
    fn part(&self, i: usize, now: Duration) -> Option<Number> {
        let part = self.parts.get(i)?;
        let kept = part.kept?;
        let is_setting = self.profile.points.get(i)?.kind == PointKind::Configured;
        let counts = kept.turn == self.turn || is_setting && now.saturating_sub(kept.at) <= part.age_max;
        counts.then_some(kept.number)
    }
}

/// The words of a point in an answer.
fn words_of<'a>(point: &PointDef, extent: Extent, words: &'a [u16]) -> Result<&'a [u16], DecodeError> {
    let place = point.source.registers().ok_or(DecodeError::NotRegisters)?;
    let (start, count) = (usize::from(place.address.wrapping_sub(extent.address)), usize::from(place.count));
    words.get(start..start + count).ok_or(DecodeError::WordCount { expected: count, got: 0 })
}

#[cfg(test)]
mod tests;
