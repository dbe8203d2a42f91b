//! Shops: what each has paid, whether it is supplied, and why not.

use guanjia_core::credit::{CreditState, MeterCredit};
use guanjia_core::supply::{ServiceKind, Supply};
use guanjia_core::units::{Fen, Hao, Utility};
use guanjia_store::{Notice, StatementLine, StoreError};
use maud::{Markup, html};

use super::incidents::person_choice;
use super::parts::{Mark, chip, fact, heading, when};
use super::{Ctx, Rendered};
use crate::http::text;
use crate::live::SupplyView;
use crate::metrics::account_state;
use crate::prepaid::meter::LEDGER_DEBT;
use crate::prepaid::relay::CLOSE_PERMIT;
use crate::site::{ServicePoint, Shop};

/// The lines of a statement.
const STATEMENT_MAX: u32 = 200;
/// Words beside the reasons why nobody is cut: what a person must see to.
const MUST_LOOK: [&str; 9] = [
    "bypass",
    "found_open",
    "found_closed",
    "stuck",
    "jammed",
    "meter_credit_manual",
    "meter_credit_uncertain",
    "meter_credit_held",
    LEDGER_DEBT,
];
/// The top-ups into the meter that are shown.
const CREDITS_MAX: u32 = 20;

/// Every shop with its service points, those in trouble first.
pub fn list(ctx: &Ctx) -> Rendered {
    let (site, views) = (&ctx.live.site, ctx.live.supplies.get());
    let view_of = |point: &ServicePoint| views.iter().find(|v| v.service_point == point.id);
    let mut points: Vec<&ServicePoint> = site.service_points.iter().collect();
    points.sort_by_key(|point| {
        let rank = match account_state(&point.kind, view_of(point)) {
            "cut" => 0,
            "pending" => 1,
            "warned" => 2,
            _ => 3,
        };
        (rank, point.shop)
    });
    let body = html! {
        @if points.is_empty() { p.empty { (ctx.t(text::NO_SHOPS)) } }
        ul.rows { @for point in points { (row(ctx, point, view_of(point))) } }
    };
    let title = ctx.t(text::SHOPS);
    let head = html! { h1 { (title) " " span.count { (site.shops.len()) } } };
    Rendered { title: title.to_owned(), head, form: html! {}, body }
}

/// The state of a service point in a mark and a word.
fn state(ctx: &Ctx, point: &ServicePoint, view: Option<&SupplyView>) -> Markup {
    let (mark, word) = match account_state(&point.kind, view) {
        "cut" => (Mark::Off, "cut"),
        "pending" if view.is_none() => (Mark::Info, "never_read"),
        "pending" => (Mark::Info, "switching"),
        "warned" => (Mark::Minor, "warned"),
        "exempt" => (Mark::Good, "exempt"),
        _ => (Mark::Good, "normal"),
    };
    chip(mark, &ctx.word(word))
}

fn row(ctx: &Ctx, point: &ServicePoint, view: Option<&SupplyView>) -> Markup {
    let shop = &ctx.live.site.shops[point.shop];
    html! {
        li {
            a href={ "/shops/" (point.id) } {
                (state(ctx, point, view))
                span.what { (shop.name.get(ctx.lang)) }
                span.detail { (ctx.word(point.utility.as_str())) (floor(shop)) " · " span.id { (point.id) }
                    @if matches!(point.kind, ServiceKind::Prepaid) { (cover(ctx, view)) }
                }
                span.main { @if let Some(view) = view { (money(view.balance)) } @else { "—" } }
            }
        }
    }
}

fn floor(shop: &Shop) -> Markup {
    html! { @if !shop.floor.is_empty() { " · " (shop.floor) } }
}

fn cover(ctx: &Ctx, view: Option<&SupplyView>) -> Markup {
    html! { @if let Some(cover) = view.and_then(|v| v.cover) { " · " (ctx.t(text::COVER)) " " (span(ctx, cover)) } }
}

/// A length of time in days, or in hours when it is short.
fn span(ctx: &Ctx, duration: std::time::Duration) -> String {
    let hours = duration.as_secs() / 3_600;
    let (text, n) = match hours {
        0 => (text::UNDER_AN_HOUR, 0),
        1..48 => (text::HOURS, hours),
        _ => (text::DAYS, hours / 24),
    };
    ctx.t(text).replace("{n}", &n.to_string())
}

/// Money in yuan; debts are told by their sign and their colour.
fn money(balance: Hao) -> Markup {
    html! { span.money.debt[balance.0 < 0] { "¥ " (yuan(balance)) } }
}

/// A balance in whole fen, rounded down: never more is shown than there is.
pub fn yuan(balance: Hao) -> String {
    Fen(balance.0.div_euclid(Hao::PER_FEN)).to_string()
}

/// An amount of the statement: the ledger's four decimals, so that the lines add up to the balance.
fn exact(amount: Hao) -> String {
    let text = amount.to_string();
    text.strip_suffix("00").map_or_else(|| text.clone(), str::to_owned)
}

