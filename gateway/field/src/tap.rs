//! Where the bytes of a line can be watched.
//!
//! ```text
//!   Bus ──sent, received, skipped, discarded, settled──► Tap ──┬─► evidence                    (always, a copy a request)
//!                                                              ├─► doctor                      (always, counts)
//!                                                              ├─► listeners: capture, tools   (bounded, lossy, counted)
//!                                                              └─► nobody: one atomic load
//! ```
//!
//! * Every run of bytes is told in the order in which it was sent or came in, with the time on the monotonic clock since
//!   the tap was made and the time of day. A run is what one read of the operating system brought; nothing is put
//!   together, because when the pieces came is what a listener wants to know.
//! * A line that is only listened to tells what was overheard; its doctor hears it as a listener's.
//! * Every transaction ends with exactly one [`Seen::Settled`]. Frames that were thrown away on the way there are told
//!   before it.
//! * Nobody is waited for. A listener that does not keep up loses events; [`Listener::lost`] says how many, so that a
//!   trace with a gap says so.
//!
//! A power cut costs what nobody has written down. The tap keeps nothing but why the line is down.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use guanjia_core::profile::Table;
use guanjia_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::{self, Moment};
use crate::doctor::{Doctor, Finding, Illness, LineFacts, Sign};
use crate::evidence::{EvidenceFile, ScrapKind};
use crate::frame::Request;
use crate::link::{LinkError, Trouble};
use crate::passive::Heard;
use crate::stats::Discard;
use crate::trace::Role;

/// Listeners one line has at most: a capture or two, and somebody who looks.
pub const LISTENERS_MAX: usize = 4;

/// Events that wait for a listener at most, whatever it asks for.
pub const EVENTS_MAX: usize = 65_536;

/// What a transaction asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The unit (slave address) on the line.
    pub unit: u8,
    /// The function code.
    pub function: u8,
    /// The first address on the wire, zero based.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
}

impl Question {
    /// The table that is read; `None` for a write.
    pub fn table(&self) -> Option<Table> {
        [Table::Coil, Table::DiscreteInput, Table::Holding, Table::Input]
            .into_iter()
            .find(|table| table.read_function() == self.function)
    }

    pub(crate) fn new(unit: u8, request: &Request) -> Self {
        let (address, count) = request.extent();
        Self { unit, function: request.function(), address, count }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the answer.
    Answered,
    /// With an exception of this code.
    Exception(u8),
    /// With nothing.
    Timeout,
    /// With something that is not the answer.
    Discarded,
    /// The connection broke.
    LinkError,
}

/// Something that happened on a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The port was opened or the socket connected.
    Opened,
    /// It could not be opened, or broke; why, for people.
    Failed(Arc<str>),
    /// Bytes handed to the port or socket.
    Sent(Arc<[u8]>),
    /// Bytes that came while an answer was waited for.
    Received(Arc<[u8]>),
    /// Bytes that came while nobody was asked, and were thrown away.
    Skipped(Arc<[u8]>),
    /// A frame or part of one that was thrown away. Its bytes were told as received before.
    Discarded {
        /// What it was taken for.
        why: Discard,
        /// What was asked meanwhile.
        asked: Question,
        /// The bytes.
        frame: Arc<[u8]>,
    },
    /// A transaction ended.
    Settled {
        /// What was asked.
        asked: Question,
        /// What came of it.
        outcome: Outcome,
        /// From the first byte sent to the last byte of the answer or the end of the wait.
        took: Duration,
    },
}

/// One event of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Since the tap was made, on a clock nobody can set.
    pub since: Duration,
    /// The time of day.
    pub at: Timestamp,
    /// What happened.
    pub seen: Seen,
}

/// One transaction as the bus knows it at its end.
#[derive(Debug)]
pub(crate) struct Settled<'a> {
    pub asked: Question,
    pub outcome: Outcome,
    /// From the first byte sent to the last byte of the answer or the end of the wait.
    pub took: Duration,
    pub ended: Moment,
    /// The frame that was sent.
    pub sent: &'a [u8],
    /// The frame that was accepted as the answer; empty without one.
    pub answer: &'a [u8],
}

