//! What the figures were measured on, and what a process used.

use std::fs;

use serde_json::{Value, json};

use crate::{BenchError, io};

/// Kernel ticks a second of /proc's CPU times: fixed at 100 for user space on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn describe() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or_default();
    let cores = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": cores,
        "memory": memory.lines().next().unwrap_or_default().split_whitespace().nth(1).unwrap_or_default(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// What else the machine does: runnable threads on average over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|l| l.parse().ok())
        .unwrap_or_default()
}

/// CPU seconds of the threads a process has now, to the nanosecond: for processes that hardly use any.
pub fn thread_seconds(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/task");
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(&path).map_err(io(format!("reading {path}")))? {
        let thread = thread.map_err(io(format!("reading {path}")))?.path();
        // A thread that ends meanwhile is not counted.
        let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        nanoseconds += text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or_default();
    }
    Ok(nanoseconds / 1e9)
}

/// How often the threads of a process went to sleep and were woken.
pub fn wakeups(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/task");
    let mut all = 0.0;
    for thread in fs::read_dir(&path).map_err(io(format!("reading {path}")))? {
        let thread = thread.map_err(io(format!("reading {path}")))?.path();
        let text = fs::read_to_string(thread.join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        all += line
            .and_then(|n| n.trim().parse::<f64>().ok())
            .unwrap_or_default();
    }
    Ok(all)
}

/// User and system CPU seconds of a process so far.
pub fn cpu_seconds(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or_default()
    };
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

/// Proportional set size and resident set size in MiB.
pub fn memory_mib(pid: u32) -> Result<(f64, f64), BenchError> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
    Ok((mib(&text, "Pss:"), mib(&text, "Rss:")))
}

/// The highest resident set size so far, in MiB.
pub fn peak_mib(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
    Ok(mib(&text, "VmHWM:"))
}

fn mib(text: &str, name: &str) -> f64 {
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
