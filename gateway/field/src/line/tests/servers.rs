//! The line against servers written by others, over real sockets, and over pseudo terminals.
//!
//! Where nobody has written a server (UDP, ASCII), a few lines here change the envelope, and the independent Modbus TCP
//! server answers what is in it.

use std::future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_modbus::prelude::{ExceptionCode, Request as Asked, Response, SlaveRequest};
use tokio_modbus::server::{rtu_over_tcp, tcp};

use super::*;
use crate::link::{Parity, SerialFormat};

const FORMAT: SerialFormat = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::Even, stop_bits: 1 };

/// Answers as the world does: every register says who it is.
#[derive(Clone)]
pub(super) struct Building;

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

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs a line against a link until every point of three devices was read, and checks what it read.
pub(super) async fn reads_everything(link: Link) {
    let config = LineConfig::plain(link, Duration::from_millis(50));
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
    let config = LineConfig::plain(link, Duration::ZERO);
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
    let config = LineConfig::plain(link, Duration::ZERO);
    let (sender, mut reports) = mpsc::channel(10);
    let stop = CancellationToken::new();
    let (_handle, task) = start_line(config, devices(1), sender, stop.clone());
    let first = reports.recv().await;
    assert!(matches!(first, Some(FieldReport::Health { health: DeviceHealth::Silent(BadReason::LineDown), .. })));
    stop.cancel();
    task.await.unwrap();
}

/// An independent Modbus TCP server for the envelopes that have none of their own.
struct Inside {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Inside {
    async fn start() -> Self {
        let (listener, address) = listener().await;
        let server = tcp::Server::new(listener);
        let accept = |stream, peer| async move { tcp::accept_tcp_connection(stream, peer, |_| Ok(Some(Building))) };
        let task = tokio::spawn(async move {
            server.serve(&accept, |_| ()).await.unwrap();
        });
        Self { address, task }
    }

    /// The frame that answers this one.
    async fn ask(&self, frame: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(frame).await.unwrap();
        let mut answer = vec![0; 6];
        socket.read_exact(&mut answer).await.unwrap();
        let mut rest = vec![0; usize::from(u16::from_be_bytes([answer[4], answer[5]]))];
        socket.read_exact(&mut rest).await.unwrap();
        answer.extend(rest);
        answer
    }

    /// The unit and PDU that answer these.
    async fn ask_plain(&self, unit_and_pdu: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 7, 0, 0, 0, unit_and_pdu.len() as u8];
        frame.extend(unit_and_pdu);
        self.ask(&frame).await.split_off(6)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn ascii_over_tcp_agrees_with_an_independent_server() {
    let inside = Inside::start().await;
    let (listener, address) = listener().await;
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut heard, mut piece) = (String::new(), [0; 64]);
        loop {
            let read = socket.read(&mut piece).await.unwrap();
            if read == 0 {
                return;
            }
            heard.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            let Some(text) = heard.strip_prefix(':').and_then(|t| t.strip_suffix("\r\n")) else { continue };
            let byte = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
            let mut bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
            heard.clear();
            assert_eq!(bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0, "the sum with its LRC is zero");
            bytes.pop();
            let answer = inside.ask_plain(&bytes).await;
            let sum = answer.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
            let text: String = answer.iter().chain([&sum]).map(|b| format!("{b:02X}")).collect();
            socket.write_all(format!(":{text}\r\n").as_bytes()).await.unwrap();
        }
    };
    let format = SerialFormat { data_bits: 7, ..FORMAT };
    let client = reads_everything(Link::AsciiOverTcp { address: address.to_string(), format });
    tokio::join!(server, client);
}

#[tokio::test]
async fn modbus_udp_agrees_with_an_independent_server() {
    let inside = Inside::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = async {
        let mut datagram = [0; 300];
        loop {
            let (read, from) = socket.recv_from(&mut datagram).await.unwrap();
            let answer = inside.ask(&datagram[..read]).await;
            socket.send_to(&answer, from).await.unwrap();
        }
    };
    tokio::select! {
        () = server => {}
        () = reads_everything(Link::ModbusUdp { address: address.to_string() }) => {}
    }
}

