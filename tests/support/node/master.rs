//! A Modbus RTU master for tests, written from the specification and not from the node or the gateway: it can say what a
//! well-behaved master never would.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long an answer may take: the node's memory and a loaded machine.
const ANSWER: Duration = Duration::from_secs(3);
/// Pause before a request: 3.5 characters at 9,600 Bd are 4 ms, and the emulated part may not run for a moment.
const TURN: Duration = Duration::from_millis(6);
/// Silence after which the line counts as quiet.
const QUIET: Duration = Duration::from_millis(50);
/// Longest frame of the specification.
const FRAME: usize = 256;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Registers of function code 3 or 4.
    Words(Vec<u16>),
    /// A write of function code 6 or 16 was confirmed, exactly as it was asked.
    Done,
    /// An exception, by its code.
    Exception(u8),
    /// Nothing within the time.
    Silence,
}

/// A master on the node's line.
pub struct Master {
    line: UnixStream,
    unit: u8,
}

impl Master {
    /// Connects to the line of a node and speaks to one unit.
    pub fn connect(uart: &Path, unit: u8) -> anyhow::Result<Self> {
        let line = UnixStream::connect(uart).context("the node's line cannot be reached")?;
        Ok(Self { line, unit })
    }

    /// Speaks to another unit from now on; 0 is broadcast.
    pub fn speak_to(&mut self, unit: u8) {
        self.unit = unit;
    }

    /// Reads holding registers (function code 3).
    ///
    /// # Errors
    /// The line broke, or what came is not an answer to this request.
    pub fn read(&mut self, address: u16, count: u16) -> anyhow::Result<Answer> {
        let [[a1, a0], [c1, c0]] = [address, count].map(u16::to_be_bytes);
        let answer = self.ask(&[3, a1, a0, c1, c0])?;
        match answer.as_slice() {
            [] => Ok(Answer::Silence),
            [0x83, code] => Ok(Answer::Exception(*code)),
            [3, length, words @ ..] if usize::from(*length) == words.len() && words.len() == usize::from(count) * 2 => {
                Ok(Answer::Words(words.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect()))
            }
            other => anyhow::bail!("not an answer to a read of {count} at {address:#06x}: {other:02x?}"),
        }
    }

    /// Writes holding registers (function code 16).
    ///
    /// # Errors
    /// The line broke, or what came is not an answer to this request.
    pub fn write(&mut self, address: u16, words: &[u16]) -> anyhow::Result<Answer> {
        let count = u16::try_from(words.len())?;
        let [[a1, a0], [c1, c0]] = [address, count].map(u16::to_be_bytes);
        let mut request = vec![16, a1, a0, c1, c0, u8::try_from(words.len() * 2)?];
        request.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        let answer = self.ask(&request)?;
        match answer.as_slice() {
            [] => Ok(Answer::Silence),
            [0x90, code] => Ok(Answer::Exception(*code)),
            [16, rest @ ..] if rest == [a1, a0, c1, c0] => Ok(Answer::Done),
            other => anyhow::bail!("not an answer to a write of {count} at {address:#06x}: {other:02x?}"),
        }
    }

    /// Reads one value of one or two registers, high word first.
    ///
    /// # Errors
    /// When anything else than the value came.
    pub fn value(&mut self, address: u16, registers: u16) -> anyhow::Result<u32> {
        match self.read(address, registers)? {
            Answer::Words(words) => Ok(words.iter().fold(0, |value, word| value << 16 | u32::from(*word))),
            other => anyhow::bail!("register {address:#06x}: {other:?}"),
        }
    }

    /// Asks with a function code and its data; the answer's, checked for its unit and CRC, or nothing.
    ///
    /// # Errors
    /// The line broke, or a frame came that is damaged or of another unit.
    pub fn ask(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        thread::sleep(TURN);
        self.send(&framed(self.unit, request))?;
        let answer = self.hear(ANSWER)?;
        match answer.as_slice() {
            [] => Ok(Vec::new()),
            [unit, body @ .., low, high] if *unit == self.unit => {
                let crc = crc16(&answer[..answer.len() - 2]);
                anyhow::ensure!(crc.to_le_bytes() == [*low, *high], "damaged answer: {answer:02x?}");
                Ok(body.to_vec())
            }
            other => anyhow::bail!("not an answer of unit {}: {other:02x?}", self.unit),
        }
    }

    /// Whether the unit answers a read of its first register within `wait`, with whatever.
    ///
    /// # Errors
    /// The line broke.
    pub fn is_answered(&mut self, wait: Duration) -> anyhow::Result<bool> {
        self.send(&framed(self.unit, &[3, 0, 0, 0, 1]))?;
        Ok(!self.hear(wait)?.is_empty())
    }

    /// Puts bytes on the line, whatever they are.
    ///
    /// # Errors
    /// The line broke.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.line.write_all(bytes).context("the line broke")
    }

    /// Takes what comes: a whole frame as soon as its CRC is right, or whatever came before the line was quiet again;
    /// nothing when nothing came within `wait`.
    ///
    /// # Errors
    /// The line broke.
    pub fn hear(&mut self, wait: Duration) -> anyhow::Result<Vec<u8>> {
        let mut frame = Vec::new();
        let until = Instant::now() + wait;
        loop {
            let left = if frame.is_empty() { until.saturating_duration_since(Instant::now()) } else { QUIET };
            if left.is_zero() {
                return Ok(frame);
            }
            self.line.set_read_timeout(Some(left))?;
            let mut piece = [0; FRAME];
            match self.line.read(&mut piece) {
                Ok(0) => anyhow::bail!("the line broke"),
                Ok(count) => frame.extend_from_slice(&piece[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(frame),
                Err(error) => return Err(error).context("the line broke"),
            }
            // Running the CRC over a frame and its CRC gives nothing; whether that is the end, the length says too.
            if complete(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Hears until nothing has come for `quiet`, and forgets it.
    ///
    /// # Errors
    /// The line broke.
    pub fn drain(&mut self, quiet: Duration) -> anyhow::Result<()> {
        while !self.hear(quiet)?.is_empty() {}
        Ok(())
    }
}

/// Whether a frame is whole by the length its function code gives it, and undamaged.
fn complete(frame: &[u8]) -> bool {
    let length = match frame {
        [_, code, ..] if code & 0x80 != 0 => 5,
        [_, 1..=4 | 17 | 20 | 21, count, ..] => 5 + usize::from(*count),
        [_, 5 | 6 | 15 | 16, ..] => 8,
        _ => return false,
    };
    frame.len() == length && crc16(frame) == 0
}

/// A frame for a unit: address, function code and data, CRC.
pub fn framed(unit: u8, request: &[u8]) -> Vec<u8> {
    let mut frame = vec![unit];
    frame.extend_from_slice(request);
    frame.extend_from_slice(&crc16(&frame).to_le_bytes());
    frame
}

/// CRC-16 of Modbus over serial line, 6.2.2: polynomial 0xA001, begun with all ones.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 })
    })
}
