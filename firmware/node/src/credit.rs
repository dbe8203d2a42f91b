//! The account of a channel: a balance in whole minor units and ten-thousandths, and what may be done to it.
//!
//! * Pulses are charged, also below zero: the meter has turned.
//! * A top-up is a column of refusals, the purchase count first, so that a frame which comes twice counts once.
//! * Emergency credit lowers the limit once. It is repaid by the top-up that brings the balance above the limit again, and
//!   is refused until then.
//! * Once cut, an account stays cut until it is above its limit (or is made exempt): friendly hours do not close a valve
//!   or relay that was opened by day.

/// Parts of a minor unit that prices and balances are kept in.
pub const FRACTIONS: u32 = 10_000;
/// Pulses charged in one multiplication, so that 32 bits are enough.
const BATCH: u32 = 10_000;

/// An amount: `minor + fraction / 10 000`, rounded down to `minor` where only whole units are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// Whole minor units (fen, cent).
    pub minor: i32,
    /// Ten-thousandths on top, 0..9999.
    pub fraction: u16,
}

impl Money {
    /// Less so many pulses of a price in ten-thousandths. Ends at the least value that can be told, never wraps.
    #[must_use]
    fn less(mut self, mut pulses: u32, price: u32) -> Self {
        let (whole, fraction) = (price / FRACTIONS, price % FRACTIONS);
        while pulses > 0 {
            let batch = pulses.min(BATCH);
            pulses -= batch;
            let fractions = batch.wrapping_mul(fraction);
            let mut minor = i64::from(batch) * i64::from(whole) + i64::from(fractions / FRACTIONS);
            let rest = fractions % FRACTIONS;
            let have = u32::from(self.fraction);
            self.fraction = if rest > have {
                minor += 1;
                (have + FRACTIONS - rest) as u16
            } else {
                (have - rest) as u16
            };
            let left = i64::from(self.minor) - minor;
            if left < i64::from(i32::MIN) {
                return Self { minor: i32::MIN, fraction: 0 };
            }
            self.minor = left as i32;
        }
        self
    }

    /// At or below a number of minor units.
    pub const fn at_most(self, minor: i32) -> bool {
        self.minor < minor || (self.minor == minor && self.fraction == 0)
    }
}

/// What was agreed for an account: settings of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Pulses are charged and an empty account is cut.
    pub prepaid: bool,
    /// Never cut.
    pub exempt: bool,
    /// Price of a pulse in ten-thousandths of a minor unit.
    pub price: u32,
    /// Highest balance a top-up may lead to.
    pub hoarding: i32,
    /// At or below, low.
    pub warning: i32,
    /// At or below, cut.
    pub cut: i32,
    /// How far the limit is lowered in an emergency.
    pub emergency: i32,
}

/// An account as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Pulses counted; wraps.
    pub pulses: u32,
    /// What is left.
    pub balance: Money,
    /// Purchases applied.
    pub count: u32,
    /// Amount of the last one.
    pub last_amount: i32,
    /// Emergency credit is in use.
    pub emergency: bool,
    /// The supply was cut.
    pub cut: bool,
    /// The state was lost and no top-up has come since: nothing is known of the balance.
    pub lost: bool,
}

impl Account {
    /// Nothing counted, nothing bought.
    pub const fn new() -> Self {
        let balance = Money { minor: 0, fraction: 0 };
        Self { pulses: 0, balance, count: 0, last_amount: 0, emergency: false, cut: false, lost: false }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

/// Where an account stands; the codes of register `credit_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CreditState {
    /// Not prepaid.
    NotPrepaid = 0,
    /// In credit.
    InCredit = 1,
    /// At or below the warning level.
    Low = 2,
    /// Above the lowered limit, on emergency credit.
    Emergency = 3,
    /// At the limit, but a cut is not allowed.
    Held = 4,
    /// Cut.
    Cut = 5,
}

/// What a top-up frame came to; the codes of register `top_up_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TopUpResult {
    /// No purchase was ever stored, and no frame came since the start.
    None = 0,
    /// Credited.
    Applied = 1,
    /// This very purchase was credited before.
    AlreadyApplied = 2,
    /// Neither the last purchase nor the next one.
    WrongCount = 3,
    /// The balance would be above the hoarding limit.
    OverHoardingLimit = 4,
    /// The last purchase had another amount.
    AmountDiffers = 5,
    /// Zero, or more taken back than there is.
    AmountNotAllowed = 6,
    /// The memory failed.
    NotStored = 7,
}

impl Account {
    /// Counts pulses, and charges them when the account is prepaid.
    pub fn count_pulses(&mut self, pulses: u32, terms: &Terms) {
        self.pulses = self.pulses.wrapping_add(pulses);
        if terms.prepaid {
            self.balance = self.balance.less(pulses, terms.price);
        }
    }

    /// The account after a top-up, or why there is none.
    ///
    /// # Errors
    /// The purchase changes nothing: it was applied before, or is refused.
    pub fn top_up(&self, terms: &Terms, count: u32, amount: i32) -> Result<Self, TopUpResult> {
        if count == 0 {
            return Err(TopUpResult::WrongCount);
        }
        if count == self.count {
            let same = amount == self.last_amount;
            return Err(if same { TopUpResult::AlreadyApplied } else { TopUpResult::AmountDiffers });
        }
        if self.count.checked_add(1) != Some(count) {
            return Err(TopUpResult::WrongCount);
        }
        if amount == 0 {
            return Err(TopUpResult::AmountNotAllowed);
        }
        let after = self.balance.minor.checked_add(amount);
        let minor = match after {
            Some(minor) if amount > 0 && minor <= terms.hoarding => minor,
            Some(minor) if amount < 0 && minor >= 0 => minor,
            _ if amount > 0 => return Err(TopUpResult::OverHoardingLimit),
            _ => return Err(TopUpResult::AmountNotAllowed),
        };
        let mut account = *self;
        account.balance.minor = minor;
        account.count = count;
        account.last_amount = amount;
        account.lost = false;
        account.emergency &= account.balance.at_most(terms.cut);
        Ok(account)
    }

    /// The account with emergency credit, when it may have it.
    pub fn lend(&self, terms: &Terms) -> Option<Self> {
        let may = terms.prepaid && terms.emergency > 0 && !self.emergency && self.balance.at_most(terms.warning);
        may.then_some(Self { emergency: true, ..*self })
    }

    /// Where the account stands; `may_cut` is what the calendar says.
    pub fn state(&self, terms: &Terms, may_cut: bool) -> CreditState {
        if !terms.prepaid {
            return CreditState::NotPrepaid;
        }
        if self.lost {
            return CreditState::Held;
        }
        let lent = if self.emergency { terms.emergency } else { 0 };
        if self.balance.at_most(terms.cut.saturating_sub(lent)) {
            return if !terms.exempt && (may_cut || self.cut) { CreditState::Cut } else { CreditState::Held };
        }
        if self.emergency {
            return CreditState::Emergency;
        }
        if self.balance.at_most(terms.warning) { CreditState::Low } else { CreditState::InCredit }
    }
}

#[cfg(test)]
mod tests;
