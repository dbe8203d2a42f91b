//! The numbers in the tables come from published captures, makers' documents and public test suites.

use proptest::prelude::*;

use super::*;
use crate::profile::{Source, Table, TimeField, WordOrder};

const B: Order = Order::Big;
const L: Order = Order::Little;

fn point(wire: WireType, words: Order, bytes: Order, count: usize) -> PointDef {
    let words = if words == B { WordOrder::Big } else { WordOrder::Little };
    let place = Registers { count: count as u16, words, bytes, ..Registers::new(Table::Holding, 0, wire) };
    PointDef::new("p", Source::Registers(place))
}

fn with_invalid(mut point: PointDef, invalid: u64) -> PointDef {
    if let Source::Registers(place) = &mut point.source {
        place.invalid = vec![invalid];
    }
    point
}

fn hex(text: &str) -> Vec<u16> {
    text.split(' ').map(|word| u16::from_str_radix(word, 16).unwrap()).collect()
}

#[test]
fn a_mask_keeps_one_field_of_a_number() {
    let masked = |mask| {
        let mut point = point(WireType::U16, B, B, 1);
        if let Source::Registers(place) = &mut point.source {
            place.mask = Some(mask);
        }
        point
    };
    // A fire detector's status: the event in the low byte counts only while bit 11 is set, whatever else is.
    for (words, value) in [("0810", 0x0810), ("2D10", 0x0810), ("0010", 0x0010), ("0840", 0x0840), ("1200", 0)] {
        assert_eq!(decode(&masked(0x08FF), &hex(words)), Ok(Value::Decimal(Decimal::new(value, 0))), "{words}");
    }
    assert_eq!(decode(&masked(0x0F00), &hex("AB12")), Ok(Value::Decimal(Decimal::new(0xB, 0))));
    assert_eq!(raw_counter(&masked(0x0F00), &hex("AB12")), Some(0xB));
}

/// AC 19.
#[test]
fn integers_of_every_order_are_exact() {
    use WireType::*;
    // registers, type, word order, byte order, exponent of the scale, value
    let table = [
        ("0EEE 2C9E", U32, B, B, 0, "250490014"),
        ("08D1", U16, B, B, -1, "225.7"),
        ("006C 0000", U32, L, B, -3, "0.108"),
        ("0026 0000", U32, L, B, -3, "0.038"),
        ("01F4", U16, B, B, -1, "50.0"),
        ("FFC8 FFFF", I32, L, B, 0, "-56"),
        ("0017 0000", I32, L, B, 0, "23"),
        ("FBB0 FFFF", I32, L, B, 0, "-1104"),
        ("0072 13AC", I32, B, B, 0, "7476140"),
        ("09EA 9640", I32, B, B, 0, "166368832"),
        ("AABB CCDD", I32, B, B, 0, "-1430532899"),
        ("AABB CCDD", I32, L, L, 0, "-573785174"),
        ("AABB CCDD", I32, B, L, 0, "-1146430004"),
        ("AABB CCDD", U32, B, B, 0, "2864434397"),
        ("AABB CCDD", U32, L, L, 0, "3721182122"),
        ("AABB CCDD", U32, L, B, 0, "3437079227"),
        ("FFD6", I16, B, B, -1, "-4.2"),
        ("D8FF", U16, B, L, -1, "6549.6"),
        ("D8FF FFFF", U32, L, L, -3, "4294967.256"),
        ("0000 0100 0000 ABCD", U64, B, B, 0, "1099511671757"),
        ("84F6 45F9 BCFE FFFF", U64, L, L, 0, "18446742686322259588"),
        ("FFFF BCFE 45F9 84F6", I64, B, L, 0, "-1387387292028"),
        ("FFFF BCFE 45F9 84F6", U64, B, L, 0, "18446742686322259588"),
        ("F684 F945 FEBC FFFF", I64, L, B, 0, "-1387387292028"),
        ("F684 F945 FEBC FFFF", U64, L, B, -2, "184467426863222595.88"),
        ("1234 5678", Bcd, B, B, -2, "123456.78"),
        ("5678 1234", Bcd, L, B, 0, "12345678"),
        ("9999 9999 9999 9999", Bcd, B, B, 0, "9999999999999999"),
    ];
    for (words, wire, word_order, byte_order, exponent, expected) in table {
        let words = hex(words);
        let mut point = point(wire, word_order, byte_order, words.len());
        point.scale = Decimal::new(1, exponent);
        assert_eq!(decode(&point, &words).unwrap().to_string(), expected, "{words:04X?} as {wire:?}");
    }
}

