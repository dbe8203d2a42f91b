//! What is heard of a line between another master and its units, honest or not.

use proptest::prelude::*;

use super::*;
use crate::frame::crc16;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc16(bytes).to_le_bytes()].concat()
}

fn ask(unit: u8, address: u16, count: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (address.to_be_bytes(), count.to_be_bytes());
    sealed(&[unit, 3, a, b, c, d])
}

/// Every register holds its own address, so a value under a wrong name shows.
fn tell(unit: u8, address: u16, count: u16) -> Vec<u8> {
    let data: Vec<u8> = (address..address + count).flat_map(|a| (a ^ u16::from(unit) << 8).to_be_bytes()).collect();
    sealed(&[&[unit, 3, data.len() as u8], data.as_slice()].concat())
}

fn exchanges(heard: &[Heard]) -> Vec<(u8, u16, Trust)> {
    let of = |heard: &Heard| match heard {
        Heard::Exchange(e) => Some((e.asked.unit, e.asked.address, e.trust)),
        _ => None,
    };
    heard.iter().filter_map(of).collect()
}

/// Lets an ear hear pieces, each after so many milliseconds.
fn listen(pieces: &[(u64, Vec<u8>)]) -> Vec<Heard> {
    let (mut ear, mut now, mut heard) = (Ear::default(), Duration::ZERO, Vec::new());
    for (after, piece) in pieces {
        now += ms(*after);
        heard.extend(ear.hear(now, piece));
    }
    heard.extend(ear.quiet(now + CONFIRM_MAX));
    heard
}

#[test]
fn questions_and_answers_are_paired_however_the_stream_is_cut() {
    let frames = [ask(1, 0, 4), tell(1, 0, 4), ask(2, 100, 10), tell(2, 100, 10), ask(1, 0, 4), tell(1, 0, 4)];
    let whole = frames.concat();
    let sure = |unit, address| (unit, address, Trust::Sure);
    let expected = [sure(1, 0), sure(2, 100), sure(1, 0)];
    for size in [1, 2, 3, 7, 8, 20, whole.len()] {
        let pieces: Vec<_> = whole.chunks(size).map(|piece| (1, piece.to_vec())).collect();
        assert_eq!(exchanges(&listen(&pieces)), expected, "pieces of {size}");
    }
}

#[test]
fn data_and_times_are_kept() {
    let heard = listen(&[(0, ask(9, 5, 2)), (30, tell(9, 5, 2))]);
    let [Heard::Exchange(exchange)] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(exchange.content, Content::Data(vec![9, 5, 9, 6]));
    assert_eq!(
        (exchange.took, exchange.request.clone(), exchange.answer.clone()),
        (ms(30), ask(9, 5, 2), tell(9, 5, 2))
    );
}

#[test]
fn a_late_answer_is_not_taken_for_the_answer_to_the_next_question_of_its_shape() {
    let heard = listen(&[(0, ask(1, 0, 4)), (500, ask(1, 100, 4)), (20, tell(1, 0, 4)), (20, tell(1, 100, 4))]);
    assert_eq!(exchanges(&heard), []);
    assert!(heard.contains(&Heard::Unanswered(Question { unit: 1, function: 3, address: 0, count: 4 }, 0)));
    // Of another shape it cannot be.
    let heard = listen(&[(0, ask(1, 0, 4)), (500, ask(1, 100, 6)), (20, tell(1, 0, 4)), (20, tell(1, 100, 6))]);
    assert_eq!(exchanges(&heard), [(1, 100, Trust::Sure)]);
    // Long afterwards it cannot be either.
    let heard = listen(&[(0, ask(1, 0, 4)), (500, ask(2, 0, 4)), (11_000, ask(1, 100, 4)), (20, tell(1, 100, 4))]);
    assert_eq!(exchanges(&heard), [(1, 100, Trust::Sure)]);
}

