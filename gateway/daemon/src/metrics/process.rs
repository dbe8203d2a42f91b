//! The eight standard `process_*` gauges, from `/proc/self`.
//!
//! The `prometheus` crate can do this with two more dependencies and most of a minute of build time. Where `/proc`
//! is missing or reads differently the metric is left out: an absent series is honest, a zero is not.

use super::page::Page;

/// Clock ticks a second in `/proc/self/stat`; Linux has promised 100 to user space on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes in a page of memory on the machines we build for (x86-64, and aarch64 with the usual kernels).
const PAGE_BYTES: f64 = 4096.0;

/// Writes what `/proc/self` says.
pub fn write(page: &mut Page) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the command in parentheses and may hold spaces; the third begins after the last ')'.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or(f64::NAN)).collect())
        .unwrap_or_default();
    // proc(5) counts from 1, and `fields` begins with its field 3.
    let field = |number: usize| fields.get(number - 3).copied().filter(|x| x.is_finite());
    let (user, system) = (field(14), field(15));
    page.optional(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent.",
        user.zip(system).map(|(u, s)| (u + s) / TICKS_PER_SECOND),
    );
    page.optional("process_threads", "gauge", "Threads of the process.", field(20));
    page.optional("process_virtual_memory_bytes", "gauge", "Virtual memory.", field(23));
    page.optional("process_resident_memory_bytes", "gauge", "Resident memory.", field(24).map(|n| n * PAGE_BYTES));
    let started = field(22).zip(boot_time()).map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND);
    page.optional("process_start_time_seconds", "gauge", "When the process started, as a Unix time.", started);
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    page.optional("process_open_fds", "gauge", "Open file descriptors.", open);
    page.optional("process_max_fds", "gauge", "File descriptors the process may open.", limit("Max open files"));
    page.optional(
        "process_virtual_memory_max_bytes",
        "gauge",
        "Virtual memory the process may use; -1 without a limit.",
        limit("Max address space"),
    );
}

/// When the machine started, as a Unix time.
fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit called `name`; -1 if unlimited.
fn limit(name: &str) -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(-1.0),
        number => number.parse().ok(),
    }
}
