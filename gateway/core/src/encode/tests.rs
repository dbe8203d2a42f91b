use proptest::prelude::*;

use super::*;
use crate::decode::decode;
use crate::profile::{EquipmentClass, Source, WordOrder};

fn point(wire: WireType, count: u16) -> PointDef {
    let place = Registers { count, ..Registers::new(Table::Holding, 7, wire) };
    PointDef::new("p", Source::Registers(place))
}

fn ordered(mut point: PointDef, bytes: Order, words: WordOrder) -> PointDef {
    if let Source::Registers(place) = &mut point.source {
        (place.bytes, place.words) = (bytes, words);
    }
    point
}

fn decimal(mantissa: i128, exponent: i8) -> Value {
    Value::Decimal(Decimal::new(mantissa, exponent))
}

fn pump(point: PointDef, function: WriteFunction, min: i128, max: i128) -> (Profile, Setting) {
    let id = point.id.clone();
    let profile = Profile::new("pump", EquipmentClass::Pump, vec![point]);
    let setting = Setting::new(profile.class, id, function, Decimal::new(min, 0), Decimal::new(max, 0)).unwrap();
    (profile, setting)
}

#[test]
fn what_does_not_fit_is_refused_and_never_rounded_or_clamped() {
    let mut scaled = point(WireType::U16, 1);
    scaled.scale = Decimal::new(5, -1);
    assert_eq!(encode(&scaled, &decimal(25, -1)), Ok(vec![5]));
    assert_eq!(encode(&scaled, &decimal(26, -1)), Err(EncodeError::Inexact));
    assert_eq!(encode(&scaled, &decimal(1, -2)), Err(EncodeError::Inexact));
    assert_eq!(encode(&scaled, &decimal(-5, -1)), Err(EncodeError::TooLarge));
    assert_eq!(encode(&scaled, &decimal(40_000, 0)), Err(EncodeError::TooLarge));
    assert_eq!(encode(&scaled, &Value::Float(2.5)), Err(EncodeError::Kind));
    assert_eq!(encode(&point(WireType::I16, 1), &decimal(-2, 0)), Ok(vec![0xFFFE]));
    assert_eq!(encode(&point(WireType::Bcd, 1), &decimal(10_000, 0)), Err(EncodeError::TooLarge));
    assert_eq!(encode(&point(WireType::Mod10k, 2), &decimal(-2_619_006, 0)), Ok(vec![0x8105, 0x232E]));
    assert_eq!(encode(&point(WireType::F32, 2), &decimal(1, 60)), Err(EncodeError::TooLarge));
    assert_eq!(encode(&point(WireType::Ascii, 2), &Value::Text("B23".into())), Ok(vec![0x4232, 0x3300]));
    assert_eq!(encode(&point(WireType::Ascii, 1), &Value::Text("B23".into())), Err(EncodeError::Kind));
    let mut with_sentinel = point(WireType::U16, 1);
    if let Source::Registers(place) = &mut with_sentinel.source {
        place.invalid = vec![0xFFFF];
    }
    assert_eq!(encode(&with_sentinel, &decimal(0xFFFF, 0)), Err(EncodeError::Sentinel));
    let mut kelvin = point(WireType::U16, 1);
    (kelvin.scale, kelvin.offset) = (Decimal::new(1, -2), Decimal::new(-27_315, -2));
    assert_eq!(encode(&kelvin, &decimal(25, 0)), Ok(vec![29_815]));
    kelvin.inputs.times = vec![0];
    assert_eq!(encode(&kelvin, &decimal(25, 0)), Err(EncodeError::NotWritable));
}

#[test]
fn a_setting_keeps_to_its_limits_and_to_its_table() {
    let (profile, percent) = pump(point(WireType::U16, 1), WriteFunction::Register, 0, 100);
    let write = setting(&profile, &percent, &decimal(50, 0)).unwrap();
    assert_eq!(write, Write { function: WriteFunction::Register, address: 7, words: vec![50] });
    for beyond in [decimal(-1, 0), decimal(1001, -1), decimal(i128::MAX, 12)] {
        assert_eq!(setting(&profile, &percent, &beyond), Err(EncodeError::Limits));
    }
    let (profile, two_registers) = pump(point(WireType::U32, 2), WriteFunction::Register, 0, 100);
    assert_eq!(setting(&profile, &two_registers, &decimal(1, 0)), Err(EncodeError::Part));
    let (profile, wrong_table) = pump(point(WireType::U16, 1), WriteFunction::Coil, 0, 1);
    assert_eq!(setting(&profile, &wrong_table, &decimal(1, 0)), Err(EncodeError::NotWritable));
    let coil = PointDef::new("c", Source::Registers(Registers::new(Table::Coil, 9, WireType::Bit)));
    let (profile, coil) = pump(coil, WriteFunction::Coil, 0, 1);
    let write = setting(&profile, &coil, &Value::Bool(true)).unwrap();
    assert_eq!(write, Write { function: WriteFunction::Coil, address: 9, words: vec![1] });
}

