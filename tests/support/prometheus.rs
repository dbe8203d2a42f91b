//! A Prometheus of one's own: temporary directory, free port, one target.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;

use crate::gateway::eventually;

/// The site label the scrape configuration gives.
pub const SITE: &str = "test-site";

/// A program on the PATH or in Debian's places for servers.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

/// A running Prometheus that scrapes one gateway every second.
pub struct Prometheus {
    child: Child,
    base: String,
    client: reqwest::Client,
    _dir: TempDir,
}

/// One series of a query's answer.
#[derive(Debug, Deserialize)]
pub struct Series {
    /// Its labels.
    #[serde(default)]
    pub metric: std::collections::BTreeMap<String, String>,
    /// Time and value, for an instant query.
    pub value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

impl Prometheus {
    /// Starts it against `target`; `None` if Prometheus is not installed.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Option<Self>> {
        let Some(program) = find_program("prometheus") else { return Ok(None) };
        let dir = tempfile::tempdir()?;
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: guanjia\n    static_configs:\n      - targets: [\"{target}\"]\n        labels: {{ site: {SITE} }}\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config)?;
        // Prometheus cannot be asked which port it took, so a free one is found for it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(program)
            .current_dir(dir.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("prometheus does not start")?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let prometheus = Self { child, base: format!("http://{address}"), client, _dir: dir };
        eventually("the gateway is scraped", Duration::from_secs(20), || async {
            let up = prometheus.query("up == 1").await?;
            Ok((!up.is_empty()).then_some(()))
        })
        .await?;
        Ok(Some(prometheus))
    }

    /// An instant query.
    ///
    /// # Errors
    /// Whatever Prometheus says of the query, its warnings included.
    pub async fn query(&self, expr: &str) -> anyhow::Result<Vec<Series>> {
        let request = self.client.get(format!("{}/api/v1/query", self.base)).query(&[("query", expr)]);
        let answer: Answer = serde_json::from_str(&request.send().await?.text().await?)?;
        anyhow::ensure!(answer.status == "success", "{expr}: {}", answer.error);
        anyhow::ensure!(answer.warnings.is_empty(), "{expr}: {}", answer.warnings.join("; "));
        Ok(answer.data.context("an answer without data")?.result)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Nothing can be done about a server that is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
