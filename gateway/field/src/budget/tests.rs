//! The bound on the age against a simulated line in virtual time, and the remedies against themselves.

use std::sync::Arc;

use guanjia_core::profile::{EquipmentClass, PointDef, Profile, Registers, Source, Table, WireType};
use guanjia_core::reading::{DeviceIx, PointIx};
use proptest::prelude::*;

use super::*;
use crate::line::Periods;
use crate::link::{Link, Parity, SerialFormat};

fn line(baud: u32) -> LineConfig {
    let format = SerialFormat { baud, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    LineConfig {
        name: "a".into(),
        link: Link::RtuOverTcp { address: "192.0.2.21:4196".to_owned(), format },
        response_max: None,
        turnaround: None,
        in_flight_max: 1,
        linger: Duration::from_millis(250),
    }
}

/// A device with these reads: their class, and how many points of one register they bring.
fn device(number: usize, reads: &[(PollClass, u16)], periods: Periods) -> FieldDevice {
    let point = |address, poll| {
        let place = Registers::new(Table::Holding, address, WireType::U16);
        PointDef { poll, ..PointDef::new(&format!("p{address}"), Source::Registers(place)) }
    };
    let mut points = Vec::new();
    for (i, (class, length)) in reads.iter().enumerate() {
        let address = 200 * i as u16;
        points.extend((address..address + length).map(|address| point(address, *class)));
    }
    let limits = ReadLimits { response_max: Duration::from_millis(300), gap_max: Some(8), ..ReadLimits::default() };
    let profile = Profile { limits, ..Profile::new("test", EquipmentClass::ElectricityMeter, points) };
    FieldDevice {
        ix: DeviceIx(number as u32),
        id: format!("m-{number}").into(),
        unit: number as u8 + 1,
        profile: Arc::new(profile),
        first_point: PointIx(0),
        periods,
    }
}

fn every(alarm: u64, billing: u64, bulk: u64) -> Periods {
    let millis = Duration::from_millis;
    Periods { alarm: millis(alarm), billing: millis(billing), bulk: millis(bulk) }
}

#[test]
fn thirty_meters_at_9600_baud_fit_in_ten_seconds_and_not_in_one() {
    let reads = [(PollClass::Bulk, 60)];
    let meters = |period| (0..30).map(|i| device(i, &reads, every(period, period, period))).collect::<Vec<_>>();
    // 13 + 120 characters of 1.04 ms, a turnaround of 20 ms and t3.5: 162 ms a meter.
    let budget = LineBudget::new(&line(9_600), &meters(10_000));
    assert_eq!(budget.utilization().to_string(), "48.6 %");
    assert!(budget.turns().all(|turn| turn.worst_age().is_some_and(|age| age < Duration::from_secs(16))));
    let budget = LineBudget::new(&line(9_600), &meters(1_000));
    assert!(budget.utilization() > Share(4_800_000));
    assert_eq!(budget.utilization_of(PollClass::Alarm), Share(0));
}

#[test]
fn requests_under_way_at_once_share_the_time_of_a_network() {
    let mut meter = device(0, &[(PollClass::Alarm, 100)], every(100, 1_000, 1_000));
    let network = LineConfig { link: Link::ModbusTcp { address: "192.0.2.31:502".to_owned() }, ..line(9_600) };
    let one = LineBudget::new(&network, std::slice::from_ref(&meter)).utilization();
    Arc::get_mut(&mut meter.profile).unwrap().limits.in_flight_max = 4;
    let four = LineBudget::new(&network, std::slice::from_ref(&meter)).utilization();
    assert_eq!(four.0, one.0 / 4);
}

#[test]
fn no_read_takes_longer_than_the_alarms_of_the_line_can_wait() {
    let meters = |baud, alarm_reads: &[(PollClass, u16)]| {
        let reads = [(PollClass::Bulk, 120), (PollClass::Billing, 1)];
        let devices = [device(0, &reads, every(1_000, 5_000, 5_000)), device(1, alarm_reads, every(400, 5_000, 5_000))];
        LineBudget::new(&line(baud), &devices)
    };
    let longest = |budget: &LineBudget| budget.devices[0].turns.iter().flat_map(|t| &t.reads).map(|r| r.time).max();
    let counts = |budget: &LineBudget| {
        let bulk = budget.devices[0].turns.iter().filter(|turn| turn.class == PollClass::Bulk);
        bulk.flat_map(|turn| &turn.reads).map(|read| read.read.count).collect::<Vec<_>>()
    };
    // 2400 baud: 120 registers take 1.1 s. Nobody waits for an alarm there, so nothing is gained by many short reads.
    let calm = meters(2_400, &[(PollClass::Bulk, 4)]);
    assert_eq!(counts(&calm), [120]);
    // Alarms every 400 ms: half of that is the longest anything else may take, and all of it is still read, once.
    let watched = meters(2_400, &[(PollClass::Alarm, 4)]);
    assert!(longest(&watched) <= Some(Duration::from_millis(200)), "{:?}", longest(&watched));
    assert!(counts(&watched).len() > 1 && counts(&watched).iter().sum::<u16>() == 120, "{:?}", counts(&watched));
    // At 38400 baud there is time for the whole of it.
    assert_eq!(counts(&meters(38_400, &[(PollClass::Alarm, 4)])), [120]);
}

#[test]
fn a_line_filled_by_its_alarms_bounds_nothing_of_the_rest() {
    let reads = [(PollClass::Alarm, 60), (PollClass::Bulk, 10)];
    let meters: Vec<FieldDevice> = (0..10).map(|i| device(i, &reads, every(1_000, 1_000, 60_000))).collect();
    let budget = LineBudget::new(&line(9_600), &meters);
    assert!(budget.utilization_of(PollClass::Alarm) > UTILIZATION_MAX);
    let bulk = budget.turns().filter(|turn| turn.class == PollClass::Bulk);
    assert!(bulk.map(Turn::worst_age).all(|age| age.is_none()));
}

#[test]
fn each_remedy_is_enough_by_itself() {
    let reads = [(PollClass::Alarm, 4), (PollClass::Bulk, 100)];
    let meters = |periods| (0..20).map(|i| device(i, &reads, periods)).collect::<Vec<_>>();
    let too_much = meters(every(5_000, 5_000, 3_000));
    let budget = LineBudget::new(&line(9_600), &too_much);
    assert!(budget.utilization() > UTILIZATION_MAX, "{}", budget.utilization());
    let remedies = remedies(&line(9_600), &too_much, &budget, |_, baud| baud != 19_200);

    let Some((PollClass::Bulk, Slower::Period(from, to))) = remedies.one_class else { panic!("{remedies:?}") };
    assert_eq!(from, Duration::from_secs(3));
    let relaxed = LineBudget::new(&line(9_600), &meters(every(5_000, 5_000, to.as_millis() as u64)));
    assert!(relaxed.utilization() <= UTILIZATION_WARN, "{to:?}: {}", relaxed.utilization());

    let baud = remedies.baud.expect("a faster line would do");
    assert!(baud > 19_200);
    assert!(LineBudget::new(&line(baud), &too_much).utilization() <= UTILIZATION_WARN);

    let left = &too_much[remedies.devices..];
    assert!(LineBudget::new(&line(9_600), left).utilization() <= UTILIZATION_WARN);
    let one_less = &too_much[remedies.devices - 1..];
    assert!(LineBudget::new(&line(9_600), one_less).utilization() > UTILIZATION_WARN);
}

#[test]
fn where_one_class_is_not_enough_all_are_to_be_read_more_rarely() {
    let reads = [(PollClass::Alarm, 60), (PollClass::Bulk, 60)];
    let meters: Vec<FieldDevice> = (0..20).map(|i| device(i, &reads, every(1_000, 1_000, 1_000))).collect();
    let budget = LineBudget::new(&line(9_600), &meters);
    let remedies = remedies(&line(9_600), &meters, &budget, |_, _| false);
    assert_eq!((&remedies.one_class, remedies.baud), (&None, None));
    let classes: Vec<PollClass> = remedies.all_classes.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [PollClass::Alarm, PollClass::Bulk]);
}

