//! Who controls what: orphans that a selector matches are taken in, what it no longer matches is let go.
use std::sync::Arc;

use cluster::resource::{DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, STATEFUL_SETS};
use cluster::{ApiError, Cache, PatchKind, Resource, Watched, WriteReceipt};
use serde_json::{Value, json};

use super::{Object, World};
use crate::labels::selects;
use crate::pod::{Meta, Pod};

pub(super) trait Claimable: Watched {
    fn meta(&self) -> &Meta;
}

impl Claimable for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Claimable for Object {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl World {
    /// The pods of `owner`, those being deleted too. None where control of some changed: the caches must show it.
    pub async fn claim_pods(
        &self,
        owner: &Object,
        fits: impl Fn(&Pod) -> bool,
    ) -> Result<Option<Vec<Arc<Pod>>>, ApiError> {
        self.claim(owner, &PODS, &self.pods, fits).await
    }

    /// The ReplicaSets of a Deployment, likewise.
    pub async fn claim_sets(&self, owner: &Object) -> Result<Option<Vec<Arc<Object>>>, ApiError> {
        self.claim(owner, &REPLICA_SETS, &self.replica_sets, |_| true)
            .await
    }

    async fn claim<T: Claimable>(
        &self,
        owner: &Object,
        resource: &Resource,
        cache: &Cache<T>,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Option<Vec<Arc<T>>>, ApiError> {
        let snapshot = cache.snapshot();
        let (mut ours, mut changed, mut asked) = (Vec::new(), false, false);
        for (_, object) in snapshot.in_namespace(&owner.meta.namespace) {
            let meta = object.meta();
            let selected = selects(&owner.spec()["selector"], &meta.labels);
            let leaving = meta.deletion_timestamp.is_some();
            if meta.is_controlled_by(&owner.meta.uid) {
                if selected || leaving {
                    ours.push(object.clone());
                    continue;
                }
                let released = json!([{"$patch": "delete", "uid": owner.meta.uid}]);
                self.set_owners(resource, cache, meta, released).await?;
                changed = true;
            } else if selected && !leaving && meta.controller().is_none() && fits(object) {
                // Our cache may not have heard that the owner goes, and takes its pods along.
                if !asked && !self.lives(owner).await? {
                    return Ok(None);
                }
                asked = true;
                self.set_owners(resource, cache, meta, json!([owner.as_owner()]))
                    .await?;
                changed = true;
            }
        }
        Ok((!changed).then_some(ours))
    }

    async fn lives(&self, owner: &Object) -> Result<bool, ApiError> {
        let Some(resource) = resource_of(owner) else {
            return Ok(false);
        };
        let key = owner.meta.key();
        match self.door.get(resource, key.namespace(), &key.name).await {
            Ok(found) => {
                let metadata = &found["metadata"];
                Ok(metadata["uid"] == owner.meta.uid.as_str() && metadata["deletionTimestamp"].is_null())
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Only on the very object that was looked at: its uid is part of the patch.
    async fn set_owners<T: Claimable>(
        &self,
        resource: &Resource,
        cache: &Cache<T>,
        meta: &Meta,
        owners: Value,
    ) -> Result<(), ApiError> {
        let key = meta.key();
        let body = json!({"metadata": {"uid": meta.uid, "ownerReferences": owners}});
        let (ns, kind) = (key.namespace(), PatchKind::Strategic);
        let answer: Result<WriteReceipt, _> = self
            .door
            .patch_as(resource, ns, &key.name, kind, &body, None)
            .await;
        match answer {
            Ok(receipt) => cache.observe(&receipt),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                if error.is_unknown() {
                    cache.observe_unknown(&key);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

fn resource_of(owner: &Object) -> Option<&'static Resource> {
    static ALL: [Resource; 5] = [DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS];
    ALL.iter().find(|r| owner.value["kind"] == *r.kind)
}
