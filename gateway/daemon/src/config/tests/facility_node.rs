//! The profile of the field node against the one file its firmware is built from: every register, in both directions.

use std::collections::BTreeSet;

use guanjia_core::profile::{PointDef, PointKind, Profile, RelayPosition, Table, WriteFunction};
use guanjia_core::reading::{Decimal, Value};
use guanjia_node::map::{Access, COILS, DEVICE_TYPE, Kind, MAP_VERSION, REGISTERS, Register};
use guanjia_node::output::OutputSupply;

use super::*;

/// Other names of a counter, in the unit of what it counts: [`PointDef::id`] without its number.
const OTHER_NAMES: [&str; 2] = ["volume_total", "energy_active_import"];

fn facility_node() -> Profile {
    let mut report = Report::default();
    let files = library::files(library::Shelf::Profiles, None, &mut report);
    let source = files.all.get("facility_node").expect("it is in the library");
    let loaded = profile::read("facility_node", source, &schema::PROFILE, &mut report);
    (*loaded.unwrap_or_else(|| panic!("{report}")).profile).clone()
}

/// The ids of a register in the profile, with how far each stands from the first.
fn ids(name: &str, repeat: u16) -> Vec<(String, u16)> {
    match repeat {
        1 => vec![(name.to_owned(), 0)],
        _ => (0..repeat).map(|n| (format!("{name}_{}", n + 1), n)).collect(),
    }
}

fn point<'a>(profile: &'a Profile, id: &str) -> &'a PointDef {
    profile.points.iter().find(|p| *p.id == *id).unwrap_or_else(|| panic!("the profile has no {id}"))
}

fn decimal(text: &str) -> Decimal {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mantissa: i128 = format!("{whole}{part}").parse().expect("a scale of the map is a number");
    Decimal::new(mantissa, -i8::try_from(part.len()).expect("it is short"))
}

fn same(one: Decimal, other: Decimal) -> bool {
    one.rescale(-9).expect("few digits") == other.rescale(-9).expect("few digits")
}

/// A unit of the map in the profile. Money has none: how much a minor unit is worth, the site says.
fn unit(register: &Register) -> &str {
    match register.unit {
        "minor units" => "",
        "B" => "By",
        unit => unit,
    }
}

#[test]
fn every_register_of_the_node_is_in_its_profile() {
    let profile = facility_node();
    assert!(profile.vendor == "Guanjia" && profile.identity.len() == 1, "it is known by its device type");
    for register in REGISTERS {
        for (id, n) in ids(register.name, register.repeat) {
            let point = point(&profile, &id);
            let place = point.source.registers().expect("it is in registers");
            let wire = match register.kind {
                Kind::U16 => WireType::U16,
                Kind::U32 => WireType::U32,
                Kind::I32 => WireType::I32,
                Kind::Text => WireType::Ascii,
                Kind::TopUp => WireType::Raw,
            };
            let wanted = (Table::Holding, register.address + n * register.stride, register.kind.words(), wire);
            assert_eq!((place.table, place.address, place.count, place.wire), wanted, "{id}");
            assert!(same(point.scale, decimal(register.scale)), "{id}: {:?}", point.scale);
            assert_eq!(point.unit, unit(register), "{id}");
            let is_set = point.kind == PointKind::Configured;
            assert_eq!(is_set, register.access == Access::Setting, "{id}");
        }
    }
    for coil in COILS {
        for (id, n) in ids(coil.name, coil.repeat) {
            let place = point(&profile, &id).source.registers().expect("it is a coil");
            assert_eq!((place.table, place.address), (Table::Coil, coil.address + n), "{id}");
        }
    }
}

#[test]
fn every_point_of_the_profile_is_a_register_of_the_node() {
    let profile = facility_node();
    let registers = REGISTERS.iter().flat_map(|r| ids(r.name, r.repeat));
    let coils = COILS.iter().flat_map(|c| ids(c.name, c.repeat));
    let known: BTreeSet<String> = registers.chain(coils).map(|(id, _)| id).collect();
    for point in profile.points.iter().filter(|p| !known.contains(&*p.id)) {
        let (name, number) = point.id.rsplit_once('_').expect("other names are numbered");
        assert!(OTHER_NAMES.contains(&name), "{} is no register of the node", point.id);
        let counter = self::point(&profile, &format!("pulses_{number}"));
        assert_eq!(point.source, counter.source, "{} is another name of the counter", point.id);
    }
}

