//! Noise: whatever the wires carry, a published value is the value of its own point.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use guanjia_sim::inventory::LineId;
use guanjia_sim::{DeviceTruth, Fault, LineFault, Noise, Relay};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::House;

const NOISY: [(LineId, &str); 3] = [(LineId::Rs485A, "rs485-a"), (LineId::Rs485B, "rs485-b"), (LineId::Plant, "plant")];
const NOISE_LASTS: Duration = Duration::from_secs(7);
/// How long the first values may take; how quick they are is shown elsewhere.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// What a counter may be behind the truth: a bulk poll, its repeats, and a rest of some seconds at a few kilowatts.
const ENERGY_WH_MAX: f64 = 60.0;
const VOLUME_L_MAX: f64 = 10.0;

/// The load each meter is given: no two are alike, so that a value under a foreign name shows.
fn load(position: usize) -> f64 {
    600.0 + 53.0 * position as f64
}

fn is_near(value: f64, truth: f64, allowed: f64) -> bool {
    (value - truth).abs() <= allowed
}

/// Why this published value cannot be true, if it cannot.
fn lie(point: &str, value: f64, unit: &str, truth: &DeviceTruth, watts: Option<f64>) -> Option<String> {
    let kilo = if unit.starts_with('k') { 1_000.0 } else { 1.0 };
    let value_base = value * kilo;
    let energy = truth.energy_wh.unwrap_or_default() as f64;
    let volume = truth.volume_l.unwrap_or_default() as f64;
    let load = watts.unwrap_or_default();
    // The simulator's phases carry 36, 33 and 31 percent.
    let phase = match point.as_bytes().last() {
        Some(b'1') => 0.36,
        Some(b'2') => 0.33,
        _ => 0.31,
    };
    let amps = |volts: f64, factor: f64| load * phase / (volts * factor);
    let is_true = match point {
        "energy_active_import" => is_near(value_base, energy, ENERGY_WH_MAX),
        "energy_active_export" => value == 0.0,
        "voltage_l1" | "voltage_l2" | "voltage_l3" => {
            let volts = if unit == "V" { value } else { value_base };
            // The plant's meters tell line voltages under other names; here every one is a phase.
            is_near(volts, 220.0, 11.0)
        }
        "current_l1" | "current_l2" | "current_l3" => {
            (amps(222.0, 0.99) - 0.02..=amps(218.0, 0.89) + 0.02).contains(&value)
        }
        "active_power_total" => is_near(value_base, load, 3.0),
        "active_power_l1" | "active_power_l2" | "active_power_l3" => is_near(value_base, load * phase, 3.0),
        "frequency" => is_near(value, 50.0, 0.1),
        "power_factor_total" => (0.89..=0.99).contains(&value),
        "relay_open" => (value != 0.0) == (truth.relay == Some(Relay::Open)),
        "volume_total" => is_near(value * 1_000.0, volume, VOLUME_L_MAX),
        // Configuration words, alarms and sums that follow from the above are not compared.
        _ => true,
    };
    (!is_true).then(|| format!("{}/{point} = {value} {unit}, truth {truth:?}, load {watts:?}", truth.id))
}

/// Compares every value the API shows of the noisy lines' devices; how many were compared, and those that lie.
async fn compare(house: &House, loads: &BTreeMap<String, f64>) -> anyhow::Result<(usize, Vec<String>)> {
    let (mut compared, mut lies) = (0, Vec::new());
    for device in house.building.inventory() {
        let of_line = |line| NOISY.iter().any(|(noisy, _)| *noisy == line);
        let is_noisy = matches!(&device.attachment,
            guanjia_sim::inventory::Attachment::Modbus { line, .. } if of_line(*line));
        // The incomer's power is the sum of the others, each a tick older or younger.
        if !is_noisy || &*device.id == "incomer" {
            continue;
        }
        let shown = house.api(&format!("/devices/{}", device.id)).await?;
        let truth = house.building.device(&device.id)?;
        for point in shown["points"].as_array().into_iter().flatten() {
            let number = point["value"].as_f64().or_else(|| point["value"].as_bool().map(|b| f64::from(u8::from(b))));
            let (Some(id), Some(value)) = (point["id"].as_str(), number) else { continue };
            compared += 1;
            let unit = point["unit"].as_str().unwrap_or_default();
            lies.extend(lie(id, value, unit, &truth, loads.get(&*device.id).copied()));
        }
    }
    Ok((compared, lies))
}

/// The sum of a metric's samples whose line contains every one of `labels`.
fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
    page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn no_value_ever_appears_under_another_points_name_while_the_lines_are_noisy() -> anyhow::Result<()> {
    let house = House::start().await?;
    let meters =
        house.building.inventory().iter().filter(|device| device.id.starts_with("m-") || device.id.starts_with("p-"));
    let mut loads = BTreeMap::new();
    for (position, meter) in meters.enumerate() {
        house.building.set_load(&meter.id, Some(load(position)))?;
        loads.insert(meter.id.to_string(), load(position));
    }
    eventually("the gateway shows the truth while it is quiet", QUIET_MAX, || async {
        let (compared, lies) = compare(&house, &loads).await?;
        anyhow::ensure!(lies.is_empty(), "{} of {compared}: {}", lies.len(), lies[0]);
        Ok((compared > 500).then_some(()))
    })
    .await?;

    let before = house.gateway.get("/metrics").await?;
    let noise = |noise| LineFault { noise, ..LineFault::default() };
    for (line, _) in NOISY {
        house.building.fault(&Fault::Line { line, fault: noise(Noise::Garbage) })?;
    }
    let begin = Instant::now();
    let mut compared = 0;
    while begin.elapsed() < NOISE_LASTS {
        let (values, lies) = compare(&house, &loads).await?;
        compared += values;
        assert!(lies.is_empty(), "{} values are not their point's: {lies:#?}", lies.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(compared > 1_000, "{compared}");

    let after = house.gateway.get("/metrics").await?;
    let grown = |name: &str, labels: &[&str]| sum(&after, name, labels) - sum(&before, name, labels);
    for (_, line) in NOISY {
        let bus = format!("bus=\"{line}\"");
        let thrown =
            grown("guanjia_bus_discarded_replies_total", &[&bus]) + grown("guanjia_bus_stale_bytes_total", &[&bus]);
        assert!(thrown > 0.0, "{line}: noise was counted");
        assert!(grown("guanjia_poll_requests_total", &[&bus, "result=\"ok\""]) > 0.0, "{line}: some answers were read");
        let truth = house.building.truth().lines.into_iter().find(|truth| truth.name == line);
        assert!(truth.is_some_and(|truth| truth.damaged > 0), "{line}: the simulator has damaged replies");
    }
    let damaged = grown("guanjia_bus_discarded_replies_total", &["bus=\"rs485-", "reason=\"damaged\""]);
    assert!(damaged > 0.0, "damaged replies are counted as such");

    for (line, _) in NOISY {
        house.building.fault(&Fault::Line { line, fault: noise(Noise::Off) })?;
    }
    Ok(())
}
