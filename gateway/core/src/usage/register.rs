//! What one count of a billing register is worth, and how far it can move in a given time.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{HoldReason, REFRESH_SLACK, Resolution};
use crate::profile::{PointDef, Source, WireType};
use crate::reading::{Decimal, Value};
use crate::units::{Quantity, Utility};

/// How the value of a register reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberForm {
    /// As a whole number of register steps.
    Integer,
    /// As IEEE 754 binary32, 24 bits of precision.
    Binary32,
    /// As IEEE 754 binary64, or as a decimal number in a message.
    Binary64,
}

/// Who multiplies with the ratio of the current and voltage transformers. It must happen exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ratio {
    /// The meter does, or there are no transformers.
    InMeter,
    /// The gateway does: the register counts the secondary side. CT ratio x PT ratio.
    External(NonZeroU32),
}

/// What a register must be told apart by; [`Register::new`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterSpec {
    /// What it counts.
    pub utility: Utility,
    /// The unit after scaling, as a UCUM code: `W.h`, `kW.h`, `MW.h`, `mL`, `L`, `m3`.
    pub unit: String,
    /// What one step of the raw register is in that unit.
    pub scale: Decimal,
    /// How it is sent.
    pub form: NumberForm,
    /// Decimal digits of the raw register before it rolls over to zero; `None` if it never does or is not known,
    /// and then a step back is always held.
    pub digits: Option<u8>,
    /// Who multiplies with the transformers' ratio.
    pub ratio: Ratio,
    /// The most that can be used in one hour, in Wh or mL, on the primary side: the service's breaker or pipe.
    pub max_per_hour: Quantity,
}

impl RegisterSpec {
    /// The register behind a point of a profile.
    pub fn of(point: &PointDef, utility: Utility, ratio: Ratio, max_per_hour: Quantity) -> Self {
        let form = match &point.source {
            // What other registers have changed is no longer a whole number of the register's own steps.
            _ if !point.inputs.is_empty() || point.offset.mantissa != 0 => NumberForm::Binary64,
            Source::Registers(registers) | Source::Model { registers, .. } => match registers.wire {
                WireType::F16 | WireType::F32 => NumberForm::Binary32,
                WireType::F64 => NumberForm::Binary64,
                _ => NumberForm::Integer,
            },
            Source::Message { .. } | Source::Derived(_) | Source::Absent => NumberForm::Binary64,
        };
        let (unit, digits) = (point.unit.clone(), point.counter_digits);
        Self { utility, unit, scale: point.scale, form, digits, ratio, max_per_hour }
    }
}

/// Why a point cannot be billed by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The unit is not one of the utility.
    #[error("a register in \"{unit}\" cannot bill {utility}; choose the point that counts energy or volume")]
    Unit {
        /// As in the profile.
        unit: String,
        /// What should be billed.
        utility: Utility,
    },
    /// One step of the register is not a whole number of base units, nor a decimal fraction of one.
    #[error("one step of the register is not a whole number of Wh or mL; check the scale in the device profile")]
    Scale,
    /// The number of digits cannot be right.
    #[error("a counter of {0} digits cannot be; check counter_digits in the device profile (1 to 18)")]
    Digits(u8),
    /// Nothing could ever be used.
    #[error("the largest possible use per hour must be above zero; set it from the service's breaker or pipe")]
    MaxPerHour,
}

/// A checked billing register.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    utility: Utility,
    scale: Decimal,
    form: NumberForm,
    /// Ten to this power turns the profile's unit into base units.
    unit_exponent: i8,
    /// Register steps in one count; above 1 only where a step is finer than the base unit.
    steps_per_count: u64,
    /// Base units in one count, the transformers' ratio included.
    base_per_count: u64,
    /// Counts at which it starts again from zero.
    modulus: Option<u64>,
    max_per_hour: Quantity,
}

