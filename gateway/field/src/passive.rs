//! Listening to a line that another master owns.
//!
//! A gateway that is added to a building finds its meters on a line that somebody polls already. A second master there
//! would take the first one's answers for its own; a listener disturbs nobody, and knows every value the other one asks
//! for. Nothing here can send: [`Listening`] has no writer, and [`Ear`] no line.
//!
//! ```text
//!               request                    answer that fits it
//!    idle ─────────────────► asked ───────────────────────────────► held ──┐
//!     ▲                       │  ▲                                   │  │   │ the same unit answers once more:
//!     │     another request:  │  └───────────── another request ◄────┘  │   │ nobody knows which was whose, both are
//!     │     unanswered        ▼                 the exchange is told     │   │ thrown away
//!     └───────────────────────┴──────────────────────────────────────────┴───┘
//!                                                  silence for CONFIRM_MAX: the exchange is told
//! ```
//!
//! The rules that keep a value from the wrong name are those of a line of our own (`bus`), as far as somebody who does
//! not ask can keep them:
//!
//! * An answer counts only right after a request of the same unit and function, with exactly the length that was asked
//!   for and a right check sum.
//! * An answer counts only if no other question of the same unit and shape went unanswered in the last [`LATE_MAX`]: it
//!   could be that one's, come late. Then its own question stays without an answer itself, whose answer could come with
//!   the next. Such a row ends by an answer of another shape, as a unit answers in order; or by a pause of [`LATE_MAX`]; or
//!   after [`BEHIND_MAX`], in which no unit is one answer behind without ever catching up.
//! * An exchange is held until the next request or a silence, because a serial server that says everything twice would
//!   otherwise answer the next question with the last one's answer.
//! * The same bytes in answer to two different questions of one shape are suspect.
//! * Some units count the bytes of their answers in two bytes; which do, only a profile says. Their answer to a question
//!   for one register can be as long as a question for address 2, byte for byte: nobody knows which it is, so it is thrown
//!   away.
//!
//! Frames are found by what their check sums say ([`crate::sniff`]); where the stream of a serial server has been put
//! together or cut, time says nothing, so a frame is waited for as long as its beginning can become one, and bytes that
//! cannot begin one are dropped one by one. What is kept is bounded: one frame, one question, [`UNANSWERED_MAX`] old
//! questions, and one time for each of at most 256 units.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use guanjia_core::profile::ByteCount;

use crate::sniff::{Answer, FRAME_MAX, FRAME_MIN, answer_as, request_at};
use crate::tap::Question;

mod learned;
mod listening;

pub use learned::{Learned, QUESTIONS_MAX, Range, Seen};
pub use listening::Listening;

/// How long an answer to an older question can still come.
pub const LATE_MAX: Duration = Duration::from_secs(10);

/// How long a unit can be one answer behind its questions.
pub const BEHIND_MAX: Duration = Duration::from_secs(30);

/// The silence after which nothing more can follow an answer.
pub const CONFIRM_MAX: Duration = Duration::from_millis(200);

/// Unanswered questions that are remembered.
pub const UNANSWERED_MAX: usize = 64;

/// How much longer than ever before an answer of a unit can take: a frame of 256 bytes at 9600 baud where only short ones
/// were heard.
const LONGER_MAX: Duration = Duration::from_millis(300);

/// The longest pause inside a frame: serial servers cut frames into pieces.
const PIECES_APART_MAX: Duration = Duration::from_millis(50);

/// How far an overheard answer may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It can be the answer to nothing else.
    Sure,
    /// The same bytes answered another question of the same shape right before.
    Suspect,
}

