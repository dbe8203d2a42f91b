//! Wallets inside meters: a top-up frame, or a look.
//!
//! What may be written is [`guanjia_core::profile::Wallet`], which cannot exist for a fire panel or a lift. What proves it
//! is what the wallet shows in one read: purchases applied, the amount of the last, the balance, and what the last frame
//! came to. What follows from that is [`guanjia_core::credit`]; how a command is carried out is in [`super::command`].

use guanjia_core::profile::{Wallet, WalletSeen};
use guanjia_core::reading::DeviceIx;
use guanjia_core::time::Timestamp;

use super::Line;
use super::command::{Outcome, Prepared, Proof, Wanted};
use crate::frame::Write;
use crate::plan::ReadRequest;

/// Which wallet, what to do with it, and until when that is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletCommand {
    /// Which device.
    pub device: DeviceIx,
    /// Which of its profile's wallets.
    pub wallet: usize,
    /// What is sent; `None` only looks.
    pub frame: Option<CreditFrame>,
    /// After this nothing is sent any more.
    pub valid_until: Timestamp,
}

/// One top-up, as the meter is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditFrame {
    /// The purchase count.
    pub count: u32,
    /// Minor units.
    pub amount: i32,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletOutcome {
    /// What the wallet shows, read after the frame if there was one.
    Shown(WalletSeen),
    /// The frame may have been sent, and the wallet could not be read. The text says why.
    Unknown(String),
    /// It was too late; nothing was sent.
    Expired,
    /// There is no such wallet; nothing was sent. The text says why.
    NotWritable(String),
}

impl From<Outcome> for WalletOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Shown(seen) => WalletOutcome::Shown(seen),
            Outcome::Verified(_) | Outcome::NotTaken | Outcome::Moving | Outcome::Jammed => {
                WalletOutcome::Unknown("the wallet's registers were not read as its profile says".into())
            }
            Outcome::Refused(code) => WalletOutcome::Unknown(format!("exception {code:#04x}")),
            Outcome::Unknown(why) => WalletOutcome::Unknown(why),
            Outcome::Expired | Outcome::Superseded => WalletOutcome::Expired,
            Outcome::NotWritable(why) => WalletOutcome::NotWritable(why),
        }
    }
}

impl Line {
    pub(super) fn prepare_wallet(&self, command: &WalletCommand) -> Result<Prepared, String> {
        let device = self.devices.iter().position(|d| d.spec.ix == command.device);
        let device = device.ok_or("the line has no such device")?;
        let wallet = self.devices[device].spec.profile.wallets.get(command.wallet);
        let wallet = wallet.ok_or("the profile has no such wallet")?;
        let extent = wallet.extent();
        let read =
            ReadRequest { table: extent.table, address: extent.address, count: extent.count, points: Vec::new() };
        let write = command.frame.map(|frame| {
            let words = Wallet::frame(frame.count, frame.amount).to_vec();
            Write::Registers { address: wallet.address(), words }
        });
        Ok(Prepared { device, write, proof: Proof { point: None, read, wanted: Wanted::Told(wallet.clone()) } })
    }
}
