//! The units a file may use: UCUM codes for machines, the common spellings for people.
//!
//! Only units whose ratio is a power of ten stand here, so that every conversion is exact.

use super::diagnostic;

/// What a unit measures. Only units of one kind are converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Active energy.
    Energy,
    /// Reactive energy.
    ReactiveEnergy,
    /// Apparent energy.
    ApparentEnergy,
    /// Active power.
    Power,
    /// Reactive power.
    ReactivePower,
    /// Apparent power.
    ApparentPower,
    /// Voltage.
    Voltage,
    /// Current.
    Current,
    /// Frequency.
    Frequency,
    /// Volume.
    Volume,
    /// Volume flow.
    Flow,
    /// Length, level.
    Length,
    /// Pressure.
    Pressure,
    /// Temperature.
    Temperature,
    /// Share of a whole.
    Ratio,
    /// Plane angle.
    Angle,
    /// Speed.
    Speed,
    /// Turning speed.
    Rotation,
    /// Electric charge.
    Charge,
    /// Time in seconds. Hours and days are no powers of ten of it, so nothing is converted between them.
    Seconds,
    /// Time in minutes.
    Minutes,
    /// Time in hours.
    Hours,
    /// Time in days.
    Days,
    /// Energy of heat or cold in an hour.
    HeatFlow,
    /// Energy for a volume.
    SpecificEnergy,
    /// Memory.
    Memory,
}

/// One unit.
#[derive(Debug)]
pub struct Unit {
    /// The UCUM code, the form in profiles, metrics and rows.
    pub code: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// It is ten to this power of its kind's first unit in [`UNITS`].
    pub exponent: i8,
    /// Other spellings people use.
    pub spellings: &'static [&'static str],
}

const fn unit(code: &'static str, kind: Kind, exponent: i8, spellings: &'static [&'static str]) -> Unit {
    Unit { code, kind, exponent, spellings }
}

/// Every unit.
pub const UNITS: &[Unit] = &[
    unit("W.h", Kind::Energy, 0, &["Wh"]),
    unit("kW.h", Kind::Energy, 3, &["kWh"]),
    unit("MW.h", Kind::Energy, 6, &["MWh"]),
    unit("var.h", Kind::ReactiveEnergy, 0, &["varh"]),
    unit("kvar.h", Kind::ReactiveEnergy, 3, &["kvarh"]),
    unit("kV.A.h", Kind::ApparentEnergy, 3, &["kVAh"]),
    unit("W", Kind::Power, 0, &[]),
    unit("kW", Kind::Power, 3, &[]),
    unit("MW", Kind::Power, 6, &[]),
    unit("var", Kind::ReactivePower, 0, &[]),
    unit("kvar", Kind::ReactivePower, 3, &[]),
    unit("V.A", Kind::ApparentPower, 0, &["VA"]),
    unit("kV.A", Kind::ApparentPower, 3, &["kVA"]),
    unit("V", Kind::Voltage, 0, &[]),
    unit("mV", Kind::Voltage, -3, &[]),
    unit("kV", Kind::Voltage, 3, &[]),
    unit("A", Kind::Current, 0, &[]),
    unit("mA", Kind::Current, -3, &[]),
    unit("Hz", Kind::Frequency, 0, &[]),
    unit("mL", Kind::Volume, -3, &["ml"]),
    unit("L", Kind::Volume, 0, &["l"]),
    unit("m3", Kind::Volume, 3, &["m³"]),
    unit("L/h", Kind::Flow, 0, &["l/h"]),
    unit("m3/h", Kind::Flow, 3, &["m³/h"]),
    unit("mm", Kind::Length, 0, &[]),
    unit("cm", Kind::Length, 1, &[]),
    unit("m", Kind::Length, 3, &[]),
    unit("Pa", Kind::Pressure, 0, &[]),
    unit("kPa", Kind::Pressure, 3, &[]),
    unit("bar", Kind::Pressure, 5, &[]),
    unit("MPa", Kind::Pressure, 6, &[]),
    unit("Cel", Kind::Temperature, 0, &["°C"]),
    unit("%", Kind::Ratio, 0, &[]),
    unit("deg", Kind::Angle, 0, &["°"]),
    unit("m/s", Kind::Speed, 0, &[]),
    unit("mm/s", Kind::Speed, -3, &[]),
    unit("/min", Kind::Rotation, 0, &["rpm"]),
    unit("A.h", Kind::Charge, 0, &["Ah"]),
    unit("s", Kind::Seconds, 0, &[]),
    unit("min", Kind::Minutes, 0, &[]),
    unit("h", Kind::Hours, 0, &[]),
    unit("d", Kind::Days, 0, &[]),
    unit("GJ/h", Kind::HeatFlow, 0, &[]),
    unit("W.h/m3", Kind::SpecificEnergy, 0, &["Wh/m3"]),
    unit("By", Kind::Memory, 0, &["B"]),
];

/// The unit of that code or spelling. Case matters: `mW` is not `MW`.
pub fn find(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|u| u.code == name || u.spellings.contains(&name))
}

/// What somebody may have meant.
pub fn suggest(wrong: &str) -> String {
    let same = UNITS.iter().find(|u| u.code.eq_ignore_ascii_case(wrong));
    match same {
        Some(unit) => format!("did you mean `{}`?", unit.code),
        None => diagnostic::suggest(wrong, UNITS.iter().map(|u| u.code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_means_two_units() {
        let mut seen = std::collections::BTreeSet::new();
        for unit in UNITS {
            for name in std::iter::once(&unit.code).chain(unit.spellings) {
                assert!(seen.insert(*name), "{name} stands twice");
            }
        }
    }
}
