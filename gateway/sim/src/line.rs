//! A Modbus line behind a TCP port: a serial server with an RS-485 bus behind it, or a Modbus TCP server.
//!
//! ```text
//!  socket ─┐  frames                    ┌─ reply to the socket that asked, or if it is gone
//!  socket ─┼────────► one bus task ─────┤  to the newest one: cheap serial servers do that
//!  socket ─┘  bounded   │ takes its time└─ garbage to the newest one
//!                       ▼
//!                  World::request
//! ```
//!
//! A serial bus carries one frame at a time at its own pace: the bus task waits as long as request and reply take on a
//! wire of that baud rate. Modbus TCP lines use the same task without a pace. When the server hangs, frames vanish;
//! they are not answered later. A power cut costs nothing here: nothing is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::fault::{LineFault, Noise, Server};
use crate::inventory::{LineId, Parity, Serial};
use crate::lock;
use crate::modbus;
use crate::world::World;

/// Frames that may wait for the bus, over all connections; more are lost, as in a serial server's own buffer.
const FRAMES_WAITING_MAX: usize = 64;
/// Replies that may wait for one slow reader.
const REPLIES_WAITING_MAX: usize = 32;
/// Connections one line serves at a time.
const CONNECTIONS_MAX: usize = 16;
/// Silence after which half a frame is dropped; real devices use 3.5 characters, networks need more.
const FRAME_GAP: Duration = Duration::from_millis(50);
/// What a device on the bus needs before it answers.
const TURNAROUND: Duration = Duration::from_millis(6);
/// How often noise appears on a noisy line by itself.
const NOISE_PERIOD: Duration = Duration::from_millis(400);
/// Of 100 replies on a noisy line, so many are damaged and so many have garbage before them.
const NOISE_DAMAGED: u8 = 35;
const NOISE_PREFIXED: u8 = 25;
/// The longest MBAP length field: unit and a PDU of 253 bytes.
const MBAP_LENGTH_MAX: usize = 254;

/// How fast the serial buses are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// As their baud rate and the devices' turnaround make them.
    #[default]
    Paced,
    /// As fast as the machine, for tests that poll more often than a bus could bear.
    Instant,
}

/// What a line is started with.
pub(crate) struct Setup<'a> {
    pub(crate) world: &'a Arc<Mutex<World>>,
    pub(crate) wire: Wire,
    pub(crate) seed: u64,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) tasks: &'a TaskTracker,
}

/// Counters of a line, for the ground truth.
#[derive(Debug, Default)]
pub(crate) struct LineCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// One line: its fault state can be changed while it runs.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: LineId,
    pub(crate) fault: watch::Sender<LineFault>,
    pub(crate) counters: Arc<LineCounters>,
}

/// How a frame came and how its reply has to leave.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Rtu,
    Tcp { transaction: [u8; 2] },
}

/// A request on its way to the bus.
struct Frame {
    connection: u64,
    unit: u8,
    pdu: Vec<u8>,
    framing: Framing,
}

/// The open connections, the newest last. Shared, because they come and go while the bus is busy.
type Connections = Arc<Mutex<Vec<Open>>>;

