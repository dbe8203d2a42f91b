//! Home Assistant finds the devices by itself: one retained configuration a device.
//!
//! ```text
//!  <ha>/device/guanjia_<site>_<device>/config    {"dev", "o", "avty", "cmps": {point: ..., alarm: ...}}
//! ```
//!
//! * The form is MQTT device discovery (Home Assistant 2024.11 or later). Every point is a sensor or binary sensor on the
//!   topic it is published on anyway, every alarm a binary sensor that is on while it stands.
//! * A device is available while the gateway is online and the device answers. A value that is `null` is unknown there.
//! * A device that is taken out of the site file is removed: what stands at the broker under this site's prefix and has
//!   no device is replaced by nothing.
//! * Nothing is subscribed that could command anything.

use guanjia_core::alarm::{AlarmClass, AlarmDef};
use guanjia_core::profile::{PointDef, PollClass, Source, WireType};
use guanjia_core::text::Lang;
use serde_json::{Map, Value, json};

use crate::site::{Device, Site};

/// Components in one configuration; a device with more gets several, which Home Assistant joins by the device's id.
const COMPONENTS_MAX: usize = 100;

/// Topics of configurations of any program, to be looked through for those of devices that are gone.
pub(super) fn everything(ha: &str) -> String {
    format!("{ha}/device/+/config")
}

/// How the topics of this site's configurations begin.
pub(super) fn own_prefix(ha: &str, site: &str) -> String {
    format!("{ha}/device/guanjia_{site}_")
}

/// Topic and payload of every configuration of the site.
pub(super) fn configs(site: &Site, ha: &str, base: &str) -> Vec<(String, String)> {
    let mut configs = Vec::new();
    for device in &site.devices {
        let mut components: Vec<(String, Value)> = Vec::new();
        let id = format!("guanjia_{}_{}", site.id, device.id);
        for def in &device.profile.points {
            components.push((format!("point_{}", def.id), point(site.lang, &id, base, device, def)));
        }
        for alarm in site.alarms.iter().filter(|alarm| alarm.device == device.ix) {
            let name = alarm.key.rsplit('/').next().unwrap_or_default();
            components.push((format!("alarm_{name}"), self::alarm(site.lang, &id, base, name, alarm)));
        }
        for (part, components) in components.chunks(COMPONENTS_MAX).enumerate() {
            let suffix = if part == 0 { String::new() } else { format!("_part{}", part + 1) };
            let components: Map<String, Value> = components.iter().cloned().collect();
            let config = json!({
                "dev": {
                    "ids": [id],
                    "name": device.name.get(site.lang),
                    "mf": device.profile.vendor,
                    "mdl": device.profile.model,
                    "sa": device.floor,
                },
                "o": { "name": "Guanjia", "sw": env!("CARGO_PKG_VERSION") },
                "avty": [{ "t": format!("{base}/status") }, { "t": format!("{base}/device/{}/availability", device.id) }],
                "avty_mode": "all",
                "cmps": components,
            });
            configs.push((format!("{ha}/device/{id}{suffix}/config"), config.to_string()));
        }
    }
    configs
}

fn point(lang: Lang, id: &str, base: &str, device: &Device, def: &PointDef) -> Value {
    let bit = matches!(&def.source, Source::Registers(place) if place.wire == WireType::Bit);
    let mut component = json!({
        "p": if bit { "binary_sensor" } else { "sensor" },
        "name": def.name.get(lang),
        "uniq_id": format!("{id}_{}", def.id),
        "stat_t": format!("{base}/device/{}/point/{}", device.id, def.id),
        "val_tpl": "{{ value_json.value }}",
    });
    if bit {
        let template = "{{ 'ON' if value_json.value == true else ('OFF' if value_json.value == false else 'None') }}";
        component["val_tpl"] = json!(template);
        return component;
    }
    let Some(kind) = Kind::of(def) else { return component };
    component["unit_of_meas"] = json!(kind.unit);
    component["stat_cla"] = json!(kind.state_class);
    if let Some(class) = kind.device_class {
        component["dev_cla"] = json!(class);
    }
    component
}

