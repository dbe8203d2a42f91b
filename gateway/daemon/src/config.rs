//! Configuration.

mod alarms;
mod diagnostic;
mod document;
mod library;
mod people;
mod policy;
mod profile;
mod raw;
mod schema;
mod secret;
mod unit;
mod value;
