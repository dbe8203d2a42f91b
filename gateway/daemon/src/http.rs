//! The web side: API, console, acknowledgement links, metrics, health.
//!
//! ```text
//!   TCP ─► Doors (at most CONNECTIONS_MAX, idle ones closed) ─► deadline ─► guard (headers, origin, host) ─┬─► /api/v1
//!                                                                                                        ├─► console, /events
//!                                                                                                        ├─► /a/{token}
//!                                                                                                        └─► /metrics, /healthz, /readyz
//! ```
//!
//! * It only looks and asks. What is true comes from [`Live`], what shall change goes to the store or to the desk, and
//!   the answer is sent after the change is durable. A client that goes away cancels nothing.
//! * Every list, body, stream and wait has a limit, each a constant here or beside its use.
//! * A reload of the configuration replaces [`Live`]; each request takes the one of its moment and keeps it.
//! * The end: `stop` ends the event streams at once, running requests get [`DRAIN_MAX`].
//!
//! What a power cut may cost: the sessions of the console (people sign in again), and answers that were under way;
//! a top-up that was not answered is repeated with the same key.

mod access;
mod ack;
mod api;
mod assets;
mod console;
mod doors;
mod events;
mod guard;
mod health;
mod language;
mod problem;
#[cfg(test)]
mod tests;
mod text;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use guanjia_core::credit::Finding;
use guanjia_store::{ClosePermit, CreditDecision, StoreError};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{info, warn};

use crate::live::{DeskCommand, DeskRefusal, Live};
use crate::metrics::{Metrics, Points};
use crate::prepaid::relay::CLOSE_PERMIT;

/// The largest request body; the largest that is needed is a few hundred bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long running requests may take to finish once the program stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Top-ups under way at once; each waits for one group commit.
const TOP_UPS_MAX: usize = 256;
/// Event streams at once: phones and screens that look at the console.
const STREAMS_MAX: usize = 64;
/// How long a person or a program waits for the desk before being told to ask again.
const DESK_PATIENCE: Duration = Duration::from_secs(5);
/// Prometheus' text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What the web side is given. It outlives reloads of the configuration; each reload replaces what `live` holds.
#[derive(Clone)]
pub struct App {
    /// The site that runs now.
    pub live: watch::Receiver<Arc<Live>>,
    /// Counters, which keep counting over reloads.
    pub metrics: Arc<Metrics>,
    /// Ends the server and every event stream.
    pub stop: CancellationToken,
}

/// What every handler can reach.
#[derive(Clone)]
struct Web {
    app: App,
    shared: Arc<Shared>,
}

