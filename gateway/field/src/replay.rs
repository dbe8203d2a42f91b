//! A trace, judged again.
//!
//! Every byte of a trace goes through the same judgement as on the day it was written: what was sent says what was
//! asked, and what was received is its answer, or is refused for the same reason. Nothing of the gateway's own opinion
//! that stands in the trace is believed, except that a transaction has ended.
//!
//! ```text
//!   sent ─► question ─► received ... ─► frame::judge ─┬─► answer: words, and by a profile values
//!                          ▲     more is needed       ├─► refused: late, foreign, damaged; the answer may follow
//!                          └──────────────────────────┘
//!   settled without an answer ─► no answer            skipped ─► refused: nobody asked
//! ```
//!
//! A trace of a line that was listened to has no questions of its own; there [`crate::passive::Ear`] finds them.

use std::collections::BTreeSet;
use std::time::Duration;

use guanjia_core::profile::{ByteCount, Extent, Profile};
use guanjia_core::time::Timestamp;

use crate::evidence::{ScrapKind, ascii_bytes};
use crate::frame::{Form, Framing, Reply, Request, Verdict, form_of, judge_as};
use crate::passive::{self, Ear, Heard};
use crate::plan::registers;
use crate::session::Content;
use crate::sniff::request_at;
use crate::stats::Discard;
use crate::tap::{Event, Outcome, Question, Seen};
use crate::trace::{Header, Role};

/// What a piece of a trace means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A read was answered.
    Answer(Content),
    /// A write was done.
    Written,
    /// The device refused with this code.
    Exception(u8),
    /// Nobody answered.
    NoAnswer,
    /// The gateway throws this away.
    Refused(ScrapKind),
}

/// One thing a trace tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// The same on the trace's own clock.
    pub since: Duration,
    /// What was asked; `None` for bytes nobody asked for.
    pub asked: Option<Question>,
    /// The bytes it is founded on; empty for no answer.
    pub frame: Vec<u8>,
    /// What it means.
    pub meaning: Meaning,
}

/// Replays one trace.
#[derive(Debug)]
pub struct Replay {
    framing: Framing,
    /// The questions that are not answered yet: more than one only over TCP, at most [`OPEN_MAX`].
    open: Vec<Open>,
    buffer: Vec<u8>,
    /// Questions without an answer, the newest last; at most [`UNANSWERED_MAX`].
    unanswered: Vec<Question>,
    ear: Option<Ear>,
    /// The units whose answers count their bytes in two bytes.
    two_byte_counts: BTreeSet<u8>,
}

/// Unanswered questions that a late answer is looked for among.
const UNANSWERED_MAX: usize = 64;

/// Questions that can be under way at once.
const OPEN_MAX: usize = 256;

/// A question that is not answered yet.
#[derive(Debug)]
struct Open {
    asked: Question,
    /// `None` for a write: its words are of no interest here, and its echo has no value.
    request: Option<Request>,
    tid: u16,
}

impl Replay {
    /// A replay of a trace with this header.
    pub fn new(header: &Header) -> Self {
        let framing = header.envelope.framing();
        let ear = (header.role == Role::Listener).then(Ear::default);
        Self {
            framing,
            open: Vec::new(),
            buffer: Vec::new(),
            unanswered: Vec::new(),
            ear,
            two_byte_counts: BTreeSet::new(),
        }
    }

    /// These units count the bytes of their answers in two bytes ([`ByteCount::TwoBytes`]); a trace does not say so.
    pub fn with_two_byte_counts(self, units: impl IntoIterator<Item = u8>) -> Self {
        let two_byte_counts: BTreeSet<u8> = units.into_iter().collect();
        let ear = self.ear.map(|_| Ear::with_two_byte_counts(two_byte_counts.iter().copied()));
        Self { two_byte_counts, ear, ..self }
    }

    /// Takes in the next event and tells what is known by it.
    pub fn feed(&mut self, event: &Event) -> Vec<Told> {
        if let Some(ear) = &mut self.ear {
            let heard = match &event.seen {
                Seen::Received(bytes) => ear.hear(event.since, bytes),
                _ => ear.quiet(event.since),
            };
            return heard.into_iter().filter_map(|heard| overheard(event, heard)).collect();
        }
        let tell = |asked, frame: &[u8], meaning| Told {
            at: event.at,
            since: event.since,
            asked,
            frame: frame.to_vec(),
            meaning,
        };
        match &event.seen {
            Seen::Opened | Seen::Failed(_) => {
                self.buffer.clear();
                Vec::new()
            }
            Seen::Skipped(bytes) => vec![tell(None, bytes, Meaning::Refused(ScrapKind::Unasked))],
            Seen::Discarded { .. } => Vec::new(),
            Seen::Sent(bytes) => {
                // Without transaction numbers a question begins with an empty line.
                if self.framing != Framing::Mbap {
                    self.buffer.clear();
                    self.open.clear();
                }
                if self.open.len() < OPEN_MAX {
                    self.open.extend(open(self.framing, bytes));
                }
                Vec::new()
            }
            Seen::Received(bytes) => {
                self.buffer.extend_from_slice(bytes);
                self.judge(event)
            }
            Seen::Settled { asked, outcome, .. } => {
                let mut told = Vec::new();
                if !self.buffer.is_empty() && self.open.len() <= 1 {
                    let kind = ScrapKind::Discarded(Discard::Damaged);
                    told.push(tell(Some(*asked), &self.buffer, Meaning::Refused(kind)));
                    self.buffer.clear();
                }
                let Some(at) = self.open.iter().position(|open| open.asked == *asked) else { return told };
                let open = self.open.remove(at);
                let meaning = match outcome {
                    Outcome::Answered if open.request.is_none() => Meaning::Written,
                    Outcome::Exception(code) if open.request.is_none() => Meaning::Exception(*code),
                    _ => {
                        self.unanswered.retain(|question| *question != open.asked);
                        if self.unanswered.len() == UNANSWERED_MAX {
                            self.unanswered.remove(0);
                        }
                        self.unanswered.push(open.asked);
                        Meaning::NoAnswer
                    }
                };
                told.push(tell(Some(open.asked), &[], meaning));
                told
            }
        }
    }

