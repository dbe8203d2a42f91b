//! A plant of Modbus TCP devices that costs almost nothing: one thread, one port, as many devices as wanted.
//!
//! The device is told by the loopback address it is called at, 127.77.x.y, so that thousands of devices need one
//! listening socket. Two ports lead to the same devices: one is called by the gateway, the other by the loop it is
//! compared with, and every arrival is noted under its port.
//!
//! ```text
//!   gateway ──► 127.77.x.y:A ─┐
//!                             ├─► one thread ──► registers of device x*256+y, and the time of the request
//!   bare loop ► 127.77.x.y:B ─┘
//! ```
//!
//! | register | holds |
//! |---|---|
//! | 0, 1 | the device's number |
//! | 2, 3 | what [`Plant::signal`] was last told |
//! | 4, 5 | 2,200 to 2,299, another at every request |
//! | 2n | the float n / 2, for n from 8 on |

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Registers of every device.
pub const REGISTERS: usize = 20_000;
/// Devices a plant can have: two bytes of the loopback address.
pub const DEVICES_MAX: usize = 65_536;
/// Length of a Modbus TCP header with the function code.
const HEAD: usize = 8;
/// Length of a read request.
const REQUEST: usize = 12;
/// Orders that wait for the plant's thread.
const ORDERS_MAX: usize = 8;
/// How long a start or a stop of the plant may take.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The gateway under test.
    Gateway,
    /// The loop it is compared with.
    Baseline,
}

/// What a device does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers at once.
    Answers,
    /// It takes the request and never answers.
    Hangs,
}

/// What the plant's thread does while nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It sleeps, and whoever asks next wakes it.
    Sleeps,
    /// It never sleeps. Waking a sleeper on this machine costs whoever asks a microsecond or two, and the more the slower
    /// it asks; the devices of a building are other machines, which nobody has to wake.
    Watches,
}

/// The plant; it ends when it is dropped.
pub struct Plant {
    shared: Arc<Shared>,
    ports: [u16; 2],
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    begin: Instant,
    devices: Vec<Device>,
    base: Vec<u8>,
}

struct Device {
    mood: AtomicU8,
    signal: AtomicI32,
    /// Nanoseconds since the start of the plant at which requests came, by caller.
    arrivals: [Mutex<Vec<u64>>; 2],
}

enum Order {
    Down(std::sync::mpsc::SyncSender<()>),
    Up(std::sync::mpsc::SyncSender<()>),
}

impl Plant {
    /// Starts `devices` devices.
    ///
    /// # Errors
    /// When the ports cannot be had.
    pub fn start(devices: usize) -> anyhow::Result<Self> {
        Self::start_as(devices, Rest::Sleeps)
    }

    /// Starts `devices` devices that `rest` as said when nobody asks.
    ///
    /// # Errors
    /// When the ports cannot be had.
    pub fn start_as(devices: usize, rest: Rest) -> anyhow::Result<Self> {
        anyhow::ensure!(devices <= DEVICES_MAX, "a plant has at most {DEVICES_MAX} devices");
        let device = || Device { mood: AtomicU8::new(0), signal: AtomicI32::new(0), arrivals: Default::default() };
        let shared =
            Arc::new(Shared { begin: Instant::now(), devices: (0..devices).map(|_| device()).collect(), base: base() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _inside = runtime.enter();
            [listen(0)?, listen(0)?]
        };
        let ports = [listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()];
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || match rest {
            Rest::Sleeps => runtime.block_on(serve(theirs, ports, listeners, inbox)),
            Rest::Watches => {
                let _inside = runtime.enter();
                // Whoever measures sees that nobody is answered any more.
                watch(&theirs, listeners, &inbox).unwrap_or_default();
            }
        });
        Ok(Self { shared, ports, orders: Some(orders), thread: Some(thread) })
    }

    /// Where `caller` reaches a device.
    pub fn address(&self, device: usize, caller: Caller) -> SocketAddr {
        address(self.ports[caller as usize], device)
    }

    /// The port of a caller.
    pub fn port(&self, caller: Caller) -> u16 {
        self.ports[caller as usize]
    }

