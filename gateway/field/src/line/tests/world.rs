//! A bus that can lie: it answers the requests of a line as a script says, in memory and in the runtime's time.
//!
//! Every register holds a number that says which unit, table and address it is, so a value under a wrong name shows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guanjia_core::profile::Table;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::frame::{Framing, ascii, crc16};
use crate::link::dial_in::{Carries, DialIn, DialInStats, Dialled};
use crate::link::{Dial, Parity, SerialFormat, Stream};

/// What the bus does with one request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Answer,
    Late(u64),
    Drop,
    Twice(u64),
    Split(u64),
    FlipBit(usize),
    Garbage(u64),
    GarbageOnly,
    OtherUnit,
    OtherFunction,
    OneLess,
    OneMore,
    Cut,
    Refuse(u8),
    EchoOtherAddress,
    OtherTid,
    LengthLie,
    Close,
    /// Several of these at once.
    Storm(Storm),
}

/// What can happen to one answer on its way, all together.
#[derive(Clone, Debug)]
pub(super) struct Storm {
    /// Milliseconds until its first byte.
    pub(super) delay: u64,
    /// A second copy, this many milliseconds after the first.
    pub(super) copy: Option<u64>,
    pub(super) damage: Damage,
    /// It comes in two pieces: the place of the cut, and the milliseconds between them.
    pub(super) split: Option<(usize, u64)>,
}

/// What happens to the bytes of an RTU frame. Over TCP none is changed, lost or added: there the transaction is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    None,
    /// These neighbouring bits, from this one on, are turned round. A check sum of 16 bits sees every such burst.
    Burst(usize, u16),
    /// This byte is lost.
    Lost(usize),
    /// This byte comes before the one at this place.
    Added(usize, u8),
}

/// What the world knows and everybody may look at.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) script: VecDeque<Act>,
    /// Units that never answer.
    pub(super) dead: HashSet<u8>,
    /// Reads (unit, first address) that are never answered.
    pub(super) ignored: HashSet<(u8, u16)>,
    /// Units that execute a write and say nothing about it.
    pub(super) mute_writes: HashSet<u8>,
    /// Relays that do not move.
    pub(super) stuck: HashSet<u8>,
    /// Registers (unit, address) that unit refuses with exception 2.
    pub(super) missing: HashSet<(u8, u16)>,
    /// The unit all answers bear instead of the one that was asked.
    pub(super) answers_as: Option<u8>,
    /// How long a byte is on the wire.
    pub(super) byte_time: Duration,
    /// No connection is accepted.
    pub(super) refuses: bool,
    /// How often the modem in front of the world says something; never if `None`.
    pub(super) heartbeat: Option<Duration>,
    /// Values that differ from [`ident`].
    pub(super) memory: HashMap<(u8, u16), u16>,
    pub(super) asked: Vec<Asked>,
    /// Told of the unit and the first word whenever a write is executed.
    pub(super) on_write: Option<Box<dyn FnMut(u8, u16) + Send>>,
}

/// One request as it was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) unit: u8,
    pub(super) function: u8,
    pub(super) address: u16,
    pub(super) count: u16,
}

pub(super) type Shared = Arc<Mutex<Facts>>;

/// The relay of every unit is written here and shown there.
pub(super) const RELAY: u16 = 0x57;
pub(super) const PROOF: u16 = 0x60;

