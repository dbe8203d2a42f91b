//! The example site, the library, and every way a site file can be wrong.
//!
//! `config/bad/NAME.toml` has one mistake each, `config/bad/NAME.expected` the exact message. After a deliberate change
//! of a message: `UPDATE_EXPECTED=1 cargo test -p guanjia config`, and read the difference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use guanjia_core::alarm::{Condition, Priority, Test};
use guanjia_core::profile::{Source as PointSource, WireType};
use guanjia_core::supply::ServiceKind;
use guanjia_core::time::Timestamp;
use serde_json::Value;

use super::*;
use crate::site::{Attachment, Site, Topic};

mod facility_node;
mod golden;
mod tls;

/// Monday 2026-11-23 10:00 in Shanghai; roster gaps are told from here.
const NOW: Timestamp = Timestamp::from_millis(1_795_399_200_000);

fn config_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .canonicalize()
        .expect("the directory is in the repository")
}

fn load_file(name: &str) -> (Option<Site>, String) {
    let path = config_dir().join(name);
    let text = std::fs::read_to_string(&path).expect("the file is in the repository");
    let directory = path.parent().expect("a file has a directory");
    let (site, report) = load_text(&format!("config/{name}"), &text, directory, NOW);
    let report = report.to_string().replace(&config_dir().display().to_string(), "config");
    (site, report)
}

fn example() -> Site {
    let (site, report) = load_file("site.toml");
    site.unwrap_or_else(|| panic!("the example is wrong:\n{report}"))
}

#[test]
fn the_example_site_loads_and_is_resolved() {
    let site = example();
    assert_eq!(&*site.id, "plaza-1");
    assert_eq!(site.lines.len(), 10);
    assert_eq!(site.entrances.len(), 1);
    assert_eq!(site.devices.len(), 8);
    assert_eq!(site.points.len(), site.devices.iter().map(|d| d.profile.points.len()).sum::<usize>());
    for (i, device) in site.devices.iter().enumerate() {
        assert_eq!(device.ix.0 as usize, i);
        assert_eq!(site.points[device.first_point.0 as usize].device, device.ix);
        assert_eq!(site.points[device.first_point.0 as usize].def, 0);
    }
    let register = site.find_point("m-101", "energy_active_import").expect("the meter has the register");
    assert_eq!(site.service_points[0].register_point, register);
    assert_eq!(site.service_points[0].opening.to_string(), "50.0000");
    assert_eq!(site.service_points[0].kind, ServiceKind::Prepaid);
    let load = site.service_points[0].load.expect("the meter measures power");
    assert_eq!(Some(load.point), site.find_point("m-101", "active_power_total"));
    assert_eq!(load.factor, 1000.0, "the profile has kW, the policy W");
    let meter = site.device_of(register);
    let Attachment::Line { periods, line, unit } = &meter.attachment else { panic!("the meter is on a line") };
    assert_eq!((&*site.lines[*line].name, *unit, periods.alarm.as_secs()), ("rs485-a", 1, 2));
    assert_eq!(meter.profile.limits.response_max.as_millis(), 700);
}

#[test]
fn limits_are_converted_into_the_unit_of_their_point() {
    let site = example();
    let overload = site.alarms.iter().find(|a| &*a.key == "m-101/overload").expect("the site defines it");
    let Condition::All(terms) = &overload.condition else { panic!("it compares points") };
    assert_eq!(terms[0].test, Test::Above { limit: 28.0, deadband: 1.0 });
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    let text = text.replace("above = \"28 kW\", deadband = \"1 kW\"", "above = \"28000 W\", deadband = \"1000 W\"");
    let (site, report) = load_text("site.toml", &text, &config_dir(), NOW);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    let same = site.alarms.iter().find(|a| &*a.key == "m-101/overload").expect("the site defines it");
    assert_eq!(same.condition, overload.condition);
}

