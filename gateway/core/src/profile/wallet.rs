//! A wallet inside a meter (prepaid mode M2): where it is read, and the one frame that tops it up.
//!
//! The frame is a compare-and-set: purchase count (u32) and amount (i32, minor units), high words first, written with one
//! function 16. A meter that has applied this count already says so and changes nothing; one that is not exactly one
//! purchase behind refuses. What the wallet says of itself stands close enough together for one read, so that count,
//! amount and balance are never of different moments.

use std::sync::Arc;

use super::{EquipmentClass, Extent, ReadOnlyEquipment};
use crate::reading::Value;

/// Registers of the frame.
const FRAME_WORDS: usize = 4;

/// Where the parts of a wallet stand in the one read that brings them, in registers from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletParts {
    /// Purchases applied, u32.
    pub count: usize,
    /// Amount of the last one, i32.
    pub amount: usize,
    /// What is left, i32, rounded down.
    pub balance: usize,
    /// What the last frame came to, u16; see [`Verdict`].
    pub result: usize,
    /// The purchase count the result speaks of, u32.
    pub result_count: usize,
}

/// A wallet inside a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Wallet {
    charged_by: Vec<Arc<str>>,
    price: Option<Arc<str>>,
    prepaid: Option<Arc<str>>,
    address: u16,
    read: Extent,
    parts: WalletParts,
}

/// What the last frame came to, as the meter says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No frame was ever heard of.
    None,
    /// Credited.
    Applied,
    /// This very purchase was credited before.
    AlreadyApplied,
    /// Neither the last purchase nor the next one.
    WrongCount,
    /// The balance would be above the hoarding limit.
    OverHoardingLimit,
    /// The last purchase had another amount.
    AmountDiffers,
    /// The meter takes no such amount.
    AmountNotAllowed,
    /// The meter's memory failed.
    NotStored,
    /// A code of a later firmware.
    Unknown(u16),
}

impl Verdict {
    /// From the code in the register.
    pub fn of(code: u16) -> Self {
        match code {
            0 => Verdict::None,
            1 => Verdict::Applied,
            2 => Verdict::AlreadyApplied,
            3 => Verdict::WrongCount,
            4 => Verdict::OverHoardingLimit,
            5 => Verdict::AmountDiffers,
            6 => Verdict::AmountNotAllowed,
            7 => Verdict::NotStored,
            code => Verdict::Unknown(code),
        }
    }
}

/// A wallet as its meter showed it in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletSeen {
    /// Purchases applied.
    pub count: u32,
    /// Amount of the last one, in minor units.
    pub amount: i32,
    /// What is left, in minor units, rounded down.
    pub balance: i32,
    /// What the last frame came to.
    pub verdict: Verdict,
    /// The purchase count of that frame.
    pub verdict_count: u32,
}

impl WalletSeen {
    /// Whether the meter says that its last purchase came as a frame. One that it could not store, it says, and that is there
    /// all the same, did.
    pub fn is_by_frame(&self) -> bool {
        self.verdict_count == self.count
            && matches!(self.verdict, Verdict::Applied | Verdict::AlreadyApplied | Verdict::NotStored)
    }
}

impl Wallet {
    /// A wallet that is charged by one of these points (different names of one counter), topped up at `address`, and read
    /// as `read` with its parts where `parts` says.
    ///
    /// # Errors
    /// [`ReadOnlyEquipment`] for fire panels and lifts.
    pub fn new(
        class: EquipmentClass,
        charged_by: Vec<Arc<str>>,
        address: u16,
        read: Extent,
        parts: WalletParts,
    ) -> Result<Self, ReadOnlyEquipment> {
        if class.is_read_only_for_ever() {
            return Err(ReadOnlyEquipment(class));
        }
        Ok(Self { charged_by, price: None, prepaid: None, address, read, parts })
    }

    /// The same wallet, with the point that says what one count of its register costs, in minor units.
    #[must_use]
    pub fn with_price(self, price: Arc<str>) -> Self {
        Self { price: Some(price), ..self }
    }

    /// The id of the point that says what one count costs; `None` if the meter does not tell.
    pub fn price(&self) -> Option<&Arc<str>> {
        self.price.as_ref()
    }

