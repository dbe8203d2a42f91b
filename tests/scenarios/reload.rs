//! Configuration while the program runs, and before it does: SIGHUP and `guanjia check`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use guanjia_sim::Story;
use guanjia_tests::gateway::{binary, eventually};
use guanjia_tests::house::House;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const SUCCESS: &str = "guanjia_config_last_reload_successful";

async fn english_name(house: &House, device: &str) -> anyhow::Result<Value> {
    Ok(house.api(&format!("/devices/{device}")).await?["name"]["en"].clone())
}

/// The panel's alarms, without what only says how old they are.
async fn fire_alarms(house: &House) -> anyhow::Result<Vec<Value>> {
    let answer = house.api("/alarms").await?;
    let list = answer["alarms"].as_array().context("a list of alarms")?;
    let of_panel = list.iter().filter(|a| a["key"].as_str().is_some_and(|key| key.starts_with("fire-panel/")));
    Ok(of_panel.cloned().collect())
}

/// AC 28.
#[tokio::test]
async fn a_reload_takes_over_what_is_right_and_refuses_what_is_not() -> anyhow::Result<()> {
    let house = House::start().await?;
    house.building.start_story(Story::FireAlarm, Some("2"))?;
    let incident = house.incident("EP-06", LIMIT).await?;
    let id = incident["id"].as_str().context("an id")?;
    house.order(&format!("/incidents/{id}/acknowledge")).await?;
    let before = eventually("the alarm is accepted", LIMIT, || async {
        let alarms = fire_alarms(&house).await?;
        Ok((!alarms.is_empty() && alarms.iter().all(|alarm| alarm["acknowledged"] == true)).then_some(alarms))
    })
    .await?;
    let warned = house.service_point("s-104-e").await?["warning"].clone();
    assert_eq!(warned, Value::Null);

    // Another name, and an earlier first notice.
    let old = fs::read_to_string(house.site_file())?;
    let new = old.replace("en = \"Fire panel\"", "en = \"Renamed panel\"");
    let new = new.replacen("notice1 = { balance = \"30.00\" }", "notice1 = { balance = \"2500.00\" }", 1);
    assert_ne!(new, old);
    fs::write(house.site_file(), &new)?;
    house.gateway.signal("HUP")?;
    eventually("the new name and policy are in force", LIMIT, || async {
        let name = english_name(&house, "fire-panel").await?;
        let warned = house.service_point("s-104-e").await?["warning"].clone();
        Ok((name == "Renamed panel" && warned == "notice1").then_some(()))
    })
    .await?;
    assert_eq!(house.gateway.metric(SUCCESS).await?, Some(1.0));
    for alarm in &before {
        let same = fire_alarms(&house).await?.into_iter().find(|now| now["key"] == alarm["key"]);
        let same = same.with_context(|| format!("{} is lost", alarm["key"]))?;
        for part in ["occurrence", "acknowledged", "acknowledged_by", "incident", "raised_at"] {
            assert_eq!(same[part], alarm[part], "{part} of {}", alarm["key"]);
        }
    }
    let still = house.incident("EP-06", Duration::from_secs(1)).await?;
    assert_eq!((&still["id"], &still["state"]), (&incident["id"], &"acknowledged".into()));

    // A broken file: the old configuration goes on, and the log says where to look.
    let broken = format!("{new}\n[device.phantom]\nprofile = \"no_such_profile\"\n");
    let line = broken.lines().position(|line| line == "[device.phantom]").context("it was just written")? + 1;
    fs::write(house.site_file(), broken)?;
    house.gateway.signal("HUP")?;
    eventually("the refusal is counted", LIMIT, || async {
        Ok((house.gateway.metric(SUCCESS).await? == Some(0.0)).then_some(()))
    })
    .await?;
    let log = house.gateway.log_text();
    assert!(log.contains(&format!("site.toml:{line}:")), "the log does not name line {line}");
    assert_eq!(english_name(&house, "fire-panel").await?, "Renamed panel");
    assert!(house.api("/devices/phantom").await.is_err());

    fs::write(house.site_file(), &new)?;
    house.gateway.signal("HUP")?;
    eventually("the mended file is taken", LIMIT, || async {
        Ok((house.gateway.metric(SUCCESS).await? == Some(1.0)).then_some(()))
    })
    .await
}

fn check(site: &str) -> anyhow::Result<(Option<i32>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(binary()).current_dir(root).args(["check", site]).output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[test]
fn check_accepts_the_example_and_points_at_what_is_wrong() -> anyhow::Result<()> {
    let (code, text) = check("config/site.toml")?;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check("config/bad/dangling_device.toml")?;
    assert_eq!(code, Some(64), "{text}");
    let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bad/dangling_device.toml"))?;
    let line = file.lines().position(|line| line.contains("\"metre\"")).context("the file names the wrong device")? + 1;
    assert!(text.contains(&format!("config/bad/dangling_device.toml:{line}:")), "{text}");
    assert!(text.contains("^^^^^^^"), "{text}");
    let (code, text) = check("config/no_such_file.toml")?;
    assert_eq!(code, Some(64), "{text}");
    Ok(())
}
