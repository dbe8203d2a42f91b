use std::collections::BTreeSet;

use guanjia_core::profile::{Alignment, Place, Source, WireType};
use proptest::prelude::*;

use super::*;

mod learning;
mod rules;

fn point(table: Table, address: u16, count: u16, poll: PollClass) -> PointDef {
    let place = Registers { count, ..Registers::new(table, address, WireType::U16) };
    PointDef { poll, ..PointDef::new("p", Source::Registers(place)) }
}

fn holding(address: u16, count: u16) -> PointDef {
    point(Table::Holding, address, count, PollClass::Bulk)
}

fn limits(registers_max: u16, gap_max: Option<u16>) -> ReadLimits {
    ReadLimits { registers_max, gap_max, ..ReadLimits::default() }
}

/// 9600 baud, 8E1.
fn serial() -> Pace {
    Pace::new(crate::frame::Framing::Rtu, Duration::from_nanos(1_145_833), Duration::from_nanos(4_010_415), None)
}

fn network() -> Pace {
    Pace::new(crate::frame::Framing::Mbap, Duration::ZERO, Duration::ZERO, None)
}

static NOTHING: Learned = Learned::NOTHING;

fn layout<'a>(points: &'a [PointDef], limits: &'a ReadLimits) -> Layout<'a> {
    Layout { points, limits, together: &[], learned: &NOTHING, pace: serial() }
}

fn planned(points: &[PointDef], limits: &ReadLimits) -> Vec<(u16, u16)> {
    spans(&plan(&layout(points, limits), None))
}

fn spans(requests: &[ReadRequest]) -> Vec<(u16, u16)> {
    requests.iter().map(|r| (r.address, r.count)).collect()
}

fn cost(layout: &Layout<'_>, requests: &[ReadRequest]) -> Duration {
    requests.iter().map(|r| layout.pace.read_time(layout.limits, r.table, u32::from(r.count))).sum()
}

#[test]
fn neighbours_are_read_together_and_gaps_only_as_wide_as_permitted() {
    let points = [holding(0, 2), holding(2, 2), holding(12, 2), holding(30, 2)];
    assert_eq!(planned(&points, &limits(125, Some(8))), [(0, 14), (30, 2)]);
    assert_eq!(planned(&points, &limits(125, Some(7))), [(0, 4), (12, 2), (30, 2)]);
    assert_eq!(planned(&points, &limits(4, Some(100))), [(0, 4), (12, 2), (30, 2)]);
}

#[test]
fn a_gap_is_spanned_where_it_costs_less_than_another_request() {
    // A request costs 13 characters, a turnaround of 20 ms and a silence of 4 ms: 39 ms. A register costs 2.3 ms.
    let pair = |gap: u16| [holding(0, 1), holding(1 + gap, 1)];
    let free = limits(125, None);
    assert_eq!(planned(&pair(16), &free), [(0, 18)]);
    assert_eq!(planned(&pair(17), &free), [(0, 1), (18, 1)]);
    // A device that wants 60 ms of silence after each answer makes a request dearer, and the gap worth more.
    let slow = ReadLimits { silence_min: Duration::from_millis(60), ..free.clone() };
    assert_eq!(planned(&pair(17), &slow), [(0, 19)]);
    // One that takes a request every 300 ms has all the time for the registers between.
    let rare = ReadLimits { interval_min: Duration::from_millis(300), ..free };
    assert_eq!(planned(&pair(100), &rare), [(0, 102)]);
}

#[test]
fn on_a_network_a_request_is_worth_more_registers_than_on_a_slow_bus() {
    let points = [holding(0, 1), holding(40, 1), holding(110, 1)];
    let limits = limits(125, None);
    let layout = Layout { pace: network(), ..layout(&points, &limits) };
    assert_eq!(spans(&plan(&layout, None)), [(0, 41), (110, 1)]);
}

/// AC 12.
#[test]
fn thirty_scattered_points_of_one_meter_come_in_two_requests() {
    // Voltages, currents, powers and energies of a three-phase meter, two registers each, with holes between.
    let places = [0, 2, 4, 6, 8, 10, 12, 14, 16, 24, 26, 28, 30, 36, 38, 42, 46, 48, 52, 56];
    let energies = [70, 72, 74, 76, 84, 86, 100, 106, 112, 118];
    let points: Vec<PointDef> = places.into_iter().chain(energies).map(|address| holding(address, 2)).collect();
    assert_eq!(points.len(), 30);
    assert!(plan(&layout(&points, &limits(125, None)), None).len() <= 2);
    assert!(plan(&layout(&points, &limits(64, None)), None).len() <= 2);
}

#[test]
fn bits_of_one_register_come_with_one_read() {
    let points = [point(Table::Holding, 5, 1, PollClass::Alarm), point(Table::Holding, 5, 1, PollClass::Alarm)];
    let limits = limits(125, Some(8));
    let requests = plan(&layout(&points, &limits), Some(PollClass::Alarm));
    assert_eq!(requests, [ReadRequest { table: Table::Holding, address: 5, count: 1, points: vec![0, 1] }]);
    assert_eq!(plan(&layout(&points, &limits), Some(PollClass::Billing)), []);
}

#[test]
fn a_value_no_read_can_bring_is_named() {
    let points = [holding(0, 11), holding(65_535, 2), holding(65_535, 1), holding(40, 0), holding(50, 2)];
    let hole = Extent { table: Table::Holding, address: 51, count: 1 };
    let limits = ReadLimits { holes: vec![hole], ..limits(10, None) };
    assert_eq!(unreadable(&points, &limits), [0, 1, 3, 4]);
    assert_eq!(planned(&points, &limits), [(65_535, 1)]);
}

#[test]
fn registers_of_other_points_are_no_gap() {
    let points = [holding(0, 1), point(Table::Holding, 1, 10, PollClass::Billing), holding(11, 1)];
    let limits = limits(125, Some(0));
    assert_eq!(spans(&plan(&layout(&points, &limits), Some(PollClass::Bulk))), [(0, 12)]);
}
