//! A mosquitto of one's own: temporary directory, free port, and whatever it is to remember over a restart.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::gateway::eventually;
use crate::papers::Authority;
use crate::prometheus::find_program;

/// The number of the broker's certificate, and of the client's.
pub const BROKER: u64 = 21;
const CLIENT: u64 = 22;

/// A broker that many buildings really have.
pub struct Mosquitto {
    program: PathBuf,
    address: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
    authority: Option<Authority>,
}

/// What a broker keeps, and whom it lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Anybody; nothing outlives a restart.
    Forgetful,
    /// Anybody; sessions, queues and retained messages outlive a polite restart.
    Remembering,
    /// Clients with a certificate of [`Mosquitto::certificates`] only.
    Tls,
}

/// Files of a client that is let in.
pub struct Certificates {
    /// Who signed the broker's certificate.
    pub ca: PathBuf,
    /// The client's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Mosquitto {
    /// Starts a forgetful one; `None` (said once) where it is not installed.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        Self::start_with(Setup::Forgetful).await
    }

    /// The same, with another setup.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start_with(setup: Setup) -> anyhow::Result<Option<Self>> {
        let Some(program) = find_program("mosquitto") else {
            println!("skipped: mosquitto not installed");
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        // As root it changes to a user of its own, who must be able to read its configuration and write its database.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
        // Mosquitto cannot be asked which port it took, so a free one is found for it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut config = format!("listener {} 127.0.0.1\nallow_anonymous true\n", address.port());
        let path = dir.path().display();
        let mut authority = None;
        match setup {
            Setup::Forgetful => config.push_str("persistence false\n"),
            Setup::Remembering => config.push_str(&format!("persistence true\npersistence_location {path}/\n")),
            Setup::Tls => {
                authority = Some(certify(dir.path())?);
                config.push_str(&format!(
                    "cafile {path}/ca.pem\ncertfile {path}/broker.pem\nkeyfile {path}/broker.key\nrequire_certificate true\n"
                ));
            }
        }
        std::fs::write(dir.path().join("mosquitto.conf"), config)?;
        let mut broker = Self { program, address, dir, child: None, authority };
        broker.launch().await?;
        Ok(Some(broker))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The files of a client that [`Setup::Tls`] lets in.
    pub fn certificates(&self) -> Certificates {
        let file = |name: &str| self.dir.path().join(name);
        Certificates { ca: file("ca.pem"), cert: file("client.pem"), key: file("client.key") }
    }

    /// Who signed the certificates of [`Setup::Tls`]; the broker's has the number [`BROKER`].
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Starts it again after [`Mosquitto::crash`] or [`Mosquitto::stop`].
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("mosquitto does not start")?;
        self.child = Some(child);
        let address = self.address;
        eventually("mosquitto listens", Duration::from_secs(10), || async move {
            Ok(TcpStream::connect(address).ok().map(drop))
        })
        .await
    }

    /// Ends it without a word to anybody.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good as crashed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it politely: it writes down what it is to remember.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        if let Some(mut child) = self.child.take() {
            tokio::task::spawn_blocking(move || child.wait()).await??;
        }
        Ok(())
    }

    /// Stops its clock: connections stay, nothing is answered.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.as_ref().context("mosquitto is not running")?.id();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
        anyhow::ensure!(sent.success(), "kill -{name} {pid} failed");
        Ok(())
    }
}

/// An authority, with a certificate for the broker and one for a client.
fn certify(dir: &Path) -> anyhow::Result<Authority> {
    let authority = Authority::new(dir)?;
    authority.sign("broker", "127.0.0.1", BROKER)?;
    authority.sign("client", "gateway.example", CLIENT)?;
    // The broker's own user reads its key.
    std::fs::set_permissions(dir.join("broker.key"), std::fs::Permissions::from_mode(0o644))?;
    Ok(authority)
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.crash();
    }
}