/// What a unit answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The data bytes of a read.
    Data(Vec<u8>),
    /// A write was done.
    Written,
    /// An exception.
    Exception(u8),
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// An older question of its shape has no answer: it may be that one's.
    Late,
    /// The unit answered twice.
    Twice,
    /// It may be a question.
    Ambiguous,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub asked: Question,
    /// What was answered.
    pub content: Content,
    /// How far to trust it.
    pub trust: Trust,
    /// The whole frames.
    pub request: Vec<u8>,
    /// The answer's frame.
    pub answer: Vec<u8>,
    /// From the end of the request to the end of the answer.
    pub took: Duration,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A question and its answer.
    Exchange(Exchange),
    /// A question nobody answered, and the bytes that were no frame where its answer would have been. What comes later than
    /// the unit can answer is no answer: masters that switch their drivers on put a byte before a question.
    Unanswered(Question, usize),
    /// An answer that may belong to another question; its frame.
    Doubtful(Question, Vec<u8>, Doubt),
    /// An answer without a question.
    Orphan(Vec<u8>),
    /// Bytes that are no frame; how many.
    Noise(usize),
}

/// A question whose answer may still come.
#[derive(Debug)]
struct Owed {
    question: Question,
    /// When it was found to be unanswered.
    at: Duration,
    /// When the first question of the row was.
    since: Duration,
}

#[derive(Debug)]
struct Asking {
    question: Question,
    frame: Vec<u8>,
    at: Duration,
    /// Bytes since then that were no frame.
    noise: usize,
}

/// Splits what comes along a line into exchanges. Time is given as the time since any fixed moment.
#[derive(Debug, Default)]
pub struct Ear {
    buffer: Vec<u8>,
    last_at: Duration,
    asking: Option<Asking>,
    held: Option<(Exchange, Duration)>,
    /// The last exchange told, for the suspicion that the next one repeats it.
    told: Option<(Question, Vec<u8>)>,
    unanswered: VecDeque<Owed>,
    noise: usize,
    /// The units whose answers count their bytes in two bytes.
    two_byte_counts: BTreeSet<u8>,
    /// The longest time each unit took to answer.
    longest: BTreeMap<u8, Duration>,
}

impl Ear {
    /// An ear that knows which units count the bytes of their answers in two bytes ([`ByteCount::TwoBytes`]).
    pub fn with_two_byte_counts(units: impl IntoIterator<Item = u8>) -> Self {
        Self { two_byte_counts: units.into_iter().collect(), ..Self::default() }
    }

    fn byte_count(&self, unit: u8) -> ByteCount {
        if self.two_byte_counts.contains(&unit) { ByteCount::TwoBytes } else { ByteCount::OneByte }
    }

    /// Takes in bytes that came at `now`.
    pub fn hear(&mut self, now: Duration, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = self.quiet(now);
        for piece in bytes.chunks(FRAME_MAX) {
            self.buffer.extend_from_slice(piece);
            self.last_at = now;
            self.split(now, &mut heard);
        }
        heard
    }

    /// Nothing has come until `now`.
    pub fn quiet(&mut self, now: Duration) -> Vec<Heard> {
        let mut heard = Vec::new();
        if now.saturating_sub(self.last_at) > PIECES_APART_MAX && !self.buffer.is_empty() {
            self.split(now, &mut heard);
        }
        let is_settled = |at: Duration| now.saturating_sub(at) >= CONFIRM_MAX;
        if self.held.as_ref().is_some_and(|(_, at)| is_settled(*at)) {
            self.release(&mut heard);
        }
        if self.asking.as_ref().is_some_and(|asking| now.saturating_sub(asking.at) > LATE_MAX) {
            self.give_up(now, &mut heard);
        }
        heard
    }

