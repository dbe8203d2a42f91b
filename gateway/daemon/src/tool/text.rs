//! How words, values and tables look on a terminal.

use std::time::Duration;

use guanjia_core::profile::{PointDef, Table};
use guanjia_core::reading::{Quality, Value};

use super::{Trouble, usage};

/// `436A A2CB`
pub fn hex(words: &[u16]) -> String {
    words.iter().map(|w| format!("{w:04X}")).collect::<Vec<_>>().join(" ")
}

/// `23 ms`
pub fn millis(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

/// A value with its unit, and what it means if it is a code.
pub fn value(value: &Value, def: &PointDef) -> String {
    let unit = if def.unit.is_empty() { String::new() } else { format!(" {}", def.unit) };
    let meaning = value.as_f64().and_then(|x| def.codes.iter().find(|(code, _)| *code as f64 == x));
    match meaning {
        Some((_, meaning)) => format!("{value}{unit} ({})", meaning.en),
        None => format!("{value}{unit}"),
    }
}

/// `good`, `bad: no_answer`
pub fn quality(quality: Quality) -> String {
    match quality {
        Quality::Bad(why) => format!("bad: {}", why.as_str()),
        other => other.as_str().to_owned(),
    }
}

/// A value in JSON: exact as text, and as a number for programs that count.
pub fn value_json(value: Option<&Value>) -> serde_json::Value {
    match value {
        None => serde_json::Value::Null,
        Some(Value::Bool(b)) => (*b).into(),
        Some(Value::Text(text)) => (&**text).into(),
        Some(number) => number.as_f64().into(),
    }
}

/// A number as people write addresses: decimal, or hexadecimal with 0x.
pub fn number(text: &str, what: &str) -> Result<u16, Trouble> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| usage(format!("`{text}` is no {what}; write 0 to 65535, or hexadecimal as 0x00FF")))
}

/// A table by its name in the profiles.
pub fn table(text: &str) -> Result<Table, Trouble> {
    match text {
        "holding" => Ok(Table::Holding),
        "input" => Ok(Table::Input),
        "coil" => Ok(Table::Coil),
        "discrete-input" => Ok(Table::DiscreteInput),
        _ => Err(usage(format!("`{text}` is no table; write holding, input, coil or discrete-input"))),
    }
}

/// Rows under a header, each column as wide as its widest cell; without trailing spaces. The last cell of a row that is
/// shorter than others may be as long as it likes: a remark below a row.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |text: &str| text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
    let in_column = |row: &'_ Vec<String>, i: usize| {
        let is_remark = row.len() < count && i + 1 == row.len();
        row.get(i).filter(|_| !is_remark).map_or(0, |cell| cells(cell))
    };
    let widths: Vec<usize> = (0..count).map(|i| rows.iter().map(|row| in_column(row, i)).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(c, w)| format!("{c}{}", " ".repeat(w.saturating_sub(cells(c)))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(|r| line(r) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_a_remark_below_a_row_widens_none() {
        let rows = [
            vec!["unit", "address", "data"],
            vec!["1", "97", "08 FE"],
            vec!["", "voltage_l1 = 230.2 V"],
            vec!["电表", "7"],
        ];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let text = "unit  address  data\n1     97       08 FE\n      voltage_l1 = 230.2 V\n电表  7\n";
        assert_eq!(columns(&rows), text);
    }
}
