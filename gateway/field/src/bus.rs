//! One transaction at a time, and never the answer to another question.
//!
//! Modbus RTU has no transaction number: an answer that comes late looks like the one that is waited for. These are
//! the rules that keep it away from the wrong point.
//!
//! ```text
//!          ┌───────────── settle an ambiguity first: read something of another length ◄─┐
//!          ▼                                                                            │ another question of this
//!   closed ──open──► quiet ──send──► waiting ──answer──► quiet (t3.5 + device's silence) │ shape is unsettled
//!     ▲  ▲             │ throws away      │                                              │
//!     │  └─ refused    │ what still comes │ no answer, damaged, foreign, late            │
//!     └── back-off     └──────────────────┴──► poisoned: new socket, or the same serial port; then linger
//! ```
//!
//! * Every transaction ends by its own deadline, inside the task of its line. Nobody cancels it from outside.
//! * Before the first byte of a request everything that lies on the line is thrown away and counted.
//! * After a failure the socket is replaced (a serial port is not: it is the same wire) and an RTU line is listened to
//!   for `linger` before anything else is asked. A serial server may send the late answer into the new socket.
//! * The expected answer is read, and checked: unit, function, byte count, check sum, echo, and over TCP the transaction
//!   number and the header's length. What follows it is thrown away and counted.
//! * A silence lasts as long as it must and no longer ([`Precise`]): no shorter than t3.5 and what the device's profile
//!   asks for, at every speed.
//! * Nothing is broadcast: unit 0 is asked on Modbus TCP only, where it is an address like any other, and whatever is
//!   written is read back, which nobody would answer.
//! * [`Unsettled`] remembers, per unit, the questions whose answers may still be under way. A unit answers in order, so
//!   a question is only sent if none of those answers could be taken for its own; otherwise something else is asked
//!   first, and its answer proves that the old ones are past.
//! * Over Modbus TCP several questions can be under way at once ([`window`]); the rules for that are there.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use guanjia_core::profile::{ByteCount, UnitEcho};
use tokio::time::Instant;

use crate::clock::Moment;
use crate::frame::{
    FRAME_MAX, Form, Framing, MBAP_HEADER, Reply, Request, Verdict, encode_into, form_of, frame_len_as, judge_as,
};
use crate::link::{Dial, LinkError, Stream};
use crate::plan::Pace;
use crate::stats::{Discard, LineStats, nanos};
use crate::tap::{Outcome, Question, Settled, Tap};

mod deadline;
mod opening;
mod precise;
mod unsettled;
mod window;

use deadline::Deadline;
use opening::Severity;
use precise::Precise;
use unsettled::Unsettled;
use window::Flights;

/// Frames of other transactions that are passed over while waiting for one answer.
const SKIPPED_MAX: u32 = 8;

/// The longest pause between two pieces of a frame that is heard only to know what it was.
const PIECES_APART_MAX: Duration = Duration::from_millis(20);

/// What is asked, of whom, and how patient to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub unit: u8,
    pub request: &'a Request,
    /// Until the answer begins.
    pub response_max: Duration,
    /// Silence the device wants after its answer.
    pub silence_min: Duration,
    pub unit_echo: UnitEcho,
    pub byte_count: ByteCount,
}

/// The unit an answer must bear: the one that was asked, or on Modbus TCP none where the device is known for that. The
/// transaction number has the last word.
fn unit_of(framing: Framing, unit: u8, echo: UnitEcho, bytes: &[u8]) -> u8 {
    match (framing, echo, bytes.get(MBAP_HEADER - 1)) {
        (Framing::Mbap, UnitEcho::AskedOrNone, Some(none @ (0 | 255))) => *none,
        _ => unit,
    }
}

