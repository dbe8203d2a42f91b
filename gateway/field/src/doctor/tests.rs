//! One test per finding, with what a line in that state really shows, and one for all lines that are well.

use proptest::prelude::*;

use super::*;
use crate::frame::crc16;

const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(300);
const ANSWER: Duration = Duration::from_millis(40);

/// A line that is polled unit by unit while the test says what happens.
struct Bench {
    doctor: Doctor,
    now: Duration,
    units: Vec<u8>,
    rng: fastrand::Rng,
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc16(bytes).to_le_bytes()].concat()
}

fn asked(unit: u8) -> Question {
    Question { unit, function: 3, address: 100, count: 10 }
}

fn answer(unit: u8) -> Vec<u8> {
    let data: Vec<u8> = (0..20).map(|i| i ^ unit).collect();
    sealed(&[&[unit, 3, 20], data.as_slice()].concat())
}

fn request(question: Question) -> Vec<u8> {
    let ([a, b], [c, d]) = (question.address.to_be_bytes(), question.count.to_be_bytes());
    sealed(&[question.unit, question.function, a, b, c, d])
}

impl Bench {
    fn new(wire: Wire, units: std::ops::RangeInclusive<u8>) -> Self {
        let units: Vec<u8> = units.collect();
        let facts = LineFacts {
            role: Role::Master,
            wire,
            char_time: Duration::from_micros(1042),
            units: units.iter().map(|u| (*u, PATIENCE)).collect(),
        };
        Self { doctor: Doctor::new(facts), now: Duration::ZERO, units, rng: fastrand::Rng::with_seed(1) }
    }

    fn settle(&mut self, unit: u8, outcome: Outcome, excess: Duration) {
        let bytes = if outcome == Outcome::Answered { 33 } else { 8 };
        let took = excess + self.doctor.facts.char_time * bytes;
        self.now += took;
        self.doctor.hear(self.now, Sign::Settled { asked: asked(unit), outcome, took, bytes });
    }

    fn answered(&mut self, unit: u8) {
        self.settle(unit, Outcome::Answered, ANSWER);
    }

    fn damaged(&mut self, unit: u8, frame: &[u8]) {
        self.now += ANSWER;
        self.doctor.hear(self.now, Sign::Discarded { asked: asked(unit), why: Discard::Damaged, frame });
        self.settle(unit, Outcome::Discarded, ANSWER);
    }

    fn timeout(&mut self, unit: u8) {
        self.settle(unit, Outcome::Timeout, PATIENCE);
    }

    fn unasked(&mut self, after: Duration, bytes: &[u8]) {
        self.now += after;
        self.doctor.hear(self.now, Sign::Unasked(bytes));
    }

    /// Polls every unit so many times; `each` says what happens to one poll.
    fn rounds(&mut self, rounds: u32, mut each: impl FnMut(&mut Self, u8, u32)) {
        for round in 0..rounds {
            for unit in self.units.clone() {
                each(self, unit, round);
                self.now += POLL;
            }
        }
    }

    fn found(&self) -> Vec<(Illness, Option<u8>)> {
        self.doctor.findings().map(|(f, _)| (f.illness, f.unit)).collect()
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.rng.u8(..)).collect()
    }

    fn flipped(&mut self, unit: u8) -> Vec<u8> {
        let mut frame = answer(unit);
        let at = self.rng.usize(1..frame.len());
        frame[at] ^= 1 << self.rng.u8(..8);
        frame
    }
}

#[test]
fn two_devices_with_one_address_answer_one_after_the_other() {
    let mut bench = Bench::new(Wire::Serial, 10..=14);
    bench.rounds(80, |bench, unit, _| {
        bench.answered(unit);
        if unit == 12 {
            bench.unasked(Duration::from_millis(9), &answer(12));
        }
    });
    assert_eq!(bench.found(), [(Illness::DoubleAddress, Some(12))]);
    let (finding, _) = bench.doctor.findings().next().unwrap();
    assert_eq!(finding.text().en, "Two devices answer as unit 12");
    assert!(finding.count >= EVENTS_MIN && finding.of >= finding.count);
}

