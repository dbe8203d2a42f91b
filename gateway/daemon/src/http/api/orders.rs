//! Orders about incidents, alarms and supplies. Each is answered after the change is durable.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use bytes::Bytes;
use guanjia_core::credit::Finding;
use guanjia_store::Explanation;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::problem::{Code, Problem};
use crate::http::{Web, access, ask_desk, detached};
use crate::live::{DeskCommand, DeskRefusal, Live};
use crate::site::{Permission, Site};

/// Who gives the order; a program may speak for a person of the site.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    #[serde(default)]
    person: Option<String>,
}

/// Accepts an incident.
pub async fn acknowledge(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let incident = incident_id(&id)?;
    order(&web, &headers, bytes, move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::AckIncident { incident, who, via: "api", reply }).await
    })
    .await
}

/// Closes an incident that is over.
pub async fn close(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let incident = incident_id(&id)?;
    order(&web, &headers, bytes, move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::CloseIncident { incident, who, via: "api", reply }).await
    })
    .await
}

/// Lets go of a latched alarm.
pub async fn reset(
    State(web): State<Web>,
    headers: HeaderMap,
    Path((device, alarm)): Path<(String, String)>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let key = format!("{device}/{alarm}");
    order(&web, &headers, bytes, move |live, who| async move {
        ask_desk(&live, |reply| DeskCommand::ResetAlarm { key, who, via: "api", reply }).await
    })
    .await
}

/// The id in a path.
pub fn incident_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::new(Code::NotFound, format!("{text:?} is not an incident's id")))
}

/// Lets a paid supply come back: somebody in the shop has said that it is safe.
pub async fn permit_close(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    order(
        &web,
        &headers,
        bytes,
        move |live, who| async move { crate::http::permit_close(&live, &id, who, "api").await },
    )
    .await
}

/// What a person has found out about a top-up that waits for one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    finding: Finding,
    reason: String,
    #[serde(default)]
    person: Option<String>,
}

/// Settles a top-up that the meter contradicts: somebody has looked whether it is there.
pub async fn settle_credit(
    State(web): State<Web>,
    headers: HeaderMap,
    Path((id, receipt)): Path<(String, String)>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let live = web.live();
    let client = access::client(&live.site, &headers, Permission::Acknowledge)?;
    let Found { finding, reason, person } = super::body(bytes)?;
    let who = speaker(&live.site, &client.name, Who { person })?;
    let receipt = receipt.parse().map_err(|_| Problem::new(Code::NotFound, format!("{receipt:?} is no receipt")))?;
    detached(async move { crate::http::settle_credit(&live, &id, receipt, (finding, reason), who, "api").await })
        .await??;
    Ok(Json(json!({ "done": true })))
}

/// Why a meter's balance is another than the ledger's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
    #[serde(default)]
    person: Option<String>,
}

/// Begins comparing a meter's balance anew: somebody has explained the difference.
pub async fn explain_difference(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let live = web.live();
    let client = access::client(&live.site, &headers, Permission::Acknowledge)?;
    let Why { reason, person } = super::body(bytes)?;
    let who = speaker(&live.site, &client.name, Who { person })?;
    let (via, at) = ("api".to_owned(), guanjia_field::now());
    let explanation = Explanation { service_point: id, who, via, reason, at };
    detached(async move { live.store.explain_meter(explanation).await }).await??;
    Ok(Json(json!({ "done": true })))
}

async fn order<F>(
    web: &Web,
    headers: &HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
    work: impl FnOnce(Arc<Live>, String) -> F + Send + 'static,
) -> Result<Json<Value>, Problem>
where
    F: Future<Output = Result<(), DeskRefusal>> + Send + 'static,
{
    let live = web.live();
    let client = access::client(&live.site, headers, Permission::Acknowledge)?;
    let bytes = bytes.map_err(|_| Problem::new(Code::BadRequest, "the body did not arrive whole"))?;
    let who: Who = if bytes.is_empty() { Who::default() } else { super::body(Ok(bytes))? };
    let who = speaker(&live.site, &client.name, who)?;
    detached(work(live, who)).await??;
    Ok(Json(json!({ "done": true })))
}

/// The person named, or the client itself.
fn speaker(site: &Site, client: &str, who: Who) -> Result<String, Problem> {
    match who.person {
        None => Ok(client.to_owned()),
        Some(person) if site.people.iter().any(|p| *p.id == *person) => Ok(person),
        Some(person) => Err(Problem::new(Code::BadRequest, format!("the site has no person {person:?}"))),
    }
}
