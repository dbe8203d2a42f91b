//! A plant, the gateway's real binary that reads it, and the files between them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use guanjia_tests::gateway::{Gateway, eventually, own_address};
use tempfile::TempDir;

use crate::plant::{Caller, Plant};
use crate::process::allow_sockets;
use crate::site::{Wanted, device_id, write};

/// How long the first reading of every device is waited for.
const FIRST_ROUND_MAX: Duration = Duration::from_secs(60);

/// What the gateway is to be run as.
const SERVICE: &str = include_str!("../../../config/systemd/guanjia.service");

/// The environment in which the service file starts the gateway: it decides how much freed memory glibc keeps.
fn service_environment() -> anyhow::Result<Vec<(String, String)>> {
    let settings = SERVICE.lines().filter_map(|line| line.strip_prefix("Environment="));
    let pairs = settings.flat_map(str::split_whitespace).map(|setting| setting.split_once('='));
    let pair = |pair: Option<(&str, &str)>| pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pairs.map(|found| pair(found).context("the service file sets a variable without a value")).collect()
}

/// Both of them, running.
pub struct Rig {
    /// The devices.
    pub plant: Plant,
    /// The gateway.
    pub gateway: Gateway,
    /// How many devices there are that answer.
    pub devices: usize,
    _dir: TempDir,
}

impl Rig {
    /// Starts `devices` devices and a gateway that reads each of them every `period`, and waits until all are read.
    /// `refused` more devices stand in the site file where nobody listens.
    ///
    /// # Errors
    /// When something does not start, or a device is not read.
    pub async fn start(
        devices: usize,
        refused: usize,
        period: Duration,
        broker: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        // Every device takes a socket of each caller, and as many ends here.
        allow_sockets(4 * devices + 1_000)?;
        let plant = Plant::start(devices)?;
        let dir = tempfile::tempdir()?;
        // A port that was just free and that nobody listens at.
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let there = (0..devices).map(|device| plant.address(device, Caller::Gateway));
        let not_there = (0..refused).map(|device| crate::plant::address(nowhere, device));
        let addresses: Vec<SocketAddr> = there.chain(not_there).collect();
        let listen = own_address();
        let site = write(dir.path(), &Wanted { listen, period, devices: &addresses, broker })?;
        let gateway = Gateway::start_in(&site, listen, service_environment()?).await?;
        let rig = Self { plant, gateway, devices, _dir: dir };
        eventually("every device is read", FIRST_ROUND_MAX, || async {
            let read = rig.plant.arrivals(Caller::Gateway).iter().filter(|times| !times.is_empty()).count();
            Ok((read == devices).then_some(()))
        })
        .await?;
        Ok(rig)
    }

    /// The gateway's process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.gateway.pid().context("the gateway runs")
    }

    /// Looks whether the gateway has every device's own number under that device's name.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub async fn check_names(&self) -> anyhow::Result<()> {
        let text = self.gateway.get("/metrics").await?;
        let name = "guanjia_meter_energy_joules_total{";
        let mut seen = 0;
        for line in text.lines().filter(|line| line.starts_with(name)) {
            let id = line.split("device=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a device")?;
            let number: usize = id.trim_start_matches("d-").parse()?;
            let joules: f64 = line.rsplit(' ').next().context("a value")?.parse()?;
            let expected = number as f64 * 0.01 * 3.6e6;
            anyhow::ensure!(id == device_id(number), "unknown device {id}");
            anyhow::ensure!((joules - expected).abs() < 1.0, "{id} shows {joules} J and holds {expected} J");
            seen += 1;
        }
        anyhow::ensure!(seen == self.devices, "{seen} of {} devices are exported", self.devices);
        Ok(())
    }
}
