//! The bare loop: tokio-modbus reads the same registers and throws them away. A process of its own.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::slave::Slave;

use crate::plant::address;
use crate::site::REGISTERS_READ;

/// How long it waits before it calls a device again that hung up.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads `devices` devices on `port`, each every `period`, or without a pause if that is zero; until it is killed.
///
/// # Errors
/// When there is no runtime to be had.
pub fn run(port: u16, devices: usize, period: Duration) -> anyhow::Result<()> {
    // One thread is the cheapest way to do this; the gateway's own number of threads is its own business.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let start = Instant::now();
        for device in 0..devices {
            let phase = period.mul_f64(device as f64 / devices as f64);
            tokio::spawn(async move {
                loop {
                    // A device that hung up is called again; there is nobody to tell.
                    let _ = read(port, device, period, start + phase).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        std::future::pending::<()>().await;
    });
    Ok(())
}

async fn read(port: u16, device: usize, period: Duration, first: Instant) -> anyhow::Result<()> {
    let socket = TcpStream::connect(address(port, device)).await?;
    socket.set_nodelay(true)?;
    let mut context = tcp::attach_slave(socket, Slave(1));
    let mut turns = interval_at(first, period.max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        if !period.is_zero() {
            turns.tick().await;
        }
        let words = context.read_holding_registers(0, REGISTERS_READ).await??;
        std::hint::black_box(words);
    }
}
