//! The place of one DTU: the entrance puts its newest connection there, the line's task takes it.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DialIn, DialInStats, Dialled};
use crate::link::LinkError;

/// The place of one DTU at its entrance.
#[derive(Debug)]
pub struct Seat {
    pub(super) dial_in: DialIn,
    pub(super) stats: Arc<DialInStats>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The newest connection, until the line's task takes it.
    waiting: Option<Dialled>,
    /// The newest connection, wherever it is.
    newest: Option<Arc<Lifeline>>,
}

/// What the seat keeps of a connection that is in the hands of the line's task.
#[derive(Debug)]
pub(super) struct Lifeline(Mutex<Life>);

#[derive(Debug)]
enum Life {
    /// In use; the same socket under another descriptor, which does not exist in memory.
    Open(Option<socket2::Socket>),
    /// The DTU has called again since.
    Replaced,
    /// Closed or given up.
    Gone,
}

impl Lifeline {
    pub(super) fn new(socket: Option<socket2::Socket>) -> Self {
        Self(Mutex::new(Life::Open(socket)))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the DTU has called again since.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(*self.life(), Life::Replaced)
    }

    fn is_open(&self) -> bool {
        matches!(*self.life(), Life::Open(_))
    }

    /// Nobody reads from the connection any more. The second descriptor goes with the first, or the peer would never
    /// hear of it.
    pub(super) fn let_go(&self) {
        let mut life = self.life();
        if matches!(*life, Life::Open(_)) {
            *life = Life::Gone;
        }
    }

    /// Ends the connection under whoever is reading from it.
    fn replace(&self) {
        if let Life::Open(Some(socket)) = std::mem::replace(&mut *self.life(), Life::Replaced) {
            // A socket that is dead already has nothing left to shut down.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Seat {
    pub(super) fn new(dial_in: DialIn, stats: Arc<DialInStats>) -> Self {
        Self { dial_in, stats, taken: Mutex::default() }
    }

    /// Puts a connection here, and ends the one before it.
    pub(super) fn put(&self, connection: Dialled) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = taken.newest.replace(Arc::clone(connection.lifeline()));
        if let Some(old) = before.filter(|old| old.is_open()) {
            self.stats.replaced.add(1);
            old.replace();
        }
        taken.waiting = Some(connection);
    }

    /// Takes the newest connection.
    pub(crate) fn take(&self) -> Result<Dialled, LinkError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.waiting.take().ok_or_else(|| self.dial_in.absent())
    }

    /// Whether the DTU is connected, as far as is known.
    pub(super) fn is_taken(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.newest.as_ref().is_some_and(|newest| newest.is_open())
    }
}
