//! What a device may forget is here, and what a subscriber was told is not told from the start again.

use guanjia_core::incident::TimelineEntry;

use super::{Journal, at};
use crate::journal::{AlarmBatch, KeptMessage};

fn message(topic: &str, payload: &[u8], packet_id: u16, second: i64) -> KeptMessage {
    KeptMessage { topic: topic.to_owned(), payload: payload.to_vec(), packet_id, at: at(second) }
}

async fn happen(journal: &Journal, what: &str) {
    let entry = TimelineEntry {
        at: at(1),
        incident: None,
        what: what.to_owned(),
        subject: "w-1/leak".to_owned(),
        detail: String::new(),
    };
    journal.store.commit_alarms(AlarmBatch { timeline: vec![entry], ..AlarmBatch::default() }).await.unwrap();
}

#[tokio::test]
async fn the_last_message_of_each_topic_outlives_the_program() {
    let journal = Journal::new().await;
    let first = vec![message("w/1", b"{\"v\":1}", 1, 1), message("w/2", &[0xFF, 0x00], 2, 2)];
    journal.store.keep_messages("local", first).await.unwrap();
    journal.store.keep_messages("local", vec![message("w/1", b"{\"v\":2}", 3, 3)]).await.unwrap();
    journal.store.keep_messages("other", vec![message("w/1", b"0", 9, 9)]).await.unwrap();
    let journal = journal.reopen().await;
    let expected = [message("w/2", &[0xFF, 0x00], 2, 2), message("w/1", b"{\"v\":2}", 3, 3)];
    assert_eq!(journal.store.kept_messages("local").await.unwrap(), expected);
    journal.store.forget_message("local", "w/2").await.unwrap();
    assert_eq!(journal.store.kept_messages("local").await.unwrap().len(), 1);
    assert_eq!(journal.store.kept_messages("other").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_broker_is_told_what_happens_from_its_first_day_on_and_nothing_twice_after_a_restart() {
    let journal = Journal::new().await;
    happen(&journal, "before").await;
    let begin = journal.store.told("north").await.unwrap();
    journal.store.tell("north", begin).await.unwrap();
    happen(&journal, "first").await;
    happen(&journal, "second").await;
    let journal = journal.reopen().await;
    let told = journal.store.told("north").await.unwrap();
    let rows = journal.store.timeline_after(told, 10).await.unwrap();
    let words: Vec<&str> = rows.iter().map(|(_, entry)| entry.what.as_str()).collect();
    assert_eq!(words, ["first", "second"]);
    journal.store.tell("north", rows[1].0).await.unwrap();
    journal.store.tell("north", rows[0].0).await.unwrap();
    assert_eq!(journal.store.told("north").await.unwrap(), rows[1].0, "a mark only grows");
    journal.assert_proven().await;
}

#[tokio::test]
async fn what_became_of_a_command_is_a_line_of_the_timeline() {
    use guanjia_core::profile::RelayAction;
    use guanjia_core::supply::{RelayIntent, Supply, SupplyRecord};
    let journal = Journal::new().await;
    let record = SupplyRecord {
        service_point: "sp-1".to_owned(),
        desired: Supply::Off,
        reasons: vec![],
        version: 1,
        changed_at: at(0),
    };
    journal.store.save_supply(record).await.unwrap();
    let id = uuid::Uuid::from_u128(7);
    let intent = RelayIntent {
        id,
        service_point: "sp-1".to_owned(),
        action: RelayAction::Open,
        version: 1,
        at: at(1),
        valid_until: at(60),
        evidence: "{}".to_owned(),
    };
    journal.store.intend_relay(intent).await.unwrap();
    assert!(journal.store.timeline_after(0, 10).await.unwrap().is_empty(), "nothing has become of it yet");
    journal.store.settle_relay(id, "verified", "contact open", at(2)).await.unwrap();
    let rows = journal.store.timeline_after(0, 10).await.unwrap();
    let entry = &rows[0].1;
    assert_eq!((entry.what.as_str(), entry.subject.as_str()), ("relay_settled", "sp-1"));
    assert_eq!(entry.detail, "open verified: contact open");
    journal.assert_proven().await;
}
