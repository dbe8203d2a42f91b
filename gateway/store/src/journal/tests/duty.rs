//! Alarms, pages, supply: nothing silent, nothing twice.

use guanjia_core::alarm::{AlarmRecord, Priority};
use guanjia_core::incident::{IncidentRecord, IncidentState, PageKind, PageRecord, PageState, TimelineEntry};
use guanjia_core::profile::RelayAction;
use guanjia_core::supply::{RelayIntent, Supply, SupplyRecord};
use guanjia_core::text::Bilingual;
use uuid::Uuid;

use super::{Journal, SHOP, at};
use crate::error::StoreError;
use crate::journal::{AlarmBatch, ClosePermit, PageResult};

fn alarm(active: bool) -> AlarmRecord {
    AlarmRecord {
        key: "fire-panel/zone-3".to_owned(),
        occurrence: 1,
        active,
        acked: false,
        latched: false,
        suppressed_by: None,
        raised_at: at(0),
        cleared_at: None,
        acked_at: None,
        acked_by: None,
        incident: Some(Uuid::from_u128(1)),
    }
}

fn incident(state: IncidentState) -> IncidentRecord {
    IncidentRecord {
        id: Uuid::from_u128(1),
        code: "4711".to_owned(),
        plan: "EP-01".to_owned(),
        priority: Priority::P1,
        state,
        root: "fire-panel/zone-3".to_owned(),
        title: Bilingual::new("三层火警", "Fire on floor 3"),
        owner: "duty-1".to_owned(),
        opened_at: at(0),
        level: 0,
        escalates_at: Some(at(60)),
        acked_at: None,
        acked_by: None,
        closed_at: None,
    }
}

fn page(id: u128, key: &str, priority: Priority, second: i64) -> PageRecord {
    PageRecord {
        id: Uuid::from_u128(id),
        dedupe_key: key.to_owned(),
        incident: Some(Uuid::from_u128(1)),
        kind: PageKind::Alert,
        priority,
        person: "duty-1".to_owned(),
        channel: "sms".to_owned(),
        address: "555-0100".to_owned(),
        title: "火警".to_owned(),
        body: "三层火警，请确认".to_owned(),
        ack_token: Some(format!("token-{id}")),
        not_before: at(second),
        expires_at: at(3_600),
    }
}

fn entry(what: &str) -> TimelineEntry {
    TimelineEntry {
        at: at(0),
        incident: Some(Uuid::from_u128(1)),
        what: what.to_owned(),
        subject: "fire-panel/zone-3".to_owned(),
        detail: String::new(),
    }
}

fn raised(pages: Vec<PageRecord>) -> AlarmBatch {
    AlarmBatch {
        alarms: vec![alarm(true)],
        incidents: vec![incident(IncidentState::Open)],
        pages,
        timeline: vec![entry("alarm_raised")],
    }
}

async fn due(journal: &Journal, second: i64) -> Vec<u128> {
    let pages = journal.store.due_pages(at(second), 100).await.unwrap();
    pages.iter().map(|page| page.id.as_u128()).collect()
}

