//! The line against a world that lies; see [`world`]. Time is the runtime's and stands still unless all sleep.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use guanjia_core::profile::{
    EquipmentClass, PointDef, PollClass, ReadLimits, Registers, Relay, RelayAction, RelayProof, RelayWords, Source,
    Table, WireType, WriteFunction,
};
use guanjia_core::reading::{Decimal, Quality, Value};
use guanjia_core::time::Timestamp;

use self::world::{Act, Facts, PROOF, RELAY, Shared, dialled_world, ident, world};
use super::*;
use crate::frame::Framing;
use crate::link::Link;

mod acceptance;
mod commands;
mod dial_in;
mod endpoints;
mod hostile;
mod interleavings;
mod introductions;
mod lies;
mod refusals;
mod servers;
mod settings;
mod silences;
mod tls;
mod wallets;
mod watching;
mod window;
mod world;

const RESPONSE_MAX: Duration = Duration::from_millis(100);

impl LineConfig {
    /// A line with nothing of its own but how long it waits for a late answer.
    pub(crate) fn plain(link: Link, linger: Duration) -> Self {
        Self { name: "line".into(), link, response_max: None, turnaround: None, in_flight_max: 1, linger }
    }
}

/// What the points of the test profile are; some reads have the same shape on purpose.
const POINTS: [(&str, Table, u16, WireType, PollClass); 8] = [
    ("fire", Table::Holding, 0, WireType::U16, PollClass::Alarm),
    ("fault", Table::Holding, 1, WireType::U16, PollClass::Alarm),
    ("far_fire", Table::Holding, 40, WireType::U32, PollClass::Alarm),
    ("energy", Table::Holding, 100, WireType::U32, PollClass::Billing),
    ("volume", Table::Holding, 120, WireType::U32, PollClass::Billing),
    ("voltage", Table::Input, 5, WireType::U16, PollClass::Bulk),
    ("current", Table::Holding, 200, WireType::U16, PollClass::Bulk),
    ("relay_state", Table::Holding, PROOF, WireType::U16, PollClass::Bulk),
];

fn profile() -> Arc<Profile> {
    let point = |&(id, table, address, wire, poll): &(&str, Table, u16, WireType, PollClass)| PointDef {
        poll,
        ..PointDef::new(id, Source::Registers(Registers::new(table, address, wire)))
    };
    let class = EquipmentClass::ElectricityMeter;
    let words = RelayWords { function: WriteFunction::Registers, address: RELAY, cut: vec![1, 1], restore: vec![0, 0] };
    let proof = RelayProof {
        point: "relay_state".into(),
        cut: vec![1],
        supplied: vec![0],
        cutting: vec![3],
        restoring: vec![4],
        jammed: vec![5],
    };
    Arc::new(Profile {
        limits: ReadLimits { response_max: RESPONSE_MAX, gap_max: Some(8), ..ReadLimits::default() },
        relays: vec![Relay::new(class, Vec::new(), words, proof).unwrap()],
        ..Profile::new("test", class, POINTS.iter().map(point).collect())
    })
}

fn devices(count: u8) -> Vec<FieldDevice> {
    let profile = profile();
    let device = |i: u8| FieldDevice {
        ix: DeviceIx(u32::from(i)),
        id: format!("meter-{i}").into(),
        unit: i + 1,
        profile: Arc::clone(&profile),
        first_point: PointIx(u32::from(i) * 100),
        periods: Periods {
            alarm: Duration::from_millis(500),
            billing: Duration::from_secs(1),
            bulk: Duration::from_secs(2),
        },
    };
    (0..count).map(device).collect()
}

fn rtu() -> Timing {
    Timing {
        framing: Framing::Rtu,
        char_time: Duration::from_micros(100),
        t35: Duration::from_micros(1750),
        linger: Duration::from_millis(50),
        turnaround: None,
        in_flight_max: 1,
    }
}

fn ascii() -> Timing {
    Timing { framing: Framing::Ascii, ..rtu() }
}

