//! The journal in EEPROM or FRAM.

/// Bytes of the memory that the journal takes, from address 0.
pub const MEMORY_BYTES: u16 = 8192;
