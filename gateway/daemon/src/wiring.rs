//! Every task of a generation and every channel between them, in one place.
//!
//! | channel | carries | bound | when it is full |
//! |---|---|---|---|
//! | reports | lines and MQTT to hub | [`hub::REPORTS_MAX`] | the sender drops the report and counts it |
//! | alarms | hub to alarms | [`hub::OBSERVATIONS_MAX`] | the hub waits |
//! | prepaid | hub to prepaid | [`hub::OBSERVATIONS_MAX`] | the hub drops and counts; registers are cumulative |
//! | desk | people to alarms | [`DESK_MAX`] | the request is refused (503) |
//! | pager, forwarder, prepaid pokes | "look at the store again" | 1 | the poke already waiting is enough |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use guanjia_field::{FieldDevice, LineHandle};
use guanjia_store::Store;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::ClockTrust;
use crate::live::{Attachments, Board, LatestTable, Live};
use crate::metrics::Metrics;
use crate::site::{Attachment, Site};
use crate::tasks::Tasks;
use crate::{alarms, forward, hub, mqtt, pager, prepaid};

/// Requests of people waiting for the alarms task.
const DESK_MAX: usize = 64;

/// What lives as long as the process.
pub struct Process {
    /// The journal.
    pub store: Store,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Whether time of day may decide anything.
    pub clock: Arc<ClockTrust>,
    /// Where the HTTP side listens.
    pub address: SocketAddr,
}

/// Everything that runs under one configuration.
pub struct Generation {
    /// What the looking side sees of it.
    pub live: Arc<Live>,
    /// Stopped first: whatever brings readings in.
    intake: (CancellationToken, Tasks),
    /// Stopped second: whatever decides.
    deciders: (CancellationToken, Tasks),
    /// Stopped last: whatever carries decisions out.
    carriers: (CancellationToken, Tasks),
}
