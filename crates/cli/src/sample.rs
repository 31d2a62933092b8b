//! The sample of `tidegate up`: a Deployment, a SidecarSet, and an upgrade of its image in two steps.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use cluster::resource::{DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, SIDECAR_SETS};
use cluster::{Cache, Door, PatchKind, Resource, WatchScope};
use serde_json::{Value, json};

use crate::change;
use crate::output::say;
use crate::status::{self, Whole};

const WORKLOAD: &str = include_str!("../../../examples/sample/workload.yaml");
const SIDECAR_SET: &str = include_str!("../../../examples/sample/sidecarset.yaml");
const NAME: &str = "log-agent";
const MANAGER: &str = "tidegate-sample";
const PATIENCE: Duration = Duration::from_secs(60);

/// Rolls the sample out, unless an earlier start did.
pub async fn run(door: &Door, kubeconfig: &Path) -> Result<(), Box<dyn Error>> {
    let kubeconfig = kubeconfig.display();
    if door.get(&SIDECAR_SETS, None, NAME).await.is_ok() {
        say!("the sample is there already: tidegate status sidecarset/{NAME} --kubeconfig {kubeconfig}");
        return Ok(());
    }
    say!("sample: SidecarSet {NAME} and a Deployment of 30 pods in namespace demo");
    webhooks(door, "sidecarsets").await?;
    apply(door, SIDECAR_SET).await?;
    // A pod made before the API server knows of our webhook would run without the sidecar.
    webhooks(door, "pods").await?;
    apply(door, WORKLOAD).await?;
    until(door, "30 pods with the sidecar, ready", &mut |view| {
        view.matched >= 30 && view.ready >= 30
    })
    .await?;
    say!("\nsample: image v1 -> v2, partition 50%, at most 10% unavailable");
    set(
        door,
        json!({"spec": {"containers": [sidecar("tidegate/sidecar:v2")?]}}),
    )
    .await?;
    until(door, "half of them", &mut |view| {
        view.updated_ready * 2 >= view.matched
    })
    .await?;
    say!("\nsample: partition 0: the other half follows");
    set(door, json!({"spec": {"updateStrategy": {"partition": 0}}})).await?;
    until(door, "all of them", &mut |view| {
        view.updated_ready >= view.matched && view.matched > 0
    })
    .await?;
    say!("\nsample: done. Try: tidegate rollback sidecarset/{NAME} --kubeconfig {kubeconfig}");
    Ok(())
}

async fn until(
    door: &Door,
    what: &str,
    reached: &mut (dyn FnMut(&crate::status_view::StatusView) -> bool + Send),
) -> Result<(), Box<dyn Error>> {
    say!("sample: waiting for {what}");
    status::watch_until(door, NAME, &mut |view, _| view.current && reached(view)).await
}

/// Waits until the API server would ask the operator about these objects.
async fn webhooks(door: &Door, plural: &str) -> Result<(), Box<dyn Error>> {
    let cache = Cache::<Whole>::start(door, MUTATING_WEBHOOK_CONFIGURATIONS, WatchScope::default());
    let mut changes = cache.changes();
    let registered = || {
        cache
            .snapshot()
            .values()
            .any(|configuration| is_registered(&configuration.0, plural))
    };
    let wait = async {
        cache.synced().await;
        while !registered() && changes.next().await.is_some() {}
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| format!("the operator registered no webhook for {plural} within {PATIENCE:?}").into())
}

fn is_registered(configuration: &Value, plural: &str) -> bool {
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks
        .filter(|w| w["clientConfig"]["caBundle"].is_string())
        .any(|w| {
            let rules = w["rules"].as_array().into_iter().flatten();
            rules
                .flat_map(|r| r["resources"].as_array().into_iter().flatten())
                .any(|r| r == plural)
        })
}

/// The sidecar of the file with another image: a merge patch replaces the whole list.
fn sidecar(image: &str) -> Result<Value, Box<dyn Error>> {
    let set: Value = serde_yaml_ng::from_str(SIDECAR_SET)?;
    let mut container = set["spec"]["containers"][0].clone();
    container["image"] = Value::from(image);
    Ok(container)
}

async fn set(door: &Door, patch: Value) -> Result<(), Box<dyn Error>> {
    let found = door.get(&SIDECAR_SETS, None, NAME).await?;
    Ok(change::patch_spec(door, NAME, &found["metadata"]["generation"], &patch).await?)
}

async fn apply(door: &Door, yaml: &str) -> Result<(), Box<dyn Error>> {
    for document in yaml.split("\n---\n") {
        let object: Value = serde_yaml_ng::from_str(document)?;
        let resource: &Resource = match object["kind"].as_str().unwrap_or_default() {
            "Namespace" => &NAMESPACES,
            "Deployment" => &DEPLOYMENTS,
            "SidecarSet" => &SIDECAR_SETS,
            other => {
                return Err(format!("the sample has a {other}, which this command does not apply").into());
            }
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = object["metadata"]["namespace"].as_str();
        let kind = PatchKind::Apply {
            manager: MANAGER.to_owned(),
            force: false,
        };
        door.patch(resource, namespace, name, kind, &object, None).await?;
    }
    Ok(())
}
