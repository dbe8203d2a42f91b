//! What Prometheus is told.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use guanjia_core::credit::{CreditState, MeterCredit};
use guanjia_core::reading::{BadReason, Decimal, Reading, Value};
use guanjia_core::units::Fen;
use guanjia_field::now;

use super::house::House;
use crate::metrics::render;

/// Every metric name and its type, as promised to dashboards and rules.
const NAMES: &str = include_str!("metrics.txt");

fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
}

/// A top-up whose fate is not known.
fn credit() -> MeterCredit {
    MeterCredit {
        receipt: 1,
        service_point: "s-2-w".to_owned(),
        amount: Fen(5_000),
        count: Some(8),
        state: CreditState::Uncertain,
        attempts: 1,
        detail: String::new(),
        at: now(),
        paid_at: now(),
        decided_by: None,
    }
}

fn scrape(house: &House) -> String {
    render(&house.metrics, &house.live).concat()
}

#[tokio::test]
async fn the_names_are_the_promised_ones() {
    let house = House::open().await;
    house.metrics.forward_backlog(1, Some(now()));
    house.metrics.mqtt_connected("local", true);
    house.live.open_credits.publish(vec![credit()]);
    let promised: BTreeSet<String> = NAMES.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
    let exported = names(&scrape(&house));
    let missing: Vec<_> = promised.difference(&exported).collect();
    let new: Vec<_> = exported.difference(&promised).collect();
    assert!(missing.is_empty() && new.is_empty(), "missing {missing:#?}, not in metrics.txt {new:#?}");
}

