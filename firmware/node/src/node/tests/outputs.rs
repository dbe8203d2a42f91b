//! Outputs on a whole node.

use crate::board::ResetCause;
use crate::doubles::bench::Bench;
use crate::map::Id;

const OPENS: usize = 0;
const CLOSES: usize = 1;

fn relay() -> Bench {
    let mut bench = Bench::new();
    bench.set(Id::OutputKind, 1, 1);
    bench
}

/// Runs on and tells which coils of output 2 were driven: [opens, closes].
fn driven(bench: &mut Bench, ms: u32) -> [bool; 2] {
    let mut seen = [false; 2];
    for _ in 0..ms {
        bench.run_ms(1);
        seen[OPENS] |= bench.world.coils[1][OPENS].get();
        seen[CLOSES] |= bench.world.coils[1][CLOSES].get();
    }
    seen
}

#[test]
fn a_command_by_register_or_coil_moves_the_output() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    assert_eq!(driven(&mut bench, 300), [false, true]);
    assert_eq!((bench.read(Id::OutputState, 1), bench.read(Id::OutputCause, 1)), (2, 1));
    assert_eq!(bench.ask(&[1, 0, 0, 0, 4]), Some(vec![1, 1, 0b10]));
    assert_eq!(bench.ask(&[5, 0, 1, 0, 0]), Some(vec![5, 0, 1, 0, 0]));
    assert_eq!(driven(&mut bench, 300), [true, false]);
    assert_eq!(bench.ask(&[15, 0, 0, 0, 4, 1, 0b10]), Some(vec![15, 0, 0, 0, 4]));
    assert_eq!(driven(&mut bench, 300), [false, true]);
    assert_eq!(bench.ask(&[5, 0, 4, 0xFF, 0]), Some(vec![0x85, 2]), "there is no fifth");
}

#[test]
fn a_settled_output_is_left_alone_at_start() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    bench.run_ms(300);
    // The end of the move is saved with the next interval.
    bench.run_s(61);
    let mut bench = bench.restart();
    assert_eq!(driven(&mut bench, 500), [false, false]);
    assert_eq!(bench.read(Id::OutputState, 1), 2);
}

#[test]
fn a_move_that_a_power_cut_interrupts_is_done_once_more() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    // In the middle of the pulse.
    while !bench.world.coils[1][CLOSES].get() {
        bench.run_ms(1);
    }
    let mut bench = bench.restart();
    assert_eq!(driven(&mut bench, 500), [false, true]);
}

#[test]
fn nothing_moves_before_its_intent_is_durable() {
    let mut bench = relay();
    bench.run_ms(200);
    bench.world.chip.busy_for(10);
    bench.say(1, &[6, 0x01, 0x8A, 0, 2]);
    let mut steps = 0;
    while !bench.world.coils[1][CLOSES].get() {
        bench.run_ms(1);
        steps += 1;
        assert!(steps < 1_000, "it never moved");
    }
    // Cut now: the intent is found.
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::OutputCommand, 1), 2);
    assert_eq!(driven(&mut bench, 500), [false, true]);
}

#[test]
fn the_safe_state_at_start_holds_until_the_first_command() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    bench.set(Id::BootState, 1, 1);
    bench.run_s(61);
    let mut bench = bench.restart();
    assert_eq!(driven(&mut bench, 500), [true, false]);
    assert_eq!((bench.read(Id::OutputState, 1), bench.read(Id::OutputCause, 1)), (1, 3));
    bench.set(Id::OutputCommand, 1, 2);
    assert_eq!(driven(&mut bench, 500), [false, true]);
}

#[test]
fn the_safe_state_without_gateway() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    bench.set(Id::GatewayTimeout, 0, 30);
    bench.set(Id::LostState, 1, 1);
    bench.run_s(29);
    assert!(!bench.world.coils[1][OPENS].get());
    bench.run_s(2);
    bench.run_ms(500);
    assert!(bench.wire.receive().is_empty());
    // The question itself brings the gateway back, and with it the command.
    assert_eq!(bench.read(Id::OutputState, 1), 1);
    assert_eq!(driven(&mut bench, 500), [false, true]);
}