/// A way to a bus: how its bytes are framed and timed, and whether a connection is replaced after a failure.
#[derive(Clone, Copy, Debug)]
struct Way {
    timing: Timing,
    socket: Socket,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Socket {
    Replaced,
    /// As with a modem that dialled in.
    Kept,
}

impl From<Timing> for Way {
    fn from(timing: Timing) -> Self {
        Way { timing, socket: Socket::Replaced }
    }
}

fn dtu(timing: Timing) -> Way {
    let linger = rtu().linger;
    Way { timing: Timing { linger, ..timing }, socket: Socket::Kept }
}

/// Every way whose frames have no transaction numbers.
fn serial_ways() -> [Way; 4] {
    [rtu().into(), ascii().into(), dtu(rtu()), dtu(ascii())]
}

fn all_ways() -> Vec<Way> {
    serial_ways().into_iter().chain([tcp().into(), dtu(tcp())]).collect()
}

/// Modbus TCP with so many questions under way at once.
fn several(in_flight_max: u8) -> Timing {
    Timing { in_flight_max, ..tcp() }
}

fn take_several(devices: &mut [FieldDevice], in_flight_max: u8) {
    for device in devices {
        let mut profile = Profile::clone(&device.profile);
        profile.limits.in_flight_max = in_flight_max;
        device.profile = Arc::new(profile);
    }
}

fn tcp() -> Timing {
    Timing {
        framing: Framing::Mbap,
        char_time: Duration::ZERO,
        t35: Duration::ZERO,
        linger: Duration::ZERO,
        turnaround: None,
        in_flight_max: 1,
    }
}

/// A line in a world, and everything it ever reported.
struct Rig {
    facts: Shared,
    handle: LineHandle,
    sender: mpsc::Sender<FieldReport>,
    reports: mpsc::Receiver<FieldReport>,
    seen: Vec<FieldReport>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(way: impl Into<Way>, count: u8, facts: Facts) -> Self {
        let Way { timing, socket } = way.into();
        let facts: Shared = Arc::new(Mutex::new(facts));
        let dial = match socket {
            Socket::Replaced => world(timing.framing, &facts),
            Socket::Kept => dialled_world(timing.framing, &facts, &Arc::default()),
        };
        let mut devices = devices(count);
        if timing.in_flight_max > 1 {
            take_several(&mut devices, timing.in_flight_max);
        }
        Self::with_dial(timing, devices, dial, facts)
    }

    fn with_dial(timing: Timing, devices: Vec<FieldDevice>, dial: Dial, facts: Shared) -> Self {
        let (sender, reports) = mpsc::channel(10_000);
        let stop = CancellationToken::new();
        let (handle, task) = start("line".into(), dial, timing, None, devices, sender.clone(), stop.clone());
        Self { facts, handle, sender, reports, seen: Vec::new(), stop, task }
    }

    async fn run(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        while let Ok(report) = self.reports.try_recv() {
            self.seen.push(report);
        }
    }

