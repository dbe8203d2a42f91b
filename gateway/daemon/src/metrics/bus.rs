//! How the field lines are doing: utilisation, saturation, errors.
//!
//! The lines count for themselves; here their numbers only get their names.

use guanjia_field::Link;
use guanjia_field::doctor::Illness;
use guanjia_field::link::dial_in::DialInStats;
use guanjia_field::stats::{Counter, DURATION_BUCKETS_MS, LineStats};

use crate::live::Live;
use crate::metrics::page::Page;

/// One number of a line: the metric's name, its type, its help, and where it is.
type LineNumber = (&'static str, &'static str, &'static str, fn(&LineStats) -> f64);

/// The numbers every line has once.
const NUMBERS: [LineNumber; 8] = [
    (
        "guanjia_bus_busy_seconds_total",
        "counter",
        "How long the line was occupied, silences included. Its rate is the bus load.",
        |s| seconds(s.busy_nanos.get()),
    ),
    ("guanjia_bus_queue_requests", "gauge", "Commands that wait for the line.", |s| s.queue.get() as f64),
    ("guanjia_bus_connected", "gauge", "1 while the port is open or the socket connected, else 0.", |s| {
        s.connected.get() as f64
    }),
    ("guanjia_bus_connects_total", "counter", "Times the port was opened or the socket connected.", |s| {
        s.connects.get() as f64
    }),
    ("guanjia_bus_stale_bytes_total", "counter", "Bytes found on the line before a request, thrown away.", |s| {
        s.stale_bytes.get() as f64
    }),
    ("guanjia_bus_probes_total", "counter", "Extra reads to tell a late answer from the right one.", |s| {
        s.probes.get() as f64
    }),
    ("guanjia_poll_cycle_overruns_total", "counter", "Polls left out because their turn had passed.", |s| {
        s.overruns.get() as f64
    }),
    ("guanjia_bus_dropped_reports_total", "counter", "Reports of readings nobody was quick enough to take.", |s| {
        s.dropped_reports.get() as f64
    }),
];

/// One number of a port that modems connect to.
type EntranceNumber = (&'static str, &'static str, &'static str, fn(&DialInStats) -> &Counter);

/// The numbers every such port has once.
const ENTRANCE_NUMBERS: [EntranceNumber; 5] = [
    ("guanjia_dial_in_connected", "gauge", "DTUs that are connected.", |s| &s.connected),
    ("guanjia_dial_in_waiting", "gauge", "Connections that have not said who they are.", |s| &s.waiting),
    ("guanjia_dial_in_accepted_total", "counter", "Connections that were accepted.", |s| &s.accepted),
    (
        "guanjia_dial_in_replaced_total",
        "counter",
        "Connections whose DTU called again while they were still open.",
        |s| &s.replaced,
    ),
    ("guanjia_dial_in_heartbeats_total", "counter", "Heartbeats of DTUs, taken out of what their devices say.", |s| {
        &s.heartbeats
    }),
];

/// Writes the statistics of every port that modems connect to.
fn entrances(page: &mut Page, live: &Live) {
    for (name, kind, help, number) in ENTRANCE_NUMBERS {
        page.family(name, kind, help);
        for entrance in &live.entrances {
            page.sample(name, &[("dial_in", &**entrance.name())], number(entrance.stats()).get() as f64);
        }
    }
    let name = "guanjia_dial_in_refused_total";
    page.family(name, "counter", "Connections that were refused: nobody's registration, none in time, too many.");
    for entrance in &live.entrances {
        let stats = entrance.stats();
        for (reason, counter) in
            [("unknown", &stats.refused_unknown), ("silent", &stats.refused_silent), ("full", &stats.refused_full)]
        {
            page.sample(name, &[("dial_in", &**entrance.name()), ("reason", reason)], counter.get() as f64);
        }
    }
}

/// Writes the statistics of every line.
pub fn write(page: &mut Page, live: &Live) {
    for (name, kind, help, number) in NUMBERS {
        page.family(name, kind, help);
        for (labels, stats) in lines(live) {
            page.sample(name, &labels, number(stats));
        }
    }
    let name = "guanjia_bus_utilization_planned_ratio";
    page.family(name, "gauge", "What share of the line's time its reads are planned to take; compare with the rate of guanjia_bus_busy_seconds_total.");
    for ((labels, _), share) in lines(live).zip(&live.site.utilization) {
        page.sample(name, &labels, share.ratio());
    }
    let name = "guanjia_bus_discarded_replies_total";
    page.family(name, "counter", "Answers thrown away because they were not the answer that was asked for.");
    for ([bus, protocol], stats) in lines(live) {
        for (reason, counter) in [
            ("late", &stats.discarded_late),
            ("foreign", &stats.discarded_foreign),
            ("damaged", &stats.discarded_damaged),
        ] {
            page.sample(name, &[bus, protocol, ("reason", reason)], counter.get() as f64);
        }
    }
    let name = "guanjia_poll_requests_total";
    page.family(name, "counter", "Requests by what came of them.");
    for ([bus, protocol], stats) in lines(live) {
        for (result, counter) in [
            ("ok", (|d| &d.ok) as fn(&guanjia_field::stats::DeviceStats) -> &guanjia_field::stats::Counter),
            ("timeout", |d| &d.timeout),
            ("crc_error", |d| &d.crc_error),
            ("exception", |d| &d.exception),
            ("link_error", |d| &d.link_error),
        ] {
            let total: u64 = stats.devices.iter().map(|d| counter(d).get()).sum();
            page.sample(name, &[bus, protocol, ("result", result)], total as f64);
        }
    }
    durations(page, live);
    findings(page, live);
    entrances(page, live);
    revocations(page, live);
}

/// When the revocation lists behind lines and brokers are due. A line goes on after that, and believes who was revoked
/// since; so the date has to be seen from outside.
fn revocations(page: &mut Page, live: &Live) {
    let name = "guanjia_tls_crl_next_update_timestamp_seconds";
    page.family(name, "gauge", "When the authority promised a newer revocation list than the one in the file, as a Unix time; of several the first.");
    let of_lines = live.site.lines.iter().filter_map(|line| match &line.link {
        Link::ModbusTls { tls, .. } => Some((&*line.name, tls.crl.as_ref()?)),
        _ => None,
    });
    let of_brokers = live.site.brokers.iter().filter_map(|broker| Some((&*broker.name, broker.crl.as_ref()?)));
    for (bus, crl) in of_lines.chain(of_brokers) {
        if let Some(due) = crl.next_update() {
            let file = crl.as_ref().display().to_string();
            page.sample(name, &[("bus", bus), ("file", &file)], due.as_millis() as f64 / 1_000.0);
        }
    }
}

/// What the doctor of each line has found. Every finding a line can have is there, so that its absence is a zero.
fn findings(page: &mut Page, live: &Live) {
    let name = "guanjia_line_finding";
    page.family(name, "gauge", "1 while the line's doctor finds this wrong with it, else 0.");
    for (line, config) in live.lines.iter().zip(&live.site.lines) {
        let protocol = protocol(&config.link);
        let standing = line.tap().findings();
        for illness in Illness::ALL {
            if !line.tap().can_find(illness) {
                continue;
            }
            let stands = standing.iter().any(|(finding, _)| finding.illness == illness);
            let labels = [("bus", &**line.name()), ("protocol", protocol), ("finding", illness.as_str())];
            page.sample(name, &labels, if stands { 1.0 } else { 0.0 });
        }
    }
}

/// The histogram of transaction times; the lines keep their buckets apart, Prometheus wants them cumulative.
fn durations(page: &mut Page, live: &Live) {
    let name = "guanjia_poll_duration_seconds";
    page.family(name, "histogram", "How long a transaction took.");
    let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
    for ([bus, protocol], stats) in lines(live) {
        let total = stats.durations.count.get();
        let mut below = 0;
        for (bound, counter) in DURATION_BUCKETS_MS.iter().zip(&stats.durations.buckets) {
            below += counter.get();
            let le = (*bound as f64 / 1000.0).to_string();
            // The counters are read one after the other; a bucket never exceeds the count it belongs to.
            page.sample(&bucket, &[bus, protocol, ("le", &le)], below.min(total) as f64);
        }
        page.sample(&bucket, &[bus, protocol, ("le", "+Inf")], total as f64);
        page.sample(&sum, &[bus, protocol], seconds(stats.durations.sum_nanos.get()));
        page.sample(&count, &[bus, protocol], total as f64);
    }
}

/// Every line with the labels it is known under.
fn lines(live: &Live) -> impl Iterator<Item = ([(&'static str, &str); 2], &LineStats)> {
    // Lines are started in the order of the site.
    live.lines
        .iter()
        .zip(&live.site.lines)
        .map(|(line, config)| ([("bus", &**line.name()), ("protocol", protocol(&config.link))], &**line.stats()))
}

/// The closed set of the `protocol` label.
pub fn protocol(link: &Link) -> &'static str {
    match link {
        Link::Serial { .. } => "modbus_rtu",
        Link::RtuOverTcp { .. } => "rtu_over_tcp",
        Link::AsciiSerial { .. } => "modbus_ascii",
        Link::AsciiOverTcp { .. } => "ascii_over_tcp",
        Link::ModbusTcp { .. } => "modbus_tcp",
        Link::ModbusTls { .. } => "modbus_tls",
        Link::ModbusUdp { .. } => "modbus_udp",
        Link::DialIn(_) => "dial_in",
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
