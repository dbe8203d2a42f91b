//! The questions whose answers may still be under way.
//!
//! Over RTU an answer carries the unit, the function and its length, and nothing else to tell it from an older one. A
//! unit answers in the order in which it was asked, on one stream of bytes; it may leave answers out, and some serial
//! servers send one twice, because they repeat a request on their own. So per unit there is a window of questions: an
//! answer that comes now belongs to one of them.
//!
//! ```text
//!   asked      A   P   A   B          an answer to P was accepted:
//!   window    [A   P   A   B]   ──►      [P   A   B]     it may be the only P or a copy of it, but nothing before P
//! ```
//!
//! An accepted answer moves the window to the *oldest* question it can belong to, and no further: believing that it
//! belongs to the newest would forget a question in between whose answer still comes.
//!
//! A question is *ambiguous* while the window holds another one of the same shape. The same question again does not
//! count: an older answer to it is still about the same points. After a write even that is wrong, because the older
//! answer shows the state before the write; and an answer to a write never settles another write, because the echo
//! does not say which words were written.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Ask;
use crate::frame::{EXCEPTION_LEN, Reply, Request};

/// How much later than its request an answer can come at all. No known device or serial server holds one for longer.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Questions remembered per unit. One is added for each unanswered question only, and each of those takes its time.
const WINDOW_MAX: usize = 256;

#[derive(Debug)]
struct Question {
    request: Request,
    asked: Instant,
    /// Something was written to the unit since.
    outdated: bool,
}

impl Question {
    /// Whether an answer to this question would be a right answer to `request`. The echo of a file write says all that
    /// was written.
    fn is_as_good_as(&self, request: &Request) -> bool {
        let is_clear = !request.is_write() && !self.outdated || matches!(request, Request::WriteFile { .. });
        self.request == *request && is_clear
    }
}

/// The windows of all units of a line.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    windows: HashMap<u8, VecDeque<Question>>,
}

impl Unsettled {
    /// Whether a late answer to another question could be taken for the answer to this one.
    pub(crate) fn is_ambiguous(&mut self, unit: u8, request: &Request, now: Instant) -> bool {
        let Some(window) = self.windows.get_mut(&unit) else { return false };
        while window.front().is_some_and(|q| now.saturating_duration_since(q.asked) > LATE_MAX) {
            window.pop_front();
        }
        window.iter().any(|q| q.request.looks_like(request) && !q.is_as_good_as(request))
    }

    /// Whether an answer to this question would move the window past everything in it.
    pub(crate) fn is_fresh(&self, unit: u8, request: &Request) -> bool {
        let Some(window) = self.windows.get(&unit) else { return true };
        window.iter().all(|q| !q.request.looks_like(request))
    }

    pub(crate) fn sent(&mut self, unit: u8, request: &Request, now: Instant) {
        let window = self.windows.entry(unit).or_default();
        if request.is_write() {
            window.iter_mut().for_each(|q| q.outdated = true);
        }
        if let Some(last) = window.back_mut()
            && last.is_as_good_as(request)
        {
            last.asked = now;
            return;
        }
        if window.len() == WINDOW_MAX {
            window.pop_front();
        }
        window.push_back(Question { request: request.clone(), asked: now, outdated: false });
    }

    /// An answer to `request` was accepted.
    pub(crate) fn answered(&mut self, unit: u8, request: &Request, reply: &Reply) {
        let Some(window) = self.windows.get_mut(&unit) else { return };
        // An exception names no more than the function.
        let could_be_to = |q: &Question| match reply {
            Reply::Exception(_) => q.request.function() == request.function(),
            _ => q.request.looks_like(request),
        };
        if let Some(oldest) = window.iter().position(could_be_to) {
            window.drain(..oldest);
        }
    }

    /// Whether a frame with a PDU of this form could be an answer to a question other than the present one.
    pub(crate) fn awaits(&self, unit: u8, function: u8, length: usize, ask: Ask<'_>) -> bool {
        let of_form = |q: &Question| {
            let refused = function == q.request.function() | 0x80 && length == EXCEPTION_LEN;
            refused || function == q.request.function() && length == q.request.reply_len()
        };
        let is_present = |q: &Question| unit == ask.unit && q.request == *ask.request;
        self.windows.get(&unit).is_some_and(|window| window.iter().any(|q| !is_present(q) && of_form(q)))
    }
}

#[cfg(test)]
mod tests {
    use guanjia_core::profile::Table;

    use super::*;
    use crate::frame::Write;

    fn read(address: u16, count: u16) -> Request {
        Request::Read { table: Table::Holding, address, count }
    }

    fn write(word: u16) -> Request {
        Request::Write(Write::Registers { address: 9, words: vec![word] })
    }

    fn answered(unsettled: &mut Unsettled, request: &Request, now: Instant) {
        unsettled.sent(1, request, now);
        unsettled.answered(1, request, &Reply::Words(vec![]));
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
    async fn an_answer_that_may_be_an_old_one_settles_only_what_is_older_still() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.sent(1, &read(0, 1), now);
        unsettled.sent(1, &read(0, 2), now);
        // This may be the answer to the first question, and that to the second is still to come.
        answered(&mut unsettled, &read(0, 1), now);
        assert!(unsettled.is_ambiguous(1, &read(100, 2), now));
        assert!(!unsettled.is_fresh(1, &read(0, 1)) && unsettled.is_fresh(1, &read(0, 3)));
        answered(&mut unsettled, &read(0, 3), now);
        assert!(!unsettled.is_ambiguous(1, &read(100, 2), now));
    }

    #[tokio::test]
    async fn an_exception_settles_only_what_nobody_else_could_have_been_refused() {
        let (mut unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.sent(1, &read(0, 2), now);
        unsettled.sent(1, &read(0, 3), now);
        unsettled.answered(1, &read(0, 3), &Reply::Exception(2));
        assert!(unsettled.is_ambiguous(1, &read(100, 2), now));
        let other = Request::Read { table: Table::Input, address: 0, count: 1 };
        unsettled.sent(1, &other, now);
        unsettled.answered(1, &other, &Reply::Exception(1));
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
