//! A small house: two meters, a fire panel and a lift, two shops, three people, three API clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmClass, AlarmDef, AlarmRecord, Condition, Latching, Priority};
use guanjia_core::incident::{IncidentRecord, IncidentState, PageKind, PageRecord, TimelineEntry};
use guanjia_core::inhibition::Topology;
use guanjia_core::plan::{Common, Plan, PlanBook};
use guanjia_core::profile::{EquipmentClass, PointDef, Profile, Registers, Source, Table, WireType};
use guanjia_core::reading::{Decimal, DeviceIx, PointIx, Reading, Value};
use guanjia_core::roster::{Roster, RosterForm};
use guanjia_core::supply::{Exemption, Policy, RawLevel, RawPolicy, Reconnect, ServiceKind, Supply};
use guanjia_core::tariff::TariffPlan;
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Hao, Quantity, Utility};
use guanjia_core::usage::{Ratio, Register, RegisterSpec};
use guanjia_field::budget::Share;
use guanjia_field::{FieldDevice, LineConfig, LineHandle, Link, Periods, now};
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

fn point(id: &str, zh: &str, en: &str, unit: &str, exponent: i8) -> PointDef {
    PointDef {
        name: Bilingual::new(zh, en),
        scale: Decimal::new(1, exponent),
        unit: unit.to_owned(),
        ..PointDef::new(id, Source::Registers(Registers::new(Table::Holding, 0, WireType::U32)))
    }
}

fn profile(class: EquipmentClass, points: Vec<PointDef>) -> Arc<Profile> {
    Arc::new(Profile {
        vendor: "Example".to_owned(),
        model: "M-1".to_owned(),
        ..Profile::new("synthetic", class, points)
    })
}

fn devices() -> Vec<Device> {
    let meter = profile(
        EquipmentClass::ElectricityMeter,
        vec![
            point("energy_active_import", "正向有功电能", "Active energy import", "kW.h", -2),
            point("active_power_total", "总有功功率", "Active power", "kW", -3),
            point("device_time", "设备时钟", "Clock", "", 0),
        ],
    );
    let water = profile(EquipmentClass::WaterMeter, vec![point("volume_total", "累计流量", "Volume", "m3", -3)]);
    let mut state = point("state", "状态", "State", "", 0);
    state.codes = vec![(0, Bilingual::new("正常", "normal")), (1, Bilingual::new("火警", "fire"))];
    let panel = profile(EquipmentClass::FirePanel, vec![state.clone()]);
    let lift = profile(EquipmentClass::Lift, vec![state]);
    let named = [
        ("m-1", "电表 1", "Meter 1", meter, "1F"),
        ("w-1", "水表 1", "Water meter 1", water, "1F"),
        ("fire", "火灾报警控制器", "Fire panel", panel, "B1"),
        ("lift-1", "1 号电梯", "Lift 1", lift, "B1"),
    ];
    let periods =
        Periods { alarm: Duration::from_secs(1), billing: Duration::from_secs(15), bulk: Duration::from_secs(15) };
    let mut first = 0;
    let mut devices = Vec::new();
    for (i, (id, zh, en, profile, floor)) in named.into_iter().enumerate() {
        let points = profile.points.len();
        devices.push(Device {
            ix: DeviceIx(i as u32),
            id: id.into(),
            name: Bilingual::new(zh, en),
            profile,
            attachment: Attachment::Line { line: 0, unit: i as u8 + 1, periods },
            first_point: PointIx(first),
            max_age: Duration::from_secs(60),
            building: "A".to_owned(),
            floor: floor.to_owned(),
        });
        first += points as u32;
    }
    devices
}

fn plans() -> PlanBook {
    let common: Common = toml::from_str(include_str!("../../../../../config/plans/_common.toml")).unwrap();
    let texts = [
        include_str!("../../../../../config/plans/ep-02.toml"),
        include_str!("../../../../../config/plans/ep-06.toml"),
        include_str!("../../../../../config/plans/ep-11.toml"),
    ];
    let plans: Vec<Plan> = texts.iter().map(|text| toml::from_str(text).unwrap()).collect();
    PlanBook::new(common, plans).unwrap()
}

fn policy(zone: &jiff::tz::TimeZone) -> Arc<Policy> {
    let level = |yuan: &str| RawLevel { cover_days: None, balance: Some(yuan.to_owned()) };
    let raw = RawPolicy {
        emergency_credit: "0".to_owned(),
        reconnect_above: "0".to_owned(),
        notice1: level("50.00"),
        notice2: level("20.00"),
        final_notice: level("5.00"),
        notice_lead_s: 1800,
        cut_windows: vec![],
        holidays: vec![],
        reading_max_age_s: 300,
        reconnect: Reconnect::Direct,
        bypass_above: 10.0,
    };
    Arc::new(Policy::new(&raw, zone).unwrap())
}