/// What lasts as long as the server.
struct Shared {
    sessions: access::Sessions,
    top_ups: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Web {
    fn new(app: App) -> Self {
        let shared = Shared {
            sessions: access::Sessions::default(),
            top_ups: Arc::new(Semaphore::new(TOP_UPS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        };
        Self { app, shared: Arc::new(shared) }
    }

    /// The configuration of this moment.
    fn live(&self) -> Arc<Live> {
        self.app.live.borrow().clone()
    }
}

/// Serves until `app.stop`, then lets running requests finish within [`DRAIN_MAX`].
///
/// # Errors
/// When the listener cannot be asked for its address.
pub async fn serve(app: App, listener: TcpListener) -> io::Result<()> {
    let stop = app.stop.clone();
    info!(address = %listener.local_addr()?, "web side listening");
    let service = router(Web::new(app)).into_make_service_with_connect_info::<doors::ClientAddr>();
    let serving =
        axum::serve(doors::Doors::new(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = drained => {
            warn!(drain_max = ?DRAIN_MAX, "requests still running were left behind");
            Ok(())
        }
    }
}

/// Every route.
fn router(web: Web) -> Router {
    Router::new()
        .nest("/api/v1", api::routes())
        .merge(console::routes())
        .route("/events", get(events::stream))
        .route("/a/{token}", get(ack::show).post(ack::accept))
        .route("/metrics", get(metrics))
        .route("/metrics/points", get(points))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/static/{file}", get(assets::serve))
        .fallback(console::not_found)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(axum::middleware::from_fn_with_state(web.clone(), guard::guard))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .with_state(web)
}

/// The page Prometheus reads. It is made beside the threads that serve the lines: a large site's takes milliseconds.
async fn metrics(State(web): State<Web>) -> Response {
    let making = tokio::task::spawn_blocking(move || crate::metrics::render(&web.app.metrics, &web.live()));
    match making.await {
        Ok(pieces) => page_of(pieces.into_iter()),
        Err(_) => problem::Problem::new(problem::Code::Internal, "the metrics ended in a defect; look into the log")
            .into_response(),
    }
}

/// Which points are wanted.
#[derive(serde::Deserialize)]
struct Wanted {
    system: Option<String>,
}

/// Every point, written while it is sent.
async fn points(State(web): State<Web>, Query(wanted): Query<Wanted>) -> Response {
    page_of(Points::new(web.live(), wanted.system))
}

/// A text of metrics that is sent piece by piece.
fn page_of(pieces: impl Iterator<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(tokio_stream::iter(pieces.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, METRICS_TYPE)], body).into_response()
}

/// Asks the desk for a change and waits until it is durable or refused. Runs to its end even if the caller goes away.
async fn ask_desk(
    live: &Live,
    command: impl FnOnce(oneshot::Sender<Result<(), DeskRefusal>>) -> DeskCommand,
) -> Result<(), DeskRefusal> {
    let (reply, answer) = oneshot::channel();
    let gone = |_| DeskRefusal::Store("the task that decides about incidents does not answer".to_owned());
    live.desk.send_timeout(command(reply), DESK_PATIENCE).await.map_err(|_| gone(()))?;
    match tokio::time::timeout(DESK_PATIENCE, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(gone(())),
    }
}

/// Writes down that the paid supply of a service point may come back, and pokes whoever brings it back.
async fn permit_close(live: &Live, id: &str, who: String, via: &'static str) -> Result<(), DeskRefusal> {
    if !live.site.service_points.iter().any(|point| *point.id == *id) {
        return Err(DeskRefusal::Unknown);
    }
    let views = live.supplies.get();
    if !views.iter().any(|view| *view.service_point == *id && view.waits_for == Some(CLOSE_PERMIT)) {
        return Err(DeskRefusal::NotWaiting);
    }
    let permit = ClosePermit { service_point: id.to_owned(), at: guanjia_field::now(), who, via: via.to_owned() };
    live.store.permit_close(permit).await.map_err(|failure| DeskRefusal::Store(failure.to_string()))?;
    live.prepaid.notify_one();
    Ok(())
}

/// Writes down what a person has found out about a top-up that waits for one, and pokes whoever clears the alarm.
async fn settle_credit(
    live: &Live,
    id: &str,
    receipt: i64,
    (finding, reason): (Finding, String),
    who: String,
    via: &'static str,
) -> Result<(), DeskRefusal> {
    let unavailable = |failure: StoreError| DeskRefusal::Store(failure.to_string());
    let credit = live.store.credit(receipt).await.map_err(unavailable)?;
    if credit.is_none_or(|credit| credit.service_point != id) {
        return Err(DeskRefusal::Unknown);
    }
    let (via, at) = (via.to_owned(), guanjia_field::now());
    let decision = CreditDecision { receipt, finding, who, via, reason, at };
    live.store.decide_credit(decision).await.map_err(|failure| match failure {
        StoreError::Conflict(why) => DeskRefusal::NoCreditWaits(why),
        StoreError::Invalid(why) => DeskRefusal::NoReason(why),
        failure => unavailable(failure),
    })?;
    live.credits.notify_one();
    Ok(())
}

/// Runs work to its end whether or not the client stays, and answers with what came of it.
async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, problem::Problem> {
    tokio::spawn(work).await.map_err(|_| {
        problem::Problem::new(problem::Code::Internal, "the work ended in a defect; look into the gateway's log")
    })
}
