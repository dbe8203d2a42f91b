//! What is done to every request before and after its handler.

use std::any::Any;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::problem::{Code, Problem};
use crate::http::{Web, access};
use crate::site::ConsoleAccess;

/// How long a handler may take, the body's arrival included. Event streams answer at once and then go on.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// No scripts but our own files, no frames, no foreign anything.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Refuses what must not reach a handler, bounds its time, and adds the headers that keep browsers careful.
pub async fn guard(State(web): State<Web>, request: Request, next: Next) -> Response {
    let is_link = request.uri().path().starts_with("/a/");
    let mut response = match refusal(&web, &request, is_link) {
        Some(problem) => problem.into_response(),
        None => match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(Code::TimedOut, "the gateway is overloaded or its disk hangs").into_response(),
        },
    };
    // A link's token must not leak to wherever a reader goes next. Elsewhere `no-referrer` would make browsers send
    // `Origin: null` with our own forms, which then look foreign.
    let referrer = if is_link { "no-referrer" } else { "same-origin" };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, referrer),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What a page shows was true a moment ago; only the static files, which say so themselves, may be kept.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why the request is not let through, if it is not.
fn refusal(web: &Web, request: &Request, is_link: bool) -> Option<Problem> {
    let live = web.live();
    let headers = request.headers();
    if access::bearer(headers).is_some() {
        return None;
    }
    let open = matches!(live.site.http.console, ConsoleAccess::Open);
    if open && !access::host_is_ours(headers, &live.public_url) {
        return Some(Problem::new(
            Code::CrossOrigin,
            "open the console by its address or by localhost, or name it as public_url in the site file",
        ));
    }
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // Whoever has a link's token may use it from anywhere: from a mail, from a notification's button.
    if only_looks || is_link || access::same_origin(headers, &live.public_url) {
        return None;
    }
    if request.uri().path().starts_with("/api/") {
        return Some(Problem::new(Code::Unauthorized, "send the header Authorization: Bearer <token>"));
    }
    Some(Problem::new(Code::CrossOrigin, "send the form from the gateway's own page"))
}

/// The answer to a defect: the details are in the log, not in the answer.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request ended in a defect");
    Problem::new(Code::Internal, "look into the gateway's log").into_response()
}
