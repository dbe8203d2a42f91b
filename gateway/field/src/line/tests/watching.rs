//! What the tap of a line tells, and what is kept as evidence.

use std::collections::BTreeMap;

use guanjia_core::decode::{self, Decoder};

use super::*;
use crate::evidence::ScrapKind;
use crate::replay::{Meaning, Replay, points_in};
use crate::session::Content;
use crate::stats::Discard;
use crate::tap::{Event, Listener, Outcome, Seen};
use crate::trace::{self, Envelope, Header, Reader, Record, Role};

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

/// Everything a listener hears of a rig, as a trace and read back from it.
fn traced(listener: &mut Listener, envelope: Envelope) -> (Header, Vec<Event>) {
    let header = Header { line: "line".into(), envelope, role: Role::Master };
    let events = std::iter::from_fn(|| listener.next_now());
    let records = events.map(|event| Record::Event(event).text(Timestamp::EPOCH, Duration::ZERO));
    let text = header.text() + &records.collect::<String>();
    let mut reader = Reader::default();
    let (mut read_header, mut read_events) = (None, Vec::new());
    for line in text.lines() {
        match reader.read(line).unwrap() {
            trace::Line::Nothing => {}
            trace::Line::Header(header) => read_header = Some(header),
            trace::Line::Record(Record::Event(event)) => read_events.push(event),
            trace::Line::Record(Record::Lost(n)) => panic!("{n} lost"),
        }
    }
    (read_header.unwrap(), read_events)
}

/// The values a trace holds, decoded by the test's profile: device, point, value.
fn replayed(header: &Header, events: &[Event]) -> (Vec<(u32, usize, Value)>, Vec<Meaning>) {
    let profile = profile();
    let (mut replay, mut values, mut meanings) = (Replay::new(header), Vec::new(), Vec::new());
    for told in events.iter().flat_map(|event| replay.feed(event)) {
        if let (Meaning::Answer(content), Some(asked)) = (&told.meaning, told.asked) {
            let (extent, points) = points_in(&profile, &asked).unwrap();
            let answer = match content {
                Content::Words(words) => decode::Answer::Words(words),
                Content::Bits(bits) => decode::Answer::Bits(bits),
            };
            let mut decoder = Decoder::new(Arc::clone(&profile), |_| Duration::MAX);
            decoder.answer(extent, answer, &points, told.since, |i, value| {
                values.push((u32::from(asked.unit) - 1, i, value.unwrap()));
            });
        }
        meanings.push(told.meaning);
    }
    (values, meanings)
}

