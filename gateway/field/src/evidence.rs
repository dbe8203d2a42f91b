//! How the last values of a line came to be, down to the bytes.
//!
//! A disputed bill or a false alarm is settled by what was on the wire: which frame asked, which frame answered, how
//! many attempts it took and how long. That is kept here for the last answers to every request, and beside it the last
//! frames that were thrown away, because "why is there no value" is asked as often.
//!
//! ```text
//!   request (unit, function, address, count) ──► [ answer, the answer before │ up to ANSWERS_MAX in all ]
//!                                                  always there                only as far as the line's budget goes
//!   line ──► ring of the last SCRAPS_MAX frames nobody wanted
//! ```
//!
//! * Kept per *request*, not per point: the points of one answer share its words. An answer of 100 registers costs about
//!   260 bytes; the two that are always there and the entry itself about 600, 12 bytes a point for fifty points of two
//!   registers.
//! * The older answers of a line share [`PAST_BYTES_MAX`]. Requests take their share as their answers come, so all of a
//!   small line have [`ANSWERS_MAX`], and on a large one those that are asked most. 500 devices of one such read each
//!   need 760 kB for it, whatever lines they are on.
//! * Bounded besides: [`REQUESTS_MAX`] requests and [`SCRAPS_MAX`] frames a line; beyond that the oldest goes. Buffers
//!   are used again, so a line that runs allocates nothing here. Nothing is decoded before somebody asks.
//! * Writes are not kept; what a command did is in the journal.
//!
//! A power cut costs all of it. Whoever needs more writes a trace (`guanjia capture`).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use guanjia_core::profile::Table;
use guanjia_core::time::Timestamp;

use crate::stats::Discard;
use crate::tap::{Outcome, Question, Settled};

mod ring;

use ring::Ring;

/// Requests of one line whose answers are kept. The largest line known of has 247 units; more than this many different
/// requests come only from somebody who searches.
pub const REQUESTS_MAX: usize = 8_192;

/// Answers kept to every request: the newest and the one before, to see what a value was before it jumped.
pub const ANSWERS_KEPT: usize = 2;

/// Answers kept to a request where there is room for them.
pub const ANSWERS_MAX: usize = 8;

/// What all answers of a line beyond [`ANSWERS_KEPT`] may take, in bytes with their overhead.
pub const PAST_BYTES_MAX: usize = 64 * 1024;

/// Frames kept of those a line threw away.
pub const SCRAPS_MAX: usize = 32;

/// Bytes kept of one such frame; no frame is longer.
const SCRAP_BYTES_MAX: usize = crate::frame::FRAME_MAX;

/// Bytes nobody asked for that follow each other this closely are kept as one piece.
const SCRAP_APART_MAX: Duration = Duration::from_millis(50);

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The frame that was sent, envelope and check sum included.
    pub sent: Vec<u8>,
    /// The frame that was accepted.
    pub received: Vec<u8>,
    /// When the answer was complete.
    pub at: Timestamp,
    /// From the first byte sent to the last byte of the answer.
    pub took: Duration,
    /// Which attempt it was: 1 if the first one was answered.
    pub attempt: u32,
}

impl Proof {
    /// What the answer carries: the bytes after unit, function and byte count, without the envelope. `None` for a frame
    /// that is none; the line accepts no such frame.
    pub fn data(&self) -> Option<Vec<u8>> {
        let pdu = match self.received.as_slice() {
            text @ [b':', ..] => {
                let bytes = ascii_bytes(text)?;
                bytes.get(1..bytes.len().checked_sub(1)?)?.to_vec()
            }
            frame if self.is_tcp() => frame.get(7..)?.to_vec(),
            frame => frame.get(1..frame.len().checked_sub(2)?)?.to_vec(),
        };
        // A byte count that begins with zero has two bytes: no answer is empty, and none has more than 250 bytes.
        let (start, length) = match pdu.get(1..)? {
            [0, low, ..] => (3, usize::from(*low)),
            [length, ..] => (2, usize::from(*length)),
            [] => return None,
        };
        pdu.get(start..start + length).map(<[u8]>::to_vec)
    }

    /// Whether the frames are those of Modbus TCP: a read request is 8 bytes long over RTU and 12 with that header.
    fn is_tcp(&self) -> bool {
        self.sent.len() == 12 && self.sent.get(2..4) == Some(&[0, 0])
    }
}

/// The bytes of a Modbus ASCII frame, check sum included.
pub(crate) fn ascii_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    let digit = |c: &u8| char::from(*c).to_digit(16).map(|d| d as u8);
    let byte = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
    digits.chunks(2).map(byte).collect()
}

impl Evidence {
    /// The registers from `address` on as they stand in one of the answers.
    pub fn words(&self, proof: &Proof, address: u16, count: u16) -> Option<Vec<u16>> {
        let data = proof.data()?;
        let start = usize::from(address.checked_sub(self.asked.address)?) * 2;
        let bytes = data.get(start..start + usize::from(count) * 2)?;
        Some(bytes.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect())
    }

    /// The coil or discrete input at `address` as it stands in one of the answers.
    pub fn bit(&self, proof: &Proof, address: u16) -> Option<bool> {
        let at = usize::from(address.checked_sub(self.asked.address)?);
        proof.data()?.get(at / 8).map(|byte| byte >> (at % 8) & 1 == 1)
    }
}

/// What is known about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What is asked.
    pub asked: Question,
    /// The answers kept, newest first; empty if there was none yet.
    pub answers: Vec<Proof>,
    /// How the newest attempt ended.
    pub outcome: Outcome,
    /// When that was.
    pub at: Timestamp,
    /// Attempts since the newest answer that brought none.
    pub misses: u32,
}

