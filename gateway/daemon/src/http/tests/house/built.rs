//! How the house is built: its devices, shops, people and plans, as a site file would say it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmClass, AlarmDef, Condition, Latching, Priority};
use guanjia_core::inhibition::Topology;
use guanjia_core::plan::{Common, Plan, PlanBook};
use guanjia_core::profile::{EquipmentClass, PointDef, Profile, Registers, Source, Table, WireType};
use guanjia_core::reading::{Decimal, DeviceIx, PointIx};
use guanjia_core::roster::{Roster, RosterForm};
use guanjia_core::supply::{Exemption, Policy, RawLevel, RawPolicy, Reconnect, ServiceKind};
use guanjia_core::tariff::TariffPlan;
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::units::{Hao, Quantity, Utility};
use guanjia_core::usage::{Ratio, Register, RegisterSpec};
use guanjia_field::budget::Share;
use guanjia_field::{LineConfig, Link, Periods};

use crate::site::*;

use super::SHOP_NAME;

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
    let common: Common = toml::from_str(include_str!("../../../../../../config/plans/_common.toml")).unwrap();
    let texts = [
        include_str!("../../../../../../config/plans/ep-02.toml"),
        include_str!("../../../../../../config/plans/ep-06.toml"),
        include_str!("../../../../../../config/plans/ep-11.toml"),
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
                    Utility::Electricity => include_str!("../../../../../../config/tariffs/shop-electricity.toml"),
                    Utility::Water => include_str!("../../../../../../config/tariffs/shop-water.toml"),
                }),
                kind,
                policy: policy(zone),
                load: None,
                opening: Hao(0),
                relay: None,
                wallet: (id == "s-2-w").then_some(0),
                meter_price: None,
                meter_cuts: None,
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

pub(super) fn site(data_dir: PathBuf, listen: SocketAddr, console: ConsoleAccess) -> Site {
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
