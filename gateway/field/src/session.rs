//! A line in the hands of a person: one question, one answer, how long it took.
//!
//! The tools of the command line talk to devices through this and not through sockets of their own, so that a question
//! asked by hand keeps every precaution of [`crate::line`]: silences, deadlines, a drained line, no answer taken for
//! another question's. What a line has and a session has not: slots, health, commands, a task.
//!
//! ```text
//!   ask ──► ambiguous? ── yes ──► read something of another shape first, best what was answered before: it settles
//!            │ no                  │ what is past
//!            │                     └ no such read: wait until no old answer can come any more
//!            ▼
//!        ready ──► exchange ──► answer ──────────────────────────► told, with its time
//!                     │ missed                    ▲
//!                     └──► again, up to `attempts` ── answer ──► asked once more, and that one is told
//! ```
//!
//! The first answer after a miss is not believed by itself; it may be the late one.
//!
//! One session owns its line. A gateway that runs has the serial port or serial server already; then the port answers
//! "busy", and [`SessionError::Busy`] says what to do. A session keeps nothing on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{ByteCount, Extent, Mismatch, ReadLimits, Table, UnitEcho};
use tokio::time::Instant;

use crate::bus::{Ask, Bus, Miss};
use crate::frame::{Reply, Request};
use crate::line::timing;
use crate::link::{Dial, LineConfig, Link, LinkError};
use crate::plan::Pace;
use crate::stats::LineStats;

mod look;
mod node;
mod url;

pub use look::{Look, table_name};
pub use node::NodeSession;
pub use url::UrlError;

/// How long an answer to an older question can still come; after that nothing is ambiguous.
const SETTLED_AFTER: Duration = Duration::from_secs(11);

/// Reads that are tried to settle what is past before only time can do it. One that is refused settles nothing.
const BRIDGES_MAX: usize = 3;

/// The most registers such a read has, if it is the beginning of one that was answered: enough shapes to choose from.
const BRIDGE_COUNT_MAX: u16 = 6;

/// How patient a session is with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the answer begins.
    pub response_max: Duration,
    /// Silence the device wants after its answer, beyond the standard's.
    pub silence_min: Duration,
    /// How often a read is asked before it is given up; at least 1.
    pub attempts: u32,
    /// Which unit id its answers bear on Modbus TCP.
    pub unit_echo: UnitEcho,
    /// How its answers over RTU say how long they are.
    pub byte_count: ByteCount,
}

impl From<&ReadLimits> for Patience {
    fn from(limits: &ReadLimits) -> Self {
        Self {
            response_max: limits.response_max,
            silence_min: limits.silence_min,
            attempts: 2,
            unit_echo: limits.unit_echo,
            byte_count: limits.byte_count,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::from(&ReadLimits::default())
    }
}

/// A read: one unit, one table, neighbouring addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOf {
    /// The unit id (slave address).
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// The first address on the wire, zero based.
    pub address: u16,
    /// How many registers (at most 125) or bits (at most 2,000).
    pub count: u16,
}

/// What a device answered to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Registers, in the order in which they came.
    Words(Vec<u16>),
    /// Coils or discrete inputs.
    Bits(Vec<bool>),
}

/// An answer and how it was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the device sent.
    pub content: Content,
    /// From the first byte of the request to the last of the answer.
    pub took: Duration,
    /// How often it was asked, this time included.
    pub asked: u32,
}

/// Why there is no answer, as a technician needs to hear it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another program has the port.
    #[error(
        "{place} is in use by another program; if that is the running gateway, stop it (systemctl stop guanjia) or look \
         at its values instead (guanjia watch --api URL): two masters on one bus take each other's answers"
    )]
    Busy {
        /// The port.
        place: String,
    },
    /// The port or socket cannot be opened, or broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The connection broke while an answer was awaited.
    #[error(
        "the connection was closed while unit {unit} was asked; a serial server that serves one master only does that to the second: check that nobody else is connected"
    )]
    Cut {
        /// The unit that was asked.
        unit: u8,
    },
    /// The line never falls silent.
    #[error(
        "the line does not fall silent: somebody else talks on it; stop the other master, or check baud, parity and termination"
    )]
    Noise,
    /// Nobody answered.
    #[error("unit {unit} does not answer within {} ms; check its address, baud and parity, A/B wires, and its power", response_max.as_millis())]
    Silent {
        /// The unit that was asked.
        unit: u8,
        /// How long it was waited for.
        response_max: Duration,
    },
    /// Something came that is not the answer.
    #[error(
        "what came is not unit {unit}'s answer (damaged, late, or another unit's); check baud and parity, termination, and that no two devices have this address"
    )]
    Garbled {
        /// The unit that was asked.
        unit: u8,
    },
    /// The device refuses.
    #[error("unit {unit} refuses: exception {code:02X} ({})", exception_text(*code))]
    Refused {
        /// The unit that was asked.
        unit: u8,
        /// The exception code (Modbus Application Protocol V1.1b3, 7).
        code: u8,
    },
    /// It is not the device the profile describes.
    #[error(
        "unit {unit} is another device: its {} reads {}, not {}; correct the profile, or find the right one with guanjia \
         probe",
        mismatch.what, mismatch.found, mismatch.expected
    )]
    Another {
        /// The unit that was asked.
        unit: u8,
        /// What tells.
        mismatch: Mismatch,
    },
    /// It is no field node.
    #[error(
        "unit {unit} answers and is no field node of this project; nothing was written. Check its address, or find out what it is \
         with guanjia probe"
    )]
    NoNode {
        /// The unit that was asked.
        unit: u8,
    },
    /// The request cannot be asked at all.
    #[error("{0}")]
    Impossible(&'static str),
}

