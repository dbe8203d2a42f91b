//! Asking, and what an answer or its absence means for the device and its points.

use std::time::Duration;

use guanjia_core::decode::{self, DecodeError, decode, decode_bit};
use guanjia_core::profile::{Extent, PollClass};
use guanjia_core::reading::{BadReason, Quality, Reading, Value};
use guanjia_core::time::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::device::Device;
use super::schedule::{Planned, Repeat, Rest, Trust};
use super::{FieldDevice, Line, State};
use crate::bus::{Ask, Miss};
use crate::clock;
use crate::frame::{Reply, Request};
use crate::plan::{ReadRequest, registers};

/// After an unanswered probe the line belongs to the others for this many times as long as the probe took.
const PROBE_REST: u32 = 4;

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

impl Line {
    /// Settles an ambiguity if there is one, waits for silence, and asks. `gate` has the last word before the first
    /// byte.
    pub(super) async fn ask(&mut self, i: usize, request: &Request, gate: impl FnOnce() -> Gate) -> Answer {
        if self.bus.is_ambiguous(self.devices[i].spec.unit, request) {
            let device = &self.devices[i];
            let unit = device.spec.unit;
            let Some(bridge) = self.bus.bridge_to(unit, request, device.bridges()) else { return Answer::NotAsked };
            self.stats.probes.add(1);
            match self.transact(i, &bridge, || Gate::Open).await {
                Answer::Missed | Answer::NotAsked => return Answer::NotAsked,
                _ if self.bus.is_ambiguous(unit, request) => return Answer::NotAsked,
                _ => {}
            }
        }
        self.transact(i, request, gate).await
    }

    async fn transact(&mut self, i: usize, request: &Request, gate: impl FnOnce() -> Gate) -> Answer {
        let counters = &self.stats.devices[i];
        if let Err(miss) = self.bus.ready().await {
            debug!(line = %self.name, device = %self.devices[i].spec.id, ?miss, "not asked");
            counters.link_error.add(1);
            // A line that does not fall silent lets no device be heard; one that is down is reported as such.
            return if matches!(miss, Miss::Noise) { Answer::Missed } else { Answer::NotAsked };
        }
        if gate() == Gate::Closed {
            return Answer::NotAsked;
        }
        let device = &self.devices[i];
        let ask = Ask {
            unit: device.spec.unit,
            request,
            response_max: device.response_max,
            silence_min: device.spec.profile.limits.silence_min,
        };
        match self.bus.exchange(ask).await {
            Ok(Reply::Exception(code)) => {
                counters.exception.add(1);
                match code {
                    GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_FAILED => Answer::Missed,
                    _ => Answer::Refused(code),
                }
            }
            Ok(reply) => {
                counters.succeeded(clock::now());
                match reply {
                    Reply::Words(words) => Answer::Data(words),
                    Reply::Bits(bits) => Answer::Bits(bits),
                    Reply::Written | Reply::Exception(_) => Answer::Written,
                }
            }
            Err(miss) => {
                debug!(line = %self.name, device = %device.spec.id, ?miss, "no answer");
                match miss {
                    Miss::Timeout => counters.timeout.add(1),
                    Miss::Discarded => counters.crc_error.add(1),
                    Miss::Link(_) | Miss::Down | Miss::Noise => counters.link_error.add(1),
                }
                Answer::Missed
            }
        }
    }

    /// Makes the next read of a slot.
    pub(super) async fn poll(&mut self, s: usize) {
        let now = Instant::now();
        let slot = &mut self.slots[s];
        slot.replan(&self.devices[slot.device]);
        if !slot.seek(now) {
            self.stats.overruns.add(slot.finish(now));
            return;
        }
        let (i, repeats) = (slot.device, slot.repeats());
        let request = slot.reads[slot.position].request.clone();
        let answer = self.ask(i, &request, || Gate::Open).await;
        let at = clock::now();
        match answer {
            Answer::Missed if repeats == Some(Repeat::Missed) => self.missed_twice(s, at).await,
            // A bridge that failed was not this read's miss, but the device's all the same.
            Answer::NotAsked if repeats == Some(Repeat::Missed) => self.missed_twice(s, at).await,
            Answer::Missed | Answer::NotAsked => self.slots[s].repeat(Repeat::Missed),
            answer => self.answered(s, answer, at),
        }
    }

    /// A read was answered: publishes what it brought and moves the slot on.
    fn answered(&mut self, s: usize, answer: Answer, at: Timestamp) {
        let i = self.slots[s].device;
        self.answering(i);
        let slot = &mut self.slots[s];
        let planned = &mut slot.reads[slot.position];
        planned.rests = None;
        if let Answer::Refused(code) = answer {
            self.refused(s, code, at);
            return;
        }
        let quality = match planned.trust {
            Trust::Confirmed => Quality::Good,
            Trust::Unconfirmed => Quality::Suspect,
        };
        (planned.trust, planned.proven, planned.refusals) = (Trust::Confirmed, true, 0);
        let device = &mut self.devices[i];
        device.learn_from_answer(&planned.read);
        let readings = device.readings(&planned.read, &answer, quality, at, self.started.elapsed());
        device.last_good = Some(planned.request.clone());
        self.reporter.readings(device.spec.ix, readings);
        if quality == Quality::Suspect && slot.class == PollClass::Alarm {
            slot.repeat(Repeat::Suspect);
        } else {
            self.stats.overruns.add(slot.advance(Instant::now()));
        }
    }

