//! How the last values of a line came to be, down to the bytes.
//!
//! A disputed bill or a false alarm is settled by what was on the wire: which frame asked, which frame answered, how
//! many attempts it took and how long. That is kept here for the last answers to every request, and beside it the last
//! frames that were thrown away, because "why is there no value" is asked as often.
//!
//! ```text
//!   request (unit, function, address, count) ──► [ answer, the answer before ]     what all its points came from
//!   line ──► ring of the last SCRAPS_MAX frames nobody wanted
//! ```
//!
//! * Kept per *request*, not per point: the points of one answer share its words. An answer of 100 registers costs about
//!   220 bytes, so the [`ANSWERS_KEPT`] answers and the entry itself cost about 600 bytes for fifty points of two
//!   registers, 12 bytes a point. A point that is read alone costs about 250.
//! * Bounded: [`REQUESTS_MAX`] requests and [`SCRAPS_MAX`] frames a line; beyond that the oldest goes. Buffers are used
//!   again, so a line that runs allocates nothing here.
//! * Writes are not kept; what a command did is in the journal.
//!
//! A power cut costs all of it. Whoever needs more writes a trace (`guanjia capture`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use guanjia_core::profile::Table;
use guanjia_core::time::Timestamp;

use crate::stats::Discard;
use crate::tap::{Outcome, Question, Settled};

/// Requests of one line whose answers are kept. The largest line known of has 247 units; more than this many different
/// requests come only from somebody who searches.
pub const REQUESTS_MAX: usize = 8_192;

/// Answers kept to one request: the newest and the one before, to see what a value was before it jumped.
pub const ANSWERS_KEPT: usize = 2;

/// Frames kept of those a line threw away.
pub const SCRAPS_MAX: usize = 32;

/// Bytes kept of one such frame; no frame is longer.
const SCRAP_BYTES_MAX: usize = crate::frame::FRAME_MAX;

/// Bytes nobody asked for that follow each other this closely are kept as one piece.
const SCRAP_APART_MAX: Duration = Duration::from_millis(50);

/// The longest read request: of Modbus ASCII, a colon, six bytes and their check sum as two characters each, a line end.
const READ_REQUEST_MAX: usize = 17;

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
    entries: HashMap<Question, Entry>,
    scraps: VecDeque<Scrap>,
}

#[derive(Debug)]
struct Entry {
    /// The newest is at `newest`.
    answers: [Kept; ANSWERS_KEPT],
    newest: u8,
    outcome: Outcome,
    at: Timestamp,
    misses: u32,
}

/// One answer; no bytes if there is none.
#[derive(Debug, Default)]
struct Kept {
    sent: [u8; READ_REQUEST_MAX],
    sent_len: u8,
    received: Vec<u8>,
    at: Timestamp,
    took_micros: u32,
    attempt: u32,
}

impl Kept {
    fn take(&mut self, settled: &Settled<'_>, at: Timestamp, attempt: u32) {
        let len = settled.sent.len().min(READ_REQUEST_MAX);
        self.sent[..len].copy_from_slice(&settled.sent[..len]);
        self.sent_len = len as u8;
        self.received.clear();
        // Exactly as long as the answer: the next one to the same request has the same length.
        self.received.reserve_exact(settled.answer.len());
        self.received.extend_from_slice(settled.answer);
        let took = settled.ended.saturating_duration_since(settled.started);
        self.took_micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        (self.at, self.attempt) = (at, attempt);
    }

    fn proof(&self) -> Option<Proof> {
        let sent = self.sent.get(..usize::from(self.sent_len))?;
        (!self.received.is_empty()).then(|| Proof {
            sent: sent.to_vec(),
            received: self.received.clone(),
            at: self.at,
            took: Duration::from_micros(u64::from(self.took_micros)),
            attempt: self.attempt,
        })
    }
}

