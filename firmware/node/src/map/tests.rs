use super::*;

#[test]
fn no_two_values_share_an_address() {
    let mut taken = std::collections::BTreeMap::new();
    for register in REGISTERS {
        for n in 0..register.repeat {
            for word in 0..register.kind.words() {
                let address = register.address + n * register.stride + word;
                if let Some(other) = taken.insert(address, register.name) {
                    panic!("{} and {other} share {address:#06x}", register.name);
                }
                let found = containing(address).map(|(rule, n, word)| (REGISTERS[rule.id as usize].name, n, word));
                assert_eq!(found, Some((register.name, n, word)));
            }
        }
    }
}

#[test]
fn defaults_are_allowed_and_slots_are_dense() {
    let mut next = 0;
    for rule in RULES.iter().filter(|rule| rule.access == Access::Setting) {
        assert!(rule.allows(rule.default), "{:?}", rule.id);
        assert_eq!(rule.slot, next, "{:?}", rule.id);
        next += rule.repeat * rule.kind.words();
    }
    assert_eq!(usize::from(next), SETTING_WORDS);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = REGISTERS.iter().map(|register| register.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), REGISTERS.len());
}

fn hex(address: u16) -> String {
    format!("0x{address:04X}")
}

/// Addresses of a row, all of them where they repeat.
fn addresses(register: &Register) -> String {
    let first = hex(register.address);
    match register.repeat {
        1 => first,
        n => format!("{first} + {:#X}·n, n = 0..{}", register.stride, n - 1),
    }
}

fn values(register: &Register) -> String {
    let (low, high) = register.range;
    let range = if low == high { low.to_string() } else { format!("{low}..{high}") };
    match register.access {
        Access::Read => String::new(),
        Access::Command if register.kind == Kind::TopUp => "frame".into(),
        Access::Command => range,
        Access::Setting => format!("{range}, at first {}", register.default),
    }
}

fn register_table() -> String {
    let mut table = String::from(
        "| address | name | type | access | unit | values | what it is |\n|---|---|---|---|---|---|---|\n",
    );
    for register in REGISTERS {
        let kind = match register.kind {
            Kind::U16 => "u16",
            Kind::U32 => "u32",
            Kind::I32 => "i32",
            Kind::Text => "text, 8 registers",
            Kind::TopUp => "4 registers",
        };
        let access = match register.access {
            Access::Read => "read",
            Access::Setting => "setting",
            Access::Command => "command",
        };
        let unit =
            if register.scale == "1" { register.unit.into() } else { format!("{} {}", register.scale, register.unit) };
        table += &format!(
            "| {} | {} | {kind} | {access} | {unit} | {} | {} |\n",
            addresses(register),
            register.name,
            values(register),
            register.doc
        );
    }
    table
}

fn bit_table() -> String {
    let mut table = String::from("| function | addresses | name | 1 means |\n|---|---|---|---|\n");
    for (function, bits) in [("1, 5, 15", COILS), ("2", DISCRETE_INPUTS)] {
        for bit in bits {
            let last = bit.address + bit.repeat - 1;
            table += &format!("| {function} | {}..{last} | {} | {} |\n", bit.address, bit.name, bit.doc);
        }
    }
    table
}

#[test]
fn the_readme_says_what_the_map_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(path).expect("firmware/README.md");
    let mut right = text.clone();
    for (name, table) in [("registers", register_table()), ("bits", bit_table())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = right.find(&begin).expect("a mark where the table begins") + begin.len();
        let to = right.find(&end).expect("a mark where the table ends");
        right.replace_range(from..to, &table);
    }
    if std::env::var_os("GUANJIA_BLESS").is_some() {
        std::fs::write(path, right).expect("firmware/README.md");
    } else {
        assert!(
            text == right,
            "the tables are not those of map.rs; run: GUANJIA_BLESS=1 cargo test -p guanjia-node readme"
        );
    }
}

#[test]
fn bits_are_counted_right() {
    let end = |bits: &[Bit]| bits.iter().map(|bit| bit.address + bit.repeat).max();
    assert_eq!((end(COILS), end(DISCRETE_INPUTS)), (Some(COIL_COUNT), Some(DISCRETE_COUNT)));
}
