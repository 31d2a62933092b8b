//! The scale subresource: replicas of a workload, whatever its kind.

use apimerge::ssa::PathElement;
use serde_json::{Value, json};

use super::update::Edit;
use super::{create, read};
use crate::answer::Answer;
use crate::negotiate::{self, Form};
use crate::pipeline::{self, Writer};
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::show;
use crate::status::Status;
use crate::table;
use crate::{decode, metadata};

/// Where a kind keeps its replicas, as JSON pointers.
struct Paths {
    spec: String,
    status: String,
    selector: Option<String>,
}

fn paths(target: &Target) -> Paths {
    if let Some(scale) = target.resource.custom.as_ref().and_then(|c| c.scale()) {
        return Paths {
            spec: scale.spec,
            status: scale.status,
            selector: scale.selector,
        };
    }
    Paths {
        spec: "/spec/replicas".to_owned(),
        status: "/status/replicas".to_owned(),
        selector: Some("/spec/selector".to_owned()),
    }
}

pub(crate) async fn handle(call: &Call, target: &Target, verb: &str) -> Result<Answer, Status> {
    let paths = paths(target);
    if verb == "get" {
        return read_scale(call, target, &paths).await;
    }
    let kind = if verb == "patch" {
        "PatchOptions"
    } else {
        "UpdateOptions"
    };
    let options = WriteOptions::parse(&call.query, kind)?;
    let media = call
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let sent = match verb {
        "update" => sent(call, target)?,
        _ => Value::Null,
    };
    let writer = Writer {
        manager: &create::manager(call, &options),
        subresource: "scale",
        now: call.server.now(),
    };
    let force = options.force.unwrap_or(false);
    let edit = Edit {
        call,
        target,
        options: &options,
        options_kind: if verb == "patch" {
            "PatchOptions"
        } else {
            "UpdateOptions"
        },
        track: false,
        wants_version: false,
    };
    let outcome = edit
        .run(|old| {
            let live = scale_of(old, &paths);
            let mut wanted = match verb {
                "update" => sent.clone(),
                _ if media == APPLY => apply(call, target, &live, &writer, force)?,
                _ => patched(call, target, &media, &live)?,
            };
            if media != APPLY {
                pipeline::track_scale(target, &live, &mut wanted, &writer);
            }
            let mut new = scaled(target, &paths, old, &wanted)?;
            if let Some(uid) = metadata::get(&wanted, "uid").filter(|_| verb == "update") {
                metadata::set(&mut new, "uid", uid.clone());
            }
            Ok((new, Vec::new()))
        })
        .await?;
    let object = outcome.shown.into_value(&call.server, &target.resource).await?;
    Ok(answer(call, target, 200, scale_of(&object, &paths))?.with_warnings(outcome.warnings))
}

async fn read_scale(call: &Call, target: &Target, paths: &Paths) -> Result<Answer, Status> {
    let stored = read::find(call, target)?;
    read::settled(call, stored.revision).await?;
    let object = show::served_value(&call.server, &target.resource, &stored).await?;
    if target.resource.custom.is_some() && object.pointer(&paths.spec).is_none() {
        let path = paths.spec.replace('/', ".");
        return Err(Status::internal(format!(
            "the spec replicas field {path:?} does not exist"
        )));
    }
    answer(call, target, 200, scale_of(&object, paths))
}

/// The object with the replicas that its Scale wants.
fn scaled(target: &Target, paths: &Paths, old: &Value, wanted: &Value) -> Result<Value, Status> {
    let replicas = wanted
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if replicas < 0 {
        if target.resource.custom.is_some() {
            let at = paths.spec.replace('/', ".");
            let why = "should be a non-negative integer";
            let error = model::field::FieldError::invalid(at, replicas.to_string(), why);
            let resource = &target.resource;
            return Err(Status::invalid(
                &resource.group,
                &resource.kind,
                target.name(),
                &[error],
            ));
        }
        let why = "must be greater than or equal to 0";
        let error = model::field::FieldError::invalid("spec.replicas", replicas.to_string(), why);
        return Err(Status::invalid("autoscaling", "Scale", target.name(), &[error]));
    }
    let mut new = old.clone();
    put(&mut new, &paths.spec, replicas.into());
    let owners = apimerge::ssa::from_scale(
        metadata::get(old, "managedFields"),
        metadata::get(wanted, "managedFields"),
        &target.resource.api_version(),
        &paths.elements(),
    );
    apimerge::ssa::set_managed_fields(&mut new, owners);
    if let Some(version) = metadata::get(wanted, "resourceVersion") {
        metadata::set(&mut new, "resourceVersion", version.clone());
    }
    Ok(new)
}

