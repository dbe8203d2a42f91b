//! Modbus RTU on the line: where a frame begins and ends, and who may drive the wire.
//!
//! ```text
//!            bytes                     silence t3.5, CRC right            answer
//!  RECEIVE ─────────► (more bytes) ─────────────────────────► HELD ─────────────────► SEND ──► DRAIN ──► RECEIVE
//!     ▲                    │ wrong CRC, too long, line error,   │ new bytes: the        last byte   last stop bit:
//!     └────────────────────┘ gap above t1.5: silence            │ master gave up        handed over  driver off
//!     ▲─────────────────────────────────────────────────────────┘
//! ```
//!
//! * A character has eleven bits. t1.5 and t3.5 are 16.5 and 38.5 bits; above 19,200 Bd they are 750 and 1750 µs (Modbus
//!   over serial line V1.02, 2.5.1.1).
//! * A gap counts as proven only when a turn has looked and found nothing: a late turn never splits a frame.
//! * Everything is bounded by the 256 bytes of a frame; more bytes spoil the frame until the next silence.
//! * An answer that does not get out in time is given up, and the driver switched off.
//! * What is heard while sending is the own echo, and is thrown away.

use embedded_hal::digital::OutputPin;

use crate::board::{LineSettings, Uart};
use crate::crc::crc16;

/// Longest frame on the wire.
pub const FRAME_MAX: usize = 256;
/// Bytes taken from the line in one turn, so that a babbling line cannot hold up the rest.
const TURN_MAX: usize = 64;

/// Longest an answer may take: 256 characters at 1200 Bd are 2.4 s. Who holds the driver for longer jams the line for all.
pub const JABBER_US: u32 = 3_000_000;

/// The two silences, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Longest pause inside a frame.
    pub t15_us: u32,
    /// Shortest pause between frames.
    pub t35_us: u32,
}

impl Silence {
    /// Of a speed.
    pub const fn of(line: LineSettings) -> Self {
        if line.baud > 19_200 {
            return Self { t15_us: 750, t35_us: 1750 };
        }
        // A speed of nothing never gets here from the map.
        let baud = if line.baud == 0 { 1 } else { line.baud };
        Self { t15_us: 16_500_000 / baud, t35_us: 38_500_000 / baud }
    }
}

/// What the line has seen, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Frames with a wrong CRC, too short or too long.
    pub crc_errors: u16,
    /// Frames with a pause above t1.5.
    pub gaps: u16,
    /// Parity, framing and overrun errors.
    pub errors: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Receive,
    Held,
    Send(u16),
    Drain,
}

/// The line of a slave.
#[derive(Debug)]
pub struct Line {
    frame: [u8; FRAME_MAX],
    length: u16,
    phase: Phase,
    silence: Silence,
    drop_gaps: bool,
    /// When the last byte was read.
    last_us: u32,
    /// Silence since the last byte that a turn has seen for itself.
    silent_us: u32,
    /// The frame under way cannot be one.
    spoiled: bool,
    gap: bool,
    /// When the answer under way began.
    sending_us: Option<u32>,
    counters: LineCounters,
}

impl Line {
    /// A line that has heard nothing.
    pub const fn new(line: LineSettings, drop_gaps: bool) -> Self {
        Self {
            frame: [0; FRAME_MAX],
            length: 0,
            phase: Phase::Receive,
            silence: Silence::of(line),
            drop_gaps,
            last_us: 0,
            silent_us: 0,
            spoiled: false,
            gap: false,
            sending_us: None,
            counters: LineCounters { crc_errors: 0, gaps: 0, errors: 0 },
        }
    }

    /// Changes the silences; what was received is forgotten.
    pub fn configure(&mut self, line: LineSettings, drop_gaps: bool) {
        self.silence = Silence::of(line);
        self.drop_gaps = drop_gaps;
        self.forget();
    }

    /// What was seen.
    pub fn counters(&self) -> LineCounters {
        self.counters
    }

    /// Whether nothing is being sent.
    pub fn is_listening(&self) -> bool {
        matches!(self.phase, Phase::Receive | Phase::Held)
    }

    /// Whether nothing is being sent or received, and nothing is held.
    pub fn is_silent(&self) -> bool {
        self.phase == Phase::Receive && self.length == 0 && !self.spoiled
    }

    /// The frame that is held, without its CRC.
    pub fn held(&self) -> Option<&[u8]> {
        match self.phase {
            Phase::Held => self.frame.get(..usize::from(self.length.saturating_sub(2))),
            Phase::Receive | Phase::Send(_) | Phase::Drain => None,
        }
    }

    /// Lets go of the frame that is held, and listens.
    pub fn forget(&mut self) {
        self.length = 0;
        self.spoiled = false;
        self.gap = false;
        self.sending_us = None;
        self.phase = Phase::Receive;
    }

