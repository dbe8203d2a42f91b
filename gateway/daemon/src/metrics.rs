//! What Prometheus is told, and the one place that tells it.
//!
//! Two kinds of metric meet on `/metrics`; `/metrics/points` ([`Points`]) brings every single point:
//!
//! * **Events** (counters, histograms) are counted in a [`Metrics`] that lives as long as the process. Every child of
//!   a closed label set exists with the value 0 from the start; a counter that appears with its first event is
//!   invisible to `increase()`, and the first alarm of a kind would be lost.
//! * **State** (who answers, what the meters say, what stands open) is not counted anywhere. [`page`] writes it at
//!   scrape time from the tables everybody looks at, so it cannot disagree with the console.
//!
//! Labels come from the configuration or from a closed set in this file, never from a message, an error or an address.
//! `job`, `instance` and `site` are the scraper's. Base units only: seconds, joules, watts, cubic metres.
//!
//! | priority | `severity` |
//! |---|---|
//! | P1 | `critical` |
//! | P2 | `major` |
//! | P3 | `minor` |
//! | P4 | `info` |
//!
//! A power cut costs the counters, which start from zero; Prometheus knows that as a reset.

mod bus;
mod mqtt;
mod page;
mod points;
mod process;
mod raw;

use std::sync::atomic::{AtomicI64, Ordering};

use guanjia_core::alarm::Priority;
use guanjia_core::profile::{EquipmentClass, RelayAction};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Utility};
use prometheus::{
    CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::site::{ChannelKind, Site};

pub use bus::protocol;
pub use mqtt::{MqttIn, MqttOut};
pub use page::{account_state, alarm_state, bus_of, definitions, render};
pub use points::{export_of, metric_of, to_base};
pub use raw::Points;

/// The closed set of the `system` label, in the order of every table.
pub const SYSTEMS: [&str; 7] = ["electricity", "water", "fire", "elevator", "drainage", "power", "environment"];

/// What became of a page for good; attempts that will be repeated are counted apart.
const PAGE_RESULTS: [&str; 3] = ["delivered", "failed", "expired"];

/// What became of outbox rows.
const FORWARD_RESULTS: [&str; 3] = ["confirmed", "retried", "rejected"];

/// What became of a command to a relay.
const SWITCH_RESULTS: [&str; 9] =
    ["verified", "not_moved", "moving", "jammed", "refused", "unknown", "expired", "superseded", "no_relay"];

/// Why a sample was dropped.
const DROP_REASONS: [&str; 10] = [
    "queue_full",
    "prepaid_queue_full",
    "publish_replaced",
    "undecodable",
    "oversized",
    "unknown_topic",
    "out_of_order",
    "sample_undated",
    "sample_repeated",
    "sample_limit",
];

/// Payment channels with a label of their own; the word comes with a request, so any other is `other`.
const PAYMENT_CHANNELS: [&str; 6] = ["cashier", "wechat", "alipay", "unionpay", "bank", "other"];

/// The highest ladder step with a label of its own; later ones are counted with it.
const LEVEL_MAX: u32 = 9;

/// The one thing rows are forwarded to.
const SINK: &str = "billing";

/// Seconds from raised to accepted; 900 is the contract's 15 minutes and must be a bucket.
const RESPONSE_BUCKETS: [f64; 11] = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0];

/// Seconds of one delivery, one forwarded batch, one relay command.
const SECONDS_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The word of a priority in the `severity` label.
pub fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::P1 => "critical",
        Priority::P2 => "major",
        Priority::P3 => "minor",
        Priority::P4 => "info",
    }
}

/// Every counter of the process.
pub struct Metrics {
    registry: Registry,
    heartbeat_millis: AtomicI64,
    heartbeat: Gauge,
    reload_ok: IntGauge,
    write_errors: IntCounterVec,
    mqtt_connected: IntGaugeVec,
    mqtt: mqtt::MqttCounters,
    /// In the order of [`SYSTEMS`]; every report counts here.
    ingested: [IntCounter; SYSTEMS.len()],
    ingest_dropped: IntCounterVec,
    raised: IntCounterVec,
    ack_seconds: HistogramVec,
    escalations: IntCounterVec,
    pages: IntCounterVec,
    page_retries: IntCounterVec,
    page_seconds: HistogramVec,
    forward_backlog: IntGaugeVec,
    forward_oldest: GaugeVec,
    forwarded: IntCounterVec,
    forward_seconds: HistogramVec,
    top_up_yuan: CounterVec,
    switches: IntCounterVec,
    switch_seconds: HistogramVec,
}

