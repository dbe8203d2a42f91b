//! Published register values and what they stand for.
//!
//! `captured` came from a real device, `documented` from its maker, `unit-test` from another project's public tests,
//! `synthetic` was built from a documented rule. Floats agree to the digits that the source prints; everything else is
//! exact.

use guanjia_core::decode::decode;
use guanjia_core::profile::{Order, PointDef, Registers, Source, Table, TimeField, WireType, WordOrder};
use guanjia_core::reading::{Decimal, Value};

use self::Expected::{Bad, Exact, Near, Text};
use self::Letter::{B, L};
use WireType::*;

/// What a vector stands for.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// This number, as it prints but for zeros at the end.
    Exact(&'static str),
    /// This float, to one part in a thousand: sources print few digits.
    Near(f64),
    Text(&'static str),
    /// No value.
    Bad,
}

/// Most or least significant first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Letter {
    B,
    L,
}

/// A raw value that no vector holds, where the source names no "no value".
const NONE: u64 = 0x0BAD;

/// Name, kind, registers in the order of the wire, type, word order, byte order, scale, offset, raw "no value", meaning.
type Vector = (&'static str, &'static str, &'static str, WireType, Letter, Letter, Decimal, Decimal, u64, Expected);

const ONE: Decimal = Decimal::new(1, 0);
const ZERO: Decimal = Decimal::new(0, 0);

/// The vectors, by source.
#[rustfmt::skip]
const VECTORS: &[Vector] = &[
    // nielsbasjes/modbus-devices 8a1f0c32 modbus-device-sdm630/SDM630.yaml
    ("sdm630_cap_voltage_l1", "captured", "436A A2CB", F32, B, B, ONE, ZERO, NONE, Near(234.636)),
    ("sdm630_cap_voltage_l3", "captured", "436B CFF8", F32, B, B, ONE, ZERO, NONE, Near(235.812)),
    ("sdm630_cap_current_l1", "captured", "4060 354B", F32, B, B, ONE, ZERO, NONE, Near(3.503)),
    ("sdm630_cap_active_power_l3", "captured", "4437 E384", F32, B, B, ONE, ZERO, NONE, Near(735.555)),
    ("sdm630_cap_power_factor_l1", "captured", "3F27 5706", F32, B, B, ONE, ZERO, NONE, Near(0.654)),
    ("sdm630_cap_phase_angle_l1", "captured", "4244 BD0D", F32, B, B, ONE, ZERO, NONE, Near(49.185)),
    ("sdm630_cap_apparent_power_total", "captured", "451B E5F6", F32, B, B, ONE, ZERO, NONE, Near(2494.373)),
    ("sdm630_cap_energy_active_import", "captured", "4109 BA5E", F32, B, B, ONE, ZERO, NONE, Near(8.608)),
    ("sdm630_alias_trap", "captured", "436A C53C", F32, B, B, ONE, ZERO, NONE, Near(234.77)),
    // nielsbasjes/modbus-devices 8a1f0c32 modbus-device-sdm230/SDM230.yaml TestAt_2026_08_16
    ("sdm230_cap_current", "captured", "3CF7 0D7A", F32, B, B, ONE, ZERO, NONE, Near(0.03)),
    ("sdm230_cap_active_power", "captured", "40AB 14BE", F32, B, B, ONE, ZERO, NONE, Near(5.346)),
    ("sdm230_cap_reactive_power", "captured", "C0A1 55B8", F32, B, B, ONE, ZERO, NONE, Near(-5.042)),
    ("sdm230_cap_phase_angle", "captured", "439E 568E", F32, B, B, ONE, ZERO, NONE, Near(316.676)),
    ("sdm230_cap_frequency", "captured", "4247 CE0C", F32, B, B, ONE, ZERO, NONE, Near(49.951)),
    ("sdm230_cap_energy_active_import", "captured", "4391 D042", F32, B, B, ONE, ZERO, NONE, Near(291.627)),
    ("sdm230_cap_serial", "captured", "0EEE 2C9E", U32, B, B, ONE, ZERO, NONE, Exact("250490014")),
    // esphome/esphome 33fdbbe3 esphome/components/pzemac/pzemac.cpp
    ("pzem_cap_voltage", "captured", "08D1", U16, B, B, Decimal::new(1, -1), ZERO, NONE, Exact("225.7")),
    ("pzem_cap_current", "captured", "006C 0000", U32, L, B, Decimal::new(1, -3), ZERO, NONE, Exact("0.108")),
    ("pzem_cap_energy_active", "captured", "0026 0000", U32, L, B, Decimal::new(1, -3), ZERO, NONE, Exact("0.038")),
    ("pzem_cap_frequency", "captured", "01F4", U16, B, B, Decimal::new(1, -1), ZERO, NONE, Exact("50.0")),
    // jahlqvis/TUF-2000M 4e42d0f0 TUF-2000M.Test/UnitTests.cs
    ("tuf_flow_rate", "captured", "F89F 3DE6", F32, L, B, ONE, ZERO, NONE, Near(0.112778894603252)),
    ("tuf_temp_inlet_ref", "captured", "3CD0 40E3", F32, L, B, ONE, ZERO, NONE, Near(7.101173400878906)),
    ("tuf_negative_energy", "captured", "FFC8 FFFF", I32, L, B, ONE, ZERO, NONE, Exact("-56")),
    ("tuf_positive_accumulator", "captured", "0017 0000", I32, L, B, ONE, ZERO, NONE, Exact("23")),
    ("tuf_bcd_time", "captured", "2433 0307 1808", TimeBcd, B, L, ONE, ZERO, NONE, Text("2018-08-03T07:24:33")),
    // jahlqvis/TUF-2000M 4e42d0f0 TUF-2000M.Console/feed.txt (register dump 2018-08-03 04:06)
    ("tuf_dump_velocity", "captured", "4BCF 3D79", F32, L, B, ONE, ZERO, NONE, Near(0.06086331233382225)),
    ("tuf_dump_sound_speed", "captured", "22AA 44B0", F32, L, B, ONE, ZERO, NONE, Near(1409.083251953125)),
    ("tuf_dump_temperature_inlet", "captured", "3998 4132", F32, L, B, ONE, ZERO, NONE, Near(11.139060974121094)),
    ("tuf_dump_temperature_outlet", "captured", "A2C0 418F", F32, L, B, ONE, ZERO, NONE, Near(17.9544677734375)),
    ("tuf_dump_negative_energy", "captured", "FBB0 FFFF", I32, L, B, ONE, ZERO, NONE, Exact("-1104")),
    ("tuf_dump_signal_quality", "captured", "033D", U8Low, B, B, ONE, ZERO, NONE, Exact("61")),
    // public file: REG0221..0222 on hardware
    ("tuf_hw_pipe_diameter", "captured", "0000 4264", F32, L, B, ONE, ZERO, NONE, Near(57.0)),
    // public file: regDecode test, readings of one meter
    ("ion_mod10k_2", "captured", "01E5 1BDE", Mod10k, B, B, ONE, ZERO, NONE, Exact("4857134")),
    ("ion_mod10k_3", "captured", "0115 17CE", Mod10k, B, B, ONE, ZERO, NONE, Exact("2776094")),
    ("ion_mod10k_4", "captured", "0289 2623", Mod10k, B, B, ONE, ZERO, NONE, Exact("6499763")),
    ("ion_mod10k_5", "captured", "40FC 2280", Mod10k, B, B, ONE, ZERO, NONE, Exact("166368832")),
    ("ion_int32_1", "captured", "0072 13AC", I32, B, B, ONE, ZERO, NONE, Exact("7476140")),
    ("ion_int32_2", "captured", "004A 1D2E", I32, B, B, ONE, ZERO, NONE, Exact("4857134")),
    ("ion_int32_3", "captured", "002A 5C1E", I32, B, B, ONE, ZERO, NONE, Exact("2776094")),
    ("ion_int32_4", "captured", "0063 2DB3", I32, B, B, ONE, ZERO, NONE, Exact("6499763")),
    ("ion_int32_5", "captured", "09EA 9640", I32, B, B, ONE, ZERO, NONE, Exact("166368832")),
    ("ion_mod10k_negative", "unit-test", "8105 232E", Mod10k, B, B, ONE, ZERO, NONE, Exact("-2619006")),
    ("ion_mod10k_saturated_high", "captured", "7FFF 0000", Mod10k, B, B, ONE, ZERO, 0x7FFF_0000, Bad),
    ("ion_mod10k_malformed", "captured", "FD1E FC1E", Mod10k, B, B, ONE, ZERO, NONE, Bad),
    ("ion_mod10k_wrong_as_int32", "captured", "02EB 17FC", I32, B, B, ONE, ZERO, NONE, Exact("48961532")),
    // influxdata/telegraf b2726314 plugins/inputs/modbus/configuration_register_test.go
    ("tg_i32_ABCD", "unit-test", "AABB CCDD", I32, B, B, ONE, ZERO, NONE, Exact("-1430532899")),
    ("tg_i32_DCBA", "unit-test", "AABB CCDD", I32, L, L, ONE, ZERO, NONE, Exact("-573785174")),
    ("tg_i32_BADC", "unit-test", "AABB CCDD", I32, B, L, ONE, ZERO, NONE, Exact("-1146430004")),
    ("tg_u32_ABCD", "unit-test", "AABB CCDD", U32, B, B, ONE, ZERO, NONE, Exact("2864434397")),
    ("tg_u32_DCBA", "unit-test", "AABB CCDD", U32, L, L, ONE, ZERO, NONE, Exact("3721182122")),
    ("tg_u32_CDAB", "unit-test", "AABB CCDD", U32, L, B, ONE, ZERO, NONE, Exact("3437079227")),
    ("tg_i16_scaled", "unit-test", "FFD6", I16, B, B, Decimal::new(1, -1), ZERO, NONE, Exact("-4.2")),
    ("tg_u16_BA_scaled", "unit-test", "D8FF", U16, B, L, Decimal::new(1, -1), ZERO, NONE, Exact("6549.6")),
    ("tg_u32_DCBA_scaled", "unit-test", "D8FF FFFF", U32, L, L, Decimal::new(1, -3), ZERO, NONE, Exact("4294967.256")),
    ("tg_u8l", "unit-test", "180D", U8Low, B, B, ONE, ZERO, NONE, Exact("13")),
    ("tg_u8h", "unit-test", "180D", U8High, B, B, ONE, ZERO, NONE, Exact("24")),
    ("tg_i8l", "unit-test", "988D", I8Low, B, B, ONE, ZERO, NONE, Exact("-115")),
    ("tg_i8h", "unit-test", "988D", I8High, B, B, ONE, ZERO, NONE, Exact("-104")),
    ("tg_u64_ABCDEFGH", "unit-test", "0000 0100 0000 ABCD", U64, B, B, ONE, ZERO, NONE, Exact("1099511671757")),
    // printed as ...9968, which a double made of it.
    ("tg_u64_HGFEDCBA", "unit-test", "84F6 45F9 BCFE FFFF", U64, L, L, ONE, ZERO, NONE, Exact("18446742686322259588")),
    ("tg_i64_BADCFEHG", "unit-test", "FFFF BCFE 45F9 84F6", I64, B, L, ONE, ZERO, NONE, Exact("-1387387292028")),
    // printed as ...9968, which a double made of it.
    ("tg_u64_BADCFEHG", "unit-test", "FFFF BCFE 45F9 84F6", U64, B, L, ONE, ZERO, NONE, Exact("18446742686322259588")),
    ("tg_i64_GHEFCDAB", "unit-test", "F684 F945 FEBC FFFF", I64, L, B, ONE, ZERO, NONE, Exact("-1387387292028")),
    // printed as ...9968, which a double made of it.
    ("tg_u64_GHEFCDAB", "unit-test", "F684 F945 FEBC FFFF", U64, L, B, ONE, ZERO, NONE, Exact("18446742686322259588")),
    ("tg_f64_HGFEDCBA", "unit-test", "558F 47C3 406A 9CBF", F64, L, L, ONE, ZERO, NONE, Near(-0.02774907295123737)),
    ("tg_f16", "unit-test", "B814", F16, B, B, ONE, ZERO, NONE, Near(-0.509765625)),
    ("tg_ascii", "unit-test", "4D6F 6462 7573 2053 7472 696E 6700", Ascii, B, B, ONE, ZERO, NONE, Text("Modbus String")),
    // OpenEMS/openems 0e4ea888 io.openems.edge.meter.carlo.gavazzi/doc/EM341-Modbus.pdf 2.3
    ("em340_overflow", "documented", "FFFF 7FFF", I32, L, B, ONE, ZERO, 0x7FFF_FFFF, Bad),
    // volkszaehler/mbmd fb8f9c22 meters/rs485/abb.go
    ("abb_export_not_available", "documented", "FFFF FFFF FFFF FFFF", U64, B, B, ONE, ZERO, u64::MAX, Bad),
    // victronenergy/dbus-modbus-client fe12d8c9 abb.py
    ("abb_model_b23", "documented", "4232 3320", Ascii, B, B, ONE, ZERO, NONE, Text("B23")),
    // OpenEMS/openems 0e4ea888 io.openems.edge.meter.schneider.acti9.smartlink/doc/DOCA0157EN-01.pdf
    ("schneider_f32_invalid", "documented", "FFC0 0000", F32, B, B, ONE, ZERO, NONE, Bad),
    ("schneider_i64_invalid", "documented", "8000 0000 0000 0000", I64, B, B, ONE, ZERO, 0x8000_0000_0000_0000, Bad),
    // volkszaehler/mbmd fb8f9c22 meters/rs485/dtsu666.go
    ("dtsu666_ct_power", "synthetic", "459C 4000", F32, B, B, Decimal::new(1, -1), ZERO, NONE, Near(500.0)),
    // remmob/magna3 527cb9e6 custom_components/magna3/const.py
    ("grundfos_temperature", "synthetic", "7477", U16, B, B, Decimal::new(1, -2), Decimal::new(-27_315, -2), NONE, Exact("25.0")),
    // imace/ElevatorControl2 f8cdefd4 src/com/inovance/ElevatorControl/activities/CallInsideActivity.java (frame layout)
    ("nice3000_two_byte_count", "synthetic", "03E8", U16, B, B, Decimal::new(1, -3), ZERO, NONE, Exact("1.0")),
];

fn point(wire: WireType, words: Letter, bytes: Letter, count: usize, invalid: u64) -> Registers {
    let fields = match wire {
        TimeBcd => {
            use TimeField::*;
            vec![Second, Minute, Hour, Day, Month, Year]
        }
        _ => Vec::new(),
    };
    Registers {
        count: count as u16,
        words: if words == L { WordOrder::Little } else { WordOrder::Big },
        bytes: if bytes == L { Order::Little } else { Order::Big },
        invalid: if invalid == NONE { Vec::new() } else { vec![invalid] },
        fields,
        ..Registers::new(Table::Holding, 0, wire)
    }
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[test]
fn every_published_vector_decodes_to_what_it_stands_for() {
    for (name, kind, words, wire, word_order, byte_order, scale, offset, invalid, expected) in VECTORS.iter().copied() {
        let words: Vec<u16> = words.split(' ').map(|w| u16::from_str_radix(w, 16).unwrap()).collect();
        let place = point(wire, word_order, byte_order, words.len(), invalid);
        let point = PointDef { scale, offset, ..PointDef::new(name, Source::Registers(place)) };
        let value = decode(&point, &words);
        match (expected, &value) {
            (Exact(number), Ok(Value::Decimal(value))) => {
                assert_eq!(trimmed(&value.to_string()), trimmed(number), "{name} ({kind})");
            }
            (Near(number), Ok(Value::Float(value))) => {
                assert!(
                    (value - number).abs() <= number.abs() / 1e3 + 5e-4,
                    "{name} ({kind}): {value} is not {number}"
                );
            }
            (Text(text), Ok(Value::Text(value))) => assert_eq!(&**value, text, "{name} ({kind})"),
            (Bad, Err(_)) => {}
            _ => panic!("{name} ({kind}): {value:?} is not {expected:?}"),
        }
    }
}

#[test]
fn the_list_is_whole() {
    assert_eq!(VECTORS.len(), 75);
}