/// A turn of the simulated line.
struct Simulated {
    class: PollClass,
    period: u64,
    anchor: u64,
    due: u64,
    times: Vec<u64>,
    lost_times: Vec<u64>,
    position: usize,
    /// When the transaction began that brought each read's present value, once it was made twice.
    taken: Vec<Option<u64>>,
    oldest: Vec<u64>,
}

/// Plays the rules of the line's scheduler for `until` nanoseconds; one request, the `lost`th, is not answered.
fn simulate(turns: &mut [Simulated], until: u64, lost: usize) {
    let mut now = 0;
    let mut requests = 0;
    while now < until {
        let urgency = |turn: &Simulated| {
            let starves = now - turn.due >= turn.period;
            (if starves { PollClass::Alarm } else { turn.class }, turn.due, std::cmp::Reverse(turn.position))
        };
        let due: Vec<usize> = (0..turns.len()).filter(|i| turns[*i].due <= now).collect();
        let Some(first) = due.iter().copied().min_by_key(|i| urgency(&turns[*i])) else {
            now = turns.iter().map(|turn| turn.due).min().unwrap();
            continue;
        };
        // A read that would end after the next alarm turn begins gives way to one that does not.
        let alarms = turns.iter().filter(|turn| turn.class == PollClass::Alarm && turn.due > now);
        let next_alarm = alarms.map(|turn| turn.due).min().unwrap_or(u64::MAX);
        let ends_in_time = |i: &usize| now + turns[*i].times[turns[*i].position] <= next_alarm;
        let gives_way = urgency(&turns[first]).0 != PollClass::Alarm && !ends_in_time(&first);
        let short = due.iter().copied().filter(ends_in_time).min_by_key(|i| urgency(&turns[*i]));
        let chosen = if gives_way { short.unwrap_or(first) } else { first };
        let turn = &mut turns[chosen];
        let read = turn.position;
        // It is asked again at once.
        now += if requests == lost { turn.lost_times[read] } else { 0 };
        requests += 1;
        let begun = now;
        now += turn.times[read];
        if let Some(taken) = turn.taken[read].replace(begun) {
            turn.oldest[read] = turn.oldest[read].max(now - taken);
        }
        turn.position += 1;
        if turn.position == turn.times.len() {
            turn.position = 0;
            let after = |instant: u64| turn.anchor + ((instant - turn.anchor) / turn.period + 1) * turn.period;
            turn.due = if after(turn.due) > now { after(turn.due) } else { after(now) };
        }
    }
}

