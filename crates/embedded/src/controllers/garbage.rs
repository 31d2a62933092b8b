//! Garbage collection by owner references: background, foreground, orphan.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Work, internal_call, push, target};
use crate::catalog::{Resource, StorageKey, split_group_version};
use crate::handlers::delete::{self, DeleteOptions};
use crate::handlers::update::Edit;
use crate::metadata;
use crate::query::WriteOptions;
use crate::server::ApiServer;
use crate::status::Status;
use crate::store::{Stored, object_key};

const COMPONENT: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// After a start: look again at everything that has owners or waits for dependents.
pub(super) fn scan(server: &ApiServer) {
    let store = &server.inner.store;
    for table in store.populated() {
        for object in store.snapshot(&table, "").1 {
            if object.deleting {
                push(server, Work::OwnerWaits(table.clone(), object.key.to_string()));
            }
            if !object.owners.is_empty() {
                push(server, Work::Dependent(table.clone(), object.key.to_string()));
            }
        }
    }
}

/// An owner in foreground deletion waits for the dependent that has just gone.
pub(super) fn tell_owners(server: &ApiServer, dependent: &Stored) {
    if dependent.owners.is_empty() {
        return;
    }
    let value = dependent.bare();
    let owners = metadata::get(&value, "ownerReferences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for owner in &owners {
        if let Some((resource, found)) = find_owner(server, owner, dependent.namespace())
            && found.deleting
        {
            push(
                server,
                Work::OwnerWaits(resource.storage.clone(), found.key.to_string()),
            );
        }
    }
}

/// Deletes the dependents that nobody else owns.
pub(super) async fn owner_gone(server: &ApiServer, uid: &str) -> Result<(), Status> {
    for (table, key) in server.inner.store.dependents_of(uid) {
        dependent(server, &table, &key).await?;
    }
    Ok(())
}

/// Deletes an object none of whose owners exist; drops references to owners that are gone.
pub(super) async fn dependent(server: &ApiServer, table: &StorageKey, key: &str) -> Result<(), Status> {
    let Some(resource) = server.stored_resource(table) else {
        return Ok(());
    };
    let Some(stored) = server.inner.store.get(table, key) else {
        return Ok(());
    };
    let value = stored.bare();
    let owners = metadata::get(&value, "ownerReferences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let (mut solid, mut waiting, mut gone) = (0, 0, Vec::new());
    for owner in &owners {
        match find_owner(server, owner, stored.namespace()) {
            None if !knows_kind(server, owner) => solid += 1,
            None => gone.push(owner["uid"].clone()),
            Some((_, found)) if waits_for_dependents(&found) => waiting += 1,
            Some(_) => solid += 1,
        }
    }
    if gone.is_empty() && (waiting == 0 || solid > 0) {
        return Ok(());
    }
    let call = internal_call(server, COMPONENT);
    let at = target(&resource, key);
    if solid > 0 {
        return drop_references(&call, &at, &gone).await;
    }
    let policy = if waiting > 0 {
        "Foreground"
    } else {
        own_policy(&value)
    };
    let options = DeleteOptions::from_object(&json!({
        "propagationPolicy": policy, "preconditions": {"uid": &*stored.uid},
    }));
    match delete::delete(&call, &at, &options).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 404 || status.code == 409 => Ok(()),
        Err(status) => Err(status),
    }
}

/// What the object's own finalizers ask for.
fn own_policy(value: &Value) -> &'static str {
    let finalizers = metadata::finalizers(value);
    if finalizers.iter().any(|f| f == ORPHAN) {
        "Orphan"
    } else if finalizers.iter().any(|f| f == FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    }
}