/// One service point; `None` if there is no such one.
pub async fn one(ctx: &Ctx, id: &str) -> Result<Option<Rendered>, StoreError> {
    let site = &ctx.live.site;
    let Some(point) = site.service_points.iter().find(|p| *p.id == *id) else { return Ok(None) };
    let (shop, device) = (&site.shops[point.shop], &site.devices[point.device.0 as usize]);
    let views = ctx.live.supplies.get();
    let view = views.iter().find(|v| v.service_point == point.id);
    let statement = ctx.live.store.statement(&point.id, STATEMENT_MAX).await?;
    let notices = ctx.live.store.notices(&point.id).await?;
    let name = shop.name.get(ctx.lang);
    let head = html! {
        p.crumb { a href="/shops" { (ctx.t(text::SHOPS)) } }
        h1 { (name) }
        p { (state(ctx, point, view)) " " span.faint { (ctx.word(point.utility.as_str())) (floor(shop)) } }
        @if let Some(view) = view { (supply(ctx, point, view)) }
        dl.facts {
            (fact(ctx.t(text::METER), &html! { a href={ "/devices/" (device.id) } { (device.name.get(ctx.lang)) } }))
            @if let ServiceKind::Exempt { why } = &point.kind {
                (fact(ctx.t(text::EXEMPT), &html! { (ctx.word(why.as_str())) }))
            }
        }
    };
    let credits = match point.wallet {
        Some(_) => ctx.live.store.credits(&point.id, CREDITS_MAX).await?,
        None => Vec::new(),
    };
    let body = html! {
        (credits_list(ctx, &credits)) (notices_list(ctx, &notices)) (statement_table(ctx, point, &statement))
    };
    let form = html! {
        @if view.and_then(|view| view.waits_for) == Some(CLOSE_PERMIT) { (permit(ctx, point)) }
        @for credit in credits.iter().filter(|credit| credit.state == CreditState::Manual) { (settle(ctx, point, credit)) }
    };
    Ok(Some(Rendered { title: name.to_owned(), head, form, body }))
}

/// The form by which somebody says that a paid supply may come back.
fn permit(ctx: &Ctx, point: &ServicePoint) -> Markup {
    html! {
        form.order method="post" action={ "/shops/" (point.id) "/permit-close" } {
            h2 { (ctx.t(text::WAITS_FOR_PERMIT)) }
            p.faint { (ctx.t(text::PERMIT_HINT)) }
            (person_choice(ctx))
            button.primary type="submit" { (ctx.t(text::PERMIT)) }
        }
    }
}

/// The form by which somebody says whether a top-up is in the meter.
fn settle(ctx: &Ctx, point: &ServicePoint, credit: &MeterCredit) -> Markup {
    let count = credit.count.map_or_else(|| "—".to_owned(), |count| count.to_string());
    let title = ctx.t(text::CREDIT_WAITS).replace("{n}", &credit.receipt.to_string());
    html! {
        form.order method="post" action={ "/shops/" (point.id) "/credits/" (credit.receipt) "/settle" } {
            h2 { (title) " · ¥ " (credit.amount) }
            p.faint { (ctx.t(text::CREDIT_HINT).replace("{n}", &count)) }
            p.faint { (ctx.word(&credit.detail)) }
            label { span { (ctx.t(text::METER_SHOWS)) }
                select name="finding" required {
                    option value="" { "—" }
                    @if credit.count.is_some() { option value="applied" { (ctx.t(text::IS_IN_METER)) } }
                    option value="not-applied" { (ctx.t(text::IS_NOT_IN_METER)) }
                }
            }
            label { span { (ctx.t(text::REASON)) } input name="reason" required maxlength="500"; }
            (person_choice(ctx))
            button.primary type="submit" { (ctx.t(text::SETTLE)) }
        }
    }
}