/// What an exception code says (Modbus Application Protocol V1.1b3, 7), and what to do about it.
pub fn exception_text(code: u8) -> &'static str {
    match code {
        1 => "illegal function: the device has no such table; try the other one, holding or input",
        2 => "illegal address: it has no such register; check the address, the document may count from 1 or 40001",
        3 => "illegal value: it refuses the count or the value; ask for fewer registers",
        4 => "device failure: it could not do it; look at the device",
        5 => "acknowledged, not done yet; read again later",
        6 => "busy: ask again later",
        0x0A => "gateway path unavailable: the gateway in between does not know this unit; check its routing",
        0x0B => "no answer behind the gateway: the unit there is silent; check its address, wires and power",
        _ => "a code of the maker's own; see the device's document",
    }
}

/// An open line.
pub struct Session {
    bus: Bus,
    stats: Arc<LineStats>,
    link: Link,
    /// Overrides what the patience of a question says.
    response_max: Option<Duration>,
    /// Units whose last question was not answered.
    missed: BTreeSet<u8>,
    /// The last read of each unit that brought something: its beginning will be answered again.
    answered: BTreeMap<u8, ReadOf>,
    /// Places of the device that is looked at which no request may touch.
    holes: Vec<Extent>,
    /// What a read costs on this line.
    pace: Pace,
}

impl Session {
    /// A session on a line. Nothing is opened before the first question.
    pub fn new(config: LineConfig) -> Self {
        let stats = Arc::new(LineStats::new(std::iter::empty()));
        let (timing, pace) = (timing(&config), Pace::of(&config));
        let bus = Bus::new(config.name, Dial::Link(config.link.clone()), timing, Arc::clone(&stats));
        let response_max = config.response_max;
        let (missed, answered) = (BTreeSet::new(), BTreeMap::new());
        Self { bus, stats, link: config.link, response_max, missed, answered, holes: Vec::new(), pace }
    }

    /// The way to the devices.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What the line counted so far.
    pub fn stats(&self) -> &LineStats {
        &self.stats
    }

    /// Reads, as often as `patience` allows.
    ///
    /// # Errors
    /// [`SessionError`], the last one if several attempts failed.
    pub async fn read(&mut self, read: ReadOf, patience: Patience) -> Result<Answered, SessionError> {
        let request = request(read)?;
        let mut asked = 0;
        let mut last;
        loop {
            let bridges = self.bridges(read.unit, &request);
            self.settle(read.unit, &request, patience, &bridges).await?;
            asked += 1;
            match self.once(read.unit, &request, patience).await {
                // The first answer after a miss may be the late one.
                Ok(_) if self.missed.remove(&read.unit) => continue,
                Ok((Reply::Exception(code), _)) => return Err(SessionError::Refused { unit: read.unit, code }),
                Ok((reply, took)) => {
                    let content = match reply {
                        Reply::Words(words) => Content::Words(words),
                        Reply::Bits(bits) => Content::Bits(bits),
                        Reply::Written | Reply::Identity(_) | Reply::Exception(_) => {
                            return Err(SessionError::Garbled { unit: read.unit });
                        }
                    };
                    self.answered.insert(read.unit, read);
                    return Ok(Answered { content, took, asked });
                }
                Err(
                    error @ (SessionError::Silent { .. } | SessionError::Garbled { .. } | SessionError::Cut { .. }),
                ) => {
                    self.missed.insert(read.unit);
                    last = error;
                }
                Err(error) => return Err(error),
            }
            if asked >= patience.attempts.max(1) {
                return Err(last);
            }
        }
    }