#[test]
fn sixty_four_bits_have_two_orders_more() {
    for (words, order) in [
        ("0001 0002 0003 0004", WordOrder::Big),
        ("0004 0003 0002 0001", WordOrder::Little),
        ("0002 0001 0004 0003", WordOrder::SwappedInPairs),
        ("0003 0004 0001 0002", WordOrder::SwappedPairs),
    ] {
        let mut point = point(WireType::U64, B, B, 4);
        if let Source::Registers(place) = &mut point.source {
            place.words = order;
        }
        assert_eq!(raw_counter(&point, &hex(words)), Some(0x0001_0002_0003_0004), "{order:?}");
    }
    for order in WordOrder::ALL {
        for count in 1..9 {
            let mut places: Vec<usize> = (0..count).map(|i| order.place(i, count)).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..count), "{order:?} of {count} words uses each word once");
        }
    }
}

#[test]
fn half_registers_six_bytes_and_numbers_to_the_base_of_ten_thousand() {
    use WireType::*;
    for (words, wire, expected) in [
        ("180D", U8Low, "13"),
        ("180D", U8High, "24"),
        ("988D", I8Low, "-115"),
        ("988D", I8High, "-104"),
        ("FFFF FFFF FFFF", U48, "281474976710655"),
        ("01E5 1BDE", Mod10k, "4857134"),
        ("40FC 2280", Mod10k, "166368832"),
        ("8105 232E", Mod10k, "-2619006"),
        ("0001 0000 0000 0001", Mod10k, "1000000000001"),
        ("FFFE", SunSsf, "-2"),
        ("0000 0001", Acc32, "1"),
    ] {
        let words = hex(words);
        assert_eq!(decode(&point(wire, B, B, words.len()), &words).unwrap().to_string(), expected, "{words:04X?}");
    }
    for (words, wire, error) in [
        ("FD1E FC1E", Mod10k, DecodeError::Mod10k),
        ("000B", SunSsf, DecodeError::PowerOfTen),
        ("8000", SunSsf, DecodeError::Sentinel),
        ("0000 0000", Acc32, DecodeError::Sentinel),
        ("7C00", F16, DecodeError::NotFinite),
        ("7E00", F16, DecodeError::Sentinel),
    ] {
        let words = hex(words);
        assert_eq!(decode(&point(wire, B, B, words.len()), &words), Err(error), "{words:04X?}");
    }
    for (words, expected) in [("B814", -0.509_765_625), ("3C00", 1.0), ("0001", 2f64.powi(-24)), ("7BFF", 65_504.0)] {
        assert_eq!(decode(&point(F16, B, B, 1), &hex(words)), Ok(Value::Float(expected)), "{words}");
    }
}

