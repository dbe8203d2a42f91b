//! From register to consumption.
