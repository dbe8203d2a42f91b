//! One test per rule a profile can state, and properties that hold whatever it states.

use super::*;

fn at(address: u16) -> Place {
    Place { table: Table::Holding, address }
}

fn extent(address: u16, count: u16) -> Extent {
    Extent { table: Table::Holding, address, count }
}

#[test]
fn no_request_touches_a_hole() {
    let points = [holding(0, 2), holding(4, 2)];
    let limits = ReadLimits { holes: vec![extent(3, 1)], ..limits(125, None) };
    assert_eq!(planned(&points, &limits), [(0, 2), (4, 2)]);
}

#[test]
fn a_block_is_read_exactly_so_and_with_nothing_else() {
    let points = [holding(9, 1), holding(12, 1), holding(14, 2), holding(20, 1)];
    let limits = ReadLimits { blocks: vec![extent(10, 10)], ..limits(125, Some(0)) };
    assert_eq!(planned(&points, &limits), [(9, 1), (10, 10), (20, 1)]);
    let crossing = [holding(19, 2)];
    assert_eq!(unreadable(&crossing, &limits), [0]);
}

#[test]
fn what_must_come_whole_is_not_divided_for_the_sake_of_alarms() {
    let points = [holding(9, 1), holding(12, 1), holding(14, 2), holding(30, 40)];
    let limits = ReadLimits { blocks: vec![extent(10, 10)], ..limits(125, None) };
    let mut pace = serial();
    pace.read_max = Duration::from_millis(1);
    let reads = plan(&Layout { pace, ..layout(&points, &limits) }, Some(PollClass::Bulk));
    assert_eq!(spans(&reads), [(9, 1), (10, 10), (30, 40)]);
}

#[test]
fn a_place_behind_a_barrier_is_read_alone() {
    let points = [holding(0, 2), holding(2, 2), holding(4, 2), holding(6, 2)];
    let limits = ReadLimits { barriers: vec![at(2)], ..limits(125, None) };
    assert_eq!(planned(&points, &limits), [(0, 2), (2, 2), (4, 4)]);
    assert_eq!(unreadable(&[holding(1, 2)], &limits), [0], "no value can lie across one");
}

#[test]
fn a_device_that_takes_even_requests_gets_even_requests() {
    let points = [holding(5, 1), holding(9, 2)];
    let even = ReadLimits { alignment: Alignment::Even, ..limits(125, Some(0)) };
    assert_eq!(planned(&points, &even), [(4, 2), (8, 4)]);
    // The register that makes it even lies in a hole.
    let hole = ReadLimits { holes: vec![extent(4, 1)], ..even };
    assert_eq!(unreadable(&points, &hole), [0]);
}

#[test]
fn counts_are_even_where_pairs_are_read_and_single_registers_stay_single() {
    let pairs = ReadLimits { alignment: Alignment::EvenCountOfPairs, ..limits(125, Some(0)) };
    assert_eq!(planned(&[holding(5, 1)], &pairs), [(5, 1)]);
    assert_eq!(planned(&[holding(5, 1), holding(6, 2)], &pairs), [(5, 4)]);
    // Behind it lies a hole, so the register before it makes the count even.
    let hole = ReadLimits { holes: vec![extent(8, 1)], ..pairs };
    assert_eq!(planned(&[holding(5, 1), holding(6, 2)], &hole), [(4, 4)]);
}

#[test]
fn a_device_that_takes_one_point_a_request_gets_one() {
    let points = [holding(5, 1), holding(5, 1), holding(6, 1)];
    let single = ReadLimits { one_point_a_request: true, ..limits(125, None) };
    assert_eq!(planned(&points, &single), [(5, 1), (5, 1), (6, 1)]);
}

