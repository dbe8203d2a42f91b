//! Modems that dial in, over real sockets: who they are, what silence costs, what a second call does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::answer_over;
use super::*;
use crate::link::dial_in::{Caller, Carries, DialIn, EntranceConfig, EntranceHandle, start_entrance};
use crate::link::{Parity, SerialFormat};

const FORMAT: SerialFormat = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
const IMEI_1: &str = "860000000000001";
const IMEI_2: &str = "860000000000002";

/// An entrance, and a line for each of its DTUs.
struct House {
    entrance: EntranceHandle,
    lines: Vec<Rig>,
    stop: CancellationToken,
}

/// One DTU of the house: its registration and its devices.
type Dtu = (Option<&'static str>, Vec<FieldDevice>);

impl House {
    async fn open(dtus: Vec<Dtu>, connections_max: usize) -> Self {
        let stop = CancellationToken::new();
        let config = EntranceConfig {
            name: "port".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            register_within: Duration::from_millis(500),
            connections_max,
        };
        let lines: Vec<(LineConfig, Vec<FieldDevice>)> = dtus
            .into_iter()
            .enumerate()
            .map(|(i, (registration, devices))| {
                let name: Arc<str> = format!("dtu-{i}").into();
                let dial_in = DialIn {
                    entrance: "port".into(),
                    who: registration.map_or(Arc::clone(&name), Arc::from),
                    registration: registration.map(|r| r.as_bytes().into()),
                    heartbeat: Some(b"PING".as_slice().into()),
                    carries: Carries::Rtu(FORMAT),
                };
                let link = Link::DialIn(dial_in);
                (
                    LineConfig {
                        name,
                        link,
                        response_max: None,
                        turnaround: None,
                        in_flight_max: 1,
                        linger: Duration::from_millis(50),
                    },
                    devices,
                )
            })
            .collect();
        let callers = lines.iter().filter_map(|(config, devices)| Caller::of(config, devices, "port")).collect();
        let (entrance, _) = start_entrance(config, callers, stop.clone());
        let lines = lines
            .into_iter()
            .map(|(config, devices)| {
                let (sender, reports) = mpsc::channel(10_000);
                let seat = entrance.seat(&config.name).expect("every line has a seat");
                let line_stop = stop.child_token();
                let (handle, task) = start_dial_in_line(config, seat, devices, sender.clone(), line_stop.clone());
                Rig { facts: Shared::default(), handle, sender, reports, seen: Vec::new(), stop: line_stop, task }
            })
            .collect();
        while entrance.address().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { entrance, lines, stop }
    }

    /// Calls, and says this.
    async fn call(&self, says: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.entrance.address().unwrap()).await.unwrap();
        socket.write_all(says.as_bytes()).await.unwrap();
        socket
    }

    async fn close(self) {
        self.stop.cancel();
        for line in self.lines {
            line.end().await;
        }
    }
}

