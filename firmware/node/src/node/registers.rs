//! What the registers, coils and discrete inputs read.

use super::Core;
use crate::board::{Board, Staging, System};
use crate::contact::ContactState;
use crate::credit::CreditState;
use crate::map::{self, Access, Id, Kind, Rule};
use crate::output::OutputSupply;
use crate::pdu::Bits;
use crate::rtu::LineCounters;
use crate::update::UpdateState;

/// Bits of the status register, which are discrete inputs too.
mod status {
    pub(super) const SUPPLY_LOW: u16 = 1;
    pub(super) const TAMPER: u16 = 1 << 1;
    pub(super) const TAMPERED: u16 = 1 << 2;
    pub(super) const GATEWAY_LOST: u16 = 1 << 3;
    pub(super) const STORAGE_FAULT: u16 = 1 << 4;
    pub(super) const CLOCK_NOT_SET: u16 = 1 << 5;
    pub(super) const JAMMED: u16 = 1 << 6;
    pub(super) const LOST: u16 = 1 << 7;
}

impl<B: Board> Core<B> {
    /// One register of a value.
    pub(super) fn word(&self, rule: &Rule, n: u16, word: u16, line: &LineCounters) -> u16 {
        match rule.kind {
            Kind::U16 => self.value(rule, n, line) as u16,
            Kind::U32 | Kind::I32 => {
                let value = self.value(rule, n, line);
                if word == 0 { (value >> 16) as u16 } else { value as u16 }
            }
            Kind::Text => {
                let mut pairs = self.parts.identity.build_id.chunks_exact(2);
                match pairs.nth(usize::from(word)) {
                    Some([high, low]) => u16::from_be_bytes([*high, *low]),
                    _ => 0,
                }
            }
            Kind::TopUp => {
                let account = self.state.accounts.get(usize::from(n)).copied().unwrap_or_default();
                let value = if word < 2 { account.count } else { account.last_amount as u32 };
                if word & 1 == 0 { (value >> 16) as u16 } else { value as u16 }
            }
        }
    }

    fn value(&self, rule: &Rule, n: u16, line: &LineCounters) -> u32 {
        if rule.access == Access::Setting {
            return self.settings.value(rule, n);
        }
        let n = usize::from(n);
        let account = self.state.accounts.get(n).copied().unwrap_or_default();
        let result = self.results.get(n).map_or((0, 0), |(result, count)| (*result as u16, *count));
        let contact = self.contacts.get(n).copied().unwrap_or_default();
        let driver = self.drivers.get(n).copied().unwrap_or_default();
        let intent = self.state.outputs.get(n).copied().unwrap_or_default();
        match rule.id {
            Id::MapVersion => map::MAP_VERSION.into(),
            Id::DeviceType => map::DEVICE_TYPE.into(),
            Id::BoardId => self.parts.identity.board_id.into(),
            Id::FirmwareVersion => self.parts.identity.version.0,
            Id::ResetCause => self.parts.system.reset_cause() as u32,
            Id::Uptime => self.time.s,
            Id::Boots => self.state.boots,
            Id::WatchdogResets => self.state.watchdog_resets.into(),
            Id::BrownOuts => self.state.brown_outs.into(),
            Id::StackHighWater => self.parts.system.stack_high_water().into(),
            Id::Supply => self.supply_mv.unwrap_or(0).into(),
            Id::Status => self.status().into(),
            Id::TamperEvents => self.state.tamper_events.into(),
            Id::JournalFaults => self.state.journal_faults.into(),
            Id::JournalCommits => self.journal.sequence(crate::journal::Ring::State),
            Id::FramesHandled => self.frames,
            Id::CrcErrors => line.crc_errors.into(),
            Id::FrameGaps => line.gaps.into(),
            Id::LineErrors => line.errors.into(),
            Id::Exceptions => self.exceptions.into(),
            Id::AddressInUse => self.address().unwrap_or(0).into(),
            Id::Jams => self.state.jams.into(),
            Id::ContactState => contact.state() as u32,
            Id::ContactChanges => contact.changes().into(),
            Id::ContactLevel => contact.level().into(),
            Id::ContactLatched => self.latched.into(),
            Id::Pulses | Id::PulsePreset => account.pulses,
            Id::Balance => account.balance.minor as u32,
            Id::BalanceFraction => account.balance.fraction.into(),
            Id::CreditState => self.credit.get(n).map_or(0, |credit| *credit as u32),
            Id::PurchaseCount => account.count,
            Id::LastAmount => account.last_amount as u32,
            Id::TopUpResult => result.0.into(),
            Id::TopUpResultCount => result.1,
            Id::InputLevel => self.parts.pulses.level(n).into(),
            Id::EmergencyRequest => account.emergency.into(),
            Id::OutputState => driver.state(&intent, &self.motion(n)) as u32,
            Id::OutputCause => self.causes.get(n).map_or(0, |cause| *cause as u32),
            Id::OutputCommand => intent.command.map_or(0, |command| command as u32),
            Id::OutputMoves => driver.moves().into(),
            Id::OutputLimits => driver.limits().iter().rev().fold(0, |bits, reached| bits << 1 | u32::from(*reached)),
            Id::OutputSupply => self.supply(n) as u32,
            Id::Clock => self.local_s().unwrap_or(0),
            Id::UpdateState => self.update.state() as u32,
            Id::UpdateError => self.update.error() as u32,
            Id::UpdateReceived => self.update.received(),
            Id::UpdateCapacity => self.parts.staging.capacity(),
            Id::StagedVersion => match self.update.state() {
                UpdateState::Verified | UpdateState::Installing => self.update.version().0,
                _ => 0,
            },
            // Texts and frames are read word by word; orders read nothing; settings were answered above.
            _ => 0,
        }
    }

