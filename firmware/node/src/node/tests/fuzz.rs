//! Frames by the million against the model: never a panic, never a wrong answer, never an answer where silence is due.
//!
//! The number of frames is small by default; `GUANJIA_FRAMES=10000000` makes it ten million (see `firmware/README.md`),
//! `GUANJIA_SEED` another run.

use std::collections::VecDeque;

use super::model::{Model, Verdict};
use crate::board::Version;
use crate::crc::crc16;
use crate::doubles::bench::{BOARD_ID, Bench, VERSION};
use crate::doubles::staging::Maker;
use crate::map::{Access, Id, REGISTERS, rule};
use crate::update::UpdateState;

/// The maker that the node of the bench trusts, and another one.
const MAKERS: [u8; 2] = [1, 2];
/// Bytes of one file of records.
const FILE: usize = 20_000;

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

/// The head of a group of file records, for a byte of the package.
fn group(dice: &mut Dice, from: usize, words: u16) -> Vec<u8> {
    let reference = if dice.one_in(40) { dice.byte() } else { 6 };
    let file = if dice.one_in(20) { dice.pick(&[0, 2, 0xFFFF]) } else { (1 + from / FILE) as u16 };
    let record = if dice.one_in(40) { dice.pick(&[9_999, 10_000, 0xFFFF]) } else { (from % FILE / 2) as u16 };
    let words = if dice.one_in(40) { 0 } else { words };
    [file, record, words].iter().fold(vec![reference], |mut head, word| {
        head.extend(word.to_be_bytes());
        head
    })
}

fn update_command(code: u8) -> Vec<u8> {
    let [a0, a1] = rule(Id::UpdateCommand).expect("it is in the map").address.to_be_bytes();
    vec![6, a0, a1, 0, code]
}

/// A package, and mostly a good one.
fn package(dice: &mut Dice) -> Vec<u8> {
    let length = dice.pick(&[2, 40, 300, 300, 900, 900, 20_100]) + 2 * dice.below(30) as usize;
    let image: Vec<u8> = (0..length).map(|_| dice.byte()).collect();
    let board = if dice.one_in(8) { BOARD_ID ^ 1 } else { BOARD_ID };
    let version = VERSION.0.wrapping_add(dice.pick(&[1, 1, 1, 1, 256, 0, u32::MAX]));
    let maker = Maker::new(if dice.one_in(8) { MAKERS[1] } else { MAKERS[0] });
    let mut package = maker.package(board, Version(version), &image);
    if dice.one_in(6) {
        let at = if dice.one_in(2) { dice.below(32) } else { dice.below(package.len() as u64) };
        package[at as usize] ^= 1 << dice.below(8);
    }
    match dice.below(12) {
        0 => package.truncate((dice.below(package.len() as u64) & !1) as usize),
        1 => package.extend([0, 0]),
        _ => {}
    }
    package
}