    /// How many bytes wait for the rest of their frame.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    fn split(&mut self, now: Duration, heard: &mut Vec<Heard>) {
        let is_cut_off = now.saturating_sub(self.last_at) > PIECES_APART_MAX;
        let mut at = 0;
        while let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            let byte_count = self.byte_count(rest.first().copied().unwrap_or(0));
            let frame = Frame::at(rest, self.asking.as_ref(), byte_count);
            let used = match frame {
                Frame::None if !is_cut_off && may_become_one(rest, byte_count) => break,
                Frame::None => {
                    self.noise += 1;
                    1
                }
                Frame::Request(_, len) | Frame::Answer(len) | Frame::Ambiguous(len) | Frame::Orphan(_, len) => len,
            };
            let bytes = rest[..used].to_vec();
            at += used;
            if !matches!(frame, Frame::None) {
                self.note_noise(heard);
            }
            match frame {
                Frame::None => {}
                Frame::Request(question, _) => self.asked(now, question, bytes, heard),
                Frame::Answer(_) => self.answered(now, bytes, heard),
                Frame::Ambiguous(_) => {
                    if let Some(Asking { question, .. }) = self.asking.take() {
                        self.owe(Owed { question, at: now, since: now });
                        heard.push(Heard::Doubtful(question, bytes, Doubt::Ambiguous));
                    }
                }
                Frame::Orphan(unit, _) => self.orphan(unit, bytes, heard),
            }
        }
        self.buffer.drain(..at);
        if self.buffer.is_empty() {
            self.note_noise(heard);
        }
    }

    fn note_noise(&mut self, heard: &mut Vec<Heard>) {
        let noise = std::mem::take(&mut self.noise);
        if noise > 0 {
            if let Some(asking) = &mut self.asking {
                let longest = self.longest.get(&asking.question.unit);
                if longest.is_none_or(|longest| self.last_at.saturating_sub(asking.at) <= *longest + LONGER_MAX) {
                    asking.noise += noise;
                }
            }
            heard.push(Heard::Noise(noise));
        }
    }

    fn asked(&mut self, now: Duration, question: Question, frame: Vec<u8>, heard: &mut Vec<Heard>) {
        self.release(heard);
        self.give_up(now, heard);
        self.asking = Some(Asking { question, frame, at: now, noise: 0 });
    }

    fn answered(&mut self, now: Duration, frame: Vec<u8>, heard: &mut Vec<Heard>) {
        let Some(asking) = self.asking.take() else { return };
        let question = asking.question;
        while self.unanswered.front().is_some_and(|owed| now.saturating_sub(owed.at) > LATE_MAX) {
            self.unanswered.pop_front();
        }
        let is_alike = |owed: &&Owed| owed.question != question && looks_like(&owed.question, &question);
        if let Some(since) = self.unanswered.iter().filter(is_alike).map(|owed| owed.since).min() {
            if now.saturating_sub(since) <= BEHIND_MAX {
                self.owe(Owed { question, at: now, since });
            }
            heard.push(Heard::Doubtful(question, frame, Doubt::Late));
            return;
        }
        let content = match answer_as(self.byte_count(question.unit), &frame) {
            Some((_, _, Answer::Data(data), _)) => Content::Data(data.to_vec()),
            Some((_, _, Answer::Exception(code), _)) => Content::Exception(code),
            _ => Content::Written,
        };
        if !matches!(content, Content::Exception(_)) {
            // A unit answers in order: what it was asked before is past. An exception has no shape that would show it.
            self.unanswered.retain(|owed| owed.question.unit != question.unit || owed.question == question);
        }
        let repeats = self
            .told
            .as_ref()
            .is_some_and(|(other, bytes)| *other != question && looks_like(other, &question) && *bytes == frame);
        let took = now.saturating_sub(asking.at);
        let longest = self.longest.entry(question.unit).or_default();
        *longest = took.max(*longest);
        let exchange = Exchange {
            asked: question,
            trust: if repeats { Trust::Suspect } else { Trust::Sure },
            content,
            request: asking.frame,
            answer: frame,
            took,
        };
        self.held = Some((exchange, now));
    }

    /// An answer nobody asked for. If its unit has just answered, one of the two is another question's.
    fn orphan(&mut self, unit: u8, frame: Vec<u8>, heard: &mut Vec<Heard>) {
        match self.held.take_if(|(held, _)| held.asked.unit == unit) {
            Some((held, _)) => heard.push(Heard::Doubtful(held.asked, held.answer, Doubt::Twice)),
            None => heard.push(Heard::Orphan(frame)),
        }
    }

    /// Nothing spoke against the exchange that is held.
    fn release(&mut self, heard: &mut Vec<Heard>) {
        if let Some((exchange, _)) = self.held.take() {
            self.told = Some((exchange.asked, exchange.answer.clone()));
            heard.push(Heard::Exchange(exchange));
        }
    }

    /// The answer to a question may still come.
    fn owe(&mut self, owed: Owed) {
        self.unanswered.retain(|other| other.question != owed.question);
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(owed);
    }

    /// The question that is open stays without an answer.
    fn give_up(&mut self, now: Duration, heard: &mut Vec<Heard>) {
        if let Some(asking) = self.asking.take() {
            self.owe(Owed { question: asking.question, at: now, since: now });
            heard.push(Heard::Unanswered(asking.question, asking.noise));
        }
    }
}

