use proptest::prelude::*;

use super::*;
use guanjia_core::profile::Table;

const UNIT: u8 = 1;

fn read(address: u16, count: u16) -> Request {
    Request::Read { table: Table::Holding, address, count }
}

fn rtu(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.extend(crc16(bytes).to_le_bytes());
    frame
}

fn hex(text: &str) -> Vec<u8> {
    text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn frames_agree_with_published_ones() {
    assert_eq!(encode(Framing::Rtu, 0, 1, &read(0, 10)), hex("01 03 00 00 00 0A C5 CD"));
    let input = |address, count| Request::Read { table: Table::Input, address, count };
    assert_eq!(encode(Framing::Rtu, 0, 1, &input(0x3108, 1)), hex("01 04 31 08 00 01 BE F4"));
    assert_eq!(encode(Framing::Rtu, 0, 1, &read(0x9003, 3))[..4], hex("01 03 90 03")[..]);
    let echo = hex("64 10 00 2B 00 01 78 34");
    let write = Request::Write(Write::Registers { address: 0x2B, words: vec![100] });
    assert_eq!(judge(Framing::Rtu, 0, 0x64, &write, &echo), Verdict::Reply(Reply::Written));
    let answer = hex("01 04 14 08 D1 00 6C 00 00 00 F4 00 00 00 26 00 00 01 F4 00 64 00 00 51 34");
    let Verdict::Reply(Reply::Words(words)) = judge(Framing::Rtu, 0, 1, &input(0, 10), &answer) else {
        panic!("a captured answer was not accepted")
    };
    assert_eq!(words[..3], [0x08D1, 0x006C, 0]);
    assert_eq!(encode(Framing::Mbap, 0x1501, 0xFF, &read(4, 1)), hex("15 01 00 00 00 06 FF 03 00 04 00 01"));
}

#[test]
fn writes_and_their_echoes_agree_with_the_examples_of_the_standard() {
    let bits = vec![true, false, true, true, false, false, true, true, true, false];
    let cases = [
        (Write::Coil { address: 0xAC, on: true }, "05 00 AC FF 00", "05 00 AC FF 00"),
        (Write::Register { address: 1, word: 3 }, "06 00 01 00 03", "06 00 01 00 03"),
        (Write::Coils { address: 0x13, bits }, "0F 00 13 00 0A 02 CD 01", "0F 00 13 00 0A"),
        (Write::Registers { address: 1, words: vec![10, 0x102] }, "10 00 01 00 02 04 00 0A 01 02", "10 00 01 00 02"),
        (Write::Mask { address: 4, and: 0xF2, or: 0x25 }, "16 00 04 00 F2 00 25", "16 00 04 00 F2 00 25"),
    ];
    for (write, asked, echo) in cases {
        let request = Request::Write(write);
        let frame = encode(Framing::Rtu, 0, UNIT, &request);
        assert_eq!(frame[1..frame.len() - 2], hex(asked)[..]);
        let mut echo = [vec![UNIT], hex(echo)].concat();
        assert_eq!(judge(Framing::Rtu, 0, UNIT, &request, &rtu(&echo)), Verdict::Reply(Reply::Written));
        assert_eq!(request.frame_len(Framing::Rtu, &Reply::Written), echo.len() + 2);
        let last = echo.len() - 1;
        echo[last] ^= 1;
        let verdict = judge(Framing::Rtu, 0, UNIT, &request, &rtu(&echo));
        assert_eq!(verdict, Verdict::Reject(Discard::Foreign), "an echo that differs: {asked}");
    }
}

#[test]
fn bits_come_least_significant_first() {
    let request = Request::Read { table: Table::Coil, address: 19, count: 10 };
    let answer = rtu(&[UNIT, 1, 2, 0b1100_1101, 0b01]);
    let bits = [true, false, true, true, false, false, true, true, true, false];
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &request, &answer), Verdict::Reply(Reply::Bits(bits.to_vec())));
}

