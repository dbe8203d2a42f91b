//! What the rest of the program holds of a line, and how it gives it commands.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::command::{Order, Outcome, Waiting};
use super::{RelayCommand, RelayOutcome, SettingCommand, SettingOutcome, WalletCommand, WalletOutcome};
use crate::stats::LineStats;
use crate::tap::Tap;

/// What the rest of the program holds of a line.
#[derive(Clone, Debug)]
pub struct LineHandle {
    pub(super) name: Arc<str>,
    pub(super) stats: Arc<LineStats>,
    pub(super) tap: Arc<Tap>,
    /// Boxed: a channel keeps room for 32 of them, on each of hundreds of lines.
    pub(super) commands: mpsc::Sender<Box<Waiting>>,
}

impl LineHandle {
    /// The line's name in the site file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the line counts about itself.
    pub fn stats(&self) -> &Arc<LineStats> {
        &self.stats
    }

    /// Where the bytes of the line can be watched.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// Moves a relay or valve and tells where it is afterwards.
    ///
    /// The command goes ahead of all polls. Right before its first byte `valid_until` and `version` are checked. While
    /// the line is down it waits; it ends no later than one transaction and the time for the proof after
    /// `valid_until`. Dropping the future before the first byte is sent withdraws the command; afterwards it changes
    /// nothing.
    pub async fn relay(&self, command: RelayCommand) -> RelayOutcome {
        self.order(Order::Relay(command)).await.into()
    }

    /// Sets a point of a device and tells what it shows afterwards.
    ///
    /// Only what the device's profile lists as a setting can be set, within its limits; fire panels and lifts have none.
    /// When it is sent, how long it waits and how it is withdrawn is as for [`LineHandle::relay`].
    pub async fn write(&self, command: SettingCommand) -> SettingOutcome {
        self.order(Order::Setting(command)).await.into()
    }

    /// Tops up a wallet inside a meter, or looks at one, and tells what the meter shows afterwards.
    ///
    /// The frame is sent once, and what the meter answers to it is not the outcome: what it shows is. Whoever gives the
    /// command has written count and amount down before ([`guanjia_core::credit`]). When it is sent, how long it waits
    /// and how it is withdrawn is as for [`LineHandle::relay`].
    pub async fn wallet(&self, command: WalletCommand) -> WalletOutcome {
        self.order(Order::Wallet(command)).await.into()
    }

    async fn order(&self, order: Order) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.stats.queue.add(1);
        if self.commands.send(Box::new(Waiting::new(order, answer))).await.is_err() {
            self.stats.queue.sub(1);
            return Outcome::Unknown("the line has stopped; nothing was sent".into());
        }
        let stopped = || Outcome::Unknown("the line stopped before the command was finished; read the device".into());
        outcome.await.unwrap_or_else(|_| stopped())
    }
}