#[test]
fn an_output_without_lost_state_stays_as_it_is() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 2);
    bench.set(Id::GatewayTimeout, 0, 30);
    bench.run_ms(500);
    bench.run_s(60);
    assert_eq!((bench.read(Id::OutputState, 1), bench.read(Id::OutputMoves, 1)), (2, 1));
}

#[test]
fn a_jammed_valve_is_told_counted_and_tried_again_on_command() {
    let mut bench = Bench::new();
    bench.set(Id::OutputKind, 1, 2);
    bench.set(Id::TravelTime, 1, 2);
    bench.set(Id::LimitInputs, 1, 1);
    bench.set(Id::OutputCommand, 1, 2);
    bench.run_ms(3_000);
    assert_eq!((bench.read(Id::OutputState, 1), bench.read(Id::Jams, 0)), (5, 1));
    assert_eq!(bench.read(Id::Status, 0) & 64, 64);
    assert_eq!(driven(&mut bench, 5_000), [false, false], "it is not tried for ever");
    bench.set(Id::OutputCommand, 1, 2);
    assert_eq!(driven(&mut bench, 500), [false, true]);
    bench.world.limits[1][CLOSES].set(true);
    bench.run_ms(100);
    assert_eq!((bench.read(Id::OutputState, 1), bench.read(Id::Status, 0) & 64), (2, 0));
    assert_eq!(bench.read(Id::OutputLimits, 1), 2);
}

#[test]
fn the_supply_behind_a_valve_is_cut_only_when_its_limit_says_so() {
    let mut bench = Bench::new();
    let supply = |bench: &mut Bench| bench.read(Id::OutputSupply, 1);
    assert_eq!(supply(&mut bench), 6, "nothing hangs on it");
    bench.set(Id::OutputKind, 1, 2);
    bench.set(Id::TravelTime, 1, 2);
    bench.set(Id::LimitInputs, 1, 1);
    bench.run_ms(100);
    assert_eq!(supply(&mut bench), 0, "nobody knows where it stands");
    bench.world.limits[1][OPENS].set(true);
    bench.run_ms(100);
    assert_eq!(supply(&mut bench), 2);
    // Coil 1 to 0: the supply is to be cut.
    assert_eq!(bench.ask(&[5, 0, 1, 0, 0]), Some(vec![5, 0, 1, 0, 0]));
    bench.run_ms(200);
    assert_eq!(supply(&mut bench), 3, "it has left and not arrived");
    bench.world.limits[1][OPENS].set(false);
    bench.run_ms(200);
    assert_eq!(supply(&mut bench), 3);
    bench.world.limits[1][CLOSES].set(true);
    bench.run_ms(200);
    assert_eq!(supply(&mut bench), 1);
    assert_eq!(bench.ask(&[1, 0, 1, 0, 1]), Some(vec![1, 1, 0]));
    assert_eq!(bench.ask(&[5, 0, 1, 0xFF, 0]), Some(vec![5, 0, 1, 0xFF, 0]));
    bench.run_ms(200);
    assert_eq!(supply(&mut bench), 4);
    bench.run_ms(3_000);
    assert_eq!(supply(&mut bench), 5, "the limit of the closed end is still reached: it does not move");
}

#[test]
fn a_relay_is_not_driven_from_a_falling_supply() {
    let mut bench = relay();
    bench.world.levels.0.borrow_mut().1 = Some(8_000);
    bench.run_ms(100);
    bench.set(Id::OutputCommand, 1, 2);
    assert_eq!(driven(&mut bench, 500), [false, false]);
    bench.world.levels.0.borrow_mut().1 = Some(24_000);
    assert_eq!(driven(&mut bench, 500), [false, true]);
}

#[test]
fn a_start_by_the_watchdog_drives_nothing() {
    let mut bench = relay();
    bench.set(Id::OutputCommand, 1, 1);
    bench.run_s(61);
    let mut bench = Bench::start(bench.world, ResetCause::Watchdog);
    assert_eq!(driven(&mut bench, 500), [false, false]);
}
