//! What belongs to the SidecarSet itself: what the webhooks missed, its revisions, then its status.
use super::views::Caches;
use cluster::resource::{CONTROLLER_REVISIONS, SIDECAR_SETS};
use cluster::{ApiError, DeleteOptions, Door, ObjectKey, PatchKind, Preconditions, WriteReceipt};
use serde_json::{Value, json};
use workload::sidecarset::default::mutate;
use workload::sidecarset::revision::{Revision, RevisionAction};

pub(super) struct Chore {
    pub set: String,
    pub namespace: String,
    /// Defaults and hashes are to be written into this state of it.
    pub amend: Option<Stale>,
    pub revisions: Vec<RevisionAction>,
    /// Merge patch of the status subresource.
    pub status: Option<Value>,
}

/// A state of a SidecarSet that no webhook saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stale {
    pub uid: String,
    pub generation: i64,
}

/// What became of a chore.
pub(super) struct Ran {
    /// Whether it was amended, if that was to be done.
    pub amended: Option<Result<bool, ApiError>>,
    /// Whether a revision was written by somebody else meanwhile.
    pub result: Result<bool, ApiError>,
}

impl Chore {
    /// Does all of it; what is refused is decided anew on what is there then.
    pub async fn run(&self, door: &Door, caches: &Caches) -> Ran {
        let amended = match &self.amend {
            Some(stale) => Some(self.amend(door, caches, stale).await),
            None => None,
        };
        Ran {
            amended,
            result: self.report(door, caches).await,
        }
    }

    /// Writes what the mutating webhook would have written, bound to the version it was read at.
    async fn amend(&self, door: &Door, caches: &Caches, stale: &Stale) -> Result<bool, ApiError> {
        let stored = door.get(&SIDECAR_SETS, None, &self.set).await?;
        let meta = &stored["metadata"];
        if meta["uid"] != json!(stale.uid) || meta["generation"] != json!(stale.generation) {
            // Written meanwhile: decided anew.
            return Ok(false);
        }
        let all = caches.revisions.snapshot();
        let revisions: Vec<Revision> = all.values().map(|r| r.revision.clone()).collect();
        let mut object = stored.clone();
        // One that cannot be read was judged invalid, and never gets here.
        if mutate(&mut object, Some(&stored), &revisions).is_err() || object == stored {
            return Ok(false);
        }
        match door.replace(&SIDECAR_SETS, None, &self.set, &object, None).await {
            Ok(answer) => {
                caches.sets.observe_answer(&answer);
                Ok(true)
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
            Err(error) => {
                if error.is_unknown() {
                    caches.sets.observe_unknown(&ObjectKey::cluster(&self.set));
                }
                Err(error)
            }
        }
    }

    async fn report(&self, door: &Door, caches: &Caches) -> Result<bool, ApiError> {
        let mut overtaken = false;
        for action in &self.revisions {
            match self.revise(door, caches, action).await {
                // Another replica did it, or somebody touched it: the watch tells.
                Err(error) if error.is_conflict() || error.is_already_exists() || error.is_not_found() => {
                    overtaken = true;
                }
                other => other?,
            }
        }
        let Some(status) = &self.status else {
            return Ok(overtaken);
        };
        let key = ObjectKey::cluster(&self.set);
        let sent = door
            .patch_as::<WriteReceipt>(
                &SIDECAR_SETS,
                None,
                &self.set,
                PatchKind::Merge,
                status,
                Some("status"),
            )
            .await;
        match sent {
            Ok(receipt) => caches.sets.observe(&receipt),
            Err(error) => {
                if error.is_unknown() {
                    caches.sets.observe_unknown(&key);
                }
                return Err(error);
            }
        }
        Ok(overtaken)
    }

    async fn revise(&self, door: &Door, caches: &Caches, action: &RevisionAction) -> Result<(), ApiError> {
        let namespace = Some(self.namespace.as_str());
        match action {
            RevisionAction::Create { object } => {
                let mut object = object.clone();
                object["metadata"]["namespace"] = json!(self.namespace);
                let answer = door.create(&CONTROLLER_REVISIONS, namespace, &object).await?;
                caches.revisions.observe_answer(&answer);
            }
            RevisionAction::Patch {
                name,
                resource_version,
                patch,
            } => {
                let mut patch = patch.clone();
                patch["metadata"]["resourceVersion"] = json!(resource_version);
                let answer = door
                    .patch(
                        &CONTROLLER_REVISIONS,
                        namespace,
                        name,
                        PatchKind::Merge,
                        &patch,
                        None,
                    )
                    .await?;
                caches.revisions.observe_answer(&answer);
            }
            RevisionAction::Delete {
                name,
                resource_version,
            } => {
                let options = DeleteOptions {
                    preconditions: Preconditions {
                        uid: None,
                        resource_version: Some(resource_version.clone()),
                    },
                    ..DeleteOptions::default()
                };
                let deleted = door
                    .delete(&CONTROLLER_REVISIONS, namespace, name, &options)
                    .await?;
                caches
                    .revisions
                    .observe_delete(&ObjectKey::new(&self.namespace, name), "", &deleted);
            }
        }
        Ok(())
    }
}
