//! The pager against a real journal and channels on real sockets.

use guanjia_core::incident::{IncidentRecord, IncidentState, PageState};
use guanjia_core::text::Bilingual;
use tokio::task::JoinHandle;

use super::*;
use crate::notify::tests::{FakeChannel, Reply, bare_site, page, webhook};
use crate::site::Site;

/// A journal with one open incident, a pager and its channels.
struct Ward {
    dir: tempfile::TempDir,
    store: Store,
    site: Arc<Site>,
    incident: Uuid,
    wake: Arc<Notify>,
    stop: CancellationToken,
    pager: Option<JoinHandle<()>>,
}

impl Ward {
    async fn new(channels: &[(&str, &FakeChannel)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut site = bare_site(dir.path().to_owned());
        site.channels =
            channels.iter().map(|(name, fake)| webhook(name, format!("{}/{{address}}", fake.url))).collect();
        let (store, _) = Store::open(dir.path(), "test").await.unwrap();
        let incident = IncidentRecord {
            id: Uuid::now_v7(),
            code: "4711".to_owned(),
            plan: "EP-06".to_owned(),
            priority: Priority::P1,
            state: IncidentState::Open,
            root: "fire/zone_1".to_owned(),
            title: Bilingual::new("火警", "Fire"),
            owner: "duty-a".to_owned(),
            opened_at: guanjia_field::now(),
            level: 1,
            escalates_at: None,
            acked_at: None,
            acked_by: None,
            closed_at: None,
        };
        let batch = AlarmBatch { incidents: vec![incident.clone()], ..AlarmBatch::default() };
        store.commit_alarms(batch).await.unwrap();
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        Self { dir, store, site: Arc::new(site), incident: incident.id, wake, stop, pager: None }
    }

    fn page(&self, channel: &str, address: &str, priority: Priority) -> PageRecord {
        PageRecord { incident: Some(self.incident), ..page(channel, address, priority) }
    }

    async fn commit(&self, pages: Vec<PageRecord>) {
        self.store.commit_alarms(AlarmBatch { pages, ..AlarmBatch::default() }).await.unwrap();
        self.wake.notify_one();
    }

    fn start(&mut self) {
        let metrics = Arc::new(Metrics::new(&self.site));
        let url = "https://192.0.2.1".to_owned();
        let (store, channels, wake) = (self.store.clone(), self.site.channels.clone(), Arc::clone(&self.wake));
        self.pager = Some(tokio::spawn(run(store, channels, url, metrics, wake, self.stop.clone())));
    }

    async fn state(&self, page: &PageRecord) -> PageState {
        let pages = self.store.pages_of(self.incident).await.unwrap();
        pages.iter().find(|(other, _)| other.id == page.id).unwrap().1.state
    }

    /// Waits for a state; how long it took.
    async fn until(&self, page: &PageRecord, wanted: PageState, limit: Duration) -> Duration {
        let begin = Instant::now();
        while self.state(page).await != wanted {
            assert!(begin.elapsed() < limit, "{:?} instead of {wanted:?}", self.state(page).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begin.elapsed()
    }

    async fn said(&self, what: &str) -> bool {
        self.store.timeline(Some(self.incident), 100).await.unwrap().iter().any(|entry| entry.what == what)
    }

    async fn end(&mut self) {
        self.stop.cancel();
        if let Some(pager) = self.pager.take() {
            pager.await.unwrap();
        }
    }
}

const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_page_leaves_at_once_and_is_told_in_the_timeline() {
    let phone = FakeChannel::start([Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    ward.start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let page = ward.page("phone", "a", Priority::P1);
    ward.commit(vec![page.clone()]).await;
    ward.until(&page, PageState::Delivered, SOON).await;
    let body: serde_json::Value = serde_json::from_str(&phone.got()[0].body).unwrap();
    assert_eq!(body["ack_url"], "https://192.0.2.1/a/00112233445566778899aabbccddeeff");
    while !ward.said("page_delivered").await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(phone.got().len(), 1);
    ward.end().await;
}

#[tokio::test]
async fn a_page_leaves_although_nobody_woke_the_pager() {
    let phone = FakeChannel::start([Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    ward.start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let page = ward.page("phone", "a", Priority::P1);
    ward.store.commit_alarms(AlarmBatch { pages: vec![page.clone()], ..AlarmBatch::default() }).await.unwrap();
    ward.until(&page, PageState::Delivered, SOON).await;
    ward.end().await;
}

#[tokio::test]
async fn a_hanging_channel_delays_no_other_and_keeps_slots_for_p1() {
    let stuck = FakeChannel::start([Reply::Hang]).await;
    let phone = FakeChannel::start([Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("stuck", &stuck), ("phone", &phone)]).await;
    // More than one look at the journal finds of the stuck channel alone, all before the page in question.
    let many: Vec<PageRecord> = (0..100).map(|i| ward.page("stuck", &format!("p{i}"), Priority::P2)).collect();
    ward.commit(many).await;
    ward.start();
    while stuck.got().len() < SLOTS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = ward.page("phone", "a", Priority::P3);
    let fire = ward.page("stuck", "fire", Priority::P1);
    ward.commit(vec![last.clone(), fire.clone()]).await;
    let took = ward.until(&last, PageState::Delivered, SOON).await;
    assert!(took < Duration::from_secs(5), "{took:?}: less than one attempt on the stuck channel");
    while !stuck.got().iter().any(|got| got.path == "/fire") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stuck.got().len(), SLOTS + 1, "P2 pages stay within their slots");
    ward.end().await;
}

#[tokio::test]
async fn a_refusal_is_retried_under_the_same_key() {
    let phone = FakeChannel::start([Reply::Answer(500, ""), Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    ward.start();
    let page = ward.page("phone", "a", Priority::P1);
    ward.commit(vec![page.clone()]).await;
    ward.until(&page, PageState::Delivered, SOON).await;
    let keys: Vec<_> = phone.got().iter().map(|got| got.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys, vec![page.id.to_string(); 2]);
    ward.end().await;
}

#[tokio::test]
async fn a_page_found_in_sending_after_a_crash_is_sent_again_under_its_id() {
    let phone = FakeChannel::start([Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    let page = ward.page("phone", "a", Priority::P1);
    ward.commit(vec![page.clone()]).await;
    ward.store.page_sending(page.id).await.unwrap();
    ward.store.close().await;
    ward.store = Store::open(ward.dir.path(), "test").await.unwrap().0;
    assert_eq!(ward.state(&page).await, PageState::Sending);
    ward.start();
    ward.until(&page, PageState::Delivered, SOON).await;
    assert_eq!(phone.got()[0].headers["idempotency-key"], page.id.to_string().as_str());
    ward.end().await;
}

#[tokio::test]
async fn a_page_under_way_at_the_stop_is_due_for_the_next_pager_of_the_same_process() {
    let phone = FakeChannel::start([Reply::Hang, Reply::Answer(200, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    let page = ward.page("phone", "a", Priority::P1);
    ward.commit(vec![page.clone()]).await;
    ward.start();
    while phone.got().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ward.end().await;
    ward.stop = CancellationToken::new();
    ward.start();
    ward.until(&page, PageState::Delivered, SOON).await;
    assert_eq!(phone.got().len(), 2);
    ward.end().await;
}

#[tokio::test]
async fn what_cannot_be_delivered_is_settled_and_told() {
    let phone = FakeChannel::start([Reply::Answer(410, "gone")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    let refused = ward.page("phone", "a", Priority::P1);
    let homeless = ward.page("pigeon", "a", Priority::P1);
    let mut late = ward.page("phone", "b", Priority::P1);
    late.expires_at = guanjia_field::now();
    ward.commit(vec![refused.clone(), homeless.clone(), late.clone()]).await;
    ward.start();
    ward.until(&refused, PageState::Failed, SOON).await;
    ward.until(&homeless, PageState::Failed, SOON).await;
    ward.until(&late, PageState::Expired, SOON).await;
    assert!(phone.got().iter().all(|got| got.path != "/b"), "an expired page is not sent");
    while !(ward.said("page_failed").await && ward.said("page_expired").await) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ward.end().await;
}

#[tokio::test]
async fn a_page_nobody_takes_expires_when_its_time_has_come() {
    let phone = FakeChannel::start([Reply::Answer(500, "")]).await;
    let mut ward = Ward::new(&[("phone", &phone)]).await;
    let mut page = ward.page("phone", "a", Priority::P1);
    page.expires_at = guanjia_field::now() + Duration::from_millis(700);
    ward.commit(vec![page.clone()]).await;
    ward.start();
    ward.until(&page, PageState::Expired, SOON).await;
    assert!(!phone.got().is_empty());
    ward.end().await;
}

#[test]
fn an_unknown_end_is_repeated_for_ever_only_where_silence_is_worse() {
    let now = guanjia_field::now();
    let unknown = || Attempt::Unknown("no answer".to_owned());
    let history = History { tries: UNKNOWN_MAX, unknown: UNKNOWN_MAX };
    for urgent in [Priority::P1, Priority::P2] {
        assert!(matches!(result_of(&page("x", "a", urgent), unknown(), history, now), PageResult::RetryAt(..)));
    }
    for other in [Priority::P3, Priority::P4] {
        assert!(matches!(result_of(&page("x", "a", other), unknown(), history, now), PageResult::Failed(_)));
        let first = History { tries: 1, unknown: 1 };
        assert!(matches!(result_of(&page("x", "a", other), unknown(), first, now), PageResult::RetryAt(..)));
    }
}

#[test]
fn delays_grow_to_a_cap_obey_the_channel_within_reason_and_end_at_the_expiry() {
    let now = guanjia_field::now();
    let page = page("x", "a", Priority::P1);
    let delay = |tries, after| retry_at(&page, History { tries, unknown: 0 }, after, now).since(now);
    assert!((Duration::from_millis(1400)..=RETRY_FIRST).contains(&delay(1, None)));
    assert!(delay(3, None) > delay(1, None));
    assert!(delay(1_000, None) <= RETRY_MAX_URGENT);
    assert_eq!(delay(1, Some(Duration::from_secs(77))), Duration::from_secs(77));
    assert_eq!(delay(1, Some(Duration::from_secs(86_400))), RETRY_AFTER_MAX);
    let short = PageRecord { expires_at: now + Duration::from_millis(10), ..page.clone() };
    assert_eq!(retry_at(&short, History { tries: 5, unknown: 0 }, None, now), short.expires_at);
}
