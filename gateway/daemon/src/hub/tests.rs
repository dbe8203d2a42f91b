use std::path::Path;

use guanjia_core::reading::{Decimal, Quality, Value};
use guanjia_core::time::Timestamp;

use super::*;

fn example() -> Arc<Site> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/site.toml");
    Arc::new(crate::config::load(&path).unwrap_or_else(|report| panic!("{report}")))
}

/// A hub of the example site, and what its tasks hear.
struct Bench {
    site: Arc<Site>,
    latest: Arc<LatestTable>,
    reports: mpsc::Sender<FieldReport>,
    alarms: mpsc::Receiver<Observation>,
    prepaid: mpsc::Receiver<prepaid::Told>,
}

fn start() -> Bench {
    let site = example();
    let latest = Arc::new(LatestTable::new(&site, Timestamp::EPOCH));
    let (reports, queue) = mpsc::channel(REPORTS_MAX);
    let (alarms_in, alarms) = mpsc::channel(OBSERVATIONS_MAX);
    let (prepaid_in, prepaid) = mpsc::channel(OBSERVATIONS_MAX);
    let out = Outputs { latest: Arc::clone(&latest), alarms: alarms_in, prepaid: prepaid_in };
    let metrics = Arc::new(Metrics::new(&site));
    let (_, messages) = mpsc::channel(1);
    tokio::spawn(run(Arc::clone(&site), queue, messages, out, metrics, CancellationToken::new()));
    Bench { site, latest, reports, alarms, prepaid }
}

impl Bench {
    fn good(&self, point: &str, at: Timestamp) -> Reading {
        let point = self.site.find_point("m-101", point).expect("the meter has the point");
        Reading::good(point, Value::Decimal(Decimal::new(1, 0)), at)
    }

    async fn report(&self, readings: Vec<Reading>) {
        let device = self.site.device_of(readings[0].point).ix;
        self.reports.send(FieldReport::Readings { device, readings }).await.expect("the hub runs");
    }

    /// What the accounts are told next.
    async fn billed(&mut self) -> Vec<Reading> {
        match self.prepaid.recv().await.expect("the hub runs") {
            prepaid::Told::Readings(readings) => readings,
            prepaid::Told::Receipt(receipt) => panic!("{receipt:?} of nobody"),
        }
    }
}

#[tokio::test]
async fn each_task_hears_of_its_own_points_and_alarms_that_a_device_has_answered() {
    let mut bench = start();
    let now = guanjia_field::now();
    let (power, relay) = (bench.good("active_power_total", now), bench.good("relay_open", now));
    let (energy, voltage) = (bench.good("energy_active_import", now), bench.good("frequency", now));
    let device = bench.site.device_of(power.point).ix;

    bench.report(vec![energy.clone(), voltage.clone(), power.clone(), relay.clone()]).await;
    let heard = bench.alarms.recv().await;
    assert_eq!(
        heard,
        Some(Observation::Readings { answered: Some(device), readings: vec![power.clone(), relay.clone()] })
    );
    assert_eq!(bench.billed().await, vec![energy, power, relay], "register, load and contact");

    bench.report(vec![voltage]).await;
    let heard = bench.alarms.recv().await;
    assert_eq!(heard, Some(Observation::Readings { answered: Some(device), readings: vec![] }));
    assert!(bench.prepaid.try_recv().is_err(), "nobody pays by the frequency");
}

#[tokio::test]
async fn what_a_device_says_of_its_past_is_billed_and_neither_shown_nor_alarmed_by() {
    let mut bench = start();
    let now = guanjia_field::now();
    let hour_ago = Timestamp::from_millis(now.as_millis() - 3_600_000);
    let (energy, power) = (bench.good("energy_active_import", hour_ago), bench.good("active_power_total", hour_ago));
    let device = bench.site.device_of(energy.point).ix;
    let past = FieldReport::Past { device, readings: vec![energy.clone(), power.clone()] };
    bench.reports.send(past).await.expect("the hub runs");
    assert_eq!(bench.billed().await, vec![energy.clone(), power]);
    let power_now = bench.good("active_power_total", now);
    bench.report(vec![power_now.clone()]).await;
    let heard = bench.alarms.recv().await;
    assert_eq!(
        heard,
        Some(Observation::Readings { answered: Some(device), readings: vec![power_now] }),
        "and nothing before"
    );
    assert!(bench.latest.get(energy.point).expect("it has a row").value.is_none());
}

