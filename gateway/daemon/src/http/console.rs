//! The console: what people look at, on a phone in a plant room or on a screen in the duty room.
//!
//! * Pages are made here and complete without JavaScript. With it, an event stream replaces the three slots of a page
//!   (`head`, `form`, `body`) when their content changes; see [`crate::http::events`].
//! * One [`View`] per address. A page and its event stream are made by the same function, so they cannot differ.
//! * State is told by a shape and a word, and coloured as well; never by colour alone.
//! * Every text comes from [`text`]; what the site file names comes in the reader's language too.

mod devices;
mod explain;
mod incidents;
mod lines;
mod orders;
mod overview;
mod parts;
mod plan;
mod shops;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use guanjia_core::incident::IncidentRecord;
use guanjia_core::text::Lang;
use guanjia_core::time::Timestamp;
use guanjia_field::now;
use guanjia_store::StoreError;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use crate::http::doors::ClientAddr;
use crate::http::language;
use crate::http::text::{self, T};
use crate::http::{Web, access, assets};
use crate::live::Live;
use crate::site::ConsoleAccess;

pub use incidents::facts;
pub use parts::Ctx;

/// Every page of the console.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(page))
        .route("/devices", get(page))
        .route("/devices/{id}", get(page))
        .route("/devices/{id}/points/{point}", get(page))
        .route("/lines", get(page))
        .route("/incidents", get(page))
        .route("/incidents/{id}", get(page))
        .route("/incidents/{id}/acknowledge", post(orders::acknowledge))
        .route("/incidents/{id}/close", post(orders::close))
        .route("/alarms/{device}/{alarm}/reset", post(orders::reset))
        .route("/shops", get(page))
        .route("/shops/{id}", get(page))
        .route("/shops/{id}/permit-close", post(orders::permit_close))
        .route("/shops/{id}/credits/{receipt}/settle", post(orders::settle_credit))
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-out", post(sign_out))
}

/// One page of the console, with what its address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// What needs attention, and what is used now.
    Overview,
    /// All devices, or those that match.
    Devices(devices::Filter),
    /// One device.
    Device(String),
    /// How one point came to its value.
    Point(String, String),
    /// All lines.
    Lines,
    /// All incidents and standing alarms.
    Incidents,
    /// One incident.
    Incident(Uuid),
    /// All shops.
    Shops,
    /// One service point of a shop.
    ServicePoint(String),
}

/// A page in its three parts.
pub struct Rendered {
    /// The title of the window.
    pub title: String,
    /// What comes first and changes.
    pub head: Markup,
    /// What a person fills in; replaced only when it changes itself.
    pub form: Markup,
    /// The rest, which changes.
    pub body: Markup,
}

impl View {
    /// The view at an address of the console.
    pub fn at(uri: &Uri) -> Option<View> {
        let mut path = uri.path().trim_matches('/').splitn(2, '/');
        let decoded = |text: &str| (!text.is_empty() && !text.contains('/')).then(|| text.to_owned());
        match (path.next()?, path.next()) {
            ("", None) => Some(View::Overview),
            ("devices", None) => Query::try_from_uri(uri).ok().map(|Query(filter)| View::Devices(filter)),
            ("devices", Some(rest)) => match rest.split_once("/points/") {
                None => decoded(rest).map(View::Device),
                Some((id, point)) => decoded(id).zip(decoded(point)).map(|(id, point)| View::Point(id, point)),
            },
            ("lines", None) => Some(View::Lines),
            ("incidents", None) => Some(View::Incidents),
            ("incidents", Some(id)) => Uuid::try_parse(id).ok().map(View::Incident),
            ("shops", None) => Some(View::Shops),
            ("shops", Some(id)) => decoded(id).map(View::ServicePoint),
            _ => None,
        }
    }

    /// Which entry of the navigation it belongs to.
    fn section(&self) -> &'static str {
        match self {
            View::Overview => "/",
            View::Devices(_) | View::Device(_) | View::Point(..) | View::Lines => "/devices",
            View::Incidents | View::Incident(_) => "/incidents",
            View::Shops | View::ServicePoint(_) => "/shops",
        }
    }

    /// The page as of now; `None` if there is no such thing.
    pub async fn render(&self, ctx: &Ctx) -> Result<Option<Rendered>, StoreError> {
        match self {
            View::Overview => overview::render(ctx).await.map(Some),
            View::Devices(filter) => Ok(Some(devices::list(ctx, filter))),
            View::Device(id) => Ok(devices::one(ctx, id)),
            View::Point(device, point) => Ok(explain::one(ctx, device, point)),
            View::Lines => Ok(Some(lines::list(ctx))),
            View::Incidents => incidents::list(ctx).await.map(Some),
            View::Incident(id) => incidents::one(ctx, *id).await,
            View::Shops => Ok(Some(shops::list(ctx))),
            View::ServicePoint(id) => shops::one(ctx, id).await,
        }
    }
}

