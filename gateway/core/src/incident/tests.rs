//! A small building and a store that remembers what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::alarm::{AlarmClass, AlarmDef, AlarmRecord, AlarmState, Condition, Health, Latching, Term, Test};
use crate::inhibition::{DeviceLinks, Node, NodeKind, Topology};
use crate::profile::EquipmentClass;
use crate::reading::{BadReason, DeviceIx, PointIx, Reading, Value};
use crate::roster::{Roster, RosterForm, ShiftForm};
use crate::text::Bilingual;

mod declared;
mod escalation;
mod invariants;
mod roots;

/// Meters 0..14 are on floor 1 and line a, 14..20 on floor 2 and line a, 20..30 on floor 2 and line b.
const METERS: u32 = 30;
const PANEL: DeviceIx = DeviceIx(100);
const UPS: DeviceIx = DeviceIx(101);
const SUMP: DeviceIx = DeviceIx(102);
const FIRE: PointIx = PointIx(0);
const GAS: PointIx = PointIx(1);
const ON_BATTERY: PointIx = PointIx(2);
const LEVEL: PointIx = PointIx(3);
const FLOOR_1_DEAD: PointIx = PointIx(4);

fn at(seconds: u64) -> Timestamp {
    // 2026-11-24 09:58:00 in Shanghai.
    Timestamp::from_millis(1_795_485_480_000) + Duration::from_secs(seconds)
}

fn alarm(key: &str, device: DeviceIx, condition: Condition, priority: Priority, class: AlarmClass) -> AlarmDef {
    let what = key.split_once('/').unwrap().1;
    let (plan, latching) = match what {
        "fire" => ("EP-06", Latching::Latching),
        "gas" => ("EP-09", Latching::NonLatching),
        "level" => ("EP-04", Latching::NonLatching),
        "on-battery" | "dead" => ("EP-02", Latching::NonLatching),
        _ => ("EP-11", Latching::NonLatching),
    };
    AlarmDef {
        key: key.into(),
        device,
        condition,
        priority,
        class,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        latching,
        plan: Some(plan.into()),
        text: Bilingual::new(what, what),
        action: Bilingual::new("到场确认", "Go there"),
    }
}

fn alarms() -> Vec<Arc<AlarmDef>> {
    let bit = |point| Condition::All(vec![Term { point, test: Test::Equals(1) }]);
    let (life, process, silence) = (AlarmClass::LifeSafety, AlarmClass::Process, AlarmClass::Communication);
    let mut alarms = vec![
        alarm("panel/fire", PANEL, bit(FIRE), Priority::P1, life),
        alarm("panel/gas", PANEL, bit(GAS), Priority::P1, life),
        alarm("panel/silent", PANEL, Condition::Silent(PANEL), Priority::P2, silence),
        alarm("ups/on-battery", UPS, bit(ON_BATTERY), Priority::P2, process),
        alarm("floor-1/dead", UPS, bit(FLOOR_1_DEAD), Priority::P2, process),
        alarm("sump/level", SUMP, bit(LEVEL), Priority::P3, process),
    ];
    alarms.extend((0..METERS).map(|n| {
        let device = DeviceIx(n);
        alarm(&format!("meter-{n}/silent"), device, Condition::Silent(device), Priority::P4, silence)
    }));
    alarms.into_iter().map(Arc::new).collect()
}

fn topology() -> Topology {
    let node = |id: &str, kind, fed_by: Option<&str>, evidence: &[&str]| Node {
        id: id.into(),
        kind,
        name: Bilingual::new(id, id),
        fed_by: fed_by.map(Into::into),
        evidence: evidence.iter().map(|key| (*key).to_owned()).collect(),
    };
    let nodes = vec![
        node("main", NodeKind::Feeder, None, &["ups/on-battery"]),
        node("feeder-1", NodeKind::Feeder, Some("main"), &["floor-1/dead"]),
        node("feeder-2", NodeKind::Feeder, Some("main"), &[]),
        node("line-a", NodeKind::Line, None, &[]),
        node("line-b", NodeKind::Line, None, &[]),
    ];
    let device = |device, name: String, class, links: Option<(&str, &str)>| DeviceLinks {
        device,
        name: Bilingual::new(name.clone(), name),
        class,
        fed_by: links.map(|(feeder, _)| feeder.to_owned()),
        via: links.map(|(_, line)| line.to_owned()),
    };
    let mut devices = vec![
        device(PANEL, "panel".into(), EquipmentClass::FirePanel, Some(("main", "line-a"))),
        device(UPS, "ups".into(), EquipmentClass::PowerSupply, None),
        device(SUMP, "sump".into(), EquipmentClass::Sump, None),
    ];
    devices.extend((0..METERS).map(|n| {
        let links = match n {
            0..14 => ("feeder-1", "line-a"),
            14..20 => ("feeder-2", "line-a"),
            _ => ("feeder-2", "line-b"),
        };
        device(DeviceIx(n), format!("meter-{n}"), EquipmentClass::ElectricityMeter, Some(links))
    }));
    Topology::new(nodes, devices).unwrap()
}

