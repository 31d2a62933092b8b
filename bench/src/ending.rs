//! Ended by a signal, a benchmark ends what it started: nobody else would.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::{BenchError, io};

const PATIENCE: Duration = Duration::from_secs(5);

/// From now on SIGTERM and SIGINT end our children, their children, and then us.
pub fn with_children() -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(io("listening for signals"))?;
    // Listening begins here, and not when the thread gets its turn.
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(io("listening for signals"));
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        end_descendants();
        std::process::exit(143);
    };
    std::thread::Builder::new()
        .name("ending".to_owned())
        .spawn(wait)
        .map_err(io("listening for signals"))?;
    Ok(())
}

/// SIGTERM to all, and SIGKILL to who does not heed it.
fn end_descendants() {
    let began = Instant::now();
    // One that starts another meanwhile leaves it to the next round.
    for name in ["TERM", "KILL", "KILL"] {
        let all = descendants();
        if all.is_empty() {
            return;
        }
        Command::new("kill")
            .args(["-s", name])
            .args(all.iter().map(u32::to_string))
            .stderr(Stdio::null())
            .status()
            .ok();
        while !descendants().is_empty() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All processes that we, or those we started, are the parent of, and that still run.
fn descendants() -> Vec<u32> {
    let parents: BTreeMap<u32, u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let ours = std::process::id();
    let is_below = |pid: u32| {
        let mut at = pid;
        while let Some(parent) = parents.get(&at) {
            if *parent == ours {
                return true;
            }
            at = *parent;
        }
        false
    };
    parents.keys().copied().filter(|pid| is_below(*pid)).collect()
}

/// `None` for one that is gone, or only waits to be buried.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}