fn service_points(devices: &[Device], zone: &jiff::tz::TimeZone) -> Vec<ServicePoint> {
    let tariff = |text: &str| Arc::new(TariffPlan::new(toml::from_str(text).unwrap(), zone).unwrap());
    let rows = [
        ("s-1-e", 0, Utility::Electricity, 0, ServiceKind::Prepaid),
        ("s-2-w", 1, Utility::Water, 1, ServiceKind::Prepaid),
        ("s-2-e", 1, Utility::Electricity, 0, ServiceKind::Exempt { why: Exemption::ColdStore }),
    ];
    rows.into_iter()
        .map(|(id, shop, utility, device, kind)| {
            let device = &devices[device];
            let spec = RegisterSpec::of(&device.profile.points[0], utility, Ratio::InMeter, Quantity(100_000_000));
            ServicePoint {
                id: id.into(),
                shop,
                utility,
                device: device.ix,
                register_point: device.first_point,
                register: Register::new(spec).unwrap(),
                tariff: tariff(match utility {
                    Utility::Electricity => include_str!("../../../../../config/tariffs/shop-electricity.toml"),
                    Utility::Water => include_str!("../../../../../config/tariffs/shop-water.toml"),
                }),
                kind,
                policy: policy(zone),
                load: None,
                opening: Hao(0),
                wallet: None,
            }
        })
        .collect()
}

fn people() -> Vec<Person> {
    [("duty-a", "值班员甲"), ("duty-b", "Operator B"), ("manager", "<i>Manager</i>")]
        .into_iter()
        .map(|(id, name)| Person {
            id: id.into(),
            name: name.to_owned(),
            reach: vec![Reach { channel: "phone".into(), address: id.to_owned() }],
        })
        .collect()
}

fn clients() -> Vec<ApiClient> {
    let client = |name: &str, may: Vec<Permission>| ApiClient {
        name: name.into(),
        token: Secret::new(format!("{name}-token")),
        may,
    };
    vec![
        client("cashier", vec![Permission::TopUp]),
        client("kiosk", vec![Permission::TopUp]),
        client("office", vec![Permission::Read, Permission::Acknowledge]),
    ]
}

fn site(data_dir: PathBuf, listen: SocketAddr, console: ConsoleAccess) -> Site {
    let zone = jiff::tz::TimeZone::get("Asia/Shanghai").unwrap();
    let devices = devices();
    let points =
        devices.iter().flat_map(|d| (0..d.profile.points.len()).map(|def| Point { device: d.ix, def })).collect();
    let roster = RosterForm {
        zone: "Asia/Shanghai".to_owned(),
        fallback: "duty-a".to_owned(),
        shifts: vec![],
        deputies: BTreeMap::new(),
        absent: BTreeSet::new(),
    };
    Site {
        id: "test".into(),
        name: Bilingual::new("示范大厦", "Example House"),
        lang: Lang::Zh,
        data_dir: data_dir.clone(),
        http: Http { listen, public_url: None, console },
        api_clients: clients(),
        billing: Billing { target: BillingTarget::Sqlite(data_dir), interval: Duration::from_secs(900) },
        lines: vec![LineConfig {
            name: "plant".into(),
            link: Link::ModbusTcp { address: "192.0.2.1:502".to_owned() },
            response_max: None,
            turnaround: None,
            in_flight_max: 1,
            linger: Duration::ZERO,
        }],
        utilization: vec![Share(250_000)],
        passive: BTreeSet::new(),
        entrances: vec![],
        brokers: vec![],
        service_points: service_points(&devices, &zone),
        points,
        alarms: vec![Arc::new(AlarmDef {
            key: "fire/zone_1".into(),
            device: DeviceIx(2),
            condition: Condition::Silent(DeviceIx(2)),
            priority: Priority::P1,
            class: AlarmClass::LifeSafety,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
            latching: Latching::Latching,
            plan: Some("EP-06".into()),
            text: Bilingual::new("一层烟感报警", "Smoke on the first floor"),
            action: Bilingual::new("到现场确认", "Go and see"),
        })],
        topology: Topology::default(),
        timings: Default::default(),
        plans: plans(),
        roster: Roster::new(roster).unwrap(),
        mass_cut: Default::default(),
        people: people(),
        channels: vec![Channel {
            name: "phone".into(),
            kind: ChannelKind::Webhook { url: "http://192.0.2.9/{address}".to_owned(), secret: None },
        }],
        shops: vec![
            Shop {
                id: "s-1".into(),
                name: Bilingual::new(SHOP_NAME, SHOP_NAME),
                floor: "1F".to_owned(),
                contacts: vec![],
            },
            Shop {
                id: "s-2".into(),
                name: Bilingual::new("二号铺", "Shop Two"),
                floor: "1F".to_owned(),
                contacts: vec![],
            },
        ],
        devices,
        zone,
    }
}

/// A moment long ago.
pub fn long_ago() -> Timestamp {
    now() - Duration::from_secs(3 * 86_400)
}
