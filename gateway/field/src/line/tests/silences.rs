//! The silence between two frames, measured by the other end of real sockets and pseudo terminals.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::frame::crc16;
use crate::link::{Parity, SerialFormat};

const BAUDS: [u32; 8] = [1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200];

/// How long each line runs.
const WINDOW: Duration = Duration::from_secs(3);

/// Each silence between an answer and the next request, as the device sees it.
type Silences = Arc<Mutex<Vec<Duration>>>;

/// A device that answers zeros and measures. It has sent its last byte before the gateway can have read it, so it sees no
/// silence shorter than the gateway keeps.
async fn device(mut wire: impl AsyncRead + AsyncWrite + Unpin, seen: Silences) {
    let (mut request, mut answered) = ([0; 8], None);
    while wire.read_exact(&mut request[..1]).await.is_ok() {
        if let Some(answered) = answered {
            seen.lock().unwrap().push(Instant::now() - answered);
        }
        if wire.read_exact(&mut request[1..]).await.is_err() {
            return;
        }
        let mut answer = vec![request[0], request[1], request[5] * 2];
        answer.resize(3 + usize::from(request[5]) * 2, 0);
        answer.extend(crc16(&answer).to_le_bytes());
        if wire.write_all(&answer).await.is_err() {
            return;
        }
        answered = Some(Instant::now());
    }
}

/// t3.5 of 8N1 worked out from the standard: 3.5 characters of 10 bits, and 1.75 ms above 19200 baud (Modbus over Serial
/// Line V1.02, 2.5.1.1).
fn t35(baud: u32) -> Duration {
    Duration::from_micros(if baud > 19_200 { 1_750 } else { 35_000_000 / u64::from(baud) })
}

fn format(baud: u32) -> SerialFormat {
    SerialFormat { baud, data_bits: 8, parity: Parity::None, stop_bits: 1 }
}

/// Runs a line as fast as it goes and gives the silences the other end saw.
async fn silences(link: Link, seen: Silences, silence_min: Duration) -> Vec<Duration> {
    let mut devices = devices(3);
    for device in &mut devices {
        let mut profile = Profile::clone(&device.profile);
        profile.limits.silence_min = silence_min;
        device.profile = Arc::new(profile);
        let often = Duration::from_millis(100);
        device.periods = Periods { alarm: often, billing: often, bulk: often };
    }
    let config = LineConfig {
        name: "line".into(),
        link,
        response_max: Some(Duration::from_secs(2)),
        turnaround: None,
        in_flight_max: 1,
        linger: Duration::from_millis(50),
    };
    let (sender, mut reports) = mpsc::channel(1000);
    let stop = CancellationToken::new();
    let (_handle, task) = start_line(config, devices, sender, stop.clone());
    let heard = async { while reports.recv().await.is_some() {} };
    let _ = tokio::time::timeout(WINDOW, heard).await;
    stop.cancel();
    task.await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

fn assert_silent(what: &str, baud: u32, silence_min: Duration, seen: &[Duration]) {
    assert!(seen.len() >= 10, "{what} at {baud} baud: only {} silences", seen.len());
    let (shortest, wanted) = (seen.iter().min().unwrap(), t35(baud).max(silence_min));
    assert!(*shortest >= wanted, "{what} at {baud} baud: {shortest:?}, not {wanted:?}");
}

/// AC 09, on a serial server.
#[tokio::test]
async fn a_serial_server_has_silence_between_two_frames_at_every_speed() {
    let mut lines = tokio::task::JoinSet::new();
    for (baud, silence_ms) in BAUDS.into_iter().map(|baud| (baud, 0)).chain([(9_600, 20), (115_200, 12)]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::RtuOverTcp { address: listener.local_addr().unwrap().to_string(), format: format(baud) };
        let seen = Silences::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            device(socket, log).await;
        });
        let silence_min = Duration::from_millis(silence_ms);
        lines.spawn(async move { (baud, silence_min, silences(link, seen, silence_min).await) });
    }
    while let Some(done) = lines.join_next().await {
        let (baud, silence_min, seen) = done.unwrap();
        assert_silent("a serial server", baud, silence_min, &seen);
    }
}

/// AC 09, on a serial port.
#[tokio::test]
async fn a_serial_port_has_silence_between_two_frames_at_every_speed() {
    let mut lines = tokio::task::JoinSet::new();
    for (baud, silence_ms) in BAUDS.into_iter().map(|baud| (baud, 0)).chain([(9_600, 20), (115_200, 12)]) {
        let (path, bus, port) = servers::terminal();
        let seen = Silences::default();
        tokio::spawn(device(bus, Arc::clone(&seen)));
        let link = Link::Serial { path, format: format(baud) };
        let silence_min = Duration::from_millis(silence_ms);
        lines.spawn(async move {
            let seen = silences(link, seen, silence_min).await;
            drop(port);
            (baud, silence_min, seen)
        });
    }
    while let Some(done) = lines.join_next().await {
        let (baud, silence_min, seen) = done.unwrap();
        assert_silent("a serial port", baud, silence_min, &seen);
    }
}
