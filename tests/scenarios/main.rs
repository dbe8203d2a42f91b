//! The whole program, from outside: the real binary, real sockets, real servers.

mod billing;
mod dashboards;
mod demo;
mod fire;
mod mqtt;
mod prepaid;
mod reload;
mod shutdown;
mod top_up;
