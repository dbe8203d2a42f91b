//! A device that sends anything at all can neither stall another device, nor produce a value that passes for good.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::frame::crc16;
use crate::link::{Parity, SerialFormat};

/// The hostile unit; the others at its address are honest.
const HOSTILE: u8 = 1;
/// How long the lines run.
const RUN: Duration = Duration::from_secs(6);
/// The share of its rate that a loaded machine must let an undisturbed device keep.
const KEPT: f64 = 0.8;
/// The same beside a hostile one on the same wire, whose time it may waste while it is found to be silent.
const KEPT_BESIDE: f64 = 0.5;

/// How a hostile device behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It answers everything with something else, each time another.
    Lies,
    /// It never stops sending, asked or not, and drowns everybody at its address.
    Floods,
}

/// Unit, function, address and count of a read, and the transaction it came in.
struct Heard {
    tid: [u8; 2],
    unit: u8,
    function: u8,
    address: u16,
    count: u16,
}

async fn hear(socket: &mut TcpStream, framing: Framing) -> std::io::Result<Heard> {
    let mut frame = [0; 12];
    let (tid, rest) = match framing {
        Framing::Mbap => {
            socket.read_exact(&mut frame).await?;
            ([frame[0], frame[1]], &frame[6..])
        }
        _ => {
            socket.read_exact(&mut frame[..8]).await?;
            ([0; 2], &frame[..6])
        }
    };
    let word = |i: usize| u16::from_be_bytes([rest[i], rest[i + 1]]);
    Ok(Heard { tid, unit: rest[0], function: rest[1], address: word(2), count: word(4) })
}

fn frame(framing: Framing, tid: [u8; 2], data: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Mbap => [&tid[..], &[0, 0], &(data.len() as u16).to_be_bytes(), data].concat(),
        _ => [data, &crc16(data).to_le_bytes()].concat(),
    }
}

fn honest(framing: Framing, heard: &Heard) -> Vec<u8> {
    let table = if heard.function == 4 { Table::Input } else { Table::Holding };
    let words = (heard.address..heard.address + heard.count).flat_map(|a| ident(heard.unit, table, a).to_be_bytes());
    let data: Vec<u8> = [heard.unit, heard.function, (heard.count * 2) as u8].into_iter().chain(words).collect();
    frame(framing, heard.tid, &data)
}

fn lie(framing: Framing, heard: &Heard, dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut truth = honest(framing, heard);
    let mut noise = |length: usize| (0..length).map(|_| dice.u8(..)).collect::<Vec<u8>>();
    let kind = noise(1)[0] % 8;
    match kind {
        0 => noise(1),
        1 => noise(37),
        2 => noise(4_000),
        3 => truth[..truth.len() / 2].to_vec(),
        // A length that promises more, in the header or as the byte count.
        4 => {
            let at = if framing == Framing::Mbap { 5 } else { 2 };
            truth[at] = 251;
            truth
        }
        5 => frame(framing, [heard.tid[0] ^ 0x55, heard.tid[1]], &[heard.unit ^ 0x40, heard.function, 2, 0, 0]),
        6 => [noise(9), truth.clone(), truth].concat(),
        _ => Vec::new(),
    }
}

async fn serve(mut socket: TcpStream, framing: Framing, manner: Option<Manner>, seed: u64) -> std::io::Result<()> {
    let mut dice = fastrand::Rng::with_seed(seed);
    if manner == Some(Manner::Floods) {
        loop {
            let noise: Vec<u8> = (0..64).map(|_| dice.u8(..)).collect();
            socket.write_all(&noise).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    loop {
        let heard = hear(&mut socket, framing).await?;
        let answer = match manner {
            Some(Manner::Lies) if heard.unit == HOSTILE => lie(framing, &heard, &mut dice),
            _ => honest(framing, &heard),
        };
        socket.write_all(&answer).await?;
    }
}

async fn server(framing: Framing, manner: Option<Manner>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((socket, _)) = listener.accept().await {
            connections += 1;
            tokio::spawn(serve(socket, framing, manner, connections));
        }
    });
    address
}

/// Runs a line of three devices against a server and counts the good readings of the alarm point of each.
async fn run(framing: Framing, manner: Option<Manner>) -> BTreeMap<u32, u32> {
    let address = server(framing, manner).await.to_string();
    let format = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let link = match framing {
        Framing::Mbap => Link::ModbusTcp { address },
        _ => Link::RtuOverTcp { address, format },
    };
    let linger = Duration::from_millis(50);
    let config = LineConfig::plain(link, linger);
    let (sender, mut reports) = mpsc::channel(10_000);
    let stop = CancellationToken::new();
    let (_handle, task) = start_line(config, devices(3), sender, stop.clone());
    tokio::time::sleep(RUN).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the line ends").expect("and did not panic");
    let mut good = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    while let Ok(report) = reports.try_recv() {
        let FieldReport::Readings { readings, .. } = report else { continue };
        for reading in readings.iter().filter(|r| r.value.is_some()) {
            let (device, i) = (reading.point.0 / 100, (reading.point.0 % 100) as usize);
            let (_, table, address, wire, _) = POINTS[i];
            let word = |a| i128::from(ident(device as u8 + 1, table, a));
            let own = if wire == WireType::U32 { word(address) << 16 | word(address + 1) } else { word(address) };
            assert_eq!(reading.value, Some(Value::Decimal(Decimal::new(own, 0))), "what passes is the truth");
            if i == 0 && reading.quality == Quality::Good {
                *good.entry(device).or_default() += 1;
            }
        }
    }
    good
}

/// What an undisturbed device is read in that time.
fn nominal() -> f64 {
    RUN.as_secs_f64() / 0.5
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_answers_with_anything_costs_its_neighbours_little_and_other_lines_nothing() {
    for framing in [Framing::Mbap, Framing::Rtu] {
        let (beside, other) = tokio::join!(run(framing, Some(Manner::Lies)), run(framing, None));
        for device in 1..3 {
            let kept = f64::from(beside[&device]) / nominal();
            assert!(kept >= KEPT_BESIDE, "{framing:?}: a neighbour keeps {kept:.2} of its rate");
        }
        for device in 0..3 {
            let kept = f64::from(other[&device]) / nominal();
            assert!(kept >= KEPT, "{framing:?}: a device of another line keeps {kept:.2} of its rate");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_stops_sending_is_silent_and_stalls_nobody_elsewhere() {
    for framing in [Framing::Mbap, Framing::Rtu] {
        let (flooded, other) = tokio::join!(run(framing, Some(Manner::Floods)), run(framing, None));
        assert!(flooded.values().all(|good| *good == 0), "{framing:?}: noise passes for a value");
        for device in 0..3 {
            let kept = f64::from(other[&device]) / nominal();
            assert!(kept >= KEPT, "{framing:?}: a device of another line keeps {kept:.2} of its rate");
        }
    }
}