/// A language asked for in the address.
#[derive(Default, Deserialize)]
pub struct Asked {
    /// `zh` or `en`.
    #[serde(default)]
    pub lang: Option<String>,
}

/// The reader of a request: what they may see, and in which language.
pub fn reader(live: &Arc<Live>, uri: &Uri, headers: &HeaderMap) -> (Ctx, Option<HeaderValue>) {
    let asked = Query::<Asked>::try_from_uri(uri).map(|Query(asked)| asked.lang).unwrap_or_default();
    let lang = language::of_reader(asked.as_deref(), headers, live.site.lang);
    let remember = asked.is_some().then(|| {
        let value = format!("{}={}; Path=/; SameSite=Lax; Max-Age=31536000", language::COOKIE, language::code(lang));
        HeaderValue::from_str(&value).ok()
    });
    (Ctx { lang, live: Arc::clone(live), now: now() }, remember.flatten())
}

/// Every page that shows a [`View`].
async fn page(State(web): State<Web>, uri: Uri, headers: HeaderMap) -> Response {
    let live = web.live();
    let (ctx, remember) = reader(&live, &uri, &headers);
    if !web.shared.sessions.admits(&live.site, &headers, Instant::now()) {
        return Redirect::to("/sign-in").into_response();
    }
    let mut response = match View::at(&uri) {
        None => missing(&ctx),
        Some(view) => match view.render(&ctx).await {
            Ok(Some(rendered)) => shell(&ctx, &uri, Some(&view), &rendered).into_response(),
            Ok(None) => missing(&ctx),
            Err(error) => broken(&ctx, &error),
        },
    };
    if let Some(cookie) = remember {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A path nobody knows.
pub async fn not_found(State(web): State<Web>, uri: Uri, headers: HeaderMap) -> Response {
    missing(&reader(&web.live(), &uri, &headers).0)
}

fn missing(ctx: &Ctx) -> Response {
    let page = notice(ctx, ctx.t(text::NOT_FOUND), ctx.t(text::NOT_FOUND_HINT), &html! {});
    (StatusCode::NOT_FOUND, page).into_response()
}

fn broken(ctx: &Ctx, error: &StoreError) -> Response {
    tracing::warn!(%error, "a page could not be made");
    let page = notice(ctx, ctx.t(text::UNAVAILABLE), ctx.t(text::UNAVAILABLE_HINT), &html! {});
    (StatusCode::SERVICE_UNAVAILABLE, page).into_response()
}

/// A page that says one thing.
pub fn notice(ctx: &Ctx, title: &str, hint: &str, more: &Markup) -> Markup {
    let rendered = Rendered {
        title: title.to_owned(),
        head: html! { section.notice { h1 { (title) } p { (hint) } (more) } },
        form: html! {},
        body: html! {},
    };
    shell(ctx, &Uri::from_static("/"), None, &rendered)
}

/// The frame around every page. Only a page with a view gets an event stream.
fn shell(ctx: &Ctx, uri: &Uri, view: Option<&View>, page: &Rendered) -> Markup {
    let stream = view.map(|_| {
        let address = uri.path_and_query().map_or("/", |p| p.as_str());
        format!("/events?lang={}&page={}", language::code(ctx.lang), percent(address))
    });
    document(
        ctx,
        &page.title,
        &html! {
            a.skip href="#main" { (ctx.t(text::SKIP)) }
            header.top {
                a.brand href="/" { span.seal aria-hidden="true" { "管" } span { (ctx.live.site.name.get(ctx.lang)) } }
                nav {
                    @for (path, label) in SECTIONS {
                        a href=(path) aria-current=[view.filter(|v| v.section() == path).map(|_| "page")] {
                            (ctx.t(label))
                        }
                    }
                }
                div.tools { (other_language(ctx, uri)) (sign_out_button(ctx)) }
            }
            @match stream {
                Some(url) => {
                    main #main hx-ext="sse" sse-connect=(url) {
                        div sse-swap="head" { (page.head) }
                        div sse-swap="form" { (page.form) }
                        div sse-swap="body" { (page.body) }
                    }
                }
                None => { main #main { (page.head) (page.form) (page.body) } }
            }
            footer { p { (ctx.t(text::READ_ONLY)) } }
        },
    )
}

/// The navigation.
const SECTIONS: [(&str, T); 4] =
    [("/", text::OVERVIEW), ("/incidents", text::INCIDENTS), ("/devices", text::DEVICES), ("/shops", text::SHOPS)];

/// The HTML document around a body.
pub fn document(ctx: &Ctx, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(ctx.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // htmx would otherwise add a style element and use eval, which the content security policy refuses.
                meta name="htmx-config" content=r#"{"includeIndicatorStyles":false,"allowEval":false}"#;
                title { (title) " · " (ctx.live.site.name.get(ctx.lang)) }
                link rel="stylesheet" href=(assets::STYLE.url);
                link rel="icon" href="data:,";
                script src=(assets::HTMX.url) defer {}
                script src=(assets::HTMX_SSE.url) defer {}
            }
            body { (body) }
        }
    }
}

