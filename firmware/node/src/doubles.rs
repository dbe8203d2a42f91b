//! Doubles of the hardware that lie as hardware does.

pub mod bench;
pub mod memory;
pub mod staging;
pub mod wire;
