use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn shift(role: &str, person: &str, from: &str, to: &str) -> ShiftForm {
    ShiftForm { role: role.into(), person: person.into(), days: every_day(), from: from.into(), to: to.into() }
}

fn form(zone: &str, shifts: Vec<ShiftForm>) -> RosterForm {
    RosterForm {
        zone: zone.into(),
        fallback: "owner".into(),
        shifts,
        deputies: BTreeMap::new(),
        absent: BTreeSet::new(),
    }
}

fn roster(zone: &str, shifts: Vec<ShiftForm>) -> Roster {
    Roster::new(form(zone, shifts)).unwrap()
}

fn day_and_night(zone: &str, from: &str, to: &str) -> Roster {
    roster(zone, vec![shift("duty_phone", "day", from, to), shift("duty_phone", "night", to, from)])
}

#[test]
fn f55_a_handover_is_local_time_whatever_the_server_thinks() {
    let roster = day_and_night("Asia/Shanghai", "08:00", "20:00");
    assert_eq!(roster.on_duty("duty_phone", utc("2026-11-24T00:00:00Z")), ["day"]);
    assert_eq!(roster.on_duty("duty_phone", utc("2026-11-23T23:59:59.999Z")), ["night"]);
    assert_eq!(roster.on_duty("duty_phone", utc("2026-11-24T16:30:00Z")), ["night"], "00:30, after midnight");
    assert_eq!(roster.on_duty("guard", utc("2026-11-24T00:00:00Z")), Vec::<PersonId>::new());
    assert_eq!(roster.wall_clock(utc("2026-11-24T01:58:00Z")), "09:58");
}

#[test]
fn a_night_shift_belongs_to_the_day_on_which_it_begins() {
    let mut night = shift("duty_phone", "li", "20:00", "08:00");
    night.days = vec![Day::Fri];
    let roster = roster("Asia/Shanghai", vec![night]);
    // 2026-11-27 is a Friday.
    assert_eq!(roster.on_duty("duty_phone", utc("2026-11-27T20:00:00Z")), ["li"], "Saturday 04:00");
    assert!(roster.on_duty("duty_phone", utc("2026-11-26T20:00:00Z")).is_empty(), "Friday 04:00");
    assert!(roster.on_duty("duty_phone", utc("2026-11-28T13:00:00Z")).is_empty(), "Saturday 21:00");
}

#[test]
fn f54_a_change_of_the_clocks_leaves_no_gap_and_no_two_owners() {
    for (zone, days) in [
        ("Europe/Berlin", ["2027-03-28", "2026-10-25"]),
        ("Asia/Shanghai", ["2027-03-28", "2026-10-25"]),
        ("America/New_York", ["2027-03-14", "2026-11-01"]),
    ] {
        for hand_over in ["02:00", "02:30", "03:00", "01:30"] {
            let roster = day_and_night(zone, hand_over, "10:00");
            for day in days {
                let start = utc(&format!("{day}T00:00:00Z")) - Duration::from_secs(86_400);
                for quarter in 0..(3 * 96) {
                    let now = start + Duration::from_secs(quarter * 900);
                    assert_eq!(roster.on_duty("duty_phone", now).len(), 1, "{zone} {hand_over} {now}");
                }
                assert_eq!(roster.gaps("duty_phone", start, start + Duration::from_secs(3 * 86_400)), vec![]);
            }
        }
    }
}

#[test]
fn f54_a_skipped_hour_starts_at_its_end_and_a_doubled_one_at_its_second_showing() {
    let roster = day_and_night("Europe/Berlin", "02:30", "10:00");
    // 02:30 does not exist on 2027-03-28: the clocks go from 02:00 to 03:00 at 01:00Z.
    assert_eq!(roster.on_duty("duty_phone", utc("2027-03-28T00:59:59Z")), ["night"]);
    assert_eq!(roster.on_duty("duty_phone", utc("2027-03-28T01:00:00Z")), ["day"]);
    // 02:30 comes twice on 2026-10-25: at 00:30Z and at 01:30Z.
    assert_eq!(roster.on_duty("duty_phone", utc("2026-10-25T00:45:00Z")), ["night"]);
    assert_eq!(roster.on_duty("duty_phone", utc("2026-10-25T01:30:00Z")), ["day"]);
}

