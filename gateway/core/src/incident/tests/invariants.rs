//! What no order of events may break.

use proptest::prelude::*;

use super::*;

/// Something that happens to the building.
#[derive(Clone, Copy, Debug)]
enum Event {
    Bit(PointIx, bool),
    Lose(PointIx),
    Silent(u32),
    Answers(u32),
    AckFirst,
    AckAll,
    Reset,
    Wait(u64),
    Restart,
}

fn any_event() -> impl Strategy<Value = Event> {
    let point = prop::sample::select(vec![FIRE, GAS, ON_BATTERY, LEVEL, FLOOR_1_DEAD]);
    prop_oneof![
        4 => (point.clone(), any::<bool>()).prop_map(|(point, value)| Event::Bit(point, value)),
        1 => point.prop_map(Event::Lose),
        4 => (0..METERS).prop_map(Event::Silent),
        3 => (0..METERS).prop_map(Event::Answers),
        1 => Just(Event::Silent(PANEL.0)),
        1 => Just(Event::Answers(PANEL.0)),
        1 => Just(Event::AckFirst),
        1 => Just(Event::AckAll),
        1 => Just(Event::Reset),
        3 => (1..400u64).prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ]
}

fn happen(site: &mut Site, now: &mut u64, event: Event) {
    match event {
        Event::Bit(point, value) => site.bit(*now, point, value),
        Event::Lose(point) => site.lose(*now, point),
        Event::Silent(n) => site.silent(*now, DeviceIx(n)),
        Event::Answers(n) => site.answers(*now, DeviceIx(n)),
        Event::AckFirst | Event::AckAll => {
            let open: Vec<Uuid> = site.room.incidents().map(|incident| incident.id).collect();
            let many = if matches!(event, Event::AckFirst) { 1 } else { usize::MAX };
            for id in open.into_iter().take(many) {
                if let Ok(batch) = site.room.ack_incident(id, "zhang", at(*now)) {
                    site.rows.write(batch);
                }
            }
        }
        Event::Reset => {
            if let Ok(batch) = site.room.reset_alarm("panel/fire", "zhang", at(*now)) {
                site.rows.write(batch);
            }
        }
        Event::Wait(seconds) => {
            *now += seconds;
            site.tick(*now);
        }
        Event::Restart => site.restart(*now),
    }
}

