//! The listening task of one port, and one short task for each caller that has not said who it is.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::dialled::{Dialled, Wire};
use super::greeting::{Greeting, greet};
use super::{DialInStats, EntranceConfig, PACKET_MAX, Seat, question};
use crate::line::FieldDevice;
use crate::link::{LineConfig, Link};

/// How long a connection may be quiet before TCP asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often it asks, and how often in vain, before the connection is given up.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes may stay unacknowledged. Keepalive does not look while there are some.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(90);

/// One refused caller is named in this time; the others are only counted.
const NAMED_EVERY: Duration = Duration::from_secs(10);
/// As many of its first bytes are told.
const TOLD_MAX: usize = 32;

/// The pause before a port that cannot be listened on is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted: the process has no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// A line of an entrance, and what its DTU is recognised by.
#[derive(Debug)]
pub struct Caller {
    line: Arc<str>,
    dial_in: super::DialIn,
    questions: Vec<question::Question>,
}

impl Caller {
    /// The line as a caller of this entrance, with the devices on it; `None` if it is not one.
    pub fn of(config: &LineConfig, devices: &[FieldDevice], entrance: &str) -> Option<Self> {
        let Link::DialIn(dial_in) = &config.link else { return None };
        if *dial_in.entrance != *entrance {
            return None;
        }
        let questions = match dial_in.registration {
            Some(_) => Vec::new(),
            None => question::of(devices, config),
        };
        Some(Self { line: Arc::clone(&config.name), dial_in: dial_in.clone(), questions })
    }
}

/// What the rest of the program holds of an entrance.
#[derive(Clone, Debug)]
pub struct EntranceHandle {
    name: Arc<str>,
    stats: Arc<DialInStats>,
    seats: Arc<[Guest]>,
    address: Arc<OnceLock<SocketAddr>>,
}

/// A caller, and its place.
#[derive(Debug)]
pub(super) struct Guest {
    line: Arc<str>,
    pub(super) seat: Arc<Seat>,
    pub(super) questions: Vec<question::Question>,
}

impl EntranceHandle {
    /// The entrance's name in the site file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens; `None` until it could.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// What the entrance counts about itself.
    pub fn stats(&self) -> &Arc<DialInStats> {
        &self.stats
    }

    /// The seat of a line, for [`crate::start_dial_in_line`].
    pub fn seat(&self, line: &str) -> Option<Arc<Seat>> {
        self.seats.iter().find(|guest| &*guest.line == line).map(|guest| Arc::clone(&guest.seat))
    }
}

/// Starts to listen. A port that is taken is tried again by itself, and the lines behind it are down until then. The
/// task ends after `stop` is cancelled.
pub fn start_entrance(
    config: EntranceConfig,
    callers: Vec<Caller>,
    stop: CancellationToken,
) -> (EntranceHandle, JoinHandle<()>) {
    let stats = Arc::<DialInStats>::default();
    let seats: Arc<[Guest]> = callers
        .into_iter()
        .map(|caller| Guest {
            line: caller.line,
            seat: Arc::new(Seat::new(caller.dial_in, Arc::clone(&stats))),
            questions: caller.questions,
        })
        .collect();
    let handle = EntranceHandle { name: Arc::clone(&config.name), stats, seats, address: Arc::default() };
    let porter = Arc::new(Porter { handle: handle.clone(), config, named: Mutex::new(None) });
    (handle, tokio::spawn(porter.run(stop)))
}

/// Why a caller is sent away.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Unknown,
    Silent,
    Full,
}

struct Porter {
    handle: EntranceHandle,
    config: EntranceConfig,
    /// When a refused caller was named last.
    named: Mutex<Option<Instant>>,
}

