//! The primary host: whether the one all of this is for is there (Sparkplug 3.0.0, 5.4 and 5.6).
//!
//! ```text
//!   WAITING ── online ──► THERE ── offline ──► GONE
//!      ▲                                        │ NDEATH, DISCONNECT
//!      └──────────────── a new session ◄────────┘
//! ```
//!
//! * Nothing is born before the host says that it is there. Its topic is retained, so a session that comes later hears it
//!   at once.
//! * A word that is older than the one before it is not believed: it is the last will of an earlier session of the host.
//!   What an earlier session of this gateway heard does not count, or a host whose clock was set back would never be heard
//!   again.

use serde::Deserialize;
use tracing::{info, warn};

/// What is known of the primary host.
#[derive(Debug)]
pub(crate) struct Host {
    topic: String,
    presence: Presence,
    /// The host's own time of its last word, in milliseconds.
    said: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Waiting,
    There,
    Gone,
}

/// The payload of its topic.
#[derive(Deserialize)]
struct State {
    online: bool,
    timestamp: u64,
}

impl Host {
    /// The host of this id, of which nothing is known.
    pub(in crate::mqtt) fn new(id: &str) -> Self {
        Self { topic: format!("spBv1.0/STATE/{id}"), presence: Presence::Waiting, said: None }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn is_there(&self) -> bool {
        self.presence == Presence::There
    }

    pub(super) fn is_gone(&self) -> bool {
        self.presence == Presence::Gone
    }

    /// A new session begins.
    pub(super) fn forget(&mut self) {
        (self.presence, self.said) = (Presence::Waiting, None);
    }

    /// Takes in what its topic says.
    pub(super) fn hear(&mut self, payload: &[u8]) {
        let Ok(state) = serde_json::from_slice::<State>(payload) else {
            warn!(topic = self.topic, "the state of the primary host cannot be read, it is ignored");
            return;
        };
        if self.said.is_some_and(|said| state.timestamp < said) {
            return;
        }
        self.said = Some(state.timestamp);
        let presence = match (self.presence, state.online) {
            (Presence::Waiting | Presence::There, true) => Presence::There,
            // One that was never there takes nobody away.
            (Presence::Waiting, false) => Presence::Waiting,
            (Presence::There, false) | (Presence::Gone, _) => Presence::Gone,
        };
        if presence != self.presence {
            info!(topic = self.topic, online = state.online, "the primary host");
        }
        self.presence = presence;
    }
}
