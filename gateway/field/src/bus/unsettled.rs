//! The questions whose answers may still be under way.
//!
//! Over RTU an answer carries the unit, the function and its length, and nothing else to tell it from an older one. A
//! unit answers in the order in which it was asked, on one stream of bytes. So the answer to question N proves that
//! no answer to an earlier question of that unit comes any more, except copies of the answer to N itself, which some
//! serial servers send when they repeat a request on their own.
//!
//! A question is therefore *ambiguous* while an unsettled one of the same unit has the same shape but asks for
//! something else. The same question again is not: an older answer to it is still about the same points. After a write
//! even that is wrong, because the older answer shows the state before the write; and an answer to a write never
//! settles another write, because the echo does not say which words were written.

use std::time::Duration;

use tokio::time::Instant;

use super::Ask;
use crate::frame::{Reply, Request};

/// How much later than its request an answer can come at all. No known device or serial server holds one for longer.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Questions remembered on one line. A unit is asked a handful of different things within [`LATE_MAX`].
const ENTRIES_MAX: usize = 256;

/// Bytes of an RTU exception.
const EXCEPTION_LEN: usize = 5;

#[derive(Debug)]
struct Entry {
    unit: u8,
    request: Request,
    asked: Instant,
    /// Something was written to the unit since.
    outdated: bool,
}

impl Entry {
    /// Whether an answer to this question would be a right answer to `request`.
    fn is_as_good_as(&self, request: &Request) -> bool {
        self.request == *request && !request.is_write() && !self.outdated
    }
}

#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    entries: Vec<Entry>,
}

impl Unsettled {
    /// Whether a late answer to another question could be taken for the answer to this one.
    pub(crate) fn is_ambiguous(&mut self, unit: u8, request: &Request, now: Instant) -> bool {
        self.entries.retain(|e| now.saturating_duration_since(e.asked) <= LATE_MAX);
        self.entries.iter().any(|e| e.unit == unit && e.request.looks_like(request) && !e.is_as_good_as(request))
    }

    pub(crate) fn sent(&mut self, unit: u8, request: &Request, now: Instant) {
        if request.is_write() {
            self.entries.iter_mut().filter(|e| e.unit == unit).for_each(|e| e.outdated = true);
        }
        self.remember(unit, request, now);
    }

    pub(crate) fn answered(&mut self, unit: u8, request: &Request, reply: &Reply, now: Instant) {
        let exception = matches!(reply, Reply::Exception(_));
        // An exception names no more than the function. If another question could have been refused so, this proves
        // nothing about the order.
        let other = |e: &Entry| e.request != *request || e.outdated;
        let same_function = |e: &Entry| e.unit == unit && e.request.function() == request.function();
        let proves_order = !exception || !self.entries.iter().any(|e| same_function(e) && other(e));
        if proves_order {
            self.entries.retain(|e| e.unit != unit);
            self.remember(unit, request, now);
        }
    }

    /// Whether a frame of this form could be an answer to a question other than the present one.
    pub(crate) fn awaits(&self, unit: u8, function: u8, length: usize, ask: Ask<'_>) -> bool {
        let of_form = |e: &Entry| {
            let refused = function == e.request.function() | 0x80 && length == EXCEPTION_LEN;
            refused || function == e.request.function() && length == e.request.rtu_reply_len()
        };
        let present = |e: &Entry| e.unit == ask.unit && e.request == *ask.request;
        self.entries.iter().any(|e| e.unit == unit && !present(e) && of_form(e))
    }

    fn remember(&mut self, unit: u8, request: &Request, now: Instant) {
        let same = |e: &&mut Entry| e.unit == unit && e.request == *request && !e.outdated;
        match self.entries.iter_mut().find(same) {
            Some(entry) => entry.asked = now,
            None => {
                if self.entries.len() == ENTRIES_MAX {
                    self.entries.remove(0);
                }
                self.entries.push(Entry { unit, request: request.clone(), asked: now, outdated: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use guanjia_core::profile::Table;

    use super::*;

    fn read(address: u16, count: u16) -> Request {
        Request::Read { table: Table::Holding, address, count }
    }

    fn write(word: u16) -> Request {
        Request::Write { address: 9, words: vec![word] }
    }

    fn answered(unsettled: &mut Unsettled, request: &Request, now: Instant) {
        unsettled.sent(1, request, now);
        unsettled.answered(1, request, &Reply::Words(vec![]), now);
    }

    #[tokio::test]
    async fn a_lost_question_blocks_its_shape_until_another_shape_was_answered() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.sent(1, &read(0, 2), now);
        assert!(unsettled.is_ambiguous(1, &read(100, 2), now));
        assert!(!unsettled.is_ambiguous(1, &read(0, 2), now), "the same question may be repeated");
        assert!(!unsettled.is_ambiguous(2, &read(100, 2), now), "another unit cannot be confused");
        answered(&mut unsettled, &read(0, 3), now);
        assert!(!unsettled.is_ambiguous(1, &read(100, 2), now));
        assert!(unsettled.is_ambiguous(1, &read(100, 3), now), "a copy of the last answer may still come");
    }

    #[tokio::test]
    async fn an_exception_settles_only_what_nobody_else_could_have_been_refused() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.sent(1, &read(0, 2), now);
        unsettled.sent(1, &read(0, 3), now);
        unsettled.answered(1, &read(0, 3), &Reply::Exception(2), now);
        assert!(unsettled.is_ambiguous(1, &read(100, 2), now));
        let other = Request::Read { table: Table::Input, address: 0, count: 1 };
        unsettled.sent(1, &other, now);
        unsettled.answered(1, &other, &Reply::Exception(1), now);
        assert!(!unsettled.is_ambiguous(1, &read(100, 2), now));
    }

    #[tokio::test]
    async fn a_write_makes_older_answers_to_the_same_question_wrong() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        answered(&mut unsettled, &read(0, 2), now);
        unsettled.sent(1, &write(1), now);
        assert!(unsettled.is_ambiguous(1, &read(0, 2), now));
        assert!(unsettled.is_ambiguous(1, &write(0), now));
        assert!(unsettled.is_ambiguous(1, &write(1), now), "an echo does not say which words were written");
    }

    #[tokio::test]
    async fn nothing_is_awaited_for_ever() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.sent(1, &read(0, 2), now);
        assert!(!unsettled.is_ambiguous(1, &read(100, 2), now + LATE_MAX + Duration::from_millis(1)));
    }
}