    /// Runs until something is so; panics if it is not within half a minute.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..300 {
            self.run(Duration::from_millis(100)).await;
            if is_so(self) {
                return;
            }
        }
        panic!("it did not happen in time: {:?}", self.handle.stats());
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.seen.iter().flat_map(|r| match r {
            FieldReport::Readings { readings, .. } => readings.as_slice(),
            FieldReport::Past { .. } | FieldReport::Health { .. } => &[],
        })
    }

    fn last(&self, device: u32, point: &str) -> &Reading {
        let ix = PointIx(device * 100 + POINTS.iter().position(|p| p.0 == point).unwrap() as u32);
        self.readings().filter(|r| r.point == ix).last().expect("the point was reported")
    }

    fn healths(&self, device: u32) -> Vec<DeviceHealth> {
        let of = |r: &FieldReport| match r {
            FieldReport::Health { device: d, health, .. } if d.0 == device => Some(*health),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }

    /// Panics if any value was ever reported under another point's name.
    fn assert_names(&self) {
        for reading in self.readings() {
            let Some(value) = &reading.value else { continue };
            let (device, i) = (reading.point.0 / 100, (reading.point.0 % 100) as usize);
            let (name, table, address, wire, _) = POINTS[i];
            let word = |address| u32::from(ident(device as u8 + 1, table, address));
            let own = match wire {
                WireType::U32 => word(address) << 16 | word(address + 1),
                _ => word(address),
            };
            let written = address == PROOF && matches!(value.as_f64(), Some(0.0 | 1.0));
            let own = Value::Decimal(Decimal::new(i128::from(own), 0));
            assert!(written || *value == own, "{name} of device {device} is {value} instead of {own}");
        }
    }

    fn asked(&self) -> Vec<world::Asked> {
        self.facts.lock().unwrap().asked.clone()
    }

    async fn end(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

/// A line that nobody looks at any more must not go on polling beside the next one.
impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn every_point_is_read_at_the_start_and_in_its_rhythm() {
    let mut rig = Rig::start(rtu(), 3, Facts::default());
    rig.run(Duration::from_secs(20)).await;
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
        for (point, ..) in POINTS {
            assert_eq!(rig.last(device, point).quality, Quality::Good, "{point}");
        }
    }
    let fires = rig.readings().filter(|r| r.point == PointIx(0)).count();
    assert!((40..=42).contains(&fires), "twice a second for 20 s, and once at the start: {fires}");
    let stats = rig.handle.stats();
    assert_eq!((stats.overruns.get(), stats.stale_bytes.get(), stats.connects.get()), (0, 0, 1));
    assert_eq!(stats.devices[0].timeout.get() + stats.devices[0].crc_error.get(), 0);
    rig.end().await;
}

/// AC 11.
#[tokio::test(start_paused = true)]
async fn there_is_silence_before_every_request() {
    for way in serial_ways() {
        let mut rig = Rig::start(way, 3, Facts::default());
        rig.run(Duration::from_secs(5)).await;
        let asked = rig.asked();
        // The world answers after a millisecond.
        let shortest = asked.windows(2).map(|w| w[1].at - w[0].at).min().unwrap();
        assert!(shortest >= Duration::from_micros(1000 + 1750), "{way:?}: {shortest:?}");
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_modem_s_heartbeats_are_no_answers_and_break_no_silence() {
    let facts: Shared = Arc::new(Mutex::new(Facts { heartbeat: Some(Duration::from_millis(3)), ..Facts::default() }));
    let stats = Arc::default();
    let dial = dialled_world(Framing::Rtu, &facts, &stats);
    let mut rig = Rig::with_dial(rtu(), devices(3), dial, facts);
    rig.run(Duration::from_secs(10)).await;
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
        for (point, ..) in POINTS {
            assert_eq!(rig.last(device, point).quality, Quality::Good, "{point}");
        }
    }
    let line = rig.handle.stats();
    assert_eq!((line.stale_bytes.get(), line.discarded_damaged.get(), line.discarded_foreign.get()), (0, 0, 0));
    assert_eq!(line.devices.iter().map(|d| d.timeout.get() + d.crc_error.get()).sum::<u64>(), 0);
    assert!(stats.heartbeats.get() > 3000, "{}", stats.heartbeats.get());
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_silence_of_a_unit_does_not_hang_up_on_the_modem() {
    let mut rig = Rig::start(dtu(rtu()), 3, Facts { dead: [2].into(), ..Facts::default() });
    rig.run(Duration::from_secs(60)).await;
    rig.assert_names();
    assert_eq!(rig.healths(1), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    assert_eq!(rig.healths(0), [DeviceHealth::Answering]);
    assert_eq!(rig.handle.stats().connects.get(), 1, "one connection for all of it");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_device_does_not_starve_the_others() {
    let dead = Facts { dead: [2].into(), ..Facts::default() };
    let mut rig = Rig::start(rtu(), 3, dead);
    rig.run(Duration::from_secs(60)).await;
    rig.assert_names();
    assert_eq!(rig.healths(1), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    assert_eq!(rig.last(1, "energy").quality, Quality::Bad(BadReason::NoAnswer));
    for device in [0, 2] {
        let fires = rig.readings().filter(|r| r.point == PointIx(device * 100)).count();
        assert!(fires >= 118, "device {device}: {fires} of 120 polls");
        assert_eq!(rig.healths(device), [DeviceHealth::Answering]);
    }
    let probes = rig.asked().iter().filter(|a| a.unit == 2).count();
    assert!((5..=20).contains(&probes), "one per step of the back-off: {probes}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_whole_floor_falls_silent_and_comes_back_confirmed() {
    let mut rig = Rig::start(rtu(), 3, Facts::default());
    rig.run(Duration::from_secs(5)).await;
    rig.facts.lock().unwrap().dead = [1, 2, 3].into();
    rig.run(Duration::from_secs(3)).await;
    for device in 0..3 {
        let reason = BadReason::LineDown;
        assert_eq!(rig.healths(device).last(), Some(&DeviceHealth::Silent(reason)), "it is the line, not the devices");
        assert_eq!(rig.last(device, "fire").quality, Quality::Bad(reason));
    }
    rig.facts.lock().unwrap().dead.clear();
    let before = rig.seen.len();
    rig.run(Duration::from_secs(31)).await;
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device).last(), Some(&DeviceHealth::Answering));
        let fires: Vec<Quality> = rig.seen[before..]
            .iter()
            .flat_map(|r| match r {
                FieldReport::Readings { readings, .. } => readings.as_slice(),
                FieldReport::Past { .. } | FieldReport::Health { .. } => &[],
            })
            .filter(|r| r.point == PointIx(device * 100) && r.value.is_some())
            .map(|r| r.quality)
            .collect();
        assert_eq!(fires[..2], [Quality::Suspect, Quality::Good], "the first answer waits for the second");
        assert_eq!(rig.last(device, "energy").quality, Quality::Good);
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_down_says_so_and_comes_back_by_itself() {
    let mut rig = Rig::start(tcp(), 2, Facts { refuses: true, ..Facts::default() });
    rig.run(Duration::from_secs(5)).await;
    for device in 0..2 {
        assert_eq!(rig.healths(device), [DeviceHealth::Silent(BadReason::LineDown)]);
        assert_eq!(rig.last(device, "fire").quality, Quality::Bad(BadReason::LineDown));
    }
    assert_eq!(rig.handle.stats().connected.get(), 0);
    rig.facts.lock().unwrap().refuses = false;
    rig.run(Duration::from_secs(15)).await;
    for device in 0..2 {
        assert_eq!(rig.healths(device).last(), Some(&DeviceHealth::Answering));
        assert_eq!(rig.last(device, "fire").quality, Quality::Good);
    }
    assert_eq!(rig.handle.stats().connected.get(), 1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_missing_register_does_not_cost_the_device_its_other_points() {
    let mut rig = Rig::start(tcp(), 1, Facts { missing: [(1, 1)].into(), ..Facts::default() });
    rig.run(Duration::from_secs(5)).await;
    rig.assert_names();
    assert_eq!(rig.healths(0), [DeviceHealth::Answering]);
    assert_eq!(rig.last(0, "fault").quality, Quality::Bad(BadReason::Refused));
    assert_eq!(rig.last(0, "fire").quality, Quality::Good);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_cannot_reach_its_device_is_a_silent_device() {
    let script = vec![Act::Refuse(0x0B); 1000].into();
    let mut rig = Rig::start(tcp(), 1, Facts { script, ..Facts::default() });
    rig.run(Duration::from_secs(2)).await;
    assert_eq!(rig.healths(0), [DeviceHealth::Silent(BadReason::NoAnswer)]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_and_the_change_of_health_is_still_told() {
    let facts: Shared = Arc::new(Mutex::new(Facts::default()));
    let dial = world(Framing::Mbap, &facts);
    let (sender, mut reports) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let (handle, task) = start("line".into(), dial, tcp(), None, devices(1), sender, stop.clone());
    tokio::time::sleep(Duration::from_secs(3)).await;
    facts.lock().unwrap().dead = [1].into();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(handle.stats().dropped_reports.get() > 0);
    let mut healths = Vec::new();
    while let Ok(Some(report)) = tokio::time::timeout(Duration::from_secs(1), reports.recv()).await {
        if let FieldReport::Health { health, .. } = report {
            healths.push(health);
        }
    }
    assert_eq!(healths, [DeviceHealth::Answering, DeviceHealth::Silent(BadReason::NoAnswer)]);
    stop.cancel();
    task.await.unwrap();
}
