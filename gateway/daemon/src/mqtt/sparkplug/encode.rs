//! The payload of Sparkplug B, as far as an edge node needs it: a few fields of one protocol buffer message.
//!
//! Sparkplug 3.0.0, 6.4.1 (`sparkplug_b.proto`):
//!
//! ```text
//!  Payload      1 timestamp  2 metrics*  3 seq
//!  Metric       1 name  3 timestamp  4 datatype  7 is_null  9 properties
//!               10 int_value  11 long_value  13 double_value  14 boolean_value  15 string_value
//!  PropertySet  1 keys*  2 values*
//!  PropertyValue 1 type  3 int_value  8 string_value
//! ```
//!
//! Signed integers are two's complement in an unsigned field of their own width.

use guanjia_core::time::Timestamp;

/// A data type with its number (6.4.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DataType {
    /// Signed, 32 bit; for the property `Quality`.
    Int32 = 3,
    /// Signed, 64 bit.
    Int64 = 4,
    /// IEEE 754 binary64.
    Double = 10,
    /// One bit.
    Boolean = 11,
    /// Text.
    String = 12,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// There is none.
    Null,
    /// A number of type [`DataType::Int64`], as its 64 bits.
    Long(u64),
    /// A number.
    Double(f64),
    /// A bit.
    Boolean(bool),
    /// A text.
    Text(String),
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// When it was measured.
    pub at: Timestamp,
    /// Its type.
    pub datatype: DataType,
    /// Its value.
    pub value: MetricValue,
    /// The property `Quality`: 192 good, 500 stale, 0 bad.
    pub quality: Option<i32>,
    /// The property `engUnit`.
    pub unit: Option<String>,
}

/// A payload; without `seq` it is a death certificate.
pub fn payload(at: Timestamp, seq: Option<u8>, metrics: &[Metric]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + metrics.len() * 48);
    number(&mut out, 1, millis(at));
    for metric in metrics {
        bytes(&mut out, 2, &self::metric(metric));
    }
    if let Some(seq) = seq {
        number(&mut out, 3, u64::from(seq));
    }
    out
}

fn metric(metric: &Metric) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    bytes(&mut out, 1, metric.name.as_bytes());
    number(&mut out, 3, millis(metric.at));
    number(&mut out, 4, metric.datatype as u64);
    if metric.value == MetricValue::Null {
        number(&mut out, 7, 1);
    }
    let properties = properties(metric);
    if !properties.is_empty() {
        bytes(&mut out, 9, &properties);
    }
    match &metric.value {
        MetricValue::Null => {}
        MetricValue::Long(long) => number(&mut out, 11, *long),
        MetricValue::Double(double) => {
            key(&mut out, 13, 1);
            out.extend_from_slice(&double.to_le_bytes());
        }
        MetricValue::Boolean(bit) => number(&mut out, 14, u64::from(*bit)),
        MetricValue::Text(text) => bytes(&mut out, 15, text.as_bytes()),
    }
    out
}

fn properties(metric: &Metric) -> Vec<u8> {
    let mut out = Vec::new();
    if metric.quality.is_some() {
        bytes(&mut out, 1, b"Quality");
    }
    if metric.unit.is_some() {
        bytes(&mut out, 1, b"engUnit");
    }
    if let Some(quality) = metric.quality {
        let mut value = Vec::new();
        number(&mut value, 1, DataType::Int32 as u64);
        number(&mut value, 3, u64::from(quality as u32));
        bytes(&mut out, 2, &value);
    }
    if let Some(unit) = &metric.unit {
        let mut value = Vec::new();
        number(&mut value, 1, DataType::String as u64);
        bytes(&mut value, 8, unit.as_bytes());
        bytes(&mut out, 2, &value);
    }
    out
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, 0);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether a command to the node asks for everything anew: the metric `Node Control/Rebirth` is true in it. Whatever
/// else it says, and anything that is no payload, is not looked at.
pub fn asks_for_rebirth(payload: &[u8]) -> bool {
    fields(payload).flatten().any(|field| {
        let Field { number: 2, value: Wire::Bytes(metric) } = field else { return false };
        let named =
            fields(metric).flatten().any(|f| f.number == 1 && f.value == Wire::Bytes(super::REBIRTH.as_bytes()));
        let set = fields(metric).flatten().any(|f| f.number == 14 && f.value == Wire::Number(1));
        named && set
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field<'a> {
    number: u64,
    value: Wire<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A fixed width, which nothing here needs.
    Fixed,
}

/// The fields of a message, up to the first that is damaged.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Option<Field<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = take_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = take_varint(rest)?;
    let value = match key & 7 {
        0 => Wire::Number(take_varint(rest)?),
        1 => take_bytes(rest, 8).map(|_| Wire::Fixed)?,
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            Wire::Bytes(take_bytes(rest, length)?)
        }
        5 => take_bytes(rest, 4).map(|_| Wire::Fixed)?,
        _ => return None,
    };
    Some(Field { number: key >> 3, value })
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests;