impl Line {
    /// Starts serving on a bound socket until it is told to stop.
    pub(crate) fn start(id: LineId, listener: TcpListener, setup: &Setup<'_>) -> Self {
        let Setup { world, wire, seed, stop, tasks } = *setup;
        let (fault, watched) = watch::channel(LineFault::default());
        let counters = Arc::new(LineCounters::default());
        let (sender, frames) = mpsc::channel(FRAMES_WAITING_MAX);
        let open = Connections::default();
        let bus = Bus {
            id,
            world: Arc::clone(world),
            pace: id.serial().filter(|_| wire == Wire::Paced),
            fault: watched.clone(),
            counters: Arc::clone(&counters),
            open: Arc::clone(&open),
            rng: fastrand::Rng::with_seed(seed),
        };
        tasks.spawn(bus.run(frames, stop.clone()));
        let gate = Gate {
            id,
            frames: sender,
            open,
            fault: watched,
            counters: Arc::clone(&counters),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(gate.run(listener));
        Self { id, fault, counters }
    }
}

/// Takes connections in.
struct Gate {
    id: LineId,
    frames: mpsc::Sender<Frame>,
    open: Connections,
    fault: watch::Receiver<LineFault>,
    counters: Arc<LineCounters>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Gate {
    async fn run(self, listener: TcpListener) {
        let mut connection = 0;
        let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    debug!(line = self.id.name(), %error, "connection not accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
            if self.fault.borrow().server == Server::Down {
                continue;
            }
            // Small frames must not wait for each other in the kernel.
            let _ = socket.set_nodelay(true);
            connection += 1;
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
            self.admit(socket, connection, permit);
        }
    }

    fn admit(&self, socket: TcpStream, connection: u64, permit: tokio::sync::OwnedSemaphorePermit) {
        let (replies, outgoing) = mpsc::channel(REPLIES_WAITING_MAX);
        let close = self.stop.child_token();
        lock(&self.open).push(Open { connection, replies, close: close.clone() });
        let (id, frames, open) = (self.id, self.frames.clone(), Arc::clone(&self.open));
        self.tasks.spawn(async move {
            serve(id, socket, connection, frames, outgoing, close).await;
            lock(&open).retain(|open| open.connection != connection);
            drop(permit);
        });
    }
}

/// One connection: a reader that cuts frames and a writer that sends what the bus hands it.
async fn serve(
    id: LineId,
    socket: TcpStream,
    connection: u64,
    frames: mpsc::Sender<Frame>,
    outgoing: mpsc::Receiver<Vec<u8>>,
    close: CancellationToken,
) {
    let (reader, writer) = socket.into_split();
    let reading = async {
        match id.serial() {
            Some(_) => read_rtu(reader, connection, &frames).await,
            None => read_tcp(reader, connection, &frames).await,
        }
    };
    tokio::select! {
        () = close.cancelled() => {}
        () = reading => {}
        () = write(writer, outgoing) => {}
    }
}

async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = outgoing.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Cuts RTU frames out of the stream by length, or by silence when the function is unknown.
async fn read_rtu(mut reader: OwnedReadHalf, connection: u64, frames: &mpsc::Sender<Frame>) {
    let mut buffer: Vec<u8> = Vec::with_capacity(modbus::RTU_FRAME_MAX);
    let mut chunk = [0u8; modbus::RTU_FRAME_MAX];
    loop {
        let silent = match timeout(FRAME_GAP, reader.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(n)) => {
                buffer.extend_from_slice(&chunk[..n]);
                false
            }
            Err(_) => true,
        };
        while let Some(length) = modbus::rtu_request_length(&buffer).filter(|length| *length <= buffer.len()) {
            let frame: Vec<u8> = buffer.drain(..length).collect();
            if !offer_rtu(&frame, connection, frames) {
                // A frame that does not check puts the rest of the burst out of step as well.
                buffer.clear();
            }
        }
        if silent && !buffer.is_empty() {
            offer_rtu(&buffer, connection, frames);
            buffer.clear();
        }
        if buffer.len() > modbus::RTU_FRAME_MAX {
            buffer.clear();
        }
    }
}

fn offer_rtu(frame: &[u8], connection: u64, frames: &mpsc::Sender<Frame>) -> bool {
    let Some((unit, pdu)) = modbus::rtu_open(frame) else { return false };
    // A full queue loses the frame, as a serial server does; the client's deadline deals with it.
    let _ = frames.try_send(Frame { connection, unit, pdu: pdu.to_vec(), framing: Framing::Rtu });
    true
}

async fn read_tcp(mut reader: OwnedReadHalf, connection: u64, frames: &mpsc::Sender<Frame>) {
    let mut header = [0u8; 7];
    loop {
        if reader.read_exact(&mut header).await.is_err() {
            return;
        }
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[2..4] != [0, 0] || !(2..=MBAP_LENGTH_MAX).contains(&length) {
            return;
        }
        let mut pdu = vec![0u8; length - 1];
        if reader.read_exact(&mut pdu).await.is_err() {
            return;
        }
        let framing = Framing::Tcp { transaction: [header[0], header[1]] };
        if frames.send(Frame { connection, unit: header[6], pdu, framing }).await.is_err() {
            return;
        }
    }
}

struct Open {
    connection: u64,
    replies: mpsc::Sender<Vec<u8>>,
    close: CancellationToken,
}

struct Bus {
    id: LineId,
    world: Arc<Mutex<World>>,
    /// The format of a wire that takes its time.
    pace: Option<Serial>,
    fault: watch::Receiver<LineFault>,
    counters: Arc<LineCounters>,
    open: Connections,
    rng: fastrand::Rng,
}

impl Bus {
    async fn run(mut self, mut frames: mpsc::Receiver<Frame>, stop: CancellationToken) {
        let mut next_noise = Instant::now() + NOISE_PERIOD;
        let mut fault = self.fault.clone();
        loop {
            let noisy = self.fault.borrow().noise == Noise::Garbage;
            tokio::select! {
                () = stop.cancelled() => return,
                frame = frames.recv() => match frame {
                    Some(frame) => tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.exchange(frame) => {}
                    },
                    None => return,
                },
                _ = fault.changed() => {
                    if fault.borrow_and_update().server == Server::Down {
                        lock(&self.open).drain(..).for_each(|open| open.close.cancel());
                    }
                }
                () = tokio::time::sleep_until(next_noise), if noisy => {
                    next_noise = Instant::now() + NOISE_PERIOD.mul_f64(0.5 + self.rng.f64());
                    let noise = self.garbage();
                    self.deliver(None, noise);
                }
            }
        }
    }

