//! The register file of a device at one moment, and the reading of it.
//!
//! A file is built fresh for every request from the device's physical state, so a value of two registers is never
//! torn. An address that is not in the file does not exist: a request that touches it gets exception 02, as the
//! Modbus Application Protocol V1.1b3 (6.3) has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which table of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Holding registers, function 3.
    Holding,
    /// Input registers, function 4.
    Input,
}

/// Why a device refuses a request; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exception {
    IllegalFunction = 1,
    IllegalDataAddress = 2,
    IllegalDataValue = 3,
    /// Answered by a gateway in the name of a device behind it that is silent.
    TargetFailedToRespond = 11,
}

/// All registers of one device at one moment.
#[derive(Debug, Default)]
pub(crate) struct RegisterFile {
    words: BTreeMap<(Table, u16), u16>,
}

impl RegisterFile {
    pub(crate) fn u16(&mut self, table: Table, address: u16, value: u16) {
        self.words.insert((table, address), value);
    }

    /// The more significant word first.
    pub(crate) fn u32(&mut self, table: Table, address: u16, value: u32) {
        self.u16(table, address, (value >> 16) as u16);
        self.u16(table, address + 1, (value & 0xFFFF) as u16);
    }

    pub(crate) fn i32(&mut self, table: Table, address: u16, value: i32) {
        self.u32(table, address, u32::from_be_bytes(value.to_be_bytes()));
    }

    /// IEEE 754 single precision, the more significant word first.
    pub(crate) fn f32(&mut self, table: Table, address: u16, value: f64) {
        self.u32(table, address, (value as f32).to_bits());
    }

    /// Puts forced values over the physical ones; an address outside the map stays outside it.
    pub(crate) fn force(&mut self, forced: &BTreeMap<(Table, u16), u16>) {
        for (key, value) in forced {
            if let Some(word) = self.words.get_mut(key) {
                *word = *value;
            }
        }
    }

    pub(crate) fn read(&self, table: Table, first: u16, count: u16) -> Result<Vec<u16>, Exception> {
        (0..count)
            .map(|n| first.checked_add(n).and_then(|address| self.words.get(&(table, address)).copied()))
            .collect::<Option<Vec<u16>>>()
            .ok_or(Exception::IllegalDataAddress)
    }

    /// Every register as `table:address` and value, for the ground truth.
    pub(crate) fn listing(&self) -> BTreeMap<String, u16> {
        let name = |table| if table == Table::Holding { "holding" } else { "input" };
        self.words.iter().map(|((table, address), value)| (format!("{}:{address}", name(*table)), *value)).collect()
    }

    pub(crate) fn contains(&self, table: Table, address: u16) -> bool {
        self.words.contains_key(&(table, address))
    }
}