    /// Sends a frame: `fill` writes address and PDU and tells their length, the CRC is put behind them. Over the buffer of
    /// the frame that is held.
    pub fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> Option<usize>) {
        self.forget();
        let body = self.frame.get_mut(..FRAME_MAX - 2);
        let Some(length) = body.and_then(fill) else { return };
        let Some((body, rest)) = self.frame.split_at_mut_checked(length) else { return };
        if let Some(place) = rest.first_chunk_mut::<2>() {
            *place = crc16(body).to_le_bytes();
            self.length = (length + 2) as u16;
            self.phase = Phase::Send(0);
        }
    }

    /// One turn; `true` when a frame is held that was not held before.
    pub fn poll(&mut self, uart: &mut impl Uart, driver: &mut impl OutputPin, now_us: u32) -> bool {
        if !self.is_listening() && self.jabbers(now_us) {
            let _ = driver.set_low();
            self.forget();
            self.last_us = now_us;
            self.silent_us = 0;
            return false;
        }
        match self.phase {
            Phase::Send(at) => {
                let _ = driver.set_high();
                self.transmit(uart, at);
                self.drain(uart, driver, now_us);
                false
            }
            Phase::Drain => {
                self.drain(uart, driver, now_us);
                false
            }
            Phase::Receive | Phase::Held => self.receive(uart, now_us),
        }
    }

    /// Drops what is heard of one's own sending, and listens as soon as the last bit has left: a line without a wire is
    /// idle at once, and a master at its other end may go on in the same millisecond.
    fn drain(&mut self, uart: &mut impl Uart, driver: &mut impl OutputPin, now_us: u32) {
        discard(uart);
        if self.phase == Phase::Drain && uart.is_idle() {
            let _ = driver.set_low();
            self.forget();
            self.last_us = now_us;
            self.silent_us = 0;
        }
    }

    fn jabbers(&mut self, now_us: u32) -> bool {
        let since = *self.sending_us.get_or_insert(now_us);
        now_us.wrapping_sub(since) > JABBER_US
    }

    fn transmit(&mut self, uart: &mut impl Uart, mut at: u16) {
        while at < self.length && matches!(uart.write_ready(), Ok(true)) {
            let rest = self.frame.get(usize::from(at)..usize::from(self.length)).unwrap_or(&[]);
            match uart.write(rest) {
                Ok(0) => break,
                Ok(sent) => at = at.saturating_add(sent.min(FRAME_MAX) as u16),
                // A transmitter that fails leaves half an answer: the master's CRC tells it.
                Err(_) => at = self.length,
            }
        }
        self.phase = if at < self.length { Phase::Send(at) } else { Phase::Drain };
    }

    fn receive(&mut self, uart: &mut impl Uart, now_us: u32) -> bool {
        let mut taken = 0;
        while taken < TURN_MAX && matches!(uart.read_ready(), Ok(true)) {
            let mut chunk = [0; 16];
            match uart.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    taken += count;
                    self.take(chunk.get(..count).unwrap_or(&[]));
                }
                Err(_) => {
                    taken += 1;
                    self.counters.errors = self.counters.errors.wrapping_add(1);
                    self.take(&[]);
                    self.spoiled = true;
                }
            }
            self.last_us = now_us;
        }
        if taken > 0 {
            return false;
        }
        self.silent_us = now_us.wrapping_sub(self.last_us);
        let waiting = self.phase == Phase::Receive && (self.length > 0 || self.spoiled);
        if !waiting || self.silent_us < self.silence.t35_us {
            return false;
        }
        if self.is_good() {
            self.phase = Phase::Held;
            return true;
        }
        self.forget();
        false
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.phase == Phase::Held {
            // The master has not waited for the answer.
            self.forget();
        }
        self.gap |= self.length > 0 && self.silent_us > self.silence.t15_us;
        self.silent_us = 0;
        for byte in bytes {
            match self.frame.get_mut(usize::from(self.length)) {
                Some(place) => {
                    *place = *byte;
                    self.length += 1;
                }
                None => self.spoiled = true,
            }
        }
    }

    fn is_good(&mut self) -> bool {
        if self.gap {
            self.counters.gaps = self.counters.gaps.wrapping_add(1);
            if self.drop_gaps {
                return false;
            }
        }
        let good = match self.frame.get(..usize::from(self.length)).and_then(|frame| frame.split_last_chunk::<2>()) {
            // Address and function code at least.
            Some((body, crc)) => !self.spoiled && body.len() >= 2 && crc16(body) == u16::from_le_bytes(*crc),
            None => false,
        };
        if !good {
            self.counters.crc_errors = self.counters.crc_errors.wrapping_add(1);
        }
        good
    }
}

fn discard(uart: &mut impl Uart) {
    let mut chunk = [0; 16];
    let mut taken = 0;
    while taken < TURN_MAX && matches!(uart.read_ready(), Ok(true)) {
        taken += uart.read(&mut chunk).map_or(1, |count| count.max(1));
    }
}

#[cfg(test)]
mod tests;
