//! Several questions under way at once, over Modbus TCP.
//!
//! The transaction number tells which answer belongs to which question, in whatever order they come. So the stream is
//! cut into frames by their headers, and nothing on it is thrown away unread:
//!
//! ```text
//!   launch ──► under way ──► its number and unit, and it fits ──────────► answered
//!                  │          its number, and it does not fit ──────────► discarded (counted), the others go on
//!                  │          its deadline ─────────────────────────────► timed out, the others go on
//!                  └          the header lies, or the connection breaks ► all that is under way is lost, new connection
//!   a frame with another number is late, a copy, or foreign: counted and thrown away
//! ```
//!
//! A gateway with a serial line behind it answers one after the other. So each answer gives those that still wait their
//! whole patience again, as often as there were questions under way when they were asked. When nothing at all was heard
//! for a few time-outs, a new connection is made: a server that lost the old one answers on no other.

use std::collections::VecDeque;
use std::time::Duration;

use guanjia_core::profile::UnitEcho;
use tokio::time::Instant;

use super::{Ask, Bus, Miss, Severity, outcome_of, unit_of};
use crate::clock::Moment;
use crate::frame::{Framing, MBAP_HEADER, Reply, Request, Verdict, encode, judge, mbap_len};
use crate::link::LinkError;
use crate::stats::{Discard, nanos};
use crate::tap::{Question, Settled};

/// Time-outs in a row, without a byte in between, after which the connection is not believed in any more.
const UNHEARD_MAX: u32 = 3;

/// What is under way on a bus, and what was received and not yet cut into frames.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Vec<Flight>,
    received: Vec<u8>,
    /// Lost together, and not yet told of.
    lost: VecDeque<Landed>,
    unheard: u32,
    busy_since: Option<Instant>,
}

#[derive(Debug)]
struct Flight {
    tid: u16,
    unit: u8,
    request: Request,
    unit_echo: UnitEcho,
    frame: Vec<u8>,
    started: Instant,
    response_max: Duration,
    deadline: Instant,
    /// The deadline is never moved beyond this.
    latest: Instant,
}

/// A question that is under way no more.
#[derive(Debug)]
pub(crate) struct Landed {
    pub tid: u16,
    pub answer: Result<Reply, Miss>,
    pub ended: Moment,
}

/// What lies at the beginning of the received bytes.
enum Cut {
    /// Less than a frame.
    Nothing,
    /// A frame of this length with the answer to the question at this position.
    Answer(usize, usize, Result<Reply, Discard>),
    /// A frame of this length that nobody waits for.
    Other(usize),
    /// Nobody knows any more where a frame begins.
    Lost,
}

