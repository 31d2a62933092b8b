//! The story: injected, upgraded in steps, paused, resumed, rolled back.
use crate::StormError;
use crate::world::World;
use cluster::resource::{
    DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, PODS, SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{ApiError, PatchKind};
use serde_json::{Value, json};
use std::time::Duration;

pub const SET: &str = "side";
pub const NAMESPACE: &str = "apps";
pub const PODS_IN_ALL: u64 = 8;
pub const MAX_UNAVAILABLE: u64 = 2;
/// Virtual time each chapter may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Tells it from beginning to end.
pub async fn tell(world: &World) -> Result<(), StormError> {
    // Without a webhook nothing writes the hash of a SidecarSet.
    webhooks(world).await?;
    create_set(world).await?;
    until(world, "the SidecarSet is in force", |s| {
        condition(s, "InjectionReady") == "True"
    })
    .await?;
    create_deployment(world).await?;
    until(world, "all pods are injected and ready", |s| {
        counts(s) == [8, 8, 8, 8]
    })
    .await?;
    // Half of them, then a pause in the middle of the rest.
    change(
        world,
        json!({"containers": [container(2)], "updateStrategy": {"partition": 4}}),
    )
    .await?;
    until(world, "4 pods are upgraded, 4 held back", |s| {
        counts(s) == [8, 4, 8, 4]
    })
    .await?;
    change(world, json!({"updateStrategy": {"partition": 0}})).await?;
    until(world, "the rest has begun", |s| counts(s)[1] > 4).await?;
    change(world, json!({"updateStrategy": {"paused": true}})).await?;
    tokio::time::sleep(Duration::from_secs(120)).await;
    change(world, json!({"updateStrategy": {"paused": false}})).await?;
    until(world, "all pods are upgraded", |s| counts(s) == [8, 8, 8, 8]).await?;
    // A canary that is taken back.
    change(
        world,
        json!({"containers": [container(3)], "updateStrategy": {"partition": 5}}),
    )
    .await?;
    until(world, "3 pods are upgraded, 5 held back", |s| {
        counts(s) == [8, 3, 8, 3]
    })
    .await?;
    change(
        world,
        json!({"containers": [container(2)], "updateStrategy": {"partition": 0}}),
    )
    .await?;
    until(world, "all pods are rolled back", |s| counts(s) == [8, 8, 8, 8]).await
}

/// Waits until the API server asks the operator about SidecarSets.
async fn webhooks(world: &World) -> Result<(), StormError> {
    let configurations = [
        (
            MUTATING_WEBHOOK_CONFIGURATIONS,
            "tidegate-mutating-webhook-configuration",
        ),
        (
            VALIDATING_WEBHOOK_CONFIGURATIONS,
            "tidegate-validating-webhook-configuration",
        ),
    ];
    for (resource, name) in configurations {
        let what = format!("waiting for {name}");
        insist(&what, async || world.user.get(&resource, None, name).await).await?;
    }
    Ok(())
}

fn container(version: u32) -> Value {
    json!({"name": "side", "image": format!("example.test/side:{version}")})
}

async fn create_set(world: &World) -> Result<(), StormError> {
    let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": SET},
        "spec": {"selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": MAX_UNAVAILABLE},
            "containers": [container(1)]}});
    insist("creating the SidecarSet", async || {
        world.user.create(&SIDECAR_SETS, None, &set).await
    })
    .await
}

async fn create_deployment(world: &World) -> Result<(), StormError> {
    let labels = json!({"app": "web"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"replicas": PODS_IN_ALL, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "example.test/main:1"}]}}}});
    let create = async || {
        world
            .user
            .create(&DEPLOYMENTS, Some(NAMESPACE), &deployment)
            .await
    };
    insist("creating the Deployment", create).await
}

async fn change(world: &World, spec: Value) -> Result<(), StormError> {
    let patch = json!({"spec": spec});
    let send = async || {
        world
            .user
            .patch(&SIDECAR_SETS, None, SET, PatchKind::Merge, &patch, None)
            .await
    };
    insist("changing the SidecarSet", send).await
}

/// A user who tries again while the webhook is away.
async fn insist(what: &str, send: impl AsyncFn() -> Result<Value, ApiError>) -> Result<(), StormError> {
    let mut left = 100;
    loop {
        match send().await {
            Ok(_) => return Ok(()),
            Err(error) if error.code == 409 && error.reason == "AlreadyExists" => return Ok(()),
            Err(source) if left == 0 => {
                let what = what.to_owned();
                return Err(StormError::Api {
                    what,
                    source: Box::new(source),
                });
            }
            Err(_) => left -= 1,
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn until(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Result<(), StormError> {
    let began = tokio::time::Instant::now();
    loop {
        let found = world.user.get(&SIDECAR_SETS, None, SET).await;
        let set = found.map_err(|source| StormError::Api {
            what: what.to_owned(),
            source: Box::new(source),
        })?;
        let fresh = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if fresh && holds(&set["status"]) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            let pods = world.user.list(&PODS, Some(NAMESPACE), &Default::default()).await;
            let first = pods.ok().and_then(|l| l.items.into_iter().next());
            return Err(StormError::Stuck {
                what: what.to_owned(),
                virtual_seconds: PATIENCE.as_secs(),
                seen: format!("{}; a pod: {}", set["status"], first.unwrap_or_default()),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Matched, updated, ready, updated and ready.
fn counts(status: &Value) -> [u64; 4] {
    ["matchedPods", "updatedPods", "readyPods", "updatedReadyPods"]
        .map(|field| status[field].as_u64().unwrap_or_default())
}

fn condition(status: &Value, kind: &str) -> String {
    let all = status["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = all.iter().find(|c| c["type"] == kind);
    found
        .and_then(|c| c["status"].as_str())
        .unwrap_or_default()
        .to_owned()
}
