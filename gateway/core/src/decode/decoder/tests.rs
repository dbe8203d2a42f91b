use super::*;
use crate::profile::{EquipmentClass, Formula, Heartbeat, PointDef, Registers, Table, UnitCode, WireType};

const AGE_MAX: Duration = Duration::from_secs(100);

fn at(address: u16, wire: WireType) -> Source {
    Source::Registers(Registers::new(Table::Holding, address, wire))
}

fn point(id: &str, address: u16, wire: WireType) -> PointDef {
    PointDef::new(id, at(address, wire))
}

fn setting(id: &str, address: u16) -> PointDef {
    PointDef { kind: PointKind::Configured, ..point(id, address, WireType::U16) }
}

fn profile(points: Vec<PointDef>) -> Profile {
    Profile::new("test", EquipmentClass::ElectricityMeter, points)
}

fn decoder(profile: Profile) -> Decoder {
    Decoder::new(Arc::new(profile), |_| AGE_MAX)
}

/// Reads `words` from `address` on, at this second, and gives every value as text, errors in brackets.
fn read(decoder: &mut Decoder, second: u64, address: u16, words: &[u16]) -> Vec<(String, String)> {
    let profile = Arc::clone(decoder.profile());
    let end = address + words.len() as u16;
    let inside =
        |p: &PointDef| p.source.registers().is_some_and(|r| r.address >= address && r.address + r.count <= end);
    let points: Vec<usize> = (0..profile.points.len()).filter(|i| inside(&profile.points[*i])).collect();
    let extent = Extent { table: Table::Holding, address, count: words.len() as u16 };
    let mut told = Vec::new();
    decoder.answer(extent, Answer::Words(words), &points, Duration::from_secs(second), |i, value| {
        let text = value.map_or_else(|e| format!("[{}]", e.reason().as_str()), |v| v.to_string());
        told.push((profile.points[i].id.to_string(), text));
    });
    told
}

fn of<'a>(told: &'a [(String, String)], id: &str) -> &'a str {
    told.iter().find(|(told, _)| told == id).map_or("nothing", |(_, value)| value)
}

#[test]
fn a_power_of_ten_counts_only_in_the_answer_that_brought_the_value() {
    let mut power = point("active_power_total", 0, WireType::I16);
    power.inputs.exponent = Some(1);
    let mut decoder = decoder(profile(vec![power, point("sf_power", 1, WireType::SunSsf)]));
    assert_eq!(decoder.profile().together(), [(0, 1)]);
    assert_eq!(of(&read(&mut decoder, 0, 0, &[0xFB2E, 0xFFFF]), "active_power_total"), "-123.4");
    // The factor has moved: the same digits are ten times as much.
    assert_eq!(of(&read(&mut decoder, 1, 0, &[0xFB2E, 0x0000]), "active_power_total"), "-1234");
    assert_eq!(of(&read(&mut decoder, 2, 0, &[0xFB2E, 0x0002]), "active_power_total"), "-123400");
    // Alone it says nothing, although the factor of a second ago is known.
    assert_eq!(of(&read(&mut decoder, 3, 0, &[0xFB2E]), "active_power_total"), "[input]");
    for (factor, why) in [(0x8000, "[input]"), (11, "[input]")] {
        assert_eq!(of(&read(&mut decoder, 4, 0, &[0xFB2E, factor]), "active_power_total"), why);
    }
}

#[test]
fn a_ratio_is_remembered_for_a_while_and_not_beyond_a_silence() {
    let mut current = point("current", 0, WireType::U16);
    (current.scale, current.inputs.times) = (Decimal::new(1, -2), vec![1, 2]);
    let mut decoder = decoder(profile(vec![current, setting("cfg_ct_ratio", 50), setting("cfg_pt_ratio", 51)]));
    assert!(decoder.profile().together().is_empty());
    assert_eq!(of(&read(&mut decoder, 0, 0, &[0x0200]), "current"), "[input]");
    read(&mut decoder, 1, 50, &[40, 1]);
    assert_eq!(of(&read(&mut decoder, 2, 0, &[0x0200]), "current"), "204.80");
    assert_eq!(of(&read(&mut decoder, 101, 0, &[0x0200]), "current"), "204.80");
    assert_eq!(of(&read(&mut decoder, 102, 0, &[0x0200]), "current"), "[input]");
    read(&mut decoder, 103, 50, &[40, 2]);
    assert_eq!(of(&read(&mut decoder, 104, 0, &[0x0200]), "current"), "409.60");
    assert_eq!(decoder.lost(&[2]).count(), 0);
    assert_eq!(of(&read(&mut decoder, 105, 0, &[0x0200]), "current"), "[input]");
    read(&mut decoder, 106, 50, &[40, 1]);
    decoder.forget();
    assert_eq!(of(&read(&mut decoder, 107, 0, &[0x0200]), "current"), "[input]");
}

