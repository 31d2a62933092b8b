//! PersistentVolumeClaims of a StatefulSet: one per template and number, kept when the pod goes.
use std::ops::Range;

use cluster::resource::PERSISTENT_VOLUME_CLAIMS;
use cluster::{ApiError, DeleteOptions, ObjectKey};
use serde_json::{Value, json};

use crate::controllers::{Object, World};

/// Gives the pod of this number its claims as volumes.
pub(super) fn mount(set: &Object, number: usize, pod: &mut Value) {
    let mut volumes: Vec<Value> = templates(set)
        .map(|template| {
            let claim = json!({"claimName": name(set, template, number)});
            json!({"name": template["metadata"]["name"], "persistentVolumeClaim": claim})
        })
        .collect();
    if volumes.is_empty() {
        return;
    }
    let own = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let other = |volume: &Value| volumes.iter().all(|claimed| claimed["name"] != volume["name"]);
    let kept: Vec<Value> = own.into_iter().filter(other).collect();
    volumes.extend(kept);
    pod["spec"]["volumes"] = Value::Array(volumes);
}

/// Makes the claims that pods of these numbers need.
pub(super) async fn ensure(world: &World, set: &Object, numbers: &[usize]) -> Result<(), ApiError> {
    let ns = set.meta.namespace.as_str();
    for template in templates(set) {
        for number in numbers {
            let name = name(set, template, *number);
            if world.claims.get(&ObjectKey::new(ns, &name)).is_some() {
                continue;
            }
            let mut labels = template["metadata"]["labels"].clone();
            for (key, value) in set.spec()["selector"]["matchLabels"]
                .as_object()
                .into_iter()
                .flatten()
            {
                labels[key] = value.clone();
            }
            let mut metadata = json!({"name": name, "namespace": ns, "labels": labels});
            if template["metadata"]["annotations"].is_object() {
                metadata["annotations"] = template["metadata"]["annotations"].clone();
            }
            if retention(set, "whenDeleted") {
                metadata["ownerReferences"] = json!([set.as_owner()]);
            }
            let body = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                "spec": template["spec"]});
            world
                .create(&world.claims, &PERSISTENT_VOLUME_CLAIMS, ns, &body)
                .await?;
        }
    }
    Ok(())
}

/// Claims of numbers that there are no more, if the set says that they go when it shrinks.
pub(super) async fn forget_scaled_down(
    world: &World,
    set: &Object,
    range: &Range<usize>,
) -> Result<(), ApiError> {
    if !retention(set, "whenScaled") {
        return Ok(());
    }
    let ns = set.meta.namespace.as_str();
    let claims = world.claims.snapshot();
    for template in templates(set) {
        let prefix = name(set, template, 0);
        let prefix = prefix.strip_suffix('0').unwrap_or(&prefix);
        for (key, claim) in claims.in_namespace(ns) {
            let number = key
                .name
                .strip_prefix(prefix)
                .and_then(|n| n.parse::<usize>().ok());
            let surplus = number.is_some_and(|number| !range.contains(&number));
            if !surplus || claim.meta.deletion_timestamp.is_some() {
                continue;
            }
            let options = DeleteOptions::of_uid(&claim.meta.uid);
            let answer = world
                .door
                .delete(&PERSISTENT_VOLUME_CLAIMS, Some(ns), &key.name, &options)
                .await;
            match answer {
                Ok(deleted) => world.claims.observe_delete(key, &claim.meta.uid, &deleted),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn templates(set: &Object) -> impl Iterator<Item = &Value> {
    let all = set.spec()["volumeClaimTemplates"].as_array();
    all.into_iter().flatten()
}

fn name(set: &Object, template: &Value, number: usize) -> String {
    let of = template["metadata"]["name"].as_str().unwrap_or_default();
    format!("{of}-{}-{number}", set.meta.name)
}

fn retention(set: &Object, when: &str) -> bool {
    set.spec()["persistentVolumeClaimRetentionPolicy"][when] == "Delete"
}