impl Metrics {
    /// Every metric at 0, for every label the site or this file knows.
    pub fn new(site: &Site) -> Self {
        let registry = Registry::new();
        let r = &registry;
        let ingest = counters(r, "guanjia_ingest_samples_total", "Readings taken in.", &["system"]);
        let metrics = Self {
            heartbeat_millis: AtomicI64::new(0),
            heartbeat: gauge(
                r,
                "guanjia_watchdog_heartbeat_timestamp_seconds",
                "When the main loop last went round, as a Unix time.",
            ),
            reload_ok: int_gauge(
                r,
                "guanjia_config_last_reload_successful",
                "1 if the configuration that was read last could be used, else 0.",
            ),
            write_errors: counters(
                r,
                "guanjia_storage_write_errors_total",
                "Writes a store refused or lost.",
                &["store"],
            ),
            mqtt_connected: int_gauges(
                r,
                "guanjia_mqtt_connected",
                "1 while the broker has accepted the session, else 0.",
                &["broker"],
            ),
            mqtt: mqtt::MqttCounters::new(r),
            ingested: SYSTEMS.map(|system| ingest.with_label_values(&[system])),
            ingest_dropped: counters(
                r,
                "guanjia_ingest_dropped_samples_total",
                "Readings dropped before they were taken in.",
                &["reason"],
            ),
            raised: counters(
                r,
                "guanjia_alarms_raised_total",
                "Alarms raised. Severity: critical P1, major P2, minor P3, info P4.",
                &["system", "severity", "building"],
            ),
            ack_seconds: histogram(
                r,
                "guanjia_alarm_ack_duration_seconds",
                "From an incident's opening to its acceptance by a person.",
                &["severity"],
                &RESPONSE_BUCKETS,
            ),
            escalations: counters(
                r,
                "guanjia_alarm_escalations_total",
                "Steps of an escalation ladder taken because nobody had accepted; step 9 counts all later ones.",
                &["level"],
            ),
            pages: counters(
                r,
                "guanjia_notifications_total",
                "Pages by what became of them for good.",
                &["channel", "result"],
            ),
            page_retries: counters(
                r,
                "guanjia_notification_retries_total",
                "Attempts to deliver a page that failed and will be repeated.",
                &["channel"],
            ),
            page_seconds: histogram(
                r,
                "guanjia_notification_delivery_duration_seconds",
                "How long the attempt took that delivered a page.",
                &["channel"],
                &SECONDS_BUCKETS,
            ),
            forward_backlog: int_gauges(
                r,
                "guanjia_forward_backlog_records",
                "Rows written here and not yet confirmed there.",
                &["sink"],
            ),
            forward_oldest: gauges(
                r,
                "guanjia_forward_oldest_record_timestamp_seconds",
                "When the oldest unconfirmed row was written; absent when there is none.",
                &["sink"],
            ),
            forwarded: counters(
                r,
                "guanjia_forward_records_total",
                "Rows by what the sink said to them.",
                &["sink", "result"],
            ),
            forward_seconds: histogram(
                r,
                "guanjia_forward_duration_seconds",
                "How long one batch of rows took to be confirmed.",
                &["sink"],
                &SECONDS_BUCKETS,
            ),
            top_up_yuan: float_counters(
                r,
                "guanjia_prepaid_topup_yuan_total",
                "Money credited to wallets, in yuan. For charts; the ledger is exact.",
                &["utility", "channel"],
            ),
            switches: counters(
                r,
                "guanjia_prepaid_switch_commands_total",
                "Commands to supply relays: open interrupts, close restores.",
                &["utility", "action", "result"],
            ),
            switch_seconds: histogram(
                r,
                "guanjia_prepaid_switch_duration_seconds",
                "From a relay command's writing down to its proof or its failure.",
                &["utility"],
                &SECONDS_BUCKETS,
            ),
            registry,
        };
        metrics.initialise();
        metrics.adopt(site);
        // The program runs, so the configuration it started with could be used.
        metrics.config_reload(true);
        metrics
    }

