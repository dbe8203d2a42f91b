//! Modems that dial in (4G DTUs): the gateway listens, they connect.
//!
//! A DTU sits in a pump house or a shop, on a bus of its own, behind an operator's address translation. Nobody can
//! connect to it, so it connects to us, keeps the connection for days, and calls again when it was lost. An *entrance*
//! is one listening port; behind it there is one *seat* for each DTU of the site file, and a seat is where a line gets
//! its stream.
//!
//! ```text
//!  accepted ──too many──────────────────────────────────────────────► refused (counted, and named now and then)
//!     │                                                                  ▲
//!     ▼            the bytes are nobody's registration                   │
//!   waiting ─────────────────────────────────────────────────────────────┤
//!     │    │       it says nothing in time, and no unit answers          │
//!     │    └──────────────► asked for the units of DTUs without ─────────┘
//!     │ begins with a       registration
//!     │ registration          │ the right unit answers
//!     ▼                       ▼
//!   seated ◄──────────────────┘   a newer connection of the same DTU: the old one is shut at once, whoever reads it
//!     │
//!     ▼ taken by the line's task, and kept until the connection itself breaks
//! ```
//!
//! * *Who is it?* A DTU is known by the bytes it sends first (its registration: an IMEI, a number, any bytes). One that
//!   sends nothing is known by its devices: they are asked, and the DTU belongs to the line whose unit answers.
//!   Neither is a proof of identity: whoever knows the IMEI can send it. Put the port behind the operator's private
//!   network, or in a VPN.
//! * *Silence is no reason to hang up.* One unit that does not answer says nothing about the modem, and a modem that is
//!   hung up on takes a minute to call again. The line keeps the connection through time-outs and listens for the
//!   line's linger before it goes on, as on a serial port.
//! * *A connection that is only half there* is found by TCP itself: keepalive while it is quiet, a limit on
//!   unacknowledged bytes while it is not.
//! * *Heartbeats* (and registrations that are repeated) come whenever the modem likes, also while an answer is
//!   awaited. They are taken out between frames and never in one; see [`dialled`].
//! * *Limits:* connections of an entrance, waiting ones among them; the time one may wait; the bytes of a registration.
//!
//! A power cut costs the connections. The modems call again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{LinkError, SerialFormat};
use crate::frame::Framing;

mod dialled;
mod entrance;
mod greeting;
mod question;
mod seat;

pub(crate) use dialled::{Asked, Dialled};
pub use entrance::{Caller, EntranceHandle, start_entrance};
pub use seat::Seat;

use crate::stats::Counter;

/// The longest registration or heartbeat, in bytes.
pub const PACKET_MAX: usize = 128;

/// What travels in the connection of a DTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// RTU frames as they are on its bus.
    Rtu(SerialFormat),
    /// ASCII frames as they are on its bus.
    Ascii(SerialFormat),
    /// Modbus TCP's frames: the DTU is a gateway itself.
    ModbusTcp,
}

impl Carries {
    pub(crate) fn format(&self) -> Option<&SerialFormat> {
        match self {
            Carries::Rtu(format) | Carries::Ascii(format) => Some(format),
            Carries::ModbusTcp => None,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        match self {
            Carries::Rtu(_) => Framing::Rtu,
            Carries::Ascii(_) => Framing::Ascii,
            Carries::ModbusTcp => Framing::Mbap,
        }
    }
}

/// One DTU, as a line knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialIn {
    /// The name of its entrance.
    pub entrance: Arc<str>,
    /// What people call it: its registration where that is text, else the name of its line.
    pub who: Arc<str>,
    /// The bytes its connection begins with; at most [`PACKET_MAX`]. `None`: it is known by its devices.
    pub registration: Option<Arc<[u8]>>,
    /// What it sends to keep its connection alive; at most [`PACKET_MAX`] bytes.
    pub heartbeat: Option<Arc<[u8]>>,
    /// What travels in its connection.
    pub carries: Carries,
}

impl DialIn {
    pub(crate) fn absent(&self) -> LinkError {
        LinkError::NotDialledIn { who: self.who.to_string(), entrance: self.entrance.to_string() }
    }

    /// The packets that are no answers, wherever they come between frames.
    fn packets(&self) -> Vec<Arc<[u8]>> {
        [&self.heartbeat, &self.registration].into_iter().flatten().filter(|p| !p.is_empty()).cloned().collect()
    }
}

/// One listening port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntranceConfig {
    /// Its name in the site file, in logs and in metrics.
    pub name: Arc<str>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long a connection may take until it has said who it is.
    pub register_within: Duration,
    /// How many connections there may be, those that have not said who they are among them.
    pub connections_max: usize,
}

/// What an entrance counts about itself.
#[derive(Debug, Default)]
pub struct DialInStats {
    /// Gauge: DTUs that are connected.
    pub connected: Counter,
    /// Gauge: connections that have not said who they are.
    pub waiting: Counter,
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections whose DTU called again while they were still open.
    pub replaced: Counter,
    /// Heartbeats and repeated registrations that were taken out of the stream.
    pub heartbeats: Counter,
    /// Connections that were refused because their first bytes are nobody's registration.
    pub refused_unknown: Counter,
    /// Connections that were refused because they did not say in time who they are.
    pub refused_silent: Counter,
    /// Connections that were refused because there were too many.
    pub refused_full: Counter,
}
