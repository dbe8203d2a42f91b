//! `[message]`: what the messages of a device on MQTT look like, beyond the pointers of its points.

use std::sync::Arc;

use guanjia_core::profile::{
    MessageForm, MessageTime, MessageWords, PointDef, Presence, Profile, Source as PointSource, Table,
};

use super::points::Found;
use super::raw::{RawMessage, RawPoint};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::topics::{self, Holes};
use crate::config::value::At;

/// The array a point without a place of its own is an element of; the point is given one for the time being.
pub fn element(message: &Entry<RawMessage>, point: &mut Entry<RawPoint>, index: usize) -> Option<String> {
    let array = message.array.as_ref()?;
    let placeless =
        point.pointer.is_none() && point.topic.is_none() && point.r#type.is_none() && point.formula.is_none();
    if !placeless {
        return None;
    }
    point.value.pointer = Some(At::new(format!("{}/{index}", **array), point.id.span()));
    Some((**array).clone())
}

/// Points as elements of an array, from `first` on.
pub fn in_order(array: &str, first: usize, points: &mut [Found]) {
    for (offset, point) in points.iter_mut().enumerate() {
        point.def.source = PointSource::Message { topic: None, pointer: format!("{array}/{}", first + offset) };
    }
}

/// The checked form.
pub fn form(
    message: &Entry<RawMessage>,
    points: &[PointDef],
    source: &Arc<Source>,
    report: &mut Report,
) -> Option<MessageForm> {
    check(message, points, source, report);
    for pointer in message.array.iter() {
        check_pointer(pointer, pointer.span(), source, report);
    }
    let words = message.words.as_ref().map(|words| {
        check_pointer(&words.pointer, words.span(), source, report);
        MessageWords {
            pointer: words.pointer.clone(),
            encoding: words.encoding,
            table: words.table.unwrap_or(Table::Holding),
            address: words.address,
        }
    });
    let time = message.time.as_ref().map(|time| {
        check_pointer(&time.pointer, time.span(), source, report);
        MessageTime { pointer: time.pointer.clone(), format: time.format }
    });
    let mut template = |topic: &At<String>| match topics::template(topic, Holes::OfDevice) {
        Ok(template) => Some(template),
        Err(wrong) => {
            report.error(source, topic.span(), wrong.message).help(wrong.help);
            None
        }
    };
    let topic = message.topic.as_ref().and_then(&mut template);
    let availability = message.availability.as_ref().and_then(|raw| raw.topic.as_ref()).and_then(&mut template);
    let presence = presence(message, source, report);
    let samples = message.samples.as_ref().map(|samples| {
        check_pointer(samples, samples.span(), source, report);
        if time.is_none() {
            report
                .error(source, samples.span(), "samples without a time have no order")
                .help("write time = { pointer = \"/ts\", format = \"unix-seconds\" }, where each sample has it");
        }
        (**samples).clone()
    });
    Some(MessageForm { topic, availability, presence, words, time, samples })
}

/// What needs values of one moment must have them in one message, so their topics must be one.
pub fn check_together(profile: &Profile, at: &[std::ops::Range<usize>], source: &Arc<Source>, report: &mut Report) {
    let topic = |i: usize| match profile.points.get(i).map(|point| &point.source) {
        Some(PointSource::Message { topic, .. }) => topic.as_deref(),
        _ => None,
    };
    for (one, other) in profile.together() {
        if topic(one) != topic(other) {
            let names = format!("`{}`, `{}`", profile.points[one].id, profile.points[other].id);
            report
                .error(
                    source,
                    at.get(one).cloned().unwrap_or(0..0),
                    format!("{names} must come in one message, and have different topics"),
                )
                .help("values of different moments make a wrong one: leave it out, or check the topics");
        }
    }
}

/// How a device says that it is there.
fn presence(message: &Entry<RawMessage>, source: &Arc<Source>, report: &mut Report) -> Presence {
    let usual = Presence::default();
    let Some(raw) = &message.availability else { return usual };
    check_pointer(&raw.pointer, raw.span(), source, report);
    let presence = Presence {
        pointer: raw.pointer.clone(),
        online: raw.online.clone().unwrap_or(usual.online),
        offline: raw.offline.clone().unwrap_or(usual.offline),
    };
    if presence.online == presence.offline {
        report
            .error(source, raw.span(), "being there and being gone are the same word")
            .help("write online = \"true\", offline = \"false\", as the device sends them");
    }
    presence
}

fn check_pointer(pointer: &str, at: std::ops::Range<usize>, source: &Arc<Source>, report: &mut Report) {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        report.error(source, at, "a JSON pointer begins with a slash").help(format!("write \"/{pointer}\""));
    }
}

/// Refuses points no message could ever carry.
fn check(message: &Entry<RawMessage>, points: &[PointDef], source: &Arc<Source>, report: &mut Report) {
    for point in points {
        let PointSource::Registers(place) = &point.source else { continue };
        match &message.words {
            None => {
                report
                    .error(
                        source,
                        message.at.clone(),
                        format!("point `{}` is in registers, and no message has any", point.id),
                    )
                    .help("add words = { pointer = \"/data\", encoding = \"base64\" }, or give the point a pointer");
                return;
            }
            Some(words) => {
                let table = words.table.unwrap_or(Table::Holding);
                if place.table != table || place.address < words.address {
                    report
                        .error(source, words.span(), format!("point `{}` is not among these registers", point.id))
                        .help("points of a message lie in its table, from its first address on");
                    return;
                }
                if table.is_bits() {
                    report
                        .error(source, words.span(), "a message carries registers, not single bits")
                        .help("write table = \"holding\" and give each point its `bit`");
                    return;
                }
            }
        }
    }
}
