//! Commands: checked before the first byte, sent once, believed only when the device shows what was wanted.
//!
//! ```text
//!   waiting ──► valid? current? ──► written ──► echo or not ──► proof read ... ──► Verified | NotTaken | Unknown
//!      │              │                 └──► exception ──► Refused
//!      │              └──► Expired | Superseded            (nothing was sent)
//!      └──► NotWritable                                    (nothing was sent)
//! ```
//!
//! There are three kinds, a relay to move ([`super::relay`]), a point to set ([`super::setting`]) and a wallet to top up
//! or to look at ([`super::credit`]). They differ in what is written and what proves it; everything else is here and the
//! same. A look at a wallet writes nothing and is a proof read alone.
//!
//! A command is never sent twice, not even when its echo is lost: the proof tells what happened. Nothing else is under
//! way on the line while it is sent, and a proof read begins after it ended, so no answer from before can be taken for
//! the proof or be published after it. Polls go on between the proof reads, so that a slow valve does not blind the
//! line to a fire.
//!
//! A power cut forgets commands that wait. Of one that was sent the truth is in the device; whoever gave it reads that.

use std::time::Duration;

use guanjia_core::profile::{Relay, RelayAction, RelayPosition, Wallet, WalletSeen};
use guanjia_core::reading::{DeviceIx, Reading, Value};
use guanjia_core::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::credit::WalletCommand;
use super::poll::{Answer, Gate, value};
use super::relay::RelayCommand;
use super::setting::SettingCommand;
use super::{Line, State};
use crate::clock::{self, Moment};
use crate::frame::{Request, Write};
use crate::plan::ReadRequest;

/// How long a contact, a valve or a device may take until it shows what was wanted.
pub const PROOF_MAX: Duration = Duration::from_secs(3);

/// The pause between two proof reads.
const PROOF_PAUSE: Duration = Duration::from_millis(200);

/// How often, and after which pause, sending is tried while a device does not answer the read before it.
const UNSENT_MAX: u32 = 3;
const UNSENT_PAUSE: Duration = Duration::from_millis(500);

/// The device has accepted the command and needs time for it.
const ACKNOWLEDGE: u8 = 0x05;

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Relay(RelayCommand),
    Setting(SettingCommand),
    Wallet(WalletCommand),
}

/// What became of it, of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The device shows what was wanted, at this time.
    Verified(Timestamp),
    /// What a wallet says of itself.
    Shown(WalletSeen),
    /// It was sent, and the device still shows something else.
    NotTaken,
    /// It was sent, and the device shows that it is on its way.
    Moving,
    /// It was sent, and the device shows that it cannot get there.
    Jammed,
    /// The device refused with this exception.
    Refused(u8),
    /// It may have been sent, and the proof could not be read.
    Unknown(String),
    /// It was too late; nothing was sent.
    Expired,
    /// A newer decision exists; nothing was sent.
    Superseded,
    /// This cannot be written at all; nothing was sent.
    NotWritable(String),
}

impl Order {
    fn device(&self) -> DeviceIx {
        match self {
            Order::Relay(command) => command.device,
            Order::Setting(command) => command.device,
            Order::Wallet(command) => command.device,
        }
    }

    /// `None` if it may be sent now.
    fn objection(&self) -> Option<Outcome> {
        let valid_until = match self {
            Order::Relay(command) if command.is_superseded() => return Some(Outcome::Superseded),
            Order::Relay(command) => command.valid_until,
            Order::Setting(command) => command.valid_until,
            Order::Wallet(command) => command.valid_until,
        };
        (clock::now() > valid_until).then_some(Outcome::Expired)
    }
}

/// A command and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    order: Order,
    answer: oneshot::Sender<Outcome>,
    /// How often it could not be sent although the line was up.
    unsent: u32,
    not_before: Instant,
}

impl Waiting {
    pub(super) fn new(order: Order, answer: oneshot::Sender<Outcome>) -> Self {
        Self { order, answer, unsent: 0, not_before: Instant::now() }
    }

    /// Ends the command without having sent it.
    pub(super) fn refuse(self, why: &str) {
        // Whoever gave up waiting needs no answer.
        let _ = self.answer.send(Outcome::NotWritable(why.to_owned()));
    }
}

/// A command that was sent.
#[derive(Debug)]
pub(super) struct Proving {
    device: usize,
    proof: Proof,
    pub(super) next_try: Instant,
    give_up: Instant,
    /// What the proof showed since.
    seen: Seen,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It could not be read.
    Nothing,
    /// What was wanted.
    Wanted,
    SomethingElse,
    OnItsWay,
    Jammed,
}

