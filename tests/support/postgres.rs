//! The private PostgreSQL server that the store's own tests use: temporary directory, free port, not as root, gone
//! with this process.

#[path = "../../gateway/store/tests/support/pg.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot start its server has failed")]
mod pg;

pub use pg::{Pg, shared};
