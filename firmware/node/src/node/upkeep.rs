//! What goes on without anybody asking: measuring, counting, charging, cutting, driving, saving.

use super::{
    BUTTON_HOLD_MS, Button, COMMIT_FLOOR_S, COVER_DEBOUNCE_MS, CREDIT_MS, Core, LOW_SUPPLY_COMMIT_S, MEASURE_MS,
    OrElse as _,
};
use crate::board::{Analog, Board};
use crate::calendar;
use crate::contact::{ContactState, Limits, Mode};
use crate::credit::CreditState;
use crate::journal::Ring;
use crate::map::{CHANNELS, CONTACTS, Id, OUTPUTS};
use crate::output::{Cause, Motion, Moved, OutputKind, Wishes, wanted};
use crate::state::Position;

impl<B: Board> Core<B> {
    /// Local civil time, when it was set.
    pub(super) fn local_s(&self) -> Option<u32> {
        self.clock.map(|(local, at)| local.saturating_add(self.time.s.saturating_sub(at)))
    }

    pub(super) fn gateway_lost(&self) -> bool {
        let timeout = self.settings.get(Id::GatewayTimeout, 0);
        timeout != 0 && self.time.s.saturating_sub(self.last_frame_s) >= timeout
    }

    pub(super) fn motion(&self, output: usize) -> Motion {
        Motion {
            kind: OutputKind::from_code(self.settings.word(Id::OutputKind, output)),
            pulse_ms: self.settings.get(Id::PulseWidth, output),
            travel_ms: self.settings.get(Id::TravelTime, output).wrapping_mul(1000),
            limits: self.settings.flag(Id::LimitInputs, output),
        }
    }

    /// Measures one contact and the supply.
    pub(super) fn measure(&mut self) {
        if self.time.ms.wrapping_sub(self.last_measure_ms) < MEASURE_MS {
            return;
        }
        self.last_measure_ms = self.time.ms;
        let index = self.next_contact;
        self.next_contact = if index + 1 < CONTACTS { index + 1 } else { 0 };
        let level = |id| self.settings.word(id, 0);
        let limits = Limits {
            levels: [level(Id::LevelShort), level(Id::LevelMiddle), level(Id::LevelOpen)],
            hysteresis: level(Id::LevelHysteresis),
            debounce_ms: self.settings.get(Id::ContactDebounce, 0),
        };
        let mode = Mode::from_code(self.settings.word(Id::ContactMode, index));
        let measured = if mode == Mode::Unused { None } else { self.parts.analog.contact(index) };
        if let Some(contact) = self.contacts.get_mut(index) {
            contact.measure(measured, mode, &limits, self.time.ms);
            if contact.state() == ContactState::Alarm {
                self.latched |= 1 << index;
            }
        }
        self.supply_mv = self.parts.analog.supply_mv();
    }

    /// Drives every output; what ends is kept until the state may be touched.
    pub(super) fn drive(&mut self) {
        for output in 0..OUTPUTS {
            let motion = self.motion(output);
            let parts = self.parts.limits.get_mut(output).zip(self.parts.coils.get_mut(output));
            let (Some((limits, coils)), Some(driver)) = (parts, self.drivers.get_mut(output)) else { continue };
            let moved = driver.poll(&motion, limits, coils, self.time.ms);
            if moved != Moved::No
                && let Some(ended) = self.ended.get_mut(output)
            {
                *ended = moved;
            }
        }
    }

    /// Takes the counted pulses over and looks where the accounts stand.
    pub(super) fn settle(&mut self) {
        let mut fresh = false;
        for channel in 0..CHANNELS {
            let terms = self.settings.terms(channel);
            let count = self.parts.pulses.count(channel);
            let Some(counted) = self.counted.get_mut(channel) else { continue };
            let pulses = count.wrapping_sub(*counted);
            if pulses == 0 {
                continue;
            }
            *counted = count;
            if let (Some(account), Some(unsaved)) =
                (self.state.accounts.get_mut(channel), self.unsaved.get_mut(channel))
            {
                account.count_pulses(pulses, &terms);
                *unsaved = unsaved.saturating_add(pulses);
            }
            self.dirty = true;
            fresh = true;
        }
        if fresh || self.time.ms.wrapping_sub(self.last_credit_ms) >= CREDIT_MS {
            self.last_credit_ms = self.time.ms;
            self.judge();
        }
    }

    /// Where the accounts stand; a cut, and its end, is saved at once.
    pub(super) fn judge(&mut self) {
        let may_cut = calendar::may_cut(&self.settings, self.local_s());
        for channel in 0..CHANNELS {
            let terms = self.settings.terms(channel);
            let (Some(account), Some(credit)) = (self.state.accounts.get_mut(channel), self.credit.get_mut(channel))
            else {
                continue;
            };
            *credit = account.state(&terms, may_cut);
            let cut = *credit == CreditState::Cut;
            if account.cut != cut {
                account.cut = cut;
                self.dirty = true;
                self.urgent = true;
            }
        }
    }