/// One person per role, around the clock; the control room is empty.
fn roster() -> Roster {
    let shift = |role: &str| ShiftForm {
        role: role.into(),
        person: format!("{role}-1"),
        days: crate::roster::Day::ALL.to_vec(),
        from: "00:00".into(),
        to: "00:00".into(),
    };
    let roles = ["duty_phone", "sec_head", "eng_head", "butler", "branch_mgr", "leader"];
    let form = RosterForm {
        zone: "Asia/Shanghai".into(),
        fallback: "owner".into(),
        shifts: roles.map(shift).into(),
        deputies: BTreeMap::new(),
        absent: BTreeSet::new(),
    };
    Roster::new(form).unwrap()
}

fn plant() -> Plant {
    Plant {
        alarms: alarms(),
        topology: topology(),
        plans: crate::plan::tests::shipped(),
        roster: roster(),
        timings: Timings::default(),
    }
}

/// The store: rows as the daemon would keep them.
#[derive(Clone, Default)]
struct Rows {
    alarms: BTreeMap<String, AlarmRecord>,
    incidents: BTreeMap<Uuid, IncidentRecord>,
    pages: Vec<PageRequest>,
    timeline: Vec<TimelineEntry>,
}

impl Rows {
    fn write(&mut self, batch: Batch) {
        self.alarms.extend(batch.alarms.into_iter().map(|record| (record.key.clone(), record)));
        self.incidents.extend(batch.incidents.into_iter().map(|record| (record.id, record)));
        // The dedupe key of the outbox, without the channel.
        for page in batch.pages {
            let same = |old: &&PageRequest| {
                (old.incident, old.level, &old.person, old.kind) == (page.incident, page.level, &page.person, page.kind)
            };
            if self.pages.iter().find(same).is_none() {
                self.pages.push(page);
            }
        }
        self.timeline.extend(batch.timeline);
    }

    fn saved(&self) -> Saved {
        let open = self.incidents.values().filter(|record| record.state != IncidentState::Closed);
        let alerts = self.pages.iter().filter(|page| page.kind == PageKind::Alert);
        Saved {
            alarms: self.alarms.values().cloned().collect(),
            incidents: open.cloned().collect(),
            alerted: alerts.map(|page| (page.incident, page.person.clone())).collect(),
        }
    }
}

struct Site {
    room: ControlRoom,
    rows: Rows,
}

/// Ids that depend on nothing but how many incidents there were.
fn ids(mut next: u128) -> Box<dyn FnMut(Timestamp) -> Uuid + Send + Sync> {
    Box::new(move |_| {
        next += 1;
        Uuid::from_u128(next)
    })
}

impl Site {
    fn new() -> Self {
        Self::with(plant())
    }

    fn with(plant: Plant) -> Self {
        let room = ControlRoom::new(plant, Saved::default(), ids(0), at(0)).unwrap();
        Self { room, rows: Rows::default() }
    }

    /// A kill and a start: only the rows survive.
    fn restart(&mut self, now: u64) {
        let next = self.rows.incidents.len() as u128;
        self.room = ControlRoom::new(plant(), self.rows.saved(), ids(next), at(now)).unwrap();
    }

    fn bit(&mut self, now: u64, point: PointIx, value: bool) {
        let batch = self.room.on_reading(at(now), &Reading::good(point, Value::Bool(value), at(now)));
        self.rows.write(batch);
    }

    fn lose(&mut self, now: u64, point: PointIx) {
        let batch = self.room.on_reading(at(now), &Reading::bad(point, BadReason::NoAnswer, at(now)));
        self.rows.write(batch);
    }

    fn silent(&mut self, now: u64, device: DeviceIx) {
        let batch = self.room.on_health(at(now), device, Health::Silent);
        self.rows.write(batch);
    }

    fn answers(&mut self, now: u64, device: DeviceIx) {
        let batch = self.room.on_health(at(now), device, Health::Answering);
        self.rows.write(batch);
    }

    fn tick(&mut self, now: u64) {
        let batch = self.room.tick(at(now));
        self.rows.write(batch);
    }

    /// Ticks once a second, as the daemon would.
    fn run(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        seconds.for_each(|now| self.tick(now));
    }

    fn ack(&mut self, now: u64, id: Uuid, who: &str) {
        let batch = self.room.ack_incident(id, who, at(now)).unwrap();
        self.rows.write(batch);
    }

    fn only_incident(&self) -> IncidentRecord {
        let open: Vec<_> = self.room.incidents().collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        open[0].clone()
    }

    fn record(&self, key: &str) -> &AlarmRecord {
        self.room.alarms().get(self.room.alarms().find(key).unwrap()).record()
    }

    fn state(&self, key: &str) -> AlarmState {
        self.record(key).state()
    }

    /// Who got what, in order.
    fn pages(&self, kind: PageKind) -> Vec<&str> {
        self.rows.pages.iter().filter(|page| page.kind == kind).map(|page| page.person.as_str()).collect()
    }

    fn alerts(&self) -> Vec<&str> {
        self.pages(PageKind::Alert)
    }

    fn recoveries(&self) -> Vec<&str> {
        self.pages(PageKind::Recovery)
    }
}
