//! `guanjia-core`: the rules of a building, and nothing else.
//!
//! This crate is pure. It has no tokio, no database, no socket, no file and no clock: whatever depends on the
//! moment takes a [`time::Timestamp`] as a parameter. `clippy.toml` beside the manifest bans the rest.
//!
//! # Layout
//!
//! * [`time`], [`units`], [`text`]: the small types everything is made of
//! * [`reading`]: values, quality, readings and the keys they travel under
//! * [`mod@decode`]: register words to values; [`mod@encode`]: and back, for what may be written; [`guess`]: which reading
//!   of them a display speaks for
//! * [`profile`]: what a kind of device looks like on its bus (devices are data)
//! * [`alarm`]: the ISA-18.2 alarm machine; [`inhibition`]: root causes and their children
//! * [`plan`], [`roster`], [`incident`]: emergency plans, who is on duty, and the incident with its pages
//! * [`usage`], [`tariff`], [`ledger`], [`supply`]: from register to consumption, price, posting and the relay
//! * [`credit`]: a top-up on its way into a meter's own wallet; [`reconcile`]: what that meter says against the ledger

pub mod alarm;
pub mod credit;
pub mod decode;
pub mod encode;
pub mod guess;
pub mod incident;
pub mod inhibition;
pub mod ledger;
pub mod plan;
pub mod profile;
pub mod reading;
pub mod reconcile;
pub mod roster;
pub mod supply;
pub mod tariff;
pub mod text;
pub mod time;
pub mod units;
pub mod usage;