#[test]
fn a_value_and_its_scale_factor_come_in_one_answer_and_as_urgently_as_the_more_urgent() {
    let points = [point(Table::Holding, 0, 1, PollClass::Alarm), holding(40, 1), holding(41, 1)];
    let limits = limits(125, Some(0));
    let layout = Layout { together: &[(0, 1)], ..layout(&points, &limits) };
    let alarm = plan(&layout, Some(PollClass::Alarm));
    assert_eq!(alarm, [ReadRequest { table: Table::Holding, address: 0, count: 41, points: vec![0, 1] }]);
    assert_eq!(spans(&plan(&layout, Some(PollClass::Bulk))), [(41, 1)]);
    assert_eq!(apart(&layout), []);
}

#[test]
fn a_pair_that_no_request_can_bring_is_read_apart_and_named() {
    let points = [holding(0, 1), holding(40, 1)];
    let limits = ReadLimits { holes: vec![extent(20, 1)], ..limits(125, None) };
    let layout = Layout { together: &[(0, 1)], ..layout(&points, &limits) };
    assert_eq!(spans(&plan(&layout, None)), [(0, 1), (40, 1)]);
    assert_eq!(apart(&layout), [(0, 1)]);
}

#[test]
fn bits_are_limited_by_their_own_number() {
    let points: Vec<PointDef> = (0..100).map(|address| point(Table::Coil, address, 1, PollClass::Alarm)).collect();
    let limits = ReadLimits { bits_max: 64, ..limits(1, None) };
    let requests = planned(&points, &limits);
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|(_, count)| *count <= 64), "{requests:?}");
}

fn any_point() -> impl Strategy<Value = PointDef> {
    let table = prop::sample::select(vec![Table::Coil, Table::DiscreteInput, Table::Holding, Table::Input]);
    let class = prop::sample::select(vec![PollClass::Alarm, PollClass::Billing, PollClass::Bulk]);
    let address = prop_oneof![0u16..300, 65_400u16..=65_535];
    let count = prop_oneof![Just(1u16), Just(2u16), 1u16..20];
    (table, address, count, class).prop_map(|(table, address, count, class)| point(table, address, count, class))
}

pub(super) fn any_extent() -> impl Strategy<Value = Extent> {
    let table = prop::sample::select(vec![Table::Coil, Table::Holding, Table::Input]);
    let address = prop_oneof![0u16..300, 65_400u16..=65_535];
    (table, address, 1u16..12).prop_map(|(table, address, count)| Extent { table, address, count })
}

fn any_limits() -> impl Strategy<Value = ReadLimits> {
    let alignment = prop::sample::select(vec![Alignment::Any, Alignment::Even, Alignment::EvenCountOfPairs]);
    let lengths = (1u16..=200, 1u16..=2_000, prop::option::of(0u16..60));
    let extents = || prop::collection::vec(any_extent(), 0..4);
    let times = (0u64..80, 0u64..300);
    (lengths, extents(), extents(), extents(), alignment, prop::bool::weighted(0.1), times).prop_map(
        |((registers_max, bits_max, gap_max), holes, blocks, barriers, alignment, one_point, (silence, interval))| {
            ReadLimits {
                registers_max,
                bits_max,
                gap_max,
                holes,
                blocks,
                barriers: barriers.into_iter().map(|e| Place { table: e.table, address: e.address }).collect(),
                alignment,
                one_point_a_request: one_point,
                silence_min: Duration::from_millis(silence),
                interval_min: Duration::from_millis(interval),
                ..ReadLimits::default()
            }
        },
    )
}

pub(super) fn any_points() -> impl Strategy<Value = Vec<PointDef>> {
    prop::collection::vec(any_point(), 0..60)
}

fn any_pairs() -> impl Strategy<Value = Vec<(usize, usize)>> {
    // Some of them name points that do not exist.
    prop::collection::vec((0usize..70, 0usize..70), 0..6)
}

