//! How a reading came to be, for a person who has to believe or to dispute it.

use guanjia_field::evidence::{ANSWERS_KEPT, Evidence, Scrap};
use guanjia_field::tap::Outcome;
use maud::{Markup, html};

use super::parts::{Mark, chip, fact, heading, quality, unit, value, when};
use super::{Ctx, Rendered, ago};
use crate::explain::{Answer, Explanation, Origin, form, hex, outcome, words};
use crate::http::text;

/// The page of one point; `None` if there is no such point.
pub fn one(ctx: &Ctx, device: &str, point: &str) -> Option<Rendered> {
    let explanation = Explanation::of(&ctx.live, device, point)?;
    let (device, def) = (explanation.device, explanation.def);
    let head = html! {
        p.crumb { a href={ "/devices/" (device.id) } { (device.name.get(ctx.lang)) } }
        h1 { (def.name.get(ctx.lang)) }
        p.id { (device.id) "/" (def.id) }
        dl.facts {
            (fact(ctx.t(text::VALUE), &value(ctx, def, &explanation.latest)))
            (fact(ctx.t(text::QUALITY), &quality(ctx, explanation.latest.quality)))
            (fact(ctx.t(text::AGE), &match &explanation.latest.value {
                Some((_, at)) => html! { (when(ctx, *at)) " · " (ago(ctx, *at)) },
                None => html! { (ctx.t(text::NEVER)) },
            }))
            (fact(ctx.t(text::PROFILE), &html! { (device.profile.id) " " span.id { (explanation.profile_print) } }))
        }
    };
    let body = match &explanation.origin {
        Origin::Derived { formula, parts } => html! {
            dl.facts { (fact(ctx.t(text::FORMULA), &html! { code { (formula) } })) }
            ul { @for part in parts { li { a href={ "/devices/" (device.id) "/points/" (part) } { (part) } } } }
        },
        Origin::Model(model) => html! { dl.facts { (fact("SunSpec", &html! { (model) })) } },
        Origin::Absent => html! { p.empty { (ctx.t(text::POINT_ABSENT)) } },
        Origin::Message { topic, pointer } => html! {
            dl.facts {
                (fact(ctx.t(text::TOPIC), &html! { (topic) }))
                @if !pointer.is_empty() { (fact(ctx.t(text::POINTER), &html! { (pointer) })) }
            }
        },
        Origin::Line { line, unit: address, place, evidence, answers, scraps } => html! {
            section {
                (heading(ctx.t(text::WHERE_FROM), None))
                dl.facts {
                    (fact(ctx.t(text::BUS), &html! { a href={ "/lines#line-" (line) } { (line) } }))
                    (fact(ctx.t(text::UNIT_ADDRESS), &html! { (address) }))
                    (fact(ctx.t(text::FUNCTION), &html! { (format!("{:02}", place.table.read_function())) }))
                    (fact(ctx.t(text::REGISTERS), &html! {
                        (place.address) @if place.count > 1 { "–" (u32::from(place.address) + u32::from(place.count) - 1) }
                    }))
                    @for (key, text) in form(def, place) { (fact(&ctx.word(&format!("form_{key}")), &html! { (spoken(ctx, key, &text)) })) }
                }
                @if let Some(evidence) = evidence { (attempt(ctx, evidence)) }
            }
            section {
                (heading(ctx.t(text::ANSWERS), Some(answers.len())))
                @if answers.is_empty() { p.empty { (ctx.t(text::NO_ANSWER_KEPT)) } }
                @for answer in answers.iter().take(ANSWERS_KEPT) { (frames(ctx, answer, unit(&def.unit))) }
                @if answers.len() > ANSWERS_KEPT {
                    details {
                        summary { (ctx.t(text::EARLIER)) " " span.count { (answers.len() - ANSWERS_KEPT) } }
                        @for answer in answers.iter().skip(ANSWERS_KEPT) { (frames(ctx, answer, unit(&def.unit))) }
                    }
                }
            }
            section {
                (heading(ctx.t(text::DISCARDED), Some(scraps.len())))
                @if scraps.is_empty() { p.empty { (ctx.t(text::NOTHING_DISCARDED)) } }
                @for scrap in scraps { (discarded(ctx, scrap)) }
            }
        },
    };
    Some(Rendered { title: def.name.get(ctx.lang).to_owned(), head, form: html! {}, body })
}

/// Orders have names; everything else is a number or a type and stands as it is.
fn spoken(ctx: &Ctx, key: &str, text: &str) -> String {
    if matches!(key, "bytes" | "words") { ctx.word(&format!("order_{text}")) } else { text.to_owned() }
}

/// How the newest attempt ended.
fn attempt(ctx: &Ctx, evidence: &Evidence) -> Markup {
    let mark = if evidence.outcome == Outcome::Answered { Mark::Good } else { Mark::Minor };
    html! {
        p {
            (chip(mark, &ctx.word(&outcome(evidence.outcome)))) " " (ctx.t(text::LAST_ATTEMPT)) " " (ago(ctx, evidence.at))
            @if evidence.misses > 0 {
                " · " (ctx.t(text::UNANSWERED_SINCE).replace("{n}", &evidence.misses.to_string()))
            }
        }
    }
}

fn frames(ctx: &Ctx, answer: &Answer, unit: &str) -> Markup {
    let proof = &answer.proof;
    html! {
        div.why {
            dl.facts {
                (fact(ctx.t(text::DATE), &when(ctx, proof.at)))
                (fact(ctx.t(text::ROUND_TRIP), &html! { (format!("{:.1}", proof.took.as_secs_f64() * 1_000.0)) " ms" }))
                (fact(ctx.t(text::ATTEMPT), &html! { (proof.attempt) }))
            }
            dl.bytes {
                (fact(ctx.t(text::SENT), &html! { code { (hex(&proof.sent)) } }))
                (fact(ctx.t(text::RECEIVED), &html! { code { (hex(&proof.received)) } }))
                (fact(ctx.t(text::ITS_WORDS), &html! { code { (words(&answer.words)) } }))
                (fact(ctx.t(text::MEANS), &match &answer.value {
                    Ok(value) => html! { strong { (value) } " " span.unit { (unit) } },
                    Err(error) => html! { span.refusal { (error) } },
                }))
            }
        }
    }
}

fn discarded(ctx: &Ctx, scrap: &Scrap) -> Markup {
    html! {
        div.why {
            p {
                (chip(Mark::Minor, &ctx.word(&format!("scrap_{}", scrap.kind.as_str())))) " " (when(ctx, scrap.at))
            }
            dl.bytes { (fact(ctx.t(text::RECEIVED), &html! { code { (hex(&scrap.frame)) } })) }
        }
    }
}
