//! The closed sets of reasons: why a supply is cut, why it is on, and what blocks a cut.

use serde::{Deserialize, Serialize};

use super::Exemption;
use crate::time::Timestamp;

/// The lawful reasons to interrupt a supply. There is no other, and none for any other debt (Civil Code, Art. 944).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CutReason {
    /// The prepaid balance of this very utility is used up.
    Balance,
    /// Danger to people or property.
    Safety,
    /// Whoever is supplied asks for it.
    OwnerRequest,
    /// A court or the utility orders it.
    CourtOrder,
}

impl CutReason {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            CutReason::Balance => "balance",
            CutReason::Safety => "safety",
            CutReason::OwnerRequest => "owner_request",
            CutReason::CourtOrder => "court_order",
        }
    }
}

/// A standing order of a person to keep a supply off. No top-up ends it; whoever gave it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Danger to people or property.
    Safety,
    /// Whoever is supplied asks for it.
    OwnerRequest,
    /// A court or the utility orders it.
    CourtOrder,
}

impl Order {
    /// The lawful reason it gives.
    pub fn reason(self) -> CutReason {
        match self {
            Order::Safety => CutReason::Safety,
            Order::OwnerRequest => CutReason::OwnerRequest,
            Order::CourtOrder => CutReason::CourtOrder,
        }
    }
}

/// Why the supply is desired as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Off, for this lawful reason.
    Cut(CutReason),
    /// On, although there is a reason to cut: something blocks it.
    Blocked,
    /// On, because it is never cut.
    Exempt(Exemption),
    /// On, because the bill is contested.
    Dispute,
    /// On: paid.
    InCredit,
    /// On: below the reconnect level, but not used up.
    EmergencyCredit,
    /// On again: paid after a cut.
    ToppedUp,
}

impl Reason {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Cut(reason) => reason.as_str(),
            Reason::Blocked => "cut_blocked",
            Reason::Exempt(_) => "exempt",
            Reason::Dispute => "dispute",
            Reason::InCredit => "in_credit",
            Reason::EmergencyCredit => "emergency_credit",
            Reason::ToppedUp => "topped_up",
        }
    }
}

/// What stands between a reason to cut and the cut: one line of the refusal log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutBlock {
    /// The service point is never cut.
    Exempt(Exemption),
    /// There is no relay or valve to command.
    NoRelay,
    /// The register was never read.
    NoReading,
    /// The register's last reading is not good.
    BadReading,
    /// It is too old, or dated ahead.
    StaleReading,
    /// The register's readings are held.
    RegisterHeld,
    /// The clock cannot be trusted.
    ClockUntrusted,
    /// The store cannot be written to.
    StoreUnhealthy,
    /// Money may be on its way.
    PaymentPending,
    /// The bill is contested.
    DisputeOpen,
    /// No final notice was given in this cycle.
    FinalNoticeNotSent,
    /// It was given, and no channel has taken it.
    FinalNoticeNotDelivered,
    /// It was delivered so long ago that it must be given again.
    FinalNoticeExpired,
    /// It was delivered too recently.
    NoticeLead {
        /// When the tenant has had the time promised.
        until: Timestamp,
    },
    /// It is not an hour for cuts.
    OutsideWindow {
        /// When the next one begins.
        opens: Option<Timestamp>,
    },
    /// Too many were cut; a person must look.
    BreakerOpen,
    /// A command is on its way, or its outcome is not known.
    IntentOpen,
}

impl CutBlock {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            CutBlock::Exempt(_) => "exempt",
            CutBlock::NoRelay => "no_relay",
            CutBlock::NoReading => "no_reading",
            CutBlock::BadReading => "bad_reading",
            CutBlock::StaleReading => "stale_reading",
            CutBlock::RegisterHeld => "register_held",
            CutBlock::ClockUntrusted => "clock_untrusted",
            CutBlock::StoreUnhealthy => "store_unhealthy",
            CutBlock::PaymentPending => "payment_pending",
            CutBlock::DisputeOpen => "dispute_open",
            CutBlock::FinalNoticeNotSent => "final_notice_not_sent",
            CutBlock::FinalNoticeNotDelivered => "final_notice_not_delivered",
            CutBlock::FinalNoticeExpired => "final_notice_expired",
            CutBlock::NoticeLead { .. } => "notice_lead",
            CutBlock::OutsideWindow { .. } => "outside_window",
            CutBlock::BreakerOpen => "breaker_open",
            CutBlock::IntentOpen => "intent_open",
        }
    }

    /// When it goes away by itself.
    pub(super) fn ends_at(self) -> Option<Timestamp> {
        match self {
            CutBlock::NoticeLead { until } => Some(until),
            CutBlock::OutsideWindow { opens } => opens,
            _ => None,
        }
    }
}
