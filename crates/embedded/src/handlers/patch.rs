//! patch: JSON, merge, strategic merge and server-side apply.

use model::field::FieldError;
use serde_json::Value;

use super::create::{self, Outcome};
use super::update::{Edit, Edited};
use crate::answer::Answer;
use crate::pipeline::{self, Writer};
use crate::query::{FieldValidation, WriteOptions};
use crate::route::Target;
use crate::service::Call;
use crate::status::Status;
use crate::store::object_key;
use crate::{decode, metadata, show};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

const TYPES: [(&str, PatchType); 4] = [
    ("application/json-patch+json", PatchType::Json),
    ("application/merge-patch+json", PatchType::Merge),
    ("application/strategic-merge-patch+json", PatchType::Strategic),
    ("application/apply-patch+yaml", PatchType::Apply),
];

pub(crate) async fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let kind = patch_type(call, target)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    check_options(kind, &options)?;
    let outcome = match kind {
        PatchType::Apply => apply(call, target, &options).await?,
        other => patch(call, target, &options, other).await?,
    };
    let answer = show::object(call, &target.resource, outcome.code, outcome.shown).await?;
    Ok(answer.with_warnings(outcome.warnings))
}

fn patch_type(call: &Call, target: &Target) -> Result<PatchType, Status> {
    let media = call
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let custom = target.resource.custom.is_some();
    let known: Vec<(&str, PatchType)> = TYPES
        .iter()
        .copied()
        .filter(|(_, t)| !(custom && *t == PatchType::Strategic))
        .collect();
    let found = known.iter().find(|(name, _)| *name == media);
    found.map(|(_, t)| *t).ok_or_else(|| match custom {
        true => {
            let accepted: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            Status::unsupported_media_type(&accepted)
        }
        false => Status::unsupported_patch_type(),
    })
}

fn check_options(kind: PatchType, options: &WriteOptions) -> Result<(), Status> {
    let mut errors = Vec::new();
    if kind == PatchType::Apply {
        if options.field_manager.is_empty() {
            errors.push(FieldError::required(
                "fieldManager",
                "is required for apply patch",
            ));
        }
    } else if options.force.is_some() {
        errors.push(FieldError::forbidden(
            "force",
            "may not be specified for non-apply patch",
        ));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors)),
    }
}

async fn patch(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    kind: PatchType,
) -> Result<Outcome, Status> {
    super::read::find(call, target)?;
    let document = match kind {
        PatchType::Json => Value::Null,
        _ => pipeline::parse_merge_patch(&call.body, target)?,
    };
    let edit = Edit {
        call,
        target,
        options,
        options_kind: "PatchOptions",
        track: true,
        wants_version: false,
    };
    edit.run(|old| {
        let patched = match kind {
            PatchType::Json => pipeline::json_patch(old, &call.body, target)?,
            PatchType::Merge => pipeline::merge_patch(old, &document),
            PatchType::Strategic | PatchType::Apply => pipeline::strategic_patch(target, old, &document)?,
        };
        let shown = match kind {
            PatchType::Strategic | PatchType::Apply => go_print(&document),
            PatchType::Json | PatchType::Merge => patched.to_string(),
        };
        decoded(call, target, options.field_validation, old, patched)
            .map_err(|s| unreadable(target, s, &shown))
    })
    .await
}

/// A patched object is decoded as a body is, and cannot become another object.
fn decoded(
    call: &Call,
    target: &Target,
    validation: FieldValidation,
    old: &Value,
    mut patched: Value,
) -> Edited {
    for field in ["apiVersion", "kind"] {
        if let (Some(map), Some(before)) = (patched.as_object_mut(), old.get(field)) {
            map.insert(field.to_owned(), before.clone());
        }
    }
    let mut out = decode::finish(&target.resource, patched, Vec::new(), validation)?;
    if !metadata::name(old).is_empty() {
        create::check_name(target, &mut out.value)?;
    }
    create::place(target, &mut out.value)?;
    pipeline::default(&target.resource, &mut out.value);
    call.warn(out.warnings);
    Ok((out.value, Vec::new()))
}

