//! `guanjia demo`: a simulated building, and the gateway looking after it.
//!
//! The simulator lives in this process; the gateway is a child process started with `guanjia run` on a site file
//! that is written into the data directory: the same loader, the same drivers, the same store as against a real
//! building, and its memory and time can be measured apart from the simulator's.
//!
//! ```text
//!  data/demo/
//!    site.toml        written at every start (the simulator's ports are new each time)
//!    secrets/         made once: the cashier's token, the duty phone's webhook key
//!    guanjia.db ...   the gateway's journal; billing.db the billing store
//!    building.json    the simulator's registers and relays, saved every few seconds
//!    demo.json        where the running demo listens; `guanjia story` reads it
//! ```
//!
//! The child ends when its standard input closes, so it cannot outlive the demo, whatever ends the demo. A power cut
//! of the demo costs up to [`SAVE_PERIOD`] of the simulated building's own time; the registers then resume slightly
//! lower, which the gateway must hold as a register that went backward, exactly as with a real meter.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use guanjia_sim::{Building, BuildingConfig, SiteFileOptions, StoryMode};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::cli::{DemoOptions, StoryOptions};

/// How often the building's state is saved.
const SAVE_PERIOD: Duration = Duration::from_secs(5);
/// How long the gateway may take until it is ready.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Where the running demo listens.
#[derive(Debug, Serialize, Deserialize)]
struct Addresses {
    console: String,
    control: SocketAddr,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// A data directory that cannot be used, a port that is taken, a gateway that does not start.
pub async fn run(options: DemoOptions) -> anyhow::Result<ExitCode> {
    let data = prepare(&options)?;
    let port = free_port(options.port)?;
    say(&format!("building  simulating it with seed {} at {} times real time", options.seed, options.speed));
    let restore = fs::read_to_string(data.join("building.json")).ok().and_then(|text| serde_json::from_str(&text).ok());
    let continued = restore.is_some();
    let building = Building::start(BuildingConfig {
        seed: options.seed,
        speed: options.speed,
        story: if options.quiet { StoryMode::Off } else { StoryMode::Auto },
        restore,
        ..BuildingConfig::default()
    })
    .await
    .context("the simulated building does not start")?;
    say(&format!("building  {}{}", building.summary(), if continued { ", continued from its last state" } else { "" }));

    let token = secret(&data, "cashier.token")?;
    let webhook_key = secret(&data, "duty-phone.key")?;
    let site = data.join("site.toml");
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let text = building.site_file(&SiteFileOptions { listen, speed: options.speed, ..SiteFileOptions::default() });
    fs::write(&site, text).with_context(|| format!("cannot write {}", site.display()))?;
    let console = format!("http://{listen}");
    building.set_gateway(&console, &token);
    building.set_webhook_key(&webhook_key);

    say("gateway   starting");
    let begin = Instant::now();
    let mut gateway = spawn_gateway(&site, &options)?;
    // Waiting for a child closes its standard input, so the pipe that keeps it running is held apart.
    let leash = gateway.stdin.take();
    wait_until_ready(&console, &mut gateway).await?;
    let addresses = Addresses { console: console.clone(), control: building.addresses().control };
    fs::write(data.join("demo.json"), serde_json::to_string_pretty(&addresses)?)?;
    say(&format!("gateway   ready after {:.1} s", begin.elapsed().as_secs_f64()));
    say(&format!("console   {console}/        (手机、中文 / English: {console}/?lang=en)"));
    say(&format!("phone     http://{}/pages   what the duty phone received", building.addresses().control));
    say("stories   guanjia story          lists what can be made to happen; Ctrl-C ends the demo");

    let ended_by_itself = watch(&building, &data, &mut gateway).await?;
    say("stopping  the gateway first, then the building");
    drop(leash);
    let status = tokio::time::timeout(STOP_MAX, gateway.wait()).await.ok().and_then(Result::ok);
    save(&building, &data)?;
    building.shutdown().await;
    // The file tells `guanjia story` that a demo runs; a leftover would only point at a dead port.
    let _ = fs::remove_file(data.join("demo.json"));
    say(&format!("stopped   everything lies in {}; the next demo continues from there", data.display()));
    Ok(if ended_by_itself || status.is_none_or(|s| !s.success()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Starts, ends or lists the stories of the running demo.
///
/// # Errors
/// When no demo runs there, or it does not know the story.
pub async fn story(options: StoryOptions) -> anyhow::Result<ExitCode> {
    let file = options.data.join("demo.json");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("no demo runs in {} (start one: guanjia demo)", options.data.display()))?;
    let addresses: Addresses = serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let base = format!("http://{}", addresses.control);
    let request = match &options.name {
        None => client.get(format!("{base}/stories")),
        Some(name) if options.clear => client.post(format!("{base}/story/{name}/clear")),
        Some(name) => client.post(format!("{base}/story/{name}")),
    };
    let answer = request
        .send()
        .await
        .with_context(|| format!("the demo at {} does not answer; is it still running?", addresses.control))?;
    let known = answer.status().is_success();
    println!("{}", answer.text().await?.trim_end());
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until Ctrl-C (false) or until the gateway ends by itself (true); saves the building meanwhile.
async fn watch(building: &Building, data: &Path, gateway: &mut Child) -> anyhow::Result<bool> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut saving = tokio::time::interval(SAVE_PERIOD);
    loop {
        tokio::select! {
            ended = gateway.wait() => {
                eprintln!("error: the gateway ended by itself: {}", ended?);
                return Ok(true);
            }
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                return Ok(false);
            }
            _ = terminate.recv() => return Ok(false),
            _ = saving.tick() => save(building, data)?,
        }
    }
}

fn spawn_gateway(site: &Path, options: &DemoOptions) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let format = match options.log_format {
        crate::logging::LogFormat::Text => "text",
        crate::logging::LogFormat::Json => "json",
    };
    Command::new(program)
        .args(["run", "--until-stdin-closes", "--log-format", format])
        .arg(site)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the gateway does not start")
}

async fn wait_until_ready(console: &str, gateway: &mut Child) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let begin = Instant::now();
    while begin.elapsed() < START_MAX {
        if let Some(status) = gateway.try_wait()? {
            bail!("the gateway ended while starting: {status}");
        }
        if let Ok(answer) = client.get(format!("{console}/readyz")).send().await
            && answer.status().is_success()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the gateway was not ready within {} s; its log lines above say why", START_MAX.as_secs())
}

/// Makes the data directory, or empties it when asked; only ever one that an earlier demo made.
fn prepare(options: &DemoOptions) -> anyhow::Result<PathBuf> {
    let data = &options.data;
    let mark = data.join(".guanjia-demo");
    if data.exists() && fs::read_dir(data)?.next().is_some() && !mark.exists() {
        bail!("{} is not empty and was not made by a demo; choose another directory with --data", data.display());
    }
    if options.fresh && mark.exists() {
        fs::remove_dir_all(data).with_context(|| format!("cannot empty {}", data.display()))?;
    }
    fs::create_dir_all(data.join("secrets")).with_context(|| format!("cannot make {}", data.display()))?;
    fs::write(&mark, "This directory belongs to `guanjia demo`; --fresh empties it.\n")?;
    Ok(data.canonicalize()?)
}

/// The wanted port if it is free; otherwise says what to do.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).with_context(|| {
        format!("port {wanted} on 127.0.0.1 is taken; choose another with --port, or --port 0 for any")
    })?;
    Ok(listener.local_addr()?.port())
}

/// A random secret in a file only its owner can read; made once.
fn secret(data: &Path, name: &str) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = data.join("secrets").join(name);
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(text)
}

fn save(building: &Building, data: &Path) -> anyhow::Result<()> {
    let next = data.join("building.json.next");
    fs::write(&next, building.snapshot().to_string())?;
    fs::rename(&next, data.join("building.json"))?;
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
}
