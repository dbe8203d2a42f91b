//! The whole program, from outside: the real binary, real sockets, real servers.

mod acceptance;
mod acknowledge;
mod billing;
mod dashboards;
mod demo;
mod durability;
mod escalation;
mod evidence;
mod facility_node;
mod fire;
mod leak;
mod lift;
mod lines;
mod logger;
mod mqtt;
mod mqtt_promises;
mod node;
mod noise;
mod outage;
mod prepaid;
mod reload;
mod shutdown;
mod silence;
mod tools;
mod top_up;
mod topics;