#[test]
fn a_date_and_time_exists_or_is_no_value() {
    use TimeField::*;
    let time = |wire, bytes, fields: &[TimeField], words: &str| {
        let words = hex(words);
        let mut point = point(wire, B, bytes, words.len());
        if let Source::Registers(place) = &mut point.source {
            place.fields = fields.to_vec();
        }
        decode(&point, &words).map(|v| v.to_string())
    };
    let all = [Second, Minute, Hour, Day, Month, Year];
    let bcd = |words| time(WireType::TimeBcd, L, &all, words);
    assert_eq!(bcd("2433 0307 1808").as_deref(), Ok("2018-08-03T07:24:33"));
    assert_eq!(bcd("2433 0324 1808"), Err(DecodeError::Time));
    assert_eq!(bcd("2433 3107 1802"), Err(DecodeError::Time));
    assert_eq!(bcd("2433 0A07 1808"), Err(DecodeError::Time));
    let binary = time(WireType::TimeBinary, B, &[Month, Day, Hour, Year, Second, Minute], "0803 0712 2118");
    assert_eq!(binary.as_deref(), Ok("2018-08-03T07:24:33"));
    assert_eq!(time(WireType::TimeBinary, B, &[Other, Hour, Minute, Other], "0107 1800").as_deref(), Ok("07:24:00"));
    assert_eq!(time(WireType::TimeBinary, B, &[Other, Other], "0107"), Err(DecodeError::Time));
}

#[test]
fn words_are_shown_as_they_are_and_wide_text_is_one_character_a_register() {
    assert_eq!(decode(&point(WireType::Raw, B, B, 2), &hex("12AB 0034")).unwrap().to_string(), "12AB 0034");
    let wide = |words: &str| decode(&point(WireType::AsciiWide, B, B, 4), &hex(words));
    assert_eq!(wide("0053 004F 0043 004F").unwrap().to_string(), "SOCO");
    assert_eq!(wide("0153 004F 0043 004F"), Err(DecodeError::Text));
}

#[test]
fn an_offset_is_added_after_the_scale() {
    let mut kelvin = point(WireType::U16, B, B, 1);
    (kelvin.scale, kelvin.offset) = (Decimal::new(1, -2), Decimal::new(-27_315, -2));
    assert_eq!(decode(&kelvin, &hex("7477")).unwrap().to_string(), "25.00");
    kelvin.inputs.times = vec![0];
    assert_eq!(decode(&kelvin, &hex("7477")), Err(DecodeError::Input), "alone it must not say a number");
}

/// AC 19.
#[test]
fn floats_of_every_order_agree_with_the_captures() {
    use WireType::*;
    let table = [
        ("436A A2CB", F32, B, B, 234.636),
        ("3F27 5706", F32, B, B, 0.654),
        ("451B E5F6", F32, B, B, 2494.373),
        ("4109 BA5E", F32, B, B, 8.608),
        ("C0A1 55B8", F32, B, B, -5.042),
        ("439E 568E", F32, B, B, 316.676),
        ("4391 D042", F32, B, B, 291.627),
        ("F89F 3DE6", F32, L, B, 0.112_779),
        ("3CD0 40E3", F32, L, B, 7.101_173),
        ("22AA 44B0", F32, L, B, 1_409.083),
        ("0000 4264", F32, L, B, 57.0),
        ("558F 47C3 406A 9CBF", F64, L, L, -0.027_749_072_951),
    ];
    for (words, wire, word_order, byte_order, expected) in table {
        let words = hex(words);
        let value = decode(&point(wire, word_order, byte_order, words.len()), &words).unwrap();
        let got = value.as_f64().unwrap();
        assert!((got - expected).abs() < 5e-4, "{words:04X?}: {got} is not {expected}");
    }
    let mut scaled = point(F32, B, B, 2);
    scaled.scale = Decimal::new(1, -1);
    assert_eq!(decode(&scaled, &hex("459C 4000")), Ok(Value::Float(500.0)));
}

/// AC 18.
#[test]
fn the_device_says_that_it_has_no_value() {
    use WireType::*;
    let table = [
        ("FFFF 7FFF", I32, L, 0x7FFF_FFFF),
        ("FFFF FFFF FFFF FFFF", U64, B, u64::MAX),
        ("8000 0000 0000 0000", I64, B, 0x8000_0000_0000_0000),
        ("8000", I16, B, 0x8000),
        ("FFC0 0000", F32, B, 0),
        ("7FC0 0000", F32, B, 0),
    ];
    for (words, wire, order, invalid) in table {
        let words = hex(words);
        let point = with_invalid(point(wire, order, B, words.len()), invalid);
        let error = decode(&point, &words).unwrap_err();
        assert_eq!(error.reason(), BadReason::Sentinel, "{words:04X?}");
        assert_eq!(raw_counter(&point, &words), None);
    }
}

