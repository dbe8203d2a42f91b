//! What the scenario tests share: the dashboards' generator and the harness around the real binary.

pub mod dashboards;
pub mod duty;
pub mod gateway;
pub mod house;
pub mod prometheus;