/// How many bytes to ask for while an answer is not whole: all of a good one at first, where its length is known. What
/// follows a shorter one is thrown away with it. Where transactions are numbered it is one byte more: a read that does
/// not fill its buffer tells the runtime that nothing is left, and spares the question.
fn wanted(framing: Framing, request: &Request, need: usize) -> usize {
    let spare = usize::from(framing.has_transactions());
    (need.max(request.frame_len_min(framing)) + spare).min(FRAME_MAX)
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Miss {
    /// Nothing was sent: the line cannot be opened. The error has been logged.
    Down,
    /// Nothing was sent: the line does not fall silent.
    Noise,
    /// Nobody answered in time.
    Timeout,
    /// Something came that is not the answer; it has been counted.
    Discarded,
    /// The connection broke after something was sent.
    Link(LinkError),
}

/// How the bytes of a line are timed and framed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub framing: Framing,
    /// Zero where no serial line is known of.
    pub char_time: Duration,
    pub t35: Duration,
    pub linger: Duration,
    /// How long its devices typically think, where the site file says so.
    pub turnaround: Option<Duration>,
    /// Questions that may be under way at once where several devices share the line; Modbus TCP only.
    pub in_flight_max: u8,
}

impl Timing {
    /// What a read costs on this line.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.framing, self.char_time, self.t35, self.turnaround)
    }
}

/// The port or socket of one line and what is known about it.
pub(crate) struct Bus {
    name: Arc<str>,
    dial: Dial,
    timing: Timing,
    stats: Arc<LineStats>,
    tap: Arc<Tap>,
    precise: Precise,
    deadline: Deadline,
    stream: Option<Stream>,
    /// What is received is put here, [`FRAME_MAX`] bytes.
    buffer: Vec<u8>,
    /// What is sent is made here.
    frame: Vec<u8>,
    /// Nothing is sent before.
    quiet_at: Instant,
    tid: u16,
    unsettled: Unsettled,
    flights: Flights,
    /// Link errors since the last answer.
    faults: u32,
    /// While this lies ahead the line is down.
    retry_at: Option<Instant>,
}

impl Bus {
    pub(crate) fn new(name: Arc<str>, dial: Dial, timing: Timing, stats: Arc<LineStats>) -> Self {
        let precise = match &dial {
            // A test's time may stand still.
            #[cfg(test)]
            Dial::Script(_) => Precise::runtime(),
            _ if timing.t35.is_zero() => Precise::runtime(),
            _ => Precise::kernel(),
        };
        Self {
            name,
            dial,
            timing,
            stats,
            tap: Arc::new(Tap::new()),
            precise,
            deadline: Deadline::default(),
            stream: None,
            buffer: Vec::new(),
            frame: Vec::new(),
            quiet_at: Instant::now(),
            tid: fastrand::u16(..),
            unsettled: Unsettled::default(),
            flights: Flights::default(),
            faults: 0,
            retry_at: None,
        }
    }

    /// Where the bytes of the line can be watched.
    pub(crate) fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// How long the line is listened to after a failure.
    pub(crate) fn linger(&self) -> Duration {
        if self.timing.framing.has_transactions() { Duration::ZERO } else { self.timing.linger }
    }

    /// Nothing is sent before this moment.
    pub(crate) fn hold_until(&mut self, moment: Instant) {
        self.quiet_at = self.quiet_at.max(moment);
    }

