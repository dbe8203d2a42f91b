//! What lasts on a whole node, and what a memory that lies does to it.

use proptest::prelude::*;

use crate::board::ResetCause;
use crate::doubles::bench::{Bench, World};
use crate::doubles::memory::Tear;
use crate::map::Id;

fn counting() -> Bench {
    let mut bench = Bench::new();
    bench.set(Id::Debounce, 0, 3);
    bench
}

#[test]
fn a_reset_costs_no_more_than_the_pulses_since_the_last_commit() {
    let mut bench = counting();
    bench.pulse(0, 50);
    bench.run_s(61);
    bench.pulse(0, 30);
    assert_eq!(bench.read(Id::Pulses, 0), 80);
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::Pulses, 0), 50);
}

#[test]
fn a_falling_supply_saves_every_pulse() {
    let mut bench = counting();
    bench.pulse(0, 30);
    bench.world.levels.0.borrow_mut().1 = Some(8_900);
    // Hold-up time of the supply.
    bench.run_ms(120);
    bench.world.levels.0.borrow_mut().1 = Some(24_000);
    let mut bench = bench.restart();
    assert_eq!((bench.read(Id::Pulses, 0), bench.read(Id::BrownOuts, 0)), (30, 1));
}

#[test]
fn a_supply_that_sinks_slowly_costs_a_second_of_pulses() {
    let mut bench = counting();
    bench.world.levels.0.borrow_mut().1 = Some(8_900);
    bench.pulse(0, 200);
    bench.run_ms(100);
    let before = bench.read(Id::Pulses, 0);
    bench.world.levels.0.borrow_mut().1 = Some(24_000);
    let mut bench = bench.restart();
    let lost = before - bench.read(Id::Pulses, 0);
    assert!(lost <= 100, "{lost} pulses of the last two seconds");
}

#[test]
fn a_supply_that_trembles_is_one_brown_out() {
    let mut bench = counting();
    for mv in [8_900, 9_200, 8_900, 9_400, 8_900] {
        bench.world.levels.0.borrow_mut().1 = Some(mv);
        bench.run_ms(50);
    }
    assert_eq!(bench.read(Id::BrownOuts, 0), 1);
    bench.world.levels.0.borrow_mut().1 = Some(12_000);
    bench.run_ms(50);
    bench.world.levels.0.borrow_mut().1 = Some(8_900);
    bench.run_ms(50);
    assert_eq!(bench.read(Id::BrownOuts, 0), 2);
}

#[test]
fn pulses_come_while_a_record_is_being_written() {
    let mut bench = counting();
    bench.run_ms(200);
    bench.world.chip.busy_for(15);
    for _ in 0..20 {
        // Records of settings, and of state which becomes live when it is stored.
        bench.say(1, &[6, 0x02, 0x04, 0, 77]);
        bench.pulse(0, 5);
        bench.say(1, &[6, 0x01, 0x82, 0, 1]);
        bench.pulse(0, 5);
        bench.say(1, &[6, 0x02, 0x04, 0, 78]);
        bench.pulse(0, 5);
        bench.say(1, &[6, 0x01, 0x82, 0, 2]);
        bench.pulse(0, 5);
    }
    bench.wire.receive();
    assert_eq!(bench.read(Id::Pulses, 0), 400);
    assert_eq!(bench.read(Id::OutputCommand, 0), 2);
}

#[test]
fn fast_pulses_do_not_wear_the_memory_out() {
    let mut bench = counting();
    bench.set(Id::CommitPulses, 0, 10);
    bench.run_ms(200);
    let before = bench.read(Id::JournalCommits, 0);
    // 50 Hz for five minutes, in turns of 10 ms.
    for _ in 0..15_000 {
        bench.world.pulses[0].set(true);
        bench.run_ms(4);
        bench.world.pulses[0].set(false);
        bench.run_ms(16);
    }
    let commits = bench.read(Id::JournalCommits, 0) - before;
    assert!((25..=31).contains(&commits), "{commits} commits in 300 s");
}

#[test]
fn a_node_at_rest_does_not_write() {
    let mut bench = Bench::new();
    bench.run_ms(500);
    let before = bench.world.chip.written();
    bench.run_s(3_600);
    assert_eq!(bench.world.chip.written(), before);
}

