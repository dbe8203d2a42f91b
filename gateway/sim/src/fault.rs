//! How lines and devices can be made to misbehave, each fault as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::inventory::LineId;
use crate::world::Life;
use crate::world::meter::Contactor;
use crate::world::utility::Pump;

/// What a line does to the requests and replies on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFault {
    /// How its server treats connections.
    #[serde(default)]
    pub server: Server,
    /// Whether noise gets between the frames and into them.
    #[serde(default)]
    pub noise: Noise,
    /// Added to every reply; a reply that comes after its connection was closed goes to the newest one.
    #[serde(default)]
    pub delay_ms: u32,
    /// How many of 100 requests are lost.
    #[serde(default)]
    pub drop_percent: u8,
}

impl LineFault {
    pub(crate) fn delay(self) -> Duration {
        Duration::from_millis(u64::from(self.delay_ms))
    }
}

/// How the server of a line treats connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// As it should.
    #[default]
    Works,
    /// It accepts connections and bytes and never answers.
    Hangs,
    /// It closes every connection at once.
    Down,
}

/// Whether a line is noisy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// Quiet.
    #[default]
    Off,
    /// Bytes appear from nowhere, before replies, and instead of bits of them.
    Garbage,
}

/// One thing to break or to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Replaces the fault state of a line.
    Line {
        /// Which line.
        line: LineId,
        /// What it does from now on; the default is a healthy line.
        #[serde(default)]
        fault: LineFault,
    },
    /// Kills a device or brings it back. An MQTT device drops off the broker without a farewell.
    Device {
        /// Which device.
        device: String,
        /// Alive or dead.
        life: Life,
    },
    /// Jams a meter's contactor or frees it.
    Contactor {
        /// Which meter.
        device: String,
        /// Whether it obeys.
        contactor: Contactor,
    },
    /// Trips the sump pump or resets it.
    SumpPump {
        /// Whether it can run.
        pump: Pump,
    },
    /// What the broker does.
    Broker {
        /// The action.
        action: BrokerAction,
    },
}

/// What can be done to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokerAction {
    /// It keeps its connections and handles nothing.
    Freeze,
    /// It continues after a freeze.
    Thaw,
    /// It closes all connections; sessions and retained messages stay.
    DropConnections,
    /// It closes all connections and forgets all sessions and retained messages.
    Restart,
}
