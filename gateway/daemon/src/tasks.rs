//! Named tasks, and an end that says what it is waiting for.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

/// Tasks that are stopped together.
#[derive(Default)]
pub struct Tasks {
    running: Vec<(String, JoinHandle<()>)>,
}

/// How often the ones still running are named while everybody waits for them.
const REMINDER_PERIOD: Duration = Duration::from_secs(2);

impl Tasks {
    /// Starts a task under a name that means something to whoever reads the log.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.adopt(name, tokio::spawn(task));
    }

    /// The same, on another runtime.
    pub fn spawn_on(
        &mut self,
        runtime: &Handle,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.adopt(name, runtime.spawn(task));
    }

    /// Takes over a task that was started elsewhere.
    pub fn adopt(&mut self, name: impl Into<String>, handle: JoinHandle<()>) {
        self.running.push((name.into(), handle));
    }

    /// The name of a task that has ended although nobody stopped it.
    pub fn ended(&self) -> Option<&str> {
        self.running.iter().find(|(_, handle)| handle.is_finished()).map(|(name, _)| name.as_str())
    }

    /// Waits for all of them, naming the ones that still run; what runs past the deadline is aborted.
    pub async fn finish(mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.running.is_empty() {
            let pause = (Instant::now() + REMINDER_PERIOD).min(deadline);
            let mut still = Vec::new();
            for (name, mut handle) in self.running {
                match timeout_at(pause, &mut handle).await {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => error!(task = %name, %failure, "a task did not end cleanly"),
                    Err(_) => still.push((name, handle)),
                }
            }
            self.running = still;
            if self.running.is_empty() {
                return;
            }
            let names: Vec<&str> = self.running.iter().map(|(name, _)| name.as_str()).collect();
            if Instant::now() >= deadline {
                warn!(tasks = %names.join(", "), "these were still running at the deadline and are ended now");
                for (_, handle) in &self.running {
                    handle.abort();
                }
                return;
            }
            info!(tasks = %names.join(", "), "waiting for these to end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_ended_at_the_deadline() {
        let mut tasks = Tasks::default();
        tasks.spawn("quick", async {});
        tasks.spawn("stuck", std::future::pending());
        let begin = Instant::now();
        tasks.finish(Duration::from_secs(5)).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_all_have_ended() {
        let mut tasks = Tasks::default();
        tasks.spawn("quick", async {});
        let begin = Instant::now();
        tasks.finish(Duration::from_secs(5)).await;
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}