#[test]
fn a_memory_that_does_not_answer_at_start_is_never_overwritten() {
    let mut bench = counting();
    assert!(bench.top_up(0, 1, 700).is_some());
    bench.pulse(0, 20);
    bench.run_s(61);
    let image = bench.world.chip.snapshot();
    // The bus hangs at the start, and for a while.
    let world = bench.world.clone();
    world.dip[1].set(true);
    world.chip.power_up();
    let chip = world.chip.clone();
    chip.set_dead(true);
    let mut bench = start_dead(world);
    bench.address = 2;
    assert_eq!(bench.read(Id::Status, 0) & 16, 16);
    assert_eq!(bench.top_up(0, 2, 700), Some(vec![0x90, 4]));
    assert_eq!(bench.write(Id::GatewayTimeout, 0, 5), Some(vec![0x90, 4]));
    // As long as the default debounce time asks for: the settings are not known.
    for _ in 0..4 {
        bench.world.pulses[0].set(true);
        bench.run_ms(30);
        bench.world.pulses[0].set(false);
        bench.run_ms(30);
    }
    assert_eq!(chip.snapshot(), image);
    chip.set_dead(false);
    bench.run_s(11);
    bench.run_ms(300);
    assert_eq!(
        (bench.read(Id::Pulses, 0), bench.read(Id::Balance, 0)),
        (24, 700),
        "and the pulses meanwhile are not lost"
    );
    assert_eq!(bench.read(Id::Status, 0) & 16, 0);
}

/// Starts with the memory off the bus.
fn start_dead(world: World) -> Bench {
    let chip = world.chip.clone();
    let bench = Bench::start_with(world, ResetCause::PowerOn, || chip.set_dead(true));
    assert!(chip.is_dead());
    bench
}

#[test]
fn without_memory_and_switches_there_is_no_address_to_answer_under() {
    let mut bench = start_dead(World::new());
    assert_eq!(bench.ask(&[3, 0, 0, 0, 1]), None, "it may be another node's");
}

#[test]
fn lost_state_is_told_and_cuts_nobody() {
    let mut bench = counting();
    bench.set(Id::OutputKind, 0, 1);
    bench.set(Id::SupplyOutput, 0, 1);
    assert!(bench.top_up(0, 1, 700).is_some());
    bench.set(Id::Prepaid, 0, 1);
    // The ring of state is wiped, the settings are not.
    (0x0800..0x2000).for_each(|address| bench.world.chip.poke(address, 0xFF));
    let mut bench = bench.restart();
    bench.run_ms(500);
    assert_eq!((bench.read(Id::CreditState, 0), bench.read(Id::OutputMoves, 0)), (4, 0));
    assert_eq!(bench.read(Id::Status, 0) & 128, 128);
    (0..4).for_each(|channel| assert!(bench.top_up(channel, 1, 300).is_some_and(|reply| reply[0] == 16)));
    assert_eq!((bench.read(Id::CreditState, 0), bench.read(Id::Status, 0) & 128), (2, 0));
}

#[test]
fn a_new_node_has_lost_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(Id::Status, 0), 32, "only the clock is not set");
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::Status, 0), 32);
}

#[derive(Clone, Debug)]
enum Event {
    Pulses(u32),
    Wait(u32),
    Reset,
    Gasp,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u32..30).prop_map(Event::Pulses),
        2 => (1u32..90).prop_map(Event::Wait),
        1 => Just(Event::Reset),
        1 => Just(Event::Gasp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Through any mix of pulses, waiting, hard resets and falling supplies: a count never grows by what was not there,
    /// and never loses more than what came since the last commit.
    #[test]
    fn counts_lose_little_and_invent_nothing(events in prop::collection::vec(event(), 1..25)) {
        let mut bench = counting();
        bench.run_ms(200);
        // Pulses since the last moment at which all were saved for certain.
        let (mut least, mut most) = (0, 0);
        for event in events {
            match event {
                Event::Pulses(count) => {
                    bench.pulse(0, count);
                    most += count;
                }
                Event::Wait(s) => {
                    bench.run_s(s);
                    if s > 61 {
                        least = most;
                    }
                }
                Event::Reset => {
                    bench = bench.restart();
                    let found = bench.read(Id::Pulses, 0);
                    prop_assert!((least..=most).contains(&found), "{} not in {}..={}", found, least, most);
                    (least, most) = (found, found);
                }
                Event::Gasp => {
                    bench.world.levels.0.borrow_mut().1 = Some(8_000);
                    bench.run_ms(150);
                    bench.world.levels.0.borrow_mut().1 = Some(24_000);
                    bench = bench.restart();
                    prop_assert_eq!(bench.read(Id::Pulses, 0), most);
                    least = most;
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    /// A purchase, or the last one once more.
    TopUp {
        amount: i32,
        again: bool,
    },
    Set(u16),
    Command(u32),
    /// The power goes after so many bytes from now.
    Cut {
        after: usize,
        tear: usize,
    },
    Restart,
    /// A restart, and the power goes again while the records of the start are written.
    RestartAndCut {
        after: usize,
        tear: usize,
    },
    Wait,
}

const TEARS: [Tear; 4] = [Tear::Forward, Tear::Backward, Tear::Garbage, Tear::Erased];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1i32..500, any::<bool>()).prop_map(|(amount, again)| Act::TopUp { amount, again }),
        2 => any::<u16>().prop_map(Act::Set),
        2 => (0u32..3).prop_map(Act::Command),
        4 => (0usize..260, 0usize..4).prop_map(|(after, tear)| Act::Cut { after, tear }),
        1 => Just(Act::Restart),
        2 => (0usize..400, 0usize..4).prop_map(|(after, tear)| Act::RestartAndCut { after, tear }),
        1 => Just(Act::Wait),
    ]
}

/// A value that was acknowledged, and one that was asked for and may have come to be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known<T> {
    sure: T,
    perhaps: T,
}

