//! Accounts on a whole node.

use crate::doubles::bench::Bench;
use crate::doubles::memory::Tear;
use crate::map::Id;

/// A prepaid water channel: 350 minor units a pulse, valve or relay on output 1.
fn prepaid(kind: u32) -> Bench {
    let mut bench = Bench::new();
    bench.set(Id::Debounce, 0, 5);
    bench.set(Id::OutputKind, 0, kind);
    bench.set(Id::TravelTime, 0, 1);
    bench.set(Id::SupplyOutput, 0, 1);
    bench.set(Id::Price, 0, 3_500_000);
    assert!(bench.top_up(0, 1, 1_000).is_some_and(|reply| reply[0] == 16));
    bench.set(Id::Prepaid, 0, 1);
    bench.run_ms(100);
    bench
}

fn balance(bench: &mut Bench) -> i32 {
    bench.read(Id::Balance, 0) as i32
}

#[test]
fn a_top_up_says_what_became_of_it() {
    let mut bench = prepaid(1);
    let result = |bench: &mut Bench| (bench.read(Id::TopUpResult, 0), bench.read(Id::TopUpResultCount, 0));
    let ok = Some(vec![16, 0x01, 0x10, 0, 4]);
    assert_eq!(result(&mut bench), (1, 1));
    assert_eq!(bench.top_up(0, 2, 500), ok);
    assert_eq!(result(&mut bench), (1, 2));
    assert_eq!(bench.top_up(0, 2, 500), ok, "already applied is answered as applied");
    assert_eq!(result(&mut bench), (2, 2));
    assert_eq!(bench.top_up(0, 2, 501), Some(vec![0x90, 3]));
    assert_eq!(result(&mut bench), (5, 2));
    assert_eq!(bench.top_up(0, 4, 500), Some(vec![0x90, 3]));
    assert_eq!(result(&mut bench), (3, 4));
    assert_eq!(bench.top_up(0, 3, 999_000), Some(vec![0x90, 3]));
    assert_eq!(result(&mut bench), (4, 3));
    assert_eq!(bench.top_up(0, 3, 0), Some(vec![0x90, 3]));
    assert_eq!(result(&mut bench), (6, 3));
    assert_eq!((balance(&mut bench), bench.read(Id::PurchaseCount, 0)), (1_500, 2));
    assert_eq!(bench.read(Id::LastAmount, 0), 500);
}

#[test]
fn used_up_it_is_cut_and_a_top_up_brings_the_supply_back() {
    let mut bench = prepaid(1);
    assert_eq!(bench.read(Id::CreditState, 0), 2);
    bench.pulse(0, 2);
    assert_eq!((balance(&mut bench), bench.read(Id::CreditState, 0)), (300, 2));
    assert_eq!(bench.read(Id::OutputMoves, 0), 0);
    bench.pulse(0, 1);
    bench.run_ms(300);
    assert_eq!((balance(&mut bench), bench.read(Id::CreditState, 0)), (-50, 5));
    assert_eq!((bench.read(Id::OutputState, 0), bench.read(Id::OutputCause, 0)), (1, 2));
    assert!(bench.discrete(36));
    assert!(bench.top_up(0, 2, 100).is_some_and(|reply| reply[0] == 16));
    bench.run_ms(300);
    assert_eq!((balance(&mut bench), bench.read(Id::CreditState, 0)), (50, 2));
    assert_eq!((bench.read(Id::OutputState, 0), bench.read(Id::OutputMoves, 0)), (2, 2));
}

#[test]
fn a_cut_valve_is_shut_and_stays_shut_through_a_restart() {
    let mut bench = prepaid(2);
    bench.pulse(0, 3);
    bench.run_ms(1_500);
    assert_eq!(bench.read(Id::OutputState, 0), 2);
    // The end of the move is saved with the next interval; before that it would be done once more.
    bench.run_s(61);
    let mut bench = bench.restart();
    bench.run_ms(1_500);
    assert_eq!((bench.read(Id::OutputState, 0), bench.read(Id::OutputMoves, 0)), (2, 0));
    assert!(bench.top_up(0, 2, 100).is_some_and(|reply| reply[0] == 16));
    bench.run_ms(1_500);
    assert_eq!(bench.read(Id::OutputState, 0), 1);
}

#[test]
fn everything_goes_on_with_the_bus_dead() {
    let mut bench = prepaid(1);
    bench.set(Id::EmergencyLimit, 0, 500);
    // Nobody speaks any more.
    bench.pulse(0, 3);
    bench.run_ms(300);
    assert_eq!(bench.world.coils[0].each_ref().map(|coil| coil.get()), [false, false]);
    bench.world.button.set(true);
    bench.run_ms(2_900);
    let moves_before = bench.world.coils[0][1].get();
    bench.run_ms(200);
    assert!(!moves_before && bench.world.coils[0][1].get(), "the relay closes when the button was held for 3 s");
    bench.run_ms(300);
    bench.world.button.set(false);
    bench.pulse(0, 1);
    bench.run_ms(50);
    assert!(!bench.world.coils[0][0].get(), "-400 is above the lowered limit");
    bench.pulse(0, 1);
    bench.run_ms(30);
    assert!(bench.world.coils[0][0].get(), "cut again at -750");
    bench.world.button.set(true);
    bench.run_ms(8_000);
    assert!(!bench.world.coils[0][1].get(), "once until repaid");
    // The bus is back.
    assert_eq!((balance(&mut bench), bench.read(Id::EmergencyRequest, 0)), (-750, 1));
    assert_eq!(bench.write(Id::EmergencyRequest, 0, 1), Some(vec![0x90, 3]));
    assert!(bench.top_up(0, 2, 800).is_some_and(|reply| reply[0] == 16));
    assert_eq!((balance(&mut bench), bench.read(Id::CreditState, 0)), (50, 2));
    bench.run_ms(5_000);
    assert_eq!(bench.read(Id::EmergencyRequest, 0), 0, "a button that is stuck asks once");
    bench.world.button.set(false);
    bench.run_ms(10);
    bench.world.button.set(true);
    bench.run_ms(3_100);
    assert_eq!(bench.read(Id::CreditState, 0), 3, "repaid, it is lent again");
}

