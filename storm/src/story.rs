//! The story: injected, upgraded in steps, paused, resumed, rolled back.
use crate::StormError;
use crate::world::World;
use cluster::resource::{
    DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, PODS, SIDECAR_SETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{ApiError, PatchKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;

pub const SET: &str = "side";
pub const NAMESPACE: &str = "apps";
/// Pods that the SidecarSet does not select.
pub const OTHERS: u64 = 2;
/// Virtual time each chapter may take.
const PATIENCE: Duration = Duration::from_secs(1800);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The numbers of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tale {
    pub pods: u64,
    pub max_unavailable: u64,
    /// Pods of the first step.
    pub first: u64,
    /// Pods that get the version that is taken back.
    pub canaries: u64,
}

impl Default for Tale {
    fn default() -> Self {
        Self {
            pods: 8,
            max_unavailable: 2,
            first: 4,
            canaries: 3,
        }
    }
}

impl Tale {
    pub fn drawn(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7a1e);
        let pods = rng.random_range(3..=8);
        Self {
            pods,
            max_unavailable: rng.random_range(1..=3),
            first: rng.random_range(1..pods),
            canaries: rng.random_range(1..=3),
        }
    }

    /// How often the spec of each pod is written, sorted: created, upgraded, and the canaries there and back.
    pub fn pod_writes(&self) -> Vec<i64> {
        let of = |pod| if pod < self.pods - self.canaries { 2 } else { 4 };
        (0..self.pods).map(of).collect()
    }
}

/// Tells it from beginning to end.
pub async fn tell(world: &World, tale: &Tale) -> Result<(), StormError> {
    let Tale {
        pods: all,
        max_unavailable,
        first,
        canaries,
    } = *tale;
    let mut user = User {
        world,
        pods: all,
        spec: json!({"selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": max_unavailable},
            "containers": [container(1)]}),
        deployed: false,
        restores: 0,
    };
    // Without a webhook nothing writes the hash of a SidecarSet.
    webhooks(world).await?;
    user.create_set().await?;
    user.until("the SidecarSet is in force", |s| {
        condition(s, "InjectionReady") == "True"
    })
    .await?;
    user.deploy().await?;
    user.until("all pods are injected and ready", |s| counts(s) == [all; 4])
        .await?;
    // Half of them, then a pause in the middle of the rest.
    user.change(json!({"containers": [container(2)], "updateStrategy": {"partition": all - first}}))
        .await?;
    user.until("the first pods are upgraded", |s| {
        counts(s) == [all, first, all, first]
    })
    .await?;
    user.change(json!({"updateStrategy": {"partition": 0}})).await?;
    user.until("the rest has begun", |s| counts(s)[1] > first).await?;
    user.change(json!({"updateStrategy": {"paused": true}})).await?;
    tokio::time::sleep(Duration::from_secs(120)).await;
    user.change(json!({"updateStrategy": {"paused": false}})).await?;
    user.until("all pods are upgraded", |s| counts(s) == [all; 4])
        .await?;
    // A canary that is taken back.
    user.change(json!({"containers": [container(3)], "updateStrategy": {"partition": all - canaries}}))
        .await?;
    user.until("the canaries are upgraded", |s| {
        counts(s) == [all, canaries, all, canaries]
    })
    .await?;
    user.change(json!({"containers": [container(2)], "updateStrategy": {"partition": 0}}))
        .await?;
    user.until("all pods are rolled back", |s| counts(s) == [all; 4])
        .await
}

/// Where the pods live.
pub(crate) async fn create_namespace(world: &World) -> Result<(), StormError> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    insist("creating the namespace", async || {
        world.user.create(&NAMESPACES, None, &namespace).await
    })
    .await
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

/// Who declares what is wanted, and declares it again after the storage was put back.
struct User<'a> {
    world: &'a World,
    pods: u64,
    /// Of the SidecarSet, as last declared.
    spec: Value,
    deployed: bool,
    restores: usize,
}

impl User<'_> {
    async fn create_set(&self) -> Result<(), StormError> {
        insist("creating the SidecarSet", async || self.try_to_create_set().await).await
    }

    async fn try_to_create_set(&self) -> Result<Value, ApiError> {
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": SET},
            "spec": self.spec});
        self.world.user.create(&SIDECAR_SETS, None, &set).await
    }

    /// Pods that the SidecarSet selects, and some that it does not.
    async fn deploy(&mut self) -> Result<(), StormError> {
        self.deployed = true;
        for (name, replicas) in [("web", self.pods), ("other", OTHERS)] {
            let labels = json!({"app": name});
            let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels},
                        "spec": {"automountServiceAccountToken": false,
                            "containers": [{"name": "main", "image": "example.test/main:1"}]}}}});
            let door = &self.world.user;
            let create = async || door.create(&DEPLOYMENTS, Some(NAMESPACE), &deployment).await;
            insist("creating the Deployment", create).await?;
        }
        Ok(())
    }

    async fn change(&mut self, spec: Value) -> Result<(), StormError> {
        json_merge(&mut self.spec, &spec);
        self.declare(&json!({"spec": spec})).await
    }

    async fn declare(&self, patch: &Value) -> Result<(), StormError> {
        let door = &self.world.user;
        let send = async || {
            let patched = door
                .patch(&SIDECAR_SETS, None, SET, PatchKind::Merge, patch, None)
                .await;
            match patched {
                // Put back to before it was created, a moment ago.
                Err(error) if error.is_not_found() => self.try_to_create_set().await,
                other => other,
            }
        };
        insist("changing the SidecarSet", send).await
    }

    /// What was declared may be lost.
    async fn declare_again(&mut self) -> Result<(), StormError> {
        let restores = self.world.backend.past().len();
        if restores == self.restores {
            return Ok(());
        }
        self.restores = restores;
        create_namespace(self.world).await?;
        self.create_set().await?;
        self.declare(&json!({"spec": self.spec})).await?;
        match self.deployed {
            true => self.deploy().await,
            false => Ok(()),
        }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<(), StormError> {
        let began = tokio::time::Instant::now();
        let door = &self.world.user;
        loop {
            self.declare_again().await?;
            let found = door.get(&SIDECAR_SETS, None, SET).await;
            if self.world.backend.past().len() != self.restores {
                // Put back while we asked.
                continue;
            }
            let set = found.map_err(|source| StormError::Api {
                what: what.to_owned(),
                source: Box::new(source),
            })?;
            let fresh = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            if fresh && holds(&set["status"]) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let pods = door.list(&PODS, Some(NAMESPACE), &Default::default()).await;
                let first = pods.ok().and_then(|l| l.items.into_iter().next());
                return Err(StormError::Stuck {
                    what: what.to_owned(),
                    virtual_seconds: PATIENCE.as_secs(),
                    seen: format!("{}; a pod: {}", set["status"], first.unwrap_or_default()),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
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

/// A merge patch without deletions.
fn json_merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                json_merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
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
