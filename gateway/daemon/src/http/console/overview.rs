//! The first page: what needs a person, worst first; then how the house is doing.

use std::collections::BTreeMap;

use guanjia_core::incident::{IncidentRecord, IncidentState, PageState};
use guanjia_core::reading::PointIx;
use guanjia_core::units::Utility;
use guanjia_store::StoreError;
use maud::{Markup, html};

use super::parts::{Mark, chip, heading, mark, priority, when};
use super::{Ctx, Rendered, ago};
use crate::http::{health, text};
use crate::metrics::{account_state, to_base};

/// The lines of the list of what needs attention; what does not fit is behind the links of the navigation.
const ATTENTION_MAX: usize = 40;
/// The open incidents whose pages are looked at.
const PAGED_INCIDENTS_MAX: usize = 20;

/// One thing that needs a person.
struct Item {
    /// Worst first: smaller is worse.
    rank: u32,
    mark: Mark,
    word: String,
    what: String,
    detail: Markup,
    link: Option<String>,
}

/// The page.
pub async fn render(ctx: &Ctx) -> Result<Rendered, StoreError> {
    let mut items = Vec::new();
    incidents(ctx, &mut items);
    undelivered(ctx, &mut items).await?;
    problems(ctx, &mut items);
    silent(ctx, &mut items);
    supplies(ctx, &mut items);
    items.sort_by_key(|item| item.rank);
    let head = html! {
        (verdict(ctx, &items))
        @if !items.is_empty() {
            section {
                (heading(ctx.t(text::WORST_FIRST), Some(items.len())))
                ol.attention { @for item in items.iter().take(ATTENTION_MAX) { (line(item)) } }
            }
        }
    };
    let body = html! { (use_now(ctx)) (systems(ctx)) (accounts(ctx)) };
    Ok(Rendered { title: ctx.t(text::OVERVIEW).to_owned(), head, form: html! {}, body })
}

/// The one sentence a person in a hurry reads.
fn verdict(ctx: &Ctx, items: &[Item]) -> Markup {
    let worst = items.first().map_or(Mark::Good, |item| item.mark);
    let sentence = match items.len() {
        0 => ctx.t(text::ALL_QUIET).to_owned(),
        1 => ctx.t(text::ONE_NEEDS_YOU).to_owned(),
        n => ctx.t(text::MANY_NEED_YOU).replace("{n}", &n.to_string()),
    };
    html! {
        section class={ "verdict " (worst.class()) } {
            (mark(worst))
            div {
                h1 { (sentence) }
                @if items.is_empty() { p { (ctx.t(text::ALL_QUIET_DETAIL)) } }
                p.faint { (ctx.t(text::AS_OF)) " " (ctx.time(ctx.now)) }
            }
        }
    }
}

fn line(item: &Item) -> Markup {
    let content = html! {
        (chip(item.mark, &item.word))
        span.what { (item.what) }
        span.detail { (item.detail) }
    };
    html! { li { @match &item.link { Some(link) => { a href=(link) { (content) } } None => { div { (content) } } } } }
}

fn incidents(ctx: &Ctx, items: &mut Vec<Item>) {
    for incident in &ctx.live.alarms.get().incidents {
        if incident.state == IncidentState::Closed {
            continue;
        }
        let accepted = incident.state == IncidentState::Acknowledged;
        let rank = incident.priority as u32 * 10 + if accepted { 100 } else { 0 };
        let word = format!("{} {}", incident.priority.as_str(), ctx.word(incident.priority.as_str()));
        items.push(Item {
            rank,
            mark: Mark::of(incident.priority),
            word,
            what: incident.title.get(ctx.lang).to_owned(),
            detail: state_of(ctx, incident),
            link: Some(format!("/incidents/{}", incident.id)),
        });
    }
}

/// Who has it, or how long nobody has had it.
pub fn state_of(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    let word = match incident.state {
        IncidentState::Open => "open",
        IncidentState::Acknowledged => "acknowledged",
        IncidentState::Closed => "closed",
    };
    html! {
        (ctx.word(word))
        @if let Some(who) = &incident.acked_by { " · " (ctx.person(who)) }
        " · " (ago(ctx, incident.opened_at))
    }
}

