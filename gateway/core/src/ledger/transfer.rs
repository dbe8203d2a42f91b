//! The only ways to make a transfer.

use uuid::Uuid;

use super::{AccountId, Keeper, Posting, TopUpRequest, Transfer, TransferKind, UsageInterval};
use crate::time::Timestamp;
use crate::units::{Fen, Hao};

/// A transfer whose legs do not sum to zero. Never made here; a row that is one was tampered with or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the postings of transfer {id} sum to {sum} hao instead of zero; stop posting and verify the journal")]
pub struct Unbalanced {
    /// The transfer.
    pub id: Uuid,
    /// What its postings sum to, in hao.
    pub sum: i128,
}

/// Why a transfer cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReversalRefusal {
    /// It is itself a reversal. What it took back is posted anew instead, with its own cause.
    #[error("transfer {0} is a reversal and is not reversed again; post a new transfer instead")]
    OfReversal(Uuid),
    /// It does not balance, so neither would its opposite.
    #[error(transparent)]
    Unbalanced(#[from] Unbalanced),
    /// A leg cannot be negated.
    #[error("a posting of transfer {0} is too large to be negated; verify the journal")]
    Overflow(Uuid),
}

impl Transfer {
    /// A tenant paid: clearing to wallet. `id` is a new UUID v7. The request must be [valid](TopUpRequest::validate).
    pub fn top_up(id: Uuid, request: &TopUpRequest) -> Self {
        let from = AccountId::clearing(&request.channel);
        let to = AccountId::wallet(&request.service_point);
        let cause = format!("{}/{}", request.client, request.key);
        Self::of(id, TransferKind::TopUp, request.at, cause, legs(from, to, Hao::from(request.amount)))
    }

    /// The credit of a receipt was proven to be in the meter: wallet to meter wallet. `cause` says by which purchase, and
    /// who says so.
    pub fn meter_credit(id: Uuid, service_point: &str, amount: Fen, at: Timestamp, cause: String) -> Self {
        let (from, to) = (AccountId::wallet(service_point), AccountId::meter_wallet(service_point));
        Self::of(id, TransferKind::MeterCredit, at, cause, legs(from, to, Hao::from(amount)))
    }

    /// What the wallet holds goes the way of a top-up into the meter: out of the wallet and into it again.
    pub fn carry_over(id: Uuid, service_point: &str, amount: Fen, at: Timestamp) -> Self {
        let wallet = AccountId::wallet(service_point);
        let cause = "carried over into the meter".to_owned();
        Self::of(id, TransferKind::CarryOver, at, cause, legs(wallet.clone(), wallet, Hao::from(amount)))
    }

    /// A tenant used: the wallet, or the one in the meter, to revenue. `None` if the interval charges nothing (less than the smallest unit so
    /// far, kept in the exact charge): such an interval has a row, but no transfer.
    pub fn usage(id: Uuid, interval: &UsageInterval, keeper: Keeper, at: Timestamp) -> Option<Self> {
        let charge = interval.charge();
        if charge == Hao(0) {
            return None;
        }
        let from = keeper.account(&interval.service_point);
        let to = AccountId::revenue(interval.utility);
        let cause = format!("{}@{}", interval.device, interval.to.at.as_millis());
        Some(Self::of(id, TransferKind::Usage, at, cause, legs(from, to, charge)))
    }

    /// A balance brought in when a wallet is opened: adjustment to wallet, or back if it is negative. `None` if
    /// there is nothing to bring.
    pub fn opening(id: Uuid, service_point: &str, balance: Hao, at: Timestamp) -> Option<Self> {
        if balance == Hao(0) {
            return None;
        }
        let legs = legs(AccountId::adjustment(), AccountId::wallet(service_point), balance);
        Some(Self::of(id, TransferKind::Opening, at, format!("opening of {service_point}"), legs))
    }

    /// The exact opposite of this transfer. `cause` says who took it back and why. A store accepts one per transfer.
    ///
    /// # Errors
    /// [`ReversalRefusal`]: a reversal is not reversed, and what does not balance is not touched.
    pub fn reversal(&self, id: Uuid, at: Timestamp, cause: String) -> Result<Self, ReversalRefusal> {
        if self.kind == TransferKind::Reversal {
            return Err(ReversalRefusal::OfReversal(self.id));
        }
        self.check()?;
        let negated = |leg: &Posting| {
            let amount = leg.amount.0.checked_neg().ok_or(ReversalRefusal::Overflow(self.id))?;
            Ok(Posting { account: leg.account.clone(), amount: Hao(amount) })
        };
        let postings = self.postings.iter().map(negated).collect::<Result<_, ReversalRefusal>>()?;
        Ok(Self { reverses: Some(self.id), ..Self::of(id, TransferKind::Reversal, at, cause, postings) })
    }

    /// Proves that the legs sum to zero.
    ///
    /// # Errors
    /// [`Unbalanced`] with what they sum to; also for a transfer without legs.
    pub fn check(&self) -> Result<(), Unbalanced> {
        let sum: i128 = self.postings.iter().map(|leg| i128::from(leg.amount.0)).sum();
        if sum == 0 && self.postings.len() >= 2 { Ok(()) } else { Err(Unbalanced { id: self.id, sum }) }
    }

    fn of(id: Uuid, kind: TransferKind, at: Timestamp, cause: String, postings: Vec<Posting>) -> Self {
        Self { id, kind, at, cause, reverses: None, postings }
    }
}

/// One amount leaving one account and reaching another. The smallest i64 has no opposite; it is brought in by its
/// neighbour, as no amount of money comes near.
fn legs(from: AccountId, to: AccountId, amount: Hao) -> Vec<Posting> {
    let amount = amount.0.max(-i64::MAX);
    vec![Posting { account: from, amount: Hao(-amount) }, Posting { account: to, amount: Hao(amount) }]
}
