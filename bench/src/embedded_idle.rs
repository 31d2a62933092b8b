//! What embedded servers cost that nobody uses: time to start, memory, wake-ups.

use std::io::BufRead as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use embedded::{ApiServer, Config};

use crate::embedded_server::{Subprocess, time_to_ready};
use crate::report::{Report, percentile};
use crate::{BenchError, io, machine};

#[derive(Debug, Args)]
pub struct IdleArgs {
    #[arg(long, default_value_t = 1000)]
    pub servers: usize,
    /// How long they are watched doing nothing
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// The process that is measured.
#[derive(Debug, Args)]
pub struct HoldArgs {
    servers: usize,
}

pub fn run(args: &IdleArgs) -> Result<(), BenchError> {
    let mut report = Report::new("idle-servers");
    let dir = std::env::temp_dir().join("tidegate-bench-idle-servers");
    let mut starts = Vec::new();
    for _ in 0..20 {
        starts.push(u64::try_from(time_to_ready(&dir)?.as_micros()).unwrap_or(u64::MAX));
    }
    std::fs::remove_dir_all(&dir).ok();
    starts.sort_unstable();
    let note = format!(
        "median of 20, worst {:.1} ms; bar 100",
        percentile(&starts, 100.0) as f64 / 1e3
    );
    let median = percentile(&starts, 50.0) as f64 / 1e3;
    report.figure("process started until it serves HTTPS", median, "ms", &note);

    let count = args.servers.to_string();
    let (mut process, first) = Subprocess::of_ourselves(&["hold", &count])?;
    report.figure("first server in a process", number(&first)?, "ms", "");
    let one = machine::memory_mib(process.pid())?.0 * 1024.0;
    process.go_on()?;
    let each = number(&process.line()?)?;
    report.figure(&format!("each of {count} more"), each, "ms", "");
    let all = machine::memory_mib(process.pid())?.0 * 1024.0;
    let marginal = (all - one) / args.servers as f64;
    report.figure("marginal PSS of an idle server", marginal, "KiB", "bar 1024");

    // What starting leaves behind may still settle.
    thread::sleep(Duration::from_secs(2));
    let before = Idleness::of(process.pid())?;
    thread::sleep(Duration::from_secs(args.seconds));
    let after = Idleness::of(process.pid())?;
    let note = format!("context switches of all its threads in {} s; bar 0", args.seconds);
    let wakeups = after.switches.saturating_sub(before.switches) as f64;
    report.figure(&format!("wake-ups of {count} idle servers"), wakeups, "", &note);
    report.figure("CPU meanwhile", after.cpu - before.cpu, "s", "");
    report.write()
}

pub fn hold(args: &HoldArgs) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))?;
    let start = || runtime.block_on(ApiServer::start(Config::default()));
    let failed = |e: embedded::StartError| BenchError::Setup(e.to_string());
    let began = Instant::now();
    let mut servers = vec![start().map_err(failed)?];
    println!("{}", began.elapsed().as_secs_f64() * 1e3);
    // Reading blocks this thread in the kernel: nothing of ours runs until there is a line.
    let mut line = String::new();
    let mut wait = || {
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(io("waiting"))
    };
    wait()?;
    let began = Instant::now();
    for _ in 0..args.servers {
        servers.push(start().map_err(failed)?);
    }
    println!("{}", began.elapsed().as_secs_f64() * 1e3 / args.servers as f64);
    wait()?;
    Ok(())
}

struct Idleness {
    switches: u64,
    cpu: f64,
}

impl Idleness {
    fn of(pid: u32) -> Result<Self, BenchError> {
        let tasks = format!("/proc/{pid}/task");
        let mut switches = 0;
        for entry in Path::new(&tasks).read_dir().map_err(io(tasks.as_str()))? {
            let path = entry.map_err(io(tasks.as_str()))?.path().join("status");
            let text = std::fs::read_to_string(&path).map_err(io(path.display().to_string()))?;
            let counts = text
                .lines()
                .filter(|line| line.contains("voluntary_ctxt_switches"));
            switches += counts
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(Self {
            switches,
            cpu: machine::cpu_seconds(pid)?,
        })
    }
}

fn number(line: &str) -> Result<f64, BenchError> {
    line.parse()
        .map_err(|_| BenchError::Setup(format!("{line:?} is no number")))
}
