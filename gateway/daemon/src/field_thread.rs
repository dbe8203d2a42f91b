//! One thread for everything between a bus and a decision.
//!
//! Lines, the hub and the alarms hand each other small things hundreds of times a second. On one thread that costs a
//! queue; between threads each hand-over would wake somebody, which costs more than decoding the values. And whatever
//! the other threads do meanwhile (a page of fifty thousand samples, a report for the whole estate), no poll waits for it.
//!
//! ```text
//!   field thread:   lines ──► hub ──► alarms        nothing here computes for longer than a fraction of a millisecond
//!   other threads:  journal, pager, prepaid, forwarder, MQTT, HTTP
//! ```

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The thread. It ends when this is dropped; tasks that still run on it end with it.
pub struct FieldThread {
    handle: Handle,
    _stop: DropGuard,
}

impl FieldThread {
    /// Starts it.
    ///
    /// # Errors
    /// When the system has no thread or no poller to give.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("field".to_owned())
            .spawn(move || runtime.block_on(stopped.cancelled_owned()))?;
        Ok(Self { handle, _stop: stop.drop_guard() })
    }

    /// Where to spawn.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
