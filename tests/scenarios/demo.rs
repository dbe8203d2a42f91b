//! `guanjia demo`: one program, nothing else needed; it goes on where it stopped, and never empties what is not its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_tests::gateway::{binary, eventually};
use serde_json::{Value, json};

const READY_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(20);
/// A demo prints a dozen lines; more than that wait in its pipe.
const LINES_MAX: usize = 64;

/// A running demo.
struct Demo {
    child: Child,
    /// Its lines so far; read by a thread, so that a silent demo cannot hold a test.
    lines: mpsc::Receiver<String>,
    console: String,
    token: String,
    client: reqwest::Client,
}

impl Demo {
    /// Starts it and waits until it prints where its console is.
    fn start(data: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(binary())
            .args(["demo", "--quiet", "--port", "0", "--data"])
            .arg(data)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(data.with_extension("log"))?)
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let (send, lines) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let mut demo = Self { child, lines, console: String::new(), token: String::new(), client };
        let begin = Instant::now();
        let line = demo.line("console", READY_MAX)?;
        assert!(begin.elapsed() < READY_MAX);
        let address = line.split_whitespace().find(|word| word.starts_with("http://")).context("an address")?;
        demo.console = address.trim_end_matches('/').to_owned();
        demo.token = fs::read_to_string(data.join("secrets/cashier.token"))?;
        Ok(demo)
    }

    /// The next line that begins with `word`.
    fn line(&self, word: &str, within: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).with_context(|| format!("no line {word} within {within:?}"))?;
            if line.starts_with(word) {
                return Ok(line);
            }
        }
    }

    async fn api(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let answer = self.client.get(format!("{}/api/v1{path}", self.console)).bearer_auth(&self.token).send().await?;
        Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?)?))
    }

    /// Ctrl-C, and its exit code.
    fn interrupt(mut self) -> anyhow::Result<Option<i32>> {
        Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status()?;
        self.line("stopped", STOP_MAX)?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Already ended is as good as killed; the gateway it started ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn story(data: &Path, name: &str) -> anyhow::Result<(Option<i32>, String)> {
    let output = Command::new(binary()).args(["story", name, "--data"]).arg(data).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

async fn register(demo: &Demo) -> anyhow::Result<u64> {
    eventually("the register is read", READY_MAX, || async {
        Ok(demo.api("/service-points/s-105-e").await?.1["register"]["value"].as_u64())
    })
    .await
}

#[tokio::test]
async fn the_demo_starts_plays_ends_and_goes_on_where_it_ended() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("demo");
    let demo = Demo::start(&data, &[])?;
    let console = demo.client.get(format!("{}/", demo.console)).send().await?;
    assert!(console.status().is_success());
    assert!(console.text().await?.contains("海港广场"), "the console shows the building");

    let (code, text) = story(&data, "fire-alarm")?;
    assert_eq!(code, Some(0), "{text}");
    assert_ne!(story(&data, "no-such-story")?.0, Some(0));
    eventually("the fire is an incident", READY_MAX, || async {
        let (_, answer) = demo.api("/incidents").await?;
        Ok(answer["incidents"].as_array().is_some_and(|all| all.iter().any(|i| i["plan"] == "EP-06")).then_some(()))
    })
    .await?;
    let paid = json!({ "service_point": "s-105-e", "amount": "12.34", "channel": "cashier" }).to_string();
    let request = demo.client.post(format!("{}/api/v1/top-ups", demo.console)).bearer_auth(&demo.token).body(paid);
    assert_eq!(request.header("Idempotency-Key", "demo-1").send().await?.status().as_u16(), 201);
    let before = register(&demo).await?;
    assert_eq!(demo.interrupt()?, Some(0));

    // Again: the same register, the same money.
    let demo = Demo::start(&data, &[])?;
    let after = register(&demo).await?;
    assert!(after >= before, "{before} became {after}");
    let (status, receipt) = demo.api("/top-ups/demo-1").await?;
    assert_eq!((status, &receipt["amount"]), (200, &"12.34".into()));
    assert_eq!(demo.interrupt()?, Some(0));
    assert!(!data.join("demo.json").exists(), "nobody is sent to a demo that has ended");
    assert_ne!(story(&data, "fire-alarm")?.0, Some(0));

    // Fresh: nothing of that is left.
    let demo = Demo::start(&data, &["--fresh"])?;
    assert_eq!(demo.api("/top-ups/demo-1").await?.0, 404);
    // Killed without a word, it leaves no gateway behind.
    let (console, client) = (demo.console.clone(), demo.client.clone());
    drop(demo);
    eventually("its gateway ends with it", STOP_MAX, || async {
        Ok(client.get(format!("{console}/readyz")).send().await.is_err().then_some(()))
    })
    .await
}

#[test]
fn a_directory_that_is_not_a_demos_is_left_alone() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("accounts.txt"), "mine")?;
    let demo = Command::new(binary()).args(["demo", "--fresh", "--port", "0", "--data"]).arg(dir.path()).output()?;
    assert_ne!(demo.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&demo.stderr).contains("was not made by a demo"));
    assert_eq!(fs::read_to_string(dir.path().join("accounts.txt"))?, "mine");
    assert_eq!(fs::read_dir(dir.path())?.count(), 1);
    Ok(())
}
