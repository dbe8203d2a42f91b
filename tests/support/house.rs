//! A whole house: the simulated building in this process, the real gateway as a child, and the files between them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use guanjia_sim::{Building, BuildingConfig, SiteFileOptions, Tempo, Wire};
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::{Gateway, eventually, own_address};

/// The cashier's bearer token in every house.
pub const TOKEN: &str = "test-cashier-token-0123456789abcdef";
const WEBHOOK_KEY: &str = "test-webhook-key";

/// A building whose buses take no time, so that test periods fit them.
pub fn quick() -> BuildingConfig {
    BuildingConfig { wire: Wire::Instant, ..BuildingConfig::default() }
}

/// A building and its gateway.
pub struct House {
    /// The simulator.
    pub building: Building,
    /// The gateway.
    pub gateway: Gateway,
    /// Where the gateway listens.
    pub address: SocketAddr,
    dir: TempDir,
}

impl House {
    /// Starts both, at test tempo, and waits until every device has been read once.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(quick(), |_| {}, |text| text).await
    }

    /// The same, with another building, other options, and a last word on the site file's text.
    pub async fn start_with(
        config: BuildingConfig,
        options: impl FnOnce(&mut SiteFileOptions),
        edit: impl FnOnce(String) -> String,
    ) -> anyhow::Result<Self> {
        // The simulator's phones speak HTTP before the gateway does; another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir()?;
        let address = own_address();
        let mut wanted =
            SiteFileOptions { listen: address, speed: config.speed, tempo: Tempo::Test, ..SiteFileOptions::default() };
        options(&mut wanted);
        // Another test may have installed the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let building = Building::start(config).await.context("the simulated building does not start")?;
        let secrets = dir.path().join("secrets");
        fs::create_dir(&secrets)?;
        write_secret(secrets.join("cashier.token"), TOKEN)?;
        write_secret(secrets.join("duty-phone.key"), WEBHOOK_KEY)?;
        fs::write(dir.path().join("site.toml"), edit(building.site_file(&wanted)))?;
        building.set_gateway(&format!("http://{address}"), TOKEN);
        building.set_webhook_key(WEBHOOK_KEY);
        let gateway = Gateway::start(&dir.path().join("site.toml"), address).await?;
        Ok(Self { building, gateway, address, dir })
    }

    /// The site file.
    pub fn site_file(&self) -> PathBuf {
        self.dir.path().join("site.toml")
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// A GET of `/api/v1` as the cashier.
    pub async fn api(&self, path: &str) -> anyhow::Result<Value> {
        self.gateway.api(TOKEN, path).await
    }

    /// A POST of `/api/v1` as the cashier, without a body.
    pub async fn order(&self, path: &str) -> anyhow::Result<String> {
        self.gateway.order(TOKEN, path).await
    }

    /// The open incidents, newest first.
    pub async fn incidents(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.api("/incidents").await?;
        let list = answer.as_array().or_else(|| answer["incidents"].as_array()).context("a list of incidents")?;
        Ok(list.iter().filter(|incident| incident["state"] != "closed").cloned().collect())
    }

    /// Waits for an open incident that runs `plan`.
    pub async fn incident(&self, plan: &str, within: Duration) -> anyhow::Result<Value> {
        eventually(&format!("an incident of {plan}"), within, || async {
            Ok(self.incidents().await?.into_iter().find(|incident| incident["plan"] == plan))
        })
        .await
    }

    /// The service point as the API tells it.
    pub async fn service_point(&self, id: &str) -> anyhow::Result<Value> {
        self.api(&format!("/service-points/{id}")).await
    }
}

fn write_secret(path: PathBuf, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