/// The read that proves a command, the one point it brings, if it is one, and what it must bring.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) point: Option<usize>,
    pub(super) read: ReadRequest,
    pub(super) wanted: Wanted,
}

#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The point shows this relay where the action takes it.
    Position(Relay, RelayAction),
    /// Its registers hold these words.
    Words(Vec<u16>),
    /// Its coils are these.
    Bits(Vec<bool>),
    /// Its register agrees with `word` in the bits of `mask`.
    Masked { mask: u16, word: u16 },
    /// Whatever this wallet says is the outcome.
    Told(Wallet),
}

impl Wanted {
    /// What a wallet says.
    fn told(&self, answer: &Answer) -> Option<WalletSeen> {
        match (self, answer) {
            (Wanted::Told(wallet), Answer::Data(words)) => wallet.seen(words),
            _ => None,
        }
    }

    /// What the device shows of it.
    fn seen(&self, answer: &Answer, value: Option<&Value>) -> Seen {
        let is_met = match (self, answer) {
            (Wanted::Position(relay, action), _) => {
                return value.map_or(Seen::Nothing, |value| arrival(*action, relay.position(value)));
            }
            (Wanted::Words(words), Answer::Data(read)) => Some(words == read),
            (Wanted::Bits(bits), Answer::Bits(read)) => Some(bits == read),
            (Wanted::Masked { mask, word }, Answer::Data(read)) => read.first().map(|read| (read ^ word) & mask == 0),
            (Wanted::Told(_), _) => self.told(answer).map(|_| true),
            _ => None,
        };
        match is_met {
            Some(true) => Seen::Wanted,
            Some(false) => Seen::SomethingElse,
            None => Seen::Nothing,
        }
    }
}

/// A command made ready to be sent.
pub(super) struct Prepared {
    pub(super) device: usize,
    /// `None` where only the proof is wanted.
    pub(super) write: Option<Write>,
    pub(super) proof: Proof,
}

impl Line {
    /// Answers the commands that need not be sent any more.
    pub(super) fn drop_dead_commands(&mut self) {
        let mut i = 0;
        while i < self.waiting.len() {
            let waiting = &self.waiting[i];
            if waiting.answer.is_closed() {
                info!(line = %self.name, "command withdrawn before it was sent");
                self.take(i);
            } else if let Some(outcome) = waiting.order.objection() {
                self.finish(i, outcome);
            } else {
                i += 1;
            }
        }
    }

    /// The first command whose device is not still proving an earlier one.
    pub(super) fn next_command(&self, now: Instant) -> Option<usize> {
        let is_free = |w: &Waiting| !self.proving.iter().any(|p| self.devices[p.device].spec.ix == w.order.device());
        self.waiting.iter().position(|w| w.not_before <= now && is_free(w))
    }

    /// Sends a command.
    pub(super) async fn command(&mut self, at: usize) {
        let order = self.waiting[at].order.clone();
        let prepared = match &order {
            Order::Relay(command) => self.prepare_relay(command),
            Order::Setting(command) => self.prepare_setting(command),
            Order::Wallet(command) => self.prepare_wallet(command),
        };
        let Prepared { device, write, proof } = match prepared {
            Ok(prepared) => prepared,
            Err(why) => {
                self.finish(at, Outcome::NotWritable(why));
                return;
            }
        };
        if !self.devices[device].meeting.is_over() {
            let why = "the device has not shown that it is the one of its profile; nothing was sent";
            self.finish(at, Outcome::Unknown(why.into()));
            return;
        }
        let Some(write) = write else {
            self.await_proof(at, device, proof);
            return;
        };
        let mut sent = Sent::No;
        let gate = || match order.objection() {
            None => {
                sent = Sent::Yes;
                Gate::Open
            }
            Some(_) => Gate::Closed,
        };
        let (answer, _) = self.ask(device, &Request::Write(write), Instant::now(), gate).await;
        let id = self.devices[device].spec.id.clone();
        if sent == Sent::No {
            self.defer(at);
            return;
        }
        match answer {
            // A wallet tells itself what it made of the frame, also of one that it refused.
            Answer::Refused(code) if matches!(proof.wanted, Wanted::Told(_)) => {
                warn!(line = %self.name, device = %id, ?order, code, "command refused; reading back decides");
            }
            Answer::Refused(code) if code != ACKNOWLEDGE => {
                warn!(line = %self.name, device = %id, ?order, code, "command refused");
                self.finish(at, Outcome::Refused(code));
                return;
            }
            Answer::Written => info!(line = %self.name, device = %id, ?order, "command sent"),
            _ => warn!(line = %self.name, device = %id, ?order,
                "command sent without a proper echo; reading back decides"),
        }
        self.await_proof(at, device, proof);
    }