    /// Sets what a device does from now on.
    pub fn set_mood(&self, device: usize, mood: Mood) {
        self.shared.devices[device].mood.store(u8::from(mood == Mood::Hangs), Ordering::Relaxed);
    }

    /// Sets registers 2 and 3 of a device.
    pub fn signal(&self, device: usize, value: i32) {
        self.shared.devices[device].signal.store(value, Ordering::Relaxed);
    }

    /// Switches all devices off: every connection breaks, none is accepted.
    ///
    /// # Errors
    /// When the plant does not obey.
    pub fn go_down(&self) -> anyhow::Result<()> {
        self.order(Order::Down)
    }

    /// Switches them on again, at their old addresses.
    ///
    /// # Errors
    /// When the plant does not obey.
    pub fn come_up(&self) -> anyhow::Result<()> {
        self.order(Order::Up)
    }

    fn order(&self, order: impl FnOnce(std::sync::mpsc::SyncSender<()>) -> Order) -> anyhow::Result<()> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let orders = self.orders.as_ref().ok_or_else(|| anyhow::anyhow!("the plant has ended"))?;
        orders.try_send(order(done)).map_err(|_| anyhow::anyhow!("the plant has ended"))?;
        Ok(wait.recv_timeout(SETTLE_MAX)?)
    }

    /// Forgets every arrival so far.
    pub fn clear(&self) {
        for device in &self.shared.devices {
            for arrivals in &device.arrivals {
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
        }
    }

    /// When each device was asked by `caller`, in nanoseconds since [`Plant::start`].
    pub fn arrivals(&self, caller: Caller) -> Vec<Vec<u64>> {
        let of = |d: &Device| d.arrivals[caller as usize].lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.shared.devices.iter().map(of).collect()
    }

    /// How many requests of `caller` came since [`Plant::clear`].
    pub fn requests(&self, caller: Caller) -> usize {
        let of = |d: &Device| d.arrivals[caller as usize].lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shared.devices.iter().map(of).sum()
    }

    /// Nanoseconds since [`Plant::start`].
    pub fn now(&self) -> u64 {
        self.shared.now()
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A plant that panicked has already been noticed by whoever measured it.
            let _ = thread.join();
        }
    }
}

/// The address of a device on a port of the plant.
pub fn address(port: u16, device: usize) -> SocketAddr {
    let [high, low] = (device as u16).to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(127, 77, high, low), port).into()
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(4096)
}

/// The registers all devices have in common, as they are sent.
fn base() -> Vec<u8> {
    (0..REGISTERS / 2).flat_map(|n| (n as f32 / 2.0).to_be_bytes()).collect()
}

async fn serve(shared: Arc<Shared>, ports: [u16; 2], listeners: [TcpListener; 2], mut orders: mpsc::Receiver<Order>) {
    let mut accepting = accept_all(&shared, listeners);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Down(done) => {
                accepting.shutdown().await;
                // Whoever waited may have given up.
                let _ = done.send(());
            }
            Order::Up(done) => {
                if let (Ok(a), Ok(b)) = (listen(ports[0]), listen(ports[1])) {
                    accepting = accept_all(&shared, [a, b]);
                    let _ = done.send(());
                }
            }
        }
    }
    accepting.shutdown().await;
}

fn accept_all(shared: &Arc<Shared>, listeners: [TcpListener; 2]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (caller, listener) in listeners.into_iter().enumerate() {
        tasks.spawn(accept(Arc::clone(shared), caller, listener));
    }
    tasks
}

async fn accept(shared: Arc<Shared>, caller: usize, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((socket, _)) = listener.accept().await else { continue };
        connections.spawn(converse(Arc::clone(&shared), caller, socket));
    }
}