#[tokio::test]
async fn an_alarm_its_incident_and_its_pages_survive_together() {
    let journal = Journal::new().await;
    journal.store.commit_alarms(raised(vec![page(1, "a", Priority::P1, 0)])).await.unwrap();
    let journal = journal.reopen().await;
    let store = &journal.store;
    assert_eq!(store.load_alarms().await.unwrap(), [alarm(true)]);
    assert_eq!(store.open_incidents().await.unwrap(), [incident(IncidentState::Open)]);
    assert_eq!(store.incident(Uuid::from_u128(1)).await.unwrap(), Some(incident(IncidentState::Open)));
    assert_eq!(store.timeline(Some(Uuid::from_u128(1)), 10).await.unwrap(), [entry("alarm_raised")]);
    assert_eq!(store.timeline(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.timeline(Some(Uuid::from_u128(2)), 10).await.unwrap(), []);
    assert_eq!(store.page_by_token("token-1").await.unwrap().unwrap().id, Uuid::from_u128(1));
    assert_eq!(store.page_by_token("token-2").await.unwrap(), None);
    assert_eq!(due(&journal, 0).await, [1]);
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_batch_with_one_bad_row_leaves_nothing_behind() {
    let journal = Journal::new().await;
    // Two pages with one id and two keys cannot both be written.
    let bad = raised(vec![page(1, "a", Priority::P1, 0), page(1, "b", Priority::P1, 0)]);
    assert!(matches!(journal.store.commit_alarms(bad).await, Err(StoreError::Conflict(_))));
    assert_eq!(journal.store.load_alarms().await.unwrap(), []);
    assert_eq!(journal.store.open_incidents().await.unwrap(), []);
    assert_eq!(due(&journal, 0).await, [] as [u128; 0]);
    assert_eq!(journal.store.backlog().await.unwrap().count, 0);
}

#[tokio::test]
async fn one_dedupe_key_is_one_page_and_one_change_is_one_outbox_row() {
    let journal = Journal::new().await;
    let store = &journal.store;
    store.commit_alarms(raised(vec![page(1, "a", Priority::P1, 0)])).await.unwrap();
    for id in [2, 1] {
        store.commit_alarms(raised(vec![page(id, "a", Priority::P1, 0)])).await.unwrap();
    }
    assert_eq!(due(&journal, 0).await, [1]);
    assert_eq!(store.outbox_after(0, 10).await.unwrap().len(), 1, "the incident did not change");
    let closed = AlarmBatch { incidents: vec![incident(IncidentState::Closed)], ..AlarmBatch::default() };
    store.commit_alarms(closed).await.unwrap();
    assert_eq!(store.outbox_after(0, 10).await.unwrap().len(), 2);
    assert_eq!(store.open_incidents().await.unwrap(), []);
    assert_eq!(store.incidents(10).await.unwrap(), [incident(IncidentState::Closed)]);
    journal.assert_proven().await;
}

#[tokio::test]
async fn the_most_urgent_page_goes_first_and_none_before_its_time() {
    let journal = Journal::new().await;
    let pages = vec![
        page(1, "a", Priority::P3, 0),
        page(2, "b", Priority::P1, 10),
        page(3, "c", Priority::P1, 5),
        page(4, "d", Priority::P2, 100),
    ];
    journal.store.commit_alarms(raised(pages)).await.unwrap();
    assert_eq!(due(&journal, 10).await, [3, 2, 1]);
    assert_eq!(journal.store.due_pages(at(10), 1).await.unwrap().len(), 1);
    assert_eq!(journal.store.next_page_due().await, Ok(Some(at(0))));
}

#[tokio::test]
async fn a_page_under_way_is_due_again_only_after_a_restart() {
    let journal = Journal::new().await;
    journal.store.commit_alarms(raised(vec![page(1, "a", Priority::P1, 0)])).await.unwrap();
    journal.store.page_sending(Uuid::from_u128(1)).await.unwrap();
    assert_eq!(due(&journal, 10).await, [] as [u128; 0]);
    assert_eq!(journal.store.next_page_due().await, Ok(None));
    let journal = journal.reopen().await;
    assert_eq!(due(&journal, 10).await, [1]);
    let pages = journal.store.pages_of(Uuid::from_u128(1)).await.unwrap();
    assert_eq!((pages[0].1.state, pages[0].1.attempts), (PageState::Sending, 1));
}

#[tokio::test]
async fn a_page_is_retried_until_it_is_settled_and_then_never() {
    let journal = Journal::new().await;
    let (store, id) = (&journal.store, Uuid::from_u128(1));
    store.commit_alarms(raised(vec![page(1, "a", Priority::P1, 0)])).await.unwrap();
    store.page_sending(id).await.unwrap();
    store.page_result(id, PageResult::RetryAt(at(30), "503".to_owned()), at(1)).await.unwrap();
    assert_eq!(due(&journal, 29).await, [] as [u128; 0]);
    assert_eq!(due(&journal, 30).await, [1]);
    store.page_sending(id).await.unwrap();
    store.page_result(id, PageResult::Expired, at(31)).await.unwrap();
    store.page_result(id, PageResult::RetryAt(at(40), "late".to_owned()), at(32)).await.unwrap();
    assert_eq!(due(&journal, 100).await, [] as [u128; 0]);
    assert!(matches!(store.page_sending(id).await, Err(StoreError::NotFound { .. })));
    // The channel's receipt comes after all: good news is always taken, and stays.
    store.page_result(id, PageResult::Delivered, at(33)).await.unwrap();
    store.page_result(id, PageResult::Failed("late".to_owned()), at(34)).await.unwrap();
    let (_, status) = store.pages_of(id).await.unwrap().remove(0);
    assert_eq!((status.state, status.settled_at, status.attempts), (PageState::Delivered, Some(at(33)), 2));
    assert_eq!(status.last_error.as_deref(), Some("503"));
    let unknown = store.page_result(Uuid::from_u128(9), PageResult::Delivered, at(1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

fn supply(version: u64) -> SupplyRecord {
    SupplyRecord {
        service_point: SHOP.to_owned(),
        desired: Supply::Off,
        version,
        changed_at: at(0),
        reasons: vec!["balance".to_owned()],
    }
}

fn intent(id: u128, version: u64) -> RelayIntent {
    RelayIntent {
        id: Uuid::from_u128(id),
        service_point: SHOP.to_owned(),
        action: RelayAction::Open,
        version,
        at: at(0),
        valid_until: at(120),
        evidence: "{}".to_owned(),
    }
}

#[tokio::test]
async fn a_cut_decided_before_a_top_up_is_not_written_down_after_it() {
    let journal = Journal::new().await;
    let store = &journal.store;
    assert!(matches!(store.intend_relay(intent(1, 1)).await, Err(StoreError::StaleVersion { .. })));
    store.save_supply(supply(2)).await.unwrap();
    let stale = store.save_supply(supply(1)).await;
    assert!(matches!(stale, Err(StoreError::StaleVersion { stored: 2, offered: 1, .. })));
    assert!(matches!(store.intend_relay(intent(1, 1)).await, Err(StoreError::StaleVersion { .. })));
    store.intend_relay(intent(1, 2)).await.unwrap();
    store.intend_relay(intent(1, 2)).await.unwrap();
    let journal = journal.reopen().await;
    assert_eq!(journal.store.open_intents().await.unwrap(), [intent(1, 2)]);
    assert_eq!(journal.store.supplies().await.unwrap(), [supply(2)]);
}

#[tokio::test]
async fn a_command_is_settled_once() {
    let journal = Journal::new().await;
    let (store, id) = (&journal.store, Uuid::from_u128(1));
    store.save_supply(supply(1)).await.unwrap();
    store.intend_relay(intent(1, 1)).await.unwrap();
    store.settle_relay(id, "proven", "contact open, 0 A", at(3)).await.unwrap();
    assert!(matches!(store.settle_relay(id, "failed", "", at(4)).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.open_intents().await.unwrap(), []);
    let kept = store.intents(SHOP, 10).await.unwrap();
    assert_eq!((kept[0].outcome.as_deref(), kept[0].settled_at), (Some("proven"), Some(at(3))));
}

#[tokio::test]
async fn the_newest_word_that_it_is_safe_survives_a_restart() {
    let journal = Journal::new().await;
    let permit = |service_point: &str, second| ClosePermit {
        service_point: service_point.to_owned(),
        at: at(second),
        who: "duty-a".to_owned(),
        via: "console".to_owned(),
    };
    assert_eq!(journal.store.close_permits().await.unwrap(), []);
    for given in [permit(SHOP, 1), permit("shop-9", 2), permit(SHOP, 3)] {
        journal.store.permit_close(given).await.unwrap();
    }
    let journal = journal.reopen().await;
    assert_eq!(journal.store.close_permits().await.unwrap(), [permit(SHOP, 3), permit("shop-9", 2)]);
}

#[tokio::test]
async fn a_notice_is_delivered_only_when_one_of_its_pages_is() {
    let journal = Journal::new().await;
    let store = &journal.store;
    let pages = vec![page(1, "n1", Priority::P4, 0), page(2, "n2", Priority::P4, 0)];
    assert_eq!(store.commit_notice(SHOP, "low", 1, pages.clone(), at(0)).await, Ok(true));
    assert_eq!(store.commit_notice(SHOP, "low", 1, vec![page(3, "n3", Priority::P4, 0)], at(1)).await, Ok(false));
    assert_eq!(store.commit_notice(SHOP, "final", 1, Vec::new(), at(2)).await, Ok(true));
    assert_eq!(due(&journal, 10).await, [1, 2]);
    let notices = store.notices(SHOP).await.unwrap();
    let found: Vec<_> = notices.iter().map(|notice| (notice.level.as_str(), notice.pages.len())).collect();
    assert_eq!(found, [("final", 0), ("low", 2)]);
    assert_eq!(notices[1].delivered_at(), None);
    store.page_result(Uuid::from_u128(1), PageResult::Failed("no such number".to_owned()), at(3)).await.unwrap();
    assert_eq!(store.notices(SHOP).await.unwrap()[1].delivered_at(), None);
    store.page_result(Uuid::from_u128(2), PageResult::Delivered, at(5)).await.unwrap();
    assert_eq!(store.notices(SHOP).await.unwrap()[1].delivered_at(), Some(at(5)));
    assert_eq!(store.notices("nowhere").await.unwrap(), []);
}