/// What bytes begin with.
enum Frame {
    Request(Question, usize),
    /// The answer to the open question.
    Answer(usize),
    /// The answer to the open question, or another question.
    Ambiguous(usize),
    /// An answer of this unit to something else.
    Orphan(u8, usize),
    None,
}

impl Frame {
    fn at(bytes: &[u8], asking: Option<&Asking>, byte_count: ByteCount) -> Self {
        let answer = answer_as(byte_count, bytes);
        let request = request_at(bytes);
        if let (Some((unit, function, content, len)), Some(asking)) = (&answer, asking)
            && fits(&asking.question, *unit, *function, content)
        {
            let is_read = matches!(content, Answer::Data(_));
            let is_ambiguous = byte_count == ByteCount::TwoBytes && is_read && request.is_some();
            return if is_ambiguous { Frame::Ambiguous(*len) } else { Frame::Answer(*len) };
        }
        if let Some((question, len)) = request {
            return Frame::Request(question, len);
        }
        answer.map_or(Frame::None, |(unit, _, _, len)| Frame::Orphan(unit, len))
    }
}

/// Whether an answer has the shape of the answer to this question.
fn fits(question: &Question, unit: u8, function: u8, answer: &Answer<'_>) -> bool {
    let right = match answer {
        Answer::Data(data) => data_len(question) == Some(data.len()),
        Answer::Echo(address, _) => *address == question.address,
        Answer::Exception(_) => true,
    };
    right && (unit, function) == (question.unit, question.function)
}

/// Whether an answer to the one could be taken for an answer to the other.
fn looks_like(one: &Question, other: &Question) -> bool {
    (one.unit, one.function) == (other.unit, other.function) && data_len(one) == data_len(other)
}

/// The data bytes a read is answered with; `None` for a write.
fn data_len(question: &Question) -> Option<usize> {
    let count = usize::from(question.count);
    match question.function {
        1 | 2 => Some(count.div_ceil(8)),
        3 | 4 => Some(2 * count),
        _ => None,
    }
}

/// Whether more bytes could make a frame of these.
fn may_become_one(bytes: &[u8], byte_count: ByteCount) -> bool {
    let longest = match bytes {
        [] | [_] | [_, _] => return bytes.len() < FRAME_MIN,
        [_, 1..=4, 0] if byte_count == ByteCount::TwoBytes => return true,
        [_, 1..=4, 0, low, ..] if byte_count == ByteCount::TwoBytes => (6 + usize::from(*low)).max(8),
        [_, 1..=4, ..] if byte_count == ByteCount::TwoBytes => 8,
        [_, 1..=4, count, ..] => (5 + usize::from(*count)).max(8),
        [_, 5 | 6, ..] => 8,
        [_, 15 | 16, ..] => 9 + usize::from(bytes.get(6).copied().unwrap_or(u8::MAX)),
        [_, 22, ..] => 10,
        [_, function, ..] if function & 0x80 != 0 => FRAME_MIN,
        _ => return false,
    };
    bytes.len() < longest.min(FRAME_MAX)
}

#[cfg(test)]
mod tests;