/// What a register holds unless somebody wrote to it.
pub(super) fn ident(unit: u8, table: Table, address: u16) -> u16 {
    let table = if table == Table::Input { 0x1000 } else { 0 };
    u16::from(unit) << 13 | table | address
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What the modem in front of a world says to stay connected.
const HEARTBEAT: &[u8] = b"PING";

/// The same world behind a modem that dialled in: the connection is kept whatever happens, and the modem says something
/// of its own now and then.
pub(super) fn dialled_world(framing: Framing, facts: &Shared, stats: &Arc<DialInStats>) -> Dial {
    let Dial::Script(mut next) = world(framing, facts) else { unreachable!("a world is a script") };
    let format = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::Even, stop_bits: 1 };
    let carries = match framing {
        Framing::Rtu => Carries::Rtu(format),
        Framing::Ascii => Carries::Ascii(format),
        Framing::Mbap => Carries::ModbusTcp,
    };
    let heartbeat = Some(HEARTBEAT.into());
    let dial_in = DialIn { entrance: "port".into(), who: "dtu".into(), registration: None, heartbeat, carries };
    let stats = Arc::clone(stats);
    Dial::Script(Box::new(move || match next()? {
        Stream::Memory(io) => {
            Some(Stream::Dialled(Box::new(Dialled::in_memory(io, dial_in.clone(), Arc::clone(&stats)))))
        }
        other => Some(other),
    }))
}

/// Starts the world and returns the way into it.
pub(super) fn world(framing: Framing, facts: &Shared) -> Dial {
    let (sockets, accepted) = mpsc::channel::<DuplexStream>(16);
    let facts = Arc::clone(facts);
    tokio::spawn(World::new(framing, Arc::clone(&facts)).run(accepted, None));
    Dial::Script(Box::new(move || {
        if facts.lock().unwrap().refuses {
            return None;
        }
        let (ours, theirs) = tokio::io::duplex(4096);
        sockets.try_send(theirs).ok()?;
        Some(Stream::Memory(ours))
    }))
}

/// The same world behind a pair of pseudo terminals.
pub(super) fn serial_world(facts: &Shared) -> Dial {
    let (ours, theirs) = tokio_serial::SerialStream::pair().expect("the kernel has pseudo terminals");
    answer_over(theirs, Framing::Rtu, facts);
    let mut port = Some(ours);
    Dial::Script(Box::new(move || port.take().map(|port| Stream::Serial(Box::new(port)))))
}

/// The same world at the other end of any stream; it ends with the stream.
pub(super) fn answer_over(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    framing: Framing,
    facts: &Shared,
) -> JoinHandle<()> {
    let (_, accepted) = mpsc::channel::<DuplexStream>(1);
    tokio::spawn(World::new(framing, Arc::clone(facts)).run(accepted, Some(Box::new(io))))
}

struct World {
    framing: Framing,
    facts: Shared,
    under_way: Vec<Piece>,
    /// The frame of which a piece has arrived and another has not. Over TCP nothing comes between the two.
    begun: Option<u64>,
    frames: u64,
    /// A unit answers in order.
    last_out: HashMap<u8, Instant>,
    noise: fastrand::Rng,
}

impl World {
    fn new(framing: Framing, facts: Shared) -> Self {
        let noise = fastrand::Rng::with_seed(7);
        let (under_way, last_out) = (Vec::new(), HashMap::new());
        Self { framing, facts, under_way, begun: None, frames: 0, last_out, noise }
    }

    /// When the modem says something next.
    fn next_beat(&self) -> Option<Instant> {
        self.facts.lock().unwrap().heartbeat.map(|every| Instant::now() + every)
    }