#[tokio::test]
async fn a_datagram_that_is_late_doubled_cut_or_strange_costs_one_request_at_most() {
    let facts: Shared = Arc::new(Mutex::new(Facts::default()));
    let device = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = device.local_addr().unwrap().to_string();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inside = Inside::start().await;
    let server = tokio::spawn(async move {
        let (mut datagram, mut last, mut round) = ([0; 300], Vec::new(), 0);
        loop {
            let (read, from) = device.recv_from(&mut datagram).await.unwrap();
            let answer = inside.ask(&datagram[..read]).await;
            round += 1;
            match round % 6 {
                // The answer to the question before this one, and the right one after it.
                1 if round > 6 => drop(device.send_to(&last, from).await.unwrap()),
                2 => drop(device.send_to(&answer, from).await.unwrap()),
                // Shorter than its header says: what follows must not become its rest.
                3 => drop(device.send_to(&answer[..answer.len() - 1], from).await.unwrap()),
                4 => drop(device.send_to(&[&answer[..], b"xyz"].concat(), from).await.unwrap()),
                // From somewhere else, with every number right and other values.
                5 => {
                    let mut lie = answer.clone();
                    lie[9..].iter_mut().for_each(|b| *b ^= 0x55);
                    stranger.send_to(&lie, from).await.unwrap();
                }
                _ => {}
            }
            device.send_to(&answer, from).await.unwrap();
            last = answer;
        }
    });
    let dial = Dial::Link(Link::ModbusUdp { address });
    let mut rig = Rig::with_dial(tcp(), devices(3), dial, facts);
    rig.run(Duration::from_secs(4)).await;
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
        assert_eq!(rig.last(device, "fire").quality, Quality::Good);
    }
    let stats = rig.handle.stats();
    assert!(stats.discarded_late.get() > 0 && stats.discarded_damaged.get() > 0);
    let failed = stats.devices.iter().map(|d| d.timeout.get() + d.crc_error.get() + d.link_error.get()).sum::<u64>();
    assert_eq!(failed, 0, "none of these lies costs a request, because the truth follows");
    rig.end().await;
    server.abort();
}

/// A new pseudo terminal: the path by which it is opened, its other end, and a file that keeps it alive while nobody else
/// has it open.
pub(super) fn terminal() -> (String, tokio_serial::SerialStream, std::fs::File) {
    use tokio_serial::SerialPort;
    let (bus, port) = tokio_serial::SerialStream::pair().expect("the kernel has pseudo terminals");
    let path = port.name().expect("a pseudo terminal has a path");
    let open = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    (path, bus, open)
}

/// A bus behind a new terminal.
fn plugged_in(facts: &Shared) -> (String, std::fs::File, JoinHandle<()>) {
    let (path, bus, open) = terminal();
    (path, open, world::answer_over(bus, Framing::Rtu, facts))
}

/// AC 31.
#[tokio::test]
async fn an_adapter_that_is_replugged_is_found_under_its_stable_name() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("usb-serial-by-id");
    let facts: Shared = Arc::new(Mutex::new(Facts::default()));
    let (path, port, bus) = plugged_in(&facts);
    std::os::unix::fs::symlink(&path, &name).unwrap();
    let format = SerialFormat { parity: Parity::None, ..FORMAT };
    let dial = Dial::Link(Link::Serial { path: name.display().to_string(), format });
    let mut rig = Rig::with_dial(rtu(), devices(2), dial, Arc::clone(&facts));
    rig.run(Duration::from_secs(2)).await;
    assert_eq!(rig.healths(0), [DeviceHealth::Answering]);

    std::fs::remove_file(&name).unwrap();
    bus.abort();
    drop(port);
    rig.until(|rig| rig.healths(0).last() == Some(&DeviceHealth::Silent(BadReason::LineDown))).await;

    let (other_path, _port, bus) = plugged_in(&facts);
    std::os::unix::fs::symlink(&other_path, &name).unwrap();
    rig.until(|rig| (0..2).all(|d| rig.healths(d).last() == Some(&DeviceHealth::Answering))).await;
    rig.run(Duration::from_secs(2)).await;
    rig.assert_names();
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    assert!(rig.handle.stats().connects.get() >= 2);
    rig.end().await;
    bus.abort();
}