#[test]
fn friendly_hours_hold_a_cut_and_their_end_lets_it_come() {
    let mut bench = prepaid(1);
    // Every day from 16:00 to 08:00.
    assert!(bench.write_words(0x020A, &[0, 127, 0x03, 0xC0, 0x01, 0xE0]).is_some_and(|reply| reply[0] == 16));
    bench.pulse(0, 3);
    bench.run_ms(300);
    assert_eq!(bench.read(Id::CreditState, 0), 4, "the clock is not set");
    // 2027-01-01 07:59:50.
    bench.set(Id::Clock, 0, 20_819 * 86_400 + 8 * 3_600 - 10);
    bench.run_ms(500);
    assert_eq!((bench.read(Id::CreditState, 0), bench.read(Id::OutputMoves, 0)), (4, 0));
    bench.run_s(11);
    bench.run_ms(300);
    assert_eq!((bench.read(Id::CreditState, 0), bench.read(Id::OutputState, 0)), (5, 1));
    bench.set(Id::Clock, 0, 20_819 * 86_400 + 17 * 3_600);
    bench.run_ms(300);
    assert_eq!(bench.read(Id::CreditState, 0), 5, "an evening does not reconnect");
}

#[test]
fn an_exempt_channel_is_never_cut() {
    let mut bench = prepaid(1);
    bench.set(Id::Exempt, 0, 1);
    bench.pulse(0, 5);
    bench.run_ms(300);
    assert_eq!((bench.read(Id::CreditState, 0), bench.read(Id::OutputMoves, 0)), (4, 0));
}

#[test]
fn a_price_counts_from_its_change_on() {
    let mut bench = prepaid(1);
    bench.pulse(0, 1);
    bench.set(Id::Price, 0, 15_000);
    bench.pulse(0, 1);
    assert_eq!((balance(&mut bench), bench.read(Id::BalanceFraction, 0)), (648, 5_000));
}

/// The heart of it: the power goes after every single byte of a top-up's record. Whatever the master has heard, asking
/// again with the same count credits it exactly once.
#[test]
fn a_top_up_cut_after_any_byte_is_credited_once() {
    let mut bench = prepaid(1);
    bench.run_ms(200);
    let image = bench.world.chip.snapshot();
    let mut answered_before_cut = 0;
    for tear in [Tear::Forward, Tear::Backward, Tear::Garbage, Tear::Erased] {
        for cut in 0..130 {
            let world = bench.world.clone();
            world.chip.restore(&image);
            let mut bench = Bench::start(world, crate::board::ResetCause::PowerOn);
            // The records of the start first.
            bench.run_ms(200);
            bench.world.chip.cut_after(cut, tear);
            let heard = bench.top_up(0, 2, 500);
            let answered = heard.as_ref().is_some_and(|reply| reply[0] == 16);
            let dead = bench.world.chip.is_dead();
            assert!(answered != dead || heard.as_ref().is_some_and(|reply| reply[0] == 0x90), "cut {cut}: {heard:?}");

            let mut bench = bench.restart();
            let count = bench.read(Id::PurchaseCount, 0);
            let balance = bench.read(Id::Balance, 0);
            assert!((count, balance) == (1, 1_000) || (count, balance) == (2, 1_500), "cut {cut}: {count}, {balance}");
            assert!(!answered || count == 2, "cut {cut}: an acknowledged top-up was lost");
            answered_before_cut += u32::from(answered);
            assert!(bench.top_up(0, 2, 500).is_some_and(|reply| reply[0] == 16));
            assert_eq!((bench.read(Id::PurchaseCount, 0), bench.read(Id::Balance, 0)), (2, 1_500), "cut {cut}");
        }
    }
    assert!(answered_before_cut > 0, "no cut was late enough for an answer");
}

#[test]
fn a_memory_that_fails_under_a_top_up_credits_nothing_twice() {
    let mut bench = prepaid(1);
    bench.run_ms(200);
    bench.world.chip.set_dead(true);
    assert_eq!(bench.top_up(0, 2, 500), Some(vec![0x90, 4]));
    assert_eq!((bench.read(Id::TopUpResult, 0), bench.read(Id::Status, 0) & 16), (7, 16));
    assert_eq!(bench.read(Id::Balance, 0), 1_000);
    bench.world.chip.set_dead(false);
    assert!(bench.top_up(0, 2, 500).is_some_and(|reply| reply[0] == 16));
    assert_eq!((bench.read(Id::Balance, 0), bench.read(Id::Status, 0) & 16), (1_500, 0));
}
