//! Receipts: a message from outside is acknowledged when everybody who decides has stored what follows from it.
//!
//! ```text
//!  broker's task ── report, receipt ──► hub ──► alarms: written, or nothing to write ──► stored()
//!        ▲  │                       ├──► accounts: posted, if the device dates its values itself ──► stored()
//!        │  │                       │    (otherwise they have the register in their queue by then)
//!        │  └──────────────────────────────────► the journal has the message itself ───► stored()
//!        └── number ◄────────────────────────── the last of them
//! ```
//!
//! A receipt that is dropped is not given back: the message stays unacknowledged, and the broker sends it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// One taker's part of an open message.
#[derive(Debug)]
pub struct Receipt(Arc<Open>);

#[derive(Debug)]
struct Open {
    number: u64,
    takers: AtomicUsize,
    done: mpsc::Sender<u64>,
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Receipt {
    /// A receipt of one taker. When all takers have given theirs back, `number` goes to `done`, which must have a place
    /// for every open number.
    pub fn new(number: u64, done: mpsc::Sender<u64>) -> Self {
        Self(Arc::new(Open { number, takers: AtomicUsize::new(1), done }))
    }

    /// The part of one more taker.
    pub fn one_more(&self) -> Self {
        self.0.takers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }

    /// This taker has stored what follows from the message.
    pub fn stored(self) {
        if self.0.takers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody listens any more while the program stops; the broker sends the message again.
            let _ = self.0.done.try_send(self.0.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_when_the_last_taker_has_it_and_never_when_one_lost_it() {
        let (done, mut numbers) = mpsc::channel(4);
        let receipt = Receipt::new(7, done.clone());
        let other = receipt.one_more();
        receipt.stored();
        assert!(numbers.try_recv().is_err());
        other.stored();
        assert_eq!(numbers.try_recv(), Ok(7));

        let lost = Receipt::new(8, done);
        drop(lost.one_more());
        lost.stored();
        assert!(numbers.try_recv().is_err(), "a taker that has gone has stored nothing");
    }
}
