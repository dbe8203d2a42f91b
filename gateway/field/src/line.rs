//! The task that owns a line.
//!
//! It does one thing at a time and decides anew after each transaction, so a command waits for one transaction at most:
//!
//! ```text
//!   relay command  >  its proof read  >  repeat of a failed or suspect read  >  probe of a silent device
//!                  >  alarm poll  >  billing poll  >  bulk poll        (a poll late by its whole period counts as alarm)
//! ```
//!
//! The health of a device:
//!
//! ```text
//!              answer                      two misses in a row, and no other read answers
//!   Unknown ──────────► Answering ─────────────────────────────────────────────────────────► Silent
//!                          ▲                                                                    │ one probe per
//!                          └──────────── answer (its readings are suspect until confirmed) ◄────┘ back-off step
//! ```
//!
//! A silent device costs one probe per step, and all probes together at most a fifth of the line's time, so that the
//! living never wait for the dead. A line that cannot be opened makes all its devices silent with
//! [`BadReason::LineDown`] and is tried again by itself.
//!
//! A power cut costs nothing that is not read again: the task keeps no state on disk. A relay command whose first byte
//! may have been sent is never repeated by the task; whoever gave it finds the truth in the proof point.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::Profile;
use guanjia_core::reading::{BadReason, DeviceIx, PointIx, Reading};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::bus::{Bus, Timing};
use crate::clock;
use crate::doctor::{LineFacts, Wire};
use crate::frame::Framing;
use crate::link::{Dial, LineConfig, Link};
use crate::report::{DeviceHealth, FieldReport, Reporter};
use crate::stats::LineStats;
use crate::tap::Tap;

mod device;
mod listen;
mod poll;
mod relay;
mod schedule;

use device::{Device, State};
pub use listen::listen_line;
use relay::{Proving, Waiting};
pub use relay::{RelayCommand, RelayOutcome};
use schedule::Slot;

/// Relay commands that may wait on one line. More than that means that nobody looks at their outcomes.
pub const COMMANDS_MAX: usize = 16;

/// The longest the task sleeps while somebody waits for something that no timer announces: a full queue of reports, a
/// command on a line that is down.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The longest the task sleeps at all.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How often the points of each class are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Points an alarm looks at.
    pub alarm: Duration,
    /// Registers somebody pays by.
    pub billing: Duration,
    /// Everything else.
    pub bulk: Duration,
}

/// One device on a line.
#[derive(Clone, Debug)]
pub struct FieldDevice {
    /// Its index in this run's catalogue.
    pub ix: DeviceIx,
    /// Its id in the site file.
    pub id: Arc<str>,
    /// Its unit id (slave address) on the line.
    pub unit: u8,
    /// What it looks like.
    pub profile: Arc<Profile>,
    /// `profile.points[i]` is the point `first_point + i`.
    pub first_point: PointIx,
    /// How often it is read.
    pub periods: Periods,
}

impl FieldDevice {
    /// The index of the profile's `i`th point.
    pub fn point(&self, i: usize) -> PointIx {
        PointIx(self.first_point.0 + i as u32)
    }
}

/// What the rest of the program holds of a line.
#[derive(Clone, Debug)]
pub struct LineHandle {
    name: Arc<str>,
    stats: Arc<LineStats>,
    tap: Arc<Tap>,
    commands: mpsc::Sender<Waiting>,
}

impl LineHandle {
    /// The line's name in the site file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the line counts about itself.
    pub fn stats(&self) -> &Arc<LineStats> {
        &self.stats
    }

    /// Where the bytes of the line can be watched.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// Moves a relay or valve and tells where it is afterwards.
    ///
    /// The command goes ahead of all polls. Right before its first byte `valid_until` and `version` are checked. While
    /// the line is down it waits; it ends no later than one transaction and the time for the proof after
    /// `valid_until`. Dropping the future before the first byte is sent withdraws the command; afterwards it changes
    /// nothing.
    pub async fn relay(&self, command: RelayCommand) -> RelayOutcome {
        let (answer, outcome) = oneshot::channel();
        self.stats.queue.add(1);
        if self.commands.send(Waiting::new(command, answer)).await.is_err() {
            self.stats.queue.sub(1);
            return RelayOutcome::Unknown("the line has stopped; nothing was sent".into());
        }
        let stopped =
            || RelayOutcome::Unknown("the line stopped before the command was finished; read the relay".into());
        outcome.await.unwrap_or_else(|_| stopped())
    }
}

