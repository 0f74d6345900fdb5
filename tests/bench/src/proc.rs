//! What a process has used, from /proc.

use anyhow::{Context, Result};

/// Seconds of CPU that the process has used so far, user and system.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("/proc/PID/stat");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

pub(crate) fn rss_mib(pid: u32) -> Result<f64> {
    memory_mib(pid, "VmRSS:")
}

/// The most since its start, or since [`forget_peak`].
pub(crate) fn rss_peak_mib(pid: u32) -> Result<f64> {
    memory_mib(pid, "VmHWM:")
}

pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of a process")
}

fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with(field)).context("/proc/PID/status")?;
    let kib: f64 = line.split_whitespace().nth(1).context("/proc/PID/status")?.parse()?;
    Ok(kib / 1024.0)
}

pub(crate) fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}
