//! Which metric a point is, and in which unit: the one table.
//!
//! A point is exported under a metric of meaning only if its standard id is in the table *and* its unit can be
//! converted to the metric's base unit. A point that calls itself `active_power_total` and counts in litres is left
//! out rather than exported under a name that lies.

use guanjia_core::profile::{PointDef, Profile};

/// One metric that points are exported under.
pub struct PointMetric {
    /// Its name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Its help text.
    pub help: &'static str,
}

const ENERGY: PointMetric = PointMetric {
    name: "guanjia_meter_energy_joules_total",
    kind: "counter",
    help: "Active energy register, as the meter shows it. Never bill from this.",
};
const POWER: PointMetric =
    PointMetric { name: "guanjia_meter_active_power_watts", kind: "gauge", help: "Active power now." };
const VOLTAGE: PointMetric =
    PointMetric { name: "guanjia_meter_voltage_volts", kind: "gauge", help: "Voltage of a phase against neutral." };
const CURRENT: PointMetric =
    PointMetric { name: "guanjia_meter_current_amperes", kind: "gauge", help: "Current of a phase." };
const POWER_FACTOR: PointMetric =
    PointMetric { name: "guanjia_meter_power_factor_ratio", kind: "gauge", help: "Power factor of all phases." };
const VOLUME: PointMetric = PointMetric {
    name: "guanjia_meter_volume_cubic_meters_total",
    kind: "counter",
    help: "Volume register, as the meter shows it. Never bill from this.",
};
const FLOW: PointMetric = PointMetric {
    name: "guanjia_meter_flow_cubic_meters_per_second",
    kind: "gauge",
    help: "Flow now, where the meter measures it.",
};

/// Every metric of the table, in the order of the page.
pub const ALL: [&PointMetric; 7] = [&ENERGY, &POWER, &VOLTAGE, &CURRENT, &POWER_FACTOR, &VOLUME, &FLOW];

/// What a point is exported as.
pub struct Export {
    /// The metric.
    pub metric: &'static PointMetric,
    /// The label that tells the points of one device apart.
    pub label: Option<(&'static str, &'static str)>,
    /// What its value is multiplied with to be in base units.
    pub factor: f64,
}

/// What `point` is exported as; `None` if it has no metric of its own.
pub fn export_of(point: &PointDef) -> Option<Export> {
    let (metric, label): (&'static PointMetric, _) = match &*point.id {
        "energy_active_import" => (&ENERGY, Some(("direction", "import"))),
        "energy_active_total" => (&ENERGY, Some(("direction", "total"))),
        "energy_active_export" => (&ENERGY, Some(("direction", "export"))),
        "active_power_total" | "active_power" => (&POWER, None),
        "voltage" | "voltage_l1" => (&VOLTAGE, Some(("phase", "l1"))),
        "voltage_l2" => (&VOLTAGE, Some(("phase", "l2"))),
        "voltage_l3" => (&VOLTAGE, Some(("phase", "l3"))),
        "current" | "current_l1" => (&CURRENT, Some(("phase", "l1"))),
        "current_l2" => (&CURRENT, Some(("phase", "l2"))),
        "current_l3" => (&CURRENT, Some(("phase", "l3"))),
        "power_factor_total" | "power_factor" => (&POWER_FACTOR, None),
        "volume_total" | "volume" => (&VOLUME, None),
        "flow" | "flow_rate" => (&FLOW, None),
        _ => return None,
    };
    let (base, factor) = base_unit(&point.unit)?;
    (base == metric_base(metric)).then_some(Export { metric, label, factor })
}

/// What the points of a profile are exported as, each with its position. Of two ids of one meaning the first counts: a
/// series must not be written twice.
pub fn exports(profile: &Profile) -> Vec<(usize, Export)> {
    let mut exports: Vec<(usize, Export)> = Vec::new();
    for (position, point) in profile.points.iter().enumerate() {
        let Some(export) = export_of(point) else { continue };
        if !exports.iter().any(|(_, known)| (known.metric.name, known.label) == (export.metric.name, export.label)) {
            exports.push((position, export));
        }
    }
    exports
}

/// The base units metrics are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Joule,
    Watt,
    Volt,
    Ampere,
    CubicMetre,
    CubicMetrePerSecond,
    Ratio,
}

/// The base unit of a metric of the table.
fn metric_base(metric: &PointMetric) -> Base {
    match metric.name {
        "guanjia_meter_energy_joules_total" => Base::Joule,
        "guanjia_meter_active_power_watts" => Base::Watt,
        "guanjia_meter_voltage_volts" => Base::Volt,
        "guanjia_meter_current_amperes" => Base::Ampere,
        "guanjia_meter_volume_cubic_meters_total" => Base::CubicMetre,
        "guanjia_meter_flow_cubic_meters_per_second" => Base::CubicMetrePerSecond,
        _ => Base::Ratio,
    }
}

/// The base unit of a UCUM code, and how many of it are in one.
fn base_unit(ucum: &str) -> Option<(Base, f64)> {
    Some(match ucum {
        "J" => (Base::Joule, 1.0),
        "W.h" => (Base::Joule, 3.6e3),
        "kW.h" => (Base::Joule, 3.6e6),
        "MW.h" => (Base::Joule, 3.6e9),
        "W" => (Base::Watt, 1.0),
        "kW" => (Base::Watt, 1e3),
        "MW" => (Base::Watt, 1e6),
        "V" => (Base::Volt, 1.0),
        "kV" => (Base::Volt, 1e3),
        "mA" => (Base::Ampere, 1e-3),
        "A" => (Base::Ampere, 1.0),
        "kA" => (Base::Ampere, 1e3),
        "m3" => (Base::CubicMetre, 1.0),
        "L" | "l" => (Base::CubicMetre, 1e-3),
        "m3/h" => (Base::CubicMetrePerSecond, 1.0 / 3600.0),
        "L/h" | "l/h" => (Base::CubicMetrePerSecond, 1e-3 / 3600.0),
        "L/min" | "l/min" => (Base::CubicMetrePerSecond, 1e-3 / 60.0),
        "" | "1" => (Base::Ratio, 1.0),
        "%" => (Base::Ratio, 0.01),
        _ => return None,
    })
}

/// `value` in watts, for a power point in any unit of power; the console's sums use the same conversion.
pub fn to_base(point: &PointDef, value: f64) -> Option<f64> {
    export_of(point).map(|export| value * export.factor)
}

/// The name of the metric a point is exported under.
pub fn metric_of(point: &PointDef) -> Option<&'static str> {
    export_of(point).map(|export| export.metric.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_become_base_units() {
        assert_eq!(base_unit("kW.h"), Some((Base::Joule, 3.6e6)));
        assert_eq!(base_unit("kW"), Some((Base::Watt, 1e3)));
        assert_eq!(base_unit("m3"), Some((Base::CubicMetre, 1.0)));
        assert_eq!(base_unit("furlong"), None);
    }

    #[test]
    fn every_metric_has_the_base_unit_its_name_says() {
        for metric in ALL {
            let says_ratio = metric.name.ends_with("_ratio");
            assert_eq!(metric_base(metric) == Base::Ratio, says_ratio, "{}", metric.name);
        }
    }
}
