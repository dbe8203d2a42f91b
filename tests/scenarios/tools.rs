//! The tools of the command line, as a technician runs them, against the simulated building.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use guanjia_sim::{Building, BuildingConfig, SiteFileOptions, Wire};
use guanjia_tests::gateway::binary;
use guanjia_tests::house::{House, TOKEN};
use guanjia_tests::lines::{Meter, modbus_tls, papers};
use serde_json::Value;
use tokio::process::Command;

/// How long a tool may take on a loaded machine.
const TOOL_MAX: Duration = Duration::from_secs(120);

/// What a tool said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {}\n{}", self.out, self.err))
    }
}

async fn guanjia(arguments: &[&str]) -> Said {
    let child = Command::new(binary()).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(TOOL_MAX, child).await.expect("the tool ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("tools speak UTF-8");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A building nobody else looks after, and its site file.
async fn building() -> (Building, tempfile::TempDir, PathBuf) {
    // Another test may have installed the provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = BuildingConfig { wire: Wire::Instant, speed: 0.0, ..BuildingConfig::default() };
    let building = Building::start(config).await.expect("it starts");
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = dir.path().join("secrets");
    fs::create_dir(&secrets).expect("a directory");
    secret(&secrets.join("cashier.token"));
    secret(&secrets.join("duty-phone.key"));
    let site = dir.path().join("site.toml");
    fs::write(&site, building.site_file(&SiteFileOptions::default())).expect("a file");
    (building, dir, site)
}

fn secret(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, TOKEN).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the owner sets them");
}

#[tokio::test(flavor = "multi_thread")]
async fn decode_says_how_registers_are_read() {
    let said = guanjia(&["decode", "--words", "43 6A A2 CB", "--shows", "234.6", "--address", "100"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    for part in ["f32", "rounded", "[[point]]", "address = 100", "type = \"f32\"", "A second one at another value"] {
        assert!(said.out.contains(part), "{part} is missing in:\n{}", said.out);
    }
    let swapped = [
        "decode",
        "--json",
        "--words",
        "E240 0001",
        "--shows",
        "1234.56",
        "--words",
        "E241 0001",
        "--shows",
        "1234.57",
    ];
    let best = guanjia(&swapped).await.json()["guesses"][0].clone();
    assert_eq!((&best["type"], &best["words"], &best["scale"]), (&"u32".into(), &"little".into(), &"0.01".into()));
    assert_eq!(guanjia(&["decode", "--words", "0000 0001", "--shows", "-7.77"]).await.code, 1);
    for wrong in
        [vec!["--words", "436A"], vec!["--words", "43", "--shows", "1"], vec!["--words", "0001", "--shows", "x"]]
    {
        let said = guanjia(&[vec!["decode"], wrong.clone()].concat()).await;
        assert_eq!((said.code, said.out.as_str()), (64, ""), "{wrong:?}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_tells_raw_registers_and_points_with_their_time() {
    let (building, _dir, site) = building().await;
    building.set_counter("m-101", 1_234_560).expect("a meter");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let site = site.display().to_string();
    let link = format!("rtu-over-tcp://{}?baud=9600&parity=none", building.addresses().rs485_a);
    let raw = guanjia(&["read", "--link", &link, "--unit", "1", "--json", "holding", "0", "2"]).await;
    let raw = raw.json();
    assert_eq!((&raw["raw"], &raw["unit_id"], &raw["asked"]), (&serde_json::json!([1, 57_920]), &1.into(), &1.into()));
    let said = guanjia(&["read", "--link", &link, "--unit", "1", "holding", "0x0", "2"]).await;
    assert!(said.out.contains("0001 E240") && said.out.contains("guanjia decode"), "{}", said.out);

    let point = guanjia(&["read", "--site", &site, "--json", "m-101/energy_active_import"]).await.json();
    assert_eq!((&point["text"], &point["unit"]), (&"1234.56".into(), &"kW.h".into()));
    assert_eq!((&point["quality"], &point["raw"]), (&"good".into(), &serde_json::json!([1, 57_920])));
    let said = guanjia(&["read", "--site", &site, "m-101/energy_active_import"]).await;
    assert!(said.out.starts_with("m-101/energy_active_import = 1234.56 kW.h   good"), "{}", said.out);

    let nobody = guanjia(&["read", "--link", &link, "--unit", "99", "holding", "0"]).await;
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("unit 99 does not answer") && nobody.err.contains("A/B wires"), "{}", nobody.err);
    let refused = guanjia(&["read", "--link", &link, "--unit", "1", "holding", "60000"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("exception 02"), "{}", refused.err);
    for (wrong, why) in [
        (vec!["read", "--link", "telnet://x", "--unit", "1", "holding", "0"], "no kind of link"),
        (vec!["read", "--link", &link, "--unit", "1", "holdings", "0"], "no table"),
        (vec!["read", "--link", &link, "--unit", "1", "holding", "0", "126"], "1 to 125"),
        (vec!["read", "--link", &link, "holding", "0"], "--unit"),
        (vec!["read", "--link", &link, "--unit", "248", "holding", "0"], "1 to 247"),
        (vec!["read", "--site", &site, "m-101/energy"], "energy_active_import"),
        (vec!["read", "--site", &site, "m-999/energy"], "no device"),
        (vec!["read"], "--help"),
    ] {
        let said = guanjia(&wrong).await;
        assert!(said.code == 64 && said.err.contains(why), "{wrong:?} {}: {}", said.code, said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_finds_out_what_a_device_is() {
    let (building, _dir, site) = building().await;
    building.set_load("m-101", Some(5_000.0)).expect("a meter");
    building.set_load("m-301", Some(2_000.0)).expect("a meter");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let addresses = building.addresses();
    let (a, b) = (format!("rtu-over-tcp://{}", addresses.rs485_a), format!("rtu-over-tcp://{}", addresses.rs485_b));
    let plant = format!("modbus-tcp://{}", addresses.plant);
    for (link, unit, model) in
        [(&a, "1", "acrel_dtsy1352"), (&b, "11", "eastron_sdm630"), (&plant, "4", "chint_dtsu666")]
    {
        let said = guanjia(&["probe", "--link", link, "--unit", unit, "--json"]).await;
        let told = said.json();
        let nearest = &told["candidates"][0]["profile"];
        assert_eq!(nearest, model, "{:#}", told["candidates"]);
        assert!(told["profile"] == *model || told["identified"] == false, "never a wrong name: {told:#}");
    }
    let said = guanjia(&["probe", "--site", &site.display().to_string(), "m-301"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    for part in ["eastron_sdm630", "voltage_l1", "V", "good", "input 0", " ms"] {
        assert!(said.out.contains(part), "{part} is missing in:\n{}", said.out);
    }
    let silent = guanjia(&["probe", "--link", &a, "--unit", "99", "--timeout", "50"]).await;
    assert!(silent.code == 1 && silent.err.contains("unit 99 does not answer"), "{}", silent.err);
    let unknown = guanjia(&["probe", "--link", &a, "--unit", "1", "--profile", "no_such"]).await;
    assert!(unknown.code == 64 && unknown.err.contains("acrel_dtsy1352"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_finds_every_unit_on_a_line_and_nobody_else() {
    let (building, _dir, _site) = building().await;
    let link = format!("rtu-over-tcp://{}?parity=even", building.addresses().rs485_b);
    // A loaded machine answers late, so the patience is the usual one.
    let told = guanjia(&["scan", "--link", &link, "--units", "8-13,30-32", "--json"]).await.json();
    let units: Vec<i64> =
        told["found"].as_array().expect("a list").iter().filter_map(|f| f["unit_id"].as_i64()).collect();
    assert_eq!((units, &told["complete"]), (vec![8, 9, 10, 11, 12, 13, 31, 32], &true.into()), "{told:#}");
    assert_eq!(told["found"][0]["baud"], 9600);
    let said = guanjia(&["scan", "--link", &link, "--units", "40-42", "--timeout", "100"]).await;
    assert_eq!(said.code, 1);
    assert!(said.out.contains("0 of 3 units answer") && said.out.contains("swap the wires"), "{}", said.out);
    assert!(said.err.contains("at most"), "{}", said.err);
    let sweep = guanjia(&["scan", "--link", &link, "--sweep"]).await;
    assert!(sweep.code == 64 && sweep.err.contains("in the server"), "{}", sweep.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_shows_its_certificate_where_one_is_asked_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().expect("a directory");
    papers(dir.path()).expect("papers");
    let address = modbus_tls(Meter(230.0), dir.path()).await.expect("a meter");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let link = |key: &str| {
        let files = format!("ca={}&cert={}&key={}", file("ca.pem"), file("gateway.pem"), file(key));
        format!("modbus-tls://{address}?{files}&name=device.example")
    };
    let scan = |link: String| async move {
        guanjia(&["scan", "--link", &link, "--units", "1-3", "--register", "input:0", "--json"]).await
    };
    let told = scan(link("gateway.key")).await.json();
    let answers: Vec<&str> =
        told["found"].as_array().expect("a list").iter().filter_map(|f| f["answer"].as_str()).collect();
    assert_eq!(answers, ["data"; 3], "{told:#}");
    let said = scan(link("device.key")).await;
    assert!(said.code == 1 && said.err.contains("is not the key of"), "{} {}", said.code, said.err);
    let said = scan(format!("modbus-tls://{address}?ca=/ca.pem")).await;
    assert!(said.code == 64 && said.err.contains("the link needs `cert`"), "{} {}", said.code, said.err);
}

/// A bus at the other end of a terminal: unit 6 answers while the terminal is set to this speed, and nobody otherwise.
fn bus_at(baud: u32) -> String {
    use serialport::{SerialPort, TTYPort};
    use std::io::{Read as _, Write as _};
    let (mut bus, port) = TTYPort::pair().expect("the kernel has pseudo terminals");
    let path = port.name().expect("a pseudo terminal has a path");
    std::thread::spawn(move || {
        // As long as this end is open the terminal is there for whoever opens it next.
        let _kept = port;
        bus.set_timeout(Duration::from_millis(20)).expect("it can be set");
        let (mut heard, mut piece) = (Vec::<u8>::new(), [0; 64]);
        loop {
            match bus.read(&mut piece) {
                Ok(read) => heard.extend(&piece[..read]),
                // A pause ends a request.
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => heard.clear(),
                Err(_) => return,
            }
            if heard.len() == 8 && heard[0] == 6 && bus.baud_rate().ok() == Some(baud) {
                // Unit 6, function 3, two bytes: 0x0102.
                let _ = bus.write_all(&[6, 3, 2, 1, 2, 0x8D, 0xD5]);
            }
        }
    });
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_the_speed_of_a_serial_port() {
    let path = bus_at(4_800);
    let arguments = ["scan", "--link", &path, "--units", "5-6", "--timeout", "50", "--json"];
    let nobody = guanjia(&arguments).await;
    assert_eq!((nobody.code, nobody.json()["found"].as_array().map(Vec::len)), (1, Some(0)), "{}", nobody.err);
    let said = guanjia(&[&arguments[..], &["--sweep"]].concat()).await;
    let told = said.json();
    assert_eq!(said.code, 0, "{}", said.err);
    let found: Vec<_> = told["found"].as_array().expect("a list").iter().map(|f| (&f["unit_id"], &f["baud"])).collect();
    assert_eq!(found, [(&6.into(), &4_800.into())], "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_a_site_that_fits_and_refuses_one_that_does_not() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let file = |name: &str| config.join(name).display().to_string();
    let told = guanjia(&["plan", "--json", "--points", &file("bad/warning_port_number.toml")]).await;
    assert_eq!(told.code, 0, "{}", told.err);
    let line = told.json()["lines"][0].clone();
    assert!(line["utilization"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{line:#}");

    // How much too full, and what to change; the table is shown all the same, and nothing can be run.
    let crowded = file("bad/line_overcommitted.toml");
    let said = guanjia(&["plan", &crowded]).await;
    assert_eq!(said.code, 64, "{}", said.err);
    for part in ["line `bus` would need 453.8 % of its time, 353.8 % too much", "poll bulk every 15s instead of 2s"] {
        assert!(said.err.contains(part), "{part} is missing in:\n{}", said.err);
    }
    assert!(said.out.contains("bus") && said.out.contains("453.8 %"), "{}", said.out);
    assert_eq!(guanjia(&["check", &crowded]).await.code, 64);
    let said = guanjia(&["plan", "/nowhere/site.toml"]).await;
    assert!(said.code == 64 && said.out.is_empty() && said.err.contains("it is not there"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_scan_tells_what_it_found() {
    let (building, _dir, _site) = building().await;
    let link = format!("rtu-over-tcp://{}", building.addresses().rs485_a);
    let child = Command::new(binary())
        .args(["scan", "--link", &link, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // Twenty units answer at once; the silent ones behind them keep it busy for minutes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pid = child.id().expect("it still runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.expect("it ends");
    let output = output.expect("it is waited for");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["complete"], false);
    assert!(told["found"].as_array().is_some_and(|f| !f.is_empty()), "{told:#}");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_what_changes_a_line_each() {
    let (building, _dir, site) = building().await;
    building.set_load("m-301", Some(2_000.0)).expect("a meter");
    let site = site.display().to_string();
    let said = guanjia(&["watch", "--site", &site, "m-301", "--rounds", "1"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.lines().any(|l| l.contains(" m-301/voltage_l1 = ") && l.ends_with("V good")), "{}", said.out);
    assert!(!said.out.contains('\x1b'), "nothing is drawn into a pipe");
    let said = guanjia(&["watch", "--site", &site, "m-301", "--rounds", "2", "--every", "1", "--json"]).await;
    let lines: Vec<Value> = said.out.lines().map(|l| serde_json::from_str(l).expect("a line is JSON")).collect();
    let voltages = lines.iter().filter(|l| l["point"] == "frequency").count();
    assert!(voltages <= 1, "a value that stays is told once");
    assert!(lines.iter().all(|l| l["quality"] == "good" && l["device"] == "m-301"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_asks_a_running_gateway_and_leaves_its_line_alone() {
    let house = House::start().await.expect("a house");
    let site = house.site_file();
    let token = site.parent().expect("a directory").join("secrets/cashier.token").display().to_string();
    let api = format!("http://{}", house.address);
    let said = guanjia(&["watch", "--api", &api, "--token-file", &token, "m-101", "--rounds", "1"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("m-101/energy_active_import = ") && said.out.contains("kW.h good"), "{}", said.out);
    let without = guanjia(&["watch", "--api", &api, "m-101", "--rounds", "1"]).await;
    assert!(without.code == 64 && without.err.contains("--token-file"), "{} {}", without.code, without.err);
    let unknown = guanjia(&["watch", "--api", &api, "--token-file", &token, "m-999", "--rounds", "1"]).await;
    assert!(unknown.code == 64 && unknown.err.contains("no device `m-999`"), "{}", unknown.err);
}

/// A drive behind Modbus TCP: two holding registers, one of which it lets nobody change.
async fn drive() -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut registers = [500u16, 123];
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0u8; 12];
            while socket.read_exact(&mut head).await.is_ok() {
                let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
                let (function, first, second) = (head[7], usize::from(word(8)), word(10));
                let pdu = match function {
                    3 if first + usize::from(second) <= 2 => {
                        let words = &registers[first..first + usize::from(second)];
                        [&[3, second as u8 * 2], &words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>()[..]]
                            .concat()
                    }
                    6 if first < 2 => {
                        if first == 0 {
                            registers[0] = second;
                        }
                        head[7..12].to_vec()
                    }
                    _ => vec![function | 0x80, 2],
                };
                let length = (pdu.len() as u16 + 1).to_be_bytes();
                let answer = [&head[..4], &length, &head[6..7], &pdu].concat();
                if socket.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

const DRIVE: &str = r#"
vendor = "Example"
model = "Drive"
class = "pump"
confidence = "synthetic"
sources = []

[[point]]
id = "frequency_setpoint"
name = { zh = "频率给定", en = "Frequency set point" }
table = "holding"
address = 0
type = "u16"
scale = 0.1
unit = "Hz"

[[point]]
id = "stubborn"
name = { zh = "不变", en = "Stubborn" }
table = "holding"
address = 1
type = "u16"

[[setting]]
point = "frequency_setpoint"
function = "register"
min = "20 Hz"
max = "50 Hz"

[[setting]]
point = "stubborn"
function = "register"
min = 0
max = 1000
"#;

#[tokio::test(flavor = "multi_thread")]
async fn write_sets_what_a_profile_lets_set_and_proves_it() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("example_drive.toml"), DRIVE).expect("a file");
    let link = format!("modbus-tcp://{}", drive().await);
    let profiles = dir.path().display().to_string();
    let device = ["--link", &link, "--unit", "3", "--profiles", &profiles, "--profile", "example_drive"];
    let write = |rest: &[&str]| {
        let arguments: Vec<String> = [&["write"], &device[..], rest].concat().into_iter().map(str::to_owned).collect();
        async move { guanjia(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let said = write(&["--yes", "--json", "frequency_setpoint", "45.0"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let told = said.json();
    assert_eq!((&told["outcome"], &told["before"]), (&"verified".into(), &"50.0".into()));
    let now = guanjia(&["read", "--link", &link, "--unit", "3", "--json", "holding", "0"]).await.json();
    assert_eq!(now["raw"], serde_json::json!([450]));

    let said = write(&["--yes", "--json", "stubborn", "7"]).await;
    assert_eq!((said.code, &said.json()["outcome"]), (1, &"not_taken".into()), "{}", said.err);
    for (rest, why) in [
        (vec!["--yes", "frequency_setpoint", "60"], "20 to 50"),
        (vec!["--yes", "frequency_setpoint", "45.01"], "no more decimals"),
        (vec!["--yes", "frequency_setpoint", "fast"], "no number"),
        (vec!["--yes", "pressure", "1"], "what can be set is frequency_setpoint"),
        (vec!["frequency_setpoint", "45.0"], "--yes"),
    ] {
        let said = write(&rest).await;
        assert!(said.code == 64 && said.err.contains(why), "{rest:?} {}: {}", said.code, said.err);
    }
    let now = guanjia(&["read", "--link", &link, "--unit", "3", "--json", "holding", "0"]).await.json();
    assert_eq!(now["raw"], serde_json::json!([450]), "what is refused here is not sent");

    let (_building, _dir, site) = building().await;
    let said = guanjia(&["write", "--yes", "--site", &site.display().to_string(), "lift-1/floor", "3"]).await;
    assert!(said.code == 64 && said.err.contains("nothing writes to it, ever"), "{} {}", said.code, said.err);
}
