//! How a bus comes by its stream, keeps it silent before a question, and rests after a failure.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Bus, Miss};
use crate::frame::FRAME_MAX;
use crate::link::{LinkError, Stream};
use crate::stats::nanos;

/// The longest the line is listened to until it falls silent, beyond the silence itself.
const NOISE_MAX: Duration = Duration::from_secs(1);

/// By how much the pause grows with each refused connection.
const BACKOFF_STEP: Duration = Duration::from_millis(200);

/// The longest such pause. A refusal costs nobody anything, and who comes back should be read within a second.
const BACKOFF_MAX: Duration = Duration::from_millis(800);

impl Bus {
    /// Opens the port or socket if it is not open, and waits until the line is silent. It is `now`; when it is ready.
    pub(crate) async fn ready(&mut self, now: Instant) -> Result<Instant, Miss> {
        let ready = self.open_and_quiet(now).await;
        let ended = ready.as_ref().map_or_else(|_| Instant::now(), |ended| *ended);
        if ended != now {
            self.stats.busy_nanos.add_alone(nanos(ended - now));
        }
        ready
    }

    async fn open_and_quiet(&mut self, mut now: Instant) -> Result<Instant, Miss> {
        if self.has_half_a_frame() {
            // The other half would be taken for the beginning of the answer.
            self.stream = None;
        }
        // A peer may close an idle connection at any time; that is noticed here and costs one more attempt.
        for _ in 0..2 {
            if self.stream.is_none() {
                self.stream = Some(self.open().await?);
                now = Instant::now();
            }
            match self.quiet(now).await {
                Ok(now) => return Ok(now),
                Err(Miss::Link(error)) => {
                    debug!(line = %self.name, %error, "idle connection was closed");
                    self.stats.connected.set(0);
                }
                Err(miss) => return Err(miss),
            }
        }
        self.fault(&LinkError::Closed, Severity::CannotOpen);
        Err(Miss::Down)
    }

    async fn open(&mut self) -> Result<Stream, Miss> {
        // Boxed: hundreds of lines would each keep room for a handshake that seldom happens.
        match Box::pin(self.dial.open(&self.stats)).await {
            Ok(mut stream) => {
                for asked in stream.take_asked() {
                    self.unsettled.sent(asked.unit, &asked.request, asked.at);
                }
                self.retry_at = None;
                self.stats.connects.add(1);
                self.stats.connected.set(1);
                self.tap.opened();
                Ok(stream)
            }
            Err(error) => {
                self.fault(&error, Severity::CannotOpen);
                Err(Miss::Down)
            }
        }
    }

    /// Throws away what lies on the line until it has been silent long enough. It is `now`; when that was. A stream that
    /// breaks is dropped.
    async fn quiet(&mut self, mut now: Instant) -> Result<Instant, Miss> {
        let Some(stream) = &mut self.stream else { return Err(Miss::Down) };
        let mut scrap = std::mem::take(&mut self.buffer);
        scrap.resize(FRAME_MAX, 0);
        stream.between_frames();
        let began = now.max(self.quiet_at);
        let mut stale_bytes = 0;
        let outcome = loop {
            let read = if now < self.quiet_at {
                tokio::select! {
                    biased;
                    read = stream.read(&mut scrap) => read.map(Some),
                    // The silence is over; look once more without waiting.
                    () = self.precise.until(self.quiet_at) => Ok(Some(0)),
                }
            } else if self.timing.framing.has_transactions() {
                stream.read_known(&mut scrap).await
            } else {
                stream.read_now(&mut scrap).await
            };
            match read {
                // Where transactions are numbered, nothing was waited for.
                Ok(None) if self.timing.framing.has_transactions() => break Ok(now),
                Ok(None) => break Ok(Instant::now()),
                Ok(Some(read)) => {
                    stale_bytes += read;
                    if read > 0 {
                        self.tap.skipped(&scrap[..read]);
                        self.quiet_at = self.quiet_at.max(Instant::now() + self.timing.t35);
                    }
                }
                Err(error) => break Err(Miss::Link(error)),
            }
            now = Instant::now();
            if now >= began + NOISE_MAX {
                break Err(Miss::Noise);
            }
        };
        self.buffer = scrap;
        if stale_bytes > 0 {
            warn!(line = %self.name, stale_bytes, "bytes nobody asked for discarded");
            self.stats.stale_bytes.add(stale_bytes as u64);
        }
        if matches!(outcome, Err(Miss::Link(_))) {
            self.stream = None;
        }
        outcome
    }

    /// Counts a link error and decides how long the line rests. The first break of a connection that worked costs no
    /// pause; a line that cannot be opened, or breaks again before it answered, is down.
    pub(super) fn fault(&mut self, error: &LinkError, severity: Severity) {
        self.faults = self.faults.saturating_add(1);
        let is_news = self.tap.failed(error);
        let pauses = match severity {
            Severity::CannotOpen => self.faults,
            Severity::Broke => self.faults - 1,
        };
        self.stats.connected.set(0);
        if pauses > 0 {
            // Whoever waited in vain for the other side has paused long enough.
            let pauses = if matches!(error, LinkError::OpenTimeout { .. }) { 1 } else { pauses };
            // The jitter keeps the lines of one serial server from knocking at the same moment.
            let pause = BACKOFF_STEP.saturating_mul(pauses).min(BACKOFF_MAX).mul_f64(0.9 + 0.2 * fastrand::f64());
            let was_down = self.retry_at.replace(Instant::now() + pause).is_some();
            let pause_ms = pause.as_millis() as u64;
            // A line that is down for a night is tried tens of thousands of times.
            if was_down && !is_news {
                debug!(line = %self.name, %error, pause_ms, "line is still down");
            } else {
                info!(line = %self.name, %error, pause_ms, "line is down");
            }
        }
    }
}

/// What a link error says about the line.
#[derive(Clone, Copy)]
pub(super) enum Severity {
    /// It could not be opened.
    CannotOpen,
    /// It was open and broke.
    Broke,
}
