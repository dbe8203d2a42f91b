//! The emergency plan of an incident: what it is called, what people do, and what the gateway will not do for them.

use guanjia_core::plan::Plan;
use maud::{Markup, html};

use super::Ctx;
use super::parts::heading;
use crate::http::text;

/// The plan's id and title; a plan the configuration no longer has keeps its id.
pub fn title(ctx: &Ctx, plan: &str) -> String {
    match ctx.live.site.plans.get(plan) {
        Some(plan) => format!("{} {}", plan.id, plan.title.get(ctx.lang)),
        None => plan.to_owned(),
    }
}

/// The steps, in order.
pub fn steps(ctx: &Ctx, plan: &str) -> Markup {
    let Some(plan) = ctx.live.site.plans.get(plan) else { return html! {} };
    html! {
        section {
            (heading(ctx.t(text::STEPS), None))
            ol.steps {
                @for step in &plan.steps {
                    li {
                        span.due { (minutes(ctx, step.due.0.as_secs())) }
                        span { (step.text.get(ctx.lang)) " " span.faint { (role(ctx, &step.who)) } }
                    }
                }
            }
        }
        (forbidden(ctx, plan))
    }
}

/// What is left to people and to certified equipment, so that nobody waits for the gateway to do it.
fn forbidden(ctx: &Ctx, plan: &Plan) -> Markup {
    let list = plan.automatic.as_ref().map(|a| a.forbidden.as_slice()).unwrap_or_default();
    html! {
        @if !list.is_empty() {
            section.why { h2 { (ctx.t(text::FORBIDDEN)) } ul { @for text in list { li { (text.get(ctx.lang)) } } } }
        }
    }
}

fn role<'a>(ctx: &'a Ctx, role: &'a str) -> &'a str {
    ctx.live.site.plans.role(role).map_or(role, |name| name.get(ctx.lang))
}

/// A due time from the opening of the incident.
fn minutes(ctx: &Ctx, seconds: u64) -> String {
    let (text, n) = match seconds {
        0 => return ctx.t(text::AT_ONCE).to_owned(),
        1..=119 => (text::WITHIN_SECONDS, seconds),
        120..=7_199 => (text::WITHIN_MINUTES, seconds / 60),
        _ => (text::WITHIN_HOURS, seconds / 3_600),
    };
    ctx.t(text).replace("{n}", &n.to_string())
}