    /// Whether something else would have to be read before this: an answer that is still under way could be taken for the
    /// answer to it. Whoever has several questions asks another one first.
    pub fn is_ambiguous(&mut self, read: ReadOf) -> bool {
        request(read).is_ok_and(|request| self.bus.is_ambiguous(read.unit, &request))
    }

    /// Reads of this unit that may settle what is past: parts of what was answered last, then single registers beside this.
    fn bridges(&self, unit: u8, request: &Request) -> Vec<Request> {
        let known = self.answered.get(&unit).map(|known| {
            let ReadOf { table, address, .. } = *known;
            (1..=known.count.min(BRIDGE_COUNT_MAX)).map(move |count| Request::Read { table, address, count })
        });
        let odd = [request.one_of(), request.one_of_sister()].into_iter().flatten();
        known.into_iter().flatten().chain(odd).filter(|r| !r.touches(&self.holes)).collect()
    }

    /// Makes sure that no answer to an older question can be taken for the answer to this one, with one of these reads.
    async fn settle(
        &mut self,
        unit: u8,
        request: &Request,
        patience: Patience,
        bridges: &[Request],
    ) -> Result<(), SessionError> {
        if !self.bus.is_ambiguous(unit, request) {
            return Ok(());
        }
        for _ in 0..BRIDGES_MAX {
            let Some(bridge) = self.bus.bridge_to(unit, request, bridges) else { break };
            // Whatever comes of it, the next look says whether it settled anything.
            let _ = self.once(unit, &bridge, patience).await;
            if !self.bus.is_ambiguous(unit, request) {
                return Ok(());
            }
        }
        tokio::time::sleep(SETTLED_AFTER).await;
        if self.bus.is_ambiguous(unit, request) { Err(SessionError::Garbled { unit }) } else { Ok(()) }
    }

    async fn once(
        &mut self,
        unit: u8,
        request: &Request,
        patience: Patience,
    ) -> Result<(Reply, Duration), SessionError> {
        let started = self.open().await?;
        let response_max = self.response_max.unwrap_or(patience.response_max);
        let Patience { silence_min, unit_echo, byte_count, .. } = patience;
        let ask = Ask { unit, request, response_max, silence_min, unit_echo, byte_count };
        let (answer, ended) = self.bus.exchange(ask, started).await;
        let reply = answer.map_err(|miss| match miss {
            Miss::Timeout => SessionError::Silent { unit, response_max },
            Miss::Discarded => SessionError::Garbled { unit },
            Miss::Noise => SessionError::Noise,
            Miss::Link(LinkError::Closed) => SessionError::Cut { unit },
            Miss::Link(error) => SessionError::Link(error),
            Miss::Down => SessionError::Cut { unit },
        })?;
        Ok((reply, ended.instant - started))
    }

    /// Opens the line if it is not open and waits until it is silent. A person wants to know at once why it is down, so
    /// a line that was refused is looked at once more for the reason.
    async fn open(&mut self) -> Result<Instant, SessionError> {
        if let Some(retry_at) = self.bus.down_until() {
            tokio::time::sleep_until(retry_at).await;
        }
        match self.bus.ready(Instant::now()).await {
            Ok(now) => Ok(now),
            Err(Miss::Noise) => Err(SessionError::Noise),
            Err(Miss::Link(error)) => Err(error.into()),
            Err(Miss::Down | Miss::Timeout | Miss::Discarded) => {
                match Dial::Link(self.link.clone()).open(&self.stats).await {
                    Ok(_) => Err(LinkError::Closed.into()),
                    Err(error) if is_busy(&error) => Err(SessionError::Busy { place: self.link.place().to_owned() }),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// Whether the operating system says that somebody else has the port: `EBUSY`, or the lock the serial port is opened
/// with.
fn is_busy(error: &LinkError) -> bool {
    use std::io::ErrorKind;
    let LinkError::Open { source, .. } = error else { return false };
    let text = source.to_string().to_ascii_lowercase();
    matches!(source.kind(), ErrorKind::ResourceBusy | ErrorKind::WouldBlock)
        || text.contains("busy")
        || text.contains("lock")
}

fn request(read: ReadOf) -> Result<Request, SessionError> {
    let ReadOf { table, address, count, .. } = read;
    let most = if table.is_bits() { crate::plan::BITS_MAX } else { crate::plan::REGISTERS_MAX };
    if count == 0 || count > most {
        return Err(SessionError::Impossible("a read brings 1 to 125 registers, or 1 to 2000 coils or inputs"));
    }
    if u32::from(address) + u32::from(count) > 65_536 {
        return Err(SessionError::Impossible("the read ends after address 65535; addresses are those on the wire"));
    }
    Ok(Request::Read { table, address, count })
}

#[cfg(test)]
mod tests;
