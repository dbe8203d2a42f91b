//! A mosquitto of one's own: temporary directory, free port, anonymous, nothing kept over a restart.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::gateway::eventually;
use crate::prometheus::find_program;

/// A broker that many buildings really have.
pub struct Mosquitto {
    program: PathBuf,
    address: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts it; `None` (said once) where it is not installed.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(program) = find_program("mosquitto") else {
            println!("skipped: mosquitto not installed");
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        // Mosquitto cannot be asked which port it took, so a free one is found for it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!("listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n", address.port());
        std::fs::write(dir.path().join("mosquitto.conf"), config)?;
        let mut broker = Self { program, address, dir, child: None };
        broker.launch().await?;
        Ok(Some(broker))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again after [`Mosquitto::crash`]; it remembers nothing.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        // As root it changes to a user of its own, who must be able to read its configuration.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.dir.path(), std::fs::Permissions::from_mode(0o755))?;
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
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.crash();
    }
}
