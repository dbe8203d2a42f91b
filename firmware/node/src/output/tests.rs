use super::*;
use crate::doubles::wire::Pin;

const RELAY: Motion = Motion { kind: OutputKind::Relay, pulse_ms: 100, travel_ms: 0, limits: false };
const VALVE: Motion = Motion { kind: OutputKind::Valve, pulse_ms: 0, travel_ms: 20_000, limits: true };

#[derive(Default)]
struct Bench {
    driver: Driver,
    limits: [Pin; 2],
    coils: [Pin; 2],
    now_ms: u32,
}

impl Bench {
    fn turn(&mut self, motion: &Motion) -> Moved {
        self.now_ms += 1;
        let moved = self.driver.poll(motion, &mut self.limits, &mut self.coils, self.now_ms);
        assert!(!(self.coils[0].get() && self.coils[1].get()), "both coils");
        moved
    }

    /// Turns until something ends: how long that took.
    fn run(&mut self, motion: &Motion, most_ms: u32) -> Option<(Moved, u32)> {
        (1..=most_ms).find_map(|ms| match self.turn(motion) {
            Moved::No => None,
            moved => Some((moved, ms)),
        })
    }
}

fn intent(target: Option<Position>, settled: bool, command: Option<Position>, by_credit: bool) -> Intent {
    Intent { target, settled, command, by_credit }
}

#[test]
fn a_relay_gets_one_pulse_of_its_width() {
    let mut bench = Bench::default();
    bench.driver.start(Position::Closed, 0);
    let on = (0..300).filter(|_| {
        bench.turn(&RELAY);
        bench.coils[1].get()
    });
    assert_eq!(on.count(), 99);
    assert!(!bench.coils[0].get());
    assert_eq!(bench.driver.moves(), 1);
}

#[test]
fn a_valve_stops_at_its_limit() {
    let mut bench = Bench::default();
    bench.limits[1].set(true);
    bench.driver.start(Position::Open, 0);
    assert_eq!(bench.run(&VALVE, 10), None);
    bench.limits[1].set(false);
    assert_eq!(bench.run(&VALVE, 12_000), None);
    assert!(bench.coils[0].get());
    bench.limits[0].set(true);
    assert_eq!(bench.run(&VALVE, 1), Some((Moved::Settled, 1)));
    assert!(!bench.coils[0].get());
    let open = intent(Some(Position::Open), true, None, false);
    assert_eq!(bench.driver.state(&open, &VALVE), OutputState::Open);
}

#[test]
fn a_valve_at_its_limit_already_is_not_driven() {
    let mut bench = Bench::default();
    bench.limits[0].set(true);
    bench.driver.start(Position::Open, 0);
    assert_eq!(bench.turn(&VALVE), Moved::Settled);
    assert!(!bench.coils[0].get());
}

#[test]
fn a_valve_that_does_not_arrive_is_jammed_and_let_go() {
    let mut bench = Bench::default();
    bench.driver.start(Position::Closed, 0);
    assert_eq!(bench.run(&VALVE, 60_000), Some((Moved::Jammed, 25_000)));
    assert!(!bench.coils[1].get());
    assert_eq!(bench.driver.state(&Intent::default(), &VALVE), OutputState::Jammed);
    bench.driver.start(Position::Closed, bench.now_ms);
    bench.limits[1].set(true);
    assert_eq!(bench.turn(&VALVE), Moved::Settled);
}

#[test]
fn both_limits_at_once_are_a_fault_of_the_wiring() {
    let mut bench = Bench::default();
    bench.limits.iter().for_each(|limit| limit.set(true));
    bench.driver.start(Position::Closed, 0);
    assert_eq!(bench.turn(&VALVE), Moved::Jammed);
}

#[test]
fn a_valve_without_limits_runs_for_its_travel_time() {
    let mut bench = Bench::default();
    bench.driver.start(Position::Closed, 0);
    assert_eq!(bench.run(&Motion { limits: false, ..VALVE }, 60_000), Some((Moved::Settled, 20_000)));
}

#[test]
fn a_valve_that_was_moved_by_hand_is_unknown() {
    let mut bench = Bench::default();
    bench.turn(&VALVE);
    let open = intent(Some(Position::Open), true, None, false);
    assert_eq!(bench.driver.state(&open, &VALVE), OutputState::Unknown);
    assert_eq!(bench.driver.state(&open, &RELAY), OutputState::Open);
}

#[test]
fn turning_round_never_drives_both_ways() {
    let mut bench = Bench::default();
    for n in 0..50u32 {
        let to = if n % 2 == 0 { Position::Open } else { Position::Closed };
        bench.driver.start(to, bench.now_ms);
        (0..n).for_each(|_| {
            bench.turn(&VALVE);
        });
    }
}

#[test]
fn a_relay_off_and_a_valve_shut_are_not_passing() {
    assert_eq!(OutputKind::Relay.position(false), Position::Open);
    assert_eq!(OutputKind::Valve.position(false), Position::Closed);
    assert_eq!(OutputKind::Relay.position(true), Position::Closed);
    assert_eq!(OutputKind::Valve.position(true), Position::Open);
}

#[test]
fn a_cut_is_a_relay_that_is_open_and_a_valve_that_is_shut_and_neither_while_it_moves() {
    use OutputState::{Closed, Closing, Jammed, Open, Opening, Unknown, Unused};
    let supplies = |kind| {
        [Unknown, Open, Closed, Opening, Closing, Jammed, Unused].map(|state| OutputSupply::of(kind, state) as u16)
    };
    assert_eq!(supplies(OutputKind::Relay), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(supplies(OutputKind::Valve), [0, 2, 1, 4, 3, 5, 6]);
}

#[test]
fn who_wins() {
    use Position::{Closed, Open};
    let relay = OutputKind::Relay;
    let none = Wishes { cut: false, boot: None, lost: None };
    let rest = intent(Some(Open), true, None, false);
    let commanded = intent(Some(Open), true, Some(Closed), false);
    // The order: cut, lost, boot, command, restored credit, unfinished move, keep.
    assert_eq!(
        wanted(relay, &commanded, &Wishes { cut: true, boot: Some(Closed), lost: Some(Closed) }),
        (Some(Open), Cause::Credit)
    );
    assert_eq!(
        wanted(relay, &commanded, &Wishes { lost: Some(Open), boot: Some(Closed), ..none }),
        (Some(Open), Cause::Lost)
    );
    assert_eq!(wanted(relay, &commanded, &Wishes { boot: Some(Open), ..none }), (Some(Open), Cause::Boot));
    assert_eq!(wanted(relay, &commanded, &none), (Some(Closed), Cause::Command));
    assert_eq!(wanted(relay, &intent(Some(Open), true, None, true), &none), (Some(Closed), Cause::Credit));
    assert_eq!(wanted(relay, &intent(Some(Open), true, Some(Open), true), &none), (Some(Open), Cause::Command));
    assert_eq!(wanted(relay, &intent(Some(Closed), false, None, false), &none), (Some(Closed), Cause::Kept));
    assert_eq!(wanted(relay, &rest, &none), (None, Cause::Kept));
    assert_eq!(wanted(OutputKind::Unused, &commanded, &Wishes { cut: true, ..none }), (None, Cause::Kept));
}
