//! An authority takes certificates back while the gateway runs: a device and a broker are refused at their next
//! connection, whoever looks is told why, and a list that nobody replaces is seen before it matters.

use std::time::Duration;

use anyhow::Context;
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use guanjia_tests::lines::{Cable, DEVICE, Meter, modbus_tls, papers};
use guanjia_tests::mosquitto::{BROKER, Mosquitto, Setup};

const LIMIT: Duration = Duration::from_secs(60);
const LINE_UP: &str = "guanjia_bus_connected{bus=\"plc\"";
const BROKER_UP: &str = "guanjia_mqtt_connected{broker=\"secure\"}";
/// Seconds from 1970 to New Year's Day of these years.
const OF_2023: f64 = 1_672_531_200.0;
const OF_2090: f64 = 3_786_912_000.0;
const OF_2091: f64 = 3_818_448_000.0;

async fn becomes(house: &House, series: &str, value: f64) -> anyhow::Result<()> {
    eventually(&format!("{series} is {value}"), LIMIT, || async {
        let seen = house.gateway.metric(series).await?;
        anyhow::ensure!(seen == Some(value), "{seen:?}");
        Ok(Some(()))
    })
    .await
}

/// The words are in the log, after the first `from` bytes of it.
async fn is_said(house: &House, from: usize, words: &str) -> anyhow::Result<()> {
    eventually(&format!("the log says {words:?}"), LIMIT, || async {
        Ok(house.gateway.log_text().get(from..).is_some_and(|new| new.contains(words)).then_some(()))
    })
    .await
}

/// When the list behind a line or broker is due.
fn due(bus: &str) -> String {
    format!("guanjia_tls_crl_next_update_timestamp_seconds{{bus=\"{bus}\"")
}

#[tokio::test]
async fn who_was_taken_back_is_refused_at_the_next_connection_without_a_restart() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start_with(Setup::Tls).await? else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let plant = papers(directory.path())?;
    plant.take_back(&[], 2090)?;
    broker.authority().context("an authority")?.take_back(&[], 2090)?;
    let cable = Cable::to(modbus_tls(Meter(231.0), directory.path()).await?).await?;
    let (files, of_broker) = (directory.path().display(), broker.certificates());
    let own = format!(
        r#"
[modbus_tls.plc]
address = "{line}"
ca = "{files}/ca.pem"
crl = "{files}/crl.pem"
certificate = "{files}/gateway.pem"
key = "{files}/gateway.key"
server_name = "device.example"

[device.m-950]
profile = "eastron_sdm630"
line = "plc"
unit = 1
floor = "1F"

[mqtt.secure]
address = "{address}"
tls = {{ ca = "{ca}", crl = "{crl}", cert = "{cert}", key = "{key}" }}
publish = "guanjia"
"#,
        line = cable.address,
        address = broker.address(),
        ca = of_broker.ca.display(),
        crl = of_broker.ca.with_file_name("crl.pem").display(),
        cert = of_broker.cert.display(),
        key = of_broker.key.display(),
    );
    let house = House::start_with(quick(), |_| {}, |text| format!("{text}\n{own}")).await?;
    let answers = async |yes: bool| {
        eventually(&format!("m-950 answers: {yes}"), LIMIT, || async {
            let device = house.api("/devices/m-950").await?;
            anyhow::ensure!(device["answering"] == yes, "{device}");
            Ok(Some(device))
        })
        .await
    };
    answers(true).await?;
    becomes(&house, BROKER_UP, 1.0).await?;
    for bus in ["plc", "secure"] {
        becomes(&house, &due(bus), OF_2090).await?;
    }

    // The lists are replaced. What stands, stands; who looks at the metrics sees the new lists at once.
    plant.take_back(&[DEVICE], 2091)?;
    broker.authority().context("an authority")?.take_back(&[BROKER], 2091)?;
    for bus in ["plc", "secure"] {
        becomes(&house, &due(bus), OF_2091).await?;
    }
    assert_eq!(house.gateway.metric(LINE_UP).await?, Some(1.0));
    assert_eq!(house.gateway.metric(BROKER_UP).await?, Some(1.0));

    // The next connection of each is refused, and why is said.
    let before = house.gateway.log_text().len();
    cable.pull();
    let device = answers(false).await?;
    assert_eq!(device["why_silent"], "line_down");
    is_said(&house, before, "its authority has revoked its certificate").await?;
    becomes(&house, LINE_UP, 0.0).await?;
    eventually("the line says why it is down", LIMIT, || async {
        let lines = house.api("/lines").await?;
        let lines = lines["lines"].as_array().context("a list of lines")?;
        let down = &lines.iter().find(|line| line["name"] == "plc").context("the line")?["down"];
        anyhow::ensure!(down["reason"] == "revoked", "{down}");
        anyhow::ensure!(down["advice"]["zh"] == "确认此地址上是否是原来的设备;若是,为其换发新证书", "{down}");
        Ok(Some(()))
    })
    .await?;
    let before = house.gateway.log_text().len();
    broker.crash();
    broker.launch().await?;
    is_said(&house, before, "the broker is not believed: its authority has revoked its certificate").await?;
    becomes(&house, BROKER_UP, 0.0).await?;
    // It is refused again and again, and not once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(house.gateway.metric(LINE_UP).await?, Some(0.0));
    assert_eq!(house.gateway.metric(BROKER_UP).await?, Some(0.0));

    // A list that is out of date still counts; it is only seen that it is.
    plant.take_back(&[], 2023)?;
    broker.authority().context("an authority")?.take_back(&[], 2023)?;
    answers(true).await?;
    becomes(&house, BROKER_UP, 1.0).await?;
    for bus in ["plc", "secure"] {
        becomes(&house, &due(bus), OF_2023).await?;
    }
    is_said(&house, before, "the revocation list is out of date").await
}
