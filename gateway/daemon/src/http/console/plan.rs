//! The emergency plan of an incident: what it is called and what people do.

use maud::{Markup, html};

use super::Ctx;

/// The plan's title beside its id.
pub fn title(_ctx: &Ctx, plan: &str) -> String {
    plan.to_owned()
}

/// The steps, in order.
pub fn steps(_ctx: &Ctx, _plan: &str) -> Markup {
    html! {}
}
