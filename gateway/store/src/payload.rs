//! What lies in an outbox row: JSON text, one shape per kind.
//!
//! | kind | payload |
//! |---|---|
//! | `wallet` | a wallet was opened, with its opening transfer if it has one |
//! | `top_up` | a transfer, its receipt, and the key and channel transaction it may never happen again under |
//! | `usage` | an interval, and its transfer unless it cost nothing |
//! | `meter_credit` | a credit whose fate is known: with its transfer if it is in the meter, without if it is not |
//! | `incident` | the incident as it now stands |
//!
//! Registers (`u64`) and exact charges (`i128`) are strings: most readers of JSON hold numbers as `f64`.

use guanjia_core::credit::CreditState;
use guanjia_core::incident::IncidentRecord;
use guanjia_core::ledger::{Baseline, Receipt, Transfer, UsageInterval, UsageQuality};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{ExactCharge, Fen, Hao, Quantity, Utility};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::sql::to_json;

/// A wallet was opened.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WalletOpened {
    pub service_point: String,
    pub utility: Utility,
    pub at: Timestamp,
    pub opening: Option<Transfer>,
}

/// A tenant paid.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopUp {
    pub transfer: Transfer,
    pub receipt: Receipt,
    pub client: String,
    pub key: String,
    pub fingerprint: String,
    pub channel_txn: Option<String>,
}

/// A tenant used.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub interval: Interval,
    pub transfer: Option<Transfer>,
}

/// A credit was settled.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CreditSettled {
    pub receipt: i64,
    pub service_point: String,
    pub amount: Fen,
    pub count: Option<u32>,
    pub state: CreditState,
    pub detail: String,
    pub decided_by: Option<String>,
    pub at: Timestamp,
    pub transfer: Option<Transfer>,
}

/// [`UsageInterval`] with its large numbers as strings.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub service_point: String,
    pub device: String,
    pub utility: Utility,
    pub from: Mark,
    pub to: Mark,
    pub quantity: Quantity,
    pub tariff: String,
    pub quality: UsageQuality,
}

/// [`Baseline`] with its large numbers as strings.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub raw: String,
    pub at: Timestamp,
    pub exact: String,
    pub posted: Hao,
}

impl From<&Baseline> for Mark {
    fn from(baseline: &Baseline) -> Self {
        Mark {
            raw: baseline.raw.to_string(),
            at: baseline.at,
            exact: baseline.exact.0.to_string(),
            posted: baseline.posted,
        }
    }
}

impl Mark {
    /// Back to the core's type.
    pub fn baseline(&self) -> Result<Baseline, StoreError> {
        let damaged = |text: &str| StoreError::corrupt("baseline", text, "not a whole number");
        Ok(Baseline {
            raw: self.raw.parse().map_err(|_| damaged(&self.raw))?,
            at: self.at,
            exact: ExactCharge(self.exact.parse().map_err(|_| damaged(&self.exact))?),
            posted: self.posted,
        })
    }
}

impl From<&UsageInterval> for Interval {
    fn from(interval: &UsageInterval) -> Self {
        Interval {
            service_point: interval.service_point.clone(),
            device: interval.device.clone(),
            utility: interval.utility,
            from: Mark::from(&interval.from),
            to: Mark::from(&interval.to),
            quantity: interval.quantity,
            tariff: interval.tariff.clone(),
            quality: interval.quality,
        }
    }
}

/// The content of an outbox row.
#[derive(Debug, PartialEq)]
pub(crate) enum Payload {
    Wallet(WalletOpened),
    TopUp(Box<TopUp>),
    Usage(Box<Usage>),
    MeterCredit(Box<CreditSettled>),
    Incident(Box<IncidentRecord>),
}

impl Payload {
    /// The word in the row.
    pub fn kind(&self) -> &'static str {
        match self {
            Payload::Wallet(_) => "wallet",
            Payload::TopUp(_) => "top_up",
            Payload::Usage(_) => "usage",
            Payload::MeterCredit(_) => "meter_credit",
            Payload::Incident(_) => "incident",
        }
    }

    /// The text in the row.
    pub fn json(&self) -> Result<String, StoreError> {
        match self {
            Payload::Wallet(wallet) => to_json(wallet),
            Payload::TopUp(top_up) => to_json(top_up),
            Payload::Usage(usage) => to_json(usage),
            Payload::MeterCredit(credit) => to_json(credit),
            Payload::Incident(incident) => to_json(incident),
        }
    }

    /// Back from the row. `None` for a kind this program does not know yet.
    pub fn parse(kind: &str, json: &str) -> Result<Option<Payload>, StoreError> {
        let damaged = |error: serde_json::Error| StoreError::corrupt("outbox payload", kind, error);
        Ok(Some(match kind {
            "wallet" => Payload::Wallet(serde_json::from_str(json).map_err(damaged)?),
            "top_up" => Payload::TopUp(serde_json::from_str(json).map_err(damaged)?),
            "usage" => Payload::Usage(serde_json::from_str(json).map_err(damaged)?),
            "meter_credit" => Payload::MeterCredit(serde_json::from_str(json).map_err(damaged)?),
            "incident" => Payload::Incident(serde_json::from_str(json).map_err(damaged)?),
            _ => return Ok(None),
        }))
    }

    /// The money that moved, if any.
    pub fn transfer(&self) -> Option<&Transfer> {
        match self {
            Payload::Wallet(wallet) => wallet.opening.as_ref(),
            Payload::TopUp(top_up) => Some(&top_up.transfer),
            Payload::Usage(usage) => usage.transfer.as_ref(),
            Payload::MeterCredit(credit) => credit.transfer.as_ref(),
            Payload::Incident(_) => None,
        }
    }
}