fn credits_list(ctx: &Ctx, credits: &[MeterCredit]) -> Markup {
    html! {
        @if !credits.is_empty() {
            section {
                (heading(ctx.t(text::METER_CREDITS), Some(credits.len())))
                ul.rows {
                    @for credit in credits {
                        li { div {
                            @let (mark, word) = credit_state(ctx, credit.state);
                            (chip(mark, word))
                            span.what { "¥ " (credit.amount) " · " (ctx.t(text::RECEIPT).replace("{n}", &credit.receipt.to_string())) }
                            span.detail {
                                @if let Some(who) = &credit.decided_by { (ctx.person(who)) ": " (credit.detail) " · " }
                                (when(ctx, credit.at))
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn credit_state(ctx: &Ctx, state: CreditState) -> (Mark, &str) {
    match state {
        CreditState::Pending | CreditState::Sent => (Mark::Off, ctx.t(text::CREDIT_UNDER_WAY)),
        CreditState::Held => (Mark::Off, ctx.t(text::CREDIT_HELD)),
        CreditState::Uncertain => (Mark::Major, ctx.t(text::CREDIT_UNCERTAIN)),
        CreditState::Manual => (Mark::Major, ctx.t(text::CREDIT_MANUAL)),
        CreditState::Confirmed => (Mark::Good, ctx.t(text::IS_IN_METER)),
        CreditState::NotApplied => (Mark::Off, ctx.t(text::IS_NOT_IN_METER)),
    }
}

/// What it has, whether it is on, and why: the answer to a tenant who stands at the counter in the dark.
fn supply(ctx: &Ctx, point: &ServicePoint, view: &SupplyView) -> Markup {
    let dark = view.desired == Supply::Off || view.reported == Some(Supply::Off);
    let (looks, blocks): (Vec<_>, Vec<_>) = view.blocked.iter().partition(|word| MUST_LOOK.contains(&word.as_str()));
    html! {
        dl.facts {
            (fact(ctx.t(text::BALANCE), &html! { strong { (money(view.balance)) } }))
            @if let Some(debt) = view.debt { (fact(ctx.t(text::DEBT), &html! { (money(Hao(-Hao::from(debt).0))) })) }
            @if let Some(cover) = view.cover { (fact(ctx.t(text::COVER), &html! { (span(ctx, cover)) })) }
            (fact(ctx.t(text::WANTED), &on_off(ctx, view.desired)))
            (fact(ctx.t(text::REPORTED), &match view.reported {
                Some(reported) => on_off(ctx, reported),
                None if point.wallet.is_some() => html! { (ctx.t(text::CUT_BY_METER)) },
                None => html! { (ctx.t(text::NOT_READ)) },
            }))
            @if let Some(warning) = &view.warning { (fact(ctx.t(text::WARNING), &html! { (ctx.word(warning)) })) }
            @if let Some((register, at)) = view.register {
                (fact(ctx.t(text::REGISTER), &html! { (quantity(point.utility, register)) " · " (when(ctx, at)) }))
            }
        }
        @if !view.reasons.is_empty() {
            section.why.dark[dark] {
                h2 { (ctx.t(if dark { text::WHY_DARK } else { text::WHY })) }
                ul { @for reason in &view.reasons { li { (ctx.word(reason)) } } }
            }
        }
        @for (title, words) in [(text::MUST_LOOK, &looks), (text::BLOCKED, &blocks)] {
            @if !words.is_empty() {
                section.why { h2 { (ctx.t(title)) } ul { @for word in words { li { (ctx.word(word)) } } } }
            }
        }
    }
}

fn on_off(ctx: &Ctx, supply: Supply) -> Markup {
    match supply {
        Supply::On => chip(Mark::Good, ctx.t(text::ON)),
        Supply::Off => chip(Mark::Off, ctx.t(text::OFF)),
    }
}

/// Wh or mL in the unit people are billed in, exactly: kWh and m³ to three places, and six where millilitres were counted.
fn quantity(utility: Utility, base: i64) -> Markup {
    let (digits, exponent) = match utility {
        Utility::Electricity => (base, -3),
        Utility::Water if base % 1_000 == 0 => (base / 1_000, -3),
        Utility::Water => (base, -6),
    };
    let number = guanjia_core::reading::Decimal::new(i128::from(digits), exponent);
    html! { span.whole { (number) " " (utility.billing_unit()) } }
}

fn notices_list(ctx: &Ctx, notices: &[Notice]) -> Markup {
    html! {
        @if !notices.is_empty() {
            section {
                (heading(ctx.t(text::NOTICES), Some(notices.len())))
                ul.rows {
                    @for notice in notices {
                        li { div {
                            @match notice.delivered_at() {
                                Some(at) => (chip(Mark::Good, &ctx.t(text::DELIVERED_AT).replace("{t}", &ctx.time(at)))),
                                None => (chip(Mark::Major, ctx.t(text::NOT_DELIVERED))),
                            }
                            span.what { (ctx.word(&notice.level)) }
                            span.detail { (when(ctx, notice.at)) }
                        } }
                    }
                }
            }
        }
    }
}

fn statement_table(ctx: &Ctx, point: &ServicePoint, lines: &[StatementLine]) -> Markup {
    html! {
        section {
            (heading(ctx.t(text::STATEMENT), None))
            @if lines.is_empty() { p.empty { (ctx.t(text::NO_STATEMENT)) } } @else {
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { (ctx.t(text::DATE)) }
                            th scope="col" { (ctx.t(text::WHAT)) }
                            th.number scope="col" { (ctx.t(text::AMOUNT)) }
                            th.number scope="col" { (ctx.t(text::BALANCE)) }
                        } }
                        tbody {
                            @for line in lines {
                                tr {
                                    td { (when(ctx, line.at)) }
                                    td {
                                        (ctx.word(line.kind.as_str()))
                                        @if let Some(n) = line.receipt { " · " (ctx.t(text::RECEIPT).replace("{n}", &n.to_string())) }
                                        @if let Some(q) = line.quantity { " · " (quantity(point.utility, q.0)) }
                                    }
                                    td.number { (exact(line.amount)) }
                                    td.number { (exact(line.balance)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
