//! Register words to values.
