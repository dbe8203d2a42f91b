//! How readings come to be, as a technician asks for it: explained, captured and replayed, and overheard.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use guanjia_tests::gateway::{Gateway, binary, eventually, own_address};
use guanjia_tests::house::{House, TOKEN};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;

/// How long a tool may take on a loaded machine.
const TOOL_MAX: Duration = Duration::from_secs(120);

async fn guanjia(arguments: &[&str]) -> (i32, String, String) {
    let child = Command::new(binary()).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(TOOL_MAX, child).await.expect("the tool ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("tools speak UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_explained_and_a_captured_line_replays_to_the_same_value() -> anyhow::Result<()> {
    let house = House::start().await?;
    let site = house.site_file();
    let directory = site.parent().expect("a directory");
    let token = directory.join("secrets/cashier.token").display().to_string();
    let (url, site) = (format!("http://{}", house.address), site.display().to_string());

    let explain = ["explain-reading", &url, "m-101/energy_active_import", "--token-file", &token];
    let (code, out, err) = guanjia(&explain).await;
    assert_eq!(code, 0, "{err}");
    for part in ["published", "quality     good", "read from   line ", "sent ", "received ", "words "] {
        assert!(out.contains(part), "{part} is missing in:\n{out}");
    }
    let (_, out, _) = guanjia(&[&explain[..], &["--json"]].concat()).await;
    let body: Value = serde_json::from_str(&out)?;
    let (line, unit) = (body["place"]["line"].as_str().expect("a line"), body["place"]["unit"].to_string());
    let (code, _, err) = guanjia(&["explain-reading", &url, "m-101/nothing", "--token-file", &token]).await;
    assert!(code == 1 && err.contains("no point m-101/nothing"), "{code} {err}");

    let file = directory.join("line.trace").display().to_string();
    let capture =
        ["capture", &url, "--token-file", &token, "--line", line, "--out", &file, "--seconds", "20", "--json"];
    let (code, out, err) = guanjia(&capture).await;
    assert_eq!(code, 0, "{err}");
    let captured: Value = serde_json::from_str(&out)?;
    assert!(captured["events"].as_u64() > Some(10) && captured["lost"] == 0, "{captured}");

    let (code, out, err) = guanjia(&["replay", &file, "--site", &site, "--unit", &unit, "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let told: Vec<Value> = out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut energies = told.iter().flat_map(|told| told["values"].as_array().into_iter().flatten());
    let energy = energies.find(|value| value["point"] == "energy_active_import").expect("it is read every few seconds");
    let shown: f64 = energy["value"].as_str().expect("a value").parse()?;
    let published: f64 = body["published"]["value"].as_str().expect("a value").parse()?;
    assert!((published..published + 10.0).contains(&shown), "{shown} and {published}");
    assert!(told.iter().any(|told| told["device"] == "m-101" && told["meaning"] == "answer"), "{out}");

    let (code, out, _) = guanjia(&["replay", &file, "--site", &site]).await;
    assert!(code == 0 && out.contains("m-101/energy_active_import = "), "{out}");
    let lines = std::fs::read_to_string(&file)?.replace("guanjia-trace 1", "guanjia-trace 9");
    std::fs::write(&file, lines)?;
    let (code, _, err) = guanjia(&["replay", &file]).await;
    assert!(code == 1 && err.contains("not a trace of version 1"), "{err}");
    Ok(())
}

/// CRC-16/MODBUS.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    [bytes, &crc.to_le_bytes()].concat()
}

/// What follows the question to a unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    Answer,
    Exception,
    Nothing,
}

/// Units 1 and 2 answer, unit 3 never does.
fn all_is_well(unit: u8, _: u32) -> Follows {
    if unit < 3 { Follows::Answer } else { Follows::Nothing }
}

/// The stream of a line on which another master reads 40 registers of units 1 to 3 every half second; `follows` says what
/// comes of the question to a unit in a round. The number counts every byte that anybody sends into it.
async fn busy_line(
    follows: fn(u8, u32) -> Follows,
) -> std::io::Result<(SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = heard.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let count = count.clone();
            let (mut reader, mut writer) = socket.into_split();
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
                    count.fetch_add(read, std::sync::atomic::Ordering::SeqCst);
                }
            });
            tokio::spawn(async move {
                for round in 0.. {
                    for unit in [1u8, 2, 3] {
                        let mut frames = vec![sealed(&[unit, 3, 0, 0, 0, 40])];
                        match follows(unit, round) {
                            Follows::Answer => {
                                let data: Vec<u8> =
                                    (0..40u16).flat_map(|a| (a + 100 * u16::from(unit)).to_be_bytes()).collect();
                                frames.push(sealed(&[&[unit, 3, 80], data.as_slice()].concat()));
                            }
                            Follows::Exception => frames.push(sealed(&[unit, 0x83, 2])),
                            Follows::Nothing => {}
                        }
                        for frame in frames {
                            if writer.write_all(&frame).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(30)).await;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(350)).await;
                }
            });
        }
    });
    Ok((address, heard))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_another_master_is_learned_without_sending_a_byte() -> anyhow::Result<()> {
    let (address, heard) = busy_line(all_is_well).await?;
    let link = format!("rtu-over-tcp://{address}?baud=9600");
    let (code, out, err) = guanjia(&["listen", "--link", &link, "--seconds", "5", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let body: Value = serde_json::from_str(&out)?;
    let units = body["units"].as_array().expect("units");
    assert_eq!(units.iter().map(|unit| &unit["unit"]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(units[0]["ranges"][0]["last"], 39);
    assert!(units[0]["questions"][0]["data"].as_str().expect("data").starts_with("00 64 00 65"), "{out}");
    assert_eq!(units[2]["questions"][0]["answered"], 0);
    let (_, out, _) = guanjia(&["listen", "--link", &link, "--seconds", "3", "--propose"]).await;
    assert!(out.contains("[device.unit-1]") && !out.contains("unit-3"), "{out}");

    // With a site file units have names, and what they say is the value of their points.
    let directory = tempfile::tempdir()?;
    let site = passive_site(directory.path(), address, own_address())?.display().to_string();
    let named = ["listen", "--site", &site, "--line", "bus", "--seconds", "3"];
    let (code, out, err) = guanjia(&named).await;
    assert!(
        code == 0 && out.contains("t-1/temperature = 107 Cel") && out.contains("t-2/temperature = 207 Cel"),
        "{out}{err}"
    );
    let (_, out, _) = guanjia(&[&named[..], &["--json"]].concat()).await;
    let body: Value = serde_json::from_str(&out)?;
    let told = |unit: usize| (&body["units"][unit]["device"], &body["units"][unit]["questions"][0]["values"][0]);
    let value = serde_json::json!({ "point": "temperature", "value": "207", "unit": "Cel" });
    assert_eq!(told(1), (&"t-2".into(), &value), "{out}");
    let (_, out, _) = guanjia(&[&named[..], &["--propose"]].concat()).await;
    assert!(out.contains("# unit 1 is [device.t-1] already") && !out.contains("\n[device"), "{out}");
    let (code, _, err) = guanjia(&["listen", "--site", &site, "--line", "buss", "--seconds", "1"]).await;
    assert!(code == 64 && err.contains("its lines are bus"), "{code} {err}");
    assert_eq!(heard.load(std::sync::atomic::Ordering::SeqCst), 0, "not one byte was sent");
    Ok(())
}

/// A profile of one register and a site whose only line is listened to.
fn passive_site(directory: &Path, line: SocketAddr, listen: SocketAddr) -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(directory.join("profiles"))?;
    let secret = directory.join("token");
    std::fs::write(&secret, TOKEN)?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    let profile = r#"
vendor = "Example"
model = "Overheard"
class = "sensor"
confidence = "synthetic"
sources = ["made for this test"]

[[point]]
id = "temperature"
name = { zh = "温度", en = "Temperature" }
table = "holding"
address = 7
type = "u16"
unit = "Cel"
"#;
    std::fs::write(directory.join("profiles/overheard.toml"), profile)?;
    let device = |unit: u8| {
        format!("[device.t-{unit}]\nprofile = \"overheard\"\nline = \"bus\"\nunit = {unit}\nfloor = \"1F\"\n")
    };
    let site = format!(
        r#"[site]
id = "passive"
name = {{ zh = "只听", en = "Passive" }}
time_zone = "Asia/Shanghai"
[storage]
directory = "data"
[http]
listen = "{listen}"
console = "open"
[billing]
sqlite = "billing.db"
[library]
profiles = "profiles"
[api_client.reader]
token = {{ file = "token" }}
may = ["read"]
[rtu_over_tcp.bus]
address = "{line}"
baud = 9600
passive = true
{}{}{}
[webhook.phone]
url = "http://127.0.0.1:9/{{address}}"
[person.manager]
name = "Manager"
reach = [{{ channel = "phone", address = "manager" }}]
[duty]
fallback = "manager"
"#,
        device(1),
        device(2),
        device(3)
    );
    let path = directory.join("site.toml");
    std::fs::write(&path, site)?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_beside_another_master_has_its_values_and_never_sends() -> anyhow::Result<()> {
    let (line, heard) = busy_line(all_is_well).await?;
    let directory = tempfile::tempdir()?;
    let address = own_address();
    let site = passive_site(directory.path(), line, address)?;
    let gateway = Gateway::start(&site, address).await?;
    for (unit, value) in [(1, "107"), (2, "207")] {
        let path = format!("/devices/t-{unit}/points/temperature/explain");
        let body = eventually("the overheard value", Duration::from_secs(60), || async {
            let body = gateway.api(TOKEN, &path).await?;
            Ok((body["published"]["quality"] == "good").then_some(body))
        })
        .await?;
        assert_eq!((&body["published"]["value"], &body["answers"][0]["value"]), (&value.into(), &value.into()));
    }
    eventually("the one that does not answer is silent", Duration::from_secs(60), || async {
        let body = gateway.api(TOKEN, "/devices/t-3").await?;
        Ok((body["why_silent"] == "no_answer").then_some(()))
    })
    .await?;
    assert_eq!(gateway.api(TOKEN, "/lines").await?["lines"][0]["passive"], true);
    assert_eq!(heard.load(std::sync::atomic::Ordering::SeqCst), 0, "not one byte was sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ails_a_line_of_another_master_is_found_by_listening_and_told_everywhere() -> anyhow::Result<()> {
    // Unit 2 leaves every third question unanswered, unit 3 refuses what it is asked, and unit 1 is well.
    let (line, heard) = busy_line(|unit, round| match (unit, round % 3) {
        (2, 0) => Follows::Nothing,
        (3, _) => Follows::Exception,
        _ => Follows::Answer,
    })
    .await?;
    let directory = tempfile::tempdir()?;
    let address = own_address();
    let site = passive_site(directory.path(), line, address)?;
    let gateway = Gateway::start(&site, address).await?;
    let metric =
        |finding: &str| format!("guanjia_line_finding{{bus=\"bus\",protocol=\"rtu_over_tcp\",finding=\"{finding}\"}}");
    assert_eq!(gateway.metric(&metric("missing_answers")).await?, Some(0.0), "nothing is known yet");

    // The doctor looks every half minute, and wants a number of questions first.
    let findings = eventually("both ailments are found", Duration::from_secs(150), || async {
        let lines = gateway.api(TOKEN, "/lines").await?;
        let findings = lines["lines"][0]["findings"].as_array().cloned().unwrap_or_default();
        Ok((findings.len() >= 2).then_some(findings))
    })
    .await?;
    let mut of_units: Vec<_> =
        findings.iter().map(|f| (f["finding"].as_str().unwrap_or("?"), f["unit"].as_u64())).collect();
    of_units.sort_unstable();
    assert_eq!(of_units, [("missing_answers", Some(2)), ("refuses", Some(3))]);
    let gaps = findings.iter().find(|f| f["finding"] == "missing_answers").expect("it is there");
    let (missing, asked) = (gaps["events"].as_u64().expect("a number"), gaps["of"].as_u64().expect("a number"));
    assert!((asked / 4..=asked / 2).contains(&missing), "every third of {asked}, and not {missing}");
    for (finding, stands) in
        [("missing_answers", Some(1.0)), ("refuses", Some(1.0)), ("damage_everywhere", Some(0.0)), ("echo", None)]
    {
        assert_eq!(gateway.metric(&metric(finding)).await?, stands, "{finding}");
    }
    let page = gateway.get("/lines").await?;
    for text in [gaps["text"]["zh"].as_str(), gaps["advice"]["zh"].as_str()] {
        let text = text.expect("findings are told in Chinese");
        assert!(page.contains(text), "{text} is not on the page:\n{page}");
    }
    // What is ill is not blamed on what is well, and values go on.
    for (unit, value) in [(1, "107"), (2, "207")] {
        let body = gateway.api(TOKEN, &format!("/devices/t-{unit}/points/temperature/explain")).await?;
        assert_eq!((&body["published"]["value"], &body["published"]["quality"]), (&value.into(), &"good".into()));
    }
    assert_eq!(heard.load(std::sync::atomic::Ordering::SeqCst), 0, "not one byte was sent");
    Ok(())
}
