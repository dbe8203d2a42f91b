//! The task that owns a line.
//!
//! It does one thing at a time and decides anew after each transaction, so a command waits for one transaction at most:
//!
//! ```text
//!   command        >  its proof read  >  repeat of a failed or suspect read  >  probe of a silent device
//!                  >  alarm poll  >  billing poll  >  bulk poll        (a poll late by its whole period counts as alarm)
//! ```
//!
//! Where a device takes several questions at once, reads and probes are under way together (`window`).
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
//! A silent device costs one probe per step. Probes use what nobody else needs, and when all of the line is needed at
//! most 2 % of it, so that the living never wait for the dead. A line that cannot be opened, or on which suddenly nobody
//! is heard any more (`hearing`), makes all its devices silent with [`BadReason::LineDown`] and is tried again by
//! itself.
//!
//! A power cut costs nothing that is not read again: the task keeps no state on disk. A command whose first byte
//! may have been sent is never repeated by the task; whoever gave it finds the truth in the device.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{PollClass, Profile};
use guanjia_core::reading::{BadReason, DeviceIx, PointIx, Reading};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::bus::{Bus, Timing};
use crate::clock;
use crate::doctor::{LineFacts, Wire};
use crate::frame::Framing;
use crate::link::dial_in::Seat;
use crate::link::{Dial, LineConfig, Link};
use crate::plan::Pace;
use crate::report::{DeviceHealth, FieldReport, Reporter};
use crate::stats::LineStats;
use crate::trace::Role;

mod command;
mod credit;
mod device;
mod handle;
mod hearing;
mod introduce;
mod listen;
mod poll;
mod relay;
mod schedule;
mod setting;
mod window;

pub use command::PROOF_MAX;
use command::{Proving, Waiting};
pub use credit::{CreditFrame, WalletCommand, WalletOutcome};
use device::{Company, Device, State};
pub use handle::LineHandle;
use hearing::Hearing;
pub use listen::listen_line;
use poll::Turn;
pub use relay::{RelayCommand, RelayOutcome};
use schedule::{Next, Slot};
pub use setting::{SettingCommand, SettingOutcome};
pub use window::IN_FLIGHT_MAX;

/// Commands that may wait on one line. More than that means that nobody looks at their outcomes.
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

