//! The way from `kubectl apply` to server-side apply: fields that the last client-side apply set may be taken
//! over without a conflict, and its annotation is kept up to date.
use serde_json::Value;

use super::set::FieldSet;
use super::walk::{fields_of, validate};
use super::{ApplyError, Conflicts, Writer, compare};

/// Only this manager is treated so.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Passes if the last client-side apply set every conflicting field to the value it still has.
pub(super) fn excuse(live: &Value, conflicts: Conflicts, writer: &Writer<'_>) -> Result<(), ApplyError> {
    let Some(allowed) = still_as_applied(live, writer) else {
        return Err(ApplyError::Conflicts(conflicts));
    };
    let left: Vec<_> = conflicts
        .0
        .into_iter()
        .filter(|conflict| !allowed.contains(&conflict.path.0))
        .collect();
    if left.is_empty() {
        Ok(())
    } else {
        Err(ApplyError::Conflicts(Conflicts(left)))
    }
}

/// Writes the applied configuration into the annotation, if the object has it.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut configuration = applied.clone();
    if let Some(Value::Object(annotations)) = configuration.pointer_mut("/metadata/annotations") {
        annotations.remove(ANNOTATION);
    }
    let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") else {
        return;
    };
    annotations.insert(ANNOTATION.to_owned(), Value::from(format!("{configuration}\n")));
    let size: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > ANNOTATIONS_LIMIT {
        annotations.remove(ANNOTATION);
    }
}

fn still_as_applied(live: &Value, writer: &Writer<'_>) -> Option<FieldSet> {
    let schema = writer.versions.schema(writer.api_version)?;
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(writer.api_version) {
        return None;
    }
    validate(schema, &last).ok()?;
    let changes = compare(schema, &last, live);
    let fields = fields_of(schema, &last);
    Some(
        fields
            .difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed),
    )
}

fn annotation(object: &Value) -> Option<&str> {
    let annotations = object.pointer("/metadata/annotations")?;
    annotations
        .get(ANNOTATION)?
        .as_str()
        .filter(|text| !text.is_empty())
}