#[test]
fn a_unit_that_is_one_answer_behind_is_believed_for_no_question_until_it_shows_that_it_is_not() {
    let first = [(0, ask(1, 0, 4)), (300, ask(1, 100, 4)), (20, tell(1, 0, 4))];
    // The question that a late answer came to is without an answer itself, also when the first is asked once more.
    let behind = [(300, ask(1, 0, 4)), (20, tell(1, 100, 4)), (300, ask(1, 50, 4)), (20, tell(1, 0, 4))];
    assert_eq!(exchanges(&listen(&[&first[..], &behind].concat())), []);
    // It answers in order: what comes to a question of another shape shows that the older ones are past.
    let caught_up = [(300, ask(1, 200, 6)), (20, tell(1, 200, 6)), (300, ask(1, 50, 4)), (20, tell(1, 50, 4))];
    let believed = [(1, 200, Trust::Sure), (1, 50, Trust::Sure)];
    assert_eq!(exchanges(&listen(&[&first[..], &caught_up].concat())), believed);
    // An exception has no shape.
    let refused = [(300, ask(1, 200, 6)), (20, sealed(&[1, 0x83, 2])), (300, ask(1, 50, 4)), (20, tell(1, 100, 4))];
    assert_eq!(exchanges(&listen(&[&first[..], &refused].concat())), [(1, 200, Trust::Sure)]);
    // One that asks for nothing of another shape is believed again in the end.
    let turn = [(480, ask(1, 0, 4)), (20, tell(1, 0, 4)), (480, ask(1, 100, 4)), (20, tell(1, 100, 4))];
    let mut pieces = first[..2].to_vec();
    pieces.extend(std::iter::repeat_n(turn, 50).flatten());
    let heard = exchanges(&listen(&pieces));
    assert!((12..=22).contains(&heard.len()) && heard.iter().all(|(.., trust)| *trust == Trust::Sure), "{heard:?}");
}

#[test]
fn an_answer_that_is_said_twice_is_believed_for_no_question() {
    let twice = [tell(1, 0, 4), tell(1, 0, 4)].concat();
    let heard = listen(&[(0, ask(1, 0, 4)), (20, twice), (30, ask(2, 0, 4)), (20, tell(2, 0, 4))]);
    assert_eq!(exchanges(&heard), [(2, 0, Trust::Sure)]);
    // The copy comes after the next question, and the right answer after the copy.
    let heard = listen(&[
        (0, ask(1, 0, 4)),
        (20, tell(1, 0, 4)),
        (9, ask(1, 100, 4)),
        (1, tell(1, 0, 4)),
        (20, tell(1, 100, 4)),
    ]);
    assert_eq!(exchanges(&heard), [(1, 0, Trust::Sure)]);
    // The copy comes in place of the right answer.
    let heard = listen(&[(0, ask(1, 0, 4)), (20, tell(1, 0, 4)), (9, ask(1, 100, 4)), (1, tell(1, 0, 4))]);
    assert_eq!(exchanges(&heard), [(1, 0, Trust::Sure), (1, 100, Trust::Suspect)]);
}

#[test]
fn noise_when_no_answer_can_come_any_more_is_nobodys_damaged_answer() {
    let lost = |heard: &[Heard]| -> Vec<usize> {
        heard.iter().filter_map(|h| if let Heard::Unanswered(_, noise) = h { Some(*noise) } else { None }).collect()
    };
    let answers_in_30_ms = [(0, ask(1, 0, 4)), (30, tell(1, 0, 4)), (500, ask(1, 0, 4))];
    let with = |rest: &[(u64, Vec<u8>)]| listen(&[answers_in_30_ms.as_slice(), rest].concat());
    let noise = vec![0xFF; 5];
    assert_eq!(lost(&with(&[(30, noise.clone()), (900, ask(2, 0, 4))])), [5], "where its answer would be");
    assert_eq!(lost(&with(&[(900, noise.clone()), (1, ask(2, 0, 4))])), [0], "a driver that is switched on");
    // The beginning of an answer whose rest never comes is known for noise only later.
    assert_eq!(lost(&with(&[(30, tell(1, 0, 4)[..7].to_vec()), (900, ask(2, 0, 4))])), [7]);
    // Nobody knows how long a unit takes that never answered.
    assert_eq!(lost(&listen(&[(0, ask(3, 0, 4)), (900, noise), (60, ask(2, 0, 4))])), [5]);
}