/// Starts the task of a line. It ends after `stop` is cancelled, within one transaction.
///
/// Every point of a register that no read can bring (see [`crate::plan::unreadable`]) is logged and reported once as
/// undecodable.
pub fn start_line(
    config: LineConfig,
    devices: Vec<FieldDevice>,
    reports: mpsc::Sender<FieldReport>,
    stop: CancellationToken,
) -> (LineHandle, JoinHandle<()>) {
    let timing = timing(&config);
    let dial = Dial::Link(config.link.clone());
    start(config.name, dial, timing, config.response_max, devices, reports, stop)
}

pub(crate) fn timing(config: &LineConfig) -> Timing {
    let framing = match config.link {
        Link::Serial { .. } | Link::RtuOverTcp { .. } => Framing::Rtu,
        Link::ModbusTcp { .. } => Framing::Mbap,
    };
    let format = config.link.format();
    Timing {
        framing,
        char_time: format.map_or(Duration::ZERO, |f| f.char_time()),
        t35: format.map_or(Duration::ZERO, |f| f.t35()),
        linger: config.linger,
        turnaround: config.turnaround,
    }
}

fn start(
    name: Arc<str>,
    dial: Dial,
    timing: Timing,
    response_max: Option<Duration>,
    devices: Vec<FieldDevice>,
    reports: mpsc::Sender<FieldReport>,
    stop: CancellationToken,
) -> (LineHandle, JoinHandle<()>) {
    let stats = Arc::new(LineStats::new(devices.iter().map(|d| (d.ix, &d.id))));
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let start = Instant::now();
    let pace = timing.pace();
    let devices: Vec<Device> = devices.into_iter().map(|d| Device::new(d, response_max, pace)).collect();
    let slots = schedule::slots(&devices, start);
    let facts = LineFacts {
        wire: wire_of(&dial, timing.framing),
        char_time: timing.char_time,
        units: devices.iter().map(|d| (d.spec.unit, d.response_max)).collect(),
    };
    let bus = Bus::new(Arc::clone(&name), dial, timing, Arc::clone(&stats));
    let tap = Arc::clone(bus.tap());
    tap.attend(facts);
    let line = Line {
        bus,
        devices,
        slots,
        inbox,
        waiting: Vec::new(),
        proving: Vec::new(),
        reporter: Reporter::new(reports, Arc::clone(&stats)),
        stats: Arc::clone(&stats),
        probes_from: start,
        started: start,
        health: LineHealth::Up,
        name: Arc::clone(&name),
        stop,
    };
    (LineHandle { name, stats, tap, commands }, tokio::spawn(line.run()))
}