/// Pages of open incidents that did not reach anybody.
async fn undelivered(ctx: &Ctx, items: &mut Vec<Item>) -> Result<(), StoreError> {
    let board = ctx.live.alarms.get();
    for incident in board.incidents.iter().take(PAGED_INCIDENTS_MAX) {
        for (page, status) in ctx.live.store.pages_of(incident.id).await? {
            if !matches!(status.state, PageState::Failed | PageState::Expired) {
                continue;
            }
            items.push(Item {
                rank: page.priority as u32 * 10 + 5,
                mark: Mark::Major,
                word: ctx.t(text::UNDELIVERED).to_owned(),
                what: format!("{} · {}", ctx.person(&page.person), page.channel),
                detail: html! { (status.last_error.as_deref().unwrap_or_default()) },
                link: Some(format!("/incidents/{}", incident.id)),
            });
        }
    }
    Ok(())
}

/// What the gateway itself is missing.
fn problems(ctx: &Ctx, items: &mut Vec<Item>) {
    for (what, problem) in health::problems(&ctx.live, ctx.now) {
        // The first seconds after a start need patience, not a person.
        let waiting = what == "first_round";
        items.push(Item {
            rank: if waiting { 200 } else { 6 },
            mark: if waiting { Mark::Info } else { Mark::Critical },
            word: ctx.t(text::PRODUCT).to_owned(),
            what: problem.get(ctx.lang).to_owned(),
            detail: html! {},
            link: None,
        });
    }
}

fn silent(ctx: &Ctx, items: &mut Vec<Item>) {
    use guanjia_core::reading::BadReason;
    for (device, status) in ctx.live.site.devices.iter().zip(ctx.live.latest.devices()) {
        let Some(why) = status.silent.filter(|why| *why != BadReason::NeverRead) else { continue };
        let class = device.profile.class;
        items.push(Item {
            rank: if class.is_read_only_for_ever() { 25 } else { 120 },
            mark: Mark::Off,
            word: ctx.word(why.as_str()),
            what: device.name.get(ctx.lang).to_owned(),
            detail: html! { (ctx.word(class.system())) " · " (device.floor) " · " (ago(ctx, status.since)) },
            link: Some(format!("/devices/{}", device.id)),
        });
    }
}

fn supplies(ctx: &Ctx, items: &mut Vec<Item>) {
    let (site, views) = (&ctx.live.site, ctx.live.supplies.get());
    for point in &site.service_points {
        let view = views.iter().find(|v| v.service_point == point.id);
        let (rank, mark, word) = match account_state(&point.kind, view) {
            "pending" if view.is_some() => (130, Mark::Info, "switching"),
            "cut" => (140, Mark::Off, "cut"),
            "warned" => (150, Mark::Minor, "warned"),
            _ => continue,
        };
        let balance = view.map(|v| super::shops::yuan(v.balance)).unwrap_or_default();
        items.push(Item {
            rank,
            mark,
            word: ctx.word(word),
            what: site.shops[point.shop].name.get(ctx.lang).to_owned(),
            detail: html! { (ctx.word(point.utility.as_str())) " · ¥ " (balance) },
            link: Some(format!("/shops/{}", point.id)),
        });
    }
}

/// The sum of what good meters of tenants say now; which of them are missing is said too.
fn use_now(ctx: &Ctx) -> Markup {
    let tiles: Vec<Markup> = [
        (Utility::Electricity, "guanjia_meter_active_power_watts", text::POWER_NOW, 1e-3, "kW"),
        (Utility::Water, "guanjia_meter_flow_cubic_meters_per_second", text::FLOW_NOW, 3600.0, "m³/h"),
    ]
    .into_iter()
    .filter_map(|(utility, metric, title, scale, unit)| {
        let (sum, fresh, meters) = sum_now(ctx, utility, metric);
        (meters > 0).then(|| {
            let of = ctx.t(text::FRESH_OF).replace("{a}", &fresh.to_string()).replace("{b}", &meters.to_string());
            html! {
                div.tile {
                    div.label { (ctx.t(title)) }
                    div.figure {
                        @if fresh == 0 { span.faint { "—" } } @else { (format!("{:.2}", sum * scale)) " " span.unit { (unit) } }
                    }
                    div.faint { (of) }
                }
            }
        })
    })
    .collect();
    html! {
        @if !tiles.is_empty() {
            section { (heading(ctx.t(text::SUPPLY_NOW), None)) div.tiles { @for tile in &tiles { (tile) } } }
        }
    }
}