/// How often each device's point had each value.
fn counted(values: impl Iterator<Item = (u32, usize, Value)>) -> BTreeMap<(u32, usize, String), usize> {
    let mut counts = BTreeMap::new();
    for (device, point, value) in values {
        *counts.entry((device, point, value.to_string())).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_captured_line_replays_to_the_readings_it_gave() {
    for (timing, envelope) in [(rtu(), Envelope::Rtu), (tcp(), Envelope::Tcp)] {
        let mut rig = Rig::start(timing, 3, Facts::default());
        let mut listener = rig.handle.tap().listen(10_000).unwrap();
        rig.run(Duration::from_secs(5)).await;
        rig.stop.cancel();
        (&mut rig.task).await.unwrap();
        rig.run(Duration::ZERO).await;
        let (header, events) = traced(&mut listener, envelope);
        let (values, meanings) = replayed(&header, &events);
        let reported = rig.readings().map(|r| (r.point.0 / 100, (r.point.0 % 100) as usize, r.value.clone().unwrap()));
        let (reported, replayed) = (counted(reported), counted(values.into_iter()));
        assert_eq!(reported.len(), 3 * POINTS.len());
        for (reading, count) in &reported {
            // Over RTU reads stand between two of one shape that nobody wants to know the answers of.
            let again = replayed.get(reading).copied().unwrap_or(0);
            assert!(again == *count || envelope == Envelope::Rtu && again > *count, "{reading:?}: {again} of {count}");
        }
        assert_eq!(replayed.len(), reported.len(), "and no value that was not given");
        assert!(meanings.iter().all(|meaning| matches!(meaning, Meaning::Answer(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_captured_line_that_lies_replays_to_what_the_gateway_refused() {
    let acts = [
        Act::Answer,
        Act::FlipBit(60),
        Act::Answer,
        Act::OtherUnit,
        Act::Refuse(6),
        Act::Drop,
        Act::Answer,
        Act::Late(140),
        Act::Twice(2),
    ];
    let mut rig = Rig::start(rtu(), 3, Facts { script: acts.iter().cloned().collect(), ..Facts::default() });
    let mut listener = rig.handle.tap().listen(10_000).unwrap();
    rig.run(Duration::from_secs(5)).await;
    let (header, events) = traced(&mut listener, Envelope::Rtu);
    let (values, meanings) = replayed(&header, &events);
    for (device, point, value) in values {
        let (name, table, address, wire, _) = POINTS[point];
        let word = |address| i128::from(ident(device as u8 + 1, table, address));
        let own = if wire == WireType::U32 { word(address) << 16 | word(address + 1) } else { word(address) };
        assert_eq!(value, Value::Decimal(Decimal::new(own, 0)), "{name}");
    }
    let refused = |kind| Meaning::Refused(kind);
    for meaning in [
        refused(ScrapKind::Discarded(Discard::Damaged)),
        refused(ScrapKind::Discarded(Discard::Foreign)),
        refused(ScrapKind::Unasked),
        Meaning::Exception(6),
        Meaning::NoAnswer,
    ] {
        assert!(meanings.contains(&meaning), "{meaning:?} in {meanings:?}");
    }
}

/// A line that is listened to; whatever is sent into the channel is heard on it.
fn listening(count: u8) -> (Rig, mpsc::Sender<Vec<u8>>) {
    let (wire, mut bytes) = mpsc::channel::<Vec<u8>>(10_000);
    let (ends, mut opened) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut end: Option<tokio::io::DuplexStream> = None;
        loop {
            tokio::select! {
                Some(next) = opened.recv() => end = Some(next),
                piece = bytes.recv() => match piece {
                    // Nothing at all means that the cable is pulled.
                    Some(piece) if piece.is_empty() => end = None,
                    Some(piece) => {
                        if let Some(end) = &mut end
                            && tokio::io::AsyncWriteExt::write_all(end, &piece).await.is_err()
                        {
                            // Nobody listens any more: the test is over.
                            return;
                        }
                    }
                    None => return,
                },
            }
        }
    });
    let dial = Dial::Script(Box::new(move || {
        let (ours, theirs) = tokio::io::duplex(4096);
        ends.try_send(theirs).ok()?;
        Some(crate::link::Stream::Memory(ours))
    }));
    let (sender, reports) = mpsc::channel(10_000);
    let stop = CancellationToken::new();
    let (handle, task) = listen::start("line".into(), dial, rtu(), devices(count), sender.clone(), stop.clone());
    let rig = Rig { facts: Shared::default(), handle, sender, reports, seen: Vec::new(), stop, task };
    (rig, wire)
}

#[tokio::test(start_paused = true)]
async fn what_another_master_reads_is_read_here_under_the_right_names() {
    let acts =
        [Act::Answer, Act::Late(140), Act::FlipBit(30), Act::Twice(2), Act::Drop, Act::Split(8), Act::Garbage(3)];
    let script = (0..400).map(|i| if i % 5 == 0 { acts[i / 5 % acts.len()].clone() } else { Act::Answer }).collect();
    let mut master = Rig::start(rtu(), 3, Facts { script, ..Facts::default() });
    let mut tap = master.handle.tap().listen(10_000).unwrap();
    let (mut rig, wire) = listening(3);
    tokio::spawn(async move {
        while let Some(event) = tap.next().await {
            if let Seen::Sent(bytes) | Seen::Received(bytes) | Seen::Skipped(bytes) = event.seen {
                let _ = wire.try_send(bytes.to_vec());
            }
        }
    });
    for _ in 0..60 {
        master.run(Duration::from_secs(1)).await;
        rig.run(Duration::ZERO).await;
    }
    rig.assert_names();
    for device in 0..3 {
        assert_eq!(rig.healths(device).first(), Some(&DeviceHealth::Answering));
        for (point, ..) in POINTS {
            assert_eq!(rig.last(device, point).quality, Quality::Good, "{point} of {device}");
        }
    }
    let (heard, asked) = (rig.readings().count(), master.readings().count());
    assert!(heard * 10 > asked * 7, "{heard} of {asked} readings were heard");
    let known = rig.handle.tap().evidence().of(1, Table::Holding, 0, 1).unwrap();
    assert_eq!(known.answers[0].received[..2], [1, 3], "a value that was overheard is explained like any other");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_listened_to_tells_silence_and_a_pulled_cable_and_sends_nothing() {
    let (mut rig, wire) = listening(2);
    let sealed = |bytes: &[u8]| [bytes, &crate::frame::crc16(bytes).to_le_bytes()].concat();
    let ask = |unit: u8| sealed(&[unit, 3, 0, 0, 0, 2]);
    let tell = |unit: u8| {
        let words = [0, 1].map(|address| ident(unit, Table::Holding, address).to_be_bytes()).concat();
        sealed(&[&[unit, 3, 4], words.as_slice()].concat())
    };
    let play = async |rig: &mut Rig, frames: &[Vec<u8>]| {
        for frame in frames {
            wire.try_send(frame.clone()).unwrap();
            rig.run(Duration::from_millis(300)).await;
        }
    };
    rig.run(Duration::from_millis(10)).await;
    play(&mut rig, &[ask(1), tell(1), ask(2), tell(2)]).await;
    rig.assert_names();
    assert_eq!(rig.last(1, "fault").quality, Quality::Good);
    play(&mut rig, &[ask(2), ask(2), ask(2), ask(1), tell(1)]).await;
    let silent = |reason| DeviceHealth::Silent(reason);
    assert_eq!(rig.healths(1), [DeviceHealth::Answering, silent(BadReason::NoAnswer)]);
    assert_eq!(rig.last(1, "fault").quality, Quality::Bad(BadReason::NoAnswer));
    assert_eq!(rig.last(0, "fault").quality, Quality::Good);

    let command = RelayCommand {
        device: DeviceIx(0),
        relay: 0,
        action: RelayAction::Open,
        valid_until: Timestamp::MAX,
        version: 1,
        current_version: Arc::new(AtomicU64::new(1)),
    };
    assert_eq!(rig.handle.relay(command).await, RelayOutcome::NoRelay);

    play(&mut rig, &[vec![]]).await;
    assert_eq!(rig.healths(0).last(), Some(&silent(BadReason::LineDown)));
    rig.run(Duration::from_secs(2)).await;
    play(&mut rig, &[ask(1), tell(1)]).await;
    assert_eq!(rig.healths(0).last(), Some(&DeviceHealth::Answering));
    assert_eq!(rig.last(0, "fault").quality, Quality::Good);
    rig.end().await;
}
