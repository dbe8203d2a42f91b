//! How the lines are doing, and how a reading came to be.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use guanjia_core::time::Timestamp;
use guanjia_field::now;
use serde_json::{Value, json};

use crate::explain::Explanation;
use crate::http::problem::{Code, Problem};
use crate::http::{Web, access};
use crate::live::Live;
use crate::metrics::protocol;
use crate::site::Permission;

type Answer = Result<Json<Value>, Problem>;

/// Every line, with what is wrong with it.
pub async fn lines(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let now = now();
    let list: Vec<Value> = live.lines.iter().enumerate().map(|(i, _)| line_json(&live, i, now)).collect();
    Ok(Json(json!({ "lines": list })))
}

fn line_json(live: &Live, index: usize, now: Timestamp) -> Value {
    let handle = &live.lines[index];
    let config = live.site.lines.iter().find(|config| config.name == *handle.name());
    let stats = handle.stats();
    let findings = handle.tap().findings();
    json!({
        "name": &**handle.name(),
        "protocol": config.map(|config| protocol(&config.link)),
        "place": config.map(|config| config.link.place()),
        "connected": stats.connected.get() == 1,
        "findings": findings.iter().map(|(finding, known_for)| json!({
            "finding": finding.illness.as_str(),
            "unit": finding.unit,
            "milliseconds": finding.millis,
            "events": finding.count,
            "of": finding.of,
            "since": (now - *known_for).to_string(),
            "text": finding.text(),
            "advice": finding.advice(),
        })).collect::<Vec<_>>(),
        "units": stats.devices.iter().map(|device| json!({
            "device": &*device.id,
            "ok": device.ok.get(),
            "timeout": device.timeout.get(),
            "damaged": device.crc_error.get(),
            "exception": device.exception.get(),
            "link_error": device.link_error.get(),
        })).collect::<Vec<_>>(),
    })
}

/// How a reading came to be, down to the bytes.
pub async fn explain(
    State(web): State<Web>,
    headers: HeaderMap,
    Path((device, point)): Path<(String, String)>,
) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let none = || Problem::new(Code::NotFound, format!("there is no point {device}/{point}"));
    Explanation::of(&live, &device, &point).map(|explanation| Json(explanation.json())).ok_or_else(none)
}