impl EvidenceFile {
    /// Takes in the end of a transaction.
    pub(crate) fn settled(&self, settled: &Settled<'_>, at: Timestamp) {
        if settled.asked.table().is_none() {
            return;
        }
        let mut inner = self.lock();
        if !inner.entries.contains_key(&settled.asked) {
            inner.make_room();
        }
        let entry = inner.entries.entry(settled.asked).or_insert_with(|| Entry {
            answers: Default::default(),
            newest: 0,
            outcome: settled.outcome,
            at,
            misses: 0,
        });
        (entry.outcome, entry.at) = (settled.outcome, at);
        if settled.outcome != Outcome::Answered {
            entry.misses = entry.misses.saturating_add(1);
            return;
        }
        let attempt = entry.misses.saturating_add(1);
        entry.misses = 0;
        entry.newest = (entry.newest + 1) % ANSWERS_KEPT as u8;
        if let Some(oldest) = entry.answers.get_mut(usize::from(entry.newest)) {
            oldest.take(settled, at, attempt);
        }
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
        let fitting = inner.entries.iter().filter(|(asked, _)| covers(asked));
        // One that was answered says more than a newer one that was not.
        let best = fitting.max_by_key(|(_, entry)| (entry.newest_answer().map(|a| a.at), entry.at));
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
    /// The request nobody has asked for longest makes room for a new one.
    fn make_room(&mut self) {
        if self.entries.len() < REQUESTS_MAX {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.at).map(|(asked, _)| *asked);
        if let Some(oldest) = oldest {
            self.entries.remove(&oldest);
        }
    }
}

impl Entry {
    fn newest_answer(&self) -> Option<&Kept> {
        self.answers.get(usize::from(self.newest)).filter(|kept| !kept.received.is_empty())
    }

