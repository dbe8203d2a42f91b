//! The double-entry ledger: accounts, transfers, and the top-up that may happen only once.
//!
//! ```text
//!   clearing:<channel> ──TopUp──► wallet:<service point> ──Usage──► revenue:<utility>
//!   adjustment ─────────Opening──►        │                              ▲
//!                                    MeterCredit                       Usage
//!                                         ▼                              │
//!                                   meter_wallet:<service point> ────────┘   where the meter keeps the credit (mode M2)
//!
//!   Reversal: any of these, every leg negated, once
//! ```
//!
//! * Money moves from one account to another and nowhere else: every transfer is made by one of the constructors
//!   here from one amount, so its legs sum to zero; [`Transfer::check`] proves it again for rows that come from a
//!   store. Credits are positive, so a wallet's balance is the plain sum of its postings.
//! * Nothing is changed or deleted. A mistake is taken back by [`Transfer::reversal`], once; the store's unique
//!   index on `reverses` sees to the "once".
//! * A top-up is owed to the wallet of its service point and to nothing else. No transfer leads from a wallet
//!   to any debt but its own use of the utility, so a payment cannot be set off against another debt.
//! * Where the meter keeps the credit, a tenant's money is in two accounts: `wallet` is what the meter does not have yet,
//!   `meter_wallet` what it was proven to have and has not charged. A credit moves from the one to the other when, and only
//!   when, it is settled as applied ([`crate::credit`]); what is used is taken from the meter's. So `meter_wallet` is the sum
//!   of the credits proven applied less what was used, and the tenant's balance is the sum of both.
//! * A wallet that held money before its meter kept the credit (an opening balance, years of mode M1) is carried over: whole
//!   minor units that no credit stands for get a receipt and a credit like any top-up, and change nobody's balance. A debt
//!   stays in the wallet, as no meter begins below zero; so does what a person has found not to be in the meter.
//! * What a power cut may cost is the store's promise: nothing here is acted upon before it is written.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;
use crate::units::{ExactCharge, Fen, Hao, Quantity, Utility};

mod request;
#[cfg(test)]
mod tests;
mod transfer;

pub use request::{ID_CHARS_MAX, KEY_CHARS_MAX, TopUpRefusal};
pub use transfer::{ReversalRefusal, Unbalanced};

/// An account of the chart, as the text that lies in the rows.
///
/// | account | holds |
/// |---|---|
/// | `wallet:<service point>` | what a tenant has paid and not yet used; without what is in a meter's own wallet |
/// | `meter_wallet:<service point>` | what is in the wallet its meter keeps: credited there and not yet used |
/// | `clearing:<channel>` | what a payment channel owes the property company |
/// | `revenue:<utility>` | what was used |
/// | `adjustment` | opening balances and corrections made by a person |
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(String);

impl AccountId {
    /// The wallet of one service point.
    pub fn wallet(service_point: &str) -> Self {
        Self(format!("wallet:{service_point}"))
    }

    /// The wallet that the meter of one service point keeps. A meter may keep several, each of its own service point.
    pub fn meter_wallet(service_point: &str) -> Self {
        Self(format!("meter_wallet:{service_point}"))
    }

    /// The clearing account of one payment channel.
    pub fn clearing(channel: &str) -> Self {
        Self(format!("clearing:{channel}"))
    }

    /// The revenue of one utility.
    pub fn revenue(utility: Utility) -> Self {
        Self(format!("revenue:{utility}"))
    }

    /// Opening balances and corrections.
    pub fn adjustment() -> Self {
        Self("adjustment".to_owned())
    }

    /// The text in the rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One leg of a transfer. Credits are positive: a wallet's balance is the plain sum of its postings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Where.
    pub account: AccountId,
    /// How much; positive is credit.
    pub amount: Hao,
}

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// A tenant paid: clearing to wallet.
    TopUp,
    /// A tenant used: wallet to revenue.
    Usage,
    /// A credit was proven to be in the meter: wallet to meter wallet.
    MeterCredit,
    /// What a wallet held before its meter kept the credit got a receipt of its own, by which it goes into the meter: out of
    /// the wallet and into it again, so that nobody has more or less.
    CarryOver,
    /// A balance brought in when the wallet was opened: adjustment to wallet.
    Opening,
    /// The exact opposite of an earlier transfer.
    Reversal,
}

impl TransferKind {
    /// The word in the rows.
    pub fn as_str(self) -> &'static str {
        match self {
            TransferKind::TopUp => "top_up",
            TransferKind::Usage => "usage",
            TransferKind::MeterCredit => "meter_credit",
            TransferKind::CarryOver => "carry_over",
            TransferKind::Opening => "opening",
            TransferKind::Reversal => "reversal",
        }
    }
}

