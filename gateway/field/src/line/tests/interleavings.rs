//! Very many ways in which answers can come late, not at all, twice, damaged and in pieces, while relays are moved.
//!
//! ```text
//! cargo test -p guanjia-field interleavings                                              a thousand, always
//! GUANJIA_INTERLEAVINGS=1000000 cargo test --release -p guanjia-field interleavings      as many as you like
//! GUANJIA_INTERLEAVING=4711 cargo test -p guanjia-field interleavings                    one again, by its number
//! ```
//!
//! One interleaving is one life of a line, of any framing, on connections that are replaced or kept, with one or several questions under way, drawn from its
//! number alone: it starts, meets an answer spoiled in some new way after every second request, moves a relay there and
//! back, and is stopped; it must come to its end. Whatever happens, no value may be reported under another point's name, and once the bus has
//! executed a write, nothing that was true before it. A check sum misses one damaged frame in 65,536 by its nature (one
//! in 256 over ASCII); the bus leaves those out.

use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::world::{Damage, Storm};
use super::*;

/// How many there are unless the environment says otherwise.
const USUAL: u64 = 1_000;

/// How long one life lasts.
const LIFE: Duration = Duration::from_secs(2);

/// Those that once failed, and are therefore lived through every time. 987,925: a doubt about a read was settled after its
/// device had fallen silent and come back, pointed behind the last read, and the line turned in circles for ever.
const FAILED_ONCE: [u64; 1] = [987_925];

/// How long one may take of our time; usually it is a millisecond.
const ENDS_WITHIN: std::time::Duration = Duration::from_secs(60);

/// Not a device: the bus says in the stream of reports that it has executed a write.
const EXECUTED: DeviceIx = DeviceIx(1_000);

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// AC 07.
#[test]
fn no_value_under_another_name_in_any_of_many_interleavings() {
    let (from, until) = match from_environment("GUANJIA_INTERLEAVING") {
        Some(seed) => (seed, seed + 1),
        None => (0, from_environment("GUANJIA_INTERLEAVINGS").unwrap_or(USUAL)),
    };
    let next = AtomicU64::new(from);
    if until - from > 1 {
        for seed in FAILED_ONCE {
            live(seed).unwrap_or_else(|lie| panic!("GUANJIA_INTERLEAVING={seed}: {lie}"));
        }
    }
    let work = |current: &AtomicU64| {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= until {
                return seen;
            }
            current.store(seed, Ordering::Relaxed);
            seen += live(seed).unwrap_or_else(|lie| panic!("GUANJIA_INTERLEAVING={seed}: {lie}"));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let current: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect();
    let seen = std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = current.iter().map(|current| scope.spawn(move || work(current))).collect();
        let mut since: Vec<(u64, std::time::Instant)> = vec![(u64::MAX, std::time::Instant::now()); threads];
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            for (((seed, at), current), worker) in since.iter_mut().zip(&current).zip(&workers) {
                if current.load(Ordering::Relaxed) != *seed || worker.is_finished() {
                    (*seed, *at) = (current.load(Ordering::Relaxed), std::time::Instant::now());
                } else if at.elapsed() > ENDS_WITHIN {
                    // A thread that turns in circles cannot be joined, so the test cannot end in the usual way.
                    eprintln!("GUANJIA_INTERLEAVING={seed}: the line turns in circles, no time passes on it");
                    std::process::exit(1);
                }
            }
        }
        workers.into_iter().map(|w| w.join().expect("no interleaving fails")).fold(Seen::default(), |a, b| a + b)
    });
    println!("{} interleavings: {seen:?}", until - from);
    if until - from >= 1_000 {
        // A test in which nothing happens proves nothing.
        assert!(seen.values > 5 * (until - from), "{seen:?}");
        assert!(seen.misses > 5 * (until - from), "{seen:?}");
        assert!(seen.discarded > until - from, "{seen:?}");
        assert!(seen.writes > (until - from) / 4, "{seen:?}");
    }
}

/// What a life came to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    values: u64,
    misses: u64,
    discarded: u64,
    writes: u64,
}

impl std::ops::Add for Seen {
    type Output = Seen;

    fn add(self, other: Seen) -> Seen {
        Seen {
            values: self.values + other.values,
            misses: self.misses + other.misses,
            discarded: self.discarded + other.discarded,
            writes: self.writes + other.writes,
        }
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        *self = *self + other;
    }
}

