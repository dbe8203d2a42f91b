//! Asking, and what an answer or its absence means for the device and its points.
//!
//! Whatever is asked is a [`Turn`]: it begins with [`Line::begin`], and ends with [`Line::settle`] when its answer is
//! there or will not come. In between it is under way, alone ([`Line::poll`]) or with others (`super::window`).

use std::time::Duration;

use guanjia_core::decode::{self, DecodeError, decode, decode_bit};
use guanjia_core::profile::{Extent, PollClass};
use guanjia_core::reading::{BadReason, Quality, Reading, Value};
use guanjia_core::time::Timestamp;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::device::Device;
use super::schedule::{Next, Planned, Repeat, Rest, Trust};
use super::{FieldDevice, Line, LineHealth, State};
use crate::bus::Miss;
use crate::clock::{self, Moment};
use crate::frame::{Reply, Request};
use crate::plan::{ReadRequest, registers};
use crate::report::DeviceHealth;

/// After an unanswered probe that somebody had to wait for, nobody waits for another one before this many times as long
/// as the probe took: probes get 2 % of a line that is busy, and all of what is left of one that is not.
const PROBE_REST: u32 = 49;

/// How much longer a read that is not answered rests with every miss, and at most.
const REST_STEP: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(30);

/// How much longer a point that the device refuses rests with every refusal, and at most: it is never given up.
const REFUSED_STEP: Duration = Duration::from_secs(60);
const REFUSED_MAX: Duration = Duration::from_secs(3600);

/// A read that the device answered before and now refuses so many times in a row is split like one that never worked.
const REFUSALS_MAX: u32 = 3;

/// Exceptions of a gateway that could not reach the device behind it: the device is silent, not unwilling.
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
const GATEWAY_TARGET_FAILED: u8 = 0x0B;

/// Exceptions that a device answers to an address, a count or a range it does not have.
const ILLEGAL_ADDRESS: u8 = 0x02;
const ILLEGAL_VALUE: u8 = 0x03;

/// What asking a device came to.
pub(super) enum Answer {
    Data(Vec<u16>),
    Bits(Vec<bool>),
    Written,
    Refused(u8),
    /// It was asked and nothing usable came.
    Missed,
    /// The question itself was not asked.
    NotAsked,
}

/// Something that is asked.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) device: usize,
    pub(super) slot: usize,
    pub(super) request: Request,
    purpose: Purpose,
    pub(super) started: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// A read of the slot; the second time, if it was missed or suspect the first time.
    Read(Option<Repeat>),
    /// A read of the slot was missed: does the device answer anything?
    Doubt,
    /// Others were missed: does the line carry anything?
    Witness,
    /// Is the silent device back?
    Probe,
}

impl Line {
    /// Settles an ambiguity if there is one, waits for silence, and asks; when that ended. It is `now`. `gate` has the last
    /// word before the first byte.
    pub(super) async fn ask(
        &mut self,
        i: usize,
        request: &Request,
        mut now: Instant,
        gate: impl FnOnce() -> Gate,
    ) -> (Answer, Moment) {
        if self.bus.is_ambiguous(self.devices[i].spec.unit, request) {
            let device = &self.devices[i];
            let unit = device.spec.unit;
            let Some(bridge) = self.bus.bridge_to(unit, request, device.bridges()) else {
                return (Answer::NotAsked, Moment::now());
            };
            self.stats.probes.add(1);
            let (answer, ended) = self.transact(i, &bridge, now, || Gate::Open).await;
            if matches!(answer, Answer::Missed | Answer::NotAsked) || self.bus.is_ambiguous(unit, request) {
                return (Answer::NotAsked, ended);
            }
            now = ended.instant;
        }
        self.transact(i, request, now, gate).await
    }

    async fn transact(
        &mut self,
        i: usize,
        request: &Request,
        now: Instant,
        gate: impl FnOnce() -> Gate,
    ) -> (Answer, Moment) {
        self.bus.hold_until(self.devices[i].ready_at);
        let started = match self.bus.ready(now).await {
            Ok(started) => started,
            Err(miss) => return (self.not_asked(i, &miss), Moment::now()),
        };
        if gate() == Gate::Closed {
            return (Answer::NotAsked, Moment::now());
        }
        let device = &mut self.devices[i];
        device.asked(started);
        let (answer, ended) = self.bus.exchange(device.ask(request), started).await;
        (self.heard(i, answer, ended), ended)
    }