#[test]
fn no_more_is_read_than_the_answer_has() {
    let answer = rtu(&[UNIT, 3, 4, 0, 1, 0, 2]);
    let needs: Vec<Verdict> = [0, 2, 3].map(|n| judge(Framing::Rtu, 0, UNIT, &read(0, 2), &answer[..n])).to_vec();
    assert_eq!(needs, [Verdict::Need(2), Verdict::Need(3), Verdict::Need(9)]);
    let refusal = rtu(&[UNIT, 0x83, 2]);
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &read(0, 2), &refusal[..2]), Verdict::Need(5));
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &read(0, 2), &refusal), Verdict::Reply(Reply::Exception(2)));
}

#[test]
fn what_is_not_the_answer_is_rejected() {
    let write = Request::Write(Write::Registers { address: 0x57, words: vec![1, 1] });
    let cases: [(&str, Request, Vec<u8>); 7] = [
        ("reply of another unit", read(0, 2), rtu(&[2, 3, 4, 0, 1, 0, 2])),
        ("wrong function", read(0, 2), rtu(&[UNIT, 4, 4, 0, 1, 0, 2])),
        ("short", read(0, 2), rtu(&[UNIT, 3, 2, 0, 1])),
        ("long", read(0, 2), rtu(&[UNIT, 3, 6, 0, 1, 0, 2, 0, 3])),
        ("echo of another address", write.clone(), rtu(&[UNIT, 16, 0, 0x58, 0, 2])),
        ("echo of another quantity", write, rtu(&[UNIT, 16, 0, 0x57, 0, 1])),
        ("exception without a code", read(0, 2), rtu(&[UNIT, 0x83, 0])),
    ];
    for (name, request, answer) in cases {
        let verdict = judge(Framing::Rtu, 0, UNIT, &request, &answer);
        assert!(matches!(verdict, Verdict::Reject(_)), "{name}: {verdict:?}");
    }
    let mut damaged = rtu(&[UNIT, 3, 4, 0, 1, 0, 2]);
    damaged[5] ^= 0x10;
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &read(0, 2), &damaged), Verdict::Reject(Discard::Damaged));
}

#[test]
fn an_mbap_header_that_lies_ends_the_conversation() {
    let request = read(0, 1);
    let judge = |bytes: &str| judge(Framing::Mbap, 7, UNIT, &request, &hex(bytes));
    assert_eq!(judge("00 07 00 00 00 05 01 03 02 12 34"), Verdict::Reply(Reply::Words(vec![0x1234])));
    assert_eq!(judge("00 06 00 00 00 05 01 03 02 12 34"), Verdict::Skip(11), "tid mismatch");
    assert_eq!(judge("00 07 00 00 00 05 02 03 02 12 34"), Verdict::Reject(Discard::Foreign), "unit mismatch");
    assert_eq!(judge("00 07 00 01 00 05 01 03 02 12 34"), Verdict::Reject(Discard::Damaged), "not Modbus");
    for length in ["00 02", "00 00", "00 FF", "FF FF"] {
        let header = format!("00 07 00 00 {length} 01");
        assert_eq!(judge(&header), Verdict::Reject(Discard::Damaged), "length {length}");
    }
    assert_eq!(judge("00 07 00 00 00 06 01 03 02 12 34 00"), Verdict::Reject(Discard::Foreign), "too long by one");
    assert_eq!(judge("00 07 00 00 00 04 01 03 02 12"), Verdict::Reject(Discard::Foreign), "too short by one");
}

proptest! {
    /// No bytes make the judge panic, ask for more than the buffer holds, or ask for nothing.
    #[test]
    fn any_bytes_are_judged(
        bytes in prop::collection::vec(any::<u8>(), 0..FRAME_MAX), count in 1u16..=125, coils: bool, mbap: bool,
    ) {
        let table = if coils { Table::Coil } else { Table::Holding };
        let framing = if mbap { Framing::Mbap } else { Framing::Rtu };
        let request = Request::Read { table, address: 0, count };
        match judge(framing, 0, UNIT, &request, &bytes) {
            Verdict::Need(total) => prop_assert!(total > bytes.len() && total <= FRAME_MAX),
            Verdict::Skip(total) => prop_assert!(total > 0 && total <= bytes.len()),
            _ => {}
        }
        match form_of(Framing::Rtu, &bytes) {
            Form::Need(total) => prop_assert!(total > bytes.len() && total <= FRAME_MAX),
            Form::Frame { total, .. } => prop_assert!(total <= bytes.len()),
            Form::Noise => {}
        }
    }
}