#[test]
fn every_device_has_its_alarms_and_keys_are_unique() {
    let site = example();
    let keys: BTreeSet<&str> = site.alarms.iter().map(|a| &*a.key).collect();
    assert_eq!(keys.len(), site.alarms.len());
    for device in &site.devices {
        assert!(keys.contains(format!("{}/{}", device.id, device_alarms::NO_ANSWER).as_str()), "{}", device.id);
    }
    for key in ["fire-panel/zone_1_fire_3", "fire-panel/zone_2_fire_16", "lift-1/entrapment", "io/feeder_3_lost"] {
        assert!(keys.contains(key), "{key}");
    }
}

#[test]
fn every_mistake_is_told_exactly_so() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let directory = config_dir().join("bad");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&directory).expect("the directory is in the repository") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        count += 1;
        let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
        let (site, report) = load_file(&format!("bad/{name}"));
        let warns_only = name.starts_with("warning_");
        assert_eq!(site.is_some(), warns_only, "{name}:\n{report}");
        let expected = path.with_extension("expected");
        if update {
            std::fs::write(&expected, &report).expect("the file can be written");
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != report {
            wrong.push(format!("{name} is told as:\n{report}"));
        }
    }
    assert!(count >= 30, "only {count} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn several_mistakes_are_told_at_once() {
    let (_, report) = load_file("bad/several_errors.toml");
    assert!(report.ends_with("5 errors\n"), "{report}");
}

#[test]
fn the_committed_schemas_are_those_of_the_program() {
    for (file, schema, command) in [
        ("site.schema.json", site_schema(), "guanjia schema site > config/site.schema.json"),
        ("profile.schema.json", profile_schema(), "guanjia schema profile > config/profile.schema.json"),
    ] {
        let path = config_dir().join(file);
        let text = format!("{schema}\n");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, &text).expect("the file can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "config/{file} is not what the program says; run: {command}");
    }
}

/// Every property name of a schema, wherever it stands.
fn keys(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                into.extend(properties.keys().cloned());
            }
            map.values().for_each(|v| keys(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| keys(v, into)),
        _ => {}
    }
}

#[test]
fn every_key_is_shown_in_the_example_or_the_blueprint() {
    for (file, schema) in [("site.toml", &*schema::SITE), ("profiles/_blueprint.toml", &*schema::PROFILE)] {
        let text = std::fs::read_to_string(config_dir().join(file)).expect("the file is in the repository");
        let words: BTreeSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        let mut all = BTreeSet::new();
        keys(schema, &mut all);
        let missing: Vec<&String> = all.iter().filter(|key| !words.contains(key.as_str())).collect();
        assert!(missing.is_empty(), "config/{file} does not show {missing:?}");
    }
}

#[test]
fn the_blueprint_is_a_right_profile() {
    let path = config_dir().join("profiles/_blueprint.toml");
    let source = Source::new("_blueprint.toml", std::fs::read_to_string(path).expect("it is in the repository"));
    let mut report = Report::default();
    let loaded = profile::read("_blueprint", &source, &schema::PROFILE, &mut report);
    assert!(loaded.is_some() && report.diagnostics.is_empty(), "{report}");
}

#[test]
fn every_built_in_profile_is_right_and_writes_only_to_meters() {
    let mut report = Report::default();
    let files = library::files(library::Shelf::Profiles, None, &mut report).all;
    for (name, source) in files.iter().filter(|(name, _)| !name.starts_with('_')) {
        let loaded = profile::read(name, source, &schema::PROFILE, &mut report);
        let profile = loaded.unwrap_or_else(|| panic!("{report}")).profile;
        assert_eq!(profile.relays.is_empty(), !["acrel_dtsy1352", "facility_node"].contains(&name.as_str()), "{name}");
        let is_node = *name == "facility_node";
        assert_eq!(
            (profile.settings.is_empty(), profile.wallets.is_empty()),
            (!is_node, !is_node),
            "{name} is only looked at"
        );
        // What nobody may sleep through opens an incident, and that calls people.
        for alarm in profile.alarms.iter().filter(|alarm| alarm.priority <= Priority::P2) {
            assert!(alarm.plan.is_some(), "{name}/{} calls nobody", alarm.id);
        }
    }
}