    /// Judges what has been received since the question.
    fn judge(&mut self, event: &Event) -> Vec<Told> {
        let mut told = Vec::new();
        while !self.buffer.is_empty() {
            let Some(at) = self.addressee() else { break };
            let Some(Open { asked, request: Some(request), tid }) = self.open.get(at) else {
                // The echo of a write; its end is told when it is settled.
                self.buffer.clear();
                break;
            };
            let asked = *asked;
            let Some((used, meaning)) = self.look(*tid, asked.unit, request) else { break };
            let used = used.min(self.buffer.len());
            let frame: Vec<u8> = self.buffer.drain(..used).collect();
            if !matches!(meaning, Meaning::Refused(_)) {
                self.open.remove(at);
                self.unanswered.retain(|question| *question != asked);
            }
            told.push(Told { at: event.at, since: event.since, asked: Some(asked), frame, meaning });
        }
        told
    }

    /// The position of the question that the next frame answers: the one of its transaction, or else the oldest.
    fn addressee(&self) -> Option<usize> {
        let [t0, t1, ..] = *self.buffer.as_slice() else { return (!self.open.is_empty()).then_some(0) };
        let tid = u16::from_be_bytes([t0, t1]);
        let named = self.open.iter().position(|open| self.framing == Framing::Mbap && open.tid == tid);
        named.or((!self.open.is_empty()).then_some(0))
    }

    /// How many bytes the next frame has and what it means; `None` if more is needed.
    fn look(&self, tid: u16, unit: u8, request: &Request) -> Option<(usize, Meaning)> {
        let refused = |why| Meaning::Refused(ScrapKind::Discarded(why));
        let is_long = self.two_byte_counts.contains(&unit);
        let byte_count = if is_long { ByteCount::TwoBytes } else { ByteCount::OneByte };
        Some(match judge_as(byte_count, self.framing, tid, unit, request, &self.buffer) {
            Verdict::Need(_) => return None,
            Verdict::Reply(reply) => {
                let meaning = match reply {
                    Reply::Words(words) => Meaning::Answer(Content::Words(words)),
                    Reply::Bits(bits) => Meaning::Answer(Content::Bits(bits)),
                    Reply::Written => Meaning::Written,
                    // Replays ask for registers and bits only.
                    Reply::Identity(_) => refused(Discard::Foreign),
                    Reply::Exception(code) => Meaning::Exception(code),
                };
                (self.frame_len(), meaning)
            }
            Verdict::Skip(total) => (total, refused(Discard::Late)),
            Verdict::Reject(why) if self.framing == Framing::Mbap => (self.frame_len(), refused(why)),
            Verdict::Reject(_) => match form_of(self.framing, &self.buffer) {
                Form::Need(_) => return None,
                Form::Noise => (self.buffer.len(), refused(Discard::Damaged)),
                Form::Frame { unit, function, total, .. } => {
                    let is_late = self.unanswered.iter().any(|q| (q.unit, q.function) == (unit, function & 0x7F));
                    (total, refused(if is_late { Discard::Late } else { Discard::Foreign }))
                }
            },
        })
    }

    /// The length of the frame at the head of the buffer; over TCP its header tells, otherwise it is all there is.
    fn frame_len(&self) -> usize {
        match self.buffer.as_slice() {
            [_, _, _, _, l0, l1, ..] if self.framing == Framing::Mbap => {
                6 + usize::from(u16::from_be_bytes([*l0, *l1]))
            }
            all => all.len(),
        }
    }
}

