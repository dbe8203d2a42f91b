//! An open line that can only be heard.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout};

use super::{CONFIRM_MAX, Ear, Heard};
use crate::link::{Dial, Link, LinkError, Stream};
use crate::stats::LineStats;

/// The longest wait for bytes before what is held is looked at again.
const LOOK_AGAIN: Duration = CONFIRM_MAX;

/// A line that is listened to. There is no way to send through it.
pub struct Listening {
    stream: Stream,
    ear: Ear,
    origin: Instant,
}

impl Listening {
    /// Opens a line to listen to it, without any configuration of a site but which units count the bytes of their answers
    /// in two bytes.
    ///
    /// # Errors
    /// When the port or socket cannot be opened.
    pub async fn on(link: &Link, two_byte_counts: impl IntoIterator<Item = u8>) -> Result<Self, LinkError> {
        let stats = Arc::new(LineStats::default());
        let ear = Ear::with_two_byte_counts(two_byte_counts);
        Self::open(&mut Dial::Link(link.clone()), &stats, Instant::now(), ear).await
    }

    pub(crate) async fn open(
        dial: &mut Dial,
        stats: &Arc<LineStats>,
        origin: Instant,
        ear: Ear,
    ) -> Result<Self, LinkError> {
        Ok(Self { stream: dial.open(stats).await?, ear, origin })
    }

    /// Waits for what comes next, at most a fifth of a second. Gives the time since the start of the listening, the raw
    /// bytes, and what they were, which may be nothing yet. Safe to cancel.
    ///
    /// # Errors
    /// When the port or socket is gone. The line has to be opened anew.
    pub async fn next(&mut self) -> Result<(Duration, Vec<u8>, Vec<Heard>), LinkError> {
        let mut buffer = [0; 512];
        let read = match timeout(LOOK_AGAIN, self.stream.read(&mut buffer)).await {
            Ok(read) => read?,
            Err(_) => 0,
        };
        let now = self.origin.elapsed();
        let bytes = &buffer[..read];
        let heard = if bytes.is_empty() { self.ear.quiet(now) } else { self.ear.hear(now, bytes) };
        Ok((now, bytes.to_vec(), heard))
    }
}
