//! Incidents: what is open, what to do, what happened, and who was told.

use guanjia_core::alarm::AlarmRecord;
use guanjia_core::incident::{IncidentRecord, IncidentState, PageRecord, PageState, TimelineEntry};
use guanjia_store::{PageStatus, StoreError};
use maud::{Markup, html};
use uuid::Uuid;

use super::overview::{incident_row, state_of};
use super::parts::{Mark, chip, fact, heading, priority, when};
use super::{Ctx, Rendered};
use crate::http::text;
use crate::metrics::{alarm_state, definitions};

/// The closed incidents of the list, and the entries of a timeline.
const LIST_MAX: u32 = 200;

/// Open incidents, standing alarms, and what is over.
pub async fn list(ctx: &Ctx) -> Result<Rendered, StoreError> {
    let board = ctx.live.alarms.get();
    let mut open: Vec<&IncidentRecord> = board.incidents.iter().filter(|i| i.state != IncidentState::Closed).collect();
    open.sort_by_key(|i| (i.state != IncidentState::Open, i.priority, std::cmp::Reverse(i.opened_at)));
    let past = ctx.live.store.incidents(LIST_MAX).await?;
    let past: Vec<&IncidentRecord> = past.iter().filter(|i| i.state == IncidentState::Closed).collect();
    let head = html! {
        h1 { (ctx.t(text::INCIDENTS)) }
        section {
            (heading(ctx.t(text::OPEN), Some(open.len())))
            @if open.is_empty() { p.empty { (ctx.t(text::NO_OPEN_INCIDENT)) } }
            ul.rows { @for incident in open { (incident_row(ctx, incident)) } }
        }
    };
    let body = html! {
        (alarms(ctx, &board.alarms))
        section {
            (heading(ctx.t(text::PAST), Some(past.len())))
            @if past.is_empty() { p.empty { (ctx.t(text::NO_PAST_INCIDENT)) } }
            ul.rows { @for incident in past { (incident_row(ctx, incident)) } }
        }
    };
    Ok(Rendered { title: ctx.t(text::INCIDENTS).to_owned(), head, form: html! {}, body })
}

/// Every alarm that stands, with what to do about it.
fn alarms(ctx: &Ctx, alarms: &[AlarmRecord]) -> Markup {
    let definitions = definitions(&ctx.live.site);
    let mut standing: Vec<&AlarmRecord> = alarms.iter().collect();
    standing.sort_by_key(|a| (definitions.get(a.key.as_str()).map(|d| d.priority), std::cmp::Reverse(a.raised_at)));
    html! {
        section {
            (heading(ctx.t(text::STANDING_ALARMS), Some(standing.len())))
            @if standing.is_empty() { p.empty { (ctx.t(text::NO_ALARM)) } }
            ul.rows {
                @for alarm in standing {
                    @let def = definitions.get(alarm.key.as_str());
                    li {
                        div {
                            @if let Some(def) = def { (priority(ctx, def.priority)) } @else { (chip(Mark::Info, "?")) }
                            span.what { @match def { Some(def) => { (def.text.get(ctx.lang)) } None => { (alarm.key) } } }
                            span.detail {
                                (ctx.word(if alarm.latched { "latched" } else { alarm_state(alarm) }))
                                @if let Some(root) = &alarm.suppressed_by { " · " span.id { (root) } }
                                " · " span.id { (alarm.key) } " · " (when(ctx, alarm.raised_at))
                            }
                            @if let Some(def) = def { span.action { (def.action.get(ctx.lang)) } }
                            @if alarm.latched && !alarm.active { (reset(ctx, alarm)) }
                        }
                    }
                }
            }
        }
    }
}

/// The form that lets go of a latched alarm.
fn reset(ctx: &Ctx, alarm: &AlarmRecord) -> Markup {
    html! {
        form.order method="post" action={ "/alarms/" (alarm.key) "/reset" } {
            p.faint { (ctx.t(text::RESET_HINT)) }
            (person_choice(ctx))
            button type="submit" { (ctx.t(text::RESET)) }
        }
    }
}

/// One incident; `None` if there is no such incident.
pub async fn one(ctx: &Ctx, id: Uuid) -> Result<Option<Rendered>, StoreError> {
    let Some(incident) = ctx.live.store.incident(id).await? else { return Ok(None) };
    let timeline = ctx.live.store.timeline(Some(id), LIST_MAX).await?;
    let pages = ctx.live.store.pages_of(id).await?;
    let title = incident.title.get(ctx.lang).to_owned();
    let head = html! {
        p.crumb { a href="/incidents" { (ctx.t(text::INCIDENTS)) } }
        p { (priority(ctx, incident.priority)) " " span.faint { (state_of(ctx, &incident)) } }
        h1 { (title) }
        (facts(ctx, &incident))
    };
    let body = html! { (steps(ctx, &incident)) (pages_table(ctx, &pages)) (timeline_list(ctx, &timeline)) };
    Ok(Some(Rendered { title, head, form: orders(ctx, &incident), body }))
}

