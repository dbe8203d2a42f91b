//! `POST /top-ups`: money in. Durable before the answer, applied once whatever is repeated.
//!
//! ```text
//!   request ──► checked ──► store (key, transfer, receipt, outbox row: one transaction) ──► answer
//!      │                    and, where the meter keeps a wallet, the credit that goes there
//!      │                       ▲ runs to its end even if the client goes away
//!      └── same key again ─────┘ 200, the same body, Idempotent-Replayed: true
//! ```
//!
//! A debt of before the meter kept the credit is paid by a request of its own with `"pays": "debt"`: that money stays in the
//! ledger. Any other payment goes into the meter whole, as the tenant's receipt says.
//!
//! | answer | when |
//! |---|---|
//! | 201 | credited now |
//! | 200 `Idempotent-Replayed: true` | this key was credited before |
//! | 200 `Already-Credited: true` | the channel's transaction was credited before under another key |
//! | 422 | the key belongs to another request |
//! | 404 | unknown service point |
//! | 409 | `"pays": "debt"`, and so much is not owed |
//! | 400, 401, 403 | not a valid request, not a valid token, not permitted |
//! | 503, 504 with `Retry-After` | not known to be durable: repeat it unchanged |

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use guanjia_core::ledger::{Keeper, Receipt, TopUpOutcome, TopUpRequest};
use guanjia_core::units::Fen;
use guanjia_field::now;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::http::problem::{Code, Problem};
use crate::http::{Web, access, detached};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::site::{Permission, ServicePoint};

/// The longest idempotency key and channel transaction.
const KEY_MAX: usize = 128;
/// The longest name of a payment channel.
const CHANNEL_MAX: usize = 32;

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    service_point: String,
    /// Text, because a JSON number becomes a float on its way through most programs.
    amount: String,
    channel: String,
    #[serde(default)]
    channel_transaction: Option<String>,
    #[serde(default)]
    pays: Option<Pays>,
}

/// What a payment is for, if not for what is used next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pays {
    /// What is owed in the ledger although the meter keeps the credit.
    Debt,
}

/// Credits a wallet.
pub async fn post(State(web): State<Web>, headers: HeaderMap, bytes: Result<Bytes, BytesRejection>) -> Response {
    credit(&web, &headers, bytes).await.unwrap_or_else(IntoResponse::into_response)
}

/// The answer that was given under a key.
pub async fn get(State(web): State<Web>, headers: HeaderMap, Path(key): Path<String>) -> Result<Json<Value>, Problem> {
    let live = web.live();
    let client = access::client(&live.site, &headers, Permission::TopUp)?;
    let receipt = live.store.top_up_by_key(&client.name, &key).await?;
    let receipt = receipt.ok_or_else(|| {
        Problem::new(Code::NotFound, "nothing was credited under this key; the request may be sent (again) with it")
    })?;
    Ok(Json(receipt_json(&receipt)))
}

async fn credit(web: &Web, headers: &HeaderMap, bytes: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let live = web.live();
    let client = access::client(&live.site, headers, Permission::TopUp)?;
    let place = Arc::clone(&web.shared.top_ups)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Code::Unavailable, "too many top-ups at once"))?;
    let body: Body = super::body(bytes)?;
    let pays = body.pays;
    let request = request(client.name.to_string(), headers, body)?;
    let metrics = Arc::clone(&web.app.metrics);
    detached(async move {
        let answer = apply(&live, &metrics, request, pays).await;
        drop(place);
        answer
    })
    .await?
}

/// The request as the ledger knows it.
fn request(client: String, headers: &HeaderMap, body: Body) -> Result<TopUpRequest, Problem> {
    let bad = |detail: String| Problem::new(Code::BadRequest, detail);
    let visible =
        |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.to_str().unwrap_or_default(),
        _ => return Err(bad("send exactly one header Idempotency-Key, the same for every repetition".to_owned())),
    };
    if !visible(key, KEY_MAX) {
        return Err(bad(format!("Idempotency-Key must be 1 to {KEY_MAX} visible ASCII characters")));
    }
    let amount: Fen = body.amount.parse().map_err(|error| bad(format!("amount: {error}")))?;
    if !visible(&body.channel, CHANNEL_MAX) {
        return Err(bad(format!("channel must be 1 to {CHANNEL_MAX} visible ASCII characters, such as cashier")));
    }
    if body.channel_transaction.as_deref().is_some_and(|txn| !visible(txn, KEY_MAX)) {
        return Err(bad(format!("channel_transaction must be 1 to {KEY_MAX} visible ASCII characters, or absent")));
    }
    Ok(TopUpRequest {
        client,
        key: key.to_owned(),
        service_point: body.service_point,
        amount,
        channel: body.channel,
        channel_txn: body.channel_transaction,
        at: now(),
    })
}