/// The register maps against the research they were made from: table, address, type, words and factor.
#[test]
fn the_built_in_maps_are_at_the_documented_places() {
    let mut report = Report::default();
    let files = library::files(library::Shelf::Profiles, None, &mut report).all;
    for (file, point, function, address, wire, scale) in [
        ("acrel_dtsy1352", "energy_active_import", 3, 10, WireType::U32, "0.01"),
        ("acrel_dtsy1352", "voltage_l1", 3, 97, WireType::U16, "0.1"),
        ("acrel_dtsy1352", "active_power_total", 3, 362, WireType::I32, "0.001"),
        ("acrel_dtsy1352", "relay_open", 3, 0x58, WireType::U16, "1"),
        ("eastron_sdm630", "voltage_l1", 4, 0, WireType::F32, "1"),
        ("eastron_sdm630", "energy_active_import", 4, 72, WireType::F32, "1"),
        ("chint_dtsu666", "voltage_l1", 3, 0x2006, WireType::F32, "0.1"),
        ("chint_dtsu666", "current_l1", 3, 0x200C, WireType::F32, "0.001"),
        ("chint_dtsu666", "energy_active_import", 3, 0x101E, WireType::F32, "1"),
        ("zenner_edc", "volume_total", 3, 4, WireType::F32, "1"),
        ("notifier_modbus_gw", "detector_16", 3, 15, WireType::U16, "1"),
        ("notifier_modbus_gw", "panel_silenced", 3, 9499, WireType::Bit, "1"),
        ("guanjia_sim_lift", "floor_number", 3, 21, WireType::U16, "1"),
        ("guanjia_sim_io", "feeder_3_voltage", 3, 5, WireType::U16, "1"),
    ] {
        let loaded = profile::read(file, &files[file], &schema::PROFILE, &mut report);
        let profile = loaded.unwrap_or_else(|| panic!("{report}")).profile;
        let def = &profile.points[profile.point(point).unwrap_or_else(|| panic!("{file} has no {point}"))];
        let PointSource::Registers(registers) = &def.source else { panic!("{point} is in registers") };
        let place = (registers.table.read_function(), registers.address, registers.wire);
        assert_eq!((place, def.scale.to_string().as_str()), ((function, address, wire), scale), "{file} {point}");
    }
}

#[test]
fn a_site_file_that_is_not_there_is_told_as_such() {
    let (site, report) = load_at(Path::new("/nowhere/site.toml"), NOW);
    assert!(site.is_none());
    assert!(report.to_string().contains("the site file /nowhere/site.toml cannot be read"), "{report}");
}

/// AC 11.
#[test]
fn a_serial_port_under_two_names_is_one_line() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (port, link) = (directory.path().join("ttyS9"), directory.path().join("by-id"));
    std::fs::write(&port, "").expect("it can be written");
    std::os::unix::fs::symlink(&port, &link).expect("it can be made");
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    let table =
        |name: &str, path: &Path| format!("\n[modbus_rtu.{name}]\nport = \"{}\"\nbaud = 9600\n", path.display());
    let (site, report) = load_text("site.toml", &(text + &table("x", &port) + &table("y", &link)), &config_dir(), NOW);
    assert!(site.is_none());
    let words = format!("`{}` is the same as `{}`, which is the line `x` already", link.display(), port.display());
    assert!(report.to_string().contains(&words), "{report}");
}

#[test]
fn a_file_of_the_site_replaces_the_built_in_one() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::create_dir(directory.path().join("profiles")).expect("it can be made");
    let own = std::fs::read_to_string(config_dir().join("profiles/zenner_edc.toml")).expect("it is in the repository");
    let own = own.replace("DN25/DN40 bulk water meter with EDC module", "the site's own map");
    std::fs::write(directory.path().join("profiles/zenner_edc.toml"), own).expect("it can be written");
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    let text = text.replace("plans = \"plans\"\ntariffs = \"tariffs\"", "");
    let (site, report) = load_text("site.toml", &text, directory.path(), NOW);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    let meter = site.devices.iter().find(|d| &*d.id == "w-101").expect("the example has it");
    assert_eq!(meter.profile.model, "the site's own map");
}

