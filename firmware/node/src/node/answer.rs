//! Requests and their answers.

use super::{Core, Pending};
use crate::board::Board;
use crate::credit::TopUpResult;
use crate::journal::Ring;
use crate::map::{self, Access, Id, Rule};
use crate::pdu::{Bits, Exception, Reply, Request, group, parse};
use crate::rtu::LineCounters;
use crate::settings::Settings;
use crate::state::{Position, State};

/// What identification objects say.
const VENDOR: &[u8] = b"Guanjia";
const PRODUCT_CODE: &[u8] = b"GJ-NODE";
const PRODUCT_NAME: &[u8] = b"Guanjia field node";
/// Basic and regular objects, as a stream or one at a time.
const CONFORMITY: u8 = 0x82;

/// When a request is answered.
enum Done {
    /// With what is in the reply.
    Now,
    /// As a write is, with the begin of the request.
    Echo,
    /// When its record is stored.
    Later(Option<(usize, u32)>),
}

impl<B: Board> Core<B> {
    /// Answers a frame (address and PDU) into `place`; `None` = with silence, or later.
    pub(super) fn answer(&mut self, frame: &[u8], line: &LineCounters, place: &mut [u8]) -> Option<usize> {
        let (&address, pdu) = frame.split_first()?;
        let broadcast = address == 0;
        if !broadcast && Some(address) != self.address() {
            return None;
        }
        self.frames = self.frames.wrapping_add(1);
        self.last_frame_s = self.time.s;
        let function = *pdu.first()?;
        let mut echo = [address, function, 0, 0, 0, 0];
        for (place, byte) in echo.iter_mut().zip(frame) {
            *place = *byte;
        }
        let mut reply = Reply::new(place);
        reply.byte(address);
        let done = parse(pdu).and_then(|request| {
            reply.byte(function);
            self.handle(&request, broadcast, line, &mut reply)
        });
        match done {
            Ok(Done::Later(top_up)) => {
                self.pending = Some(Pending { echo, broadcast, top_up });
                None
            }
            _ if broadcast => None,
            Ok(Done::Now) => reply.finish(),
            Ok(Done::Echo) => {
                *place.first_chunk_mut::<6>()? = echo;
                Some(6)
            }
            Err(exception) => {
                self.exceptions = self.exceptions.wrapping_add(1);
                *place.first_chunk_mut::<3>()? = [address, function | 0x80, exception as u8];
                Some(3)
            }
        }
    }

    fn handle(
        &mut self,
        request: &Request<'_>,
        broadcast: bool,
        line: &LineCounters,
        reply: &mut Reply<'_>,
    ) -> Result<Done, Exception> {
        match *request {
            // Nobody hears what a broadcast reads.
            Request::ReadBits(..)
            | Request::ReadWords(..)
            | Request::ServerId
            | Request::DeviceId(..)
            | Request::ReadFile(_)
                if broadcast =>
            {
                Err(Exception::IllegalFunction)
            }
            Request::ReadBits(bits, start, count) => self.read_bits(bits, start, count, reply),
            Request::ReadWords(start, count) => self.read_words(start, count, line, reply),
            Request::WriteCoil(coil, on) => self.write_coils(coil, 1, &[u8::from(on)]),
            Request::WriteCoils(start, count, packed) => self.write_coils(start, count, packed),
            Request::WriteWords(start, data) => self.write_words(start, data, broadcast),
            Request::ServerId => {
                let text = [PRODUCT_NAME, b" "];
                let (version, length) = digits(self.parts.identity.version.0);
                let bytes = PRODUCT_NAME.len() + 1 + length + 2;
                reply.byte(bytes as u8);
                reply.byte(map::DEVICE_TYPE as u8);
                reply.byte(0xFF);
                text.iter().for_each(|text| reply.bytes(text));
                reply.bytes(version.get(..length).unwrap_or(&[]));
                Ok(Done::Now)
            }
            Request::DeviceId(code, object) => self.device_id(code, object, reply),
            Request::ReadFile(groups) => self.read_file(groups, reply),
            // A package is for one board, and its records come in order: nothing for all.
            Request::WriteFile(_) if broadcast => Err(Exception::IllegalFunction),
            Request::WriteFile(groups) => {
                let mut rest = groups;
                while !rest.is_empty() {
                    let record = group(&mut rest, true)?;
                    self.update.write(&record, &mut self.parts.staging)?;
                }
                reply.byte(groups.len() as u8);
                reply.bytes(groups);
                Ok(Done::Now)
            }
        }
    }

    fn read_bits(&self, bits: Bits, start: u16, count: u16, reply: &mut Reply<'_>) -> Result<Done, Exception> {
        let last = start.checked_add(count - 1).ok_or(Exception::IllegalAddress)?;
        let limit = match bits {
            Bits::Coils => map::COIL_COUNT,
            Bits::Discrete => map::DISCRETE_COUNT,
        };
        if last >= limit {
            return Err(Exception::IllegalAddress);
        }
        reply.byte(count.div_ceil(8) as u8);
        let mut packed = 0;
        for at in 0..count {
            let bit = self.bit(bits, start + at).ok_or(Exception::IllegalAddress)?;
            packed |= u8::from(bit) << (at & 7);
            if at & 7 == 7 || at + 1 == count {
                reply.byte(core::mem::take(&mut packed));
            }
        }
        Ok(Done::Now)
    }

