//! The line against servers written by others, over real sockets, and over a pair of pseudo terminals.

use std::future;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_modbus::prelude::{ExceptionCode, Request as Asked, Response, SlaveRequest};
use tokio_modbus::server::{rtu_over_tcp, tcp};

use super::*;
use crate::link::{Parity, SerialFormat};

const FORMAT: SerialFormat = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::Even, stop_bits: 1 };

/// Answers as the world does: every register says who it is.
#[derive(Clone)]
struct Building;

impl tokio_modbus::server::Service for Building {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, asked: Self::Request) -> Self::Future {
        let words = |table, address: u16, count: u16| {
            (address..address + count).map(|a| ident(asked.slave, table, a)).collect::<Vec<u16>>()
        };
        future::ready(match asked.request {
            Asked::ReadHoldingRegisters(a, n) => Ok(Response::ReadHoldingRegisters(words(Table::Holding, a, n))),
            Asked::ReadInputRegisters(a, n) => Ok(Response::ReadInputRegisters(words(Table::Input, a, n))),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs a line against a link until every point of three devices was read, and checks what it read.
async fn reads_everything(link: Link) {
    let config = LineConfig {
        name: "line".into(),
        link,
        response_max: None,
        turnaround: None,
        linger: Duration::from_millis(50),
    };
    let (sender, mut reports) = mpsc::channel(1000);
    let stop = CancellationToken::new();
    let (handle, task) = start_line(config, devices(3), sender, stop.clone());
    let mut good = std::collections::BTreeSet::new();
    let all = async {
        while good.len() < 3 * POINTS.len() {
            let Some(FieldReport::Readings { readings, .. }) = reports.recv().await else { continue };
            for reading in readings {
                let (device, i) = (reading.point.0 / 100, (reading.point.0 % 100) as usize);
                let (_, table, address, wire, _) = POINTS[i];
                let word = |a| i128::from(ident(device as u8 + 1, table, a));
                let own = if wire == WireType::U32 { word(address) << 16 | word(address + 1) } else { word(address) };
                assert_eq!(reading.value, Some(Value::Decimal(Decimal::new(own, 0))));
                good.insert(reading.point);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("every point is read in time");
    assert_eq!(handle.stats().connects.get(), 1);
    assert!(handle.stats().busy_nanos.get() > 0);
    assert!(handle.stats().devices.iter().all(|d| d.ok.get() > 0 && d.last_success().is_some()));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn modbus_tcp_agrees_with_an_independent_server() {
    let (listener, address) = listener().await;
    let server = tcp::Server::new(listener);
    let accept = |stream, peer| async move { tcp::accept_tcp_connection(stream, peer, |_| Ok(Some(Building))) };
    let server = tokio::spawn(async move { server.serve(&accept, |_| ()).await });
    reads_everything(Link::ModbusTcp { address: address.to_string() }).await;
    server.abort();
}

#[tokio::test]
async fn rtu_over_tcp_agrees_with_an_independent_server() {
    let (listener, address) = listener().await;
    let server = rtu_over_tcp::Server::new(listener);
    let accept =
        |stream, peer| async move { rtu_over_tcp::accept_tcp_connection(stream, peer, |_| Ok(Some(Building))) };
    let server = tokio::spawn(async move { server.serve(&accept, |_| ()).await });
    reads_everything(Link::RtuOverTcp { address: address.to_string(), format: FORMAT }).await;
    server.abort();
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_line_that_is_down() {
    let (listener, address) = listener().await;
    drop(listener);
    let link = Link::ModbusTcp { address: address.to_string() };
    let config = LineConfig { name: "line".into(), link, response_max: None, turnaround: None, linger: Duration::ZERO };
    let (sender, mut reports) = mpsc::channel(10);
    let stop = CancellationToken::new();
    let (_handle, task) = start_line(config, devices(1), sender, stop.clone());
    let first = tokio::time::timeout(Duration::from_secs(5), reports.recv()).await.unwrap();
    assert!(matches!(first, Some(FieldReport::Health { health: DeviceHealth::Silent(BadReason::LineDown), .. })));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_serial_port_is_drained_and_kept_after_a_timeout() {
    let facts: Shared = Arc::new(Mutex::new(Facts::default()));
    facts.lock().unwrap().script = [Act::Answer, Act::Late(130), Act::Garbage(5), Act::Drop].into();
    let dial = world::serial_world(&facts);
    let mut rig = Rig::with_dial(rtu(), devices(2), dial, facts);
    rig.run(Duration::from_secs(3)).await;
    rig.assert_names();
    for device in 0..2 {
        assert_eq!(rig.healths(device).last(), Some(&DeviceHealth::Answering));
        assert_eq!(rig.last(device, "fire").quality, Quality::Good);
    }
    let stats = rig.handle.stats();
    assert_eq!(stats.connects.get(), 1, "the port is the same wire however often it is opened");
    assert!(stats.stale_bytes.get() > 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_serial_port_that_does_not_exist_is_a_line_that_is_down() {
    let link = Link::Serial { path: "/dev/guanjia-no-such-port".into(), format: FORMAT };
    let config = LineConfig { name: "line".into(), link, response_max: None, turnaround: None, linger: Duration::ZERO };
    let (sender, mut reports) = mpsc::channel(10);
    let stop = CancellationToken::new();
    let (_handle, task) = start_line(config, devices(1), sender, stop.clone());
    let first = reports.recv().await;
    assert!(matches!(first, Some(FieldReport::Health { health: DeviceHealth::Silent(BadReason::LineDown), .. })));
    stop.cancel();
    task.await.unwrap();
}
