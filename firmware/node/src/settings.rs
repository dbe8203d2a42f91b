//! Settings: the words a master has written, in the order of the map, kept in the journal.
//!
//! A value read from the journal that the map no longer allows becomes its default: an update may narrow a range. New
//! settings go to the end of the map's table, so that the record of an older firmware stays a prefix.

use crate::board::{LineSettings, Parity};
use crate::credit::Terms;
use crate::journal::Ring;
use crate::map::{self, Access, Id, Kind, RULES, Rule, SETTING_WORDS};

/// Bytes of the record.
pub const BYTES: usize = SETTING_WORDS * 2;
const _: () = assert!(BYTES <= Ring::Settings.payload_max());

/// What was never written, put together when the crate is compiled.
const DEFAULTS: [u16; SETTING_WORDS] = {
    let mut words = [0; SETTING_WORDS];
    let mut row = 0;
    while row < RULES.len() {
        let rule = &RULES[row];
        let mut at = rule.slot as usize;
        let mut n = 0;
        while n < rule.repeat && matches!(rule.access, Access::Setting) {
            if rule.kind.words() == 2 {
                words[at] = (rule.default >> 16) as u16;
                at += 1;
            }
            words[at] = rule.default as u16;
            at += 1;
            n += 1;
        }
        row += 1;
    }
    words
};

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    words: [u16; SETTING_WORDS],
}

impl Settings {
    /// The defaults of the map.
    pub const fn new() -> Self {
        Self { words: DEFAULTS }
    }

    /// From the record of the journal.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut settings = Self::new();
        for (word, pair) in settings.words.iter_mut().zip(bytes.chunks_exact(2)) {
            if let [high, low] = *pair {
                *word = u16::from_be_bytes([high, low]);
            }
        }
        for rule in RULES.iter().filter(|rule| rule.access == Access::Setting) {
            for n in 0..rule.repeat {
                if !rule.allows(settings.value(rule, n)) {
                    settings.put(rule, n, rule.default);
                }
            }
        }
        settings
    }

    /// Into a record.
    pub fn encode(&self, place: &mut [u8]) -> Option<usize> {
        let bytes = self.words.iter().flat_map(|word| word.to_be_bytes());
        for (place, byte) in place.get_mut(..BYTES)?.iter_mut().zip(bytes) {
            *place = byte;
        }
        Some(BYTES)
    }

    /// Raw value of a setting; the n-th of those that repeat. 0 for what is not a setting.
    pub fn get(&self, id: Id, n: usize) -> u32 {
        map::rule(id).map_or(0, |rule| self.value(rule, n as u16))
    }

    /// Raw value that a rule and its repetition name.
    pub fn value(&self, rule: &Rule, n: u16) -> u32 {
        if rule.access != Access::Setting || n >= rule.repeat {
            return 0;
        }
        let at = usize::from(rule.slot) + usize::from(n) * usize::from(rule.kind.words());
        let word = |at: usize| u32::from(self.words.get(at).copied().unwrap_or(0));
        if rule.kind == Kind::U16 { word(at) } else { word(at) << 16 | word(at + 1) }
    }

    /// Sets a raw value, which the caller has found allowed.
    pub fn put(&mut self, rule: &Rule, n: u16, raw: u32) {
        if rule.access != Access::Setting || n >= rule.repeat {
            return;
        }
        let mut at = usize::from(rule.slot) + usize::from(n) * usize::from(rule.kind.words());
        if rule.kind != Kind::U16 {
            if let Some(word) = self.words.get_mut(at) {
                *word = (raw >> 16) as u16;
            }
            at += 1;
        }
        if let Some(word) = self.words.get_mut(at) {
            *word = raw as u16;
        }
    }

    /// A setting of one register.
    pub fn word(&self, id: Id, n: usize) -> u16 {
        self.get(id, n) as u16
    }

    /// A setting that says yes or no.
    pub fn flag(&self, id: Id, n: usize) -> bool {
        self.get(id, n) != 0
    }

    /// Terms of the account of a channel.
    pub fn terms(&self, channel: usize) -> Terms {
        Terms {
            prepaid: self.flag(Id::Prepaid, channel),
            exempt: self.flag(Id::Exempt, channel),
            price: self.get(Id::Price, channel),
            hoarding: self.get(Id::HoardingLimit, channel) as i32,
            warning: self.get(Id::WarningLevel, channel) as i32,
            cut: self.get(Id::CutLimit, channel) as i32,
            emergency: self.get(Id::EmergencyLimit, channel) as i32,
        }
    }

    /// Speed and parity of the line.
    pub fn line(&self) -> LineSettings {
        let baud = match self.word(Id::Baud, 0) {
            0 => 1200,
            1 => 2400,
            2 => 4800,
            4 => 19_200,
            5 => 38_400,
            6 => 57_600,
            7 => 115_200,
            _ => 9600,
        };
        let parity = match self.word(Id::Parity, 0) {
            0 => Parity::None,
            2 => Parity::Odd,
            _ => Parity::Even,
        };
        LineSettings { baud, parity }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_9600_8e1_address_1() {
        let settings = Settings::new();
        assert_eq!(settings.line(), LineSettings { baud: 9600, parity: Parity::Even });
        assert_eq!(settings.word(Id::Address, 0), 1);
        assert_eq!(settings.terms(3).hoarding, 1_000_000);
        assert!(!settings.terms(0).prepaid);
    }

    #[test]
    fn every_setting_comes_back_from_its_record() {
        let mut settings = Settings::new();
        let rules = RULES.iter().filter(|rule| rule.access == Access::Setting);
        for (i, (rule, n)) in rules.flat_map(|rule| (0..rule.repeat).map(move |n| (rule, n))).enumerate() {
            let raw = if i % 2 == 0 { rule.max } else { rule.min };
            settings.put(rule, n, raw);
            assert_eq!(settings.value(rule, n), raw);
        }
        let mut record = [0; BYTES];
        assert_eq!(settings.encode(&mut record), Some(BYTES));
        assert_eq!(Settings::decode(&record), settings);
    }

    #[test]
    fn what_the_map_does_not_allow_becomes_the_default() {
        assert_eq!(Settings::decode(&[0xFF; BYTES]).word(Id::Address, 0), 1);
        assert_eq!(Settings::decode(&[0xFF; BYTES]).terms(0).price, 0);
        let mut short = [0; BYTES];
        Settings::new().encode(&mut short);
        assert_eq!(Settings::decode(&short[..20]), Settings::new());
    }
}
