//! Devices and their points: the value, how far to trust it, and how old it is.

use guanjia_core::reading::{BadReason, PointIx};
use maud::{Markup, html};
use serde::Deserialize;

use super::lines::down;
use super::parts::{Mark, chip, fact, heading, quality, value, when};
use super::{Ctx, Rendered, ago};
use crate::device_clock;
use crate::http::text;
use crate::live::DeviceStatus;
use crate::metrics::{SYSTEMS, bus_of, export_of};
use crate::site::{Attachment, Device};

/// Which devices a list shows; empty text means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Filter {
    /// A word of the `system` label.
    #[serde(default)]
    system: String,
    /// A floor as the site file has it.
    #[serde(default)]
    floor: String,
    /// `answering` or `silent`.
    #[serde(default)]
    state: String,
}

impl Filter {
    fn matches(&self, device: &Device, status: &DeviceStatus) -> bool {
        let state = if status.silent.is_none() { "answering" } else { "silent" };
        (self.system.is_empty() || self.system == device.profile.class.system())
            && (self.floor.is_empty() || self.floor == device.floor)
            && (self.state.is_empty() || self.state == state)
    }
}

/// All devices that match, the silent ones first.
pub fn list(ctx: &Ctx, filter: &Filter) -> Rendered {
    let statuses = ctx.live.latest.devices();
    let mut found: Vec<(&Device, &DeviceStatus)> =
        ctx.live.site.devices.iter().zip(&statuses).filter(|(device, status)| filter.matches(device, status)).collect();
    found.sort_by_key(|(device, status)| (status.silent.is_none(), device.ix));
    let body = html! {
        @if found.is_empty() { p.empty { (ctx.t(text::NO_DEVICE)) } }
        ul.rows { @for (device, status) in found.iter().copied() { (row(ctx, device, status)) } }
    };
    let head = html! { h1 { (ctx.t(text::DEVICES)) " " span.count { (found.len()) } } (to_lines(ctx)) };
    Rendered { title: ctx.t(text::DEVICES).to_owned(), head, form: form(ctx, filter), body }
}

/// The way to the lines, with how many have findings.
fn to_lines(ctx: &Ctx) -> Markup {
    let ill = ctx.live.lines.iter().filter(|line| !line.tap().findings().is_empty()).count();
    html! {
        p {
            a href="/lines" { (ctx.t(text::LINES)) } " " span.count { (ctx.live.lines.len()) }
            @if ill > 0 { " " (chip(Mark::Minor, &ctx.t(text::LINES_ILL).replace("{n}", &ill.to_string()))) }
        }
    }
}