/// AC 18.
#[test]
fn nonsense_is_an_error_and_never_a_zero() {
    use WireType::*;
    let cases = [
        (point(Bcd, B, B, 2), hex("12A4 0000"), DecodeError::Bcd),
        (point(F32, B, B, 2), hex("7F80 0000"), DecodeError::NotFinite),
        (point(U32, B, B, 2), hex("0001"), DecodeError::WordCount { expected: 2, got: 1 }),
        (point(U32, B, B, 3), hex("0001 0002 0003"), DecodeError::WordCount { expected: 2, got: 3 }),
        (point(Bcd, B, B, 5), hex("1 1 1 1 1"), DecodeError::WordCount { expected: 4, got: 5 }),
        (point(Ascii, B, B, 2), hex("4D00 6F64"), DecodeError::Text),
        (point(Ascii, B, B, 1), hex("C3A4"), DecodeError::Text),
        (point(Bit, B, B, 1), hex("0001"), DecodeError::Bit),
    ];
    for (point, words, error) in cases {
        assert_eq!(decode(&point, &words), Err(error));
        assert_eq!(error.reason(), BadReason::Undecodable);
    }
    let mut huge = point(U64, B, B, 4);
    huge.scale = Decimal::new(i128::MAX, 0);
    assert_eq!(decode(&huge, &hex("0 0 0 2")), Err(DecodeError::Overflow));
}

#[test]
fn text_ends_where_its_padding_begins() {
    let text = |words: &str| {
        let words = hex(words);
        decode(&point(WireType::Ascii, B, B, words.len()), &words).unwrap().to_string()
    };
    assert_eq!(text("4D6F 6462 7573 2053 7472 696E 6700"), "Modbus String");
    assert_eq!(text("4232 3320"), "B23");
    assert_eq!(text("0000 0000"), "");
}

#[test]
fn a_bit_of_a_register_is_counted_from_the_least_significant() {
    let mut point = point(WireType::Bit, B, B, 1);
    for bit in 0..16 {
        if let Source::Registers(place) = &mut point.source {
            place.bit = Some(bit);
        }
        assert_eq!(decode(&point, &[1 << bit]), Ok(Value::Bool(true)));
        assert_eq!(decode(&point, &[!(1 << bit)]), Ok(Value::Bool(false)));
    }
}

#[test]
fn a_coil_is_a_bit_and_a_register_is_not() {
    let mut coil = point(WireType::Bit, B, B, 1);
    assert_eq!(decode_bit(&coil, true), Err(DecodeError::NotABit));
    if let Source::Registers(place) = &mut coil.source {
        place.table = Table::Coil;
    }
    assert_eq!(decode_bit(&coil, true), Ok(Value::Bool(true)));
    assert_eq!(decode_bit(&with_invalid(coil, 1), true), Err(DecodeError::Sentinel));
}

#[test]
fn a_counter_is_raw_and_not_negative() {
    let mut energy = point(WireType::U32, B, B, 2);
    energy.scale = Decimal::new(1, -2);
    assert_eq!(raw_counter(&energy, &hex("0001 0000")), Some(65_536));
    assert_eq!(raw_counter(&point(WireType::Bcd, B, B, 2), &hex("0012 3456")), Some(123_456));
    assert_eq!(raw_counter(&point(WireType::I16, B, B, 1), &hex("FFFF")), None);
    assert_eq!(raw_counter(&point(WireType::F32, B, B, 2), &hex("4109 BA5E")), None);
}

