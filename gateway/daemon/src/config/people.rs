//! People, shifts and ladders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use guanjia_core::plan::{After, LadderStep, Ladders};
use guanjia_core::roster::{Day, Roster, RosterForm, ShiftForm};
use guanjia_core::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::context::Context;
use super::document::Entry;
use super::value::{At, Span};
use crate::site::{Person, Reach};

/// `[person.ID]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPerson {
    /// The name shown.
    pub name: String,
    /// Every way to reach them, all used at once for P1.
    pub reach: Vec<RawReach>,
}

/// One address on one channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawReach {
    /// The channel: the name of a webhook, ntfy or smtp table.
    pub channel: At<String>,
    /// What the channel calls them: a path segment, a topic, a mailbox.
    pub address: At<String>,
}

/// `[[shift]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShift {
    /// A role of the plans, such as "duty_phone".
    pub role: At<String>,
    /// Who.
    pub person: At<String>,
    /// The days on which it begins. Default: every day.
    pub days: Option<At<Vec<Day>>>,
    /// Local time at which it begins: "08:00".
    pub from: At<String>,
    /// Local time at which it ends; not after `from` means on the next day.
    pub to: At<String>,
}

/// `[duty]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDuty {
    /// Who is paged when nobody else is on duty; every ladder ends here.
    pub fallback: At<String>,
    /// Who stands in for whom: { zhang = "li" }.
    #[serde(default)]
    pub deputies: BTreeMap<String, At<String>>,
    /// Who is away at the moment.
    #[serde(default)]
    pub absent: Vec<At<String>>,
}

/// `[ladder]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLadders {
    /// Life or major damage.
    #[serde(rename = "P1")]
    pub p1: Option<At<RawLadder>>,
    /// Urgent.
    #[serde(rename = "P2")]
    pub p2: Option<At<RawLadder>>,
    /// Within half an hour. P4 has none: it rings nobody.
    #[serde(rename = "P3")]
    pub p3: Option<At<RawLadder>>,
}

/// `[ladder.P1]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLadder {
    /// Who is paged, and how long after the incident began.
    pub steps: Vec<RawStep>,
}

/// One step of a ladder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStep {
    /// How long after the incident began, unless somebody has accepted it.
    pub after: At<Span>,
    /// The roles that are paged.
    pub to: Vec<At<String>>,
}

/// Checks a list of addresses against the channels' names.
pub fn reach(context: &mut Context, raw: &[RawReach], channels: &[String]) -> Vec<Reach> {
    let mut found = Vec::new();
    for reach in raw {
        if !channels.contains(&reach.channel) {
            context.dangling("channel", &reach.channel, channels.iter().map(String::as_str));
        }
        if reach.address.trim().is_empty() {
            context
                .error(reach.address.span(), "an empty address reaches nobody")
                .help("write a topic, a mailbox, ...");
        }
        found.push(Reach { channel: (**reach.channel).into(), address: (*reach.address).clone() });
    }
    found
}

/// Checks every person.
pub fn people(context: &mut Context, raw: &[Entry<RawPerson>], channels: &[String]) -> Vec<Person> {
    let mut people = Vec::new();
    for entry in raw {
        if entry.reach.is_empty() {
            context
                .error(entry.at.clone(), format!("nobody can reach `{}`", entry.key))
                .help("write reach = [{ channel = \"…\", address = \"…\" }]");
        }
        let reach = reach(context, &entry.reach, channels);
        people.push(Person { id: entry.key.clone(), name: entry.name.clone(), reach });
    }
    people
}

/// What the roster is checked against.
pub struct Duty<'a> {
    /// `[[shift]]`
    pub shifts: &'a [Entry<RawShift>],
    /// `[duty]`
    pub duty: &'a Entry<RawDuty>,
    /// `[person.…]`
    pub people: &'a [Entry<RawPerson>],
    /// The roles of the plans.
    pub roles: Vec<&'a str>,
    /// The site's zone, already known to exist.
    pub zone: &'a str,
}

