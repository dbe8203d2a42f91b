//! Settings: set points of pumps and drives, time tables of meters.
//!
//! What may be written is [`guanjia_core::profile::Setting`], which cannot exist for a fire panel or a lift, and nothing
//! can be written to a device whose profile has none. The words that are sent are decoded first, as if the device had
//! answered them, and must lie within the setting's limits: whoever encodes wrongly is told so and nothing is sent. The
//! proof is that the device answers with the same words. How a command is carried out is in [`super::command`].

use std::cmp::Ordering;
use std::sync::Arc;

use guanjia_core::decode::{decode, decode_bit};
use guanjia_core::profile::{Setting, Table, WriteFunction};
use guanjia_core::reading::{Decimal, DeviceIx, Value};
use guanjia_core::time::Timestamp;

use super::Line;
use super::command::{Outcome, Prepared, Proof, Wanted};
use crate::frame::{WORDS_WRITTEN_MAX, Write};
use crate::plan::{read_alone, registers};

/// What a point is to be set to, and until when that is still wanted.
#[derive(Clone, Debug)]
pub struct SettingCommand {
    /// Which device.
    pub device: DeviceIx,
    /// The point's id in the profile.
    pub point: Arc<str>,
    /// The registers from the point's address on, as they are sent; for a coil one word, 0 or 1; for a part of a
    /// register (function 22) the whole register with the part in its place.
    pub words: Vec<u16>,
    /// After this nothing is sent any more.
    pub valid_until: Timestamp,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOutcome {
    /// The device was read back and shows what was wanted.
    Verified {
        /// When it was read.
        at: Timestamp,
    },
    /// It was sent, and the device still shows something else after [`PROOF_MAX`](super::PROOF_MAX).
    NotTaken,
    /// The device refused with this exception.
    Refused(u8),
    /// It may have been sent, and could not be read back. The text says why.
    Unknown(String),
    /// It was too late; nothing was sent.
    Expired,
    /// The profile does not allow this; nothing was sent. The text says why.
    NotWritable(String),
}

impl From<Outcome> for SettingOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Verified(at) => SettingOutcome::Verified { at },
            Outcome::NotTaken => SettingOutcome::NotTaken,
            Outcome::Refused(code) => SettingOutcome::Refused(code),
            Outcome::Unknown(why) => SettingOutcome::Unknown(why),
            Outcome::Expired | Outcome::Superseded => SettingOutcome::Expired,
            Outcome::NotWritable(why) => SettingOutcome::NotWritable(why),
        }
    }
}

impl Line {
    pub(super) fn prepare_setting(&self, command: &SettingCommand) -> Result<Prepared, String> {
        let device = self.devices.iter().position(|d| d.spec.ix == command.device);
        let device = device.ok_or("the line has no such device")?;
        let profile = &self.devices[device].spec.profile;
        let setting = profile.settings.iter().find(|s| *s.point() == command.point);
        let setting =
            setting.ok_or_else(|| format!("{} is read only: its profile has no such setting", command.point))?;
        let point = profile.point(setting.point()).ok_or("the setting's point does not exist; correct the profile")?;
        let def = &profile.points[point];
        let place = registers(def).ok_or("the setting's point is in no register; correct the profile")?;
        let read = read_alone(&profile.points, &profile.limits, point);
        let read = read.ok_or("the setting's point cannot be read back; correct the profile")?;
        let words = &command.words;
        if words.len() != usize::from(place.count) {
            return Err(format!("{} words for a point of {}", words.len(), place.count));
        }
        let meant = match (place.table, words.as_slice()) {
            (Table::Coil, [word @ (0 | 1)]) => decode_bit(def, *word == 1),
            (Table::Holding, words) => decode(def, words),
            _ => return Err("only coils and holding registers can be written".into()),
        };
        match meant {
            Ok(value) if is_within(&value, setting) => {}
            Ok(value) => {
                return Err(format!(
                    "{value} lies outside what the profile allows, {} to {}",
                    setting.min(),
                    setting.max()
                ));
            }
            Err(error) => return Err(format!("the device would read these words as no value: {error}")),
        }
        let (write, wanted) = write(setting.function(), place.table, place.address, words, place_mask(place))
            .ok_or("the profile's write function does not fit the point; correct the profile")?;
        Ok(Prepared { device, write, proof: Proof { point, read, wanted } })
    }
}

/// The bits of a register that a point occupies.
fn place_mask(place: &guanjia_core::profile::Registers) -> Option<u16> {
    match (place.bit, place.mask) {
        (Some(bit), _) => 1_u16.checked_shl(bit.into()),
        (None, Some(mask)) => u16::try_from(mask).ok(),
        (None, None) => Some(u16::MAX),
    }
}

/// What is sent and what proves it; `None` if the function cannot write that.
fn write(
    function: WriteFunction,
    table: Table,
    address: u16,
    words: &[u16],
    mask: Option<u16>,
) -> Option<(Write, Wanted)> {
    let proof = || Wanted::Words(words.to_vec());
    let is_whole = mask == Some(u16::MAX);
    match (function, table, words) {
        (WriteFunction::Coil, Table::Coil, [word]) => {
            let on = *word == 1;
            Some((Write::Coil { address, on }, Wanted::Bits(vec![on])))
        }
        (WriteFunction::Coils, Table::Coil, [word]) => {
            let bits = vec![*word == 1];
            Some((Write::Coils { address, bits: bits.clone() }, Wanted::Bits(bits)))
        }
        (WriteFunction::Register, Table::Holding, [word]) if is_whole => {
            Some((Write::Register { address, word: *word }, proof()))
        }
        (WriteFunction::Registers, Table::Holding, words)
            if is_whole && (1..=WORDS_WRITTEN_MAX).contains(&words.len()) =>
        {
            Some((Write::Registers { address, words: words.to_vec() }, proof()))
        }
        (WriteFunction::Mask, Table::Holding, [word]) => {
            let mask = mask?;
            Some((Write::Mask { address, and: !mask, or: word & mask }, Wanted::Masked { mask, word: *word }))
        }
        _ => None,
    }
}

fn is_within(value: &Value, setting: &Setting) -> bool {
    let number = match value {
        Value::Bool(bit) => Decimal::new(i128::from(*bit), 0),
        Value::Decimal(number) => *number,
        // A float register holds the nearest float; beyond nine decimals nobody sets anything.
        Value::Float(_) => {
            return value.as_f64().is_some_and(|v| {
                let bound = |d: Decimal| Value::Decimal(d).as_f64();
                bound(setting.min()).is_some_and(|min| v >= min) && bound(setting.max()).is_some_and(|max| v <= max)
            });
        }
        Value::Text(_) => return false,
    };
    is_at_most(setting.min(), number) && is_at_most(number, setting.max())
}

fn is_at_most(a: Decimal, b: Decimal) -> bool {
    let exponent = a.exponent.min(b.exponent);
    match (a.rescale(exponent), b.rescale(exponent)) {
        (Some(a), Some(b)) => a.cmp(&b) != Ordering::Greater,
        _ => false,
    }
}