#[test]
fn a_part_of_a_register_is_written_with_a_mask_and_leaves_the_rest() {
    let mut field = point(WireType::U16, 1);
    if let Source::Registers(place) = &mut field.source {
        place.mask = Some(0x0F00);
    }
    assert_eq!(encode(&field, &decimal(5, 0)), Err(EncodeError::Part));
    let (profile, field) = pump(field, WriteFunction::Mask, 0, 100);
    assert_eq!(setting(&profile, &field, &decimal(5, 0)).unwrap().words, [0xF0FF, 0x0500]);
    assert_eq!(setting(&profile, &field, &decimal(16, 0)), Err(EncodeError::TooLarge));
    let mut bit = point(WireType::Bit, 1);
    if let Source::Registers(place) = &mut bit.source {
        place.bit = Some(15);
    }
    let (profile, bit) = pump(bit, WriteFunction::Mask, 0, 1);
    assert_eq!(setting(&profile, &bit, &Value::Bool(true)).unwrap().words, [0x7FFF, 0x8000]);
    assert_eq!(setting(&profile, &bit, &Value::Bool(false)).unwrap().words, [0x7FFF, 0x0000]);
}

proptest! {
    /// Whatever is written reads back as itself, for every type and every order.
    /// AC 20.
    #[test]
    fn write_then_read_gives_the_same(
        kind in 0usize..9,
        bits: u64,
        little: bool,
        order in 0usize..4,
        exponent in -6i8..=6,
        step in 1i128..50,
    ) {
        use WireType::*;
        let (wire, count, number) = match kind {
            0 => (U16, 1, i128::from(bits as u16)),
            1 => (I16, 1, i128::from(bits as i16)),
            2 => (U32, 2, i128::from(bits as u32)),
            3 => (I32, 2, i128::from(bits as i32)),
            4 => (U48, 3, i128::from(bits >> 16)),
            5 => (U64, 4, i128::from(bits)),
            6 => (I64, 4, i128::from(bits as i64)),
            7 => (Bcd, 4, i128::from(bits % 10_000_000_000_000_000)),
            _ => (Mod10k, 3, i128::from(bits as i64 % 3_276_799_999_999)),
        };
        let bytes = if little { Order::Little } else { Order::Big };
        let mut point = ordered(point(wire, count), bytes, WordOrder::ALL[order]);
        (point.scale, point.offset) = (Decimal::new(step, exponent), Decimal::new(-3, exponent));
        let value = decimal(number * step - 3, exponent);
        let words = encode(&point, &value).unwrap();
        prop_assert_eq!(decode(&point, &words), Ok(value));
    }

    #[test]
    fn floats_and_text_read_back_too(bits: u64, little: bool, order in 0usize..4, text in "[!-~]{0,8}") {
        let bytes = if little { Order::Little } else { Order::Big };
        let (single, double) = (f32::from_bits(bits as u32), f64::from_bits(bits));
        for (wire, count, value) in [(WireType::F32, 2, f64::from(single)), (WireType::F64, 4, double)] {
            let point = ordered(point(wire, count), bytes, WordOrder::ALL[order]);
            match encode(&point, &Value::Float(value)) {
                Ok(words) => prop_assert_eq!(decode(&point, &words), Ok(Value::Float(value))),
                Err(error) => prop_assert!(!value.is_finite(), "{value}: {error}"),
            }
        }
        for (wire, count) in [(WireType::Ascii, 4), (WireType::AsciiWide, 8)] {
            let point = ordered(point(wire, count), bytes, WordOrder::ALL[order]);
            let value = Value::Text(text.as_str().into());
            prop_assert_eq!(decode(&point, &encode(&point, &value).unwrap()), Ok(value));
        }
    }
}