/// Lets the store decide, and tells the supply side at once.
async fn apply(live: &Live, metrics: &Metrics, request: TopUpRequest, pays: Option<Pays>) -> Result<Response, Problem> {
    let point = live.site.service_points.iter().find(|p| *p.id == *request.service_point);
    let unknown = || Problem::new(Code::NotFound, format!("there is no service point {:?}", request.service_point));
    // A wallet may outlive its service point's entry in the site file. Nothing new is credited to it, but whoever
    // repeats an old request gets the old answer.
    let is_new = async || live.store.top_up_by_key(&request.client, &request.key).await.map(|known| known.is_none());
    if point.is_none() && is_new().await? {
        return Err(unknown());
    }
    let keeper = point.map_or(Keeper::Ledger, ServicePoint::keeper);
    if pays == Some(Pays::Debt) && is_new().await? {
        check_owed(live, keeper, &request).await?;
    }
    let outcome = match (keeper, pays) {
        (Keeper::Meter, None) => live.store.top_up_meter(request.clone()).await?,
        (Keeper::Meter, Some(Pays::Debt)) | (Keeper::Ledger, _) => live.store.top_up(request.clone()).await?,
    };
    match outcome {
        TopUpOutcome::Applied(receipt) => {
            live.prepaid.notify_one();
            live.credits.notify_one();
            if let Some(point) = point {
                metrics.top_up(point.utility, &receipt.channel, receipt.amount);
            }
            info!(service_point = %receipt.service_point, amount = %receipt.amount, receipt = receipt.number, "top-up credited");
            Ok((StatusCode::CREATED, Json(receipt_json(&receipt))).into_response())
        }
        TopUpOutcome::Replayed(receipt) => Ok(again("idempotent-replayed", &receipt)),
        TopUpOutcome::AlreadyCredited(receipt) => Ok(again("already-credited", &receipt)),
        TopUpOutcome::KeyReused => {
            warn!(client = %request.client, "idempotency key used for two different top-ups");
            Err(Problem::new(Code::KeyReused, "use a new key for a new request; nothing was credited"))
        }
        TopUpOutcome::UnknownServicePoint => Err(unknown()),
    }
}

/// No more than what is owed is taken for it. Should two tills take it in the same moment, what is too much goes into the meter
/// at the next start, as everything does that the ledger's wallet holds.
async fn check_owed(live: &Live, keeper: Keeper, request: &TopUpRequest) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::new(Code::Conflict, format!("{detail}; nothing was credited")));
    if keeper == Keeper::Ledger {
        return refused("the ledger keeps this balance, and every top-up pays its debt: leave out `pays`".to_owned());
    }
    let debts = live.store.debts().await?;
    match debts.into_iter().find(|(id, _)| *id == request.service_point) {
        Some((_, owed)) if request.amount <= owed => Ok(()),
        Some((_, owed)) => {
            refused(format!("{owed} is owed: take that for the debt, and the rest as a top-up without `pays`"))
        }
        None => refused("nothing is owed beside the meter: leave out `pays`".to_owned()),
    }
}

/// The answer to something that was credited before.
fn again(why: &'static str, receipt: &Receipt) -> Response {
    let header = [(HeaderName::from_static(why), HeaderValue::from_static("true"))];
    (StatusCode::OK, header, Json(receipt_json(receipt))).into_response()
}

/// A receipt; the same text whenever it is asked for.
fn receipt_json(receipt: &Receipt) -> Value {
    json!({
        "receipt": receipt.number,
        "transfer": receipt.transfer,
        "service_point": receipt.service_point,
        "amount": receipt.amount.to_string(),
        "balance": receipt.balance.to_string(),
        "channel": receipt.channel,
        "at": receipt.at.to_string(),
    })
}
