//! The golden frames and messages of the library: each goes through the same judgement and the same decoder as in service.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::{Answer, Decoder};
use guanjia_core::profile::{Asked, Extent, Introduction, Next, PointDef, Profile, Registers};
use guanjia_core::reading::{Decimal, Value};
use guanjia_field::rehearsal::{Rehearsed, rehearse};

use super::super::profile::{Exchange, GoldenKind, GoldenValue, LoadedProfile, Proof};
use super::*;

/// Profiles without one device to have frames of: simulations.
const WITHOUT: [&str; 2] = ["guanjia_sim_io", "guanjia_sim_lift"];

fn rehearsed(name: &str, profile: &Profile, exchange: &Exchange) -> (Extent, Rehearsed) {
    let both = rehearse(&exchange.request, &exchange.response, profile.limits.byte_count);
    both.unwrap_or_else(|error| panic!("{name}: {:02X?}, {:02X?}: {error}", exchange.request, exchange.response))
}

/// The profile as the very device of these exchanges has it.
fn introduced(name: &str, profile: &Arc<Profile>, before: &[Exchange]) -> Arc<Profile> {
    let walk = profile.sunspec.is_some().then(|| Introduction::of(profile)).flatten();
    let Some(mut introduction) = walk else { return Arc::clone(profile) };
    let answers: Vec<(Extent, Rehearsed)> = before.iter().map(|e| rehearsed(name, profile, e)).collect();
    loop {
        match introduction.next() {
            Next::Fit(profile) => return profile,
            Next::Wrong(mismatch) => panic!("{name}: {mismatch:?}"),
            Next::Ask(wanted) => match answers.iter().find(|(extent, _)| *extent == wanted) {
                Some((_, Rehearsed::Words(words))) => introduction.answered(Asked::Words(words)),
                other => panic!("{name}: {wanted:?} is answered with {other:?}"),
            },
        }
    }
}

fn is_inside(place: &Registers, extent: &Extent) -> bool {
    let end = |address: u16, count: u16| u32::from(address) + u32::from(count);
    place.table == extent.table
        && place.address >= extent.address
        && end(place.address, place.count) <= end(extent.address, extent.count)
}

/// What every point says after the exchanges.
fn told(
    name: &str,
    profile: &Arc<Profile>,
    before: &[Exchange],
    exchange: &Exchange,
) -> Vec<(usize, Result<Value, String>)> {
    let profile = introduced(name, profile, before);
    let mut decoder = Decoder::new(Arc::clone(&profile), |_| Duration::from_secs(3_600));
    let mut told = Vec::new();
    for exchange in before.iter().chain([exchange]) {
        let (extent, answer) = rehearsed(name, &profile, exchange);
        let asked = |p: &PointDef| p.source.registers().is_some_and(|r| is_inside(r, &extent));
        let points: Vec<usize> = (0..profile.points.len()).filter(|i| asked(&profile.points[*i])).collect();
        let answer = match &answer {
            Rehearsed::Words(words) => Answer::Words(words),
            Rehearsed::Bits(bits) => Answer::Bits(bits),
            Rehearsed::Refused(code) => panic!("{name}: refused with {code}"),
        };
        told.clear();
        decoder.answer(extent, answer, &points, Duration::from_secs(1), |i, value| {
            told.push((i, value.map_err(|error| error.reason().as_str().to_owned())));
        });
    }
    told
}

fn agree(value: &Result<Value, String>, wanted: &GoldenValue) -> bool {
    match (value, wanted) {
        (Ok(Value::Decimal(value)), GoldenValue::Number(wanted)) => value == wanted,
        (Ok(Value::Bool(bit)), GoldenValue::Number(wanted)) => Decimal::new(i128::from(*bit), 0) == *wanted,
        (Ok(Value::Float(value)), GoldenValue::Number(wanted)) => {
            (value - wanted.to_f64()).abs() <= wanted.to_f64().abs() * 1e-6
        }
        (Ok(Value::Text(text)), GoldenValue::Text(wanted)) => **text == **wanted,
        (Err(reason), GoldenValue::Bad(wanted)) => reason == wanted,
        _ => false,
    }
}

fn check(name: &str, loaded: &LoadedProfile, wrong: &mut Vec<String>) {
    for golden in &loaded.golden {
        let profile = &loaded.profile;
        let told = match &golden.proof {
            Proof::Frames { before, exchange } => told(name, profile, before, exchange),
            Proof::Message { topic, payload } => crate::mqtt::rehearse(profile, topic.as_deref(), payload),
        };
        for (point, wanted) in &golden.values {
            let value = told.iter().find(|(i, _)| i == point).map(|(_, value)| value);
            if !value.is_some_and(|value| agree(value, wanted)) {
                let id = &profile.points[*point].id;
                wrong.push(format!("{name}: {id} is {value:?}, not {wanted:?} ({:?})", golden.kind));
            }
        }
    }
}

/// AC 19.
#[test]
fn every_golden_frame_says_what_its_profile_claims() {
    let mut report = Report::default();
    let files = library::files(library::Shelf::Profiles, None, &mut report).all;
    let (mut captured, mut wrong) = (0, Vec::new());
    for (name, source) in &files {
        let loaded = profile::read(name, source, &schema::PROFILE, &mut report);
        let Some(loaded) = loaded else { panic!("{report}") };
        captured += loaded.golden.iter().filter(|g| g.kind == GoldenKind::Captured).count();
        check(name, &loaded, &mut wrong);
        if loaded.golden.is_empty() && !WITHOUT.contains(&name.as_str()) {
            wrong.push(format!("{name} has no golden frames"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(captured >= 20, "only {captured} captured frames");
    assert!(files.len() >= 45, "only {} files", files.len());
}

/// Every point of every profile is in some read, whatever the limits of the device.
#[test]
fn every_point_of_the_library_can_be_read() {
    let mut report = Report::default();
    for (name, source) in &library::files(library::Shelf::Profiles, None, &mut report).all {
        let loaded = profile::read(name, source, &schema::PROFILE, &mut report);
        let profile = loaded.unwrap_or_else(|| panic!("{report}")).profile;
        let unreadable = guanjia_field::plan::unreadable(&profile.points, &profile.limits);
        assert!(unreadable.is_empty(), "{name}: {unreadable:?}");
    }
}