impl Periods {
    /// The period of one class, but no shorter than a line can keep. Zero means as often as the line can.
    pub fn of(&self, class: PollClass) -> Duration {
        let period = match class {
            PollClass::Alarm => self.alarm,
            PollClass::Billing => self.billing,
            PollClass::Bulk => self.bulk,
        };
        if period.is_zero() { period } else { period.max(schedule::PERIOD_MIN) }
    }
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

/// The same for the line of a DTU, which gets its connections at a [`Seat`] of its entrance.
pub fn start_dial_in_line(
    config: LineConfig,
    seat: Arc<Seat>,
    devices: Vec<FieldDevice>,
    reports: mpsc::Sender<FieldReport>,
    stop: CancellationToken,
) -> (LineHandle, JoinHandle<()>) {
    let timing = timing(&config);
    start(config.name, Dial::Seat(seat), timing, config.response_max, devices, reports, stop)
}

pub(crate) fn timing(config: &LineConfig) -> Timing {
    let format = config.link.format();
    Timing {
        framing: config.link.framing(),
        char_time: format.map_or(Duration::ZERO, |f| f.char_time()),
        t35: format.map_or(Duration::ZERO, |f| f.t35()),
        linger: config.linger,
        turnaround: Some(Pace::of(config).turnaround()),
        in_flight_max: config.in_flight_max,
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
    let pace = timing.pace().beside(&devices);
    let company = if devices.len() == 1 { Company::Alone } else { Company::Shared };
    let devices: Vec<Device> = devices.into_iter().map(|d| Device::new(d, response_max, pace, company)).collect();
    let slots = schedule::slots(&name, &devices, start);
    let window = window::window(&timing, &devices);
    let facts = LineFacts {
        role: Role::Master,
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
        window,
        under_way: Vec::new(),
        hearing: Hearing::default(),
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
        (_, Dial::Link(Link::Serial { .. } | Link::AsciiSerial { .. })) => Wire::Serial,
        _ => Wire::SerialServer,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineHealth {
    Up,
    /// It cannot be opened.
    Down,
    /// It is open and nobody is heard.
    Mute,
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
    /// The device at this position, out of turn.
    Witness(usize),
    /// Wait for what is under way, but not beyond this moment.
    Land(Instant),
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
    inbox: mpsc::Receiver<Box<Waiting>>,
    /// Commands that were taken from the inbox; at most [`COMMANDS_MAX`].
    waiting: Vec<Waiting>,
    /// Commands that were sent and are not proved yet; at most one per device.
    proving: Vec<Proving>,
    /// Questions that may be under way at once.
    window: u8,
    /// Those that are, by their transaction numbers; only where more than one may be.
    under_way: Vec<(u16, Turn)>,
    hearing: Hearing,
    reporter: Reporter,
    stats: Arc<LineStats>,
    /// What the decoders' times count from.
    started: Instant,
    /// Nobody has to wait for a probe before.
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
                self.waiting.push(*waiting);
            }
            self.drop_dead_commands();
            self.note_line_health();
            let now = Instant::now();
            match self.next(now) {
                Job::Command(i) => self.command(i).await,
                Job::Prove(i) => self.prove(i).await,
                Job::Poll(slot) => self.poll(slot, now).await,
                Job::Probe(device) => self.probe(device).await,
                Job::Witness(device) => self.witness(device).await,
                Job::Land(until) => self.land(until).await,
                Job::Reopen => {
                    // Success or not, the next round finds the line in its new state.
                    let _ = self.bus.ready(now).await;
                }
                Job::Sleep(until) => self.sleep(until).await,
            }
        }
        self.abandon_commands();
        info!(line = %self.name, "line stopped");
    }

    fn next(&self, now: Instant) -> Job {
        let look_again = if self.reporter.has_kept() || !self.waiting.is_empty() { LOOK_AGAIN } else { IDLE_MAX };
        let alone = self.next_alone(now);
        if !self.under_way.is_empty() && (alone.is_some() || self.bus.down_until().is_some() || self.is_full()) {
            return Job::Land(now + look_again);
        }
        if let Some(retry_at) = self.bus.down_until() {
            return if retry_at <= now { Job::Reopen } else { Job::Sleep(retry_at.min(now + look_again)) };
        }
        if let Some(job) = alone {
            return job;
        }
        let poll = self.next_poll(now);
        if let Next::Poll(s) = poll
            && self.slots[s].is_repeat()
        {
            return Job::Poll(s);
        }
        let witness = self.hearing.witness(&self.devices);
        if let Some(i) = witness.filter(|i| self.devices[*i].ready(1).is_some_and(|from| from <= now)) {
            return Job::Witness(i);
        }
        let poll_at = match poll {
            Next::Poll(_) => Some(now),
            Next::Wait(until) => until,
        };
        let mut probe_at = None;
        if let Some((i, due)) = self.next_probe() {
            let from = if due > now { due } else { self.probe_from(i, poll_at, now) };
            if from <= now {
                return Job::Probe(i);
            }
            probe_at = Some(from);
        }
        if let Next::Poll(s) = poll {
            return Job::Poll(s);
        }
        let prove_at = self.proving.iter().map(|p| p.next_try).min();
        let until = [poll_at, prove_at, probe_at].into_iter().flatten().min();
        let until = until.unwrap_or(now + IDLE_MAX).min(now + look_again);
        if self.under_way.is_empty() { Job::Sleep(until) } else { Job::Land(until) }
    }

    /// What must have the line for itself and is wanted now.
    fn next_alone(&self, now: Instant) -> Option<Job> {
        if let Some(i) = self.next_command(now) {
            return Some(Job::Command(i));
        }
        self.proving.iter().position(|p| p.next_try <= now).map(Job::Prove)
    }

    fn next_poll(&self, now: Instant) -> Next {
        let ready = |slot: &Slot| {
            let device = &self.devices[slot.device];
            if device.is_silent() { None } else { device.ready(self.in_flight_max(device)) }
        };
        Next::among(&self.slots, ready, now)
    }

    async fn sleep(&mut self, until: Instant) {
        let has_room = self.waiting.len() < COMMANDS_MAX;
        tokio::select! {
            () = self.stop.cancelled() => {}
            Some(waiting) = self.inbox.recv(), if has_room => self.waiting.push(*waiting),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Tells everybody when the line goes down or nobody is heard on it, and has every device looked for when that ends.
    fn note_line_health(&mut self) {
        let health = match self.bus.down_until() {
            Some(_) => LineHealth::Down,
            None if self.hearing.is_mute(self.devices.len()) => LineHealth::Mute,
            None => LineHealth::Up,
        };
        if health == self.health {
            return;
        }
        self.health = health;
        match health {
            LineHealth::Up => info!(line = %self.name, "line is up"),
            LineHealth::Down => {}
            LineHealth::Mute => warn!(line = %self.name,
                "nobody answers on this line any more; look at the serial server, its supply and the cable"),
        }
        self.stats.mute.set(u64::from(health == LineHealth::Mute));
        for i in 0..self.devices.len() {
            match health {
                LineHealth::Down | LineHealth::Mute => self.silence(i, BadReason::LineDown),
                LineHealth::Up => self.devices[i].probe_now(Instant::now()),
            }
        }
    }

    /// The device is silent from now on, or for another reason than before.
    fn silence(&mut self, i: usize, reason: BadReason) {
        let (device, at) = (&mut self.devices[i], clock::now());
        if device.state.is_silent_for(reason) {
            return;
        }
        device.state = State::silent(reason, Instant::now() + device.probe_step);
        device.forget();
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