#[tokio::test]
async fn bad_news_of_a_watched_point_is_told_and_of_another_is_not() {
    let mut bench = start();
    let now = guanjia_field::now();
    let bad = |reading: Reading| Reading::bad(reading.point, BadReason::NoAnswer, now);
    let (power, voltage) = (bad(bench.good("active_power_total", now)), bad(bench.good("frequency", now)));
    bench.report(vec![voltage]).await;
    bench.report(vec![power.clone()]).await;
    let heard = bench.alarms.recv().await;
    assert_eq!(heard, Some(Observation::Readings { answered: None, readings: vec![power] }));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_renews_turns_stale_once_and_the_tasks_are_told() {
    let mut bench = start();
    let now = guanjia_field::now();
    let meter = bench.good("active_power_total", now).point;
    let max_age = bench.site.device_of(meter).max_age;
    let old = Timestamp::from_millis(now.as_millis() - max_age.as_millis() as i64 - 1);
    bench.report(vec![bench.good("active_power_total", old), bench.good("frequency", now)]).await;
    let Some(Observation::Readings { answered: Some(_), .. }) = bench.alarms.recv().await else {
        panic!("it answered")
    };
    let Some(Observation::Readings { answered: None, readings }) = bench.alarms.recv().await else { panic!("stale") };
    assert_eq!(readings.iter().map(|r| (r.point, r.quality)).collect::<Vec<_>>(), [(meter, Quality::Stale)]);
    let row = bench.latest.get(meter).expect("the point exists");
    assert_eq!(row.quality, Quality::Stale);
    assert_eq!(row.value, Some((Value::Decimal(Decimal::new(1, 0)), old)), "it shows what it was, and since when");
    tokio::time::sleep(STALE_SCAN_PERIOD * 3).await;
    assert!(bench.alarms.try_recv().is_err(), "once is enough");

    bench.report(vec![bench.good("active_power_total", guanjia_field::now())]).await;
    bench.alarms.recv().await.expect("the alarms hear of the new value");
    assert_eq!(bench.latest.get(meter).map(|row| row.quality), Some(Quality::Good));
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_up_neither_what_is_good_nor_what_is_bad() {
    let bench = start();
    let at = |seconds: i64| Timestamp::from_millis(1_800_000_000_000 + 1_000 * seconds);
    let power = bench.good("active_power_total", at(3_600));
    let (point, device) = (power.point, bench.site.device_of(power.point).ix);
    let shown = || bench.latest.get(point).map(|row| (row.value.map(|(_, at)| at), row.quality));
    bench.latest.expire(at(3_600));
    bench.latest.report(device, &[power]);
    // A reading that was overtaken on its way is none of now.
    bench.latest.report(device, &[bench.good("active_power_total", at(3_599))]);
    assert_eq!(shown(), Some((Some(at(3_600)), Quality::Good)));

    // The clock goes back by an hour.
    bench.latest.expire(at(1));
    assert_eq!(shown(), Some((Some(at(1)), Quality::Good)), "nothing is of a time that has not come");
    bench.latest.report(device, &[bench.good("active_power_total", at(2))]);
    assert_eq!(shown(), Some((Some(at(2)), Quality::Good)));
    bench.latest.report(device, &[Reading::bad(point, BadReason::NoAnswer, at(3))]);
    assert_eq!(shown(), Some((Some(at(2)), Quality::Bad(BadReason::NoAnswer))));

    // And what nobody renews becomes stale as long after it as ever.
    bench.latest.report(device, &[bench.good("active_power_total", at(4_000))]);
    bench.latest.expire(at(4_000));
    bench.latest.expire(at(10));
    let max_age = bench.site.device_of(point).max_age;
    assert!(bench.latest.expire(at(10) + max_age).is_empty());
    let stale = bench.latest.expire(at(11) + max_age);
    assert!(stale.iter().any(|reading| reading.point == point), "{stale:?}");
}