/// A patch that makes an object unreadable is an invalid value of the patch.
fn unreadable(target: &Target, status: Status, shown: &str) -> Status {
    match decode_error(target, &status) {
        Some(mut why) => {
            if why.starts_with("illegal base64 data") && shown.starts_with("map[") {
                // Only the converter of strategic patches says so.
                why.insert_str(0, "error decoding from json: ");
            }
            let error = FieldError::invalid("patch", format!("{shown:?}"), why);
            Status::invalid("", "", "", &[error])
        }
        None => status,
    }
}

/// What Go's decoder said, if that is what went wrong.
fn decode_error(target: &Target, status: &Status) -> Option<String> {
    let (kind, version) = (&target.resource.kind, &target.resource.version);
    let prefix = format!("{kind} in version {version:?} cannot be handled as a {kind}: ");
    status.message.strip_prefix(&prefix).map(str::to_owned)
}

/// A value as Go's `%+v` prints it.
fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_print(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

async fn apply(call: &Call, target: &Target, options: &WriteOptions) -> Result<Outcome, Status> {
    let applied = applied(call, target)?;
    let key = object_key(target.namespace.as_deref(), target.name());
    let force = options.force.unwrap_or(false);
    let subresource = target.subresource.as_deref().unwrap_or_default();
    let writer = Writer {
        manager: &options.field_manager,
        subresource,
        now: call.server.now(),
    };
    for _ in 0..2 {
        let upserts = target.subresource.is_none() || pipeline::creates_on_update(target);
        if call.store().get(&target.resource.storage, &key).is_some() || !upserts {
            break;
        }
        let object = pipeline::apply(&target.resource, &Value::Null, &applied, &writer, force)?;
        let (object, warnings) = applied_object(call, target, options.field_validation, &applied, object)?;
        match create::create(call, target, options, "PatchOptions", object, false).await {
            Ok(mut outcome) => {
                outcome.warnings.extend(warnings);
                return Ok(outcome);
            }
            // Somebody created it meanwhile: apply to that.
            Err(status) if status.reason == "AlreadyExists" => {}
            Err(status) => return Err(status),
        }
    }
    let edit = Edit {
        call,
        target,
        options,
        options_kind: "PatchOptions",
        track: false,
        wants_version: false,
    };
    edit.run(|old| {
        let merged = pipeline::apply(&target.resource, old, &applied, &writer, force)?;
        applied_object(call, target, options.field_validation, &applied, merged)
    })
    .await
}

/// What an apply made, read as an object; what cannot be read is worded as the failed conversion it is.
fn applied_object(
    call: &Call,
    target: &Target,
    validation: FieldValidation,
    applied: &Value,
    merged: Value,
) -> Edited {
    let resource = &target.resource;
    decoded(call, target, validation, applied, merged).map_err(|status| {
        let unreadable = decode_error(target, &status);
        let Some(why) = unreadable.filter(|w| !w.starts_with("strict decoding error")) else {
            return status;
        };
        let gvk = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
        let identity = format!("{}/{}; {gvk}", metadata::text(applied, "namespace"), metadata::name(applied));
        let message = format!(
            "failed to convert new object ({identity}) to proper version: unable to convert unstructured object to \
             {gvk}: error decoding from json: {why}"
        );
        Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", message)
    })
}

/// The configuration that is applied: YAML, complete in kind and version, without managedFields.
fn applied(call: &Call, target: &Target) -> Result<Value, Status> {
    let mut value = decode::yaml(&call.body)
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {}", e.message)))?;
    let resource = &target.resource;
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
    if version.is_empty() || kind.is_empty() {
        let what = format!("invalid object type: /{version}, Kind={kind}");
        return Err(Status::bad_request(what));
    }
    if version != resource.api_version() || kind != resource.kind {
        let (group, version) = crate::catalog::split_group_version(&version);
        let what = format!("invalid object type: {group}/{version}, Kind={kind}");
        return Err(Status::bad_request(what));
    }
    if metadata::get(&value, "managedFields").is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty())) {
        let what = "metadata.managedFields must be nil";
        return Err(Status::bad_request(what));
    }
    if metadata::name(&value).is_empty() {
        metadata::set(&mut value, "name", target.name());
    }
    create::place(target, &mut value.clone())?;
    Ok(value)
}
