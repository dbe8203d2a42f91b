//! Settings: set points of pumps and drives, time tables of meters.
//!
//! What may be written is [`guanjia_core::profile::Setting`], which cannot exist for a fire panel or a lift, and nothing
//! can be written to a device whose profile has none. [`guanjia_core::encode::setting`] turns the value into words, keeps
//! the setting's limits and rounds nothing. The proof is that the device answers with the same words. How a command is
//! carried out is in [`super::command`].

use std::sync::Arc;

use guanjia_core::encode;
use guanjia_core::reading::{DeviceIx, Value};
use guanjia_core::time::Timestamp;

use super::Line;
use super::command::{Outcome, Prepared, Proof, Wanted};
use crate::frame::Write;
use crate::plan::read_alone;

/// What a point is to be set to, and until when that is still wanted.
#[derive(Clone, Debug)]
pub struct SettingCommand {
    /// Which device.
    pub device: DeviceIx,
    /// The point's id in the profile.
    pub point: Arc<str>,
    /// In the point's unit.
    pub value: Value,
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
            Outcome::Shown(_) => SettingOutcome::Unknown("the answer was one to another command".into()),
            Outcome::NotTaken | Outcome::Moving | Outcome::Jammed => SettingOutcome::NotTaken,
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
        let read = read_alone(&profile.points, &profile.limits, point);
        let read = read.ok_or("the setting's point cannot be read back; correct the profile")?;
        let encoded = encode::setting(profile, setting, &command.value).map_err(|error| error.to_string())?;
        let write = Write::new(encoded.function, encoded.address, &encoded.words);
        let write = write.ok_or("the profile's write function does not fit the point; correct the profile")?;
        let wanted = match &write {
            Write::Coil { on, .. } => Wanted::Bits(vec![*on]),
            Write::Coils { bits, .. } => Wanted::Bits(bits.clone()),
            Write::Register { word, .. } => Wanted::Words(vec![*word]),
            Write::Registers { words, .. } => Wanted::Words(words.clone()),
            Write::Mask { and, or, .. } => Wanted::Masked { mask: !and, word: *or },
        };
        Ok(Prepared { device, write: Some(write), proof: Proof { point: Some(point), read, wanted } })
    }
}
