//! What a change of the site file changes on which line.

use std::fmt::Write as _;
use std::time::Duration;

use guanjia_field::budget::Share;
use serde_json::{Value, json};

use super::table::age;
use super::{Planned, millis};
use crate::config::{class_name, span};

/// One line that is not as it was.
pub struct Change {
    line: String,
    /// What share of its time was and is planned; `None` where the line does not exist.
    share: [Option<Share>; 2],
    turns: Vec<TurnChange>,
}

/// One turn that is not as it was; `None` where it does not exist.
struct TurnChange {
    device: String,
    class: &'static str,
    was_is: [Option<Facts>; 2],
}

/// What can change about a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts {
    period: Duration,
    requests: usize,
    wire_time: Duration,
    worst_age: Option<Duration>,
}

/// Every line on which something differs, in the new file's order, then those that are gone.
pub fn changes(old: &[Planned], new: &[Planned]) -> Vec<Change> {
    let find = |lines: &[Planned], name: &str| lines.iter().position(|p| *p.line.name == *name);
    let gone = old.iter().filter(|p| find(new, &p.line.name).is_none()).map(|p| change(Some(p), None));
    let kept = new.iter().map(|p| change(find(old, &p.line.name).map(|i| &old[i]), Some(p)));
    let is_change = |c: &Change| !c.turns.is_empty() || c.share[0] != c.share[1];
    kept.chain(gone).filter(is_change).collect()
}

fn change(old: Option<&Planned>, new: Option<&Planned>) -> Change {
    let (was, is) = (old.map(facts).unwrap_or_default(), new.map(facts).unwrap_or_default());
    let find = |all: &[Key], key: &Key| all.iter().find(|(d, c, _)| (d, c) == (&key.0, &key.1)).map(|(.., f)| *f);
    let now = is.iter().map(|key| (key, [find(&was, key), Some(key.2)]));
    let gone = was.iter().filter(|key| find(&is, key).is_none()).map(|key| (key, [Some(key.2), None]));
    let turns = now.chain(gone).filter(|(_, [was, is])| was != is).map(|(key, was_is)| TurnChange {
        device: key.0.clone(),
        class: key.1,
        was_is,
    });
    let share = |planned: Option<&Planned>| planned.map(|p| p.budget.utilization());
    let name = new.or(old).map_or_else(String::new, |p| p.line.name.to_string());
    Change { line: name, share: [share(old), share(new)], turns: turns.collect() }
}

type Key = (String, &'static str, Facts);

fn facts(planned: &Planned) -> Vec<Key> {
    let of = planned.turns().map(|(device, _, turn)| {
        let facts = Facts {
            period: turn.period,
            requests: turn.reads.len(),
            wire_time: turn.time(),
            worst_age: turn.worst_age(),
        };
        (device.id.to_string(), class_name(turn.class), facts)
    });
    of.collect()
}

/// As lines for people.
pub fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no line changes\n".to_owned();
    }
    let mut out = String::new();
    for change in changes {
        let share = |share: Option<Share>| share.map_or_else(|| "none".to_owned(), |s| s.to_string());
        let [was, is] = change.share.map(share);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "line {}: busy {was} -> {is} of its time", change.line);
        for turn in &change.turns {
            let [was, is] = turn.was_is.map(|facts| facts.map_or_else(|| "not read".to_owned(), |f| f.to_string()));
            let _ = writeln!(out, "  {} {}: {was} -> {is}", turn.device, turn.class);
        }
    }
    out
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let requests = if self.requests == 1 { "1 request" } else { &format!("{} requests", self.requests) };
        let (period, wire_time) = (span(self.period), span(self.wire_time));
        write!(f, "every {period} {requests} of {wire_time}, at most {} old", age(self.worst_age))
    }
}

/// As JSON; what does not exist is null.
pub fn as_json(changes: &[Change]) -> Value {
    let facts = |facts: Option<Facts>| {
        facts.map(|f| {
            json!({
                "period_ms": millis(f.period),
                "requests": f.requests,
                "wire_time_ms": millis(f.wire_time),
                "worst_age_ms": f.worst_age.map(millis),
            })
        })
    };
    let turn = |t: &TurnChange| {
        let [was, is] = t.was_is.map(facts);
        json!({ "device": t.device, "class": t.class, "was": was, "is": is })
    };
    let change = |c: &Change| {
        let [was, is] = c.share.map(|s| s.map(Share::ratio));
        json!({
            "line": c.line,
            "utilization_was": was,
            "utilization_is": is,
            "turns": c.turns.iter().map(turn).collect::<Vec<_>>(),
        })
    };
    json!({ "lines": changes.iter().map(change).collect::<Vec<_>>() })
}