/// Checks who is on duty when, and warns of the hours of the next week in which nobody is.
pub fn roster(context: &mut Context, duty: &Duty<'_>, now: Timestamp) -> Option<Roster> {
    let before = context.report.diagnostics.len();
    let person = |context: &mut Context, name: &At<String>| context.position("person", name, duty.people);
    person(context, &duty.duty.fallback);
    for (absent, deputy) in &duty.duty.deputies {
        person(context, deputy);
        if !duty.people.iter().any(|p| *p.key == **absent) {
            let message = format!("`{absent}` has a deputy and is not a person of this site");
            context
                .error(deputy.span(), message)
                .help(super::diagnostic::suggest(absent, duty.people.iter().map(|p| &*p.key)));
        }
    }
    for absent in &duty.duty.absent {
        person(context, absent);
    }
    let mut shifts = Vec::new();
    for shift in duty.shifts {
        person(context, &shift.person);
        if !duty.roles.contains(&shift.role.as_str()) {
            context.dangling("role", &shift.role, duty.roles.iter().copied());
        }
        for time in [&shift.from, &shift.to] {
            if !is_time_of_day(time) {
                context.error(time.span(), format!("`{}` is not a time of day", **time)).help("write \"08:00\"");
            }
        }
        if let Some(days) = shift.days.as_ref().filter(|d| d.is_empty()) {
            context.error(days.span(), "a shift without a day").help("leave `days` out for every day");
        }
        shifts.push(ShiftForm {
            role: (*shift.role).clone(),
            person: (*shift.person).clone(),
            days: shift.days.as_ref().map_or_else(|| Day::ALL.to_vec(), |d| (**d).clone()),
            from: (*shift.from).clone(),
            to: (*shift.to).clone(),
        });
    }
    if context.report.diagnostics.len() > before {
        return None;
    }
    let form = RosterForm {
        zone: duty.zone.to_owned(),
        fallback: (*duty.duty.fallback).clone(),
        shifts,
        deputies: duty.duty.deputies.iter().map(|(a, d)| (a.clone(), (**d).clone())).collect(),
        absent: duty.duty.absent.iter().map(|a| (**a).clone()).collect(),
    };
    match Roster::new(form) {
        Ok(roster) => {
            warn_of_gaps(context, duty, &roster, now);
            Some(roster)
        }
        Err(error) => {
            context.error(duty.duty.at.clone(), error.to_string());
            None
        }
    }
}

fn is_time_of_day(text: &str) -> bool {
    text.len() == 5 && jiff::civil::Time::strptime("%H:%M", text).is_ok()
}

/// One warning per role that somebody has: the first gap of the next seven days.
fn warn_of_gaps(context: &mut Context, duty: &Duty<'_>, roster: &Roster, now: Timestamp) {
    const AHEAD: Duration = Duration::from_secs(7 * 86_400);
    let mut seen = BTreeSet::new();
    for shift in duty.shifts.iter().filter(|s| seen.insert((*s.role).clone())) {
        let gaps = roster.gaps(&shift.role, now, now + AHEAD);
        let Some((from, to)) = gaps.first() else { continue };
        let local = |at: &Timestamp| match at.to_jiff() {
            Some(at) => roster.zone().to_datetime(at).strftime("%A %H:%M").to_string(),
            None => at.to_string(),
        };
        let (from, to) = (local(from), local(to));
        let more =
            if gaps.len() > 1 { format!(", and {} more times within a week", gaps.len() - 1) } else { String::new() };
        context
            .warning(shift.role.span(), format!("nobody is `{}` from {from} to {to}{more}", *shift.role))
            .help(format!("the next step of the ladder, at last `{}`, is paged instead", *duty.duty.fallback));
    }
    if !seen.contains("duty_phone") {
        context
            .warning(duty.duty.fallback.span(), "nobody ever has the duty phone")
            .help("add [[shift]] with role = \"duty_phone\"; until then every page goes to the fallback");
    }
}

/// Puts the site's own ladders in place of the library's.
pub fn ladders(context: &mut Context, raw: &RawLadders, roles: &[String], ladders: &mut Ladders) {
    let targets = [(&raw.p1, &mut ladders.P1), (&raw.p2, &mut ladders.P2), (&raw.p3, &mut ladders.P3)];
    for (own, target) in targets {
        let Some(own) = own else { continue };
        if own.steps.first().is_none_or(|s| !s.after.0.is_zero()) {
            context
                .error(own.span(), "a ladder starts at once")
                .help("its first step is { after = \"0s\", to = [\"duty_phone\"] }");
        }
        for pair in own.steps.windows(2).filter(|pair| pair[1].after.0 < pair[0].after.0) {
            context
                .error(pair[1].after.span(), "this step is before the one above it")
                .help("write the steps in time order");
        }
        for role in own.steps.iter().flat_map(|s| &s.to) {
            if !roles.contains(role) {
                context.dangling("role", role, roles.iter().map(String::as_str));
            }
        }
        let step =
            |s: &RawStep| LadderStep { after: After(s.after.0), to: s.to.iter().map(|r| (**r).clone()).collect() };
        *target = own.steps.iter().map(step).collect();
    }
}
