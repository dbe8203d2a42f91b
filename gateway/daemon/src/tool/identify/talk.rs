//! A conversation with a unit nobody knows, in which nothing is asked twice.

use std::collections::BTreeMap;
use std::time::Duration;

use guanjia_core::profile::{Extent, Profile, Table};
use guanjia_field::session::{Content, Patience, ReadOf, Session, SessionError};

/// Answers after which it is known how long the device takes; then it is waited for so many times the longest, but no
/// shorter than this.
const ANSWERS_TO_KNOW: u32 = 3;
const TIMES_THE_SLOWEST: u32 = 5;
const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// Places of a table that are refused with "illegal function", or not answered, after which the device has no such table
/// unless it ever answered from it.
const TABLE_TRIES: u32 = 3;

/// Exception 01 (Modbus Application Protocol V1.1b3, 7).
const ILLEGAL_FUNCTION: u8 = 1;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What was asked for.
    Content(Content),
    /// An exception, by its code.
    Refused(u8),
    /// Nothing, or nothing that could be understood.
    Silence,
}

/// What is known of one table.
#[derive(Clone, Copy, Debug, Default)]
struct TableKnown {
    answers: u32,
    refusals: u32,
}

/// The conversation.
pub struct Talk<'a> {
    /// The way to the unit.
    pub session: &'a mut Session,
    unit: u8,
    heard: BTreeMap<Extent, Heard>,
    tables: BTreeMap<Table, TableKnown>,
    asked: u32,
    answers: u32,
    silence: Option<SessionError>,
    slowest: Duration,
}

impl<'a> Talk<'a> {
    /// Nothing is asked yet.
    pub fn new(session: &'a mut Session, unit: u8) -> Self {
        Self {
            session,
            unit,
            heard: BTreeMap::new(),
            tables: BTreeMap::new(),
            asked: 0,
            answers: 0,
            silence: None,
            slowest: Duration::ZERO,
        }
    }

    /// Questions that were put to the unit.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// Whether the unit ever said anything.
    pub fn has_spoken(&self) -> bool {
        self.answers > 0
    }

    /// Whether the answer to this could be confused with one to what was asked before.
    pub fn is_ambiguous(&mut self, place: Extent) -> bool {
        self.session.is_ambiguous(read_of(self.unit, place))
    }

    /// The last thing that was heard instead of an answer.
    pub fn silence(&mut self) -> Option<SessionError> {
        self.silence.take()
    }

    /// What there is to know about this place without asking.
    pub fn known(&self, extent: Extent) -> Option<Heard> {
        if let Some(heard) = self.heard.get(&extent) {
            return Some(heard.clone());
        }
        // A refusal says nothing about another request: many devices refuse half a value and nothing else.
        let whole = self.heard.iter().find_map(|(other, heard)| match heard {
            Heard::Content(content) if is_within(extent, *other) => Some((other.address, content)),
            _ => None,
        });
        if let Some((start, content)) = whole {
            return part(content, usize::from(extent.address - start), usize::from(extent.count));
        }
        let table = self.tables.get(&extent.table).copied().unwrap_or_default();
        (table.answers == 0 && table.refusals >= TABLE_TRIES).then_some(Heard::Refused(ILLEGAL_FUNCTION))
    }

    /// Which of these places to ask next: one that costs nothing, else one that cannot be confused with what was asked
    /// before, else the first.
    pub fn next_of(&mut self, places: &[Extent]) -> usize {
        let free = places.iter().position(|p| self.known(*p).is_some());
        free.or_else(|| places.iter().position(|p| !self.is_ambiguous(*p))).unwrap_or(0)
    }

    /// Asks, unless it is known.
    ///
    /// # Errors
    /// [`SessionError`] if the line fails.
    pub async fn ask(&mut self, extent: Extent, profile: &Profile) -> Result<Heard, SessionError> {
        if let Some(known) = self.known(extent) {
            return Ok(known);
        }
        self.asked += 1;
        let heard = match self.session.read(read_of(self.unit, extent), self.patience(profile)).await {
            Ok(answered) => {
                self.slowest = self.slowest.max(answered.took);
                Heard::Content(answered.content)
            }
            // Or a gateway says for the unit that it is silent.
            Err(error @ (SessionError::Refused { code: 0x0A | 0x0B, .. } | SessionError::Silent { .. })) => {
                self.silence = Some(error);
                Heard::Silence
            }
            Err(SessionError::Refused { code, .. }) => Heard::Refused(code),
            Err(SessionError::Garbled { .. }) if self.answers > 0 => Heard::Silence,
            Err(error) => return Err(error),
        };
        let table = self.tables.entry(extent.table).or_default();
        match heard {
            Heard::Content(_) => table.answers += 1,
            Heard::Refused(ILLEGAL_FUNCTION) | Heard::Silence => table.refusals += 1,
            // Who tells one address from another has the table.
            Heard::Refused(_) => table.answers += 1,
        }
        if heard != Heard::Silence {
            self.answers += 1;
        }
        self.heard.insert(extent, heard.clone());
        Ok(heard)
    }

    /// The first question gets a second chance. How long an answer takes is known after some of them.
    fn patience(&self, profile: &Profile) -> Patience {
        let usual = Patience::from(&profile.limits);
        let attempts = if self.asked == 1 { 2 } else { 1 };
        let response_max = if self.answers >= ANSWERS_TO_KNOW {
            usual.response_max.min((self.slowest * TIMES_THE_SLOWEST).max(PATIENCE_MIN))
        } else {
            usual.response_max
        };
        Patience { attempts, response_max, ..usual }
    }
}

fn read_of(unit: u8, extent: Extent) -> ReadOf {
    ReadOf { unit, table: extent.table, address: extent.address, count: extent.count }
}

fn is_within(inner: Extent, outer: Extent) -> bool {
    let end = |e: Extent| u32::from(e.address) + u32::from(e.count);
    inner.table == outer.table && inner.address >= outer.address && end(inner) <= end(outer)
}

fn part(content: &Content, start: usize, count: usize) -> Option<Heard> {
    let content = match content {
        Content::Words(words) => Content::Words(words.get(start..start + count)?.to_vec()),
        Content::Bits(bits) => Content::Bits(bits.get(start..start + count)?.to_vec()),
    };
    Some(Heard::Content(content))
}
