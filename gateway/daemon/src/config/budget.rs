//! Whether every line has the time for what is planned on it.
//!
//! The arithmetic is [`guanjia_field::budget`]'s; here it becomes an error at the line's place in the site file, with
//! what to change. A line that is too full would not fail: it would leave out turns for ever, and every value on it
//! would be older than anybody believes. So the site is refused, unless its file says that this is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use guanjia_core::profile::PollClass;
use guanjia_field::FieldDevice;
use guanjia_field::budget::{
    CLASSES, LineBudget, Remedies, Share, Slower, UTILIZATION_MAX, UTILIZATION_WARN, remedies,
};

use super::context::Context;
use super::document::Entry;
use super::lines::{Line, Overload, RawLines};
use super::profile::LoadedProfile;
use crate::site::{self, Device};

/// Checks every line, and tells what share of its time is planned for reads. A line that is wrong has
/// none, and neither has one that another master owns: it is only listened to.
pub fn check(
    context: &mut Context,
    raw: &RawLines,
    lines: &[Entry<Option<Line>>],
    passive: &BTreeSet<usize>,
    devices: &[Device],
    profiles: &BTreeMap<String, LoadedProfile>,
) -> Vec<Share> {
    let mut shares = Vec::with_capacity(lines.len());
    for (index, entry) in lines.iter().enumerate() {
        let Some(line) = entry.value.as_ref().filter(|_| !passive.contains(&index)) else {
            shares.push(Share::default());
            continue;
        };
        let on_line = site::on_line(devices, index);
        let budget = LineBudget::new(&line.config, &on_line);
        let share = budget.utilization();
        shares.push(share);
        if raw.planning(&entry.key).overload == Overload::Refuse {
            check_devices(context, entry, &on_line, &budget);
        }
        if share <= UTILIZATION_WARN {
            continue;
        }
        let knows = |device: &FieldDevice, baud: u32| {
            let serial = profiles.get(&device.profile.id).and_then(|loaded| loaded.serial.as_ref());
            serial.is_none_or(|serial| serial.baud.contains(&baud))
        };
        let help = advice(&remedies(&line.config, &on_line, &budget, knows));
        let parts = by_class(&budget);
        let name = &entry.key;
        if share <= UTILIZATION_MAX {
            let message = format!("line `{name}` is busy {share} of its time: {parts}");
            let rest = "above 80 % there is no room for the probes of a device that falls silent";
            context.warning(entry.at.clone(), message).help(format!("{rest}; {help}"));
        } else if raw.planning(name).overload == Overload::Accept {
            let message = format!("line `{name}` would need {share} of its time: {parts}");
            context
                .warning(entry.at.clone(), message)
                .help("turns are left out and counted, because `overload` accepts it");
        } else {
            let over = Share(share.0 - UTILIZATION_MAX.0);
            let message = format!("line `{name}` would need {share} of its time, {over} too much: {parts}");
            context.error(entry.at.clone(), message).help(help);
            context.overloaded += 1;
        }
    }
    shares
}

/// A device that wants time between two requests may be asked too much although its line is free.
fn check_devices(context: &mut Context, entry: &Entry<Option<Line>>, devices: &[FieldDevice], budget: &LineBudget) {
    let too_full = budget.devices.iter().zip(devices).filter(|(asked, _)| {
        asked.own_utilization() > UTILIZATION_MAX && asked.own_utilization() > asked.utilization()
    });
    for (asked, device) in too_full {
        let interval = span(device.profile.limits.interval_min);
        let message = format!(
            "`{}` on line `{}` takes a request every {interval} and would need {} of its time",
            device.id,
            entry.key,
            asked.own_utilization()
        );
        context
            .error(entry.at.clone(), message)
            .help(format!("poll it more rarely: `[device.{}]`, `polling`", device.id));
        context.overloaded += 1;
    }
}

/// `alarm 20.0 %, bulk 100.1 %`
pub fn by_class(budget: &LineBudget) -> String {
    let is_planned = |class: &PollClass| budget.turns().any(|turn| turn.class == *class);
    let part = |class| format!("{} {}", class_name(class), budget.utilization_of(class));
    CLASSES.into_iter().filter(is_planned).map(part).collect::<Vec<_>>().join(", ")
}

/// The class as the site file calls it.
pub fn class_name(class: PollClass) -> &'static str {
    match class {
        PollClass::Alarm => "alarm",
        PollClass::Billing => "billing",
        PollClass::Bulk => "bulk",
    }
}

/// `poll bulk every 25s instead of 10s, or run it at 19200 baud, or move 7 devices to another line`
fn advice(remedies: &Remedies) -> String {
    let mut ways = Vec::new();
    if let Some((class, slower)) = &remedies.one_class {
        ways.push(format!("poll {} {}", class_name(*class), how_rarely(*slower)));
    } else {
        let every: Vec<String> = remedies
            .all_classes
            .iter()
            .map(|(class, slower)| format!("{} {}", class_name(*class), how_rarely(*slower)))
            .collect();
        ways.push(format!("poll {}", every.join(" and ")));
    }
    ways.extend(remedies.baud.map(|baud| format!("run it at {baud} baud")));
    let what = if remedies.devices == 1 { "device" } else { "devices" };
    ways.push(format!("move {} {what} to another line", remedies.devices));
    ways.join(", or ")
}

fn how_rarely(slower: Slower) -> String {
    match slower {
        Slower::Period(from, to) => format!("every {} instead of {}", span(to), span(from)),
        Slower::Factor(hundredths) => {
            let tenths = hundredths.div_ceil(10);
            format!("{}.{} times more rarely", tenths / 10, tenths % 10)
        }
    }
}

/// A duration as the site file writes it, to the millisecond: `1m30s`.
pub fn span(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    if text.is_empty() { "0ms".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_told_as_they_are_written() {
        for (millis, text) in [(0, "0ms"), (500, "500ms"), (1_500, "1s500ms"), (90_000, "1m30s"), (86_400_000, "1d")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
