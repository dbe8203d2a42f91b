use guanjia_core::profile::{Source, WireType};
use proptest::prelude::*;

use super::*;

fn point(table: Table, address: u16, count: u16, poll: PollClass) -> PointDef {
    let place = Registers { count, ..Registers::new(table, address, WireType::U16) };
    PointDef { poll, ..PointDef::new("p", Source::Registers(place)) }
}

fn limits(registers_max: u16, gap_max: u16) -> ReadLimits {
    ReadLimits { registers_max, gap_max: Some(gap_max), ..ReadLimits::default() }
}

fn spans(requests: &[ReadRequest]) -> Vec<(u16, u16)> {
    requests.iter().map(|r| (r.address, r.count)).collect()
}

#[test]
fn neighbours_are_read_together_and_gaps_only_as_wide_as_permitted() {
    let at = |address| point(Table::Holding, address, 2, PollClass::Bulk);
    let points = [at(0), at(2), at(12), at(30)];
    assert_eq!(spans(&plan(&points, &limits(125, 8), None)), [(0, 14), (30, 2)]);
    assert_eq!(spans(&plan(&points, &limits(125, 7), None)), [(0, 4), (12, 2), (30, 2)]);
    assert_eq!(spans(&plan(&points, &limits(4, 100), None)), [(0, 4), (12, 2), (30, 2)]);
}

#[test]
fn bits_of_one_register_come_with_one_read() {
    let points = [point(Table::Holding, 5, 1, PollClass::Alarm), point(Table::Holding, 5, 1, PollClass::Alarm)];
    let requests = plan(&points, &limits(125, 8), Some(PollClass::Alarm));
    assert_eq!(requests, [ReadRequest { table: Table::Holding, address: 5, count: 1, points: vec![0, 1] }]);
    assert_eq!(plan(&points, &limits(125, 8), Some(PollClass::Billing)), []);
}

#[test]
fn a_value_no_read_can_bring_is_named() {
    let points = [
        point(Table::Holding, 0, 11, PollClass::Bulk),
        point(Table::Holding, 65_535, 2, PollClass::Bulk),
        point(Table::Holding, 65_535, 1, PollClass::Bulk),
        point(Table::Holding, 40, 0, PollClass::Bulk),
    ];
    assert_eq!(unreadable(&points, &limits(10, 8)), [0, 1, 3]);
    assert_eq!(spans(&plan(&points, &limits(10, 8), None)), [(65_535, 1)]);
}

fn any_point() -> impl Strategy<Value = PointDef> {
    let table = prop::sample::select(vec![Table::Coil, Table::DiscreteInput, Table::Holding, Table::Input]);
    let class = prop::sample::select(vec![PollClass::Alarm, PollClass::Billing, PollClass::Bulk]);
    let address = prop_oneof![0u16..300, 65_400u16..=65_535];
    (table, address, 1u16..20, class).prop_map(|(table, address, count, class)| point(table, address, count, class))
}

proptest! {
    #[test]
    fn every_readable_point_is_read_whole_once_and_within_all_limits(
        points in prop::collection::vec(any_point(), 0..60), registers_max in 1u16..=200, gap_max in 0u16..40,
    ) {
        let limits = limits(registers_max, gap_max);
        let requests = plan(&points, &limits, None);
        let mut seen = unreadable(&points, &limits);
        for request in &requests {
            let end = end_of(request.address, request.count);
            prop_assert!(end <= ADDRESS_END);
            prop_assert!(u32::from(request.count) <= count_max(request.table, &limits));
            let mut covered_to = u32::from(request.address);
            for i in &request.points {
                let place = registers(&points[*i]).unwrap();
                prop_assert_eq!(place.table, request.table);
                prop_assert!(place.address >= request.address && end_of(place.address, place.count) <= end);
                prop_assert!(u32::from(place.address) <= covered_to + u32::from(gap_max));
                covered_to = covered_to.max(end_of(place.address, place.count));
                seen.push(*i);
            }
            prop_assert_eq!(covered_to, end, "nothing is read beyond the last value");
            if let Some((low, high)) = split(request, &points) {
                let both: Vec<usize> = low.points.iter().chain(&high.points).copied().collect();
                prop_assert_eq!(&both, &request.points);
                prop_assert!(low.address >= request.address && end_of(low.address, low.count) <= end);
                prop_assert!(high.address >= request.address && end_of(high.address, high.count) <= end);
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..points.len()).collect::<Vec<_>>());
    }
}