    async fn run(mut self, mut accepted: mpsc::Receiver<DuplexStream>, mut wire: Option<Box<dyn Wire>>) {
        let (mut heard, mut buffer) = (Vec::new(), [0; 512]);
        let mut listening = true;
        let mut beat = self.next_beat();
        loop {
            self.under_way.sort_by_key(|piece| piece.at);
            let next = self.next_piece();
            let next_at = next.map(|i| self.under_way[i].at);
            tokio::select! {
                socket = accepted.recv(), if listening => match socket {
                    // Whatever is still under way will come out of the new socket.
                    Some(socket) => {
                        wire = Some(Box::new(socket));
                        heard.clear();
                        // The rest of a frame never comes out of another TCP connection than its beginning.
                        if self.framing == Framing::Mbap {
                            self.under_way.retain(|piece| piece.whole == Whole::Yes);
                            self.begun = None;
                        }
                    }
                    None if wire.is_some() => listening = false,
                    None => return,
                },
                read = read_some(&mut wire, &mut buffer) => match read {
                    0 if !listening => return,
                    0 => { wire = None; }
                    n => heard.extend_from_slice(&buffer[..n]),
                },
                () = at(next_at) => {
                    let piece = self.under_way.remove(next.unwrap_or_default());
                    let is_first = piece.whole == Whole::No && self.begun.is_none();
                    self.begun = Some(piece.frame).filter(|_| is_first && self.framing == Framing::Mbap);
                    if let Some(wire) = &mut wire { let _ = wire.write_all(&piece.bytes).await; }
                }
                () = at(beat) => {
                    if let Some(wire) = &mut wire { let _ = wire.write_all(HEARTBEAT).await; }
                    beat = self.next_beat();
                }
            }
            while let Some(length) = self.request_length(&heard) {
                let request: Vec<u8> = heard.drain(..length).collect();
                if self.respond(&request) == Then::Close {
                    wire = None;
                }
            }
        }
    }

    fn request_length(&self, heard: &[u8]) -> Option<usize> {
        if self.framing == Framing::Ascii {
            return heard.iter().position(|c| *c == b'\n').map(|end| end + 1);
        }
        let pdu = if self.framing == Framing::Rtu { 1 } else { 7 };
        let sum = if self.framing == Framing::Rtu { 2 } else { 0 };
        let length = match heard.get(pdu)? {
            16 => pdu + 6 + usize::from(*heard.get(pdu + 5)?) + sum,
            22 => pdu + 7 + sum,
            _ => pdu + 5 + sum,
        };
        (heard.len() >= length).then_some(length)
    }