/// What is known about an incident, in short.
pub fn facts(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    html! {
        dl.facts {
            (fact(ctx.t(text::CODE), &html! { span.code { (incident.code) } }))
            (fact(ctx.t(text::PLAN), &html! { (super::plan::title(ctx, &incident.plan)) }))
            (fact(ctx.t(text::OWNER), &html! { (ctx.person(&incident.owner)) }))
            (fact(ctx.t(text::OPENED), &when(ctx, incident.opened_at)))
            @if let Some(who) = &incident.acked_by {
                (fact(ctx.t(text::ACCEPTED_BY), &html! {
                    (ctx.person(who)) @if let Some(at) = incident.acked_at { " · " (when(ctx, at)) }
                }))
            }
            @if let Some(at) = incident.escalates_at {
                (fact(ctx.t(text::ESCALATES), &html! {
                    (when(ctx, at)) " · " (ctx.t(text::LADDER_LEVEL).replace("{n}", &incident.level.to_string()))
                }))
            }
            @if let Some(at) = incident.closed_at { (fact(ctx.t(text::CLOSED_AT), &when(ctx, at))) }
        }
    }
}

/// What a person may order about it now.
fn orders(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    let (path, label, hint) = match incident.state {
        IncidentState::Open => ("acknowledge", text::ACKNOWLEDGE, Some(text::ACK_HINT)),
        IncidentState::Acknowledged => ("close", text::CLOSE_INCIDENT, None),
        IncidentState::Closed => return html! { p.faint { (ctx.t(text::IS_CLOSED)) } },
    };
    html! {
        form.order method="post" action={ "/incidents/" (incident.id) "/" (path) } {
            @if let Some(hint) = hint { p.faint { (ctx.t(hint)) } }
            (person_choice(ctx))
            button.primary[incident.state == IncidentState::Open] type="submit" { (ctx.t(label)) }
        }
    }
}

/// Who gives the order: one of the people of the site.
pub fn person_choice(ctx: &Ctx) -> Markup {
    html! {
        label { span { (ctx.t(text::WHO_ARE_YOU)) }
            select name="person" required {
                option value="" { (ctx.t(text::CHOOSE)) }
                @for person in &ctx.live.site.people { option value=(person.id) { (person.name) } }
            }
        }
    }
}

/// The steps of the plan, and what the gateway will not do by itself.
fn steps(ctx: &Ctx, incident: &IncidentRecord) -> Markup {
    super::plan::steps(ctx, &incident.plan)
}

/// How a page stands, in a mark and a word.
fn page_state(ctx: &Ctx, state: PageState) -> Markup {
    let (mark, word) = match state {
        PageState::Pending => (Mark::Info, "pending"),
        PageState::Sending => (Mark::Info, "sending"),
        PageState::Delivered => (Mark::Good, "delivered"),
        PageState::Failed => (Mark::Major, "failed"),
        PageState::Expired => (Mark::Major, "expired"),
    };
    chip(mark, &ctx.word(word))
}

fn pages_table(ctx: &Ctx, pages: &[(PageRecord, PageStatus)]) -> Markup {
    html! {
        section {
            (heading(ctx.t(text::PAGES), Some(pages.len())))
            @if pages.is_empty() { p.empty { (ctx.t(text::NO_PAGES)) } }
            ul.rows {
                @for (page, status) in pages {
                    li { div {
                        (page_state(ctx, status.state))
                        span.what { (ctx.person(&page.person)) " · " (page.channel) }
                        span.detail {
                            (when(ctx, status.settled_at.unwrap_or(page.not_before)))
                            " · " (ctx.t(text::ATTEMPTS).replace("{n}", &status.attempts.to_string()))
                            @if let Some(error) = &status.last_error { " · " (error) }
                        }
                    } }
                }
            }
        }
    }
}

fn timeline_list(ctx: &Ctx, timeline: &[TimelineEntry]) -> Markup {
    html! {
        section {
            (heading(ctx.t(text::TIMELINE), None))
            ol.timeline {
                @for entry in timeline {
                    li {
                        time datetime=(entry.at) { (ctx.time(entry.at)) }
                        span { strong { (ctx.word(&entry.what)) } " " (ctx.person(&entry.subject)) " " span.faint { (entry.detail) } }
                    }
                }
            }
        }
    }
}
