//! Incidents and their pages.
//!
//! An alarm is the state of one point; an incident is one root cause that people answer for, with any number of
//! alarms under it. The two are never merged.
//!
//! ```text
//!               open                     ack                 all alarms normal
//!   (nothing) ────────► Open ──────────────────► Acknowledged ───────────────► Closed
//!                        │ ▲ ladder climbs          │
//!                        │ └────────────────────────┘ an alarm comes back, or gets worse
//!                        └── all alarms gone: recovery pages, the P1/P2 ladder climbs on until somebody accepts
//! ```
//!
//! * [`ControlRoom`] is the whole: alarms, root causes and desk of a site. It takes readings, health, time and people's
//!   commands, and answers each with a [`Batch`] that the store commits before anything of it is acted upon.
//! * [`Desk`] keeps the open incidents and climbs their ladders; [`message`] words the pages.
//!
//! Everything that must survive a power cut is in the rows of a batch. Ladders are absolute times in
//! [`IncidentRecord::escalates_at`]: a step that fell due while the power was off is taken at once afterwards. What a
//! restart loses: running on- and off-delays, and the holds of children, which start again.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::alarm::Priority;
use crate::time::Timestamp;

pub mod desk;
pub mod message;
pub mod room;
#[cfg(test)]
mod tests;

pub use desk::{Desk, DeskOutput, IncidentError, PageRequest};
pub use room::{Batch, CommandError, ControlRoom, Plant, RoomError, Saved, Timings};

/// Levels of one round of a ladder; see [`IncidentRecord::level`].
pub const LEVELS_PER_ROUND: u32 = 100;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Nobody has accepted it: the ladder is climbing.
    Open,
    /// A person has accepted it.
    Acknowledged,
    /// All its alarms have gone and it was accepted; or a person closed it.
    Closed,
}

/// One root cause, many alarms: the row that lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentRecord {
    /// UUID v7, so that rows sort by time.
    pub id: Uuid,
    /// Four digits, unique among the open incidents of the site: what people say on the phone.
    pub code: String,
    /// The plan it runs, such as `EP-06`.
    pub plan: String,
    /// The highest priority of its alarms so far.
    pub priority: Priority,
    /// Where it stands.
    pub state: IncidentState,
    /// The alarm (or topology node) that opened it.
    pub root: String,
    /// What is shown and sent, in Chinese and English.
    pub title: crate::text::Bilingual,
    /// The person who answers for it from the first minute; never empty.
    pub owner: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How far the calling has gone; it only ever rises, so that it can stand in a page's dedupe key. It counts the
    /// steps taken, plus [`LEVELS_PER_ROUND`] for each time people were called anew about the same incident.
    pub level: u32,
    /// When the next step is due; `None` once accepted or when the ladder has ended.
    pub escalates_at: Option<Timestamp>,
    /// When it was accepted.
    pub acked_at: Option<Timestamp>,
    /// Who accepted it.
    pub acked_by: Option<String>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

impl IncidentRecord {
    /// How many steps of the ladder have been taken in this round.
    pub fn steps_taken(&self) -> u32 {
        self.level % LEVELS_PER_ROUND
    }

    /// How often people were called anew.
    pub fn round(&self) -> u32 {
        self.level / LEVELS_PER_ROUND
    }
}

/// What a page says about its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    /// Something happened: please accept.
    Alert,
    /// It is over; goes only to those who were alerted.
    Recovery,
    /// A tenant is told about a low balance or a coming cut.
    Notice,
}

/// One message to one person over one channel: a row of the notification outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageRecord {
    /// UUID v7; also the idempotency key sent to the channel.
    pub id: Uuid,
    /// Only one page exists per key: `incident:level:person:channel:kind`, or the notice's own.
    pub dedupe_key: String,
    /// The incident, if it is about one.
    pub incident: Option<Uuid>,
    /// What it says.
    pub kind: PageKind,
    /// Decides the order in which a channel's queue is sent.
    pub priority: Priority,
    /// The person, by the site file's id.
    pub person: String,
    /// The channel, by the site file's name.
    pub channel: String,
    /// The address on that channel.
    pub address: String,
    /// One line for a lock screen.
    pub title: String,
    /// The whole text.
    pub body: String,
    /// The secret of the acknowledgement link, 128 bits in hex; alerts only.
    pub ack_token: Option<String>,
    /// Not to be sent before.
    pub not_before: Timestamp,
    /// Worthless after.
    pub expires_at: Timestamp,
}

/// Where a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// Waiting for its time, its turn or its next attempt.
    Pending,
    /// Handed to the channel, answer not yet known. Found after a crash, it is sent again under the same id.
    Sending,
    /// The channel took it.
    Delivered,
    /// The channel refused it for good.
    Failed,
    /// Its time passed before any attempt succeeded.
    Expired,
}

/// Something that happened to an incident, a wallet or a supply, for people to read later. Append only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// The incident it belongs to, if any.
    pub incident: Option<Uuid>,
    /// A stable word, such as `alarm_raised`, `page_delivered`, `acknowledged`, `escalated`.
    pub what: String,
    /// The alarm key, person, channel or service point it is about.
    pub subject: String,
    /// Free detail.
    pub detail: String,
}
