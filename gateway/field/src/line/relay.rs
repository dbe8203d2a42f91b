//! Relay and valve commands.
//!
//! What may be written is [`guanjia_core::profile::Relay`], which cannot exist for a fire panel or a lift. What proves
//! it is the relay's own proof point. How a command is carried out is in [`super::command`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guanjia_core::profile::RelayAction;
use guanjia_core::reading::DeviceIx;
use guanjia_core::time::Timestamp;

use super::Line;
use super::command::{Outcome, Prepared, Proof, Wanted};
use crate::frame::Write;
use crate::plan::read_alone;

/// What a relay is to do, and until when that is still wanted.
#[derive(Clone, Debug)]
pub struct RelayCommand {
    /// Which device.
    pub device: DeviceIx,
    /// Which of its profile's relays.
    pub relay: usize,
    /// Open or close.
    pub action: RelayAction,
    /// After this nothing is sent any more.
    pub valid_until: Timestamp,
    /// The version of the decision this command carries out.
    pub version: u64,
    /// The version of the newest decision for this relay. If it is another one, nothing is sent.
    pub current_version: Arc<AtomicU64>,
}

impl RelayCommand {
    pub(super) fn is_superseded(&self) -> bool {
        self.current_version.load(Ordering::Acquire) != self.version
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayOutcome {
    /// The proof point shows the wanted position.
    Verified {
        /// When it was read.
        at: Timestamp,
    },
    /// The command was sent and the proof point still shows the other position after
    /// [`PROOF_MAX`](super::PROOF_MAX).
    NotMoved,
    /// The command was sent, and after that time the proof point shows that it is on its way: a valve. Where it arrives,
    /// that point's polls tell.
    Moving,
    /// The command was sent, and the proof point shows that it cannot get there.
    Jammed,
    /// The device refused with this exception; it did not move.
    Refused(u8),
    /// The command may have been sent, and the proof point could not be read. The text says why.
    Unknown(String),
    /// It was too late; nothing was sent.
    Expired,
    /// A newer decision exists; nothing was sent.
    Superseded,
    /// The device has no relay, or no readable proof point; nothing was sent.
    NoRelay,
}

impl From<Outcome> for RelayOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Verified(at) => RelayOutcome::Verified { at },
            Outcome::Shown(_) => RelayOutcome::Unknown("the answer was one to another command".into()),
            Outcome::NotTaken => RelayOutcome::NotMoved,
            Outcome::Moving => RelayOutcome::Moving,
            Outcome::Jammed => RelayOutcome::Jammed,
            Outcome::Refused(code) => RelayOutcome::Refused(code),
            Outcome::Unknown(why) => RelayOutcome::Unknown(why),
            Outcome::Expired => RelayOutcome::Expired,
            Outcome::Superseded => RelayOutcome::Superseded,
            Outcome::NotWritable(_) => RelayOutcome::NoRelay,
        }
    }
}

impl Line {
    pub(super) fn prepare_relay(&self, command: &RelayCommand) -> Result<Prepared, String> {
        self.relay_write(command).ok_or_else(|| "the device has no relay with a readable proof point".into())
    }

    fn relay_write(&self, command: &RelayCommand) -> Option<Prepared> {
        let device = self.devices.iter().position(|d| d.spec.ix == command.device)?;
        let profile = &self.devices[device].spec.profile;
        let relay = profile.relays.get(command.relay)?;
        let point = profile.point(relay.proof())?;
        let read = read_alone(&profile.points, &profile.limits, point)?;
        let words = relay.words();
        let write = Write::new(words.function, words.address, relay.words_of(command.action))?;
        let wanted = Wanted::Position(relay.clone(), command.action);
        Some(Prepared { device, write: Some(write), proof: Proof { point: Some(point), read, wanted } })
    }
}
