//! Everything that is only looked at.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use guanjia_core::credit::MeterCredit;
use guanjia_core::reading::{PointIx, Quality, Value as PointValue};
use guanjia_core::supply::ServiceKind;
use guanjia_core::time::Timestamp;
use serde_json::{Value, json};

use super::LIST_MAX;
use crate::device_clock;
use crate::http::problem::{Code, Problem};
use crate::http::{Web, access};
use crate::live::{DeviceStatus, Latest, Live};
use crate::site::{Device, Permission, ServicePoint};

/// Top-ups into a meter that are shown.
const CREDITS_MAX: u32 = 20;

type Answer = Result<Json<Value>, Problem>;

/// Every service point, in short.
pub async fn service_points(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let list: Vec<Value> = live.site.service_points.iter().map(|p| service_point_json(&live, p)).collect();
    Ok(Json(json!({ "service_points": list })))
}

/// One service point: what it has, whether it is on, and why not.
pub async fn service_point(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let point = find_service_point(&live, &id)?;
    let mut body = service_point_json(&live, point);
    // From the journal, as the receipts are: whoever was told that a top-up is credited must find it here.
    if let Some(wallet) = live.store.wallet(&point.id).await? {
        body["balance"] = json!(wallet.balance.to_string());
        if point.wallet.is_some() {
            body["in_meter"] = json!(wallet.in_meter.to_string());
        }
    }
    let device = &live.site.devices[point.device.0 as usize];
    body["readings"] = points_json(&live, device);
    if point.wallet.is_some() {
        let credits = live.store.credits(&point.id, CREDITS_MAX).await?;
        body["meter_credits"] = credits.iter().map(credit_json).collect();
    }
    let notices = live.store.notices(&point.id).await?;
    body["notices"] = notices
        .iter()
        .map(|n| {
            let delivered = n.delivered_at().map(|at| at.to_string());
            json!({ "level": n.level, "cycle": n.cycle, "at": n.at.to_string(), "delivered_at": delivered })
        })
        .collect();
    Ok(Json(body))
}

/// The top-ups for meters that keep the credit and that are not settled, the oldest first.
pub async fn meter_credits(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let open = live.store.open_credits().await?;
    let told = |credit: &MeterCredit| {
        let mut body = credit_json(credit);
        body["service_point"] = json!(credit.service_point);
        body
    };
    let list: Vec<Value> = open.iter().take(LIST_MAX as usize).map(told).collect();
    Ok(Json(json!({ "meter_credits": list })))
}

fn credit_json(credit: &MeterCredit) -> Value {
    json!({
        "receipt": credit.receipt,
        "amount": credit.amount.to_string(),
        "purchase_count": credit.count,
        "state": credit.state,
        "attempts": credit.attempts,
        "detail": credit.detail,
        "decided_by": credit.decided_by,
        "paid_at": credit.paid_at.to_string(),
        "at": credit.at.to_string(),
    })
}

/// The newest movements of a wallet.
pub async fn statement(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let point = find_service_point(&live, &id)?;
    let lines: Vec<Value> = live
        .store
        .statement(&point.id, LIST_MAX)
        .await?
        .iter()
        .map(|line| {
            json!({
                "transfer": line.transfer,
                "kind": line.kind,
                "at": line.at.to_string(),
                "cause": line.cause,
                "amount": line.amount.to_string(),
                "balance": line.balance.to_string(),
                "receipt": line.receipt,
                "quantity": line.quantity.map(|q| q.0),
                "quantity_unit": line.quantity.map(|_| base_unit(point)),
                "tariff": line.tariff,
            })
        })
        .collect();
    Ok(Json(json!({ "service_point": &*point.id, "lines": lines })))
}

fn base_unit(point: &ServicePoint) -> &'static str {
    match point.utility {
        guanjia_core::units::Utility::Electricity => "Wh",
        guanjia_core::units::Utility::Water => "mL",
    }
}

fn find_service_point<'a>(live: &'a Live, id: &str) -> Result<&'a ServicePoint, Problem> {
    let found = live.site.service_points.iter().find(|p| *p.id == *id);
    found.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no service point {id:?}")))
}

fn service_point_json(live: &Live, point: &ServicePoint) -> Value {
    let shop = &live.site.shops[point.shop];
    let device = &live.site.devices[point.device.0 as usize];
    let views = live.supplies.get();
    let view = views.iter().find(|v| v.service_point == point.id);
    let exempt = match &point.kind {
        ServiceKind::Prepaid => None,
        ServiceKind::Exempt { why } => Some(why),
    };
    json!({
        "id": &*point.id,
        "shop": &*shop.id,
        "shop_name": shop.name,
        "floor": shop.floor,
        "utility": point.utility,
        "device": &*device.id,
        "state": crate::metrics::account_state(&point.kind, view),
        "exempt": exempt,
        "balance": view.map(|v| v.balance.to_string()),
        "debt": view.and_then(|v| v.debt).map(|debt| debt.to_string()),
        "desired": view.map(|v| v.desired),
        "reported": view.and_then(|v| v.reported),
        "reasons": view.map(|v| &v.reasons),
        "blocked": view.map(|v| &v.blocked),
        "waits_for": view.and_then(|v| v.waits_for),
        "cover_seconds": view.and_then(|v| v.cover).map(|c| c.as_secs()),
        "warning": view.and_then(|v| v.warning.clone()),
        "register": view.and_then(|v| v.register).map(|(value, at)| {
            json!({ "value": value, "unit": base_unit(point), "at": at.to_string() })
        }),
    })
}

