//! The line doctor: from what goes wrong to what is wrong.
//!
//! A technician is not helped by "crc_errors = 412". The same counters, seen together and unit by unit, say which
//! terminal to open. The doctor is told every transaction and every byte nobody asked for; it asks no clock and no line.
//!
//! ```text
//!   Tap ──unasked, discarded, settled──► hear ──► tallies per unit (two halves of WINDOW)
//!                                          │ every LOOK
//!                                          ▼
//!                           examine ──► findings ──► metrics, API, console
//! ```
//!
//! * A finding needs [`ASKED_MIN`] transactions or [`EVENTS_MIN`] events, so that one bad night says nothing. It begins
//!   at one level and ends only when a much lower one is not reached for [`CALM_LOOKS`] looks.
//! * What explains much goes before what explains little: while nothing but noise is heard, no unit is called slow;
//!   while damage grows along the line, its units are not blamed one by one.
//! * A line of another master is attended too, by what can be heard of it ([`Doctor::overhear`]): nothing of it is ours to
//!   set, so there is no word about time-outs, and that somebody else asks is no illness there.
//! * A line that is well has no finding, whatever its units need to answer and whoever is switched off: silence alone is
//!   the device's health, not the line's.
//! * Bounded: 248 units, about 200 bytes each; [`TAIL_MAX`] bytes of what was heard last.
//!
//! A power cut costs the tallies; the findings come back after [`LOOK`] if their cause is still there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sniff::{FRAME_MIN, answer_at, request_at};
use crate::stats::Discard;
use crate::tap::{Outcome, Question};
use crate::trace::Role;

mod examine;
mod finding;
mod overhear;
mod tally;

pub use finding::{Finding, Illness};
use tally::{Halves, LineTally, Tally};

/// Findings are founded on between half of this and all of it.
pub const WINDOW: Duration = Duration::from_secs(600);

/// How often the tallies are looked at.
pub const LOOK: Duration = Duration::from_secs(30);

/// Transactions a share is not computed below.
pub const ASKED_MIN: u32 = 20;

/// Events of one kind below which nothing is concluded.
pub const EVENTS_MIN: u32 = 5;

/// Events that keep a finding which has begun.
pub const EVENTS_STAY: u32 = 2;

/// Looks in a row at which a finding must be out of sight before it ends.
pub const CALM_LOOKS: u8 = 3;

/// Bytes kept of what followed a transaction.
pub const TAIL_MAX: usize = 512;

/// Bytes after an answer that mean nothing: an RS-485 driver that lets go of the wire often makes one or two.
const GLITCH_MAX: usize = 2;

/// How a line is built, as far as the doctor must know.
#[derive(Clone, Debug)]
pub struct LineFacts {
    /// Whose questions are heard on it.
    pub role: Role,
    /// Whether it carries RTU frames, which are on a wire several devices share.
    pub wire: Wire,
    /// How long one character lasts; zero where no wire is known of.
    pub char_time: Duration,
    /// Its units in the order in which they are configured, which should be the order along the cable, and how long
    /// each may think.
    pub units: Vec<(u8, Duration)>,
}

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// RTU on a serial port.
    Serial,
    /// RTU behind a serial server.
    SerialServer,
    /// Modbus TCP.
    Network,
}

/// Something the doctor hears.
#[derive(Clone, Copy, Debug)]
pub enum Sign<'a> {
    /// Bytes that came while nobody was asked.
    Unasked(&'a [u8]),
    /// A frame that was thrown away while an answer was waited for; its transaction goes on or ends after this.
    Discarded {
        /// What was asked.
        asked: Question,
        /// What the frame was taken for.
        why: Discard,
        /// Its bytes.
        frame: &'a [u8],
    },
    /// A transaction ended.
    Settled {
        /// What was asked.
        asked: Question,
        /// What came of it.
        outcome: Outcome,
        /// From the first byte sent to the end.
        took: Duration,
        /// Bytes sent and received in it.
        bytes: u32,
    },
}

/// The transaction before, which decides what the bytes after it are.
#[derive(Debug)]
struct Last {
    asked: Question,
    outcome: Outcome,
    sent_at: Duration,
}

/// The doctor of one line. Time is given as the time since any fixed moment.
#[derive(Debug)]
pub struct Doctor {
    facts: LineFacts,
    /// Boxed: a map keeps room for eleven where most lines have one.
    units: BTreeMap<u8, Box<Patient>>,
    line: Halves<LineTally>,
    last: Option<Last>,
    /// A damaged frame and whatever came after it, or after the last transaction; not judged yet.
    tail: Vec<u8>,
    tail_at: Duration,
    /// What `tail` begins with.
    head: Head,
    /// Whether the transaction `tail` belongs to has ended.
    ended: bool,
    turned_at: Duration,
    looked_at: Duration,
    standing: Vec<Standing>,
}