    /// The device answers, and will not answer this. A read of several points is split until the culprit is alone: one
    /// address it does not have must not cost it the others. A read that used to work is given a few chances before.
    fn refused(&mut self, s: usize, code: u8, at: Timestamp) {
        let slot = &mut self.slots[s];
        let device = &mut self.devices[slot.device];
        let planned = &mut slot.reads[slot.position];
        planned.refusals = planned.refusals.saturating_add(1);
        let names_the_place = matches!(code, ILLEGAL_ADDRESS | ILLEGAL_VALUE);
        if names_the_place && (!planned.proven || planned.refusals >= REFUSALS_MAX) {
            if let Some((low, high)) = device.learn_from_refusal(&planned.read) {
                info!(line = %self.name, device = %device.spec.id, code, address = planned.read.address,
                    count = planned.read.count, "device refused a read of several points; it is read in two halves");
                slot.reads.splice(slot.position..=slot.position, [Planned::new(low), Planned::new(high)]);
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
        self.stats.overruns.add(slot.advance(Instant::now()));
    }

    /// Two misses in a row. If the device answers to something else, only this read rests; otherwise it is silent.
    async fn missed_twice(&mut self, s: usize, at: Timestamp) {
        let slot = &self.slots[s];
        let (i, request) = (slot.device, slot.reads[slot.position].request.clone());
        let other = self.devices[i].last_good.clone().filter(|good| *good != request);
        let lives = match other {
            Some(other) if self.bus.down_until().is_none() => {
                matches!(self.ask(i, &other, || Gate::Open).await, Answer::Data(_) | Answer::Bits(_))
            }
            _ => false,
        };
        if !lives {
            let reason = if self.bus.down_until().is_some() { BadReason::LineDown } else { BadReason::NoAnswer };
            self.silence(i, reason);
            return;
        }
        let now = Instant::now();
        let (device, slot) = (&mut self.devices[i], &mut self.slots[s]);
        let planned = &mut slot.reads[slot.position];
        let misses = planned.rests.map_or(0, |r| r.misses).saturating_add(1);
        planned.rests = Some(Rest { misses, until: now + REST_STEP.saturating_mul(misses).min(REST_MAX) });
        planned.trust = Trust::Unconfirmed;
        warn!(line = %self.name, device = %device.spec.id, address = planned.read.address, count = planned.read.count,
            "device answers, but not to this read");
        let bad = device.bad_readings(&planned.read, BadReason::NoAnswer, at);
        self.reporter.readings(device.spec.ix, bad);
        self.stats.overruns.add(slot.advance(now));
    }

    /// The silent device that is to be probed first, and when.
    pub(super) fn next_probe(&self) -> Option<(usize, Instant)> {
        let silent = self.devices.iter().enumerate().filter_map(|(i, d)| d.probe_at().map(|at| (at, i)));
        silent.min().map(|(at, i)| (i, at.max(self.probes_from)))
    }

    /// Looks whether a silent device is back, with the first read of its most urgent slot.
    pub(super) async fn probe(&mut self, i: usize) {
        let started = Instant::now();
        let Some(s) = self.slots.iter().position(|s| s.device == i) else {
            // A device without a readable point cannot be found alive; it is left alone.
            self.devices[i].probe_missed(started);
            return;
        };
        let request = self.slots[s].reads[0].request.clone();
        self.slots[s].position = 0;
        match self.ask(i, &request, || Gate::Open).await {
            Answer::Missed | Answer::NotAsked => {
                let now = Instant::now();
                self.probes_from = now + (now - started) * PROBE_REST;
                let device = &mut self.devices[i];
                device.probe_missed(now);
                if self.bus.down_until().is_some() {
                    return;
                }
                let at = clock::now();
                // The line is up again; what remains is that the device does not answer. The readings are repeated,
                // because an earlier report of them may have been dropped.
                if matches!(device.state, State::Silent { reason: BadReason::LineDown, .. }) {
                    self.silence(i, BadReason::NoAnswer);
                } else {
                    let bad = self.devices[i].all_bad(BadReason::NoAnswer, at);
                    self.reporter.readings(self.devices[i].spec.ix, bad);
                }
            }
            answer => {
                let at = clock::now();
                self.answered(s, answer, at);
            }
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
        let (spec, mut readings) = (&self.spec, Vec::with_capacity(read.points.len()));
        self.decoder.answer(extent, answer, &read.points, now, |i, value| {
            readings.push(match value {
                Ok(value) => Reading { point: spec.point(i), value: Some(value), quality, at },
                Err(error) => Reading::bad(spec.point(i), error.reason(), at),
            });
        });
        readings
    }

    /// The readings of a read that brought nothing, those derived from it included.
    fn bad_readings(&mut self, read: &ReadRequest, reason: BadReason, at: Timestamp) -> Vec<Reading> {
        let derived = self.decoder.lost(&read.points);
        let all = read.points.iter().copied().chain(derived);
        all.map(|i| Reading::bad(self.spec.point(i), reason, at)).collect()
    }
}