    /// Creates the children whose labels are known without a site.
    fn initialise(&self) {
        for reason in DROP_REASONS {
            self.ingest_dropped.with_label_values(&[reason]);
        }
        for priority in Priority::ALL {
            self.ack_seconds.with_label_values(&[severity(priority)]);
        }
        for level in 1..=LEVEL_MAX {
            self.escalations.with_label_values(&[&level.to_string()]);
        }
        for store in ["journal", SINK] {
            self.write_errors.with_label_values(&[store]);
        }
        for result in FORWARD_RESULTS {
            self.forwarded.with_label_values(&[SINK, result]);
        }
        self.forward_backlog.with_label_values(&[SINK]);
        self.forward_seconds.with_label_values(&[SINK]);
        for utility in Utility::ALL {
            for channel in PAYMENT_CHANNELS {
                self.top_up_yuan.with_label_values(&[utility.as_str(), channel]);
            }
            for action in [RelayAction::Open, RelayAction::Close] {
                for result in SWITCH_RESULTS {
                    self.switches.with_label_values(&[utility.as_str(), action_word(action), result]);
                }
            }
            self.switch_seconds.with_label_values(&[utility.as_str()]);
        }
    }

    /// Creates the children whose labels come from the site. Done at the start, and at every scrape because a
    /// reload may have brought new ones. Children of things that are gone stay: a counter must not vanish while a rate
    /// is taken over it.
    pub fn adopt(&self, site: &Site) {
        let mut buildings: Vec<&str> = site.devices.iter().map(|d| d.building.as_str()).collect();
        buildings.push("");
        buildings.sort_unstable();
        buildings.dedup();
        for building in buildings {
            for system in SYSTEMS {
                for priority in Priority::ALL {
                    self.raised.with_label_values(&[system, severity(priority), building]);
                }
            }
        }
        for channel in &site.channels {
            // Every kind of channel can do all three; the match makes a new kind think about it.
            match channel.kind {
                ChannelKind::Webhook { .. } | ChannelKind::Ntfy { .. } | ChannelKind::Smtp { .. } => {}
            }
            for result in PAGE_RESULTS {
                self.pages.with_label_values(&[&channel.name, result]);
            }
            self.page_retries.with_label_values(&[&channel.name]);
            self.page_seconds.with_label_values(&[&channel.name]);
        }
        for broker in &site.brokers {
            self.mqtt_connected.with_label_values(&[&*broker.name]);
            self.mqtt.adopt(&broker.name);
        }
    }

    /// One attempt to deliver a page: `delivered`, `failed` and `expired` are final, `retried` is not.
    pub fn page_attempt(&self, channel: &str, result: &str, seconds: f64) {
        if result == "retried" {
            self.page_retries.with_label_values(&[channel]).inc();
            return;
        }
        self.pages.with_label_values(&[channel, result]).inc();
        if result == "delivered" {
            self.page_seconds.with_label_values(&[channel]).observe(seconds);
        }
    }

    /// One more step of a ladder; steps count from 1.
    pub fn escalation(&self, level: u32) {
        self.escalations.with_label_values(&[&level.clamp(1, LEVEL_MAX).to_string()]).inc();
    }

    /// One alarm raised, with the `system` of its device's class.
    pub fn alarm_raised(&self, system: &str, priority: Priority, building: &str) {
        self.raised.with_label_values(&[system, severity(priority), building]).inc();
    }

    /// One incident accepted, so many seconds after it was opened.
    pub fn alarm_acknowledged(&self, priority: Priority, seconds: f64) {
        self.ack_seconds.with_label_values(&[severity(priority)]).observe(seconds);
    }

