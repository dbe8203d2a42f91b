//! What may be written to a device, and how.
//!
//! Whatever can be written is a [`Setting`] or a [`Relay`], and neither can be made for fire panels and lifts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::EquipmentClass;
use crate::reading::Decimal;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteFunction {
    /// Function 05, one coil.
    Coil,
    /// Function 06, one register.
    Register,
    /// Function 15, several coils.
    Coils,
    /// Function 16, several registers.
    Registers,
    /// Function 22, some bits of one register.
    Mask,
}

impl WriteFunction {
    /// Whether it writes coils; otherwise it writes holding registers.
    pub fn is_coils(self) -> bool {
        matches!(self, WriteFunction::Coil | WriteFunction::Coils)
    }

    /// How many words (coils, registers, or the two masks) one write takes, at most (Modbus Application Protocol
    /// V1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16).
    pub fn count_max(self) -> usize {
        match self {
            WriteFunction::Coil | WriteFunction::Register => 1,
            WriteFunction::Coils => 1_968,
            WriteFunction::Registers => 123,
            WriteFunction::Mask => 2,
        }
    }

    /// The function code on the wire.
    pub fn code(self) -> u8 {
        match self {
            WriteFunction::Coil => 5,
            WriteFunction::Register => 6,
            WriteFunction::Coils => 15,
            WriteFunction::Registers => 16,
            WriteFunction::Mask => 22,
        }
    }
}

/// A point that may be written: set points of pumps and drives, time tables of meters. Whatever has none is read only.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    point: Arc<str>,
    function: WriteFunction,
    min: Decimal,
    max: Decimal,
}

impl Setting {
    /// A point of a device of `class` that may be set to `min` up to `max`, in the point's unit.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        point: Arc<str>,
        function: WriteFunction,
        min: Decimal,
        max: Decimal,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { point, function, min, max })
    }

    /// The id of the point that is written and read back.
    pub fn point(&self) -> &Arc<str> {
        &self.point
    }

    /// How it is written.
    pub fn function(&self) -> WriteFunction {
        self.function
    }

    /// The least value that may be written.
    pub fn min(&self) -> Decimal {
        self.min
    }

    /// The greatest value that may be written.
    pub fn max(&self) -> Decimal {
        self.max
    }
}

/// What a relay or valve can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayAction {
    /// Interrupt the supply.
    Open,
    /// Restore the supply.
    Close,
}

/// Where the supply relay or valve of a meter is written, and which point proves that it moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    function: WriteFunction,
    address: u16,
    open: Vec<u16>,
    close: Vec<u16>,
    proof: Arc<str>,
    proof_open: i64,
}

/// A class of equipment that this program may look at and must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} equipment is never written to")]
pub struct ReadOnlyEquipment(pub EquipmentClass);

impl Relay {
    /// A relay in holding registers from `address` on, written with function 16. `open` interrupts the supply,
    /// `close` restores it; afterwards the point `proof` reads `proof_open` exactly when the contact is open.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        address: u16,
        open: Vec<u16>,
        close: Vec<u16>,
        proof: Arc<str>,
        proof_open: i64,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { function: WriteFunction::Registers, address, open, close, proof, proof_open })
    }

    /// The same relay written with another function. Coils are words of 0 and 1; function 22 takes two words, the AND
    /// mask and the OR mask.
    #[must_use]
    pub fn with_function(self, function: WriteFunction) -> Self {
        Self { function, ..self }
    }

    /// How it is written.
    pub fn function(&self) -> WriteFunction {
        self.function
    }

    /// The first register or coil of the control word.
    pub fn address(&self) -> u16 {
        self.address
    }

    /// The words that interrupt the supply.
    pub fn open(&self) -> &[u16] {
        &self.open
    }

    /// The words that restore it.
    pub fn close(&self) -> &[u16] {
        &self.close
    }

    /// The id of the point that tells where the contact is.
    pub fn proof(&self) -> &Arc<str> {
        &self.proof
    }

    /// What that point reads while the contact is open.
    pub fn proof_open(&self) -> i64 {
        self.proof_open
    }
}