    fn respond(&mut self, request: &[u8]) -> Then {
        let plain = if self.framing == Framing::Ascii { ascii::open(request).unwrap() } else { Vec::new() };
        let (tid, unit, pdu) = match self.framing {
            Framing::Ascii => (0, plain[0], &plain[1..]),
            Framing::Rtu => (0, request[0], &request[1..request.len() - 2]),
            Framing::Mbap => (u16::from_be_bytes([request[0], request[1]]), request[6], &request[7..]),
        };
        let (function, address) = (pdu[0], u16::from_be_bytes([pdu[1], pdu[2]]));
        let count = u16::from_be_bytes([pdu[3], pdu[4]]);
        let now = Instant::now();
        let mut facts = self.facts.lock().unwrap();
        facts.asked.push(Asked { at: now, unit, function, address, count });
        if function == 16 && !facts.stuck.contains(&unit) && address == RELAY {
            let word = u16::from_be_bytes([pdu[6], pdu[7]]);
            facts.memory.insert((unit, PROOF), word);
            if let Some(tell) = &mut facts.on_write {
                tell(unit, word);
            }
        }
        if !facts.stuck.contains(&unit) && address != RELAY {
            let word = |at: usize| pdu.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            match function {
                6 => drop(facts.memory.insert((unit, address), word(3))),
                16 => (0..count).for_each(|i| {
                    facts.memory.insert((unit, address + i), word(6 + 2 * usize::from(i)));
                }),
                22 => {
                    let before = facts.memory.get(&(unit, address)).copied();
                    let before = before.unwrap_or(ident(unit, Table::Holding, address));
                    facts.memory.insert((unit, address), before & word(3) | word(5) & !word(3));
                }
                _ => {}
            }
        }
        if facts.dead.contains(&unit) || is_write(function) && facts.mute_writes.contains(&unit) {
            return Then::GoOn;
        }
        if facts.ignored.contains(&(unit, address)) {
            return Then::GoOn;
        }
        let act = facts.script.pop_front().unwrap_or(Act::Answer);
        let is_missing =
            !is_write(function) && (0..count).any(|i| facts.missing.contains(&(unit, address.wrapping_add(i))));
        let answer = |unit: u8, function: u8, count: u16| -> Vec<u8> {
            match function {
                6 | 22 => return pdu.to_vec(),
                16 => return pdu[..5].to_vec(),
                _ => {}
            }
            let table = if function == 4 { Table::Input } else { Table::Holding };
            let mut answer = vec![function, (count * 2) as u8];
            for a in (0..count).map(|i| address.wrapping_add(i)) {
                let word = facts.memory.get(&(unit, a)).copied().unwrap_or(ident(unit, table, a));
                answer.extend(word.to_be_bytes());
            }
            answer
        };
        let right = if is_missing { vec![function | 0x80, 2] } else { answer(unit, function, count) };
        let other_function = if function == 4 { 3 } else { 4 };
        let frame = |unit: u8, pdu: &[u8]| envelope(self.framing, tid, unit, pdu);
        let mut bytes = frame(facts.answers_as.unwrap_or(unit), &right);
        let (mut delay, mut second, mut third) = (1, None, None);
        match &act {
            Act::Answer => {}
            Act::Drop => return Then::GoOn,
            Act::Close => return Then::Close,
            // TCP loses no byte in the middle; what it can lose is the end.
            Act::Cut if self.framing == Framing::Mbap => return Then::Close,
            Act::Late(ms) => delay = *ms,
            Act::Twice(ms) => second = Some((*ms, bytes.clone())),
            Act::Split(ms) => second = Some((*ms, bytes.split_off(bytes.len() / 2))),
            // Modbus TCP has no check sum of its own; there only the transaction number can be seen to be wrong.
            Act::FlipBit(n) if self.framing == Framing::Mbap => bytes[n % 2] ^= 1,
            Act::FlipBit(n) => {
                let n = n % (bytes.len() * 8);
                bytes[n / 8] ^= 1 << (n % 8);
            }
            Act::Garbage(ms) => {
                second = Some((*ms, bytes));
                bytes = (0..30).map(|_| self.noise.u8(..)).collect();
            }
            Act::GarbageOnly => bytes = (0..30).map(|_| self.noise.u8(..)).collect(),
            Act::OtherUnit => bytes = frame(unit % 3 + 1, &answer(unit % 3 + 1, function, count)),
            Act::OtherFunction => bytes = frame(unit, &answer(unit, other_function, count)),
            Act::OneLess => bytes = frame(unit, &answer(unit, function, count - 1)),
            Act::OneMore => bytes = frame(unit, &answer(unit, function, count + 1)),
            Act::Cut => bytes.truncate(bytes.len() - 1),
            Act::Refuse(code) => bytes = frame(unit, &[function | 0x80, *code]),
            Act::EchoOtherAddress => bytes = frame(unit, &[function, pdu[1], pdu[2] ^ 1, pdu[3], pdu[4]]),
            Act::OtherTid => bytes = envelope(self.framing, tid.wrapping_sub(1), unit, &right),
            Act::LengthLie => bytes[4] = 0x7F,
            Act::Storm(storm) => {
                delay = storm.delay;
                let intact = bytes.clone();
                match self.framing {
                    Framing::Rtu | Framing::Ascii => damage(self.framing, &mut bytes, storm.damage),
                    // The high byte, so that it is not by chance the number of another question of this life: a wrong
                    // answer of the right shape that bears the right number is one that nobody can tell.
                    Framing::Mbap if !matches!(storm.damage, Damage::None) => bytes[0] ^= 0x55,
                    Framing::Mbap => {}
                }
                if let Some((at, ms)) = storm.split {
                    second = Some((ms, bytes.split_off(at % bytes.len())));
                }
                third = storm.copy.map(|ms| (ms, intact));
            }
        }
        let wire = facts.byte_time * (request.len() + bytes.len()) as u32;
        drop(facts);
        // Answers to questions nobody put to that unit cannot be told from real ones once they come late; no device
        // keeps those. They come at once.
        if matches!(act, Act::OtherUnit | Act::OtherFunction | Act::OneLess | Act::OneMore) {
            self.frames += 1;
            let at = now + Duration::from_millis(1);
            self.under_way.push(Piece { at, bytes, frame: self.frames, whole: Whole::Yes });
            return Then::GoOn;
        }
        self.frames += 1;
        let is_split = matches!(act, Act::Split(_)) || matches!(&act, Act::Storm(storm) if storm.split.is_some());
        let whole = if is_split { Whole::No } else { Whole::Yes };
        let now = now + wire;
        self.send(unit, now + Duration::from_millis(delay), bytes, whole);
        if let Some((ms, bytes)) = second {
            delay += ms;
            self.send(unit, now + Duration::from_millis(delay), bytes, whole);
        }
        if let Some((ms, bytes)) = third {
            self.frames += 1;
            self.send(unit, now + Duration::from_millis(delay + ms), bytes, Whole::Yes);
        }
        Then::GoOn
    }

