//! The last answers to one request, compactly.
//!
//! The question is the same every time, so its frame is kept once, and of each answer only what differs: its bytes, when
//! it came, and the transaction number it was asked under on Modbus TCP.

use std::mem::size_of;
use std::time::Duration;

use guanjia_core::time::Timestamp;

use super::{ANSWERS_KEPT, ANSWERS_MAX, Proof};
use crate::tap::Settled;

/// The longest read request: of Modbus ASCII, a colon, six bytes and their check sum as two characters each, a line end.
const READ_REQUEST_MAX: usize = 17;
/// The length of a read request of Modbus TCP, whose first two bytes are its transaction number.
const TCP_REQUEST_LEN: usize = 12;
/// What the allocator adds to a buffer.
const OVERHEAD: usize = 16;

/// A ring of answers.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The frame of the newest question.
    sent: [u8; READ_REQUEST_MAX],
    sent_len: u8,
    /// Where the newest answer is.
    newest: u8,
    answers: Vec<Kept>,
    /// What all of them take.
    bytes: usize,
}

/// One answer.
#[derive(Debug)]
struct Kept {
    received: Box<[u8]>,
    at: Timestamp,
    took_micros: u32,
    attempt: u16,
    /// The first two bytes of its question: its number on Modbus TCP, and the same as of all others elsewhere.
    tid: [u8; 2],
}

impl Kept {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.received.len() + OVERHEAD
    }
}

impl Ring {
    /// Takes in an answer. Beyond [`ANSWERS_KEPT`] a place is added only while the older answers take no more than
    /// `past_bytes_max`; otherwise the oldest one goes.
    pub(super) fn take(&mut self, settled: &Settled<'_>, attempt: u32, past_bytes_max: usize) {
        self.question(settled.sent);
        let at = settled.ended.at;
        let (took_micros, attempt) = (u32::try_from(settled.took.as_micros()), u16::try_from(attempt));
        let (took_micros, attempt) = (took_micros.unwrap_or(u32::MAX), attempt.unwrap_or(u16::MAX));
        let tid = [self.sent[0], self.sent[1]];
        let kept = |received| Kept { received, at, took_micros, attempt, tid };
        let cost = size_of::<Kept>() + settled.answer.len() + OVERHEAD;
        let len = self.answers.len();
        let fits = len < ANSWERS_KEPT || len < ANSWERS_MAX && self.past_bytes() + cost <= past_bytes_max;
        if fits {
            // In the order in which they came, so that the new place is the one after the newest.
            self.answers.rotate_left((usize::from(self.newest) + 1) % len.max(1));
            self.answers.reserve_exact(1);
            self.answers.push(kept(settled.answer.into()));
            self.newest = len as u8;
            self.bytes += cost;
            return;
        }
        self.newest = (self.newest + 1) % len as u8;
        let Some(oldest) = self.answers.get_mut(usize::from(self.newest)) else { return };
        self.bytes = (self.bytes + cost).saturating_sub(oldest.cost());
        let mut received = std::mem::take(&mut oldest.received);
        if received.len() == settled.answer.len() {
            received.copy_from_slice(settled.answer);
        } else {
            received = settled.answer.into();
        }
        *oldest = kept(received);
    }

    /// What its answers beyond [`ANSWERS_KEPT`] take.
    pub(super) fn past_bytes(&self) -> usize {
        let always: usize =
            (0..ANSWERS_KEPT.min(self.answers.len())).filter_map(|age| self.aged(age)).map(Kept::cost).sum();
        self.bytes.saturating_sub(always)
    }

    /// When the newest answer came.
    pub(super) fn newest_at(&self) -> Option<Timestamp> {
        self.aged(0).map(|kept| kept.at)
    }

    /// The answers, newest first.
    pub(super) fn proofs(&self) -> Vec<Proof> {
        let sent = self.sent.get(..usize::from(self.sent_len)).unwrap_or_default();
        let proof = |kept: &Kept| {
            let mut sent = sent.to_vec();
            sent.iter_mut().zip(kept.tid).for_each(|(byte, own)| *byte = own);
            let took = Duration::from_micros(u64::from(kept.took_micros));
            let attempt = u32::from(kept.attempt);
            Proof { sent, received: kept.received.to_vec(), at: kept.at, took, attempt }
        };
        (0..self.answers.len()).filter_map(|age| self.aged(age)).map(proof).collect()
    }

    fn aged(&self, age: usize) -> Option<&Kept> {
        let len = self.answers.len();
        self.answers.get((usize::from(self.newest) + len).checked_sub(age)? % len.max(1))
    }

    /// Notes the frame of the question. Were it another one than before, beyond its number, the older answers would be
    /// shown with a question that was not theirs; they go.
    fn question(&mut self, sent: &[u8]) {
        let len = sent.len().min(READ_REQUEST_MAX);
        let own = if len == TCP_REQUEST_LEN { 2 } else { 0 };
        let same = usize::from(self.sent_len) == len && self.sent.get(own..len) == sent.get(own..len);
        if !same {
            self.answers.clear();
            (self.newest, self.bytes) = (0, 0);
        }
        self.sent[..len].copy_from_slice(&sent[..len]);
        self.sent_len = len as u8;
    }
}
