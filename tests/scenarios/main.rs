//! The whole program, from outside: the real binary, real sockets, real servers.

mod acknowledge;
mod dashboards;
mod durability;
mod escalation;
mod fire;
mod leak;
mod lift;
mod noise;
mod outage;
mod silence;