/// An answer of so many registers, all 0x0102, with a byte count of one or of two bytes.
fn words_of(count: u16, byte_count: ByteCount) -> Vec<u8> {
    let bytes = (count * 2).to_be_bytes();
    let counted = if byte_count == ByteCount::TwoBytes { &bytes[..] } else { &bytes[1..] };
    rtu(&[&[UNIT, 3], counted, &[1, 2].repeat(usize::from(count))].concat())
}

#[test]
fn a_byte_count_of_two_bytes_is_read_where_the_profile_says_so_and_nowhere_else() {
    use ByteCount::{OneByte, TwoBytes};
    let judged =
        |byte_count, request: &Request, bytes: &[u8]| judge_as(byte_count, Framing::Rtu, 0, UNIT, request, bytes);
    for count in 1..=125 {
        let (request, words) = (read(0x1010, count), Reply::Words(vec![0x0102; usize::from(count)]));
        for (own, other) in [(OneByte, TwoBytes), (TwoBytes, OneByte)] {
            let frame = words_of(count, own);
            assert_eq!(judged(own, &request, &frame), Verdict::Reply(words.clone()), "{count} {own:?}");
            assert_eq!(frame_len_as(own, Framing::Rtu, &request, &words), frame.len());
            // With whatever follows it, in whatever pieces, the other form is never taken for an answer.
            let long = [&frame[..], &frame[..]].concat();
            for end in 0..long.len() {
                let verdict = judged(other, &request, &long[..end]);
                assert!(!matches!(verdict, Verdict::Reply(_)), "{count} {own:?}: {verdict:?}");
            }
            for end in 0..frame.len() {
                let Verdict::Need(need) = judged(own, &request, &frame[..end]) else { panic!("{count} {own:?} {end}") };
                assert!((end + 1..=frame.len()).contains(&need), "no more is read than the answer has");
            }
        }
    }
    let refused = rtu(&[UNIT, 0x83, 2]);
    assert_eq!(judged(TwoBytes, &read(0, 1), &refused), Verdict::Reply(Reply::Exception(2)));
    assert_eq!(frame_len_as(TwoBytes, Framing::Rtu, &read(0, 1), &Reply::Exception(2)), refused.len());
    let other_unit = rtu(&[UNIT + 1, 3, 0, 2, 1, 2]);
    assert_eq!(judged(TwoBytes, &read(0, 1), &other_unit), Verdict::Reject(Discard::Foreign));
    let damaged = [&words_of(1, TwoBytes)[..7], &[0]].concat();
    assert_eq!(judged(TwoBytes, &read(0, 1), &damaged), Verdict::Reject(Discard::Damaged));
    let through_a_converter = hex("00 07 00 00 00 05 01 03 02 01 02");
    let verdict = judge_as(TwoBytes, Framing::Mbap, 7, UNIT, &read(0, 1), &through_a_converter);
    assert_eq!(verdict, Verdict::Reply(Reply::Words(vec![0x0102])));
}

proptest! {
    #[test]
    fn any_bytes_are_judged_as_a_byte_count_of_two_bytes_too(
        address in any::<u16>(), count in 1u16..=125, bytes in prop::collection::vec(any::<u8>(), 0..300), own in any::<bool>()
    ) {
        let bytes = if own { [&[UNIT, 3, 0, count as u8 * 2], &bytes[..]].concat() } else { bytes };
        if let Verdict::Need(need) = judge_as(ByteCount::TwoBytes, Framing::Rtu, 0, UNIT, &read(address, count), &bytes) {
            prop_assert!(need > bytes.len() && need <= 256);
        }
    }
}

