//! What the tap of a line tells, and what is kept as evidence.

use super::*;
use crate::tap::{Outcome, Seen};

#[tokio::test(start_paused = true)]
async fn every_transaction_is_told_with_its_bytes_and_ends_once() {
    let acts = [Act::Answer, Act::Drop, Act::Answer, Act::FlipBit(60), Act::OtherUnit, Act::Refuse(6), Act::Late(140)];
    for timing in [rtu(), tcp()] {
        let mut rig = Rig::start(timing, 3, Facts { script: acts.iter().cloned().collect(), ..Facts::default() });
        let mut listener = rig.handle.tap().listen(10_000).unwrap();
        rig.run(Duration::from_secs(5)).await;
        rig.stop.cancel();
        (&mut rig.task).await.unwrap();
        let events: Vec<Seen> = std::iter::from_fn(|| listener.next_now()).map(|event| event.seen).collect();
        assert_eq!(listener.lost(), 0);

        let sent = events.iter().filter(|seen| matches!(seen, Seen::Sent(_))).count();
        let settled: Vec<Outcome> = events
            .iter()
            .filter_map(|seen| match seen {
                Seen::Settled { outcome, .. } => Some(*outcome),
                _ => None,
            })
            .collect();
        assert_eq!(sent, settled.len(), "each request that was sent ends, and ends once");
        assert_eq!(sent, rig.asked().len(), "and nothing else is told as sent");
        for outcome in [Outcome::Answered, Outcome::Exception(6), Outcome::Timeout, Outcome::Discarded] {
            assert!(settled.contains(&outcome), "{outcome:?}");
        }
        assert!(events.iter().any(|seen| matches!(seen, Seen::Discarded { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn the_evidence_of_a_point_holds_the_frames_it_came_from() {
    let mut rig = Rig::start(rtu(), 1, Facts { script: [Act::Drop].into(), ..Facts::default() });
    rig.run(Duration::from_millis(700)).await;
    let asked = rig.asked()[0];
    let table = if asked.function == 4 { Table::Input } else { Table::Holding };
    let known = rig.handle.tap().evidence().of(asked.unit, table, asked.address, asked.count).unwrap();
    assert_eq!(known.answers.last().unwrap().attempt, 2, "the first attempt was not answered");
    let newest = &known.answers[0];
    let [high, low] = asked.address.to_be_bytes();
    assert_eq!(newest.sent[..6], [asked.unit, asked.function, high, low, 0, asked.count as u8]);
    assert_eq!(newest.received[..3], [asked.unit, asked.function, (2 * asked.count) as u8]);
    assert_eq!(newest.received[3..5], ident(asked.unit, table, asked.address).to_be_bytes());
}
