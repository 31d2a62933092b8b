//! What is installed once: our namespace, and the CRD that we convert.
use super::{CRD_NAME, client_config};
use crate::sidecarset::shift;
use crate::sidecarset::views::Caches;
use crate::{OperatorError, Options};
use cluster::resource::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES};
use cluster::{ApiError, Door, PatchKind, Resource};
use serde_json::{Value, json};
use std::time::Duration;
use workload::sidecarset::webhooks::CONVERT_PATH;
use workload::takeover::Actor;

/// Field manager of what is installed once.
const INSTALLER: &str = "tidegate-installer";

/// How often we look whether there is a kind whose objects are in doubt.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Creates our namespace and the CRD where they are missing or differ, and waits until the kind is served.
pub(in crate::sidecarset) async fn install(door: &Door, options: &Options) -> Result<(), OperatorError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: ApiError| OperatorError::Install { what, source }
    };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": options.namespace}});
    apply(door, &NAMESPACES, &options.namespace, &namespace, INSTALLER)
        .await
        .map_err(failed("the namespace"))?;
    // Kruise's manager would take its CRD back; and what it has is enough to stand by.
    if shift::actor_now(door, options)
        .await
        .map_err(failed("who runs SidecarSets"))?
        == Actor::Kruise
    {
        return Ok(());
    }
    let mut crd: Value =
        serde_yaml_ng::from_str(model::sidecarset::CRD).map_err(|e| OperatorError::Malformed {
            what: "the CustomResourceDefinition".to_owned(),
            reason: e.to_string(),
        })?;
    crd["spec"]["conversion"]["webhook"]["clientConfig"] = client_config(options, "", CONVERT_PATH);
    apply(door, &CUSTOM_RESOURCE_DEFINITIONS, CRD_NAME, &crd, INSTALLER)
        .await
        .map_err(failed("the CRD"))?;
    for _ in 0..100 {
        let found = door
            .get(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME)
            .await
            .map_err(failed("the CRD"))?;
        let conditions = found["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tracing::warn!("the CRD is not established yet");
    Ok(())
}

/// Installs once more where the API server was put back to before we did: nobody else would. Never ends.
///
/// Nothing tells that from a CRD somebody deleted (a restored server's versions may be newer, too). So it comes back
/// once, as if we had been started again, and then stays away until we are.
pub(in crate::sidecarset) async fn keep_installed(door: &Door, options: &Options, caches: &Caches) {
    if !options.install {
        return std::future::pending().await;
    }
    loop {
        caches.sets.doubted().await;
        tokio::time::sleep(LOOK_EVERY).await;
        if caches.sets.is_sure() {
            continue;
        }
        match door.get(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME).await {
            Err(error) if error.is_not_found() => {
                tracing::warn!("the CRD is gone: it is installed once more")
            }
            _ => continue,
        }
        match install(door, options).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "not installed"),
        }
    }
    std::future::pending().await
}

async fn apply(
    door: &Door,
    resource: &Resource,
    name: &str,
    object: &Value,
    manager: &str,
) -> Result<Value, ApiError> {
    let kind = PatchKind::Apply {
        manager: manager.to_owned(),
        force: true,
    };
    door.patch(resource, None, name, kind, object, None).await
}