/// What the bytes that wait to be judged begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Head {
    /// Bytes after an answer, or after none.
    #[default]
    After,
    /// A damaged frame in place of the answer.
    Damaged,
}

/// What is known about one unit.
#[derive(Debug, Default)]
struct Patient {
    tally: Halves<Tally>,
    patience: Duration,
    /// The slowly moving mean of its answer times.
    usual: Option<Duration>,
}

#[derive(Debug)]
struct Standing {
    finding: Finding,
    since: Duration,
    /// Looks since it was seen last.
    calm: u8,
}

impl Doctor {
    /// A doctor who has heard nothing of this line yet.
    pub fn new(facts: LineFacts) -> Self {
        let patient = |&(unit, patience): &(u8, Duration)| (unit, Box::new(Patient { patience, ..Patient::default() }));
        Self {
            units: facts.units.iter().map(patient).collect(),
            facts,
            line: Halves::default(),
            last: None,
            tail: Vec::new(),
            tail_at: Duration::ZERO,
            head: Head::After,
            ended: true,
            turned_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            standing: Vec::new(),
        }
    }

    /// Takes in one sign, at `now`.
    pub fn hear(&mut self, now: Duration, sign: Sign<'_>) {
        match sign {
            Sign::Unasked(bytes) => self.append(now, bytes),
            Sign::Discarded { asked, why, frame } => {
                self.judge_tail();
                match why {
                    Discard::Late => self.late(now, asked.unit),
                    Discard::Foreign => self.foreign(frame, asked),
                    Discard::Damaged => {
                        self.append(now, frame);
                        (self.head, self.ended) = (Head::Damaged, false);
                    }
                }
            }
            Sign::Settled { asked, outcome, took, bytes } => {
                if self.ended {
                    self.judge_tail();
                }
                self.settle(asked, outcome, took, bytes);
                self.ended = true;
                self.last = Some(Last { asked, outcome, sent_at: now.saturating_sub(took) });
            }
        }
        self.look(now);
    }