fn alarm(lang: Lang, id: &str, base: &str, name: &str, def: &AlarmDef) -> Value {
    json!({
        "p": "binary_sensor",
        "name": def.text.get(lang),
        "uniq_id": format!("{id}_alarm_{name}"),
        "stat_t": format!("{base}/alarm/{}", def.key),
        "val_tpl": "{{ 'OFF' if value_json.state in ['normal', 'returned_unacknowledged'] else 'ON' }}",
        "dev_cla": if def.class == AlarmClass::LifeSafety { "safety" } else { "problem" },
        "json_attr_t": format!("{base}/alarm/{}", def.key),
    })
}

/// What a unit means there.
struct Kind {
    unit: &'static str,
    device_class: Option<&'static str>,
    state_class: &'static str,
}

impl Kind {
    /// From a UCUM code; `None` for counts, codes and texts, and for units Home Assistant has no word for.
    fn of(def: &PointDef) -> Option<Self> {
        let measured = |unit, class| Some(Self { unit, device_class: Some(class), state_class: "measurement" });
        let counts = def.counter_digits.is_some() || def.poll == PollClass::Billing;
        let total = |unit, class| {
            let state_class = if counts { "total_increasing" } else { "total" };
            Some(Self { unit, device_class: Some(class), state_class })
        };
        match def.unit.as_str() {
            "W.h" => total("Wh", "energy"),
            "kW.h" => total("kWh", "energy"),
            "MW.h" => total("MWh", "energy"),
            "m3" => total("m³", "water"),
            "L" => total("L", "water"),
            "W" => measured("W", "power"),
            "kW" => measured("kW", "power"),
            "VA" => measured("VA", "apparent_power"),
            "kVA" => measured("kVA", "apparent_power"),
            "var" => measured("var", "reactive_power"),
            "kvar" => measured("kvar", "reactive_power"),
            "V" => measured("V", "voltage"),
            "mV" => measured("mV", "voltage"),
            "A" => measured("A", "current"),
            "mA" => measured("mA", "current"),
            "Hz" => measured("Hz", "frequency"),
            "Cel" => measured("°C", "temperature"),
            "Pa" => measured("Pa", "pressure"),
            "kPa" => measured("kPa", "pressure"),
            "bar" => measured("bar", "pressure"),
            "m3/h" => measured("m³/h", "volume_flow_rate"),
            "L/h" => measured("L/h", "volume_flow_rate"),
            "L/min" => measured("L/min", "volume_flow_rate"),
            "s" => measured("s", "duration"),
            "min" => measured("min", "duration"),
            "h" => measured("h", "duration"),
            "m" => measured("m", "distance"),
            "cm" => measured("cm", "distance"),
            "%" if &*def.id == "battery" => measured("%", "battery"),
            "%" if def.id.contains("humidity") => measured("%", "humidity"),
            "%" => Some(Self { unit: "%", device_class: None, state_class: "measurement" }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::water_site;

    #[test]
    fn a_meter_is_found_with_its_units_its_alarm_and_its_availability() {
        let configs = configs(&water_site(1883, Some("gj")), "homeassistant", "gj/test");
        assert_eq!(configs.len(), 1);
        assert_eq!(configs[0].0, "homeassistant/device/guanjia_test_w-1/config");
        let config: Value = serde_json::from_str(&configs[0].1).unwrap();
        let volume = &config["cmps"]["point_volume_total"];
        assert_eq!(volume["stat_t"], "gj/test/device/w-1/point/volume_total");
        let class = [&volume["unit_of_meas"], &volume["dev_cla"], &volume["stat_cla"]];
        assert_eq!(class, ["m³", "water", "total_increasing"]);
        assert!(config["cmps"]["point_serial"].get("unit_of_meas").is_none(), "a text has no unit");
        assert_eq!(config["cmps"]["alarm_leak"]["dev_cla"], "safety");
        assert_eq!(config["avty"][1]["t"], "gj/test/device/w-1/availability");
        assert!(configs[0].0.starts_with(&own_prefix("homeassistant", "test")));
    }
}