    /// The same wallet, with the point that says whether the meter charges it and cuts by it: [`Wallet::cuts`].
    #[must_use]
    pub fn with_prepaid(self, prepaid: Arc<str>) -> Self {
        Self { prepaid: Some(prepaid), ..self }
    }

    /// The id of the point that says whether the meter charges it and cuts by it; `None` if the meter does not tell, or
    /// always does.
    pub fn prepaid(&self) -> Option<&Arc<str>> {
        self.prepaid.as_ref()
    }

    /// What a reading of [`Wallet::prepaid`] says: 1 the meter charges and cuts, 0 it does neither; `None` for anything else.
    pub fn cuts(value: &Value) -> Option<bool> {
        match value {
            Value::Decimal(value) => match value.rescale(0)? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            Value::Float(_) | Value::Bool(_) | Value::Text(_) => None,
        }
    }

    /// Whether it is charged by that point.
    pub fn is_charged_by(&self, point: &str) -> bool {
        self.charged_by.iter().any(|id| **id == *point)
    }

    /// The first register of the frame.
    pub fn address(&self) -> u16 {
        self.address
    }

    /// The read that brings all of it.
    pub fn extent(&self) -> Extent {
        self.read
    }

    /// The frame that credits `amount` minor units as purchase `count`.
    pub fn frame(count: u32, amount: i32) -> [u16; FRAME_WORDS] {
        let (count, amount) = (count.to_be_bytes(), amount.to_be_bytes());
        let word = |bytes: [u8; 4], i: usize| u16::from_be_bytes([bytes[i], bytes[i + 1]]);
        [word(count, 0), word(count, 2), word(amount, 0), word(amount, 2)]
    }

    /// What the words of [`Wallet::extent`] say; `None` if they are not as many.
    pub fn seen(&self, words: &[u16]) -> Option<WalletSeen> {
        if words.len() != usize::from(self.read.count) {
            return None;
        }
        let word = |at: usize| words.get(at).copied();
        let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 1)?));
        Some(WalletSeen {
            count: long(self.parts.count)?,
            amount: long(self.parts.amount)?.cast_signed(),
            balance: long(self.parts.balance)?.cast_signed(),
            verdict: Verdict::of(word(self.parts.result)?),
            verdict_count: long(self.parts.result_count)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Table;

    fn wallet(class: EquipmentClass) -> Result<Wallet, ReadOnlyEquipment> {
        let parts = WalletParts { balance: 0, count: 4, amount: 6, result: 8, result_count: 9 };
        let read = Extent { table: Table::Holding, address: 0x0102, count: 11 };
        Wallet::new(class, vec!["pulses_1".into()], 0x0110, read, parts)
    }

    #[test]
    fn a_wallet_is_read_as_it_stands_in_its_answer() {
        let wallet = wallet(EquipmentClass::WaterMeter).expect("a meter has wallets");
        let words = [0xFFFF, 0xFFFE, 9_999, 3, 0, 12, 0, 5_000, 4, 0, 13];
        let seen = wallet.seen(&words).expect("eleven words");
        let wanted = WalletSeen {
            count: 12,
            amount: 5_000,
            balance: -2,
            verdict: Verdict::OverHoardingLimit,
            verdict_count: 13,
        };
        assert_eq!(seen, wanted);
        assert_eq!(wallet.seen(&words[..10]), None);
        assert_eq!(Wallet::frame(0x0001_0002, -2), [1, 2, 0xFFFF, 0xFFFE]);
    }

    #[test]
    fn whether_a_meter_cuts_is_a_one_or_a_zero_and_nothing_else() {
        use crate::reading::Decimal;
        let said = |mantissa, exponent| Wallet::cuts(&Value::Decimal(Decimal::new(mantissa, exponent)));
        assert_eq!((said(0, 0), said(1, 0), said(10, -1)), (Some(false), Some(true), Some(true)));
        assert_eq!((said(2, 0), said(5, -1), said(-1, 0)), (None, None, None));
        assert_eq!(Wallet::cuts(&Value::Bool(true)), None);
    }

    #[test]
    fn fire_panels_and_lifts_have_no_wallet() {
        for class in [EquipmentClass::FirePanel, EquipmentClass::Lift] {
            assert_eq!(wallet(class), Err(ReadOnlyEquipment(class)));
        }
    }
}
