//! The topics of a device on MQTT: whose layout counts, and which points come on which topic.
//!
//! ```text
//!  the device's own `topic` and `availability`    what this one was set to
//!    └─► the layout of its profile                what its maker's firmware does, wherever it stands
//!          └─► the templates of its broker        what the site has all the others do
//! ```
//!
//! * A layout is taken whole: where the profile has one, nothing of the broker's templates is used. One broker carries the
//!   devices of several makers, so what is said once for all of them cannot be right for those that cannot be told where
//!   to speak.
//! * A point with a topic of its own moves with its device where it says `{topic}`; only points without one come on the
//!   device's own topic, and if there are none that topic is not listened to.
//! * What a device itself was set to is its topic as it stands: nothing is filled in there.
//! * No topic is that of two devices: each would have the other's values.

use std::ops::Range;

use guanjia_core::profile::{Profile, Source};

use super::context::Context;
use super::document::Entry;
use super::lines::is_topic;
use super::raw::RawDevice;
use super::value::At;
use crate::site::Topic;

/// Topics of devices that name none.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    /// Of their messages.
    pub topic: Option<String>,
    /// Of their availability.
    pub availability: Option<String>,
}

/// What a template may leave open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// `{device}` and `{node}`.
    OfDevice,
    /// `{topic}`, the device's own, as well.
    OfPoint,
}

/// Why a text is no template.
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}

/// Where a device speaks.
pub struct Spoken {
    /// Its topics, and where in the site file each is decided.
    pub topics: Vec<(Topic, Range<usize>)>,
    /// Where it says whether it is there.
    pub availability: Option<String>,
}

/// What may stand open in templates, and nowhere else.
const HOLES: [&str; 3] = ["{topic}", "{device}", "{node}"];

/// Checks a template: it must name the device, or all devices it is for would be one.
pub fn template(text: &str, holes: Holes) -> Result<String, Wrong> {
    let device = text.replace("{device}", "d").replace("{node}", "n");
    let example = if holes == Holes::OfPoint { device.replace("{topic}", "t") } else { device };
    if !is_spoken(&example) || example.contains(['{', '}']) {
        return Err(Wrong {
            message: format!("`{text}` is not a template of a topic"),
            help: match holes {
                Holes::OfDevice => "write \"site/{device}/state\"; {device} is the device's id, {node} its `node`",
                Holes::OfPoint => {
                    "write \"{topic}/power\"; {topic} is the device's topic, {device} its id, {node} its `node`"
                }
            },
        });
    }
    if example == text {
        return Err(Wrong {
            message: "every device would have the same topic".to_owned(),
            help: match holes {
                Holes::OfDevice => "write {device} or {node} where their topics differ",
                Holes::OfPoint => "write {topic}, {device} or {node} where their topics differ",
            },
        });
    }
    Ok(text.to_owned())
}

