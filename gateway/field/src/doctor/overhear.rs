//! What the doctor makes of a line of another master.
//!
//! ```text
//!   Ear ──exchange, unanswered, doubtful, orphan, noise──► overhear ──► the same tallies ──► examine_overheard
//! ```
//!
//! * Bytes that were no frame between a question and its end stand for an answer that was damaged on its way here.
//!   Without them a question that stays open is one nobody answered. What came before the question (the frames of another
//!   protocol on the same pair, say) is noise of the line and nobody's answer.
//! * The answer time is from the end of the question to the end of the answer, without the characters of the answer.
//! * Frames of units that are not configured here, and answers whose questions are not heard, are right frames too: they
//!   only say that the format is the line's.

use super::{Doctor, GLITCH_MAX};
use crate::passive::{Content, Doubt, Heard};

impl Doctor {
    /// Takes in what was heard, at `now`.
    pub fn overhear(&mut self, now: std::time::Duration, heard: &Heard) {
        let unit = match heard {
            Heard::Exchange(exchange) => Some(exchange.asked.unit),
            Heard::Unanswered(asked, _) | Heard::Doubtful(asked, ..) => Some(asked.unit),
            Heard::Orphan(frame) => frame.first().copied(),
            Heard::Noise(bytes) => {
                self.line.current.noise += u32::from(*bytes > GLITCH_MAX);
                None
            }
        };
        let Some(unit) = unit else { return self.look(now) };
        let char_time = self.facts.char_time;
        let Some(tally) = self.units.get_mut(&unit).map(|patient| &mut patient.tally.current) else {
            self.line.current.foreign += 1;
            return self.look(now);
        };
        match heard {
            Heard::Exchange(exchange) => {
                tally.asked += 1;
                if let Content::Exception(_) = exchange.content {
                    tally.refused += 1;
                } else {
                    tally.answered += 1;
                    let on_the_wire = char_time * u32::try_from(exchange.answer.len()).unwrap_or(u32::MAX);
                    tally.answer_took(exchange.took.saturating_sub(on_the_wire));
                }
            }
            Heard::Unanswered(_, noise) => {
                tally.asked += 1;
                *(if *noise > GLITCH_MAX { &mut tally.damaged } else { &mut tally.timeouts }) += 1;
            }
            Heard::Doubtful(_, _, doubt) => {
                tally.asked += 1;
                tally.doubtful += 1;
                tally.doubled += u32::from(*doubt == Doubt::Twice);
            }
            Heard::Orphan(_) => self.line.current.foreign += 1,
            Heard::Noise(_) => {}
        }
        self.look(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::{Illness, LineFacts, Wire};
    use crate::frame::crc16;
    use crate::passive::{CONFIRM_MAX, Ear};
    use crate::trace::Role;

    const ANSWER: Duration = Duration::from_millis(60);
    const PAUSE: Duration = Duration::from_millis(400);

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc16(bytes).to_le_bytes()].concat()
    }

    fn ask(unit: u8, address: u8) -> Vec<u8> {
        sealed(&[unit, 3, 0, address, 0, 10])
    }

    fn answer(unit: u8, round: u32) -> Vec<u8> {
        let data: Vec<u8> = (0..20).map(|i| i ^ unit ^ round as u8).collect();
        sealed(&[&[unit, 3, 20], data.as_slice()].concat())
    }

    /// A line on which another master asks units 1 to 4 in turn, through the ear that hears every real line.
    struct Bench {
        ear: Ear,
        doctor: Doctor,
        now: Duration,
    }

    impl Bench {
        fn new() -> Self {
            let facts = LineFacts {
                role: Role::Listener,
                wire: Wire::SerialServer,
                char_time: Duration::from_micros(1042),
                units: (1..=4).map(|unit| (unit, Duration::from_millis(500))).collect(),
            };
            Self { ear: Ear::default(), doctor: Doctor::new(facts), now: Duration::ZERO }
        }

        fn hear(&mut self, after: Duration, bytes: &[u8]) {
            self.now += after;
            for heard in self.ear.hear(self.now, bytes) {
                self.doctor.overhear(self.now, &heard);
            }
        }

        /// `each` gives what follows the question to a unit in a round, piece by piece.
        fn rounds(&mut self, rounds: u32, each: impl Fn(u8, u32) -> Vec<Vec<u8>>) {
            for round in 0..rounds {
                for unit in 1..=4 {
                    self.hear(PAUSE, &ask(unit, 100 + round as u8 % 2));
                    for piece in each(unit, round) {
                        self.hear(ANSWER, &piece);
                    }
                }
            }
            self.now += CONFIRM_MAX;
            for heard in self.ear.quiet(self.now) {
                self.doctor.overhear(self.now, &heard);
            }
        }

        fn found(&self) -> Vec<(Illness, Option<u8>)> {
            self.doctor.findings().map(|(finding, _)| (finding.illness, finding.unit)).collect()
        }
    }

