//! Why a point says what it says: from the frame that was sent to the value that was published.
//!
//! ```text
//!   point ─► where it is read ─► request and frames (field's evidence) ─► its words ─► how they are read ─► value
//!                                                                                                        └► latest word
//! ```
//!
//! The words are decoded again when somebody asks, with the profile that is in force. What the gateway published stands
//! beside it, so a difference shows. Nothing here is kept, and nothing is asked of the device.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::{self, Decoder};
use guanjia_core::profile::{PointDef, Registers, Source};
use guanjia_core::reading::{PointIx, Quality};
use guanjia_field::evidence::{Evidence, Proof, Scrap};
use guanjia_field::replay::points_in;
use guanjia_field::tap::Outcome;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::live::{Latest, Live};
use crate::site::{Attachment, Device, Topic};

mod tell;

pub use tell::{ExplainOptions, run};

/// Everything that can be said about one point.
pub struct Explanation<'a> {
    /// Whose point it is.
    pub device: &'a Device,
    /// Its definition.
    pub def: &'a PointDef,
    /// What was published last.
    pub latest: Latest,
    /// The twelve first digits of the profile's SHA-256: another number means another profile.
    pub profile_print: String,
    /// Where the value comes from.
    pub origin: Origin<'a>,
}

/// Where a value comes from.
pub enum Origin<'a> {
    /// Registers of a device on a line.
    Line {
        /// The line's name.
        line: &'a str,
        /// The unit on it.
        unit: u8,
        /// Where and in which form.
        place: &'a Registers,
        /// What was asked and answered; `None` before the first attempt.
        evidence: Option<Evidence>,
        /// The answers kept, newest first, each with what its words say.
        answers: Vec<Answer>,
        /// Frames thrown away lately that concern this unit, newest first.
        scraps: Vec<Scrap>,
    },
    /// Calculated from other points of the device.
    Derived {
        /// How.
        formula: &'a str,
        /// Their ids.
        parts: Vec<&'a str>,
    },
    /// A SunSpec model, which the device says itself where it is.
    Model(u16),
    /// This device has no such point.
    Absent,
    /// A message.
    Message {
        /// The topic.
        topic: &'a str,
        /// The pointer into its JSON; empty for the whole payload.
        pointer: &'a str,
    },
}

/// One answer, as far as it is about the point.
pub struct Answer {
    /// The frames.
    pub proof: Proof,
    /// The point's own registers, or its bit, as received.
    pub words: Vec<u16>,
    /// What they say by the profile, or why nothing.
    pub value: Result<String, String>,
}

impl<'a> Explanation<'a> {
    /// The explanation of `point` of `device`; `None` if there is no such point.
    pub fn of(live: &'a Live, device: &str, point: &str) -> Option<Self> {
        let device = live.site.devices.iter().find(|d| *d.id == *device)?;
        let offset = device.profile.point(point)?;
        let def = device.profile.points.get(offset)?;
        let latest = live.latest.get(PointIx(device.first_point.0 + u32::try_from(offset).ok()?))?;
        let origin = match (&def.source, &device.attachment) {
            (Source::Registers(place), Attachment::Line { line, unit, .. }) => {
                on_line(live, device, offset, place, *line, *unit)
            }
            (Source::Message { pointer, .. }, Attachment::Mqtt { topics, .. }) => in_message(topics, offset, pointer),
            (Source::Registers(_), Attachment::Mqtt { topics, .. }) => {
                let words = device.profile.message.as_ref().and_then(|form| form.words.as_ref());
                in_message(topics, offset, words.map_or("", |words| &words.pointer))
            }
            (Source::Derived(formula), _) => {
                let id = |i: usize| device.profile.points.get(i).map(|part| &*part.id);
                Origin::Derived { formula: formula.text(), parts: formula.points().filter_map(id).collect() }
            }
            (Source::Model { model, .. }, _) => Origin::Model(*model),
            // The configuration refuses a profile of messages on a line.
            _ => Origin::Absent,
        };
        let digest = Sha256::digest(format!("{:?}", device.profile));
        let profile_print = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Some(Self { device, def, latest, profile_print, origin })
    }

    /// The explanation as programs get it.
    pub fn json(&self) -> Value {
        let value = self.latest.value.as_ref();
        let mut body = json!({
            "device": &*self.device.id,
            "point": &*self.def.id,
            "name": self.def.name,
            "unit": self.def.unit,
            "profile": { "id": self.device.profile.id, "print": self.profile_print,
                "confidence": self.device.profile.confidence },
            "published": {
                "value": value.map(|(value, _)| value.to_string()),
                "at": value.map(|(_, at)| at.to_string()),
                "quality": self.latest.quality.as_str(),
                "why": match self.latest.quality { Quality::Bad(why) => Some(why.as_str()), _ => None },
                "since": self.latest.since.to_string(),
            },
        });
        match &self.origin {
            Origin::Derived { formula, parts } => {
                body["formula"] = json!(formula);
                body["parts"] = json!(parts);
            }
            Origin::Model(model) => body["sunspec_model"] = json!(model),
            Origin::Absent => body["absent"] = json!(true),
            Origin::Message { topic, pointer } => body["message"] = json!({ "topic": topic, "pointer": pointer }),
            Origin::Line { line, unit, place, evidence, answers, scraps } => {
                body["place"] = json!({
                    "line": line,
                    "unit": unit,
                    "function": place.table.read_function(),
                    "address": place.address,
                    "count": place.count,
                });
                body["form"] = form(self.def, place).into_iter().map(|(key, text)| (key, json!(text))).collect();
                body["request"] = json!(evidence.as_ref().map(request));
                body["answers"] = answers.iter().map(answer_json).collect();
                body["discarded"] = scraps.iter().map(scrap_json).collect();
            }
        }
        body
    }
}

