//! How soon a pause stops writes to pods: on the embedded server by what the operator sends, on a real one under
//! full load by its audit log.
mod embedded;

use clap::Args;
use std::time::Duration;

use crate::audit::{Asked, seconds};
use crate::fleet::Fleet;
use crate::report::{Report, percentile};
use crate::{BenchError, operator_process};

#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Pauses on each server
    #[arg(long, default_value_t = 20)]
    pub pauses: usize,
    /// Pods on the real server
    #[arg(long, default_value_t = 2000)]
    pub pods: usize,
    /// Pods on the embedded server
    #[arg(long, default_value_t = 5000)]
    pub embedded_pods: usize,
}

pub fn run(args: &PauseArgs, runtime: &tokio::runtime::Runtime) -> Result<(), BenchError> {
    let mut report = Report::new("pause");
    // The operator's own runtime is multi-threaded too.
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(crate::io("starting threads"))?;
    threads.block_on(embedded::measure(args, &mut report))?;
    drop(threads);
    runtime.block_on(async {
        let fleet = Fleet::start("pause", args.pods).await?;
        on_real(&fleet, args.pauses, &mut report).await
    })?;
    report.write()
}

/// Pauses in mid-upgrade, again and again; the next upgrade begins where one is over.
pub async fn on_real(fleet: &Fleet, pauses: usize, report: &mut Report) -> Result<(), BenchError> {
    let audit = fleet.server.audit();
    let all = fleet.pods as i64;
    let mut image = 0;
    for _ in 0..pauses {
        let status = fleet
            .door
            .get(&cluster::resource::SIDECAR_SETS, None, crate::fleet::SET)
            .await;
        let status = status.map_err(crate::api("the SidecarSet"))?["status"].take();
        if status["updatedPods"].as_i64().unwrap_or(all) > all * 2 / 3 {
            image += 1;
            fleet
                .change(&format!("registry.example/log-agent:p.{image}"), false)
                .await?;
        } else {
            fleet.pause(false).await?;
        }
        // Long enough for writes to be at their full rate.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        fleet.pause(true).await?;
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    fleet.pause(false).await?;
    let asked = audit.read()?;
    let agent = operator_process::AGENT;
    let writes: Vec<&Asked> = asked
        .iter()
        .filter(|a| a.is_by(agent) && a.is_write() && a.what().starts_with("pods"))
        .collect();
    let own = "tidegate-bench";
    let changes: Vec<&Asked> = asked
        .iter()
        .filter(|a| a.is_by(own) && a.what() == "sidecarsets" && a.is_write() && a.succeeded())
        .collect();
    let (mut last, mut late) = after_pauses(&changes, &writes);
    last.sort_unstable();
    late.sort_unstable();
    let milliseconds = |p: f64| percentile(&last, p) as f64 / 1e3;
    let pods = fleet.pods;
    report.figure(
        &format!("real server, {pods} pods: pauses"),
        last.len() as f64,
        "",
        "",
    );
    let note = "from the pause's answer to the arrival of the last pod write, audit log";
    report.figure(
        "real server: p50 of the last pod write after a pause",
        milliseconds(50.0),
        "ms",
        note,
    );
    report.figure(
        "real server: p99 of the last pod write after a pause",
        milliseconds(99.0),
        "ms",
        note,
    );
    report.figure(
        "real server: most pod writes arriving after a pause",
        percentile(&late, 100.0) as f64,
        "",
        "",
    );
    Ok(())
}

/// For each pause, how long after its answer the last pod write arrived, in microseconds, and how many did.
fn after_pauses(changes: &[&Asked], writes: &[&Asked]) -> (Vec<u64>, Vec<u64>) {
    let mut last = Vec::new();
    let mut late = Vec::new();
    // Changes come in pairs: one that starts, one that pauses.
    for pair in changes.windows(2).step_by(2) {
        let paused_at = pair[1].stage_timestamp;
        let until = changes
            .iter()
            .map(|c| c.request_received_timestamp)
            .find(|at| *at > paused_at)
            .unwrap_or(jiff::Timestamp::MAX);
        let after: Vec<f64> = writes
            .iter()
            .map(|w| w.request_received_timestamp)
            .filter(|at| *at > paused_at && *at < until)
            .map(|at| seconds(paused_at, at))
            .collect();
        let worst = after.iter().copied().fold(0.0, f64::max);
        last.push((worst * 1e6) as u64);
        late.push(after.len() as u64);
    }
    (last, late)
}
