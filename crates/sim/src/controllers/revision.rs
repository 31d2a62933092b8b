//! Names from content: template hashes and ControllerRevisions.
use std::sync::Arc;

use cluster::resource::CONTROLLER_REVISIONS;
use cluster::{ApiError, DeleteOptions};
use serde_json::{Value, json};

use super::{Object, World};

/// Where a revision carries its hash.
const DAEMON_HASH: &str = "controller-revision-hash";
const STATEFUL_HASH: &str = "controller.kubernetes.io/hash";

/// Ten letters that stand for a template; `collisions` makes another name of the same one.
pub(super) fn hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = format!("{template}/{collisions}");
    let number = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    number
        .to_string()
        .bytes()
        .take(10)
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

/// The template a label was added to, without it.
pub(super) fn without_label(template: &Value, label: &str) -> Value {
    let mut out = template.clone();
    if let Some(labels) = out.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(label);
    }
    out
}

/// A revision of a StatefulSet's or DaemonSet's template.
pub(super) struct Revision {
    pub name: String,
    pub hash: String,
    pub number: i64,
    pub template: Value,
}

/// All revisions of `owner`, oldest first, the last one being that of its template now.
pub(super) async fn revisions(world: &World, owner: &Object) -> Result<Option<Vec<Revision>>, ApiError> {
    let template = &owner.spec()["template"];
    let data = json!({"spec": {"template": marked(template)}});
    let mut known: Vec<Arc<Object>> = world
        .revisions
        .snapshot()
        .in_namespace(&owner.meta.namespace)
        .map(|(_, revision)| revision.clone())
        .filter(|revision| revision.meta.is_controlled_by(&owner.meta.uid))
        .collect();
    known.sort_by_key(|revision| revision.value["revision"].as_i64());
    let newest = known
        .last()
        .map_or(0, |last| last.value["revision"].as_i64().unwrap_or(0));
    match known.iter().position(|revision| revision.value["data"] == data) {
        Some(at) if at + 1 == known.len() => {}
        Some(at) => {
            let body = json!({"revision": newest + 1});
            world
                .patch(&world.revisions, &CONTROLLER_REVISIONS, &known[at], &body, None)
                .await?;
            return Ok(None);
        }
        None => {
            let hash = hash(template, owner.status()["collisionCount"].as_i64().unwrap_or(0));
            let mut labels = template["metadata"]["labels"].clone();
            let label = if owner.value["kind"] == "StatefulSet" {
                STATEFUL_HASH
            } else {
                DAEMON_HASH
            };
            labels[label] = json!(hash);
            let body = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {"name": format!("{}-{hash}", owner.meta.name), "namespace": owner.meta.namespace,
                    "labels": labels, "annotations": owner.annotations, "ownerReferences": [owner.as_owner()]},
                "data": data, "revision": newest + 1});
            let (cache, ns) = (&world.revisions, &owner.meta.namespace);
            world.create(cache, &CONTROLLER_REVISIONS, ns, &body).await?;
            return Ok(None);
        }
    }
    Ok(Some(
        known.iter().map(|revision| Revision::of(revision)).collect(),
    ))
}

/// Drops revisions beyond the limit that nothing uses.
pub(super) async fn forget_old(
    world: &World,
    owner: &Object,
    revisions: &[Revision],
    used: &[&str],
) -> Result<(), ApiError> {
    let limit = usize::try_from(owner.count("revisionHistoryLimit", 10)).unwrap_or(10);
    let idle: Vec<_> = revisions
        .iter()
        .filter(|revision| !used.contains(&revision.name.as_str()))
        .collect();
    for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
        let (ns, options) = (Some(owner.meta.namespace.as_str()), DeleteOptions::default());
        let answer = world
            .door
            .delete(&CONTROLLER_REVISIONS, ns, &revision.name, &options)
            .await;
        if let Err(error) = answer
            && !error.is_not_found()
        {
            return Err(error);
        }
    }
    Ok(())
}

impl Revision {
    fn of(object: &Object) -> Self {
        let mut template = object.value["data"]["spec"]["template"].clone();
        if let Some(template) = template.as_object_mut() {
            template.remove("$patch");
        }
        let label = object
            .meta
            .labels
            .get(DAEMON_HASH)
            .or_else(|| object.meta.labels.get(STATEFUL_HASH));
        Self {
            name: object.meta.name.clone(),
            hash: label.cloned().unwrap_or_default(),
            number: object.value["revision"].as_i64().unwrap_or(0),
            template,
        }
    }
}

/// As revisions keep it: `kubectl rollout undo` sends it as a patch that replaces the template.
fn marked(template: &Value) -> Value {
    let mut out = template.clone();
    out["$patch"] = json!("replace");
    out
}