/// A new kind of device is a file in the site's directory: no line of the program knows it.
#[test]
fn a_new_device_is_a_file_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::create_dir(directory.path().join("profiles")).expect("it can be made");
    let blueprint = std::fs::read_to_string(config_dir().join("profiles/_blueprint.toml")).expect("it can be read");
    std::fs::write(directory.path().join("profiles/example_em100.toml"), blueprint).expect("it can be written");
    let small = config_dir().join("bad/profile_relay_on_fire_panel.toml");
    let text = std::fs::read_to_string(small).expect("a small site is in the repository");
    let text = text.replace("profile_relay_on_fire_panel", "profiles").replace("eastron_sdm630", "example_em100");
    let (site, report) = load_text("site.toml", &text, directory.path(), NOW);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(site.devices[0].profile.model, "EM-100");
    assert!(site.alarms.iter().any(|a| &*a.key == "meter/phase_2_low"), "its alarms came with it");
    assert!(report.to_string().contains("the register map of `example_em100` rests on one source"), "{report}");
}

#[tokio::test]
async fn the_site_file_of_the_simulated_building_is_right() {
    use guanjia_sim::{Building, BuildingConfig, SiteFileOptions, Tempo};
    // The building has an HTTP client, which wants a provider although nothing here is encrypted.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let building = Building::start(BuildingConfig::default()).await.expect("the building starts");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::create_dir(directory.path().join("secrets")).expect("it can be made");
    for tempo in [Tempo::Demo, Tempo::Test] {
        let text = building.site_file(&SiteFileOptions { tempo, ..SiteFileOptions::default() });
        // Whoever starts the simulation writes the secrets; here any text will do.
        for path in text.split("file = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            std::fs::write(directory.path().join(path), format!("secret {path}")).expect("it can be written");
        }
        let (site, report) = load_text("simulated.toml", &text, directory.path(), NOW);
        let site = site.unwrap_or_else(|| panic!("{report}"));
        assert!(site.devices.len() >= 64, "{} devices", site.devices.len());
        assert!(site.service_points.iter().any(|s| s.kind == ServiceKind::Prepaid && s.load.is_some()));
    }
    building.shutdown().await;
}

#[test]
fn devices_on_a_broker_have_their_topics_by_template_and_their_messages_by_profile() {
    use guanjia_core::profile::{TimeFormat, WordEncoding};
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::create_dir(directory.path().join("profiles")).expect("it can be made");
    let head =
        "vendor = \"Example\"\nmodel = \"X\"\nclass = \"water-meter\"\nconfidence = \"synthetic\"\nsources = []\n";
    let point =
        |id: &str, more: &str| format!("[[point]]\nid = \"{id}\"\nname = {{ zh = \"点\", en = \"Point\" }}\n{more}");
    let register = "table = \"holding\"\naddress = 12\ntype = \"u32\"\n";
    let words = "words = { pointer = \"/data\", encoding = \"hex\", address = 10 }\n";
    let time = "time = { pointer = \"/ts\", format = \"unix-millis\" }\n";
    let radio = format!("{head}[message]\n{words}{time}{}", point("volume_total", register));
    let repeat = "repeat = { count = 2 }\n";
    let list = [
        format!("{head}[message]\narray = \"/v\"\n"),
        point("flow", ""),
        point("valve_{n}", repeat),
        point("mark", "pointer = \"/mark\"\n"),
        point("last", ""),
        point("phase_{n}", &format!("{repeat}pointer = \"/p/{{n}}/u\"\n")),
    ];
    for (name, text) in [("radio", radio), ("list", list.concat())] {
        std::fs::write(directory.path().join(format!("profiles/{name}.toml")), text).expect("it can be written");
    }
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    let text = text.replace("plans = \"plans\"\ntariffs = \"tariffs\"", "");
    let more = "\n[device.r-1]\nprofile = \"radio\"\nbroker = \"local\"\nfloor = \"1F\"\n\
                \n[device.r-2]\nprofile = \"list\"\nbroker = \"local\"\nfloor = \"1F\"\n";
    let (site, report) = load_text("site.toml", &format!("{text}{more}"), directory.path(), NOW);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    let device = |id: &str| site.devices.iter().find(|d| &*d.id == id).expect("it is in the file");
    let Attachment::Mqtt { topics, availability, .. } = &device("r-1").attachment else { panic!("it is on a broker") };
    assert_eq!(topics.as_slice(), [Topic { name: "site/water/r-1/state".to_owned(), points: vec![0] }]);
    assert_eq!(availability.as_deref(), Some("site/water/r-1/online"));
    let form = device("r-1").profile.message.clone().expect("it has one");
    let (words, time) = (form.words.expect("registers"), form.time.expect("a time"));
    assert_eq!((words.encoding, words.address, time.format), (WordEncoding::Hex, 10, TimeFormat::UnixMillis));
    let pointers: Vec<&str> = device("r-2")
        .profile
        .points
        .iter()
        .map(|point| if let PointSource::Message { pointer, .. } = &point.source { pointer.as_str() } else { "" })
        .collect();
    assert_eq!(pointers, ["/v/0", "/v/1", "/v/2", "/mark", "/v/3", "/p/1/u", "/p/2/u"]);
}

