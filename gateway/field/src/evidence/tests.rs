//! What is kept of a line, and how much of it.

use tokio::time::Instant;

use super::*;
use crate::clock::Moment;

fn question(unit: u8, address: u16, count: u16) -> Question {
    Question { unit, function: 3, address, count }
}

fn settle(file: &EvidenceFile, asked: Question, outcome: Outcome, answer: &[u8], at: i64) {
    let took = Duration::from_millis(12);
    let ended = Moment { instant: Instant::now(), at: Timestamp::from_millis(at) };
    let sent = [asked.unit, asked.function, 0, 0, 0, 0, 0, 0];
    file.settled(&Settled { asked, outcome, took, ended, sent: &sent, answer });
}

#[test]
fn the_last_answers_and_the_attempts_are_kept() {
    let file = EvidenceFile::default();
    let asked = question(7, 100, 10);
    settle(&file, asked, Outcome::Answered, &[1], 1_000);
    settle(&file, asked, Outcome::Answered, &[2], 2_000);
    settle(&file, asked, Outcome::Timeout, &[], 3_000);
    settle(&file, asked, Outcome::Discarded, &[], 3_500);
    settle(&file, asked, Outcome::Answered, &[3], 4_000);
    settle(&file, asked, Outcome::Timeout, &[], 5_000);

    let known = file.of(7, Table::Holding, 104, 2).unwrap();
    let answers: Vec<_> = known.answers.iter().map(|a| (a.received[0], a.at.as_millis(), a.attempt)).collect();
    assert_eq!(answers, [(3, 4_000, 3), (2, 2_000, 1), (1, 1_000, 1)]);
    assert_eq!(known.answers[0].took, Duration::from_millis(12));
    assert_eq!((known.outcome, known.misses, known.at.as_millis()), (Outcome::Timeout, 1, 5_000));
}

#[test]
fn words_and_bits_are_found_in_every_kind_of_frame() {
    let proof = |sent: &[u8], received: &[u8]| Proof {
        sent: sent.to_vec(),
        received: received.to_vec(),
        at: Timestamp::EPOCH,
        took: Duration::ZERO,
        attempt: 1,
    };
    let rtu = proof(&[7, 3, 0, 100, 0, 2, 1, 1], &[7, 3, 4, 0, 1, 0, 2, 9, 9]);
    let tcp = proof(&[0, 5, 0, 0, 0, 6, 7, 3, 0, 100, 0, 2], &[0, 5, 0, 0, 0, 7, 7, 3, 4, 0, 1, 0, 2]);
    let ascii = proof(b":07030064000290\r\n", b":07030400010002EF\r\n");
    let known = |function| Evidence {
        asked: Question { unit: 7, function, address: 100, count: 2 },
        answers: Vec::new(),
        outcome: Outcome::Answered,
        at: Timestamp::EPOCH,
        misses: 0,
    };
    for proof in [&rtu, &tcp, &ascii] {
        assert_eq!(known(3).words(proof, 100, 2), Some(vec![1, 2]));
        assert_eq!(known(3).words(proof, 101, 1), Some(vec![2]));
        assert_eq!(known(3).words(proof, 101, 2), None);
        assert_eq!(known(3).words(proof, 99, 1), None);
    }
    let coils = proof(&[7, 1, 0, 100, 0, 10, 1, 1], &[7, 1, 2, 0b1000_0000, 0b10, 9, 9]);
    let bits: Vec<_> = [107, 108, 109, 116].map(|address| known(1).bit(&coils, address)).into();
    assert_eq!(bits, [Some(true), Some(false), Some(true), None]);
}

#[test]
fn a_point_is_explained_by_a_request_that_covers_it_whole() {
    let file = EvidenceFile::default();
    settle(&file, question(7, 100, 10), Outcome::Answered, &[1], 1_000);
    settle(&file, question(7, 108, 4), Outcome::Answered, &[2], 2_000);
    settle(&file, question(8, 100, 10), Outcome::Answered, &[3], 3_000);
    let answer = |address, count| file.of(7, Table::Holding, address, count).map(|e| e.answers[0].received[0]);
    assert_eq!(answer(100, 2), Some(1));
    assert_eq!(answer(108, 2), Some(2), "the newer of two that cover it");
    assert_eq!(answer(109, 2), Some(2), "the other one ends in the middle of it");
    assert_eq!(answer(99, 2), None);
    assert_eq!(file.of(7, Table::Input, 100, 2), None, "another table is another place");
}

#[test]
fn what_is_kept_is_bounded() {
    let file = EvidenceFile::default();
    for address in 0..=REQUESTS_MAX as u16 {
        settle(&file, question(1, address, 1), Outcome::Answered, &[1], i64::from(address));
    }
    assert_eq!(file.lock().entries.len(), REQUESTS_MAX);
    assert_eq!(file.of(1, Table::Holding, 0, 1), None, "the oldest made room");
    for n in 0..=SCRAPS_MAX {
        let kind = ScrapKind::Discarded(Discard::Foreign);
        file.discarded(kind, Some(question(1, 0, 1)), &[0; 1_000], Timestamp::from_millis(n as i64));
    }
    let scraps = file.scraps();
    assert_eq!((scraps.len(), scraps[0].frame.len()), (SCRAPS_MAX, SCRAP_BYTES_MAX));
    assert_eq!(scraps[0].at.as_millis(), SCRAPS_MAX as i64, "newest first");
}