/// A value of the register in counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub raw: u64,
    /// Counts in one unit of the last place of a binary32; zero where the value is exact.
    pub ulp: u64,
    pub resolution: Resolution,
}

/// Beyond this many base units a double no longer tells single ones apart.
const FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

impl Register {
    /// Checks what a register is made of.
    ///
    /// # Errors
    /// [`RegisterError`], one per way a profile or a site file can be wrong.
    pub fn new(spec: RegisterSpec) -> Result<Self, RegisterError> {
        let unit_exponent = unit_exponent(spec.utility, &spec.unit)
            .ok_or(RegisterError::Unit { unit: spec.unit, utility: spec.utility })?;
        if spec.max_per_hour.0 <= 0 {
            return Err(RegisterError::MaxPerHour);
        }
        let turn = match spec.digits {
            Some(digits @ 1..=18) => Some(10u64.pow(u32::from(digits))),
            Some(digits) => return Err(RegisterError::Digits(digits)),
            None => None,
        };
        let (steps, base) = step_worth(spec.scale, unit_exponent).ok_or(RegisterError::Scale)?;
        // What does not come as register steps is counted in base units: one count is one of them.
        let (steps_per_count, base, modulus) = match (spec.form, turn) {
            (NumberForm::Integer, Some(turn)) if turn % steps != 0 => return Err(RegisterError::Scale),
            (NumberForm::Integer, turn) => (steps, base, turn.map(|turn| turn / steps)),
            (_, None) => (1, 1, None),
            (_, Some(turn)) if turn % steps == 0 => {
                (1, 1, Some((turn / steps).checked_mul(base).ok_or(RegisterError::Scale)?))
            }
            (_, Some(_)) => return Err(RegisterError::Scale),
        };
        let ratio = match spec.ratio {
            Ratio::InMeter => 1,
            Ratio::External(ratio) => u64::from(ratio.get()),
        };
        let base_per_count = base.checked_mul(ratio).ok_or(RegisterError::Scale)?;
        Ok(Self {
            utility: spec.utility,
            scale: spec.scale,
            form: spec.form,
            unit_exponent,
            steps_per_count,
            base_per_count,
            modulus,
            max_per_hour: spec.max_per_hour,
        })
    }

    /// What it counts.
    pub fn utility(&self) -> Utility {
        self.utility
    }

    /// What so many counts are in Wh or mL, transformer ratio included. `None` on overflow.
    pub fn quantity(&self, counts: u64) -> Option<Quantity> {
        counts.checked_mul(self.base_per_count).and_then(|base| i64::try_from(base).ok()).map(Quantity)
    }

    /// What a value of the register stands for in Wh or mL, transformer ratio included, for showing. `None` if it
    /// cannot be billed by.
    pub fn base_units(&self, value: &Value) -> Option<i64> {
        self.quantity(self.count(value).ok()?.raw).map(|quantity| quantity.0)
    }

    /// The register `counts` after `raw`, round zero if it rolls over.
    pub(crate) fn advance(&self, raw: u64, counts: u64) -> u64 {
        match self.modulus {
            Some(modulus) => ((u128::from(raw) + u128::from(counts)) % u128::from(modulus)) as u64,
            None => raw.saturating_add(counts),
        }
    }

    pub(super) fn modulus(&self) -> Option<u64> {
        self.modulus
    }