/// One such topic would end the session with the broker for every device on it.
#[test]
fn a_topic_a_broker_would_hang_up_for_is_refused() {
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    for topic in ["site/w-9\\n", "site/\\u0007", "site//w-9/", "//w-9", "/", "site/#", &"w".repeat(513)] {
        let device = format!(
            "\n[device.w-9]\nprofile = \"mqtt_water_meter\"\nbroker = \"local\"\nfloor = \"1F\"\ntopic = \"{topic}\"\n"
        );
        let (site, report) = load_text("site.toml", &(text.clone() + &device), &config_dir(), NOW);
        assert!(site.is_none() && report.to_string().contains("is not the topic of one device"), "{topic}: {report}");
    }
}

/// Which layout counts: the device's own keys, then its profile's, then its broker's.
#[test]
fn a_makers_layout_goes_before_the_broker_s_and_a_device_s_own_before_both() {
    let text = std::fs::read_to_string(config_dir().join("site.toml")).expect("the example can be read");
    let shelly = |id: &str, more: &str| {
        format!(
            "\n[device.{id}]\nprofile = \"shelly_3em\"\nbroker = \"local\"\nfloor = \"1F\"\nnode = \"em3-{id}\"\n{more}"
        )
    };
    let more = [
        shelly("s-1", ""),
        shelly("s-2", "topic = \"floor-2/meter\"\n"),
        shelly("s-3", "availability = \"floor-3/there\"\n"),
        shelly("s-4", "topic = \"/vendor/em3/s-4\"\n"),
        "\n[device.w-9]\nprofile = \"mqtt_water_meter\"\nbroker = \"local\"\nfloor = \"1F\"\n".to_owned(),
    ];
    let (site, report) = load_text("site.toml", &(text + &more.concat()), &config_dir(), NOW);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    let spoken = |id: &str| {
        let device = site.devices.iter().find(|d| &*d.id == id).expect("it is in the file");
        let Attachment::Mqtt { topics, availability, .. } = &device.attachment else { panic!("it is on a broker") };
        (topics.clone(), availability.clone().unwrap_or_default())
    };
    let (topics, availability) = spoken("s-1");
    assert_eq!((topics.len(), availability.as_str()), (15, "shellies/em3-s-1/online"));
    assert_eq!(topics[0], Topic { name: "shellies/em3-s-1/emeter/0/voltage".to_owned(), points: vec![0] });
    assert!(topics.iter().all(|topic| topic.name != "shellies/em3-s-1"), "nothing comes on the device's own topic");
    let (topics, availability) = spoken("s-2");
    assert_eq!(topics[14].name, "floor-2/meter/emeter/2/total_returned", "its points move with it");
    assert_eq!(availability, "shellies/em3-s-2/online");
    let (topics, availability) = spoken("s-3");
    assert_eq!(
        (topics[0].name.as_str(), availability.as_str()),
        ("shellies/em3-s-3/emeter/0/voltage", "floor-3/there")
    );
    assert_eq!(spoken("s-4").0[0].name, "/vendor/em3/s-4/emeter/0/voltage", "some makers begin with a slash");
    let (topics, availability) = spoken("w-9");
    assert_eq!((topics[0].name.as_str(), topics[0].points.len()), ("site/water/w-9/state", 3));
    assert_eq!(availability, "site/water/w-9/online", "a profile without a layout takes the broker's");
}