impl<T: Copy + PartialEq + std::fmt::Debug> Known<T> {
    fn asked(&mut self, value: T, acknowledged: bool) {
        self.perhaps = value;
        if acknowledged {
            self.sure = value;
        }
    }

    fn found(&mut self, value: T) {
        assert!(value == self.sure || value == self.perhaps, "found {value:?}, but {self:?}");
        *self = Self { sure: value, perhaps: value };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A master that writes, repeats and gives up, and a power that goes at any byte, also in the repair after a cut: what
    /// was acknowledged is there, what was not is wholly there or not at all, and no purchase counts twice.
    #[test]
    fn what_was_acknowledged_lasts(acts in prop::collection::vec(act(), 1..40)) {
        let mut bench = Bench::new();
        bench.run_ms(200);
        let mut credit = Known { sure: (0u32, 0i32, 0i32), perhaps: (0, 0, 0) };
        let mut setting = Known { sure: 0, perhaps: 0 };
        let mut command = Known { sure: 0, perhaps: 0 };
        for act in acts {
            match act {
                Act::TopUp { amount, again } => {
                    let (count, balance, last) = credit.sure;
                    let again = again && count > 0;
                    let (next, sum) = if again { (count, last) } else { (count + 1, amount) };
                    let heard = bench.top_up(0, next, sum).is_some_and(|reply| reply[0] == 16);
                    if !again {
                        credit.asked((next, balance + sum, sum), heard);
                    }
                }
                Act::Set(value) => {
                    let heard = bench.write(Id::GatewayTimeout, 0, value.into()).is_some_and(|reply| reply[0] == 16);
                    setting.asked(u32::from(value), heard);
                }
                Act::Command(value) => {
                    let heard = bench.write(Id::OutputCommand, 0, value).is_some_and(|reply| reply[0] == 16);
                    command.asked(value, heard);
                }
                Act::Cut { after, tear } => {
                    bench.world.chip.cut_after(after, TEARS[tear]);
                }
                Act::Restart => bench = bench.restart(),
                Act::RestartAndCut { after, tear } => {
                    let chip = bench.world.chip.clone();
                    bench = Bench::start_with(bench.world, ResetCause::PowerOn, || chip.cut_after(after, TEARS[tear]));
                    bench.run_ms(200);
                }
                Act::Wait => bench.run_ms(500),
            }
            if bench.world.chip.is_dead() {
                bench = bench.restart();
            }
            // Reading back is asking a node that may have restarted: it must know.
            let purchase = (
                bench.read(Id::PurchaseCount, 0),
                bench.read(Id::Balance, 0) as i32,
                bench.read(Id::LastAmount, 0) as i32,
            );
            credit.found(purchase);
            setting.found(bench.read(Id::GatewayTimeout, 0));
            command.found(bench.read(Id::OutputCommand, 0));
        }
    }
}

/// However many records have rotten, each round through the memory feeds the watchdog once, and the rounds end.
#[test]
fn a_start_over_rotten_records_feeds_the_watchdog_for_each_round() {
    let mut bench = counting();
    for count in 1..=60 {
        bench.set(Id::PulsePreset, 0, count);
    }
    let whole = bench.restart();
    let few = whole.processor.feeds.get();
    let world = whole.world.clone();
    drop(whole);
    // A byte of each state has changed: no record is whole.
    let memory = world.chip.snapshot();
    for at in (0x0800 + 20..memory.len()).step_by(128) {
        world.chip.poke(at, !memory[at]);
    }
    let rotten = Bench::start(world, ResetCause::PowerOn);
    let many = rotten.processor.feeds.get();
    assert_eq!(few, 2, "a round through each ring");
    assert_eq!(many, 48 + 1 + 1, "a round for each state, one that finds none, and one for the settings");
}