proptest! {
    /// The quick way says what the slow one says, or leaves it to it; and it is taken for what meters mostly send.
    #[test]
    fn the_quick_way_says_the_same(
        words in proptest::collection::vec(any::<u16>(), 1..=4),
        wire in proptest::sample::select(vec![
            WireType::Bit, WireType::U8High, WireType::I8Low, WireType::U16, WireType::I16, WireType::U32, WireType::I32,
            WireType::F16, WireType::F32, WireType::U48, WireType::U64, WireType::I64, WireType::F64, WireType::Bcd,
            WireType::Mod10k, WireType::Acc32, WireType::SunSsf, WireType::Raw,
        ]),
        (order, bytes) in (proptest::sample::select(WordOrder::ALL.to_vec()), proptest::sample::select(vec![B, L])),
        (mantissa, exponent) in (prop_oneof![Just(1i128), -20i128..20, any::<i128>()], -12i8..=12),
        offset in prop_oneof![Just(0i128), -5i128..5],
        invalid in prop_oneof![Just(None), any::<u16>().prop_map(|raw| Some(u64::from(raw)))],
        mask in prop_oneof![Just(None), Just(Some(0x0FF0))],
    ) {
        let count = wire.count().map_or(words.len(), usize::from).min(words.len()) as u16;
        let place = Registers { count, words: order, bytes, mask, ..Registers::new(Table::Holding, 0, wire) };
        let place = Registers { invalid: invalid.into_iter().collect(), ..place };
        let is_bare = offset == 0 && place.invalid.is_empty() && mask.is_none() && (mantissa, exponent) == (1, 0);
        let point = PointDef {
            scale: Decimal::new(mantissa, exponent),
            offset: Decimal::new(offset, 0),
            ..PointDef::new("p", Source::Registers(place))
        };
        let words = &words[..usize::from(count)];
        let value = match Recipe::of(&point).read(0, words) {
            Quick::Float(float) => Some(Value::Float(float)),
            Quick::Decimal { mantissa, exponent } => Some(Value::Decimal(Decimal::new(i128::from(mantissa), exponent))),
            Quick::No => None,
        };
        match &value {
            Some(value) => prop_assert_eq!(Ok(value.clone()), decode(&point, words)),
            None => {
                let is_common = matches!(wire, WireType::U16 | WireType::I16) || wire.count() == Some(2) && words.len() == 2;
                let is_common = is_common && bytes == B;
                let is_number = decode(&point, words).is_ok() && wire != WireType::Acc32;
                prop_assert!(!(is_bare && is_common && is_number));
            }
        }
    }

    /// Whatever a counter holds, and in whatever order it is sent, the same digits come out.
    #[test]
    fn every_u64_survives_every_order(value: u64, words_little: bool, bytes_little: bool, exponent in -12i8..=12) {
        let order = |little| if little { L } else { B };
        let mut words: Vec<u16> = (0..4).rev().map(|i| (value >> (16 * i)) as u16).collect();
        if words_little {
            words.reverse();
        }
        if bytes_little {
            words.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
        let mut point = point(WireType::U64, order(words_little), order(bytes_little), 4);
        point.scale = Decimal::new(1, exponent);
        let expected = Value::Decimal(Decimal::new(i128::from(value), exponent));
        prop_assert_eq!(decode(&point, &words), Ok(expected));
        prop_assert_eq!(raw_counter(&point, &words), Some(value));
    }

    /// No words make the decoder panic or answer with a number that is none.
    #[test]
    fn any_words_are_a_value_or_an_error(words in prop::collection::vec(any::<u16>(), 0..10), kind in 0usize..24) {
        use WireType::*;
        let wire = [
            Bit, U8High, U8Low, I8High, I8Low, U16, I16, U32, I32, U48, U64, I64, F16, F32, F64, Bcd, Mod10k, Acc32,
            SunSsf, Ascii, AsciiWide, TimeBcd, TimeBinary, Raw,
        ][kind];
        if let Ok(Value::Float(x)) = decode(&point(wire, L, B, words.len()), &words) {
            prop_assert!(x.is_finite());
        }
    }
}
