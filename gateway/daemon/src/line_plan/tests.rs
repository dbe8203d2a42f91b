//! The plan of the example site, and of one that is too much for its line.

use std::path::{Path, PathBuf};

use super::*;

fn config_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn planned(text: &str) -> Vec<Planned> {
    let (site, report) = config::text_for_plan("site.toml", text, &config_dir());
    Planned::all(&site.unwrap_or_else(|| panic!("{report}")))
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(config_dir().join(file)).expect("the file is in the repository")
}

#[test]
fn the_example_fits_and_every_readable_point_of_it_is_shown_once() {
    let lines = planned(&text_of("site.toml"));
    let json = as_json(&lines, true);
    for (planned, line) in lines.iter().zip(json["lines"].as_array().expect("a list")) {
        assert_eq!(line["fits"], true, "{}", planned.line.name);
        for (device, shown) in planned.devices.iter().zip(line["devices"].as_array().expect("a list")) {
            let turns = shown["turns"].as_array().expect("a list");
            let reads = turns.iter().flat_map(|turn| turn["reads"].as_array().expect("a list"));
            let mut points: Vec<&str> = reads
                .flat_map(|read| read["points"].as_array().expect("a list"))
                .map(|id| id.as_str().expect("a text"))
                .collect();
            points.sort_unstable();
            let in_registers = device.profile.points.iter().filter(|p| p.source.registers().is_some());
            let mut all: Vec<&str> = in_registers.map(|p| &*p.id).collect();
            all.sort_unstable();
            assert_eq!(points, all, "{}", device.id);
        }
    }
    let table = table::lines(&lines, true);
    assert!(table.contains("line rs485-a: rtu_over_tcp 192.0.2.21:4196, 9600 baud, turnaround 20ms; busy"), "{table}");
    assert!(table.contains("energy_active_import"), "{table}");
}

/// AC 05.
#[test]
fn a_time_out_of_one_device_is_the_one_shown() {
    let json = as_json(&planned(&text_of("site.toml")), false);
    let lines = json["lines"].as_array().expect("a list");
    let of = |line: &str| lines.iter().find(|l| l["line"] == line).expect("it is in the file")["devices"][0].clone();
    // The line says 800 ms, and that goes before what its device says.
    assert_eq!(of("rs485-a")["response_max_ms"], 800.0);
    assert_eq!(of("fire")["response_max_ms"], 500.0);
}

#[test]
fn a_line_that_is_planned_too_full_is_shown_all_the_same() {
    let lines = planned(&text_of("bad/line_overcommitted.toml"));
    assert!(lines[0].budget.utilization() > UTILIZATION_MAX);
    assert_eq!(as_json(&lines, false)["lines"][0]["fits"], false);
    assert_eq!(lines[0].budget.devices.len(), 10);
}

#[test]
fn a_change_of_one_device_is_told_with_what_it_does_to_its_line() {
    let text = text_of("site.toml");
    let changed = text.replace(r#"alarm = "2s", billing = "10s", bulk = "30s""#, r#"alarm = "1s", billing = "10s""#);
    assert_ne!(text, changed);
    let (old, new) = (planned(&text), planned(&changed));
    assert_eq!(diff::text(&diff::changes(&old, &old)), "no line changes\n");
    let told = diff::text(&diff::changes(&old, &new));
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(lines[0].starts_with("line rs485-a: busy "), "{told}");
    assert!(told.contains("  m-101 alarm: every 2s"), "{told}");
    let gone = diff::changes(&old, &old[1..]);
    assert!(diff::text(&gone).contains("-> none of its time"), "{}", diff::text(&gone));
}
