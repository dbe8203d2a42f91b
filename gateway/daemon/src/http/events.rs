//! `/events`: a page's slots, sent again whenever they change.
//!
//! ```text
//!   watches (values, alarms, supplies, configuration) ─┐
//!   every 5 s, for ages and store-backed parts ────────┼─► render the view ─► slots that differ ─► the browser
//!   at most once a second ─────────────────────────────┘
//! ```
//!
//! The first round sends every slot, so a browser that was away (the extension reconnects by itself) is right again at
//! once; there is nothing to replay. A stream ends when the program stops, when the browser goes, and after an hour:
//! then the browser comes back and its session is looked at anew.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use guanjia_core::text::Lang;
use guanjia_field::now;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::http::Web;
use crate::http::console::{Ctx, View};
use crate::http::language;
use crate::http::problem::{Code, Problem};
use crate::live::Live;

/// The least time between two rounds.
const THROTTLE: Duration = Duration::from_secs(1);
/// The longest time between two rounds: ages grow even when nothing happens.
const REFRESH: Duration = Duration::from_secs(5);
/// How long a stream lives before the browser has to ask again.
const STREAM_MAX: Duration = Duration::from_secs(3600);
/// Events that may wait for a slow browser; a round waits until there is room, so nothing piles up.
const QUEUE: usize = 4;

/// Which page, in which language.
#[derive(Deserialize)]
pub struct Asked {
    page: String,
    #[serde(default)]
    lang: Option<String>,
}

/// The event stream of one page.
pub async fn stream(State(web): State<Web>, headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    let live = web.live();
    if !web.shared.sessions.admits(&live.site, &headers, Instant::now()) {
        return Problem::new(Code::Forbidden, "sign in to the console first").into_response();
    }
    let Some(view) = asked.page.parse::<Uri>().ok().and_then(|uri| View::at(&uri)) else {
        return Problem::new(Code::NotFound, "there is no such page").into_response();
    };
    let Ok(place) = Arc::clone(&web.shared.streams).try_acquire_owned() else {
        return Problem::new(Code::Unavailable, "too many open pages; this one reloads by hand").into_response();
    };
    let lang = language::of_reader(asked.lang.as_deref(), &headers, live.site.lang);
    let (events, queue) = mpsc::channel::<Result<Event, Infallible>>(QUEUE);
    tokio::spawn(async move {
        let stop = web.app.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(STREAM_MAX) => {}
            () = events.closed() => {}
            () = feed(&web, &view, lang, &events) => {}
        }
        drop(place);
    });
    Sse::new(ReceiverStream::new(queue)).keep_alive(KeepAlive::default()).into_response()
}

/// Sends what changed, round after round, until the browser is gone.
async fn feed(web: &Web, view: &View, lang: Lang, events: &mpsc::Sender<Result<Event, Infallible>>) {
    let mut sent: HashMap<&'static str, String> = HashMap::new();
    loop {
        let live = web.live();
        let changes = Changes::of(web, &live);
        let ctx = Ctx { lang, live, now: now() };
        // A page that cannot be made now keeps what it shows, with its ages, and is tried again.
        if let Ok(Some(page)) = view.render(&ctx).await {
            for (slot, markup) in [("head", page.head), ("form", page.form), ("body", page.body)] {
                let html = markup.into_string();
                if sent.get(slot) == Some(&html) {
                    continue;
                }
                if events.send(Ok(Event::default().event(slot).data(&html))).await.is_err() {
                    return;
                }
                sent.insert(slot, html);
            }
        }
        tokio::time::sleep(THROTTLE).await;
        // Whatever changed during the sleep is seen by the watches already.
        let _ = tokio::time::timeout(REFRESH - THROTTLE, changes.any()).await;
    }
}

/// The watches of one configuration, taken before its page is made so that no change falls between.
struct Changes {
    live: tokio::sync::watch::Receiver<Arc<Live>>,
    values: tokio::sync::watch::Receiver<u64>,
    alarms: tokio::sync::watch::Receiver<Arc<crate::live::AlarmBoard>>,
    supplies: tokio::sync::watch::Receiver<Arc<Vec<crate::live::SupplyView>>>,
}

impl Changes {
    fn of(web: &Web, live: &Live) -> Self {
        let mut configuration = web.app.live.clone();
        configuration.mark_unchanged();
        Self {
            live: configuration,
            values: live.latest.watch(),
            alarms: live.alarms.watch(),
            supplies: live.supplies.watch(),
        }
    }

    /// Waits until anything changed. A watch whose sender is gone never changes again; the refresh covers it.
    async fn any(mut self) {
        tokio::select! {
            Ok(()) = self.live.changed() => {}
            Ok(()) = self.values.changed() => {}
            Ok(()) = self.alarms.changed() => {}
            Ok(()) = self.supplies.changed() => {}
            else => std::future::pending().await,
        }
    }
}