    /// When to try again, while the line is down.
    pub(crate) fn down_until(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether the answer to another question could be taken for the answer to this one.
    pub(crate) fn is_ambiguous(&mut self, unit: u8, request: &Request) -> bool {
        !self.timing.framing.has_transactions() && self.unsettled.is_ambiguous(unit, request, Instant::now())
    }

    /// The read among `bridges` that settles best which questions are past, so that `request` can be asked; `None` if
    /// only time can tell.
    pub(crate) fn bridge_to(&mut self, unit: u8, request: &Request, bridges: &[Request]) -> Option<Request> {
        let mut fits = |b: &&Request| !b.looks_like(request) && !self.unsettled.is_ambiguous(unit, b, Instant::now());
        let fitting: Vec<&Request> = bridges.iter().filter(|b| fits(b)).collect();
        let fresh = fitting.iter().find(|b| self.unsettled.is_fresh(unit, b));
        fresh.or(fitting.first()).map(|b| (*b).clone())
    }

    /// Sends the request and waits for its answer; when that ended. [`Bus::ready`] comes first, it ended at `started`, and
    /// nothing between the two may wait.
    pub(crate) async fn exchange(&mut self, ask: Ask<'_>, started: Instant) -> (Result<Reply, Miss>, Moment) {
        let Some(mut stream) = self.stream.take() else { return (Err(Miss::Link(LinkError::Closed)), Moment::now()) };
        self.tid = self.tid.wrapping_add(1);
        let has_transactions = self.timing.framing.has_transactions();
        if !has_transactions {
            self.unsettled.sent(ask.unit, ask.request, started);
        }
        let (mut frame, mut buffer) = (std::mem::take(&mut self.frame), std::mem::take(&mut self.buffer));
        encode_into(&mut frame, self.timing.framing, self.tid, ask.unit, ask.request);
        buffer.resize(FRAME_MAX, 0);
        let mut filled = 0;
        let answer = self.talk(&mut stream, ask, started, &frame, &mut buffer, &mut filled).await;
        let ended = Moment::now();
        let took = ended.instant - started;
        self.tap.settled(Settled {
            asked: Question::new(ask.unit, ask.request),
            outcome: outcome_of(&answer),
            took,
            ended,
            sent: &frame,
            answer: if answer.is_ok() { &buffer[..filled] } else { &[] },
        });
        (self.frame, self.buffer) = (frame, buffer);
        self.stats.durations.observe(took);
        self.stats.busy_nanos.add_alone(nanos(took));
        let silence = self.timing.t35.max(ask.silence_min);
        let answer = match answer {
            Ok(reply) => {
                if !has_transactions {
                    self.unsettled.answered(ask.unit, ask.request, &reply);
                }
                self.faults = 0;
                self.quiet_at = ended.instant + silence;
                self.stream = Some(stream);
                Ok(reply)
            }
            Err(miss) => {
                // Over a connection that is kept, the rest of a frame would come before the next one.
                let fresh = has_transactions && stream.is_replaceable();
                let linger = if fresh { Duration::ZERO } else { self.timing.linger };
                self.quiet_at = ended.instant + silence.max(linger);
                Err(self.poison(stream, miss))
            }
        };
        (answer, ended)
    }

    /// Nothing that was received on this stream after a failure may be believed.
    fn poison(&mut self, stream: Stream, miss: Miss) -> Miss {
        match miss {
            Miss::Link(error) => {
                self.fault(&error, Severity::Broke);
                Miss::Link(error)
            }
            miss => {
                if stream.is_replaceable() {
                    self.stats.connected.set(0);
                } else {
                    self.stream = Some(stream);
                }
                miss
            }
        }
    }

    /// Sends `frame` and waits for its answer, which then lies in `buffer[..filled]`.
    async fn talk(
        &mut self,
        stream: &mut Stream,
        ask: Ask<'_>,
        started: Instant,
        frame: &[u8],
        buffer: &mut [u8],
        filled: &mut usize,
    ) -> Result<Reply, Miss> {
        // Twice the time of the characters: serial servers and USB adapters pass an answer on in pieces.
        let characters = (frame.len() + 2 * self.timing.framing.reply_len(ask.request)) as u32;
        let deadline = started + ask.response_max + self.timing.char_time * characters;
        self.tap.sent(frame);
        // A request nearly always fits the socket at once, and then needs no timer.
        let written = {
            let mut write = pin!(stream.write_all(frame));
            match now_or_never(write.as_mut()).await {
                Some(written) => Some(written),
                None => self.deadline.before(deadline, write).await,
            }
        };
        match written {
            None => return Err(Miss::Timeout),
            Some(Err(error)) => return Err(Miss::Link(error)),
            Some(Ok(())) => {}
        }
        let (mut skipped, mut patience) = (0, deadline);
        loop {
            let unit = unit_of(self.timing.framing, ask.unit, ask.unit_echo, &buffer[..*filled]);
            let (framing, count) = (self.timing.framing, ask.byte_count);
            let total = match judge_as(count, framing, self.tid, unit, ask.request, &buffer[..*filled]) {
                Verdict::Reply(reply) => {
                    self.keep_only(frame_len_as(count, framing, ask.request, &reply), buffer, filled);
                    return Ok(reply);
                }
                Verdict::Need(need) => match self
                    .deadline
                    .before(patience, {
                        let end = wanted(framing, ask.request, need);
                        stream.read(&mut buffer[*filled..end])
                    })
                    .await
                {
                    None if *filled > 0 => return Err(self.discard(Discard::Damaged, ask, &buffer[..*filled])),
                    None if skipped > 0 => return Err(Miss::Discarded),
                    None => return Err(Miss::Timeout),
                    Some(Err(error)) => return Err(Miss::Link(error)),
                    Some(Ok(read)) => {
                        self.tap.received(&buffer[*filled..*filled + read]);
                        *filled += read;
                        patience = self.timing.framing.patience(Instant::now, deadline);
                        continue;
                    }
                },
                Verdict::Skip(total) => {
                    self.discard(Discard::Late, ask, &buffer[..total]);
                    total
                }
                Verdict::Reject(why) if self.timing.framing.has_transactions() => {
                    return Err(self.discard(why, ask, &buffer[..*filled]));
                }
                Verdict::Reject(_) => {
                    let (why, total) = self.identify(stream, buffer, filled, deadline, ask).await;
                    let miss = self.discard(why, ask, &buffer[..total.unwrap_or(*filled)]);
                    let Some(total) = total else { return Err(miss) };
                    total
                }
            };
            // A whole frame that is not the answer was taken off the line to the byte; the answer may follow.
            skipped += 1;
            if skipped > SKIPPED_MAX {
                return Err(Miss::Discarded);
            }
            buffer.copy_within(total..*filled, 0);
            *filled -= total;
        }
    }

    /// Throws away what came after an answer.
    fn keep_only(&self, total: usize, buffer: &[u8], filled: &mut usize) {
        let Some(rest) = buffer.get(total..*filled).filter(|rest| !rest.is_empty()) else { return };
        self.tap.skipped(rest);
        self.stats.stale_bytes.add(rest.len() as u64);
        *filled = total;
    }

    fn discard(&self, why: Discard, ask: Ask<'_>, frame: &[u8]) -> Miss {
        self.stats.discarded(why);
        self.tap.discarded(why, Question::new(ask.unit, ask.request), frame);
        Miss::Discarded
    }

    /// Hears the rest of a frame that is not the answer, and says what it was and, if it is whole, how long.
    async fn identify(
        &mut self,
        stream: &mut Stream,
        buffer: &mut [u8],
        filled: &mut usize,
        deadline: Instant,
        ask: Ask<'_>,
    ) -> (Discard, Option<usize>) {
        loop {
            match form_of(self.timing.framing, &buffer[..*filled]) {
                Form::Noise => return (Discard::Damaged, None),
                Form::Frame { unit, function, pdu, total } => {
                    let is_late = self.unsettled.awaits(unit, function, pdu, ask);
                    return (if is_late { Discard::Late } else { Discard::Foreign }, Some(total));
                }
                Form::Need(total) => {
                    let pause = Instant::now() + self.timing.t35.max(PIECES_APART_MAX);
                    match self.deadline.before(deadline.min(pause), stream.read(&mut buffer[*filled..total])).await {
                        Some(Ok(read)) => {
                            self.tap.received(&buffer[*filled..*filled + read]);
                            *filled += read;
                        }
                        _ => return (Discard::Damaged, None),
                    }
                }
            }
        }
    }
}

/// What a future gives if it is ready; if not, it can be waited for afterwards.
async fn now_or_never<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// How a transaction ended, for whoever watches.
fn outcome_of(answer: &Result<Reply, Miss>) -> Outcome {
    match answer {
        Ok(Reply::Exception(code)) => Outcome::Exception(*code),
        Ok(_) => Outcome::Answered,
        Err(Miss::Timeout) => Outcome::Timeout,
        Err(Miss::Discarded) => Outcome::Discarded,
        Err(Miss::Link(_) | Miss::Down | Miss::Noise) => Outcome::LinkError,
    }
}
