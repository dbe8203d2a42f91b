//! Relay commands: checked before the first byte, sent once, believed only when the proof point says so.
//!
//! ```text
//!   waiting ──► valid? current? ──► written ──► echo or not ──► proof read ... ──► Verified | NotMoved | Unknown
//!      │              │                 └──► exception ──► Refused
//!      │              └──► Expired | Superseded            (nothing was sent)
//!      └──► NoRelay                                        (nothing was sent)
//! ```
//!
//! A command is never sent twice, not even when its echo is lost: the proof point tells what happened. Polls go on
//! between the proof reads, so that a slow valve does not blind the line to a fire.
//!
//! What may be written is [`guanjia_core::profile::Relay`], which cannot exist for a fire panel or a lift.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guanjia_core::profile::RelayAction;
use guanjia_core::reading::{DeviceIx, Reading, Value};
use guanjia_core::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::poll::{Answer, Gate, value};
use super::{Line, State};
use crate::clock;
use crate::frame::{Request, WORDS_WRITTEN_MAX, Write};
use crate::plan::{ReadRequest, read_alone};

/// How long a contact or valve may take until its proof point shows it.
pub const PROOF_MAX: Duration = Duration::from_secs(3);

/// The pause between two proof reads.
const PROOF_PAUSE: Duration = Duration::from_millis(200);

/// How often, and after which pause, sending is tried while a device does not answer the read before it.
const UNSENT_MAX: u32 = 3;
const UNSENT_PAUSE: Duration = Duration::from_millis(500);

/// The device has accepted the command and needs time for it.
const ACKNOWLEDGE: u8 = 0x05;

/// What a relay is to do, and until when that is still wanted.
#[derive(Clone, Debug)]
pub struct RelayCommand {
    /// Which device.
    pub device: DeviceIx,
    /// Open or close.
    pub action: RelayAction,
    /// After this nothing is sent any more.
    pub valid_until: Timestamp,
    /// The version of the decision this command carries out.
    pub version: u64,
    /// The version of the newest decision for this device. If it is another one, nothing is sent.
    pub current_version: Arc<AtomicU64>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayOutcome {
    /// The proof point shows the wanted position.
    Verified {
        /// When it was read.
        at: Timestamp,
    },
    /// The command was sent and the proof point still shows the other position after [`PROOF_MAX`].
    NotMoved,
    /// The device refused with this exception; it did not move.
    Refused(u8),
    /// The command may have been sent, and the proof point could not be read. The text says why.
    Unknown(String),
    /// It was too late; nothing was sent.
    Expired,
    /// A newer decision exists; nothing was sent.
    Superseded,
    /// The device has no relay, or no readable proof point; nothing was sent.
    NoRelay,
}

/// A command and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    command: RelayCommand,
    answer: oneshot::Sender<RelayOutcome>,
    /// How often it could not be sent although the line was up.
    unsent: u32,
    not_before: Instant,
}

impl Waiting {
    pub(super) fn new(command: RelayCommand, answer: oneshot::Sender<RelayOutcome>) -> Self {
        Self { command, answer, unsent: 0, not_before: Instant::now() }
    }

    /// Ends the command without having sent it.
    pub(super) fn answer(self, outcome: RelayOutcome) {
        // Whoever gave up waiting needs no answer.
        let _ = self.answer.send(outcome);
    }
}

/// A command that was sent.
#[derive(Debug)]
pub(super) struct Proving {
    device: usize,
    /// What the proof point must read.
    wanted: Wanted,
    proof: Proof,
    pub(super) next_try: Instant,
    give_up: Instant,
    /// Whether the proof point was read since, and showed the other position.
    seen: Seen,
    answer: oneshot::Sender<RelayOutcome>,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The proof point equals this.
    Equal(i64),
    /// It equals anything else.
    Other(i64),
}

