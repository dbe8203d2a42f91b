//! `guanjia-store`: what must last.
//!
//! Two stores, one direction:
//!
//! ```text
//!  alarms, pages, top-ups, usage          rows in (site, epoch, seq) order
//!        │                                          │
//!        ▼                                          ▼
//!   [`Store`]  ── outbox rows, hash chained ──►  [`BillingStore`]
//!   journal: one SQLite file in the              SQLite file or PostgreSQL,
//!   site's data directory, one writer            fed by the outbox only
//! ```
//!
//! * [`Store`] is the journal of one gateway. It is always SQLite, always in the data directory, and a write is
//!   answered only after it is on the disk.
//! * [`BillingStore`] is the bookkeeper's copy. It is idempotent, refuses gaps and notices forks; it never tells the
//!   journal what to believe.
//!
//! Money is [`guanjia_core::units::Hao`] in `BIGINT`, exact charges are `i128` as `TEXT`, times are milliseconds of
//! UTC in `BIGINT`. Neither schema has a floating-point column.

mod billing;
mod chain;
mod error;
mod journal;
mod payload;
mod schema;
mod sql;

pub use billing::{BillingCounts, BillingStore, BillingTarget, Cursor, MAX_APPEND_ROWS, WalletSum};
pub use error::StoreError;
pub use journal::{
    AlarmBatch, Backlog, ClosePermit, CreditDecision, Explanation, KeptMessage, Notice, OutboxRow, PageResult,
    PageStatus, RelayOutcome, StatementLine, Store, Violation, Wallet,
};
