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
    let taken = taken(server, name);
    edit(server, name, "status", |old| with_status(old, &taken, &now)).await
}

/// Says that the objects of a definition will go, which has been marked for deletion.
pub(crate) fn doom(definition: &mut Value, now: &str) {
    let condition = json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending", "lastTransitionTime": now,
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    match definition["status"]["conditions"].as_array_mut() {
        Some(all) => {
            all.retain(|there| there["type"] != "Terminating");
            all.push(condition);
        }
        None => definition["status"]["conditions"] = json!([condition]),
    }
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

/// The names that other definitions of the group have: of resources, and of kinds.
#[derive(Default)]
struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

fn taken(server: &ApiServer, name: &str) -> Taken {
    let mut out = Taken::default();
    let Some(own) = server.inner.store.get(&definitions(), name) else {
        return out;
    };
    let group = own.bare()["spec"]["group"].clone();
    for other in server.inner.store.snapshot(&definitions(), "").1 {
        let value = other.bare();
        if other.name() == name || value["spec"]["group"] != group {
            continue;
        }
        let names = &value["status"]["acceptedNames"];
        let text = |field: &str| names[field].as_str().filter(|n| !n.is_empty()).map(str::to_owned);
        out.resources
            .extend(["plural", "singular"].into_iter().filter_map(text));
        out.resources.extend(short_names(names));
        out.kinds
            .extend(["kind", "listKind"].into_iter().filter_map(text));
    }
    out
}

fn short_names(names: &Value) -> Vec<String> {
    let all = names["shortNames"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The names that a definition has from now on, and the last of the conflicts: why, and what is in conflict.
fn accept(old: &Value, taken: &Taken) -> (Value, Option<(&'static str, String)>) {
    let (wanted, before) = (&old["spec"]["names"], &old["status"]["acceptedNames"]);
    let mut accepted = match before.is_object() {
        true => before.clone(),
        false => json!({"plural": "", "kind": ""}),
    };
    let mut conflict = None;
    let free = |field: &str, all: &[String]| {
        wanted[field] == before[field] || wanted[field].as_str().is_none_or(|n| !all.iter().any(|t| t == n))
    };
    for (field, reason, all) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
    ] {
        match free(field, all) {
            true => accepted[field] = wanted[field].clone(),
            false => conflict = Some((reason, in_use(&wanted[field]))),
        }
    }
    let held = short_names(before);
    let clash = short_names(wanted)
        .into_iter()
        .find(|n| !held.contains(n) && taken.resources.contains(n));
    match clash {
        Some(name) => conflict = Some(("ShortNamesConflict", in_use(&json!(name)))),
        None => accepted["shortNames"] = wanted["shortNames"].clone(),
    }
    for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        match free(field, &taken.kinds) {
            true => accepted[field] = wanted[field].clone(),
            false => conflict = Some((reason, in_use(&wanted[field]))),
        }
    }
    accepted["categories"] = wanted["categories"].clone();
    if let Some(names) = accepted.as_object_mut() {
        names.retain(|_, value| !value.is_null());
    }
    (accepted, conflict)
}

fn in_use(name: &Value) -> String {
    format!("{:?} is already in use", name.as_str().unwrap_or_default())
}

/// Its names were refused, and it never had any.
pub(super) fn is_refused(definition: &Value) -> bool {
    let says = |kind: &str| {
        let all = definition["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        all.filter(|c| c["type"] == kind).any(|c| c["status"] == "False")
    };
    says("NamesAccepted") && says("Established")
}

fn with_status(old: &Value, taken: &Taken, now: &str) -> Value {
    let mut next = old.clone();
    let (accepted, conflict) = accept(old, taken);
    next["status"]["acceptedNames"] = accepted;
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
    let established = before
        .iter()
        .find(|c| c["type"] == "Established" && c["status"] == "True");
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
        Some((reason, why)) => {
            let not_yet = condition(
                "Established",
                "False",
                "NotAccepted",
                "not all names are accepted",
            );
            vec![
                condition("NamesAccepted", "False", reason, &why),
                established.cloned().unwrap_or(not_yet),
            ]
        }
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