    /// The line could not be made ready for a question.
    pub(super) fn not_asked(&mut self, i: usize, miss: &Miss) -> Answer {
        debug!(line = %self.name, device = %self.devices[i].spec.id, ?miss, "not asked");
        self.stats.devices[i].link_error.add(1);
        // A line that does not fall silent lets no device be heard; one that is down is reported as such.
        if matches!(miss, Miss::Noise) { Answer::Missed } else { Answer::NotAsked }
    }

    /// A transaction ended: counts it, and notes who was heard.
    pub(super) fn heard(&mut self, i: usize, answer: Result<Reply, Miss>, ended: Moment) -> Answer {
        let counters = &self.stats.devices[i];
        match &answer {
            Ok(_) | Err(Miss::Discarded) => self.hearing.heard(),
            Err(_) => self.hearing.missed(i),
        }
        let reply = match answer {
            Ok(reply) => reply,
            Err(miss) => {
                debug!(line = %self.name, device = %self.devices[i].spec.id, ?miss, "no answer");
                match miss {
                    Miss::Timeout => counters.timeout.add(1),
                    Miss::Discarded => counters.crc_error.add(1),
                    Miss::Link(_) | Miss::Down | Miss::Noise => counters.link_error.add(1),
                }
                return Answer::Missed;
            }
        };
        if let Reply::Exception(code) = reply {
            counters.exception.add(1);
            if matches!(code, GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_FAILED) {
                return Answer::Missed;
            }
        } else {
            counters.succeeded(ended.at);
        }
        self.devices[i].heard_at = Some(ended.instant);
        match reply {
            Reply::Exception(code) => Answer::Refused(code),
            Reply::Words(words) => Answer::Data(words),
            Reply::Bits(bits) => Answer::Bits(bits),
            Reply::Written => Answer::Written,
            // A line asks nobody for an identity.
            Reply::Identity(_) => Answer::Missed,
        }
    }

    /// Asks what a slot has to ask next.
    pub(super) async fn poll(&mut self, s: usize, now: Instant) {
        if let Some(turn) = self.begin(s, now) {
            self.carry_out(turn).await;
        }
    }

    /// Asks for something, alone on the line or with others.
    async fn carry_out(&mut self, turn: Turn) {
        if self.window > 1 {
            self.launch(turn).await;
        } else {
            let (answer, ended) = self.ask(turn.device, &turn.request, turn.started, || Gate::Open).await;
            self.settle(turn, answer, ended);
        }
    }

    /// What a slot asks next; `None` if there is nothing in this turn.
    fn begin(&mut self, s: usize, started: Instant) -> Option<Turn> {
        let slot = &mut self.slots[s];
        let i = slot.device;
        let device = &self.devices[i];
        slot.replan(device);
        if !slot.is_repeat() && !slot.seek(started) {
            if slot.is_idle() {
                self.stats.overruns.add(slot.skip(started));
            }
            return None;
        }
        let repeat = slot.repeat();
        let Some(planned) = slot.reads.get(slot.position) else {
            // Whatever led here, a slot that is chosen and asks nothing would be chosen again for ever.
            self.stats.overruns.add(slot.skip(started));
            return None;
        };
        let request = planned.request.clone();
        if repeat == Some(Repeat::Doubt)
            && let Some(other) = device.other_than(&request)
        {
            slot.launch_other();
            return Some(Turn { device: i, slot: s, request: other.clone(), purpose: Purpose::Doubt, started });
        }
        slot.launch();
        Some(Turn { device: i, slot: s, request, purpose: Purpose::Read(repeat), started })
    }