impl Wanted {
    fn is_met(self, read: i64) -> bool {
        match self {
            Wanted::Equal(code) => read == code,
            Wanted::Other(code) => read != code,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    OtherPosition,
}

/// The proof point and the read that brings it alone.
#[derive(Clone, Debug)]
struct Proof {
    point: usize,
    read: ReadRequest,
}

/// A command made ready to be sent.
struct Prepared {
    device: usize,
    write: Request,
    wanted: Wanted,
    proof: Proof,
}

impl RelayCommand {
    /// `None` if it may be sent now.
    fn objection(&self) -> Option<RelayOutcome> {
        if self.current_version.load(Ordering::Acquire) != self.version {
            Some(RelayOutcome::Superseded)
        } else if clock::now() > self.valid_until {
            Some(RelayOutcome::Expired)
        } else {
            None
        }
    }
}

impl Line {
    /// Answers the commands that need not be sent any more.
    pub(super) fn drop_dead_commands(&mut self) {
        let mut i = 0;
        while i < self.waiting.len() {
            let waiting = &self.waiting[i];
            if waiting.answer.is_closed() {
                info!(line = %self.name, "relay command withdrawn before it was sent");
                self.take(i);
            } else if let Some(outcome) = waiting.command.objection() {
                self.finish(i, outcome);
            } else {
                i += 1;
            }
        }
    }

    /// The first command whose device is not still proving an earlier one.
    pub(super) fn next_command(&self, now: Instant) -> Option<usize> {
        let is_free = |w: &Waiting| !self.proving.iter().any(|p| self.devices[p.device].spec.ix == w.command.device);
        self.waiting.iter().position(|w| w.not_before <= now && is_free(w))
    }

    /// Sends a command.
    pub(super) async fn command(&mut self, at: usize) {
        let Some(prepared) = self.prepare(&self.waiting[at].command) else {
            self.finish(at, RelayOutcome::NoRelay);
            return;
        };
        let command = self.waiting[at].command.clone();
        let mut sent = Sent::No;
        let gate = || match command.objection() {
            None => {
                sent = Sent::Yes;
                Gate::Open
            }
            Some(_) => Gate::Closed,
        };
        let answer = self.ask(prepared.device, &prepared.write, gate).await;
        let device = self.devices[prepared.device].spec.id.clone();
        if sent == Sent::No {
            self.defer(at);
            return;
        }
        match answer {
            Answer::Refused(code) if code != ACKNOWLEDGE => {
                warn!(line = %self.name, %device, action = ?command.action, code, "relay command refused");
                self.finish(at, RelayOutcome::Refused(code));
                return;
            }
            Answer::Written => info!(line = %self.name, %device, action = ?command.action, "relay command sent"),
            _ => warn!(line = %self.name, %device, action = ?command.action,
                "relay command sent without a proper echo; the proof point decides"),
        }
        let Waiting { answer, .. } = self.take(at);
        let now = Instant::now();
        self.proving.push(Proving {
            device: prepared.device,
            wanted: prepared.wanted,
            proof: prepared.proof,
            next_try: now,
            give_up: now + PROOF_MAX,
            seen: Seen::Nothing,
            answer,
        });
    }

    /// A command could not be sent. While the line is down, or because it has just become invalid, it goes back to the
    /// queue as it was. A device that does not answer the read before it is given up after a few tries.
    fn defer(&mut self, at: usize) {
        if self.bus.down_until().is_some() || self.waiting[at].command.objection().is_some() {
            return;
        }
        let waiting = &mut self.waiting[at];
        waiting.unsent += 1;
        waiting.not_before = Instant::now() + UNSENT_PAUSE;
        if waiting.unsent == UNSENT_MAX {
            self.finish(at, RelayOutcome::Unknown("the device does not answer; nothing was sent".into()));
        }
    }

    /// Reads the proof point of a command that was sent.
    pub(super) async fn prove(&mut self, at: usize) {
        let (i, proof) = (self.proving[at].device, self.proving[at].proof.clone());
        let read = &proof.read;
        let request = Request::Read { table: read.table, address: read.address, count: read.count };
        let answer = self.ask(i, &request, || Gate::Open).await;
        let now = Instant::now();
        let shown = match &answer {
            Answer::Data(_) | Answer::Bits(_) => {
                let shown = value(&self.devices[i].spec, read, proof.point, &answer).ok();
                if let (Some(value), State::Answering) = (&shown, &self.devices[i].state) {
                    let spec = &self.devices[i].spec;
                    let reading = Reading::good(spec.point(proof.point), value.clone(), clock::now());
                    self.reporter.readings(spec.ix, vec![reading]);
                }
                shown.and_then(|v| code_of(&v))
            }
            _ => None,
        };
        let proving = &mut self.proving[at];
        proving.next_try = now + PROOF_PAUSE;
        match shown {
            Some(code) if proving.wanted.is_met(code) => {
                self.proved(at, RelayOutcome::Verified { at: clock::now() });
                return;
            }
            Some(_) => proving.seen = Seen::OtherPosition,
            None => {}
        }
        if now >= self.proving[at].give_up {
            let outcome = match self.proving[at].seen {
                Seen::OtherPosition => RelayOutcome::NotMoved,
                Seen::Nothing => {
                    RelayOutcome::Unknown("the command was sent and the proof point did not answer".into())
                }
            };
            self.proved(at, outcome);
        }
    }

    /// The line stops: nobody who waits is left without an answer.
    pub(super) fn abandon_commands(&mut self) {
        while !self.waiting.is_empty() {
            self.finish(0, RelayOutcome::Unknown("the line stops; nothing was sent".into()));
        }
        while !self.proving.is_empty() {
            let why = "the line stops before the proof point was read; the command was sent";
            self.proved(0, RelayOutcome::Unknown(why.into()));
        }
    }

    fn prepare(&self, command: &RelayCommand) -> Option<Prepared> {
        let device = self.devices.iter().position(|d| d.spec.ix == command.device)?;
        let profile = &self.devices[device].spec.profile;
        let relay = profile.relay.as_ref()?;
        let point = profile.point(relay.proof())?;
        let read = read_alone(&profile.points, &profile.limits, point)?;
        let (words, wanted) = match command.action {
            RelayAction::Open => (relay.open(), Wanted::Equal(relay.proof_open())),
            RelayAction::Close => (relay.close(), Wanted::Other(relay.proof_open())),
        };
        let is_sendable = (1..=WORDS_WRITTEN_MAX).contains(&words.len());
        let write = Request::Write(Write::Registers { address: relay.address(), words: words.to_vec() });
        is_sendable.then_some(Prepared { device, write, wanted, proof: Proof { point, read } })
    }

    fn take(&mut self, at: usize) -> Waiting {
        self.stats.queue.sub(1);
        self.waiting.remove(at)
    }

    fn finish(&mut self, at: usize, outcome: RelayOutcome) {
        // Whoever gave up waiting needs no answer.
        let _ = self.take(at).answer.send(outcome);
    }

    fn proved(&mut self, at: usize, outcome: RelayOutcome) {
        let proving = self.proving.remove(at);
        info!(line = %self.name, device = %self.devices[proving.device].spec.id, ?outcome, "relay command finished");
        let _ = proving.answer.send(outcome);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
}

/// The position a proof point shows, as a whole number.
fn code_of(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(bit) => Some(i64::from(*bit)),
        Value::Decimal(number) => number.rescale(0).and_then(|code| i64::try_from(code).ok()),
        Value::Float(_) | Value::Text(_) => None,
    }
}
