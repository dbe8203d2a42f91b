//! A simulated building on loopback sockets, for the demo, the tests and the benchmarks.
//!
//! Three floors of shops with 48 electricity meters and 12 water meters, a fire panel, two lifts, a utility room, an MQTT
//! broker, duty phones and a payment channel. Every register map is written here from the maker's documents, apart from
//! the gateway's decoder: that the two agree is what a test against this building proves.
//!
//! ```text
//!            ┌─ Line x7 (Modbus) ──┐
//!  gateway ──┼─ Broker ── Node x4 ─┼── World (physics, 100 ms tick) ◄── Director (stories)
//!            ├─ Phone              │             ▲
//!            └─ PaymentChannel     └── control ──┘   HTTP on loopback, and the same typed
//! ```
//!
//! [`Building::start`] binds every server to a free loopback port; [`Building::shutdown`] ends all of its tasks. The
//! crate knows nothing of the gateway but its HTTP interface for top-ups and acknowledgements.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod broker;
mod building;
mod control;
mod error;
mod fault;
pub mod inventory;
mod line;
mod modbus;
mod payment;
mod phone;
mod registers;
mod site_file;
mod story;
mod water_node;
mod world;

pub use broker::{Broker, BrokerTruth};
pub use building::{Addresses, Building, BuildingConfig, LineTruth, Truth};
pub use error::SimError;
pub use fault::{BrokerAction, Fault, LineFault, Noise, Server};
pub use line::Wire;
pub use payment::{Attempt, PayMode, Payment, PaymentChannel, Standing};
pub use phone::{Page, Person, Phone, PhoneMode, Signature, Via};
pub use registers::Table;
pub use site_file::{SiteFileOptions, Tempo};
pub use story::{Running, Story, StoryMode};
pub use world::meter::{Contactor, Feeder, Relay};
pub use world::panel::{DETECTORS_PER_ZONE, Detector, ZONES};
pub use world::utility::Pump;
pub use world::{DeviceTruth, Life};

/// Locks; a panic in another task must not make the whole building fail, the state under the lock is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock in Unix milliseconds.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