    /// What was asked is answered, or will not be.
    pub(super) fn settle(&mut self, turn: Turn, answer: Answer, ended: Moment) {
        let is_missed = matches!(answer, Answer::Missed | Answer::NotAsked);
        match turn.purpose {
            Purpose::Read(_) if !is_missed => self.answered(&turn, answer, ended),
            Purpose::Read(repeat) => self.missed(&turn, repeat),
            Purpose::Doubt => self.doubt_settled(&turn, is_missed),
            Purpose::Witness => {
                if is_missed {
                    self.hearing.missed(turn.device);
                }
            }
            Purpose::Probe if !is_missed => self.answered(&turn, answer, ended),
            Purpose::Probe => self.probe_missed(&turn),
        }
    }

    /// A read was answered: publishes what it brought and moves the slot on.
    fn answered(&mut self, turn: &Turn, answer: Answer, ended: Moment) {
        let (i, Moment { instant: now, at }) = (turn.device, ended);
        self.answering(i);
        let slot = &mut self.slots[turn.slot];
        // The reads may have been split since; then the halves will bring it.
        let Some(p) = slot.reads.iter().position(|r| r.request == turn.request) else {
            self.stats.overruns.add(slot.settled(now));
            return;
        };
        let planned = &mut slot.reads[p];
        planned.rests = None;
        if !self.devices[i].meeting.is_over() {
            self.introduced(turn.slot, p, &answer);
            return;
        }
        if let Answer::Refused(code) = answer {
            self.refused(turn.slot, p, code, at);
            return;
        }
        let quality = match planned.trust {
            Trust::Confirmed => Quality::Good,
            Trust::Unconfirmed => Quality::Suspect,
        };
        (planned.trust, planned.proven, planned.refusals) = (Trust::Confirmed, true, 0);
        let device = &mut self.devices[i];
        device.learn_from_answer(&planned.read);
        let pulse = device.decoder.pulse();
        let readings = device.readings(&planned.read, &answer, quality, at, now - self.started);
        if device.decoder.pulse() != pulse {
            let health = device.pulse_changed(&self.name);
            self.reporter.health(device.spec.ix, health, at);
            if let DeviceHealth::Silent(reason) = health {
                // What is read more rarely must not stay good until then.
                self.reporter.readings(device.spec.ix, device.all_bad(reason, at));
            }
        }
        if device.last_good.as_ref() != Some(&planned.request) {
            device.last_good = Some(planned.request.clone());
        }
        self.reporter.readings(device.spec.ix, readings);
        slot.learn(p, now - turn.started);
        if quality == Quality::Suspect && slot.class == PollClass::Alarm {
            slot.again(p, Repeat::Suspect);
        } else {
            self.stats.overruns.add(slot.settled(now));
        }
    }

    /// The device answers, and will not answer this. A read of several points is split until the culprit is alone: one
    /// address it does not have must not cost it the others. A read that used to work is given a few chances before.
    fn refused(&mut self, s: usize, p: usize, code: u8, at: Timestamp) {
        let slot = &mut self.slots[s];
        let device = &mut self.devices[slot.device];
        let planned = &mut slot.reads[p];
        planned.refusals = planned.refusals.saturating_add(1);
        let names_the_place = matches!(code, ILLEGAL_ADDRESS | ILLEGAL_VALUE);
        if names_the_place && (!planned.proven || planned.refusals >= REFUSALS_MAX) {
            if let Some((low, high)) = device.learn_from_refusal(&planned.read) {
                // Planned for, and nobody has to do anything about it.
                debug!(line = %self.name, device = %device.spec.id, code, address = planned.read.address,
                    count = planned.read.count, "device refused a read of several points; it is read in two halves");
                slot.reads.splice(p..=p, [Planned::new(low), Planned::new(high)]);
                slot.back_to(p);
                return;
            }
            let pause = REFUSED_STEP.saturating_mul(planned.refusals).min(REFUSED_MAX);
            planned.rests = Some(Rest { misses: 0, until: Instant::now() + pause });
            let points = &device.spec.profile.points;
            for point in planned.read.points.iter().filter_map(|i| points.get(*i)) {
                warn!(line = %self.name, device = %device.spec.id, point = %point.id, code,
                    address = planned.read.address, count = planned.read.count, again_in_s = pause.as_secs(),
                    "device refuses this point; compare the profile with the device's firmware and register map");
            }
        } else {
            warn!(line = %self.name, device = %device.spec.id, code, address = planned.read.address,
                count = planned.read.count, "device refused a read");
        }
        let bad = device.bad_readings(&planned.read, BadReason::Refused, at);
        self.reporter.readings(device.spec.ix, bad);
        self.stats.overruns.add(slot.settled(Instant::now()));
    }

