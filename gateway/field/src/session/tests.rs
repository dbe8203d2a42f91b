//! A session against servers on loopback that do what a script says.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::frame::crc16;
use crate::link::{Parity, SerialFormat};

/// What the bus does about the n-th request: when, and which bytes.
type Script = fn(usize, &[u8]) -> Vec<(u64, Vec<u8>)>;

fn rtu(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.extend(crc16(bytes).to_le_bytes());
    frame
}

/// Answers a read of one register with the number of the request.
fn numbered(n: usize, request: &[u8]) -> Vec<u8> {
    rtu(&[request[0], request[1], 2, 0, n as u8])
}

/// A session on a serial server that follows the script.
async fn session(script: Script) -> Session {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut n = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8];
            while socket.read_exact(&mut request).await.is_ok() {
                for (wait, bytes) in script(n, &request) {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    if socket.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                n += 1;
            }
        }
    });
    let format = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let link = Link::RtuOverTcp { address, format };
    Session::new(LineConfig::plain(link, Duration::from_millis(50)))
}

const READ: ReadOf = ReadOf { unit: 7, table: Table::Holding, address: 100, count: 1 };

fn patience(attempts: u32) -> Patience {
    Patience { response_max: Duration::from_millis(300), attempts, ..Patience::default() }
}

#[tokio::test]
async fn an_answer_comes_with_its_words_and_its_time() {
    let mut session = session(|n, r| vec![(20, numbered(n, r))]).await;
    let answered = session.read(READ, patience(1)).await.unwrap();
    assert_eq!((answered.content, answered.asked), (Content::Words(vec![0]), 1));
    assert!(answered.took >= Duration::from_millis(20), "{:?}", answered.took);
}

#[tokio::test]
async fn the_first_answer_after_a_miss_is_asked_for_once_more() {
    let script: Script = |n, r| if n == 0 { Vec::new() } else { vec![(0, numbered(n, r))] };
    let mut session = session(script).await;
    let answered = session.read(READ, patience(2)).await.unwrap();
    assert_eq!((answered.content, answered.asked), (Content::Words(vec![2]), 3));
}

#[tokio::test]
async fn each_way_to_fail_says_which_it_was() {
    let mut silent = session(|_, _| Vec::new()).await;
    let error = silent.read(READ, patience(2)).await.unwrap_err();
    assert!(matches!(error, SessionError::Silent { unit: 7, .. }), "{error}");
    let mut refusing = session(|_, r| vec![(0, rtu(&[r[0], r[1] | 0x80, 2]))]).await;
    let error = refusing.read(READ, patience(1)).await.unwrap_err();
    assert!(matches!(error, SessionError::Refused { unit: 7, code: 2 }), "{error}");
    assert!(error.to_string().contains("40001"), "{error}");
    let mut damaged = session(|n, r| vec![(0, [&numbered(n, r)[..5], &[0, 0]].concat())]).await;
    let error = damaged.read(READ, patience(1)).await.unwrap_err();
    assert!(matches!(error, SessionError::Garbled { unit: 7 }), "{error}");
    let mut other = session(|n, r| vec![(0, numbered(n, &[9, r[1]]))]).await;
    let error = other.read(READ, patience(1)).await.unwrap_err();
    assert!(matches!(error, SessionError::Garbled { unit: 7 }), "{error}");
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_told_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let link = Link::ModbusTcp { address: address.clone() };
    let config = LineConfig::plain(link, Duration::ZERO);
    let error = Session::new(config).read(READ, patience(1)).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn what_no_request_can_ask_is_not_sent() {
    let mut session = session(|n, r| vec![(0, numbered(n, r))]).await;
    for (address, count) in [(0, 0), (0, 126), (65_535, 2)] {
        let error = session.read(ReadOf { address, count, ..READ }, patience(1)).await.unwrap_err();
        assert!(matches!(error, SessionError::Impossible(_)), "{error}");
    }
    assert_eq!(session.stats().connects.get(), 0);
}

#[test]
fn a_port_somebody_else_has_is_busy() {
    let open = |source: io::Error| LinkError::Open { place: "/dev/ttyUSB0".into(), source };
    assert!(is_busy(&open(io::ErrorKind::ResourceBusy.into())));
    assert!(is_busy(&open(io::Error::other("Unable to acquire exclusive lock on serial port"))));
    assert!(!is_busy(&open(io::ErrorKind::NotFound.into())));
}

/// A lift controller that counts its bytes in two bytes, with a plain meter beside it on the same line.
#[tokio::test]
async fn a_device_with_a_byte_count_of_two_bytes_is_read_and_its_neighbour_is_too() {
    let mut session = session(|n, request| match request[0] {
        7 => vec![(0, rtu(&[7, 3, 0, 2, 0, n as u8]))],
        unit => vec![(0, rtu(&[unit, 3, 2, 0, n as u8]))],
    })
    .await;
    let own = Patience { byte_count: ByteCount::TwoBytes, ..patience(1) };
    for n in 0..4u16 {
        let (unit, patience) = if n % 2 == 0 { (7, own) } else { (8, patience(1)) };
        let answered = session.read(ReadOf { unit, ..READ }, patience).await.unwrap();
        assert_eq!(answered.content, Content::Words(vec![n]));
    }
    assert_eq!(session.stats().stale_bytes.get(), 0, "the answer is taken whole");
    let mistaken = session.read(ReadOf { unit: 8, ..READ }, own).await.unwrap_err();
    assert!(matches!(mistaken, SessionError::Garbled { unit: 8 }), "{mistaken}");
}

/// A unit on a Modbus TCP line that answers whole requests as `answer` says, PDU for PDU.
async fn unit(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Session {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 7];
            while socket.read_exact(&mut head).await.is_ok() {
                let mut pdu = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
                socket.read_exact(&mut pdu).await.unwrap();
                let reply = answer(&pdu);
                head[4..6].copy_from_slice(&(reply.len() as u16 + 1).to_be_bytes());
                socket.write_all(&[&head[..], &reply].concat()).await.unwrap();
            }
        }
    });
    Session::new(LineConfig::plain(Link::ModbusTcp { address }, Duration::ZERO))
}

