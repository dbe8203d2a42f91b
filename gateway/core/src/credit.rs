//! A top-up on its way into a meter's own wallet (prepaid mode M2): credited exactly once, whatever the line, the meter
//! and the gateway do in between.
//!
//! * The meter's purchase count is a compare-and-set: the frame (count, amount) credits if the count is the meter's next
//!   one, and otherwise changes nothing. So the same frame may be sent as often as it takes, and a new count never before
//!   the fate of the old one is known.
//! * Count and amount are durable before the first byte of the frame leaves. Whoever finds a record after a crash reads
//!   the meter, and knows.
//! * Per wallet one record at a time, in the order of the receipts: confirmed counts have no hole.
//! * Nobody else tops up the meter. If its count moved without this record, somebody did (a card, another program), and a
//!   person has to look: nothing is written blindly. Somebody may even have bought for the very same amount while this frame
//!   was lost, so count and amount alone prove nothing: the meter must also say that a frame with this count did it. What
//!   remains is a purchase elsewhere, of the same amount, in the instant between a look and its frame.
//!
//! ```text
//!  top-up in the ledger, same transaction
//!       │
//!    PENDING ── meter read; its count + 1 made durable ──► SENT ── meter shows (count, amount) ──► CONFIRMED
//!                                                          │ ▲
//!                         no answer, an odd one, not stored│ │ meter read: one purchase behind, same count again
//!                                                          ▼ │
//!                                                      UNCERTAIN ── meter shows (count, amount) ──► CONFIRMED
//!                                                          │
//!       HELD ◄── over the hoarding limit (from SENT) ──────┤ another count, or this one with another amount
//!        └── later, same count ──► SENT                    ▼
//!                                                       MANUAL ── a person has looked ──► CONFIRMED | NOT APPLIED
//! ```
//!
//! * Money follows proof: the ledger moves a credit from the tenant's wallet to the meter's with the step to CONFIRMED, in
//!   one transaction, and with no other. Until then, and for good if it is NOT APPLIED, the money stays in the wallet.
//! * What the meter contradicts is decided by a person, once, with name and reason. That a credit is in the meter is not
//!   believed of one that was never sent.
//!
//! What a power cut may cost: nothing. Every state is a row, and every way out of one begins with reading the meter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::profile::{Verdict, WalletSeen};
use crate::time::Timestamp;
use crate::units::Fen;

/// How soon a meter that gave no clear answer is asked again, the first time; then twice as long, and so on.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest time between two tries, also for credits that wait for the tenant to use something first.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// Where a credit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditState {
    /// Paid and booked; no count is assigned yet.
    Pending,
    /// The count is assigned, and a frame may have left.
    Sent,
    /// A frame may have left, and what the meter made of it is not known.
    Uncertain,
    /// The meter refuses to hold so much; the money stays in the ledger's wallet until some is used.
    Held,
    /// The meter has shown it.
    Confirmed,
    /// The meter contradicts the record; a person decides.
    Manual,
    /// A person has found that it is not in the meter; the money is still in the ledger's wallet.
    NotApplied,
}

impl CreditState {
    /// The word in rows and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            CreditState::Pending => "pending",
            CreditState::Sent => "sent",
            CreditState::Uncertain => "uncertain",
            CreditState::Held => "held",
            CreditState::Confirmed => "confirmed",
            CreditState::Manual => "manual",
            CreditState::NotApplied => "not_applied",
        }
    }

    /// All of them, in the order of a credit's life.
    pub const ALL: [CreditState; 7] = [
        CreditState::Pending,
        CreditState::Sent,
        CreditState::Uncertain,
        CreditState::Held,
        CreditState::Manual,
        CreditState::Confirmed,
        CreditState::NotApplied,
    ];

    /// Whether nothing more is done by itself.
    pub fn is_final(self) -> bool {
        self.is_settled() || self == CreditState::Manual
    }

    /// Whether its fate is known for good.
    pub fn is_settled(self) -> bool {
        matches!(self, CreditState::Confirmed | CreditState::NotApplied)
    }
}

/// What a person has found out about a credit that waited for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It is in the meter.
    Applied,
    /// It is not.
    NotApplied,
}

