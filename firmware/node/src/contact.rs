//! Supervised dry contacts: a loop with end-of-line resistors, read as a level.
//!
//! ```text
//!  level 0 ──── level_short ────── level_middle ────── level_open ──── 4095
//!         SHORT            LOWER                UPPER             OPEN
//!
//!  supervised normally open    alarm in LOWER (a resistor comes in parallel), normal in UPPER
//!  supervised normally closed  normal in LOWER, alarm in UPPER (a resistor comes in series)
//!  plain normally open         alarm below level_middle, normal above; no faults can be seen
//!  plain normally closed       the other way round
//! ```
//!
//! Typical loop: 10 kΩ up to the reference, 10 kΩ at the end of the line (level 2048), 10 kΩ in parallel in alarm (1365).
//! A level leaves its window only when it is past the limit by the hysteresis, and the state changes only when the level
//! has stayed in the other window for the debounce time.

/// Mode of a contact; the codes of register `contact_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not wired.
    Unused,
    /// Supervised, alarm is the lower level.
    NormallyOpen,
    /// Supervised, alarm is the upper level.
    NormallyClosed,
    /// Without resistors, closed is alarm.
    PlainOpen,
    /// Without resistors, open is alarm.
    PlainClosed,
}

impl Mode {
    /// From the register.
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::NormallyOpen,
            2 => Self::NormallyClosed,
            3 => Self::PlainOpen,
            4 => Self::PlainClosed,
            _ => Self::Unused,
        }
    }

    const fn state(self, band: u8) -> ContactState {
        match (self, band) {
            (Self::Unused, _) => ContactState::Unused,
            (Self::NormallyOpen | Self::NormallyClosed, 0) => ContactState::Short,
            (Self::NormallyOpen | Self::NormallyClosed, 3) => ContactState::Open,
            (Self::NormallyOpen, 1) | (Self::NormallyClosed, 2) => ContactState::Alarm,
            (Self::PlainOpen, 0 | 1) | (Self::PlainClosed, 2 | 3) => ContactState::Alarm,
            _ => ContactState::Normal,
        }
    }
}

/// State of a contact; the codes of register `contact_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ContactState {
    /// Not used.
    Unused = 0,
    /// At rest.
    Normal = 1,
    /// In alarm.
    Alarm = 2,
    /// The loop is cut.
    Open = 3,
    /// The loop is shorted.
    Short = 4,
    /// Not measured yet, or the converter fails.
    Unknown = 5,
}

/// Limits between the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Short, middle, open; 0..4095.
    pub levels: [u16; 3],
    /// How far past a limit a level must be to leave its window.
    pub hysteresis: u16,
    /// How long it must stay there.
    pub debounce_ms: u32,
}

/// One contact.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    state: ContactState,
    band: Option<u8>,
    /// The other state that is seen, and since when.
    other: Option<(ContactState, u32)>,
    level: u16,
    changes: u16,
}

impl Contact {
    /// Not measured.
    pub const fn new() -> Self {
        Self { state: ContactState::Unknown, band: None, other: None, level: 0, changes: 0 }
    }

    /// State now.
    pub const fn state(&self) -> ContactState {
        self.state
    }

    /// Last level.
    pub const fn level(&self) -> u16 {
        self.level
    }

    /// Changes of state since the start.
    pub const fn changes(&self) -> u16 {
        self.changes
    }

    /// Takes a measurement in; `None` = the converter failed. `true` when the state has become another.
    pub fn measure(&mut self, level: Option<u16>, mode: Mode, limits: &Limits, now_ms: u32) -> bool {
        let seen = match level {
            _ if mode == Mode::Unused => ContactState::Unused,
            None => ContactState::Unknown,
            Some(level) => {
                self.level = level;
                let band = band(level, self.band, limits);
                self.band = Some(band);
                mode.state(band)
            }
        };
        if seen == self.state {
            self.other = None;
            return false;
        }
        let since = match self.other {
            Some((other, since)) if other == seen => since,
            _ => {
                self.other = Some((seen, now_ms));
                now_ms
            }
        };
        // Taking a contact in or out of use needs no proof.
        let at_once = ContactState::Unused == seen;
        if !at_once && now_ms.wrapping_sub(since) < limits.debounce_ms {
            return false;
        }
        self.other = None;
        let first = matches!(self.state, ContactState::Unknown | ContactState::Unused);
        self.state = seen;
        if !first {
            self.changes = self.changes.wrapping_add(1);
        }
        true
    }
}