    /// What is wrong with the line, and since when.
    pub fn findings(&self) -> impl Iterator<Item = (Finding, Duration)> + '_ {
        self.standing.iter().map(|s| (s.finding, s.since))
    }

    /// Whose questions are heard on the line.
    pub fn role(&self) -> Role {
        self.facts.role
    }

    /// Whether this can be found on the line at all: Modbus TCP has no wire that two could share, and no check sum; of
    /// another master's line nothing is known that only its questioner knows.
    pub fn can_find(&self, illness: Illness) -> bool {
        use Illness::{AnotherMaster, Echo, Gaps, Refuses, RoundTripDrift, ServerBuffers, SlowUnit, TimeoutTooShort};
        match (self.facts.role, self.facts.wire) {
            (Role::Listener, _) => {
                !matches!(illness, AnotherMaster | Echo | ServerBuffers | SlowUnit | TimeoutTooShort)
            }
            (Role::Master, Wire::Network) => {
                matches!(illness, TimeoutTooShort | SlowUnit | RoundTripDrift | Refuses)
            }
            (Role::Master, Wire::Serial | Wire::SerialServer) => illness != Gaps,
        }
    }

    fn append(&mut self, now: Duration, bytes: &[u8]) {
        if self.tail.is_empty() {
            self.tail_at = now;
        }
        let room = TAIL_MAX - self.tail.len().min(TAIL_MAX);
        self.tail.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn settle(&mut self, asked: Question, outcome: Outcome, took: Duration, bytes: u32) {
        let on_the_wire = self.facts.char_time * bytes;
        let Some(patient) = self.units.get_mut(&asked.unit) else { return };
        let tally = &mut patient.tally.current;
        tally.asked += 1;
        match outcome {
            Outcome::Answered => {
                tally.answered += 1;
                tally.answer_took(took.saturating_sub(on_the_wire));
            }
            Outcome::Exception(_) => tally.refused += 1,
            Outcome::Timeout => tally.timeouts += 1,
            Outcome::Discarded | Outcome::LinkError => {}
        }
    }

    fn late(&mut self, now: Duration, unit: u8) {
        let sent_at = match &self.last {
            Some(last) if last.asked.unit == unit && last.outcome == Outcome::Timeout => last.sent_at,
            _ => return,
        };
        if let Some(patient) = self.units.get_mut(&unit) {
            patient.tally.current.late_by(now.saturating_sub(sent_at));
        }
    }

    /// A whole frame that does not belong to the question.
    fn foreign(&mut self, frame: &[u8], asked: Question) {
        let line = &mut self.line.current;
        match request_at(frame) {
            Some((request, _)) if request == asked => line.echoed += 1,
            Some(_) => line.foreign += 1,
            None if frame.first().is_some_and(|unit| !self.units.contains_key(unit)) => line.foreign += 1,
            None => {}
        }
    }

    /// What came after the last transaction, or instead of its answer, is whole now. Says what it was.
    fn judge_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let head = std::mem::take(&mut self.head);
        let (Some(last), false) = (&self.last, tail.is_empty()) else { return };
        let (asked, outcome, sent_at) = (last.asked, last.outcome, last.sent_at);
        let found = Pieces::of(&tail, asked);
        let line = &mut self.line.current;
        line.foreign += found.requests + found.strangers(&self.units);
        line.echoed += found.echoes;
        let Some(patient) = self.units.get_mut(&asked.unit) else { return };
        let tally = &mut patient.tally.current;
        let is_longer = tail.len() > expected_len(&asked) + GLITCH_MAX;
        match (head, outcome) {
            // Another conversation, or our own echo, that was cut into by our question is not damage.
            (Head::Damaged, _) if found.requests + found.echoes > 0 => {}
            // The rest of the answer came after the time-out.
            (Head::Damaged, _) if found.answers_of_asked > 0 && !is_longer => {
                tally.late_by(self.tail_at.saturating_sub(sent_at));
            }
            (Head::Damaged, _) => {
                tally.damaged += 1;
                // Two that answer at once make more characters than one answer has.
                tally.doubled += u32::from(is_longer && tail.first() == Some(&asked.unit));
                line.noise += u32::from(found.is_empty());
            }
            (Head::After, Outcome::Answered | Outcome::Exception(_)) if found.answers_of_asked > 0 => {
                tally.doubled += 1;
            }
            (Head::After, Outcome::Timeout) if found.answers_of_asked > 0 => {
                tally.late_by(self.tail_at.saturating_sub(sent_at));
            }
            (Head::After, _) => line.noise += u32::from(found.is_empty() && tail.len() > GLITCH_MAX),
        }
    }

    /// Turns the window and examines the line when it is time.
    fn look(&mut self, now: Duration) {
        if now.saturating_sub(self.looked_at) < LOOK {
            return;
        }
        self.looked_at = now;
        let found = self.examine();
        for standing in &mut self.standing {
            standing.calm = standing.calm.saturating_add(1);
        }
        for finding in found {
            let same = |s: &&mut Standing| s.finding.illness == finding.illness && s.finding.unit == finding.unit;
            match self.standing.iter_mut().find(same) {
                Some(standing) => (standing.finding, standing.calm) = (finding, 0),
                None => self.standing.push(Standing { finding, since: now, calm: 0 }),
            }
        }
        self.standing.retain(|s| s.calm < CALM_LOOKS);
        self.standing.sort_by_key(|s| (s.finding.illness, s.finding.unit));
        if now.saturating_sub(self.turned_at) >= WINDOW / 2 {
            self.turned_at = now;
            self.line.turn();
            for patient in self.units.values_mut() {
                patient.turn();
            }
        }
    }
}

/// The length of a good RTU answer to a read.
fn expected_len(asked: &Question) -> usize {
    let count = usize::from(asked.count);
    match asked.function {
        1 | 2 => 5 + count.div_ceil(8),
        3 | 4 => 5 + 2 * count,
        _ => 8,
    }
}

/// The frames that can be found in some bytes.
#[derive(Debug, Default)]
struct Pieces {
    requests: u32,
    echoes: u32,
    answers_of_asked: u32,
    other_units: Vec<u8>,
}

impl Pieces {
    fn of(bytes: &[u8], asked: Question) -> Self {
        let mut pieces = Self::default();
        let mut at = 0;
        while at + FRAME_MIN <= bytes.len() {
            let rest = &bytes[at..];
            at += match (request_at(rest), answer_at(rest)) {
                (Some((request, len)), _) if request == asked => {
                    pieces.echoes += 1;
                    len
                }
                (_, Some((unit, function, _, len))) if (unit, function) == (asked.unit, asked.function) => {
                    pieces.answers_of_asked += 1;
                    len
                }
                (Some((_, len)), _) => {
                    pieces.requests += 1;
                    len
                }
                (None, Some((unit, _, _, len))) => {
                    pieces.other_units.push(unit);
                    len
                }
                (None, None) => 1,
            };
        }
        pieces
    }

    fn strangers(&self, ours: &BTreeMap<u8, Box<Patient>>) -> u32 {
        self.other_units.iter().filter(|unit| !ours.contains_key(unit)).count() as u32
    }

    fn is_empty(&self) -> bool {
        self.requests + self.echoes + self.answers_of_asked == 0 && self.other_units.is_empty()
    }
}

#[cfg(test)]
mod tests;