    fn read_words(
        &self,
        start: u16,
        count: u16,
        line: &LineCounters,
        reply: &mut Reply<'_>,
    ) -> Result<Done, Exception> {
        reply.byte((count * 2) as u8);
        let mut at = start;
        let mut left = count;
        while left > 0 {
            let (rule, n, mut word) = map::containing(at).ok_or(Exception::IllegalAddress)?;
            while word < rule.kind.words() && left > 0 {
                reply.word(self.word(rule, n, word, line));
                word += 1;
                left -= 1;
                at = at.wrapping_add(1);
            }
            if at == 0 && left > 0 {
                return Err(Exception::IllegalAddress);
            }
        }
        Ok(Done::Now)
    }

    fn write_coils(&mut self, start: u16, count: u16, packed: &[u8]) -> Result<Done, Exception> {
        let last = start.checked_add(count - 1).ok_or(Exception::IllegalAddress)?;
        if last >= map::COIL_COUNT {
            return Err(Exception::IllegalAddress);
        }
        let mut state = self.state.clone();
        for at in 0..count {
            let bits = packed.get(usize::from(at >> 3)).copied().unwrap_or(0);
            let passing = bits >> (at & 7) & 1 == 1;
            let output = usize::from(start + at);
            self.order(&mut state, output, Some(self.motion(output).kind.position(passing)))?;
        }
        self.keep(state, None)
    }

    #[inline(never)]
    fn write_words(&mut self, start: u16, data: &[u8], broadcast: bool) -> Result<Done, Exception> {
        let (rule, n) = map::at(start).ok_or(Exception::IllegalAddress)?;
        if rule.access == Access::Command {
            let (value, rest) = raw(rule, data).ok_or(Exception::IllegalAddress)?;
            return if rest.is_empty() {
                self.command(rule, n, value, data, broadcast)
            } else {
                Err(Exception::IllegalAddress)
            };
        }
        // Addresses before values, and all of them before any.
        let mut settings = self.settings.clone();
        let mut sound = true;
        let (mut at, mut rest) = (start, data);
        while !rest.is_empty() {
            let (rule, n) =
                map::at(at).filter(|(rule, _)| rule.access == Access::Setting).ok_or(Exception::IllegalAddress)?;
            let (value, after) = raw(rule, rest).ok_or(Exception::IllegalAddress)?;
            sound &= rule.allows(value);
            settings.put(rule, n, value);
            rest = after;
            at = at.wrapping_add(rule.kind.words());
        }
        if !sound {
            return Err(Exception::IllegalValue);
        }
        self.keep_settings(&settings)
    }

    fn command(&mut self, rule: &Rule, n: u16, value: u32, data: &[u8], broadcast: bool) -> Result<Done, Exception> {
        let channel = usize::from(n);
        if rule.id == Id::TopUpFrame {
            // A purchase belongs to one meter.
            return if broadcast { Err(Exception::IllegalAddress) } else { self.top_up(channel, data) };
        }
        if !rule.allows(value) {
            return Err(Exception::IllegalValue);
        }
        match rule.id {
            Id::ContactLatched => {
                self.latched &= !(value as u8);
                Ok(Done::Echo)
            }
            Id::EmergencyRequest => {
                let terms = self.settings.terms(channel);
                let mut state = self.state.clone();
                let account = state.accounts.get_mut(channel).ok_or(Exception::IllegalAddress)?;
                *account = account.lend(&terms).ok_or(Exception::IllegalValue)?;
                self.keep(state, None)
            }
            Id::PulsePreset => {
                let mut state = self.state.clone();
                state.accounts.get_mut(channel).ok_or(Exception::IllegalAddress)?.pulses = value;
                self.keep(state, None)
            }
            Id::OutputCommand => {
                let mut state = self.state.clone();
                self.order(&mut state, channel, Position::from_code(value as u16))?;
                self.keep(state, None)
            }
            Id::Clock => {
                self.clock = Some((value, self.time.s));
                Ok(Done::Echo)
            }
            Id::Reboot => {
                self.reboot = true;
                Ok(Done::Echo)
            }
            Id::ClearTamper => {
                self.tampered = false;
                Ok(Done::Echo)
            }
            Id::UpdateCommand if broadcast => Err(Exception::IllegalAddress),
            Id::UpdateCommand => {
                self.update.command(value as u16, &mut self.parts.staging)?;
                self.reboot |= self.update.state() == crate::update::UpdateState::Installing;
                Ok(Done::Echo)
            }
            _ => Err(Exception::IllegalAddress),
        }
    }

