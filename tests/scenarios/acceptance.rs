//! The table of acceptance cases and the tests it names.

use std::fs;
use std::path::Path;

/// The lines of a table's rows: number, and the tests as file and name.
fn rows(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let is_row = |line: &&str| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit());
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [number, _, tests] = cells[..] else { panic!("a row has three cells: {line}") };
        let words: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let tests = words.chunks(2).map(|two| (two[0].to_owned(), two[1].to_owned())).collect();
        (number.trim().to_owned(), tests)
    };
    text.lines().filter(is_row).map(row).collect()
}

/// The doc lines and attributes right above a function.
fn above<'a>(text: &'a str, function: &str) -> Option<Vec<&'a str>> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains(&format!("fn {function}(")))?;
    let is_above = |line: &&&str| line.trim_start().starts_with("///") || line.trim_start().starts_with("#[");
    Some(lines[..at].iter().rev().take_while(is_above).copied().collect())
}

#[test]
fn every_acceptance_case_names_tests_that_exist_and_bear_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("tests/README.md")).expect("it is in the repository");
    let rows = rows(&table);
    assert!(rows.len() >= 20, "only {} cases", rows.len());
    for (number, tests) in &rows {
        assert!(!tests.is_empty(), "AC {number} has no test");
        for (file, name) in tests {
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("AC {number}: {file}: {e}"));
            let above = above(&text, name).unwrap_or_else(|| panic!("AC {number}: {file} has no {name}"));
            let said = above.iter().any(|line| line.contains(&format!("AC {number}")));
            assert!(said, "{name} does not say that it is AC {number}");
            let is_run = file.contains("bench") || above.iter().any(|line| line.contains("test"));
            assert!(is_run, "{name} is no test");
        }
    }
}