    /// A read was missed. The device is asked for something else first, then for this again; if it answers the one and
    /// not the other, only this read rests. A device that answers neither is silent.
    fn missed(&mut self, turn: &Turn, repeat: Option<Repeat>) {
        let slot = &mut self.slots[turn.slot];
        let Some(p) = slot.reads.iter().position(|r| r.request == turn.request) else {
            slot.back_to(0);
            return;
        };
        match repeat {
            Some(Repeat::OnceMore) => self.let_rest(turn.slot, p),
            // If there was nothing else to ask for, the doubt asked for the same again.
            Some(Repeat::Doubt) => {
                slot.back_to(p);
                self.silent_now(turn.device);
            }
            None | Some(Repeat::Suspect) => slot.again(p, Repeat::Doubt),
        }
    }

    /// Whether the device answers anything is known.
    fn doubt_settled(&mut self, turn: &Turn, is_missed: bool) {
        let slot = &mut self.slots[turn.slot];
        if slot.repeat() != Some(Repeat::Doubt) {
            // The device fell silent meanwhile and may be back already; the doubt was about what it was asked before.
            self.stats.overruns.add(slot.settled(Instant::now()));
        } else if is_missed {
            slot.back_to(0);
            self.silent_now(turn.device);
        } else {
            slot.again(slot.position, Repeat::OnceMore);
        }
    }

    /// The device answers, but not to this read.
    fn let_rest(&mut self, s: usize, p: usize) {
        let now = Instant::now();
        let slot = &mut self.slots[s];
        let device = &mut self.devices[slot.device];
        let planned = &mut slot.reads[p];
        let misses = planned.rests.map_or(0, |r| r.misses).saturating_add(1);
        planned.rests = Some(Rest { misses, until: now + REST_STEP.saturating_mul(misses).min(REST_MAX) });
        planned.trust = Trust::Unconfirmed;
        warn!(line = %self.name, device = %device.spec.id, address = planned.read.address, count = planned.read.count,
            "device answers, but not to this read");
        let bad = device.bad_readings(&planned.read, BadReason::NoAnswer, clock::now());
        self.reporter.readings(device.spec.ix, bad);
        self.stats.overruns.add(slot.settled(now));
    }

    fn silent_now(&mut self, i: usize) {
        let reason = if self.bus.down_until().is_some() { BadReason::LineDown } else { BadReason::NoAnswer };
        self.silence(i, reason);
    }

    /// Asks a device that was heard lately, to find out whether the line carries anything at all.
    pub(super) async fn witness(&mut self, i: usize) {
        let slot = self.slots.iter().position(|s| s.device == i);
        match (slot, self.devices[i].last_good.clone()) {
            (Some(slot), Some(request)) => {
                let (purpose, started) = (Purpose::Witness, Instant::now());
                self.carry_out(Turn { device: i, slot, request, purpose, started }).await;
            }
            // It has answered something, but nothing that could be asked for again.
            _ => self.devices[i].heard_at = None,
        }
    }

    /// The silent device that is to be probed first, and from when on.
    pub(super) fn next_probe(&self) -> Option<(usize, Instant)> {
        let silent = self.devices.iter().enumerate().filter(|(_, d)| d.under_way == 0);
        silent.filter_map(|(i, d)| d.probe_at().map(|at| (at, i))).min().map(|(at, i)| (i, at))
    }

    /// From when on it may be probed: at once while nobody has to wait for that, or else when it is its turn.
    pub(super) fn probe_from(&self, i: usize, next_poll: Option<Instant>, now: Instant) -> Instant {
        // With several questions under way nobody waits for the answer to one.
        let takes = if self.window > 1 { Duration::ZERO } else { self.devices[i].response_max + self.bus.linger() };
        if next_poll.is_none_or(|poll| now + takes <= poll) { now } else { self.probes_from }
    }