/// What the line's doctor must know of it.
fn wire_of(dial: &Dial, framing: Framing) -> Wire {
    match (framing, dial) {
        (Framing::Mbap, _) => Wire::Network,
        (_, Dial::Link(Link::Serial { .. })) => Wire::Serial,
        _ => Wire::SerialServer,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineHealth {
    Up,
    Down,
}

/// What to do next.
enum Job {
    /// The waiting command at this position.
    Command(usize),
    /// The proof read at this position.
    Prove(usize),
    /// The slot at this position.
    Poll(usize),
    /// The silent device at this position.
    Probe(usize),
    /// Try to open the line.
    Reopen,
    /// Nothing before this moment.
    Sleep(Instant),
}

struct Line {
    name: Arc<str>,
    bus: Bus,
    devices: Vec<Device>,
    slots: Vec<Slot>,
    inbox: mpsc::Receiver<Waiting>,
    /// Commands that were taken from the inbox; at most [`COMMANDS_MAX`].
    waiting: Vec<Waiting>,
    /// Commands that were sent and are not proved yet; at most one per device.
    proving: Vec<Proving>,
    reporter: Reporter,
    stats: Arc<LineStats>,
    /// What the decoders' times count from.
    started: Instant,
    /// No silent device is probed before.
    probes_from: Instant,
    health: LineHealth,
    stop: CancellationToken,
}

impl Line {
    async fn run(mut self) {
        self.report_unreadable();
        while !self.stop.is_cancelled() {
            self.reporter.flush();
            while self.waiting.len() < COMMANDS_MAX
                && let Ok(waiting) = self.inbox.try_recv()
            {
                self.waiting.push(waiting);
            }
            self.drop_dead_commands();
            self.note_line_health();
            match self.next(Instant::now()) {
                Job::Command(i) => self.command(i).await,
                Job::Prove(i) => self.prove(i).await,
                Job::Poll(slot) => self.poll(slot).await,
                Job::Probe(device) => self.probe(device).await,
                Job::Reopen => {
                    // Success or not, the next round finds the line in its new state.
                    let _ = self.bus.ready().await;
                }
                Job::Sleep(until) => self.sleep(until).await,
            }
        }
        self.abandon_commands();
        info!(line = %self.name, "line stopped");
    }

    fn next(&self, now: Instant) -> Job {
        let look_again = if self.reporter.has_kept() || !self.waiting.is_empty() { LOOK_AGAIN } else { IDLE_MAX };
        if let Some(retry_at) = self.bus.down_until() {
            return if retry_at <= now { Job::Reopen } else { Job::Sleep(retry_at.min(now + look_again)) };
        }
        if let Some(i) = self.next_command(now) {
            return Job::Command(i);
        }
        if let Some(i) = self.proving.iter().position(|p| p.next_try <= now) {
            return Job::Prove(i);
        }
        let is_polled = |slot: &Slot| !self.devices[slot.device].is_silent();
        if let Some(repeat) = self.slots.iter().position(|s| s.is_repeat() && is_polled(s)) {
            return Job::Poll(repeat);
        }
        let probe = self.next_probe();
        if let Some((device, at)) = probe
            && at <= now
        {
            return Job::Probe(device);
        }
        let due = self.slots.iter().enumerate().filter(|(_, s)| is_polled(s) && s.due <= now);
        if let Some((slot, _)) = due.min_by_key(|(_, s)| s.urgency(now)) {
            return Job::Poll(slot);
        }
        let poll_at = self.slots.iter().filter(|s| is_polled(s)).map(|s| s.due).min();
        let prove_at = self.proving.iter().map(|p| p.next_try).min();
        let until = [poll_at, prove_at, probe.map(|(_, at)| at)].into_iter().flatten().min();
        Job::Sleep(until.unwrap_or(now + IDLE_MAX).min(now + look_again))
    }

    async fn sleep(&mut self, until: Instant) {
        let has_room = self.waiting.len() < COMMANDS_MAX;
        tokio::select! {
            () = self.stop.cancelled() => {}
            Some(waiting) = self.inbox.recv(), if has_room => self.waiting.push(waiting),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Tells everybody when the line goes down, and has every device looked for when it comes back.
    fn note_line_health(&mut self) {
        let health = if self.bus.down_until().is_some() { LineHealth::Down } else { LineHealth::Up };
        if health == self.health {
            return;
        }
        self.health = health;
        for i in 0..self.devices.len() {
            match health {
                LineHealth::Down => self.silence(i, BadReason::LineDown),
                LineHealth::Up => self.devices[i].probe_now(Instant::now()),
            }
        }
        if health == LineHealth::Up {
            info!(line = %self.name, "line is up");
        }
    }

    /// The device is silent from now on, or for another reason than before.
    fn silence(&mut self, i: usize, reason: BadReason) {
        let (device, at) = (&mut self.devices[i], clock::now());
        if device.state.is_silent_for(reason) {
            return;
        }
        device.state = State::silent(reason, Instant::now() + device.probe_step);
        device.decoder.forget();
        for slot in self.slots.iter_mut().filter(|s| s.device == i) {
            slot.forget();
        }
        let ix = device.spec.ix;
        info!(line = %self.name, device = %device.spec.id, reason = reason.as_str(), "device is silent");
        self.reporter.health(ix, DeviceHealth::Silent(reason), at);
        self.reporter.readings(ix, self.devices[i].all_bad(reason, at));
    }

    /// The device answered.
    fn answering(&mut self, i: usize) {
        let device = &mut self.devices[i];
        let was_silent = match std::mem::replace(&mut device.state, State::Answering) {
            State::Answering => return,
            State::Unknown => false,
            State::Silent { .. } => true,
        };
        if was_silent {
            info!(line = %self.name, device = %device.spec.id, "device answers again");
        } else {
            debug!(line = %self.name, device = %device.spec.id, "device answers");
        }
        self.reporter.health(device.spec.ix, DeviceHealth::Answering, clock::now());
        if was_silent {
            let now = Instant::now();
            for slot in self.slots.iter_mut().filter(|s| s.device == i) {
                slot.due = now;
            }
        }
    }

    fn report_unreadable(&mut self) {
        for device in &self.devices {
            let profile = &device.spec.profile;
            let unreadable = crate::plan::unreadable(&profile.points, &profile.limits);
            if unreadable.is_empty() {
                continue;
            }
            let at = clock::now();
            for &i in &unreadable {
                error!(line = %self.name, device = %device.spec.id, point = %profile.points[i].id,
                    "no single read can bring this point; correct the profile");
            }
            let bad = |&i: &usize| Reading::bad(device.spec.point(i), BadReason::Undecodable, at);
            self.reporter.readings(device.spec.ix, unreadable.iter().map(bad).collect());
        }
    }
}

#[cfg(test)]
mod tests;