    /// The status register.
    pub(super) fn status(&self) -> u16 {
        let jammed = self.drivers.iter().any(|driver| driver.jammed().is_some());
        let lost = self.settings_lost || self.state.accounts.iter().any(|account| account.lost);
        let bits = [
            (self.supply_low, status::SUPPLY_LOW),
            (self.cover_open, status::TAMPER),
            (self.tampered, status::TAMPERED),
            (self.gateway_lost(), status::GATEWAY_LOST),
            (self.storage_fault, status::STORAGE_FAULT),
            (self.clock.is_none(), status::CLOCK_NOT_SET),
            (jammed, status::JAMMED),
            (lost, status::LOST),
        ];
        bits.iter().filter(|(holds, _)| *holds).fold(0, |word, (_, bit)| word | bit)
    }

    /// Where the supply behind an output stands.
    fn supply(&self, output: usize) -> OutputSupply {
        let motion = self.motion(output);
        let state = self.drivers.get(output).zip(self.state.outputs.get(output));
        state.map_or(OutputSupply::Unused, |(driver, intent)| {
            OutputSupply::of(motion.kind, driver.state(intent, &motion))
        })
    }

    /// A coil or discrete input; `None` beyond the last.
    pub(super) fn bit(&self, bits: Bits, address: u16) -> Option<bool> {
        let at = usize::from(address);
        match bits {
            Bits::Coils => Some(self.supply(at) == OutputSupply::Passing),
            Bits::Discrete => match at {
                0..8 => Some(self.contacts.get(at)?.state() == ContactState::Alarm),
                8..16 => Some(matches!(self.contacts.get(at - 8)?.state(), ContactState::Open | ContactState::Short)),
                16..32 => Some(self.status() >> (at - 16) & 1 == 1),
                32..36 => Some(matches!(
                    self.credit.get(at - 32)?,
                    CreditState::Low | CreditState::Emergency | CreditState::Held | CreditState::Cut
                )),
                36..40 => Some(*self.credit.get(at - 36)? == CreditState::Cut),
                _ => None,
            },
        }
    }
}