fn live(seed: u64) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut rng = Rng::with_seed(seed);
    // Transaction numbers begin anywhere, and pauses vary; here they do so in the same way each time.
    fastrand::seed(seed);
    // One more than there are: Modbus TCP with several questions under way at once.
    let ways = all_ways();
    let way = ways.get(rng.usize(..ways.len() + 1)).copied().unwrap_or_else(|| several(4).into());
    let script = (0..200).map(|_| act(&mut rng)).collect();
    let moves = [rng.u64(0..800), rng.u64(0..800)];
    runtime.block_on(async {
        let mut rig = Rig::start(way, 2, Facts { script, ..Facts::default() });
        let tell = rig.sender.clone();
        rig.facts.lock().unwrap().on_write = Some(Box::new(move |unit, word| {
            let (at, shown) = (Timestamp::EPOCH, Value::Decimal(Decimal::new(word.into(), 0)));
            let readings = vec![Reading::good(PointIx(unit.into()), shown, at)];
            tell.try_send(FieldReport::Readings { device: EXECUTED, readings }).expect("the queue has room");
        }));
        let device = rng.u32(0..2);
        let handle = rig.handle.clone();
        let run = async {
            for (action, after) in [RelayAction::Open, RelayAction::Close].into_iter().zip(moves) {
                tokio::time::sleep(Duration::from_millis(after)).await;
                handle.relay(commands::command(device, action)).await;
            }
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(LIFE, run).await;
        rig.run(Duration::ZERO).await;
        check(&rig)
    })
}

/// Any answer, spoiled in any way.
fn act(rng: &mut Rng) -> Act {
    match rng.u32(0..30) {
        0..16 => Act::Answer,
        16..18 => Act::Drop,
        18 => Act::Refuse(rng.u8(1..12)),
        19 => Act::OtherUnit,
        20 => Act::Close,
        21 => Act::Garbage(rng.u64(0..150)),
        _ => Act::Storm(storm(rng)),
    }
}

fn storm(rng: &mut Rng) -> Storm {
    // Around the moments at which something happens: the deadline, the linger, the next request.
    let delay = match rng.u32(0..4) {
        0 => 1,
        1 => rng.u64(1..110),
        2 => rng.u64(90..400),
        _ => rng.u64(1..3_000),
    };
    let damage = match rng.u32(0..6) {
        0 => Damage::Burst(rng.usize(..), rng.u16(1..)),
        1 => Damage::Lost(rng.usize(..)),
        2 => Damage::Added(rng.usize(..), rng.u8(..)),
        _ => Damage::None,
    };
    let copy = (rng.u32(0..3) == 0).then(|| rng.u64(0..500));
    let split = (rng.u32(0..3) == 0).then(|| (rng.usize(..), rng.u64(0..150)));
    Storm { delay, copy, damage, split }
}

/// The first lie among the reports, or what was seen.
fn check(rig: &Rig) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut executed = [const { Vec::new() }; 2];
    for report in &rig.seen {
        let FieldReport::Readings { device, readings } = report else { continue };
        for reading in readings {
            let Some(value) = &reading.value else { continue };
            if *device == EXECUTED {
                executed[reading.point.0 as usize - 1].push(value);
                seen.writes += 1;
                continue;
            }
            seen.values += 1;
            let (own, name) = own(reading.point);
            let shown = executed[device.0 as usize].last().filter(|_| name == "relay_state");
            let own = shown.copied().unwrap_or(&own);
            if value != own {
                return Err(format!("{name} of device {} is {value} instead of {own}", device.0));
            }
        }
    }
    if executed.iter().any(|writes| writes.len() > 2) {
        return Err(format!("two commands became these writes: {executed:?}"));
    }
    let stats = rig.handle.stats();
    let missed = |d: &crate::stats::DeviceStats| d.timeout.get() + d.crc_error.get() + d.link_error.get();
    seen.misses = stats.devices.iter().map(missed).sum();
    seen.discarded = stats.discarded_late.get() + stats.discarded_foreign.get() + stats.discarded_damaged.get();
    Ok(seen)
}

/// What a point shows unless somebody wrote to it.
fn own(point: PointIx) -> (Value, &'static str) {
    let (device, i) = (point.0 / 100, (point.0 % 100) as usize);
    let (name, table, address, wire, _) = POINTS[i];
    let word = |address| i128::from(ident(device as u8 + 1, table, address));
    let own = if wire == WireType::U32 { word(address) << 16 | word(address + 1) } else { word(address) };
    (Value::Decimal(Decimal::new(own, 0)), name)
}
