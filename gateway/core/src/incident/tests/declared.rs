//! Alarms that the gateway declares itself: called, accepted and cleared as any other, with their numbers in the title.

use super::*;
use crate::alarm::Declaration;

const KEY: &str = "meter-3/credit";

fn plant_with_declared(on_delay: u64) -> Plant {
    let mut plant = plant();
    let mut def = alarm(KEY, DeviceIx(3), Condition::Declared, Priority::P3, AlarmClass::Process);
    def.on_delay = Duration::from_secs(on_delay);
    plant.alarms.push(Arc::new(def));
    plant
}

fn declare(site: &mut Site, now: u64, holds: bool, numbers: &str) {
    let detail = Bilingual::new(numbers, numbers);
    let batch = site.room.on_declaration(at(now), &Declaration { key: KEY.into(), holds, detail });
    site.rows.write(batch);
}

#[test]
fn a_declared_alarm_calls_people_with_its_numbers_and_goes_when_it_is_settled() {
    let mut site = Site::with(plant_with_declared(0));
    declare(&mut site, 0, false, "");
    assert_eq!(site.rows.alarms.len(), 0, "what was never wrong is no news");
    declare(&mut site, 1, true, "receipt 7, 50.00 yuan");
    site.tick(1);
    let incident = site.only_incident();
    assert_eq!(incident.title.en, "meter-3 credit: receipt 7, 50.00 yuan");
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    let raised = site.rows.timeline.iter().find(|line| line.what == "alarm_raised").unwrap();
    assert_eq!(raised.detail, "receipt 7, 50.00 yuan");
    // Told again, also with other numbers, it is the same trouble.
    declare(&mut site, 2, true, "receipts 7 and 8");
    assert_eq!((site.only_incident().id, site.record(KEY).occurrence), (incident.id, 1));
    // No reading and no health speaks for it.
    site.silent(3, DeviceIx(3));
    site.answers(4, DeviceIx(3));
    assert_eq!(site.state(KEY), AlarmState::Unack);
    site.ack(5, incident.id, "li");
    declare(&mut site, 6, false, "");
    assert_eq!((site.state(KEY), site.room.incidents().count()), (AlarmState::Norm, 0));
}

#[test]
fn it_waits_for_its_delay_and_survives_a_restart() {
    let mut site = Site::with(plant_with_declared(120));
    declare(&mut site, 0, true, "x");
    site.run(1..=119);
    assert_eq!(site.alerts(), [""; 0]);
    declare(&mut site, 60, false, "");
    declare(&mut site, 61, true, "x");
    site.run(62..=180);
    assert_eq!(site.alerts(), [""; 0], "it was settled in between");
    site.run(181..=182);
    assert_eq!(site.alerts(), ["duty_phone-1"]);
    // The gateway dies, the credit is settled by the next one: the alarm goes.
    site.room = ControlRoom::new(plant_with_declared(120), site.rows.saved(), ids(9), at(200)).unwrap();
    declare(&mut site, 201, true, "x");
    site.tick(202);
    assert_eq!((site.alerts().len(), site.state(KEY)), (1, AlarmState::Unack), "nobody is called twice");
    declare(&mut site, 203, false, "");
    assert_eq!(site.state(KEY), AlarmState::Rtnun);
}

#[test]
fn a_word_on_an_alarm_that_watches_something_else_changes_nothing() {
    let mut site = Site::with(plant_with_declared(0));
    for key in ["panel/fire", "nowhere/nothing"] {
        let detail = Bilingual::default();
        let batch = site.room.on_declaration(at(1), &Declaration { key: key.into(), holds: true, detail });
        assert!(batch.is_empty(), "{key}");
    }
    assert_eq!(site.state("panel/fire"), AlarmState::Norm);
}
