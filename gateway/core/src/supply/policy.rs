//! When a tenant is warned, cut and reconnected: the site's own rules, checked.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{CutWindows, RawCutWindow, WarningLevel};
use crate::units::{Fen, Hao};

/// Why a supply is never interrupted for money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exemption {
    /// Fire pumps, smoke extraction, the fire panel.
    FireProtection,
    /// Lifts.
    Lift,
    /// Emergency and escape lighting.
    EmergencyLighting,
    /// Drainage and sewage pumps.
    Drainage,
    /// Somebody's health depends on it.
    Medical,
    /// Food or medicine spoils without it.
    ColdStore,
    /// Telecommunication rooms.
    Telecom,
    /// Shared by several, so that it cannot be cut for one of them.
    Shared,
    /// Metered only: paid for by invoice, or the building's own.
    NotPrepaid,
}

impl Exemption {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Exemption::FireProtection => "fire-protection",
            Exemption::Lift => "lift",
            Exemption::EmergencyLighting => "emergency-lighting",
            Exemption::Drainage => "drainage",
            Exemption::Medical => "medical",
            Exemption::ColdStore => "cold-store",
            Exemption::Telecom => "telecom",
            Exemption::Shared => "shared",
            Exemption::NotPrepaid => "not-prepaid",
        }
    }
}

/// Whether a service point is cut when its money is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Paid for in advance; may be cut, under all the rules.
    Prepaid,
    /// Never cut, whatever the balance. No command for it can be made.
    Exempt {
        /// Why.
        why: Exemption,
    },
}

/// How a supply comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reconnect {
    /// At once when paid.
    Direct,
    /// When somebody in the shop says that nothing dangerous is switched on.
    ClosePermit,
}

/// When one warning is due. At least one of the two is set; either suffices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The balance lasts less than this at the use of the last days.
    pub cover: Option<Duration>,
    /// The balance is at or below this.
    pub balance: Option<Hao>,
}

impl Level {
    fn is_reached(self, balance: Hao, cover: Option<Duration>) -> bool {
        let short = matches!((self.cover, cover), (Some(limit), Some(cover)) if cover < limit);
        short || self.balance.is_some_and(|limit| balance <= limit)
    }
}

/// The checked rules of one kind of tenancy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How far below zero the balance may go before a cut, granted to everybody under this policy.
    pub emergency_credit: Hao,
    /// A cut supply comes back when the balance is above this; not negative.
    pub reconnect_above: Hao,
    /// The first notice.
    pub notice1: Level,
    /// The second notice.
    pub notice2: Level,
    /// The final notice. Also due, whatever is set, once the balance has used up its emergency credit.
    pub final_notice: Level,
    /// From the delivery of the final notice to the cut, at least.
    pub notice_lead: Duration,
    /// When a cut may be made.
    pub windows: CutWindows,
    /// How old the register's last good reading may be for a cut.
    pub reading_max_age: Duration,
    /// How the supply comes back.
    pub reconnect: Reconnect,
    /// More than this through an open contact means it is welded or bypassed; in the unit of the point that is
    /// looked at (W, A, L/h).
    pub bypass_above: f64,
}

impl Policy {
    /// The highest level that the balance calls for.
    pub fn level(&self, balance: Hao, emergency_credit: Hao, cover: Option<Duration>) -> Option<WarningLevel> {
        let used_up = is_used_up(balance, emergency_credit);
        if used_up || self.final_notice.is_reached(balance, cover) {
            Some(WarningLevel::Final)
        } else if self.notice2.is_reached(balance, cover) {
            Some(WarningLevel::Notice2)
        } else if self.notice1.is_reached(balance, cover) {
            Some(WarningLevel::Notice1)
        } else {
            None
        }
    }
}

/// Whether balance and emergency credit together have come to nothing. A negative credit would cut people who have
/// money, and counts as none.
pub(super) fn is_used_up(balance: Hao, emergency_credit: Hao) -> bool {
    i128::from(balance.0) <= -i128::from(emergency_credit.0.max(0))
}

/// The rules as in the site file. Nothing that can cut somebody off has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// Yuan below zero before a cut, as text: `"20.00"`, or `"0"`.
    pub emergency_credit: String,
    /// Yuan above which a cut supply comes back, as text. Default `"0"`.
    #[serde(default = "zero")]
    pub reconnect_above: String,
    /// The first notice.
    pub notice1: RawLevel,
    /// The second notice.
    pub notice2: RawLevel,
    /// The final notice.
    #[serde(rename = "final")]
    pub final_notice: RawLevel,
    /// Seconds from the delivery of the final notice to the cut, at least; 1800 is half an hour.
    pub notice_lead_s: u32,
    /// When a cut may be made; without any, nothing is cut.
    #[serde(default)]
    pub cut_windows: Vec<RawCutWindow>,
    /// Days without cuts, such as `2026-10-01`.
    #[serde(default)]
    pub holidays: Vec<String>,
    /// Seconds that the register's last good reading may be old for a cut.
    pub reading_max_age_s: u32,
    /// How the supply comes back.
    pub reconnect: Reconnect,
    /// More than this through an open contact is a bypass; in the unit of the point (W, A, L/h).
    pub bypass_above: f64,
}