impl Porter {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = Arc::clone(&self).listen() => {}
        }
        info!(dial_in = %self.config.name, "no more DTUs are taken");
    }

    /// Never ends. Whoever drops it drops the callers that have not said who they are.
    async fn listen(self: Arc<Self>) {
        let listener = self.bind().await;
        let mut waiting = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        self.handle.stats.accepted.add(1);
                        let seated = usize::try_from(self.handle.stats.connected.get()).unwrap_or(usize::MAX);
                        if seated.saturating_add(waiting.len()) >= self.config.connections_max {
                            self.refuse(Refusal::Full, peer, &[]);
                        } else {
                            waiting.spawn(Arc::clone(&self).receive(socket, peer));
                        }
                    }
                    Err(failure) => {
                        warn!(dial_in = %self.config.name, %failure, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(_) = waiting.join_next() => {}
            }
            self.handle.stats.waiting.set(waiting.len() as u64);
        }
    }

    async fn bind(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.config.listen).await {
                Ok(listener) => {
                    let address = listener.local_addr().unwrap_or(self.config.listen);
                    // It is bound once in its life.
                    let _ = self.handle.address.set(address);
                    info!(dial_in = %self.config.name, %address, "waiting for DTUs");
                    return listener;
                }
                Err(failure) => {
                    error!(dial_in = %self.config.name, listen = %self.config.listen, %failure,
                        "cannot listen for DTUs; free the port or change `listen`; trying again");
                    tokio::time::sleep(LISTEN_AGAIN).await;
                }
            }
        }
    }

    /// Finds out who calls, and gives the connection to its line.
    async fn receive(self: Arc<Self>, mut socket: TcpStream, peer: SocketAddr) {
        let mut heard = Vec::new();
        // Whatever cannot be set, or copied, belongs to a connection that broke already.
        let Ok(spare) = prepare(&socket) else { return };
        let found = match self.listen_to(&mut socket, &mut heard).await {
            Ok(Some(i)) => Ok((i, Vec::new())),
            Ok(None) => question::ask_around(&mut socket, &self.handle.seats).await.ok_or(Refusal::Silent),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok((i, asked)) => {
                let seat = &self.handle.seats[i].seat;
                info!(dial_in = %self.config.name, dtu = %seat.dial_in.who, %peer, "DTU dialled in");
                seat.put(Dialled::new(seat, Wire::Tcp(socket), Some(spare), asked));
            }
            Err(refusal) => self.refuse(refusal, peer, &heard),
        }
    }

    /// Listens until the caller has said who it is; `None` if it says nothing and its devices must be asked.
    async fn listen_to(&self, socket: &mut TcpStream, heard: &mut Vec<u8>) -> Result<Option<usize>, Refusal> {
        let seats = &self.handle.seats;
        let registrations = || seats.iter().map(|guest| guest.seat.dial_in.registration.as_ref());
        let heartbeats: Vec<_> = seats.iter().filter_map(|guest| guest.seat.dial_in.heartbeat.clone()).collect();
        let deadline = Instant::now() + self.config.register_within;
        // Nobody who could call has anything to say.
        if registrations().all(|r| r.is_none()) && !seats.is_empty() {
            return Ok(None);
        }
        let mut piece = [0; PACKET_MAX];
        loop {
            let read = match timeout_at(deadline, socket.read(&mut piece)).await {
                Err(_) if heard.is_empty() && registrations().any(|r| r.is_none()) => return Ok(None),
                Err(_) | Ok(Err(_)) | Ok(Ok(0)) => return Err(Refusal::Silent),
                Ok(Ok(read)) => read,
            };
            heard.extend(&piece[..read]);
            let (beats, greeting) = greet(heard, registrations(), &heartbeats);
            self.handle.stats.heartbeats.add(beats);
            match greeting {
                // What came with the registration is more of it, or noise: nothing was asked yet.
                Greeting::Known(i) => return Ok(Some(i)),
                Greeting::More => {}
                Greeting::Unknown => return Err(Refusal::Unknown),
            }
        }
    }

    fn refuse(&self, refusal: Refusal, peer: SocketAddr, heard: &[u8]) {
        let stats = &self.handle.stats;
        let (counter, why) = match refusal {
            Refusal::Unknown => (&stats.refused_unknown, "its first bytes are no DTU's registration in the site file"),
            Refusal::Silent => (&stats.refused_silent, "it did not say who it is, and no configured unit answered"),
            Refusal::Full => (&stats.refused_full, "there are too many connections; see `connections_max`"),
        };
        counter.add(1);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.is_some_and(|last| last.elapsed() < NAMED_EVERY) {
            return;
        }
        *named = Some(Instant::now());
        let told = &heard[..heard.len().min(TOLD_MAX)];
        let hex: String = told.iter().map(|byte| format!("{byte:02x} ")).collect();
        warn!(dial_in = %self.config.name, %peer, why, text = %told.escape_ascii(), hex = hex.trim_end(),
            "a caller is refused; others like it are only counted for a while");
    }
}

/// Makes a dead connection found by TCP itself, and returns the socket under a second descriptor.
fn prepare(socket: &TcpStream) -> io::Result<socket2::Socket> {
    socket.set_nodelay(true)?;
    let options = SockRef::from(socket);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    options.set_tcp_keepalive(&keepalive)?;
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    options.try_clone()
}
