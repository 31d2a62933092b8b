//! What a decision costs, and reading pods into facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use model::pod::PodView;
use model::sidecarset::{SidecarSet, keys};
use model::time::Timestamp;
use serde_json::{Value, json};
use workload::upgrade::{Membership, Plan, PodFacts, Snapshot, decide};

use crate::BenchError;
use crate::report::Report;

const ROUNDS: u32 = 20;
/// Upgrades that an operator has room for in one decision.
const ROOM: usize = 1024;

#[derive(Debug, Args)]
pub struct DecidersArgs {
    /// Sizes of the fleet
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    pub pods: Vec<usize>,
}

pub fn run(args: &DecidersArgs) -> Result<(), BenchError> {
    let mut report = Report::new("deciders");
    let cases = [
        ("held by partition", json!({"partition": "100%"})),
        ("one at a time", json!({"maxUnavailable": 1})),
        ("all at once", json!({"maxUnavailable": "100%"})),
        (
            "scattered over ten",
            json!({"maxUnavailable": 1, "scatterStrategy": [{"key": "zone", "value": "*"}]}),
        ),
        (
            "scattered over ten, all at once",
            json!({"maxUnavailable": "100%", "scatterStrategy": [{"key": "zone", "value": "*"}]}),
        ),
    ];
    for pods in &args.pods {
        for (name, strategy) in &cases {
            measure(*pods, name, strategy, &mut report)?;
        }
    }
    report.write()
}

fn measure(count: usize, case: &str, strategy: &Value, report: &mut Report) -> Result<(), BenchError> {
    let setup = |e: &dyn std::fmt::Display| BenchError::Setup(e.to_string());
    let mut strategy = strategy.clone();
    strategy["type"] = json!("RollingUpdate");
    let set: SidecarSet = serde_json::from_value(json!({
        "metadata": {"name": "set", "uid": "u", "generation": 2,
            "annotations": {keys::HASH: "new", keys::HASH_WITHOUT_IMAGE: "same"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "updateStrategy": strategy,
            "containers": [{"name": "side", "image": "side:2"}]}
    }))
    .map_err(|e| setup(&e))?;
    let plan = Plan::new(&set).map_err(|e| setup(&e))?;
    let views = (0..count)
        .map(|i| pod(i).map(Arc::new))
        .collect::<Result<Vec<Arc<PodView>>, _>>();
    let views = views.map_err(|e| setup(&e))?;
    let began = Instant::now();
    let facts: Vec<PodFacts> = views
        .iter()
        .filter_map(|view| match PodFacts::read(&plan, view, None) {
            Membership::Member(facts) => Some(*facts),
            _ => None,
        })
        .collect();
    let read = began.elapsed();
    let changes = BTreeMap::new();
    let now = Timestamp::from_second(1_800_000_000).map_err(|e| setup(&e))?;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let snapshot = Snapshot {
                plan: &plan,
                pods: facts.iter().collect(),
                not_injected: vec![],
                changes: &changes,
                room: ROOM,
                doubt: None,
            };
            std::hint::black_box(decide(&snapshot, now));
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let milliseconds = |t: Duration| t.as_secs_f64() * 1000.0;
    let median = milliseconds(times[times.len() / 2]);
    let worst = milliseconds(times[times.len() - 1]);
    let what = format!("{count} pods, {case}: one decision, median");
    report.figure(&what, median, "ms", &format!("worst {worst:.3}"));
    if case == "held by partition" {
        let what = format!("{count} pods: reading all once");
        report.figure(&what, milliseconds(read), "ms", "");
    }
    Ok(())
}

/// Ready, and on the old revision.
fn pod(i: usize) -> Result<PodView, serde_json::Error> {
    let entry = |hash: &str| {
        json!({"set": {"hash": hash, "updateTimestamp": "2026-01-01T00:00:00Z", "sidecarSetName": "set",
            "sidecarList": ["side"], "controllerRevision": "set-1"}})
        .to_string()
    };
    let status = |name: &str| {
        json!({"name": name, "image": format!("{name}:1"), "imageID": format!("{name}@sha256:1"),
            "containerID": format!("containerd://{i}-{name}"), "ready": true, "restartCount": 0})
    };
    serde_json::from_value(json!({
        "metadata": {"namespace": "apps", "name": format!("web-{i:06}"), "uid": format!("uid-{i}"),
            "resourceVersion": i.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "web", "zone": format!("z-{}", i % 10)},
            "annotations": {keys::INJECTED_LIST: "set", keys::HASH: entry("old"), keys::HASH_WITHOUT_IMAGE: entry("same")}},
        "spec": {"nodeName": format!("node-{}", i % 100),
            "containers": [{"name": "main", "image": "main:1"}, {"name": "side", "image": "side:1"}]},
        "status": {"phase": "Running", "containerStatuses": [status("main"), status("side")],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}
    }))
}