#[tokio::test]
async fn every_event_counter_is_there_before_the_first_event() {
    let house = House::open().await;
    let text = scrape(&house);
    for line in [
        "guanjia_alarms_raised_total{building=\"A\",severity=\"critical\",system=\"fire\"} 0",
        "guanjia_notifications_total{channel=\"phone\",result=\"failed\"} 0",
        "guanjia_forward_records_total{result=\"rejected\",sink=\"billing\"} 0",
        "guanjia_prepaid_switch_commands_total{action=\"open\",result=\"not_moved\",utility=\"water\"} 0",
        "guanjia_alarm_escalations_total{level=\"3\"} 0",
        "guanjia_ingest_samples_total{system=\"elevator\"} 0",
        "guanjia_alarm_ack_duration_seconds_bucket{severity=\"critical\",le=\"900\"} 0",
        "guanjia_storage_write_errors_total{store=\"journal\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("guanjia_forward_oldest_record_timestamp_seconds{"), "absent while nothing waits");
    house.metrics.forward_backlog(1, Some(now()));
    assert!(scrape(&house).contains("guanjia_forward_oldest_record_timestamp_seconds{"));
    house.metrics.forward_backlog(0, None);
    assert!(!scrape(&house).contains("guanjia_forward_oldest_record_timestamp_seconds{"));
}

#[tokio::test]
async fn a_dead_meter_exports_no_value_but_stays_visible() {
    let house = House::open().await;
    house.read("m-1", "energy_active_import", Value::Decimal(Decimal::new(1_234_500, -2)));
    let energy =
        "guanjia_meter_energy_joules_total{device=\"m-1\",building=\"A\",circuit=\"tenant\",direction=\"import\"} ";
    let line = |text: &str| text.lines().find_map(|l| l.strip_prefix(energy)).map(str::to_owned);
    assert_eq!(line(&scrape(&house)).as_deref(), Some("44442000000"), "12345 kWh in joules");
    let up = "guanjia_device_up{device=\"m-1\",building=\"A\",system=\"electricity\",bus=\"plant\"} ";
    assert!(scrape(&house).contains(&format!("{up}1\n")));

    let point = house.live.site.find_point("m-1", "energy_active_import").unwrap();
    house.live.latest.update(&[Reading::bad(point, BadReason::NoAnswer, now())]);
    house.live.latest.set_device(house.live.site.device_of(point).ix, Some(BadReason::NoAnswer), now());
    let text = scrape(&house);
    assert_eq!(line(&text), None, "the last value of a dead meter is not a value");
    assert!(text.contains(&format!("{up}0\n")));
    assert!(text.contains("guanjia_device_last_success_timestamp_seconds{device=\"m-1\""));
    assert!(text.contains("guanjia_points{system=\"electricity\",quality=\"bad\"} 3\n"), "{text}");
}

#[tokio::test]
async fn alarms_and_states_are_told_as_the_board_has_them() {
    let house = House::open().await;
    house.read("fire", "state", Value::Decimal(Decimal::new(0, 0)));
    let text = scrape(&house);
    let active =
        "guanjia_alarms_active{system=\"fire\",severity=\"critical\",building=\"A\",state=\"unacknowledged\"} 1\n";
    assert!(text.contains(active), "{text}");
    assert!(text.contains("guanjia_alarm_oldest_unacknowledged_timestamp_seconds{severity=\"critical\"} "));
    assert!(text.contains("guanjia_fire_panel_state_code{device=\"fire\",building=\"A\"} 4\n"), "{text}");
    assert!(
        text.contains("guanjia_elevator_state_code{device=\"lift-1\",building=\"A\"} 0\n"),
        "never read is offline"
    );
    assert!(text.contains("guanjia_prepaid_accounts{utility=\"electricity\",state=\"cut\"} 1\n"));
    assert!(text.contains("guanjia_prepaid_accounts{utility=\"electricity\",state=\"exempt\"} 1\n"));
    house.live.alarms.publish(crate::live::AlarmBoard::default());
    let text = scrape(&house);
    assert!(!text.contains("guanjia_alarm_oldest_unacknowledged_timestamp_seconds{"));
    assert!(text.contains("guanjia_fire_panel_state_code{device=\"fire\",building=\"A\"} 1\n"));
}

#[tokio::test]
async fn retries_do_not_spoil_the_delivery_ratio() {
    let house = House::open().await;
    house.metrics.page_attempt("phone", "retried", 1.0);
    house.metrics.page_attempt("phone", "delivered", 0.2);
    let text = scrape(&house);
    assert!(text.contains("guanjia_notifications_total{channel=\"phone\",result=\"delivered\"} 1\n"));
    assert!(text.contains("guanjia_notification_retries_total{channel=\"phone\"} 1\n"));
    assert!(text.contains("guanjia_notification_delivery_duration_seconds_count{channel=\"phone\"} 1\n"));
}

#[tokio::test]
async fn a_payment_channel_nobody_configured_is_other() {
    let house = House::open().await;
    house.metrics.top_up(guanjia_core::units::Utility::Water, "\"evil\"\n", guanjia_core::units::Fen(150));
    assert!(scrape(&house).contains("guanjia_prepaid_topup_yuan_total{channel=\"other\",utility=\"water\"} 1.5\n"));
}

#[tokio::test]
async fn promtool_accepts_the_page() {
    let house = House::open().await;
    house.read("m-1", "active_power_total", Value::Decimal(Decimal::new(2_500, -3)));
    let response = house.http.get(format!("{}/metrics", house.url)).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        println!("skipped: promtool not installed");
        return;
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {said}");
}

#[tokio::test]
async fn every_good_point_has_a_series_and_a_bad_one_has_none() {
    let house = House::open().await;
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let (status, text) = house.get("/metrics/points").await;
    assert_eq!((status.as_u16(), series(&text).len()), (200, 0), "nothing was read yet");
    assert!(text.starts_with("# HELP guanjia_point_value "));

    house.read("m-1", "energy_active_import", Value::Decimal(Decimal::new(5001, -2)));
    house.read("w-1", "volume_total", Value::Float(12.5));
    let (_, text) = house.get("/metrics/points").await;
    let energy = "guanjia_point_value{device=\"m-1\",point=\"energy_active_import\",system=\"electricity\",building=\"A\"} 50.01";
    assert!(series(&text).iter().any(|line| line == energy), "{text}");
    assert_eq!(series(&text).len(), 2, "{text}");
    let (_, text) = house.get("/metrics/points?system=water").await;
    assert_eq!(series(&text).len(), 1, "{text}");

    let point = house.live.site.find_point("m-1", "energy_active_import").unwrap();
    house.live.latest.update(&[Reading::bad(point, BadReason::NoAnswer, now())]);
    let (_, text) = house.get("/metrics/points").await;
    assert_eq!(series(&text).len(), 1, "{text}");
}
