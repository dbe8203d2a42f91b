//! The dashboards are what their sources make, obey the house rules, and every query of them answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use guanjia_tests::dashboards::{Dashboard, Kind, Lang, Panel, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

fn sources() -> Vec<(String, Dashboard)> {
    let mut sources: Vec<_> = fs::read_dir(folder().join("src"))
        .expect("dashboards/src exists")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_stem().expect("named").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            let dashboard = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, dashboard)
        })
        .collect();
    sources.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!sources.is_empty());
    sources
}

#[test]
fn committed_dashboards_are_what_their_source_makes() {
    let bless = std::env::var_os("GUANJIA_BLESS").is_some();
    for (name, source) in sources() {
        for lang in Lang::ALL {
            let path = folder().join(lang.folder()).join(format!("{name}.json"));
            let made = format!("{}\n", serde_json::to_string_pretty(&render(&source, lang)).expect("plain JSON"));
            if bless {
                fs::create_dir_all(path.parent().expect("has a folder")).expect("writable");
                fs::write(&path, &made).expect("writable");
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == made,
                "{} is not what dashboards/src/{name}.toml makes; run: GUANJIA_BLESS=1 cargo test -p guanjia-tests dashboards",
                path.display()
            );
        }
    }
}

/// Every `guanjia_…` metric of an expression, with what stands in its braces.
fn selectors(expr: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(start) = rest.find("guanjia_") {
        let tail = &rest[start..];
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
        let matchers = match tail[end..].strip_prefix('{') {
            Some(inner) => inner.split('}').next().unwrap_or(""),
            None => "",
        };
        found.push((&tail[..end], matchers));
        rest = &tail[end..];
    }
    found
}

fn lint_panel(dashboard: &Dashboard, panel: &Panel) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |text: &str| faults.push(format!("{}: {text}", panel.title.en));
    if panel.description.en.len() < 20 || panel.description.zh.chars().count() < 8 {
        fault("the description does not explain anything");
    }
    if panel.unit.is_none() == panel.mapping.is_none() {
        fault("needs a unit or a mapping, not both");
    }
    if panel.mapping.as_ref().is_some_and(|key| !dashboard.mapping.contains_key(key)) {
        fault("names a mapping that does not exist");
    }
    if panel.names.as_ref().is_some_and(|label| !dashboard.names.contains_key(label)) {
        fault("names a label that has no names");
    }
    if panel.kind == Kind::Stat && panel.thresholds.is_empty() {
        fault("a stat needs thresholds");
    }
    if (panel.kind == Kind::Table) == panel.columns.is_empty() {
        fault("a table, and only a table, has columns");
    }
    let [x, _, w, _] = panel.grid;
    if x + w > 24 {
        fault("reaches beyond the 24 columns");
    }
    for target in &panel.target {
        for (metric, matchers) in selectors(&target.expr) {
            if !matchers.contains(r#"site=~"$site""#) {
                fault(&format!("{metric} does not select the site"));
            }
            let counter = metric.ends_with("_total");
            if counter && !target.expr.contains("rate(") && !target.expr.contains("increase(") {
                fault(&format!("{metric} is a counter outside rate() and increase()"));
            }
        }
        if target.instant && target.expr.contains("$__rate_interval") {
            fault("an instant query has no rate interval");
        }
        if (panel.kind == Kind::Table || panel.kind == Kind::Stat) && !target.instant {
            fault("a stat or table asks for one value");
        }
    }
    faults
}

#[test]
fn dashboards_obey_the_house_rules() {
    for (name, dashboard) in sources() {
        let mut faults: Vec<String> = dashboard.panel.iter().flat_map(|panel| lint_panel(&dashboard, panel)).collect();
        let titles: BTreeSet<_> = dashboard.panel.iter().map(|p| &p.title.zh).collect();
        if titles.len() != dashboard.panel.len() {
            faults.push("two panels share a title".to_owned());
        }
        for (index, a) in dashboard.panel.iter().enumerate() {
            for b in &dashboard.panel[index + 1..] {
                let apart =
                    |p: usize, s: usize| a.grid[p] + a.grid[s] <= b.grid[p] || b.grid[p] + b.grid[s] <= a.grid[p];
                if !apart(0, 2) && !apart(1, 3) {
                    faults.push(format!("{} overlaps {}", a.title.en, b.title.en));
                }
            }
        }
        assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
    }
}

#[test]
fn the_lint_catches_what_it_claims_to() {
    let (_, dashboard) = sources().remove(0);
    let broken = |change: &dyn Fn(&mut Panel)| {
        let (_, mut copy) = sources().remove(0);
        change(&mut copy.panel[0]);
        !lint_panel(&dashboard, &copy.panel[0]).is_empty()
    };
    assert!(broken(&|p| p.target[0].expr = "sum(guanjia_alarms_active)".to_owned()));
    assert!(broken(&|p| p.target[0].expr = r#"sum(guanjia_alarms_raised_total{site=~"$site"})"#.to_owned()));
    assert!(broken(&|p| p.unit = None));
    assert!(broken(&|p| p.thresholds.clear()));
    assert!(broken(&|p| p.grid[2] = 25));
    assert!(broken(&|p| p.target[0].instant = false));
    assert!(broken(&|p| p.description.zh = "无".to_owned()));
}
