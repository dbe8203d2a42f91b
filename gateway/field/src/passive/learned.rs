//! What a listener learns: which units there are, what is asked of them, how often, and how quickly they answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Content, Heard};
use crate::tap::Question;

/// Questions that are told apart. A line of 247 units with a dozen questions each is far below.
pub const QUESTIONS_MAX: usize = 4_096;

/// What is known about one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often it was asked.
    pub asked: u64,
    /// How often it was answered with data or an echo.
    pub answered: u64,
    /// How often with an exception.
    pub refused: u64,
    /// How often an answer was not believed.
    pub doubtful: u64,
    /// The shortest and longest time to an answer.
    pub took: Option<(Duration, Duration)>,
    /// The mean time from one time it was asked to the next; `None` before the second.
    pub period: Option<Duration>,
    /// The data bytes of the newest answer.
    pub data: Vec<u8>,
    first_at: Duration,
}

/// Neighbouring addresses of one unit that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The function that reads them.
    pub function: u8,
    /// The first address.
    pub first: u16,
    /// The last address.
    pub last: u16,
}

/// Everything learned about a line.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    questions: BTreeMap<(u8, u8, u16, u16), Seen>,
    /// Bytes that were no frame.
    pub noise: u64,
    /// Answers without a question.
    pub orphans: u64,
    /// Questions that were not kept because there are too many.
    pub left_out: u64,
}

impl Learned {
    /// Takes in what was heard at `now`.
    pub fn note(&mut self, now: Duration, heard: &Heard) {
        match heard {
            Heard::Noise(bytes) => self.noise += *bytes as u64,
            Heard::Orphan(_) => self.orphans += 1,
            Heard::Unanswered(question, _) => {
                self.asked(now, question);
            }
            Heard::Doubtful(question, ..) => {
                if let Some(seen) = self.asked(now, question) {
                    seen.doubtful += 1;
                }
            }
            Heard::Exchange(exchange) => {
                let Some(seen) = self.asked(now, &exchange.asked) else { return };
                match &exchange.content {
                    Content::Exception(_) => seen.refused += 1,
                    Content::Written => seen.answered += 1,
                    Content::Data(data) => {
                        seen.answered += 1;
                        seen.data.clone_from(data);
                    }
                }
                let took = exchange.took;
                let (min, max) = seen.took.unwrap_or((took, took));
                seen.took = Some((min.min(took), max.max(took)));
            }
        }
    }

    fn asked(&mut self, now: Duration, question: &Question) -> Option<&mut Seen> {
        let key = (question.unit, question.function, question.address, question.count);
        if !self.questions.contains_key(&key) && self.questions.len() == QUESTIONS_MAX {
            self.left_out += 1;
            return None;
        }
        let seen = self.questions.entry(key).or_insert_with(|| Seen { first_at: now, ..Seen::default() });
        seen.asked += 1;
        if let Some(rounds) = u32::try_from(seen.asked - 1).ok().filter(|rounds| *rounds > 0) {
            seen.period = Some(now.saturating_sub(seen.first_at) / rounds);
        }
        Some(seen)
    }

    /// Every question with what is known about it, by unit, function and address.
    pub fn questions(&self) -> impl Iterator<Item = (Question, &Seen)> {
        self.questions
            .iter()
            .map(|(&(unit, function, address, count), seen)| (Question { unit, function, address, count }, seen))
    }

    /// The units that ever answered, in order.
    pub fn units(&self) -> Vec<u8> {
        let mut units: Vec<u8> =
            self.questions().filter(|(_, seen)| seen.answered + seen.refused > 0).map(|(q, _)| q.unit).collect();
        units.dedup();
        units
    }

    /// What is read of a unit, joined where it touches.
    pub fn ranges(&self, unit: u8) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (question, _) in self.questions().filter(|(q, s)| q.unit == unit && q.function <= 4 && s.answered > 0) {
            let last = question.address.saturating_add(question.count.saturating_sub(1));
            match ranges.last_mut() {
                Some(range)
                    if range.function == question.function && question.address <= range.last.saturating_add(1) =>
                {
                    range.last = range.last.max(last);
                }
                _ => ranges.push(Range { function: question.function, first: question.address, last }),
            }
        }
        ranges
    }
}
