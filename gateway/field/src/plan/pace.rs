//! What a read costs on a line, in time.
//!
//! ```text
//!  serial   | request 8 chars | turnaround | reply 5 chars + data | silence: t3.5, or what the device wants |
//!  network  | request 12 bytes |    turnaround, round trip included   | reply 9 bytes + data | silence      |
//! ```
//!
//! Nobody knows how long a device thinks before it is asked, so the turnaround is an assumption with a name, unless
//! the line says better. On a network a byte is taken to cost a hundredth of the turnaround: next to nothing for a
//! device that is a computer, and not nothing for a gateway that has a slow bus behind it, which looks the same from
//! here. So the same rule gives gaps of about sixty registers there, and of a dozen at 9600 baud.
//!
//! Where a line has alarm points, a read of anything else is sized so that it is over within half their shortest period:
//! a transaction that has begun is what an alarm's turn (and a command) must wait for, however urgent it is.

use std::time::Duration;

use guanjia_core::profile::{PollClass, ReadLimits, Table};

use crate::frame::Framing;
use crate::line::FieldDevice;
use crate::link::{LineConfig, Link};

/// How long a device on a serial line typically thinks before its answer begins. Meters of the library answer within
/// 10 to 60 ms.
pub const TURNAROUND_SERIAL: Duration = Duration::from_millis(20);

/// How long a Modbus TCP server typically takes from the request's last byte to the answer's first.
pub const TURNAROUND_NETWORK: Duration = Duration::from_millis(10);

/// The same behind a modem that dials in: most of it is the mobile network.
pub const TURNAROUND_DIAL_IN: Duration = Duration::from_millis(200);

/// What part of the turnaround a byte costs on a network.
const NETWORK_BYTES_PER_TURNAROUND: u32 = 100;

/// A read of anything else takes at most this part of the shortest period of the line's alarm points.
const ALARM_PERIOD_PARTS: u32 = 2;

/// Characters of a read request, those of its answer around the data, and those of one byte of data.
const RTU_BYTES: (u32, u32, u32) = (8, 5, 1);
const MBAP_BYTES: (u32, u32, u32) = (12, 9, 1);
const ASCII_BYTES: (u32, u32, u32) = (17, 11, 2);

/// What a read costs on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Characters of a request, those of an answer around its data, and those of one byte of data.
    bytes: (u32, u32, u32),
    /// How long one byte takes.
    byte_time: Duration,
    /// The silence between two frames that the standard wants.
    silence: Duration,
    /// From the request's last byte to the answer's first.
    turnaround: Duration,
    /// What a read of points that are no alarms may take of the line's time.
    pub(super) read_max: Duration,
}

impl Pace {
    /// How fast a line is.
    pub fn of(line: &LineConfig) -> Self {
        let format = line.link.format();
        let (char_time, t35) = format.map_or((Duration::ZERO, Duration::ZERO), |f| (f.char_time(), f.t35()));
        let behind_modem = matches!(line.link, Link::DialIn(_)).then_some(TURNAROUND_DIAL_IN);
        Self::new(line.link.framing(), char_time, t35, line.turnaround.or(behind_modem))
    }

    /// A line of this framing; `char_time` is zero where no serial line is known of.
    pub(crate) fn new(framing: Framing, char_time: Duration, t35: Duration, turnaround: Option<Duration>) -> Self {
        let typical = if char_time.is_zero() { TURNAROUND_NETWORK } else { TURNAROUND_SERIAL };
        let turnaround = turnaround.unwrap_or(typical);
        let bytes = match framing {
            Framing::Rtu => RTU_BYTES,
            Framing::Mbap => MBAP_BYTES,
            Framing::Ascii => ASCII_BYTES,
        };
        let byte_time = if char_time.is_zero() { turnaround / NETWORK_BYTES_PER_TURNAROUND } else { char_time };
        Self { bytes, byte_time, silence: t35, turnaround, read_max: Duration::MAX }
    }

    /// The same on a line with these devices, whose alarm points must not wait for a long read of others.
    pub fn beside<'a>(self, devices: impl IntoIterator<Item = &'a FieldDevice>) -> Self {
        let has_alarms = |d: &&FieldDevice| d.profile.points.iter().any(|p| p.poll == PollClass::Alarm);
        let periods = devices.into_iter().filter(has_alarms).map(|d| d.periods.alarm);
        // A period of zero is a line that is read without a pause, where nothing is ever due in time.
        let shortest = periods.filter(|period| !period.is_zero()).min();
        Self { read_max: shortest.map_or(Duration::MAX, |period| period / ALARM_PERIOD_PARTS), ..self }
    }

    /// What a read of points of this class may take of the line's time, unless it is the only one that brings a value.
    pub(super) fn read_max(&self, class: Option<PollClass>) -> Duration {
        match class {
            None | Some(PollClass::Alarm) => Duration::MAX,
            Some(PollClass::Billing | PollClass::Bulk) => self.read_max,
        }
    }

    /// How long a device is assumed to think.
    pub fn turnaround(&self) -> Duration {
        self.turnaround
    }

    /// How long the line is taken by a read of `count` registers or bits that is answered as usual, from the first
    /// byte of the request until another device may be asked.
    pub fn line_time(&self, limits: &ReadLimits, table: Table, count: u32) -> Duration {
        let data = if table.is_bits() { count.div_ceil(8) } else { count * 2 };
        let on_wire = self.byte_time * (self.bytes.0 + self.bytes.1 + data * self.bytes.2);
        on_wire + self.turnaround + self.silence.max(limits.silence_min)
    }

    /// How long it is until the same device may be asked again.
    pub fn read_time(&self, limits: &ReadLimits, table: Table, count: u32) -> Duration {
        self.line_time(limits, table, count).max(limits.interval_min)
    }

    /// How long the line is taken by a read that nobody answers: the request, the deadline of the answer, and the time
    /// for which the line is listened to before anything else is asked.
    pub fn lost_time(&self, wait: Duration, linger: Duration, table: Table, count: u32) -> Duration {
        let data = if table.is_bits() { count.div_ceil(8) } else { count * 2 };
        let listens = if self.silence.is_zero() { Duration::ZERO } else { linger.max(self.silence) };
        self.byte_time * (self.bytes.0 + 2 * (self.bytes.1 + data * self.bytes.2)) + wait + listens
    }
}
