//! `/a/{token}`: the link in a page. Looking shows the incident, pressing the button accepts it.
//!
//! Mail and chat programs fetch links to show previews, so GET and HEAD change nothing. The token is 128 random bits
//! that only the paged person's channel has seen; it speaks for that person and for that incident alone.
//!
//! ```text
//!   valid ──button──► accepted, or: accepted already by ..., or: closed (never opened again)
//!   unknown, expired ──► a page that says so and what to do
//! ```

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use guanjia_core::incident::{IncidentRecord, IncidentState, PageRecord};
use guanjia_core::time::Timestamp;
use guanjia_store::StoreError;
use maud::{Markup, html};

use crate::http::console::{self, Ctx};
use crate::http::text;
use crate::http::{Web, ask_desk, detached};
use crate::live::{DeskCommand, DeskRefusal};

/// How long a link lives after its page was due; longer if the page itself is worth sending longer.
const LINK_MAX: Duration = Duration::from_secs(2 * 3600);
/// The longest token that is looked up.
const TOKEN_MAX: usize = 128;

/// What a token leads to.
enum Found {
    Page(Box<(PageRecord, IncidentRecord)>),
    Expired,
    Unknown,
}

/// Shows the incident and the button.
pub async fn show(State(web): State<Web>, uri: Uri, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let (ctx, remember) = console::reader(&web.live(), &uri, &headers);
    let mut response = match find(&ctx, &token).await {
        Ok(Found::Page(found)) => {
            let (page, incident) = *found;
            card(&ctx, &uri, &incident, &page, None).into_response()
        }
        Ok(other) => nothing(&ctx, &uri, &other),
        Err(_) => unavailable(&ctx, &uri),
    };
    if let Some(cookie) = remember {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    no_robots(response)
}

/// Accepts the incident in the name of the person who was paged.
pub async fn accept(State(web): State<Web>, uri: Uri, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let live = web.live();
    let (ctx, _) = console::reader(&live, &uri, &headers);
    let (page, incident) = match find(&ctx, &token).await {
        Ok(Found::Page(found)) => *found,
        Ok(other) => return no_robots(nothing(&ctx, &uri, &other)),
        Err(_) => return no_robots(unavailable(&ctx, &uri)),
    };
    let (id, who) = (incident.id, page.person.clone());
    let asked = detached(async move {
        ask_desk(&live, |reply| DeskCommand::AckIncident { incident: id, who, via: "link", reply }).await
    });
    let (status, said) = match asked.await {
        Ok(Ok(())) => (StatusCode::OK, ctx.t(text::DONE_ACCEPTED).to_owned()),
        // Pressing twice is no mistake: the incident is accepted, which is what was wanted.
        Ok(Err(DeskRefusal::AlreadyAcknowledged { by })) => {
            (StatusCode::OK, ctx.t(text::ALREADY_ACCEPTED).replace("{who}", ctx.person(&by)))
        }
        Ok(Err(DeskRefusal::Closed | DeskRefusal::Unknown)) => (StatusCode::OK, ctx.t(text::IS_CLOSED).to_owned()),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, ctx.t(text::NOT_WRITTEN).to_owned()),
    };
    // What the card shows must be what is true after the order.
    let incident = match ctx.live.store.incident(id).await {
        Ok(Some(after)) => after,
        Ok(None) | Err(_) => incident,
    };
    no_robots((status, card(&ctx, &uri, &incident, &page, Some(&said))).into_response())
}

/// Looks a token up.
async fn find(ctx: &Ctx, token: &str) -> Result<Found, StoreError> {
    if token.len() > TOKEN_MAX || !token.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(Found::Unknown);
    }
    let Some(page) = ctx.live.store.page_by_token(token).await? else { return Ok(Found::Unknown) };
    let Some(id) = page.incident else { return Ok(Found::Unknown) };
    if is_expired(&page, ctx.now) {
        return Ok(Found::Expired);
    }
    let Some(incident) = ctx.live.store.incident(id).await? else { return Ok(Found::Unknown) };
    Ok(Found::Page(Box::new((page, incident))))
}

fn is_expired(page: &PageRecord, now: Timestamp) -> bool {
    now > page.expires_at.max(page.not_before + LINK_MAX)
}

/// The incident and what can be done about it, for a phone in somebody's hand.
fn card(ctx: &Ctx, uri: &Uri, incident: &IncidentRecord, page: &PageRecord, said: Option<&str>) -> Markup {
    let body = html! {
        main.door.wide {
            @if let Some(said) = said { p.said role="status" { (said) } }
            (console::priority(ctx, incident))
            h1 { (incident.title.get(ctx.lang)) }
            p.faint { (ctx.t(text::LINK_FOR).replace("{who}", ctx.person(&page.person))) }
            (console::facts(ctx, incident))
            @match incident.state {
                IncidentState::Open => {
                    form method="post" action=(uri.path()) {
                        p.faint { (ctx.t(text::ACK_HINT)) }
                        button.primary type="submit" { (text::ACKNOWLEDGE.0) " · " (text::ACKNOWLEDGE.1) }
                    }
                }
                IncidentState::Acknowledged => { p { (ctx.t(text::ALREADY_ACCEPTED).replace("{who}", accepted_by(ctx, incident))) } }
                IncidentState::Closed => { p { (ctx.t(text::IS_CLOSED)) } }
            }
            (console::plan_steps(ctx, incident))
            (console::other_language(ctx, uri))
        }
    };
    console::document(ctx, ctx.t(text::LINK_TITLE), &body)
}

fn accepted_by<'a>(ctx: &'a Ctx, incident: &'a IncidentRecord) -> &'a str {
    incident.acked_by.as_deref().map_or("—", |who| ctx.person(who))
}

/// The link leads nowhere; both languages, because who holds it may read either.
fn nothing(ctx: &Ctx, uri: &Uri, found: &Found) -> Response {
    let (status, title, hint) = match found {
        Found::Expired => (StatusCode::GONE, text::LINK_EXPIRED, text::LINK_EXPIRED_HINT),
        _ => (StatusCode::NOT_FOUND, text::LINK_UNKNOWN, text::LINK_UNKNOWN_HINT),
    };
    (status, plain(ctx, uri, title, hint)).into_response()
}

fn unavailable(ctx: &Ctx, uri: &Uri) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, plain(ctx, uri, text::UNAVAILABLE, text::UNAVAILABLE_HINT)).into_response()
}

fn plain(ctx: &Ctx, uri: &Uri, title: text::T, hint: text::T) -> Markup {
    let body = html! {
        main.door {
            h1 { (ctx.t(title)) }
            p { (ctx.t(hint)) }
            (console::other_language(ctx, uri))
        }
    };
    console::document(ctx, ctx.t(title), &body)
}

fn no_robots(mut response: Response) -> Response {
    response.headers_mut().insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}
