//! Child processes and what they cost, as the kernel counts it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// This program again, in another role; ends with its owner.
pub struct Role(Child);

impl Role {
    /// Starts this program with `arguments`.
    ///
    /// # Errors
    /// When the system starts no more processes.
    pub fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let child = Command::new(own).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        Ok(Self(child))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a process (proc(5): fields 14 and 15 of stat, in ticks of 10 ms).
pub fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("a name in brackets")?.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024)
}

/// Lets a process, all its threads and those to come run on one core only.
pub fn bind_to_core(pid: u32, core: u32) -> anyhow::Result<()> {
    let arguments = ["-a", "-p", "-c", &core.to_string(), &pid.to_string()];
    let bound = Command::new("taskset").args(arguments).stdout(Stdio::null()).status().context("taskset")?;
    anyhow::ensure!(bound.success(), "taskset cannot bind process {pid} to core {core}");
    Ok(())
}

/// Allows this process and its children as many sockets as thousands of devices take.
pub fn allow_sockets(needed: usize) -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("Max open files")?;
    let soft: usize = open.split_whitespace().next().context("a number")?.parse().unwrap_or(usize::MAX);
    if soft >= needed {
        return Ok(());
    }
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, &format!("--nofile={needed}:")]).status();
    let is_raised = raised.is_ok_and(|status| status.success());
    anyhow::ensure!(is_raised, "{needed} open files are needed and {soft} are allowed; raise `ulimit -n`");
    Ok(())
}

/// The load of the machine over the last minute, and its processors.
pub fn machine() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} processors, load {}", load.split_whitespace().next().unwrap_or("unknown"))
}
