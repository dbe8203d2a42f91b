//! What is true right now, for everybody who only looks: pages, metrics, MQTT, the API.
//!
//! The tasks that decide (alarms, prepaid, lines) each publish what they know here; nobody reads it to decide
//! anything. A lock is held for the copy of one row or one `Arc`, never across an await.

mod changes;
mod latest;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guanjia_core::alarm::AlarmRecord;
use guanjia_core::credit::MeterCredit;
use guanjia_core::incident::IncidentRecord;
use guanjia_core::supply::Supply;
use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao};
use guanjia_field::{EntranceHandle, LineHandle};
use guanjia_store::Store;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::site::Site;

pub use self::changes::Changes;
pub use self::latest::{DeviceStatus, Latest, LatestTable};

/// Everything of one configuration that can be looked at or asked.
pub struct Live {
    /// The configuration.
    pub site: Arc<Site>,
    /// The latest value of every point.
    pub latest: Arc<LatestTable>,
    /// The field lines, for their statistics.
    pub lines: Vec<LineHandle>,
    /// The ports that modems connect to, for their statistics.
    pub entrances: Vec<EntranceHandle>,
    /// Alarms and incidents.
    pub alarms: Arc<Board<AlarmBoard>>,
    /// Supplies, one per service point.
    pub supplies: Arc<Board<Vec<SupplyView>>>,
    /// What is written down.
    pub store: Store,
    /// The way to the task that decides about incidents.
    pub desk: mpsc::Sender<DeskCommand>,
    /// Poked after a top-up, so that a supply comes back at once.
    pub prepaid: Arc<Notify>,
    /// Poked after a top-up that goes into a meter.
    pub credits: Arc<Notify>,
    /// The credits of meters whose fate is not known yet.
    pub open_credits: Arc<Board<Vec<MeterCredit>>>,
    /// What stands between the gateway and its work.
    pub ready: Arc<Readiness>,
    /// How phones reach the console; without a trailing slash.
    pub public_url: String,
}

/// What a person asks of the task that decides about alarms and incidents. It answers after the change is durable.
#[derive(Debug)]
pub enum DeskCommand {
    /// Accept an incident: its ladder stops.
    AckIncident {
        /// Which.
        incident: Uuid,
        /// The person, by the site file's id, or an API client's name.
        who: String,
        /// How: `console`, `link` or `api`.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
    /// Close an incident that is over.
    CloseIncident {
        /// Which.
        incident: Uuid,
        /// As in `AckIncident`.
        who: String,
        /// How.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
    /// Let go of a latched alarm whose condition has gone.
    ResetAlarm {
        /// `device/alarm`.
        key: String,
        /// As in `AckIncident`.
        who: String,
        /// How.
        via: &'static str,
        /// The answer.
        reply: oneshot::Sender<Result<(), DeskRefusal>>,
    },
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskRefusal {
    /// No such incident or alarm is open.
    #[error("no such incident or alarm is open")]
    Unknown,
    /// The incident is closed; it is never opened again by a late answer.
    #[error("the incident is closed already")]
    Closed,
    /// Somebody accepted it before; nothing changes.
    #[error("accepted already by {by}")]
    AlreadyAcknowledged {
        /// Who.
        by: String,
    },
    /// Nobody has accepted it yet; that comes first.
    #[error("nobody has accepted it yet")]
    NotAcknowledged,
    /// Its condition still holds, or an alarm of it does.
    #[error("the condition still holds")]
    StillActive,
    /// No paid supply waits for anybody's word there.
    #[error("no paid supply waits for a word there")]
    NotWaiting,
    /// No credit waits for a person there, or what was found cannot be.
    #[error("{0}")]
    NoCreditWaits(String),
    /// A decision about money says why.
    #[error("{0}")]
    NoReason(String),
    /// The change could not be written down.
    #[error("the store is not available: {0}")]
    Store(String),
}

/// What stands between the gateway and its work, for `/readyz` and the console's first page.
#[derive(Debug)]
pub struct Readiness {
    started: Timestamp,
    problems: Mutex<BTreeMap<&'static str, Bilingual>>,
}

impl Readiness {
    /// How long the first round of polls is waited for before the gateway counts as ready without it.
    pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(30);

    /// Nothing is known to be wrong.
    pub fn new(now: Timestamp) -> Self {
        Self { started: now, problems: Mutex::new(BTreeMap::new()) }
    }

    /// When the program (or this configuration) started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Says that part `what` has a problem only a person can settle, or (`None`) that it is settled.
    pub fn set(&self, what: &'static str, problem: Option<Bilingual>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(text) => problems.insert(what, text),
            None => problems.remove(what),
        };
    }

    /// Every problem there is.
    pub fn problems(&self) -> Vec<(&'static str, Bilingual)> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|(what, text)| (*what, text.clone())).collect()
    }
}

/// Alarms and incidents as of the last committed change.
#[derive(Clone, Debug, Default)]
pub struct AlarmBoard {
    /// Every alarm that is not simply normal.
    pub alarms: Vec<AlarmRecord>,
    /// Every incident that is not closed, newest first.
    pub incidents: Vec<IncidentRecord>,
}

/// One service point as people ask about it: what it has, whether it is on, and why not.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SupplyView {
    /// The site file's id.
    pub service_point: Arc<str>,
    /// The wallet's balance.
    pub balance: Hao,
    /// What of it is owed in the ledger although the meter keeps the credit; `None` if nothing is.
    pub debt: Option<Fen>,
    /// What the gateway wants.
    pub desired: Supply,
    /// What the relay says; `None` while it has not been read, or there is none.
    pub reported: Option<Supply>,
    /// Why it is wanted so, as stable words.
    pub reasons: Vec<String>,
    /// What stands between a used-up balance and a cut, as stable words.
    pub blocked: Vec<String>,
    /// What a supply that is wanted and not there waits for, as a stable word; `close_permit`: somebody's word that it
    /// is safe.
    pub waits_for: Option<&'static str>,
    /// How long the balance lasts at the use of the last days; `None` while unknown.
    pub cover: Option<Duration>,
    /// The warning level reached in this cycle.
    pub warning: Option<String>,
    /// The register, in Wh or mL, and when it was read.
    pub register: Option<(i64, Timestamp)>,
}

/// A value that one task publishes and many look at.
#[derive(Debug)]
pub struct Board<T> {
    value: watch::Sender<Arc<T>>,
}

impl<T> Board<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self { value: watch::Sender::new(Arc::new(value)) }
    }

    /// Replaces it.
    pub fn publish(&self, value: T) {
        self.value.send_replace(Arc::new(value));
    }

    /// The value now.
    pub fn get(&self) -> Arc<T> {
        self.value.borrow().clone()
    }

    /// Changes whenever it is replaced.
    pub fn watch(&self) -> watch::Receiver<Arc<T>> {
        self.value.subscribe()
    }
}
