//! The lines: whether they are up, how busy, what goes wrong on them and what to do about it.

use guanjia_field::LineHandle;
use guanjia_field::doctor::Finding;
use guanjia_field::stats::DeviceStats;
use guanjia_field::trace::Role;
use maud::{Markup, html};

use super::parts::{Mark, chip, heading};
use super::{Ctx, Rendered, ago};
use crate::http::text;
use crate::metrics::protocol;

/// Every line, those with findings first.
pub fn list(ctx: &Ctx) -> Rendered {
    let mut lines: Vec<(&LineHandle, Vec<_>)> =
        ctx.live.lines.iter().map(|handle| (handle, handle.tap().findings())).collect();
    lines.sort_by_key(|(handle, findings)| (findings.is_empty(), handle.stats().connected.get() == 1));
    let head = html! {
        p.crumb { a href="/devices" { (ctx.t(text::DEVICES)) } }
        h1 { (ctx.t(text::LINES)) " " span.count { (lines.len()) } }
    };
    let body = html! {
        @if lines.is_empty() { p.empty { (ctx.t(text::NO_LINE)) } }
        @for (handle, findings) in &lines {
            section id={ "line-" (handle.name()) } {
                h2 { (handle.name()) " " span.id { (kind(ctx, handle)) } }
                p { (state(ctx, handle, findings.len())) }
                (down(ctx, handle))
                @if !findings.is_empty() {
                    ul.rows { @for (finding, known_for) in findings { (row(ctx, finding, *known_for)) } }
                }
                (units(ctx, handle))
            }
        }
    };
    Rendered { title: ctx.t(text::LINES).to_owned(), head, form: html! {}, body }
}

fn kind(ctx: &Ctx, handle: &LineHandle) -> String {
    let config = ctx.live.site.lines.iter().find(|config| config.name == *handle.name());
    config.map_or_else(String::new, |c| format!("{} · {}", ctx.word(protocol(&c.link)), c.link.place()))
}

fn state(ctx: &Ctx, handle: &LineHandle, findings: usize) -> Markup {
    match (handle.stats().connected.get(), findings) {
        (0, _) => chip(Mark::Off, ctx.t(text::NOT_CONNECTED)),
        (_, 0) if handle.tap().role() == Some(Role::Listener) => chip(Mark::Info, ctx.t(text::LISTENED)),
        (_, 0) => chip(Mark::Good, ctx.t(text::LINE_WELL)),
        (_, n) => html! { (chip(Mark::Minor, ctx.t(text::LINE_ILL))) " " span.count { (n) } },
    }
}

/// Why a line cannot be opened, and what to do about it.
pub fn down(ctx: &Ctx, handle: &LineHandle) -> Markup {
    html! {
        @if let Some(trouble) = handle.tap().trouble() {
            p {
                (trouble.text.get(ctx.lang)) " · " (ago(ctx, trouble.since))
                br;
                span.faint { (trouble.advice.get(ctx.lang)) }
            }
        }
    }
}

fn row(ctx: &Ctx, finding: &Finding, known_for: std::time::Duration) -> Markup {
    html! {
        li {
            div {
                (chip(Mark::Minor, ctx.t(text::FINDING)))
                span.what { (finding.text().get(ctx.lang)) }
                span.detail {
                    (ctx.t(text::FOUNDED_ON).replace("{a}", &finding.count.to_string()).replace("{b}", &finding.of.to_string()))
                    " · " (ago(ctx, ctx.now - known_for))
                }
                p.action { (finding.advice().get(ctx.lang)) }
            }
        }
    }
}

/// What came of the requests to each device.
fn units(ctx: &Ctx, handle: &LineHandle) -> Markup {
    let devices = &handle.stats().devices;
    let count = |device: &DeviceStats, counter: fn(&DeviceStats) -> u64| counter(device).to_string();
    html! {
        @if !devices.is_empty() {
            (heading(ctx.t(text::REQUESTS), None))
            div.scroll {
                table {
                    thead { tr {
                        th scope="col" { (ctx.t(text::DEVICE)) }
                        th.number scope="col" { (ctx.t(text::ANSWERED)) }
                        th.number scope="col" { (ctx.t(text::TIMEOUTS)) }
                        th.number scope="col" { (ctx.t(text::DAMAGED)) }
                        th.number scope="col" { (ctx.t(text::EXCEPTIONS)) }
                    } }
                    tbody {
                        @for device in devices {
                            tr {
                                th.whole scope="row" { a href={ "/devices/" (device.id) } { (device.id) } }
                                td.number { (count(device, |d| d.ok.get())) }
                                td.number { (count(device, |d| d.timeout.get())) }
                                td.number { (count(device, |d| d.crc_error.get())) }
                                td.number { (count(device, |d| d.exception.get())) }
                            }
                        }
                    }
                }
            }
        }
    }
}
