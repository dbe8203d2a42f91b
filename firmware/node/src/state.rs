//! State: what the node has counted and done, kept in the journal.

use crate::credit::{Account, Money};
use crate::journal::Ring;
use crate::map::{CHANNELS, OUTPUTS};

/// Bytes of the record.
pub const BYTES: usize = CHANNELS * 19 + OUTPUTS + 4 + 5 * 2;
const _: () = assert!(BYTES <= Ring::State.payload_max());

/// Where an output was last sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Position it was sent to; `None` = never moved.
    pub target: Option<Position>,
    /// Whether the drive there has ended. When it has not, it is begun again after a restart.
    pub settled: bool,
    /// What the master has ordered last; `None` = nothing, keep.
    pub command: Option<Position>,
    /// A cut has switched it off, and it was not switched on since.
    pub by_credit: bool,
}

impl Intent {
    /// Never moved.
    pub const fn new() -> Self {
        Self { target: None, settled: false, command: None, by_credit: false }
    }
}

impl Default for Intent {
    fn default() -> Self {
        Self::new()
    }
}

/// A contact or a valve is open or closed; for a valve open means passing, for a relay closed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Position {
    /// Relay off, valve passing.
    Open = 1,
    /// Relay on, valve shut.
    Closed = 2,
}

impl Position {
    /// From the code of a register; 0 is no position.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Closed),
            _ => None,
        }
    }

    const fn code(position: Option<Self>) -> u8 {
        match position {
            None => 0,
            Some(Self::Open) => 1,
            Some(Self::Closed) => 2,
        }
    }
}

/// Everything that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Accounts of the channels.
    pub accounts: [Account; CHANNELS],
    /// Outputs.
    pub outputs: [Intent; OUTPUTS],
    /// Starts.
    pub boots: u32,
    /// Starts by the watchdog.
    pub watchdog_resets: u16,
    /// Falls of the supply below its limit.
    pub brown_outs: u16,
    /// Openings of the cover.
    pub tamper_events: u16,
    /// Travels that did not end.
    pub jams: u16,
    /// Writes that could not be read back.
    pub journal_faults: u16,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Of a node that has never run.
    pub const fn new() -> Self {
        Self {
            accounts: [Account::new(); CHANNELS],
            outputs: [Intent::new(); OUTPUTS],
            boots: 0,
            watchdog_resets: 0,
            brown_outs: 0,
            tamper_events: 0,
            jams: 0,
            journal_faults: 0,
        }
    }

    /// State of which nothing is known but that there was some.
    pub fn lost() -> Self {
        let mut state = Self::default();
        state.accounts.iter_mut().for_each(|account| account.lost = true);
        state
    }

    /// Into a record.
    pub fn encode(&self, place: &mut [u8]) -> Option<usize> {
        let mut rest = place.get_mut(..BYTES)?;
        for account in &self.accounts {
            let flags = u8::from(account.emergency) | u8::from(account.cut) << 1 | u8::from(account.lost) << 2;
            put(&mut rest, account.pulses.to_le_bytes())?;
            put(&mut rest, account.balance.minor.to_le_bytes())?;
            put(&mut rest, account.balance.fraction.to_le_bytes())?;
            put(&mut rest, account.count.to_le_bytes())?;
            put(&mut rest, account.last_amount.to_le_bytes())?;
            put(&mut rest, [flags])?;
        }
        for output in &self.outputs {
            let code = Position::code(output.target)
                | u8::from(output.settled) << 2
                | u8::from(output.by_credit) << 3
                | Position::code(output.command) << 4;
            put(&mut rest, [code])?;
        }
        put(&mut rest, self.boots.to_le_bytes())?;
        for counter in [self.watchdog_resets, self.brown_outs, self.tamper_events, self.jams, self.journal_faults] {
            put(&mut rest, counter.to_le_bytes())?;
        }
        Some(BYTES)
    }

    /// From a record; `None` when it is too short to be one.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut state = Self::default();
        let rest = &mut bytes;
        for account in &mut state.accounts {
            account.pulses = u32::from_le_bytes(take(rest)?);
            let minor = i32::from_le_bytes(take(rest)?);
            let fraction = u16::from_le_bytes(take(rest)?);
            account.balance = Money { minor, fraction };
            account.count = u32::from_le_bytes(take(rest)?);
            account.last_amount = i32::from_le_bytes(take(rest)?);
            let [flags] = take(rest)?;
            account.emergency = flags & 1 != 0;
            account.cut = flags & 2 != 0;
            account.lost = flags & 4 != 0;
        }
        for output in &mut state.outputs {
            let [code] = take(rest)?;
            output.target = Position::from_code(u16::from(code & 3));
            output.settled = code & 4 != 0;
            output.by_credit = code & 8 != 0;
            output.command = Position::from_code(u16::from(code >> 4 & 3));
        }
        state.boots = u32::from_le_bytes(take(rest)?);
        state.watchdog_resets = u16::from_le_bytes(take(rest)?);
        state.brown_outs = u16::from_le_bytes(take(rest)?);
        state.tamper_events = u16::from_le_bytes(take(rest)?);
        state.jams = u16::from_le_bytes(take(rest)?);
        state.journal_faults = u16::from_le_bytes(take(rest)?);
        Some(state)
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) -> Option<()> {
    let (place, after) = core::mem::take(rest).split_first_chunk_mut::<N>()?;
    *place = bytes;
    *rest = after;
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> impl Strategy<Value = Account> {
        let numbers = (any::<u32>(), any::<i32>(), 0u16..10_000, any::<u32>(), any::<i32>());
        (numbers, any::<[bool; 3]>()).prop_map(|((pulses, minor, fraction, count, last_amount), flags)| {
            let [emergency, cut, lost] = flags;
            Account { pulses, balance: Money { minor, fraction }, count, last_amount, emergency, cut, lost }
        })
    }

    fn position() -> impl Strategy<Value = Option<Position>> {
        prop_oneof![Just(None), Just(Some(Position::Open)), Just(Some(Position::Closed))]
    }

    proptest! {
        #[test]
        fn comes_back_from_its_record(
            accounts in prop::array::uniform4(account()),
            outputs in prop::array::uniform4((position(), any::<bool>(), position(), any::<bool>())),
            boots in any::<u32>(),
            counters in any::<[u16; 5]>(),
        ) {
            let outputs = outputs.map(|(target, settled, command, by_credit)| Intent { target, settled, command, by_credit });
            let [watchdog_resets, brown_outs, tamper_events, jams, journal_faults] = counters;
            let state =
                State { accounts, outputs, boots, watchdog_resets, brown_outs, tamper_events, jams, journal_faults };
            let mut record = [0; BYTES];
            prop_assert_eq!(state.encode(&mut record), Some(BYTES));
            prop_assert_eq!(State::decode(&record), Some(state));
            prop_assert_eq!(State::decode(&record[..BYTES - 1]), None);
        }
    }
}