/// Everything a request must respect, told by the rules' own words and not by the planner's functions.
fn check(request: &ReadRequest, points: &[PointDef], limits: &ReadLimits) -> Result<(), TestCaseError> {
    let (start, end) = (u32::from(request.address), u32::from(request.address) + u32::from(request.count));
    let touches = |e: &Extent| {
        e.table == request.table && u32::from(e.address) < end && start < u32::from(e.address) + u32::from(e.count)
    };
    prop_assert!(end <= 65_536);
    let max = if request.table.is_bits() { limits.bits_max.min(2_000) } else { limits.registers_max.min(125) };
    prop_assert!((1..=max).contains(&request.count));
    prop_assert!(!limits.holes.iter().any(touches), "it touches a hole");
    let places: Vec<&Registers> = request.points.iter().map(|i| registers(&points[*i]).unwrap()).collect();
    for place in &places {
        prop_assert_eq!(place.table, request.table);
        prop_assert!(u32::from(place.address) >= start && u32::from(place.address) + u32::from(place.count) <= end);
    }
    for barrier in limits.barriers.iter().filter(|b| b.table == request.table).map(|b| u32::from(b.address)) {
        prop_assert!(!(start < barrier && barrier < end), "it goes beyond a barrier");
        if barrier == start {
            prop_assert!(places.iter().all(|p| p.address == request.address), "it brings others besides");
        }
    }
    let blocks: Vec<&Extent> = limits.blocks.iter().filter(|b| touches(b)).collect();
    let is_block = blocks.iter().any(|b| (b.address, b.count) == (request.address, request.count));
    prop_assert!(blocks.is_empty() || is_block, "it touches a block and is not one");
    if !request.table.is_bits() && !is_block {
        let has_pair = places.iter().any(|p| p.count > 1);
        match limits.alignment {
            Alignment::Any => {}
            Alignment::Even => prop_assert!(start.is_multiple_of(2) && request.count.is_multiple_of(2)),
            Alignment::EvenCountOfPairs => prop_assert!(!has_pair || request.count.is_multiple_of(2)),
        }
    }
    prop_assert!(!limits.one_point_a_request || request.points.len() == 1);
    Ok(())
}

/// No two neighbours of a request have more unknown addresses between them than the profile permits, unless they belong
/// together or lie in one block.
fn check_gaps(request: &ReadRequest, layout: &Layout<'_>) -> Result<(), TestCaseError> {
    let Some(max) = layout.limits.gap_max else { return Ok(()) };
    let is_block = layout.limits.blocks.iter().any(|b| (b.address, b.count) == (request.address, request.count));
    if is_block || layout.together.iter().any(|(a, b)| request.points.contains(a) && request.points.contains(b)) {
        return Ok(());
    }
    let of_table = layout.points.iter().filter_map(registers).filter(|r| r.table == request.table);
    let known: BTreeSet<u32> =
        of_table.flat_map(|r| u32::from(r.address)..u32::from(r.address) + u32::from(r.count)).collect();
    let places: Vec<&Registers> = request.points.iter().map(|i| registers(&layout.points[*i]).unwrap()).collect();
    let mut covered_to = u32::from(places[0].address);
    for place in places {
        let unknown = (covered_to..u32::from(place.address)).filter(|a| !known.contains(a)).count();
        prop_assert!(unknown <= usize::from(max), "a gap of {unknown}");
        covered_to = covered_to.max(u32::from(place.address) + u32::from(place.count));
    }
    Ok(())
}

