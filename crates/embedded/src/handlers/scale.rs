//! The scale subresource: replicas of a workload, whatever its kind.

use serde_json::{Value, json};

use super::update::Edit;
use super::{create, read};
use crate::answer::Answer;
use crate::negotiate;
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::show;
use crate::status::Status;
use crate::{decode, metadata, pipeline};

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
        let stored = read::find(call, target)?;
        read::settled(call, stored.revision).await?;
        let object = show::served_value(&call.server, &target.resource, &stored).await?;
        if target.resource.custom.is_some() && object.pointer(&paths.spec).is_none() {
            let path = paths.spec.replace('/', ".");
            return Err(Status::internal(format!(
                "the spec replicas field {path:?} does not exist"
            )));
        }
        return answer(call, 200, &scale_of(&object, &paths));
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
        "update" => decode::of_kind(call, "autoscaling", "v1", "Scale")?,
        _ => Value::Null,
    };
    if verb == "update" {
        create::check_name(target, &mut sent.clone())?;
    }
    let edit = Edit {
        call,
        target,
        options: &options,
        options_kind: if verb == "patch" {
            "PatchOptions"
        } else {
            "UpdateOptions"
        },
        track: true,
        wants_version: false,
    };
    let outcome = edit
        .run(|old| {
            let wanted = match verb {
                "update" => sent.clone(),
                _ => patched(call, target, &media, &scale_of(old, &paths))?,
            };
            let replicas = wanted
                .pointer("/spec/replicas")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if replicas < 0 {
                let why = "must be greater than or equal to 0";
                let error = model::field::FieldError::invalid("spec.replicas", replicas.to_string(), why);
                return Err(Status::invalid("autoscaling", "Scale", target.name(), &[error]));
            }
            let mut new = old.clone();
            put(&mut new, &paths.spec, replicas.into());
            if let Some(version) = metadata::get(&wanted, "resourceVersion") {
                metadata::set(&mut new, "resourceVersion", version.clone());
            }
            Ok((new, Vec::new()))
        })
        .await?;
    let object = outcome.shown.into_value(&call.server, &target.resource).await?;
    Ok(answer(call, 200, &scale_of(&object, &paths))?.with_warnings(outcome.warnings))
}

fn answer(call: &Call, code: u16, scale: &Value) -> Result<Answer, Status> {
    let form = negotiate::form(call.header("accept"))?;
    show::value_as(call, None, code, scale, form)
}

fn patched(call: &Call, target: &Target, media: &str, scale: &Value) -> Result<Value, Status> {
    match media {
        "application/json-patch+json" => pipeline::json_patch(scale, &call.body, target),
        "application/apply-patch+yaml" => Err(Status::not_implemented("server-side apply to scale")),
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
