//! The real binary as a child process: started, asked over HTTP, stopped politely, killed without a word.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// How long a gateway may take until it is ready.
const START_MAX: Duration = Duration::from_secs(60);

/// The gateway under test: the program `GUANJIA_BINARY` names, or the `guanjia` of the profile these tests were built
/// with, brought up to date first.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("GUANJIA_BINARY") {
            return std::path::absolute(named).expect("GUANJIA_BINARY is a path");
        }
        let test = std::env::current_exe().expect("a running test has a path");
        let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
        let release = profile.file_name().is_some_and(|name| name == "release");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // A package by itself would have its dependencies compiled anew, with the features that it alone asks for.
        build.args(["build", "--quiet", "--workspace", "--bin", "guanjia"]);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        // What cargo tells a test about itself looks to build scripts (ring's) like a change, and costs a rebuild of
        // everything above them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        if release {
            build.arg("--release");
        }
        if let Some(target) = profile.parent() {
            build.arg("--target-dir").arg(target);
        }
        assert!(build.status().expect("cargo runs").success(), "the gateway does not build");
        profile.join("guanjia")
    })
}

/// An address nobody else uses: the loopback network has 16 million of them, so even a stopped gateway's address
/// stays free until it is started again.
pub fn own_address() -> SocketAddr {
    let host = Ipv4Addr::new(127, fastrand::u8(64..192), fastrand::u8(..), fastrand::u8(1..255));
    SocketAddr::from((host, fastrand::u16(20_000..30_000)))
}

/// A running (or killed) gateway.
pub struct Gateway {
    site: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    env: Vec<(String, String)>,
    base: String,
    client: reqwest::Client,
}

impl Gateway {
    /// Starts `guanjia run SITE` and waits until it is ready. `address` is the site file's `http.listen`.
    pub async fn start(site: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_in(site, address, Vec::new()).await
    }

    /// The same with environment variables, for this start and every later one.
    pub async fn start_in(site: &Path, address: SocketAddr, env: Vec<(String, String)>) -> anyhow::Result<Self> {
        // Another test may have installed the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut gateway = Self {
            site: site.to_owned(),
            log: site.with_extension("log"),
            child: None,
            env,
            base: format!("http://{address}"),
            client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?,
        };
        gateway.restart().await?;
        Ok(gateway)
    }

    /// Starts it again after [`Gateway::kill`] or [`Gateway::terminate`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(binary())
            .arg("run")
            .arg(&self.site)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the gateway does not start")?;
        self.child = Some(child);
        let begin = Instant::now();
        loop {
            if self.get("/readyz").await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("the gateway ended with {status} while starting:\n{}", self.log_text());
            }
            if begin.elapsed() > START_MAX {
                bail!("the gateway was not ready within {START_MAX:?}:\n{}", self.log_text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An environment variable of every later start.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    /// `kill -9`: the process ends between two instructions.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and how long the process took to end and with what code.
    pub async fn terminate(&mut self) -> anyhow::Result<(Duration, Option<i32>)> {
        let begin = Instant::now();
        self.signal("TERM")?;
        let mut child = self.child.take().context("the gateway is not running")?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        Ok((begin.elapsed(), status.code()))
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().context("the gateway is not running")?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
        anyhow::ensure!(sent.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything it has logged so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `http://address`, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A plain GET; an error unless the answer is 2xx.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "GET {path}: {status}: {text}");
        Ok(text)
    }

    /// A GET with a bearer token, parsed as JSON.
    pub async fn api(&self, token: &str, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}/api/v1{path}", self.base)).bearer_auth(token).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "GET /api/v1{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// A POST without a body; an error unless the answer is 2xx.
    pub async fn order(&self, token: &str, path: &str) -> anyhow::Result<String> {
        let answer = self.client.post(format!("{}/api/v1{path}", self.base)).bearer_auth(token).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "POST /api/v1{path}: {status}: {text}");
        Ok(text)
    }

    /// A top-up; the status and the body, whatever they are.
    pub async fn top_up(&self, token: &str, key: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request =
            self.client.post(format!("{}/api/v1/top-ups", self.base)).bearer_auth(token).header("Idempotency-Key", key);
        let answer = request.header("Content-Type", "application/json").body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_str(&answer.text().await?).unwrap_or(Value::Null)))
    }

    /// One sample of `/metrics`: the value of the first series that starts with `series`.
    pub async fn metric(&self, series: &str) -> anyhow::Result<Option<f64>> {
        let text = self.get("/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(series));
        Ok(line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.site.display(), self.log_text());
        }
    }
}

/// Asks again every 50 ms until `found` says yes.
///
/// # Errors
/// What was last seen, once `within` has passed.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut found: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let begin = Instant::now();
    loop {
        let seen = found().await;
        if let Ok(Some(value)) = seen {
            return Ok(value);
        }
        if begin.elapsed() > within {
            let last = match seen {
                Err(error) => format!("{error:#}"),
                _ => "not yet".to_owned(),
            };
            bail!("{what}: not within {within:?} (last: {last})");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