const APPLY: &str = "application/apply-patch+yaml";

impl Paths {
    /// Where the replicas are, for field ownership.
    fn elements(&self) -> Vec<PathElement> {
        self.spec.split('/').skip(1).map(PathElement::field).collect()
    }
}

fn sent(call: &Call, target: &Target) -> Result<Value, Status> {
    let mut sent = decode::of_kind(call, "autoscaling", "v1", "Scale").map_err(|status| {
        match target.resource.custom.is_some() && status.message.starts_with("Scale in version") {
            true => Status::bad_request(
                "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"",
            ),
            false => status,
        }
    })?;
    create::check_name(target, &mut sent)?;
    Ok(sent)
}

fn apply(
    call: &Call,
    target: &Target,
    live: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    if target.resource.custom.is_some() {
        // A real server cannot either: it takes the Scale for an object of the custom kind.
        let why = "failed to create manager for existing fields: failed to convert live object (/; autoscaling/v1, \
                   Kind=Scale) to proper version: request to convert CR to an invalid group/version: autoscaling/v1";
        return Err(Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why));
    }
    let mut applied = decode::yaml(&call.body)
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {}", e.message)))?;
    if metadata::name(&applied).is_empty() {
        metadata::set(&mut applied, "name", target.name());
    }
    create::place(target, &mut applied.clone())?;
    pipeline::apply_scale(target, live, &applied, writer, force)
}

fn answer(call: &Call, target: &Target, code: u16, mut scale: Value) -> Result<Answer, Status> {
    metadata::remove(&mut scale, "managedFields");
    let form = negotiate::form(call.header("accept"))?;
    if form == Form::Table {
        let of_custom = target.resource.custom.is_some();
        return Answer::json(code, &table::scale(&scale, of_custom, call.server.now()));
    }
    show::value_as(call, None, code, &scale, form)
}

fn patched(call: &Call, target: &Target, media: &str, scale: &Value) -> Result<Value, Status> {
    let mut out = patched_unread(call, target, media, scale)?;
    let shown = out.to_string();
    let (errors, _) = pipeline::prune_kind("autoscaling", "v1", "Scale", &mut out);
    match errors.first() {
        None => Ok(out),
        Some(why) => {
            let error = model::field::FieldError::invalid("patch", format!("{shown:?}"), why.as_str());
            Err(Status::invalid("", "", "", &[error]))
        }
    }
}

fn patched_unread(call: &Call, target: &Target, media: &str, scale: &Value) -> Result<Value, Status> {
    match media {
        "application/json-patch+json" => pipeline::json_patch(scale, &call.body, target),
        _ => {
            let patch: Value = serde_json::from_slice(&call.body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            Ok(pipeline::merge_patch(scale, &patch))
        }
    }
}

fn scale_of(object: &Value, paths: &Paths) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata::get(object, field) {
            metadata[field] = value.clone();
        }
    }
    if let Some(owners) = apimerge::ssa::to_scale(metadata::get(object, "managedFields"), &paths.elements()) {
        metadata["managedFields"] = owners;
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status)});
    let selector = paths
        .selector
        .as_ref()
        .and_then(|p| object.pointer(p))
        .map(selector_text);
    if let Some(text) = selector.filter(|t| !t.is_empty()) {
        status["selector"] = text.into();
    }
    let replicas = number(&paths.spec);
    let spec = if replicas == 0 {
        json!({})
    } else {
        json!({"replicas": replicas})
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
    })
}

/// A selector in its query form: `a=b,c in (d,e)`.
pub(crate) fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let labels = match selector.get("matchLabels") {
        Some(labels) => labels.as_object(),
        None if selector.get("matchExpressions").is_some() => None,
        None => selector.as_object(),
    };
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        terms.push((
            key.clone(),
            format!("{key}={}", value.as_str().unwrap_or_default()),
        ));
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let term = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    let texts: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    texts.join(",")
}

fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.split('/').skip(1) {
        at = &mut at[part];
    }
    *at = value;
}