/// How the words are read, as pairs of a stable word and a text.
pub fn form(def: &PointDef, place: &Registers) -> Vec<(&'static str, String)> {
    let word = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut form = vec![
        ("type", word(json!(place.wire))),
        ("bytes", word(json!(place.bytes))),
        ("words", word(json!(place.words))),
        ("scale", def.scale.to_string()),
    ];
    if let Some(bit) = place.bit {
        form.push(("bit", bit.to_string()));
    }
    if let Some(mask) = place.mask {
        form.push(("mask", format!("0x{mask:X}")));
    }
    if def.offset.mantissa != 0 {
        form.push(("offset", def.offset.to_string()));
    }
    form
}

fn in_message<'a>(topics: &'a [Topic], offset: usize, pointer: &'a str) -> Origin<'a> {
    let its = topics.iter().find(|topic| topic.points.contains(&offset));
    Origin::Message { topic: its.map_or("", |topic| &topic.name), pointer }
}

fn on_line<'a>(
    live: &'a Live,
    device: &'a Device,
    offset: usize,
    place: &'a Registers,
    line: usize,
    unit: u8,
) -> Origin<'a> {
    let name = live.site.lines.get(line).map_or("", |config| &config.name);
    let file = live.lines.get(line).map(|handle| handle.tap().evidence());
    let of = |place: &Registers| file?.of(unit, place.table, place.address, place.count);
    let evidence = of(place);
    let profile = &device.profile;
    let mut decoder = Decoder::new(Arc::clone(profile), |_| Duration::MAX);
    // Ratios and units come in other answers; the decoder has to hear them first.
    let inputs = profile.points.get(offset).map(|def| def.inputs.points().collect::<Vec<_>>()).unwrap_or_default();
    for input in inputs {
        let known = profile.points.get(input).and_then(|def| def.source.registers()).and_then(of);
        if let Some((known, newest)) = known.as_ref().and_then(|known| Some((known, known.answers.first()?))) {
            decoded(&mut decoder, known, newest, input);
        }
    }
    let mut answer = |known: &Evidence, proof: &Proof| {
        let words = match place.table.is_bits() {
            true => vec![u16::from(known.bit(proof, place.address)?)],
            false => known.words(proof, place.address, place.count)?,
        };
        Some(Answer { value: decoded(&mut decoder, known, proof, offset)?, proof: proof.clone(), words })
    };
    let answers = evidence.iter().flat_map(|known| known.answers.iter().map(move |proof| (known, proof)));
    let answers = answers.filter_map(|(known, proof)| answer(known, proof)).collect();
    let scraps = file.map(|file| file.scraps()).unwrap_or_default();
    let scraps = scraps.into_iter().filter(|scrap| scrap.concerns(unit)).collect();
    Origin::Line { line: name, unit, place, evidence, answers, scraps }
}

/// What the point at position `wanted` says by an answer.
fn decoded(decoder: &mut Decoder, known: &Evidence, proof: &Proof, wanted: usize) -> Option<Result<String, String>> {
    let (extent, points) = points_in(decoder.profile(), &known.asked)?;
    let data = proof.data()?;
    let bits: Vec<bool> = data.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
    let words: Vec<u16> = data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
    let answer = if extent.table.is_bits() { decode::Answer::Bits(&bits) } else { decode::Answer::Words(&words) };
    let mut found = None;
    decoder.answer(extent, answer, &points, Duration::ZERO, |i, value| {
        if i == wanted {
            found = Some(value.map(|value| value.to_string()).map_err(|error| error.to_string()));
        }
    });
    found
}

fn request(evidence: &Evidence) -> Value {
    json!({
        "address": evidence.asked.address,
        "count": evidence.asked.count,
        "last_attempt": evidence.at.to_string(),
        "outcome": outcome(evidence.outcome),
        "unanswered_since": evidence.misses,
    })
}

/// The stable word of an outcome.
pub fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answered => "answered".to_owned(),
        Outcome::Exception(code) => format!("exception_{code:02}"),
        Outcome::Timeout => "timeout".to_owned(),
        Outcome::Discarded => "discarded".to_owned(),
        Outcome::LinkError => "link_error".to_owned(),
    }
}

fn answer_json(answer: &Answer) -> Value {
    json!({
        "at": answer.proof.at.to_string(),
        "attempt": answer.proof.attempt,
        "round_trip_ms": answer.proof.took.as_secs_f64() * 1_000.0,
        "sent": hex(&answer.proof.sent),
        "received": hex(&answer.proof.received),
        "words": words(&answer.words),
        "value": answer.value.as_ref().ok(),
        "error": answer.value.as_ref().err(),
    })
}

fn scrap_json(scrap: &Scrap) -> Value {
    json!({
        "at": scrap.at.to_string(),
        "why": scrap.kind.as_str(),
        "asked": scrap.asked.map(|q| json!({
            "unit": q.unit, "function": q.function, "address": q.address, "count": q.count,
        })),
        "frame": hex(&scrap.frame),
    })
}

/// Bytes as people compare them: two digits each, a space between.
pub fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(" ")
}

/// Words as people compare them.
pub fn words(words: &[u16]) -> String {
    let digits: Vec<String> = words.iter().map(|word| format!("{word:04X}")).collect();
    digits.join(" ")
}
