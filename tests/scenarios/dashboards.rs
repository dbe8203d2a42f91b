//! The dashboards are what their sources make, obey the house rules, and every query of them answers.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use guanjia_sim::Story;
use guanjia_tests::dashboards::{Dashboard, Kind, Lang, Panel, Target, render};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, TOKEN};
use guanjia_tests::prometheus::{Prometheus, find_program};
use serde_json::json;

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
    let nameless = |label: &String| !dashboard.names.contains_key(label);
    if panel.columns.iter().filter_map(|column| column.names.as_ref()).any(nameless) {
        fault("has a column of a label that has no names");
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
        for label in dashboard.names.keys().map(|label| format!("{{{{{label}}}}}")) {
            if panel.kind != Kind::Table && panel.names.is_none() && target.legend.en == label {
                fault("shows the gateway's own words, which have names");
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
    assert!(broken(&|p| p.target[0].legend.en = "{{severity}}".to_owned()));
}

/// PromQL as Grafana would send it.
fn with_variables(expr: &str) -> String {
    expr.replace("$site", ".+").replace("$__rate_interval", "8s")
}

/// What is wrong with the answer to one query of a panel.
async fn ask(prometheus: &Prometheus, dashboard: &Dashboard, panel: &Panel, target: &Target) -> Vec<String> {
    let expr = with_variables(&target.expr);
    let series = match prometheus.query(&expr).await {
        Ok(series) => series,
        Err(error) => return vec![format!("{error:#}")],
    };
    let mut faults = Vec::new();
    if series.is_empty() && !panel.may_be_empty {
        faults.push(format!("no series: {expr}"));
    }
    let values: Vec<f64> = series.iter().filter_map(|s| s.value.as_ref()?.1.parse().ok()).collect();
    if !values.is_empty() && values.iter().all(|value| value.is_nan()) {
        faults.push(format!("nothing but NaN: {expr}"));
    }
    for legend in [&target.legend.en, &target.legend.zh] {
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            if series.iter().any(|s| !s.metric.contains_key(label.trim())) {
                faults.push(format!("no label {label} on: {expr}"));
            }
        }
    }
    if let Some(states) = panel.mapping.as_ref().and_then(|key| dashboard.mapping.get(key)) {
        let unnamed = values.iter().filter(|value| !states.contains_key(&value.to_string()));
        faults.extend(unnamed.map(|value| format!("state {value} has no name: {expr}")));
    }
    if panel.unit.as_deref() == Some("percentunit") {
        let outside = values.iter().filter(|value| !value.is_nan() && !(-0.01..=1.5).contains(*value));
        faults.extend(outside.map(|value| format!("{value} is no share: {expr}")));
    }
    faults
}

/// The names of all metrics on the page.
fn metric_names(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[tokio::test]
async fn every_query_of_every_dashboard_answers_about_a_living_building() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.start_story(Story::MeterDies, None)?;
    house.building.start_story(Story::FireAlarm, None)?;
    let paid = json!({ "service_point": "s-105-e", "amount": "12.34", "channel": "cashier" });
    anyhow::ensure!(house.gateway.top_up(TOKEN, "dashboards", &paid).await?.0 == 201);

    let page = house.gateway.get("/metrics").await?;
    let names = metric_names(&page);
    for (name, dashboard) in sources() {
        for target in dashboard.panel.iter().flat_map(|panel| &panel.target) {
            for (metric, _) in selectors(&target.expr) {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
                let known = names.contains(metric) || family.is_some_and(|family| names.contains(family));
                assert!(known, "{name} asks for {metric}, which the gateway does not have");
            }
        }
    }
    promtool_accepts(&page)?;
    let (_, overview) = sources().into_iter().find(|(name, _)| name == "overview").expect("there is an overview");
    let samples = page.lines().filter_map(|line| line.strip_prefix("guanjia_line_finding{"));
    let findings: BTreeSet<&str> =
        samples.filter_map(|labels| labels.split("finding=\"").nth(1)?.split('"').next()).collect();
    assert!(findings.len() >= 4, "{findings:?}");
    let nameless: Vec<_> = findings.iter().filter(|word| !overview.names["finding"].contains_key(**word)).collect();
    assert!(nameless.is_empty(), "findings without a name on the dashboard: {nameless:?}");

    let Some(prometheus) = Prometheus::start(house.address).await? else {
        println!("skipped: Prometheus not installed");
        return Ok(());
    };
    // The longest of the rates needs its window filled; everything else is asked again until it is right.
    eventually("every query answers", Duration::from_secs(40), || async {
        let mut faults = Vec::new();
        for (name, dashboard) in sources() {
            for panel in &dashboard.panel {
                for target in &panel.target {
                    let of_target = ask(&prometheus, &dashboard, panel, target).await;
                    faults.extend(of_target.into_iter().map(|fault| format!("{name}, {}: {fault}", panel.title.en)));
                }
            }
        }
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Some(()))
    })
    .await?;
    // The silent meter is in the table of those that do not answer.
    let table = overview.panel.iter().find(|panel| panel.kind == Kind::Table).expect("it lists what is silent");
    let silent = prometheus.query(&with_variables(&table.target[0].expr)).await?;
    assert!(silent.iter().any(|s| s.metric.get("device").map(String::as_str) == Some("m-105")), "{silent:?}");
    Ok(())
}

/// The page passes Prometheus' own lint; skipped where its tool is not installed.
fn promtool_accepts(page: &str) -> anyhow::Result<()> {
    let Some(program) = find_program("promtool") else {
        println!("skipped: promtool not installed");
        return Ok(());
    };
    let mut lint =
        Command::new(program).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    lint.stdin.take().expect("it is piped").write_all(page.as_bytes())?;
    let output = lint.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
