//! Waiting no longer than until a deadline, with one timer for all that a line ever waits for.
//!
//! Nearly every answer comes in time, so the timer of nearly every question would be made, put in order among those of
//! all other lines, and taken out again for nothing. This one stays where it is: one that comes too early for what is waited
//! for is put off when it comes, which is once in a long row of questions.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer, and whom it wakes; none before it is needed first.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<(Pin<Box<Sleep>>, Waker)>);

impl Deadline {
    /// What `future` gives if it is ready by `at`, also when it has been for long and nobody looked; `None` after it. May
    /// be cancelled.
    pub(super) async fn before<F: Future>(&mut self, at: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let new = || (Box::pin(sleep_until(at)), Waker::noop().clone());
            let (timer, whom) = self.0.get_or_insert_with(new);
            if timer.deadline() <= at && !timer.is_elapsed() && whom.will_wake(context.waker()) {
                return Poll::Pending;
            }
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            whom.clone_from(context.waker());
            timer.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_end_whether_it_is_later_or_sooner_than_the_one_before() {
        let mut deadline = Deadline::default();
        let begin = Instant::now();
        // The first three are met; what they left behind must neither end a later wait nor prolong a sooner one.
        for (at, ready) in [(100, Some(10)), (500, Some(200)), (300, Some(290)), (400, None), (450, None), (450, None)]
        {
            let future = async {
                match ready {
                    Some(ready) => tokio::time::sleep_until(begin + Duration::from_millis(ready)).await,
                    None => std::future::pending().await,
                }
            };
            let met = deadline.before(begin + Duration::from_millis(at), future).await;
            assert_eq!(met.is_some(), ready.is_some());
            assert_eq!(begin.elapsed(), Duration::from_millis(ready.unwrap_or(at)));
        }
        // What is ready is taken, also after the end.
        assert_eq!(deadline.before(begin, std::future::ready(7)).await, Some(7));
    }
}
