//! A small house: two meters, a fire panel and a lift, two shops, three people, three API clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmRecord, Priority};
use guanjia_core::incident::{IncidentRecord, IncidentState, PageKind, PageRecord, TimelineEntry};
use guanjia_core::reading::{Reading, Value};
use guanjia_core::supply::Supply;
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_core::units::Hao;
use guanjia_field::{FieldDevice, LineHandle, Link, Periods, now};
use guanjia_store::{AlarmBatch, Store};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::{App, serve};
use crate::live::{AlarmBoard, Board, DeskCommand, DeskRefusal, LatestTable, Live, Readiness, SupplyView};
use crate::metrics::Metrics;
use crate::site::*;

mod built;

use built::site;

/// The name of the first shop: whatever a tenant calls itself, it stays text.
pub const SHOP_NAME: &str = "<script>alert(1)</script> & Tea";
/// The token of the only link.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running house.
pub struct House {
    /// `http://127.0.0.1:port`
    pub url: String,
    /// What the pages are made from.
    pub live: Arc<Live>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Ends the server.
    pub stop: CancellationToken,
    /// A client that follows no redirects.
    pub http: reqwest::Client,
    /// The server.
    pub server: JoinHandle<std::io::Result<()>>,
    /// The first incident.
    pub incident: Uuid,
    _dir: tempfile::TempDir,
}

impl House {
    /// A house whose console asks nobody.
    pub async fn open() -> House {
        Self::start(ConsoleAccess::Open).await
    }

    /// A house with this console.
    pub async fn start(console: ConsoleAccess) -> House {
        Self::with_server(console, None).await
    }

    /// A house whose devices stand behind this Modbus TCP server.
    pub async fn on_line(server: SocketAddr) -> House {
        Self::with_server(ConsoleAccess::Open, Some(server)).await
    }

    async fn with_server(console: ConsoleAccess, server: Option<SocketAddr>) -> House {
        // Another test of this process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut site = site(dir.path().to_owned(), address, console);
        if let Some(server) = server {
            site.lines[0].link = Link::ModbusTcp { address: server.to_string() };
        }
        let site = Arc::new(site);
        let (store, _writer) = Store::open(dir.path(), &site.id).await.unwrap();
        for point in &site.service_points {
            store.open_wallet(&point.id, point.utility, point.opening, now()).await.unwrap();
        }
        let incident = incident(1, Priority::P1);
        store.commit_alarms(batch(&incident)).await.unwrap();
        let board = AlarmBoard { alarms: vec![alarm(&incident)], incidents: vec![incident.clone()] };
        let (desk, commands) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let latest = Arc::new(LatestTable::new(&site, now()));
        let live = Arc::new(Live {
            lines: if server.is_some() { lines(&site, &latest, &stop) } else { vec![] },
            latest,
            entrances: vec![],
            alarms: Arc::new(Board::new(board)),
            supplies: Arc::new(Board::new(supplies())),
            store,
            desk,
            prepaid: Arc::new(Notify::new()),
            credits: Arc::new(Notify::new()),
            open_credits: Arc::new(Board::new(vec![])),
            ready: Arc::new(Readiness::new(now())),
            public_url: format!("http://{address}"),
            site,
        });
        tokio::spawn(obey(Arc::clone(&live), commands));
        let metrics = Arc::new(Metrics::new(&live.site));
        metrics.heartbeat(now());
        let (_, receiver) = watch::channel(Arc::clone(&live));
        let app = App { live: receiver, metrics: Arc::clone(&metrics), stop: stop.clone() };
        let server = tokio::spawn(serve(app, listener));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let url = format!("http://{address}");
        House { url, live, metrics, stop, http, server, incident: incident.id, _dir: dir }
    }

    /// A GET, and its body.
    pub async fn get(&self, path: &str) -> (reqwest::StatusCode, String) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// One good reading of a point.
    pub fn read(&self, device: &str, point: &str, value: Value) {
        let ix = self.live.site.find_point(device, point).unwrap();
        self.live.latest.update(&[Reading::good(ix, value, now())]);
        self.live.latest.set_device(self.live.site.device_of(ix).ix, None, now());
    }
}

/// The first line of the site, polled; what it reports goes into the table.
fn lines(site: &Site, latest: &Arc<LatestTable>, stop: &CancellationToken) -> Vec<LineHandle> {
    let devices = site.devices.iter().filter_map(|device| match device.attachment {
        Attachment::Line { unit, periods, .. } => Some(FieldDevice {
            ix: device.ix,
            id: device.id.clone(),
            unit,
            profile: device.profile.clone(),
            first_point: device.first_point,
            periods: Periods { bulk: Duration::from_millis(200), ..periods },
        }),
        Attachment::Mqtt { .. } => None,
    });
    let (reports, mut reported) = mpsc::channel(100);
    let config = site.lines[0].clone();
    let (handle, _task) = guanjia_field::start_line(config, devices.collect(), reports, stop.clone());
    let latest = Arc::clone(latest);
    tokio::spawn(async move {
        while let Some(report) = reported.recv().await {
            if let guanjia_field::FieldReport::Readings { readings, .. } = report {
                latest.update(&readings);
            }
        }
    });
    vec![handle]
}

