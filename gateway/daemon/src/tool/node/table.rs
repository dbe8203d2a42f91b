//! The node's registers as people read them: raw numbers by the map's own table.

use guanjia_field::session::{NodeSession, SessionError};
use guanjia_node::map::{Access, BUILD_ID_BYTES, Id, Kind, REGISTERS, Register};
use serde_json::{Value, json};

use crate::tool::text::columns;

/// Registers from the beginning of the map that say what the node is and how it does.
pub const HEAD_WORDS: u16 = 0x17;

/// What the bits of `status` mean.
const STATUS: [&str; 8] = [
    "supply low",
    "cover open",
    "cover was opened",
    "gateway lost",
    "memory fails",
    "clock not set",
    "an output jammed",
    "accounts were lost",
];

/// What `reset_cause` says.
const RESETS: [&str; 7] =
    ["unknown", "power on", "reset input", "watchdog", "brown-out", "asked for over the bus", "fault of the program"];

/// The head of the map.
pub struct Head {
    /// Version of the map.
    pub map_version: u16,
    /// Which build, as text.
    pub build: String,
    board: u16,
    version: u32,
    reset: u16,
    uptime: u32,
    boots: u32,
    watchdog_resets: u16,
    brown_outs: u16,
    supply: u16,
    status: u16,
}

impl Head {
    /// From the first [`HEAD_WORDS`] registers.
    pub fn of(words: &[u16]) -> Option<Self> {
        let at = |id: Id| usize::from(REGISTERS[id as usize].address);
        let word = |id: Id| words.get(at(id)).copied();
        let long = |id: Id| Some(u32::from(word(id)?) << 16 | u32::from(*words.get(at(id) + 1)?));
        let build = words.get(at(Id::BuildId)..at(Id::BuildId) + BUILD_ID_BYTES / 2)?;
        Some(Self {
            map_version: word(Id::MapVersion)?,
            build: ascii(build),
            board: word(Id::BoardId)?,
            version: long(Id::FirmwareVersion)?,
            reset: word(Id::ResetCause)?,
            uptime: long(Id::Uptime)?,
            boots: long(Id::Boots)?,
            watchdog_resets: word(Id::WatchdogResets)?,
            brown_outs: word(Id::BrownOuts)?,
            supply: word(Id::Supply)?,
            status: word(Id::Status)?,
        })
    }

    /// `1.2.3`
    pub fn firmware(&self) -> String {
        version(self.version)
    }

    fn reset_cause(&self) -> &'static str {
        RESETS.get(usize::from(self.reset)).copied().unwrap_or("a cause of a later firmware")
    }

    fn status_words(&self) -> Vec<&'static str> {
        STATUS.iter().enumerate().filter(|(bit, _)| self.status >> bit & 1 == 1).map(|(_, word)| *word).collect()
    }

    /// The lines after the first.
    pub fn text(&self) -> String {
        let status = self.status_words();
        let status = if status.is_empty() { "all well".to_owned() } else { status.join(", ") };
        let (hours, minutes, seconds) = (self.uptime / 3_600, self.uptime / 60 % 60, self.uptime % 60);
        let rows = [
            ["board".to_owned(), format!("{:#06x}, register map {}", self.board, self.map_version)],
            ["last start".to_owned(), format!("{}, {hours}:{minutes:02}:{seconds:02} ago", self.reset_cause())],
            [
                "starts".to_owned(),
                format!("{} ({} by the watchdog, {} brown-outs)", self.boots, self.watchdog_resets, self.brown_outs),
            ],
            ["supply".to_owned(), format!("{} V", scaled(i64::from(self.supply), "0.001"))],
            ["status".to_owned(), status],
        ];
        columns(&rows.map(Vec::from))
    }

    /// For programs.
    pub fn json(&self, unit: u8, vendor: &str, product: &str, revision: &str) -> Value {
        json!({
            "unit_id": unit,
            "vendor": vendor,
            "product": product,
            "revision": revision,
            "firmware": self.firmware(),
            "build": self.build,
            "board": self.board,
            "map_version": self.map_version,
            "reset_cause": self.reset_cause(),
            "uptime_s": self.uptime,
            "boots": self.boots,
            "watchdog_resets": self.watchdog_resets,
            "brown_outs": self.brown_outs,
            "supply_mv": self.supply,
            "status": self.status_words(),
        })
    }
}

/// One value of the map.
pub struct Row {
    register: &'static Register,
    /// Counted from 1; `None` for what there is once.
    number: Option<u16>,
    address: u16,
    words: Vec<u16>,
}

impl Row {
    fn name(&self) -> String {
        match self.number {
            Some(n) => format!("{}_{n}", self.register.name),
            None => self.register.name.to_owned(),
        }
    }