/// The topics of one device; `None` with an error if they cannot be said.
pub fn of(context: &mut Context, entry: &Entry<RawDevice>, profile: &Profile, broker: &Templates) -> Option<Spoken> {
    let layout = layout(profile, broker);
    let own_topics: Vec<Option<&str>> = profile.points.iter().map(|point| own_topic(&point.source)).collect();
    let is_needed = profile.points.iter().zip(&own_topics).any(|(point, own)| match own {
        Some(own) => own.contains("{topic}"),
        None => !matches!(point.source, Source::Derived(_)),
    });
    let topic = match (&entry.topic, &layout.topic) {
        (Some(own), _) => {
            check(context, own)?;
            Some(own.clone())
        }
        (None, Some(template)) if is_needed => Some(filled(context, entry, template, "")?),
        (None, _) => None,
    };
    let Some(topic) = topic.or_else(|| (!is_needed).then(|| At::new(String::new(), entry.at.clone()))) else {
        let help = format!("write topic = \"site/{}/state\", or give its broker or its profile a template", entry.key);
        context.error(entry.at.clone(), format!("nothing says on which topic `{}` speaks", entry.key)).help(help);
        return None;
    };
    let mut topics: Vec<(Topic, Range<usize>)> = Vec::new();
    let mut of_point: Vec<usize> = Vec::with_capacity(profile.points.len());
    for (i, point) in profile.points.iter().enumerate() {
        // What is calculated comes with the first point it is calculated from; formulas look back only.
        let with = match &point.source {
            Source::Derived(formula) => formula.points().next().and_then(|part| of_point.get(part).copied()),
            _ => None,
        };
        let place = match with {
            Some(place) => place,
            None => {
                let at = match own_topics.get(i).copied().flatten() {
                    Some(own) => filled(context, entry, own, &topic)?,
                    None => topic.clone(),
                };
                place(context, &mut topics, &at)?
            }
        };
        of_point.push(place);
        if let Some((topic, _)) = topics.get_mut(place) {
            topic.points.push(i);
        }
    }
    let availability = match (&entry.availability, &layout.availability) {
        (Some(own), _) => Some(own.clone()),
        (None, Some(template)) => Some(filled(context, entry, template, "")?),
        (None, None) => None,
    };
    if let Some(topic) = &availability {
        check(context, topic)?;
    }
    Some(Spoken { topics, availability: availability.map(|topic| (*topic).clone()) })
}

/// The profile's layout if it has one, or else the broker's.
fn layout(profile: &Profile, broker: &Templates) -> Templates {
    let own = profile.message.as_ref().map_or_else(Templates::default, |form| Templates {
        topic: form.topic.clone(),
        availability: form.availability.clone(),
    });
    let has_own = own.topic.is_some() || own.availability.is_some();
    if has_own { own } else { broker.clone() }
}

fn own_topic(source: &Source) -> Option<&str> {
    match source {
        Source::Message { topic, .. } => topic.as_deref(),
        Source::Registers(_) | Source::Model { .. } | Source::Derived(_) | Source::Absent => None,
    }
}

/// The position of a topic among the device's; new ones are added.
fn place(context: &mut Context, topics: &mut Vec<(Topic, Range<usize>)>, topic: &At<String>) -> Option<usize> {
    if let Some(place) = topics.iter().position(|(known, _)| known.name == **topic) {
        return Some(place);
    }
    check(context, topic)?;
    topics.push((Topic { name: (**topic).clone(), points: Vec::new() }, topic.span()));
    Some(topics.len() - 1)
}

fn check(context: &mut Context, topic: &At<String>) -> Option<()> {
    let (message, help) = if !is_spoken(topic) {
        (
            format!("`{}` is not the topic of one device", **topic),
            "remove wildcards, line breaks and a slash at the end",
        )
    } else if HOLES.iter().any(|hole| topic.contains(hole)) {
        let message = format!("nothing is filled into `{}`: it is the device's own", **topic);
        (
            message,
            "write it as the device has it; {device} and {node} belong into the templates of brokers and profiles",
        )
    } else {
        return Some(());
    };
    context.error(topic.span(), message).help(help);
    None
}

/// Whether a device can speak there. Some makers' topics begin with a slash, which is a level without a name.
fn is_spoken(topic: &str) -> bool {
    is_topic(topic.strip_prefix('/').unwrap_or(topic))
}

/// A template for this device; `None` with an error if it needs to know more.
fn filled(context: &mut Context, entry: &Entry<RawDevice>, template: &str, topic: &str) -> Option<At<String>> {
    let node = match entry.node.as_ref().filter(|node| !node.is_empty()) {
        Some(node) => (**node).clone(),
        None if template.contains("{node}") => {
            context
                .error(entry.at.clone(), format!("`{template}` needs to know the device's node"))
                .help("add node = \"…\": what the device is called in its topics");
            return None;
        }
        None => String::new(),
    };
    let text = template.replace("{topic}", topic).replace("{device}", &entry.key).replace("{node}", &node);
    let at = entry.node.as_ref().map_or(entry.at.clone(), At::span);
    Some(At::new(text, at))
}
