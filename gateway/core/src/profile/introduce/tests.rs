use super::*;
use crate::profile::{EquipmentClass, PointDef, WireType};

fn registers(address: u16, wire: WireType) -> Registers {
    Registers::new(Table::Holding, address, wire)
}

/// Introduces a device that holds these registers and refuses all others.
fn introduce(profile: Profile, device: &BTreeMap<u16, u16>) -> Result<Arc<Profile>, Mismatch> {
    let mut introduction = Introduction::of(&Arc::new(profile)).unwrap();
    for _ in 0..200 {
        match introduction.next() {
            Next::Fit(profile) => return Ok(profile),
            Next::Wrong(mismatch) => return Err(mismatch),
            Next::Ask(extent) => {
                let places = extent.address..extent.address.checked_add(extent.count).unwrap();
                let words: Option<Vec<u16>> = places.map(|a| device.get(&a).copied()).collect();
                introduction.answered(words.as_deref().map_or(Asked::Refused(2), Asked::Words));
            }
        }
    }
    panic!("it never ends");
}

fn device(places: &[(u16, &[u16])]) -> BTreeMap<u16, u16> {
    places.iter().flat_map(|(at, words)| (*at..).zip(words.iter().copied())).collect()
}

fn sunspec(offset: u16) -> Profile {
    let source = Source::Model { model: 203, registers: registers(offset, WireType::I16) };
    let mut profile = Profile::new("s", EquipmentClass::ElectricityMeter, vec![PointDef::new("p", source)]);
    profile.sunspec = Some(SunSpec { bases: vec![40_000, 50_000, 0] });
    profile
}

#[test]
fn a_model_is_found_by_walking_the_chain_from_any_base() {
    for base in [40_000u16, 50_000, 0] {
        let places: [(u16, &[u16]); 3] =
            [(base, &[0x5375, 0x6E53, 1, 66]), (base + 70, &[203, 105]), (base + 72 + 105, &[0xFFFF, 0])];
        let fitted = introduce(sunspec(18), &device(&places)).unwrap();
        assert_eq!(fitted.points[0].source.registers().unwrap().address, base + 70 + 18);
    }
}

#[test]
fn a_chain_without_the_model_without_an_end_or_in_a_circle_is_another_device() {
    let ends: [(u16, &[u16]); 2] = [(0, &[0x5375, 0x6E53, 1, 4]), (8, &[0xFFFF, 0])];
    let mismatch = introduce(sunspec(18), &device(&ends)).unwrap_err();
    assert_eq!((mismatch.expected.as_str(), mismatch.found.as_str()), ("model 203", "models 1"));
    let breaks: [(u16, &[u16]); 1] = [(0, &[0x5375, 0x6E53, 1, 4])];
    assert_eq!(introduce(sunspec(18), &device(&breaks)).unwrap_err().found, "exception 02");
    // Models of length 0 up to the last address.
    let endless: BTreeMap<u16, u16> =
        (0..=u16::MAX).map(|a| (a, [0x5375, 0x6E53].get(usize::from(a)).copied().unwrap_or(0))).collect();
    assert!(introduce(sunspec(18), &endless).is_err());
    assert!(introduce(sunspec(18), &BTreeMap::new()).unwrap_err().what.contains("40000, 50000, 0"));
}

#[test]
fn a_point_beyond_the_models_length_is_absent() {
    let places: [(u16, &[u16]); 2] = [(0, &[0x5375, 0x6E53, 203, 10]), (14, &[0xFFFF, 0])];
    let fitted = introduce(sunspec(11), &device(&places)).unwrap();
    assert_eq!(fitted.points[0].source.registers().unwrap().address, 13);
    let fitted = introduce(sunspec(12), &device(&places)).unwrap();
    assert_eq!(fitted.points[0].source, Source::Absent);
}

#[test]
fn only_the_device_of_the_profile_is_let_in() {
    let points = vec![
        PointDef::new("model_id", Source::Registers(registers(11, WireType::U16))),
        PointDef::new("old", Source::Registers(registers(0, WireType::U16))),
        PointDef {
            min_firmware: Some(Decimal::new(25, -1)),
            ..PointDef::new("new", Source::Registers(registers(1, WireType::U16)))
        },
        PointDef {
            scale: Decimal::new(1, -1),
            ..PointDef::new("version", Source::Registers(registers(20, WireType::U16)))
        },
    ];
    let mut profile = Profile::new("e", EquipmentClass::ElectricityMeter, points);
    let numbers = [331, 332].map(|n| Expected::Number(Decimal::new(n, 0)));
    profile.identity = vec![Identity { point: profile.points[0].clone(), one_of: numbers.to_vec() }];
    profile.firmware = Some(3);
    let fitted = |model: u16, version: u16| {
        let places: [(u16, &[u16]); 2] = [(11, &[model]), (20, &[version])];
        introduce(profile.clone(), &device(&places))
    };
    assert!(matches!(fitted(332, 25).unwrap().points[2].source, Source::Registers(_)));
    let old = fitted(331, 24).unwrap();
    assert_eq!(old.points[2].source, Source::Absent);
    assert!(matches!(old.points[1].source, Source::Registers(_)));
    let wrong = fitted(330, 25).unwrap_err();
    assert_eq!((&*wrong.what, &*wrong.expected, &*wrong.found), ("model_id", "331 or 332", "330"));
    assert_eq!(introduce(profile.clone(), &BTreeMap::new()).unwrap_err().found, "exception 02");
}

#[test]
fn a_profile_that_tells_nothing_needs_no_introduction() {
    let profile = Profile::new("p", EquipmentClass::Sensor, Vec::new());
    assert!(Introduction::of(&Arc::new(profile)).is_none());
}
