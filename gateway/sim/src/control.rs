//! The control of the building over HTTP, on loopback only: what [`crate::Building`] offers typed, for the command line.
//!
//! ```text
//!  GET  /stories                        one line per story          GET  /state          the truth as JSON
//!  POST /story/{name}[?target=x]        start                       GET  /registers/{device}
//!  POST /story/{name}/clear             end                         POST /register       force or free a register
//!  POST /reset                          end all, mend all           POST /load /counter /detector /call-point /time
//!  POST /fault                          break or mend one thing     GET  /inventory
//!  GET  /pages                          the duty phones' pages      GET  /payments
//!  POST /acknowledge/{person}           like a person               POST /pay   POST /payments/{transaction}/settle
//!  POST /person/{person}                how a phone behaves
//! ```
//!
//! Bodies are JSON; an order that cannot be carried out is answered 400 with the reason in words.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::SimError;
use crate::building::Inner;
use crate::fault::Fault;
use crate::payment::{PayMode, Payment};
use crate::phone::{Page, Person};
use crate::registers::Table;
use crate::story::Story;
use crate::world::panel::Detector;

type Shared = State<Arc<Inner>>;
type Done = Result<Json<Value>, SimError>;

impl IntoResponse for SimError {
    fn into_response(self) -> Response {
        let status =
            if matches!(self, Self::Acknowledge { .. }) { StatusCode::BAD_GATEWAY } else { StatusCode::BAD_REQUEST };
        (status, format!("{self}\n")).into_response()
    }
}

pub(crate) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let stop = inner.stop().clone();
    let router = Router::new()
        .route("/stories", get(stories))
        .route("/story/{name}", post(start))
        .route("/story/{name}/clear", post(clear))
        .route("/reset", post(reset))
        .route("/state", get(state))
        .route("/inventory", get(inventory))
        .route("/registers/{device}", get(registers))
        .route("/register", post(register))
        .route("/load", post(load))
        .route("/counter", post(counter))
        .route("/detector", post(detector))
        .route("/call-point", post(call_point))
        .route("/time", post(time))
        .route("/fault", post(fault))
        .route("/pages", get(pages))
        .route("/person/{person}", post(person))
        .route("/acknowledge/{person}", post(acknowledge))
        .route("/pay", post(pay))
        .route("/payments", get(payments))
        .route("/payments/{transaction}/settle", post(settle))
        .layer(from_fn(only_programs))
        .with_state(inner);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::warn!(%error, "control has ended");
    }
}

/// A page in some browser on this machine must not be able to start a fire alarm.
async fn only_programs(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "not from a browser\n").into_response();
    }
    next.run(request).await
}

async fn stories(State(inner): Shared) -> String {
    let running = inner.running();
    let mut text = String::new();
    for story in Story::ALL {
        let names = story.description();
        let now = running.iter().find(|running| running.story == story);
        let now = now.map(|running| format!("  [{}: {}]", running.target, running.phase)).unwrap_or_default();
        text.push_str(&format!("{:<20} {}\n{:<20} {}{now}\n", story.name(), names.en, "", names.zh));
    }
    text
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    target: Option<String>,
}

async fn start(
    State(inner): Shared,
    Path(name): Path<String>,
    Query(query): Query<Target>,
) -> Result<String, SimError> {
    let running = inner.start_story(Story::from_name(&name)?, query.target.as_deref())?;
    Ok(format!("{name}: started at {}; end it with --clear\n", running.target))
}

async fn clear(State(inner): Shared, Path(name): Path<String>) -> Result<String, SimError> {
    inner.clear_story(Story::from_name(&name)?)?;
    Ok(format!("{name}: cleared\n"))
}

async fn reset(State(inner): Shared) -> &'static str {
    inner.reset();
    "all stories ended, everything mended\n"
}

async fn state(State(inner): Shared) -> Json<crate::Truth> {
    Json(inner.truth())
}

async fn inventory() -> Json<Vec<crate::inventory::Device>> {
    Json(crate::inventory::devices())
}

async fn registers(State(inner): Shared, Path(device): Path<String>) -> Done {
    Ok(Json(json!(inner.registers(&device)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    device: String,
    table: Table,
    address: u16,
    value: Option<u16>,
}

async fn register(State(inner): Shared, Json(order): Json<Register>) -> Done {
    inner.set_register(&order.device, order.table, order.address, order.value)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    device: String,
    watts: Option<f64>,
}

async fn load(State(inner): Shared, Json(order): Json<Load>) -> Done {
    inner.set_load(&order.device, order.watts)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counter {
    device: String,
    value: u64,
}

async fn counter(State(inner): Shared, Json(order): Json<Counter>) -> Done {
    inner.set_counter(&order.device, order.value)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetDetector {
    number: u8,
    state: Detector,
}

async fn detector(State(inner): Shared, Json(order): Json<SetDetector>) -> Done {
    inner.set_detector(order.number, order.state)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCallPoint {
    zone: u8,
    state: Detector,
}

async fn call_point(State(inner): Shared, Json(order): Json<SetCallPoint>) -> Done {
    inner.set_call_point(order.zone, order.state)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    time_of_day_ms: u64,
}

async fn time(State(inner): Shared, Json(order): Json<Time>) -> Done {
    inner.set_time(Duration::from_millis(order.time_of_day_ms));
    done()
}

async fn fault(State(inner): Shared, Json(order): Json<Fault>) -> Done {
    inner.fault(&order)?;
    done()
}

async fn pages(State(inner): Shared) -> Json<Vec<Page>> {
    Json(inner.phone.pages())
}

async fn person(State(inner): Shared, Path(name): Path<String>, Json(order): Json<Person>) -> Done {
    inner.phone.set_person(&name, order);
    done()
}

async fn acknowledge(State(inner): Shared, Path(person): Path<String>) -> Result<String, SimError> {
    inner.phone.acknowledge(&person).await?;
    Ok(format!("{person}: acknowledged\n"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    service_point: String,
    amount: String,
    mode: PayMode,
}

async fn pay(State(inner): Shared, Json(order): Json<Pay>) -> Done {
    let transaction = inner.payments.pay(&order.service_point, &order.amount, order.mode)?;
    Ok(Json(json!({ "transaction": transaction })))
}

async fn payments(State(inner): Shared) -> Json<Vec<Payment>> {
    Json(inner.payments.payments())
}

async fn settle(State(inner): Shared, Path(transaction): Path<String>) -> Done {
    inner.payments.settle(&transaction)?;
    done()
}

fn done() -> Done {
    Ok(Json(json!({ "ok": true })))
}