#[test]
fn an_absent_person_is_replaced_by_the_deputy_in_the_same_step() {
    let mut form = form("Asia/Shanghai", vec![shift("duty_phone", "zhang", "00:00", "00:00")]);
    form.deputies = BTreeMap::from([("zhang".into(), "li".into()), ("li".into(), "wang".into())]);
    let now = utc("2026-11-24T00:00:00Z");
    let mut roster = Roster::new(form).unwrap();
    assert_eq!(roster.on_duty("duty_phone", now), ["zhang"]);
    roster.set_absent(["zhang".to_owned()].into());
    assert_eq!(roster.on_duty("duty_phone", now), ["li"]);
    roster.set_absent(["zhang".to_owned(), "li".to_owned()].into());
    assert_eq!(roster.on_duty("duty_phone", now), ["wang"]);
    roster.set_absent(["zhang".to_owned(), "li".to_owned(), "wang".to_owned()].into());
    assert!(roster.on_duty("duty_phone", now).is_empty());
    let day = Duration::from_secs(86_400);
    assert_eq!(roster.gaps("duty_phone", now, now + day), vec![(now, now + day)], "nobody there is a gap");
}

#[test]
fn deputies_in_a_circle_end_and_find_nobody() {
    let mut form = form("Asia/Shanghai", vec![shift("duty_phone", "zhang", "00:00", "00:00")]);
    form.deputies = BTreeMap::from([("zhang".into(), "li".into()), ("li".into(), "zhang".into())]);
    form.absent = ["zhang".to_owned(), "li".to_owned()].into();
    assert!(Roster::new(form).unwrap().on_duty("duty_phone", utc("2026-11-24T00:00:00Z")).is_empty());
}

#[test]
fn a_gap_of_one_minute_is_found_every_day() {
    let shifts = vec![shift("duty_phone", "a", "08:00", "20:00"), shift("duty_phone", "b", "20:01", "08:00")];
    let roster = roster("Asia/Shanghai", shifts);
    let now = utc("2026-11-24T00:00:00Z");
    let gaps = roster.gaps("duty_phone", now, now + Duration::from_secs(7 * 86_400));
    assert_eq!(gaps.len(), 7);
    assert_eq!(gaps[0], (utc("2026-11-24T12:00:00Z"), utc("2026-11-24T12:01:00Z")));
}

#[test]
fn rosters_that_cannot_be_meant_are_refused() {
    assert_eq!(Roster::new(form("Asia/Peking", vec![])).unwrap_err(), RosterError::Zone("Asia/Peking".into()));
    for time in ["24:00", "8:00", "08.00", "08:60", "", "ab:cd", "08:00:00", "-1:00", "+1:00"] {
        let refused = Roster::new(form("Asia/Shanghai", vec![shift("r", "p", time, "08:00")])).unwrap_err();
        assert_eq!(refused, RosterError::Time(time.into()));
    }
    let mut never = shift("r", "p", "08:00", "20:00");
    never.days.clear();
    assert!(matches!(Roster::new(form("Asia/Shanghai", vec![never])), Err(RosterError::NoDay { .. })));
}

fn any_shift() -> impl Strategy<Value = ShiftForm> {
    (0..24u8, prop::sample::select(vec![0u8, 30]), 0..24u8, 0..3u8, prop::sample::subsequence(Day::ALL.to_vec(), 1..=7))
        .prop_map(|(from, minute, to, person, days)| ShiftForm {
            role: "duty_phone".into(),
            person: format!("p{person}"),
            days,
            from: format!("{from:02}:{minute:02}"),
            to: format!("{to:02}:00"),
        })
}

proptest! {
    #[test]
    fn duty_and_gaps_tile_time(
        shifts in prop::collection::vec(any_shift(), 0..6),
        zone in prop::sample::select(vec!["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        // Two years of starts, so that every change of the clocks is met.
        hour in 0..17_520u64,
        absent in prop::collection::btree_set((0..3u8).prop_map(|p| format!("p{p}")), 0..3),
    ) {
        let mut form = form(zone, shifts);
        form.absent = absent;
        let roster = Roster::new(form).unwrap();
        let from = utc("2026-01-01T00:00:00Z") + Duration::from_secs(hour * 3_600);
        let to = from + Duration::from_secs(4 * 86_400);
        let gaps = roster.gaps("duty_phone", from, to);
        for pair in gaps.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "gaps are apart and in order");
        }
        let in_gap = |t: Timestamp| gaps.iter().any(|&(start, end)| start <= t && t < end);
        let edges = gaps.iter().flat_map(|&(start, end)| [start, end]);
        let edges: Vec<Timestamp> = edges.flat_map(|t| [t, t - Duration::from_millis(1)]).collect();
        let grid = (0..4 * 96).map(|quarter| from + Duration::from_secs(quarter * 900));
        for t in grid.chain(edges).filter(|&t| from <= t && t < to) {
            prop_assert_eq!(roster.on_duty("duty_phone", t).is_empty(), in_gap(t), "{} in {}", t, zone);
        }
    }
}