    /// From here on the device is read until it shows what is wanted.
    fn await_proof(&mut self, at: usize, device: usize, proof: Proof) {
        let Waiting { answer, .. } = self.take(at);
        let now = Instant::now();
        let (next_try, give_up) = (now, now + PROOF_MAX);
        self.proving.push(Proving { device, proof, next_try, give_up, seen: Seen::Nothing, answer });
    }

    /// A command could not be sent. While the line is down, or because it has just become invalid, it goes back to the
    /// queue as it was. A device that does not answer the read before it is given up after a few tries.
    fn defer(&mut self, at: usize) {
        if self.bus.down_until().is_some() || self.waiting[at].order.objection().is_some() {
            return;
        }
        let waiting = &mut self.waiting[at];
        waiting.unsent += 1;
        waiting.not_before = Instant::now() + UNSENT_PAUSE;
        if waiting.unsent == UNSENT_MAX {
            self.finish(at, Outcome::Unknown("the device does not answer; nothing was sent".into()));
        }
    }

    /// Reads back what a command was to change.
    pub(super) async fn prove(&mut self, at: usize) {
        let (i, proof) = (self.proving[at].device, self.proving[at].proof.clone());
        let read = &proof.read;
        let request = Request::Read { table: read.table, address: read.address, count: read.count };
        let (answer, Moment { instant: now, at: read_at }) = self.ask(i, &request, Instant::now(), || Gate::Open).await;
        let seen = match &answer {
            Answer::Data(_) | Answer::Bits(_) => {
                let shown = proof.point.and_then(|point| value(&self.devices[i].spec, read, point, &answer).ok());
                if let (Some(point), Some(value), State::Answering) = (proof.point, &shown, &self.devices[i].state) {
                    let spec = &self.devices[i].spec;
                    let reading = Reading::good(spec.point(point), value.clone(), read_at);
                    self.reporter.readings(spec.ix, vec![reading]);
                }
                proof.wanted.seen(&answer, shown.as_ref())
            }
            _ => Seen::Nothing,
        };
        let proving = &mut self.proving[at];
        proving.next_try = now + PROOF_PAUSE;
        if seen != Seen::Nothing {
            proving.seen = seen;
        }
        let outcome = match proving.seen {
            Seen::Wanted => match proof.wanted.told(&answer) {
                Some(told) => Outcome::Shown(told),
                None => Outcome::Verified(clock::now()),
            },
            // A valve needs its time, and what it jams at may be the end of the drive before.
            _ if now < proving.give_up => return,
            Seen::SomethingElse => Outcome::NotTaken,
            Seen::OnItsWay => Outcome::Moving,
            Seen::Jammed => Outcome::Jammed,
            Seen::Nothing => Outcome::Unknown("the command was sent and could not be read back".into()),
        };
        self.proved(at, outcome);
    }

    /// The line stops: nobody who waits is left without an answer.
    pub(super) fn abandon_commands(&mut self) {
        while !self.waiting.is_empty() {
            self.finish(0, Outcome::Unknown("the line stops; nothing was sent".into()));
        }
        while !self.proving.is_empty() {
            let why = "the line stops before the command was read back; it was sent";
            self.proved(0, Outcome::Unknown(why.into()));
        }
    }

    fn take(&mut self, at: usize) -> Waiting {
        self.stats.queue.sub(1);
        self.waiting.remove(at)
    }

    fn finish(&mut self, at: usize, outcome: Outcome) {
        // Whoever gave up waiting needs no answer.
        let _ = self.take(at).answer.send(outcome);
    }

    fn proved(&mut self, at: usize, outcome: Outcome) {
        let proving = self.proving.remove(at);
        info!(line = %self.name, device = %self.devices[proving.device].spec.id, ?outcome, "command finished");
        let _ = proving.answer.send(outcome);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
}

/// How far a relay is that was told to move.
fn arrival(action: RelayAction, position: RelayPosition) -> Seen {
    use RelayPosition::{Cut, Cutting, Jammed, Restoring, Supplied, Unknown};
    match (action, position) {
        (RelayAction::Open, Cut) | (RelayAction::Close, Supplied) => Seen::Wanted,
        (RelayAction::Open, Cutting) | (RelayAction::Close, Restoring) => Seen::OnItsWay,
        (_, Jammed) => Seen::Jammed,
        (_, Unknown) => Seen::Nothing,
        (RelayAction::Open, Supplied | Restoring) | (RelayAction::Close, Cut | Cutting) => Seen::SomethingElse,
    }
}