impl Bus {
    /// Sends a question, at `started`, and returns its transaction number; [`Bus::land`] brings the answer.
    ///
    /// # Errors
    /// Nothing is under way then.
    pub(crate) async fn launch(&mut self, ask: Ask<'_>, mut started: Instant) -> Result<u16, Miss> {
        if self.flights.under_way.is_empty() {
            started = self.look(started).await?;
        }
        let Some(stream) = &mut self.stream else { return Err(Miss::Down) };
        self.tid = self.tid.wrapping_add(1);
        let frame = encode(Framing::Mbap, self.tid, ask.unit, ask.request);
        let deadline = started + ask.response_max;
        self.tap.sent(&frame);
        match self.deadline.before(deadline, stream.write_all(&frame)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.lose_all(Some(error));
                return Err(Miss::Down);
            }
            None => {
                self.lose_all(None);
                return Err(Miss::Down);
            }
        }
        let ahead = self.flights.under_way.len() as u32;
        self.flights.busy_since.get_or_insert(started);
        self.flights.under_way.push(Flight {
            tid: self.tid,
            unit: ask.unit,
            request: ask.request.clone(),
            unit_echo: ask.unit_echo,
            frame,
            started,
            response_max: ask.response_max,
            deadline,
            latest: deadline + ask.response_max * ahead,
        });
        Ok(self.tid)
    }

    /// Waits for the end of a question, but no longer than `until`. May be cancelled.
    pub(crate) async fn land(&mut self, until: Instant) -> Option<Landed> {
        loop {
            if let Some(landed) = self.flights.lost.pop_front() {
                return Some(landed);
            }
            match self.cut() {
                Cut::Answer(total, at, answer) => {
                    let frame: Vec<u8> = self.flights.received.drain(..total).collect();
                    let flight = self.flights.under_way.swap_remove(at);
                    let answer = answer.map_err(|why| {
                        self.stats.discarded(why);
                        self.tap.discarded(why, Question::new(flight.unit, &flight.request), &frame);
                        Miss::Discarded
                    });
                    return Some(self.landed(flight, answer, &frame));
                }
                Cut::Other(total) => {
                    self.throw_away(total);
                    continue;
                }
                Cut::Lost => {
                    let all = self.flights.received.len();
                    self.stats.discarded(Discard::Damaged);
                    self.tap.skipped(&self.flights.received);
                    self.flights.received.drain(..all);
                    self.lose_all(None);
                    continue;
                }
                Cut::Nothing => {}
            }
            let first = self.flights.under_way.iter().map(|f| f.deadline).min()?;
            let Some(stream) = &mut self.stream else {
                self.lose_all(None);
                continue;
            };
            let mut piece = [0; 1024];
            match self.deadline.before(first.min(until), stream.read(&mut piece)).await {
                Some(Ok(read)) => self.take_in(&piece[..read]),
                Some(Err(error)) => self.lose_all(Some(error)),
                None if Instant::now() < first => return None,
                None => return self.time_out(),
            }
        }
    }

    /// Opens the connection if there is none, or if the peer has closed it, and passes over what came meanwhile.
    async fn look(&mut self, now: Instant) -> Result<Instant, Miss> {
        if let Some(stream) = &mut self.stream {
            let mut piece = [0; 1024];
            match stream.read_known(&mut piece).await {
                Ok(None) => return Ok(now),
                Ok(Some(read)) => {
                    self.take_in(&piece[..read]);
                    while let Cut::Other(total) = self.cut() {
                        self.throw_away(total);
                    }
                    if !matches!(self.cut(), Cut::Lost) {
                        return Ok(now);
                    }
                    self.stats.stale_bytes.add(self.flights.received.len() as u64);
                    self.tap.skipped(&self.flights.received);
                }
                Err(_) => {}
            }
            self.stream = None;
            self.stats.connected.set(0);
        }
        self.flights.received.clear();
        self.flights.unheard = 0;
        self.ready(now).await
    }

    /// Whether a part of a late frame was received. It is forgotten by this.
    pub(super) fn has_half_a_frame(&mut self) -> bool {
        !std::mem::take(&mut self.flights.received).is_empty()
    }

    fn cut(&self) -> Cut {
        let received = &self.flights.received;
        let [t0, t1, ..] = received.as_slice() else { return Cut::Nothing };
        if received.len() < MBAP_HEADER {
            return Cut::Nothing;
        }
        let Some(total) = mbap_len(received) else { return Cut::Lost };
        let Some(frame) = received.get(..total) else { return Cut::Nothing };
        let tid = u16::from_be_bytes([*t0, *t1]);
        let Some(at) = self.flights.under_way.iter().position(|f| f.tid == tid) else { return Cut::Other(total) };
        let flight = &self.flights.under_way[at];
        let unit = unit_of(Framing::Mbap, flight.unit, flight.unit_echo, frame);
        let answer = match judge(Framing::Mbap, tid, unit, &flight.request, frame) {
            Verdict::Reply(reply) => Ok(reply),
            Verdict::Reject(why) => Err(why),
            Verdict::Need(_) | Verdict::Skip(_) => Err(Discard::Damaged),
        };
        Cut::Answer(total, at, answer)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.tap.received(bytes);
        self.flights.received.extend_from_slice(bytes);
        self.flights.unheard = 0;
        let now = Instant::now();
        for flight in &mut self.flights.under_way {
            flight.deadline = flight.deadline.max((now + flight.response_max).min(flight.latest));
        }
    }

    /// A frame that belongs to no question under way.
    fn throw_away(&mut self, total: usize) {
        self.stats.discarded(Discard::Late);
        self.tap.skipped(&self.flights.received[..total]);
        self.flights.received.drain(..total);
    }

    fn time_out(&mut self) -> Option<Landed> {
        let flights = self.flights.under_way.iter().enumerate();
        let at = flights.min_by_key(|(_, f)| f.deadline).map(|(at, _)| at)?;
        let flight = self.flights.under_way.swap_remove(at);
        self.flights.unheard = self.flights.unheard.saturating_add(1);
        if self.flights.under_way.is_empty() && self.flights.unheard >= UNHEARD_MAX {
            self.stream = None;
            self.stats.connected.set(0);
        }
        Some(self.landed(flight, Err(Miss::Timeout), &[]))
    }

    /// Everything that is under way is lost with the connection.
    fn lose_all(&mut self, error: Option<LinkError>) {
        self.stream = None;
        self.stats.connected.set(0);
        if let Some(error) = error {
            self.fault(&error, Severity::Broke);
        }
        self.flights.received.clear();
        for flight in std::mem::take(&mut self.flights.under_way) {
            let landed = self.landed(flight, Err(Miss::Link(LinkError::Closed)), &[]);
            self.flights.lost.push_back(landed);
        }
    }

    fn landed(&mut self, flight: Flight, answer: Result<Reply, Miss>, frame: &[u8]) -> Landed {
        let ended = Moment::now();
        let took = ended.instant - flight.started;
        self.tap.settled(Settled {
            asked: Question::new(flight.unit, &flight.request),
            outcome: outcome_of(&answer),
            took,
            ended,
            sent: &flight.frame,
            answer: if answer.is_ok() { frame } else { &[] },
        });
        self.stats.durations.observe(took);
        if self.flights.under_way.is_empty()
            && let Some(since) = self.flights.busy_since.take()
        {
            self.stats.busy_nanos.add_alone(nanos(ended.instant - since));
        }
        if answer.is_ok() {
            self.faults = 0;
        }
        Landed { tid: flight.tid, answer, ended }
    }
}