/// The same page in the other language.
pub fn other_language(ctx: &Ctx, uri: &Uri) -> Markup {
    let other = if ctx.lang == Lang::Zh { Lang::En } else { Lang::Zh };
    let kept: String = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("lang="))
        .map(|pair| format!("{pair}&"))
        .collect();
    let address = format!("{}?{kept}lang={}", uri.path(), language::code(other));
    html! { a.tool href=(address) hreflang=(other.tag()) lang=(other.tag()) { (ctx.t(text::OTHER_LANGUAGE)) } }
}

fn sign_out_button(ctx: &Ctx) -> Markup {
    html! {
        @if matches!(ctx.live.site.http.console, ConsoleAccess::Password(_)) {
            form method="post" action="/sign-out" { button.tool type="submit" { (ctx.t(text::SIGN_OUT)) } }
        }
    }
}

/// Percent-encodes everything that could end or split a query value.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// The form in which the password is asked for.
async fn sign_in_page(State(web): State<Web>, uri: Uri, headers: HeaderMap) -> Response {
    let live = web.live();
    let (ctx, remember) = reader(&live, &uri, &headers);
    if web.shared.sessions.admits(&live.site, &headers, Instant::now()) {
        return Redirect::to("/").into_response();
    }
    let mut response = sign_in_form(&ctx, &uri, None).into_response();
    if let Some(cookie) = remember {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn sign_in_form(ctx: &Ctx, uri: &Uri, refusal: Option<T>) -> Markup {
    let body = html! {
        main.door {
            div.seal aria-hidden="true" { "管" }
            h1 { (ctx.live.site.name.get(ctx.lang)) }
            form method="post" action="/sign-in" {
                @if let Some(refusal) = refusal { p.refusal role="alert" { (ctx.t(refusal)) } }
                label for="password" { (ctx.t(text::PASSWORD)) }
                input #password type="password" name="password" autocomplete="current-password" required autofocus;
                button.primary type="submit" { (ctx.t(text::SIGN_IN)) }
            }
            (other_language(ctx, uri))
        }
    };
    document(ctx, ctx.t(text::SIGN_IN), &body)
}

#[derive(Deserialize)]
struct SignIn {
    password: String,
}

async fn sign_in(
    State(web): State<Web>,
    ConnectInfo(from): ConnectInfo<ClientAddr>,
    uri: Uri,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    let live = web.live();
    let (ctx, _) = reader(&live, &uri, &headers);
    let ConsoleAccess::Password(password) = &live.site.http.console else {
        return Redirect::to("/").into_response();
    };
    match web.shared.sessions.sign_in(password.expose(), &form.password, from.0.ip(), Instant::now()) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(refusal) => {
            tracing::warn!(from = %from.0.ip(), ?refusal, "console sign-in refused");
            let (status, why) = match refusal {
                access::SignInRefusal::Wrong => (StatusCode::UNAUTHORIZED, text::WRONG_PASSWORD),
                access::SignInRefusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, text::TOO_MANY_ATTEMPTS),
            };
            (status, sign_in_form(&ctx, &uri, Some(why))).into_response()
        }
    }
}

async fn sign_out(State(web): State<Web>, headers: HeaderMap) -> Response {
    let cookie = web.shared.sessions.sign_out(&headers);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response()
}

/// The priority of an incident, for the page behind a link.
pub fn priority(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    parts::priority(ctx, incident.priority)
}

/// The steps of an incident's plan, for the page behind a link.
pub fn plan_steps(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    plan::steps(ctx, &incident.plan)
}

/// How old a thing is, for people.
pub fn ago(ctx: &Ctx, at: Timestamp) -> String {
    let seconds = ctx.now.since(at).as_secs();
    let (text, n) = match seconds {
        0..=4 => return ctx.t(text::JUST_NOW).to_owned(),
        5..=89 => (text::SECONDS_AGO, seconds),
        90..=5_399 => (text::MINUTES_AGO, (seconds + 30) / 60),
        5_400..=172_799 => (text::HOURS_AGO, (seconds + 1_800) / 3_600),
        _ => (text::DAYS_AGO, seconds / 86_400),
    };
    ctx.t(text).replace("{n}", &n.to_string())
}
