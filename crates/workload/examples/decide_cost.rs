//! What one decision costs: `decide_cost [PODS]...` (release).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
use model::pod::PodView;
use model::sidecarset::{SidecarSet, keys};
use model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_workload::upgrade::{Membership, Plan, PodFacts, Snapshot, decide};

const ROUNDS: u32 = 20;

fn main() {
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    let cases = [
        ("held by partition", json!({"partition": "100%"})),
        ("one at a time", json!({"maxUnavailable": 1})),
        ("all at once", json!({"maxUnavailable": "100%"})),
        (
            "scattered over ten",
            json!({"maxUnavailable": 1, "scatterStrategy": [{"key": "zone", "value": "*"}]}),
        ),
    ];
    for pods in sizes {
        for (name, strategy) in &cases {
            measure(pods, name, strategy.clone());
        }
    }
}

fn measure(count: usize, case: &str, strategy: Value) {
    let mut strategy = strategy;
    strategy["type"] = json!("RollingUpdate");
    let set: SidecarSet = serde_json::from_value(json!({
        "metadata": {"name": "set", "uid": "u", "generation": 2,
            "annotations": {keys::HASH: "new", keys::HASH_WITHOUT_IMAGE: "same"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "updateStrategy": strategy,
            "containers": [{"name": "side", "image": "side:2"}]}
    }))
    .unwrap();
    let plan = Plan::new(&set).unwrap();
    let views: Vec<Arc<PodView>> = (0..count).map(|i| Arc::new(pod(i))).collect();
    let began = Instant::now();
    let facts: Vec<PodFacts> = views
        .iter()
        .map(|view| match PodFacts::read(&plan, view, None) {
            Membership::Member(facts) => *facts,
            _ => panic!("{} does not match", view.name),
        })
        .collect();
    let read = began.elapsed();
    let changes = BTreeMap::new();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let snapshot = Snapshot {
                plan: &plan,
                pods: facts.iter().collect(),
                not_injected: vec![],
                changes: &changes,
                room: 1024,
            };
            std::hint::black_box(decide(&snapshot, now));
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let milliseconds = |t: Duration| t.as_secs_f64() * 1000.0;
    println!(
        "{count:>7} pods, {case:<20} decide: median {:>8.3} ms, worst {:>8.3} ms; reading all pods once {:>8.3} ms",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() - 1]),
        milliseconds(read),
    );
}

/// Ready, and on the old revision.
fn pod(i: usize) -> PodView {
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
    .unwrap()
}