/// The sum in base units, how many meters it is of, and how many there are.
fn sum_now(ctx: &Ctx, utility: Utility, metric: &str) -> (f64, usize, usize) {
    let site = &ctx.live.site;
    let mut devices: Vec<_> = site.service_points.iter().filter(|p| p.utility == utility).map(|p| p.device).collect();
    devices.sort_unstable();
    devices.dedup();
    let (mut sum, mut fresh, mut meters) = (0.0, 0, 0);
    for device in devices {
        let device = &site.devices[device.0 as usize];
        let found = device.profile.points.iter().position(|def| crate::metrics::metric_of(def) == Some(metric));
        let Some(offset) = found else { continue };
        meters += 1;
        let ix = PointIx(device.first_point.0 + u32::try_from(offset).unwrap_or(u32::MAX));
        let latest = ctx.live.latest.get(ix).filter(|latest| latest.quality.is_good());
        let value = latest.and_then(|latest| latest.value).and_then(|(value, _)| value.as_f64());
        if let Some(value) = value.and_then(|value| to_base(&device.profile.points[offset], value)) {
            sum += value;
            fresh += 1;
        }
    }
    (sum, fresh, meters)
}

fn systems(ctx: &Ctx) -> Markup {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (device, status) in ctx.live.site.devices.iter().zip(ctx.live.latest.devices()) {
        let (up, all) = counts.entry(device.profile.class.system()).or_default();
        *all += 1;
        *up += usize::from(status.silent.is_none());
    }
    html! {
        @if !counts.is_empty() {
            section {
                (heading(ctx.t(text::SYSTEMS), None))
                div.tiles {
                    @for system in crate::metrics::SYSTEMS {
                        @if let Some((up, all)) = counts.get(system) {
                            a.tile href={ "/devices?system=" (system) } {
                                div.label { (ctx.word(system)) }
                                div.figure { (mark(if up == all { Mark::Good } else { Mark::Off })) " " (up) "/" (all) }
                                div.faint {
                                    @if up == all { (ctx.word("answering")) } @else { (all - up) " " (ctx.word("silent")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn accounts(ctx: &Ctx) -> Markup {
    let views = ctx.live.supplies.get();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for point in &ctx.live.site.service_points {
        let view = views.iter().find(|v| v.service_point == point.id);
        *counts.entry(account_state(&point.kind, view)).or_default() += 1;
    }
    let states = [
        ("normal", Mark::Good),
        ("warned", Mark::Minor),
        ("cut", Mark::Off),
        ("pending", Mark::Info),
        ("exempt", Mark::Good),
    ];
    html! {
        @if !counts.is_empty() {
            section {
                (heading(ctx.t(text::SUPPLIES), None))
                div.tiles {
                    @for (state, mark_of) in states {
                        @if let Some(n) = counts.get(state) {
                            a.tile href="/shops" {
                                div.label { (ctx.word(if state == "pending" { "switching" } else { state })) }
                                div.figure { (mark(mark_of)) " " (n) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One incident in a list.
pub fn incident_row(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    html! {
        li {
            a href={ "/incidents/" (incident.id) } {
                (priority(ctx, incident.priority))
                span.what { (incident.title.get(ctx.lang)) }
                span.detail { (incident.code) " · " (incident.plan) " · " (state_of(ctx, incident)) " · " (when(ctx, incident.opened_at)) }
            }
        }
    }
}
