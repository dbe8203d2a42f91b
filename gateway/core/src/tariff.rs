//! From consumption to money.