#[derive(Debug)]
struct Subscriber {
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

/// The tap of one line. It lives as long as the line's handle.
#[derive(Debug)]
pub struct Tap {
    origin: Instant,
    /// How many entries `subscribers` has: whoever has nothing to tell looks here first.
    listening: AtomicUsize,
    subscribers: Mutex<Vec<Subscriber>>,
    evidence: EvidenceFile,
    /// Why the port or socket is not open.
    trouble: Mutex<Option<Trouble>>,
    /// Whoever asks without polling (a tool on the command line) has none.
    doctor: OnceLock<Mutex<Doctor>>,
}

impl Tap {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            listening: AtomicUsize::new(0),
            subscribers: Mutex::new(Vec::new()),
            evidence: EvidenceFile::default(),
            trouble: Mutex::new(None),
            doctor: OnceLock::new(),
        }
    }

    /// From now on a doctor listens too. Only the first call counts.
    pub(crate) fn attend(&self, facts: LineFacts) {
        self.doctor.get_or_init(|| Mutex::new(Doctor::new(facts)));
    }

    /// Whether the line's doctor can find this; false without a doctor.
    pub fn can_find(&self, illness: Illness) -> bool {
        self.ask_doctor(|doctor| doctor.can_find(illness)).unwrap_or(false)
    }

    /// Whose questions the line's doctor hears; `None` without a doctor.
    pub fn role(&self) -> Option<Role> {
        self.ask_doctor(Doctor::role)
    }

    fn ask_doctor<T>(&self, ask: impl FnOnce(&Doctor) -> T) -> Option<T> {
        let doctor = self.doctor.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ask(&doctor))
    }

    /// What is wrong with the line, and for how long it has been known.
    pub fn findings(&self) -> Vec<(Finding, Duration)> {
        let Some(doctor) = self.doctor.get() else { return Vec::new() };
        let doctor = doctor.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.origin.elapsed();
        doctor.findings().map(|(finding, since)| (finding, now.saturating_sub(since))).collect()
    }

    /// How the line's last values came to be.
    pub fn evidence(&self) -> &EvidenceFile {
        &self.evidence
    }

    /// Starts to listen; `waiting_max` events (at most [`EVENTS_MAX`]) wait until they are taken. `None` while
    /// [`LISTENERS_MAX`] others listen.
    pub fn listen(&self, waiting_max: usize) -> Option<Listener> {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|s| !s.events.is_closed());
        let listener = (subscribers.len() < LISTENERS_MAX).then(|| {
            let (events, receiver) = mpsc::channel(waiting_max.clamp(1, EVENTS_MAX));
            let lost = Arc::new(AtomicU64::new(0));
            subscribers.push(Subscriber { events, lost: Arc::clone(&lost) });
            Listener { receiver, lost }
        });
        self.listening.store(subscribers.len(), Ordering::Relaxed);
        listener
    }

    pub(crate) fn opened(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.publish(|| Seen::Opened);
    }

    /// The port or socket could not be opened, or broke. Whether that is news: it was open before, or failed otherwise.
    pub(crate) fn failed(&self, why: &LinkError) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let found = why.trouble(clock::now());
        let known = trouble.as_ref().filter(|known| known.reason == found.reason).map(|known| known.since);
        *trouble = Some(Trouble { since: known.unwrap_or(found.since), ..found });
        drop(trouble);
        self.publish(|| Seen::Failed(why.to_string().into()));
        known.is_none()
    }

    /// Why the line is down; `None` while it is not, or was closed without an error.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn sent(&self, bytes: &[u8]) {
        self.publish(|| Seen::Sent(bytes.into()));
    }

    pub(crate) fn received(&self, bytes: &[u8]) {
        self.publish(|| Seen::Received(bytes.into()));
    }

    pub(crate) fn skipped(&self, bytes: &[u8]) {
        self.evidence.discarded(ScrapKind::Unasked, None, bytes, clock::now());
        self.tell_doctor(Instant::now(), Sign::Unasked(bytes));
        self.publish(|| Seen::Skipped(bytes.into()));
    }

    pub(crate) fn discarded(&self, why: Discard, asked: Question, frame: &[u8]) {
        self.evidence.discarded(ScrapKind::Discarded(why), Some(asked), frame, clock::now());
        self.tell_doctor(Instant::now(), Sign::Discarded { asked, why, frame });
        self.publish(|| Seen::Discarded { why, asked, frame: frame.into() });
    }

    pub(crate) fn settled(&self, settled: Settled<'_>) {
        self.evidence.settled(&settled);
        let Settled { asked, outcome, took, ended, .. } = settled;
        let bytes = (settled.sent.len() + settled.answer.len()) as u32;
        self.tell_doctor(ended.instant, Sign::Settled { asked, outcome, took, bytes });
        self.publish(|| Seen::Settled { asked, outcome, took });
    }

    /// Keeps what another master's question was answered with.
    pub(crate) fn overheard(&self, settled: &Settled<'_>) {
        self.evidence.settled(settled);
    }

    /// What was heard of another master's line.
    pub(crate) fn heard(&self, heard: &Heard) {
        if let Some(doctor) = self.doctor.get() {
            doctor.lock().unwrap_or_else(PoisonError::into_inner).overhear(self.origin.elapsed(), heard);
        }
    }

    /// An answer to another master that is not believed.
    pub(crate) fn mistrusted(&self, asked: Question, frame: &[u8]) {
        let why = Discard::Late;
        self.evidence.discarded(ScrapKind::Discarded(why), Some(asked), frame, clock::now());
        self.publish(|| Seen::Discarded { why, asked, frame: frame.into() });
    }

    fn tell_doctor(&self, now: Instant, sign: Sign<'_>) {
        if let Some(doctor) = self.doctor.get() {
            let since = now.saturating_duration_since(self.origin);
            doctor.lock().unwrap_or_else(PoisonError::into_inner).hear(since, sign);
        }
    }

    fn publish(&self, seen: impl FnOnce() -> Seen) {
        if self.listening.load(Ordering::Relaxed) == 0 {
            return;
        }
        let event = Event { since: self.origin.elapsed(), at: clock::now(), seen: seen() };
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| match subscriber.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                subscriber.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        self.listening.store(subscribers.len(), Ordering::Relaxed);
    }
}