/// The answers of a node to reads, writes, its identity in two pieces, and files.
fn as_a_node(device_type: u16) -> impl Fn(&[u8]) -> Vec<u8> + Send + 'static {
    move |pdu| match pdu {
        [3, _, _, _, count] => {
            let mut words = vec![0, 1];
            words.extend(device_type.to_be_bytes());
            words.resize(usize::from(*count) * 2, 7);
            [&[3, count * 2], &words[..usize::from(*count) * 2]].concat()
        }
        [16, rest @ ..] => [&[16], &rest[..4]].concat(),
        [43, 14, 2, 0] => [&[43, 14, 2, 2, 0xFF, 1, 1, 0, 2], &b"GN"[..]].concat(),
        [43, 14, 2, 1] => [&[43, 14, 2, 2, 0, 0, 1, 1, 4], &b"node"[..]].concat(),
        [20, 7, 6, _, file, _, record, _, 1] => vec![20, 4, 3, 6, *file, *record],
        [21, ..] => pdu.to_vec(),
        [function, ..] => vec![function | 0x80, 1],
        [] => Vec::new(),
    }
}

#[tokio::test]
async fn a_node_tells_its_name_piece_by_piece_and_takes_records() {
    let session = unit(as_a_node(0x474E)).await;
    let mut node = NodeSession::meet(session, 1, patience(1)).await.unwrap();
    assert_eq!(node.identity().await.unwrap(), [(0, "GN".to_owned()), (1, "node".to_owned())]);
    assert_eq!(node.read_file(2, 9, 1).await.unwrap(), [0x0209]);
    node.write_file(1, 9_999, vec![1]).await.unwrap();
    node.write(guanjia_node::map::Id::Price, 3, 70_000).await.unwrap();
    for (record, words) in [(9_999, 2), (0, 0), (0, 123), (10_000, 1)] {
        let error = node.write_file(1, record, vec![0; words]).await.unwrap_err();
        assert!(matches!(error, SessionError::Impossible(_)), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_node_is_never_written_to() {
    let writes = Arc::new(std::sync::Mutex::new(0));
    let counted = Arc::clone(&writes);
    let panel = as_a_node(0x4650);
    let session = unit(move |pdu| {
        *counted.lock().unwrap() += u32::from(pdu[0] != 3);
        panel(pdu)
    })
    .await;
    let Err(error) = NodeSession::meet(session, 1, patience(1)).await else { panic!("it is a panel") };
    assert!(matches!(error, SessionError::NoNode { unit: 1 }), "{error}");
    assert_eq!(*writes.lock().unwrap(), 0);
    // One that has no such registers is none either.
    let session = unit(|pdu| vec![pdu[0] | 0x80, 2]).await;
    assert!(matches!(NodeSession::meet(session, 1, patience(1)).await, Err(SessionError::NoNode { unit: 1 })));
}
