//! Devices that answer for some registers only, held against the whole library.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use guanjia_field::{LineConfig, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::ProfileShelf;

/// What a device does about registers it does not have.
#[derive(Clone, Copy)]
enum Elsewhere {
    Refuses,
    IsSilent,
}

/// A device with these holding registers behind Modbus TCP; how often it was asked.
async fn device(registers: BTreeMap<u16, u16>, elsewhere: Elsewhere) -> (Session, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound").to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 12];
            while socket.read_exact(&mut request).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
                let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
                let places = (word(8)..=u16::MAX).take(usize::from(word(10)));
                let words: Option<Vec<u16>> = places.map(|place| registers.get(&place).copied()).collect();
                let pdu = match (request[7], words, elsewhere) {
                    (3, Some(words), _) => {
                        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
                        [&[3, bytes.len() as u8], &bytes[..]].concat()
                    }
                    (function, _, Elsewhere::Refuses) => vec![function | 0x80, 2],
                    (.., Elsewhere::IsSilent) => continue,
                };
                let length = (pdu.len() as u16 + 1).to_be_bytes();
                let answer = [&request[..4], &length, &request[6..7], &pdu].concat();
                if socket.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
    });
    let session = Session::new(LineConfig {
        name: "line".into(),
        link: Link::ModbusTcp { address },
        response_max: None,
        turnaround: None,
        in_flight_max: 1,
        linger: Duration::ZERO,
    });
    (session, asked)
}

fn library() -> Vec<Arc<Profile>> {
    let all = ProfileShelf::find(None).and_then(|shelf| shelf.read_all()).expect("the library is right");
    all.iter().filter(|p| !p.is_mqtt()).map(|p| Arc::clone(&p.profile)).collect()
}

/// A B23 as its maker documents it, at rest on a three-phase supply.
fn abb() -> BTreeMap<u16, u16> {
    let mut registers: BTreeMap<u16, u16> = (20_480..20_620).chain(23_296..23_400).map(|at| (at, 0)).collect();
    let voltages =
        [(23_297, 2_301), (23_299, 2_295), (23_301, 2_310), (23_303, 3_985), (23_305, 3_990), (23_307, 3_987)];
    registers.extend(voltages);
    registers.extend([(23_340, 5_000), (35_168, 0x4232), (35_169, 0x3300)]);
    registers
}

async fn found(session: &mut Session) -> Vec<Score> {
    identify(session, 1, &library(), &mut |_, _| ()).await.expect("it answers")
}

#[tokio::test]
async fn a_device_that_says_its_name_is_asked_little_more() {
    let (mut session, asked) = device(abb(), Elsewhere::Refuses).await;
    let scores = found(&mut session).await;
    assert_eq!(winner(&scores).map(|s| s.profile.id.as_str()), Some("abb_b23_b24"), "{scores:?}");
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= 12, "{asked} questions for one that names itself");
}

#[tokio::test]
async fn a_device_that_is_silent_where_it_has_nothing_is_found_too() {
    let (mut session, _) = device(abb(), Elsewhere::IsSilent).await;
    let scores = found(&mut session).await;
    assert_eq!(winner(&scores).map(|s| s.profile.id.as_str()), Some("abb_b23_b24"), "{scores:?}");
}

#[tokio::test]
async fn a_name_with_another_devices_values_is_no_name() {
    let mut registers = abb();
    registers.extend((23_296..23_400).map(|at| (at, 0xBEEF)));
    let (mut session, _) = device(registers, Elsewhere::Refuses).await;
    let scores = found(&mut session).await;
    assert!(winner(&scores).is_none(), "{scores:?}");
}

#[tokio::test]
async fn no_place_is_asked_twice() {
    let (mut session, asked) = device(BTreeMap::new(), Elsewhere::Refuses).await;
    let scores = found(&mut session).await;
    assert!(winner(&scores).is_none());
    let places: BTreeSet<Extent> =
        library().iter().filter_map(|p| most_telling(&session, p)).map(|request| extent(&request)).collect();
    // Beside the first look there are the names: a few places, of which the SunSpec marker may be at three.
    let (asked, most) = (asked.load(Ordering::Relaxed), places.len() + 8);
    assert!(asked <= most, "{asked} questions, {most} places");
}
