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

/// CPU time of this thread, or else that of the clock.
pub fn thread_time() -> Duration {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ThreadCPUTime);
        if let (Ok(seconds), Ok(nanoseconds)) = (time.tv_sec.try_into(), time.tv_nsec.try_into()) {
            return Duration::new(seconds, nanoseconds);
        }
    }
    START.elapsed()
}

/// Memory in use, in MiB. Linux only.
pub fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}

/// CPU time of other processes of this machine. Linux only.
pub fn cpu_time_of(processes: &[i32]) -> Option<Duration> {
    processes.iter().map(|&process| cpu_time_of_one(process)).sum()
}

/// The fields `utime` and `stime` of `/proc/PID/stat`, in hundredths of a second, as Linux tells them everywhere.
fn cpu_time_of_one(process: i32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // A program's name may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut hundredths = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (hundredths()? + hundredths()?)))
}

/// Time that all cores of the machine have been at work. Linux only.
pub fn busy_time() -> Option<Duration> {
    // user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|ticks| ticks.parse().ok()).collect();
    let idle: u64 = ticks.get(3..5)?.iter().sum();
    Some(Duration::from_millis((ticks.iter().take(7).sum::<u64>() - idle) * 10))
}
