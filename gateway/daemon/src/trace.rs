//! Traces of lines: `guanjia capture` writes one, `guanjia replay` says what it means.
//!
//! ```text
//!   line's tap ─► /api/v1/lines/{line}/trace ─► capture ─► FILE, FILE.1, FILE.2 ... (oldest goes)
//!                                                            │
//!   site file or profile ───────────────────────────────────┴─► replay: frames, values, refusals
//! ```
//!
//! A running gateway owns its lines, so it is asked for what passes; nobody else opens the port. What a slow reader
//! misses is counted in the trace. The format is documented in `guanjia_field::trace`.

pub mod capture;
pub mod replay;
