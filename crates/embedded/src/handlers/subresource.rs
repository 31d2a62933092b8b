//! Subresources: what is below an object's path.

use model::time::rfc3339_seconds;
use serde_json::{Value, json};

use super::update::Edit;
use super::{create, eviction, patch, read, scale, token, update};
use crate::admission;
use crate::answer::Answer;
use crate::attributes::Operation;
use crate::hooks::LogRequest;
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::show::{self, Shown};
use crate::status::Status;
use crate::{decode, metadata, negotiate};

pub(crate) async fn handle(call: &Call, target: &Target, verb: &str) -> Result<Answer, Status> {
    let resource = &target.resource;
    let name = target.subresource.as_deref().unwrap_or_default();
    let Some(subresource) = resource.subresource(name) else {
        return Err(match resource.custom.is_some() {
            true => Status::not_found(&resource.group, &resource.plural, target.name()),
            false => Status::no_such_path(),
        });
    };
    if resource.namespaced && target.namespace.is_none() {
        return Err(Status::no_such_path());
    }
    if matches!(name, "exec" | "attach" | "portforward" | "proxy") {
        return Err(Status::not_implemented(&format!("{}/{name}", resource.plural)));
    }
    if !subresource.verbs.iter().any(|v| v == verb) {
        return Err(Status::method_not_allowed());
    }
    if verb == "create" {
        let attributes = create::attributes(call, target, Operation::Create, Value::Null);
        admission::builtin::lifecycle(&call.server, &attributes)?;
    }
    match (name, verb) {
        ("scale", _) => scale::handle(call, target, verb).await,
        ("log", _) => log(call, target),
        ("binding", _) => binding(call, target).await,
        ("eviction", _) => eviction::handle(call, target).await,
        ("token", _) => token::handle(call, target),
        (_, "get") => {
            let stored = read::find(call, target)?;
            read::settled(call, stored.revision).await?;
            if matches!(name, "resize" | "ephemeralcontainers") {
                // They have no table.
                let pod = show::served_value(&call.server, resource, &stored).await?;
                return show::value_as(call, None, 200, &pod, negotiate::form(call.header("accept"))?);
            }
            show::object(call, resource, 200, Shown::Stored(stored)).await
        }
        (_, "update") => update::handle(call, target).await,
        (_, "patch") => patch::handle(call, target).await,
        _ => Err(Status::not_implemented(&format!(
            "{verb} of {}/{name}",
            resource.plural
        ))),
    }
}

/// Puts a pod on a node: `pods/NAME/binding`, or a Binding posted to `bindings`.
pub(crate) async fn binding(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let binding = decode::of_kind(call, "", "v1", "Binding")?;
    let mut target = target.clone();
    if target.resource.plural == "bindings" {
        let pods = call
            .server
            .resource("", "v1", "pods")
            .ok_or_else(Status::no_such_path)?;
        target.resource = pods;
        target.name = Some(metadata::name(&binding).to_owned());
        target.subresource = Some("binding".to_owned());
    }
    let node = binding
        .pointer("/target/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    check_target(&binding)?;
    if let Some(uid) = metadata::get(&binding, "uid").and_then(Value::as_str)
        && *read::find(call, &target)?.uid != *uid
    {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta differs");
        return Err(Status::conflict("", "pods/binding", target.name(), &why));
    }
    let edit = Edit {
        call,
        target: &target,
        options: &options,
        options_kind: "CreateOptions",
        track: false,
        wants_version: false,
    };
    edit.run(|old| bound(call, &target, old, &binding, &node).map(|pod| (pod, Vec::new())))
        .await?;
    success(201)
}

/// A real server forgets to say that these are invalid values: it answers 500.
fn check_target(binding: &Value) -> Result<(), Status> {
    let text = |name: &str| binding["target"][name].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        wrong.push(format!(
            "target.kind: Unsupported value: {:?}: supported values: \"Node\", \"<empty>\"",
            text("kind")
        ));
    }
    if text("name").is_empty() {
        wrong.push("target.name: Required value".to_owned());
    }
    let message = match wrong.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", message))
}

fn bound(call: &Call, target: &Target, old: &Value, binding: &Value, node: &str) -> Result<Value, Status> {
    let name = target.name();
    let conflict = |why: String| Status::conflict("", "pods/binding", name, &why);
    if metadata::is_deleting(old) {
        return Err(conflict(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    if let Some(assigned) = old
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .filter(|n| !n.is_empty())
    {
        return Err(conflict(format!(
            "pod {name} is already assigned to node {assigned:?}"
        )));
    }
    if old
        .pointer("/spec/schedulingGates")
        .and_then(Value::as_array)
        .is_some_and(|g| !g.is_empty())
    {
        return Err(conflict(format!(
            "pod {name} has non-empty .spec.schedulingGates"
        )));
    }
    let mut pod = old.clone();
    pod["spec"]["nodeName"] = node.into();
    for field in ["labels", "annotations"] {
        if let Some(given) = metadata::get(binding, field).and_then(Value::as_object) {
            for (key, value) in given {
                pod["metadata"][field][key.as_str()] = value.clone();
            }
        }
    }
    let now = rfc3339_seconds(call.server.now());
    set_condition(&mut pod, "PodScheduled", "True", &now);
    Ok(pod)
}

fn set_condition(pod: &mut Value, kind: &str, status: &str, now: &str) {
    let condition = json!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now,
    });
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else {
        return;
    };
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(found) => *found = condition,
        None => list.push(condition),
    }
}

pub(crate) fn success(code: u16) -> Result<Answer, Status> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    Answer::json(code, &status)
}

fn log(call: &Call, target: &Target) -> Result<Answer, Status> {
    let stored = read::find(call, target)?;
    let pod = stored.bare();
    let containers: Vec<&str> = ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .filter_map(|list| pod.get("spec")?.get(list)?.as_array())
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    let asked = call.query.get("container").unwrap_or_default();
    let container = match (asked, containers.as_slice()) {
        ("", [only]) => (*only).to_owned(),
        ("", many) => {
            return Err(Status::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                target.name(),
                many.join(" ")
            )));
        }
        (name, list) if list.contains(&name) => name.to_owned(),
        (name, _) => {
            return Err(Status::bad_request(format!(
                "container {name} is not valid for pod {}",
                target.name()
            )));
        }
    };
    let request = LogRequest {
        namespace: target.namespace.clone().unwrap_or_default(),
        pod: target.name().to_owned(),
        container,
        previous: call.query.flag("previous"),
        tail_lines: call.query.integer("tailLines")?,
        since_seconds: call.query.integer("sinceSeconds")?,
        timestamps: call.query.flag("timestamps"),
    };
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        // Nothing can have run yet.
        return Ok(Answer::bytes(200, "text/plain", Vec::new()));
    }
    let Some(source) = call.server.hooks().logs() else {
        return Err(Status::not_implemented("pods/log without a node that gives logs"));
    };
    match source(&request) {
        Ok(text) => Ok(Answer::bytes(200, "text/plain", text.into_bytes())),
        Err(why) => Err(Status::bad_request(why)),
    }
}
