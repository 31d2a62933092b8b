//! A simulated provisioner: PersistentVolumeClaims get a volume of their own and are bound to it.
//!
//! Claims of the default class, and of classes that name us, are served; others wait, as they would on a cluster
//! that has nothing to serve them with. Where there is no default class, the first claim that needs one makes it.
use cluster::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES};
use cluster::{ApiError, DeleteOptions, ListOptions, ObjectKey};
use serde_json::{Value, json};

use super::{Next, Object, Outcome, World};

const PROVISIONER: &str = "sim.tidegate.dev/volumes";
const DEFAULT_CLASS: &str = "simulated";
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// `key` names a claim, or a volume.
pub(super) async fn reconcile(world: &World, key: &ObjectKey) -> Outcome {
    if !world.is_current() {
        return Ok(Next::Stale);
    }
    let claim = match key.namespace() {
        Some(_) => key.clone(),
        None => match world.volumes.get(key) {
            Some(volume) => claim_of(&volume),
            None => return Ok(Next::Quiet),
        },
    };
    let found = world.claims.get(&claim);
    forget_released(world, &claim, found.as_deref()).await?;
    let Some(found) = found.filter(|claim| claim.meta.deletion_timestamp.is_none()) else {
        return Ok(Next::Quiet);
    };
    bind(world, &found).await?;
    Ok(Next::Quiet)
}

/// Volumes of ours whose claim is gone, or is another one by now.
async fn forget_released(world: &World, key: &ObjectKey, claim: Option<&Object>) -> Result<(), ApiError> {
    let volumes = world.volumes.snapshot();
    for volume in volumes.values().filter(|volume| claim_of(volume) == *key) {
        let ours = volume.annotations.get(PROVISIONED_BY).map(String::as_str) == Some(PROVISIONER);
        let bound = claim.is_some_and(|claim| volume.spec()["claimRef"]["uid"] == claim.meta.uid.as_str());
        let keeps = volume.spec()["persistentVolumeReclaimPolicy"] != "Delete";
        if !ours || bound || keeps || volume.meta.deletion_timestamp.is_some() {
            continue;
        }
        // One that is bound is protected from deletion.
        if volume.status()["phase"] == "Bound" {
            let status = json!({"phase": "Released"});
            world
                .write_status(&world.volumes, &PERSISTENT_VOLUMES, volume, status)
                .await?;
            continue;
        }
        let options = DeleteOptions::of_uid(&volume.meta.uid);
        let answer = world
            .door
            .delete(&PERSISTENT_VOLUMES, None, &volume.meta.name, &options)
            .await;
        match answer {
            Ok(deleted) => world
                .volumes
                .observe_delete(&volume.meta.key(), &volume.meta.uid, &deleted),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The next step of a claim towards being bound; each shows in a cache and brings us back.
async fn bind(world: &World, claim: &Object) -> Result<(), ApiError> {
    let name = format!("pvc-{}", claim.meta.uid);
    let wanted = claim.spec()["volumeName"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != name {
        return Ok(());
    }
    let Some(class) = class(world, claim).await? else {
        return Ok(());
    };
    let Some(volume) = world.volumes.get(&ObjectKey::cluster(&name)) else {
        let body = volume_for(claim, &name, &class);
        return world.create(&world.volumes, &PERSISTENT_VOLUMES, "", &body).await;
    };
    if volume.status()["phase"] != "Bound" {
        let status = json!({"phase": "Bound"});
        world
            .write_status(&world.volumes, &PERSISTENT_VOLUMES, &volume, status)
            .await?;
    }
    if wanted.is_empty() {
        let body = json!({
            "metadata": {"uid": claim.meta.uid, "resourceVersion": claim.meta.resource_version, "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
                "volume.beta.kubernetes.io/storage-provisioner": PROVISIONER,
                "volume.kubernetes.io/storage-provisioner": PROVISIONER}},
            "spec": {"volumeName": name, "storageClassName": class},
        });
        return world
            .patch(&world.claims, &PERSISTENT_VOLUME_CLAIMS, claim, &body, None)
            .await;
    }
    let status = json!({"phase": "Bound", "accessModes": volume.spec()["accessModes"],
        "capacity": volume.spec()["capacity"]});
    world
        .write_status(&world.claims, &PERSISTENT_VOLUME_CLAIMS, claim, status)
        .await
}

/// The class that serves this claim, if we are its provisioner.
async fn class(world: &World, claim: &Object) -> Result<Option<String>, ApiError> {
    // Classes are looked at so seldom that nobody watches them.
    let page = world
        .door
        .list(&STORAGE_CLASSES, None, &ListOptions::default())
        .await?;
    let ours = |class: &Value| class["provisioner"] == PROVISIONER;
    let name_of = |class: &Value| class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(wanted) = claim.spec()["storageClassName"].as_str() {
        let mut served = page.items.iter().filter(|class| ours(class)).map(name_of);
        return Ok(served.find(|name| name == wanted));
    }
    let default = |class: &&Value| class["metadata"]["annotations"][IS_DEFAULT] == "true";
    if let Some(class) = page.items.iter().find(default) {
        return Ok(ours(class).then(|| name_of(class)));
    }
    let body = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": DEFAULT_CLASS, "annotations": {IS_DEFAULT: "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"});
    match world.door.create(&STORAGE_CLASSES, None, &body).await {
        Ok(_) => Ok(Some(DEFAULT_CLASS.to_owned())),
        Err(error) if error.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

fn volume_for(claim: &Object, name: &str, class: &str) -> Value {
    let spec = claim.spec();
    json!({"apiVersion": "v1", "kind": "PersistentVolume",
    "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
    "spec": {
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        "accessModes": spec["accessModes"],
        "volumeMode": spec["volumeMode"].as_str().unwrap_or("Filesystem"),
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": class,
        "csi": {"driver": "sim.tidegate.dev", "volumeHandle": name},
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.meta.name,
            "namespace": claim.meta.namespace, "uid": claim.meta.uid,
            "resourceVersion": claim.meta.resource_version},
    }})
}

fn claim_of(volume: &Object) -> ObjectKey {
    let of = |field: &str| volume.spec()["claimRef"][field].as_str().unwrap_or_default();
    ObjectKey::new(of("namespace"), of("name"))
}
