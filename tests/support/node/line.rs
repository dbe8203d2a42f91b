//! The node's line as a serial server shows it: one TCP port that outlives the node.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes carried at once; more than a frame.
const PIECE: usize = 512;

/// The port and what is connected to it.
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    uart: PathBuf,
    closing: AtomicBool,
    /// Whether the node runs, and the connections that end with it.
    state: Mutex<(bool, Vec<TcpStream>)>,
}

impl Line {
    /// Opens the port for a node whose line is at a unix socket.
    pub fn open(uart: PathBuf) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { uart, closing: AtomicBool::new(false), state: Mutex::new((false, Vec::new())) });
        let ours = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &ours));
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says whether there is a node behind it. Without one, connections end: those that are there, and new ones at once.
    pub fn connect_to_node(&self, running: bool) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = running;
        for client in state.1.drain(..) {
            // A client that went by itself has nothing left to be shut.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for client in listener.incoming() {
        if shared.closing.load(Ordering::Relaxed) {
            return;
        }
        // A client that cannot be served is dropped, which it sees.
        let _ = client.and_then(|client| serve(client, shared));
    }
}

/// Carries bytes both ways until one side ends.
fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    if !state.0 {
        return Ok(());
    }
    client.set_nodelay(true)?;
    let node = UnixStream::connect(Path::new(&shared.uart))?;
    state.1.retain(|other| other.peer_addr().is_ok());
    state.1.push(client.try_clone()?);
    let (from_client, to_client) = (client.try_clone()?, client);
    let (from_node, to_node) = (node.try_clone()?, node);
    thread::spawn(move || {
        carry(&from_client, &to_node);
        let _ = to_node.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        carry(&from_node, &to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn carry(mut from: impl Read, mut to: impl Write) {
    let mut piece = [0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if piece.get(..count).is_none_or(|bytes| to.write_all(bytes).is_err()) {
            return;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connect_to_node(false);
        self.shared.closing.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients; when that fails it is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