/// The question in a frame that was sent.
fn open(framing: Framing, frame: &[u8]) -> Option<Open> {
    let (tid, asked) = match framing {
        Framing::Rtu => (0, request_at(frame)?.0),
        Framing::Ascii => {
            let bytes = ascii_bytes(frame)?;
            let [unit, function, a0, a1, c0, c1, ..] = *bytes.as_slice() else { return None };
            let (address, count) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([c0, c1]));
            (0, Question { unit, function, address, count })
        }
        Framing::Mbap => {
            let [t0, t1, _, _, _, _, unit, function, a0, a1, c0, c1, ..] = frame else { return None };
            let count = u16::from_be_bytes([*c0, *c1]);
            let address = u16::from_be_bytes([*a0, *a1]);
            (u16::from_be_bytes([*t0, *t1]), Question { unit: *unit, function: *function, address, count })
        }
    };
    let request = asked.table().map(|table| Request::Read { table, address: asked.address, count: asked.count });
    Some(Open { asked, request, tid })
}

fn overheard(event: &Event, heard: Heard) -> Option<Told> {
    let (asked, frame, meaning) = match heard {
        Heard::Exchange(exchange) => {
            let asked = exchange.asked;
            let meaning = match exchange.content {
                passive::Content::Exception(code) => Meaning::Exception(code),
                passive::Content::Written => Meaning::Written,
                passive::Content::Data(data) => Meaning::Answer(content(&asked, &data)),
            };
            (Some(asked), exchange.answer, meaning)
        }
        Heard::Unanswered(question, _) => (Some(question), Vec::new(), Meaning::NoAnswer),
        Heard::Doubtful(question, frame, _) => {
            (Some(question), frame, Meaning::Refused(ScrapKind::Discarded(Discard::Late)))
        }
        Heard::Orphan(frame) => (None, frame, Meaning::Refused(ScrapKind::Discarded(Discard::Foreign))),
        Heard::Noise(_) => return None,
    };
    Some(Told { at: event.at, since: event.since, asked, frame, meaning })
}

/// The data bytes of an answer, as registers or bits.
fn content(asked: &Question, data: &[u8]) -> Content {
    if asked.table().is_some_and(guanjia_core::profile::Table::is_bits) {
        let bit = |at: usize| data.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        return Content::Bits((0..usize::from(asked.count)).map(bit).collect());
    }
    Content::Words(data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect())
}

/// Where an answer to `asked` lies, and the positions of the points of a profile that lie in it whole.
pub fn points_in(profile: &Profile, asked: &Question) -> Option<(Extent, Vec<usize>)> {
    let table = asked.table()?;
    let extent = Extent { table, address: asked.address, count: asked.count };
    let end = u32::from(asked.address) + u32::from(asked.count);
    let inside = |place: &guanjia_core::profile::Registers| {
        place.table == table
            && place.address >= asked.address
            && u32::from(place.address) + u32::from(place.count) <= end
    };
    let points = profile.points.iter().enumerate().filter(|(_, point)| registers(point).is_some_and(inside));
    Some((extent, points.map(|(i, _)| i).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::crc16;
    use crate::trace::Envelope;

    fn frame(body: &[u8]) -> Vec<u8> {
        [body, &crc16(body).to_le_bytes()].concat()
    }

    #[test]
    fn an_answer_with_a_byte_count_of_two_bytes_is_read_where_the_unit_is_known_to_count_so() {
        let header = Header { line: "lifts".into(), envelope: Envelope::Rtu, role: Role::Master };
        let event = |seen| Event { since: Duration::ZERO, at: Timestamp::EPOCH, seen };
        let asked = event(Seen::Sent(frame(&[7, 3, 0x10, 0x00, 0, 2]).into()));
        let long = event(Seen::Received(frame(&[7, 3, 0, 4, 0x12, 0x34, 0x56, 0x78]).into()));
        let short = event(Seen::Received(frame(&[7, 3, 4, 0x12, 0x34, 0x56, 0x78]).into()));
        let meaning = |units: &[u8], answer: &Event| {
            let mut replay = Replay::new(&header).with_two_byte_counts(units.iter().copied());
            replay.feed(&asked);
            replay.feed(answer).pop().map(|told| told.meaning)
        };
        let read = Some(Meaning::Answer(Content::Words(vec![0x1234, 0x5678])));
        assert_eq!(meaning(&[7], &long), read);
        assert_eq!(meaning(&[8], &short), read);
        assert_ne!(meaning(&[8], &long), read);
        assert_ne!(meaning(&[7], &short), read);
    }

    #[test]
    fn a_trace_of_a_line_that_was_listened_to_knows_them_too() {
        let header = Header { line: "lifts".into(), envelope: Envelope::Rtu, role: Role::Listener };
        let event = |millis, seen| Event { since: Duration::from_millis(millis), at: Timestamp::EPOCH, seen };
        let heard = |bytes: &[u8]| Seen::Received(frame(bytes).into());
        let mut replay = Replay::new(&header).with_two_byte_counts([7]);
        let mut told = replay.feed(&event(0, heard(&[7, 3, 0x10, 0x00, 0, 2])));
        told.extend(replay.feed(&event(30, heard(&[7, 3, 0, 4, 0x12, 0x34, 0x56, 0x78]))));
        told.extend(replay.feed(&event(900, Seen::Opened)));
        let answer = Meaning::Answer(Content::Words(vec![0x1234, 0x5678]));
        assert_eq!(told.iter().map(|told| &told.meaning).collect::<Vec<_>>(), [&answer]);
    }
}
