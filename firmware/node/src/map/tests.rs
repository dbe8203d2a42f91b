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
