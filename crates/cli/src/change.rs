//! `tidegate pause|resume sidecarset/NAME`, and what every change of a spec by a command has in common.

use cluster::resource::SIDECAR_SETS;
use cluster::{ApiError, Door, PatchKind};
use model::time::Clock as _;
use serde_json::{Value, json};
use workload::upgrade::FAILURES_FORGIVEN;

use crate::clock::SystemClock;
use crate::output::say;

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error("sidecarset/{name} has no revision {wanted}; there are: {present}")]
    NoSuchRevision {
        name: String,
        wanted: i64,
        present: String,
    },
    #[error("the spec of sidecarset/{name} cannot be read: {source}")]
    Spec { name: String, source: serde_json::Error },
    #[error("the spec of sidecarset/{0} was changed by somebody else meanwhile; look at it and try again")]
    ChangedMeanwhile(String),
    #[error("sidecarset/{0} has no earlier revision to go back to")]
    NothingEarlier(String),
    #[error("revision {revision} of sidecarset/{name} has data that cannot be read: {source}")]
    Unreadable {
        name: String,
        revision: i64,
        source: serde_json::Error,
    },
    #[error(
        "revision {revision} of sidecarset/{name} has the container {containers}, which the SidecarSet no longer \
         has. A container cannot be added to pods that run: make a second SidecarSet with it and let its pods be \
         recreated, or go back to a revision after it was removed"
    )]
    AddsContainer {
        name: String,
        revision: i64,
        containers: String,
    },
}

/// Sets `spec.updateStrategy.paused`. Resuming also forgives the failures that stopped an upgrade at its threshold.
pub async fn set_paused(door: &Door, name: &str, paused: bool) -> Result<(), ChangeError> {
    let found = door.get(&SIDECAR_SETS, None, name).await?;
    let done = if paused { "paused" } else { "resumed" };
    let is_paused = found["spec"]["updateStrategy"]["paused"].as_bool();
    let waiting = found["status"]["waiting"].as_array();
    let failed = waiting.and_then(|all| all.iter().find(|w| w["reason"] == "FailureThreshold"));
    let forgiven = failed.filter(|_| !paused);
    if is_paused.unwrap_or_default() == paused && forgiven.is_none() {
        say!("sidecarset/{name} was {done} already");
        return Ok(());
    }
    let mut patch = json!({"spec": {"updateStrategy": {"paused": paused}}});
    if let Some(failed) = forgiven {
        let until = SystemClock.now().to_string();
        patch["metadata"] = json!({"annotations": {FAILURES_FORGIVEN: until}});
        say!(
            "forgiving what stopped it: {} failed; each pod that fails from now on counts again",
            failed["failed"]
        );
    }
    patch_spec(door, name, &found["metadata"]["generation"], &patch).await?;
    say!("sidecarset/{name} {done}");
    Ok(())
}

/// Merges into the object, provided that its spec is still of `generation`. Its status moves while an upgrade
/// runs, so a conflict is tried again over the newer object, a few times.
pub async fn patch_spec(
    door: &Door,
    name: &str,
    generation: &Value,
    patch: &Value,
) -> Result<(), ChangeError> {
    const TRIES: usize = 10;
    let mut tries = 0;
    loop {
        let found = door.get(&SIDECAR_SETS, None, name).await?;
        if found["metadata"]["generation"] != *generation {
            return Err(ChangeError::ChangedMeanwhile(name.to_owned()));
        }
        let mut patch = patch.clone();
        patch["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        tries += 1;
        match door
            .patch(&SIDECAR_SETS, None, name, PatchKind::Merge, &patch, None)
            .await
        {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            outcome => return Ok(outcome.map(drop)?),
        }
    }
}