#[test]
fn two_devices_with_one_address_answer_into_each_other() {
    let mut bench = Bench::new(Wire::Serial, 10..=14);
    bench.rounds(80, |bench, unit, round| {
        if unit != 12 || round % 3 == 0 {
            return bench.answered(unit);
        }
        // The second begins while the first still sends: the line reads one frame's length, the rest comes after it.
        let mut mixed: Vec<u8> = answer(12)[..9].to_vec();
        mixed.extend(answer(12).iter().map(|b| b ^ 0x5A));
        bench.damaged(12, &mixed[..25]);
        bench.unasked(Duration::from_millis(3), &mixed[25..]);
    });
    assert_eq!(bench.found(), [(Illness::DoubleAddress, Some(12))]);
}

#[test]
fn a_serial_server_that_repeats_every_request_is_not_taken_for_devices_with_one_address() {
    let mut bench = Bench::new(Wire::SerialServer, 1..=5);
    bench.rounds(80, |bench, unit, _| {
        bench.answered(unit);
        bench.unasked(Duration::from_millis(30), &answer(unit));
    });
    assert_eq!(bench.found(), []);
}

#[test]
fn damage_that_begins_at_a_place_on_the_line() {
    let mut bench = Bench::new(Wire::Serial, 1..=30);
    bench.rounds(60, |bench, unit, round| match unit {
        21.. if round % 5 == 0 => {
            let frame = bench.flipped(unit);
            bench.damaged(unit, &frame);
        }
        _ => bench.answered(unit),
    });
    assert_eq!(bench.found(), [(Illness::DamageBeyond, Some(20))]);
    let (finding, _) = bench.doctor.findings().next().unwrap();
    assert!(finding.text().zh.contains("20") && finding.advice().en.contains("120 Ω"));
}

#[test]
fn damage_everywhere_and_damage_at_one_unit_are_told_apart() {
    let damage = |ill: fn(u8) -> bool| {
        let mut bench = Bench::new(Wire::Serial, 1..=8);
        bench.rounds(80, |bench, unit, round| {
            if ill(unit) && round % 6 == 0 {
                let frame = bench.flipped(unit);
                bench.damaged(unit, &frame);
            } else {
                bench.answered(unit);
            }
        });
        bench.found()
    };
    assert_eq!(damage(|_| true), [(Illness::DamageEverywhere, None)]);
    assert_eq!(damage(|unit| unit == 4), [(Illness::DamageAtUnit, Some(4))]);
    assert_eq!(damage(|_| false), []);
}

#[test]
fn a_serial_server_holds_every_answer_back() {
    let run = |wire, hold: fn(u8) -> u64| {
        let mut bench = Bench::new(wire, 1..=6);
        bench.rounds(60, |bench, unit, round| {
            let jitter = u64::from(round % 4);
            bench.settle(unit, Outcome::Answered, Duration::from_millis(hold(unit) + jitter));
        });
        bench.doctor.findings().map(|(f, _)| (f.illness, f.millis)).collect::<Vec<_>>()
    };
    assert_eq!(run(Wire::SerialServer, |_| 200), [(Illness::ServerBuffers, Some(201))]);
    assert_eq!(run(Wire::Serial, |_| 200), [], "there is no server");
    assert_eq!(run(Wire::SerialServer, |unit| if unit < 4 { 200 } else { 30 }), [], "some units are slow, others not");
    assert_eq!(run(Wire::SerialServer, |_| 60), [], "meters need as long");
}

#[test]
fn a_unit_that_answers_after_its_time_out() {
    let mut bench = Bench::new(Wire::Serial, 1..=5);
    bench.rounds(80, |bench, unit, round| {
        if unit != 3 || round % 2 == 0 {
            return bench.answered(unit);
        }
        bench.timeout(3);
        bench.unasked(Duration::from_millis(120), &answer(3));
    });
    assert_eq!(bench.found(), [(Illness::SlowUnit, Some(3))]);
    let (finding, _) = bench.doctor.findings().next().unwrap();
    assert!((600..700).contains(&finding.millis.unwrap()), "from the request to the late answer: {finding:?}");
}