    fn value(&self) -> String {
        match self.register.kind {
            Kind::Text => ascii(&self.words),
            Kind::TopUp => {
                let [count, amount] = [0, 2].map(|at| number(self.words.get(at..at + 2).unwrap_or_default()));
                format!("count {count}, amount {}", amount.cast_signed())
            }
            Kind::U16 | Kind::U32 | Kind::I32 => value(self.register, number(&self.words)),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name(),
            "address": self.address,
            "raw": self.words,
            "value": self.value(),
            "unit": self.register.unit,
            "writable": self.register.access != Access::Read,
        })
    }
}

/// Reads the whole map, neighbours together and no address that is not in it.
///
/// # Errors
/// [`SessionError`].
pub async fn read(node: &mut NodeSession) -> Result<Vec<Row>, SessionError> {
    let mut rows: Vec<Row> = REGISTERS
        .iter()
        .flat_map(|register| {
            (0..register.repeat).map(move |n| Row {
                register,
                number: (register.repeat > 1).then_some(n + 1),
                address: register.address + n * register.stride,
                words: Vec::new(),
            })
        })
        .collect();
    rows.sort_by_key(|row| row.address);
    let mut from = 0;
    while from < rows.len() {
        let (start, mut end, mut to) = (rows[from].address, rows[from].address, from);
        while let Some(row) = rows.get(to).filter(|row| row.address == end) {
            end += row.register.kind.words();
            to += 1;
        }
        let words = node.read(start, end - start).await?;
        for row in &mut rows[from..to] {
            let at = usize::from(row.address - start);
            let count = usize::from(row.register.kind.words());
            row.words = words.get(at..at + count).unwrap_or_default().to_vec();
        }
        from = to;
    }
    Ok(rows)
}

/// The map as a table. `=` is a setting, `!` an order.
pub fn text(rows: &[Row]) -> String {
    let head = ["address", "", "name", "value", "unit", "meaning"].map(str::to_owned).to_vec();
    let line = |row: &Row| {
        let mark = match row.register.access {
            Access::Read => "",
            Access::Setting => "=",
            Access::Command => "!",
        };
        let unit = row.register.unit.to_owned();
        let doc = row.register.doc.to_owned();
        vec![format!("{:#06x}", row.address), mark.to_owned(), row.name(), row.value(), unit, doc]
    };
    columns(&std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
}

/// A raw value in the unit of its register.
pub fn value(register: &Register, raw: u32) -> String {
    let whole = if register.kind == Kind::I32 { i64::from(raw.cast_signed()) } else { i64::from(raw) };
    scaled(whole, register.scale)
}

/// A whole number times a scale of the map: `1` or `0.1`, `0.001`, `0.0001`.
pub fn scaled(raw: i64, scale: &str) -> String {
    let decimals = scale.split_once('.').map_or(0, |(_, part)| part.len());
    if decimals == 0 {
        return raw.to_string();
    }
    let digits = format!("{:0>width$}", raw.unsigned_abs(), width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    format!("{}{whole}.{part}", if raw < 0 { "-" } else { "" })
}

/// `1.2.3` from `0x00010203`.
pub fn version(raw: u32) -> String {
    let [_, major, minor, patch] = raw.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

fn number(words: &[u16]) -> u32 {
    words.iter().fold(0, |number, word| number << 16 | u32::from(*word))
}

fn ascii(words: &[u16]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches(['\0', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_moves_the_point_and_loses_nothing() {
        let cases = [(12_040, "0.001", "12.040"), (-5, "0.0001", "-0.0005"), (0, "0.1", "0.0"), (-7, "1", "-7")];
        for (raw, scale, text) in cases {
            assert_eq!(scaled(raw, scale), text);
        }
        assert_eq!(version(0x0001_0203), "1.2.3");
    }

    #[test]
    fn the_head_is_where_the_map_says() {
        let last = REGISTERS[Id::Status as usize].address;
        assert_eq!(HEAD_WORDS, last + 1);
        let mut words = vec![0; usize::from(HEAD_WORDS)];
        words[0] = 1;
        words[4] = 0x0102;
        words[5] = u16::from_be_bytes(*b"ab");
        words[13] = 3;
        words[15] = 3_725;
        words[22] = 0b10_0001;
        let head = Head::of(&words).expect("long enough");
        assert_eq!((head.firmware().as_str(), head.build.as_str(), head.reset_cause()), ("0.1.2", "ab", "watchdog"));
        assert_eq!(head.status_words(), ["supply low", "clock not set"]);
        assert!(head.text().contains("1:02:05 ago"), "{}", head.text());
        assert!(Head::of(&words[..22]).is_none());
    }
}