    fn evidence(&self, asked: Question) -> Evidence {
        let back = |age: usize| (usize::from(self.newest) + ANSWERS_KEPT - age) % ANSWERS_KEPT;
        let answers = (0..ANSWERS_KEPT).filter_map(|age| self.answers.get(back(age))?.proof()).collect();
        Evidence { asked, answers, outcome: self.outcome, at: self.at, misses: self.misses }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn question(unit: u8, address: u16, count: u16) -> Question {
        Question { unit, function: 3, address, count }
    }

    fn settle(file: &EvidenceFile, asked: Question, outcome: Outcome, answer: &[u8], at: i64) {
        let started = Instant::now();
        let ended = started + Duration::from_millis(12);
        let sent = [asked.unit, asked.function, 0, 0, 0, 0, 0, 0];
        file.settled(&Settled { asked, outcome, started, ended, sent: &sent, answer }, Timestamp::from_millis(at));
    }

    #[test]
    fn the_newest_answer_the_one_before_and_the_attempts_are_kept() {
        let file = EvidenceFile::default();
        let asked = question(7, 100, 10);
        settle(&file, asked, Outcome::Answered, &[1], 1_000);
        settle(&file, asked, Outcome::Answered, &[2], 2_000);
        settle(&file, asked, Outcome::Timeout, &[], 3_000);
        settle(&file, asked, Outcome::Discarded, &[], 3_500);
        settle(&file, asked, Outcome::Answered, &[3], 4_000);
        settle(&file, asked, Outcome::Timeout, &[], 5_000);

        let known = file.of(7, Table::Holding, 104, 2).unwrap();
        let answers: Vec<_> = known.answers.iter().map(|a| (a.received[0], a.at.as_millis(), a.attempt)).collect();
        assert_eq!(answers, [(3, 4_000, 3), (2, 2_000, 1)]);
        assert_eq!(known.answers[0].took, Duration::from_millis(12));
        assert_eq!((known.outcome, known.misses, known.at.as_millis()), (Outcome::Timeout, 1, 5_000));
    }

    #[test]
    fn words_and_bits_are_found_in_every_kind_of_frame() {
        let proof = |sent: &[u8], received: &[u8]| Proof {
            sent: sent.to_vec(),
            received: received.to_vec(),
            at: Timestamp::EPOCH,
            took: Duration::ZERO,
            attempt: 1,
        };
        let rtu = proof(&[7, 3, 0, 100, 0, 2, 1, 1], &[7, 3, 4, 0, 1, 0, 2, 9, 9]);
        let tcp = proof(&[0, 5, 0, 0, 0, 6, 7, 3, 0, 100, 0, 2], &[0, 5, 0, 0, 0, 7, 7, 3, 4, 0, 1, 0, 2]);
        let ascii = proof(b":07030064000290\r\n", b":07030400010002EF\r\n");
        let known = |function| Evidence {
            asked: Question { unit: 7, function, address: 100, count: 2 },
            answers: Vec::new(),
            outcome: Outcome::Answered,
            at: Timestamp::EPOCH,
            misses: 0,
        };
        for proof in [&rtu, &tcp, &ascii] {
            assert_eq!(known(3).words(proof, 100, 2), Some(vec![1, 2]));
            assert_eq!(known(3).words(proof, 101, 1), Some(vec![2]));
            assert_eq!(known(3).words(proof, 101, 2), None);
            assert_eq!(known(3).words(proof, 99, 1), None);
        }
        let coils = proof(&[7, 1, 0, 100, 0, 10, 1, 1], &[7, 1, 2, 0b1000_0000, 0b10, 9, 9]);
        let bits: Vec<_> = [107, 108, 109, 116].map(|address| known(1).bit(&coils, address)).into();
        assert_eq!(bits, [Some(true), Some(false), Some(true), None]);
    }

    #[test]
    fn a_point_is_explained_by_a_request_that_covers_it_whole() {
        let file = EvidenceFile::default();
        settle(&file, question(7, 100, 10), Outcome::Answered, &[1], 1_000);
        settle(&file, question(7, 108, 4), Outcome::Answered, &[2], 2_000);
        settle(&file, question(8, 100, 10), Outcome::Answered, &[3], 3_000);
        let answer = |address, count| file.of(7, Table::Holding, address, count).map(|e| e.answers[0].received[0]);
        assert_eq!(answer(100, 2), Some(1));
        assert_eq!(answer(108, 2), Some(2), "the newer of two that cover it");
        assert_eq!(answer(109, 2), Some(2), "the other one ends in the middle of it");
        assert_eq!(answer(99, 2), None);
        assert_eq!(file.of(7, Table::Input, 100, 2), None, "another table is another place");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let file = EvidenceFile::default();
        for address in 0..=REQUESTS_MAX as u16 {
            settle(&file, question(1, address, 1), Outcome::Answered, &[1], i64::from(address));
        }
        assert_eq!(file.lock().entries.len(), REQUESTS_MAX);
        assert_eq!(file.of(1, Table::Holding, 0, 1), None, "the oldest made room");
        for n in 0..=SCRAPS_MAX {
            let kind = ScrapKind::Discarded(Discard::Foreign);
            file.discarded(kind, Some(question(1, 0, 1)), &[0; 1_000], Timestamp::from_millis(n as i64));
        }
        let scraps = file.scraps();
        assert_eq!((scraps.len(), scraps[0].frame.len()), (SCRAPS_MAX, SCRAP_BYTES_MAX));
        assert_eq!(scraps[0].at.as_millis(), SCRAPS_MAX as i64, "newest first");
    }

    #[test]
    fn bytes_nobody_asked_for_are_kept_in_one_piece_while_they_come() {
        let file = EvidenceFile::default();
        for (millis, byte) in [(0, 12), (5, 3), (10, 2), (500, 9)] {
            file.discarded(ScrapKind::Unasked, None, &[byte], Timestamp::from_millis(millis));
        }
        let frames: Vec<Vec<u8>> = file.scraps().into_iter().map(|s| s.frame).collect();
        assert_eq!(frames, [vec![9], vec![12, 3, 2]]);
        assert!(file.scraps()[1].concerns(12));
    }
}
