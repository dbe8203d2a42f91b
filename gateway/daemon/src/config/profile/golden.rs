//! `[[golden]]`: frames or messages and what they say, kept with the profile so that whoever changes it sees what he breaks.

use std::sync::Arc;

use guanjia_core::profile::Source as PointSource;
use guanjia_core::reading::Decimal;

use super::inputs::find;
use super::points::Found;
use super::raw::{GoldenKind, RawGolden, RawGoldenValue};
use crate::config::diagnostic::{Report, Source};
use crate::config::document::Entry;
use crate::config::value::At;

/// One golden answer.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "a running gateway only checks their form"))]
pub struct Golden {
    /// How much it proves.
    pub kind: GoldenKind,
    /// What comes.
    pub proof: Proof,
    /// What the points at these positions then say.
    pub values: Vec<(usize, GoldenValue)>,
}

/// What says it.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "a running gateway only checks their form"))]
pub enum Proof {
    /// The answer to a request.
    Frames {
        /// Exchanges before it.
        before: Vec<Exchange>,
        /// The exchange.
        exchange: Exchange,
    },
    /// A message.
    Message {
        /// The template of its topic, if it is one of single points.
        topic: Option<String>,
        /// The payload.
        payload: String,
    },
}

/// A request and its answer, as they go over a serial line.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "a running gateway only checks their form"))]
pub struct Exchange {
    /// The request, with its CRC.
    pub request: Vec<u8>,
    /// The answer, with its CRC.
    pub response: Vec<u8>,
}

/// What one point says.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "a running gateway only checks their form"))]
pub enum GoldenValue {
    /// This number.
    Number(Decimal),
    /// This text.
    Text(String),
    /// Nothing, for this reason.
    Bad(String),
}

pub fn golden(raw: &Entry<RawGolden>, points: &[Found], source: &Arc<Source>, report: &mut Report) -> Option<Golden> {
    if raw.source.trim().is_empty() {
        report.error(source, raw.source.span(), "a golden frame has a source").help("say which document or capture");
        return None;
    }
    let proof = proof(raw, points, source, report)?;
    let mut values = Vec::new();
    for value in &raw.values {
        let point = find(&value.point, points, source, report)?;
        let Some(wanted) = wanted(value) else {
            report
                .error(source, value.point.span(), "a golden value is one of `is`, `text` and `bad`")
                .help("write is = 230.1");
            return None;
        };
        values.push((point, wanted));
    }
    Some(Golden { kind: raw.kind, proof, values })
}

fn proof(raw: &Entry<RawGolden>, points: &[Found], source: &Arc<Source>, report: &mut Report) -> Option<Proof> {
    let mut exchange = |request: &At<String>, response: &At<String>| {
        let (request, response) = (bytes(request, source, report), bytes(response, source, report));
        request.zip(response).map(|(request, response)| Exchange { request, response })
    };
    match (&raw.request, &raw.response, &raw.payload) {
        (Some(request), Some(response), None) if raw.topic.is_none() => {
            let before: Option<Vec<Exchange>> = raw.before.iter().map(|e| exchange(&e.request, &e.response)).collect();
            Some(Proof::Frames { before: before?, exchange: exchange(request, response)? })
        }
        (None, None, Some(payload)) if raw.before.is_empty() => {
            let known = |topic: &str| {
                let is_its =
                    |p: &Found| matches!(&p.def.source, PointSource::Message { topic: Some(own), .. } if own == topic);
                points.iter().any(is_its)
            };
            if let Some(topic) = raw.topic.as_ref().filter(|topic| !known(topic)) {
                report
                    .error(source, topic.span(), format!("no point comes on `{}`", **topic))
                    .help("write the topic of a point as it stands there, and none for the device's own");
                return None;
            }
            let topic = raw.topic.as_ref().map(|topic| (**topic).clone());
            Some(Proof::Message { topic, payload: (**payload).clone() })
        }
        _ => {
            report
                .error(source, raw.at.clone(), "a golden example is a request with its response, or a payload")
                .help("write `request` and `response` for Modbus, `payload` (and `topic`) for MQTT");
            None
        }
    }
}

fn wanted(raw: &RawGoldenValue) -> Option<GoldenValue> {
    match (&raw.is, &raw.text, &raw.bad) {
        (Some(number), None, None) => Some(GoldenValue::Number(number.0)),
        (None, Some(text), None) => Some(GoldenValue::Text(text.clone())),
        (None, None, Some(reason)) => Some(GoldenValue::Bad(reason.clone())),
        _ => None,
    }
}

fn bytes(text: &At<String>, source: &Arc<Source>, report: &mut Report) -> Option<Vec<u8>> {
    let bytes: Result<Vec<u8>, _> = text.split_whitespace().map(|b| u8::from_str_radix(b, 16)).collect();
    match bytes {
        Ok(bytes) if bytes.len() >= 4 => Some(bytes),
        _ => {
            report
                .error(source, text.span(), "a frame is bytes in hexadecimal with its CRC")
                .help("write \"01 03 00 00 00 01 84 0A\"");
            None
        }
    }
}