    fn send(&mut self, unit: u8, at: Instant, bytes: Vec<u8>, whole: Whole) {
        let after = self.last_out.get(&unit).map_or(at, |last| at.max(*last + Duration::from_micros(1)));
        self.last_out.insert(unit, after);
        self.under_way.push(Piece { at: after, bytes, frame: self.frames, whole });
    }

    /// The position of what arrives next.
    fn next_piece(&self) -> Option<usize> {
        let is_next = |piece: &Piece| self.begun.is_none_or(|frame| piece.frame == frame);
        self.under_way.iter().position(is_next)
    }
}

/// Bytes on their way.
struct Piece {
    at: Instant,
    bytes: Vec<u8>,
    frame: u64,
    whole: Whole,
}

/// Whether bytes are a frame, or a piece of one.
#[derive(Clone, Copy, PartialEq)]
enum Whole {
    Yes,
    No,
}

#[derive(PartialEq)]
enum Then {
    GoOn,
    Close,
}

fn envelope(framing: Framing, tid: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    if framing == Framing::Ascii {
        return ascii::encode(unit, pdu);
    }
    let mut bytes = Vec::new();
    if framing == Framing::Mbap {
        bytes.extend(tid.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend((pdu.len() as u16 + 1).to_be_bytes());
    }
    bytes.push(unit);
    bytes.extend(pdu);
    if framing == Framing::Rtu {
        bytes.extend(crc16(&bytes).to_le_bytes());
    }
    bytes
}

fn is_write(function: u8) -> bool {
    matches!(function, 6 | 16 | 22)
}

/// Damages a frame, unless the result is one of the few that its check sum (16 bits, 8 in ASCII) cannot tell from a good
/// frame.
fn damage(framing: Framing, frame: &mut Vec<u8>, damage: Damage) {
    let intact = frame.clone();
    match damage {
        Damage::None => return,
        Damage::Burst(from, pattern) => {
            let bits = frame.len() * 8;
            for bit in (0..16).filter(|bit| pattern >> bit & 1 == 1).map(|bit| (from % bits + bit) % bits) {
                frame[bit / 8] ^= 1 << (bit % 8);
            }
        }
        Damage::Lost(at) => drop(frame.remove(at % intact.len())),
        Damage::Added(at, byte) => frame.insert(at % intact.len(), byte),
    }
    let fools = |length: usize| {
        frame.get(..length).is_some_and(|f| crc16(&f[..length - 2]).to_le_bytes() == f[length - 2..] && f != intact)
    };
    let fools_ascii = |length: usize| {
        frame.get(..length).is_some_and(|f| ascii::open(f).is_some() && !f.eq_ignore_ascii_case(&intact))
    };
    let fooled = match framing {
        Framing::Ascii => fools_ascii(intact.len()) || fools_ascii(framing.frame_len(2)),
        _ => fools(intact.len()) || fools(5),
    };
    if fooled {
        *frame = intact;
    }
}

async fn read_some(wire: &mut Option<Box<dyn Wire>>, buffer: &mut [u8]) -> usize {
    match wire {
        Some(wire) => wire.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
