//! One site with a line of every kind that needs no cable: TLS, UDP, ASCII, and two modems on one port.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use guanjia_tests::gateway::{Gateway, eventually, own_address};
use guanjia_tests::house::TOKEN;
use guanjia_tests::lines::{Dtu, Meter, modbus_ascii, modbus_tls, modbus_udp, papers};

/// How long anything may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const NORTH: &str = "860000000000001";
const SOUTH: &str = "860000000000002";
const PING: &[u8] = b"PING";

/// Where everything is.
struct Places {
    http: SocketAddr,
    tls: SocketAddr,
    udp: SocketAddr,
    ascii: SocketAddr,
    entrance: SocketAddr,
}

fn site(places: &Places) -> String {
    let Places { http, tls, udp, ascii, entrance } = places;
    let mut text = format!(
        r#"
[site]
id = "lines"
name = {{ zh = "线路", en = "Lines" }}
time_zone = "Asia/Shanghai"

[storage]
directory = "journal"

[http]
listen = "{http}"
console = "open"

[polling]
alarm = "2s"
billing = "2s"
bulk = "2s"

[api_client.cashier]
token = {{ file = "cashier.token" }}
may = ["read"]

[modbus_tls.tls]
address = "{tls}"
ca = "ca.pem"
certificate = "gateway.pem"
key = "gateway.key"
server_name = "device.example"

[modbus_udp.udp]
address = "{udp}"

[modbus_ascii.ascii]
address = "{ascii}"
baud = 38400
data_bits = 8
parity = "none"

[dial_in.modems]
listen = "{entrance}"

[dtu.north]
dial_in = "modems"
registration = "{NORTH}"
heartbeat = "PING"
baud = 38400

[dtu.south]
dial_in = "modems"
registration = "{SOUTH}"
heartbeat = "PING"
baud = 38400

[webhook.phone]
url = "http://192.0.2.9/{{address}}"

[person.li]
name = "李工"
reach = [{{ channel = "phone", address = "li" }}]

[[shift]]
role = "duty_phone"
person = "li"
from = "08:00"
to = "08:00"

[duty]
fallback = "li"
"#
    );
    for line in ["tls", "udp", "ascii", "north", "south"] {
        // The same unit everywhere: only the line tells the meters apart.
        text += &format!(
            "\n[device.m-{line}]\nprofile = \"eastron_sdm630\"\nline = \"{line}\"\nunit = 1\nfloor = \"1F\"\n"
        );
    }
    text
}

fn write(directory: &Path, places: &Places) -> anyhow::Result<std::path::PathBuf> {
    for (name, text) in [("site.toml", site(places)), ("cashier.token", TOKEN.to_owned())] {
        fs::write(directory.join(name), text)?;
    }
    for secret in ["cashier.token", "gateway.key"] {
        fs::set_permissions(directory.join(secret), fs::Permissions::from_mode(0o600))?;
    }
    Ok(directory.join("site.toml"))
}

/// Waits until the meter of a line shows this voltage, good.
async fn shows(gateway: &Gateway, line: &str, volts: f32) -> anyhow::Result<()> {
    eventually(&format!("m-{line} shows {volts} V"), LIMIT, || async {
        let device = gateway.api(TOKEN, &format!("/devices/m-{line}")).await?;
        let points = device["points"].as_array().context("a list of points")?;
        let voltage = points.iter().find(|p| p["id"] == "voltage_l1").context("the meter has a voltage")?;
        let shown = voltage["value"].as_f64() == Some(f64::from(volts)) && voltage["quality"] == "good";
        anyhow::ensure!(shown, "{voltage}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn meters_on_every_kind_of_line_are_read_and_a_modem_that_calls_again_is_heard_at_once() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    papers(directory.path())?;
    let places = Places {
        http: own_address(),
        tls: modbus_tls(Meter(231.0), directory.path()).await?,
        udp: modbus_udp(Meter(232.0)).await?,
        ascii: modbus_ascii(Meter(233.0)).await?,
        entrance: own_address(),
    };
    let gateway = Gateway::start(&write(directory.path(), &places)?, places.http).await?;
    let north = Dtu::call(places.entrance, NORTH, PING, Meter(234.0)).await?;
    let _south = Dtu::call(places.entrance, SOUTH, PING, Meter(235.0)).await?;
    let stranger = Dtu::call(places.entrance, "869999999999999", PING, Meter(239.0)).await?;
    for (line, volts) in [("tls", 231.0), ("udp", 232.0), ("ascii", 233.0), ("north", 234.0), ("south", 235.0)] {
        shows(&gateway, line, volts).await?;
    }
    eventually("the stranger is sent away", LIMIT, || async { Ok(stranger.is_closed().then_some(())) }).await?;
    for (series, value) in [
        ("guanjia_dial_in_connected{dial_in=\"modems\"}", 2.0),
        ("guanjia_dial_in_refused_total{dial_in=\"modems\",reason=\"unknown\"}", 1.0),
        ("guanjia_dial_in_replaced_total{dial_in=\"modems\"}", 0.0),
        ("guanjia_bus_connected{bus=\"tls\",protocol=\"modbus_tls\"}", 1.0),
        ("guanjia_bus_connected{bus=\"udp\",protocol=\"modbus_udp\"}", 1.0),
        ("guanjia_bus_connected{bus=\"ascii\",protocol=\"ascii_over_tcp\"}", 1.0),
        ("guanjia_bus_stale_bytes_total{bus=\"south\",protocol=\"dial_in\"}", 0.0),
    ] {
        assert_eq!(gateway.metric(series).await?, Some(value), "{series}");
    }
    assert!(gateway.metric("guanjia_dial_in_heartbeats_total").await?.is_some_and(|n| n > 0.0));

    // The modem lost its network and calls again, while its old connection still looks alive from here.
    assert!(!north.is_closed());
    let again = Dtu::call(places.entrance, NORTH, PING, Meter(236.0)).await?;
    eventually("the old connection is closed", LIMIT, || async { Ok(north.is_closed().then_some(())) }).await?;
    shows(&gateway, "north", 236.0).await?;
    assert!(!again.is_closed());
    assert_eq!(gateway.metric("guanjia_dial_in_replaced_total{dial_in=\"modems\"}").await?, Some(1.0));
    assert_eq!(gateway.metric("guanjia_dial_in_connected{dial_in=\"modems\"}").await?, Some(2.0));
    shows(&gateway, "south", 235.0).await
}