#[test]
fn a_unit_on_a_network_that_answers_just_in_time_or_not_at_all() {
    let mut bench = Bench::new(Wire::Network, 1..=5);
    bench.rounds(80, |bench, unit, round| match (unit, round % 4) {
        (3, 0) => bench.timeout(3),
        (3, _) => bench.settle(3, Outcome::Answered, Duration::from_millis(470)),
        _ => bench.answered(unit),
    });
    assert_eq!(bench.found(), [(Illness::SlowUnit, Some(3))]);
}

#[test]
fn a_time_out_that_is_too_short_for_most_units() {
    let mut bench = Bench::new(Wire::SerialServer, 1..=5);
    bench.rounds(80, |bench, unit, round| {
        if round % 3 == 0 {
            return bench.settle(unit, Outcome::Answered, PATIENCE - Duration::from_millis(20));
        }
        bench.timeout(unit);
        bench.unasked(Duration::from_millis(60), &answer(unit));
    });
    let found = bench.found();
    assert!(found.contains(&(Illness::TimeoutTooShort, None)), "{found:?}");
    assert!(!found.iter().any(|(illness, _)| *illness == Illness::SlowUnit), "no single unit is blamed: {found:?}");
}

#[test]
fn another_master_is_heard_between_our_questions_and_in_place_of_an_answer() {
    let theirs = Question { unit: 40, function: 4, address: 0, count: 6 };
    let mut bench = Bench::new(Wire::Serial, 1..=5);
    bench.rounds(40, |bench, unit, round| {
        bench.answered(unit);
        if unit == 2 && round % 4 == 0 {
            bench.unasked(Duration::from_millis(30), &request(theirs));
        }
    });
    assert_eq!(bench.found(), [(Illness::AnotherMaster, None)]);

    // Its request to one of our own units comes while we wait; what is heard of it looks damaged at first.
    let theirs = Question { unit: 3, function: 3, address: 0, count: 6 };
    let mut bench = Bench::new(Wire::Serial, 1..=5);
    bench.rounds(40, |bench, unit, round| {
        if unit != 3 || round % 3 != 0 {
            return bench.answered(unit);
        }
        let frame = request(theirs);
        bench.damaged(3, &frame[..5]);
        bench.unasked(Duration::from_millis(2), &frame[5..]);
    });
    assert_eq!(bench.found(), [(Illness::AnotherMaster, None)]);
}

#[test]
fn an_adapter_that_hears_itself() {
    let mut bench = Bench::new(Wire::Serial, 1..=5);
    bench.rounds(40, |bench, unit, _| {
        let heard = [request(asked(unit)), answer(unit)].concat();
        bench.damaged(unit, &heard[..5]);
        bench.unasked(Duration::from_millis(2), &heard[5..]);
    });
    assert_eq!(bench.found(), [(Illness::Echo, None)]);
}

#[test]
fn nothing_but_noise_means_that_the_format_is_wrong() {
    let mut bench = Bench::new(Wire::Serial, 1..=5);
    bench.rounds(20, |bench, unit, _| {
        let noise = bench.noise(19);
        bench.damaged(unit, &noise[..5]);
        bench.unasked(Duration::from_millis(2), &noise[5..]);
    });
    assert_eq!(bench.found(), [(Illness::WrongFormat, None)]);
    bench.rounds(1, |bench, _, _| bench.answered(1));
    bench.now += LOOK;
    bench.answered(2);
    bench.now += LOOK * u32::from(CALM_LOOKS);
    bench.rounds(40, |bench, unit, _| bench.answered(unit));
    assert!(!bench.found().contains(&(Illness::WrongFormat, None)), "one right frame refutes it");
}