    /// Looks whether a silent device is back, with the first read of its most urgent slot.
    pub(super) async fn probe(&mut self, i: usize) {
        let started = Instant::now();
        for slot in self.slots.iter_mut().filter(|s| s.device == i && s.is_idle()) {
            slot.forget();
            slot.replan(&self.devices[i]);
        }
        let Some(s) = self.slots.iter().position(|s| s.device == i && s.is_idle() && !s.reads.is_empty()) else {
            // A device without a readable point cannot be found alive; it is left alone.
            self.devices[i].probe_missed(started);
            return;
        };
        let slot = &mut self.slots[s];
        slot.forget();
        let request = slot.reads[0].request.clone();
        slot.launch();
        self.carry_out(Turn { device: i, slot: s, request, purpose: Purpose::Probe, started }).await;
    }

    fn probe_missed(&mut self, turn: &Turn) {
        let (i, now) = (turn.device, Instant::now());
        self.slots[turn.slot].back_to(0);
        if self.window == 1 && matches!(self.next_poll(now), Next::Poll(_)) {
            self.probes_from = now + (now - turn.started) * PROBE_REST;
        }
        let device = &mut self.devices[i];
        device.probe_missed(now);
        if self.bus.down_until().is_some() || self.health != LineHealth::Up {
            return;
        }
        // The line is up again; what remains is that the device does not answer. The readings are repeated, because an
        // earlier report of them may have been dropped.
        if matches!(device.state, State::Silent { reason: BadReason::LineDown, .. }) {
            self.silence(i, BadReason::NoAnswer);
        } else if device.tell_again(now) {
            let bad = self.devices[i].all_bad(BadReason::NoAnswer, clock::now());
            self.reporter.readings(self.devices[i].spec.ix, bad);
        }
    }
}

/// Whether a request may still be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Closed,
}

/// The value of the point at position `i` of a profile in an answer to `read`.
pub(super) fn value(device: &FieldDevice, read: &ReadRequest, i: usize, answer: &Answer) -> Result<Value, DecodeError> {
    let point = &device.profile.points[i];
    let place = registers(point).ok_or(DecodeError::NotRegisters)?;
    let start = usize::from(place.address.wrapping_sub(read.address));
    let range = start..start + usize::from(place.count);
    let missing = DecodeError::WordCount { expected: usize::from(place.count), got: 0 };
    match answer {
        Answer::Data(words) => decode(point, words.get(range).ok_or(missing)?),
        Answer::Bits(bits) => decode_bit(point, *bits.get(start).ok_or(missing)?),
        _ => Err(missing),
    }
}

impl Device {
    /// The readings that an answer to `read` brings, those derived from it included.
    pub(super) fn readings(
        &mut self,
        read: &ReadRequest,
        answer: &Answer,
        quality: Quality,
        at: Timestamp,
        now: Duration,
    ) -> Vec<Reading> {
        let extent = Extent { table: read.table, address: read.address, count: read.count };
        let answer = match answer {
            Answer::Data(words) => decode::Answer::Words(words),
            Answer::Bits(bits) => decode::Answer::Bits(bits),
            _ => decode::Answer::Words(&[]),
        };
        let spec = &self.spec;
        let reading = |i, value| match value {
            Ok(value) => Reading { point: spec.point(i), value: Some(value), quality, at },
            Err(error) => Reading::bad(spec.point(i), DecodeError::reason(error), at),
        };
        if let (decode::Answer::Words(words), true) = (answer, self.decoder.is_plain()) {
            // Nearly every answer there is; each reading is made in its place in the list.
            return read.points.iter().map(|&i| reading(i, self.decoder.value_of(i, extent, words))).collect();
        }
        let mut readings = Vec::with_capacity(read.points.len());
        self.decoder.answer(extent, answer, &read.points, now, |i, value| readings.push(reading(i, value)));
        readings
    }

    /// The readings of a read that brought nothing, those derived from it included.
    fn bad_readings(&mut self, read: &ReadRequest, reason: BadReason, at: Timestamp) -> Vec<Reading> {
        let derived = self.decoder.lost(&read.points);
        let all = read.points.iter().copied().chain(derived);
        all.map(|i| Reading::bad(self.spec.point(i), reason, at)).collect()
    }
}
