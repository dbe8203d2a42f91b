//! The building as a client meets it: over sockets, with other people's Modbus clients.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Context, rtu, tcp};
use tokio_modbus::prelude::*;

use crate::inventory::LineId;
use crate::*;

mod control;
mod lines;
mod stories;

/// An HTTP client; the process-wide crypto provider may already be there.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a provider is installed")
}

/// Waits until something is so, at most ten seconds.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(Duration::from_secs(10), wait).await.is_ok(), "{what} did not happen");
}

pub(crate) async fn building() -> Building {
    client();
    Building::start(BuildingConfig::default()).await.expect("it starts")
}

/// A Modbus client that was not written for this building.
async fn modbus(building: &Building, line: LineId, unit: u8) -> Context {
    let socket = TcpStream::connect(building.addresses().line(line)).await.expect("the line listens");
    match line.serial() {
        Some(_) => rtu::attach_slave(socket, Slave(unit)),
        None => tcp::attach_slave(socket, Slave(unit)),
    }
}

fn f32_of(words: &[u16]) -> f32 {
    f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]))
}