/// Every device, in short.
pub async fn devices(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let statuses = live.latest.devices();
    let list: Vec<Value> = live.site.devices.iter().zip(&statuses).map(|(d, s)| device_json(d, s)).collect();
    Ok(Json(json!({ "devices": list })))
}

/// One device with its points.
pub async fn device(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let device = live.site.devices.iter().find(|d| *d.id == *id);
    let device = device.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no device {id:?}")))?;
    let statuses = live.latest.devices();
    let mut body = device_json(device, &statuses[device.ix.0 as usize]);
    body["points"] = points_json(&live, device);
    if let Some(clock) = device_clock::of(&live, device) {
        let at = clock.at.to_string();
        body["clock"] = json!({ "says": clock.says, "at": at, "skew_seconds": clock.skew_seconds });
    }
    Ok(Json(body))
}

fn device_json(device: &Device, status: &DeviceStatus) -> Value {
    json!({
        "id": &*device.id,
        "name": device.name,
        "system": device.profile.class.system(),
        "vendor": device.profile.vendor,
        "model": device.profile.model,
        "building": device.building,
        "floor": device.floor,
        "answering": status.silent.is_none(),
        "why_silent": status.silent.map(|why| why.as_str()),
        "since": status.since.to_string(),
        "last_success": status.last_success.map(|at| at.to_string()),
    })
}

fn points_json(live: &Live, device: &Device) -> Value {
    let rows = device.profile.points.iter().enumerate().map(|(i, def)| {
        let ix = PointIx(device.first_point.0 + u32::try_from(i).unwrap_or(u32::MAX));
        let latest = live.latest.get(ix);
        json!({
            "id": &*def.id,
            "name": def.name,
            "unit": def.unit,
            "value": latest.as_ref().and_then(|l| l.value.as_ref()).map(|(value, _)| value_json(value)),
            "text": latest.as_ref().and_then(|l| l.value.as_ref()).map(|(value, _)| value.to_string()),
            "at": latest.as_ref().and_then(|l| l.value.as_ref()).map(|(_, at)| at.to_string()),
            "quality": latest.as_ref().map(|l| l.quality.as_str()),
            "why": latest.as_ref().and_then(why),
            "since": latest.as_ref().map(|l| l.since.to_string()),
        })
    });
    rows.collect()
}

fn why(latest: &Latest) -> Option<&'static str> {
    match latest.quality {
        Quality::Bad(why) => Some(why.as_str()),
        _ => None,
    }
}

fn value_json(value: &PointValue) -> Value {
    match value {
        PointValue::Bool(b) => json!(b),
        PointValue::Text(t) => json!(&**t),
        PointValue::Decimal(_) | PointValue::Float(_) => json!(value.as_f64()),
    }
}

/// Every alarm that is not normal.
pub async fn alarms(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let board = live.alarms.get();
    let definitions = crate::metrics::definitions(&live.site);
    let list: Vec<Value> = board
        .alarms
        .iter()
        .map(|alarm| {
            let def = definitions.get(alarm.key.as_str());
            json!({
                "key": alarm.key,
                "occurrence": alarm.occurrence,
                "active": alarm.active,
                "acknowledged": alarm.acked,
                "latched": alarm.latched,
                "suppressed_by": alarm.suppressed_by,
                "raised_at": alarm.raised_at.to_string(),
                "cleared_at": time(alarm.cleared_at),
                "acknowledged_at": time(alarm.acked_at),
                "acknowledged_by": alarm.acked_by,
                "incident": alarm.incident,
                "priority": def.map(|d| d.priority),
                "text": def.map(|d| &d.text),
                "action": def.map(|d| &d.action),
            })
        })
        .collect();
    Ok(Json(json!({ "alarms": list })))
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// The newest incidents, open or closed.
pub async fn incidents(State(web): State<Web>, headers: HeaderMap) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let list: Vec<Value> = live.store.incidents(LIST_MAX).await?.iter().map(incident_json).collect();
    Ok(Json(json!({ "incidents": list })))
}

/// One incident with everything that happened.
pub async fn incident(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let live = web.live();
    access::client(&live.site, &headers, Permission::Read)?;
    let id = super::orders::incident_id(&id)?;
    let incident = live.store.incident(id).await?;
    let incident = incident.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no incident {id}")))?;
    let mut body = incident_json(&incident);
    body["timeline"] = live
        .store
        .timeline(Some(id), LIST_MAX)
        .await?
        .iter()
        .map(|e| json!({ "at": e.at.to_string(), "what": e.what, "subject": e.subject, "detail": e.detail }))
        .collect();
    // The link's token stays out: whoever can read may not for that reason accept in another's name.
    body["pages"] = live
        .store
        .pages_of(id)
        .await?
        .iter()
        .map(|(page, status)| {
            json!({
                "id": page.id,
                "kind": page.kind,
                "person": page.person,
                "channel": page.channel,
                "title": page.title,
                "not_before": page.not_before.to_string(),
                "state": status.state,
                "attempts": status.attempts,
                "last_error": status.last_error,
                "settled_at": time(status.settled_at),
            })
        })
        .collect();
    Ok(Json(body))
}

fn incident_json(incident: &guanjia_core::incident::IncidentRecord) -> Value {
    json!({
        "id": incident.id,
        "code": incident.code,
        "plan": incident.plan,
        "priority": incident.priority,
        "state": incident.state,
        "root": incident.root,
        "title": incident.title,
        "owner": incident.owner,
        "level": incident.level,
        "opened_at": incident.opened_at.to_string(),
        "escalates_at": time(incident.escalates_at),
        "acknowledged_at": time(incident.acked_at),
        "acknowledged_by": incident.acked_by,
        "closed_at": time(incident.closed_at),
    })
}
