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

/// Proportional set size and resident set size in KiB.
pub fn memory_kib(pid: u32) -> Result<(u64, u64), BenchError> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    };
    Ok((field("Pss:"), field("Rss:")))
}