fn form(ctx: &Ctx, filter: &Filter) -> Markup {
    let site = &ctx.live.site;
    let systems: Vec<&str> =
        SYSTEMS.into_iter().filter(|s| site.devices.iter().any(|d| d.profile.class.system() == *s)).collect();
    let mut floors: Vec<&str> = site.devices.iter().map(|d| d.floor.as_str()).filter(|f| !f.is_empty()).collect();
    floors.sort_unstable();
    floors.dedup();
    let choice = |name: &str, label: &str, chosen: &str, options: &[(&str, String)]| {
        html! {
            label { span { (label) }
                select name=(name) {
                    option value="" { (ctx.t(text::ANY)) }
                    @for (value, shown) in options {
                        option value=(value) selected[*value == chosen] { (shown) }
                    }
                }
            }
        }
    };
    let spoken = |words: &[&'static str]| words.iter().map(|w| (*w, ctx.word(w))).collect::<Vec<_>>();
    let systems: Vec<(&str, String)> = systems.into_iter().map(|s| (s, ctx.word(s))).collect();
    let floors: Vec<(&str, String)> = floors.into_iter().map(|f| (f, f.to_owned())).collect();
    html! {
        form.filter method="get" action="/devices" {
            (choice("system", ctx.t(text::SYSTEM), &filter.system, &systems))
            (choice("floor", ctx.t(text::FLOOR), &filter.floor, &floors))
            (choice("state", ctx.t(text::STATE), &filter.state, &spoken(&["answering", "silent"])))
            button type="submit" { (ctx.t(text::FILTER)) }
        }
    }
}

/// How a device is doing, in a mark and a word.
pub fn health(ctx: &Ctx, status: &DeviceStatus) -> Markup {
    match status.silent {
        None => chip(Mark::Good, &ctx.word("answering")),
        Some(why) => chip(Mark::Off, &ctx.word(why.as_str())),
    }
}

fn row(ctx: &Ctx, device: &Device, status: &DeviceStatus) -> Markup {
    html! {
        li {
            a href={ "/devices/" (device.id) } {
                (health(ctx, status))
                span.what { (device.name.get(ctx.lang)) }
                span.detail {
                    (ctx.word(device.profile.class.system()))
                    @if !device.floor.is_empty() { " · " (device.floor) }
                    " · " span.id { (device.id) }
                    @if status.silent.is_some() { " · " (ago(ctx, status.since)) }
                    @else if let Some(at) = status.last_success { " · " (ago(ctx, at)) }
                }
                span.main { (main_value(ctx, device)) }
            }
        }
    }
}

/// The value people look for first: power, flow or register of a meter, else the first point.
fn main_value(ctx: &Ctx, device: &Device) -> Markup {
    let points = &device.profile.points;
    let rank = |name: &str| match name {
        "guanjia_meter_active_power_watts" => 0,
        "guanjia_meter_flow_cubic_meters_per_second" => 1,
        "guanjia_meter_energy_joules_total" | "guanjia_meter_volume_cubic_meters_total" => 2,
        _ => 3,
    };
    let best = (0..points.len()).min_by_key(|i| (export_of(&points[*i]).map_or(3, |e| rank(e.metric.name)), *i));
    let Some(offset) = best else { return html! {} };
    let latest = ctx.live.latest.get(PointIx(device.first_point.0 + u32::try_from(offset).unwrap_or(u32::MAX)));
    html! {
        @if let Some(latest) = latest {
            span.label { (points[offset].name.get(ctx.lang)) } " " (value(ctx, &points[offset], &latest))
        }
    }
}

/// One device with all its points; `None` if there is no such device.
pub fn one(ctx: &Ctx, id: &str) -> Option<Rendered> {
    let device = ctx.live.site.devices.iter().find(|d| *d.id == *id)?;
    let status = *ctx.live.latest.devices().get(device.ix.0 as usize)?;
    let name = device.name.get(ctx.lang);
    let profile = &device.profile;
    let head = html! {
        p.crumb { a href="/devices" { (ctx.t(text::DEVICES)) } }
        h1 { (name) }
        p { (health(ctx, &status)) " " @if status.silent.is_some() { span.faint { (ago(ctx, status.since)) } } }
        @if status.silent == Some(BadReason::LineDown)
            && let Some(handle) = ctx.live.lines.iter().find(|handle| **handle.name() == *bus_of(&ctx.live.site, device))
        {
            (down(ctx, handle))
        }
        dl.facts {
            (fact(ctx.t(text::SYSTEM), &html! { (ctx.word(profile.class.system())) }))
            @if !device.floor.is_empty() { (fact(ctx.t(text::FLOOR), &html! { (device.building) " " (device.floor) })) }
            (fact(ctx.t(text::MODEL), &html! { (profile.vendor) " " (profile.model) }))
            (fact(ctx.t(text::BUS), &{
                let bus = bus_of(&ctx.live.site, device);
                match device.attachment {
                    Attachment::Line { .. } => html! { a href={ "/lines#line-" (bus) } { (bus) } },
                    Attachment::Mqtt { .. } => html! { (bus) },
                }
            }))
            @if let Some(clock) = device_clock::of(&ctx.live, device) {
                (fact(ctx.t(text::DEVICE_CLOCK), &html! {
                    (clock.says.replace('T', " ")) " "
                    span.faint { (format!("{:+.0} s", clock.skew_seconds)) }
                }))
            }
            (fact(ctx.t(text::LAST_ANSWER), &match status.last_success {
                Some(at) => html! { (when(ctx, at)) },
                None => html! { (ctx.t(text::NEVER)) },
            }))
        }
    };
    Some(Rendered { title: name.to_owned(), head, form: html! {}, body: points(ctx, device) })
}

/// Every point of a device.
pub fn points(ctx: &Ctx, device: &Device) -> Markup {
    let rows = device.profile.points.iter().enumerate().filter_map(|(i, def)| {
        let latest = ctx.live.latest.get(PointIx(device.first_point.0 + u32::try_from(i).ok()?))?;
        Some((def, latest))
    });
    html! {
        section {
            (heading(ctx.t(text::POINT), Some(device.profile.points.len())))
            div.scroll {
                table {
                    thead { tr {
                        th scope="col" { (ctx.t(text::POINT)) }
                        th.number scope="col" { (ctx.t(text::VALUE)) }
                        th scope="col" { (ctx.t(text::QUALITY)) }
                        th scope="col" { (ctx.t(text::AGE)) }
                    } }
                    tbody {
                        @for (def, latest) in rows {
                            tr {
                                th scope="row" {
                                    a href={ "/devices/" (device.id) "/points/" (def.id) } { (def.name.get(ctx.lang)) }
                                    " " span.id { (def.id) }
                                }
                                td.number { (value(ctx, def, &latest)) }
                                td { (quality(ctx, latest.quality)) }
                                td.age { @if let Some((_, at)) = &latest.value { (ago(ctx, *at)) } @else { "—" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