#[test]
fn a_unit_from_a_register_is_converted_and_an_unknown_one_is_no_value() {
    let unit = |code, mantissa, exponent| UnitCode {
        code,
        factor: Decimal::new(mantissa, exponent),
        offset: Decimal::new(0, 0),
    };
    let mut volume = point("volume", 0, WireType::U32);
    volume.inputs.unit =
        Some(UnitInput { point: 1, units: vec![unit(0, 1, 0), unit(1, 1, -3), unit(2, 3_785_411_784, -12)] });
    let mut decoder = decoder(profile(vec![volume, setting("cfg_unit", 9)]));
    for (code, value) in [(0, "1000"), (1, "1.000"), (2, "3.785411784000"), (3, "[input]")] {
        read(&mut decoder, 0, 9, &[code]);
        assert_eq!(of(&read(&mut decoder, 0, 0, &[0, 1_000]), "volume"), value);
    }
    let mut temperature = point("temperature", 0, WireType::I16);
    let fahrenheit = UnitCode { code: 1, factor: Decimal::new(5, -1), offset: Decimal::new(-16, 0) };
    temperature.inputs.unit = Some(UnitInput { point: 1, units: vec![unit(0, 1, 0), fahrenheit] });
    let mut decoder = self::decoder(profile(vec![temperature, setting("units", 1)]));
    assert_eq!(of(&read(&mut decoder, 0, 0, &[212, 1]), "temperature"), "90.0");
}

#[test]
fn the_parts_of_a_formula_come_in_one_answer_or_give_nothing() {
    let mut points = vec![point("whole", 0, WireType::I32), point("fraction", 2, WireType::U16), setting("power", 20)];
    points[1].scale = Decimal::new(1, -3);
    let find = |name: &str| ["whole", "fraction", "power", "total"].iter().position(|n| *n == name);
    let formula = |text| Source::Derived(Formula::parse(text, &find).unwrap());
    points.push(PointDef::new("total", formula("(whole + fraction) * pow10(power - 3)")));
    points.push(PointDef::new("twice", formula("total * 2")));
    let mut decoder = decoder(profile(points));
    assert_eq!(decoder.profile().together(), [(0, 1), (0, 1)]);
    assert_eq!(of(&read(&mut decoder, 0, 0, &[0, 17, 250]), "total"), "[input]");
    read(&mut decoder, 1, 20, &[4]);
    let told = read(&mut decoder, 2, 0, &[0, 17, 250]);
    assert_eq!((of(&told, "whole"), of(&told, "total"), of(&told, "twice")), ("17", "172.50", "345.00"));
    assert_eq!(of(&read(&mut decoder, 3, 0, &[0, 17]), "total"), "[input]");
    // The other half alone makes nothing due.
    assert_eq!(read(&mut decoder, 4, 2, &[250]).len(), 1);
    assert_eq!(decoder.lost(&[0]).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_heartbeat_that_stands_still_makes_all_else_bad_until_it_moves() {
    let mut profile = profile(vec![point("pressure", 0, WireType::U16), point("beat", 1, WireType::U32)]);
    profile.heartbeat = Some(Heartbeat { point: 1, within: Duration::from_secs(30) });
    let mut decoder = decoder(profile);
    let mut told = |second, beat| {
        let told = read(&mut decoder, second, 0, &[7, 0, beat]);
        (of(&told, "pressure").to_owned(), of(&told, "beat").to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(told(0, 5), pair("7", "5"));
    assert_eq!(told(30, 5), pair("7", "5"));
    assert_eq!(told(31, 5), pair("[frozen]", "5"));
    assert_eq!(told(32, 6), pair("7", "6"));
    assert_eq!(told(62, 6), pair("7", "6"));
    assert_eq!(told(63, 6), pair("[frozen]", "6"));
    assert_eq!(decoder.pulse(), Pulse::StandsStill);
    decoder.forget();
    assert_eq!(decoder.pulse(), Pulse::Moves);
    assert_eq!(of(&read(&mut decoder, 64, 0, &[7, 0, 6]), "pressure"), "7");
    // It is not read any more, while the rest is.
    assert_eq!(of(&read(&mut decoder, 100, 0, &[7]), "pressure"), "[frozen]");
}

#[test]
fn a_plain_profile_keeps_nothing() {
    let mut decoder = decoder(profile(vec![point("a", 0, WireType::U16)]));
    assert!(decoder.parts.is_empty());
    assert_eq!(of(&read(&mut decoder, 0, 0, &[7]), "a"), "7");
    let extent = Extent { table: Table::Coil, address: 0, count: 1 };
    let mut told = Vec::new();
    decoder.answer(extent, Answer::Bits(&[true]), &[0, 9], Duration::ZERO, |i, value| told.push((i, value)));
    assert_eq!(told, [(0, Err(DecodeError::NotABit)), (9, Err(DecodeError::NotRegisters))]);
}
