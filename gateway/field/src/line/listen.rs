//! The task of a line that another master owns: it hears, and never sends.
//!
//! ```text
//!   closed ──open──► listening ──exchange──► readings of the devices configured here
//!     ▲                  │
//!     └── pause ◄────────┘ port or socket gone: every device is silent, the line is down
//! ```
//!
//! Readings have the same quality as those of a line of our own: good when the answer can be no other question's,
//! suspect while it could be, bad when the other master asks and the device does not answer, stale when nobody asks any
//! more (the hub sees to that, by the age a device allows). A command is refused: there is nothing here to send
//! it with. The line's doctor listens too, and finds what somebody who does not ask can find.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::ByteCount;
use guanjia_core::reading::{BadReason, Quality};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::command::Waiting;
use super::device::{Company, Device, State};
use super::poll::Answer;
use super::{COMMANDS_MAX, FieldDevice, LineHandle};
use crate::bus::Timing;
use crate::clock::{self, Moment};
use crate::doctor::LineFacts;
use crate::link::{Dial, LineConfig};
use crate::passive::{Content, Ear, Exchange, Heard, Listening, Trust};
use crate::plan::ReadRequest;
use crate::replay::points_in;
use crate::report::{DeviceHealth, FieldReport, Reporter};
use crate::stats::{Discard, LineStats};
use crate::tap::{Outcome, Settled, Tap};
use crate::trace::Role;

/// The pause before a port or socket is tried again: the first one, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Questions in a row without an answer that make a device silent.
const MISSES_MAX: u32 = 3;

/// Starts the task of a line that is only listened to. It ends soon after `stop` is cancelled.
pub fn listen_line(
    config: LineConfig,
    devices: Vec<FieldDevice>,
    reports: mpsc::Sender<FieldReport>,
    stop: CancellationToken,
) -> (LineHandle, JoinHandle<()>) {
    let (dial, timing) = (Dial::Link(config.link.clone()), super::timing(&config));
    start(config.name, dial, timing, devices, reports, stop)
}

pub(super) fn start(
    name: Arc<str>,
    dial: Dial,
    timing: Timing,
    devices: Vec<FieldDevice>,
    reports: mpsc::Sender<FieldReport>,
    stop: CancellationToken,
) -> (LineHandle, JoinHandle<()>) {
    let stats = Arc::new(LineStats::new(devices.iter().map(|d| (d.ix, &d.id))));
    let tap = Arc::new(Tap::new());
    tap.attend(LineFacts {
        role: Role::Listener,
        wire: super::wire_of(&dial, timing.framing),
        char_time: timing.char_time,
        units: devices.iter().map(|d| (d.unit, d.profile.limits.response_max)).collect(),
    });
    let counts_long = |d: &&FieldDevice| d.profile.limits.byte_count == ByteCount::TwoBytes;
    let two_byte_counts = devices.iter().filter(counts_long).map(|d| d.unit).collect();
    let pace = timing.pace();
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let company = if devices.len() == 1 { Company::Alone } else { Company::Shared };
    let listener = Listener {
        name: Arc::clone(&name),
        dial,
        misses: vec![0; devices.len()],
        devices: devices.into_iter().map(|d| Device::new(d, None, pace, company)).collect(),
        reporter: Reporter::new(reports, Arc::clone(&stats)),
        stats: Arc::clone(&stats),
        tap: Arc::clone(&tap),
        started: Instant::now(),
        two_byte_counts,
        inbox,
    };
    (LineHandle { name, stats, tap, commands }, tokio::spawn(listener.run(stop)))
}

struct Listener {
    name: Arc<str>,
    dial: Dial,
    devices: Vec<Device>,
    /// Questions in a row that a device left unanswered.
    misses: Vec<u32>,
    reporter: Reporter,
    stats: Arc<LineStats>,
    tap: Arc<Tap>,
    started: Instant,
    /// The units whose answers count their bytes in two bytes.
    two_byte_counts: Vec<u8>,
    inbox: mpsc::Receiver<Box<Waiting>>,
}

