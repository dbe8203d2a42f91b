//! `guanjia plan`: what every line of a site is asked, before anybody asks it.
//!
//! Shows the numbers of [`guanjia_field::budget`], which the gateway itself plans with: nothing is measured, and no
//! line is opened. A site whose lines are planned too full is shown all the same, with the error, and the exit code
//! is 64.

mod diff;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use guanjia_core::profile::Table;
use guanjia_field::budget::{CLASSES, LineBudget, ReadBudget, Turn, UTILIZATION_MAX};
use guanjia_field::{FieldDevice, LineConfig, Pace};
use serde_json::{Value, json};

use crate::cli::PlanOptions;
use crate::config::{self, class_name};
use crate::site::{self, Site};

/// One line with everything that is planned on it.
struct Planned {
    line: LineConfig,
    devices: Vec<FieldDevice>,
    budget: LineBudget,
}

impl Planned {
    fn all(site: &Site) -> Vec<Self> {
        let planned = |(index, line): (usize, &LineConfig)| {
            // A line of another master is asked nothing.
            let devices = if site.is_passive(index) { Vec::new() } else { site::on_line(&site.devices, index) };
            Self { line: line.clone(), budget: LineBudget::new(line, &devices), devices }
        };
        site.lines.iter().enumerate().map(planned).collect()
    }

    /// Every turn with its device.
    fn turns(&self) -> impl Iterator<Item = (&FieldDevice, Duration, &Turn)> {
        let devices = self.devices.iter().zip(&self.budget.devices);
        devices.flat_map(|(device, asked)| asked.turns.iter().map(move |turn| (device, asked.response_max, turn)))
    }
}

/// Prints the plan of a site; exits 64 if it cannot be run.
pub fn run(options: &PlanOptions) -> ExitCode {
    let Some((lines, code)) = load(&options.site) else { return ExitCode::from(crate::EXIT_CONFIG) };
    match &options.against {
        None if options.json => println!("{:#}", as_json(&lines, options.points)),
        None => print!("{}", table::lines(&lines, options.points)),
        Some(old) => {
            let Some((old, _)) = load(old) else { return ExitCode::from(crate::EXIT_CONFIG) };
            let changes = diff::changes(&old, &lines);
            if options.json {
                println!("{:#}", diff::as_json(&changes));
            } else {
                print!("{}", diff::text(&changes));
            }
        }
    }
    code
}

fn load(path: &Path) -> Option<(Vec<Planned>, ExitCode)> {
    let (site, report) = config::load_for_plan(path);
    eprint!("{report}");
    let code = if report.has_errors() { ExitCode::from(crate::EXIT_CONFIG) } else { ExitCode::SUCCESS };
    site.map(|site| (Planned::all(&site), code))
}

/// Registers of a read; sixteen bits count as one.
fn registers(table: Table, count: u32) -> u32 {
    if table.is_bits() { count.div_ceil(16) } else { count }
}

/// What the reads of a turn bring: registers in all, and those that belong to a point.
fn volume(turn: &Turn) -> (u32, u32) {
    let of = |read: &ReadBudget| {
        let table = read.read.table;
        (registers(table, u32::from(read.read.count)), registers(table, read.useful))
    };
    turn.reads.iter().map(of).fold((0, 0), |(all, useful), (a, u)| (all + a, useful + u))
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn as_json(lines: &[Planned], with_points: bool) -> Value {
    let line = |planned: &Planned| {
        let budget = &planned.budget;
        let by_class: serde_json::Map<String, Value> = CLASSES
            .into_iter()
            .map(|class| (class_name(class).to_owned(), budget.utilization_of(class).ratio().into()))
            .collect();
        let devices = planned.devices.iter().zip(&budget.devices).map(|(device, asked)| {
            json!({
                "device": &*device.id,
                "unit_id": device.unit,
                "profile": device.profile.id,
                "response_max_ms": millis(asked.response_max),
                "utilization": asked.utilization().ratio(),
                "turns": asked.turns.iter().map(|turn| turn_json(device, turn, with_points)).collect::<Vec<_>>(),
                "unreadable": asked.unreadable.iter().map(|i| &*device.profile.points[*i].id).collect::<Vec<_>>(),
            })
        });
        json!({
            "line": &*planned.line.name,
            "place": planned.line.link.place(),
            "baud": planned.line.link.format().map(|format| format.baud),
            "turnaround_ms": millis(Pace::of(&planned.line).turnaround()),
            "utilization": budget.utilization().ratio(),
            "utilization_by_class": by_class,
            "fits": budget.utilization() <= UTILIZATION_MAX,
            "devices": devices.collect::<Vec<_>>(),
        })
    };
    json!({ "lines": lines.iter().map(line).collect::<Vec<_>>() })
}

fn turn_json(device: &FieldDevice, turn: &Turn, with_points: bool) -> Value {
    let (all, useful) = volume(turn);
    let mut value = json!({
        "class": class_name(turn.class),
        "period_ms": millis(turn.period),
        "requests": turn.reads.len(),
        "registers": all,
        "useful_registers": useful,
        "wire_time_ms": millis(turn.time()),
        "utilization": turn.utilization().ratio(),
        "worst_age_ms": turn.worst_age().map(millis),
    });
    if with_points {
        value["reads"] = turn.reads.iter().map(|read| read_json(device, read)).collect();
    }
    value
}

fn read_json(device: &FieldDevice, read: &ReadBudget) -> Value {
    json!({
        "table": guanjia_field::session::table_name(read.read.table),
        "address": read.read.address,
        "count": read.read.count,
        "wire_time_ms": millis(read.time),
        "worst_age_ms": read.worst_age.map(millis),
        "points": read.read.points.iter().map(|i| &*device.profile.points[*i].id).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