/// Serves connections without ever sleeping, until nobody gives orders any more. It obeys none: those who hurry have no
/// use for devices that go down.
fn watch(shared: &Shared, listeners: [TcpListener; 2], orders: &mpsc::Receiver<Order>) -> io::Result<()> {
    let listeners = listeners.map(TcpListener::into_std);
    let mut open: Vec<(std::net::TcpStream, Talk<'_>)> = Vec::new();
    // A look at the listeners costs as much as one at a connection and seldom finds anything.
    for round in 0_u32.. {
        if round % 1_024 == 0 {
            if orders.is_closed() {
                break;
            }
            for (caller, listener) in listeners.iter().enumerate() {
                let Ok((socket, _)) = listener.as_ref().map_err(|_| io::ErrorKind::NotConnected)?.accept() else {
                    continue;
                };
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                if let Some(talk) = Talk::new(shared, caller, socket.local_addr()) {
                    open.push((socket, talk));
                }
            }
        }
        open.retain_mut(|(socket, talk)| match socket.read(talk.room()) {
            Ok(0) => false,
            Ok(read) => socket.write_all(talk.heard(read)).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
    }
    Ok(())
}

/// One connection.
async fn converse(shared: Arc<Shared>, caller: usize, mut socket: TcpStream) {
    let Some(mut talk) = Talk::new(&shared, caller, socket.local_addr()) else { return };
    if socket.set_nodelay(true).is_err() {
        return;
    }
    while let Ok(read @ 1..) = socket.read(talk.room()).await {
        let answers = talk.heard(read);
        if !answers.is_empty() && socket.write_all(answers).await.is_err() {
            return;
        }
    }
}

/// What was said over one connection; requests may come several at a time.
struct Talk<'a> {
    shared: &'a Shared,
    caller: usize,
    device: &'a Device,
    number: u32,
    buffer: [u8; 512],
    filled: usize,
    turn: u32,
    answers: Vec<u8>,
}

impl<'a> Talk<'a> {
    /// A connection that was made to `local`, if a device is called so.
    fn new(shared: &'a Shared, caller: usize, local: io::Result<SocketAddr>) -> Option<Self> {
        let Ok(SocketAddr::V4(local)) = local else { return None };
        let [_, _, high, low] = local.ip().octets();
        let number = u16::from_be_bytes([high, low]);
        let device = shared.devices.get(usize::from(number))?;
        let answers = Vec::with_capacity(512);
        Some(Self { shared, caller, device, number: number.into(), buffer: [0; 512], filled: 0, turn: 0, answers })
    }

    /// Where what comes next is put.
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// What is answered to what has come.
    fn heard(&mut self, read: usize) -> &[u8] {
        self.filled += read;
        let now = self.shared.now();
        self.answers.clear();
        let mut used = 0;
        while self.filled - used >= REQUEST {
            self.device.arrivals[self.caller].lock().unwrap_or_else(PoisonError::into_inner).push(now);
            self.turn = (self.turn + 1) % 100;
            if self.device.mood.load(Ordering::Relaxed) == 0 {
                let request = &self.buffer[used..used + REQUEST];
                self.shared.answer(request, self.number, self.device, self.turn, &mut self.answers);
            }
            used += REQUEST;
        }
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
        &self.answers
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Appends the answer to one read of holding registers; an exception to anything else.
    fn answer(&self, request: &[u8], number: u32, device: &Device, turn: u32, out: &mut Vec<u8>) {
        let address = usize::from(u16::from_be_bytes([request[8], request[9]]));
        let count = usize::from(u16::from_be_bytes([request[10], request[11]]));
        let head = out.len();
        if request[7] != 3 || count == 0 || count > 125 || address + count > REGISTERS {
            out.extend_from_slice(&[request[0], request[1], 0, 0, 0, 3, request[6], request[7] | 0x80, 2]);
            return;
        }
        let bytes = 2 * count;
        let length = (bytes as u16 + 3).to_be_bytes();
        out.extend_from_slice(&[request[0], request[1], 0, 0, length[0], length[1], request[6], 3, bytes as u8]);
        out.extend_from_slice(&self.base[2 * address..2 * (address + count)]);
        if address == 0 && count >= 6 {
            let own = &mut out[head + HEAD + 1..];
            own[0..4].copy_from_slice(&number.to_be_bytes());
            own[4..8].copy_from_slice(&device.signal.load(Ordering::Relaxed).to_be_bytes());
            own[8..12].copy_from_slice(&(2_200 + turn).to_be_bytes());
        }
    }
}