/// What must be true after every event.
fn check(site: &Site, before: &Rows) -> Result<(), TestCaseError> {
    let open: Vec<&IncidentRecord> = site.room.incidents().collect();
    let roots: BTreeSet<&str> = open.iter().map(|incident| incident.root.as_str()).collect();
    prop_assert_eq!(roots.len(), open.len(), "one open incident per root");
    let codes: BTreeSet<&str> = open.iter().map(|incident| incident.code.as_str()).collect();
    prop_assert_eq!(codes.len(), open.len(), "one open incident per code");
    for incident in &open {
        prop_assert!(!incident.owner.is_empty());
        prop_assert_eq!(site.rows.incidents.get(&incident.id), Some(*incident), "what is open is written");
        let waits = incident.state == IncidentState::Open && incident.priority <= Priority::P2;
        let ended = incident.steps_taken() as usize > site.room.plans().ladder(&incident.plan, incident.priority).len();
        prop_assert!(!waits || incident.escalates_at.is_some() || ended, "a ladder stopped by itself: {incident:?}");
    }
    for (id, old) in &before.incidents {
        let new = &site.rows.incidents[id];
        prop_assert!(new.level >= old.level, "escalation only rises");
        prop_assert!(new.priority <= old.priority, "an incident never gets milder");
        prop_assert!(old.state != IncidentState::Closed || new == old, "closed stays closed");
    }
    for (key, old) in &before.alarms {
        let new = &site.rows.alarms[key];
        let kept = new.occurrence > old.occurrence || !old.acked || new.acked;
        prop_assert!(kept, "an acknowledgement was lost: {old:?} became {new:?}");
    }
    for (_, alarm) in site.room.alarms().iter() {
        let (def, record) = (alarm.def(), alarm.record());
        let written = site.rows.alarms.get(&*def.key);
        prop_assert!(record.occurrence == 0 || written == Some(record), "what rose is written");
        let hideable = def.class == AlarmClass::Communication && def.device != PANEL;
        prop_assert!(record.suppressed_by.is_none() || hideable, "{} must not be hidden", def.key);
        if record.active && !hideable {
            let id = record.incident.unwrap();
            prop_assert!(open.iter().any(|incident| incident.id == id), "{} stands in no open incident", def.key);
        }
        if record.suppressed_by.is_some() {
            let id = record.incident.unwrap();
            prop_assert!(open.iter().any(|incident| incident.id == id), "{} hides under nothing", def.key);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_a_promise(events in prop::collection::vec(any_event(), 1..60)) {
        let mut site = Site::new();
        let mut now = 1;
        for event in events {
            let before = site.rows.clone();
            let (gas, fire) = (site.record("panel/gas").occurrence, site.record("panel/fire").occurrence);
            happen(&mut site, &mut now, event);
            if let Event::Lose(_) = event {
                prop_assert_eq!(&before.alarms, &site.rows.alarms, "lost data changed an alarm");
            }
            for (key, old) in [("panel/gas", gas), ("panel/fire", fire)] {
                if site.record(key).occurrence > old {
                    let id = site.record(key).incident.unwrap();
                    let new = &site.rows.pages[before.pages.len()..];
                    let called = new.iter().any(|page| page.incident == id && page.kind == PageKind::Alert);
                    prop_assert!(called, "{} rose and called nobody", key);
                }
            }
            check(&site, &before)?;
        }
    }

    #[test]
    fn a_restart_at_any_step_leads_to_the_same_future(
        events in prop::collection::vec(any_event(), 1..40),
        cut in 0..40usize,
    ) {
        // Silences wait in memory and wait again after a restart, so they have tests of their own.
        let keep = |event: &Event| !matches!(event, Event::Silent(n) | Event::Answers(n) if *n < METERS);
        let events: Vec<Event> = events.into_iter().filter(keep).filter(|e| !matches!(e, Event::Restart)).collect();
        let (mut whole, mut cut_off) = (Site::new(), Site::new());
        let (mut now_whole, mut now_cut) = (1, 1);
        let mut last: BTreeMap<PointIx, bool> = BTreeMap::new();
        for (i, event) in events.iter().enumerate() {
            if i == cut {
                cut_off.restart(now_cut);
                // The first poll after the start reads what was there before.
                for (point, value) in &last {
                    cut_off.bit(now_cut, *point, *value);
                }
            }
            happen(&mut whole, &mut now_whole, *event);
            happen(&mut cut_off, &mut now_cut, *event);
            if let Event::Bit(point, value) = event {
                last.insert(*point, *value);
            }
        }
        prop_assert_eq!(whole.rows.alarms, cut_off.rows.alarms);
        prop_assert_eq!(whole.rows.incidents, cut_off.rows.incidents);
        prop_assert_eq!(whole.rows.pages, cut_off.rows.pages);
    }

    #[test]
    fn whatever_falls_silent_in_whatever_order_ends_in_incidents_that_name_it(
        order in Just((0..METERS).collect::<Vec<_>>()).prop_shuffle(),
        gaps in prop::collection::vec(0..6u64, METERS as usize),
        restart in 0..METERS,
    ) {
        let mut site = Site::new();
        let mut now = 1;
        for (n, gap) in order.iter().zip(gaps) {
            site.silent(now, DeviceIx(*n));
            for _ in 0..gap {
                now += 1;
                site.tick(now);
            }
            if *n == restart {
                site.restart(now);
            }
        }
        site.run(now..=now + 60);
        // A dead house is one incident, whatever it was taken for on the way.
        let incident = site.only_incident();
        prop_assert_eq!((incident.root.as_str(), incident.plan.as_str()), ("main", "EP-02"));
        let named = site.room.alarms().iter().filter(|(_, alarm)| alarm.record().incident == Some(incident.id)).count();
        prop_assert_eq!(named, METERS as usize);
    }
}