#[test]
fn damage_and_noise_cost_what_they_hit_and_nothing_else() {
    let mut broken = tell(1, 0, 4);
    broken[5] ^= 1;
    let noise = vec![0xFF, 0x03, 0x00, 0xC1];
    let heard = listen(&[
        (0, noise),
        (60, ask(1, 0, 4)),
        (20, broken),
        (300, ask(2, 0, 4)),
        (20, tell(2, 0, 4)),
        (20, ask(1, 0, 4)),
        (20, tell(1, 0, 4)),
    ]);
    assert_eq!(exchanges(&heard), [(2, 0, Trust::Sure), (1, 0, Trust::Sure)]);
    assert!(heard.iter().any(|h| matches!(h, Heard::Noise(n) if *n >= 4)));
    let unanswered =
        |h: &Heard| if let Heard::Unanswered(asked, noise) = h { Some((asked.unit, *noise)) } else { None };
    let expected = [(1, 13)];
    assert_eq!(
        heard.iter().filter_map(unanswered).collect::<Vec<_>>(),
        expected,
        "the noise before it is not its answer"
    );
}

#[test]
fn exceptions_and_writes_are_exchanges_without_data() {
    let write = sealed(&[7, 6, 0, 1, 0, 9]);
    let heard = listen(&[(0, ask(7, 0, 2)), (9, sealed(&[7, 0x83, 2])), (20, write.clone()), (9, write)]);
    let contents: Vec<_> = heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Exchange(exchange) => Some(exchange.content.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(contents, [Content::Exception(2), Content::Written]);
}

#[test]
fn units_maps_and_periods_are_learned() {
    let mut ear = Ear::default();
    let mut learned = Learned::default();
    let mut now = Duration::ZERO;
    let mut hear = |after: u64, bytes: &[u8]| {
        now += ms(after);
        ear.hear(now, bytes).iter().for_each(|heard| learned.note(now, heard));
    };
    for _ in 0..20 {
        for (unit, address, count) in [(1, 0, 10), (1, 10, 6), (1, 100, 2), (4, 0, 2)] {
            hear(10, &ask(unit, address, count));
            hear(15, &tell(unit, address, count));
        }
        hear(10, &ask(9, 0, 2));
        hear(890, &[]);
    }
    assert_eq!(learned.units(), [1, 4], "unit 9 never answers");
    let range = |first, last| Range { function: 3, first, last };
    assert_eq!(learned.ranges(1), [range(0, 15), range(100, 101)]);
    let (_, seen) = learned.questions().find(|(q, _)| q.unit == 4).unwrap();
    let period = seen.period.unwrap();
    assert!((ms(950)..ms(1_050)).contains(&period), "{period:?}");
    assert_eq!(seen.took, Some((ms(15), ms(15))));
}

proptest! {
    /// A master and its units with every fault of a line: whatever is believed for sure is what was asked.
    #[test]
    fn no_overheard_value_ever_stands_under_another_name(
        seed in any::<u64>(),
        turns in prop::collection::vec((0u8..12, 1u8..4, 0u16..6, prop::sample::select(vec![2u16, 4])), 1..60),
        size in 1usize..40,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut late: Option<Vec<u8>> = None;
        for (fault, unit, block, count) in turns {
            let address = block * 50;
            pieces.push((rng.u64(5..60), ask(unit, address, count)));
            // An answer that is under way from before comes first; a unit answers in order.
            if let Some(answer) = late.take() {
                pieces.push((rng.u64(1..30), answer));
            }
            let mut answer = tell(unit, address, count);
            match fault {
                0 => continue,
                1 => { late = Some(answer); continue }
                2 => { let at = rng.usize(..answer.len()); answer[at] ^= 1 << rng.u8(..8); }
                3 => answer.truncate(rng.usize(1..answer.len())),
                4 => pieces.push((1, (0..rng.usize(1..30)).map(|_| rng.u8(..)).collect())),
                5 => answer = [answer.clone(), answer].concat(),
                _ => {}
            }
            for piece in answer.chunks(size) {
                pieces.push((rng.u64(1..10), piece.to_vec()));
            }
        }
        for heard in listen(&pieces) {
            let Heard::Exchange(Exchange { asked, trust: Trust::Sure, content: Content::Data(data), .. }) = heard else { continue };
            let own = tell(asked.unit, asked.address, asked.count);
            prop_assert_eq!(&data[..], &own[3..own.len() - 2], "{:?}", asked);
        }
    }

    #[test]
    fn no_bytes_whatever_make_it_panic_or_grow(pieces in prop::collection::vec((0u64..400, prop::collection::vec(any::<u8>(), 0..700)), 0..30)) {
        let (mut ear, mut now) = (Ear::default(), Duration::ZERO);
        for (after, piece) in pieces {
            now += ms(after);
            ear.hear(now, &piece);
            prop_assert!(ear.waiting() <= FRAME_MAX);
        }
    }
}

/// The answer of a unit that counts in two bytes.
fn tell_long(unit: u8, words: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    sealed(&[&[unit, 3, 0, data.len() as u8], data.as_slice()].concat())
}

fn listen_knowing(units: &[u8], pieces: &[(u64, Vec<u8>)]) -> Vec<Heard> {
    let mut ear = Ear::with_two_byte_counts(units.iter().copied());
    let (mut now, mut heard) = (Duration::ZERO, Vec::new());
    for (after, piece) in pieces {
        now += ms(*after);
        heard.extend(ear.hear(now, piece));
    }
    heard.extend(ear.quiet(now + CONFIRM_MAX));
    heard
}

#[test]
fn answers_with_a_byte_count_of_two_bytes_are_followed_where_the_unit_is_known_to_count_so() {
    let frames = [ask(7, 0x100, 3), tell_long(7, &[1, 2, 3]), ask(1, 0, 4), tell(1, 0, 4)];
    for size in [1, 2, 3, 5, 8, 64] {
        let pieces: Vec<_> = frames.concat().chunks(size).map(|piece| (1, piece.to_vec())).collect();
        let heard = listen_knowing(&[7], &pieces);
        assert_eq!(exchanges(&heard), [(7, 0x100, Trust::Sure), (1, 0, Trust::Sure)], "pieces of {size}: {heard:?}");
        assert!(
            matches!(&heard[0], Heard::Exchange(e) if e.content == Content::Data(vec![0, 1, 0, 2, 0, 3])),
            "{heard:?}"
        );
    }
    let pieces: Vec<_> = frames.iter().map(|frame| (100, frame.clone())).collect();
    let heard = listen(&pieces);
    assert_eq!(exchanges(&heard), [(1, 0, Trust::Sure)], "without the profile it is noise, and spoils no neighbour");
    let refused = listen_knowing(&[7], &[(0, ask(7, 0x100, 3)), (30, sealed(&[7, 0x83, 2]))]);
    assert!(matches!(&refused[0], Heard::Exchange(e) if e.content == Content::Exception(2)), "{refused:?}");
}

#[test]
fn an_answer_that_could_be_the_next_question_is_no_answer() {
    // One register that holds 5 is, byte for byte, the question for five registers from address 2 on.
    let answer = tell_long(7, &[5]);
    assert_eq!(answer, ask(7, 2, 5));
    let heard = listen_knowing(&[7], &[(0, ask(7, 0x10, 1)), (500, answer), (30, tell_long(7, &[1, 2, 3, 4, 5]))]);
    assert_eq!(exchanges(&heard), [], "{heard:?}");
    let heard = listen_knowing(&[7], &[(0, ask(7, 0x10, 1)), (30, tell_long(7, &[0x1234]))]);
    assert_eq!(exchanges(&heard), [(7, 0x10, Trust::Sure)], "no question asks for 4660 registers");
}

proptest! {
    /// Whatever values the registers hold, none is told that was not in an answer to that very question.
    #[test]
    fn no_value_of_a_unit_that_counts_in_two_bytes_comes_under_a_wrong_name(
        polls in prop::collection::vec((0u16..12, 1u16..4, 0u8..4), 1..40),
    ) {
        let mut ear = Ear::with_two_byte_counts([7]);
        let (mut now, mut heard) = (Duration::ZERO, Vec::new());
        let word = |address: u16| 40 + address;
        for (address, count, fate) in polls {
            now += ms(400);
            heard.extend(ear.hear(now, &ask(7, address, count)));
            let words: Vec<u16> = (address..address + count).map(word).collect();
            if fate > 0 {
                now += ms(30);
                heard.extend(ear.hear(now, &tell_long(7, &words)));
            }
        }
        heard.extend(ear.quiet(now + CONFIRM_MAX));
        for heard in heard {
            let Heard::Exchange(Exchange { asked, content: Content::Data(data), .. }) = heard else { continue };
            let said: Vec<u16> = data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
            let true_words: Vec<u16> = (asked.address..asked.address + asked.count).map(word).collect();
            prop_assert_eq!(said, true_words);
        }
    }
}
