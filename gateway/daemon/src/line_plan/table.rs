//! The plan as a table for people.

use std::fmt::Write as _;
use std::time::Duration;

use guanjia_field::Pace;

use super::{Planned, volume};
use crate::config::{by_class, class_name, span};
use crate::metrics::protocol;

/// The columns; the first is on the left, the others on the right.
const HEAD: [&str; 11] =
    ["device", "unit", "waits", "class", "every", "requests", "registers", "useful", "wire time", "share", "oldest"];

/// Every line with its devices; with `points`, every request and what it brings.
pub fn lines(lines: &[Planned], points: bool) -> String {
    let mut out = String::new();
    for planned in lines {
        let budget = &planned.budget;
        let baud = planned.line.link.format().map_or_else(String::new, |format| format!(", {} baud", format.baud));
        let kind = protocol(&planned.line.link);
        let parts = by_class(budget);
        let parts = if parts.is_empty() { String::new() } else { format!(" ({parts})") };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            out,
            "line {}: {kind} {}{baud}, turnaround {}; busy {} of its time{parts}",
            planned.line.name,
            planned.line.link.place(),
            span(Pace::of(&planned.line).turnaround()),
            budget.utilization(),
        );
        rows(&mut out, planned, points);
        out.push('\n');
    }
    out.push_str(
        "waits: how long an answer may take to begin. oldest: the age no value exceeds while every device answers\n",
    );
    out.push_str(
        "after the turnaround and one request at most is lost per period; `guanjia plan --json` has it all.\n",
    );
    out
}

fn rows(out: &mut String, planned: &Planned, points: bool) {
    let mut rows = vec![(HEAD.map(str::to_owned).to_vec(), Vec::new())];
    let (mut requests, mut all, mut useful) = (0, 0, 0);
    let mut wire_time = Duration::ZERO;
    for (device, response_max, turn) in planned.turns() {
        let (turn_all, turn_useful) = volume(turn);
        requests += turn.reads.len();
        all += turn_all;
        useful += turn_useful;
        wire_time += turn.time();
        let row = vec![
            device.id.to_string(),
            device.unit.to_string(),
            span(response_max),
            class_name(turn.class).to_owned(),
            span(turn.period),
            turn.reads.len().to_string(),
            turn_all.to_string(),
            turn_useful.to_string(),
            span(turn.time()),
            turn.utilization().to_string(),
            age(turn.worst_age()),
        ];
        let brings = turn.reads.iter().filter(|_| points).map(|read| {
            let ids: Vec<&str> = read.read.points.iter().map(|i| &*device.profile.points[*i].id).collect();
            let table = guanjia_field::session::table_name(read.read.table);
            let last = u32::from(read.read.address) + u32::from(read.read.count) - 1;
            let (from, took, oldest) = (read.read.address, span(read.time), age(read.worst_age));
            format!("    {table} {from} to {last}, {took}, at most {oldest} old: {}", ids.join(", "))
        });
        rows.push((row, brings.collect()));
    }
    if rows.len() == 1 {
        out.push_str("  nothing is read here\n");
        return;
    }
    let total = ["all, once", "", "", "", ""].map(str::to_owned).into_iter().chain([
        requests.to_string(),
        all.to_string(),
        useful.to_string(),
        span(wire_time),
        planned.budget.utilization().to_string(),
        String::new(),
    ]);
    rows.push((total.collect(), Vec::new()));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|i| rows.iter().map(|(row, _)| row[i].chars().count()).max().unwrap_or_default()).collect();
    for (row, brings) in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        for line in brings {
            let _ = writeln!(out, "{line}");
        }
    }
    remarks(out, planned);
}

/// What a profile asks for and no request can bring.
fn remarks(out: &mut String, planned: &Planned) {
    for (device, asked) in planned.devices.iter().zip(&planned.budget.devices) {
        let id = |i: &usize| &*device.profile.points[*i].id;
        for i in &asked.unreadable {
            let _ = writeln!(out, "  {}: no request can bring `{}`; correct its profile", device.id, id(i));
        }
        for (a, b) in &asked.apart {
            let _ =
                writeln!(out, "  {}: `{}` and `{}` are read apart: no request brings both", device.id, id(a), id(b));
        }
    }
}

/// An age; what has no bound says so.
pub fn age(age: Option<Duration>) -> String {
    age.map_or_else(|| "no bound".to_owned(), span)
}
