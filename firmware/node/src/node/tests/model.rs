//! What the right answer is, written a second time: from the words of the map and of the specification, not from the code.
//!
//! A byte of an expected answer has a mask: what the model cannot know (uptime, states of drives) is free, what it can
//! know (lengths, padding, settings, balances) is not.

mod package;

use std::collections::BTreeMap;

use ed25519_compact::PublicKey;

use crate::doubles::bench::{BOARD_ID, CAPACITY, VERSION};
use crate::map::{Access, Kind, MAP_VERSION, REGISTERS, Register};

/// A byte and which of its bits count.
type Expected = Vec<(u8, u8)>;

/// What a master may hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Silence,
    Answer(Expected),
}

#[derive(Clone, Debug, Default)]
struct Account {
    count: u32,
    balance: i64,
    last: i32,
    emergency: bool,
    pulses: u32,
    result: (u16, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle = 0,
    Receiving = 1,
    Verified = 3,
    Refused = 4,
    Installing = 5,
}

/// A node in the mind.
pub struct Model {
    settings: BTreeMap<u16, u16>,
    accounts: Vec<Account>,
    commands: [u16; 4],
    phase: Phase,
    package: Vec<u8>,
    /// Why a package was refused, and the version of one that was not.
    verdict: Result<u32, u16>,
    maker: PublicKey,
    boots: u16,
}

type Body = Result<Expected, u8>;

fn exact(bytes: &[u8]) -> Expected {
    bytes.iter().map(|byte| (*byte, 0xFF)).collect()
}

fn be(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

fn words_of(register: &Register) -> u16 {
    match register.kind {
        Kind::U16 => 1,
        Kind::U32 | Kind::I32 => 2,
        Kind::TopUp => 4,
        Kind::Text => 8,
    }
}

/// The row an address belongs to, with its repetition and word.
fn row(address: u16) -> Option<(&'static Register, u16, u16)> {
    REGISTERS.iter().find_map(|register| {
        (0..register.repeat).find_map(|n| {
            let first = u32::from(register.address) + u32::from(n) * u32::from(register.stride);
            let word = u32::from(address).checked_sub(first)?;
            (word < u32::from(words_of(register))).then_some((register, n, word as u16))
        })
    })
}

impl Model {
    /// A node that trusts a maker.
    pub fn new(maker: PublicKey) -> Self {
        let mut settings = BTreeMap::new();
        for register in REGISTERS.iter().filter(|register| register.access == Access::Setting) {
            for n in 0..register.repeat {
                let first = register.address + n * register.stride;
                if words_of(register) == 2 {
                    settings.insert(first, (register.default >> 16) as u16);
                    settings.insert(first + 1, register.default as u16);
                } else {
                    settings.insert(first, register.default as u16);
                }
            }
        }
        Self {
            settings,
            accounts: vec![Account::default(); 4],
            commands: [0; 4],
            phase: Phase::Idle,
            package: vec![],
            verdict: Err(0),
            maker,
            boots: 1,
        }
    }

    /// The package that the node has been told to install.
    pub fn installing(&self) -> Option<&[u8]> {
        (self.phase == Phase::Installing).then_some(&self.package)
    }

    /// Power off and on: what is not kept is gone.
    pub fn restart(&mut self) {
        self.forget();
        self.accounts.iter_mut().for_each(|account| account.result = (u16::from(account.count > 0), account.count));
        self.boots += 1;
    }

    /// Forgets what was staged.
    fn forget(&mut self) {
        self.phase = Phase::Idle;
        self.package.clear();
        self.verdict = Err(0);
    }

    pub fn address(&self) -> u8 {
        self.settings[&0x0200] as u8
    }

    /// The purchase count that a channel waits for.
    pub fn next_count(&self, channel: usize) -> u32 {
        self.accounts[channel].count + 1
    }

    /// Bytes of a package so far.
    pub fn received(&self) -> usize {
        self.package.len()
    }

    /// Bytes of the package, if they are all there.
    pub fn bytes(&self, from: usize, length: usize) -> Option<Vec<u8>> {
        Some(self.package.get(from..from + length)?.to_vec())
    }

    fn long(&self, address: u16) -> u32 {
        u32::from(self.settings[&address]) << 16 | u32::from(self.settings[&(address + 1)])
    }

    /// What a node must do with a frame whose CRC is right.
    pub fn frame(&mut self, body: &[u8]) -> Verdict {
        let (address, pdu) = (body[0], &body[1..]);
        if address != 0 && address != self.address() {
            return Verdict::Silence;
        }
        let result = self.pdu(pdu, address == 0);
        if address == 0 {
            return Verdict::Silence;
        }
        let answer = match result {
            Ok(rest) => [exact(&[address, pdu[0]]), rest].concat(),
            Err(exception) => exact(&[address, pdu[0] | 0x80, exception]),
        };
        Verdict::Answer(answer)
    }

    fn pdu(&mut self, pdu: &[u8], broadcast: bool) -> Body {
        let writes = matches!(pdu[0], 5 | 6 | 15 | 16);
        if broadcast && !writes {
            return Err(1);
        }
        match pdu[0] {
            1 | 2 => {
                if pdu.len() != 5 || !(1..=2000).contains(&be(pdu, 3)) {
                    return Err(3);
                }
                let limit = if pdu[0] == 1 { 4 } else { 40 };
                let (start, count) = (u32::from(be(pdu, 1)), u32::from(be(pdu, 3)));
                if start + count > limit {
                    return Err(2);
                }
                let bytes = count.div_ceil(8);
                let mut answer = exact(&[bytes as u8]);
                for byte in 0..bytes {
                    // Values are free, but no bit beyond the count may be set.
                    let used = (count - byte * 8).min(8);
                    answer.push((0, if used == 8 { 0 } else { 0xFF << used }));
                }
                Ok(answer)
            }
            3 | 4 => {
                if pdu.len() != 5 || !(1..=125).contains(&be(pdu, 3)) {
                    return Err(3);
                }
                let (start, count) = (be(pdu, 1), be(pdu, 3));
                let mut answer = exact(&[(count * 2) as u8]);
                for offset in 0..count {
                    let address = start.checked_add(offset).ok_or(2)?;
                    answer.extend(self.read(address).ok_or(2)?);
                }
                Ok(answer)
            }
            5 => {
                if pdu.len() != 5 || !matches!(be(pdu, 3), 0 | 0xFF00) {
                    return Err(3);
                }
                if be(pdu, 1) >= 4 {
                    return Err(2);
                }
                self.coil(be(pdu, 1), pdu[3] == 0xFF);
                Ok(exact(&pdu[1..]))
            }
            6 => {
                if pdu.len() != 5 {
                    return Err(3);
                }
                self.write(be(pdu, 1), &pdu[3..], broadcast)?;
                Ok(exact(&pdu[1..]))
            }
            15 => {
                if pdu.len() < 6 || !(1..=1968).contains(&be(pdu, 3)) {
                    return Err(3);
                }
                let count = be(pdu, 3);
                let bytes = usize::from(count.div_ceil(8));
                if usize::from(pdu[5]) != bytes || pdu.len() != 6 + bytes {
                    return Err(3);
                }
                if u32::from(be(pdu, 1)) + u32::from(count) > 4 {
                    return Err(2);
                }
                for i in 0..count {
                    self.coil(be(pdu, 1) + i, pdu[6] >> i & 1 == 1);
                }
                Ok(exact(&pdu[1..5]))
            }
            16 => {
                if pdu.len() < 6 || !(1..=123).contains(&be(pdu, 3)) {
                    return Err(3);
                }
                let bytes = usize::from(be(pdu, 3)) * 2;
                if usize::from(pdu[5]) != bytes || pdu.len() != 6 + bytes {
                    return Err(3);
                }
                self.write(be(pdu, 1), &pdu[6..], broadcast)?;
                Ok(exact(&pdu[1..5]))
            }
            17 => {
                if pdu.len() != 1 {
                    return Err(3);
                }
                Ok([exact(&[26, 0x4E, 0xFF]), exact(b"Guanjia field node 1.4.0")].concat())
            }
            20 => self.read_file(&pdu[1..]),
            21 => self.write_file(&pdu[1..]),
            43 => {
                if pdu.get(1) != Some(&14) {
                    return Err(1);
                }
                if pdu.len() != 4 || !(1..=4).contains(&pdu[2]) {
                    return Err(3);
                }
                let all: [(u8, &[u8]); 4] =
                    [(0, b"Guanjia"), (1, b"GJ-NODE"), (2, b"1.4.0"), (4, b"Guanjia field node")];
                let chosen: Vec<_> = match (pdu[2], pdu[3]) {
                    (4, id) => all.iter().filter(|(object, _)| *object == id).collect(),
                    (1, id @ 0..=2) => all.iter().filter(|(object, _)| (id..=2).contains(object)).collect(),
                    (1, _) => all.iter().filter(|(object, _)| *object <= 2).collect(),
                    (_, id @ (0..=2 | 4)) => all.iter().filter(|(object, _)| *object >= id).collect(),
                    _ => all.iter().collect(),
                };
                if chosen.is_empty() {
                    return Err(2);
                }
                let mut answer = exact(&[14, pdu[2], 0x82, 0, 0, chosen.len() as u8]);
                for (object, text) in chosen {
                    answer.extend(exact(&[*object, text.len() as u8]));
                    answer.extend(exact(text));
                }
                Ok(answer)
            }
            _ => Err(1),
        }
    }

    /// Two bytes of a register, as far as they are known.
    fn read(&self, address: u16) -> Option<Expected> {
        let (register, n, word) = row(address)?;
        if let Some(value) = self.settings.get(&address) {
            return Some(exact(&value.to_be_bytes()));
        }
        let account = &self.accounts[usize::from(n).min(3)];
        let known = match register.name {
            "map_version" => u32::from(MAP_VERSION),
            "device_type" => 0x474E,
            "board_id" => u32::from(BOARD_ID),
            "firmware_version" => VERSION.0,
            "build_id" => {
                let text = b"test build 00001";
                let at = usize::from(word) * 2;
                return Some(exact(&text[at..at + 2]));
            }
            "stack_high_water" => 1234,
            "address_in_use" => u32::from(self.address()),
            "reset_cause" => 1,
            "boots" => u32::from(self.boots),
            "watchdog_resets" | "tamper_events" | "journal_faults" => 0,
            "staged_version" => self.verdict.unwrap_or(0),
            "update_error" => self.verdict.map_or_else(u32::from, |_| 0),
            "supply_voltage" => 24_000,
            // Which contacts are in alarm is a matter of the limits that are written.
            "contact_latched" => return Some(vec![(0, 0xFF), (0, 0)]),
            "pulses" | "pulse_preset" => account.pulses,
            "balance" => account.balance as u32,
            "balance_fraction" => 0,
            "purchase_count" => account.count,
            "last_amount" => account.last as u32,
            "top_up_result" => u32::from(account.result.0),
            "top_up_result_count" => account.result.1,
            "top_up_frame" => {
                let value = if word < 2 { account.count } else { account.last as u32 };
                let half = if word % 2 == 0 { value >> 16 } else { value };
                return Some(exact(&(half as u16).to_be_bytes()));
            }
            "emergency_request" => u32::from(account.emergency),
            "output_command" => u32::from(self.commands[usize::from(n)]),
            "update_received" => self.package.len() as u32,
            "update_capacity" => CAPACITY,
            "update_state" => self.phase as u32,
            "reboot" | "clear_tamper" | "update_command" => 0,
            _ => return Some(vec![(0, 0), (0, 0)]),
        };
        let half = if words_of(register) == 2 && word == 0 { known >> 16 } else { known };
        Some(exact(&(half as u16).to_be_bytes()))
    }

    fn coil(&mut self, coil: u16, passing: bool) {
        // A valve passes open, everything else passes closed.
        let valve = self.settings[&(0x0300 + coil * 8)] == 2;
        self.commands[usize::from(coil)] = if valve == passing { 1 } else { 2 };
    }

    fn write(&mut self, start: u16, data: &[u8], broadcast: bool) -> Result<(), u8> {
        let (register, n, word) = row(start).ok_or(2)?;
        let bytes = usize::from(words_of(register)) * 2;
        if register.access == Access::Command {
            if word != 0 || data.len() != bytes {
                return Err(2);
            }
            return self.order(register, n, data, broadcast);
        }
        let mut changed = self.settings.clone();
        let mut legal = true;
        let mut at = 0;
        while at < data.len() {
            let address = start.wrapping_add((at / 2) as u16);
            let (register, _, word) = row(address).ok_or(2)?;
            let words = usize::from(words_of(register));
            if register.access != Access::Setting || word != 0 || at + words * 2 > data.len() {
                return Err(2);
            }
            let raw = (0..words).fold(0i64, |value, word| value << 16 | i64::from(be(data, at + word * 2)));
            let value = if register.kind == Kind::I32 { i64::from(raw as u32 as i32) } else { raw };
            legal &= value >= register.range.0 && value <= register.range.1;
            for word in 0..words {
                changed.insert(address + word as u16, be(data, at + word * 2));
            }
            at += words * 2;
        }
        if !legal {
            return Err(3);
        }
        self.settings = changed;
        Ok(())
    }

    fn order(&mut self, register: &Register, n: u16, data: &[u8], broadcast: bool) -> Result<(), u8> {
        let n = usize::from(n);
        let number = data.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if register.name == "top_up_frame" {
            return if broadcast { Err(2) } else { self.top_up(n, (number >> 32) as u32, number as u32 as i32) };
        }
        let value = number as i64;
        if value < register.range.0 || value > register.range.1 {
            return Err(3);
        }
        match register.name {
            "emergency_request" => {
                let base = 0x0280 + n as u16 * 0x20;
                let (warning, limit) = (self.long(base + 8) as i32, self.long(base + 12));
                let account = &mut self.accounts[n];
                let low = account.balance <= i64::from(warning);
                if self.settings[&(base + 1)] != 1 || limit == 0 || account.emergency || !low {
                    return Err(3);
                }
                account.emergency = true;
            }
            "pulse_preset" => self.accounts[n].pulses = value as u32,
            "output_command" => self.commands[n] = value as u16,
            "update_command" => {
                if broadcast {
                    return Err(2);
                }
                match (value, self.phase) {
                    (_, Phase::Installing) => return Err(6),
                    (1, _) => {
                        self.forget();
                        self.phase = Phase::Receiving;
                    }
                    (2, Phase::Receiving) => {
                        self.verdict = self.judge();
                        self.phase = if self.verdict.is_ok() { Phase::Verified } else { Phase::Refused };
                    }
                    (2, Phase::Verified) => {}
                    (3, Phase::Verified) => self.phase = Phase::Installing,
                    (4, _) => self.forget(),
                    _ => return Err(3),
                }
            }
            "clock" | "reboot" | "clear_tamper" | "contact_latched" => {}
            other => panic!("a command the model does not know: {other}"),
        }
        Ok(())
    }

    fn top_up(&mut self, n: usize, count: u32, amount: i32) -> Result<(), u8> {
        let base = 0x0280 + n as u16 * 0x20;
        let (hoarding, cut) = (self.long(base + 6) as i32, self.long(base + 10) as i32);
        let account = &mut self.accounts[n];
        let after = account.balance + i64::from(amount);
        let code = if count != 0 && count == account.count {
            if amount == account.last { 2 } else { 5 }
        } else if count == 0 || u64::from(count) != u64::from(account.count) + 1 {
            3
        } else if amount == 0 || (amount < 0 && after < 0) {
            6
        } else if amount > 0 && after > i64::from(hoarding) {
            4
        } else {
            account.count = count;
            account.balance = after;
            account.last = amount;
            if after > i64::from(cut) {
                account.emergency = false;
            }
            1
        };
        account.result = (code, count);
        if code <= 2 { Ok(()) } else { Err(3) }
    }
}
