//! The life of a definition: its names are accepted, it is established, its objects go before it does.

use std::sync::Arc;

use model::time::rfc3339_seconds;
use serde_json::{Value, json};

use super::{CLEANUP, definitions};
use crate::catalog::{Resource, StorageKey};
use crate::controllers::{internal_call, target};
use crate::handlers::delete::{self, DeleteOptions};
use crate::handlers::update::Edit;
use crate::metadata;
use crate::query::WriteOptions;
use crate::server::ApiServer;
use crate::service::Call;
use crate::status::Status;

/// Writes the conditions of a definition, as a real server's controllers would.
pub(crate) async fn establish(server: &ApiServer, name: &str) -> Result<(), Status> {
    let now = rfc3339_seconds(server.now());
    let conflict = conflict(server, name);
    edit(server, name, "status", |old| {
        with_status(old, conflict.as_deref(), &now)
    })
    .await
}

/// Deletes the objects of a definition that is being deleted, then lets it go.
pub(crate) async fn clean_up(server: &ApiServer, name: &str) -> Result<(), Status> {
    let Some(stored) = server
        .inner
        .store
        .get(&definitions(), name)
        .filter(|s| s.deleting)
    else {
        return Ok(());
    };
    let definition = stored.bare();
    if !metadata::finalizers(&definition).iter().any(|f| f == CLEANUP) {
        return Ok(());
    }
    let text = |pointer: &str| {
        definition
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let table = StorageKey::new(text("/spec/group"), text("/spec/names/plural"));
    let call = internal_call(server, "system:apiserver");
    if let Some(resource) = server.stored_resource(&table) {
        delete_all(server, &call, &resource).await?;
        if server.inner.store.count(&table, "") > 0 {
            return Ok(());
        }
    }
    edit(server, name, "", |old| {
        let mut next = old.clone();
        let mut finalizers = metadata::finalizers(old);
        finalizers.retain(|f| f != CLEANUP);
        metadata::set_finalizers(&mut next, &finalizers);
        next
    })
    .await
}

async fn delete_all(server: &ApiServer, call: &Call, resource: &Arc<Resource>) -> Result<(), Status> {
    let options = DeleteOptions::from_object(&json!({"propagationPolicy": "Background"}));
    for object in server.inner.store.snapshot(&resource.storage, "").1 {
        match delete::delete(call, &target(resource, &object.key), &options).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

async fn edit(
    server: &ApiServer,
    name: &str,
    subresource: &str,
    change: impl Fn(&Value) -> Value + Send + Sync,
) -> Result<(), Status> {
    let key = definitions();
    let Some(resource) = server.stored_resource(&key) else {
        return Ok(());
    };
    let mut at = target(&resource, name);
    at.subresource = Some(subresource.to_owned()).filter(|s| !s.is_empty());
    let call = internal_call(server, "system:apiserver");
    let mut options = WriteOptions::internal(false);
    options.field_manager = "kube-apiserver".to_owned();
    let edit = Edit {
        call: &call,
        target: &at,
        options: &options,
        options_kind: "UpdateOptions",
        track: true,
        wants_version: false,
    };
    match edit.run(|old| Ok((change(old), Vec::new()))).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}

/// Which other definition of the group has one of the names already.
fn conflict(server: &ApiServer, name: &str) -> Option<String> {
    let own = server.inner.store.get(&definitions(), name)?.bare();
    let names = names_of(&own["spec"]["names"]);
    for other in server.inner.store.snapshot(&definitions(), "").1 {
        let value = other.bare();
        if other.name() == name || value["spec"]["group"] != own["spec"]["group"] {
            continue;
        }
        let taken = names_of(&value["status"]["acceptedNames"]);
        if let Some(found) = names.iter().find(|n| taken.contains(n)) {
            return Some(format!("{found:?} is already in use"));
        }
        let kind = |v: &Value| v["status"]["acceptedNames"]["kind"].as_str().map(str::to_owned);
        if kind(&value).as_deref() == own["spec"]["names"]["kind"].as_str() {
            return Some(format!(
                "{:?} is already in use",
                kind(&value).unwrap_or_default()
            ));
        }
    }
    None
}

fn names_of(names: &Value) -> Vec<String> {
    let mut out: Vec<String> = ["plural", "singular"]
        .iter()
        .filter_map(|n| names[*n].as_str())
        .map(str::to_owned)
        .collect();
    out.extend(
        names["shortNames"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    out
}

fn with_status(old: &Value, conflict: Option<&str>, now: &str) -> Value {
    let mut next = old.clone();
    let before = old
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let same = before.iter().find(|c| c["type"] == kind && c["status"] == status);
        let since = same.map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    let mut conditions = match conflict {
        None => vec![
            condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ],
        Some(why) => vec![
            condition("NamesAccepted", "False", "NameConflict", why),
            condition(
                "Established",
                "False",
                "NotAccepted",
                "not all names are accepted",
            ),
        ],
    };
    if metadata::is_deleting(old) {
        let why = "CustomResource deletion is in progress";
        conditions.push(condition(
            "Terminating",
            "True",
            "InstanceDeletionInProgress",
            why,
        ));
    }
    next["status"]["conditions"] = Value::Array(conditions);
    if conflict.is_none() {
        next["status"]["acceptedNames"] = old["spec"]["names"].clone();
    }
    let storage = old["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|v| v["storage"] == true);
    let mut stored = old
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(name) = storage.map(|v| v["name"].clone())
        && !stored.contains(&name)
    {
        stored.push(name);
    }
    next["status"]["storedVersions"] = Value::Array(stored);
    next
}
