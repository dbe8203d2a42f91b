//! What may be written to a device, and how.
//!
//! Whatever can be written is a [`Setting`] or a [`Relay`], and neither can be made for fire panels and lifts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::EquipmentClass;
use crate::reading::{Decimal, Value};

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

/// How a relay or valve is told where to go.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayWords {
    /// How it is written. Coils are words of 0 and 1; function 22 takes two words, the AND mask and the OR mask.
    pub function: WriteFunction,
    /// The first register or coil.
    pub address: u16,
    /// What interrupts the supply.
    pub cut: Vec<u16>,
    /// What restores it.
    pub restore: Vec<u16>,
}

/// The point that tells where a relay or valve is, and what it reads where; any other reading proves nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayProof {
    /// The id of the point.
    pub point: Arc<str>,
    /// The supply is interrupted.
    pub cut: Vec<i64>,
    /// The supply is there.
    pub supplied: Vec<i64>,
    /// On the way to interrupted.
    pub cutting: Vec<i64>,
    /// On the way to supplied.
    pub restoring: Vec<i64>,
    /// It was told to move and cannot.
    pub jammed: Vec<i64>,
}

/// Where a relay or valve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayPosition {
    /// The supply is interrupted.
    Cut,
    /// The supply is there.
    Supplied,
    /// On the way to interrupted.
    Cutting,
    /// On the way to supplied.
    Restoring,
    /// It was told to move and cannot.
    Jammed,
    /// The device does not know, or says something that its profile does not name.
    Unknown,
}

/// A relay or valve: which registers count what it supplies, how it is moved, and which point proves that it moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    supplies: Vec<Arc<str>>,
    words: RelayWords,
    proof: RelayProof,
}

/// A class of equipment that this program may look at and must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} equipment is never written to")]
pub struct ReadOnlyEquipment(pub EquipmentClass);

impl Relay {
    /// A relay that supplies what these points count (different names of one counter, or several counters); without any,
    /// whatever the device counts.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        supplies: Vec<Arc<str>>,
        words: RelayWords,
        proof: RelayProof,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { supplies, words, proof })
    }

    /// Whether it supplies what that point counts.
    pub fn supplies(&self, point: &str) -> bool {
        self.supplies.is_empty() || self.supplies.iter().any(|id| **id == *point)
    }

    /// How it is told where to go.
    pub fn words(&self) -> &RelayWords {
        &self.words
    }

    /// The words of an action.
    pub fn words_of(&self, action: RelayAction) -> &[u16] {
        match action {
            RelayAction::Open => &self.words.cut,
            RelayAction::Close => &self.words.restore,
        }
    }

    /// The id of the point that tells where it is.
    pub fn proof(&self) -> &Arc<str> {
        &self.proof.point
    }

    /// Where it is, by a value of that point.
    pub fn position(&self, value: &Value) -> RelayPosition {
        let code = match value {
            Value::Bool(bit) => Some(i64::from(*bit)),
            Value::Decimal(number) => number.rescale(0).and_then(|code| i64::try_from(code).ok()),
            Value::Float(_) | Value::Text(_) => None,
        };
        let Some(code) = code else { return RelayPosition::Unknown };
        [
            (&self.proof.cut, RelayPosition::Cut),
            (&self.proof.supplied, RelayPosition::Supplied),
            (&self.proof.cutting, RelayPosition::Cutting),
            (&self.proof.restoring, RelayPosition::Restoring),
            (&self.proof.jammed, RelayPosition::Jammed),
        ]
        .into_iter()
        .find_map(|(codes, position)| codes.contains(&code).then_some(position))
        .unwrap_or(RelayPosition::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_proved_by_its_own_codes_and_by_nothing_else() {
        let words = RelayWords { function: WriteFunction::Coil, address: 0, cut: vec![0], restore: vec![1] };
        let proof = RelayProof {
            point: "supply_1".into(),
            cut: vec![1],
            supplied: vec![2],
            cutting: vec![3],
            restoring: vec![4],
            jammed: vec![5],
        };
        let relay = Relay::new(EquipmentClass::WaterMeter, vec!["pulses_1".into()], words, proof).unwrap();
        assert!(relay.supplies("pulses_1") && !relay.supplies("pulses_2"));
        assert_eq!((relay.words_of(RelayAction::Open), relay.words_of(RelayAction::Close)), (&[0][..], &[1][..]));
        let said = |code: i128| relay.position(&Value::Decimal(Decimal::new(code, 0)));
        use RelayPosition::{Cut, Cutting, Jammed, Restoring, Supplied, Unknown};
        assert_eq!([1, 2, 3, 4, 5].map(said), [Cut, Supplied, Cutting, Restoring, Jammed]);
        assert_eq!([0, 6, -1].map(said), [Unknown; 3]);
        assert_eq!(relay.position(&Value::Bool(true)), Cut, "a coil reads 0 or 1");
        assert_eq!(relay.position(&Value::Decimal(Decimal::new(11, -1))), Unknown, "1.1 is not 1");
        assert_eq!(relay.position(&Value::Float(1.0)), Unknown);
    }
}
