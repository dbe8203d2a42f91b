//! What people order from the console: accept, close, reset, permit, settle. Each names a person of the site.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use guanjia_core::credit::Finding;
use maud::html;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

use super::{Ctx, notice, reader};
use crate::http::text;
use crate::http::{Web, ask_desk, detached};
use crate::live::{DeskCommand, DeskRefusal, Live};

/// Who gives the order.
#[derive(Deserialize)]
pub struct Order {
    #[serde(default)]
    person: String,
}

/// Accepts an incident.
pub async fn acknowledge(
    web: State<Web>,
    uri: Uri,
    headers: HeaderMap,
    Path(incident): Path<Uuid>,
    Form(order): Form<Order>,
) -> Response {
    let back = format!("/incidents/{incident}");
    give(web, uri, headers, order, back, move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::AckIncident { incident, who, via: "console", reply }).await
    })
    .await
}

/// Closes an incident that is over.
pub async fn close(
    web: State<Web>,
    uri: Uri,
    headers: HeaderMap,
    Path(incident): Path<Uuid>,
    Form(order): Form<Order>,
) -> Response {
    let back = format!("/incidents/{incident}");
    give(web, uri, headers, order, back, move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::CloseIncident { incident, who, via: "console", reply }).await
    })
    .await
}

/// Lets go of a latched alarm.
pub async fn reset(
    web: State<Web>,
    uri: Uri,
    headers: HeaderMap,
    Path((device, alarm)): Path<(String, String)>,
    Form(order): Form<Order>,
) -> Response {
    let key = format!("{device}/{alarm}");
    give(web, uri, headers, order, "/incidents".to_owned(), move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::ResetAlarm { key, who, via: "console", reply }).await
    })
    .await
}

/// Lets a paid supply come back: somebody in the shop has said that it is safe.
pub async fn permit_close(
    web: State<Web>,
    uri: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(order): Form<Order>,
) -> Response {
    let back = format!("/shops/{id}");
    give(web, uri, headers, order, back, move |live, who| async move {
        crate::http::permit_close(&live, &id, who, "console").await
    })
    .await
}

/// What a person has found out about a top-up that waits for one.
#[derive(Deserialize)]
pub struct Found {
    #[serde(default)]
    person: String,
    finding: Finding,
    #[serde(default)]
    reason: String,
}

/// Settles a top-up that the meter contradicts: somebody has looked whether it is there.
pub async fn settle_credit(
    web: State<Web>,
    uri: Uri,
    headers: HeaderMap,
    Path((id, receipt)): Path<(String, i64)>,
    Form(found): Form<Found>,
) -> Response {
    let back = format!("/shops/{id}");
    let Found { person, finding, reason } = found;
    give(web, uri, headers, Order { person }, back, move |live, who| async move {
        crate::http::settle_credit(&live, &id, receipt, (finding, reason), who, "console").await
    })
    .await
}

async fn give<F>(
    State(web): State<Web>,
    uri: Uri,
    headers: HeaderMap,
    order: Order,
    back: String,
    work: impl FnOnce(Arc<Live>, String) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<(), DeskRefusal>> + Send + 'static,
{
    let live = web.live();
    let (ctx, _) = reader(&live, &uri, &headers);
    if !web.shared.sessions.admits(&live.site, &headers, Instant::now()) {
        return Redirect::to("/sign-in").into_response();
    }
    if !live.site.people.iter().any(|p| *p.id == *order.person) {
        return sorry(&ctx, StatusCode::BAD_REQUEST, ctx.t(text::CHOOSE_A_PERSON), &back);
    }
    match detached(work(live, order.person)).await {
        Ok(Ok(())) => Redirect::to(&back).into_response(),
        Ok(Err(refusal)) => {
            let (status, why) = explain(&ctx, &refusal);
            sorry(&ctx, status, &why, &back)
        }
        Err(problem) => problem.into_response(),
    }
}

/// A refusal in the reader's words.
pub fn explain(ctx: &Ctx, refusal: &DeskRefusal) -> (StatusCode, String) {
    match refusal {
        DeskRefusal::Unknown => (StatusCode::NOT_FOUND, ctx.t(text::NO_SUCH_OPEN).to_owned()),
        DeskRefusal::Closed => (StatusCode::CONFLICT, ctx.t(text::IS_CLOSED).to_owned()),
        DeskRefusal::AlreadyAcknowledged { by } => {
            (StatusCode::CONFLICT, ctx.t(text::ALREADY_ACCEPTED).replace("{who}", ctx.person(by)))
        }
        DeskRefusal::NotAcknowledged => (StatusCode::CONFLICT, ctx.t(text::ACCEPT_FIRST).to_owned()),
        DeskRefusal::NotWaiting => (StatusCode::CONFLICT, ctx.t(text::NOT_WAITING).to_owned()),
        DeskRefusal::NoCreditWaits(_) => (StatusCode::CONFLICT, ctx.t(text::NO_CREDIT_WAITS).to_owned()),
        DeskRefusal::NoReason(_) => (StatusCode::BAD_REQUEST, ctx.t(text::REASON_MISSING).to_owned()),
        DeskRefusal::StillActive => (StatusCode::CONFLICT, ctx.t(text::STILL_ACTIVE).to_owned()),
        DeskRefusal::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, ctx.t(text::NOT_WRITTEN).to_owned()),
    }
}

fn sorry(ctx: &Ctx, status: StatusCode, why: &str, back: &str) -> Response {
    let more = html! { p { a.button href=(back) { (ctx.t(text::BACK)) } } };
    (status, notice(ctx, why, "", &more)).into_response()
}
