//! Frames by the million against the model: never a panic, never a wrong answer, never an answer where silence is due.
//!
//! The number of frames is small by default; `GUANJIA_FRAMES=10000000` makes it ten million (see `firmware/README.md`),
//! `GUANJIA_SEED` another run.

use super::model::{Model, Verdict};
use crate::crc::crc16;
use crate::doubles::bench::Bench;
use crate::map::{Access, REGISTERS};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// An address that is worth asking for.
fn address(dice: &mut Dice) -> u16 {
    if dice.one_in(8) {
        return dice.next() as u16;
    }
    let register = &REGISTERS[dice.below(REGISTERS.len() as u64) as usize];
    let n = dice.below(u64::from(register.repeat)) as u16;
    let near = dice.pick(&[0, 0, 0, 0, 0, 0, 1, 2, 0xFFFF]);
    (register.address + n * register.stride).wrapping_add(near)
}

/// Data for a write that has a chance to be allowed.
fn value(dice: &mut Dice, address: u16, model: &Model) -> Vec<u8> {
    let row = REGISTERS.iter().find(|register| {
        (0..register.repeat).any(|n| register.address + n * register.stride == address)
            && register.access != Access::Read
    });
    let Some(register) = row else { return (0..2 * (1 + dice.below(4))).map(|_| dice.byte()).collect() };
    let (low, high) = register.range;
    let number = match dice.below(6) {
        0 => low,
        1 => high,
        2 => high + 1,
        3 => low - 1,
        _ => low + dice.below((high - low + 1).max(1) as u64) as i64,
    };
    let words = usize::from(register.kind.words());
    let number = if register.name == "top_up_frame" {
        let n = (address - register.address) / register.stride;
        let count = model.next_count(usize::from(n)).wrapping_add(dice.pick(&[0, 0, 0, u32::MAX, 1]));
        let amount = dice.pick(&[1i32, 500, 500, 999_999, 0, -1, -200, i32::MIN, i32::MAX]);
        u64::from(count) << 32 | u64::from(amount as u32)
    } else {
        number as u64
    };
    let mut data = number.to_be_bytes()[8 - words * 2..].to_vec();
    if dice.one_in(10) {
        data.extend([0, dice.byte()]);
    }
    data
}

/// A PDU: mostly sound, often nearly so, sometimes noise.
fn pdu(dice: &mut Dice, model: &Model) -> Vec<u8> {
    let at = address(dice);
    let [a0, a1] = at.to_be_bytes();
    let mut pdu = match dice.below(16) {
        0 => (0..1 + dice.below(253)).map(|_| dice.byte()).collect(),
        1 | 2 => vec![
            dice.pick(&[1, 2]),
            0,
            dice.pick(&[0, 1, 3, 8, 30, 39, 40]),
            0,
            dice.pick(&[1, 2, 4, 8, 9, 32, 40, 41]),
        ],
        3..=5 => vec![dice.pick(&[3, 4]), a0, a1, 0, dice.pick(&[1, 1, 2, 3, 4, 8, 30, 125, 126])],
        6 => vec![5, 0, dice.pick(&[0, 1, 2, 3, 4]), dice.pick(&[0, 0xFF]), dice.pick(&[0, 0, 0, 1])],
        7 => [&[6, a0, a1][..], &value(dice, at, model)].concat(),
        8 => {
            let count = dice.pick(&[1, 2, 4, 5]);
            vec![15, 0, dice.pick(&[0, 0, 1, 3]), 0, count, 1, dice.byte()]
        }
        9..=11 => {
            let data = value(dice, at, model);
            [&[16, a0, a1, 0, (data.len() / 2) as u8, data.len() as u8][..], &data].concat()
        }
        12 => vec![17],
        13 => vec![43, dice.pick(&[14, 14, 14, 13]), dice.pick(&[1, 2, 3, 4, 5]), dice.pick(&[0, 1, 2, 3, 4, 5, 0x80])],
        14 => {
            let record = (model.received() / 2).saturating_sub(dice.pick(&[0, 1, 2, 40]));
            let [r0, r1] = (record as u16).to_be_bytes();
            let mut groups = vec![6, 0, dice.pick(&[1, 1, 1, 0, 2]), r0, r1, 0, dice.pick(&[1, 2, 40, 124, 125])];
            if dice.one_in(3) {
                groups.extend([6, 0, 1, 0, 0, 0, dice.pick(&[1, 60])]);
            }
            [&[20, groups.len() as u8][..], &groups].concat()
        }
        _ => {
            let record =
                (model.received() / 2).saturating_sub(dice.pick(&[0, 0, 0, 0, 1, 30])) + dice.pick(&[0, 0, 0, 1]);
            let [r0, r1] = (record as u16).to_be_bytes();
            let words = dice.pick(&[1u8, 2, 30, 122]);
            let data: Vec<u8> = (0..words).flat_map(|_| [0x11, 0x22]).collect();
            [&[21, data.len() as u8 + 7, 6, 0, 1, r0, r1, 0, words][..], &data].concat()
        }
    };
    // Something of it may be wrong.
    if dice.one_in(12) {
        let at = dice.below(pdu.len() as u64) as usize;
        pdu[at] ^= 1 << dice.below(8);
    }
    if dice.one_in(25) {
        pdu.truncate(1 + dice.below(pdu.len() as u64) as usize);
    }
    if dice.one_in(40) {
        pdu.push(dice.byte());
    }
    pdu.truncate(253);
    pdu
}

