//! Whether a shop has power, and why.
