//! Words that are a line of text: strings, dates and times, and words as they are.

use std::fmt::Write;

use super::{DecodeError, NUMBER_WORDS_MAX, bcd, ordered, raw};
use crate::profile::{Registers, TimeField, WireType};
use crate::reading::Value;

pub(super) fn text(place: &Registers, words: &[u16]) -> Result<Value, DecodeError> {
    if words.is_empty() {
        return Err(DecodeError::WordCount { expected: 1, got: 0 });
    }
    if words.len() <= NUMBER_WORDS_MAX && !place.invalid.is_empty() && place.invalid.contains(&raw(place, words)?) {
        return Err(DecodeError::Sentinel);
    }
    match place.wire {
        WireType::Ascii => ascii(ordered(place, words).flat_map(u16::to_be_bytes).collect()),
        WireType::AsciiWide => ascii(wide(place, words)?),
        WireType::TimeBcd | WireType::TimeBinary => time(place, words),
        WireType::Raw => Ok(Value::Text(hexadecimal(place, words).into())),
        _ => Err(DecodeError::Text),
    }
}

fn ascii(bytes: Vec<u8>) -> Result<Value, DecodeError> {
    let end = bytes.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
    let text = bytes.get(..end).unwrap_or_default();
    if !text.iter().all(|b| matches!(b, 0x20..=0x7E)) {
        return Err(DecodeError::Text);
    }
    std::str::from_utf8(text).map(|text| Value::Text(text.into())).map_err(|_| DecodeError::Text)
}

fn wide(place: &Registers, words: &[u16]) -> Result<Vec<u8>, DecodeError> {
    ordered(place, words).map(|word| u8::try_from(word).map_err(|_| DecodeError::Text)).collect()
}

/// `2018-08-03T07:24:33`; only the date or only the time if the device sends no more.
fn time(place: &Registers, words: &[u16]) -> Result<Value, DecodeError> {
    let mut parts = [None; 6];
    let bytes = ordered(place, words).flat_map(u16::to_be_bytes);
    for (field, byte) in place.fields.iter().zip(bytes) {
        let (i, range) = match field {
            TimeField::Year => (0, 0..=99),
            TimeField::Month => (1, 1..=12),
            TimeField::Day => (2, 1..=31),
            TimeField::Hour => (3, 0..=23),
            TimeField::Minute => (4, 0..=59),
            TimeField::Second => (5, 0..=59),
            TimeField::Other => continue,
        };
        let number = match place.wire {
            WireType::TimeBcd => bcd(u64::from(byte)).map_err(|_| DecodeError::Time)?,
            _ => u64::from(byte),
        };
        if !range.contains(&number) {
            return Err(DecodeError::Time);
        }
        parts[i] = Some(number);
    }
    let date = match parts {
        [Some(y), Some(m), Some(d), ..] if d <= days(y, m) => Some(format!("20{y:02}-{m:02}-{d:02}")),
        [None, None, None, ..] => None,
        [None, Some(m), Some(d), ..] => Some(format!("{m:02}-{d:02}")),
        _ => return Err(DecodeError::Time),
    };
    let time = match parts {
        [.., Some(h), Some(m), s] => Some(format!("{h:02}:{m:02}:{:02}", s.unwrap_or(0))),
        _ => None,
    };
    match (date, time) {
        (Some(date), Some(time)) => Ok(Value::Text(format!("{date}T{time}").into())),
        (Some(one), None) | (None, Some(one)) => Ok(Value::Text(one.into())),
        (None, None) => Err(DecodeError::Time),
    }
}

/// The days of a month of the year 2000 + `year`; until 2099 every fourth year is a leap year.
fn days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        _ => 31,
    }
}

fn hexadecimal(place: &Registers, words: &[u16]) -> String {
    let mut text = String::with_capacity(words.len() * 5);
    for word in ordered(place, words) {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(text, "{gap}{word:04X}");
    }
    text
}