    /// The most counts it can move in `elapsed`. One more is added, as the first reading may have been about to turn.
    pub(super) fn most_counts(&self, elapsed: Duration) -> u64 {
        let millis = (elapsed + REFRESH_SLACK).as_millis();
        let base = millis.saturating_mul(u128::from(self.max_per_hour.0.unsigned_abs())).div_ceil(3_600_000);
        u64::try_from(base.div_ceil(u128::from(self.base_per_count))).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Reads a value as counts.
    pub(super) fn count(&self, value: &Value) -> Result<Count, HoldReason> {
        let count = match (self.form, value) {
            (NumberForm::Integer, Value::Decimal(value)) => self.count_steps(*value).ok_or(HoldReason::Unscaled)?,
            (NumberForm::Binary32 | NumberForm::Binary64, Value::Decimal(value)) => {
                self.count_decimal(*value).ok_or(HoldReason::Unscaled)?
            }
            (NumberForm::Binary32 | NumberForm::Binary64, Value::Float(value)) => self.count_float(*value)?,
            _ => return Err(HoldReason::Unscaled),
        };
        match self.modulus {
            Some(modulus) if count.raw >= modulus => Err(HoldReason::Unscaled),
            _ => Ok(count),
        }
    }

    /// An integer register: the scaled value must be a whole number of its steps.
    fn count_steps(&self, value: Decimal) -> Option<Count> {
        let scaled = value.rescale(self.scale.exponent)?;
        if scaled % self.scale.mantissa != 0 {
            return None;
        }
        let steps = u64::try_from(scaled / self.scale.mantissa).ok()?;
        Some(Count { raw: steps / self.steps_per_count, ulp: 0, resolution: Resolution::Fine })
    }

    /// A decimal number in a message, to the nearest base unit.
    fn count_decimal(&self, value: Decimal) -> Option<Count> {
        let exponent = i32::from(value.exponent) + i32::from(self.unit_exponent);
        let power = 10i128.checked_pow(exponent.unsigned_abs())?;
        let base = if exponent >= 0 {
            value.mantissa.checked_mul(power)?
        } else {
            value.mantissa.checked_add(power / 2)?.div_euclid(power)
        };
        Some(Count { raw: u64::try_from(base).ok()?, ulp: 0, resolution: Resolution::Fine })
    }

    /// A float, to the nearest base unit, with the resolution it has at its size.
    fn count_float(&self, value: f64) -> Result<Count, HoldReason> {
        let unit = 10f64.powi(i32::from(self.unit_exponent));
        let base = (value * unit).round();
        if !(0.0..FLOAT_MAX).contains(&base) {
            return Err(HoldReason::Unscaled);
        }
        let ulp = match self.form {
            NumberForm::Binary32 => {
                let sent = (value / self.scale.to_f64()) as f32;
                f64::from(sent.next_up() - sent) * self.scale.to_f64() * unit
            }
            NumberForm::Integer | NumberForm::Binary64 => 0.0,
        };
        if ulp >= self.utility.base_per_billing_unit() as f64 {
            return Err(HoldReason::Resolution);
        }
        let resolution = if ulp > self.utility.fine() as f64 { Resolution::Coarse } else { Resolution::Fine };
        Ok(Count { raw: base as u64, ulp: ulp.ceil() as u64, resolution })
    }
}

/// The power of ten from a UCUM unit to Wh or mL.
fn unit_exponent(utility: Utility, unit: &str) -> Option<i8> {
    Some(match (utility, unit) {
        (Utility::Electricity, "W.h") => 0,
        (Utility::Electricity, "kW.h") => 3,
        (Utility::Electricity, "MW.h") => 6,
        (Utility::Water, "mL") => 0,
        (Utility::Water, "L" | "l") => 3,
        (Utility::Water, "m3") => 6,
        _ => return None,
    })
}

/// One step of the register as (steps in a count, base units in a count), one of which is 1.
fn step_worth(scale: Decimal, unit_exponent: i8) -> Option<(u64, u64)> {
    let mut mantissa = u64::try_from(scale.mantissa).ok().filter(|m| *m > 0)?;
    let mut exponent = i32::from(scale.exponent) + i32::from(unit_exponent);
    while exponent < 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    let power = 10u64.checked_pow(exponent.unsigned_abs())?;
    match exponent {
        0.. => Some((1, mantissa.checked_mul(power)?)),
        _ if mantissa == 1 => Some((power, 1)),
        _ => None,
    }
}