    #[test]
    fn a_line_that_is_well_has_no_finding_and_neither_has_one_whose_unit_is_switched_off() {
        let mut bench = Bench::new();
        bench.rounds(80, |unit, round| if unit == 3 { Vec::new() } else { vec![answer(unit, round)] });
        assert_eq!(bench.found(), [], "that unit 3 says nothing is its own health");
    }

    #[test]
    fn damaged_answers_are_told_from_missing_ones() {
        let mut bench = Bench::new();
        bench.rounds(80, |unit, round| {
            let mut frame = answer(unit, round);
            if unit == 2 && round % 4 == 0 {
                frame[7] ^= 0x10;
            }
            vec![frame]
        });
        assert_eq!(bench.found(), [(Illness::DamageAtUnit, Some(2))]);
        let mut bench = Bench::new();
        bench.rounds(
            80,
            |unit, round| {
                if unit == 2 && round % 4 == 0 { Vec::new() } else { vec![answer(unit, round)] }
            },
        );
        assert_eq!(bench.found(), [(Illness::Gaps, Some(2))]);
        bench.rounds(400, |unit, round| vec![answer(unit, round)]);
        assert_eq!(bench.found(), [], "it is forgotten once all is well");
    }

    #[test]
    fn the_frames_of_another_protocol_before_a_question_damage_no_answer() {
        let mut bench = Bench::new();
        let of_another = [0xFE, 0xFE, 0x68, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x68, 0x91, 0x20, 0x33, 0x16];
        for round in 0..80 {
            for unit in 1..=4 {
                if unit == 2 {
                    bench.hear(PAUSE, &of_another);
                }
                bench.hear(PAUSE, &ask(unit, 100));
                if unit != 2 || round % 4 != 0 {
                    bench.hear(ANSWER, &answer(unit, round));
                }
            }
        }
        assert_eq!(bench.found(), [(Illness::Gaps, Some(2))], "its answers are missing, not damaged");
    }

    #[test]
    fn two_answers_to_one_question_are_two_devices() {
        let mut bench = Bench::new();
        bench.rounds(80, |unit, round| match (unit, round % 3) {
            (4, 0) => vec![answer(unit, round), answer(unit, round + 77)],
            _ => vec![answer(unit, round)],
        });
        assert_eq!(bench.found(), [(Illness::DoubleAddress, Some(4))]);
    }

    #[test]
    fn a_stream_that_says_everything_twice_is_no_second_device() {
        let mut bench = Bench::new();
        bench.rounds(80, |unit, round| vec![answer(unit, round), answer(unit, round)]);
        assert_eq!(bench.found(), []);
    }

    #[test]
    fn a_unit_that_refuses_and_one_that_has_become_slow_are_found() {
        let mut bench = Bench::new();
        let refusal = |unit: u8| sealed(&[unit, 0x83, 2]);
        bench.rounds(400, |unit, round| vec![if unit == 1 { refusal(1) } else { answer(unit, round) }]);
        assert_eq!(bench.found(), [(Illness::Refuses, Some(1))]);
        let mut bench = Bench::new();
        bench.rounds(700, |unit, round| vec![answer(unit, round)]);
        for round in 0..160 {
            for unit in 1..=4 {
                bench.hear(PAUSE, &ask(unit, 100));
                bench.hear(if unit == 3 { ANSWER * 5 } else { ANSWER }, &answer(unit, round));
            }
        }
        assert_eq!(bench.found(), [(Illness::RoundTripDrift, Some(3))]);
    }

    #[test]
    fn nothing_but_noise_is_a_wrong_format_and_strangers_prove_a_right_one() {
        let mut bench = Bench::new();
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let noise: Vec<u8> = (0..12).map(|_| rng.u8(0x30..=0x7F)).collect();
            bench.hear(PAUSE, &noise);
        }
        assert_eq!(bench.found(), [(Illness::WrongFormat, None)]);
        let mut bench = Bench::new();
        for round in 0..200 {
            bench.hear(PAUSE, &ask(9, 100));
            bench.hear(ANSWER, &answer(9, round));
            bench.hear(PAUSE, &[0x55; 12]);
        }
        assert_eq!(bench.found(), [], "the devices of the site are not on this line, but it is read rightly");
    }

    #[test]
    fn answers_without_their_questions_prove_a_right_format() {
        let mut bench = Bench::new();
        for round in 0..200 {
            bench.hear(PAUSE, &answer(1 + round as u8 % 4, round));
            bench.hear(PAUSE, &[0x55; 12]);
        }
        assert_eq!(bench.found(), [], "a repeater passes on one direction only");
    }

    #[test]
    fn what_only_the_questioner_knows_is_not_claimed() {
        let bench = Bench::new();
        for illness in [Illness::AnotherMaster, Illness::Echo, Illness::SlowUnit, Illness::TimeoutTooShort] {
            assert!(!bench.doctor.can_find(illness), "{illness:?}");
        }
        assert!(bench.doctor.can_find(Illness::Gaps) && bench.doctor.can_find(Illness::DamageAtUnit));
    }
}