    /// Cover, supply and button.
    pub(super) fn watch(&mut self) {
        let now = self.time.ms;
        let open = !self.parts.cover.is_high_or(true);
        if open == self.cover_open {
            self.cover_since_ms = now;
        } else if now.wrapping_sub(self.cover_since_ms) >= COVER_DEBOUNCE_MS {
            self.cover_open = open;
            if open {
                self.tampered = true;
                self.state.tamper_events = self.state.tamper_events.saturating_add(1);
                self.dirty = true;
                self.urgent = true;
            }
        }

        let limit = self.settings.word(Id::SupplyLow, 0);
        match self.supply_mv {
            Some(mv) if limit != 0 && mv < limit => {
                // Two measurements: one may be a spike.
                if self.last_measure_ms == now && core::mem::replace(&mut self.supply_below, true) && !self.supply_low {
                    self.supply_low = true;
                    self.state.brown_outs = self.state.brown_outs.saturating_add(1);
                    self.dirty = true;
                    self.urgent = true;
                }
            }
            Some(mv) if limit != 0 && mv < limit.saturating_add(limit / 16) && self.supply_low => {}
            _ => {
                self.supply_below = false;
                self.supply_low = false;
            }
        }

        let held = self.parts.button.is_high_or(false);
        self.button = match self.button {
            _ if !held => Button::Released,
            Button::Released => Button::Held { since_ms: now },
            Button::Held { since_ms } if now.wrapping_sub(since_ms) >= BUTTON_HOLD_MS => {
                self.lend();
                Button::Obeyed
            }
            button => button,
        };
    }

    /// Emergency credit for every channel that may have it.
    fn lend(&mut self) {
        for channel in 0..CHANNELS {
            let terms = self.settings.terms(channel);
            if let Some(account) = self.state.accounts.get_mut(channel)
                && let Some(lent) = account.lend(&terms)
            {
                *account = lent;
                self.dirty = true;
                self.urgent = true;
            }
        }
        self.judge();
    }

    /// Where the outputs shall go.
    pub(super) fn decide(&mut self) {
        let lost = self.gateway_lost();
        for output in 0..OUTPUTS {
            let motion = self.motion(output);
            let cut = (0..CHANNELS).any(|channel| {
                self.settings.get(Id::SupplyOutput, channel) == output as u32 + 1
                    && self.state.accounts.get(channel).is_some_and(|account| account.cut)
            });
            let safe = |id, holds: bool| Position::from_code(self.settings.word(id, output)).filter(|_| holds);
            let booting = self.booting.get(output).copied().unwrap_or(false);
            let wishes = Wishes { cut, boot: safe(Id::BootState, booting), lost: safe(Id::LostState, lost) };
            let (Some(intent), Some(driver), Some(ended), Some(intended), Some(cause), Some(retry)) = (
                self.state.outputs.get_mut(output),
                self.drivers.get_mut(output),
                self.ended.get_mut(output),
                self.intended.get_mut(output),
                self.causes.get_mut(output),
                self.retry.get_mut(output),
            ) else {
                continue;
            };
            match core::mem::replace(ended, Moved::No) {
                Moved::No => {}
                Moved::Settled => {
                    intent.settled = true;
                    intent.by_credit &= intent.target != Some(motion.kind.position(true));
                    self.dirty = true;
                }
                Moved::Jammed => {
                    self.state.jams = self.state.jams.saturating_add(1);
                    self.dirty = true;
                }
            }
            let (want, why) = wanted(motion.kind, intent, &wishes);
            *cause = why;
            // A supply that is about to go would leave a relay half way.
            let Some(to) = want.filter(|_| !self.supply_low) else { continue };
            let go = match intended.or(driver.driving()) {
                Some(heading) => heading != to,
                None if driver.jammed() == Some(to) => *retry,
                None => intent.target != Some(to) || !intent.settled,
            };
            if go {
                *retry = false;
                intent.target = Some(to);
                intent.settled = false;
                intent.by_credit |= why == Cause::Credit && cut;
                *intended = Some(to);
                self.dirty = true;
                self.urgent = true;
            }
        }
    }

    /// Begins a record when one is due.
    pub(super) fn save(&mut self) {
        let faults = self.journal.faults();
        let fresh = faults.wrapping_sub(core::mem::replace(&mut self.journal_faults, faults));
        self.state.journal_faults = self.state.journal_faults.saturating_add(fresh);

        let elapsed = self.time.s.saturating_sub(self.last_commit_s);
        let unsaved = self.unsaved.iter().max().copied().unwrap_or(0);
        let due = self.urgent
            || (self.dirty && self.supply_low && elapsed >= LOW_SUPPLY_COMMIT_S)
            || (self.dirty && elapsed >= self.settings.get(Id::CommitInterval, 0))
            || (unsaved >= self.settings.get(Id::CommitPulses, 0) && elapsed >= COMMIT_FLOOR_S);
        if due {
            let state = &self.state;
            self.journal.begin(Ring::State, |place| state.encode(place));
        } else if core::mem::take(&mut self.refresh) {
            let settings = &self.settings;
            self.journal.begin(Ring::Settings, |place| settings.encode(place));
        }
    }
}