    /// Money credited; only for a credit that took effect now, never for a replay.
    pub fn top_up(&self, utility: Utility, channel: &str, amount: Fen) {
        let channel = if PAYMENT_CHANNELS.contains(&channel) { channel } else { "other" };
        self.top_up_yuan.with_label_values(&[utility.as_str(), channel]).inc_by(amount.0.max(0) as f64 / 100.0);
    }

    /// One command to a relay, by its outcome's word.
    pub fn switch_command(&self, utility: Utility, action: &str, result: &str, seconds: f64) {
        self.switches.with_label_values(&[utility.as_str(), action, result]).inc();
        self.switch_seconds.with_label_values(&[utility.as_str()]).observe(seconds);
    }

    /// `n` outbox rows: `confirmed`, `retried` or `rejected`.
    pub fn forwarded(&self, result: &str, n: u64, seconds: f64) {
        self.forwarded.with_label_values(&[SINK, result]).inc_by(n);
        if result == "confirmed" {
            self.forward_seconds.with_label_values(&[SINK]).observe(seconds);
        }
    }

    /// How many rows wait, and since when the oldest.
    pub fn forward_backlog(&self, n: u64, oldest: Option<Timestamp>) {
        self.forward_backlog.with_label_values(&[SINK]).set(i64::try_from(n).unwrap_or(i64::MAX));
        match oldest {
            Some(at) => self.forward_oldest.with_label_values(&[SINK]).set(at.as_seconds_f64()),
            // The child may never have existed; then there is nothing to remove.
            None => drop(self.forward_oldest.remove_label_values(&[SINK])),
        }
    }

    /// Whether the session with a broker stands.
    pub fn mqtt_connected(&self, broker: &str, up: bool) {
        self.mqtt_connected.with_label_values(&[broker]).set(i64::from(up));
    }

    /// `n` readings of one system taken in.
    pub fn ingest(&self, system: &str, n: u64) {
        if let Some(i) = SYSTEMS.iter().position(|known| *known == system) {
            self.ingested[i].inc_by(n);
        }
    }

    /// `n` readings dropped; `reason` is a constant of the caller.
    pub fn ingest_dropped(&self, reason: &str, n: u64) {
        self.ingest_dropped.with_label_values(&[reason]).inc_by(n);
    }

    /// The configuration was read again.
    pub fn config_reload(&self, ok: bool) {
        self.reload_ok.set(i64::from(ok));
    }

    /// The journal refused or lost a write.
    pub fn storage_write_error(&self) {
        self.write_errors.with_label_values(&["journal"]).inc();
    }

    /// The main loop went round.
    pub fn heartbeat(&self, now: Timestamp) {
        self.heartbeat_millis.store(now.as_millis(), Ordering::Relaxed);
        self.heartbeat.set(now.as_seconds_f64());
    }

    /// When the main loop last went round; [`Timestamp::EPOCH`] before it began.
    pub fn last_heartbeat(&self) -> Timestamp {
        Timestamp::from_millis(self.heartbeat_millis.load(Ordering::Relaxed))
    }

    /// Every event metric, for the page.
    fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}

/// The word of an action in the `action` label.
fn action_word(action: RelayAction) -> &'static str {
    match action {
        RelayAction::Open => "open",
        RelayAction::Close => "close",
    }
}

/// The `system` of a class; here so that the closed set above is proven complete by a test.
pub fn system_of(class: EquipmentClass) -> &'static str {
    class.system()
}

/// Why registration cannot fail: names are constants of this file, each used once, and a test renders them all.
const REGISTERED: &str = "metric names are constants, valid and unique";

fn gauge(r: &Registry, name: &str, help: &str) -> Gauge {
    let metric = Gauge::new(name, help).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn int_gauge(r: &Registry, name: &str, help: &str) -> IntGauge {
    let metric = IntGauge::new(name, help).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    let metric = GaugeVec::new(Opts::new(name, help), labels).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn int_gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn float_counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> CounterVec {
    let metric = CounterVec::new(Opts::new(name, help), labels).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}

fn histogram(r: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let metric = HistogramVec::new(options, labels).expect(REGISTERED);
    r.register(Box::new(metric.clone())).expect(REGISTERED);
    metric
}
