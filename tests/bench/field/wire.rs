//! A serial line at 9600 baud, true to the character, behind a TCP port or a pseudo terminal.
//!
//! ```text
//!   request ──8 characters──► silence t3.5, the meter thinks ──► answer, one character after the other ──► silence t3.5
//!   └───────────────────────────────────── nobody else may speak ───────────────────────────────────────────────────┘
//! ```
//!
//! A byte that comes before the silence after the last answer is over would meet other bytes on a real wire; it is
//! counted. Times are taken when bytes can be read, so a count is never too high by this program's own delay.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serialport::{SerialPort as _, TTYPort};

/// A start bit, 8 data bits and a stop bit at 9600 baud.
const CHARACTER: Duration = Duration::from_nanos(1_041_666);
/// The silence between frames.
const SILENCE: Duration = Duration::from_nanos(1_041_666 * 7 / 2);
/// How long a meter thinks, the silence included.
const THINKS: Duration = Duration::from_millis(10);
/// Length of a read request.
const REQUEST: usize = 8;
/// Runs of bytes that wait to be answered.
const RUNS_MAX: usize = 1_024;
/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What the line has seen since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests to units that are silent.
    pub unanswered: u64,
    /// Frames that met another one, or its silence.
    pub collisions: u64,
    /// Requests that were no read, or damaged.
    pub damaged: u64,
    /// How long the wire was needed: characters, thinking, silences.
    pub needed: Duration,
}

/// Where a line is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A serial server.
    Tcp,
    /// A serial port.
    Terminal,
}

/// The line; it ends when it is dropped.
pub struct Wire {
    place: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    silent: Mutex<Vec<u8>>,
    seen: Mutex<Seen>,
}

type Port = (Box<dyn Read + Send>, Box<dyn Write + Send>);

impl Wire {
    /// Starts a line with meters of every unit number.
    ///
    /// # Errors
    /// When the system has no port or terminal.
    pub fn start(place: Place) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let (place, thread) = match place {
            Place::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let place = listener.local_addr()?.to_string();
                listener.set_nonblocking(true)?;
                (place, std::thread::spawn(move || accept(&listener, &theirs)))
            }
            Place::Terminal => {
                let (mut ours, mut other) = TTYPort::pair()?;
                let place = other.name().ok_or_else(|| anyhow::anyhow!("the terminal has no name"))?;
                // A plain file keeps the terminal alive: another serial port, even a shared one, holds a lock on it
                // with which the gateway cannot open it for itself.
                other.set_exclusive(false)?;
                let keeper = File::options().read(true).write(true).open(&place)?;
                drop(other);
                ours.set_timeout(LOOK)?;
                let port: Port = (Box::new(ours.try_clone_native()?), Box::new(ours));
                let thread = std::thread::spawn(move || {
                    converse(port, &theirs);
                    drop(keeper);
                });
                (place, thread)
            }
        };
        Ok(Self { place, shared, thread: Some(thread) })
    }

    /// The address or the path.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// These units do not answer from now on; all others do.
    pub fn silence(&self, units: &[u8]) {
        *self.shared.silent.lock().unwrap_or_else(PoisonError::into_inner) = units.to_vec();
    }

    /// What was seen since [`Wire::take_seen`].
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was seen since this was last asked.
    pub fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A line that panicked has been noticed by whoever measured it.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((socket, _)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        let prepared = socket
            .set_nonblocking(false)
            .and_then(|()| socket.set_nodelay(true))
            .and_then(|()| socket.set_read_timeout(Some(LOOK)))
            .and_then(|()| socket.try_clone());
        if let Ok(reader) = prepared {
            converse((Box::new(reader), Box::new(socket)), shared);
        }
    }
}

/// Takes the bytes as they come, so that their time is known while the other thread writes.
fn listen(mut reader: Box<dyn Read + Send>, shared: &Shared, heard: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 512];
    while !shared.ended.load(Ordering::Relaxed) {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) if heard.send((Instant::now(), buffer[..read].to_vec())).is_err() => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
            Err(_) => return,
        }
    }
}

/// One connection, until the other side closes it.
fn converse((reader, mut writer): Port, shared: &Arc<Shared>) {
    let (heard, bytes) = sync_channel(RUNS_MAX);
    let theirs = Arc::clone(shared);
    let listening = std::thread::spawn(move || listen(reader, &theirs, &heard));
    let mut free_at = Instant::now();
    while !shared.ended.load(Ordering::Relaxed) {
        let (begun, mut request) = match bytes.recv_timeout(LOOK) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        while request.len() < REQUEST
            && let Ok((_, more)) = bytes.recv_timeout(LOOK)
        {
            request.extend(more);
        }
        let mut seen = Seen { collisions: u64::from(begun < free_at), ..Seen::default() };
        let spoken = begun + CHARACTER * request.len() as u32;
        let answer = answer(&request);
        let is_silent = shared.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&request[0]);
        free_at = spoken + SILENCE;
        match answer {
            Some(_) if is_silent => seen.unanswered = 1,
            Some(answer) => {
                let ended = speak(&mut *writer, &answer, spoken + THINKS, &bytes, &mut seen);
                seen.answered = 1;
                seen.needed = ended - begun + SILENCE;
                free_at = ended + SILENCE;
            }
            None => seen.damaged = 1,
        }
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).add(&seen);
    }
    drop(bytes);
    // It ends within one look, or has ended.
    let _ = listening.join();
}

/// Sends the answer, one character after the other; returns when the last one has passed.
fn speak(
    writer: &mut dyn Write,
    answer: &[u8],
    begin: Instant,
    bytes: &Receiver<(Instant, Vec<u8>)>,
    seen: &mut Seen,
) -> Instant {
    let mut sent = 0;
    while sent < answer.len() {
        let due = begin + CHARACTER * (sent as u32 + 1);
        match bytes.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(_) => seen.collisions += 1,
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody listens any more; the wire is occupied all the same.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let passed = Instant::now().saturating_duration_since(begin).as_nanos() / CHARACTER.as_nanos();
        let due_now = (passed as usize).min(answer.len());
        if due_now > sent {
            if writer.write_all(&answer[sent..due_now]).and_then(|()| writer.flush()).is_err() {
                break;
            }
            sent = due_now;
        }
    }
    begin + CHARACTER * answer.len() as u32
}

/// The answer to a read of holding registers: register n holds n.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let [unit, 3, a, b, c, d, low, high] = *request else { return None };
    if crc(&request[..6]) != u16::from_le_bytes([low, high]) {
        return None;
    }
    let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if count == 0 || count > 125 {
        return None;
    }
    let mut answer = vec![unit, 3, (count * 2) as u8];
    for n in 0..count {
        answer.extend_from_slice(&address.wrapping_add(n).to_be_bytes());
    }
    answer.extend_from_slice(&crc(&answer).to_le_bytes());
    Some(answer)
}

/// Modbus over Serial Line V1.02, 6.2.2.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 })
    })
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.collisions += other.collisions;
        self.damaged += other.damaged;
        self.needed += other.needed;
    }
}
