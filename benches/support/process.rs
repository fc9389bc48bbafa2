//! What the operating system says about this process; where it says nothing, the figures are left out.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time that work without waiting takes: CPU time, which neighbours do not lengthen, or else that of the clock.
pub fn work_time() -> Duration {
    cpu_time().unwrap_or_else(|| START.elapsed())
}

/// CPU time of all threads.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// CPU time of all threads.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// Memory in use, in MiB. Linux only.
pub fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}