/// When one warning is due, as in the site file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLevel {
    /// The balance lasts less than so many days.
    pub cover_days: Option<u32>,
    /// The balance is at or below so many yuan, as text.
    pub balance: Option<String>,
}

fn zero() -> String {
    "0".to_owned()
}

/// Why a policy is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// An amount of money cannot be read.
    #[error("{field}: \"{text}\" is not an amount; write yuan as text with at most two decimals, such as \"20.00\"")]
    Amount {
        /// Which setting.
        field: &'static str,
        /// As in the file.
        text: String,
    },
    /// A level without a limit, which would never be reached.
    #[error("{0} has neither cover_days nor balance, so nobody would ever be warned; set at least one")]
    Level(&'static str),
    /// A later warning would come before an earlier one.
    #[error("{0} is reached before the warning that should precede it; let the levels fall from notice1 to final")]
    LevelOrder(&'static str),
    /// No time to react.
    #[error("notice_lead_s must be above zero: a tenant must be able to pay between the final notice and the cut")]
    Lead,
    /// No reading could ever be fresh.
    #[error("reading_max_age_s must be above zero")]
    ReadingAge,
    /// A window that ends before it begins, or has no day.
    #[error("cut window {from} to {to} must name its days and run from an earlier to a later HH:MM of one day")]
    Window {
        /// As in the file.
        from: String,
        /// As in the file.
        to: String,
    },
    /// A holiday cannot be read.
    #[error("holiday \"{0}\" is not a date; write it as 2026-10-01")]
    Holiday(String),
    /// Too many windows or holidays.
    #[error("at most {} cut windows and as many holidays can be listed", super::WINDOWS_MAX)]
    TooManyWindows,
    /// Any trickle, or nothing at all, would count as a bypass.
    #[error("bypass_above must be a number above zero")]
    Bypass,
}

impl Policy {
    /// Checks a policy; windows and holidays are civil time of `zone`.
    ///
    /// # Errors
    /// Every fault found, not only the first.
    pub fn new(raw: &RawPolicy, zone: &TimeZone) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let emergency_credit = read_yuan("emergency_credit", &raw.emergency_credit, &mut errors);
        let reconnect_above = read_yuan("reconnect_above", &raw.reconnect_above, &mut errors);
        let notice1 = read_level("notice1", &raw.notice1, &mut errors);
        let notice2 = read_level("notice2", &raw.notice2, &mut errors);
        let final_notice = read_level("final", &raw.final_notice, &mut errors);
        for (name, earlier, later) in [("notice2", notice1, notice2), ("final", notice2, final_notice)] {
            let rises = matches!((earlier.cover, later.cover), (Some(e), Some(l)) if l > e)
                || matches!((earlier.balance, later.balance), (Some(e), Some(l)) if l > e);
            if rises {
                errors.push(PolicyError::LevelOrder(name));
            }
        }
        if raw.notice_lead_s == 0 {
            errors.push(PolicyError::Lead);
        }
        if raw.reading_max_age_s == 0 {
            errors.push(PolicyError::ReadingAge);
        }
        if !raw.bypass_above.is_finite() || raw.bypass_above <= 0.0 {
            errors.push(PolicyError::Bypass);
        }
        let windows = match CutWindows::new(&raw.cut_windows, &raw.holidays, zone) {
            Ok(windows) if errors.is_empty() => windows,
            Ok(_) => return Err(errors),
            Err(more) => {
                errors.extend(more);
                return Err(errors);
            }
        };
        Ok(Self {
            emergency_credit,
            reconnect_above,
            notice1,
            notice2,
            final_notice,
            notice_lead: Duration::from_secs(u64::from(raw.notice_lead_s)),
            windows,
            reading_max_age: Duration::from_secs(u64::from(raw.reading_max_age_s)),
            reconnect: raw.reconnect,
            bypass_above: raw.bypass_above,
        })
    }
}

/// Reads yuan, zero included.
fn read_yuan(field: &'static str, text: &str, errors: &mut Vec<PolicyError>) -> Hao {
    if matches!(text, "0" | "0.0" | "0.00") {
        return Hao(0);
    }
    match text.parse::<Fen>() {
        Ok(fen) => Hao::from(fen),
        Err(_) => {
            errors.push(PolicyError::Amount { field, text: text.to_owned() });
            Hao(0)
        }
    }
}

fn read_level(name: &'static str, raw: &RawLevel, errors: &mut Vec<PolicyError>) -> Level {
    if raw.cover_days.is_none() && raw.balance.is_none() {
        errors.push(PolicyError::Level(name));
    }
    Level {
        cover: raw.cover_days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
        balance: raw.balance.as_deref().map(|text| read_yuan(name, text, errors)),
    }
}