/// Sends bytes and takes turns until the node is quiet again.
fn play(bench: &mut Bench, bytes: &[u8]) -> Vec<u8> {
    bench.wire.send(bytes);
    // 256 bytes come in turns of 64; 33 ms is a silence at every speed.
    (0..=bytes.len() / 64).for_each(|_| bench.turn(100));
    bench.turn(100);
    bench.turn(33_000);
    let mut quiet = 0;
    for turn in 0.. {
        assert!(turn < 2_000, "it never comes to rest");
        bench.turn(1_000);
        quiet = if bench.node.line.is_silent() && !bench.node.core.journal.is_busy() { quiet + 1 } else { 0 };
        if quiet == 4 {
            break;
        }
    }
    bench.wire.receive()
}

fn matches(answer: &[u8], verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Silence => answer.is_empty(),
        Verdict::Answer(expected) => {
            let Some((body, crc)) = answer.split_last_chunk::<2>() else { return false };
            crc16(body) == u16::from_le_bytes(*crc)
                && body.len() == expected.len()
                && body.iter().zip(expected).all(|(byte, (value, mask))| byte & mask == value & mask)
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn every_answer_is_the_right_one() {
    let frames = number("GUANJIA_FRAMES").unwrap_or(30_000);
    let seed = number("GUANJIA_SEED").unwrap_or(1);
    let mut dice = Dice(seed);
    let mut bench = Bench::new();
    bench.run_ms(200);
    let mut model = Model::new();
    let (mut answers, mut exceptions, mut silences, mut broken) = (0u64, 0u64, 0u64, 0u64);
    for n in 0..frames {
        let address = match dice.below(20) {
            0 => 0,
            1 => dice.byte(),
            _ => model.address(),
        };
        let body = [&[address][..], &pdu(&mut dice, &model)].concat();
        let mut frame = [&body[..], &crc16(&body).to_le_bytes()].concat();
        let mut verdict = None;
        if dice.one_in(15) {
            // Not a frame: a bit flipped, an end missing, or more than fits.
            match dice.below(4) {
                0 => {
                    let at = dice.below(frame.len() as u64) as usize;
                    frame[at] ^= 1 << dice.below(8);
                }
                1 => frame.truncate(dice.below(frame.len() as u64) as usize),
                2 => frame.extend((0..dice.below(300)).map(|_| 0xA5)),
                _ => frame = (0..dice.below(400)).map(|_| dice.byte()).collect(),
            }
            let sound = (4..=256).contains(&frame.len())
                && frame.split_last_chunk::<2>().is_some_and(|(body, crc)| crc16(body) == u16::from_le_bytes(*crc));
            if !sound {
                verdict = Some(Verdict::Silence);
                broken += 1;
            }
        }
        let verdict = verdict.unwrap_or_else(|| model.frame(&frame[..frame.len() - 2]));
        let answer = play(&mut bench, &frame);
        assert!(
            matches(&answer, &verdict),
            "frame {n} of seed {seed}\n  asked    {frame:02x?}\n  answered {answer:02x?}\n  expected {verdict:02x?}"
        );
        match &verdict {
            Verdict::Silence => silences += 1,
            Verdict::Answer(expected) if expected[1].0 & 0x80 != 0 => exceptions += 1,
            Verdict::Answer(_) => answers += 1,
        }
    }
    println!(
        "{frames} frames: {answers} answers, {exceptions} exceptions, {silences} silences ({broken} broken frames)"
    );
    assert!(answers > frames / 5 && exceptions > frames / 10 && silences > frames / 20, "the dice are loaded");
}

/// Bytes that are no frames, with pauses anywhere: survived, and the next good frame is answered.
#[test]
fn any_byte_stream_is_survived() {
    let mut dice = Dice(7);
    let mut bench = Bench::new();
    bench.run_ms(200);
    for round in 0..400 {
        for _ in 0..dice.below(30) {
            let burst: Vec<u8> = (0..dice.below(300)).map(|_| dice.byte()).collect();
            bench.wire.send(&burst);
            for _ in 0..dice.below(8) {
                bench.turn(dice.pick(&[100, 1_000, 5_000]));
            }
        }
        play(&mut bench, &[]);
        assert_eq!(bench.ask(&[3, 0, 1, 0, 1]), Some(vec![3, 2, 0x47, 0x4E]), "round {round}");
    }
}