/// All requests of an update, as a master sends them: some twice, some too early, read back, and to some end.
fn campaign(dice: &mut Dice) -> VecDeque<Vec<u8>> {
    let package = package(dice);
    let mut requests = VecDeque::from([update_command(1)]);
    let mut at = 0;
    let write = |from: usize, to: usize| {
        let mut groups = vec![6];
        for word in [1 + from / FILE, from % FILE / 2, (to - from) / 2] {
            groups.extend((word as u16).to_be_bytes());
        }
        groups.extend(&package[from..to]);
        [&[21, groups.len() as u8][..], &groups].concat()
    };
    while at < package.len() {
        let words = if package.len() > 2_000 { 122 } else { 1 + dice.below(122) as usize };
        let end = (at + 2 * words).min(package.len()).min((at / FILE + 1) * FILE);
        if end < package.len() && dice.one_in(40) {
            requests.push_back(write(end, (end + 20).min(package.len()).min((end / FILE + 1) * FILE)));
        }
        requests.push_back(write(at, end));
        if dice.one_in(30) {
            requests.push_back(write(at, end));
        }
        at = end;
    }
    requests.push_back(update_command(2));
    let [a0, a1] = rule(Id::UpdateState).expect("it is in the map").address.to_be_bytes();
    requests.push_back(vec![3, a0, a1, 0, 8]);
    for _ in 0..dice.below(4) {
        let from = dice.below(package.len() as u64 + 1) as usize & !1;
        let words = dice.pick(&[1, 40, 122]);
        let groups = group(dice, from, words);
        requests.push_back([&[20, groups.len() as u8][..], &groups].concat());
    }
    requests.push_back(update_command(dice.pick(&[1, 2, 3, 3, 3, 3, 4])));
    requests.push_back(update_command(3));
    requests
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
        13 => {
            let mut ask = vec![43, dice.pick(&[14, 14, 14, 14, 13, 0]), dice.pick(&[1, 2, 3, 4, 4, 4, 5, 0])];
            ask.push(if dice.one_in(8) { dice.byte() } else { dice.pick(&[0, 1, 2, 3, 4, 5, 0x80, 0xFF]) });
            ask
        }
        14 => {
            // Up to 35 groups, of which most frames hold one.
            let groups = (0..dice.pick(&[1, 1, 1, 2, 3, 35]))
                .flat_map(|_| {
                    let back = dice.pick(&[0, 2, 4, 80, 244, 20_000]);
                    let from = if dice.one_in(4) {
                        dice.below(model.received() as u64 + 4) as usize & !1
                    } else {
                        model.received().saturating_sub(back)
                    };
                    let words = dice.pick(&[1, 2, 4, 40, 120, 124, 125]);
                    group(dice, from, words)
                })
                .collect::<Vec<u8>>();
            [&[20, groups.len() as u8][..], &groups].concat()
        }
        _ => {
            let mut groups = vec![];
            let mut from = (model.received().saturating_sub(dice.pick(&[0, 0, 0, 0, 2, 60, 244])))
                + dice.pick(&[0, 0, 0, 0, 0, 2]);
            for _ in 0..dice.pick(&[1, 1, 1, 2, 5]) {
                let words = dice.pick(&[1u16, 2, 5, 30, 122]);
                groups.extend(group(dice, from, words));
                // What is there already is sometimes sent as it was, and sometimes not.
                let known = model.bytes(from, usize::from(words) * 2).filter(|_| !dice.one_in(4));
                let data = known.unwrap_or_else(|| (0..2 * words).map(|_| dice.byte()).collect());
                groups.extend(data);
                from += usize::from(words) * 2;
            }
            [&[21, groups.len() as u8][..], &groups].concat()
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
        let core = &bench.node.core;
        let works = core.journal.is_busy() || core.update.state() == UpdateState::Verifying;
        quiet = if bench.node.line.is_silent() && !works { quiet + 1 } else { 0 };
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
    let mut model = Model::new(Maker::new(MAKERS[0]).public());
    let (mut answers, mut exceptions, mut silences, mut broken, mut installed) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut requests = VecDeque::new();
    for n in 0..frames {
        if requests.is_empty() && dice.one_in(400) {
            requests = campaign(&mut dice);
        }
        let wanted = if dice.one_in(50) { None } else { requests.pop_front() };
        let address = match dice.below(20) {
            _ if wanted.is_some() => model.address(),
            0 => 0,
            1 => dice.byte(),
            _ => model.address(),
        };
        let body = [&[address][..], &wanted.clone().unwrap_or_else(|| pdu(&mut dice, &model))].concat();
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
                // A master that hears nothing asks again.
                wanted.into_iter().for_each(|request| requests.push_front(request));
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
        let armed = bench.world.stage.0.borrow().armed;
        assert_eq!(
            armed.map(|length| length as usize),
            model.installing().map(<[u8]>::len),
            "frame {n} of seed {seed}"
        );
        if let Some(package) = model.installing() {
            assert_eq!(bench.world.stage.0.borrow().bytes, package, "frame {n} of seed {seed}");
            installed += 1;
            // The boot stage has taken it.
            bench.world.stage.0.borrow_mut().armed = None;
            bench = bench.restart();
            bench.run_ms(200);
            model.restart();
        }
    }
    println!(
        "{frames} frames: {answers} answers, {exceptions} exceptions, {silences} silences ({broken} broken frames), \
         {installed} updates installed"
    );
    assert!(installed > frames / 10_000, "only {installed} updates");
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
