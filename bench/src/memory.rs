//! What the operator holds: 10,000 pods on a real API server, 100,000 on the embedded one; beside a plain reflector
//! of full pods, which is what the usual library does when it is asked for nothing else.
mod crowd;
mod reflector;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use cluster::resource::SIDECAR_SETS;

pub use crowd::CrowdArgs;
pub use reflector::ReflectorArgs;

use crate::child::Part;
use crate::fleet::{Fleet, SET, create_set, door};
use crate::operator_process::OperatorProcess;
use crate::report::Report;
use crate::{BenchError, api, io, machine};

/// Kruise 1.9 with 10,000 pods (facts: testbed measurements): RSS after a restart, and after an upgrade.
const KRUISE_MIB: (f64, f64) = (373.0, 591.0);

#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Pods on the real API server
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Pods on the embedded server
    #[arg(long, default_value_t = 100_000)]
    pub embedded_pods: usize,
}

pub async fn run(args: &MemoryArgs) -> Result<(), BenchError> {
    let mut report = Report::new("memory");
    on_embedded(args.embedded_pods, &mut report).await?;
    let mut fleet = Fleet::start("memory", args.pods).await?;
    on_real(&mut fleet, &mut report).await?;
    report.write()
}

/// After creating the pods, after an upgrade, and after a restart.
pub async fn on_real(fleet: &mut Fleet, report: &mut Report) -> Result<(), BenchError> {
    let pods = fleet.pods;
    let all = pods as i64;
    let mut figure = |what: &str, value: f64, note: &str| {
        report.figure(&format!("real server, {pods} pods: {what}"), value, "MiB", note);
    };
    let (pss, _) = machine::memory_mib(fleet.operator.pid()?)?;
    figure("operator after they were created, PSS", pss, "");
    fleet.change("registry.example/log-agent:memory", false).await?;
    fleet
        .wait("all pods updated and ready", |s| {
            s["updatedPods"] == all && s["updatedReadyPods"] == all
        })
        .await?;
    let (pss, rss) = machine::memory_mib(fleet.operator.pid()?)?;
    figure("operator after an upgrade of all, PSS", pss, "bar 40");
    figure("operator after an upgrade of all, RSS", rss, "bar 40");
    fleet.operator.stop();
    fleet.operator.run().await?;
    // It leads again, and has read and judged all pods, when a pause it is told of shows in status.
    fleet.pause(true).await?;
    fleet
        .wait("the restarted operator", |s| s["updatedReadyPods"] == all)
        .await?;
    let (pss, rss) = machine::memory_mib(fleet.operator.pid()?)?;
    figure("operator after a restart, PSS", pss, "bar 40");
    figure("operator after a restart, RSS", rss, "bar 40");
    let peak = machine::peak_mib(fleet.operator.pid()?)?;
    figure("operator after a restart, highest RSS", peak, "");
    let (pss, rss) = reflected(&fleet.server.kubeconfig(), &fleet.server.dir, pods).await?;
    figure("reflector of full pods, PSS", pss, "peer, same run");
    figure("reflector of full pods, RSS", rss, "peer, same run");
    if pods == 10_000 {
        figure(
            "Kruise 1.9 after a restart, RSS",
            KRUISE_MIB.0,
            "recorded peer, not this run",
        );
        figure(
            "Kruise 1.9 after an upgrade, RSS",
            KRUISE_MIB.1,
            "recorded peer, not this run",
        );
    }
    Ok(())
}

pub async fn on_embedded(pods: usize, report: &mut Report) -> Result<(), BenchError> {
    let dir = std::env::temp_dir().join("tidegate-bench-crowd");
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).map_err(io(format!("creating {}", dir.display())))?;
    let kubeconfig = dir.join("kubeconfig");
    let path = kubeconfig.display().to_string();
    let count = pods.to_string();
    let arguments = ["crowd", "--kubeconfig", &path, "--pods", &count];
    let mut crowd = Part::start(&arguments, &dir.join("server.log"))?;
    crowd.line()?;
    let door = door(&kubeconfig, "tidegate-bench").await?;
    let mut operator = OperatorProcess::start(&kubeconfig, &dir, &door).await?;
    create_set(&door).await?;
    settled(&door, 0).await?;
    let (base, _) = machine::memory_mib(operator.pid()?)?;
    // The crowd comes when it is told to, which is by its own file.
    let go = kubeconfig.with_extension("go");
    std::fs::write(&go, "").map_err(io(format!("writing {}", go.display())))?;
    println!("  {}", crowd.line()?);
    settled(&door, pods).await?;
    let (grown, _) = machine::memory_mib(operator.pid()?)?;
    operator.stop();
    operator.run().await?;
    let patch = serde_json::json!({"spec": {"updateStrategy": {"paused": true}}});
    door.patch(&SIDECAR_SETS, None, SET, cluster::PatchKind::Merge, &patch, None)
        .await
        .map_err(api("pausing"))?;
    settled(&door, pods).await?;
    let (fresh, _) = machine::memory_mib(operator.pid()?)?;
    let peak = machine::peak_mib(operator.pid()?)?;
    let a_pod = |mib: f64| (mib - base) * 1024.0 * 1024.0 / pods as f64;
    let mut figure = |what: &str, value: f64, unit: &str, note: &str| {
        report.figure(
            &format!("embedded server, {pods} pods: {what}"),
            value,
            unit,
            note,
        );
    };
    figure("operator's base without pods, PSS", base, "MiB", "");
    figure("operator as they came, PSS", grown, "MiB", "");
    figure(
        "operator as they came, a pod beyond its base",
        a_pod(grown),
        "B",
        "bar 2048",
    );
    figure("operator after a restart, PSS", fresh, "MiB", "");
    figure(
        "operator after a restart, a pod beyond its base",
        a_pod(fresh),
        "B",
        "bar 2048",
    );
    figure("operator after a restart, highest RSS", peak, "MiB", "");
    let (pss, _) = reflected(&kubeconfig, &dir, pods).await?;
    figure("reflector of full pods, PSS", pss, "MiB", "peer, same run");
    figure(
        "reflector of full pods, a pod",
        pss * 1024.0 * 1024.0 / pods as f64,
        "B",
        "peer, same run",
    );
    Ok(())
}

/// Waits until status counts so many pods, and the operator has nothing to do for a moment.
async fn settled(door: &cluster::Door, pods: usize) -> Result<(), BenchError> {
    let deadline = std::time::Instant::now() + Duration::from_secs(300);
    loop {
        let set = door
            .get(&SIDECAR_SETS, None, SET)
            .await
            .map_err(api("the SidecarSet"))?;
        let seen = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if seen && set["status"]["readyPods"].as_u64() == Some(pods as u64) {
            tokio::time::sleep(Duration::from_secs(3)).await;
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            let status = &set["status"];
            return Err(BenchError::Setup(format!(
                "{pods} pods not counted within 300 s: {status}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// PSS and RSS of a reflector that holds so many full pods.
async fn reflected(kubeconfig: &Path, dir: &Path, pods: usize) -> Result<(f64, f64), BenchError> {
    let (path, count) = (kubeconfig.display().to_string(), pods.to_string());
    let arguments = ["reflector", "--kubeconfig", &path, "--pods", &count];
    let mut part = Part::start(&arguments, &dir.join("reflector.log"))?;
    part.line()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine::memory_mib(part.pid())
}