/// Lets go of an owner that waits: its dependents are orphaned, or deleted first.
pub(super) async fn owner_waits(server: &ApiServer, table: &StorageKey, key: &str) -> Result<(), Status> {
    let Some(resource) = server.stored_resource(table) else {
        return Ok(());
    };
    let Some(stored) = server.inner.store.get(table, key).filter(|s| s.deleting) else {
        return Ok(());
    };
    let finalizers = metadata::finalizers(&stored.bare());
    let call = internal_call(server, COMPONENT);
    let at = target(&resource, key);
    if finalizers.iter().any(|f| f == ORPHAN) {
        for (table, key) in server.inner.store.dependents_of(&stored.uid) {
            if let Some(resource) = server.stored_resource(&table) {
                drop_references(&call, &target(&resource, &key), &[json!(&*stored.uid)]).await?;
            }
        }
        return drop_finalizer(&call, &at, ORPHAN).await;
    }
    if !finalizers.iter().any(|f| f == FOREGROUND) {
        return Ok(());
    }
    let mut blocked = false;
    for (table, key) in server.inner.store.dependents_of(&stored.uid) {
        let Some(found) = server.inner.store.get(&table, &key) else {
            continue;
        };
        if !found.deleting {
            dependent(server, &table, &key).await?;
        }
        let left = server.inner.store.get(&table, &key);
        blocked |= left.is_some_and(|l| l.owners.iter().any(|o| o.uid == stored.uid && o.blocks));
    }
    match blocked {
        true => Ok(()),
        false => drop_finalizer(&call, &at, FOREGROUND).await,
    }
}

fn waits_for_dependents(owner: &Stored) -> bool {
    owner.deleting
        && metadata::finalizers(&owner.bare())
            .iter()
            .any(|f| f == FOREGROUND)
}

async fn drop_references(
    call: &crate::service::Call,
    at: &crate::route::Target,
    uids: &[Value],
) -> Result<(), Status> {
    edit(call, at, |old| {
        let mut next = old.clone();
        let owners = metadata::get(old, "ownerReferences")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let kept: Vec<Value> = owners.into_iter().filter(|o| !uids.contains(&o["uid"])).collect();
        match kept.is_empty() {
            true => metadata::remove(&mut next, "ownerReferences"),
            false => metadata::set(&mut next, "ownerReferences", kept),
        }
        next
    })
    .await
}

async fn drop_finalizer(
    call: &crate::service::Call,
    at: &crate::route::Target,
    name: &str,
) -> Result<(), Status> {
    edit(call, at, |old| {
        let mut next = old.clone();
        let mut finalizers = metadata::finalizers(old);
        finalizers.retain(|f| f != name);
        metadata::set_finalizers(&mut next, &finalizers);
        next
    })
    .await
}

async fn edit(
    call: &crate::service::Call,
    at: &crate::route::Target,
    change: impl Fn(&Value) -> Value + Send + Sync,
) -> Result<(), Status> {
    let options = WriteOptions::internal(false);
    let edit = Edit {
        call,
        target: at,
        options: &options,
        options_kind: "PatchOptions",
        track: false,
        wants_version: false,
    };
    match edit.run(|old| Ok((change(old), Vec::new()))).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}

fn owner_resource(server: &ApiServer, owner: &Value) -> Option<Arc<Resource>> {
    let (group, version) = split_group_version(owner["apiVersion"].as_str()?);
    let kind = owner["kind"].as_str()?;
    let of = |c: &crate::catalog::Catalog| {
        let mut found = c
            .of_version(group, version)
            .filter(|r| r.kind == kind && r.is_stored());
        found.next().cloned()
    };
    of(crate::catalog::builtin()).or_else(|| of(&server.custom()))
}

fn knows_kind(server: &ApiServer, owner: &Value) -> bool {
    owner_resource(server, owner).is_some()
}

/// The owner a reference means: the same name with another uid is somebody else.
fn find_owner(
    server: &ApiServer,
    owner: &Value,
    namespace: Option<&str>,
) -> Option<(Arc<Resource>, Arc<Stored>)> {
    let resource = owner_resource(server, owner)?;
    let namespace = if resource.namespaced { namespace } else { None };
    let key = object_key(namespace, owner["name"].as_str()?);
    let found = server.inner.store.get(&resource.storage, &key)?;
    (owner["uid"].as_str() == Some(&*found.uid)).then_some((resource, found))
}