#[test]
fn every_setting_of_the_node_can_be_set_within_its_range_and_nothing_else() {
    let profile = facility_node();
    let mut known = BTreeSet::new();
    for register in REGISTERS.iter().filter(|r| r.access == Access::Setting) {
        for (id, _) in ids(register.name, register.repeat) {
            let setting = profile.settings.iter().find(|s| **s.point() == *id);
            let setting = setting.unwrap_or_else(|| panic!("{id} cannot be set"));
            let scale = decimal(register.scale);
            let scaled = |raw: i64| Decimal::new(i128::from(raw) * scale.mantissa, scale.exponent);
            let (least, most) = (scaled(register.range.0), scaled(register.range.1));
            assert!(same(setting.min(), least) && same(setting.max(), most), "{id}: {setting:?}");
            assert_eq!(setting.function(), WriteFunction::Registers, "{id}");
            known.insert(id);
        }
    }
    for coil in COILS {
        known.extend(ids(coil.name, coil.repeat).into_iter().map(|(id, _)| id));
    }
    for setting in &profile.settings {
        assert!(known.contains(&**setting.point()), "{} is no setting of the node", setting.point());
    }
}

#[test]
fn every_account_of_the_node_can_be_topped_up() {
    let profile = facility_node();
    let at = |name: &str| REGISTERS.iter().find(|r| r.name == name).expect("it is in the map");
    let frame = at("top_up_frame");
    assert_eq!(profile.wallets.len(), usize::from(frame.repeat));
    for (wallet, n) in profile.wallets.iter().zip(0..) {
        assert_eq!(wallet.address(), frame.address + n * frame.stride);
        assert!(wallet.is_charged_by(&format!("pulses_{}", n + 1)));
        assert!(wallet.is_charged_by(&format!("volume_total_{}", n + 1)));
        assert_eq!(wallet.price().map(|price| &**price), Some(&*format!("price_{}", n + 1)));
        assert_eq!(wallet.prepaid().map(|prepaid| &**prepaid), Some(&*format!("prepaid_{}", n + 1)));
        let extent = wallet.extent();
        assert_eq!((extent.table, extent.address), (Table::Holding, at("balance").address + n * 0x20));
        let mut words = vec![0; usize::from(extent.count)];
        for (name, value) in [("purchase_count", 7), ("last_amount", 50), ("balance", 900), ("top_up_result_count", 8)]
        {
            words[usize::from(at(name).address - at("balance").address) + 1] = value;
        }
        words[usize::from(at("top_up_result").address - at("balance").address)] = 4;
        let seen = wallet.seen(&words).expect("the length of its extent");
        assert_eq!((seen.count, seen.amount, seen.balance, seen.verdict_count), (7, 50, 900, 8));
        assert_eq!(seen.verdict, guanjia_core::profile::Verdict::OverHoardingLimit);
    }
}

#[test]
fn every_output_of_the_node_cuts_its_own_channel_and_is_proved_by_its_supply() {
    let profile = facility_node();
    let coil = COILS.iter().find(|coil| coil.name == "output").expect("outputs are coils");
    assert_eq!(profile.relays.len(), usize::from(coil.repeat));
    for (relay, n) in profile.relays.iter().zip(0..) {
        let words = relay.words();
        assert_eq!((words.function, words.address), (WriteFunction::Coil, coil.address + n));
        // A coil is 1 while the supply passes, whatever hangs on the output.
        assert_eq!((words.cut.as_slice(), words.restore.as_slice()), (&[0][..], &[1][..]));
        let said = |supply: OutputSupply| relay.position(&Value::Decimal(Decimal::new(supply as i128, 0)));
        assert_eq!(**relay.proof(), *format!("output_supply_{}", n + 1));
        assert_eq!(said(OutputSupply::Cut), RelayPosition::Cut);
        assert_eq!(said(OutputSupply::Passing), RelayPosition::Supplied);
        assert_eq!(said(OutputSupply::Cutting), RelayPosition::Cutting);
        assert_eq!(said(OutputSupply::Restoring), RelayPosition::Restoring);
        assert_eq!(said(OutputSupply::Jammed), RelayPosition::Jammed);
        assert_eq!(said(OutputSupply::Unknown), RelayPosition::Unknown);
        assert_eq!(said(OutputSupply::Unused), RelayPosition::Unknown);
        for channel in 0..profile.wallets.len() {
            for name in ["pulses", "volume_total", "energy_active_import"] {
                let register = format!("{name}_{}", channel + 1);
                assert_eq!(relay.supplies(&register), channel == usize::from(n), "{register}");
            }
        }
    }
}

#[test]
fn the_profile_speaks_of_this_map() {
    let text = std::fs::read_to_string(config_dir().join("profiles/facility_node.toml")).expect("it is in the library");
    assert!(text.contains(&format!("map version {MAP_VERSION}\"")), "raise the version in its sources");
    assert!(text.contains(&format!("one_of = [0x{DEVICE_TYPE:04X}]")));
}