#[test]
fn file_records_and_identities_agree_with_the_examples_of_the_standard() {
    let read = Request::ReadFile { file: 4, record: 1, count: 2 };
    assert_eq!(encode(Framing::Rtu, 0, UNIT, &read)[1..10], hex("14 07 06 00 04 00 01 00 02")[..]);
    let answer = [vec![UNIT], hex("14 06 05 06 0D FE 00 20")].concat();
    let words = Reply::Words(vec![0x0DFE, 0x0020]);
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &read, &rtu(&answer)), Verdict::Reply(words));

    let write = Request::WriteFile { file: 4, record: 7, words: vec![0x06AF, 0x04BE, 0x100D] };
    let asked = hex("15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D");
    let frame = encode(Framing::Rtu, 0, UNIT, &write);
    assert_eq!(frame[1..frame.len() - 2], asked[..]);
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &write, &frame), Verdict::Reply(Reply::Written));
    for at in 3..frame.len() - 2 {
        let mut other = frame[..frame.len() - 2].to_vec();
        other[at] ^= 1;
        let verdict = judge(Framing::Rtu, 0, UNIT, &write, &rtu(&other));
        assert_eq!(verdict, Verdict::Reject(Discard::Foreign), "a record that differs at {at}");
    }

    let identify = Request::Identify { access: 1, object: 0 };
    assert_eq!(encode(Framing::Rtu, 0, UNIT, &identify)[1..5], hex("2B 0E 01 00")[..]);
    let objects = vec![(0, b"Company".to_vec()), (1, b"XYZ".to_vec()), (2, b"V2.11".to_vec())];
    let identity = Identity { next: None, objects };
    let answer = rtu(&identity_answer(1, &identity));
    assert_eq!(judge(Framing::Rtu, 0, UNIT, &identify, &answer), Verdict::Reply(Reply::Identity(identity)));
}

/// The unit and PDU of an identity.
fn identity_answer(access: u8, identity: &Identity) -> Vec<u8> {
    let (more, next) = identity.next.map_or((0, 0), |next| (0xFF, next));
    let mut answer = vec![UNIT, 0x2B, 0x0E, access, 0x83, more, next, identity.objects.len() as u8];
    for (id, text) in &identity.objects {
        answer.extend([*id, text.len() as u8]);
        answer.extend(text);
    }
    answer
}

#[test]
fn an_identity_that_contradicts_itself_is_no_answer() {
    let request = Request::Identify { access: 2, object: 0 };
    let identity = Identity { next: None, objects: vec![(0, b"ab".to_vec())] };
    let good = identity_answer(2, &identity);
    let with = |at: usize, byte: u8| {
        let mut answer = good.clone();
        answer[at] = byte;
        rtu(&answer)
    };
    for (at, byte) in [(1, 0x2C), (2, 0x0D), (3, 1), (5, 1), (7, 0)] {
        let verdict = judge(Framing::Rtu, 0, UNIT, &request, &with(at, byte));
        assert!(!matches!(verdict, Verdict::Reply(_)), "byte {at} is {byte}: {verdict:?}");
    }
    // An object that would reach beyond the longest frame there is.
    let verdict = judge(Framing::Rtu, 0, UNIT, &request, &with(9, 0xFF));
    assert_eq!(verdict, Verdict::Reject(Discard::Foreign));
}

proptest! {
    /// Piece by piece, whatever the objects are, nothing beyond the frame is asked for and the whole is what was sent.
    #[test]
    fn an_identity_is_heard_to_its_last_byte_and_not_beyond(
        objects in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..30)), 1..7),
        next in proptest::option::of(any::<u8>()),
        framing in prop_oneof![Just(Framing::Rtu), Just(Framing::Ascii), Just(Framing::Mbap)],
    ) {
        let identity = Identity { next, objects };
        let request = Request::Identify { access: 2, object: 0 };
        let answer = identity_answer(2, &identity);
        let frame = match framing {
            Framing::Rtu => rtu(&answer),
            Framing::Ascii => ascii::encode(answer[0], &answer[1..]),
            Framing::Mbap => [&[0, 9, 0, 0, 0, answer.len() as u8], &answer[..]].concat(),
        };
        let mut heard = 0;
        let verdict = loop {
            match judge(framing, 9, UNIT, &request, &frame[..heard]) {
                Verdict::Need(need) => {
                    prop_assert!(need > heard && need <= frame.len(), "{need} of {} at {heard}", frame.len());
                    heard = need;
                }
                verdict => break verdict,
            }
        };
        prop_assert_eq!(heard, frame.len());
        let reply = Reply::Identity(identity);
        prop_assert_eq!(request.frame_len(framing, &reply), frame.len());
        prop_assert_eq!(verdict, Verdict::Reply(reply));
    }
}
