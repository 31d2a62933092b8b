//! The bare client: the operator's requests to the same pods, and nothing else. It decides nothing while it sends,
//! watches nothing, and keeps a fixed number of requests in flight.

use futures::{StreamExt as _, TryStreamExt as _};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use model::pod::PodView;
use model::sidecarset::keys;
use model::time::{Clock as _, rfc3339_seconds};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use workload::upgrade::{Action, Membership, Plan, PodFacts, Snapshot, decide};

use crate::fleet::{Fleet, NAMESPACE};
use crate::{BenchError, api};
use cluster::resource::PODS;

pub const AGENT: &str = "bare-client";

/// A pod's requests, ready to be sent.
pub struct Prepared {
    path: String,
    upgrade: Box<str>,
    condition: Option<String>,
}

/// What the operator would send to bring all pods to the SidecarSet's present state. `condition` adds the second
/// request: a status patch that changes the pod's condition.
pub async fn prepare(fleet: &Fleet, condition: bool) -> Result<Vec<Prepared>, BenchError> {
    let mut set = fleet.set().await?;
    set.spec.update_strategy.paused = false;
    let mut plan = Plan::new(&set).map_err(|e| BenchError::Setup(e.to_string()))?;
    plan.revision.clone_from(&set.status.latest_revision);
    let options = cluster::ListOptions::default();
    let listed = fleet
        .door
        .list_as::<Arc<PodView>>(&PODS, Some(NAMESPACE), &options)
        .await;
    let views = listed.map_err(api("listing pods"))?.items;
    let facts: Vec<PodFacts> = views
        .iter()
        .filter_map(|view| match PodFacts::read(&plan, view, None) {
            Membership::Member(facts) => Some(*facts),
            _ => None,
        })
        .collect();
    let now = cluster::SystemClock.now();
    let snapshot = Snapshot {
        plan: &plan,
        pods: facts.iter().collect(),
        not_injected: Vec::new(),
        changes: &BTreeMap::new(),
        room: usize::MAX,
        doubt: None,
    };
    let all = decide(&snapshot, now)
        .actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Upgrade(upgrade) => Some(upgrade),
            Action::Mark(_) => None,
        });
    let status = json!({"type": keys::UPGRADABLE_CONDITION, "status": "True", "reason": "AllSidecarsetUpgradable",
        "message": "{\"bench\":true,\"other\":true}", "lastTransitionTime": rfc3339_seconds(now)});
    Ok(all
        .map(|upgrade| Prepared {
            path: PODS.path(Some(NAMESPACE), Some(&upgrade.name), None),
            condition: condition.then(|| {
                json!({"metadata": {"uid": upgrade.uid}, "status": {"conditions": [status]}}).to_string()
            }),
            upgrade: upgrade.patch,
        })
        .collect())
}

/// Sends all of it. Any refusal ends it: it would not be the same work.
pub async fn send(kubeconfig: &Path, all: Vec<Prepared>, in_flight: usize) -> Result<(), BenchError> {
    let setup = |e: &dyn std::fmt::Display| BenchError::Setup(format!("bare client: {e}"));
    let read = Kubeconfig::read_from(kubeconfig).map_err(|e| setup(&e))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|e| setup(&e))?;
    let client = kube::Client::try_from(config).map_err(|e| setup(&e))?;
    let sending = all.into_iter().map(|pod| {
        let client = &client;
        async move {
            patch(client, &pod.path, "application/json-patch+json", &pod.upgrade).await?;
            if let Some(condition) = &pod.condition {
                let path = format!("{}/status", pod.path);
                patch(client, &path, "application/strategic-merge-patch+json", condition).await?;
            }
            Ok::<_, BenchError>(())
        }
    });
    futures::stream::iter(sending)
        .buffer_unordered(in_flight)
        .try_collect()
        .await
}

async fn patch(client: &kube::Client, path: &str, kind: &str, body: &str) -> Result<(), BenchError> {
    let failed = |e: &dyn std::fmt::Display| BenchError::Setup(format!("bare client: {path}: {e}"));
    let request = http::Request::patch(path)
        .header("user-agent", AGENT)
        .header("accept", "application/json")
        .header("content-type", kind)
        .body(Body::from(body.as_bytes().to_vec()))
        .map_err(|e| failed(&e))?;
    let answer = client.send(request).await.map_err(|e| failed(&e))?;
    let status = answer.status();
    let mut body = answer.into_body();
    use http_body_util::BodyExt as _;
    while let Some(frame) = body.frame().await {
        frame.map_err(|e| failed(&e))?;
    }
    match status.is_success() {
        true => Ok(()),
        false => Err(failed(&status)),
    }
}