/// Why a person's finding changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindingRefusal {
    /// It waits for nobody: it is still on its way, or settled.
    #[error("the credit waits for no person; it is {}", .0.as_str())]
    NotWaiting(CreditState),
    /// No frame ever left for it.
    #[error("no frame was ever sent for this credit, so it cannot be in the meter; say that it is not applied")]
    NeverSent,
}

/// One top-up for one wallet in a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterCredit {
    /// The receipt it stands for; one receipt, one credit.
    pub receipt: i64,
    /// Whose.
    pub service_point: String,
    /// How much.
    pub amount: Fen,
    /// Its purchase count, once assigned.
    pub count: Option<u32>,
    /// Where it stands.
    pub state: CreditState,
    /// How many frames may have left.
    pub attempts: u32,
    /// Why it stands there, for people.
    pub detail: String,
    /// When it came to stand there.
    pub at: Timestamp,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// Who found out where it is, if a person had to.
    pub decided_by: Option<String>,
}

/// What to do after a look at the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this count down, then send the frame.
    Send {
        /// The purchase count.
        count: u32,
        /// Minor units.
        amount: i32,
    },
    /// It stands in this state now.
    Settle(CreditState, &'static str),
}

impl MeterCredit {
    /// What to do, given what the meter shows before anything is sent.
    pub fn next(&self, seen: &WalletSeen) -> Step {
        let Ok(amount) = i32::try_from(self.amount.0) else {
            return Step::Settle(CreditState::Manual, "the amount is more than the meter's register holds");
        };
        let Some(count) = self.count else {
            return match seen.count.checked_add(1) {
                Some(count) => Step::Send { count, amount },
                None => Step::Settle(CreditState::Manual, "the meter's purchase count is used up"),
            };
        };
        if seen.count == count {
            return if seen.amount != amount {
                Step::Settle(CreditState::Manual, "the meter has this purchase count with another amount")
            } else if seen.is_by_frame() {
                Step::Settle(CreditState::Confirmed, "the meter shows this purchase")
            } else {
                Step::Settle(
                    CreditState::Manual,
                    "the meter has this purchase count and amount, but not from a frame: perhaps from a card",
                )
            };
        }
        if seen.count.checked_add(1) == Some(count) {
            return Step::Send { count, amount };
        }
        Step::Settle(
            CreditState::Manual,
            "the meter's purchase count moved without this gateway: a card, another program, or another meter",
        )
    }

    /// Where it stands after a person has looked.
    ///
    /// # Errors
    /// [`FindingRefusal`]; nothing changes then.
    pub fn decide(&self, finding: Finding) -> Result<CreditState, FindingRefusal> {
        match (self.state, finding, self.count) {
            (CreditState::Manual, Finding::NotApplied, _) => Ok(CreditState::NotApplied),
            (CreditState::Manual, Finding::Applied, Some(_)) => Ok(CreditState::Confirmed),
            (CreditState::Manual, Finding::Applied, None) => Err(FindingRefusal::NeverSent),
            (state, _, _) => Err(FindingRefusal::NotWaiting(state)),
        }
    }

    /// Where it stands after its frame, given what the meter shows then. What it answered to the frame itself is not
    /// asked for: a refusal that was applied all the same is known, too.
    pub fn judge(&self, count: u32, seen: &WalletSeen) -> (CreditState, &'static str) {
        let sent = Self { count: Some(count), ..self.clone() };
        match sent.next(seen) {
            Step::Settle(state, why) => (state, why),
            Step::Send { .. } if seen.verdict_count == count => match seen.verdict {
                Verdict::OverHoardingLimit => (CreditState::Held, "the meter would hold more than its hoarding limit"),
                Verdict::AmountNotAllowed => (CreditState::Manual, "the meter takes no such amount"),
                Verdict::NotStored => (CreditState::Uncertain, "the meter could not store it"),
                _ => (CreditState::Uncertain, "the meter does not show it yet"),
            },
            Step::Send { .. } => (CreditState::Uncertain, "the meter has not seen the frame"),
        }
    }
}

/// How long to wait before the next try, after so many in a row that settled nothing.
pub fn pause(tries: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
