//! Is the process alive, and can it do its work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_field::now;
use serde_json::json;

use crate::http::Web;
use crate::live::{Live, Readiness};

/// How old the main loop's last round may be.
const HEARTBEAT_MAX: Duration = Duration::from_secs(10);

/// Whether the main loop goes round. A supervisor restarts the process when it does not.
pub async fn healthz(State(web): State<Web>) -> Response {
    let age = now().since(web.app.metrics.last_heartbeat());
    if age < HEARTBEAT_MAX {
        return Json(json!({ "alive": true })).into_response();
    }
    let body = json!({ "alive": false, "why": "the main loop has not gone round lately" });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// Whether the gateway can do its work, and if not, why not.
pub async fn readyz(State(web): State<Web>) -> Response {
    let problems = problems(&web.live(), now());
    let listed: Vec<_> =
        problems.iter().map(|(what, text)| json!({ "what": what, "en": text.en, "zh": text.zh })).collect();
    let status = if listed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": listed.is_empty(), "not_ready": listed }))).into_response()
}

/// Everything that stands between the gateway and its work.
pub fn problems(live: &Live, now: Timestamp) -> Vec<(&'static str, Bilingual)> {
    let mut problems = live.ready.problems();
    if !live.store.healthy() {
        let text = Bilingual::new("本地数据库写入失败,请检查磁盘空间", "the journal cannot be written, check the disk");
        problems.push(("store", text));
    }
    let waited = now.since(live.ready.started()) >= Readiness::FIRST_ROUND_MAX;
    if !waited && !live.latest.first_round_done() {
        let text = Bilingual::new("首轮采集尚未完成", "the first round of polls is not finished");
        problems.push(("first_round", text));
    }
    problems
}