    fn top_up(&mut self, channel: usize, data: &[u8]) -> Result<Done, Exception> {
        let (count, rest) = data.split_first_chunk::<4>().ok_or(Exception::IllegalAddress)?;
        let amount = rest.first_chunk::<4>().ok_or(Exception::IllegalAddress)?;
        let (count, amount) = (u32::from_be_bytes(*count), i32::from_be_bytes(*amount));
        if !self.loaded {
            return Err(Exception::DeviceFailure);
        }
        let terms = self.settings.terms(channel);
        let mut state = self.state.clone();
        let account = state.accounts.get_mut(channel).ok_or(Exception::IllegalAddress)?;
        match account.top_up(&terms, count, amount) {
            Ok(after) => {
                *account = after;
                self.keep(state, Some((channel, count)))
            }
            Err(result) => {
                if let Some(place) = self.results.get_mut(channel) {
                    *place = (result, count);
                }
                if result == TopUpResult::AlreadyApplied { Ok(Done::Echo) } else { Err(Exception::IllegalValue) }
            }
        }
    }

    /// Puts a command into a state that is to be kept.
    fn order(&mut self, state: &mut State, output: usize, command: Option<Position>) -> Result<(), Exception> {
        let intent = state.outputs.get_mut(output).ok_or(Exception::IllegalAddress)?;
        intent.command = command;
        if command.is_some() {
            // From here on the command says where it goes, not the memory of a cut.
            intent.by_credit = false;
        }
        if let (Some(booting), Some(retry)) = (self.booting.get_mut(output), self.retry.get_mut(output)) {
            *booting = false;
            *retry = true;
        }
        Ok(())
    }

    /// Keeps a changed state; answered when it is stored.
    fn keep(&mut self, state: State, top_up: Option<(usize, u32)>) -> Result<Done, Exception> {
        if !self.loaded {
            return Err(Exception::DeviceFailure);
        }
        if state == self.state && !self.storage_fault {
            return Ok(Done::Echo);
        }
        let begun = self.journal.begin(Ring::State, |place| state.encode(place));
        if begun { Ok(Done::Later(top_up)) } else { Err(Exception::Busy) }
    }

    fn keep_settings(&mut self, settings: &Settings) -> Result<Done, Exception> {
        if !self.loaded {
            return Err(Exception::DeviceFailure);
        }
        if *settings == self.settings && !self.settings_lost {
            return Ok(Done::Echo);
        }
        let begun = self.journal.begin(Ring::Settings, |place| settings.encode(place));
        if begun { Ok(Done::Later(None)) } else { Err(Exception::Busy) }
    }

    fn read_file(&mut self, groups: &[u8], reply: &mut Reply<'_>) -> Result<Done, Exception> {
        let mut rest = groups;
        reply.byte(0);
        while !rest.is_empty() {
            let record = group(&mut rest, false)?;
            let bytes = usize::from(record.words) * 2;
            // The answer must fit into one PDU.
            if bytes + 2 > reply.room().min(253) {
                return Err(Exception::IllegalValue);
            }
            reply.byte(bytes as u8 + 1);
            reply.byte(6);
            let place = reply.reserve(bytes).ok_or(Exception::IllegalValue)?;
            self.update.read(&record, place, &mut self.parts.staging)?;
        }
        reply.patch(2, (reply.length() - 3) as u8);
        Ok(Done::Now)
    }

    fn device_id(&self, code: u8, object: u8, reply: &mut Reply<'_>) -> Result<Done, Exception> {
        let (version, length) = digits(self.parts.identity.version.0);
        let version = version.get(..length).unwrap_or(&[]);
        let objects: [(u8, &[u8]); 4] = [(0, VENDOR), (1, PRODUCT_CODE), (2, version), (4, PRODUCT_NAME)];
        let last = if code == 1 { 2 } else { 6 };
        let known = objects.iter().any(|(id, _)| *id == object && *id <= last);
        let (first, last) = match code {
            4 if known => (object, object),
            4 => return Err(Exception::IllegalAddress),
            // A stream that begins at an object which is not there begins at the first.
            _ => (if known { object } else { 0 }, last),
        };
        let chosen = || objects.iter().filter(|(id, _)| (first..=last).contains(id));
        reply.bytes(&[14, code, CONFORMITY, 0, 0, chosen().count() as u8]);
        for (id, text) in chosen() {
            reply.byte(*id);
            reply.byte(text.len() as u8);
            reply.bytes(text);
        }
        Ok(Done::Now)
    }
}

/// The raw value of a rule at the begin of some bytes, and the rest; a top-up frame is taken apart by its own.
fn raw<'a>(rule: &Rule, data: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (bytes, rest) = data.split_at_checked(usize::from(rule.kind.words()) * 2)?;
    Some((bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)), rest))
}

/// A version as "1.2.3".
fn digits(version: u32) -> ([u8; 11], usize) {
    let mut text = [0; 11];
    let mut reply = Reply::new(&mut text);
    let [_, parts @ ..] = version.to_be_bytes();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            reply.byte(b'.');
        }
        if *part >= 100 {
            reply.byte(b'0' + part / 100);
        }
        if *part >= 10 {
            reply.byte(b'0' + part / 10 % 10);
        }
        reply.byte(b'0' + part % 10);
    }
    let length = reply.length();
    (text, length)
}