/// What one listener hears. Dropping it ends the listening.
#[derive(Debug)]
pub struct Listener {
    receiver: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
}

impl Listener {
    /// The next event; `None` once the line is gone and everything was taken. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// An event that is already there.
    pub fn next_now(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }

    /// Events that were lost so far because nobody took the ones before.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_loses_events_and_knows_how_many() {
        let tap = Tap::new();
        let mut slow = tap.listen(2).unwrap();
        let mut quick = tap.listen(8).unwrap();
        for byte in 0..5 {
            tap.sent(&[byte]);
        }
        let bytes = |listener: &mut Listener| {
            let heard = std::iter::from_fn(|| listener.next_now());
            heard.map(|event| event.seen).collect::<Vec<_>>()
        };
        let sent = |byte: u8| Seen::Sent([byte].as_slice().into());
        assert_eq!(bytes(&mut slow), [sent(0), sent(1)]);
        assert_eq!(slow.lost(), 3);
        assert_eq!(bytes(&mut quick).len(), 5);
        assert_eq!(quick.lost(), 0);
    }

    #[test]
    fn only_so_many_listen_at_once_and_one_that_leaves_makes_room() {
        let tap = Tap::new();
        let mut listeners: Vec<Listener> = (0..LISTENERS_MAX).filter_map(|_| tap.listen(1)).collect();
        assert_eq!(listeners.len(), LISTENERS_MAX);
        assert!(tap.listen(1).is_none());
        listeners.pop();
        assert!(tap.listen(1).is_some());
        listeners.clear();
        tap.sent(&[1]);
        assert_eq!(tap.listening.load(Ordering::Relaxed), 0, "nobody listens any more");
    }
}