proptest! {
    /// AC 12.
    #[test]
    fn every_readable_point_is_read_whole_once_and_within_all_limits(
        points in any_points(), limits in any_limits(), pairs in any_pairs(),
    ) {
        let layout = Layout { together: &pairs, ..layout(&points, &limits) };
        let requests = plan(&layout, None);
        let mut seen = unreadable(&points, &limits);
        for request in &requests {
            check(request, &points, &limits)?;
            check_gaps(request, &layout)?;
            seen.extend(&request.points);
            if let Some((low, high)) = split(&layout, request) {
                let both: BTreeSet<usize> = low.points.iter().chain(&high.points).copied().collect();
                prop_assert_eq!(both, request.points.iter().copied().collect::<BTreeSet<_>>());
                prop_assert!(low.count < request.count && high.count < request.count);
                check(&low, &points, &limits)?;
                check(&high, &points, &limits)?;
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..points.len()).collect::<Vec<_>>());
        let apart = apart(&layout);
        let exist = |pair: &(usize, usize)| pair.0.max(pair.1) < points.len();
        for pair in pairs.iter().filter(|pair| exist(pair) && !apart.contains(pair)) {
            let is_in = |r: &ReadRequest| r.points.contains(&pair.0) && r.points.contains(&pair.1);
            prop_assert!(requests.iter().any(is_in), "{:?} was torn apart", pair);
        }
        prop_assert_eq!(plan(&layout, None), requests, "the same points give the same plan");
    }

    #[test]
    fn the_classes_share_the_points_among_them(points in any_points(), limits in any_limits(), pairs in any_pairs()) {
        let layout = Layout { together: &pairs, ..layout(&points, &limits) };
        let classes = [PollClass::Alarm, PollClass::Billing, PollClass::Bulk];
        let of_class = |class| plan(&layout, Some(class)).into_iter().flat_map(|r| r.points);
        let mut by_class: Vec<usize> = classes.into_iter().flat_map(of_class).collect();
        let mut all: Vec<usize> = plan(&layout, None).into_iter().flat_map(|r| r.points).collect();
        by_class.sort_unstable();
        all.sort_unstable();
        prop_assert_eq!(by_class, all);
    }

    #[test]
    fn no_plan_is_worse_than_one_request_per_point(points in any_points(), limits in any_limits()) {
        let layout = layout(&points, &limits);
        let alone: Vec<ReadRequest> =
            (0..points.len()).filter_map(|i| read_alone(&points, &limits, i)).collect();
        let planned = plan(&layout, None);
        prop_assert!(planned.len() <= alone.len());
        prop_assert!(cost(&layout, &planned) <= cost(&layout, &alone));
    }

    #[test]
    fn looser_limits_never_cost_more(
        points in any_points(), limits in any_limits(), longer in 0u16..50, wider in prop::option::of(0u16..50),
    ) {
        let mut looser = limits.clone();
        looser.registers_max = looser.registers_max.saturating_add(longer);
        looser.gap_max = looser.gap_max.and_then(|gap| wider.map(|more| gap + more));
        looser.holes.pop();
        looser.barriers.pop();
        // A point only the looser limits can bring would be an extra cost.
        let never = unreadable(&points, &limits);
        let points: Vec<PointDef> =
            points.into_iter().enumerate().filter(|(i, _)| !never.contains(i)).map(|(_, p)| p).collect();
        let (tight, loose) = (layout(&points, &limits), layout(&points, &looser));
        prop_assert!(cost(&loose, &plan(&loose, None)) <= cost(&tight, &plan(&tight, None)));
    }

    /// All partitions into runs of neighbours are tried, for few points that do not overlap.
    #[test]
    fn no_other_partition_costs_less(
        steps in prop::collection::vec((0u16..30, 1u16..4), 1..9), registers_max in 4u16..60,
    ) {
        let mut next = 0;
        let place = |(gap, count): &(u16, u16)| {
            let address = next + gap;
            next = address + count;
            holding(address, *count)
        };
        let points: Vec<PointDef> = steps.iter().map(place).collect();
        let limits = limits(registers_max, None);
        let layout = layout(&points, &limits);
        let planned = cost(&layout, &plan(&layout, None));
        for cuts in 0u32..1 << (points.len() - 1) {
            let mut partition = Vec::new();
            let mut begin = 0;
            for end in 1..=points.len() {
                if end == points.len() || cuts & 1 << (end - 1) != 0 {
                    let (first, last) = (registers(&points[begin]).unwrap(), registers(&points[end - 1]).unwrap());
                    partition.push(last.address + last.count - first.address);
                    begin = end;
                }
            }
            if partition.iter().all(|count| *count <= registers_max) {
                let other: Duration = partition
                    .iter().map(|count| layout.pace.read_time(&limits, Table::Holding, u32::from(*count))).sum();
                prop_assert!(planned <= other, "{partition:?} is cheaper");
            }
        }
    }
}