/// Who keeps the balance by which a supply is cut, and so which account pays for what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keeper {
    /// This ledger.
    Ledger,
    /// The meter; a top-up goes there as well.
    Meter,
}

impl Keeper {
    /// The account that what is used is taken from.
    pub fn account(self, service_point: &str) -> AccountId {
        match self {
            Keeper::Ledger => AccountId::wallet(service_point),
            Keeper::Meter => AccountId::meter_wallet(service_point),
        }
    }
}

/// Money that moved. Never changed, never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// UUID v7.
    pub id: Uuid,
    /// Why.
    pub kind: TransferKind,
    /// When the gateway decided it.
    pub at: Timestamp,
    /// What caused it: the payment channel's transaction, the usage interval.
    pub cause: String,
    /// The transfer it takes back.
    pub reverses: Option<Uuid>,
    /// Its legs; they sum to zero.
    pub postings: Vec<Posting>,
}

/// Money received for one service point, as the caller asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpRequest {
    /// The API client; idempotency keys are its own.
    pub client: String,
    /// The client's idempotency key, 1 to 128 visible ASCII characters.
    pub key: String,
    /// Whose wallet.
    pub service_point: String,
    /// How much.
    pub amount: Fen,
    /// The payment channel, such as `cashier` or `wechat`.
    pub channel: String,
    /// The channel's own transaction number; a second credit for it is impossible whatever the key.
    pub channel_txn: Option<String>,
    /// When the gateway received the request.
    pub at: Timestamp,
}

/// The proof a tenant gets. Numbers are gap-free per site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// 1, 2, 3, ...
    pub number: i64,
    /// The transfer it stands for.
    pub transfer: Uuid,
    /// Whose wallet.
    pub service_point: String,
    /// How much was credited.
    pub amount: Fen,
    /// The tenant's balance right after, with what is in the meter.
    pub balance: Hao,
    /// The payment channel.
    pub channel: String,
    /// When it was posted.
    pub at: Timestamp,
}

/// What became of a top-up. Everything but the first two had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopUpOutcome {
    /// Credited now, and durable.
    Applied(Receipt),
    /// This key (with this very request) was credited before: the same answer again.
    Replayed(Receipt),
    /// The channel's transaction was credited before under another key.
    AlreadyCredited(Receipt),
    /// This key belongs to a different request.
    KeyReused,
    /// There is no wallet for that service point.
    UnknownServicePoint,
}

/// How a quantity of usage came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageQuality {
    /// From two good readings of the register.
    Measured,
    /// From two good readings between which the register rolled over to zero.
    RolledOver,
    /// A part of a longer measured interval, divided by time because the tariff changed inside it.
    Estimated,
}

impl UsageQuality {
    /// The word in the rows.
    pub fn as_str(self) -> &'static str {
        match self {
            UsageQuality::Measured => "measured",
            UsageQuality::RolledOver => "rolled_over",
            UsageQuality::Estimated => "estimated",
        }
    }
}

/// Where billing of one service point's register stands: the row that makes an interval impossible to post twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The meter's register, unscaled, at the end of the last posted interval.
    pub raw: u64,
    /// When the meter said so.
    pub at: Timestamp,
    /// The exact charge of everything since the wallet was opened.
    pub exact: ExactCharge,
    /// What of it has been posted; always `exact` rounded, so that rounding never drifts.
    pub posted: Hao,
}

impl Baseline {
    /// Where billing starts: the register as found, nothing charged yet. `raw` is in counts of
    /// [`crate::usage::Register`].
    pub fn opening(raw: u64, at: Timestamp) -> Self {
        Self { raw, at, exact: ExactCharge(0), posted: Hao(0) }
    }
}

/// One interval of usage: the register from, the register to, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageInterval {
    /// Whose.
    pub service_point: String,
    /// The device the register is in.
    pub device: String,
    /// What is supplied.
    pub utility: Utility,
    /// The baseline it starts from; posting is refused if the store has another.
    pub from: Baseline,
    /// The baseline it ends at.
    pub to: Baseline,
    /// How much was used, in Wh or mL.
    pub quantity: Quantity,
    /// `plan@version` of the tariff.
    pub tariff: String,
    /// How it is known.
    pub quality: UsageQuality,
}

impl UsageInterval {
    /// What this interval posts: the difference of the rounded cumulative charges.
    pub fn charge(&self) -> Hao {
        Hao(self.to.posted.0 - self.from.posted.0)
    }
}

/// What became of a usage interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageOutcome {
    /// Posted; the tenant's balance right after, with what is in the meter.
    Posted {
        /// In hao.
        balance: Hao,
    },
    /// The stored baseline is another one: nothing was posted, go on from this.
    BaselineMoved(Baseline),
}