    async fn exchange(&mut self, frame: Frame) {
        let Frame { connection, unit, pdu, framing } = frame;
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let fault = *self.fault.borrow();
        self.pace(pdu.len() + 3).await;
        if fault.server != Server::Works || self.rng.u8(0..100) < fault.drop_percent {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(reply) = lock(&self.world).request(self.id, unit, &pdu) else { return };
        let mut bytes = match framing {
            Framing::Rtu => modbus::rtu_frame(unit, &reply),
            Framing::Tcp { transaction } => {
                let length = (reply.len() as u16 + 1).to_be_bytes();
                [&[transaction[0], transaction[1], 0, 0, length[0], length[1], unit], &reply[..]].concat()
            }
        };
        if fault.noise == Noise::Garbage {
            self.damage(&mut bytes, framing);
        }
        sleep(fault.delay()).await;
        self.pace(bytes.len()).await;
        self.counters.replies.fetch_add(1, Ordering::Relaxed);
        self.deliver(Some(connection), bytes);
    }

    /// Waits as long as so many characters and the device's turnaround take on a serial wire.
    async fn pace(&self, bytes: usize) {
        if let Some(serial) = self.pace {
            let bits = if serial.parity == Parity::None { 10 } else { 11 };
            let micros = bytes as u64 * bits * 1_000_000 / u64::from(serial.baud);
            sleep(TURNAROUND / 2 + Duration::from_micros(micros)).await;
        }
    }

    /// To the connection that asked; if it is closed, and for noise, to the newest one.
    fn deliver(&self, connection: Option<u64>, bytes: Vec<u8>) {
        let connections = lock(&self.open);
        let mut living = connections.iter().filter(|open| !open.replies.is_closed());
        let asked = living.clone().find(|open| Some(open.connection) == connection);
        // Only bytes from a serial wire can find their way into another connection.
        let newest = living.next_back().filter(|_| self.id.serial().is_some());
        if let Some(open) = asked.or(newest) {
            // A reader that does not read loses bytes, as on a wire.
            let _ = open.replies.try_send(bytes);
        }
    }

    fn garbage(&mut self) -> Vec<u8> {
        let length = self.rng.usize(3..40);
        (0..length).map(|_| self.rng.u8(..)).collect()
    }

    /// Flips a bit where a client can notice it: anywhere under a checksum, else in the transaction and protocol ids.
    fn damage(&mut self, bytes: &mut Vec<u8>, framing: Framing) {
        if self.rng.u8(0..100) < NOISE_DAMAGED {
            self.counters.damaged.fetch_add(1, Ordering::Relaxed);
            let reach = if matches!(framing, Framing::Rtu) { bytes.len() } else { 4 };
            let at = self.rng.usize(0..reach);
            bytes[at] ^= 1 << self.rng.u8(0..8);
        }
        if self.rng.u8(0..100) < NOISE_PREFIXED {
            let mut noise = self.garbage();
            noise.append(bytes);
            *bytes = noise;
        }
    }
}
