//! The ladder of warnings, each given once per cycle.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::units::Hao;

/// How long a final notice stands before it has to be given again.
pub const FINAL_VALIDITY: Duration = Duration::from_secs(7 * 86_400);

/// What a tenant is told before a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningLevel {
    /// The balance is getting low.
    Notice1,
    /// It is low.
    Notice2,
    /// It is used up, or about to be: pay, or the supply is cut.
    Final,
}

impl WarningLevel {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            WarningLevel::Notice1 => "notice1",
            WarningLevel::Notice2 => "notice2",
            WarningLevel::Final => "final",
        }
    }

    /// The level behind the word in a row.
    pub fn from_word(word: &str) -> Option<Self> {
        [WarningLevel::Notice1, WarningLevel::Notice2, WarningLevel::Final].into_iter().find(|l| l.as_str() == word)
    }
}

/// A notice as its rows tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NoticeMark {
    /// What was said.
    pub level: WarningLevel,
    /// In which cycle.
    pub cycle: u64,
    /// When it was written down for sending.
    pub sent_at: Timestamp,
    /// When a channel first took it; `None` as long as none did.
    pub delivered_at: Option<Timestamp>,
}

/// How far down the ladder a tenant has been told.
///
/// A cycle ends when money came in and the balance has left the level that was told last; a notice of an ended cycle
/// neither stands for a new one nor permits a cut. That a balance lasts longer only because less is used ends no
/// cycle: the figure goes up and down every day, and a tenant would be told each time. A final notice is worth
/// [`FINAL_VALIDITY`]; after it a new cycle begins, so that nobody is cut on a warning of last month.
///
/// The caller observes the balance once right after the start, before it posts anything, and after every posting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    cycle: u64,
    given: Option<WarningLevel>,
    /// When the final notice of this cycle was written down.
    final_at: Option<Timestamp>,
    /// The balance observed last; none right after the start, and then money counts as having come in.
    balance: Option<Hao>,
}

impl Ladder {
    /// Goes on from the notices of this service point, in any order.
    pub fn resume(notices: &[NoticeMark]) -> Self {
        let cycle = notices.iter().map(|notice| notice.cycle).max().unwrap_or(1);
        let mut ladder = Self { cycle, given: None, final_at: None, balance: None };
        for notice in notices.iter().filter(|notice| notice.cycle == cycle) {
            ladder.give(notice.level, notice.sent_at);
        }
        ladder
    }

    /// The number new notices carry, and the only one of a final notice that permits a cut.
    pub fn cycle(&self) -> u64 {
        self.cycle
    }

    /// The level told last in this cycle, for showing.
    pub fn given(&self) -> Option<WarningLevel> {
        self.given
    }

    /// Takes in the balance and the level it calls for.
    pub fn observe(&mut self, balance: Hao, level: Option<WarningLevel>, now: Timestamp) {
        let came_in = self.balance.is_none_or(|before| balance > before);
        self.balance = Some(balance);
        let expired = self.final_at.is_some_and(|at| now.since(at) > FINAL_VALIDITY);
        if expired || (came_in && level < self.given) {
            // Levels above the new one were told in the cycle that ends here; the tenant need not hear them again.
            // Only the final one is always told anew.
            self.cycle += 1;
            self.given = level.min(Some(WarningLevel::Notice2));
            self.final_at = None;
        }
    }

    /// The warning to be given now, if the balance calls for one that was not given yet. After a steep fall only the
    /// last one is.
    pub fn due(&self, level: Option<WarningLevel>) -> Option<WarningLevel> {
        if level > self.given { level } else { None }
    }

    /// The notice is durable.
    pub fn give(&mut self, level: WarningLevel, at: Timestamp) {
        self.given = self.given.max(Some(level));
        if level == WarningLevel::Final {
            self.final_at = Some(at);
        }
    }
}

/// How long a balance lasts when `spent` was used in `over`. `None` if nothing was used or for no time: then it is not
/// known. Zero for a balance that is used up.
pub fn cover(balance: Hao, spent: Hao, over: Duration) -> Option<Duration> {
    if spent.0 <= 0 || over.is_zero() {
        return None;
    }
    let millis =
        over.as_millis().checked_mul(u128::from(balance.0.max(0).unsigned_abs()))? / u128::from(spent.0.unsigned_abs());
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}