/// Reads until the other side closes.
async fn closed(socket: &mut TcpStream) {
    let mut scrap = [0; 64];
    let end = async { while !matches!(socket.read(&mut scrap).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.expect("the connection is closed");
}

/// The `count` devices from `first` on.
fn some(first: u8, count: u8) -> Vec<FieldDevice> {
    devices(first + count).split_off(usize::from(first))
}

fn reads(rig: &Rig, device: u32) -> bool {
    rig.healths(device).last() == Some(&DeviceHealth::Answering)
        && rig.readings().any(|r| r.point == PointIx(device * 100) && r.quality == Quality::Good)
}

#[tokio::test]
async fn many_dtus_on_one_port_are_told_apart_by_their_registration() {
    // The same units behind both: only the connection tells them apart.
    let mut house = House::open(vec![(Some(IMEI_1), some(0, 2)), (Some(IMEI_2), some(0, 2))], 10).await;
    let (first, second) = (Shared::default(), Shared::default());
    second.lock().unwrap().memory.insert((1, 0), 4711);
    let mut socket = house.call("PING").await;
    socket.write_all(&IMEI_2.as_bytes()[..7]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    socket.write_all(&IMEI_2.as_bytes()[7..]).await.unwrap();
    answer_over(socket, Framing::Rtu, &second);
    answer_over(house.call(&format!("{IMEI_1}\r\nV1.2")).await, Framing::Rtu, &first);
    house.lines[0].until(|rig| reads(rig, 0) && reads(rig, 1)).await;
    house.lines[1].until(|rig| reads(rig, 0) && reads(rig, 1)).await;
    let fire = |rig: &Rig| rig.last(0, "fire").value.clone();
    assert_eq!(fire(&house.lines[1]), Some(Value::Decimal(Decimal::new(4711, 0))));
    assert_eq!(fire(&house.lines[0]), Some(Value::Decimal(Decimal::new(i128::from(ident(1, Table::Holding, 0)), 0))));
    let stats = house.entrance.stats();
    assert_eq!((stats.accepted.get(), stats.connected.get(), stats.replaced.get()), (2, 2, 0));
    assert_eq!(stats.heartbeats.get(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_dtu_that_calls_again_is_heard_on_its_new_connection_at_once() {
    let mut house = House::open(vec![(Some(IMEI_1), some(0, 2))], 10).await;
    let facts = Shared::default();
    // The first connection registers and then says nothing, as one that is only half there.
    let mut half_open = house.call(IMEI_1).await;
    house.lines[0].until(|rig| rig.handle.stats().connected.get() == 1).await;
    answer_over(house.call(IMEI_1).await, Framing::Rtu, &facts);
    closed(&mut half_open).await;
    house.lines[0].until(|rig| reads(rig, 0) && reads(rig, 1)).await;
    house.lines[0].assert_names();
    let stats = house.entrance.stats();
    assert_eq!((stats.accepted.get(), stats.connected.get(), stats.replaced.get()), (2, 1, 1));
    house.close().await;
}

#[tokio::test]
async fn a_unit_that_is_silent_for_long_costs_nobody_the_connection() {
    let mut house = House::open(vec![(Some(IMEI_1), some(0, 3))], 10).await;
    let facts: Shared = Arc::new(Mutex::new(Facts { dead: [2].into(), ..Facts::default() }));
    answer_over(house.call(IMEI_1).await, Framing::Rtu, &facts);
    house.lines[0].until(|rig| rig.healths(1).last() == Some(&DeviceHealth::Silent(BadReason::NoAnswer))).await;
    house.lines[0].until(|rig| reads(rig, 0) && reads(rig, 2)).await;
    house.lines[0].run(Duration::from_secs(2)).await;
    house.lines[0].assert_names();
    assert_eq!(house.lines[0].handle.stats().connects.get(), 1);
    assert_eq!(house.entrance.stats().connected.get(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_dtu_that_says_nothing_is_known_by_its_devices() {
    let dtus = vec![(Some(IMEI_1), some(0, 1)), (None, some(0, 1)), (None, some(1, 2))];
    let mut house = House::open(dtus, 10).await;
    // Unit 2 is dead, unit 3 answers; nobody else's question is answered by it.
    let facts: Shared = Arc::new(Mutex::new(Facts { dead: [1, 2].into(), ..Facts::default() }));
    answer_over(house.call("").await, Framing::Rtu, &facts);
    house.lines[2].until(|rig| reads(rig, 2)).await;
    house.lines[2].assert_names();
    for other in [0, 1] {
        assert_eq!(house.lines[other].handle.stats().connects.get(), 0);
    }
    assert_eq!(house.entrance.stats().connected.get(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_late_answer_to_who_are_you_is_no_reading() {
    let mut house = House::open(vec![(None, some(0, 2))], 10).await;
    // The first question is answered half a second after the caller was recognised by its second device.
    let facts = Shared::default();
    facts.lock().unwrap().script = [Act::Late(900), Act::Answer].into();
    answer_over(house.call("").await, Framing::Rtu, &facts);
    house.lines[0].until(|rig| reads(rig, 0) && reads(rig, 1)).await;
    house.lines[0].run(Duration::from_secs(2)).await;
    house.lines[0].assert_names();
    house.close().await;
}

#[tokio::test]
async fn whoever_is_not_expected_is_refused_and_counted() {
    let house = House::open(vec![(Some(IMEI_1), some(0, 1))], 3).await;
    let stats = Arc::clone(house.entrance.stats());
    closed(&mut house.call("GET / HTTP/1.1\r\n\r\n").await).await;
    closed(&mut house.call("860000000000009").await).await;
    assert_eq!(stats.refused_unknown.get(), 2);
    // One says nothing, one stops in the middle, one has only a heartbeat to say.
    let mut waiting = [house.call("").await, house.call("8600").await, house.call("PING").await];
    closed(&mut house.call("").await).await;
    assert_eq!(stats.refused_full.get(), 1);
    for socket in &mut waiting {
        closed(socket).await;
    }
    assert_eq!((stats.refused_silent.get(), stats.connected.get()), (3, 0));
    assert_eq!(house.lines[0].handle.stats().connects.get(), 0);
    house.close().await;
}

#[tokio::test]
async fn a_line_whose_dtu_is_absent_is_down_and_says_whom_it_waits_for() {
    let mut house = House::open(vec![(Some(IMEI_1), some(0, 1))], 3).await;
    house.lines[0].until(|rig| rig.healths(0).last() == Some(&DeviceHealth::Silent(BadReason::LineDown))).await;
    let seat = house.entrance.seat("dtu-0").unwrap();
    let message = seat.take().expect_err("nobody has called").to_string();
    assert!(message.starts_with("DTU 860000000000001 has not dialled in to port"), "{message}");
    house.close().await;
}