impl Default for Contact {
    fn default() -> Self {
        Self::new()
    }
}

fn band(level: u16, current: Option<u8>, limits: &Limits) -> u8 {
    let mut band = 0;
    for (limit, below) in limits.levels.iter().zip(0..) {
        let limit = match current {
            None => *limit,
            Some(current) if current <= below => limit.saturating_add(limits.hysteresis),
            Some(_) => limit.saturating_sub(limits.hysteresis),
        };
        if level >= limit {
            band = below + 1;
        }
    }
    band
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { levels: [410, 1700, 2900], hysteresis: 40, debounce_ms: 50 };

    fn settled(mode: Mode, level: u16) -> ContactState {
        let mut contact = Contact::new();
        (0..100).for_each(|ms| {
            contact.measure(Some(level), mode, &LIMITS, ms);
        });
        contact.state()
    }

    #[test]
    fn four_windows_in_every_mode() {
        use ContactState::{Alarm, Normal, Open, Short, Unused};
        let states = |mode| [0, 1365, 2048, 4095].map(|level| settled(mode, level));
        assert_eq!(states(Mode::NormallyOpen), [Short, Alarm, Normal, Open]);
        assert_eq!(states(Mode::NormallyClosed), [Short, Normal, Alarm, Open]);
        assert_eq!(states(Mode::PlainOpen), [Alarm, Alarm, Normal, Normal]);
        assert_eq!(states(Mode::PlainClosed), [Normal, Normal, Alarm, Alarm]);
        assert_eq!(states(Mode::Unused), [Unused; 4]);
    }

    #[test]
    fn a_level_that_trembles_on_a_limit_changes_nothing() {
        let mut contact = Contact::new();
        let mode = Mode::NormallyOpen;
        (0..100).for_each(|ms| {
            contact.measure(Some(1750), mode, &LIMITS, ms);
        });
        assert_eq!(contact.state(), ContactState::Normal);
        for ms in 100..2000 {
            let level = if ms % 300 < 150 { 1665 } else { 1735 };
            assert!(!contact.measure(Some(level), mode, &LIMITS, ms), "at {ms} ms");
        }
        (2000..2100).for_each(|ms| {
            contact.measure(Some(1659), mode, &LIMITS, ms);
        });
        assert_eq!(contact.state(), ContactState::Alarm);
        assert_eq!(contact.changes(), 1);
    }

    #[test]
    fn a_change_shorter_than_the_debounce_time_is_none() {
        let mut contact = Contact::new();
        let mode = Mode::NormallyOpen;
        (0..100).for_each(|ms| {
            contact.measure(Some(2048), mode, &LIMITS, ms);
        });
        for ms in 100..149 {
            assert!(!contact.measure(Some(1365), mode, &LIMITS, ms));
        }
        assert!(!contact.measure(Some(2048), mode, &LIMITS, 149));
        let changed: Vec<_> = (150..260).filter(|ms| contact.measure(Some(1365), mode, &LIMITS, *ms)).collect();
        assert_eq!(changed, [200]);
    }

    #[test]
    fn on_the_way_from_normal_to_short_there_is_no_alarm() {
        let mut contact = Contact::new();
        let mode = Mode::NormallyOpen;
        let mut seen = vec![];
        for ms in 0..300u32 {
            let level = 2048u16.saturating_sub(ms.saturating_sub(100) as u16 * 60);
            if contact.measure(Some(level), mode, &LIMITS, ms) {
                seen.push(contact.state());
            }
        }
        assert_eq!(seen, [ContactState::Normal, ContactState::Short]);
    }

    #[test]
    fn a_failing_converter_is_neither_normal_nor_alarm() {
        let mut contact = Contact::new();
        let mode = Mode::NormallyOpen;
        (0..100).for_each(|ms| {
            contact.measure(Some(2048), mode, &LIMITS, ms);
        });
        (100..200).for_each(|ms| {
            contact.measure(None, mode, &LIMITS, ms);
        });
        assert_eq!(contact.state(), ContactState::Unknown);
    }
}