#[test]
fn a_unit_that_has_become_slow_and_one_that_refuses() {
    let mut bench = Bench::new(Wire::Network, 1..=3);
    let slow_from = 900;
    bench.rounds(1_400, |bench, unit, round| match unit {
        1 if round >= slow_from => bench.settle(1, Outcome::Answered, ANSWER * 5),
        2 if round % 3 != 0 => bench.settle(2, Outcome::Exception(2), ANSWER),
        _ => bench.answered(unit),
    });
    let found = bench.found();
    assert!(found.contains(&(Illness::RoundTripDrift, Some(1))), "{found:?}");
    assert!(found.contains(&(Illness::Refuses, Some(2))), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_finding_stays_while_it_is_half_gone_and_ends_when_it_is_gone() {
    let mut bench = Bench::new(Wire::Serial, 1..=8);
    let mut run = |rounds, every: u32| {
        bench.rounds(rounds, |bench, unit, round| {
            if unit == 4 && round % every == 0 {
                let frame = bench.flipped(unit);
                bench.damaged(unit, &frame);
            } else {
                bench.answered(unit);
            }
        });
        bench.found()
    };
    let expected = [(Illness::DamageAtUnit, Some(4))];
    assert_eq!(run(300, 10), expected);
    assert_eq!(run(900, 33), expected, "3 of 100 would not begin it, and do not end it");
    assert_eq!(run(900, u32::MAX), []);
}

#[test]
fn switched_off_devices_are_no_fault_of_the_line() {
    let mut bench = Bench::new(Wire::Serial, 1..=8);
    bench.rounds(120, |bench, unit, _| if unit > 5 { bench.timeout(unit) } else { bench.answered(unit) });
    assert_eq!(bench.found(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the units need to answer, whoever is off, and with the odd error that every line has: no finding.
    #[test]
    fn a_healthy_line_never_yields_a_finding(
        seed in any::<u64>(),
        wire in prop::sample::select(vec![Wire::Serial, Wire::SerialServer, Wire::Network]),
        units in prop::collection::btree_map(1u8..=247, (5u64..115, 0u64..60, any::<bool>()), 1..32),
        odd_per_mille in 0u32..4,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let facts = LineFacts {
            role: Role::Master,
            wire,
            char_time: Duration::from_micros(1042),
            units: units.keys().map(|u| (*u, PATIENCE)).collect(),
        };
        let mut doctor = Doctor::new(facts);
        let mut now = Duration::ZERO;
        for _ in 0..300 {
            for (&unit, &(base, jitter, is_off)) in &units {
                let odd = rng.u32(..1_000) < odd_per_mille;
                let outcome = match (is_off, odd, rng.bool()) {
                    (true, ..) | (_, true, true) => Outcome::Timeout,
                    (_, true, false) if wire != Wire::Network => {
                        let mut frame = answer(unit);
                        frame[4] ^= 8;
                        doctor.hear(now, Sign::Discarded { asked: asked(unit), why: Discard::Damaged, frame: &frame });
                        Outcome::Discarded
                    }
                    _ => Outcome::Answered,
                };
                let excess = match outcome {
                    Outcome::Timeout => PATIENCE,
                    _ => Duration::from_millis(base + rng.u64(..=jitter)),
                };
                let took = excess + Duration::from_micros(1042) * 33;
                now += took;
                doctor.hear(now, Sign::Settled { asked: asked(unit), outcome, took, bytes: 33 });
                if outcome == Outcome::Answered && wire != Wire::Network && rng.u8(..) < 40 {
                    // The driver that lets go of the wire.
                    doctor.hear(now, Sign::Unasked(&[0]));
                }
                now += Duration::from_millis(rng.u64(5..400));
                prop_assert_eq!(doctor.findings().count(), 0, "{:?}", doctor.findings().next());
            }
        }
    }

    /// The bytes of a line may be anything.
    #[test]
    fn no_bytes_whatever_make_the_doctor_panic(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..40)) {
        let mut bench = Bench::new(Wire::Serial, 1..=3);
        for (as_frame, bytes) in pieces {
            if as_frame { bench.damaged(2, &bytes) } else { bench.unasked(LOOK, &bytes) }
            bench.answered(1);
        }
        prop_assert!(bench.doctor.tail.len() <= TAIL_MAX);
    }
}