impl Listener {
    async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let ear = Ear::with_two_byte_counts(self.two_byte_counts.iter().copied());
            match Listening::open(&mut self.dial, &self.stats, self.started, ear).await {
                Ok(mut line) => {
                    info!(line = %self.name, "listening to another master's line");
                    self.stats.connects.add(1);
                    self.stats.connected.set(1);
                    self.tap.opened();
                    if self.hear(&mut line, &stop).await == Heardness::Something {
                        failures = 0;
                    }
                    self.stats.connected.set(0);
                }
                Err(error) => {
                    if self.tap.failed(&error) {
                        info!(line = %self.name, %error, "line is down");
                    }
                }
            }
            if stop.is_cancelled() {
                break;
            }
            for i in 0..self.devices.len() {
                self.silence(i, BadReason::LineDown);
            }
            let pause = (PAUSE_FIRST * 2u32.saturating_pow(failures)).min(PAUSE_MAX);
            failures = (failures + 1).min(8);
            self.rest(pause, &stop).await;
        }
        info!(line = %self.name, "line stopped");
    }

    /// Hears until the line is gone or the task shall end.
    async fn hear(&mut self, line: &mut Listening, stop: &CancellationToken) -> Heardness {
        let mut heardness = Heardness::Nothing;
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return heardness,
                Some(waiting) = self.inbox.recv() => {
                    self.refuse(*waiting);
                    continue;
                }
                next = line.next() => next,
            };
            self.reporter.flush();
            match next {
                Ok((_, bytes, heard)) => {
                    if !bytes.is_empty() {
                        self.tap.received(&bytes);
                        heardness = Heardness::Something;
                    }
                    for heard in heard {
                        self.take(heard);
                    }
                }
                Err(error) => {
                    warn!(line = %self.name, %error, "the line that is listened to is gone");
                    self.tap.failed(&error);
                    return heardness;
                }
            }
        }
    }

    async fn rest(&mut self, pause: Duration, stop: &CancellationToken) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(waiting) = self.inbox.recv() => self.refuse(*waiting),
                () = tokio::time::sleep_until(until) => return,
            }
            self.reporter.flush();
        }
    }

    fn refuse(&self, waiting: Waiting) {
        warn!(line = %self.name, "a command for a line that is only listened to; nothing was sent");
        self.stats.queue.sub(1);
        waiting.refuse("the line is only listened to");
    }

    fn take(&mut self, heard: Heard) {
        self.tap.heard(&heard);
        match heard {
            Heard::Exchange(exchange) => self.exchange(&exchange),
            Heard::Unanswered(question, _) => {
                let Some(i) = self.device(question.unit) else { return };
                self.stats.devices[i].timeout.add(1);
                self.misses[i] = self.misses[i].saturating_add(1);
                if self.misses[i] >= MISSES_MAX {
                    self.silence(i, BadReason::NoAnswer);
                }
            }
            Heard::Doubtful(question, frame, _) => {
                self.stats.discarded(Discard::Late);
                if let Some(i) = self.device(question.unit) {
                    self.stats.devices[i].crc_error.add(1);
                }
                self.tap.mistrusted(question, &frame);
            }
            Heard::Orphan(_) => self.stats.discarded(Discard::Foreign),
            Heard::Noise(bytes) => self.stats.stale_bytes.add(bytes as u64),
        }
    }

    fn device(&self, unit: u8) -> Option<usize> {
        self.devices.iter().position(|device| device.spec.unit == unit)
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let asked = exchange.asked;
        let ended = Moment::now();
        let outcome = match exchange.content {
            Content::Exception(code) => Outcome::Exception(code),
            _ => Outcome::Answered,
        };
        self.tap.overheard(&Settled {
            asked,
            outcome,
            took: exchange.took,
            ended,
            sent: &exchange.request,
            answer: &exchange.answer,
        });
        self.stats.durations.observe(exchange.took);
        let Some(i) = self.device(asked.unit) else { return };
        let at = ended.at;
        self.misses[i] = 0;
        match &exchange.content {
            Content::Exception(_) => self.stats.devices[i].exception.add(1),
            Content::Written | Content::Data(_) => self.stats.devices[i].succeeded(at),
        }
        self.answering(i);
        let (Content::Data(data), Some(table)) = (&exchange.content, asked.table()) else { return };
        let Some((_, points)) = points_in(&self.devices[i].spec.profile, &asked) else { return };
        if points.is_empty() {
            return;
        }
        let answer = if table.is_bits() {
            let bit = |at: usize| data.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
            Answer::Bits((0..usize::from(asked.count)).map(bit).collect())
        } else {
            Answer::Data(data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect())
        };
        let quality = match exchange.trust {
            Trust::Sure => Quality::Good,
            Trust::Suspect => Quality::Suspect,
        };
        let read = ReadRequest { table, address: asked.address, count: asked.count, points };
        let device = &mut self.devices[i];
        let readings = device.readings(&read, &answer, quality, at, self.started.elapsed());
        self.reporter.readings(device.spec.ix, readings);
    }

    fn answering(&mut self, i: usize) {
        let device = &mut self.devices[i];
        if matches!(device.state, State::Answering) {
            return;
        }
        device.state = State::Answering;
        info!(line = %self.name, device = %device.spec.id, "device answers the other master");
        self.reporter.health(device.spec.ix, DeviceHealth::Answering, clock::now());
    }

    fn silence(&mut self, i: usize, reason: BadReason) {
        let (device, at) = (&mut self.devices[i], clock::now());
        if device.state.is_silent_for(reason) {
            return;
        }
        device.state = State::silent(reason, Instant::now());
        device.decoder.forget();
        info!(line = %self.name, device = %device.spec.id, reason = reason.as_str(), "device is silent");
        self.reporter.health(device.spec.ix, DeviceHealth::Silent(reason), at);
        self.reporter.readings(device.spec.ix, device.all_bad(reason, at));
    }
}

/// Whether anything came along the line since it was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heardness {
    Nothing,
    Something,
}
