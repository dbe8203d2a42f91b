//! The web side on a real socket, against a small house with a real journal and a desk that obeys.

mod api;
mod console;
mod debt;
mod evidence;
mod house;
mod links;
mod metrics;
