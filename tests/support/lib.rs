//! What the scenario tests share: the dashboards' generator and the harness around the real binary.

pub mod books;
pub mod dashboards;
pub mod duty;
pub mod gateway;
pub mod house;
pub mod lines;
pub mod mosquitto;
pub mod node;
pub mod papers;
pub mod peer;
pub mod postgres;
pub mod prometheus;
