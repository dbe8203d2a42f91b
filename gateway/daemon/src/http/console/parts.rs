//! What pages are made of: marks, chips, times, values.

use std::sync::Arc;

use guanjia_core::alarm::Priority;
use guanjia_core::profile::PointDef;
use guanjia_core::reading::{Quality, Value};
use guanjia_core::text::Lang;
use guanjia_core::time::Timestamp;
use maud::{Markup, html};

use crate::http::text::{self, T};
use crate::live::{Latest, Live};

/// The reader of a page, the moment it is made at, and what it is made from.
pub struct Ctx {
    /// The reader's language.
    pub lang: Lang,
    /// What is true now.
    pub live: Arc<Live>,
    /// Now.
    pub now: Timestamp,
}

impl Ctx {
    /// A text in the reader's language.
    pub fn t(&self, text: T) -> &'static str {
        text.get(self.lang)
    }

    /// How people say a stable word.
    pub fn word(&self, word: &str) -> String {
        text::word(word, self.lang)
    }

    /// A time on the site's clock: the day only if it is not today.
    pub fn time(&self, at: Timestamp) -> String {
        let zoned = |at: Timestamp| at.to_jiff().map(|at| at.to_zoned_datetime(self.live.site.zone.clone()));
        match (zoned(at), zoned(self.now)) {
            (Some(at), Some(now)) if at.date() == now.date() => at.strftime("%H:%M:%S").to_string(),
            (Some(at), _) => at.strftime("%Y-%m-%d %H:%M").to_string(),
            (None, _) => at.to_string(),
        }
    }

    /// A person's name by id, or the id itself: programs accept incidents too.
    pub fn person<'a>(&'a self, id: &'a str) -> &'a str {
        self.live.site.people.iter().find(|p| *p.id == *id).map_or(id, |p| &p.name)
    }
}

/// The shapes that tell how something is, beside the word that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A triangle: P1.
    Critical,
    /// A diamond: P2.
    Major,
    /// A square: P3.
    Minor,
    /// A ring with a bar: no answer, no supply.
    Off,
    /// A dot: P4, or something that is under way.
    Info,
    /// A tick.
    Good,
}

impl Mark {
    /// The mark of a priority.
    pub fn of(priority: Priority) -> Mark {
        match priority {
            Priority::P1 => Mark::Critical,
            Priority::P2 => Mark::Major,
            Priority::P3 => Mark::Minor,
            Priority::P4 => Mark::Info,
        }
    }

    /// The class that colours it.
    pub fn class(self) -> &'static str {
        match self {
            Mark::Critical => "critical",
            Mark::Major => "major",
            Mark::Minor => "minor",
            Mark::Off => "off",
            Mark::Info => "info",
            Mark::Good => "good",
        }
    }

    /// The shape in a 16 by 16 field; `None` for those drawn as lines.
    fn shape(self) -> Markup {
        match self {
            Mark::Critical => html! { path d="M8 1.5 15 14H1z" {} },
            Mark::Major => html! { path d="M8 1 15 8 8 15 1 8z" {} },
            Mark::Minor => html! { path d="M2.5 2.5h11v11h-11z" {} },
            Mark::Off => html! { path.line d="M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM4 12 12 4" {} },
            Mark::Info => html! { circle cx="8" cy="8" r="4.5" {} },
            Mark::Good => html! { path.line d="M2.5 8.5 6.5 12.5 13.5 4" {} },
        }
    }
}

/// A mark by itself; the word beside it is the caller's.
pub fn mark(mark: Mark) -> Markup {
    html! { svg class={ "mark " (mark.class()) } viewBox="0 0 16 16" aria-hidden="true" { (mark.shape()) } }
}

/// A mark with its word.
pub fn chip(kind: Mark, word: &str) -> Markup {
    html! { span class={ "chip " (kind.class()) } { (mark(kind)) span { (word) } } }
}

/// A priority as people say it.
pub fn priority(ctx: &Ctx, priority: Priority) -> Markup {
    chip(Mark::of(priority), &format!("{} {}", priority.as_str(), ctx.word(priority.as_str())))
}

/// A quality, with why when there is no value.
pub fn quality(ctx: &Ctx, quality: Quality) -> Markup {
    match quality {
        Quality::Good => chip(Mark::Good, &ctx.word("good")),
        Quality::Suspect => chip(Mark::Info, &ctx.word("suspect")),
        Quality::Stale => chip(Mark::Minor, &ctx.word("stale")),
        Quality::Bad(why) => chip(Mark::Off, &ctx.word(why.as_str())),
    }
}

/// A UCUM unit as people write it.
pub fn unit(ucum: &str) -> &str {
    match ucum {
        "kW.h" => "kWh",
        "W.h" => "Wh",
        "MW.h" => "MWh",
        "m3" => "m³",
        "m3/h" => "m³/h",
        "Cel" => "°C",
        "kvar.h" => "kvarh",
        "kV.A.h" => "kVAh",
        "V.A" => "VA",
        "kV.A" => "kVA",
        "A.h" => "Ah",
        "/min" => "r/min",
        "W.h/m3" => "Wh/m³",
        "1" => "",
        other => other,
    }
}

/// A value as people read it: a code by its name, a number with its unit. A value that no longer counts is shown
/// struck back, because the last known value with its age is more use than nothing.
pub fn value(ctx: &Ctx, def: &PointDef, latest: &Latest) -> Markup {
    let Some((value, _)) = &latest.value else { return html! { span.faint { "—" } } };
    let code = value.as_f64().filter(|x| x.fract() == 0.0).and_then(|x| {
        let (_, name) = def.codes.iter().find(|(code, _)| *code as f64 == x)?;
        Some(name.get(ctx.lang))
    });
    let old = !latest.quality.is_good();
    html! {
        span.value.old[old] {
            @match code {
                Some(name) => { (name) }
                None => { (number(value)) @if !def.unit.is_empty() { " " span.unit { (unit(&def.unit)) } } }
            }
        }
    }
}

/// A number without the noise of its binary form; exact values as they are.
fn number(value: &Value) -> String {
    match value {
        Value::Float(x) => {
            let text = format!("{x:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => other.to_string(),
    }
}

/// A label and what belongs to it, in a list of facts.
pub fn fact(label: &str, content: &Markup) -> Markup {
    html! { div.fact { dt { (label) } dd { (content) } } }
}

/// A headline of a section, with a count where there is one.
pub fn heading(title: &str, count: Option<usize>) -> Markup {
    html! { h2 { (title) @if let Some(n) = count { " " span.count { (n) } } } }
}

/// An absolute time that shows its age.
pub fn when(ctx: &Ctx, at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(super::ago(ctx, at)) { (ctx.time(at)) } }
}
