//! A device that refuses places nobody knew of, and the plan that is left when it has refused for the last time.

use super::*;
use crate::plan::learned::Lesson;

/// Asks a device with these missing places until it has nothing left to teach; returns how many reads it refused, and
/// the reads it answers.
fn teach(points: &[PointDef], limits: &ReadLimits, missing: &[Extent]) -> (usize, Learned, Vec<ReadRequest>) {
    let mut learned = Learned::default();
    let mut refusals = 0;
    loop {
        let settled = learned.clone();
        let layout = Layout { learned: &settled, ..layout(points, limits) };
        let mut to_ask = plan(&layout, None);
        to_ask.reverse();
        let (mut answered, mut lesson) = (Vec::new(), Lesson::None);
        while let Some(read) = to_ask.pop() {
            let is_missing = |m: &Extent| m.table == read.table && Span::of_extent(m).touches(read.span());
            let layout = Layout { learned: &learned.clone(), ..layout };
            if !missing.iter().any(is_missing) {
                lesson = if learned.answered(&read, &layout) == Lesson::None { lesson } else { Lesson::PlanAnew };
                answered.push(read);
                continue;
            }
            refusals += 1;
            assert!(refusals <= 4 * points.len() + 4, "it never ends: {learned:?}");
            match split(&layout, &read) {
                Some((low, high)) => {
                    learned.split(&read, &low, &high);
                    to_ask.extend([high, low]);
                }
                None => lesson = if learned.refuse(&read) == Lesson::None { lesson } else { Lesson::PlanAnew },
            }
        }
        if lesson == Lesson::None {
            return (refusals, learned, answered);
        }
    }
}

fn missing(address: u16, count: u16) -> Extent {
    Extent { table: Table::Holding, address, count }
}

#[test]
fn a_gap_that_is_refused_is_never_read_again() {
    let points = [holding(0, 2), holding(6, 2), holding(10, 2)];
    let (refusals, learned, reads) = teach(&points, &limits(125, None), &[missing(3, 1)]);
    assert_eq!(refusals, 1);
    assert_eq!(learned.gaps(), [missing(2, 4)]);
    assert_eq!(learned.refused(), []);
    assert_eq!(spans(&reads), [(0, 2), (6, 6)]);
}

#[test]
fn a_point_that_is_refused_is_isolated_and_the_gaps_are_innocent() {
    let points = [holding(0, 2), holding(4, 2), holding(8, 2), holding(12, 2)];
    let (_, learned, reads) = teach(&points, &limits(125, None), &[missing(4, 1)]);
    assert_eq!(learned.refused(), [missing(4, 2)]);
    assert_eq!(learned.gaps(), []);
    assert_eq!(spans(&reads), [(0, 2), (8, 6)]);
}

#[test]
fn a_point_that_answers_again_comes_back_into_the_plan() {
    let points = [holding(0, 2), holding(2, 2), holding(4, 2)];
    let limits = limits(125, None);
    let (_, mut learned, _) = teach(&points, &limits, &[missing(2, 2)]);
    let alone = read_alone(&points, &limits, 1).unwrap();
    let before = learned.clone();
    assert_eq!(learned.answered(&alone, &Layout { learned: &before, ..layout(&points, &limits) }), Lesson::PlanAnew);
    assert_eq!(spans(&plan(&Layout { learned: &learned, ..layout(&points, &limits) }, None)), [(0, 6)]);
}

#[test]
fn a_pair_that_belongs_together_is_taken_apart_before_both_are_given_up() {
    let points = [holding(0, 1), holding(5, 1)];
    let limits = limits(125, None);
    let learned = Learned::default();
    let layout = Layout { together: &[(0, 1)], learned: &learned, ..layout(&points, &limits) };
    let read = plan(&layout, None).pop().unwrap();
    let (low, high) = split(&layout, &read).expect("it can be taken apart");
    assert_eq!((low.points, high.points), (vec![0], vec![1]));
}

proptest! {
    /// Whatever is missing: no point is lost, all that exist are read, and only those that are missing are refused.
    /// AC 34.
    #[test]
    fn nothing_is_lost_but_what_the_device_does_not_have(
        points in rules::any_points(), registers_max in 1u16..=125,
        places in prop::collection::vec(rules::any_extent(), 0..6),
    ) {
        let limits = limits(registers_max, None);
        let (_, learned, reads) = teach(&points, &limits, &places);
        let never = unreadable(&points, &limits);
        let answered: BTreeSet<usize> = reads.iter().flat_map(|r| r.points.clone()).collect();
        for (i, point) in points.iter().enumerate().filter(|(i, _)| !never.contains(i)) {
            let place = registers(point).unwrap();
            let exists = !places.iter().any(|m| m.table == place.table && Span::of_extent(m).touches(Span::of(place)));
            prop_assert_eq!(answered.contains(&i), exists, "point {}: {:?}", i, place);
        }
        let layout = Layout { learned: &learned, ..layout(&points, &limits) };
        let planned: BTreeSet<usize> = plan(&layout, None).into_iter().flat_map(|r| r.points).collect();
        prop_assert_eq!(planned.len() + never.len(), points.len(), "a refused point is tried for ever");
    }
}
