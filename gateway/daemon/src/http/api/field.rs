//! How the lines are doing, and how a reading came to be.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use guanjia_core::time::Timestamp;
use guanjia_field::now;
use guanjia_field::tap::Listener;
use guanjia_field::trace::{Envelope, Header, Record, Role};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::explain::Explanation;
use crate::http::problem::{Code, Problem};
use crate::http::{Web, access};
use crate::live::Live;
use crate::metrics::protocol;
use crate::site::Permission;

type Answer = Result<Json<Value>, Problem>;

/// Events of a trace that wait while its reader is slow; beyond it they are lost and counted.
const TRACE_EVENTS_MAX: usize = 4_096;
/// Pieces of a trace on their way to the reader.
const TRACE_PIECES_MAX: usize = 4;
/// The size from which a piece is sent.
const TRACE_PIECE_MIN: usize = 32 * 1024;
/// How often something is sent although nothing happens, so that the connection does not count as idle.
const TRACE_SIGN_OF_LIFE: Duration = Duration::from_secs(10);

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
        "passive": config.is_some_and(|config| is_passive(live, config)),
        "connected": stats.connected.get() == 1,
        "down": handle.tap().trouble().map(|trouble| json!({
            "reason": trouble.reason,
            "text": trouble.text,
            "advice": trouble.advice,
            "since": trouble.since.to_string(),
        })),
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

fn is_passive(live: &Live, line: &guanjia_field::LineConfig) -> bool {
    live.site.lines.iter().position(|config| config.name == line.name).is_some_and(|index| live.site.is_passive(index))
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

/// What passes on a line from now on, as a trace (see [`guanjia_field::trace`]), until the reader goes away.
pub async fn trace(State(web): State<Web>, headers: HeaderMap, Path(line): Path<String>) -> Result<Response, Problem> {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let none = || Problem::new(Code::NotFound, format!("there is no line {line:?}"));
    let handle = live.lines.iter().find(|handle| **handle.name() == *line).ok_or_else(none)?;
    let index = live.site.lines.iter().position(|config| config.name == *handle.name()).ok_or_else(none)?;
    let place = Arc::clone(&web.shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::new(Code::Unavailable, "too many streams; end another one"))?;
    let full = || Problem::new(Code::Unavailable, "enough others read this line's trace; end another one");
    let listener = handle.tap().listen(TRACE_EVENTS_MAX).ok_or_else(full)?;
    let header = Header {
        line: line.clone(),
        envelope: Envelope::of(&live.site.lines[index].link),
        role: if live.site.is_passive(index) { Role::Listener } else { Role::Master },
    };
    // The configuration may be replaced while somebody reads; the line's end is then the end of the trace.
    drop(live);
    let (pieces, queue) = mpsc::channel::<Result<Bytes, Infallible>>(TRACE_PIECES_MAX);
    let stop = web.app.stop.clone();
    tokio::spawn(async move {
        feed(listener, header.text(), &pieces, &stop).await;
        drop(place);
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, Body::from_stream(ReceiverStream::new(queue))).into_response())
}

async fn feed(
    mut listener: Listener,
    header: String,
    pieces: &mpsc::Sender<Result<Bytes, Infallible>>,
    stop: &CancellationToken,
) {
    let (mut piece, mut lost) = (header, 0);
    loop {
        if pieces.send(Ok(Bytes::from(std::mem::take(&mut piece)))).await.is_err() {
            return;
        }
        let next = tokio::select! {
            () = stop.cancelled() => return,
            () = pieces.closed() => return,
            next = tokio::time::timeout(TRACE_SIGN_OF_LIFE, listener.next()) => next,
        };
        let mut next = match next {
            Ok(Some(event)) => Some(event),
            Ok(None) => return,
            Err(_) => {
                piece.push('\n');
                None
            }
        };
        while let Some(event) = next {
            let (at, since) = (event.at, event.since);
            piece.push_str(&Record::Event(event).text(at, since));
            // Those that are lost are newer than what was waiting; they are told as soon as they are known.
            let all_lost = listener.lost();
            if all_lost > lost {
                piece.push_str(&Record::Lost(all_lost - lost).text(at, since));
                lost = all_lost;
            }
            next = if piece.len() < TRACE_PIECE_MIN { listener.next_now() } else { None };
        }
    }
}