/// What a frame that was thrown away was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapKind {
    /// It came while something else was asked.
    Discarded(Discard),
    /// It came while nothing was asked.
    Unasked,
}

impl ScrapKind {
    /// `late`, `foreign`, `damaged` or `unasked`.
    pub fn as_str(self) -> &'static str {
        match self {
            ScrapKind::Discarded(why) => why.as_str(),
            ScrapKind::Unasked => "unasked",
        }
    }
}

/// A frame, or part of one, that was thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrap {
    /// When it was thrown away.
    pub at: Timestamp,
    /// What it was taken for.
    pub kind: ScrapKind,
    /// What was asked meanwhile; `None` for bytes nobody asked for.
    pub asked: Option<Question>,
    /// Its bytes.
    pub frame: Vec<u8>,
}

impl Scrap {
    /// Whether it has to do with `unit`: it came instead of the unit's answer, or begins with its address.
    pub fn concerns(&self, unit: u8) -> bool {
        self.asked.map_or(self.frame.first() == Some(&unit), |asked| asked.unit == unit)
    }
}

/// The evidence of one line.
#[derive(Debug, Default)]
pub struct EvidenceFile {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By question; a line has few, and looks one up for every answer.
    entries: Vec<(Question, Entry)>,
    scraps: VecDeque<Scrap>,
    /// What the answers beyond [`ANSWERS_KEPT`] of all entries take.
    past_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answers: Ring,
    outcome: Outcome,
    at: Timestamp,
    misses: u32,
}

impl EvidenceFile {
    /// Takes in the end of a transaction.
    pub(crate) fn settled(&self, settled: &Settled<'_>) {
        if settled.asked.table().is_none() {
            return;
        }
        let at = settled.ended.at;
        let inner = &mut *self.lock();
        let place = inner.place(&settled.asked).unwrap_or_else(|_| inner.add(settled.asked, settled.outcome, at));
        let (_, entry) = &mut inner.entries[place];
        (entry.outcome, entry.at) = (settled.outcome, at);
        if settled.outcome != Outcome::Answered {
            entry.misses = entry.misses.saturating_add(1);
            return;
        }
        let attempt = entry.misses.saturating_add(1);
        entry.misses = 0;
        let others = inner.past_bytes.saturating_sub(entry.answers.past_bytes());
        entry.answers.take(settled, attempt, PAST_BYTES_MAX.saturating_sub(others));
        inner.past_bytes = others + entry.answers.past_bytes();
    }

    /// Takes in a frame that was thrown away.
    pub(crate) fn discarded(&self, kind: ScrapKind, asked: Option<Question>, bytes: &[u8], at: Timestamp) {
        let bytes = &bytes[..bytes.len().min(SCRAP_BYTES_MAX)];
        let mut inner = self.lock();
        if let Some(last) = inner.scraps.back_mut()
            && (last.kind, kind) == (ScrapKind::Unasked, ScrapKind::Unasked)
            && at.since(last.at) <= SCRAP_APART_MAX
            && last.frame.len() + bytes.len() <= SCRAP_BYTES_MAX
        {
            last.frame.extend_from_slice(bytes);
            last.at = at;
            return;
        }
        if inner.scraps.len() == SCRAPS_MAX {
            inner.scraps.pop_front();
        }
        inner.scraps.push_back(Scrap { at, kind, asked, frame: bytes.to_vec() });
    }

    /// The newest request that asked `unit` for all of these registers or bits.
    pub fn of(&self, unit: u8, table: Table, address: u16, count: u16) -> Option<Evidence> {
        let covers = |q: &Question| {
            q.unit == unit
                && q.table() == Some(table)
                && q.address <= address
                && u32::from(q.address) + u32::from(q.count) >= u32::from(address) + u32::from(count)
        };
        let inner = self.lock();
        let fitting = inner.entries.iter().filter(|(asked, _)| covers(asked)).map(|(asked, entry)| (asked, entry));
        // One that was answered says more than a newer one that was not.
        let best = fitting.max_by_key(|(_, entry)| (entry.answers.newest_at(), entry.at));
        best.map(|(asked, entry)| entry.evidence(*asked))
    }

    /// The frames that were thrown away last, newest first.
    pub fn scraps(&self) -> Vec<Scrap> {
        self.lock().scraps.iter().rev().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn place(&self, asked: &Question) -> Result<usize, usize> {
        self.entries.binary_search_by(|(there, _)| there.cmp(asked))
    }

    /// Adds a request and says where it is now. The one nobody has asked for longest makes room for it.
    fn add(&mut self, asked: Question, outcome: Outcome, at: Timestamp) -> usize {
        if self.entries.len() >= REQUESTS_MAX
            && let Some((oldest, _)) = self.entries.iter().enumerate().min_by_key(|(_, (_, entry))| entry.at)
        {
            let (_, entry) = self.entries.remove(oldest);
            self.past_bytes = self.past_bytes.saturating_sub(entry.answers.past_bytes());
        }
        let place = self.place(&asked).unwrap_or_else(|place| place);
        self.entries.insert(place, (asked, Entry { answers: Ring::default(), outcome, at, misses: 0 }));
        place
    }
}

impl Entry {
    fn evidence(&self, asked: Question) -> Evidence {
        Evidence { asked, answers: self.answers.proofs(), outcome: self.outcome, at: self.at, misses: self.misses }
    }
}

#[cfg(test)]
mod tests;
