//! Many Modbus TCP devices at once, over real sockets: all of it (the lines, their devices, this test) is one thread.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// Floats of one device: 68 registers, one read.
const FLOATS: u16 = 34;

/// When a device was asked.
type Asked = Arc<Mutex<Vec<Instant>>>;

/// A device that answers zeros.
async fn endpoint() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 12];
            while socket.read_exact(&mut request).await.is_ok() {
                log.lock().unwrap().push(Instant::now());
                let bytes = request[11] * 2;
                let mut answer = vec![request[0], request[1], 0, 0, 0, bytes + 3, request[6], request[7], bytes];
                answer.resize(9 + usize::from(bytes), 0);
                if socket.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
    });
    (address, asked)
}

/// An endpoint that swallows every SYN: nobody accepts, and the queue of those who wait is full.
fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..16 {
        let caller = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if caller.connect_timeout(&address, Duration::from_millis(200)).is_err() {
            return (address.as_socket().unwrap(), held);
        }
        held.push(caller);
    }
    panic!("the queue of {address:?} never fills up");
}

fn device(i: usize, period: Duration) -> FieldDevice {
    let point = |i: u16| {
        let source = Source::Registers(Registers::new(Table::Input, i * 2, WireType::F32));
        PointDef::new(&format!("p{i}"), source)
    };
    let class = EquipmentClass::ElectricityMeter;
    FieldDevice {
        ix: DeviceIx(i as u32),
        id: format!("meter-{i}").into(),
        unit: 1,
        profile: Arc::new(Profile::new("meter", class, (0..FLOATS).map(point).collect())),
        first_point: PointIx(i as u32 * 100),
        periods: Periods { alarm: period, billing: period, bulk: period },
    }
}

/// Lines to these endpoints, a device on each.
fn lines(
    endpoints: &[SocketAddr],
    period: Duration,
    stop: &CancellationToken,
) -> (Vec<LineHandle>, mpsc::Receiver<FieldReport>) {
    let (sender, reports) = mpsc::channel(100_000);
    let lines = endpoints.iter().enumerate().map(|(i, address)| {
        let config = LineConfig {
            name: format!("line-{i}").into(),
            link: Link::ModbusTcp { address: address.to_string() },
            response_max: None,
            turnaround: None,
            in_flight_max: 1,
            linger: Duration::ZERO,
        };
        start_line(config, vec![device(i, period)], sender.clone(), stop.clone()).0
    });
    (lines.collect(), reports)
}

/// Every period is held: as many questions as there are periods, none of them a whole period late.
fn assert_on_time(asked: &[Asked], from: Instant, to: Instant, period: Duration) {
    for (i, asked) in asked.iter().enumerate() {
        let asked: Vec<Instant> = asked.lock().unwrap().iter().copied().filter(|at| (from..to).contains(at)).collect();
        let due = (to - from).as_millis() / period.as_millis();
        assert!(asked.len() as u128 + 1 >= due, "device {i} was asked {} times in {due} periods", asked.len());
        let longest = asked.windows(2).map(|w| w[1] - w[0]).max().unwrap();
        assert!(longest < period * 2, "device {i} waited {longest:?}");
    }
}

fn left_out(lines: &[LineHandle]) -> u64 {
    lines.iter().map(|line| line.stats().overruns.get()).sum()
}

/// AC 02.
#[tokio::test]
async fn one_of_fifty_endpoints_swallows_every_syn_and_no_other_is_asked_late() {
    let period = Duration::from_millis(500);
    let (hole, _held) = black_hole();
    let (mut endpoints, mut asked) = (vec![hole], Vec::new());
    for _ in 1..50 {
        let (address, log) = endpoint().await;
        endpoints.push(address);
        asked.push(log);
    }
    let stop = CancellationToken::new();
    let (handles, mut reports) = lines(&endpoints, period, &stop);
    tokio::time::sleep(period * 2).await;
    let (from, before) = (Instant::now(), left_out(&handles[1..]));
    tokio::time::sleep(period * 8).await;
    assert_on_time(&asked, from, Instant::now(), period);
    assert_eq!(left_out(&handles[1..]), before, "no turn was left out");
    assert_eq!(handles[0].stats().connects.get(), 0, "nobody is reached there");
    let down = DeviceHealth::Silent(BadReason::LineDown);
    let told = |report| matches!(report, FieldReport::Health { device: DeviceIx(0), health, .. } if health == down);
    let is_down = async { while !told(reports.recv().await.expect("the lines run")) {} };
    tokio::time::timeout(Duration::from_secs(20), is_down).await.expect("the swallowed line is told to be down");
    stop.cancel();
}

/// AC 30.
#[tokio::test]
async fn a_hundred_and_thirty_devices_are_read_on_one_core_and_every_period_is_held() {
    let period = Duration::from_secs(1);
    let (mut endpoints, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..130 {
        let (address, log) = endpoint().await;
        endpoints.push(address);
        asked.push(log);
    }
    let stop = CancellationToken::new();
    let (handles, _reports) = lines(&endpoints, period, &stop);
    tokio::time::sleep(period * 2).await;
    let (from, before) = (Instant::now(), left_out(&handles));
    tokio::time::sleep(period * 5).await;
    assert_on_time(&asked, from, Instant::now(), period);
    assert_eq!(left_out(&handles), before, "no turn was left out");
    stop.cancel();
}
