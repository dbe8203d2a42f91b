//! What is promised to devices and to subscribers, whatever the broker forgets and whoever is killed.

use super::*;

#[tokio::test]
async fn a_message_is_acknowledged_after_everybody_has_stored_it_and_not_before() {
    let mut bench = Bench::start(None).await;
    bench.subscribed().await;
    bench.deliver(7, r#"{"volume_l":1}"#, false);
    assert_eq!(bench.readings().await[0].quality, Quality::Good);
    let receipt = bench.receipt().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.acknowledged(), [0u16; 0], "the alarms have not written what follows from it");
    receipt.stored();
    bench.broker.until("no acknowledgement", |state| state.acknowledged == [7]).await;
    let kept = bench.journal.store.kept_messages("local").await.unwrap();
    assert_eq!((kept.len(), kept[0].payload.as_slice()), (1, &br#"{"volume_l":1}"#[..]));
    bench.end().await;
}

#[tokio::test]
async fn acknowledgements_leave_in_the_order_in_which_the_messages_came() {
    let mut bench = Bench::start(None).await;
    bench.subscribed().await;
    bench.deliver(4, r#"{"volume_l":1}"#, false);
    bench.deliver(5, r#"{"volume_l":2}"#, false);
    let (first, second) = (bench.receipt().await, bench.receipt().await);
    give_back(second);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.acknowledged(), [0u16; 0], "the first is not stored");
    give_back(first);
    bench.broker.until("no acknowledgements", |state| state.acknowledged == [4, 5]).await;
    bench.end().await;
}

#[tokio::test]
async fn a_message_that_comes_again_is_read_once_and_acknowledged_once_it_is_stored() {
    let mut bench = Bench::start(None).await;
    bench.broker.state.lock().unwrap().resumes = true;
    bench.subscribed().await;
    bench.deliver(7, r#"{"volume_l":1}"#, false);
    bench.readings().await;
    let receipt = bench.receipt().await;
    bench.broker.say.send(Order::Drop).unwrap();
    bench.broker.until("no second session", |state| state.connects == 2 && state.subscribed.len() == 4).await;
    bench.deliver(7, r#"{"volume_l":1}"#, true);
    give_back(receipt);
    bench.broker.until("no acknowledgement", |state| state.acknowledged == [7]).await;
    bench.deliver(7, r#"{"volume_l":1}"#, true);
    bench.broker.until("no second acknowledgement", |state| state.acknowledged == [7, 7]).await;
    bench.deliver(8, r#"{"volume_l":1}"#, false);
    let mut values = 0;
    while values == 0 {
        values += usize::from(bench.readings().await.iter().any(|reading| reading.value.is_some()));
    }
    let receipt = bench.receipt().await;
    give_back(receipt);
    bench.broker.until("no third acknowledgement", |state| state.acknowledged == [7, 7, 8]).await;
    assert!(bench.messages.try_recv().is_err(), "the repetitions said nothing");
    bench.end().await;
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_looked_at_again_after_it() {
    let mut bench = Bench::start(None).await;
    bench.broker.state.lock().unwrap().resumes = true;
    bench.subscribed().await;
    bench.deliver(3, r#"{"volume_l":41000}"#, false);
    bench.readings().await;
    let receipt = bench.receipt().await;
    give_back(receipt);
    bench.broker.until("no acknowledgement", |state| state.acknowledged == [3]).await;
    let (broker, journal) = bench.kill().await;
    let mut bench = Bench::with(broker, journal, None);
    let readings = bench.readings().await;
    assert_eq!(readings[0].value, Some(Value::Decimal(Decimal::new(41_000, -3))));
    assert_eq!(readings[0].quality, Quality::Good);
    bench.broker.until("no second session", |state| state.subscribed.len() == 4).await;
    bench.deliver(3, r#"{"volume_l":41000}"#, true);
    bench.broker.until("no acknowledgement", |state| state.acknowledged == [3, 3]).await;
    bench.end().await;
}

#[tokio::test]
async fn a_message_nobody_had_stored_before_a_kill_is_read_when_the_broker_sends_it_again() {
    let mut bench = Bench::start(None).await;
    bench.broker.state.lock().unwrap().resumes = true;
    bench.subscribed().await;
    bench.journal.store.close().await;
    bench.deliver(3, r#"{"volume_l":5}"#, false);
    let receipt = bench.receipt().await;
    give_back(receipt);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.acknowledged(), [0u16; 0], "the journal has not written it");
    let (broker, journal) = bench.kill().await;
    let (store, _) = Store::open(journal.dir.path(), "test").await.unwrap();
    let mut bench = Bench::with(broker, Journal { store, dir: journal.dir }, None);
    bench.broker.until("no second session", |state| state.subscribed.len() == 4).await;
    bench.deliver(3, r#"{"volume_l":5}"#, true);
    assert_eq!(bench.readings().await[0].value, Some(Value::Decimal(Decimal::new(5, -3))));
    bench.end().await;
}

#[tokio::test]
async fn everything_that_has_happened_is_told_in_order_whatever_the_broker_forgets() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("not online", |s| s.retained.contains_key("gj/test/status")).await;
    bench.journal.happen("raised").await;
    bench.broker.until("no event", |s| s.arrived.iter().any(|(topic, _)| topic == "gj/test/event")).await;
    bench.broker.state.lock().unwrap().mute = true;
    bench.journal.happen("accepted").await;
    bench.journal.happen("cleared").await;
    let sent = |s: &BrokerState| s.arrived.iter().filter(|(topic, _)| topic == "gj/test/event").count() >= 3;
    bench.broker.until("not sent", sent).await;
    let (broker, journal) = bench.kill().await;
    {
        let mut state = broker.state.lock().unwrap();
        state.mute = false;
        state.arrived.clear();
    }
    let bench = Bench::with(broker, journal, Some("gj"));
    bench.broker.until("not told", |s| s.arrived.iter().any(|(_, payload)| payload.contains("cleared"))).await;
    let events = bench.events();
    let tail = &events[events.len().saturating_sub(2)..];
    assert_eq!(tail, ["accepted", "cleared"], "unacknowledged rows come again, in order");
    bench.end().await;
}

#[tokio::test]
async fn a_broker_that_acknowledges_backwards_stalls_nothing() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("not online", |s| s.retained.contains_key(LEAK)).await;
    bench.broker.state.lock().unwrap().mute = true;
    for n in 0..6 {
        bench.journal.happen(&format!("event-{n}")).await;
    }
    bench.broker.until("not sent", |s| s.held.len() >= 6).await;
    bench.broker.state.lock().unwrap().mute = false;
    bench.broker.say.send(Order::AcknowledgeBackwards).unwrap();
    bench.journal.happen("last").await;
    bench.broker.until("stalled", |s| s.arrived.iter().any(|(_, payload)| payload.contains("\"last\""))).await;
    assert_eq!(bench.broker.state.lock().unwrap().connects, 1);
    bench.end().await;
}

#[tokio::test]
async fn a_change_is_published_without_waiting_for_anybody_to_look() {
    let bench = Bench::start(Some("gj")).await;
    bench.broker.until("not online", |s| s.retained.contains_key(LEAK)).await;
    let mut delays = Vec::new();
    for round in 1..=40i64 {
        let value = Value::Decimal(Decimal::new(i128::from(round), 0));
        let at = Timestamp::from_millis(round);
        let begin = Instant::now();
        bench.latest.update(&[Reading::good(PointIx(0), value, at)]);
        let wanted = format!("{{\"value\":{round},");
        while !bench.broker.state.lock().unwrap().arrived.iter().any(|(_, p)| p.starts_with(&wanted)) {
            assert!(begin.elapsed() < Duration::from_secs(10), "not published");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delays.push(begin.elapsed());
    }
    delays.sort_unstable();
    // Looking every half second would take 250 ms in the middle; a loaded machine takes some, but not that.
    assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
    bench.end().await;
}
