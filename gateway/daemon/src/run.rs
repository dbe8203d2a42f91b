//! `guanjia run`: from the site file to the last task's end.
//!
//! ```text
//!  load site ─► open journal ─► bind HTTP ─► start generation ─► READY ─► wait ─► stop generation ─► close journal
//!     │ 64          │ 1             │ 1            ▲                       │
//!     ▼             ▼               ▼              └── SIGHUP: load again, keep the old one on any error
//! ```
//!
//! The journal, the HTTP listener and the metrics live as long as the process. Everything that depends on the site
//! file is a *generation*: a reload starts a new one from the rows the old one left, so it loses nothing that a
//! restart would not lose, which is nothing that was promised.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_store::Store;
use sd_notify::NotifyState;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::{ClockTrust, ClockWatch};
use crate::config;
use crate::field_thread::FieldThread;
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::site::Site;
use crate::tasks::Tasks;
use crate::wiring::{Generation, Process};

/// How long a stop may take before what still runs is ended.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Whether a parent process holds the other end of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nobody: the gateway ends by signals only.
    None,
    /// It ends when the parent closes the pipe, or is gone.
    HoldsStdin,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// What keeps it from starting: a journal that cannot be opened, an address that is taken.
pub async fn run(path: &Path, parent: Parent) -> anyhow::Result<ExitCode> {
    let site = match config::load(path) {
        Ok(loaded) => Arc::new(loaded),
        Err(report) => {
            eprint!("{report}");
            return Ok(ExitCode::from(crate::EXIT_CONFIG));
        }
    };
    let (store, writer) = Store::open(&site.data_dir, &site.id)
        .await
        .with_context(|| format!("cannot open the journal in {}", site.data_dir.display()))?;
    let listener = TcpListener::bind(site.http.listen)
        .await
        .with_context(|| format!("cannot listen on {} (http.listen in {})", site.http.listen, path.display()))?;
    let address = listener.local_addr()?;

    let newest_row = store.newest_row().await.context("cannot read the journal")?;
    let metrics = Arc::new(Metrics::new(&site));
    let process = Process {
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        clock: Arc::new(ClockTrust::new(guanjia_field::now(), newest_row)),
        address,
        field: FieldThread::start().context("cannot start the thread of the lines")?,
    };
    let mut generation = Generation::start(Arc::clone(&site), &process).await?;
    let live = watch::Sender::new(Arc::clone(&generation.live));

    let stop_http = CancellationToken::new();
    let mut server = Tasks::default();
    let app = App { live: live.subscribe(), metrics: Arc::clone(&metrics), stop: stop_http.clone() };
    server.spawn("http", async move {
        if let Err(failure) = http::serve(app, listener).await {
            error!(%failure, "the HTTP side has failed");
        }
    });
    info!(site = %site.id, devices = site.devices.len(), console = %format!("http://{address}/"), "looking after the building");
    notify(&[NotifyState::Ready]);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut clock = ClockWatch::new(guanjia_field::now(), Instant::now());
    let orphaned = parent_is_gone(parent);
    tokio::pin!(orphaned);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut orphaned => break,
            _ = hangup.recv() => {
                notify(&[NotifyState::Reloading]);
                let reloaded = reload(path, &site, generation, &process).await;
                generation = reloaded;
                live.send_replace(Arc::clone(&generation.live));
                notify(&[NotifyState::Ready]);
            }
            _ = beat.tick() => {
                let now = guanjia_field::now();
                clock.tick(now, Instant::now(), &process.clock);
                metrics.heartbeat(now);
                if let Some(task) = generation.ended() {
                    // A task never ends by itself. A supervisor that restarts the process is safer than a gateway
                    // that looks alive and does only half of its work.
                    error!(task, "a task has ended although nobody stopped it; the process ends so that it is restarted");
                    return Ok(ExitCode::FAILURE);
                }
                notify(&[NotifyState::Watchdog]);
            }
        }
    }

    info!("stopping");
    notify(&[NotifyState::Stopping]);
    let deadline = Instant::now() + SHUTDOWN_MAX;
    stop_http.cancel();
    generation.stop(left(deadline)).await;
    server.finish(left(deadline)).await;
    store.close().await;
    let mut journal = Tasks::default();
    journal.adopt("journal", writer);
    journal.finish(left(deadline).max(Duration::from_secs(1))).await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Loads the site file again. Whatever is wrong with the new one, the old one goes on.
async fn reload(path: &Path, running: &Site, old: Generation, process: &Process) -> Generation {
    let site = match config::load(path) {
        Ok(site) => Arc::new(site),
        Err(report) => {
            error!(%report, "the new configuration is refused; the old one goes on");
            process.metrics.config_reload(false);
            return old;
        }
    };
    for (what, same) in [
        ("site.id", site.id == running.id),
        ("storage.directory", site.data_dir == running.data_dir),
        ("http.listen", site.http.listen == running.http.listen),
    ] {
        if !same {
            error!(key = what, "this setting takes a restart; the old configuration goes on");
            process.metrics.config_reload(false);
            return old;
        }
    }
    let previous = Arc::clone(&old.live.site);
    old.stop(SHUTDOWN_MAX).await;
    match Generation::start(Arc::clone(&site), process).await {
        Ok(generation) => {
            info!(devices = site.devices.len(), "the new configuration is in force");
            process.metrics.config_reload(true);
            generation
        }
        Err(failure) => {
            error!(failure = format!("{failure:#}"), "the new configuration does not start; going back to the old one");
            process.metrics.config_reload(false);
            loop {
                match Generation::start(Arc::clone(&previous), process).await {
                    Ok(generation) => return generation,
                    Err(failure) => {
                        warn!(
                            failure = format!("{failure:#}"),
                            "the old configuration does not start either; trying again"
                        );
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }
}

/// Ends when the parent has closed the pipe; never without a parent.
async fn parent_is_gone(parent: Parent) {
    if parent == Parent::None {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0u8; 64];
    while matches!(stdin.read(&mut ignored).await, Ok(read) if read > 0) {}
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(failure) = sd_notify::notify(states) {
        warn!(%failure, "the service manager cannot be told");
    }
}