fn any_device() -> impl Strategy<Value = (Vec<(PollClass, u16)>, [u64; 3])> {
    let class = prop::sample::select(CLASSES.to_vec());
    let reads = prop::collection::vec((class, 1u16..120), 1..4);
    let period = || prop::sample::select(vec![300u64, 500, 1_000, 2_000, 5_000, 10_000]);
    (reads, [period(), period(), period()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_grows_older_than_the_bound_while_the_line_is_not_too_full(
        devices in prop::collection::vec(any_device(), 1..12),
        baud in prop::sample::select(vec![9_600u32, 19_200, 115_200]),
        phases in prop::collection::vec(0u64..1_000, 36), lost in 0usize..400,
    ) {
        let line = line(baud);
        let field: Vec<FieldDevice> = devices
            .iter().enumerate().map(|(i, (reads, p))| device(i, reads, every(p[0], p[1], p[2]))).collect();
        let budget = LineBudget::new(&line, &field);
        prop_assume!(budget.utilization() < UTILIZATION_MAX);
        let nanos = |time: Duration| time.as_nanos() as u64;
        let mut turns: Vec<Simulated> = budget.turns().zip(&phases).map(|(turn, phase)| {
            let period = nanos(turn.period);
            let anchor = period / 1_000 * phase;
            Simulated {
                class: turn.class,
                period,
                anchor,
                due: anchor,
                times: turn.reads.iter().map(|read| nanos(read.time)).collect(),
                lost_times: turn.reads.iter().map(|read| nanos(read.lost_time)).collect(),
                position: 0,
                taken: vec![None; turn.reads.len()],
                oldest: vec![0; turn.reads.len()],
            }
        }).collect();
        simulate(&mut turns, 60_000_000_000, lost);
        let mut bounded = 0;
        for (simulated, turn) in turns.iter().zip(budget.turns()) {
            for (oldest, read) in simulated.oldest.iter().zip(&turn.reads) {
                if let Some(bound) = read.worst_age {
                    prop_assert!(*oldest <= nanos(bound), "{} ns old, the bound is {bound:?}", oldest);
                    bounded += 1;
                }
            }
        }
        prop_assert!(bounded > 0, "nothing has a bound");
    }
}