#[test]
fn bytes_nobody_asked_for_are_kept_in_one_piece_while_they_come() {
    let file = EvidenceFile::default();
    for (millis, byte) in [(0, 12), (5, 3), (10, 2), (500, 9)] {
        file.discarded(ScrapKind::Unasked, None, &[byte], Timestamp::from_millis(millis));
    }
    let frames: Vec<Vec<u8>> = file.scraps().into_iter().map(|s| s.frame).collect();
    assert_eq!(frames, [vec![9], vec![12, 3, 2]]);
    assert!(file.scraps()[1].concerns(12));
}

#[test]
fn a_small_line_keeps_the_last_eight_answers_to_every_request() {
    let file = EvidenceFile::default();
    for round in 0..20u8 {
        for unit in 1..=32 {
            settle(&file, question(unit, 100, 100), Outcome::Answered, &[round; 205], i64::from(round));
        }
    }
    for unit in 1..=32 {
        let known = file.of(unit, Table::Holding, 100, 1).unwrap();
        let rounds: Vec<u8> = known.answers.iter().map(|a| a.received[0]).collect();
        assert_eq!(rounds, [19, 18, 17, 16, 15, 14, 13, 12], "newest first");
        assert!(known.answers.iter().all(|a| a.at.as_millis() == i64::from(a.received[0])));
    }
}

#[test]
fn what_the_older_answers_take_is_bounded_and_the_last_two_are_always_there() {
    let file = EvidenceFile::default();
    for round in 0..20u8 {
        for address in 0..500 {
            settle(&file, question(1, address, 100), Outcome::Answered, &[round; 205], i64::from(round));
        }
    }
    let kept: Vec<usize> = (0..500).map(|a| file.of(1, Table::Holding, a, 100).unwrap().answers.len()).collect();
    assert!(kept.iter().all(|kept| (ANSWERS_KEPT..=ANSWERS_MAX).contains(kept)), "{kept:?}");
    let past: usize = kept.iter().map(|kept| kept - ANSWERS_KEPT).sum();
    let bytes = file.lock().past_bytes;
    assert!(bytes <= PAST_BYTES_MAX && past * 205 <= bytes, "{past} older answers in {bytes} bytes");
    assert!(past > 200, "the budget is used: {past}");

    // 500 devices with one read of 100 registers each, wherever they are: what the ring adds to the two answers.
    let alone = EvidenceFile::default();
    for round in 0..20u8 {
        settle(&alone, question(1, 0, 100), Outcome::Answered, &[round; 205], i64::from(round));
    }
    let each = alone.lock().past_bytes;
    assert!(500 * each < 1_000_000, "{each} bytes a read");
}

#[test]
fn a_request_that_makes_room_gives_its_bytes_back() {
    let file = EvidenceFile::default();
    for round in 0..8u8 {
        for address in 0..40 {
            settle(&file, question(1, address, 100), Outcome::Answered, &[round; 205], i64::from(round));
        }
    }
    assert!(file.lock().past_bytes > 0);
    for address in 0..REQUESTS_MAX as u16 {
        settle(&file, question(2, address, 1), Outcome::Answered, &[1; 7], 1_000 + i64::from(address));
    }
    assert_eq!(file.lock().past_bytes, 0, "none of the old requests is left");
}

#[test]
fn each_answer_is_shown_under_the_number_it_was_asked_with_and_under_no_other_question() {
    let file = EvidenceFile::default();
    let asked = question(7, 100, 2);
    let ask = |sent: &[u8], answer: &[u8]| {
        let ended = Moment { instant: Instant::now(), at: Timestamp::EPOCH };
        let settled = Settled { asked, outcome: Outcome::Answered, took: Duration::ZERO, ended, sent, answer };
        file.settled(&settled);
    };
    let tcp = |tid: u8| [0x10, tid, 0, 0, 0, 6, 7, 3, 0, 100, 0, 2];
    for tid in 0..5 {
        ask(&tcp(tid), &[0x10, tid, 9]);
    }
    let known = file.of(7, Table::Holding, 100, 2).unwrap();
    for answer in &known.answers {
        assert_eq!(answer.sent, tcp(answer.received[1]));
    }
    assert_eq!(known.answers.len(), 5);
    ask(&[7, 3, 0, 100, 0, 2, 1, 1], &[7, 3, 4]);
    let known = file.of(7, Table::Holding, 100, 2).unwrap();
    assert_eq!(known.answers.len(), 1, "the line speaks another framing now");
}