/// Does what the desk is asked, as simply as the tests need it.
async fn obey(live: Arc<Live>, mut commands: mpsc::Receiver<DeskCommand>) {
    while let Some(command) = commands.recv().await {
        match command {
            DeskCommand::AckIncident { incident, who, reply, .. } => {
                let _ = reply.send(accept(&live, incident, &who).await);
            }
            DeskCommand::CloseIncident { reply, .. } => drop(reply.send(Err(DeskRefusal::StillActive))),
            DeskCommand::ResetAlarm { reply, .. } => drop(reply.send(Err(DeskRefusal::Unknown))),
        }
    }
}

async fn accept(live: &Live, id: Uuid, who: &str) -> Result<(), DeskRefusal> {
    let mut incident = live.store.incident(id).await.unwrap().ok_or(DeskRefusal::Unknown)?;
    match incident.state {
        IncidentState::Closed => return Err(DeskRefusal::Closed),
        IncidentState::Acknowledged => {
            return Err(DeskRefusal::AlreadyAcknowledged { by: incident.acked_by.unwrap_or_default() });
        }
        IncidentState::Open => {}
    }
    incident.state = IncidentState::Acknowledged;
    incident.acked_by = Some(who.to_owned());
    incident.acked_at = Some(now());
    let batch = AlarmBatch { incidents: vec![incident.clone()], ..AlarmBatch::default() };
    live.store.commit_alarms(batch).await.unwrap();
    live.alarms.publish(AlarmBoard { alarms: vec![alarm(&incident)], incidents: vec![incident] });
    Ok(())
}

/// An incident that was opened just now.
pub fn incident(code: u32, priority: Priority) -> IncidentRecord {
    IncidentRecord {
        id: Uuid::now_v7(),
        code: format!("{code:04}"),
        plan: "EP-06".to_owned(),
        priority,
        state: IncidentState::Open,
        root: "fire/zone_1".to_owned(),
        title: Bilingual::new("一层烟感报警", "Smoke on the first floor"),
        owner: "duty-a".to_owned(),
        opened_at: now(),
        level: 1,
        escalates_at: Some(now() + Duration::from_secs(60)),
        acked_at: None,
        acked_by: None,
        closed_at: None,
    }
}

/// What the store is told about an incident: its alarm, its page with the link, its first lines.
pub fn batch(incident: &IncidentRecord) -> AlarmBatch {
    let page = PageRecord {
        id: Uuid::now_v7(),
        dedupe_key: format!("{}:0:duty-a:phone:alert", incident.id),
        incident: Some(incident.id),
        kind: PageKind::Alert,
        priority: incident.priority,
        person: "duty-a".to_owned(),
        channel: "phone".to_owned(),
        address: "duty-a".to_owned(),
        title: "title".to_owned(),
        body: "body".to_owned(),
        ack_token: Some(TOKEN.to_owned()),
        not_before: incident.opened_at,
        expires_at: incident.opened_at + Duration::from_secs(600),
    };
    let entry = |what: &str, subject: &str| TimelineEntry {
        at: incident.opened_at,
        incident: Some(incident.id),
        what: what.to_owned(),
        subject: subject.to_owned(),
        detail: String::new(),
    };
    AlarmBatch {
        alarms: vec![alarm(incident)],
        incidents: vec![incident.clone()],
        pages: vec![page],
        timeline: vec![entry("alarm_raised", "fire/zone_1"), entry("opened", "duty-a")],
    }
}

fn alarm(incident: &IncidentRecord) -> AlarmRecord {
    AlarmRecord {
        key: "fire/zone_1".to_owned(),
        occurrence: 1,
        active: true,
        acked: incident.acked_by.is_some(),
        latched: false,
        suppressed_by: None,
        raised_at: incident.opened_at,
        cleared_at: None,
        acked_at: incident.acked_at,
        acked_by: incident.acked_by.clone(),
        incident: Some(incident.id),
    }
}

fn supplies() -> Vec<SupplyView> {
    vec![
        SupplyView {
            service_point: "s-1-e".into(),
            balance: Hao(-12_300),
            debt: None,
            desired: Supply::Off,
            reported: Some(Supply::Off),
            reasons: vec!["balance".to_owned()],
            blocked: vec![],
            waits_for: None,
            cover: None,
            warning: Some("final".to_owned()),
            register: Some((123_456_780, now())),
        },
        SupplyView {
            service_point: "s-2-w".into(),
            balance: Hao(200_000),
            debt: None,
            desired: Supply::On,
            reported: None,
            reasons: vec!["in_credit".to_owned()],
            blocked: vec![],
            waits_for: None,
            cover: Some(Duration::from_secs(86_400 * 9)),
            warning: None,
            register: None,
        },
    ]
}

/// A moment long ago.
pub fn long_ago() -> Timestamp {
    now() - Duration::from_secs(3 * 86_400)
}
