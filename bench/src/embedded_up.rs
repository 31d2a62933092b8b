//! What a newcomer waits for: `make up` in a fresh clone, a change of one line, a warm start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args;

use crate::embedded_server::Subprocess;
use crate::report::Report;
use crate::{BenchError, io};

/// The decider's source that gets another line.
const DECIDER: &str = "crates/workload/src/lib.rs";

#[derive(Debug, Args)]
pub struct UpArgs {
    /// The fresh clone; kept if given, so that only the changes are measured the next time
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub fn run(args: &UpArgs) -> Result<(), BenchError> {
    let mut report = Report::new("up");
    let clone = args
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join("tidegate-bench-up"));
    let known = clone.join("target/release/tidegate").exists();
    if !known {
        fs::remove_dir_all(&clone).ok();
        run_in(
            Path::new("."),
            "git",
            &["clone", "--quiet", repository(), &clone.display().to_string()],
        )?;
        let crates = crates(&clone)?;
        report.figure(
            "crates compiled",
            crates as f64,
            "",
            "of the workspace and from the registry",
        );
        let seconds = ready(&clone)?;
        report.figure(
            "make up in a fresh clone until ready",
            seconds,
            "s",
            "aim 360; sources of crates downloaded",
        );
    }
    for (what, note) in [
        ("warm make up until ready", "aim 2"),
        ("warm make up until ready, on the data of the last", "aim 2"),
    ] {
        let seconds = ready(&clone)?;
        report.figure(what, seconds, "s", note);
    }
    for round in 1..=2 {
        change(&clone, round)?;
        let seconds = ready(&clone)?;
        report.figure(
            &format!("a line changed in a decider until ready, {round}"),
            seconds,
            "s",
            "bar 60",
        );
    }
    if args.dir.is_none() {
        fs::remove_dir_all(&clone).ok();
    }
    report.write()
}

/// `make up` until its line that says ready, then Ctrl-C.
fn ready(clone: &Path) -> Result<f64, BenchError> {
    let began = Instant::now();
    let mut make = Command::new("make");
    // Of the caller's settings only the sources of crates are shared: its target folder would not be cold.
    make.arg("up").current_dir(clone).env_remove("CARGO_TARGET_DIR");
    let (process, line) = Subprocess::start(&mut make)?;
    let seconds = began.elapsed().as_secs_f64();
    process.stop()?;
    if !line.starts_with("ready") {
        return Err(BenchError::Setup(format!("make up said {line:?}")));
    }
    Ok(seconds)
}

/// A function of its own would be dropped by the linker: the code that runs gets another constant.
fn change(clone: &Path, round: u32) -> Result<(), BenchError> {
    let path = clone.join(DECIDER);
    let text = fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
    let text = format!(
        "{text}\npub static CHANGED_{round}: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new({round});\n"
    );
    fs::write(&path, text).map_err(io(format!("writing {}", path.display())))
}

fn crates(clone: &Path) -> Result<usize, BenchError> {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--package",
            "tidegate-cli",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(clone)
        .output()
        .map_err(io("cargo tree"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<String> = text.lines().map(|l| l.replace(" (*)", "")).collect();
    names.sort();
    names.dedup();
    Ok(names.len())
}

fn repository() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

fn run_in(dir: &Path, program: &str, arguments: &[&str]) -> Result<(), BenchError> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .status()
        .map_err(io(format!("starting {program}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(BenchError::Setup(format!("{program} {arguments:?}: {status}"))),
    }
}
